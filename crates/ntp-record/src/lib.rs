//! Record of all inputs of the engine, and its replay.
//!
//! # Problem
//! A clock daemon's decisions depend on packets that cannot be received again. A log contains the
//! decisions, but not the data on which they are based.
//!
//! # Solution
//! The engine is deterministic: its configuration, its inputs with their times, and the random
//! numbers that it drew determine everything that it does. The daemon records these, one [`Line`]
//! each, and [`replay`] passes them to a new engine, every intermediate state of which can then be
//! inspected. Only the version that wrote a record replays it; records of other versions of the
//! program or the format are refused.
//!
//! # File format
//! JSON, one object a line. Times are nanoseconds (`m` monotonic, `s` system since 1970), durations
//! 2^-32 s, frequencies the bits of an IEEE 754 double ([`ntp_time::exact`]): a decimal form that is
//! not read back exactly would change decisions.
//!
//! | member | contents |
//! |---|---|
//! | `start` | start of a file: versions of format and daemon, start time of the run (`run`) and number of the file in it (`part`), associations, the `config` in force |
//! | `input` | an input: its kind `in`, its contents, and the random numbers that were drawn (`rng`) |
//! | `association`, `removed` | an association was added (number, source, address) or removed |
//! | `event` | an event, or the result of an operator's command |
//! | `dropped` | number of lines that are missing here, because they could not be written fast enough |
//! | `keys` | next to `start` and `input`: number, algorithm and index of the secret of each source's symmetric key |
//!
//! # Incomplete records
//! A long run fills several files, of which the oldest are deleted; a disk fails, a daemon is
//! killed in mid-line. A record is replayed exactly up to the first gap. From there on, and if the
//! record begins midway, the replay is inexact: it uses the recorded replies, but what the engine
//! learnt from the missing lines is unknown. [`Outcome::inexact`] gives the reasons.
//!
//! # No secrets
//! A record can be sent to others for analysis. It contains no keys, no cookies and not the seed of
//! the random numbers, but only those random numbers that have been used, as transmit timestamps on
//! the wire. Of a reply only the header and the result of its authentication are recorded; in the
//! replay, surrogates (`surrogate`) replace the keys.
#![forbid(unsafe_code)]

mod input;
mod line;
mod matching;
mod plot;
mod replay;
mod surrogate;
mod trace_writer;
mod version_5;

pub use input::{RecordedInput, RecordedKeyExchange, RecordedReply};
pub use line::{InvalidLine, Line, Start};
pub use plot::svg;
pub use replay::{Decision, Outcome, Sample, replay};
pub use surrogate::Redactor;
pub use trace_writer::TraceWriter;
