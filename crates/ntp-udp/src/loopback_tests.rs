//! The real kernel over the loopback interface, IPv4 and IPv6.
//!
//! No test waits for a fixed time: each wait ends with its condition, and the limit only turns a
//! hang into a failure.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use ntp_time::{NtpDuration, Stamp, StampSource, SystemTime};
use ntp_types::path::{InterfaceName, ListenAddress, NetworkPath};

use crate::address::RawAddress;
use crate::cmsg::ControlBuffer;
use crate::syscall::{self, wait_for};
use crate::{
    ClientSocket, ErrorQueue, PathError, Received, ServerOptions, ServerSocket, SocketOptions,
    TimestampMode, TimestampingGuard, has_lost_device,
};

/// Ten seconds, in milliseconds: exceeded only by a hang.
const LIMIT: i32 = 10_000;

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

/// Binds a server on each loopback address that this machine has.
fn servers() -> Vec<UdpSocket> {
    let loopback = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ];
    let servers: Vec<_> = loopback
        .iter()
        .filter_map(|address| match UdpSocket::bind((*address, 0)) {
            Ok(server) => Some(server),
            Err(error) => {
                eprintln!("skipped for {address}: {error}");
                None
            }
        })
        .collect();
    for server in &servers {
        server
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
    }
    assert!(!servers.is_empty());
    servers
}

fn client_of(server: &UdpSocket) -> ClientSocket {
    let (client, missing) =
        ClientSocket::open(server.local_addr().unwrap(), &SocketOptions::default()).unwrap();
    assert!(missing.is_empty(), "{missing:?}");
    client
}

/// Sends `reply` to the client and receives it with a buffer of `room` bytes.
fn receive(server: &UdpSocket, client: &ClientSocket, reply: &[u8], room: usize) -> Received {
    server.send_to(reply, client.local_addr().unwrap()).unwrap();
    assert!(wait_for(client.as_fd(), libc::POLLIN, LIMIT));
    let mut buffer = vec![0; room];
    let received = client.receive(&mut buffer).unwrap();
    assert_eq!(buffer[..received.len], reply[..received.len]);
    received
}

fn transmit_stamp(client: &ClientSocket) -> Stamp {
    loop {
        match client.take_transmit_stamp().unwrap() {
            ErrorQueue::TransmitStamp(stamp) => return stamp.to_stamp().unwrap(),
            ErrorQueue::Empty => {
                assert!(wait_for(client.as_fd(), libc::POLLPRI, LIMIT), "no stamp");
            }
            ErrorQueue::Unreachable(error) => panic!("{error}"),
        }
    }
}

/// Returns a datagram that the kernel has timestamped, and a reading from before it was sent. The
/// first ones may lack a timestamp, until a work queue of the kernel has enabled timestamping.
fn receive_stamped(server: &UdpSocket, client: &ClientSocket) -> (SystemTime, Stamp) {
    let begin = realtime();
    loop {
        let before = realtime();
        if let Some(stamp) = receive(server, client, &[7; 48], 1024).stamp {
            return (before, stamp.to_stamp().unwrap());
        }
        let limit = NtpDuration::from_millis(LIMIT.into());
        assert!(before - begin < limit, "the kernel never stamped");
        std::thread::yield_now();
    }
}

#[test]
fn a_received_datagram_is_stamped_by_the_kernel_between_two_readings() {
    let _keeper = TimestampingGuard::open(&SocketOptions::default()).unwrap();
    for server in servers() {
        let client = client_of(&server);
        let (before, stamp) = receive_stamped(&server, &client);
        let after = realtime();
        assert!(
            before <= stamp.time && stamp.time <= after,
            "{before} {stamp:?} {after}"
        );
        assert_eq!(stamp.source, StampSource::Kernel);
    }
}

#[test]
fn a_sent_datagram_gets_its_stamp_from_the_error_queue() {
    for server in servers() {
        let client = client_of(&server);
        assert!(client.stamps_transmissions());
        for _ in 0..3 {
            let before = realtime();
            client.send(&[1; 48]).unwrap();
            let stamp = transmit_stamp(&client);
            assert!(before <= stamp.time && stamp.time <= realtime());
            assert_eq!(stamp.source, StampSource::Kernel);
        }
        assert!(matches!(
            client.take_transmit_stamp(),
            Ok(ErrorQueue::Empty)
        ));
    }
}

#[test]
fn a_pending_transmit_timestamp_does_not_block_the_reply() {
    for server in servers() {
        let client = client_of(&server);
        client.send(b"request").unwrap();
        assert!(wait_for(client.as_fd(), libc::POLLPRI, LIMIT));
        assert_eq!(receive(&server, &client, b"reply", 1024).len, 5);
        transmit_stamp(&client);
    }
}

