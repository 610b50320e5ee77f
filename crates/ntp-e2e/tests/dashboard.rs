//! The exporter's page in a browser, for a daemon with three good servers and a falseticker: what it
//! shows, its use by keyboard, its accessibility (axe-core), and its history across restarts.
//!
//! Writes screenshots to `target/dashboard`, for visual inspection.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ntp_e2e::binaries::workspace_root;
use ntp_e2e::browser::{self, Browser};
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
        &[
            scenario!(the_page_shows_selected_sources_and_the_error_bound),
            scenario!(the_history_survives_a_restart_and_is_shown_without_the_daemon),
        ],
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
    assert!(row.contains("not overlap the majority's"), "{row}");
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

    assert_cursor_moves(&browser);
    let shown = browser.evaluate(&format!(
        "return document.querySelector('tr[data-name=\"{wrong}\"] .why').innerText"
    ));
    let shown = shown.as_str().expect("text").replace("falseticker, ", "");
    let sentence = shown.split(';').next().unwrap_or_default();
    let (_, explained) = setup.ntp_ctl(&["explain", "--json"]);
    assert!(explained.contains(sentence), "{sentence}: {explained}");
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

/// A plot is read by keyboard and by pointer, and its values move on meanwhile.
fn assert_cursor_moves(browser: &Browser) {
    let readout = "return document.querySelector('#offset-readout').textContent";
    let value = "return document.querySelector('#offset-plot').getAttribute('aria-valuetext')";
    assert_eq!(browser.evaluate(readout), "");
    // The plots are drawn again in the next frame.
    let press = |key: &str, shown: &str| {
        browser.evaluate(&format!(
            "const plot = document.querySelector('#offset-plot'); plot.focus(); \
             plot.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true }}))"
        ));
        let is_there = format!(
            "const plot = document.querySelector('#offset-plot'); \
             return plot.ariaValueNow === {shown} && document.querySelector('.hair') !== null"
        );
        browser.wait_for(key, &is_there);
    };
    press("End", "plot.ariaValueMax");
    press("ArrowLeft", "String(plot.ariaValueMax - 1)");
    press("Home", "'0'");
    // The first point is older than the daemon.
    press("End", "plot.ariaValueMax");
    let text = browser.evaluate(value);
    assert!(
        text.as_str()
            .is_some_and(|it| it.contains("estimated error")),
        "{text}"
    );
    let before = browser.evaluate(readout);
    browser.wait_for(
        "the newest value to move on",
        &format!("return document.querySelector('#offset-readout').textContent !== {before}"),
    );
    browser.evaluate(
        "const plot = document.querySelector('#offset-plot'), box = plot.getBoundingClientRect(); \
         plot.blur(); plot.dispatchEvent(new PointerEvent('pointermove', \
         { clientX: box.right - 8, clientY: box.top + 40, bubbles: true }))",
    );
    let hovered = browser.wait_for("the readout", readout);
    browser.wait_for(
        "the hovered value to move on",
        &format!("return document.querySelector('#offset-readout').textContent !== {hovered}"),
    );
    let lines = "return document.querySelectorAll('.hair').length";
    assert!(browser.evaluate(lines).as_u64() >= Some(3));
    browser.evaluate("document.querySelector('#offset-plot').onpointerleave()");
}

