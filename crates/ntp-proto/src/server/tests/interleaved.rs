//! Clients in interleaved mode, and clients that only appear to be (RFC 9769).

use super::signed::{key, with_keys};
use super::*;

/// The request that follows `reply` in interleaved mode (RFC 9769 section 2).
fn interleaved_request(reply: &Header, nonce: u64) -> Header {
    Header {
        origin_timestamp: reply.receive_timestamp,
        receive_timestamp: NtpTimestamp::from_bits(nonce ^ 0x5555),
        transmit_timestamp: NtpTimestamp::from_bits(nonce),
        ..request(Version::V4)
    }
}

#[test]
fn the_third_reply_is_interleaved() {
    let mut server = unrestricted();
    let first = server.request(&octets(&request(Version::V4)));
    assert_eq!(first.token, None);

    let second = server.request(&octets(&interleaved_request(&first.header(), 2)));
    assert_eq!(second.verdict, TIME);
    assert_eq!(second.header().origin_timestamp.to_bits(), 2);
    let left = EPOCH + NtpDuration::from_millis(4_321);
    server.worker.record_transmit(second.token.unwrap(), left);

    let request = interleaved_request(&second.header(), 3);
    let third = server.request(&octets(&request));
    let expected = Verdict::Answer {
        kind: Kind::Time,
        interleaved: true,
        authenticated: false,
    };
    assert_eq!(third.verdict, expected);
    let header = third.header();
    assert_eq!(header.origin_timestamp, request.receive_timestamp);
    assert!((header.transmit_timestamp - left.to_ntp()).abs() <= NtpDuration::EPSILON);
    assert!(header.receive_timestamp.to_bits() != second.header().receive_timestamp.to_bits());
    assert_eq!(server.worker.counters().details.interleaved, 1);

    // No stamp was recorded for the third reply: the fourth is basic, and the next may be
    // interleaved again.
    let fourth = server.request(&octets(&interleaved_request(&header, 4)));
    assert_eq!(fourth.verdict, TIME);
    assert!(fourth.token.is_some());
}

#[test]
fn transmit_stamps_from_before_a_clock_step_are_not_sent() {
    let mut server = unrestricted();
    let first = server.request(&octets(&request(Version::V4)));
    let second = server.request(&octets(&interleaved_request(&first.header(), 2)));
    server
        .worker
        .record_transmit(second.token.unwrap(), server.now());
    server.view.claim.epoch += 1;
    let third = server.request(&octets(&interleaved_request(&second.header(), 3)));
    assert_eq!(third.verdict, TIME);
}

#[test]
fn no_pair_is_kept_for_clients_in_basic_mode() {
    let mut server = unrestricted();
    let reply = server.request(&octets(&request(Version::V4))).header();
    let plausible = interleaved_request(&reply, 9);
    let requests = [
        // As ntpd and ntpsec fill them in: origin is our transmit timestamp.
        Header {
            origin_timestamp: reply.transmit_timestamp,
            ..plausible
        },
        Header {
            origin_timestamp: NtpTimestamp::ZERO,
            ..plausible
        },
        // With these timestamps the client could not tell which kind of reply it got.
        Header {
            receive_timestamp: plausible.transmit_timestamp,
            ..plausible
        },
        // The origin is not a time at which we could have replied.
        Header {
            origin_timestamp: NtpTimestamp::from_bits(0x0123_4567_89ab_cdef),
            ..plausible
        },
        Header {
            mode: Mode::SymmetricActive,
            ..plausible
        },
    ];
    for request in requests {
        let outcome = server.request(&octets(&request));
        assert_eq!((outcome.verdict, outcome.token), (TIME, None));
    }
}

#[test]
fn the_digest_of_an_interleaved_reply_covers_its_transmit_timestamp() {
    let mut server = with_keys();
    let key = key(1, Algorithm::Aes128Cmac);
    let sign = |header: &Header| {
        let mac = Mac {
            key_id: 1,
            digest: &[0; 16],
        };
        let mut octets = packet(header, &[], Some(mac));
        let (covered, digest) = Mac::split_packet(&mut octets, 16).unwrap();
        digest.copy_from_slice(key.sign(covered).version_4());
        octets
    };
    let mut reply = server.request(&sign(&request(Version::V4)));
    for nonce in 2..4 {
        if let Some(token) = reply.token {
            server.worker.record_transmit(token, server.now());
        }
        reply = server.request(&sign(&interleaved_request(&reply.header(), nonce)));
    }
    let expected = Verdict::Answer {
        kind: Kind::Time,
        interleaved: true,
        authenticated: true,
    };
    assert_eq!(reply.verdict, expected);
    let packet = Packet::parse(&reply.octets).unwrap();
    assert!(key.verify(packet.authenticated(), packet.mac.unwrap().digest));
}
