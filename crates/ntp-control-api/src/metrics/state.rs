//! Writes the samples of all families from a state.
//!
//! Upstream's families are always declared, even without samples. Ours are left out then, so
//! that the text of an upstream daemon's state equals upstream's.

use std::fmt;

use super::text::Escaped;
use super::{Family, Format, Number, Samples, Text, UPSTREAM, ours};
use crate::observation::{Latency, Server, Source, State};

/// Formats the metrics of `state` as upstream does, sources and servers in sorted order.
pub fn prometheus_text(state: &State) -> String {
    let mut text = Text::new(Format::Classic);
    write_state(&mut text, state);
    text.finish()
}

/// Appends the metrics of `state` to `text`.
pub fn write_state(text: &mut Text, state: &State) {
    let objects = Objects::new(state);
    for family in UPSTREAM {
        text.declare(family.name, family.kind, family.help);
        objects.each_sample(family, |suffix, labels, value| {
            text.sample(format_args!("{}{suffix}", family.name), labels, value);
        });
    }
    for family in ours() {
        let mut declared = false;
        objects.each_sample(&family, |suffix, labels, value| {
            if !declared {
                text.declare(family.name, family.kind, family.help);
                declared = true;
            }
            text.sample(format_args!("{}{suffix}", family.name), labels, value);
        });
    }
}

