//! Exit codes: one table, from which the manual and the help are generated.
//!
//! Codes 0, 1 and 78 (invalid configuration, `force-sync`) are those of upstream's tool. Our
//! additions are 2 for an invalid command line, as of most tools; 124 for a timeout, as in
//! timeout(1), which distinguishes it from a wait that could not start; 75 for a clock that is not
//! synchronised; and the codes of `nts check`.

/// Success.
pub(crate) const SUCCESS: u8 = 0;
/// Failure without a code of its own.
pub(crate) const FAILURE: u8 = 1;
/// Invalid command line.
pub(crate) const USAGE: u8 = 2;
/// Timeout.
pub(crate) const TIMED_OUT: u8 = 124;
/// The clock is not synchronised: EX_TEMPFAIL of `sysexits.h`.
pub(crate) const NOT_SYNCHRONIZED: u8 = 75;
/// `trial`: the daemons contradict each other. After the codes of `nts check`.
pub(crate) const CONTRADICTION: u8 = 17;
/// `validate`: the daemon starts, but the configuration will not work as intended.
pub(crate) const INCONSISTENT: u8 = 18;
/// EX_CONFIG of `sysexits.h`.
pub(crate) const CONFIG: u8 = 78;

/// All codes with their meaning.
pub const CODES: &[(&str, &str)] = &[
    (
        "0",
        "Success. `waitsync`: the clock is synchronised; `validate`: the configuration is valid; `force-sync`: the clock was set, needed \
         no correction, or the user declined. Help and version.",
    ),
    (
        "1",
        "Any other failure: no connection to the daemon, refused change, file not writable. Standard error has the \
         reason; with `--format json`, standard output has it too (`\"done\": false`, `error`, `reason`).",
    ),
    ("2", "Invalid command line; nothing was done."),
    (
        "3 to 16",
        "`nts check`: the part of NTS that failed; `ntp-ctl nts check --help` lists the codes.",
    ),
    ("17", "`trial`: the daemons contradict each other."),
    (
        "18",
        "`validate`: the daemon starts with this configuration, but it will not work as intended.",
    ),
    ("75", "`bound`, `trial`: the clock is not synchronised."),
    ("78", "`force-sync`: invalid configuration."),
    (
        "124",
        "`waitsync`: the daemon replied, but the clock was not synchronised within `--timeout` (without a daemon the code is 1); `force-sync`: no \
         majority of sources within `--timeout`.",
    ),
];