#[test]
fn datagrams_arrive_and_both_addresses_are_known() {
    for server in servers() {
        let client = client_of(&server);
        client.send(b"request").unwrap();
        let mut request = [0; 64];
        let (len, from) = server.recv_from(&mut request).unwrap();
        assert_eq!(
            (&request[..len], from),
            (&b"request"[..], client.local_addr().unwrap())
        );

        let received = receive(&server, &client, b"reply", 1024);
        assert_eq!(received.remote, server.local_addr().unwrap());
        assert_eq!(received.local, Some(from.ip()));
        assert!(received.interface.is_some_and(|index| index > 0));
        assert!(!received.truncated);
    }
}

#[test]
fn a_datagram_longer_than_the_buffer_is_marked() {
    for server in servers() {
        let client = client_of(&server);
        let cut = receive(&server, &client, &[5; 100], 48);
        assert_eq!((cut.len, cut.truncated), (48, true));
        let whole = receive(&server, &client, &[5; 100], 100);
        assert_eq!((whole.len, whole.truncated), (100, false));
    }
}

#[test]
fn datagrams_from_other_addresses_are_not_received() {
    for server in servers() {
        let client = client_of(&server);
        let other = UdpSocket::bind((server.local_addr().unwrap().ip(), 0)).unwrap();
        // Delivery over loopback is immediate and in order, so the reply proves that the forgery
        // was dropped.
        let _ = other.send_to(b"forged", client.local_addr().unwrap());
        assert_eq!(receive(&server, &client, b"reply", 1024).len, 5);
        let error = client.receive(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_closed_port_is_reported() {
    for server in servers() {
        let peer = server.local_addr().unwrap();
        drop(server);
        // Without transmit timestamps the error is the first entry in the queue.
        let options = SocketOptions {
            timestamps: TimestampMode::KernelReceive,
            ..SocketOptions::default()
        };
        let refused_client = || {
            let (client, _) = ClientSocket::open(peer, &options).unwrap();
            client.send(&[0; 48]).unwrap();
            assert!(wait_for(client.as_fd(), libc::POLLPRI, LIMIT));
            client
        };
        let error = refused_client().receive(&mut [0; 64]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        match refused_client().take_transmit_stamp().unwrap() {
            ErrorQueue::Unreachable(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn without_kernel_timestamps_nothing_is_stamped() {
    for server in servers() {
        let options = SocketOptions {
            timestamps: TimestampMode::Software,
            ..SocketOptions::default()
        };
        let (client, missing) = ClientSocket::open(server.local_addr().unwrap(), &options).unwrap();
        assert!(missing.is_empty() && !client.stamps_transmissions());
        client.send(b"request").unwrap();
        assert_eq!(receive(&server, &client, b"reply", 1024).stamp, None);
        assert!(matches!(
            client.take_transmit_stamp(),
            Ok(ErrorQueue::Empty)
        ));
    }
}

#[test]
fn without_hardware_support_the_kernel_stamps() {
    let _keeper = TimestampingGuard::open(&SocketOptions::default()).unwrap();
    for server in servers() {
        let options = SocketOptions {
            timestamps: TimestampMode::Hardware,
            ..SocketOptions::default()
        };
        let (client, _) = ClientSocket::open(server.local_addr().unwrap(), &options).unwrap();
        client.send(b"request").unwrap();
        let sent = transmit_stamp(&client);
        assert_eq!(sent.source, StampSource::Kernel);
        let (_, arrived) = receive_stamped(&server, &client);
        assert_eq!(arrived.source, StampSource::Kernel);
    }
}

#[test]
fn every_socket_has_its_own_port() {
    for server in servers() {
        let clients: Vec<_> = (0..20).map(|_| client_of(&server)).collect();
        let mut ports: Vec<_> = clients
            .iter()
            .map(|client| client.local_addr().unwrap().port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), clients.len());
        // A counter would give 20 neighbours; random ports practically never do.
        assert!(ports[ports.len() - 1] - ports[0] > 100, "{ports:?}");
    }
}

#[test]
fn a_missing_interface_is_an_error() {
    let path = NetworkPath {
        device: InterfaceName::new("no-such-if").ok(),
        ..NetworkPath::default()
    };
    let error = open_by(path).unwrap_err();
    assert!(matches!(error, PathError::Device(..)), "{error}");
    assert_eq!(io::Error::from(error).raw_os_error(), Some(libc::ENODEV));
}

#[test]
fn a_device_is_lost_if_the_name_does_not_mean_it_any_more() {
    let at = |device: &str| ListenAddress {
        socket: ([127, 0, 0, 1], 0).into(),
        device: InterfaceName::new(device).ok(),
    };
    let bind = |address: ListenAddress| {
        let options = ServerOptions {
            device: address.device,
            ..ServerOptions::default()
        };
        ServerSocket::bind(address.socket, &options).unwrap().0
    };
    let bound = bind(at("lo"));
    assert!(!has_lost_device(bound.as_fd(), at("lo")));
    // For the kernel, this is what a device is that has another name now.
    assert!(has_lost_device(bound.as_fd(), at("no-such-if")));
    let unbound = bind(at(""));
    assert!(!has_lost_device(unbound.as_fd(), at("")));
}

/// Opens a socket to a server at 127.0.0.1.
fn open_by(path: NetworkPath) -> Result<ClientSocket, PathError> {
    let options = SocketOptions {
        path,
        ..SocketOptions::default()
    };
    let opened = ClientSocket::open(([127, 0, 0, 1], 123).into(), &options);
    opened.map(|(socket, _)| socket)
}

#[test]
fn a_local_address_is_used_or_is_an_error() {
    for (address, errno) in [
        ("127.9.8.7", None),
        ("192.0.2.77", Some(libc::EADDRNOTAVAIL)),
        ("::1", Some(libc::EAFNOSUPPORT)),
    ] {
        let address = address.parse().unwrap();
        let opened = open_by(NetworkPath {
            address: Some(address),
            ..NetworkPath::default()
        });
        match (opened, errno) {
            (Ok(socket), None) => assert_eq!(socket.local_addr().unwrap().ip(), address),
            (Err(PathError::Address(at, error)), Some(errno)) => {
                assert_eq!((at, error.raw_os_error()), (address, Some(errno)));
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// Receives a datagram and returns its type of service or traffic class.
fn received_traffic_class(server: &UdpSocket) -> u8 {
    let (mut sender, mut control) = (RawAddress::empty(), ControlBuffer::new());
    assert!(wait_for(server.as_fd(), libc::POLLIN, LIMIT));
    syscall::receive(server.as_fd(), &mut [0; 64], &mut sender, &mut control, 0).unwrap();
    let mut messages = control.messages();
    let class = messages.find(|it| {
        (it.level, it.kind) == (libc::IPPROTO_IP, libc::IP_TOS)
            || (it.level, it.kind) == (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
    });
    class.expect("the traffic class").data[0]
}

#[test]
fn the_code_point_leaves_the_ecn_bits_alone() {
    for address in ["127.0.0.1", "::1"] {
        let Ok(server) = UdpSocket::bind((address, 0)) else {
            continue;
        };
        let (level, report) = if address == "::1" {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_RECVTOS)
        };
        syscall::set_option(server.as_fd(), level, report, 1).unwrap();
        let path = NetworkPath {
            dscp: 46,
            ..NetworkPath::default()
        };
        let options = SocketOptions {
            path,
            ..SocketOptions::default()
        };
        let (client, _) = ClientSocket::open(server.local_addr().unwrap(), &options).unwrap();
        client.send(b"request").unwrap();
        assert_eq!(received_traffic_class(&server), 46 << 2, "{address}");
    }
}

#[test]
fn a_mapped_address_is_reached_over_ipv4() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mapped = (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port).into();
    let (client, _) = ClientSocket::open(mapped, &SocketOptions::default()).unwrap();
    assert_eq!(client.remote(), server.local_addr().unwrap());
    assert_eq!(
        receive(&server, &client, b"reply", 64).local,
        Some(Ipv4Addr::LOCALHOST.into())
    );
}

#[test]
fn a_datagram_carries_the_hop_limit_with_which_it_arrived() {
    for server in servers() {
        let local = server.local_addr().unwrap();
        let set = |hop_limit| {
            let (level, option) = match local {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
            };
            syscall::set_option(server.as_fd(), level, option, hop_limit).unwrap();
        };
        let mut remotes = vec![local];
        if let SocketAddr::V4(it) = local {
            remotes.push((it.ip().to_ipv6_mapped(), it.port()).into());
        }
        for remote in remotes {
            let (client, _) = ClientSocket::open(remote, &SocketOptions::default()).unwrap();
            for hop_limit in [1, 57, 255] {
                set(hop_limit);
                let received = receive(&server, &client, &[7; 48], 1024);
                assert_eq!(received.hop_limit.map(i32::from), Some(hop_limit));
            }
        }
    }
}
