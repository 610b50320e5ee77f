//! File format of a client's session, so that a restart needs no key exchange.
//!
//! It is written when the daemon exits and replaces the first key exchange of the next run. The
//! reader must delete the file first: a cookie that is sent twice links two requests of a client.
//!
//! ```text
//! | "NTSC1" | algorithm: 16 bits | c2s, s2c | legacy: 8 bits | c2s, s2c, if legacy is 1 |
//! | address: 8 bits length (4, 16, or 20 with the number of an interface), octets | server: 8 bits length, octets |
//! | port: 16 bits, 0 if none | number of cookies: 8 bits | each: 16 bits length, octets |
//! ```
//!
//! A session for NTPv5 or with a member of a pool begins with "NTSC2" and the name of the draft, and ends
//! with the name by which the pool knows the server. Both have 8 bits length and octets, and may be empty.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use ntp_types::host::{Host, ScopedIp};
use zeroize::Zeroizing;

use super::{
    AeadAlgorithm, Cookie, Direction, KeyExchangeResult, KeyExchanged, NextProtocol, SessionKeys,
};
use crate::wire::Reader;
use crate::wire::v5::draft;

/// Of a session for NTPv4 with a server of its own; releases without NTPv5 and pools read these.
const MAGIC: [u8; 5] = *b"NTSC1";
/// Of other sessions.
const EXTENDED_MAGIC: [u8; 5] = *b"NTSC2";

/// The codec of a client's session.
#[derive(Debug)]
pub struct StoredSession;

/// The octets are not a valid session; do a key exchange instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored NTS session is damaged")]
pub struct StoredSessionError;

impl StoredSession {
    /// The octets of the session, which are secret; wiped on drop.
    pub fn emit(session: &KeyExchanged) -> Zeroizing<Vec<u8>> {
        let KeyExchanged {
            from,
            member,
            result,
        } = session;
        // Large enough for any session, so that reallocation leaves no copies of the keys behind.
        let most = 1024 + Cookie::MAX_STORED * (2 + Cookie::MAX_LENGTH);
        let mut octets = Zeroizing::new(Vec::with_capacity(most));
        let draft = match result.protocol {
            NextProtocol::NtpV4 => "",
            NextProtocol::NtpV5(name) => name,
        };
        let extended = !draft.is_empty() || member.is_some();
        if extended {
            octets.extend_from_slice(&EXTENDED_MAGIC);
            put_name(&mut octets, draft);
        } else {
            octets.extend_from_slice(&MAGIC);
        }
        octets.extend_from_slice(&result.keys.algorithm().id().to_be_bytes());
        put_keys(&mut octets, &result.keys);
        octets.push(u8::from(result.legacy_keys.is_some()));
        if let Some(keys) = &result.legacy_keys {
            put_keys(&mut octets, keys);
        }
        put_address(&mut octets, *from);
        let server = result
            .server
            .as_ref()
            .map_or(String::new(), Host::to_string);
        put_name(&mut octets, &server);
        octets.extend_from_slice(&result.port.unwrap_or(0).to_be_bytes());
        let cookies = result.cookies.iter().take(Cookie::MAX_STORED);
        octets.push(cookies.len() as u8);
        for cookie in cookies {
            octets.extend_from_slice(&(cookie.octets().len() as u16).to_be_bytes());
            octets.extend_from_slice(cookie.octets());
        }
        if extended {
            put_name(&mut octets, member.as_deref().unwrap_or_default());
        }
        octets
    }

    /// Parses a session.
    ///
    /// # Errors
    ///
    /// [`StoredSessionError`] if it is damaged, or has no cookie.
    pub fn parse(octets: &[u8]) -> Result<KeyExchanged, StoredSessionError> {
        Self::read(&mut Reader::new(octets)).ok_or(StoredSessionError)
    }

    fn read(reader: &mut Reader<'_>) -> Option<KeyExchanged> {
        let extended = match reader.array().ok()? {
            MAGIC => false,
            EXTENDED_MAGIC => true,
            _ => return None,
        };
        let protocol = match extended {
            true => match take_name(reader)? {
                "" => NextProtocol::NtpV4,
                name => NextProtocol::NtpV5(draft::known_name(name.as_bytes())?),
            },
            false => NextProtocol::NtpV4,
        };
        let algorithm = AeadAlgorithm::from_id(reader.u16().ok()?)?;
        let keys = take_keys(reader, algorithm)?;
        let legacy_keys = match reader.u8().ok()? {
            0 => None,
            1 => Some(take_keys(reader, algorithm)?),
            _ => return None,
        };
        let from = take_address(reader)?;
        let server = match take_name(reader)? {
            "" => None,
            server => Some(Host::parse(server).ok()?),
        };
        let port = reader.u16().ok()?;
        let count = usize::from(reader.u8().ok()?);
        if !(1..=Cookie::MAX_STORED).contains(&count) {
            return None;
        }
        let mut cookies = Vec::with_capacity(count);
        for _ in 0..count {
            let length = reader.u16().ok()?;
            cookies.push(Cookie::new(reader.take(length.into()).ok()?)?);
        }
        let result = KeyExchangeResult {
            protocol,
            keys,
            legacy_keys,
            cookies,
            server,
            port: (port != 0).then_some(port),
        };
        let member = match extended {
            true => Some(take_name(reader)?.to_owned()).filter(|name| !name.is_empty()),
            false => None,
        };
        (reader.remaining() == 0).then_some(KeyExchanged {
            from,
            member,
            result,
        })
    }
}

