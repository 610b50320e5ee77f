//! Our client and our server over real sockets and TLS: matching keys, and every kind of failure.

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use common::{Authority, NOW, Running, endpoint, exchange_keys, keyset, request, start};
use ntp_nts_ke::client::{Report, exchange};
use ntp_nts_ke::failure::{ConnectError, Failure, Stage};
use ntp_nts_ke::trust::{Authorities, Trust, TrustError};
use ntp_nts_ke::validity::TimeBounds;
use ntp_proto::nts::exchange::{ErrorCode, ResponseError};
use ntp_proto::nts::{AeadAlgorithm, Direction, Keyset};
use ntp_types::event::KeyExchangeFailure;
use ntp_types::path::InterfaceName;

fn failure(report: Report) -> Failure {
    report.outcome.expect_err("this exchange must fail")
}

#[test]
fn cookies_contain_the_keys_of_the_client() {
    let authority = Authority::new();
    let running = start(endpoint(vec![authority.good()]));
    for algorithm in AeadAlgorithm::ALL {
        let path = authority.path();
        let mut request = request("127.0.0.1", running.address.port(), &path);
        request.algorithms = core::slice::from_ref(&algorithm);
        let result = exchange(&request).outcome.unwrap();
        assert_eq!(result.keys.algorithm(), algorithm);
        assert_eq!(result.cookies.len(), 8);
        assert!(result.legacy_keys.is_none());
        for cookie in &result.cookies {
            let sealed = keyset().open_cookie(cookie.octets()).unwrap();
            for direction in [Direction::ClientToServer, Direction::ServerToClient] {
                assert_eq!(sealed.key(direction), result.keys.key(direction));
            }
        }
    }
}

#[test]
fn the_response_has_the_preferred_algorithm_and_the_configured_server() {
    let authority = Authority::new();
    let mut endpoint = endpoint(vec![authority.good()]);
    endpoint.policy.algorithms.reverse();
    endpoint.policy.ntp_server = Some("ntp.example".into());
    endpoint.policy.ntp_port = Some(1123);
    let running = start(endpoint);
    let report = exchange_keys(&running, &authority);
    assert_eq!(report.peer, Some(running.address));
    let result = report.outcome.unwrap();
    assert_eq!(result.keys.algorithm(), AeadAlgorithm::Aes128GcmSiv);
    let named = result.server.map(|server| server.to_string());
    assert_eq!(named.as_deref(), Some("ntp.example"));
    assert_eq!(result.port, Some(1123));
    let stages: Vec<_> = report.timings.iter().map(|(stage, _)| *stage).collect();
    assert_eq!(
        stages,
        [
            Stage::Lookup,
            Stage::Connect,
            Stage::Handshake,
            Stage::Exchange
        ]
    );
}

#[test]
fn ipv6_and_names_work() {
    let authority = Authority::new();
    let mut endpoint = endpoint(vec![authority.good()]);
    endpoint.listen = "[::]:0".parse().unwrap();
    let running = start(endpoint);
    let path = authority.path();
    for host in ["::1", "127.0.0.1", "localhost"] {
        let report = exchange(&request(host, running.address.port(), &path));
        assert!(report.outcome.is_ok(), "{host}: {report:?}");
    }
}

#[test]
fn a_server_without_master_keys_replies_with_an_internal_error() {
    let authority = Authority::new();
    let running = common::start_with(endpoint(vec![authority.good()]), Keyset::EMPTY);
    assert_eq!(
        failure(exchange_keys(&running, &authority)),
        Failure::Response(ResponseError::Error(ErrorCode::INTERNAL))
    );
}

fn with_certificate(authority: &Authority, names: &[&str], years: (i32, i32)) -> Running {
    start(endpoint(vec![authority.issue("server", names, years)]))
}

#[test]
fn a_name_mismatch_is_reported_with_the_valid_names() {
    let authority = Authority::new();
    let running = with_certificate(&authority, &["ntp.example", "192.0.2.1"], (2020, 2040));
    let report = exchange_keys(&running, &authority);
    assert_eq!(report.presented.as_ref().unwrap().facts().len(), 1);
    let failure = failure(report);
    assert_eq!(
        failure.to_string(),
        "certificate is not valid for 127.0.0.1, only for ntp.example, 192.0.2.1"
    );
}

