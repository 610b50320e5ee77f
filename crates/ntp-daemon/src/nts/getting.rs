//! Getting keys from our servers, off the timekeeping thread, and what becomes of certificates that were believed on credit.
//!
//! Each exchange is a short-lived thread of its own, as look-ups are (`resolve`): it may wait for a resolver, a connection and a server, and holds up nobody.
//! Eight are under way at most. A session that an earlier run left in the state directory takes the place of an exchange, once, because its cookies are good
//! for once: it is gone from the disk before any of them is used.
//!
//! As long as the clock is not synchronised, certificates are judged with leniency about time (see [`ntp_nts_ke::validity`]). Chains that needed it are kept,
//! and judged again as soon as the clock is synchronised; a source whose chain does not pass loses its keys.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, PipeReader};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use ntp_config::{Config, SourceKind, StepThreshold};
use ntp_nts_ke::client::{Report, Request, exchange};
use ntp_nts_ke::trust::Trust;
use ntp_nts_ke::validity::{Presented, TimeBounds};
use ntp_proto::engine::QueryId;
use ntp_proto::nts::{AeadAlgorithm, KeyExchanged, StoredSession};
use ntp_time::{NtpDuration, SystemTime};
use ntp_udp::wait::{Interest, PollSet};
use tracing::{info, warn};

use crate::persist::StateFile;
use crate::sandbox::{self, Profile};

/// Exchanges at a time.
const AT_A_TIME: usize = 8;

/// A session's octets are far less.
const LARGEST_SESSION: u64 = 65_536;

/// For a whole exchange, but for the resolver.
const LIMIT: Duration = Duration::from_secs(10);

/// Offered to servers, best first: the one that costs both sides least, then the one that everybody has.
const ALGORITHMS: &[AeadAlgorithm] = &[
    AeadAlgorithm::Aes128GcmSiv,
    AeadAlgorithm::AesSivCmac256,
    AeadAlgorithm::AesSivCmac512,
];

/// What the engine asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) query: QueryId,
    /// The source's configured name.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The keys, or why there are none.
    Exchanged(QueryId, Result<Box<KeyExchanged>, String>),
    /// Keys that were got on credit are worth nothing, and why.
    Revoked(QueryId, String),
}

/// How far the clock may be wrong, in seconds, as long as it is not synchronised.
#[derive(Clone, Copy, Debug, Default)]
struct Leniency {
    forward: u64,
    backward: u64,
    /// The last time that an earlier run was sure of.
    floor: u64,
}

/// The exchanges under way, and what they left.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    /// Additional authorities, by the source's name.
    authorities: Vec<(String, PathBuf)>,
    leniency: Leniency,
    directory: Option<PathBuf>,
    under_way: Vec<Exchange>,
    waiting: VecDeque<Wish>,
    answers: VecDeque<Answer>,
    /// Chains that were believed on credit.
    credit: Vec<(Wish, Presented)>,
    /// When the certificates expire that were shown last, by the source's name.
    expiries: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Exchange {
    wish: Wish,
    thread: JoinHandle<Outcome>,
    /// Hangs up when the thread is done.
    bell: PipeReader,
    place: usize,
}

/// What a thread came back with.
#[derive(Debug)]
enum Outcome {
    /// What an earlier run left, if that could be used.
    Stored(Option<Box<KeyExchanged>>),
    /// What the server said.
    Asked(Box<Report>),
}

impl Exchanges {
    /// Nothing is asked for yet. `floor` is the last time that an earlier run was sure of.
    pub(crate) fn new(config: &Config, floor: Option<SystemTime>) -> Self {
        let mut exchanges = Self {
            leniency: Leniency {
                floor: floor.map_or(0, unix),
                ..Leniency::default()
            },
            directory: config.state.directory.clone(),
            ..Self::default()
        };
        exchanges.configure(config);
        exchanges
    }

