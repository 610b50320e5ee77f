//! Errors of a clock, which stop steering, and shortcomings, which do not.

use std::io;

/// Error while opening, reading or changing a clock. Its cause is the operating system or its
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// The process lacks CAP_SYS_TIME.
    #[error("not permitted to change the system clock: the process lacks CAP_SYS_TIME; {REMEDY}")]
    NotPermitted,
    /// Even reading is refused, as by system-call filters of containers.
    #[error(
        "the state of the system clock cannot be read: clock_adjtime is refused, probably by the \
         system-call filter of a container without CAP_SYS_TIME; {REMEDY}"
    )]
    ReadingRefused,
    /// The kernel rejected a change; contains the operating system's error number.
    #[error("the kernel rejected the change of the system clock: {}", io::Error::from_raw_os_error(*.0))]
    Rejected(i32),
}

impl ClockError {
    /// Classifies the error of a call that changes the clock.
    pub(crate) fn from_change(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted,
            number => Self::Rejected(number.unwrap_or(libc::EIO)),
        }
    }

    /// Classifies the error of a call that only reads.
    pub(crate) fn from_reading(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Self::ReadingRefused,
            number => Self::Rejected(number.unwrap_or(libc::EIO)),
        }
    }
}

/// Remedies if the kernel clock cannot be changed.
const REMEDY: &str = "grant it (systemd: AmbientCapabilities=CAP_SYS_TIME; by hand: \
    setcap cap_sys_time+ep on the daemon; container: --cap-add SYS_TIME), \
    or leave the kernel clock alone with [clock] kind = \"virtual\" or \"none\"";

/// An optional facility that this system lacks. The clock works without it; the caller reports it
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Shortcoming {
    /// No `CLOCK_BOOTTIME`.
    #[error(
        "CLOCK_BOOTTIME is not used: timers and ages stand still while the system is suspended"
    )]
    NoBootTime,
    /// The kernel does not report when a change took effect.
    #[error(
        "clock_adjtime does not report when a change took effect: the time is taken from readings around the call"
    )]
    NoTimeOfChange,
    /// A slew that another program started with `adjtime(3)` could not be stopped.
    #[error(
        "a slew started by another program with adjtime could not be stopped: the clock may drift until it is over"
    )]
    LeftoverSlew,
    /// The kernel's frequency cannot be read.
    #[error(
        "the frequency of the system clock cannot be read: it is taken for nominal and constant"
    )]
    NoFrequency,
}

impl Shortcoming {
    /// Returns the stable name of the missing facility.
    pub const fn facility(self) -> &'static str {
        match self {
            Self::NoBootTime => "boot-time",
            Self::NoTimeOfChange => "time-of-change",
            Self::LeftoverSlew => "slew-control",
            Self::NoFrequency => "frequency",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_error_names_capability_and_remedy() {
        let refused =
            ClockError::from_change(&io::Error::from_raw_os_error(libc::EPERM)).to_string();
        for word in [
            "CAP_SYS_TIME",
            "setcap",
            "AmbientCapabilities",
            "\"virtual\"",
            "\"none\"",
        ] {
            assert!(refused.contains(word), "{word} is missing from: {refused}");
        }
    }

    #[test]
    fn a_rejected_value_is_not_a_permission_error() {
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        assert_eq!(
            ClockError::from_change(&error),
            ClockError::Rejected(libc::EINVAL)
        );
    }
}
