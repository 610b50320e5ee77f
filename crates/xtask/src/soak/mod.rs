//! `cargo xtask soak`: hours of our daemon and of chronyd side by side.
//!
//! # World
//! Three servers behind a router that delays each packet by 2 ms and up to 0.4 ms more or less, an
//! oscillator that wanders by 1e-9, poll intervals from 16 s to 1024 s. Each hour one server is gone
//! for ten minutes, and a client asks the daemon for the time every minute. Both daemons keep their
//! defaults otherwise.
//!
//! # Figures
//! At intervals: resident memory, processor time, and wake-ups (voluntary switches of its threads)
//! of the daemon's process since its start, and the error of the clock within the interval, read
//! every second beside the truth.

mod plot;

use std::fs;
use std::path::PathBuf;

use ntp_e2e::vm::Report;

use crate::guests::{self, Daemon, Surroundings};
use crate::parallel;
use plot::{Curve, Panel};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Length of the run.
    #[arg(long, default_value_t = 8)]
    hours: u32,
    /// Minutes between two lines.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=60))]
    interval: u32,
    /// Seed of the oscillator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plot the run into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Numbers of the servers, see [`NETWORK`].
const SERVERS: [u8; 3] = [2, 3, 4];

/// What a daemon did within an interval.
#[derive(Clone, Copy, Debug)]
struct Interval {
    /// Hours since the start, at its end.
    at: f64,
    /// Resident memory at its end, MB.
    memory: f64,
    /// The part of it that is not of files, MB: heap and stacks. The rest are pages of the program
    /// and of libraries, which the kernel loads when they are first used and takes back at will.
    anonymous: f64,
    /// Processor time in it, milliseconds.
    processor: f64,
    /// Wake-ups in it.
    woken: f64,
    /// RMS error of the clock in it, seconds.
    rms: f64,
    /// Largest error of the clock in it, seconds.
    worst: f64,
}

/// Runs both daemons and prints what they used.
pub(crate) fn soak(arguments: &Arguments) -> Result<(), String> {
    guests::required()?;
    let surroundings = arguments.surroundings();
    let runs = parallel::map(Daemon::ALL.len(), |daemon| {
        let report = surroundings.run(Daemon::ALL[daemon]);
        intervals(&report, f64::from(arguments.interval) / 60.0)
    });
    println!("{}", table(&runs));
    println!("{}", totals(&runs));
    if let Some(path) = &arguments.svg {
        fs::write(path, plotted(&runs)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Servers behind a router. `serve NUMBER` starts one at 10.8.1.NUMBER, and sets `SERVER` to its
/// process.
const NETWORK: &str = "\
attach_router delay 2ms 400us
for number in 3 4; do on $FAR /programs/ip address add 10.8.1.$number/24 dev far; done
serve() {
    nsenter -n -t $FAR /programs/true-clock $TRUTH serve --listen 10.8.1.$1:1123 > /run/server$1.log 2>&1 &
    SERVER=$!
}
for number in 2 3 4; do serve $number; done";

impl Arguments {
    fn surroundings(&self) -> Surroundings {
        let lines = |line: &dyn Fn(u8) -> String| -> String { SERVERS.map(line).concat() };
        let limits = "poll-interval-limits = { min = 4, max = 10 }";
        Surroundings {
            ours: lines(&|number| {
                format!(
                    "[[source]]\nmode = \"server\"\naddress = \"10.8.1.{number}:1123\"\n{limits}\n"
                )
            }) + "[[server]]\nlisten = \"127.0.0.1:123\"\n",
            chronyd: lines(&|number| {
                format!("server 10.8.1.{number} port 1123 iburst minpoll 4 maxpoll 10\n")
            }) + "allow 127.0.0.1\n",
            sources: NETWORK.to_owned(),
            course: self.course(),
            wander: 1e-9,
            seed: self.seed,
            hours: f64::from(self.hours),
        }
    }

    /// Minute by minute; the last server is gone from minute 20 to 30 of each hour.
    fn course(&self) -> String {
        let Self {
            hours, interval, ..
        } = self;
        format!(
            "(
MINUTE=0
while [ $MINUTE -lt $(({hours} * 60)) ]; do
    case $((MINUTE % 60)) in
        20) kill $SERVER ;;
        30) serve 4 ;;
    esac
    truth query 127.0.0.1:123 > /dev/null 2>&1
    sleep 60
    MINUTE=$((MINUTE + 1))
done
) &
TURN=0
resources 0
while [ $TURN -lt $(({hours} * 60 / {interval})) ]; do
    TURN=$((TURN + 1))
    watch $TURN $(({interval} * 60)) 1
    resources $TURN
done"
        )
    }
}

