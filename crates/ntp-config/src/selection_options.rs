//! Selection options, which sources of all modes with keys have.

use crate::schema::section;
use crate::value;

section! {
    /// Selection options of a source, as chrony has them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SelectionOptions: Default = "source" [
        "server", "pool", "nts", "nts-pool", "sock", "shm", "pps", "phc", "nmea", "gpsd", "vmclock", "host-clock"
    ] {
        prefer: bool = value::boolean => or(false),
            "prefer" "boolean" "false" "Used instead of sources without this option, as long as it agrees with the majority.";
        trust: bool = value::boolean => or(false),
            "trust" "boolean" "false" "Assumed to be correct: while trusted sources answer, only they are used; others that agree with them are counted.";
        require: bool = value::boolean => or(false),
            "require" "boolean" "false" "The clock is corrected only if at least one such source is part of the majority.";
        noselect: bool = value::boolean => or(false),
            "noselect" "boolean" "false" "Measured and shown, but never used.";
        fallback: bool = value::boolean => or(false),
            "fallback" "boolean" "false" "Measured and shown, but used only after too few sources without this option have been usable for `fallback-after`; given up when enough of them are usable again.";
    }
}
