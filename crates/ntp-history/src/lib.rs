//! Compact history of the accuracy of a clock, and reports about it.
//!
//! Trading rules, databases and auditors ask afterwards how far a clock may have been from UTC. The
//! daemon answers from a history that it writes while it runs: for each quarter of an hour the
//! distribution of its error bound and of its estimated error, the sources in use, and the events
//! that matter. `ntp-ctl report` reads it.
//!
//! | module | content |
//! |---|---|
//! | [`levels`] | time spent at each value of a figure, rounded up to two significant digits |
//! | [`entry`] | a quarter of an hour, its line in the file, and the chain of hashes |
//! | [`recorder`] | makes entries from what the engine knows at each wake-up |
//! | [`report`] | figures for each day from entries |
//!
//! Nothing here reads a file or a clock. No wake-up is needed either: between two wake-ups the
//! error bound grows linearly, so its distribution follows from the values at both ends.
//!
//! # Chain
//! Each line begins with the SHA-256 of the rest of it, and contains the hash of the line before. A
//! line that is changed, removed or inserted therefore breaks the chain. A program that may write
//! the file can make the chain anew from the place of a change; the daemon logs the newest hash every
//! day, so that a log kept elsewhere shows that, too.
#![forbid(unsafe_code)]

use std::path::Path;

pub mod entry;
pub mod levels;
pub mod recorder;
pub mod report;

pub use entry::{Chain, ChainFault, Entry, Hash, Line, Occurrence};
pub use levels::Levels;
pub use recorder::{Accuracy, Recorder};
pub use report::{Collector, Report};

/// Returns the month of a file of a history, such as `2026-11` for `2026-11.log`; `None` for other
/// files.
pub fn month_of(path: &Path) -> Option<&str> {
    let month = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let (year, rest) = month.split_once('-')?;
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|it| it.is_ascii_digit());
    (digits(year, 4) && digits(rest, 2)).then_some(month)
}
