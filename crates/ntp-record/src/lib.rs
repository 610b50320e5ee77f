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
//! | `start` | format version; the `config` in force and the associations that there are, of which run this is (`run`) and the how manieth file (`part`) |
//! | `in` | an input: `tick`, `sent`, `failed`, `reply`, `resolved`, `addresses`, `keys`, `revoked`, `applied`, `suspended`, `command`, `config`, `leap-list`, `shutdown`; `d` are the random numbers drawn |
//! | `member`, `gone` | an association began (number, source, address) or ended |
//! | `event` | what a person was told, and what became of an operator's wish |
//! | `dropped` | lines that are missing here, because they could not be written fast enough |
//!
//! # What is missing
//! A long run fills several files, of which the oldest are gone some day; a disk fails, a daemon is killed in mid-line. What is there is replayed all the same, and the outcome says what was missing: see [`replay`].
//!
//! # No secrets
//! A record may be sent to somebody who is asked for help. Keys and cookies are not in it, nor is the seed of the random numbers: only those of them that have been
//! used, as transmit timestamps on the wire. Of a reply only the header is kept, and what it proved; in the replay, others (`surrogate`) stand in for the keys.
#![forbid(unsafe_code)]

mod config;
mod input;
mod json;
mod line;
mod plot;
mod replay;
mod surrogate;
mod trace_writer;

pub use input::{RecordedInput, RecordedKeyExchange, RecordedReply};
pub use line::{InvalidLine, Line, RecordedAssociation, Start};
pub use plot::svg;
pub use replay::{Decision, Outcome, Sample, replay};
pub use surrogate::Redactor;
pub use trace_writer::TraceWriter;
