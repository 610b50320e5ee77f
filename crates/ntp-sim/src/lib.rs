//! A simulated world around the engine: days of timekeeping in milliseconds, every fault on demand, truth known.
//!
//! # Problem
//! A time daemon's errors show after hours, on bad networks, with bad crystals, or when a server turns bad at the wrong
//! moment. None of that can be waited for, and on a real machine nobody knows what the true time was.
//!
//! # Idea
//! The engine does no I/O and reads no clock, so everything around it can be made up: the oscillator and the clock that
//! the engine steers, the paths and servers, strangers who send forgeries, the resolver. A [`Scenario`] says what the
//! world is like and what happens in it; a seed decides all chance. The [`World`] plays it against the *unchanged* engine, driven by
//! the same rules as in the daemon, and the [`checker`](Violation) watches all the time that what must always hold does hold: truth lies inside
//! the bound, time runs forward, servers are not asked too often. Tests say what a scenario should come to; the checker needs no telling.
//!
//! | file | what it imitates |
//! |---|---|
//! | `anchors` | the worlds in which other daemons were measured |
//! | `further` | worlds with other laws, changing conditions and unequal sources |
//! | `oscillator` | a crystal: offset, wander, temperature, jumps |
//! | `clock` | the kernel's clock: reading, stepping, frequency, leap second |
//! | `link` | one path there and back: delay laws, loss, duplicates, congestion |
//! | `server` | a server: right, wrong, silent, kissing, or sending nonsense |
//! | `key_exchange` | NTS keys, without TLS |
//! | `attacker` | a stranger who sends what he likes to our sockets |
//! | `node` | the daemon's shell around the engine |
//! | `world`, `agenda` | what happens next, and the script |
//! | `random` | worlds drawn from a seed |
//! | `checker` | what must hold in every world |
//! | `journal`, `report`, `spread` | what happened, and how well time was kept |
//!
//! # Reproducing a run
//! Equal scenario, equal seed and equal build give equal runs to the bit; [`Report::fingerprint`] tells. (Builds for other machines may
//! differ in the last bit of a logarithm.) Each part draws from a stream of its own, so a scenario that only adds
//! something does not change the luck of the rest.
#![forbid(unsafe_code)]

mod agenda;
pub mod anchors;
mod attacker;
mod chance;
mod checker;
mod clock;
pub mod further;
mod journal;
mod key_exchange;
mod link;
mod node;
mod oscillator;
mod random;
mod report;
mod scenario;
mod server;
mod spread;
mod truth;
mod world;

pub use attacker::{Attack, Forgery};
pub use chance::Chance;
pub use checker::{Rules, Violation};
pub use clock::{ClockLimits, SimClock};
pub use journal::Journal;
pub use key_exchange::{Named, Nts};
pub use link::{Congestion, Direction, Link, Queue};
pub use node::{Stamping, Witness};
pub use oscillator::{Oscillator, Sine};
pub use random::random_world;
pub use report::Report;
pub use scenario::{Action, NodeConfig, Scenario, nts_source, source, source_at};
pub use server::{Conduct, LeapNews, Server, Spoilt, shared_key};
pub use truth::{Calendar, TrueTime};
pub use world::World;

/// Plays `scenario` with `seed` to its end.
///
/// # Errors
/// If something that must always hold did not; the violation says what, when, and how to see it again.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, Violation> {
    let mut world = World::new(scenario, seed);
    world.run(scenario.duration)?;
    Ok(world.report())
}
