//! NTS by hand (RFC 8915): one key exchange, one request, and what came back for it.
//!
//! The daemon's own client refills its cookies, forgives refusals and repeats key exchanges; a test that wants to know what a *server*
//! makes of a certain cookie must not be helped like that. The ciphers are the project's, which chronyd and ntpsec vouch for in tests of their own.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use ntp_proto::nts::{AeadAlgorithm, Cookie, KeyExchangeResult, NtsRequest, Proof, prove};
use ntp_proto::wire::{Header, Mode, Packet, Version};
use ntp_time::ReferenceId;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use test_binaries::load::KeyServer;

use crate::netns::Host;
use crate::wait::Deadline;

/// What a server said to a request with a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The time, authenticated, and these cookies.
    Time(Vec<Cookie>),
    /// A kiss of this code, which nobody can authenticate.
    Kiss(ReferenceId),
    /// Nothing within the limit, or nothing that answers the request.
    Nothing,
}

impl Said {
    /// Whether it was the time.
    pub fn is_time(&self) -> bool {
        matches!(self, Self::Time(_))
    }

    /// Whether it was that the cookie is not known.
    pub fn is_refusal(&self) -> bool {
        *self == Self::Kiss(ReferenceId::new(*b"NTSN"))
    }
}

/// Keys and cookies of `server`'s key exchange, asked for from `host`.
///
/// # Errors
/// Why there are none.
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

/// Asks `server` for the time with one of the cookies of `exchanged`, and waits at most `limit` for an answer.
///
/// # Errors
/// Those of the socket.
pub fn ask(
    socket: &UdpSocket,
    server: SocketAddr,
    exchanged: &KeyExchangeResult,
    cookie: &Cookie,
    limit: Duration,
) -> io::Result<Said> {
    let deadline = Deadline::after(limit);
    let header = Header::blank(Version::V4, Mode::Client);
    // What is random here serves to tell answers apart, and the socket does that.
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
        match prove(&packet, &exchanged.keys, &request.unique_identifier) {
            Proof::Authentic(cookies) => return Ok(Said::Time(cookies)),
            Proof::Unproved => return Ok(Said::Kiss(packet.header.reference_id)),
            Proof::NotOurs => {}
        }
    }
    Ok(Said::Nothing)
}
