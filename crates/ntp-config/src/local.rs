//! `[local]`: what is served while no source is available. Not in upstream ntpd-rs.

use std::net::Ipv4Addr;

use ntp_time::{NtpDuration, ReferenceId, Stratum};

use crate::reader::{Context, Value};
use crate::schema::section;
use crate::{synchronization, value};

section! {
    /// The local reference. The presence of the section switches it on.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LocalConfig: Default = "local" [] {
        stratum: Stratum = stratum => or(Stratum::new(10)),
            "stratum" "integer, 1 to 15" "10" "Stratum of the local reference. With `orphan` it must be higher than that of any real source.";
        orphan: bool = value::boolean => or(false),
            "orphan" "boolean" "false" "Whether servers with the same local stratum that have each other as sources elect one: that with the smallest reference ID of its address. Interoperates with `local orphan` of chronyd. Sources with this stratum or a higher one are not selected otherwise.";
        distance: NtpDuration = seconds => or(NtpDuration::ZERO),
            "distance" "number, seconds" "0" "Error bound at which the local reference begins. Until then the clock is still served as following the sources that were lost. 0 begins at once.";
        activate_below: Option<NtpDuration> = seconds => optional,
            "activate-below" "number, seconds" "none" "The local reference begins only after the error bound has been below this value once, so that a clock that was never set is not served.";
        wait_synced: NtpDuration = seconds => or(NtpDuration::ZERO),
            "wait-synced" "number, seconds" "0" "Shortest time from the loss of the last source to the local reference.";
        wait_unsynced: Option<NtpDuration> = seconds => optional,
            "wait-unsynced" "number, seconds" "0, with `orphan` 300" "Shortest time from the start to the local reference while no source was followed yet.";
        reference_id: ReferenceId = reference_id => or(ReferenceId::LOCAL),
            "reference-id" "string" "\"127.127.1.1\"" "Reference identifier of the local reference: an IPv4 address, or up to 4 characters.";
    }
}

impl LocalConfig {
    /// Shortest time from the start to the local reference. In a group, other servers must have the
    /// time to answer.
    pub fn wait_unsynced(&self) -> NtpDuration {
        let default = if self.orphan { 300 } else { 0 };
        self.wait_unsynced
            .unwrap_or(NtpDuration::from_seconds(default))
    }
}

fn stratum(cx: &mut Context, value: &Value<'_>) -> Option<Stratum> {
    let stratum = value::whole::<u8>(cx, value)?;
    if (1..=15).contains(&stratum) {
        return Some(Stratum::new(stratum));
    }
    value.reject_value(cx, "an integer from 1 to 15")
}

fn seconds(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    let seconds = value::finite(cx, value)?;
    if seconds < 0.0 {
        return value.reject_value(cx, "a number of seconds that is not negative");
    }
    Some(NtpDuration::from_seconds_f64(seconds))
}

fn reference_id(cx: &mut Context, value: &Value<'_>) -> Option<ReferenceId> {
    let address = value::text(cx, value)?.parse::<Ipv4Addr>();
    match address {
        Ok(address) => Some(ReferenceId::new(address.octets())),
        Err(_) => synchronization::reference_id(cx, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn the_section_switches_the_local_reference_on() {
        let local = |text: &str| parse(text, "test").map(|(config, _)| config.local);
        assert_eq!(local("").unwrap(), None);
        let default = local("[local]").unwrap().unwrap();
        assert_eq!(default, LocalConfig::default());
        assert_eq!(default.wait_unsynced(), NtpDuration::ZERO);
        let group = local("[local]\norphan = true\nreference-id = \"ATOM\"").unwrap();
        let group = group.unwrap();
        assert_eq!(group.wait_unsynced(), NtpDuration::from_seconds(300));
        assert_eq!(group.reference_id, ReferenceId::new(*b"ATOM"));
        for wrong in [
            "stratum = 0",
            "stratum = 16",
            "wait-synced = -1",
            "reference-id = \"12345\"",
        ] {
            assert!(local(&format!("[local]\n{wrong}")).is_err(), "{wrong}");
        }
    }
}
