//! A stranger who can send to our sockets what he likes, under the server's address.
//!
//! Off-path attackers must guess the client's port and address; we are generous and let every forgery reach the open socket,
//! ahead of the server's reply. What he cannot know is the nonce of the request. A [`Forgery::Replay`] is stronger: that one reads
//! replies and sends them again later, nonce and all; [`Forgery::NtsNak`] and [`Forgery::WrongBit`] sit on the path.

use core::net::SocketAddr;

use ntp_proto::engine::ExchangeId;
use ntp_proto::wire::{ExtensionField, Packet, Writer, emit};
use ntp_time::{NtpDuration, NtpTimestamp, ReferenceId, Stratum, SystemTime};

use crate::server::{Spoilt, octets_of, plausible_reply};
use crate::{Chance, TrueTime};

/// An attack on every exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attack {
    /// From when, in seconds.
    pub from: f64,
    /// Until when.
    pub until: f64,
    /// Datagrams for each request.
    pub datagrams: u32,
    /// They arrive within this many seconds after the request left.
    pub within: f64,
    /// What they are.
    pub forgery: Forgery,
}

/// What an attacker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Time that is wrong by a minute, with a guessed nonce.
    GuessedNonce,
    /// A DENY kiss with a guessed nonce.
    GuessedKiss,
    /// A reply with a guessed nonce that is spoilt besides.
    Spoilt(Spoilt),
    /// An earlier reply of the same server.
    Replay,
    /// An NTS NAK by somebody who sees our requests: nonce and unique identifier are right.
    NtsNak,
    /// The server's own reply with a wrong bit, just before the right one, by somebody who sees our requests.
    WrongBit,
}

/// An attacker at work.
#[derive(Clone, Debug)]
pub(crate) struct Attacker {
    pub(crate) attack: Attack,
    chance: Chance,
    /// Replies overheard: the newest few.
    overheard: Vec<(SocketAddr, Vec<u8>)>,
}

/// Replies that an attacker remembers.
const MEMORY: usize = 64;

impl Attacker {
    pub(crate) fn new(attack: Attack, chance: Chance) -> Self {
        Self {
            attack,
            chance,
            overheard: Vec::new(),
        }
    }

    /// A reply passes.
    pub(crate) fn overhear(&mut self, from: SocketAddr, payload: &[u8]) {
        if self.overheard.len() >= MEMORY {
            self.overheard.remove(0);
        }
        self.overheard.push((from, payload.to_vec()));
    }

    /// A request left at `now`: what the attacker sends to its socket, and when it arrives.
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
                let at = now + self.attack.within * self.chance.uniform();
                Some((at, exchange, self.forge(utc, remote, request)?))
            })
            .collect()
    }

    /// A reply passes on its way to us: what is sent along with it.
    pub(crate) fn damage(&mut self, now: TrueTime, reply: &[u8]) -> Option<Vec<u8>> {
        if self.attack.forgery != Forgery::WrongBit || !self.is_active(now) {
            return None;
        }
        let mut octets = reply.to_vec();
        let bit = self.chance.below(8 * octets.len());
        *octets.get_mut(bit / 8)? ^= 1 << (bit % 8);
        Some(octets)
    }

    fn is_active(&self, now: TrueTime) -> bool {
        (self.attack.from..self.attack.until).contains(&now.as_seconds())
    }

    fn forge(&mut self, utc: SystemTime, remote: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
        let guess = NtpTimestamp::from_bits(self.chance.bits());
        let mut header = plausible_reply(guess, utc + NtpDuration::from_seconds(60));
        match self.attack.forgery {
            Forgery::GuessedNonce => {}
            Forgery::GuessedKiss => {
                header.stratum = Stratum::KISS;
                header.reference_id = ReferenceId::new(*b"DENY");
            }
            Forgery::Spoilt(spoilt) => {
                spoilt.spoil(&mut header);
                let mut octets = octets_of(&header);
                spoilt.spoil_octets(&mut octets);
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
                    .overheard
                    .iter()
                    .filter(|(from, _)| *from == remote)
                    .collect();
                let pick = self.chance.below(of_server.len());
                return of_server.get(pick).map(|(_, payload)| payload.clone());
            }
        }
        Some(octets_of(&header))
    }
}
