//! Certificates that are renewed, badly and well, and several of them.

mod arena;

use std::fs;

use arena::{Authority, ask, endpoint, request, start, until};
use ntp_nts_ke::certificate::CertificateFacts;
use ntp_nts_ke::client::exchange;
use ntp_nts_ke::server::{Bound, Event};

fn shown(report: &ntp_nts_ke::client::Report) -> CertificateFacts {
    report.presented.as_ref().unwrap().facts().swap_remove(0)
}

#[test]
fn a_renewed_certificate_is_taken_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let paths = authority.good();
    let running = start(endpoint(vec![paths.clone()]));
    let first = shown(&ask(&running, &authority));

    // Only half of the pair is new.
    let next = authority.issue("next", &["127.0.0.1"], (2021, 2041));
    fs::copy(&next.chain, &paths.chain).unwrap();
    running.server.reload();
    let told = |wanted: &dyn Fn(&Event) -> bool| running.told.lock().unwrap().iter().any(wanted);
    until("the bad pair is told", || {
        told(&|event| match event {
            Event::BadCertificate(bad) => bad.problem.contains("is not its private key"),
            _ => false,
        })
    });
    assert_eq!(shown(&ask(&running, &authority)), first);

    fs::copy(&next.key, &paths.key).unwrap();
    running.server.reload();
    until("the new pair is told", || {
        told(&|event| match event {
            Event::Certificate { facts, .. } => facts.as_ref() != Some(&first),
            _ => false,
        })
    });
    let second = shown(&ask(&running, &authority));
    assert_ne!(first, second);
    assert!(second.subject.contains("next"), "{}", second.subject);

    // Nobody has to ask: the files are looked at.
    let third = authority.issue("third", &["127.0.0.1"], (2022, 2042));
    fs::rename(&third.key, &paths.key).unwrap();
    fs::rename(&third.chain, &paths.chain).unwrap();
    until("the third is in use", || {
        shown(&ask(&running, &authority)).subject.contains("third")
    });
}

#[test]
fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let authority = Authority::new();
    let running = start(endpoint(vec![
        authority.issue("first", &["127.0.0.1"], (2020, 2040)),
        authority.issue("second", &["localhost"], (2020, 2040)),
    ]));
    let path = authority.path();
    for (host, subject) in [("127.0.0.1", "first"), ("localhost", "second")] {
        let report = exchange(&request(host, running.address.port(), &path));
        assert!(report.outcome.is_ok(), "{host}: {report:?}");
        assert!(shown(&report).subject.contains(subject));
    }
}

#[test]
fn a_server_does_not_start_without_a_certificate_that_fits() {
    let authority = Authority::new();
    let (one, other) = (
        authority.issue("one", &["a"], (2020, 2040)),
        authority.issue("other", &["a"], (2020, 2040)),
    );
    for (chain, key, problem) in [
        (
            one.chain.clone(),
            other.key.clone(),
            "is not its private key",
        ),
        (
            one.key.clone(),
            one.key.clone(),
            "there is no certificate in it",
        ),
        (one.chain.clone(), one.chain.clone(), "no private key"),
        ("/nowhere/a.pem".into(), one.key.clone(), "No such file"),
    ] {
        let paths = ntp_nts_ke::server::CertificatePaths { chain, key };
        let problem_told = Bound::bind(vec![endpoint(vec![paths])])
            .unwrap_err()
            .to_string();
        assert!(problem_told.contains(problem), "{problem_told}");
    }
}
