//! Associations of version 5, against a scripted server whose responses the tests change.

mod interleaved;
mod negotiation;
mod reference_ids;
mod responses;

use std::net::SocketAddr;

use ntp_time::{
    Era, LeapIndicator, Monotonic, NtpDuration, NtpTimestamp, PollInterval, Stamp, StampSource,
    Stratum, SystemTime, Time32, Timescale,
};
use ntp_types::source::SourceId;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{EPOCH, key, keyed};
use crate::client::{
    Accepted, Association, AssociationConfig, Datagram, ExchangeId, KissCode, LocalIdentity,
    MonotonicReceive, Protection, Rejection, Reply, VersionChoice,
};
use crate::keys::Key;
use crate::reference_ids::{BloomFilter, ServerId};
use crate::wire::v5::{
    ClientCookie, Correction, CorrectionValue, Field, Flags, Header, Mac, Packet, ServerCookie,
    SupportedVersions, draft,
};
use crate::wire::{self, Mode, Version, Writer};

/// Time from a request to its arrival, and from a response to its arrival.
const ONE_WAY: NtpDuration = NtpDuration::from_millis(10);

/// A client and what it needs to talk to a scripted server.
struct Client {
    association: Association,
    rng: ChaCha12Rng,
    now: NtpDuration,
    sequence: u32,
}

/// A change of the header of a response.
type Change<'a> = &'a dyn Fn(&mut Header);

/// What the scripted server answers; the default is a correct response.
struct Script<'a> {
    header: &'a dyn Fn(&mut Header),
    draft: Option<&'a [u8]>,
    filter: Option<&'a BloomFilter>,
    correction: Option<Correction>,
    mac: Option<&'a Key>,
    /// Appended behind all other fields but the MAC.
    extra: &'a [Field<'a>],
}

impl Default for Script<'_> {
    fn default() -> Self {
        Self {
            header: &|_| {},
            draft: Some(draft::NAMES[0].as_bytes()),
            filter: None,
            correction: None,
            mac: None,
            extra: &[],
        }
    }
}

impl Client {
    fn new(config: AssociationConfig) -> Self {
        let server = SocketAddr::from(([192, 0, 2, 1], 123));
        Self {
            association: Association::new(server, config, Monotonic::from_nanos(0)),
            rng: ChaCha12Rng::from_seed([3; 32]),
            now: NtpDuration::ZERO,
            sequence: 0,
        }
    }

    fn version_5(protection: Protection) -> Self {
        Self::new(AssociationConfig {
            protection,
            version: VersionChoice::Fixed(Version::V5),
            ..AssociationConfig::default()
        })
    }

    fn automatic(protection: Protection) -> Self {
        Self::new(AssociationConfig {
            protection,
            version: VersionChoice::Auto,
            ..AssociationConfig::default()
        })
    }

    fn id(&self) -> ExchangeId {
        ExchangeId {
            source: SourceId(0),
            sequence: self.sequence,
        }
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(0) + self.now
    }

    fn system(&self) -> SystemTime {
        EPOCH + self.now
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            time: self.system(),
            source: StampSource::Kernel,
        }
    }

    /// Sends the next request when it is due.
    fn request(&mut self) -> Vec<u8> {
        let due = self.association.next_poll() - Monotonic::from_nanos(0);
        self.now = self.now.max(due);
        self.association.abandon();
        self.sequence += 1;
        let (now, id) = (self.monotonic(), self.id());
        let request = self.association.request(now, id, &mut self.rng);
        let stamp = self.stamp();
        self.association.transmitted(id, stamp);
        request.unwrap().payload
    }

    fn receive(&mut self, payload: &[u8]) -> Result<Reply, Rejection> {
        self.now += ONE_WAY + ONE_WAY;
        let datagram = Datagram {
            exchange: self.id(),
            payload,
            truncated: false,
            hop_limit: None,
            received: self.stamp(),
        };
        let (now, limit) = (self.monotonic(), Stratum::UNSYNCHRONIZED);
        let identity = LocalIdentity::default();
        self.association.receive(now, &datagram, &identity, limit)
    }

    /// Answers `request` by the script.
    fn respond(&self, request: &[u8], script: &Script<'_>) -> Vec<u8> {
        let request = Packet::parse(request).unwrap();
        let arrival = (self.system() + ONE_WAY).to_ntp();
        let mut header = Header {
            stratum: Stratum::new(2),
            precision: -25,
            flags: Flags {
                synchronized: true,
                ..Flags::NONE
            },
            client_cookie: request.header.client_cookie,
            receive_timestamp: arrival,
            transmit_timestamp: arrival,
            ..Header::blank(Mode::Server)
        };
        (script.header)(&mut header);
        let mut buffer = vec![0; 2048];
        let mut writer = Writer::new(&mut buffer);
        header.emit(&mut writer).unwrap();
        if let Some(name) = script.draft {
            Field::Draft(name).emit(&mut writer).unwrap();
        }
        for field in request.fields().map(Field::parse) {
            match (field, script.filter) {
                (Field::ReferenceIdsRequest { offset, length }, Some(filter)) => {
                    let part = filter.chunk(offset.into(), length).unwrap();
                    Field::ReferenceIdsResponse(part).emit(&mut writer).unwrap();
                }
                (Field::ServerInformation(_), _) => {
                    let versions = SupportedVersions::NONE.with(Version::V4).with(Version::V5);
                    let information = Field::ServerInformation(versions);
                    information.emit(&mut writer).unwrap();
                }
                _ => {}
            }
        }
        for field in script.extra {
            field.emit(&mut writer).unwrap();
        }
        if let Some(key) = script.mac {
            let tag = key.sign(writer.written());
            let mac = Mac {
                key_id: key.id(),
                digest: tag.whole(),
            };
            Field::Mac(mac).emit(&mut writer).unwrap();
        }
        if let Some(correction) = script.correction {
            Field::Correction(correction).emit(&mut writer).unwrap();
        }
        writer.finish().to_vec()
    }

    /// Polls once.
    fn poll(&mut self, script: &Script<'_>) -> Result<Reply, Rejection> {
        let request = self.request();
        let response = self.respond(&request, script);
        self.receive(&response)
    }

    fn time(&mut self, script: &Script<'_>) -> Accepted {
        match self.poll(script) {
            Ok(Reply::Time(accepted)) => accepted,
            other => panic!("{other:?}"),
        }
    }
}

fn with_header(change: &dyn Fn(&mut Header)) -> Script<'_> {
    Script {
        header: change,
        ..Script::default()
    }
}
