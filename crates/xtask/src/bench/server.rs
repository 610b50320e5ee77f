//! Measurement of all servers with all kinds of requests, in rounds.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::certificate::CHAIN;
use super::key_exchange;
use super::load::Generator;
use super::namespaces::{CLIENTS, Namespaces, Priority, SERVER};
use super::report::{self, Peak, Sample, Samples};
use super::subject::{KEYS, Launcher, Role, Subject};

/// Options.
#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// Requests per second; may be repeated
    #[arg(long = "rate", value_name = "NUMBER", default_values_t = [20_000, 50_000])]
    pub(super) rates: Vec<u32>,

    /// Rounds; each measures every server with every kind of request at every rate
    #[arg(long, value_name = "NUMBER", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) rounds: u16,

    /// Seconds for one measurement, at most 0.9
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = duration)]
    pub(super) duration: Duration,

    /// Also search for the maximum rate with less than 0.1 % lost
    #[arg(long)]
    peak: bool,

    /// Processor of the servers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    server_processor: u16,

    /// Processor of the load generator
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    load_processor: u16,

    /// chronyd, if it is neither unpacked in target/arena nor installed
    #[arg(long, value_name = "PATH")]
    chronyd: Option<PathBuf>,

    /// Print all figures as JSON
    #[arg(long)]
    json: bool,
}

/// Kind of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Plain,
    /// With an AES-CMAC.
    Keyed,
    Interleaved,
    /// NTS with AES-SIV-CMAC-256.
    Siv,
    /// NTS with AES-128-GCM-SIV.
    GcmSiv,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Plain,
        Self::Keyed,
        Self::Interleaved,
        Self::Siv,
        Self::GcmSiv,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Keyed => "AES-CMAC",
            Self::Interleaved => "interleaved",
            Self::Siv => "NTS AES-SIV-CMAC-256",
            Self::GcmSiv => "NTS AES-128-GCM-SIV",
        }
    }

    /// Whether servers of this role support it.
    const fn is_for(self, role: Role) -> bool {
        match role {
            Role::Ours => true,
            Role::Peer => matches!(self, Self::Plain | Self::Keyed | Self::Siv),
            Role::PeerWithLog => matches!(self, Self::Plain | Self::Interleaved),
            Role::Echo => matches!(self, Self::Plain),
        }
    }
}

/// Maximum number of repetitions of a spoiled measurement.
const REPETITIONS: usize = 2;
/// Tolerated loss at the maximum rate.
const PEAK_LOSS: f64 = 0.001;
/// First rate of the search for the maximum, and maximum number of its steps.
const PEAK_START: u32 = 50_000;
const PEAK_STEPS: u32 = 8;
/// Clients in interleaved mode: as many as fit into chronyd's client log.
const INTERLEAVED_CLIENTS: u32 = 512;
/// Attempts to get an answer of a started server.
const ATTEMPTS: usize = 50;

struct Bench<'a> {
    plan: &'a Plan,
    generator: Generator<'a>,
    keys: String,
}

pub(super) fn bench(plan: &Plan) -> Result<(), String> {
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let namespaces = Namespaces::new()?;
    let mut launcher = Launcher {
        namespaces: &namespaces,
        processor: plan.server_processor,
        files: files.path(),
        priority: Priority::RealTime,
        host: SERVER.into(),
        port: 12_300,
    };
    let mut subjects = launcher.start_all(plan.chronyd.as_deref())?;
    let bench = Bench {
        plan,
        generator: Generator::new(&namespaces, plan.load_processor)?
            .with_authority(&files.path().join(CHAIN)),
        keys: files.path().join(KEYS).display().to_string(),
    };
    for subject in &mut subjects {
        await_answers(&bench.generator, subject)?;
    }
    let samples = bench.rounds(&mut subjects)?;
    let exchanges = key_exchange::rounds(&bench.generator, &subjects, plan.rounds)?;
    let mut peaks = Vec::new();
    if plan.peak {
        for subject in &mut subjects {
            peaks.push(bench.peak(subject)?);
        }
    }
    if plan.json {
        let mut figures = report::to_json(plan, &subjects, &samples, &peaks);
        figures["key_exchange"] = key_exchange::to_json(&exchanges);
        println!("{figures:#}");
    } else {
        print!("{}", report::table(plan, &subjects, &samples, &peaks));
        print!("{}", key_exchange::table(&exchanges));
    }
    Ok(())
}

/// Waits until a server answers.
pub(super) fn await_answers(
    generator: &Generator<'_>,
    subject: &mut Subject,
) -> Result<(), String> {
    for _ in 0..ATTEMPTS {
        if subject.has_ended() {
            return Err(format!("{} exited", subject.name));
        }
        let outcome = generator.run(subject.address, 10.0, Duration::from_millis(100), &[])?;
        if outcome.count("answered") > 0 {
            return Ok(());
        }
    }
    Err(format!("{} does not answer", subject.name))
}

