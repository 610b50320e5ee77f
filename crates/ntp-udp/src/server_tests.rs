//! Server sockets against the real kernel, over loopback.
//!
//! Loopback delivers before the sending call returns, so nothing here waits for a time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use ntp_time::{NtpDuration, StampSource, SystemTime};

use crate::steering::Steering;
use crate::{Inbox, Outbox, ServerOptions, ServerSocket, SocketOptions, TimestampingGuard};

#[expect(
    clippy::disallowed_methods,
    reason = "the tests compare kernel stamps with readings of their own"
)]
fn realtime() -> SystemTime {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    SystemTime::from_nanos(i64::try_from(since.as_nanos()).unwrap())
}

fn bind(address: &str) -> ServerSocket {
    let (socket, missing) =
        ServerSocket::bind(address.parse().unwrap(), &ServerOptions::default()).unwrap();
    assert!(missing.is_empty(), "{missing:?}");
    socket
}

fn port(socket: &ServerSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

/// A client at `own` that receives from `server` only.
fn client(own: IpAddr, server: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind((own, 0)).unwrap();
    client.connect(server).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    client
}

/// Sends all received datagrams back; returns their number.
fn echo(server: &ServerSocket, inbox: &mut Inbox, outbox: &mut Outbox<u64>) -> usize {
    let count = server.receive(inbox).unwrap();
    for index in 0..count {
        let arrival = inbox.get(index).unwrap();
        assert!(outbox.reply(&arrival) && outbox.write(index, arrival.payload, None));
    }
    let sent = server.send(outbox);
    assert_eq!((sent.sent, sent.failed), (count, 0), "{:?}", sent.error);
    count
}

fn push(outbox: &mut Outbox<u64>, to: SocketAddr, payload: &[u8], token: Option<u64>) -> bool {
    let place = outbox.len();
    outbox.push(to, None) && outbox.write(place, payload, token)
}

fn assert_received(client: &UdpSocket, expected: &[u8]) {
    let mut buffer = [0; 64];
    let len = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], expected);
}

