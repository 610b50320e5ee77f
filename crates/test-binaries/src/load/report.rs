//! Result of a run, as text and as JSON.

use core::fmt;
use core::time::Duration;

use ntp_time::NtpDuration;
use serde_json::{Map, Value, json};

use super::Histogram;
use super::clients::{Outcome, Reply, ReplyKind};

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests sent.
    pub sent: u64,
    /// Requests that the system refused to send.
    pub unsent: u64,
    /// Requests answered with the time before the timeout.
    pub answered: u64,
    /// Requests answered with the time after the timeout.
    pub late: u64,
    /// Requests answered with a kiss-o'-death.
    pub kissed: u64,
    /// Answered requests whose reply was in interleaved mode.
    pub interleaved: u64,
    /// Requests with a reused cookie, for lack of a fresh one.
    pub reused_cookies: u64,
    /// Datagrams that match no pending request, or are not authenticated as required.
    pub invalid: u64,
    /// Answered requests whose reply announces an unsynchronised server.
    pub unsynchronized: u64,
    /// Time from sending a request to the arrival of its reply.
    pub latency: Histogram,
    /// Offset of the server's clock from ours in each exchange. On one machine that is the error of
    /// timestamps: half of the path through our own kernel, since requests are timestamped before
    /// it, and the server's contribution.
    pub offset: Histogram,
    /// Duration of the run, without the wait for the last replies.
    pub elapsed: Duration,
    /// CPU time of the generator.
    pub own_cpu: Duration,
    /// CPU time of the watched process, from the first request to the last reply.
    pub process_cpu: Option<Duration>,
    /// Fraction of the time in which the generator was busy.
    pub busy: f64,
    /// Why the run is invalid; empty for a valid run.
    pub spoiled: Vec<String>,
}

/// Reported percentiles.
const PERCENTILES: [f64; 5] = [1.0, 50.0, 90.0, 99.0, 99.9];

impl Report {
    /// Counts a datagram.
    pub(super) fn count(&mut self, outcome: Outcome, timeout: NtpDuration) {
        let Outcome::Reply(Reply { latency, kind }) = outcome else {
            self.invalid += 1;
            return;
        };
        let ReplyKind::Time {
            offset,
            interleaved,
            unsynchronized,
        } = kind
        else {
            self.kissed += 1;
            return;
        };
        if latency > timeout {
            self.late += 1;
            return;
        }
        self.answered += 1;
        self.interleaved += u64::from(interleaved);
        self.unsynchronized += u64::from(unsynchronized);
        self.latency.add(latency);
        if let Some(offset) = offset {
            self.offset.add(offset);
        }
    }

    /// Requests without a reply.
    pub fn lost(&self) -> u64 {
        self.sent
            .saturating_sub(self.answered + self.late + self.kissed)
    }

    /// Fraction of the requests that were lost or answered late.
    pub fn loss(&self) -> f64 {
        (self.lost() + self.late) as f64 / self.sent.max(1) as f64
    }

    /// Requests sent per second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The report as JSON. Latencies and offsets are in microseconds.
    pub fn to_json(&self) -> Value {
        json!({
            "sent": self.sent,
            "unsent": self.unsent,
            "answered": self.answered,
            "interleaved": self.interleaved,
            "reused_cookies": self.reused_cookies,
            "late": self.late,
            "kissed": self.kissed,
            "lost": self.lost(),
            "loss": self.loss(),
            "invalid": self.invalid,
            "unsynchronized": self.unsynchronized,
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "rate": self.rate(),
            "latency_us": percentiles(&self.latency),
            "offset_us": percentiles(&self.offset),
            "own_cpu_seconds": self.own_cpu.as_secs_f64(),
            "process_cpu_seconds": self.process_cpu.map(|time| time.as_secs_f64()),
            "busy": self.busy,
            "spoiled": self.spoiled,
        })
    }
}

fn micros(duration: NtpDuration) -> f64 {
    (duration.as_nanos() / 100) as f64 / 10.0
}

fn percentiles(histogram: &Histogram) -> Value {
    let values = PERCENTILES.iter().filter_map(|percent| {
        let value = histogram.percentile(*percent)?;
        Some((format!("p{percent}"), json!(micros(value))))
    });
    Value::Object(values.collect::<Map<_, _>>())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: u64| 100.0 * part as f64 / self.sent.max(1) as f64;
        writeln!(
            f,
            "sent      {:>10}  ({:.0} per second)",
            self.sent,
            self.rate()
        )?;
        for (name, count) in [
            ("answered", self.answered),
            ("late", self.late),
            ("kissed", self.kissed),
            ("lost", self.lost()),
        ] {
            writeln!(f, "{name:<9} {count:>10}  {:.3} %", percent(count))?;
        }
        for (name, count) in [("invalid", self.invalid), ("unsent", self.unsent)] {
            writeln!(f, "{name:<9} {count:>10}")?;
        }
        if self.interleaved > 0 {
            writeln!(f, "{} replies in interleaved mode", self.interleaved)?;
        }
        if self.reused_cookies > 0 {
            let count = self.reused_cookies;
            writeln!(f, "{count} requests with a reused cookie")?;
        }
        if self.unsynchronized > 0 {
            writeln!(
                f,
                "{} replies of an unsynchronised server",
                self.unsynchronized
            )?;
        }
        for (name, histogram) in [("latency", &self.latency), ("offset", &self.offset)] {
            write!(f, "{name:<9} us")?;
            for percent in PERCENTILES {
                if let Some(value) = histogram.percentile(percent) {
                    write!(f, "  p{percent} {:.1}", micros(value))?;
                }
            }
            writeln!(f)?;
        }
        write!(
            f,
            "generator {:.2} s of CPU time, busy {:.0} % of the time",
            self.own_cpu.as_secs_f64(),
            100.0 * self.busy
        )?;
        if let Some(time) = self.process_cpu {
            let micros = time.as_secs_f64() * 1e6 / self.answered.max(1) as f64;
            write!(
                f,
                "\nserver    {:.2} s of CPU time, {micros:.2} us per reply",
                time.as_secs_f64()
            )?;
        }
        for reason in &self.spoiled {
            write!(f, "\nSPOILED: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unanswered_requests_are_lost_and_kissed_ones_are_not() {
        let report = Report {
            sent: 1000,
            answered: 900,
            late: 20,
            kissed: 50,
            invalid: 7,
            elapsed: Duration::from_secs(2),
            ..Report::default()
        };
        assert_eq!(report.lost(), 30);
        assert!((report.loss() - 0.05).abs() < 1e-9);
        let json = report.to_json();
        assert_eq!((&json["lost"], &json["rate"]), (&json!(30), &json!(500.0)));
        assert!(report.to_string().contains("lost              30  3.000 %"));
    }
}
