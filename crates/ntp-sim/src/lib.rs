//! A simulated world around the engine: days of timekeeping in milliseconds, every fault on demand,
//! known true time.
//!
//! # Problem
//! A time daemon's errors appear after hours, on bad networks, with bad crystals, or when a server
//! fails at the wrong moment. A test cannot wait for that, and on a real machine the true time is
//! unknown.
//!
//! # Idea
//! The engine does no I/O and reads no clock, so its whole environment can be simulated: the
//! oscillator and the clock that the engine steers, the paths and servers, attackers, the resolver.
//! A [`Scenario`] describes the world and a script of events; a seed determines all random numbers.
//! The [`World`] runs it against the *unchanged* engine, which is driven by the same rules as in
//! the daemon. The [checker](Violation) verifies the invariants all the time: the bound contains
//! the true error, time runs forward, servers are not polled too often. Tests assert only what is
//! specific to their scenario.
//!
//! | file | what it simulates |
//! |---|---|
//! | `reference` | the worlds in which other daemons were measured |
//! | `server_worlds` | worlds whose servers wander, drift or lie |
//! | `varied` | worlds with other delay distributions, changing conditions and unequal sources |
//! | `oscillator` | a crystal: offset, wander, temperature, jumps |
//! | `clock` | the kernel's clock: reading, stepping, frequency, leap second |
//! | `link` | a path in both directions: delay distributions, loss, duplicates, congestion |
//! | `course` | how a server's clock moves: steps, sawtooths, drifts, followers of other servers |
//! | `server` | a server: correct, wrong, silent, or sending kiss codes or invalid replies |
//! | `ref_clock` | a reference clock: samples with noise and error, silence |
//! | `key_exchange` | NTS keys, without TLS |
//! | `attacker` | an attacker who sends forged datagrams to the client's sockets |
//! | `node` | the daemon's shell around the engine |
//! | `world`, `event_queue` | the event loop and the script; the world has several nodes if engines keep the clocks of servers |
//! | `random`, `random_receivers` | worlds drawn from a seed, without and with reference clocks |
//! | `checker` | the invariants of every world |
//! | `journal`, `report`, `histogram` | events of a run, and how well time was kept |
//!
//! # Reproducing a run
//! Equal scenario, equal seed and equal build give runs that are equal to the bit, which
//! [`Report::fingerprint`] shows. (Builds for other machines may differ in the last bit of a
//! logarithm.) Each part draws from a random stream of its own, so an addition to a scenario does
//! not change the random numbers of the rest.
#![forbid(unsafe_code)]

mod attacker;
mod checker;
mod clock;
pub mod clock_worlds;
mod course;
mod event_queue;
mod histogram;
mod journal;
mod key_exchange;
mod link;
mod node;
mod oscillator;
mod random;
mod random_receivers;
mod ref_clock;
pub mod reference;
mod report;
mod rng;
mod scenario;
mod server;
pub mod server_worlds;
mod truth;
pub mod varied;
mod world;

pub use attacker::{Attack, Forgery};
pub use checker::{Rules, Violation};
pub use clock::{ClockLimits, SimClock};
pub use course::{Course, Follower};
pub use journal::Journal;
pub use key_exchange::{NegotiatedServer, Nts};
pub use link::{Congestion, Direction, Link, Queue};
pub use node::{Stamping, Trace};
pub use oscillator::{Oscillator, Sine};
pub use random::random_world;
pub use random_receivers::random_receiver_world;
pub use ref_clock::{ClockBehaviour, Receiver, RefClock};
pub use report::{Report, SETTLED_LIMITS};
pub use rng::Rng;
pub use scenario::{
    Action, Machine, NodeConfig, Scenario, nts_source, ref_clock_source, source, source_at,
};
pub use server::{Behaviour, Corruption, LeapAnnouncement, Server, shared_key};
pub use truth::{Calendar, TrueTime};
pub use world::World;

/// Runs `scenario` with `seed` to its end.
///
/// # Errors
/// Returns the first violated invariant, with its time and the way to reproduce it.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, Violation> {
    let mut world = World::new(scenario, seed);
    world.run(scenario.duration)?;
    Ok(world.report())
}