/// The objects of a state in sorted order, each with its labels.
struct Objects<'a> {
    state: &'a State,
    program: String,
    sources: Vec<(String, &'a Source)>,
    servers: Vec<(String, &'a Server)>,
}

impl<'a> Objects<'a> {
    fn new(state: &'a State) -> Self {
        let program = &state.program;
        let source = |source: &'a Source| {
            let (name, address) = (Escaped(&source.name), Escaped(&source.address));
            let labels = format!("name=\"{name}\",address=\"{address}\",id=\"{}\"", source.id);
            (labels, source)
        };
        let server = |server: &'a Server| {
            (
                format!("listen_address=\"{}\"", server.listen_address()),
                server,
            )
        };
        Self {
            state,
            program: format!(
                "version=\"{}\",build_commit=\"{}\",build_commit_date=\"{}\"",
                Escaped(&program.version),
                Escaped(&program.build_commit),
                Escaped(&program.build_commit_date)
            ),
            sources: state.sorted_sources().into_iter().map(source).collect(),
            servers: state.sorted_servers().into_iter().map(server).collect(),
        }
    }

    /// Calls `sample` with suffix, labels and value of each sample.
    fn each_sample(
        &self,
        family: &Family,
        mut sample: impl FnMut(&str, fmt::Arguments<'_>, Number),
    ) {
        match family.samples {
            Samples::Program(value) => {
                let labels = &self.program;
                sample("", format_args!("{{{labels}}}"), value(self.state));
            }
            Samples::System(value) => {
                if let Some(value) = value(self.state) {
                    sample("", format_args!(""), value);
                }
            }
            Samples::SystemDetails(value) => {
                if let Some(value) = value(&self.state.system.details) {
                    sample("", format_args!(""), value);
                }
            }
            Samples::Counts {
                label,
                names,
                counts,
            } => {
                let Some(counts) = counts(self.state) else {
                    return;
                };
                let is_unknown = |name: &&str| !names.contains(name);
                let unknown = counts.keys().map(String::as_str).filter(is_unknown);
                for name in names.iter().copied().chain(unknown) {
                    let count = counts.get(name).copied().unwrap_or(0);
                    let name = Escaped(name);
                    sample("", format_args!("{{{label}=\"{name}\"}}"), count.into());
                }
            }
            Samples::Source(value) => self.each_source(value, &mut sample),
            Samples::SourceDetails(value) => {
                self.each_source(|source| value(&source.details), &mut sample);
            }
            Samples::SourceStateSet {
                label,
                states,
                current,
            } => self.each_state(label, states, current, &mut sample),
            Samples::SourceCounts { label, counts } => {
                for (labels, source) in &self.sources {
                    for (name, count) in counts(&source.details).into_iter().flatten() {
                        let name = Escaped(name);
                        let labels = format_args!("{{{labels},{label}=\"{name}\"}}");
                        sample("", labels, (*count).into());
                    }
                }
            }
            Samples::Server(value) => {
                for (labels, server) in &self.servers {
                    if let Some(value) = value(server) {
                        sample("", format_args!("{{{labels}}}"), value);
                    }
                }
            }
            Samples::ServerVersions(_) | Samples::ServerLatency(_) => {
                self.each_distribution(family, &mut sample);
            }
        }
    }

    /// Calls `sample` with the counts of each version and the histogram of each server.
    fn each_distribution(
        &self,
        family: &Family,
        sample: &mut impl FnMut(&str, fmt::Arguments<'_>, Number),
    ) {
        for (labels, server) in &self.servers {
            match family.samples {
                Samples::ServerVersions(counts) => {
                    for (version, count) in (1..).zip(counts(server).into_iter().flatten()) {
                        let labels = format_args!("{{{labels},version=\"{version}\"}}");
                        sample("", labels, count.into());
                    }
                }
                Samples::ServerLatency(latency) => {
                    if let Some(latency) = latency(server) {
                        histogram(labels, &latency, sample);
                    }
                }
                _ => {}
            }
        }
    }

    /// Calls `sample` with each state of each source: 1 for the current one, 0 for the others.
    fn each_state(
        &self,
        label: &str,
        states: &[&'static str],
        current: fn(&Source) -> Option<&str>,
        sample: &mut impl FnMut(&str, fmt::Arguments<'_>, Number),
    ) {
        for (labels, source) in &self.sources {
            let Some(current) = current(source) else {
                continue;
            };
            let unknown = (!states.contains(&current)).then_some(current);
            for &state in states.iter().chain(&unknown) {
                let value = (state == current).into();
                let state = Escaped(state);
                sample("", format_args!("{{{labels},{label}=\"{state}\"}}"), value);
            }
        }
    }

    /// Calls `sample` with the value of each source that has one.
    fn each_source(
        &self,
        value: impl Fn(&Source) -> Option<Number>,
        sample: &mut impl FnMut(&str, fmt::Arguments<'_>, Number),
    ) {
        for (labels, source) in &self.sources {
            if let Some(value) = value(source) {
                sample("", format_args!("{{{labels}}}"), value);
            }
        }
    }
}

/// Calls `sample` with the samples of a histogram. Buckets of Prometheus are cumulative.
fn histogram(
    labels: &str,
    latency: &Latency,
    sample: &mut impl FnMut(&str, fmt::Arguments<'_>, Number),
) {
    let mut count = 0;
    let bounds = Latency::bounds().chain([f64::INFINITY]);
    for (bound, in_bucket) in bounds.zip(latency.counts) {
        count += in_bucket;
        let bound = Number::Real(bound);
        sample(
            "_bucket",
            format_args!("{{{labels},le=\"{bound}\"}}"),
            count.into(),
        );
    }
    let sum = latency.sum_nanos as f64 / 1e9;
    sample("_sum", format_args!("{{{labels}}}"), sum.into());
    sample("_count", format_args!("{{{labels}}}"), count.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::tests::{sample, upstream_sample};

    #[test]
    fn the_text_of_an_upstream_daemon_has_upstreams_families_only() {
        let expected = include_str!("../../tests/data/upstream.prom");
        assert_eq!(prometheus_text(&upstream_sample()), expected);
    }

    #[test]
    fn our_families_follow_upstreams() {
        let upstream = prometheus_text(&upstream_sample());
        let ours = prometheus_text(&sample());
        let added = ours.strip_prefix(upstream.strip_suffix("# EOF\n").unwrap());
        insta::assert_snapshot!(added.unwrap());
    }

    #[test]
    fn refused_readings_are_counted_by_reason() {
        let mut state = sample();
        let reasons = [("stale".to_owned(), 4), ("unnumbered".to_owned(), 1)];
        state.sources[0].details.samples_refused_by_reason = Some(reasons.into());
        let text = prometheus_text(&state);
        for end in ["reason=\"stale\"} 4", "reason=\"unnumbered\"} 1"] {
            let mut lines = text.lines();
            let is_it = |line: &str| {
                line.starts_with("ntp_source_refused_readings_total{name=") && line.ends_with(end)
            };
            assert!(lines.any(is_it), "{end}: {text}");
        }
    }

    #[test]
    fn events_that_did_not_occur_count_zero_and_unknown_ones_are_written_too() {
        let mut state = sample();
        assert!(!prometheus_text(&state).contains("ntp_events_total"));
        let counts = [("synchronized", 2), ("unheard_of", 3)];
        let counts = counts.map(|(name, count)| (name.to_owned(), count));
        state.system.details.events = Some(counts.into());
        let text = prometheus_text(&state);
        for line in [
            "# TYPE ntp_events_total counter",
            "ntp_events_total{event=\"synchronized\"} 2",
            "ntp_events_total{event=\"clock_stepped\"} 0",
            "ntp_events_total{event=\"unheard_of\"} 3",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}");
        }
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let samples = |format| {
            let mut text = Text::new(format);
            write_state(&mut text, &sample());
            let text = text.finish();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(samples(Format::Classic), samples(Format::OpenMetrics));
    }

    #[test]
    fn families_without_samples_are_still_declared() {
        let mut state = upstream_sample();
        state.sources.clear();
        state.servers.clear();
        let text = prometheus_text(&state);
        for family in UPSTREAM {
            assert!(text.contains(&format!("# TYPE {} ", family.name)));
        }
        assert!(!text.contains("name="));
        assert!(text.contains("ntp_system_poll_interval_seconds 16\n"));
    }

    #[test]
    fn unknown_states_are_written_too() {
        let mut state = sample();
        state.sources[0].details.state = Some("unheard-of".into());
        let text = prometheus_text(&state);
        assert!(text.contains(",state=\"unheard-of\"} 1\n"));
        assert!(text.contains(",state=\"selected\"} 0\n"));
    }

    #[test]
    fn label_values_are_escaped() {
        let mut state = upstream_sample();
        state.program.version = "1\"} 2\n# \\\u{1b}".into();
        let text = prometheus_text(&state);
        assert!(text.contains("{version=\"1\\\"} 2\\n# \\\\\\\\u{1b}\",build_commit="));
    }
}
