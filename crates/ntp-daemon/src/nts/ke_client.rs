//! NTS key exchange with our servers, off the timekeeping thread, and re-verification of
//! certificates that were accepted under clock leniency.
//!
//! Each exchange is a task of a [`TaskPool`], as lookups are (`resolve`): it may wait for a
//! resolver, a connection and a server, and delays no other exchange. A session that an earlier run
//! stored in the state directory replaces one exchange. Its cookies may be used once only, so it is
//! deleted from the disk before any of them is used.
//!
//! As long as the clock is not synchronised, certificates are verified with leniency about the time
//! (see [`ntp_nts_ke::validity`]). Chains that needed it are kept and verified again as soon as the
//! clock is synchronised; a source whose chain fails loses its keys. Until then its session is not
//! stored, and the session of an earlier run is verified in the same way.
//!
//! If the clock showed an impossible time at the start, and the saved time is later than the
//! certificates, that may be wrong. It is then not used for the next attempts; the engine does not
//! follow sources to before that time without a second witness.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use ntp_config::{Config, KeyExchange, SourceConfig, StepThreshold};
use ntp_nts_ke::client::{Report, Request, exchange};
use ntp_nts_ke::failure::Failure as ExchangeFailure;
use ntp_nts_ke::provider as tls;
use ntp_nts_ke::trust::{Authorities, Trust};
use ntp_nts_ke::validity::{Presented, TimeBounds};
use ntp_os_clock::monotonic;
use ntp_proto::engine::{Input, MAX_POOL_SIZE, QueryId, TimePrior};
use ntp_proto::nts::{AeadAlgorithm, KeyExchanged};
use ntp_time::{Monotonic, NtpDuration, SystemTime};
use ntp_types::event::{Event, KeyExchangeError, KeyExchangeFailure};
use ntp_types::path::NetworkPath;
use ntp_types::status::ProviderStatus;
use ntp_udp::resolve;
use ntp_udp::wait::PollSet;

use super::stored_session::{self, Validity};
use crate::log;
use crate::persist::{StateFile, is_disputed};
use crate::runtime::background::Background;
use crate::runtime::driver::{Driver, KeRequest, KeyRequest};
use crate::runtime::failure::Failure;
use crate::runtime::pollable::{Context, Pollable};
use crate::sandbox::Profile;
use crate::tasks::{Limits, Task, TaskError, TaskPool};

/// * Threads: an exchange needs about 0.5 MiB, mostly for the certificate authorities. A server that
///   does not answer holds a thread for [`EXCHANGE_TIMEOUT`].
/// * Timeout: that of the exchange, and as long as a lookup may take (`resolve`).
const LIMITS: Limits = Limits {
    threads: 32,
    timeout: NtpDuration::from_seconds(25),
};

/// Size limit of a stored session in bytes; real ones are far smaller.
const MAX_SESSION_SIZE: u64 = 65_536;

/// Time limit of an exchange, without name resolution.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Algorithms offered to servers, best first: the cheapest for both sides, then the one that every
/// server has.
const ALGORITHMS: &[AeadAlgorithm] = &[
    AeadAlgorithm::Aes128GcmSiv,
    AeadAlgorithm::AesSivCmac256,
    AeadAlgorithm::AesSivCmac512,
];

/// Result for the engine.
#[derive(Debug)]
enum Answer {
    /// The keys, or the reason why there are none.
    Exchanged(QueryId, Result<Box<KeyExchanged>, KeyExchangeError>),
    /// Keys accepted under clock leniency failed re-verification, with the reason.
    Revoked(QueryId, KeyExchangeError),
}

/// Limits for the error of the clock, in seconds, as long as it is not synchronised.
#[derive(Clone, Copy, Debug, Default)]
struct Leniency {
    forward: u64,
    backward: u64,
    /// The last time that an earlier run knew to be past.
    floor: u64,
    /// Whether nothing but the floor is known, because the clock showed an impossible time.
    floor_alone: bool,
}

