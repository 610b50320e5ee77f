//! Plain text of `ntp-ctl status`.
//!
//! The lines are upstream's, tabs included, because scripts parse them. Our additional lines
//! follow upstream's of the same block, under names that upstream does not use, and only if
//! the daemon sends the values; the text for an upstream daemon equals that of its own tool.
//!
//! Durations are in seconds with six decimals.

use std::fmt::{self, Write};

use ntp_control_api::observation::{Server, Source, State, SystemDetails, seconds};

/// Formats the state.
pub(crate) fn plain(state: &State) -> String {
    let mut text = Text(String::new());
    system(&mut text, state);
    text.line(format_args!("\n\nSources:"));
    for item in state.sorted_sources() {
        source(&mut text, item);
    }
    if let Some(omitted) = state.system.details.sources_omitted {
        text.line(format_args!(
            "\nand {omitted} more sources; `ntp-ctl sources` shows all"
        ));
    }
    if !state.servers.is_empty() {
        text.line(format_args!("\n\nServers:"));
        for item in state.sorted_servers() {
            server(&mut text, item);
        }
    }
    text.0
}

struct Text(String);

impl Text {
    fn line(&mut self, content: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(content);
        self.0.push('\n');
    }
}

fn system(text: &mut Text, state: &State) {
    text.line(format_args!("Synchronization status:"));
    let dispersion = seconds(state.root_dispersion());
    text.line(format_args!("\tDispersion:\t{dispersion:.6}s"));
    let delay = seconds(state.system.root_delay);
    text.line(format_args!("\tDelay:\t\t{delay:.6}s"));
    text.line(format_args!("\tStratum:\t{}", state.system.stratum));
    clock(text, &state.system.details);
}

/// Appends our lines about the clock.
fn clock(text: &mut Text, details: &SystemDetails) {
    if let Some(synchronized) = details.synchronized {
        let yes_or_no = if synchronized { "yes" } else { "no" };
        text.line(format_args!("\tSynchronized:\t{yes_or_no}"));
    }
    if let Some(offset) = details.offset {
        text.line(format_args!("\tClock offset:\t{:+.6}s", seconds(offset)));
    }
    if let Some(frequency) = details.frequency_ppm {
        let sigma = details.frequency_uncertainty_ppm;
        let sigma = sigma.map(|sigma| format!(" ±{sigma:.3}"));
        let sigma = sigma.unwrap_or_default();
        text.line(format_args!("\tFrequency:\t{frequency:+.3}{sigma} ppm"));
    }
    if let Some(bound) = details.error_bound {
        text.line(format_args!("\tError bound:\t{:.6}s", seconds(bound)));
    }
}

fn source(text: &mut Text, source: &Source) {
    let Source {
        name, address, id, ..
    } = source;
    let nts = if source.nts_cookies.is_some() {
        " [NTS]"
    } else {
        ""
    };
    text.line(format_args!("\n{name} {address}{nts} ({id})"));
    let offset = seconds(source.offset);
    text.line(format_args!("\tOffset:\t\t\t{offset:+.6}"));
    let uncertainty = seconds(source.uncertainty);
    text.line(format_args!("\tUncertainty:\t\t±{uncertainty:.6}"));
    let delay = seconds(source.delay);
    text.line(format_args!("\tDelay:\t\t\t±{delay:.6}"));
    let poll = source.poll_interval;
    text.line(format_args!("\tPoll interval:\t\t{poll}"));
    let missing = source.unanswered_polls;
    text.line(format_args!("\tMissing polls:\t\t{missing}"));
    let dispersion = seconds(source.remote_uncertainty);
    text.line(format_args!("\tRoot dispersion:\t{dispersion:.6}s"));
    let delay = seconds(source.remote_delay);
    text.line(format_args!("\tRoot delay:\t\t{delay:.6}s"));
    if let Some(cookies) = source.nts_cookies {
        text.line(format_args!("\tNTS cookies:\t\t{cookies}/8 available"));
    }
    let details = &source.details;
    if let Some(state) = &details.state {
        text.line(format_args!("\tState:\t\t\t{state}"));
    }
    if let Some(stratum) = details.stratum {
        text.line(format_args!("\tSource stratum:\t\t{stratum}"));
    }
    if let Some(reach) = details.reach {
        text.line(format_args!("\tReach:\t\t\t{reach:08b}"));
    }
}

fn server(text: &mut Text, server: &Server) {
    let stats = &server.stats;
    text.line(format_args!("\n{}", server.address));
    for (label, count) in [
        ("Ignored\t\t\t", stats.ignored),
        ("Response send errors\t", stats.send_errors),
        ("NTS NAK\t\t\t", stats.nts_nak),
        ("Received\t\t", stats.received),
        ("Accepted\t\t", stats.accepted),
        ("Denied\t\t\t", stats.denied),
        ("Rate limited\t\t", stats.rate_limited),
        ("NTS Received\t\t", stats.nts_received),
        ("NTS Accepted\t\t", stats.nts_accepted),
        ("NTS Denied\t\t", stats.nts_denied),
        ("NTS Rate limited\t", stats.nts_rate_limited),
    ] {
        text.line(format_args!("\t{label}{count}"));
    }
    text.line(format_args!(""));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{OURS, UPSTREAM, state};

    #[test]
    fn the_text_for_an_upstream_daemon_equals_upstreams() {
        let expected = include_str!("../tests/data/upstream.txt");
        assert_eq!(plain(&state(UPSTREAM)), expected);
    }

    #[test]
    fn our_lines_are_additions_with_their_own_names() {
        let ours = plain(&state(OURS));
        assert_eq!(ours, include_str!("../tests/data/ours.txt"));

        let upstream = plain(&state(UPSTREAM));
        let label = |line: &str| line.split('\t').nth(1).map(str::to_owned);
        let known: Vec<_> = upstream.lines().map(label).collect();
        let kept = ours.lines().filter(|line| known.contains(&label(line)));
        assert_eq!(
            kept.collect::<Vec<_>>(),
            upstream.lines().collect::<Vec<_>>()
        );
    }

    #[test]
    fn without_sources_and_servers_the_blocks_are_empty_or_absent() {
        let mut state = state(UPSTREAM);
        state.sources.clear();
        state.servers.clear();
        assert!(plain(&state).ends_with("\tStratum:\t2\n\n\nSources:\n"));
    }

    #[test]
    fn extreme_values_are_formatted_without_panic() {
        let mut state = state(OURS);
        state.system.details.frequency_ppm = Some(f64::MAX);
        state.system.details.offset = Some(ntp_time::NtpDuration::MIN);
        state.sources[0].poll_interval = ntp_time::PollInterval::from_log2(i8::MAX);
        state.sources[0].nts_cookies = Some(u64::MAX);
        assert!(plain(&state).contains("18446744073709551615/8 available"));
    }
}
