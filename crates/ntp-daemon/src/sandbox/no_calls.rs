//! No restriction of system calls (`calls`), on processors for which filters cannot be made here.
//!
//! The daemon logs that and runs with the other restrictions: user, capabilities, files.

use core::fmt;

use ntp_config::SandboxMode;

use super::profile::Profile;

/// There are no filters for this processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no filters for {}", std::env::consts::ARCH)
    }
}

/// Filters, which cannot exist.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filters {}

impl Filters {
    pub(super) fn new(_: SandboxMode) -> Result<Self, Error> {
        Err(Error)
    }

    pub(super) fn apply(&self, _: Profile) -> Result<(), Error> {
        match *self {}
    }
}

pub(super) fn are_missing(_: &Error) -> bool {
    true
}

pub(super) fn name(number: usize) -> String {
    number.to_string()
}
