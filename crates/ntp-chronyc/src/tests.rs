//! Replies to recorded requests, octet by octet. Expected words follow from the layouts: `FD00_0000`
//! is the number -0.125 (`field`).

use ntp_time::LeapIndicator;
use ntp_types::source::SourceState;

use crate::example::Example;
use crate::{Daemon, Origin, answer};

/// A request of this length, with zeros after the arguments.
fn request(command: u16, length: usize, arguments: &str) -> Vec<u8> {
    let mut datagram = vec![6, 1, 0, 0];
    datagram.extend(command.to_be_bytes());
    datagram.extend([0, 3, 0xDE, 0xAD, 0xBE, 0xEF]);
    datagram.extend([0; 8]);
    datagram.extend(octets(arguments));
    datagram.resize(length, 0);
    datagram
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let number = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16);
    digits.chunks(2).map(|pair| number(pair).unwrap()).collect()
}

/// Asserts the whole reply: its code, and its body with zeros up to `length`.
#[track_caller]
fn assert_reply(daemon: &mut Example, request: &[u8], code: u8, length: usize, body: &str) {
    let reply = answer(request, Origin::Unix, daemon).expect("a reply");
    let mut expected = vec![6, 2, 0, 0, request[4], request[5], 0, code];
    expected.extend([0; 8]);
    expected.extend([0xDE, 0xAD, 0xBE, 0xEF]);
    expected.extend([0; 8]);
    expected.extend(octets(body));
    assert!(expected.len() <= length, "{}", expected.len());
    expected.resize(length, 0);
    for (place, (got, wanted)) in reply.iter().zip(&expected).enumerate() {
        assert_eq!(
            got,
            wanted,
            "octet {place}, {} of the body",
            place as i64 - 28
        );
    }
    assert_eq!(reply.len(), length);
}

/// Status of the reply to a request, or `None` without one.
fn status(datagram: &[u8], origin: Origin) -> Option<u16> {
    let reply = answer(datagram, origin, &mut Example::new())?;
    Some(u16::from_be_bytes([reply[8], reply[9]]))
}

const SERVER: &str = "c0000201 000000000000000000000000 0001 0000";
const NTS_SERVER: &str = "20010db8000000000000000000000001 0002 0000";
const CLOCK: &str = "50505300 000000000000000000000000 0001 0000";
const UNRESOLVED: &str = "00000004 000000000000000000000000 0003 0000";
const NO_ADDRESS: &str = "00000000000000000000000000000000 0000 0000";

#[test]
fn tracking_has_the_signs_of_chrony() {
    let mut daemon = Example::new();
    let body = format!(
        "c0000201 {SERVER} 0002 0001 00000000 6553f100 00000007 \
         00800000 fd000000 02800000 0b380000 02800000 00000000 fc800000 fa800000 0c800000"
    );
    assert_reply(&mut daemon, &request(33, 104, ""), 5, 104, &body);
}

#[test]
fn tracking_of_an_unsynchronised_clock_claims_nothing() {
    let mut daemon = Example::new();
    daemon.status.system.leap = LeapIndicator::Unsynchronized;
    daemon.status.system.reference = None;
    let body = format!(
        "00000000 {NO_ADDRESS} 0000 0003 00000000 00000000 00000000 \
         00800000 fd000000 02800000 0b380000 00000000 00000000 04800000 04800000 0c800000"
    );
    assert_reply(&mut daemon, &request(33, 104, ""), 5, 104, &body);
}

#[test]
fn sources_are_numbered_and_those_without_an_address_are_the_last() {
    let mut daemon = Example::new();
    assert_reply(&mut daemon, &request(14, 32, ""), 2, 32, "00000004");
    let never = "ffffffff 00000000 00000000 00000000";
    for (index, body) in [
        (
            "00000000",
            format!("{SERVER} 0006 0001 0000 0000 0000 00ff 0000000a 01000000 01400000 fc800000"),
        ),
        (
            "00000001",
            format!("{NTS_SERVER} 0004 0000 0001 0000 0000 0000 {never}"),
        ),
        (
            "00000002",
            format!("{CLOCK} 0004 0000 0001 0002 0000 0000 {never}"),
        ),
        (
            "00000003",
            format!("{UNRESOLVED} 0000 0000 0001 0000 0000 0000 {never}"),
        ),
    ] {
        assert_reply(&mut daemon, &request(15, 76, index), 3, 76, &body);
    }
}

