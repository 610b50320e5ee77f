//! Cost of recording the client of each request.
//!
//! ```text
//! cargo run --release -p ntp-proto --example client_list_cost [ROUNDS]
//! ```
//!
//! The cost is that of memory access, so it depends on the number of clients and on the size of the
//! list: a few entries are in the nearest cache, thousands are not, and in a flood of addresses
//! that never repeat each one replaces another. The last line is the time in which the main thread
//! copies a full list; a worker's requests are not counted during that time.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use ntp_proto::server::{ClientList, Kind, Verdict};
use ntp_time::Monotonic;

const TIME: Verdict = Verdict::Answer {
    kind: Kind::Time,
    interleaved: false,
    authenticated: false,
};

/// Default number of requests in a run; use fewer with a tool that counts instructions.
const ROUNDS: u32 = 1 << 20;

fn main() {
    let rounds = std::env::args().nth(1);
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    for (size, clients, what) in [
        (1000, 100, "100 clients, room for 1000"),
        (65_536, 30_000, "30000 clients, room for 65536"),
        (1000, u32::MAX, "flood, room for 1000"),
        (65_536, u32::MAX, "flood, room for 65536"),
    ] {
        let mut list = ClientList::new([1; 32]);
        list.resize(size, 1);
        let cost = best(|run| {
            for number in 0..rounds {
                // Scattered over all addresses, in no order.
                let client = (run * rounds + number).wrapping_mul(0x9e37_79b1) % clients;
                list.record(
                    address(client),
                    black_box(TIME),
                    Monotonic::from_nanos(number.into()),
                );
            }
        });
        println!("{what:32} {:6.1} ns", cost / f64::from(rounds));
        if size == ClientList::MAX_ENTRIES && clients == u32::MAX {
            let copy = best(|_| {
                black_box(list.entries().collect::<Vec<_>>());
            });
            println!("{:32} {:6.1} us", "copy of that list", copy / 1e3);
        }
    }
}

fn address(number: u32) -> IpAddr {
    number.to_be_bytes().into()
}

/// Duration of the best of several runs, in nanoseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn best(mut run: impl FnMut(u32)) -> f64 {
    let mut once = |number| {
        let begin = Instant::now();
        run(number);
        begin.elapsed().as_nanos() as f64
    };
    (0..15).map(&mut once).fold(f64::MAX, f64::min)
}
