//! Writes the samples of all families from a state.
//!
//! Upstream's families are always declared, even without samples. Ours are left out then, so
//! that the text of an upstream daemon's state equals upstream's.

use std::fmt;

use super::text::Escaped;
use super::{Family, Format, Number, OURS, Samples, Text, UPSTREAM};
use crate::observation::{Latency, Program, Server, Source, State};

/// Formats the metrics of `state` as upstream does, sources and servers in sorted order.
pub fn prometheus_text(state: &State) -> String {
    let mut text = Text::new(Format::Classic);
    write_state(&mut text, state);
    text.finish()
}

/// Appends the metrics of `state` to `text`.
pub fn write_state(text: &mut Text, state: &State) {
    let sorted = Sorted {
        state,
        sources: state.sorted_sources(),
        servers: state.sorted_servers(),
    };
    for family in UPSTREAM {
        text.declare(family.name, family.kind, family.help);
        sorted.each_sample(family, |suffix, labels, value| {
            text.sample(format_args!("{}{suffix}", family.name), labels, value);
        });
    }
    for family in OURS {
        let mut declared = false;
        sorted.each_sample(family, |suffix, labels, value| {
            if !declared {
                text.declare(family.name, family.kind, family.help);
                declared = true;
            }
            text.sample(format_args!("{}{suffix}", family.name), labels, value);
        });
    }
}

struct Sorted<'a> {
    state: &'a State,
    sources: Vec<&'a Source>,
    servers: Vec<&'a Server>,
}

impl Sorted<'_> {
    /// Calls `sample` with suffix, labels and value of each sample.
    fn each_sample(
        &self,
        family: &Family,
        mut sample: impl FnMut(&str, &dyn fmt::Display, Number),
    ) {
        match family.samples {
            Samples::Program(value) => {
                sample("", &ProgramLabels(&self.state.program), value(self.state));
            }
            Samples::System(value) => {
                if let Some(value) = value(self.state) {
                    sample("", &"", value);
                }
            }
            Samples::Source(value) => {
                for source in &self.sources {
                    if let Some(value) = value(source) {
                        sample(
                            "",
                            &SourceLabels {
                                source,
                                state: None,
                            },
                            value,
                        );
                    }
                }
            }
            Samples::SourceStateSet {
                label,
                states,
                current,
            } => {
                for source in &self.sources {
                    let Some(current) = current(source) else {
                        continue;
                    };
                    let unknown = (!states.contains(&current)).then_some(current);
                    for &state in states.iter().chain(&unknown) {
                        let labels = SourceLabels {
                            source,
                            state: Some((label, state)),
                        };
                        sample("", &labels, (state == current).into());
                    }
                }
            }
            Samples::Server(value) => {
                for server in &self.servers {
                    if let Some(value) = value(server) {
                        sample("", &ServerLabels(server, None), value);
                    }
                }
            }
            Samples::ServerLatency(latency) => {
                for server in &self.servers {
                    let Some(latency) = latency(server) else {
                        continue;
                    };
                    // Buckets of Prometheus are cumulative.
                    let mut count = 0;
                    let bounds = Latency::bounds().chain([f64::INFINITY]);
                    for (bound, in_bucket) in bounds.zip(latency.counts) {
                        count += in_bucket;
                        sample("_bucket", &ServerLabels(server, Some(bound)), count.into());
                    }
                    let labels = ServerLabels(server, None);
                    sample("_sum", &labels, (latency.sum_nanos as f64 / 1e9).into());
                    sample("_count", &labels, count.into());
                }
            }
        }
    }
}

struct ProgramLabels<'a>(&'a Program);

impl fmt::Display for ProgramLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Program {
            version,
            build_commit,
            build_commit_date,
            ..
        } = self.0;
        write!(
            f,
            "{{version=\"{}\",build_commit=\"{}\",build_commit_date=\"{}\"}}",
            Escaped(version),
            Escaped(build_commit),
            Escaped(build_commit_date)
        )
    }
}

struct SourceLabels<'a> {
    source: &'a Source,
    state: Option<(&'static str, &'a str)>,
}

impl fmt::Display for SourceLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source {
            name, address, id, ..
        } = self.source;
        let (name, address) = (Escaped(name), Escaped(address));
        write!(f, "{{name=\"{name}\",address=\"{address}\",id=\"{id}\"")?;
        if let Some((label, state)) = self.state {
            write!(f, ",{label}=\"{}\"", Escaped(state))?;
        }
        f.write_str("}")
    }
}

/// Labels of a server, and the upper bound in seconds of a histogram bucket.
struct ServerLabels<'a>(&'a Server, Option<f64>);

impl fmt::Display for ServerLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{listen_address=\"{}\"", self.0.address)?;
        if let Some(bound) = self.1 {
            write!(f, ",le=\"{}\"", Number::Real(bound))?;
        }
        f.write_str("}")
    }
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
        assert_eq!(added.unwrap(), include_str!("../../tests/data/ours.prom"));
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
        state.program.version = "1\"} 2\n# \\".into();
        let text = prometheus_text(&state);
        assert!(text.contains("{version=\"1\\\"} 2\\n# \\\\\",build_commit="));
    }
}
