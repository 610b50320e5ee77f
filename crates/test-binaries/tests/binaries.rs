//! Tests of the programs over loopback.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ntp_proto::wire::{Header, Mode, Packet, Version, Writer};
use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, ReferenceId, Stratum};
use test_binaries::{Behaviour, ReferenceServer};

#[test]
fn demobilize_server_answers_every_request_with_deny() {
    let server = Program::start(env!("CARGO_BIN_EXE_demobilize-server"), &[]);
    for _ in 0..2 {
        let (request, reply) = exchange(server.address);
        assert_eq!(reply.stratum, Stratum::KISS);
        assert_eq!(reply.reference_id, ReferenceId::new(*b"DENY"));
        assert_eq!(reply.origin_timestamp, request.transmit_timestamp);
    }
}

#[test]
fn rate_limit_server_answers_the_second_request_with_rate() {
    let server = Program::start(env!("CARGO_BIN_EXE_rate-limit-server"), &[]);
    let (_, first) = exchange(server.address);
    assert_eq!(
        (first.mode, first.stratum),
        (Mode::Server, Stratum::PRIMARY)
    );
    // Immediately, from another port of the same address.
    let (_, second) = exchange(server.address);
    assert_eq!(second.stratum, Stratum::KISS);
    assert_eq!(second.reference_id, ReferenceId::new(*b"RATE"));
}

#[test]
fn rate_limit_server_accepts_another_minimum_interval() {
    let program = env!("CARGO_BIN_EXE_rate-limit-server");
    let server = Program::start(program, &["--minimum-interval", "0"]);
    for _ in 0..3 {
        assert_eq!(exchange(server.address).1.stratum, Stratum::PRIMARY);
    }
}

#[test]
fn test_server_applies_its_options() {
    let server = Program::start(
        env!("CARGO_BIN_EXE_test-server"),
        &[
            "--offset",
            "-86400.5",
            "--stratum",
            "3",
            "--reference-id",
            "GPS",
            "--leap",
            "insert",
            "--misbehave",
            "huge-field=512",
        ],
    );
    let correct = ReferenceServer::bind(loopback(), Behaviour::default()).unwrap();
    let (_, before) = exchange(correct.address());
    let (_, reply) = exchange(server.address);
    let (_, after) = exchange(correct.address());
    assert_eq!(reply.stratum, Stratum::new(3));
    assert_eq!(reply.reference_id, ReferenceId::new(*b"GPS\0"));
    assert_eq!(reply.leap, LeapIndicator::Insert);
    // Between the two correct readings, however long they took.
    let true_time = reply.receive_timestamp + NtpDuration::from_millis(86_400_500);
    assert!((true_time - before.transmit_timestamp) >= NtpDuration::ZERO);
    assert!((after.receive_timestamp - true_time) >= NtpDuration::ZERO);
}

#[test]
fn a_running_server_changes_its_behaviour_and_stops_when_dropped() {
    let server = ReferenceServer::bind(loopback(), Behaviour::default()).unwrap();
    assert_eq!(exchange(server.address()).1.stratum, Stratum::PRIMARY);
    server.set_behaviour(Behaviour::demobilizing());
    assert_eq!(exchange(server.address()).1.stratum, Stratum::KISS);
    let address = server.address();
    drop(server);
    // The port is free again, at the latest when a process that another test is starting has closed
    // its copy of the socket.
    let attempts = std::iter::repeat_with(|| {
        std::thread::yield_now();
        UdpSocket::bind(address)
    });
    assert!(attempts.take(1_000_000).any(|bound| bound.is_ok()));
}

#[test]
fn other_port_replies_come_from_another_port() {
    let behaviour = Behaviour::with("other-port".parse().unwrap());
    let server = ReferenceServer::bind(loopback(), behaviour).unwrap();
    let client = client();
    client
        .send_to(&octets(&request()), server.address())
        .unwrap();
    let (_, source) = client.recv_from(&mut [0; 512]).unwrap();
    assert_eq!(source.ip(), server.address().ip());
    assert_ne!(source.port(), server.address().port());
}

#[test]
fn an_invalid_misbehaviour_is_rejected_with_the_valid_ones() {
    let output = Command::new(env!("CARGO_BIN_EXE_test-server"))
        .args(["--misbehave", "rudely"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("rudely") && message.contains("wrong-origin"),
        "{message}"
    );
}

#[test]
fn an_address_in_use_is_named_in_the_error() {
    let holder = UdpSocket::bind(loopback()).unwrap();
    let taken = holder.local_addr().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_demobilize-server"))
        .args(["--listen", &taken.to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(&taken.to_string()), "{message}");
}

/// A running server program, killed when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(program: &str, options: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").unwrap();
        Self {
            address: address.parse().unwrap(),
            child,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn client() -> UdpSocket {
    let client = UdpSocket::bind(loopback()).unwrap();
    // Much longer than a reply takes: a lost one fails the test instead of blocking it.
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client
}

fn request() -> Header {
    Header {
        transmit_timestamp: NtpTimestamp::from_bits(0x0123_4567_89ab_cdef),
        ..Header::blank(Version::V4, Mode::Client)
    }
}

fn octets(header: &Header) -> [u8; Header::LEN] {
    let mut octets = [0; Header::LEN];
    header.emit(&mut Writer::new(&mut octets)).unwrap();
    octets
}

/// Performs one exchange from a new port. Returns request and reply.
fn exchange(server: SocketAddr) -> (Header, Header) {
    let client = client();
    client.connect(server).unwrap();
    client.send(&octets(&request())).unwrap();
    let mut buffer = [0; 2048];
    let length = client.recv(&mut buffer).unwrap();
    (request(), Packet::parse(&buffer[..length]).unwrap().header)
}