    /// Believes what a new configuration says from the next exchange on.
    pub(crate) fn configure(&mut self, config: &Config) {
        let authority = |kind: &SourceKind| match kind {
            SourceKind::Nts(nts) => {
                let path = nts.key_exchange.certificate_authority.as_ref()?;
                Some((nts.ntp.address.to_string(), path.value.clone()))
            }
            _ => None,
        };
        let sources = || config.sources.iter();
        self.authorities = sources()
            .filter_map(|source| authority(&source.kind))
            .collect();
        let StepThreshold { forward, backward } = config.synchronization.certificate_time_leniency;
        self.leniency.forward = seconds(forward);
        self.leniency.backward = seconds(backward);
        let is_asked = |name: &String| {
            let mut names = sources().filter_map(|source| source.kind.ntp());
            names.any(|ntp| ntp.address.to_string() == *name)
        };
        self.expiries.retain(|name, _| is_asked(name));
    }

    /// When the certificates expire that sources showed last, by the source's name: seconds since 1970.
    pub(crate) fn expiries(&self) -> &BTreeMap<String, u64> {
        &self.expiries
    }

    /// Asks for keys, now or when it is their turn. `now` and whether the clock is synchronised decide how certificates are judged.
    pub(crate) fn ask(&mut self, wish: Wish, now: SystemTime, synchronized: bool) {
        if self.under_way.len() < AT_A_TIME {
            self.start(wish, true, now, synchronized);
        } else {
            self.waiting.push_back(wish);
        }
    }

    fn start(&mut self, wish: Wish, may_be_stored: bool, now: SystemTime, synchronized: bool) {
        let now = unix(now);
        let time = if synchronized {
            TimeBounds::exact(now)
        } else {
            let Leniency {
                forward,
                backward,
                floor,
            } = self.leniency;
            TimeBounds::within(now, forward, backward, floor)
        };
        let query = wish.query;
        let stored = self.file(&wish.name).filter(StateFile::exists);
        let started = match stored.filter(|_| may_be_stored) {
            Some(file) => Exchange::take_stored(wish, file),
            None => {
                let authority = self.authority(&wish.name);
                Exchange::start(wish, authority, time)
            }
        };
        match started {
            Ok(exchange) => self.under_way.push(exchange),
            Err(error) => {
                let problem = format!("the exchange cannot be started: {error}");
                let answer = Answer::Exchanged(query, Err(problem));
                self.answers.push_back(answer);
            }
        }
    }

    fn authority(&self, name: &str) -> Option<PathBuf> {
        let mut authorities = self.authorities.iter();
        let own = authorities.find(|(source, _)| source == name)?;
        Some(own.1.clone())
    }

    /// The true time is later than this.
    pub(crate) fn not_before(&mut self, past: SystemTime) {
        self.leniency.floor = self.leniency.floor.max(unix(past));
    }

    /// Adds the bells to a poll set.
    pub(crate) fn watch(&mut self, set: &mut PollSet) {
        for exchange in &mut self.under_way {
            exchange.place = set.push(&exchange.bell, Interest::Readable);
        }
    }

    /// Whether an answer waits that no bell announces.
    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Takes an answer, and lets the next wish have its turn. Never blocks.
    pub(crate) fn answer(
        &mut self,
        set: &PollSet,
        now: SystemTime,
        synchronized: bool,
    ) -> Option<Answer> {
        if self.under_way.len() < AT_A_TIME
            && let Some(wish) = self.waiting.pop_front()
        {
            self.start(wish, true, now, synchronized);
        }
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        let done = self.under_way.iter().position(|exchange| {
            set.readiness(exchange.place).any() && exchange.thread.is_finished()
        })?;
        let Exchange { wish, thread, .. } = self.under_way.swap_remove(done);
        let query = wish.query;
        let result = match thread.join() {
            Ok(Outcome::Stored(Some(session))) => {
                info!("{}: going on with NTS keys of an earlier run", wish.name);
                Ok(session)
            }
            Ok(Outcome::Stored(None)) => {
                self.start(wish, false, now, synchronized);
                return self.answers.pop_front();
            }
            Ok(Outcome::Asked(report)) => self.take(wish, *report),
            Err(_) => Err("the exchange failed unexpectedly".to_owned()),
        };
        Some(Answer::Exchanged(query, result))
    }

