//! "Why did it do that last night?": everything that the engine was told, line by line, and the engine run on it again.
//!
//! # Problem
//! A clock daemon's decisions depend on packets that nobody can have again. A log of messages tells what was decided, not whether another version would
//! have decided otherwise, nor on what grounds.
//!
//! # Idea
//! The engine is deterministic: its configuration, its inputs with their times, and the random numbers that it drew make it do
//! the same again. The daemon writes these down ([`line`](Line)), and [`replay`] gives them to a new engine. If that decides as recorded, every intermediate
//! figure can be looked at; if it does not (another version, another configuration), both are shown side by side.
//!
//! # Once it decides otherwise
//! The recorded readings are of a clock that was steered as recorded. From the first different adjustment on, they are brought to free-running time by the ledger of
//! what was done, and from there to the clock that the replayed engine would have made. A recorded reply is given to the replayed engine if it has a request under way to
//! that address; what it would have asked at another time, nobody knows.
//!
//! # The file
//! JSON, one object a line. Times are nanoseconds (`m` monotonic, `s` system since 1970), durations 2^-32 s, frequencies the bits of an IEEE 754 double: a decimal form
//! that is read back inexactly would change decisions.
//!
//! | member | line |
//! |---|---|
//! | `start` | format version; `config`, and whether the record begins midway because older lines are gone |
//! | `in` | an input: `tick`, `sent`, `failed`, `reply`, `resolved`, `addresses`, `applied`, `suspended`, `config`, `shutdown`, `other` (which cannot be replayed: an operator's command, a key exchange); `d` are the random numbers drawn |
//! | `closed` | an exchange that ended; a reply that ends one was taken as the answer |
//! | `event` | what a person was told |
//! | `dropped` | lines that are missing here, because they could not be written fast enough |
//!
//! # No secrets
//! A record may be sent to somebody who is asked for help. Keys are not in it, nor is the seed of the random numbers: only those of them that have been
//! used, as transmit timestamps on the wire. Of a reply only the header is kept. The replay asks without keys, and is told which replies passed.
#![forbid(unsafe_code)]

mod clocks;
mod config;
mod line;
mod plot;
mod replay;

pub use line::{Line, Malformed, Told};
pub use plot::svg;
pub use replay::{Decision, Moment, Outcome, replay};
