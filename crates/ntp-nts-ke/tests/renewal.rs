//! Renewal of certificates, valid and invalid, and selection among several.

mod common;

use std::fs;

use common::{Authority, endpoint, exchange_keys, request, start, until};
use ntp_nts_ke::certificate::CertificateFacts;
use ntp_nts_ke::client::exchange;
use ntp_nts_ke::server::{Bound, Event};

fn presented(report: &ntp_nts_ke::client::Report) -> CertificateFacts {
    report.presented.as_ref().unwrap().facts().swap_remove(0)
}

#[test]
fn a_renewed_key_that_everybody_can_read_is_reported_once() {
    use std::os::unix::fs::PermissionsExt;
    let authority = Authority::new();
    let paths = authority.good();
    let permit = |mode| {
        fs::set_permissions(&paths.key, fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(0o600);
    let running = start(endpoint(vec![paths.clone()]));
    let reports = || {
        let events = running.events.lock().unwrap();
        let exposed = |event: &&Event| **event == Event::ExposedKey(paths.key.clone());
        events.iter().filter(exposed).count()
    };
    permit(0o640);
    running.server.reload();
    let loaded = |event: &&Event| matches!(event, Event::Certificate { .. });
    until("the reload", || {
        running.events.lock().unwrap().iter().filter(loaded).count() == 2
    });
    assert_eq!(reports(), 0);
    permit(0o644);
    until("the key is reported", || reports() == 1);
    running.server.reload();
    assert_eq!(reports(), 1);
}

#[test]
fn a_renewed_certificate_is_used_and_an_invalid_one_is_not() {
    let authority = Authority::new();
    let paths = authority.good();
    let running = start(endpoint(vec![paths.clone()]));
    let first = presented(&exchange_keys(&running, &authority));

    // Only half of the pair is new.
    let next = authority.issue("next", &["127.0.0.1"], (2021, 2041));
    fs::copy(&next.chain, &paths.chain).unwrap();
    running.server.reload();
    let reported =
        |wanted: &dyn Fn(&Event) -> bool| running.events.lock().unwrap().iter().any(wanted);
    until("the mismatch is reported", || {
        reported(&|event| match event {
            Event::BadCertificate(bad) => bad.problem.contains("does not match"),
            _ => false,
        })
    });
    assert_eq!(presented(&exchange_keys(&running, &authority)), first);

    fs::copy(&next.key, &paths.key).unwrap();
    running.server.reload();
    until("the new pair is reported", || {
        reported(&|event| match event {
            Event::Certificate { facts, .. } => facts.as_ref() != Some(&first),
            _ => false,
        })
    });
    let second = presented(&exchange_keys(&running, &authority));
    assert_ne!(first, second);
    assert!(second.subject.contains("next"), "{}", second.subject);

    // Without a reload: the change of the files is detected.
    let third = authority.issue("third", &["127.0.0.1"], (2022, 2042));
    fs::rename(&third.key, &paths.key).unwrap();
    fs::rename(&third.chain, &paths.chain).unwrap();
    until("the third is in use", || {
        presented(&exchange_keys(&running, &authority))
            .subject
            .contains("third")
    });
}

#[test]
fn the_certificate_is_selected_by_server_name() {
    let authority = Authority::new();
    let running = start(endpoint(vec![
        authority.issue("first", &["127.0.0.1"], (2020, 2040)),
        authority.issue("second", &["localhost"], (2020, 2040)),
    ]));
    let path = authority.path();
    for (host, subject) in [("127.0.0.1", "first"), ("localhost", "second")] {
        let report = exchange(&request(host, running.address.port(), &path));
        assert!(report.outcome.is_ok(), "{host}: {report:?}");
        assert!(presented(&report).subject.contains(subject));
    }
}

#[test]
fn a_server_does_not_start_with_an_invalid_certificate() {
    let authority = Authority::new();
    let (one, other) = (
        authority.issue("one", &["a"], (2020, 2040)),
        authority.issue("other", &["a"], (2020, 2040)),
    );
    for (chain, key, problem) in [
        (one.chain.clone(), other.key.clone(), "does not match"),
        (one.key.clone(), one.key.clone(), "no certificate found"),
        (one.chain.clone(), one.chain.clone(), "no private key"),
        ("/nowhere/a.pem".into(), one.key.clone(), "No such file"),
    ] {
        let paths = ntp_nts_ke::server::CertificatePaths { chain, key };
        let message = Bound::bind(vec![endpoint(vec![paths])])
            .unwrap_err()
            .to_string();
        assert!(message.contains(problem), "{message}");
    }
}
