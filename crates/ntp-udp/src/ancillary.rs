//! Contents of control messages: timestamps, destination address, network errors.
//!
//! | message | contents |
//! |---|---|
//! | `SCM_TIMESTAMPING` | three times (seconds, nanoseconds): by the kernel, unused, by the interface's clock; zero is none |
//! | `SCM_TIMESTAMPNS`, `SCM_TIMESTAMP` | one time, in nanoseconds or microseconds |
//! | `IP_PKTINFO` | interface index, local address, destination address of the header |
//! | `IPV6_PKTINFO` | destination address, interface index |
//! | `IP_RECVERR`, `IPV6_RECVERR` | `sock_extended_err`: error number and origin |
//! | `IP_TTL`, `IPV6_HOPLIMIT` | hop limit, as an int |
//! | `SO_RXQ_OVFL` | number of datagrams that the kernel had dropped; absent before the first |
//!
//! A time is two 64-bit numbers on every target (see `stamping`).
//!
//! The time by the interface's clock is ignored: it is not system time, and the message does not say
//! which clock it is.

use core::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{in_pktinfo, sock_extended_err};
use ntp_time::{RawStamp, StampClock};

use crate::cmsg::ControlBuffer;
use crate::stamping;

/// Contents of the control messages of one datagram or one entry of the error queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ancillary {
    /// Time by the system clock, nanoseconds.
    kernel: Option<i64>,
    /// Destination address of the datagram.
    pub(crate) local: Option<IpAddr>,
    /// Local address from which a reply can be sent: the same, unless the destination was a
    /// multicast or broadcast address.
    pub(crate) own: Option<IpAddr>,
    /// Index of the interface at which it arrived.
    pub(crate) interface: Option<u32>,
    /// Entry of the error queue.
    pub(crate) report: Option<Report>,
    /// Number of datagrams that the kernel had dropped when this one arrived, modulo 2^32.
    pub(crate) dropped: Option<u32>,
}

/// An entry of the error queue (`sock_extended_err`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The error number; `ENOMSG` for a transmit stamp.
    pub(crate) error: i32,
    /// `SO_EE_ORIGIN_*`.
    pub(crate) origin: u8,
    /// For a transmit timestamp: the stage on the packet's way out, 0 being the last.
    pub(crate) info: u32,
    /// For a transmit timestamp: the number of the datagram (`OPT_ID`).
    pub(crate) number: u32,
}

impl Ancillary {
    /// Parses all messages of a buffer. Unknown and damaged ones are ignored.
    pub(crate) fn of(buffer: &ControlBuffer) -> Self {
        let mut found = Self::default();
        for message in buffer.messages() {
            match (message.level, message.kind) {
                (libc::SOL_SOCKET, stamping::SO_TIMESTAMPING) => {
                    found.kernel = time(message.data, message.data.len() / 3, 1);
                }
                (libc::SOL_SOCKET, stamping::SO_TIMESTAMPNS) => {
                    found.kernel = time(message.data, message.data.len(), 1);
                }
                (libc::SOL_SOCKET, stamping::SO_TIMESTAMP) => {
                    found.kernel = time(message.data, message.data.len(), 1000);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let address = bytes::<4>(message.data, offset_of!(in_pktinfo, ipi_addr));
                    found.local = address.map(|octets| Ipv4Addr::from(octets).into());
                    let own = bytes::<4>(message.data, offset_of!(in_pktinfo, ipi_spec_dst));
                    found.own = own.map(|octets| Ipv4Addr::from(octets).into());
                    found.interface = word(message.data, offset_of!(in_pktinfo, ipi_ifindex));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let address = bytes::<16>(message.data, 0);
                    found.local = address.map(|octets| Ipv6Addr::from(octets).to_canonical());
                    found.own = found.local.filter(|local| !local.is_multicast());
                    found.interface = word(message.data, 16);
                }
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                    found.report = Report::of(message.data);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => found.dropped = word(message.data, 0),
                _ => {}
            }
        }
        found
    }

    /// Returns the timestamp of the kernel.
    pub(crate) fn stamp(&self) -> Option<RawStamp> {
        let nanos = self.kernel?;
        Some(RawStamp::new(StampClock::System, nanos))
    }
}

/// Returns the hop limit with which a datagram arrived, if its socket requests it. Apart from
/// [`Ancillary`], because servers do not use it.
pub(crate) fn hop_limit(buffer: &ControlBuffer) -> Option<u8> {
    let mut messages = buffer.messages();
    let message = messages.find(|message| {
        matches!(
            (message.level, message.kind),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
        )
    })?;
    word(message.data, 0)?.try_into().ok()
}