#[test]
fn an_invalid_validity_period_is_reported_with_both_times() {
    let authority = Authority::new();
    let expired = with_certificate(&authority, &["127.0.0.1"], (2020, 2026));
    let failure_of = |running: &Running| failure(exchange_keys(running, &authority)).to_string();
    assert_eq!(
        failure_of(&expired),
        "certificate expired on 2026-01-01 00:00:00 UTC; the local clock reads 2026-06-01 12:00:00 UTC: \
         renew the server's certificate, or correct the clock"
    );
    let early = with_certificate(&authority, &["127.0.0.1"], (2027, 2040));
    assert_eq!(
        failure_of(&early),
        "certificate is not valid before 2027-01-01 00:00:00 UTC; the local clock reads \
         2026-06-01 12:00:00 UTC and is probably wrong: set it, or see certificate-time-leniency"
    );
}

#[test]
fn an_unknown_authority_is_reported_by_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let running = start(endpoint(vec![authority.good()]));
    let failure = failure(exchange_keys(&running, &other));
    let Failure::UnknownIssuer(issuer) = failure else {
        panic!("{failure}");
    };
    assert_eq!(issuer, authority.name());
    assert!(Trust::load([other.directory.path().join("missing.pem")][..].into()).is_err());
}

#[test]
fn one_authority_can_be_trusted_alone() {
    let (public, own) = (Authority::new(), Authority::new());
    let load = |system, paths: &[PathBuf]| Trust::load(Authorities { system, paths });
    assert!(load(false, &[own.path()]).is_ok());
    assert_eq!(load(false, &[]).unwrap_err(), TrustError::NoFile);
    let running = start(endpoint(vec![public.good()]));
    let path = own.path();
    let mut request = request("127.0.0.1", running.address.port(), &path);
    request.authorities.system = false;
    assert!(matches!(
        failure(exchange(&request)),
        Failure::UnknownIssuer(_)
    ));
    // One of several, and one of a directory with other files.
    let several = [own.path(), public.path()];
    request.authorities.paths = &several;
    assert!(exchange(&request).outcome.is_ok());
    let directory = public.directory.path().to_owned();
    std::fs::write(directory.join("README"), "no certificate").unwrap();
    let directory = [directory];
    request.authorities.paths = &directory;
    assert!(exchange(&request).outcome.is_ok());
    let empty = tempfile::tempdir().unwrap();
    assert!(load(true, &[empty.path().to_owned()]).is_err());
}

#[test]
fn a_server_with_the_certificate_of_an_authority_is_refused() {
    let authority = Authority::new();
    let running = start(endpoint(vec![authority.itself()]));
    let failure = failure(exchange_keys(&running, &authority));
    assert_eq!(failure, Failure::AuthorityAsServer);
}