/// Running and queued exchanges, and what they left.
#[derive(Debug)]
pub(crate) struct KeClient {
    /// How key-exchange servers are found and verified, and the path to them, by the name of the
    /// source.
    settings: BTreeMap<String, (KeyExchange, NetworkPath)>,
    leniency: Leniency,
    directory: Option<PathBuf>,
    tasks: TaskPool<(KeRequest, Outcome)>,
    answers: VecDeque<Answer>,
    /// Chains that were accepted under clock leniency.
    provisional: Vec<(KeRequest, Presented)>,
    /// Their verification, now that the time is known.
    verification: Option<Background<Verdicts>>,
    /// What it is about, without the queries that have new keys by now.
    in_verification: Vec<KeRequest>,
    /// Number of sessions of an earlier run that were loaded, if there were as many, by the name of the
    /// source. A pool has one for each member.
    loaded: BTreeMap<String, usize>,
    /// Number of sessions that were stored for the next run, by the name of the source.
    stored: BTreeMap<String, usize>,
    /// Sessions of an earlier run, until the time is known.
    restored: Vec<(KeRequest, Validity)>,
    /// Sources whose certificates have expired at the saved time.
    floor_doubted_by: BTreeSet<String>,
    /// Validity of the certificates that were presented last, by the name of the source.
    validities: BTreeMap<String, Validity>,
    /// Group of the last key exchange, by the name of the source.
    groups: BTreeMap<String, &'static str>,
}

/// Result of the verification of chains that were accepted under clock leniency.
type Verdicts = Vec<(QueryId, Result<(), KeyExchangeError>)>;

/// Result of a thread.
#[derive(Debug)]
enum Outcome {
    /// A session of an earlier run, if it is usable.
    Stored(Option<Box<(Validity, KeyExchanged)>>),
    /// Report of the exchange with the server.
    Exchanged(Box<Report>),
}

impl Default for KeClient {
    fn default() -> Self {
        Self {
            settings: BTreeMap::new(),
            leniency: Leniency::default(),
            directory: None,
            tasks: TaskPool::new(LIMITS),
            answers: VecDeque::new(),
            provisional: Vec::new(),
            verification: None,
            in_verification: Vec::new(),
            loaded: BTreeMap::new(),
            stored: BTreeMap::new(),
            restored: Vec::new(),
            floor_doubted_by: BTreeSet::new(),
            validities: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }
}

impl KeClient {
    /// Starts nothing yet. A saved time that the clock disputes is not used: if it is wrong, no
    /// certificate would be valid after it, and no source could show that.
    pub(crate) fn new(config: &Config, prior: TimePrior) -> Self {
        let limit = config.synchronization.startup_step_panic_threshold;
        let floor = prior.floor;
        let floor = floor.filter(|floor| !is_disputed(prior.clock, *floor, limit));
        let mut exchanges = Self {
            leniency: Leniency {
                floor: floor.map_or(0, unix),
                floor_alone: floor.is_some() && prior.clock < SystemTime::RELEASED,
                ..Leniency::default()
            },
            directory: config.state.directory.clone(),
            ..Self::default()
        };
        exchanges.configure(config);
        exchanges
    }

    /// Applies the authorities and the leniency of a new configuration, from the next exchange on.
    pub(crate) fn configure(&mut self, config: &Config) {
        let settings = |source: &SourceConfig| {
            let settings = source.kind.key_exchange()?.clone();
            let path = source.kind.ntp()?.path;
            Some((source.name()?, (settings, path)))
        };
        let sources = || config.sources.iter();
        self.settings = sources().filter_map(settings).collect();
        let StepThreshold { forward, backward } = config.synchronization.certificate_time_leniency;
        self.leniency.forward = seconds(forward);
        self.leniency.backward = seconds(backward);
        let is_source = |name: &String| {
            let mut names = sources().filter_map(|source| source.kind.ntp());
            names.any(|ntp| ntp.name() == *name)
        };
        self.validities.retain(|name, _| is_source(name));
        self.groups.retain(|name, _| is_source(name));
        self.floor_doubted_by.retain(is_source);
    }

    /// Expiry of the certificates that the source presented last: seconds since 1970.
    pub(crate) fn expiry(&self, name: &str) -> Option<u64> {
        self.validities.get(name).map(|validity| validity.not_after)
    }

    /// Group of the last key exchange of the source.
    pub(crate) fn group(&self, name: &str) -> Option<&'static str> {
        self.groups.get(name).copied()
    }

    /// Queues an exchange, or loads the session of an earlier run for the first one. `now` and `synchronized` decide
    /// how certificates are verified.
    fn request(&mut self, request: KeRequest, now: SystemTime, synchronized: bool) {
        // Sessions are stored at shutdown only: one for a server, several for a pool.
        let most = request.denied.as_ref().map_or(1, |_| MAX_POOL_SIZE);
        let number = self.loaded.get(&request.name).copied().unwrap_or_default();
        match self.file(&request.name, number) {
            Some(file) if number < most => {
                self.loaded.insert(request.name.clone(), number + 1);
                self.load_session(request, file);
            }
            _ => self.exchange(request, now, synchronized),
        }
    }