#[test]
fn source_statistics_are_those_of_the_corrected_clock() {
    let mut daemon = Example::new();
    let none = "00000000 00000000 00000000 08800000 00000000 18fa0000";
    for (index, body) in [
        (
            "00000000",
            format!(
                "c0000201 {SERVER} 00000009 00000000 00000200 f8800000 02800000 00000000 ff400000 fa800000"
            ),
        ),
        ("00000001", format!("00000000 {NTS_SERVER} {none}")),
        ("00000002", format!("50505300 {NO_ADDRESS} {none}")),
        ("00000003", format!("00000000 {UNRESOLVED} {none}")),
    ] {
        assert_reply(&mut daemon, &request(34, 84, index), 6, 84, &body);
    }
}

#[test]
fn selection_has_letters_options_and_the_interval() {
    let mut daemon = Example::new();
    for (index, body) in [
        (
            "00000000",
            format!("c0000201 {SERVER} 2a 01 00 00 000a 000a 0000000a 04800000 03700000 01200000"),
        ),
        (
            "00000001",
            format!("00000000 {NTS_SERVER} 73 01 03 00 0000 0000 00000000 04800000"),
        ),
        (
            "00000002",
            format!("50505300 {NO_ADDRESS} 73 00 03 00 0000 0000 00000000 04800000"),
        ),
        (
            "00000003",
            format!("00000000 {UNRESOLVED} 73 00 03 00 0000 0000 00000000 04800000"),
        ),
    ] {
        assert_reply(&mut daemon, &request(69, 76, index), 23, 76, &body);
    }
}

/// The state in `sources`, and the letter in `selectdata`.
#[test]
fn states_have_chronys_numbers_and_letters() {
    let mut daemon = Example::new();
    daemon.status.system.reference = None;
    for (state, combined, number, letter) in [
        (SourceState::Selected, true, 4, b'+'),
        (SourceState::Selected, false, 5, b'D'),
        (SourceState::Outranked, true, 5, b'P'),
        (SourceState::Falseticker, true, 2, b'x'),
        (SourceState::NoMajority, true, 2, b'x'),
        (SourceState::TooUncertain, true, 1, b'd'),
        (SourceState::NoSamples, true, 1, b'M'),
        (SourceState::Stale, true, 1, b'S'),
        (SourceState::Unreachable, true, 1, b'S'),
        (SourceState::Duplicate, true, 1, b'N'),
        (SourceState::Unusable, true, 1, b's'),
    ] {
        let source = &mut daemon.status.sources[0];
        source.state = state;
        source.path.as_mut().unwrap().combined = combined;
        let of = |command, length, place: usize, daemon: &mut Example| {
            answer(&request(command, length, ""), Origin::Unix, daemon).unwrap()[28 + place]
        };
        let found = (of(15, 76, 25, &mut daemon), of(69, 76, 24, &mut daemon));
        assert_eq!(found, (number, letter), "{state}");
        let duplicate = u8::from(state == SourceState::Duplicate);
        assert_eq!(of(69, 76, 31, &mut daemon), 0xA | duplicate, "{state}");
    }
    daemon.status.sources[0].state = SourceState::Unusable;
    daemon.status.sources[0].options.noselect = true;
    let reply = answer(&request(69, 76, ""), Origin::Unix, &mut daemon).unwrap();
    assert_eq!((reply[28 + 24], reply[28 + 29]), (b'N', 0xB));
}