#[test]
fn replies_use_the_destination_address_of_the_request() {
    let (mut inbox, mut outbox) = (Inbox::new(4), Outbox::new(4));
    let cases = [
        ("0.0.0.0:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.3.2.1"),
        ("[::]:0", "::1"),
        ("[::]:0", "127.3.2.1"),
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
    ];
    for (listen, destination) in cases {
        let server = bind(listen);
        let destination: IpAddr = destination.parse().unwrap();
        // A client on the same loopback network, but at another address if there is one.
        let own = match destination {
            IpAddr::V4(_) => Ipv4Addr::new(127, 9, 9, 9).into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let client = client(own, (destination, port(&server)).into());
        client.send(b"question").unwrap();
        assert_eq!(echo(&server, &mut inbox, &mut outbox), 1);
        let arrival = inbox.get(0).unwrap();
        assert_eq!(arrival.from, client.local_addr().unwrap());
        assert_eq!(arrival.own, Some(destination), "{listen}");
        assert_received(&client, b"question");
    }
}

#[test]
fn every_datagram_of_every_batch_is_stamped() {
    let _keeper = TimestampingGuard::open(&SocketOptions::default()).unwrap();
    let server = bind("127.0.0.1:0");
    let client = client(Ipv4Addr::LOCALHOST.into(), server.local_addr().unwrap());
    let mut inbox = Inbox::new(4);
    // The kernel enables timestamping from a work queue.
    let begin = realtime();
    loop {
        client.send(b"?").unwrap();
        server.receive(&mut inbox).unwrap();
        if inbox.get(0).unwrap().stamp.is_some() {
            break;
        }
        assert!(realtime() - begin < NtpDuration::from_seconds(10));
        thread::yield_now();
    }
    let before = realtime();
    for round in 0..10u8 {
        client.send(&[round; 48]).unwrap();
    }
    let mut sizes = Vec::new();
    let mut seen = Vec::new();
    while let Ok(count) = server.receive(&mut inbox) {
        sizes.push(count);
        for index in 0..count {
            let arrival = inbox.get(index).unwrap();
            let stamp = arrival.stamp.unwrap().to_stamp().unwrap();
            assert_eq!(stamp.source, StampSource::Kernel);
            assert!(before <= stamp.time && stamp.time <= realtime());
            assert_eq!(arrival.payload.len(), 48);
            seen.push(arrival.payload[0]);
        }
        assert!(inbox.get(count).is_none());
    }
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_truncated_datagram_is_marked() {
    let server = bind("127.0.0.1:0");
    let client = client(Ipv4Addr::LOCALHOST.into(), server.local_addr().unwrap());
    let mut inbox = Inbox::new(2);
    client.send(&[1; 3000]).unwrap();
    client.send(&[2; 1472]).unwrap();
    assert_eq!(server.receive(&mut inbox).unwrap(), 2);
    let of = |index| {
        inbox
            .get(index)
            .map(|arrival| (arrival.payload.len(), arrival.truncated))
    };
    assert_eq!(of(0), Some((1472, true)));
    assert_eq!(of(1), Some((1472, false)));
}

#[test]
fn clients_are_steered_by_address_not_port() {
    const WORKERS: usize = 3;
    let options = ServerOptions {
        steering_key: 0x1234_5678,
        ..ServerOptions::default()
    };
    let steering = Steering::new(options.steering_key, WORKERS);
    let mut inbox = Inbox::new(4);
    for (listen, destination) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::]:0", "127.0.0.1"),
        ("[::]:0", "::1"),
    ] {
        let (group, missing) =
            ServerSocket::bind_group(listen.parse().unwrap(), WORKERS, &options).unwrap();
        assert!(missing.is_empty(), "{missing:?}");
        let server: SocketAddr = (destination.parse::<IpAddr>().unwrap(), port(&group[0])).into();
        let mut served = [0; WORKERS];
        for host in 1..=40 {
            let own: IpAddr = if server.is_ipv4() {
                Ipv4Addr::new(127, 1, host, 5 * host).into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            };
            for _ in 0..3 {
                client(own, server).send(b"?").unwrap();
            }
            for (index, socket) in group.iter().enumerate() {
                let count = socket.receive(&mut inbox).unwrap_or(0);
                served[index] += count;
                let expected = if index == steering.index_of(own) {
                    3
                } else {
                    0
                };
                assert_eq!(count, expected, "worker {index} for {own} at {listen}");
            }
        }
        if server.is_ipv4() {
            assert!(served.iter().all(|count| *count > 0), "{served:?}");
        }
    }
}

#[test]
fn binding_an_address_in_use_fails() {
    let options = ServerOptions::default();
    for workers in [1, 3] {
        let (group, _) =
            ServerSocket::bind_group("127.0.0.1:0".parse().unwrap(), workers, &options).unwrap();
        let address = group[0].local_addr().unwrap();
        for newcomers in [1, 2] {
            let refused = ServerSocket::bind_group(address, newcomers, &options).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        }
        drop(group);
        ServerSocket::bind_group(address, workers, &options).unwrap();
    }
}

#[test]
fn a_missing_address_can_be_bound() {
    for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
        let expected: SocketAddr = address.parse().unwrap();
        let bound = bind(address).local_addr().unwrap();
        assert_eq!(bound.ip(), expected.ip());
    }
}