#[test]
fn a_wrong_clock_is_tolerated_within_limits_and_the_chain_is_reverified() {
    const DAY: u64 = 86_400;
    let authority = Authority::new();
    let running = with_certificate(&authority, &["127.0.0.1"], (2026, 2027));
    let path = authority.path();
    let at = |time: TimeBounds| {
        let mut request = request("127.0.0.1", running.address.port(), &path);
        request.time = time;
        exchange(&request)
    };
    let boot = 1_000_000; // January 1970
    let strict = at(TimeBounds::exact(boot));
    assert_eq!(
        failure(strict).reason(),
        KeyExchangeFailure::CertificateNotYetValid
    );
    let short = at(TimeBounds::within(boot, 365 * DAY, DAY, 0));
    assert_eq!(
        failure(short).reason(),
        KeyExchangeFailure::CertificateNotYetValid
    );

    let lenient = at(TimeBounds::within(boot, 100 * 365 * DAY, DAY, 0));
    assert!(lenient.outcome.is_ok(), "{lenient:?}");
    let presented = lenient.presented.unwrap();
    let assumed = presented.assumed_time().unwrap();
    assert!((NOW - 366 * DAY..NOW).contains(&assumed), "{assumed}");
    let trust = Trust::load([path.clone()][..].into()).unwrap();
    assert_eq!(presented.reverify(&trust, NOW), Ok(()));
    let expired = presented.reverify(&trust, NOW + 366 * DAY);
    assert_eq!(
        expired.unwrap_err().reason(),
        KeyExchangeFailure::CertificateExpired
    );

    // The true time is known to be after the certificate's expiry.
    let floor = TimeBounds::within(boot, 100 * 365 * DAY, DAY, NOW + 366 * DAY);
    assert_eq!(
        failure(at(floor)).reason(),
        KeyExchangeFailure::CertificateExpired
    );
    // An expired certificate is refused although the clock is before its expiry.
    let floor = TimeBounds::within(NOW, 0, 0, NOW + 366 * DAY);
    assert_eq!(
        failure(at(floor)).reason(),
        KeyExchangeFailure::CertificateExpired
    );
    // A clock before the floor counts as the floor, even without leniency.
    let known = at(TimeBounds::within(boot, 0, 0, NOW));
    assert_eq!(known.presented.unwrap().assumed_time(), None);
    // A clock that is ahead is tolerated up to the configured time.
    let ahead = NOW + 300 * DAY;
    assert!(
        at(TimeBounds::within(ahead, 0, 200 * DAY, 0))
            .outcome
            .is_ok()
    );
    assert!(
        at(TimeBounds::within(ahead, 0, 10 * DAY, 0))
            .outcome
            .is_err()
    );
    // A correct clock needs no leniency.
    let right = at(TimeBounds::within(NOW, 100 * 365 * DAY, DAY, 0));
    assert_eq!(right.presented.unwrap().assumed_time(), None);
}

#[test]
fn leniency_applies_to_the_validity_period_only() {
    let (authority, other) = (Authority::new(), Authority::new());
    let running = with_certificate(&authority, &["ntp.example"], (2027, 2028));
    let path = authority.path();
    let mut request = request("127.0.0.1", running.address.port(), &path);
    request.time = TimeBounds::within(NOW, u64::MAX, u64::MAX, 0);
    assert!(exchange(&request).outcome.is_err());
    let wrong = other.path();
    request.authorities.paths = std::slice::from_ref(&wrong);
    assert!(exchange(&request).outcome.is_err());
}

#[test]
fn timeout_refused_connection_and_invalid_tls_are_distinguished() {
    let authority = Authority::new();
    let path = authority.path();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut silent = request("127.0.0.1", port, &path);
    silent.limit = Duration::from_millis(300);
    assert_eq!(
        failure(exchange(&silent)),
        Failure::Timeout(Stage::Handshake)
    );

    let non_tls_server = std::thread::spawn(move || {
        // The first connection is the one above, which was never accepted.
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.write_all(b"SSH-2.0-whatever\r\n".repeat(4).as_slice());
            let _ = socket.read(&mut [0; 2048]);
        }
    });
    let not_tls = failure(exchange(&request("127.0.0.1", port, &path)));
    assert_eq!(not_tls, Failure::NotTls);
    non_tls_server.join().unwrap();

    let refused = failure(exchange(&request("127.0.0.1", port, &path)));
    let Failure::Connect(tried) = refused else {
        panic!("{refused}");
    };
    assert_eq!(
        tried,
        [(([127, 0, 0, 1], port).into(), ConnectError::Refused)]
    );
    let invalid_host = failure(exchange(&request("no host", port, &path)));
    assert_eq!(invalid_host.reason(), KeyExchangeFailure::NameResolution);
}

#[test]
fn the_connection_takes_the_path_of_the_source() {
    let authority = Authority::new();
    let running = start(endpoint(vec![authority.good()]));
    let file = authority.path();
    let own = IpAddr::from([127, 9, 8, 7]);
    let by_path = |port| {
        let mut request = request("127.0.0.1", port, &file);
        request.path.address = Some(own);
        request.path.dscp = 46;
        request
    };
    assert!(exchange(&by_path(running.address.port())).outcome.is_ok());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut request = by_path(listener.local_addr().unwrap().port());
    let peer = std::thread::spawn(move || listener.accept().unwrap().1.ip());
    assert!(exchange(&request).outcome.is_err());
    assert_eq!(peer.join().unwrap(), own);

    request.path.device = InterfaceName::new("no-such-if").ok();
    let failed = failure(exchange(&request));
    assert!(failed.to_string().contains("bind-device"), "{failed}");
}