#[test]
fn a_source_that_is_not_used_is_estimated_by_its_own_measurement() {
    let mut daemon = Example::new();
    daemon.status.sources[0].state = SourceState::Falseticker;
    let reply = answer(&request(34, 84, ""), Origin::Unix, &mut daemon).unwrap();
    // As the adjusted offset in `sources`: -0.375 s.
    assert_eq!(reply[28 + 48..28 + 52], [0x01, 0x40, 0, 0]);
}

#[test]
fn authentication_has_chronys_numbers_of_algorithms() {
    let mut daemon = Example::new();
    for (address, body) in [
        (
            SERVER,
            "0001 000d 00000007 0080 0000 ffffffff 0000 0000 0003 0000",
        ),
        (
            NTS_SERVER,
            "0002 000f 00000000 0100 0002 00000e10 0008 0064 0000 0000",
        ),
        (UNRESOLVED, "0000 0000 00000000 0000 0000 ffffffff"),
    ] {
        assert_reply(&mut daemon, &request(67, 52, address), 20, 52, body);
    }
}

const MEASUREMENT: &str = "c6336407 000000000000000000000000 0001 0000 \
    007b 00 04 04 01 06 ec 00800000 fe800000 47505300 00000000 6553f0ec 00000009 \
    02800000 fa800000 de800000 f8800000 00000000 c3ff 4b 48 00000064 0000005a 00000050 00000050";

/// chronyc 4.3 sends 152 octets and knows only the reply of that length; from 4.6 on it sends 172.
/// Programs in Go send 424 and know both.
#[test]
fn ntp_data_has_the_form_that_the_request_has_room_for() {
    let mut daemon = Example::new();
    let body = format!("{SERVER} {MEASUREMENT}");
    for length in [152, 171] {
        assert_reply(&mut daemon, &request(57, length, SERVER), 16, 152, &body);
    }
    for length in [172, 424] {
        assert_reply(&mut daemon, &request(57, length, SERVER), 26, 172, &body);
    }
    let none = format!("{NTS_SERVER} {NO_ADDRESS} 007b");
    assert_reply(&mut daemon, &request(57, 172, NTS_SERVER), 26, 172, &none);
    assert_reply(
        &mut daemon,
        &request(57, 172, UNRESOLVED),
        26,
        172,
        UNRESOLVED,
    );
}

/// chronyc 4.3 sends 72 octets, from 4.4 on 196, programs in Go 416.
#[test]
fn server_statistics_have_the_form_that_the_request_has_room_for() {
    let mut daemon = Example::new();
    let short = "00000001 00000009 00000005 00000003 00000002 00000006 00000000 00000007 00000008";
    for length in [72, 195] {
        assert_reply(&mut daemon, &request(54, length, ""), 24, 72, short);
    }
    let long = "0000000100000001 0000000000000009 0000000000000005 0000000000000003 \
        0000000000000002 0000000000000006 0000000000000000 0000000000000007 0000000000000008";
    for length in [196, 416] {
        assert_reply(&mut daemon, &request(54, length, ""), 25, 196, long);
    }
}

#[test]
fn activity_counts_servers_only() {
    let body = "00000001 00000001 00000000 00000000 00000001";
    assert_reply(&mut Example::new(), &request(44, 48, ""), 12, 48, body);
}

#[test]
fn names_are_those_of_the_configuration_without_the_port() {
    let mut daemon = Example::new();
    for (address, name) in [
        (SERVER, "ntp.example"),
        (NTS_SERVER, "2001:db8::1"),
        (UNRESOLVED, "absent.example"),
    ] {
        let hex: String = name.bytes().map(|octet| format!("{octet:02x}")).collect();
        assert_reply(&mut daemon, &request(65, 284, address), 19, 284, &hex);
    }
    daemon.status.sources[0].name = format!("{}:123", "n".repeat(300));
    let reply = answer(&request(65, 284, SERVER), Origin::Unix, &mut daemon).unwrap();
    assert_eq!(reply[28..].iter().position(|octet| *octet == 0), Some(255));
}