fn intervals(report: &Report, hours: f64) -> Vec<Interval> {
    let resources: Vec<_> = report.all("resources").collect();
    let watches = report.all("watch");
    let pairs = resources.iter().zip(resources.iter().skip(1));
    pairs
        .zip(watches)
        .enumerate()
        .map(|(turn, ((before, after), watch))| {
            let used = |name| after.number(name) - before.number(name);
            Interval {
                at: (turn + 1) as f64 * hours,
                memory: after.number("resident") / 1e3,
                anonymous: after.number("anonymous") / 1e3,
                processor: used("processor") * 10.0,
                woken: used("woken"),
                rms: watch.number("rms_offset"),
                worst: watch.number("worst_offset"),
            }
        })
        .collect()
}

fn table(runs: &[Vec<Interval>]) -> String {
    let [ours, theirs] = runs else {
        return String::new();
    };
    let mut text = format!(
        "hours | memory, MB: {0}, {1} | of it anonymous | processor, ms | wake-ups | RMS error, us | largest, us\n",
        Daemon::Ours.name(),
        Daemon::Chronyd.name()
    );
    for (a, b) in ours.iter().zip(theirs) {
        text += &format!(
            "{:5.1} | {:.2} {:.2} | {:.2} {:.2} | {:.0} {:.0} | {:.0} {:.0} | {:.1} {:.1} | {:.1} {:.1}\n",
            a.at,
            a.memory,
            b.memory,
            a.anonymous,
            b.anonymous,
            a.processor,
            b.processor,
            a.woken,
            b.woken,
            a.rms * 1e6,
            b.rms * 1e6,
            a.worst * 1e6,
            b.worst * 1e6
        );
    }
    text
}

/// Figures of the whole run; the first interval has the start, and does not count for the error.
fn totals(runs: &[Vec<Interval>]) -> String {
    let mut text = String::new();
    for (daemon, run) in Daemon::ALL.into_iter().zip(runs) {
        let settled = run.get(1..).unwrap_or_default();
        let mean = |of: fn(&Interval) -> f64| {
            settled.iter().map(of).sum::<f64>() / settled.len().max(1) as f64
        };
        let hours = run.last().map_or(f64::NAN, |last| last.at);
        let sum = |of: fn(&Interval) -> f64| run.iter().map(of).sum::<f64>() / hours;
        let grown = |of: fn(&Interval) -> f64| {
            let ends = run.last().zip(run.get(1));
            ends.map_or(0.0, |(last, first)| of(last) - of(first)) * 1e3
        };
        text += &format!(
            "{}: memory grew by {:.0} kB after the first interval, anonymous memory by {:.0} kB; in an hour {:.0} ms of processor time and {:.0} wake-ups; RMS error {:.1} us, largest {:.1} us\n",
            daemon.name(),
            grown(|it| it.memory),
            grown(|it| it.anonymous),
            sum(|it| it.processor),
            sum(|it| it.woken),
            mean(|it| it.rms * it.rms).sqrt() * 1e6,
            settled.iter().map(|it| it.worst).fold(0.0, f64::max) * 1e6
        );
    }
    text
}

fn plotted(runs: &[Vec<Interval>]) -> String {
    let panel = |title, of: fn(&Interval) -> f64| Panel {
        title,
        curves: Daemon::ALL
            .into_iter()
            .zip(runs)
            .map(|(daemon, run)| Curve {
                name: daemon.name(),
                points: run.iter().map(|it| (it.at, of(it))).collect(),
            })
            .collect(),
    };
    plot::svg(&[
        panel("Resident memory, MB", |it| it.memory),
        panel("Processor time of an interval, ms", |it| it.processor),
        panel("Wake-ups of an interval", |it| it.woken),
        panel("RMS error of the clock, us", |it| it.rms * 1e6),
    ])
}