impl Bench<'_> {
    fn rounds(&self, subjects: &mut [Subject]) -> Result<Samples, String> {
        let mut everything = Vec::new();
        for rate in &self.plan.rates {
            for kind in Kind::ALL {
                let supported = subjects.iter().enumerate();
                let supported = supported.filter(|(_, subject)| kind.is_for(subject.role));
                everything.extend(supported.map(|(index, _)| (index, kind, *rate)));
            }
        }
        let mut samples = Samples::new();
        for round in 1..=self.plan.rounds {
            eprintln!("round {round} of {}", self.plan.rounds);
            // The previous measurement may affect the next one, so the order varies.
            let start = usize::from(round) * 7 % everything.len();
            everything.rotate_left(start);
            if round % 2 == 0 {
                everything.reverse();
            }
            for (index, kind, rate) in &everything {
                let subject = &mut subjects[*index];
                let row = samples.entry((*rate, *kind, *index)).or_default();
                for _ in 0..=REPETITIONS {
                    let sample = self.measure(subject, *kind, *rate, round)?;
                    let spoiled = sample.spoiled;
                    row.push(sample);
                    if !spoiled {
                        break;
                    }
                }
            }
        }
        Ok(samples)
    }

    fn measure(
        &self,
        subject: &mut Subject,
        kind: Kind,
        rate: u32,
        round: u16,
    ) -> Result<Sample, String> {
        let mut options = vec!["--from".to_owned(), CLIENTS.to_owned()];
        match kind {
            Kind::Plain => {}
            Kind::Keyed => options.extend(["--keys".to_owned(), self.keys.clone()]),
            Kind::Interleaved => {
                let clients = INTERLEAVED_CLIENTS.to_string();
                options.extend(["--interleaved".to_owned(), "--clients".to_owned(), clients]);
            }
            Kind::Siv | Kind::GcmSiv => {
                let address = subject.key_exchange.map(|address| address.to_string());
                let address =
                    address.ok_or_else(|| format!("{} does not exchange keys", subject.name))?;
                let number = if kind == Kind::Siv { "15" } else { "30" };
                options.extend(["--nts", &address, "--aead", number].map(str::to_owned));
            }
        }
        options.extend(["--process".to_owned(), subject.id().to_string()]);
        let outcome =
            self.generator
                .run(subject.address, rate.into(), self.plan.duration, &options)?;
        let used = outcome.process_cpu();
        let used = used.ok_or_else(|| format!("no processor time of {}", subject.name))?;
        let answered = outcome.count("answered");
        if answered == 0 {
            return Err(format!(
                "{} answers no {} requests",
                subject.name,
                kind.name()
            ));
        }
        let interleaved = outcome.count("interleaved");
        if kind == Kind::Interleaved && interleaved < answered / 2 {
            return Err(format!(
                "{} answered {interleaved} of {answered} requests in interleaved mode",
                subject.name
            ));
        }
        Ok(Sample {
            round,
            micros: used * 1e6 / answered as f64,
            latency_us: outcome.latency_us("p50"),
            latency_99_us: outcome.latency_us("p99"),
            loss: outcome.loss(),
            spoiled: outcome.is_spoiled(),
        })
    }

    /// Finds the maximum rate at which a server loses less than [`PEAK_LOSS`], to a sixteenth, and
    /// whether the generator was the limit.
    fn peak(&self, subject: &mut Subject) -> Result<Peak, String> {
        let (mut good, mut bad) = (0, None);
        let mut rate = PEAK_START;
        let mut limited_by_generator = false;
        for _ in 0..PEAK_STEPS {
            eprintln!("maximum, {rate} per second: {}", subject.name);
            // The best of several attempts counts, against disturbances.
            let mut best = self.measure(subject, Kind::Plain, rate, 0)?;
            for _ in 0..REPETITIONS {
                if best.loss >= PEAK_LOSS {
                    let again = self.measure(subject, Kind::Plain, rate, 0)?;
                    if again.loss < best.loss {
                        best = again;
                    }
                }
            }
            if best.loss < PEAK_LOSS {
                good = good.max(rate);
            } else {
                limited_by_generator = best.spoiled;
                bad = Some(rate);
            }
            let next = match bad {
                None => rate * 2,
                Some(bad) => (good + bad) / 2,
            };
            if next.abs_diff(good) < good / 16 || next == 0 {
                break;
            }
            rate = next;
        }
        Ok(Peak {
            rate: good,
            limited_by_generator,
        })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=0.9).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds from 0.05 to 0.9".into()),
    }
}