#[test]
fn clients_are_listed_eight_at_a_time() {
    let mut daemon = Example::new();
    let reply = answer(
        &request(68, 520, "00000000 00000008"),
        Origin::Unix,
        &mut daemon,
    )
    .unwrap();
    let numbers = octets("0000000a 00000008 00000008");
    assert_eq!(reply[28..40], numbers);
    let first = "cb007100 000000000000000000000000 0001 0000 00000064 00000000 00000000 \
        00000001 00000000 00000000 06 7f 7f 7f 00000005 ffffffff ffffffff";
    assert_eq!(reply[40..100], octets(first));
    assert_eq!(reply[100 + 44], 0x7F, "one request has no interval");
    let rest = request(68, 520, "00000008 00000008");
    let body = answer(&rest, Origin::Unix, &mut daemon).unwrap();
    assert_eq!(body[28..40], octets("0000000a 0000000a 00000002"));
    // At least 99 requests: those with fewer are skipped.
    let frequent = request(68, 520, "00000000 00000008 00000063");
    let body = answer(&frequent, Origin::Unix, &mut daemon).unwrap();
    assert_eq!(body[28..40], octets("0000000a 0000000a 00000002"));
    let reset = request(68, 520, "00000000 00000008 00000000 00000001");
    assert_eq!(status(&reset, Origin::Unix), Some(2));
    daemon.status.servers[0].client_list_size = 0;
    let reply = answer(&rest, Origin::Unix, &mut daemon).unwrap();
    assert_eq!(reply[8..10], [0, 15]);
}

/// The statuses are those of chronyd 4.3 to an unauthorised user; 72 to 74 are newer commands.
#[test]
fn what_is_not_readable_is_refused_as_chronyd_does() {
    let invalid = [12, 27, 28, 32, 38, 39, 40, 55, 58, 59, 60, 61];
    for command in 0..100 {
        for origin in [Origin::Unix, Origin::Udp] {
            let expected = match command {
                10 => 1,
                35 => 13,
                41 | 51 => 6,
                54 | 68 | 69 if origin == Origin::Unix => 0,
                // The address in the request is none.
                57 | 67 if origin == Origin::Unix => 4,
                65 => 4,
                0 | 14 | 15 | 33 | 34 | 44 => 0,
                _ if command > 74 || invalid.contains(&command) => 3,
                _ => 2,
            };
            let found = status(&request(command, 860, ""), origin);
            assert_eq!(found, Some(expected), "{command} {origin:?}");
        }
    }
    let absent = request(15, 76, "00000004");
    assert_eq!(status(&absent, Origin::Unix), Some(4));
    // The name of a reference clock is its reference ID.
    assert_eq!(status(&request(65, 284, CLOCK), Origin::Unix), Some(4));
}

#[test]
fn malformed_requests_get_no_answer_and_no_work() {
    /// Any question is a failure.
    struct Untouched;
    impl Daemon for Untouched {
        fn status(&mut self) -> &ntp_types::status::Status {
            unreachable!()
        }
        fn clients(&mut self, _: usize) -> &[ntp_types::status::ClientStatus] {
            unreachable!()
        }
        fn counters(&self) -> crate::RequestCounters {
            unreachable!()
        }
    }
    let valid = request(33, 104, "");
    let changed = |place: usize, octet: u8| {
        let mut changed = valid.clone();
        changed[place] = octet;
        changed
    };
    for datagram in [
        Vec::new(),
        valid[..27].to_vec(),
        request(33, 861, ""),
        changed(0, 4),
        // A reply, which could make two daemons answer each other for ever.
        changed(1, 2),
        changed(2, 1),
        changed(3, 1),
    ] {
        assert_eq!(answer(&datagram, Origin::Unix, &mut Untouched), None);
    }
    for (datagram, expected) in [
        (changed(0, 5), 18),
        (changed(0, 7), 18),
        (valid[..103].to_vec(), 19),
    ] {
        let reply = answer(&datagram, Origin::Unix, &mut Untouched).unwrap();
        assert_eq!((reply.len(), reply[9]), (28, expected));
    }
}