#[test]
fn an_ipv6_only_wildcard_leaves_ipv4_free() {
    let options = ServerOptions {
        only_ipv6: true,
        ..ServerOptions::default()
    };
    let v4 = bind("0.0.0.0:0");
    let address: SocketAddr = (Ipv6Addr::UNSPECIFIED, port(&v4)).into();
    ServerSocket::bind(address, &options).unwrap();
    let both = ServerSocket::bind(address, &ServerOptions::default()).unwrap_err();
    assert_eq!(both.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn only_requested_transmit_timestamps_are_returned() {
    let server = bind("127.0.0.1:0");
    assert!(server.stamps_transmissions());
    let client = client(Ipv4Addr::LOCALHOST.into(), server.local_addr().unwrap());
    let (mut inbox, mut outbox) = (Inbox::new(8), Outbox::new(8));
    for round in 0..5u64 {
        for _ in 0..4 {
            client.send(b"?").unwrap();
        }
        assert_eq!(server.receive(&mut inbox).unwrap(), 4);
        let before = realtime();
        let tokens = [None, Some(10 * round), None, Some(10 * round + 1)];
        for (index, token) in tokens.into_iter().enumerate() {
            assert!(outbox.reply(&inbox.get(index).unwrap()) && outbox.write(index, b"!", token));
        }
        assert_eq!(server.send(&mut outbox).sent, 4);
        let mut stamped = Vec::new();
        server.transmit_stamps(&mut outbox, |token, stamp| {
            let stamp = stamp.to_stamp().unwrap();
            assert!(before <= stamp.time && stamp.time <= realtime());
            assert_eq!(stamp.source, StampSource::Kernel);
            stamped.push(token);
        });
        assert_eq!(stamped, [10 * round, 10 * round + 1]);
    }
}

#[test]
fn unsendable_datagrams_are_skipped_and_tokens_stay_matched() {
    let server = bind("0.0.0.0:0");
    let hearer = UdpSocket::bind("127.0.0.1:0").unwrap();
    hearer
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let good = hearer.local_addr().unwrap();
    let nowhere: SocketAddr = (good.ip(), 0).into();
    let mut outbox = Outbox::new(8);
    for round in 0..3 {
        for (to, text, token) in [
            (good, b"a", Some(1)),
            (nowhere, b"b", Some(2)),
            (good, b"c", None),
        ] {
            assert!(push(&mut outbox, to, text, token));
        }
        let sent = server.send(&mut outbox);
        assert_eq!((sent.sent, sent.failed), (2, 1), "round {round}");
        assert_eq!(
            sent.error.and_then(|error| error.raw_os_error()),
            Some(libc::EINVAL)
        );
        assert_received(&hearer, b"a");
        assert_received(&hearer, b"c");
        assert!(push(&mut outbox, good, b"d", Some(4)));
        assert_eq!(server.send(&mut outbox).sent, 1);
        assert_received(&hearer, b"d");
        let mut stamped = Vec::new();
        server.transmit_stamps(&mut outbox, |token, _| stamped.push(token));
        assert_eq!(stamped, [4]);
    }
}

#[test]
fn a_full_outbox_rejects_datagrams() {
    let server = bind("127.0.0.1:0");
    let to = server.local_addr().unwrap();
    let mut outbox = Outbox::<u64>::new(2);
    assert!(push(&mut outbox, to, &[0; 1472], None));
    assert!(!outbox.write(0, &[0; 1473], None) && !outbox.write(1, b"x", None));
    assert!(outbox.push(to, Some(Ipv4Addr::LOCALHOST.into())));
    assert!(outbox.is_full() && !outbox.push(to, None));
    assert_eq!(server.send(&mut outbox).sent, 2);
    assert!(outbox.is_empty());
}

#[test]
fn stop_receiving_wakes_before_and_during_the_wait() {
    let server = bind("127.0.0.1:0");
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut inbox = Inbox::new(4);
            sender.send(()).unwrap();
            for _ in 0..2 {
                let count = server.wait_receive(&mut inbox).unwrap();
                assert!((0..count).all(|index| inbox.get(index).is_none()));
            }
        });
        receiver.recv().unwrap();
        server.stop_receiving().unwrap();
    });
}

#[test]
fn single_calls_replace_missing_batch_calls() {
    let server = bind("127.0.0.1:0");
    let client = client(Ipv4Addr::LOCALHOST.into(), server.local_addr().unwrap());
    let (mut inbox, mut outbox) = (
        Inbox::new(4).with_single_calls(),
        Outbox::new(4).with_single_calls(),
    );
    for text in [b"a", b"b"] {
        client.send(text).unwrap();
    }
    for text in [b"a", b"b"] {
        assert_eq!(echo(&server, &mut inbox, &mut outbox), 1);
        assert_received(&client, text);
    }
    let dry = server.receive(&mut inbox).unwrap_err();
    assert_eq!(dry.kind(), io::ErrorKind::WouldBlock);
    let to = client.local_addr().unwrap();
    assert!(push(&mut outbox, to, b"c", None) && push(&mut outbox, to, b"d", None));
    assert_eq!(server.send(&mut outbox).sent, 2);
    assert_received(&client, b"c");
    assert_received(&client, b"d");
}
