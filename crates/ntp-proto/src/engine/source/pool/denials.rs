//! Addresses whose server denied access (kiss codes DENY and RSTR, RFC 5905 section 7.4).
//!
//! The association ends at once, as the RFC demands. The configured source remains, so its address
//! is tried again: the denial may be a mistake that its operator has corrected, or a packet that
//! somebody on the path forged. The delay doubles with each further denial. It ends early when an
//! operator asks for it, and when the addresses of this machine change, because access lists go by
//! address.

use ntp_time::{Monotonic, NtpDuration};
use ntp_types::host::ScopedIp;

use super::MAX_CANDIDATES;
use crate::client::KissCode;

/// Delay before a denied address is tried again, at first and at most. An hour is negligible load
/// for a server that refuses us and is bearable for a client whose server was misconfigured for a
/// minute; a day keeps the attempts of many refused clients rare.
const RETRY_DELAY: (NtpDuration, NtpDuration) = (
    NtpDuration::from_seconds(3600),
    NtpDuration::from_seconds(86_400),
);

/// Largest random addition to the delay, as a fraction, so that clients that were denied together
/// do not return together.
const RETRY_SCATTER: f64 = 0.25;

/// Shortest time between a denial and an attempt because of a change of the network: an interface
/// may change every second.
const NETWORK_RETRY: NtpDuration = NtpDuration::from_seconds(64);

/// The denials of one configured source.
#[derive(Debug, Default)]
pub(in crate::engine::source) struct Denials(Vec<Denial>);

/// The last denial of an address.
#[derive(Debug)]
struct Denial {
    address: ScopedIp,
    code: KissCode,
    at: Monotonic,
    /// Delay of this denial, without the random addition.
    delay: NtpDuration,
    /// When the address is tried again; `None` once it may be.
    retry: Option<Monotonic>,
}

impl Denials {
    /// Records a denial. `scatter` is a random number from 0 to 1. Returns the time until the
    /// address is tried again.
    pub(super) fn record(
        &mut self,
        now: Monotonic,
        address: ScopedIp,
        code: KissCode,
        scatter: f64,
    ) -> NtpDuration {
        let before = self.0.iter().position(|denial| denial.address == address);
        let before = before.map(|index| self.0.remove(index));
        let delay = before.map_or(RETRY_DELAY.0, |before| {
            (before.delay * 2).min(RETRY_DELAY.1)
        });
        if self.0.len() == MAX_CANDIDATES {
            self.0.remove(0);
        }
        let wait = delay + delay.scaled(RETRY_SCATTER * scatter);
        self.0.push(Denial {
            address,
            code,
            at: now,
            delay,
            retry: Some(now + wait),
        });
        wait
    }

    /// Whether `address` must not be used at present.
    pub(super) fn forbid(&self, address: ScopedIp) -> bool {
        self.in_force()
            .any(|(denied, ..)| denied.address == address)
    }

    /// Ends the denials whose time has come.
    pub(super) fn expire(&mut self, now: Monotonic) {
        for denial in &mut self.0 {
            denial.retry = denial.retry.filter(|at| *at > now);
        }
    }

    /// When the next address may be tried again.
    pub(super) fn next_retry(&self) -> Option<Monotonic> {
        self.in_force().map(|(_, retry)| retry).min()
    }

    /// The code of the newest denial in force.
    pub(super) fn code(&self) -> Option<KissCode> {
        self.in_force().last().map(|(denial, _)| denial.code)
    }

    /// Forgets all denials on request of an operator. Returns whether any was in force.
    pub(super) fn lift(&mut self) -> bool {
        let any = self.in_force().next().is_some();
        self.0.clear();
        any
    }

    /// The addresses of this machine changed: a server may serve us at the new ones.
    pub(super) fn network_changed(&mut self, now: Monotonic) {
        for denial in &mut self.0 {
            let soon = now.max(denial.at + NETWORK_RETRY);
            denial.retry = denial.retry.map(|at| at.min(soon));
        }
    }

    /// Forgets the denial of an address that served us.
    pub(super) fn served(&mut self, address: ScopedIp) {
        self.0.retain(|denial| denial.address != address);
    }

    fn in_force(&self) -> impl Iterator<Item = (&Denial, Monotonic)> {
        self.0
            .iter()
            .filter_map(|denial| Some((denial, denial.retry?)))
    }
}
