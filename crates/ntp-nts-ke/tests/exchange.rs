//! Our client and our server over real sockets and real TLS: keys that fit, and every way in which it can fail.

mod arena;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use arena::{Authority, NOW, Running, ask, endpoint, keyset, request, start};
use ntp_nts_ke::client::{Report, exchange};
use ntp_nts_ke::failure::{ConnectError, Failure, Stage};
use ntp_nts_ke::trust::Trust;
use ntp_nts_ke::validity::TimeKnown;
use ntp_proto::nts::exchange::{ErrorCode, Fault};
use ntp_proto::nts::{AeadAlgorithm, Direction, Keyset};

fn failure(report: Report) -> Failure {
    report.outcome.expect_err("this exchange must fail")
}

#[test]
fn keys_in_the_cookies_are_the_keys_of_the_client() {
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
fn the_server_prefers_gcm_siv_and_names_another_server() {
    let authority = Authority::new();
    let mut endpoint = endpoint(vec![authority.good()]);
    endpoint.policy.algorithms.reverse();
    endpoint.policy.ntp_server = Some("ntp.example".into());
    endpoint.policy.ntp_port = Some(1123);
    let running = start(endpoint);
    let report = ask(&running, &authority);
    assert_eq!(report.peer, Some(running.address));
    let result = report.outcome.unwrap();
    assert_eq!(result.keys.algorithm(), AeadAlgorithm::Aes128GcmSiv);
    assert_eq!(result.server.as_deref(), Some("ntp.example"));
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
fn ipv6_and_names_work_too() {
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
fn a_server_without_keys_says_so() {
    let authority = Authority::new();
    let running = arena::start_with(endpoint(vec![authority.good()]), Keyset::EMPTY);
    assert_eq!(
        failure(ask(&running, &authority)),
        Failure::Response(Fault::Error(ErrorCode::INTERNAL))
    );
}

fn with_certificate(authority: &Authority, names: &[&str], years: (i32, i32)) -> Running {
    start(endpoint(vec![authority.issue("server", names, years)]))
}

#[test]
fn a_wrong_name_is_told_with_the_right_ones() {
    let authority = Authority::new();
    let running = with_certificate(&authority, &["ntp.example", "192.0.2.1"], (2020, 2040));
    let report = ask(&running, &authority);
    assert_eq!(report.presented.as_ref().unwrap().facts().len(), 1);
    let failure = failure(report);
    assert_eq!(
        failure.to_string(),
        "its certificate is not for 127.0.0.1 but for ntp.example, 192.0.2.1"
    );
}

#[test]
fn certificates_out_of_time_are_told_with_both_times() {
    let authority = Authority::new();
    let expired = with_certificate(&authority, &["127.0.0.1"], (2020, 2026));
    let failure_of = |running: &Running| failure(ask(running, &authority)).to_string();
    assert_eq!(
        failure_of(&expired),
        "its certificate expired on 2026-01-01 00:00:00 UTC, and our clock says 2026-06-01 12:00:00 UTC: \
         the server's certificate must be renewed, or our clock is wrong"
    );
    let early = with_certificate(&authority, &["127.0.0.1"], (2027, 2040));
    assert_eq!(
        failure_of(&early),
        "its certificate is not valid before 2027-01-01 00:00:00 UTC, and our clock says \
         2026-06-01 12:00:00 UTC, which is probably wrong: set it, or see certificate-time-leniency"
    );
}

#[test]
fn an_unknown_authority_is_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let running = start(endpoint(vec![authority.good()]));
    let failure = failure(ask(&running, &other));
    let Failure::UnknownIssuer(issuer) = failure else {
        panic!("{failure}");
    };
    assert_eq!(issuer, authority.name());
    assert!(Trust::load(Some(&other.directory.path().join("missing.pem"))).is_err());
}

#[test]
fn an_authority_that_serves_itself_is_told_what_to_do() {
    let authority = Authority::new();
    let running = start(endpoint(vec![authority.itself()]));
    let failure = failure(ask(&running, &authority));
    assert_eq!(failure, Failure::AuthorityAsServer);
}

#[test]
fn a_clock_that_is_behind_is_forgiven_within_limits_and_judged_again() {
    const DAY: u64 = 86_400;
    let authority = Authority::new();
    let running = with_certificate(&authority, &["127.0.0.1"], (2026, 2027));
    let path = authority.path();
    let at = |time: TimeKnown| {
        let mut request = request("127.0.0.1", running.address.port(), &path);
        request.time = time;
        exchange(&request)
    };
    let boot = 1_000_000; // January 1970
    let strict = at(TimeKnown::exactly(boot));
    assert_eq!(failure(strict).class(), "not-yet-valid");
    let short = at(TimeKnown::within(boot, 365 * DAY, DAY, 0));
    assert_eq!(failure(short).class(), "not-yet-valid");

    let lenient = at(TimeKnown::within(boot, 100 * 365 * DAY, DAY, 0));
    assert!(lenient.outcome.is_ok(), "{lenient:?}");
    let presented = lenient.presented.unwrap();
    let assumed = presented.provisional().unwrap();
    assert!((NOW - 366 * DAY..NOW).contains(&assumed), "{assumed}");
    let trust = Trust::load(Some(&path)).unwrap();
    assert_eq!(presented.judge_again(&trust, NOW), Ok(()));
    let later = presented.judge_again(&trust, NOW + 366 * DAY);
    assert_eq!(later.unwrap_err().class(), "expired");

    // The true time is known to be later than all of the certificate's life.
    let floor = TimeKnown::within(boot, 100 * 365 * DAY, DAY, NOW + 366 * DAY);
    assert_eq!(failure(at(floor)).class(), "expired");
    // Nor does a clock before that time bring an old certificate back to life.
    let floor = TimeKnown::within(NOW, 0, 0, NOW + 366 * DAY);
    assert_eq!(failure(at(floor)).class(), "expired");
    // It is taken to show that time, whatever it is forgiven.
    let known = at(TimeKnown::within(boot, 0, 0, NOW));
    assert_eq!(known.presented.unwrap().provisional(), None);
    // A clock that is ahead is forgiven the configured time and no more.
    let ahead = NOW + 300 * DAY;
    assert!(
        at(TimeKnown::within(ahead, 0, 200 * DAY, 0))
            .outcome
            .is_ok()
    );
    assert!(
        at(TimeKnown::within(ahead, 0, 10 * DAY, 0))
            .outcome
            .is_err()
    );
    // A right clock needs nothing of that.
    let right = at(TimeKnown::within(NOW, 100 * 365 * DAY, DAY, 0));
    assert_eq!(right.presented.unwrap().provisional(), None);
}

#[test]
fn leniency_is_about_time_only() {
    let (authority, other) = (Authority::new(), Authority::new());
    let running = with_certificate(&authority, &["ntp.example"], (2027, 2028));
    let path = authority.path();
    let mut request = request("127.0.0.1", running.address.port(), &path);
    request.time = TimeKnown::within(NOW, u64::MAX, u64::MAX, 0);
    assert!(exchange(&request).outcome.is_err());
    let wrong = other.path();
    request.authority = Some(&wrong);
    assert!(exchange(&request).outcome.is_err());
}

#[test]
fn silence_refusal_and_babble_have_names() {
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

    let babbler = std::thread::spawn(move || {
        // Past the one above, which was never accepted.
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.write_all(b"SSH-2.0-whatever\r\n".repeat(4).as_slice());
            let _ = socket.read(&mut [0; 2048]);
        }
    });
    let babble = failure(exchange(&request("127.0.0.1", port, &path)));
    assert_eq!(babble, Failure::Tls("what it speaks is not TLS".into()));
    babbler.join().unwrap();

    let nobody = failure(exchange(&request("127.0.0.1", port, &path)));
    let Failure::Connect(tried) = nobody else {
        panic!("{nobody}");
    };
    assert_eq!(
        tried,
        [(([127, 0, 0, 1], port).into(), ConnectError::Refused)]
    );
    let odd = failure(exchange(&request("no host", port, &path)));
    assert_eq!(odd.class(), "lookup");
}