/// Writes the length of a name and its octets. Longer ones than DNS has are cut.
fn put_name(octets: &mut Vec<u8>, name: &str) {
    let name = name.as_bytes();
    let name = name.get(..name.len().min(255)).unwrap_or_default();
    octets.push(name.len() as u8);
    octets.extend_from_slice(name);
}

fn take_name<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = reader.u8().ok()?;
    core::str::from_utf8(reader.take(length.into()).ok()?).ok()
}

/// Writes the length of an address and its octets; those of the number of its interface, which no
/// other address has, follow.
fn put_address(octets: &mut Vec<u8>, address: ScopedIp) {
    match address.ip {
        IpAddr::V4(ip) => {
            octets.push(4);
            octets.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) if address.scope_id == 0 => {
            octets.push(16);
            octets.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            octets.push(20);
            octets.extend_from_slice(&ip.octets());
            octets.extend_from_slice(&address.scope_id.to_be_bytes());
        }
    }
}

fn take_address(reader: &mut Reader<'_>) -> Option<ScopedIp> {
    Some(match reader.u8().ok()? {
        4 => IpAddr::from(reader.array::<4>().ok()?).into(),
        16 => IpAddr::from(reader.array::<16>().ok()?).into(),
        20 => {
            let ip = reader.array::<16>().ok()?.into();
            let scope = u32::from_be_bytes(reader.array().ok()?);
            SocketAddr::from(SocketAddrV6::new(ip, 0, 0, scope)).into()
        }
        _ => return None,
    })
}

fn put_keys(octets: &mut Vec<u8>, keys: &SessionKeys) {
    octets.extend_from_slice(keys.key(Direction::ClientToServer));
    octets.extend_from_slice(keys.key(Direction::ServerToClient));
}

fn take_keys(reader: &mut Reader<'_>, algorithm: AeadAlgorithm) -> Option<SessionKeys> {
    let c2s = reader.take(algorithm.key_length()).ok()?;
    let s2c = reader.take(algorithm.key_length()).ok()?;
    SessionKeys::new(algorithm, c2s, s2c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(server: Option<&str>, legacy: bool) -> KeyExchanged {
        let keys = SessionKeys::new(AeadAlgorithm::Aes128GcmSiv, &[1; 16], &[2; 16]).unwrap();
        let other = SessionKeys::new(AeadAlgorithm::Aes128GcmSiv, &[3; 16], &[4; 16]).unwrap();
        KeyExchanged {
            from: "2001:db8::1".parse().unwrap(),
            member: server.map(str::to_owned),
            result: KeyExchangeResult {
                protocol: NextProtocol::NtpV4,
                keys,
                legacy_keys: legacy.then_some(other),
                cookies: (1..=8)
                    .map(|length| Cookie::new(&vec![7; length]).unwrap())
                    .collect(),
                server: server.map(|name| Host::parse(name).unwrap()),
                port: server.map(|_| 1123),
            },
        }
    }

    #[test]
    fn a_stored_session_is_read_back_and_a_damaged_one_is_refused() {
        for (from, server, legacy) in [
            ("2001:db8::1", None, false),
            ("192.0.2.1", Some("ntp.example"), true),
            ("fe80::1%3", Some("2001:db8::2"), true),
        ] {
            let from = from.parse().unwrap();
            let mut session = KeyExchanged {
                from,
                ..session(server, legacy)
            };
            if legacy {
                session.result.protocol = NextProtocol::NtpV5(draft::NAMES[1]);
            }
            let stored = StoredSession::emit(&session);
            let read = StoredSession::parse(&stored).unwrap();
            assert_eq!(StoredSession::emit(&read), stored);
            assert_eq!(read.from, from);
            assert_eq!(read.result.protocol, session.result.protocol);
            assert_eq!(read.member, session.member);
            let named = read.result.server.map(|server| server.to_string());
            assert_eq!(named.as_deref(), server);
            assert_eq!(read.result.cookies.len(), 8);
            for length in 0..stored.len() {
                assert!(StoredSession::parse(&stored[..length]).is_err(), "{length}");
            }
            let longer = [&stored[..], &[0]].concat();
            assert!(StoredSession::parse(&longer).is_err());
        }
    }
}
