//! The text that a Prometheus server scrapes.
//!
//! For each family a `HELP`, a `TYPE` and, where there is one, a `UNIT` line, then its samples;
//! `# EOF` ends the document. This is the OpenMetrics layout with one deviation, kept because
//! upstream has it: counters are declared with their `_total` suffix, as the older Prometheus text
//! format wants it. Prometheus reads it as that format.
//!
//! Upstream's families are always declared, even without samples. Ours are left out then, so
//! that the state of an upstream daemon gives upstream's text.

use std::fmt::{self, Write};

use super::{Family, Kind, Number, OURS, Samples, UPSTREAM};
use crate::observation::{Program, Server, Source, State};

/// The metrics of `state`, sources and servers in their sorted order.
pub fn prometheus_text(state: &State) -> String {
    let sorted = Sorted {
        state,
        sources: state.sorted_sources(),
        servers: state.sorted_servers(),
    };
    let mut text = String::new();
    for family in UPSTREAM {
        declare(&mut text, family);
        text.push_str(&sorted.samples(family));
    }
    for family in OURS {
        let samples = sorted.samples(family);
        if !samples.is_empty() {
            declare(&mut text, family);
            text.push_str(&samples);
        }
    }
    text.push_str("# EOF\n");
    text
}

fn declare(text: &mut String, family: &Family) {
    let Family { name, help, .. } = family;
    let kind = match family.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
    };
    line(text, format_args!("# HELP {name} {help}."));
    line(text, format_args!("# TYPE {name} {kind}"));
    if let Some(unit) = family.unit() {
        line(text, format_args!("# UNIT {name} {unit}"));
    }
}

/// Writing to a string does not fail.
fn line(text: &mut String, content: fmt::Arguments<'_>) {
    let _ = text.write_fmt(content);
    text.push('\n');
}

struct Sorted<'a> {
    state: &'a State,
    sources: Vec<&'a Source>,
    servers: Vec<&'a Server>,
}

impl Sorted<'_> {
    fn samples(&self, family: &Family) -> String {
        let mut text = String::new();
        let mut sample = |labels: &dyn fmt::Display, value: Number| {
            line(&mut text, format_args!("{}{labels} {value}", family.name));
        };
        match family.samples {
            Samples::Program(value) => {
                sample(&OfProgram(&self.state.program), value(self.state));
            }
            Samples::System(value) => {
                if let Some(value) = value(self.state) {
                    sample(&"", value);
                }
            }
            Samples::Source(value) => {
                for source in &self.sources {
                    if let Some(value) = value(source) {
                        sample(&OfSource(source), value);
                    }
                }
            }
            Samples::Server(value) => {
                for server in &self.servers {
                    sample(&OfServer(server), value(server));
                }
            }
        }
        text
    }
}

struct OfProgram<'a>(&'a Program);

impl fmt::Display for OfProgram<'_> {
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

struct OfSource<'a>(&'a Source);

impl fmt::Display for OfSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source {
            name, address, id, ..
        } = self.0;
        let (name, address) = (Escaped(name), Escaped(address));
        write!(f, "{{name=\"{name}\",address=\"{address}\",id=\"{id}\"}}")
    }
}

struct OfServer<'a>(&'a Server);

impl fmt::Display for OfServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{listen_address=\"{}\"}}", self.0.address)
    }
}

/// A label's value as it may stand between quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(count) => write!(f, "{count}"),
            Self::Real(quantity) if *quantity == f64::INFINITY => f.write_str("+Inf"),
            Self::Real(quantity) if *quantity == f64::NEG_INFINITY => f.write_str("-Inf"),
            Self::Real(quantity) => write!(f, "{quantity}"),
        }
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
    fn what_only_we_tell_comes_after_upstreams() {
        let upstream = prometheus_text(&upstream_sample());
        let ours = prometheus_text(&sample());
        let added = ours.strip_prefix(upstream.strip_suffix("# EOF\n").unwrap());
        assert_eq!(added.unwrap(), include_str!("../../tests/data/ours.prom"));
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
    fn labels_cannot_break_out_of_their_quotes() {
        let mut state = upstream_sample();
        state.program.version = "1\"} 2\n# \\".into();
        let text = prometheus_text(&state);
        assert!(text.contains("{version=\"1\\\"} 2\\n# \\\\\",build_commit="));
    }

    #[test]
    fn numbers_have_prometheus_spelling() {
        let text = |number: Number| number.to_string();
        assert_eq!(text(u64::MAX.into()), "18446744073709551615");
        assert_eq!(text((-0.25).into()), "-0.25");
        assert_eq!(text(f64::INFINITY.into()), "+Inf");
        assert_eq!(text(f64::NEG_INFINITY.into()), "-Inf");
        assert_eq!(text(f64::NAN.into()), "NaN");
    }
}
