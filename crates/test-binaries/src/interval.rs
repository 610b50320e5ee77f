//! Rate limiting by a minimum interval per client address.
//!
//! A request is too early if the previous one from the same address is less than the interval ago,
//! whether that one was answered or not; a client that does not slow down is never served. This
//! rule tests whether a client obeys `RATE`; it is not a good rule for a real server.

use core::time::Duration;
use std::collections::HashMap;
use std::net::IpAddr;

use ntp_time::{Monotonic, NtpDuration};

/// Maximum number of remembered addresses; more than any test has clients.
const CAPACITY: usize = 4096;

/// Time of the last request of each client address.
#[derive(Clone, Debug, Default)]
pub struct IntervalGuard {
    last_request: HashMap<IpAddr, Monotonic>,
}

impl IntervalGuard {
    /// Records a request. Returns whether it came at least `minimum` after the previous one.
    pub fn admit(&mut self, client: IpAddr, now: Monotonic, minimum: Duration) -> bool {
        let minimum = NtpDuration::from(minimum);
        if self.last_request.len() >= CAPACITY {
            self.last_request.retain(|_, last| now - *last < minimum);
        }
        if self.last_request.len() >= CAPACITY {
            self.last_request.clear();
        }
        match self.last_request.insert(client, now) {
            Some(last) => now - last >= minimum,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MINIMUM: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Monotonic {
        Monotonic::from_nanos(0) + NtpDuration::from_seconds(seconds)
    }

    #[test]
    fn each_address_has_its_own_interval() {
        let [first, second] = [1, 2].map(|host| IpAddr::from([192, 0, 2, host]));
        let mut guard = IntervalGuard::default();
        assert!(guard.admit(first, at(0), MINIMUM));
        assert!(guard.admit(second, at(1), MINIMUM));
        assert!(!guard.admit(first, at(29), MINIMUM));
        assert!(guard.admit(second, at(31), MINIMUM));
        // The refused request counts: 58 - 29 is too soon, 90 - 58 is not.
        assert!(!guard.admit(first, at(58), MINIMUM));
        assert!(guard.admit(first, at(90), MINIMUM));
    }

    #[test]
    fn memory_is_bounded() {
        let mut guard = IntervalGuard::default();
        for client in 0..20_000 {
            let address = IpAddr::from(Ipv4Addr::from_bits(client));
            assert!(guard.admit(address, at(0), MINIMUM));
            assert!(guard.last_request.len() <= CAPACITY);
        }
    }
}