impl Report {
    fn of(data: &[u8]) -> Option<Self> {
        let origin = bytes::<1>(data, offset_of!(sock_extended_err, ee_origin))?[0];
        Some(Self {
            error: i32::try_from(word(data, offset_of!(sock_extended_err, ee_errno))?)
                .unwrap_or(libc::EIO),
            origin,
            info: word(data, offset_of!(sock_extended_err, ee_info))?,
            number: word(data, offset_of!(sock_extended_err, ee_data))?,
        })
    }

    /// Returns whether the entry is a transmit timestamp, of any stage.
    pub(crate) const fn is_stamp(&self) -> bool {
        self.origin == libc::SO_EE_ORIGIN_TIMESTAMPING
    }
}

/// Parses the time at the beginning of `data`, made of two halves of a slot of `len` bytes; `None`
/// for zero. `unit` is the length of the fraction's unit in nanoseconds.
fn time(data: &[u8], len: usize, unit: i64) -> Option<i64> {
    if len != 16 {
        return None;
    }
    let seconds = i64::from_ne_bytes(bytes(data, 0)?);
    let fraction = i64::from_ne_bytes(bytes(data, 8)?);
    if seconds == 0 && fraction == 0 {
        return None;
    }
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(fraction.checked_mul(unit)?)
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes(data, at)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(level: i32, kind: i32, data: &[u8]) -> Ancillary {
        let mut buffer = ControlBuffer::new();
        assert!(buffer.push(level, kind, data));
        Ancillary::of(&buffer)
    }

    fn longs(values: &[i64]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect()
    }

    fn system(nanos: i64) -> Option<RawStamp> {
        Some(RawStamp::new(StampClock::System, nanos))
    }

    proptest! {
        #[test]
        fn arbitrary_control_messages_are_accepted(
            level in prop::sample::select(vec![libc::SOL_SOCKET, libc::IPPROTO_IP, libc::IPPROTO_IPV6]),
            kind in prop::sample::select(vec![
                stamping::SO_TIMESTAMPING, stamping::SO_TIMESTAMPNS, stamping::SO_TIMESTAMP,
                libc::IP_PKTINFO, libc::IPV6_PKTINFO, libc::IP_RECVERR, libc::IPV6_RECVERR,
            ]),
            data in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = with(level, kind, &data).stamp();
        }
    }

    #[test]
    fn readings_of_the_interface_are_not_taken_for_system_time() {
        let both = longs(&[5, 6, 0, 0, 7, 8]);
        let stamp = with(libc::SOL_SOCKET, stamping::SO_TIMESTAMPING, &both).stamp();
        assert_eq!(stamp, system(5_000_000_006));
        for without in [[0; 6], [0, 0, 0, 0, 7, 8]] {
            let without = longs(&without);
            let stamp = with(libc::SOL_SOCKET, stamping::SO_TIMESTAMPING, &without).stamp();
            assert_eq!(stamp, None);
        }
    }

    #[test]
    fn older_timestamp_formats_are_parsed() {
        let data = longs(&[5, 6]);
        let fine = with(libc::SOL_SOCKET, stamping::SO_TIMESTAMPNS, &data).stamp();
        assert_eq!(fine, system(5_000_000_006));
        let coarse = with(libc::SOL_SOCKET, stamping::SO_TIMESTAMP, &data).stamp();
        assert_eq!(coarse, system(5_000_006_000));
        // Of 32-bit kernels, which the options do not request: it would end in 2038.
        let narrow = with(libc::SOL_SOCKET, stamping::SO_TIMESTAMPNS, &data[..8]).stamp();
        assert_eq!(narrow, None);
    }

    #[test]
    fn destination_and_interface_are_found() {
        let mut info = 3u32.to_ne_bytes().to_vec();
        info.extend([10, 0, 0, 1, 192, 0, 2, 7]);
        let found = with(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        assert_eq!(
            (found.local, found.interface),
            (Some([192, 0, 2, 7].into()), Some(3))
        );
        let mut info = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9].to_vec();
        info.extend(4u32.to_ne_bytes());
        let found = with(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        assert_eq!(
            (found.local, found.interface),
            ("2001:db8::9".parse().ok(), Some(4))
        );
    }

    #[test]
    fn network_errors_are_distinguished_from_timestamps() {
        let report = |number: i32, origin| {
            let mut data = number.to_ne_bytes().to_vec();
            data.extend([origin, 3, 1, 0]);
            data.extend([0; 8]);
            with(libc::IPPROTO_IP, libc::IP_RECVERR, &data).report
        };
        let unreachable = report(libc::EHOSTUNREACH, libc::SO_EE_ORIGIN_ICMP);
        assert_eq!(
            unreachable.map(|report| (report.error, report.is_stamp())),
            Some((libc::EHOSTUNREACH, false))
        );
        let stamp = report(libc::ENOMSG, libc::SO_EE_ORIGIN_TIMESTAMPING);
        assert!(stamp.is_some_and(|report| report.is_stamp()));
    }
}