    /// Queues loading a session of an earlier run, on a thread that may change files.
    fn load_session(&mut self, request: KeRequest, file: StateFile) {
        let task = Task {
            query: request.query,
            subject: file.path().display().to_string(),
            name: "session reader",
            profile: Profile::Files,
            work: Box::new(move || {
                (
                    request,
                    Outcome::Stored(stored_session::take(&file).map(Box::new)),
                )
            }),
        };
        self.tasks.submit(task, monotonic());
    }

    /// Queues an exchange with the server.
    fn exchange(&mut self, request: KeRequest, now: SystemTime, synchronized: bool) {
        let now = unix(now);
        let time = if synchronized {
            TimeBounds::exact(now)
        } else {
            self.time_bounds(&request.name, now)
        };
        let authorities = self.authorities(&request.name);
        let settings = self.settings.get(&request.name);
        let srv = settings.and_then(|(keys, _)| keys.srv());
        let path = settings.map(|(_, path)| *path).unwrap_or_default();
        let task = Task {
            query: request.query,
            subject: format!("{} {}", request.host, request.port),
            name: "key exchange",
            profile: Profile::KeyExchange,
            work: Box::new(move || {
                let report = exchange(&Request {
                    host: &request.host,
                    port: request.port,
                    authorities: authorities.as_ref(),
                    path,
                    srv,
                    denied: request.denied.as_deref().unwrap_or_default(),
                    version: request.version,
                    algorithms: ALGORITHMS,
                    time,
                    limit: EXCHANGE_TIMEOUT,
                    // The pool limits its time; this thread may start no other.
                    resolve: |host, _| resolve(host),
                });
                (request, Outcome::Exchanged(Box::new(report)))
            }),
        };
        self.tasks.submit(task, monotonic());
    }

    /// Bounds of the true time while the clock is not synchronised.
    fn time_bounds(&self, name: &str, now: u64) -> TimeBounds {
        let Leniency {
            forward,
            backward,
            floor,
            ..
        } = self.leniency;
        if self.floor_doubted_by.contains(name) {
            let released = unix(SystemTime::RELEASED);
            return TimeBounds::within(now, forward, now.saturating_sub(released), released);
        }
        TimeBounds::within(now, forward, backward, floor)
    }

    fn authorities(&self, name: &str) -> TrustedAuthorities {
        let settings = self.settings.get(name).map(|(keys, _)| keys);
        let paths = settings.map_or(&[][..], |it| &it.certificate_authorities);
        TrustedAuthorities {
            system: settings.is_none_or(|it| it.system_authorities.value),
            paths: paths.iter().map(|path| path.value.clone()).collect(),
        }
    }

