//! Attacker that sends forged datagrams to the client's sockets under the server's address.
//!
//! An off-path attacker must guess the client's port and address. The simulation is generous: every
//! forgery reaches the open socket, ahead of the server's reply. The attacker does not know the
//! nonce of the request. [`Forgery::Replay`] is stronger: that attacker reads replies and sends
//! them again later, with their nonces. [`Forgery::NtsNak`] and [`Forgery::WrongBit`] are on-path
//! attacks.

use core::net::SocketAddr;

use ntp_proto::engine::ExchangeId;
use ntp_proto::wire::{ExtensionField, Packet, Writer, emit};
use ntp_time::{NtpDuration, NtpTimestamp, ReferenceId, Stratum, SystemTime};

use crate::server::{Corruption, octets_of, plausible_reply};
use crate::{Rng, TrueTime};

/// An attack on every exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attack {
    /// Start, in seconds.
    pub from: f64,
    /// End, in seconds.
    pub until: f64,
    /// Forged datagrams for each request.
    pub datagrams: u32,
    /// The forgeries arrive within this many seconds after the request was sent.
    pub within: f64,
    /// Contents of the forgeries.
    pub forgery: Forgery,
}

/// Contents of a forged datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// A time that is wrong by a minute, with a guessed nonce.
    GuessedNonce,
    /// A DENY kiss with a guessed nonce.
    GuessedKiss,
    /// A reply with a guessed nonce and a corrupted header or length.
    Corrupt(Corruption),
    /// An earlier reply of the same server.
    Replay,
    /// An NTS NAK of an on-path attacker: nonce and unique identifier are correct.
    NtsNak,
    /// The server's own reply with one flipped bit, just before the genuine one, by an on-path
    /// attacker.
    WrongBit,
}

/// Running state of an attacker.
#[derive(Clone, Debug)]
pub(crate) struct Attacker {
    pub(crate) attack: Attack,
    rng: Rng,
    /// The newest replies that were seen.
    recorded: Vec<(SocketAddr, Vec<u8>)>,
}

/// Number of replies that an attacker stores.
const MEMORY: usize = 64;

impl Attacker {
    pub(crate) fn new(attack: Attack, rng: Rng) -> Self {
        Self {
            attack,
            rng,
            recorded: Vec::new(),
        }
    }

    /// Stores a reply of a server.
    pub(crate) fn record_reply(&mut self, from: SocketAddr, payload: &[u8]) {
        if self.recorded.len() >= MEMORY {
            self.recorded.remove(0);
        }
        self.recorded.push((from, payload.to_vec()));
    }

    /// Returns the forgeries for a request that is sent at `now`, with their times of arrival.
    pub(crate) fn on_request(
        &mut self,
        now: TrueTime,
        utc: SystemTime,
        exchange: ExchangeId,
        (remote, request): (SocketAddr, &[u8]),
    ) -> Vec<(TrueTime, ExchangeId, Vec<u8>)> {
        if !self.is_active(now) {
            return Vec::new();
        }
        (0..self.attack.datagrams)
            .filter_map(|_| {
                let at = now + self.attack.within * self.rng.uniform();
                Some((at, exchange, self.forge(utc, remote, request)?))
            })
            .collect()
    }

    /// Returns a corrupted copy of a reply, to be delivered before it.
    pub(crate) fn damage(&mut self, now: TrueTime, reply: &[u8]) -> Option<Vec<u8>> {
        if self.attack.forgery != Forgery::WrongBit || !self.is_active(now) {
            return None;
        }
        let mut octets = reply.to_vec();
        let bit = self.rng.below(8 * octets.len());
        *octets.get_mut(bit / 8)? ^= 1 << (bit % 8);
        Some(octets)
    }

    fn is_active(&self, now: TrueTime) -> bool {
        (self.attack.from..self.attack.until).contains(&now.as_seconds())
    }

    fn forge(&mut self, utc: SystemTime, remote: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
        let guess = NtpTimestamp::from_bits(self.rng.next_u64());
        let mut header = plausible_reply(guess, utc + NtpDuration::from_seconds(60));
        match self.attack.forgery {
            Forgery::GuessedNonce => {}
            Forgery::GuessedKiss => {
                header.stratum = Stratum::KISS;
                header.reference_id = ReferenceId::new(*b"DENY");
            }
            Forgery::Corrupt(corruption) => {
                corruption.corrupt_header(&mut header);
                let mut octets = octets_of(&header);
                corruption.corrupt_octets(&mut octets);
                return Some(octets);
            }
            Forgery::WrongBit => return None,
            Forgery::NtsNak => {
                let request = Packet::parse(request).ok()?;
                header.stratum = Stratum::KISS;
                header.reference_id = ReferenceId::new(*b"NTSN");
                header.origin_timestamp = request.header.transmit_timestamp;
                let is_identifier = |field: &ExtensionField<'_>| {
                    field.field_type == ExtensionField::UNIQUE_IDENTIFIER
                };
                let mut octets = vec![0; 512];
                let mut writer = Writer::new(&mut octets);
                emit(
                    &header,
                    request.extensions().find(is_identifier),
                    None,
                    &mut writer,
                )
                .ok()?;
                return Some(writer.finish().to_vec());
            }
            Forgery::Replay => {
                let of_server: Vec<_> = self
                    .recorded
                    .iter()
                    .filter(|(from, _)| *from == remote)
                    .collect();
                let pick = self.rng.below(of_server.len());
                return of_server.get(pick).map(|(_, payload)| payload.clone());
            }
        }
        Some(octets_of(&header))
    }
}
