//! `cargo xtask bench`: benchmarks, in comparison with chronyd and a minimal server.
//!
//! | command | measures |
//! |---|---|
//! | `server` | processor time of each answered request and each key exchange, compared with chronyd and a minimal server |
//! | `instructions` | instructions of the I/O-free part, for each kind of request (see `instructions.rs`) |
//! | `footprint` | memory, size, time until the first packet, processor time of a day, and build time, compared with their limits (see `footprint.rs`) |
//! | `readers` | time to read the state of a daemon with a thousand sources, with and without idle clients (see `readers.rs`) |
//! | `memory` | memory of the daemon before and after millions of clients (see `memory.rs`) |
//! | `receiver` | error of the clock behind a receiver, compared with chronyd's (see `receiver.rs`) |
//!
//! # Set-up
//! Two network namespaces are connected by a pair of virtual interfaces; the load generator is
//! pinned to one processor, all servers to another. The servers run all the time, each on its own
//! port, and receive requests in turn, for half a second each; the others sleep. The order differs
//! in each round. Absolute times vary from second to second; the result is therefore the ratio of
//! two measurements of the same round, and of these ratios the median over the rounds (see
//! `figures.rs`).
//!
//! Generator and servers run with real-time priority, ahead of everything else on the machine.
//! This makes the figures steady on a busy machine, and limits a measurement to less than a
//! second, after which the kernel schedules other processes. A measurement in which the generator
//! was late nevertheless is spoiled: it is repeated, and left out of the figures.
//!
//! # Floor
//! `echo-floor` does the minimum of any server: it receives with a timestamp and a destination
//! address, and sends back. It is run in two modes, with batches and one by one; the cheaper one
//! is the floor.
//!
//! Our own server is measured twice: with defaults, and without batching (`batching-under-load`),
//! as the others work. chronyd's client log is switched off except for interleaved mode, which
//! needs it.
//!
//! # NTS
//! All servers use the same certificate, and chronyd exchanges keys in its main process, so that
//! all its costs are in one process. Requests with AES-128-GCM-SIV are for servers that support
//! it, which Debian's chronyd does not. A key exchange is measured separately, including TCP and
//! TLS: as processor time of the server, whose inverse is the number of exchanges per second of
//! one processor.
//!
//! # Measured quantity
//! Processor time of the server process (all threads, user and system) per answered request, from
//! the first answer on: key exchanges before a run with NTS do not count. It includes the kernel's
//! send path, and with virtual interfaces even the delivery to the generator's socket. The receive
//! path is accounted to the generator.

mod build;
mod certificate;
mod day;
mod figures;
mod footprint;
mod instructions;
mod key_exchange;
mod load;
mod memory;
mod namespaces;
mod process;
mod readers;
mod receiver;
mod report;
mod server;
mod subject;

use clap::{Args, Subcommand};

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Processor time of each answered request and key exchange, compared with chronyd and a minimal server. Needs root.
    Server(server::Plan),
    /// Instructions for each kind of request, compared with the baseline. Needs valgrind.
    Instructions(instructions::Plan),
    /// Memory, size, time to the first packet and processor time of the programs, compared with their limits.
    Footprint(footprint::Plan),
    /// Time to read the state of a daemon with a thousand sources.
    Readers,
    /// Memory of the daemon before and after 16 million clients. Needs root.
    Memory(memory::Plan),
    /// Error of the clock behind a receiver, compared with chronyd's. Needs an emulator.
    Receiver(receiver::Plan),
}

/// Runs a benchmark.
pub(crate) fn bench(arguments: &Arguments) -> Result<(), String> {
    match &arguments.benchmark {
        Benchmark::Server(plan) => server::bench(plan),
        Benchmark::Instructions(plan) => instructions::bench(plan),
        Benchmark::Footprint(plan) => footprint::bench(plan),
        Benchmark::Readers => readers::bench(),
        Benchmark::Memory(plan) => memory::bench(plan),
        Benchmark::Receiver(plan) => receiver::bench(plan),
    }
}
