//! A minimal NTP client that shares no code with the daemon, as independent measurement.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::netns::Host;
use crate::wait::Deadline;

/// Reply of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reply {
    /// Leap indicator; 3 means unsynchronised.
    pub leap: u8,
    /// Stratum; 0 is a kiss-o'-death.
    pub stratum: u8,
    /// Reference identifier.
    pub reference_id: [u8; 4],
    /// Server's clock minus ours, in seconds (RFC 5905 section 8).
    pub offset: f64,
    /// Round-trip delay in seconds, without the server's processing time.
    pub delay: f64,
}

impl Reply {
    /// Whether a client may synchronise to this server.
    pub fn is_synchronized(&self) -> bool {
        self.leap != 3 && (1..16).contains(&self.stratum)
    }
}

/// Seconds between the NTP and the Unix epoch.
const NTP_EPOCH: f64 = 2_208_988_800.0;
const HEADER: usize = 48;

/// Sends a request to `server` and waits at most `limit` for its reply. Late replies to earlier
/// requests are ignored.
///
/// # Errors
/// Those of the socket; `TimedOut` or `WouldBlock` without a reply.
pub fn query(socket: &UdpSocket, server: SocketAddr, limit: Duration) -> io::Result<Reply> {
    let deadline = Deadline::after(limit);
    let mut request = [0; HEADER];
    request[0] = 0b00_100_011;
    let sent = now();
    let cookie = sent.to_bits().to_be_bytes();
    request[40..].copy_from_slice(&cookie);
    socket.send_to(&request, server)?;
    let mut reply = [0; 1024];
    let received = loop {
        // Zero would mean to wait forever.
        socket.set_read_timeout(Some(deadline.left().max(Duration::from_millis(1))))?;
        let (length, from) = socket.recv_from(&mut reply)?;
        if length >= HEADER && from == server && reply[0] & 7 == 4 && reply[24..32] == cookie {
            break now();
        }
        if deadline.passed() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    };
    let their_receive = timestamp(&reply[32..40]);
    let their_transmit = timestamp(&reply[40..48]);
    Ok(Reply {
        leap: reply[0] >> 6,
        stratum: reply[1],
        reference_id: [reply[12], reply[13], reply[14], reply[15]],
        offset: f64::midpoint(their_receive - sent, their_transmit - received),
        delay: (received - sent) - (their_transmit - their_receive),
    })
}

/// As [`query`], from `host` to port 123 of `server`.
///
/// # Errors
/// As [`query`].
pub fn query_from(host: &Host, server: IpAddr, limit: Duration) -> io::Result<Reply> {
    query(&host.udp_to(server), SocketAddr::new(server, 123), limit)
}

/// Unix time in seconds; a double resolves a quarter of a microsecond.
#[expect(
    clippy::disallowed_methods,
    reason = "the machine's clock is the reference of these tests"
)]
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Converts an NTP timestamp of era 0 to Unix seconds.
fn timestamp(octets: &[u8]) -> f64 {
    let number = octets
        .iter()
        .fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
    number as f64 / 4_294_967_296.0 - NTP_EPOCH
}
