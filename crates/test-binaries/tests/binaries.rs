//! Each program, asked over loopback as a client would.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ntp_proto::wire::{Header, Mode, Packet, Version, Writer};
use ntp_time::{LeapIndicator, NtpDuration, NtpTimestamp, ReferenceId, Stratum};
use test_binaries::{Behaviour, ReferenceServer};

#[test]
fn demobilize_server_denies_everybody() {
    let server = Program::start(env!("CARGO_BIN_EXE_demobilize-server"), &[]);
    for _ in 0..2 {
        let (request, reply) = ask(server.address);
        assert_eq!(reply.stratum, Stratum::KISS);
        assert_eq!(reply.reference_id, ReferenceId::new(*b"DENY"));
        assert_eq!(reply.origin_timestamp, request.transmit_timestamp);
    }
}

#[test]
fn rate_limit_server_serves_the_first_request_and_kisses_the_next() {
    let server = Program::start(env!("CARGO_BIN_EXE_rate-limit-server"), &[]);
    let (_, first) = ask(server.address);
    assert_eq!(
        (first.mode, first.stratum),
        (Mode::Server, Stratum::PRIMARY)
    );
    // From another port of the same address, and at once.
    let (_, second) = ask(server.address);
    assert_eq!(second.stratum, Stratum::KISS);
    assert_eq!(second.reference_id, ReferenceId::new(*b"RATE"));
}

#[test]
fn rate_limit_server_can_be_made_patient() {
    let program = env!("CARGO_BIN_EXE_rate-limit-server");
    let server = Program::start(program, &["--minimum-interval", "0"]);
    for _ in 0..3 {
        assert_eq!(ask(server.address).1.stratum, Stratum::PRIMARY);
    }
}

#[test]
fn test_server_shows_what_it_was_told_to() {
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
    let honest = ReferenceServer::bind(loopback(), Behaviour::default()).unwrap();
    let (_, before) = ask(honest.address());
    let (_, told) = ask(server.address);
    let (_, after) = ask(honest.address());
    assert_eq!(told.stratum, Stratum::new(3));
    assert_eq!(told.reference_id, ReferenceId::new(*b"GPS\0"));
    assert_eq!(told.leap, LeapIndicator::Insert);
    // Between the two honest readings, however long they took.
    let true_time = told.receive_timestamp + NtpDuration::from_millis(86_400_500);
    assert!((true_time - before.transmit_timestamp) >= NtpDuration::ZERO);
    assert!((after.receive_timestamp - true_time) >= NtpDuration::ZERO);
}

#[test]
fn a_running_server_changes_its_behaviour_and_stops_when_dropped() {
    let server = ReferenceServer::bind(loopback(), Behaviour::default()).unwrap();
    assert_eq!(ask(server.address()).1.stratum, Stratum::PRIMARY);
    server.set_behaviour(Behaviour::demobilizing());
    assert_eq!(ask(server.address()).1.stratum, Stratum::KISS);
    let address = server.address();
    drop(server);
    // The port is free again.
    UdpSocket::bind(address).unwrap();
}

#[test]
fn a_reply_from_another_port_is_one() {
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
fn a_wrong_option_is_refused_with_the_choices() {
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
fn a_taken_address_is_named() {
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
    // Far longer than an answer takes: a lost one fails the test instead of hanging it.
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

/// One exchange from a fresh port: request and reply.
fn ask(server: SocketAddr) -> (Header, Header) {
    let client = client();
    client.connect(server).unwrap();
    client.send(&octets(&request())).unwrap();
    let mut buffer = [0; 2048];
    let length = client.recv(&mut buffer).unwrap();
    (request(), Packet::parse(&buffer[..length]).unwrap().header)
}