    /// Returns a result and starts queued tasks. Never blocks.
    fn answer(&mut self, set: &PollSet, now: SystemTime, synchronized: bool) -> Option<Answer> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(answer);
            }
            let completed = self.tasks.next_completed(set, monotonic())?;
            let result = match completed.result {
                Ok((request, Outcome::Stored(Some(stored)))) => {
                    let (validity, session) = *stored;
                    self.validities.insert(request.name.clone(), validity);
                    self.restored.push((request.clone(), validity));
                    log::emit(&Event::NtsSessionRestored {
                        source: request.name,
                    });
                    Ok(Box::new(session))
                }
                Ok((request, Outcome::Stored(None))) => {
                    self.loaded.insert(request.name.clone(), MAX_POOL_SIZE);
                    self.exchange(request, now, synchronized);
                    continue;
                }
                Ok((request, Outcome::Exchanged(report))) => self.accept_report(request, *report),
                Err(error) => Err(task_failure(&error)),
            };
            return Some(Answer::Exchanged(completed.query, result));
        }
    }

    fn accept_report(
        &mut self,
        request: KeRequest,
        report: Report,
    ) -> Result<Box<KeyExchanged>, KeyExchangeError> {
        let expired = matches!(report.outcome, Err(ExchangeFailure::Expired { .. }));
        if expired && self.leniency.floor_alone {
            self.floor_doubted_by.insert(request.name.clone());
        }
        let result = report.outcome?;
        let request_is_of_pool = request.denied.is_some();
        let no_address = || local_failure("the server has no address");
        let from = report.peer.ok_or_else(no_address)?.into();
        // New keys replace those of a single server. The keys of a pool are those of several exchanges,
        // and each of them must be verified.
        if request.denied.is_none() {
            self.provisional
                .retain(|(other, _)| other.query != request.query);
            self.in_verification
                .retain(|other| other.query != request.query);
            self.restored
                .retain(|(other, _)| other.query != request.query);
        }
        if let Some(validity) = report.presented.as_ref().and_then(validity) {
            self.validities.insert(request.name.clone(), validity);
        }
        if let Some(group) = report.group {
            self.groups.insert(request.name.clone(), group);
        }
        if let Some(presented) = report.presented
            && let Some(moment) = presented.assumed_time()
        {
            log::emit(&Event::CertificateAccepted {
                source: request.name.clone(),
                assumed_time: ntp_nts_ke::certificate::Date(moment).to_string(),
            });
            self.provisional.push((request, presented));
        }
        let member = report.member.filter(|_| request_is_of_pool);
        Ok(Box::new(KeyExchanged {
            from,
            member,
            result,
        }))
    }

    /// Verifies again what was accepted under clock leniency, now that the time is known: on a
    /// thread, because it reads the files of the authorities.
    fn reverify(&mut self, now: SystemTime) {
        for (request, validity) in core::mem::take(&mut self.restored) {
            if let Some(reason) = validity.failure_at(unix(now)) {
                let message = "the certificate of the stored session is not valid now".to_owned();
                let error = KeyExchangeError { reason, message };
                self.answers
                    .push_back(Answer::Revoked(request.query, error));
            }
        }
        if self.provisional.is_empty() || self.verification.is_some() {
            return;
        }
        let chains: Vec<_> = core::mem::take(&mut self.provisional)
            .into_iter()
            .map(|(request, presented)| (self.authorities(&request.name), request, presented))
            .collect();
        let requests = chains.iter().map(|(_, request, _)| request.clone());
        self.in_verification = requests.collect();
        let now = unix(now);
        let verify_all = move || {
            let verdict = |(trusted, request, presented): (TrustedAuthorities, KeRequest, _)| {
                (request.query, verify(trusted.as_ref(), &presented, now))
            };
            chains.into_iter().map(verdict).collect()
        };
        match Background::start("verification", Profile::KeyExchange, verify_all) {
            Ok(work) => self.verification = Some(work),
            Err(error) => self.accept_verdicts(&Vec::new(), &local_failure(error)),
        }
    }

    /// Collects the result of [`reverify`](Self::reverify).
    fn take_verdicts(&mut self, set: &PollSet) {
        let ended = |work: &mut Background<Verdicts>| work.has_ended(set);
        if let Some(work) = self.verification.take_if(ended) {
            let verdicts = work.finish().unwrap_or_default();
            let missing = local_failure("the verification failed unexpectedly");
            self.accept_verdicts(&verdicts, &missing);
        }
    }

    /// Applies the verdicts. Keys without one are revoked, for the reason `missing`.
    fn accept_verdicts(&mut self, verdicts: &Verdicts, missing: &KeyExchangeError) {
        for request in core::mem::take(&mut self.in_verification) {
            let verdict = verdicts.iter().find(|(query, _)| *query == request.query);
            let verdict = verdict.map(|(_, verdict)| verdict.clone());
            match verdict.unwrap_or_else(|| Err(missing.clone())) {
                Ok(()) => log::emit(&Event::CertificateVerified {
                    source: request.name,
                }),
                Err(problem) => self
                    .answers
                    .push_back(Answer::Revoked(request.query, problem)),
            }
        }
    }

    /// Stores the rest of a session for the next run.
    fn store_session(&mut self, name: &str, session: &KeyExchanged) {
        // What was accepted at a time that nobody has confirmed must not outlive this run.
        let provisional = self.provisional.iter().map(|(request, _)| request);
        let mut unverified = provisional.chain(&self.in_verification);
        if unverified.any(|request| request.name == name) {
            return;
        }
        let number = self.stored.get(name).copied().unwrap_or_default();
        if let (Some(file), Some(validity)) = (self.file(name, number), self.validities.get(name)) {
            stored_session::store(&file, *validity, session);
            self.stored.insert(name.to_owned(), number + 1);
        }
    }

    /// The file of a session of a source, the first of which has number 0. Names come from the
    /// configuration file; bytes that a file name cannot hold are written in hexadecimal.
    fn file(&self, name: &str, number: usize) -> Option<StateFile> {
        let mut file = String::from("nts-");
        for octet in name.bytes() {
            if octet.is_ascii_alphanumeric() || b".-".contains(&octet) {
                file.push(octet.into());
            } else {
                file.push_str(&format!("_{octet:02x}"));
            }
        }
        if number > 0 {
            // No hexadecimal digit, so no other name yields it.
            file.push_str(&format!("_n{number}"));
        }
        let path = self.directory.as_ref()?.join(file);
        let loss = "keys will be exchanged anew after a restart (see [state] directory)";
        Some(StateFile::new(path, 0o600, MAX_SESSION_SIZE, loss))
    }
}

