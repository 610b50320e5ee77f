//! The whole of it over loopback: threads, sockets, claims.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use ntp_os_clock::Clock;
use ntp_proto::wire::{Header, Mode, Packet, Version, Writer};
use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, NtpShort, NtpTimestamp, ReferenceId, Stratum,
};

use super::*;

fn listener(workers: usize) -> Listener {
    Listener {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        workers,
        rest_under_load: true,
        policy: Policy::default(),
        options: ServerOptions::default(),
    }
}

fn start(listeners: Vec<Listener>, clock: &Clock) -> Servers {
    let bound = Bound::bind(listeners).unwrap();
    assert!(bound.missing().is_empty());
    bound
        .start(Claim::UNSYNCHRONIZED, &clock.translator(), || [7; 32])
        .unwrap()
}

fn ask(server: SocketAddr) -> Header {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    client.connect(server).unwrap();
    let request = Header {
        transmit_timestamp: NtpTimestamp::from_bits(42),
        ..Header::blank(Version::V4, Mode::Client)
    };
    let mut octets = [0; Header::LEN];
    request.emit(&mut Writer::new(&mut octets)).unwrap();
    client.send(&octets).unwrap();
    let mut reply = [0; 100];
    let len = client.recv(&mut reply).unwrap();
    let header = Packet::parse(&reply[..len]).unwrap().header;
    assert_eq!(header.origin_timestamp, NtpTimestamp::from_bits(42));
    header
}

#[test]
fn every_address_serves_what_was_published_last_in_the_time_of_our_clock() {
    let ahead = NtpDuration::from_seconds(1000);
    let clock = Clock::new_virtual(ahead, Frequency::ZERO);
    let mut servers = start(vec![listener(1), listener(3)], &clock);
    let addresses: Vec<_> = servers.addresses().collect();
    for address in &addresses {
        let before = clock.now();
        let header = ask(*address);
        let after = clock.now();
        assert_eq!(header.leap, LeapIndicator::Unsynchronized);
        let received = after.nearest(header.receive_timestamp);
        let transmitted = after.nearest(header.transmit_timestamp);
        let slack = NtpDuration::from_micros(1);
        assert!(before - slack <= received && received <= transmitted);
        assert!(transmitted <= after + slack);
    }
    servers.publish(Claim {
        leap: LeapIndicator::None,
        stratum: Stratum::new(3),
        reference_id: ReferenceId::new([192, 0, 2, 1]),
        root_dispersion: ntp_proto::server::RootDispersion {
            value: NtpDuration::from_millis(5),
            at: clock.now(),
            growth: Frequency::ZERO,
        },
        root_delay: NtpShort::ZERO,
        ..Claim::UNSYNCHRONIZED
    });
    for address in &addresses {
        let header = ask(*address);
        assert_eq!(
            (header.leap, header.stratum),
            (LeapIndicator::None, Stratum::new(3))
        );
    }
    assert!(servers.stop().is_ok());
    let accepted: Vec<_> = servers
        .totals()
        .iter()
        .map(|(_, totals)| (totals.received, totals.accepted))
        .collect();
    assert_eq!(accepted, [(2, 2), (2, 2)]);
}

#[test]
fn a_second_server_at_the_address_is_refused_by_name() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let servers = start(vec![listener(2)], &clock);
    let address = servers.addresses().next().unwrap();
    let again = Listener {
        address,
        ..listener(2)
    };
    let message = Bound::bind(vec![again]).unwrap_err().to_string();
    assert!(message.contains(&address.to_string()), "{message}");
    assert!(message.contains("another time server"), "{message}");
}

#[test]
fn the_end_of_a_worker_wakes_the_main_thread_and_is_told() {
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let mut servers = start(vec![listener(2)], &clock);
    let address = servers.addresses().next().unwrap();
    let mut set = PollSet::new();
    servers.watch(&mut set);
    assert!(!set.wait(Some(Duration::ZERO)).unwrap());
    assert!(servers.attend(&set).is_ok());

    // As if somebody else had shut the socket down.
    servers.threads[1].socket.end_receiving().unwrap();
    set.clear();
    servers.watch(&mut set);
    assert!(set.wait(Some(Duration::from_secs(10))).unwrap());
    let failed = servers.attend(&set).unwrap_err();
    assert!(matches!(failed, ServeError::Worker(at, _) if at == address));
    assert!(servers.stop().is_ok());
}
