//! The time daemon that runs on this machine, and its opinion of the clock, read with its own tool.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ntp_time::NtpDuration;

use super::summary::Opinion;
use crate::migrate::{self, Dialect};

/// A time daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// chronyd, read by chronyc
    Chronyd,
    /// ntpd, read by ntpq
    Ntpd,
    /// systemd-timesyncd, read by timedatectl
    Timesyncd,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Chronyd, Self::Ntpd, Self::Timesyncd];

    /// Name of the process, of which the kernel keeps 15 octets.
    const fn process(self) -> &'static str {
        match self {
            Self::Chronyd => "chronyd",
            Self::Ntpd => "ntpd",
            Self::Timesyncd => "systemd-timesyn",
        }
    }

    /// Dialect of its configuration, whatever the name of the file.
    pub(super) const fn dialect(self) -> Dialect {
        match self {
            Self::Chronyd => Dialect::Chrony,
            Self::Ntpd => Dialect::Ntpd,
            Self::Timesyncd => Dialect::Timesyncd,
        }
    }

    /// Main files of its configuration, the usual one first.
    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Chronyd => &["/etc/chrony/chrony.conf", "/etc/chrony.conf"],
            Self::Ntpd => &["/etc/ntpsec/ntp.conf", "/etc/ntp.conf"],
            Self::Timesyncd => &[
                "/etc/systemd/timesyncd.conf",
                "/usr/lib/systemd/timesyncd.conf",
            ],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chronyd => "chronyd",
            Self::Ntpd => "ntpd",
            Self::Timesyncd => "timesyncd",
        })
    }
}

/// A daemon that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) kind: Kind,
    pub(super) process: u32,
}

/// Finds the time daemon of this machine, or of this container: one in another network namespace
/// belongs to another container.
pub(super) fn find(wanted: Option<Kind>) -> Option<Running> {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let ours = namespace("self");
    let entries = fs::read_dir("/proc").ok()?;
    let processes = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<Running> = processes
        .filter_map(|process: u32| {
            let comm = read(process, "comm")?;
            let is = |kind: &Kind| kind.process() == comm.trim_end();
            let kind = Kind::ALL.into_iter().find(is)?;
            // Unreadable for ordinary users.
            let theirs = namespace(&process.to_string());
            let here = theirs.is_none() || theirs == ours;
            let matches = wanted.is_none_or(|wanted| wanted == kind);
            (here && matches).then_some(Running { kind, process })
        })
        .collect();
    // chronyd has a helper process with the same name and a larger number.
    found.sort_by_key(|it| {
        (
            Kind::ALL.iter().position(|kind| *kind == it.kind),
            it.process,
        )
    });
    found.into_iter().next()
}

/// Reads a file of a process.
fn read(process: u32, name: &str) -> Option<String> {
    let path = format!("/proc/{process}/{name}");
    ntp_files::read_text(Path::new(&path), ntp_files::MAX_TEXT).ok()
}

impl Running {
    /// The main file of its configuration: that of its command line, or the usual one.
    pub(super) fn configuration(&self) -> Option<PathBuf> {
        let command = read(self.process, "cmdline").unwrap_or_default();
        let mut words = command.split('\0');
        let option = match self.kind {
            Kind::Chronyd => "-f",
            Kind::Ntpd => "-c",
            Kind::Timesyncd => "",
        };
        let named = words.find(|word| !word.is_empty() && *word == option);
        let named = named.and_then(|_| words.next()).map(PathBuf::from);
        let usual = self.kind.files().iter().map(PathBuf::from);
        named.or_else(|| usual.into_iter().find(|it| it.exists()))
    }

    /// Its opinion of the clock, or why that is unknown.
    pub(super) fn opinion(&self) -> Result<Opinion, String> {
        match self.kind {
            Kind::Chronyd => chronyc(&run("chronyc", &["-c", "-n", "tracking"])?),
            Kind::Ntpd => {
                let variables = "rv 0 leap,offset,rootdelay,rootdisp";
                ntpq(&run("ntpq", &["-n", "-c", variables])?)
            }
            Kind::Timesyncd => timedatectl(&run("timedatectl", &["timesync-status"])?),
        }
    }
}

/// Runs a program and returns its output.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    // Words and numbers must not depend on the language of the user.
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // ntpq reports a missing answer on standard error only.
    if output.status.success() && !text.trim().is_empty() {
        return Ok(text);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let mut lines = error.lines().chain(text.lines()).map(str::trim);
    let reason = lines.find(|line| !line.is_empty());
    Err(format!("{program}: {}", reason.unwrap_or("no answer")))
}

