//! `cargo xtask bench`: what an answer costs, here and elsewhere.
//!
//! | command | what it measures |
//! |---|---|
//! | `server` | processor time for each answered request and each key exchange, beside chronyd and the least there can be |
//! | `instructions` | instructions of the pure part, for each kind of request (see `instructions.rs`) |
//! | `footprint` | memory, size, time until the first packet, and time of a build, beside their limits (see `footprint.rs`) |
//! | `readers` | how long a daemon with a thousand sources takes to be read, with and without a crowd that says nothing (see `readers.rs`) |
//! | `memory` | that millions of clients leave no trace in memory (see `memory.rs`) |
//!
//! # The set-up
//! Two network namespaces joined by a pair of virtual interfaces; the load generator pinned to one processor, all servers to another.
//! The servers run all the time, each at a port of its own, and are asked in turn, for half a second each; those that are not asked sleep.
//! Round after round, in another order each time: absolute times of a machine mean little and its moods change by the second; what counts
//! is the ratio of two measurements of the same round, and of these ratios the median over the rounds (see `figures.rs`).
//!
//! Generator and servers run with real-time priority, ahead of everything else on the machine. That is what makes the figures
//! steady on a busy machine; it is also why a measurement must be shorter than a second, after which the kernel gives others a turn.
//! A measurement in which the generator was late all the same counts as spoiled: it is repeated, and left out of the figures.
//!
//! # The floor
//! `echo-floor` does what no server can do without: receive with a timestamp and a destination address, send back. It is run
//! in two ways, with batches and one by one, and the cheaper one is the floor.
//!
//! Our own server is measured twice: as it is, and without the rests that it takes under load (`rest-under-load`), which is how the
//! others work. chronyd has its client log switched off but for interleaved mode, which needs it.
//!
//! # NTS
//! Both give out keys with the same certificate, and chronyd does so in its main process, so that all its costs are in one. Requests with
//! AES-128-GCM-SIV are for servers that have it; Debian's chronyd has not. A key exchange is measured for itself, TCP and TLS
//! included: as processor time of the server, whose inverse is the number of exchanges that one processor makes in a second.
//!
//! # What is measured
//! Processor time of the server process, all threads, user and system, over answered requests, from the first of them on: the key
//! exchanges before a run with NTS do not count. It includes the kernel's work on
//! the way out, and with virtual interfaces even the delivery to the generator's socket. The way in is on the generator's account.

mod arena;
mod build;
mod certificate;
mod figures;
mod footprint;
mod instructions;
mod key_exchange;
mod load;
mod memory;
mod readers;
mod report;
mod server;
mod stage;
mod subject;

use clap::{Args, Subcommand};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Processor time for each answered request and key exchange: ours, chronyd's, and the least there can be. Needs root.
    Server(server::Plan),
    /// Instructions for each kind of request, against the baseline that is kept. Needs valgrind.
    Instructions(instructions::Plan),
    /// Memory, size and time to the first packet of the programs, beside their limits.
    Footprint(footprint::Plan),
    /// Time to read the state of a daemon with a thousand sources.
    Readers,
    /// Memory of the daemon before and after 16 million clients. Needs root.
    Memory(memory::Plan),
}

/// Carries out a benchmark.
pub(crate) fn bench(arguments: &Arguments) -> Result<(), String> {
    match &arguments.what {
        What::Server(plan) => server::bench(plan),
        What::Instructions(plan) => instructions::bench(plan),
        What::Footprint(plan) => footprint::bench(plan),
        What::Readers => readers::bench(),
        What::Memory(plan) => memory::bench(plan),
    }
}
