//! A minimal NTS client (RFC 8915): one key exchange, one request, one reply.
//!
//! The daemon's client refills its cookies, tolerates NTS NAKs and repeats key exchanges. A test
//! that examines how a *server* handles a certain cookie needs a client without that recovery. The
//! AEAD algorithms are the project's own; tests with chronyd and ntpsec verify those.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use ntp_proto::nts::{AeadAlgorithm, Cookie, KeyExchangeResult, NtsRequest, Proof, verify_reply};
use ntp_proto::wire::{Header, Mode, Packet, Version};
use ntp_time::ReferenceId;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use test_binaries::load::KeyServer;

use crate::netns::Host;
use crate::wait::Deadline;

/// Reply of a server to a request with a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NtsReply {
    /// An authenticated reply with these new cookies.
    Time(Vec<Cookie>),
    /// An unauthenticated kiss with this code.
    Kiss(ReferenceId),
    /// No matching reply within the time limit.
    None,
}

impl NtsReply {
    /// Whether it is an authenticated reply with the time.
    pub fn is_time(&self) -> bool {
        matches!(self, Self::Time(_))
    }

    /// Whether it is an NTS NAK: the server cannot decrypt the cookie.
    pub fn is_nts_nak(&self) -> bool {
        *self == Self::Kiss(ReferenceId::new(*b"NTSN"))
    }
}

/// Performs a key exchange with `server` from `host`. Returns keys and cookies.
///
/// # Errors
/// Why the exchange failed.
pub fn exchange(
    host: &Host,
    server: SocketAddr,
    authority: &Path,
    algorithm: AeadAlgorithm,
) -> Result<KeyExchangeResult, String> {
    let server = KeyServer {
        host: server.ip().to_string(),
        port: server.port(),
        authority: Some(authority.to_owned()),
        algorithm,
    };
    let mut results = host.inside(|| server.exchange(1, 1));
    let result = results.pop().ok_or("the exchange failed unexpectedly")?;
    result.map_err(|failure| failure.to_string())
}

/// Sends a request to `server` with `cookie`, one of `exchanged`, and waits at most `limit` for a
/// reply.
///
/// # Errors
/// Those of the socket.
pub fn query(
    socket: &UdpSocket,
    server: SocketAddr,
    exchanged: &KeyExchangeResult,
    cookie: &Cookie,
    limit: Duration,
) -> io::Result<NtsReply> {
    let deadline = Deadline::after(limit);
    let header = Header::blank(Version::V4, Mode::Client);
    // Randomness only serves to match replies to requests, and the socket does that here.
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(socket.local_addr()?.port()));
    let request = NtsRequest::new(&header, &exchanged.keys, cookie, 1, &mut rng)
        .map_err(|problem| io::Error::other(format!("{problem:?}")))?;
    socket.send_to(&request.octets, server)?;
    let mut reply = [0; 2048];
    while !deadline.passed() {
        socket.set_read_timeout(Some(deadline.left().max(Duration::from_millis(1))))?;
        let length = match socket.recv_from(&mut reply) {
            Ok((length, from)) if from == server => length,
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
        let Some(packet) = reply
            .get(..length)
            .and_then(|reply| Packet::parse(reply).ok())
        else {
            continue;
        };
        match verify_reply(&packet, &exchanged.keys, &request.unique_identifier) {
            Proof::Authentic(cookies) => return Ok(NtsReply::Time(cookies)),
            Proof::Unauthenticated => return Ok(NtsReply::Kiss(packet.header.reference_id)),
            Proof::Unrelated => {}
        }
    }
    Ok(NtsReply::None)
}
