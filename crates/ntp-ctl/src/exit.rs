//! Exit codes, for scripts: one table, from which the manual and the help are made.
//!
//! Upstream's tool ends with 0 or 1, and `force-sync` with 78 after a bad configuration; that is kept. Ours on top are 124, as timeout(1)
//! has it, for a wait that was long enough for nothing as opposed to one that could not even begin, and those of `nts check`.

/// The command did what was asked.
pub(crate) const DONE: u8 = 0;
/// Anything that has no code of its own.
pub(crate) const FAILED: u8 = 1;
/// The time given was over.
pub(crate) const TIMED_OUT: u8 = 124;
/// EX_CONFIG of `sysexits.h`.
pub(crate) const CONFIG: u8 = 78;

/// Every code and when it is used.
pub const CODES: &[(&str, &str)] = &[
    (
        "0",
        "The command did what was asked: `waitsync`: the clock is synchronised; `validate`: the configuration is good; `force-sync`: the clock was set, or needed \
         no setting, or the answer was no. Help and version.",
    ),
    (
        "1",
        "Anything else: a wrong command line, no daemon that can be reached, a change that was refused, a file that cannot be written. Standard error says \
         what and what to do; with `--format json`, standard output has it too (`\"done\": false`, `error`, `reason`).",
    ),
    (
        "2 to 15",
        "`nts check`: which part of NTS does not work; `ntp-ctl nts check --help` lists them.",
    ),
    ("78", "`force-sync`: the configuration cannot be used."),
    (
        "124",
        "`waitsync`: a daemon answered, and the clock was not synchronised within `--timeout` (no daemon at all is 1); `force-sync`: no majority of \
         sources agreed within `--timeout`.",
    ),
];