/// Root delay and dispersion in seconds, as the bound of the error (RFC 5905 section 11.3).
fn bound(delay: f64, dispersion: f64) -> Option<NtpDuration> {
    Some(NtpDuration::from_seconds_f64(delay / 2.0 + dispersion))
}

const NOT_SYNCHRONIZED: &str = "not synchronised";

/// `chronyc -c tracking`: the fifth field is what is still to be corrected, positive if the clock
/// is slow; the last one the leap status.
fn chronyc(text: &str) -> Result<Opinion, String> {
    let fields: Vec<&str> = text.trim().split(',').collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    if fields.last() == Some(&"Not synchronised") {
        return Err(NOT_SYNCHRONIZED.into());
    }
    let (Some(offset), Some(delay), Some(dispersion)) = (number(4), number(10), number(11)) else {
        return Err("chronyc: unknown output".into());
    };
    Ok(Opinion {
        offset: NtpDuration::from_seconds_f64(offset),
        bound: bound(delay, dispersion),
    })
}

/// `ntpq -c rv`: assignments, times in milliseconds; the leap indicator has two bits.
fn ntpq(text: &str) -> Result<Opinion, String> {
    let value = |name: &str| {
        let mut assignments = text
            .split([',', '\n'])
            .filter_map(|it| it.trim().split_once('='));
        assignments
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let seconds = |name: &str| Some(value(name)?.parse::<f64>().ok()? / 1000.0);
    if matches!(value("leap"), Some("11" | "3")) {
        return Err(NOT_SYNCHRONIZED.into());
    }
    let Some(offset) = seconds("offset") else {
        return Err("ntpq: unknown output".into());
    };
    let delays = seconds("rootdelay").zip(seconds("rootdisp"));
    Ok(Opinion {
        offset: NtpDuration::from_seconds_f64(offset),
        bound: delays.and_then(|(delay, dispersion)| bound(delay, dispersion)),
    })
}

/// `timedatectl timesync-status`: the offset of the last packet, and the root distance.
fn timedatectl(text: &str) -> Result<Opinion, String> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|it| it.trim().split_once(": "));
        lines
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let time = |text: &str| {
        let (sign, span) = match text.strip_prefix('-') {
            Some(span) => (-1.0, span),
            None => (1.0, text.trim_start_matches('+')),
        };
        migrate::time_span(span).map(|seconds| NtpDuration::from_seconds_f64(sign * seconds))
    };
    let offset = value("Offset").and_then(time).ok_or(NOT_SYNCHRONIZED)?;
    // "Root distance: 12.5ms (max: 5s)"
    let distance = value("Root distance").and_then(|it| it.split(" (").next());
    Ok(Opinion {
        offset,
        bound: distance.and_then(time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinion(offset: f64, bound: Option<f64>) -> Result<Opinion, String> {
        let duration = NtpDuration::from_seconds_f64;
        Ok(Opinion {
            offset: duration(offset),
            bound: bound.map(duration),
        })
    }

    /// Positive: true time is ahead, the clock is slow. Outputs of chrony 4.3, ntpsec 1.2.2 and
    /// systemd 252.
    #[test]
    fn tools_state_what_is_to_be_added_to_the_clock() {
        let tracking = "7F7F0101,ntp.example,3,1764470000.5,0.000250,-0.000012,0.0002,-12.5,0.001,0.05,0.02,0.003,64.2,Normal\n";
        assert_eq!(chronyc(tracking), opinion(0.000_25, Some(0.013)));
        let lost = "00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n";
        assert_eq!(chronyc(lost), Err(NOT_SYNCHRONIZED.into()));
        assert!(chronyc("506 Cannot talk to daemon\n").is_err());

        let variables = "leap=00, offset=-1.500000,\nrootdelay=20.0, rootdisp=3.0\n";
        assert_eq!(ntpq(variables), opinion(-0.001_5, Some(0.013)));
        assert_eq!(ntpq("leap=11, offset=0.0\n"), Err(NOT_SYNCHRONIZED.into()));

        let status = "       Server: 192.0.2.1 (ntp.example)\n      Version: 4\n         Leap: normal\n\
             Root distance: 12.500ms (max: 5s)\n       Offset: -1.250ms\n        Delay: 20.123ms\n";
        assert_eq!(timedatectl(status), opinion(-0.001_25, Some(0.012_5)));
        let nothing = "       Server: n/a (ntp.example)\nPoll interval: 0 (min: 32s; max 34min 8s)\n Packet count: 0\n";
        assert_eq!(timedatectl(nothing), Err(NOT_SYNCHRONIZED.into()));
    }
}
