//! Cost of AES-SIV in `ntp_proto::nts` against the crate `aes-siv`, measured alternately in one
//! run: encryption and decryption of a text of 200 octets with header and nonce, with a key that is
//! used once, as a server does for each request.
//!
//! ```text
//! cargo run --release -p ntp-proto --example siv_cost
//! ```

use std::hint::black_box;
use std::time::Instant;

use aes_siv::KeyInit;
use aes_siv::siv::{Aes128Siv, Aes256Siv};
use ntp_proto::nts::{AeadAlgorithm, Direction, SessionKeys};

/// Length of the tag, which stands in front of the text.
const TAG: usize = AeadAlgorithm::OVERHEAD;
const NONCE: [u8; 16] = [7; 16];

fn main() {
    println!("{:24} {:>9} {:>9} {:>7}", "", "ours", "aes-siv", "ratio");
    for header in [76, 200] {
        for text in [0, 100, 200] {
            compare::<Aes128>(header, text);
            compare::<Aes256>(header, text);
        }
    }
}

/// An algorithm of the crate `aes-siv`, and ours.
trait Algorithm {
    const OURS: AeadAlgorithm;

    fn seal(key: &[u8], headers: [&[u8]; 2], text: &mut [u8]) -> [u8; TAG];
    fn open(key: &[u8], headers: [&[u8]; 2], tag: &[u8; TAG], text: &mut [u8]);
}

macro_rules! algorithm {
    ($name:ident, $ours:ident, $siv:ty) => {
        struct $name;

        impl Algorithm for $name {
            const OURS: AeadAlgorithm = AeadAlgorithm::$ours;

            fn seal(key: &[u8], headers: [&[u8]; 2], text: &mut [u8]) -> [u8; TAG] {
                let mut siv = <$siv>::new_from_slice(key).expect("a key of the right length");
                let tag = siv.encrypt_inout_detached(headers, text.into());
                tag.expect("few headers").into()
            }

            fn open(key: &[u8], headers: [&[u8]; 2], tag: &[u8; TAG], text: &mut [u8]) {
                let mut siv = <$siv>::new_from_slice(key).expect("a key of the right length");
                let opened = siv.decrypt_inout_detached(headers, text.into(), &(*tag).into());
                opened.expect("a valid tag");
            }
        }
    };
}

algorithm!(Aes128, AesSivCmac256, Aes128Siv);
algorithm!(Aes256, AesSivCmac512, Aes256Siv);

fn compare<A: Algorithm>(header: usize, text: usize) {
    let key = vec![3; A::OURS.key_length()];
    let keys = SessionKeys::new(A::OURS, &key, &key).expect("keys of the right length");
    let header = vec![5; header];
    let mut sealed = vec![9; TAG + text];
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..15 {
        ours = ours.min(time(|| {
            let (header, sealed) = (black_box(&header[..]), black_box(&mut sealed[..]));
            keys.seal(Direction::ClientToServer, header, &NONCE, sealed);
            let opened = keys.open(Direction::ClientToServer, header, &NONCE, sealed);
            black_box(opened).expect("a valid tag");
        }));
        theirs = theirs.min(time(|| {
            let headers = [black_box(&header[..]), &NONCE];
            let (key, sealed) = (black_box(&key[..]), black_box(&mut sealed[..]));
            let (tag, text) = sealed.split_first_chunk_mut().expect("room for the tag");
            *tag = A::seal(key, headers, text);
            A::open(key, headers, tag, text);
        }));
    }
    println!(
        "{:18} {:>2}+{text:<3} {ours:6.0} ns {theirs:6.0} ns {:6.2}",
        A::OURS.name(),
        header.len(),
        theirs / ours
    );
}

/// Duration of one call, in nanoseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn time(mut once: impl FnMut()) -> f64 {
    const ROUNDS: u32 = 20_000;
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        once();
    }
    begin.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
}