impl Pollable for KeClient {
    fn register(&mut self, set: &mut PollSet) {
        self.tasks.register(set);
        if let Some(verification) = &mut self.verification {
            verification.register(set);
        }
    }

    fn deadline(&self) -> Option<Monotonic> {
        let now = monotonic();
        let answered = (!self.answers.is_empty()).then_some(now);
        answered.or_else(|| self.tasks.deadline(now))
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let (now, synchronized) = context.driver.time_known();
        self.take_verdicts(context.set);
        if synchronized {
            self.reverify(now);
        }
        while let Some(answer) = self.answer(context.set, now, synchronized) {
            match answer {
                Answer::Exchanged(query, result) => {
                    let result = result.as_deref();
                    context
                        .driver
                        .handle(Input::KeyExchanged { query, result })?;
                }
                Answer::Revoked(query, error) => {
                    let error = &error;
                    context.driver.handle(Input::KeysRevoked { query, error })?;
                }
            }
        }
        Ok(())
    }

    fn execute(&mut self, driver: &mut Driver) {
        while let Some(request) = driver.requests.keys.pop_front() {
            match request {
                KeyRequest::Exchange(request) => {
                    let (now, synchronized) = driver.time_known();
                    self.request(request, now, synchronized);
                }
                KeyRequest::StoreSession { name, session } => self.store_session(&name, &session),
                KeyRequest::SetTimeFloor(past) => self.leniency.floor = unix(past),
            }
        }
    }
}

/// The authorities that a source trusts.
struct TrustedAuthorities {
    system: bool,
    paths: Vec<PathBuf>,
}

impl TrustedAuthorities {
    fn as_ref(&self) -> Authorities<'_> {
        Authorities {
            system: self.system,
            paths: &self.paths,
        }
    }
}

/// Verifies a chain at a time that is known.
fn verify(
    authorities: Authorities<'_>,
    presented: &Presented,
    now: u64,
) -> Result<(), KeyExchangeError> {
    let trust = Trust::load(authorities).map_err(ExchangeFailure::Trust)?;
    Ok(presented.reverify(&trust, now)?)
}

/// The error of a task without a result. The exchange has a time limit of its own, the resolver has
/// none: a task that takes too long waits for the resolver.
fn task_failure(error: &TaskError) -> KeyExchangeError {
    let error_of_resolver = matches!(error, TaskError::TimedOut(_));
    let mut failure = local_failure(error);
    if error_of_resolver {
        failure.reason = KeyExchangeFailure::NameResolution;
    }
    failure
}

/// An error of this machine, not of the server.
fn local_failure(error: impl fmt::Display) -> KeyExchangeError {
    KeyExchangeError {
        reason: KeyExchangeFailure::Local,
        message: error.to_string(),
    }
}

/// Period in which all certificates of the chain are valid.
fn validity(presented: &Presented) -> Option<Validity> {
    let facts = presented.facts();
    Some(Validity {
        not_before: facts.iter().map(|facts| facts.not_before).max()?,
        not_after: facts.iter().map(|facts| facts.not_after).min()?,
    })
}

fn unix(time: SystemTime) -> u64 {
    u64::try_from(time.as_nanos() / 1_000_000_000).unwrap_or(0)
}

/// Converts a limit to seconds; no limit is `u64::MAX`.
fn seconds(limit: Option<NtpDuration>) -> u64 {
    limit.map_or(u64::MAX, |limit| limit.to_std().as_secs())
}

/// Returns what provides the cryptography of the key exchange.
pub(crate) fn provider() -> Option<ProviderStatus> {
    Some(ProviderStatus {
        name: tls::NAME.to_owned(),
        fips: tls::is_fips(),
    })
}
