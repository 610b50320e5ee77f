//! Replays the committed corpora: the seeds of the fuzz targets, and inputs that once caused a
//! failure (copy the fuzzer's artifact under a descriptive name).
//!
//! `tests/corpus/` has one datagram per file. The datagrams of [`specimens`] are written by
//! `NTP_CORPUS_WRITE=1 cargo test -p ntp-proto corpus`; their files must not change, because real
//! peers send these datagrams.

use std::path::PathBuf;
use std::{env, fs};

use ntp_time::{
    Era, LeapIndicator, NtpShort, NtpTimestamp, PollInterval, ReferenceId, Stratum, SystemTime,
    Timescale,
};

use crate::wire::{
    self, ExtensionField, Header, Mac, Malformed, Mode, Packet, Version, Writer, emit, v5,
};
use crate::{client, keys, leap, nts, server};

#[test]
fn every_datagram_of_the_corpus_has_the_properties() {
    let replayed = replay("corpus", |datagram| {
        wire::fuzzing::check(datagram);
        server::fuzzing::check(datagram);
        client::fuzzing::check(datagram);
    });
    assert!(replayed >= specimens().len());
}

#[test]
fn every_key_exchange_message_of_the_corpus_has_the_properties() {
    assert!(replay("exchange-corpus", nts::exchange::fuzzing::check) >= 5);
}

#[test]
fn every_key_file_of_the_corpus_has_the_properties() {
    assert!(replay("key-file-corpus", keys::fuzzing::check) >= 3);
}

#[test]
fn every_leap_second_list_of_the_corpus_has_the_properties() {
    assert!(replay("leap-list-corpus", leap::fuzzing::check) >= 3);
}

#[test]
fn specimens_equal_the_committed_files_and_parse_as_expected() {
    for Specimen {
        name,
        octets,
        shape,
    } in specimens()
    {
        let path = directory("corpus").join(name).with_extension("bin");
        if env::var_os("NTP_CORPUS_WRITE").is_some() {
            fs::write(&path, &octets).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), octets, "{name}");
        let parsed = Packet::parse(&octets).map(|packet| {
            let mac = packet.mac.map_or(0, |mac| mac.length());
            (packet.header.mode, packet.extensions().count(), mac)
        });
        assert_eq!(parsed, shape, "{name}");
    }
}

/// Checks every file of a corpus, and returns their number.
fn replay(corpus: &str, check: fn(&[u8])) -> usize {
    let entries = fs::read_dir(directory(corpus)).unwrap();
    let checked = entries.map(|entry| check(&fs::read(entry.unwrap().path()).unwrap()));
    checked.count()
}

fn directory(corpus: &str) -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join(corpus)
}

struct Specimen {
    name: &'static str,
    octets: Vec<u8>,
    /// Mode, number of extension fields, length of the MAC in octets.
    shape: Result<(Mode, usize, usize), Malformed>,
}

/// Transmit time of all specimens.
const SENT: SystemTime = SystemTime::from_nanos(1_764_000_000_250_000_000);

// Field types of RFC 8915 section 5.7.
const UNIQUE_IDENTIFIER: u16 = 0x0104;
const NTS_COOKIE: u16 = 0x0204;
const NTS_AUTHENTICATOR: u16 = 0x0404;

