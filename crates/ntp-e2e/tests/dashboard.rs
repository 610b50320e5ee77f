//! The exporter's page in a browser, for a daemon with three good servers and a falseticker.
//!
//! Writes screenshots to `target/dashboard`, for visual inspection.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::workspace_root;
use ntp_e2e::browser::Browser;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers::reference_server;
use ntp_e2e::scenario;
use ntp_time::NtpDuration;
use test_binaries::Behaviour;

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Browser,
        &[scenario!(
            the_page_shows_selected_sources_and_the_error_bound
        )],
    )
}

fn the_page_shows_selected_sources_and_the_error_bound() {
    let ahead = |offset| Behaviour {
        offset,
        ..Behaviour::default()
    };
    let servers = [
        reference_server(Behaviour::default()),
        reference_server(Behaviour::default()),
        reference_server(ahead(NtpDuration::from_micros(200))),
        reference_server(ahead(NtpDuration::from_millis(400))),
    ];
    let setup = servers
        .iter()
        .fold(Setup::new(2), |setup, server| {
            setup.server(&server.address().to_string())
        })
        .with("[[server]]\nlisten = \"127.0.0.1:0\"")
        .with_exporter_at("127.0.0.1:0");
    let exporter = setup.start_exporter(&[]);
    let browser = Browser::start();
    browser.emulate_screen(1180, 1400, false);
    browser.open(&format!("http://{}/", exporter.address));
    browser.wait_for(
        "the page to report the missing daemon",
        "return document.querySelector('#problem').innerText.includes('observation-path')",
    );

    let mut daemon = setup.start(None);
    let wrong = servers[3].address().to_string();
    daemon.wait_until(LIMIT, "a falseticker", |observation| {
        let state = observation
            .source(&wrong)
            .map(|source| source.state() == "falseticker");
        observation.is_synchronized() && state == Some(true)
    });
    browser.wait_for(
        "the page to follow",
        "return document.querySelector('#status').textContent === 'Synchronised' && document.querySelector('#problem').hidden",
    );
    browser.wait_for(
        "the plot of the offset",
        "return document.querySelector('#offset-line')?.points.length > 4",
    );
    let state = |name: &str| {
        browser.evaluate(&format!(
            "return document.querySelector('tr[data-name=\"{name}\"]').dataset.state"
        ))
    };
    assert_eq!(state(&wrong), "falseticker");
    assert_eq!(state(&servers[0].address().to_string()), "selected");
    let row = browser.evaluate(&format!(
        "return document.querySelector('tr[data-name=\"{wrong}\"]').innerText"
    ));
    let row = row.as_str().expect("text");
    assert!(row.contains("lies outside the majority's"), "{row}");
    assert!(row.contains("+400 ms") || row.contains("+399 ms"), "{row}");
    let bound = browser.evaluate("return document.querySelector('#bound').textContent");
    assert!(
        bound.as_str().is_some_and(|text| text.starts_with("± ")),
        "{bound}"
    );
    let drawn = "return document.querySelectorAll('#sources-plot polyline').length";
    assert!(browser.evaluate(drawn).as_u64() >= Some(4));
    let bands = "return document.querySelectorAll('#offset-plot polygon').length";
    assert!(browser.evaluate(bands).as_u64() >= Some(2));
    assert_eq!(
        browser.evaluate("return document.querySelectorAll('#servers tr').length"),
        1
    );

    take_screenshots(&browser);

    browser.evaluate("document.querySelector('[data-span=day]').click()");
    browser.wait_for(
        "the day's history",
        "return document.querySelector('[data-span=day]').getAttribute('aria-pressed') === 'true'",
    );
    drop(daemon);
    browser.wait_for(
        "the page to report the stopped daemon",
        "return document.querySelector('#status').textContent === 'No data'",
    );
    assert_eq!(browser.console_problems(), Vec::<String>::new());
}

/// Takes screenshots in several sizes and colour schemes, and asserts that the page fits the width.
fn take_screenshots(browser: &Browser) {
    let pictures = workspace_root().join("target/dashboard");
    fs::create_dir_all(&pictures).expect("a directory for screenshots");
    for (name, width, height, dark) in [
        ("light", 1180, 1400, false),
        ("dark", 1180, 1400, true),
        ("phone", 390, 844, false),
        ("phone-dark", 390, 844, true),
    ] {
        browser.emulate_screen(width, height, dark);
        browser.evaluate("window.dispatchEvent(new Event('resize'))");
        let wider = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(
            browser.evaluate(wider),
            false,
            "{name} scrolls horizontally"
        );
        browser.screenshot(&pictures.join(format!("{name}.png")));
    }
}
