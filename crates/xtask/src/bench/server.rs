//! The rounds: everybody is asked everything, in turn.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::arena::{Arena, CLIENTS, SERVER, Urgency};
use super::certificate::CHAIN;
use super::key_exchange;
use super::load::Generator;
use super::report::{self, Peak, Sample, Samples};
use super::subject::{KEYS, Role, Stage, Subject};

/// How to measure.
#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// Requests in a second; may be repeated
    #[arg(long = "rate", value_name = "NUMBER", default_values_t = [20_000, 50_000])]
    pub(super) rates: Vec<u32>,

    /// Rounds; each measures every server with every kind of request at every rate
    #[arg(long, value_name = "NUMBER", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) rounds: u16,

    /// Seconds for one measurement, at most 0.9
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = duration)]
    pub(super) duration: Duration,

    /// Also look for the highest rate with less than a thousandth lost
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

/// What is asked for.
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

    /// Whether it is asked of servers of this role.
    const fn is_for(self, role: Role) -> bool {
        match role {
            Role::Ours => true,
            Role::Peer => matches!(self, Self::Plain | Self::Keyed | Self::Siv),
            Role::PeerWithLog => matches!(self, Self::Plain | Self::Interleaved),
            Role::Echo => matches!(self, Self::Plain),
        }
    }
}

/// How often a measurement is repeated that was spoiled.
const REPETITIONS: usize = 2;
/// Part of the requests that may be lost at the peak.
const PEAK_LOSS: f64 = 0.001;
/// Where the search for the peak begins, how often it doubles at most, and how fine it is then.
const PEAK_START: u32 = 50_000;
const PEAK_STEPS: u32 = 8;
/// Clients in interleaved mode: what chronyd's client log has room for, so that none is forgotten.
const INTERLEAVED_CLIENTS: u32 = 512;
/// How often a server is asked whether it answers yet.
const ATTEMPTS: usize = 50;

struct Bench<'a> {
    plan: &'a Plan,
    generator: Generator<'a>,
    keys: String,
}

pub(super) fn bench(plan: &Plan) -> Result<(), String> {
    let files = tempfile::tempdir().map_err(|error| error.to_string())?;
    let arena = Arena::new()?;
    let mut stage = Stage {
        arena: &arena,
        processor: plan.server_processor,
        files: files.path(),
        urgency: Urgency::First,
        host: SERVER.into(),
        port: 12_300,
    };
    let mut subjects = stage.everybody(plan.chronyd.as_deref())?;
    let bench = Bench {
        plan,
        generator: Generator::new(&arena, plan.load_processor)?
            .believing(&files.path().join(CHAIN)),
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
            return Err(format!("{} did not stay alive", subject.name));
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
                let able = subjects.iter().enumerate();
                let able = able.filter(|(_, subject)| kind.is_for(subject.role));
                everything.extend(able.map(|(index, _)| (index, kind, *rate)));
            }
        }
        let mut samples = Samples::new();
        for round in 1..=self.plan.rounds {
            eprintln!("round {round} of {}", self.plan.rounds);
            // What comes before a measurement may leave its mark on it, so it is something else each time.
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
                let place = subject.key_exchange.map(|place| place.to_string());
                let place = place.ok_or_else(|| format!("{} gives out no keys", subject.name))?;
                let number = if kind == Kind::Siv { "15" } else { "30" };
                options.extend(["--nts", &place, "--aead", number].map(str::to_owned));
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

    /// The highest rate at which a server loses less than [`PEAK_LOSS`], within a sixteenth; and whether it was the
    /// generator that could not go on.
    fn peak(&self, subject: &mut Subject) -> Result<Peak, String> {
        let (mut good, mut bad) = (0, None);
        let mut rate = PEAK_START;
        let mut limited_by_generator = false;
        for _ in 0..PEAK_STEPS {
            eprintln!("peak, {rate} a second: {}", subject.name);
            // One disturbance is no verdict: it counts what a server can do.
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