fn specimens() -> Vec<Specimen> {
    use Mode::{Broadcast, Client, Control, Server, SymmetricActive};
    use Version::{V3, V4};

    let request = |version| Header {
        poll: PollInterval::from_log2(6),
        precision: 32,
        transmit_timestamp: SENT.to_ntp(),
        ..Header::blank(version, Client)
    };
    let reply = |version| Header {
        stratum: Stratum::new(2),
        poll: PollInterval::from_log2(6),
        precision: -24,
        root_delay: NtpShort::from_bits(0x0000_0321),
        root_dispersion: NtpShort::from_bits(0x0000_0042),
        reference_id: ReferenceId::new([198, 51, 100, 7]),
        reference_timestamp: stamp(-37_000_000_000),
        origin_timestamp: SENT.to_ntp(),
        receive_timestamp: stamp(4_321_987),
        transmit_timestamp: stamp(4_345_678),
        ..Header::blank(version, Server)
    };
    let kiss = |code: &[u8; 4]| Header {
        leap: LeapIndicator::Unsynchronized,
        stratum: Stratum::KISS,
        reference_id: ReferenceId::new(*code),
        ..reply(V4)
    };
    let unsynchronized = Header {
        leap: LeapIndicator::Unsynchronized,
        stratum: Stratum::UNSYNCHRONIZED,
        reference_id: ReferenceId::XNON,
        reference_timestamp: NtpTimestamp::ZERO,
        ..reply(V4)
    };
    let nts = [
        field(UNIQUE_IDENTIFIER, &COUNTING[..32]),
        field(NTS_COOKIE, &COUNTING[..100]),
        field(NTS_AUTHENTICATOR, &COUNTING[..40]),
    ];
    let digest = |length| Mac {
        key_id: 42,
        digest: &COUNTING[..length],
    };
    let packet =
        |name, header: Header, fields: &[ExtensionField<'_>], mac: Option<Mac<'_>>| Specimen {
            name,
            octets: emitted(&header, fields, mac),
            shape: Ok((header.mode, fields.len(), mac.map_or(0, |mac| mac.length()))),
        };
    let malformed = |name, octets: Vec<u8>, malformed| Specimen {
        name,
        octets,
        shape: Err(malformed),
    };
    let bare = emitted(&request(V4), &[], None);
    let with_nts = emitted(&request(V4), &nts, None);

    vec![
        packet("request-v3", request(V3), &[], None),
        packet("request-v4", request(V4), &[], None),
        packet(
            "request-v4-minimal",
            Header {
                transmit_timestamp: NtpTimestamp::from_bits(0x8f1c_22d9_76a0_53be),
                ..Header::blank(V4, Client)
            },
            &[],
            None,
        ),
        packet(
            "request-v4-in-2036",
            Header {
                transmit_timestamp: NtpTimestamp::from_bits(0x0000_0001_8000_0000),
                ..request(V4)
            },
            &[],
            None,
        ),
        packet(
            "request-peer",
            Header {
                mode: SymmetricActive,
                ..reply(V4)
            },
            &[],
            None,
        ),
        packet("request-v3-md5", request(V3), &[], Some(digest(16))),
        packet("request-v3-sha512", request(V3), &[], Some(digest(64))),
        packet(
            "request-v3-domain-member",
            request(V3),
            &[],
            Some(digest(68)),
        ),
        packet("request-v4-cmac", request(V4), &[], Some(digest(16))),
        packet("request-v4-sha1", request(V4), &[], Some(digest(20))),
        packet("request-v4-nts", request(V4), &nts, None),
        packet(
            "request-v4-fields-and-mac",
            request(V4),
            &nts[..2],
            Some(digest(20)),
        ),
        packet(
            "request-v4-shortest-fields",
            request(V4),
            &[field(0x2005, &[]), field(0xf323, &[])],
            Some(digest(16)),
        ),
        packet("reply-v3", reply(V3), &[], None),
        packet("reply-v4", reply(V4), &[], None),
        packet("reply-v4-sha1", reply(V4), &[], Some(digest(20))),
        packet("reply-v4-nts", reply(V4), &[nts[0], nts[2]], None),
        packet("reply-crypto-nak", reply(V4), &[], Some(Mac::CRYPTO_NAK)),
        packet("reply-unsynchronized", unsynchronized, &[], None),
        packet("kiss-deny", kiss(b"DENY"), &[], None),
        packet("kiss-rate", kiss(b"RATE"), &[], None),
        packet("kiss-ntsn", kiss(b"NTSN"), &nts[..1], None),
        packet(
            "broadcast",
            Header {
                mode: Broadcast,
                origin_timestamp: NtpTimestamp::ZERO,
                ..reply(V4)
            },
            &[],
            None,
        ),
        packet("control-long", Header::blank(V4, Control), &[], None),
        malformed("empty", Vec::new(), Malformed::TooShort),
        malformed("control-short", bare[..12].to_vec(), Malformed::TooShort),
        malformed("truncated-header", bare[..47].to_vec(), Malformed::TooShort),
        malformed(
            "truncated-field",
            with_nts[..with_nts.len() - 28].to_vec(),
            Malformed::Trailer { at: 48 + 36 + 104 },
        ),
        malformed(
            "truncated-authenticator",
            with_nts[..with_nts.len() - 4].to_vec(),
            Malformed::FieldLength { at: 48 + 36 + 104 },
        ),
        malformed(
            "trailing-octet",
            [&bare[..], b"\n"].concat(),
            Malformed::Trailer { at: 48 },
        ),
        malformed(
            "field-of-no-length",
            [&bare[..], &[0; 64]].concat(),
            Malformed::FieldLength { at: 48 },
        ),
        malformed(
            "untruncated-sha256",
            [&bare[..], &42u32.to_be_bytes(), &COUNTING[..32]].concat(),
            Malformed::FieldLength { at: 48 },
        ),
        malformed("v5-request", version_5(Mode::Client), Malformed::Version(5)),
        malformed(
            "v5-response",
            version_5(Mode::Server),
            Malformed::Version(5),
        ),
        malformed(
            "version-5",
            [&[5 << 3 | 3], &bare[1..]].concat(),
            Malformed::Version(5),
        ),
        Specimen {
            name: "version-1",
            octets: [&[1 << 3], &bare[1..]].concat(),
            shape: Ok((Mode::Reserved, 0, 0)),
        },
        malformed(
            "version-0",
            [&[3], &bare[1..]].concat(),
            Malformed::Version(0),
        ),
    ]
}

/// A packet of version 5 with every kind of field.
fn version_5(mode: Mode) -> Vec<u8> {
    use v5::{Correction, Field, SupportedVersions};

    let fields = [
        Field::Draft(v5::draft::NAMES[0].as_bytes()),
        Field::ServerInformation(SupportedVersions::NONE),
        Field::ReferenceIdsRequest {
            offset: 16,
            length: 16,
        },
        Field::ReferenceIdsResponse(&COUNTING[..7]),
        Field::ReferenceTimestamp(stamp(0)),
        Field::MonotonicReceive {
            epoch: 1,
            timestamp: stamp(1),
        },
        Field::SecondaryReceive {
            timescale: Timescale::Tai,
            era: Era::new(0),
            timestamp: stamp(37_000_000_000),
        },
        Field::Other(field(UNIQUE_IDENTIFIER, &COUNTING[..32])),
        Field::Padding(5),
        Field::Mac(v5::Mac {
            key_id: 42,
            digest: &COUNTING[..16],
        }),
        Field::Correction(Correction::default()),
    ];
    let header = v5::Header {
        client_cookie: v5::ClientCookie::from_bits(0x0123_4567_89ab_cdef),
        ..v5::Header::blank(mode)
    };
    let mut buffer = [0; 1024];
    let mut writer = Writer::new(&mut buffer);
    header.emit(&mut writer).unwrap();
    for field in fields {
        field.emit(&mut writer).unwrap();
    }
    writer.finish().to_vec()
}

/// Octets with different values.
const COUNTING: [u8; 128] = {
    let mut octets = [0; 128];
    let mut index = 0;
    while index < octets.len() {
        octets[index] = 0x80 | index as u8;
        index += 1;
    }
    octets
};

fn stamp(nanos_after_sent: i64) -> NtpTimestamp {
    SystemTime::from_nanos(SENT.as_nanos() + nanos_after_sent).to_ntp()
}

const fn field(field_type: u16, body: &[u8]) -> ExtensionField<'_> {
    ExtensionField { field_type, body }
}

fn emitted(header: &Header, fields: &[ExtensionField<'_>], mac: Option<Mac<'_>>) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let mut writer = Writer::new(&mut buffer);
    emit(header, fields.iter().copied(), mac, &mut writer).unwrap();
    writer.finish().to_vec()
}