/// The file of the history, a page without a daemon, an offline source, and a clock that is not
/// steered.
fn the_history_survives_a_restart_and_is_shown_without_the_daemon() {
    let servers: [_; 3] = std::array::from_fn(|_| reference_server(Behaviour::default()));
    let setup = servers.iter().fold(Setup::new(2), |setup, server| {
        setup.server(&server.address().to_string())
    });
    let history = setup.socket().with_file_name("history");
    let keys = format!(
        "[observability]\nmetrics-exporter-history-path = \"{}\"",
        history.display()
    );
    let setup = setup
        .with_exporter_at("127.0.0.1:0")
        .replacing("[observability]", &keys)
        .unsteered();
    let exporter = setup.start_exporter(&[]);
    let daemon = setup.start(None);
    let browser = Browser::start();
    browser.emulate_screen(1280, 800, false);
    browser.open(&format!("http://{}/", exporter.address));
    browser.wait_for(
        "the pill to tell that the clock is not steered",
        "return document.querySelector('#status').textContent === 'Clock not steered'",
    );
    // The history must have seen the source online, or there is no change.
    browser.wait_for(
        "a curve",
        "return document.querySelector('#sources-plot polyline')?.points.length > 2",
    );
    let name = servers[0].address().to_string();
    let (code, text) = setup.ntp_ctl(&["source", "offline", &name]);
    assert_eq!(code, Some(0), "{text}");
    browser.wait_for(
        "the source to look offline",
        &format!("return document.querySelector('tr[data-name=\"{name}\"][data-state=offline]')"),
    );
    let change = "return [...document.querySelectorAll('#changes li')].some(it => \
                  it.innerText.includes('not polled: taken offline'))";
    browser.wait_for("the change with explain's sentence", change);
    assert_accessible(&browser, "not-steered");

    drop(daemon);
    let mut exporter = exporter;
    exporter.process.signal(rustix::process::Signal::TERM);
    assert!(exporter.process.wait_exit(LIMIT).success());
    let exporter = setup.start_exporter(&[]);
    browser.open(&format!("http://{}/", exporter.address));
    browser.wait_for(
        "the history without a daemon",
        "return document.querySelector('#sources-plot polyline')?.points.length > 2 \
         && document.querySelector('#status').textContent === 'No data'",
    );
    browser.wait_for("the changes", change);
    assert!(
        browser.evaluate(&format!(
            "return document.querySelector('#sources-legend').innerText.includes('{name}')"
        )) == true
    );
    assert_accessible(&browser, "without-daemon");
    browser.screenshot(&pictures().join("without-daemon.png"));

    drop(exporter);
    fs::write(&history, "no history").expect("the file");
    let exporter = setup.start_exporter(&[]);
    exporter.process.wait_for_line(LIMIT, "kept as");
}

/// Asserts that axe-core finds nothing serious, and that the texts of the plots, whose background it
/// cannot determine, have a contrast of at least 4.5 (WCAG 2.2, 1.4.3).
fn assert_accessible(browser: &Browser, name: &str) {
    let axe = fs::read_to_string(browser::axe_core()).expect("axe-core");
    browser.evaluate(&axe);
    browser.evaluate(
        "window.findings = null; axe.run(document, { resultTypes: ['violations'] }).then(result => \
         window.findings = result.violations.filter(it => ['serious', 'critical'].includes(it.impact)) \
         .map(it => it.id + ': ' + it.nodes.map(node => node.html).join(' ')))",
    );
    let findings = browser.wait_for("axe-core", "return window.findings && [window.findings]");
    assert_eq!(findings[0], serde_json::json!([]), "{name}");
    let low = browser.evaluate(LOW_CONTRASTS);
    assert_eq!(low, serde_json::json!([]), "{name}");
}

/// Returns the texts of plots with a contrast below 4.5 to the card they are on.
const LOW_CONTRASTS: &str = "
    const part = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const luminance = colour => { const [r, g, b] = colour.match(/[0-9.]+/g).map(Number);
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
    const low = [];
    for (const text of document.querySelectorAll('.plot text')) {
        const pair = [getComputedStyle(text).fill, getComputedStyle(text.closest('.card')).backgroundColor];
        const [dark, light] = pair.map(luminance).sort((a, b) => a - b);
        if ((light + 0.05) / (dark + 0.05) < 4.5) low.push(text.textContent + ': ' + pair);
    }
    return low;";

/// Returns the directory of the screenshots.
fn pictures() -> PathBuf {
    let pictures = workspace_root().join("target/dashboard");
    fs::create_dir_all(&pictures).expect("a directory for screenshots");
    pictures
}

/// Takes screenshots in several sizes and colour schemes, and asserts that the page fits the width and is
/// accessible.
fn take_screenshots(browser: &Browser) {
    let pictures = pictures();
    for (name, width, height, dark) in [
        ("light", 1280, 800, false),
        ("dark", 1280, 800, true),
        ("phone", 380, 800, false),
        ("phone-dark", 380, 800, true),
    ] {
        browser.emulate_screen(width, height, dark);
        browser.evaluate("window.dispatchEvent(new Event('resize'))");
        assert_accessible(browser, name);
        let wider = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(
            browser.evaluate(wider),
            false,
            "{name} scrolls horizontally"
        );
        browser.screenshot(&pictures.join(format!("{name}.png")));
    }
}