    fn take(&mut self, wish: Wish, report: Report) -> Result<Box<KeyExchanged>, String> {
        let result = report.outcome.map_err(|failure| failure.to_string())?;
        let from = report.peer.ok_or("the server has no address")?.ip();
        self.credit.retain(|(other, _)| other.query != wish.query);
        let facts = report.presented.iter().flat_map(Presented::facts);
        if let Some(expiry) = facts.map(|facts| facts.not_after).min() {
            self.expiries.insert(wish.name.clone(), expiry);
        }
        if let Some(presented) = report.presented
            && let Some(moment) = presented.assumed_time()
        {
            warn!(
                "{}: its certificate is not valid by our clock, but would be on {}; it is believed until the time is known, and judged again then",
                wish.name,
                ntp_nts_ke::certificate::Date(moment)
            );
            self.credit.push((wish, presented));
        }
        Ok(Box::new(KeyExchanged { from, result }))
    }

    /// The time is known: judges again what was believed on credit.
    pub(crate) fn settle(&mut self, now: SystemTime) {
        for (wish, presented) in core::mem::take(&mut self.credit) {
            let trust = Trust::load(self.authority(&wish.name).as_deref());
            let verdict = trust
                .map_err(|problem| problem.to_string())
                .and_then(|trust| {
                    let verdict = presented.reverify(&trust, unix(now));
                    verdict.map_err(|failure| failure.to_string())
                });
            match verdict {
                Ok(()) => info!(
                    "{}: its certificate is valid, now that the time is known",
                    wish.name
                ),
                Err(problem) => self.answers.push_back(Answer::Revoked(wish.query, problem)),
            }
        }
    }

    /// Keeps what is left of a session for the next run.
    pub(crate) fn keep(&self, name: &str, session: &KeyExchanged) {
        if let Some(file) = self.file(name) {
            file.write(&StoredSession::emit(session));
        }
    }

    /// Names come from the configuration file; what a file name cannot hold is written as a number.
    fn file(&self, name: &str) -> Option<StateFile> {
        let mut file = String::from("nts-");
        for octet in name.bytes() {
            if octet.is_ascii_alphanumeric() || b".-".contains(&octet) {
                file.push(octet.into());
            } else {
                file.push_str(&format!("_{octet:02x}"));
            }
        }
        let path = self.directory.as_ref()?.join(file);
        let loss = "keys will be exchanged anew after a restart (see [state] directory)";
        Some(StateFile::new(path, 0o600, LARGEST_SESSION, loss))
    }
}

impl Exchange {
    /// Asks the server.
    fn start(wish: Wish, authority: Option<PathBuf>, time: TimeBounds) -> io::Result<Self> {
        let Wish { host, port, .. } = wish.clone();
        Self::spawn("key exchange", Profile::KeyExchange, wish, move || {
            Outcome::Asked(Box::new(exchange(&Request {
                host: &host,
                port,
                authority: authority.as_deref().map(Path::new),
                algorithms: ALGORITHMS,
                time,
                limit: LIMIT,
            })))
        })
    }

    /// Takes what an earlier run left, on a thread that may change files.
    fn take_stored(wish: Wish, file: StateFile) -> io::Result<Self> {
        Self::spawn("session reader", Profile::Files, wish, move || {
            Outcome::Stored(take_stored(&file).map(Box::new))
        })
    }

    fn spawn(
        name: &'static str,
        profile: Profile,
        wish: Wish,
        work: impl FnOnce() -> Outcome + Send + 'static,
    ) -> io::Result<Self> {
        let (bell, ringer) = io::pipe()?;
        let thread = sandbox::spawn(name, profile, move || {
            let outcome = work();
            drop(ringer);
            outcome
        })?;
        Ok(Self {
            wish,
            thread,
            bell,
            place: usize::MAX,
        })
    }
}

/// What an earlier run left, for once: its cookies must not be used twice.
fn take_stored(file: &StateFile) -> Option<KeyExchanged> {
    let octets = file.read()?;
    let session = match StoredSession::parse(&octets) {
        Ok(session) => session,
        Err(problem) => {
            file.set_aside(&problem.to_string());
            return None;
        }
    };
    match file.remove() {
        Ok(()) => Some(session),
        Err(error) => {
            warn!(
                "{} cannot be removed: {error}; as its cookies are good for once, keys are exchanged anew (see [state] directory)",
                file.path().display()
            );
            None
        }
    }
}

fn unix(time: SystemTime) -> u64 {
    u64::try_from(time.as_nanos() / 1_000_000_000).unwrap_or(0)
}

/// The length of a limit; no limit is more than there is.
fn seconds(limit: Option<NtpDuration>) -> u64 {
    limit.map_or(u64::MAX, |limit| limit.to_std().as_secs())
}
