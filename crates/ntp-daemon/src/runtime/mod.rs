//! The shell around the engine: it reads clocks, moves datagrams, and does what the engine says.
//!
//! One thread, one loop: wait until something is ready or due, tell the engine, do everything that it asks
//! for, repeat. There is no decision about time in here.
//!
//! The loop stands on `poll(2)`, not on an async runtime, for three reasons: its sockets live for one exchange each, so
//! nothing is gained by registering them; a wake-up costs two system calls; and clock-and-network simulators
//! that replace libc functions can run the real binary.
//!
//! What may block is done elsewhere: names and files by
//! short-lived threads (`resolve`, `persist`). A facility that is missing is named once and done without.

mod exchanges;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ntp_nts_ke::server::StartError;
use ntp_os_clock::{Clock, ClockError, monotonic, monotonic_unsuspended};
use ntp_proto::engine::{
    Command, CommandId, Datagram, Done, Engine, EngineConfig, Event, ExchangeId, Halt, Host, Input,
    Now, Output, Refusal, ResolveId, SendError, Severity, Snapshot,
};
use ntp_record::{Line, Told};
use ntp_time::{Adjustment, Monotonic, NtpDuration, Stamp, SystemTime};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{AddressMonitor, Facility, Shortcoming, SocketOptions, StampKeeper, local_addresses};
use tracing::{debug, error, info, warn};

use crate::control::{Desk, Door};
use crate::leap_list::{LeapList, News};
use crate::nts::{self, Answer, CookieKeys, Giving, Wish};
use crate::observation;
use crate::observe::Observer;
use crate::persist::Store;
use crate::record::Recorder;
use crate::resolve::Resolver;
use crate::serve::{Bound, Listener, ServeError, Servers, Totals};
use crate::watchdog::Watchdog;
use exchanges::{Exchanges, Happening};

/// Readings of the two clocks further apart than this are taken again: the process was interrupted in between.
const READING_SPREAD: NtpDuration = NtpDuration::from_micros(20);
/// How often they are taken again at most.
const READING_ATTEMPTS: usize = 5;

/// A gap between the clocks that run and stand still in suspend that is a suspend and not a reading's spread.
const SUSPEND: NtpDuration = NtpDuration::from_millis(100);

/// How long the daemon waits before the first request. The kernel switches receive stamping on in the background when
/// the first socket asks for it, so the reply to a request sent at once might go unstamped, and on the
/// first replies a step rests.
const SETTLING: NtpDuration = NtpDuration::from_millis(125);

/// Commands are answered before the next one is given, so that one number does for all.
const COMMAND: CommandId = CommandId(0);

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// The time given to [`Runtime::run`] is over; it may be called again.
    Paused,
    /// The engine must not go on.
    Halted(Halt),
}

/// What stopped the shell itself.
#[derive(Debug)]
pub enum Failure {
    /// The clock cannot be read or controlled.
    Clock(ClockError),
    /// The operating system refused something without which there is no daemon.
    System(&'static str, io::Error),
    /// Time can't be served any more.
    Serve(ServeError),
    /// Keys can't be given out.
    GiveKeys(StartError),
    /// The key exchange thread has ended.
    KeyExchange(io::Error),
    /// The cookie keys can't be had; the whole reason.
    CookieKeys(String),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Clock(error) => write!(f, "{error}"),
            Self::System(call, error) => write!(f, "{call} failed: {error}"),
            Self::Serve(error) => write!(f, "{error}"),
            Self::GiveKeys(error) => write!(f, "{error}"),
            Self::KeyExchange(error) => write!(f, "key exchange has stopped: {error}"),
            Self::CookieKeys(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Failure {}

/// The engine with its clock, its sockets and its files.
#[derive(Debug)]
pub struct Runtime {
    engine: Engine,
    clock: Clock,
    exchanges: Exchanges,
    resolver: Resolver,
    store: Store,
    leap_list: LeapList,
    observer: Option<Observer>,
    recorder: Option<Recorder>,
    servers: Option<Servers>,
    /// What protects our clients' cookies, if any of them uses NTS.
    cookie_keys: Option<CookieKeys>,
    giving: Option<Giving>,
    getting: nts::Exchanges,
    addresses: Option<AddressMonitor>,
    /// Keeps the kernel's packet stamping switched on between exchanges; never read.
    _stamp_keeper: Option<StampKeeper>,
    poll_set: PollSet,
    missing: Vec<Shortcoming>,
    told_missing: Vec<Facility>,
    /// How far the suspend-proof clock was ahead of the other at the last look.
    suspended: NtpDuration,
    happenings: Vec<Happening>,
    echoes: VecDeque<Echo>,
    halted: Option<Halt>,
    /// Whether the engine has been told anything.
    begun: bool,
    /// What became of the command that the engine was given last.
    completed: Option<Result<Done, Refusal>>,
    control: Option<(Option<Door>, Desk)>,
    started: Monotonic,
    watchdog: Option<Watchdog>,
}

/// What a [`Runtime`] is made of besides the engine's configuration.
#[derive(Debug)]
pub struct Parts {
    /// The clock to discipline.
    pub clock: Clock,
    /// How client sockets are opened.
    pub sockets: SocketOptions,
    /// Where state is kept.
    pub store: Store,
    /// Where leap seconds are listed.
    pub leap_list: LeapList,
    /// Who may look on.
    pub observer: Option<Observer>,
    /// Where everything that the engine is told is written down.
    pub recorder: Option<Recorder>,
    /// Seed of all randomness.
    pub seed: [u8; 32],
}

impl Runtime {
    /// Puts the parts together. Nothing is sent before [`run`](Self::run).
    pub fn new(config: EngineConfig, parts: Parts) -> Self {
        let Parts {
            clock,
            sockets,
            store,
            leap_list,
            observer,
            mut recorder,
            seed,
        } = parts;
        let began = now(&clock);
        if let Some(recorder) = &mut recorder {
            recorder.note(Line::start(
                config.clone(),
                began,
                env!("CARGO_PKG_VERSION"),
            ));
        }
        let keeper = optional(StampKeeper::open(&sockets));
        let addresses = optional(AddressMonitor::open());
        let mut runtime = Self {
            engine: Engine::new(config, began, seed),
            clock,
            exchanges: Exchanges::new(sockets),
            resolver: Resolver::default(),
            store,
            leap_list,
            observer,
            recorder,
            servers: None,
            cookie_keys: None,
            giving: None,
            getting: nts::Exchanges::default(),
            addresses,
            _stamp_keeper: keeper,
            poll_set: PollSet::new(),
            missing: Vec::new(),
            told_missing: Vec::new(),
            suspended: monotonic() - monotonic_unsuspended(),
            happenings: Vec::new(),
            echoes: VecDeque::new(),
            halted: None,
            begun: false,
            completed: None,
            control: None,
            started: monotonic(),
            watchdog: Watchdog::from_environment(),
        };
        // Numbers are kept from here on.
        if runtime.recorder.is_some() {
            runtime.engine.drawn();
        }
        runtime
    }

    /// Begins to write the record, if there is to be one, on a thread of its own.
    pub fn start_recording(&mut self) {
        if let Some(recorder) = &mut self.recorder
            && let Err(problem) = recorder.start()
        {
            warn!(
                "no record at {}: {problem} (see [observability] record-path)",
                recorder.path().display()
            );
            self.recorder = None;
        }
    }

    /// Serves time from now on, on threads of their own, through `bound`. `seed` gives a fresh secret for each call.
    ///
    /// # Errors
    /// If time can't be served.
    pub fn serve(
        &mut self,
        bound: Bound,
        mut seed: impl FnMut() -> [u8; 32],
    ) -> Result<(), ServeError> {
        self.missing.extend_from_slice(bound.missing());
        self.tell_missing();
        let claim = self.engine.claim(now(&self.clock));
        let mut servers = Servers::none(&self.clock.translator())?;
        if let Some(keys) = &self.cookie_keys {
            servers.publish_keyset(&keys.current());
        }
        servers.add(bound, claim, &mut seed)?;
        for address in servers.addresses() {
            info!("serving time at {address}");
        }
        self.servers = Some(servers);
        Ok(())
    }

    /// Protects clients' cookies with `keys`, and gives out keys through `bound`. To be called before anybody is [served](Self::serve).
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn give_keys(
        &mut self,
        keys: CookieKeys,
        bound: ntp_nts_ke::server::Bound,
        seed: [u8; 32],
    ) -> Result<(), StartError> {
        if !bound.is_empty() {
            self.giving = Some(Giving::start(bound, keys.shared(), seed)?);
        }
        self.cookie_keys = Some(keys);
        Ok(())
    }

    /// Gets keys for sources with NTS in this way; to be called before the first [`run`](Self::run).
    pub(crate) fn get_keys(&mut self, getting: nts::Exchanges) {
        self.getting = getting;
    }

    /// Reads the certificates again with which keys are given out.
    pub fn reload_certificates(&mut self) {
        if let Some(giving) = &mut self.giving {
            giving.reload();
        }
    }

    /// Makes clients' cookies with a new key from now on. Returns whether it could: there may be no NTS, and a fleet's keys follow from its secret.
    pub fn rekey(&mut self) -> bool {
        let now = now(&self.clock);
        let done = (self.cookie_keys.as_mut()).is_some_and(|keys| keys.rekey(now));
        self.hand_out_cookie_keys();
        done
    }

    /// Serves at these addresses from now on and at no others, as a new configuration wants it; see [`Servers::follow`]. What goes wrong is
    /// returned, and does not keep the other addresses from being served.
    pub fn serve_at(
        &mut self,
        listeners: Vec<Listener>,
        seed: &mut dyn FnMut() -> [u8; 32],
    ) -> Vec<ServeError> {
        let claim = self.engine.claim(now(&self.clock));
        let servers = match &mut self.servers {
            Some(servers) => servers,
            None if listeners.is_empty() => return Vec::new(),
            none => match Servers::none(&self.clock.translator()) {
                Ok(servers) => none.insert(servers),
                Err(problem) => return vec![problem],
            },
        };
        if let Some(keys) = &self.cookie_keys {
            servers.publish_keyset(&keys.current());
        }
        let (missing, problems) = servers.follow(listeners, claim, seed);
        self.missing.extend(missing);
        self.tell_missing();
        problems
    }

    /// Runs until `until`, until the engine halts, or until a signal arrives.
    ///
    /// # Errors
    /// If the clock can't be controlled any more, or `poll(2)` fails.
    pub fn run(&mut self, until: Option<Monotonic>) -> Result<Ending, Failure> {
        self.settle(until)?;
        if !core::mem::replace(&mut self.begun, true) {
            self.look_at_addresses();
            self.drain()?;
        }
        self.handle(Input::Tick)?;
        loop {
            if let Some(halt) = self.halted {
                return Ok(Ending::Halted(halt));
            }
            if until.is_some_and(|until| monotonic() >= until) || ntp_udp::signals::pending() {
                return Ok(Ending::Paused);
            }
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.attend();
            }
            self.wait(until)?;
            self.look_for_suspend()?;
            self.attend_exchanges()?;
            self.attend_others()?;
            if self
                .engine
                .next_wakeup()
                .is_some_and(|(at, _)| at <= monotonic())
            {
                self.handle(Input::Tick)?;
            }
            let now = now(&self.clock);
            let claim = self.engine.claim(now);
            if let Some(servers) = &self.servers {
                servers.publish(claim);
            }
            if let Some(keys) = &mut self.cookie_keys
                && keys.attend(now, claim.is_synchronized(now.system))
            {
                self.hand_out_cookie_keys();
            }
        }
    }

    /// Ends in order: no slew left in the clock, state saved, no socket file left.
    ///
    /// # Errors
    /// If the clock can't be controlled.
    pub fn shut_down(&mut self) -> Result<(), Failure> {
        // The last thing saved must not be left out because an earlier write is still going on.
        self.store.finish();
        // Nobody is told the time of a clock that is kept by no one.
        let served = self.servers.as_mut().map_or(Ok(()), Servers::stop);
        if let Some(giving) = self.giving.take() {
            giving.stop();
        }
        let result = self.handle(Input::Shutdown);
        self.store.finish();
        if let Some(keys) = &mut self.cookie_keys {
            keys.finish();
        }
        self.observer = None;
        self.control = None;
        result.and(served.map_err(Failure::Serve))
    }

    /// What the clocks say now.
    pub(crate) fn now(&self) -> Now {
        now(&self.clock)
    }

    /// The engine's state now.
    pub fn snapshot(&self) -> Snapshot {
        self.engine.snapshot(now(&self.clock))
    }

    /// Follows what operators want, who come through `door` if there is one, and by signal.
    pub fn obey(&mut self, door: Option<Door>, desk: Desk) {
        self.control = Some((door, desk));
    }

    /// Gives the engine an operator's command, and says what became of it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn command(&mut self, command: &Command) -> Result<Result<Done, Refusal>, Failure> {
        self.operate(&Input::Command(COMMAND, command))
    }

    /// Gives the engine a new configuration, and says what became of it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn reconfigure(
        &mut self,
        config: &EngineConfig,
    ) -> Result<Result<Done, Refusal>, Failure> {
        self.operate(&Input::Reconfigure(COMMAND, config))
    }

    /// Reads the configuration again, as if an operator had asked for it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub fn reload(&mut self) -> Result<(), Failure> {
        let Some((door, mut desk)) = self.control.take() else {
            return Ok(());
        };
        let result = desk.hang_up(self);
        self.control = Some((door, desk));
        result
    }

    fn operate(&mut self, input: &Input<'_>) -> Result<Result<Done, Refusal>, Failure> {
        self.completed = None;
        self.handle(*input)?;
        // A halted engine does nothing more; the loop ends the daemon.
        let nothing = Ok(Done::Sources(Vec::new()));
        Ok(self.completed.take().unwrap_or(nothing))
    }

    /// The configured name of the source that an operator calls `name`.
    pub(crate) fn source_called(&self, name: &str) -> Result<String, Refusal> {
        self.engine.source_called(name).map(ToOwned::to_owned)
    }

    /// Lets the engine notice that the clock was set since the last wake-up.
    pub(crate) fn look_at_clock(&mut self) -> Result<(), Failure> {
        self.handle(Input::Tick)
    }

    /// What became of the datagrams at each address.
    pub(crate) fn served(&self) -> Vec<(SocketAddr, Totals)> {
        self.servers
            .as_ref()
            .map(Servers::totals)
            .unwrap_or_default()
    }

    /// When the daemon began.
    pub(crate) fn started(&self) -> Monotonic {
        self.started
    }

    /// Saves what has been learnt, now. Returns where, or why not.
    pub(crate) fn dump(&mut self) -> Result<Result<PathBuf, String>, Failure> {
        Ok(match (self.engine.prior(), self.store.path()) {
            (_, None) => Err("nothing is kept over a restart ([state] enabled = false)".into()),
            (None, _) => {
                Err("nothing has been learnt yet: the clock has no majority of sources".into())
            }
            (Some(prior), Some(path)) => {
                self.store.save(prior);
                Ok(path)
            }
        })
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes a worker fail at each address.
    #[cfg(test)]
    pub(crate) fn sabotage(&self) {
        self.servers.iter().for_each(Servers::sabotage);
    }

    // ---- waiting

    /// Waits for what is left of [`SETTLING`], or a signal.
    fn settle(&mut self, until: Option<Monotonic>) -> Result<(), Failure> {
        let settled = self.started + SETTLING;
        let wait = until.map_or(settled, |until| until.min(settled)) - monotonic();
        if wait > NtpDuration::ZERO {
            self.poll_set.clear();
            self.poll_set
                .wait(Some(wait.to_std()))
                .map_err(|error| Failure::System("poll", error))?;
        }
        Ok(())
    }

    fn wait(&mut self, until: Option<Monotonic>) -> Result<(), Failure> {
        self.poll_set.clear();
        self.exchanges.watch(&mut self.poll_set);
        self.resolver.watch(&mut self.poll_set);
        if let Some(addresses) = &self.addresses {
            self.poll_set.push(addresses, Interest::Readable);
        }
        if let Some(observer) = &mut self.observer {
            observer.watch(&mut self.poll_set);
        }
        if let Some(servers) = &mut self.servers {
            servers.watch(&mut self.poll_set);
        }
        if let Some(giving) = &mut self.giving {
            giving.watch(&mut self.poll_set);
        }
        self.getting.watch(&mut self.poll_set);
        let mut calls_wait = false;
        if let Some((Some(door), _)) = &mut self.control {
            door.watch(&mut self.poll_set);
            calls_wait = door.is_busy();
        }
        let due = self.engine.next_wakeup().map(|(at, _)| at);
        let due = due
            .into_iter()
            .chain(until)
            .chain(self.observer.as_ref().and_then(Observer::deadline))
            .chain(self.cookie_keys.as_ref().and_then(CookieKeys::due))
            .chain(self.watchdog.as_ref().map(Watchdog::due))
            .chain(
                self.control
                    .as_ref()
                    .and_then(|(door, _)| door.as_ref()?.deadline()),
            )
            .chain(calls_wait.then(monotonic))
            .min();
        let at_once = self.getting.has_answers().then_some(Duration::ZERO);
        let timeout = at_once.or_else(|| due.map(|due| (due - monotonic()).to_std()));
        self.poll_set
            .wait(timeout)
            .map_err(|error| Failure::System("poll", error))?;
        Ok(())
    }

    fn attend_exchanges(&mut self) -> Result<(), Failure> {
        // Sockets close while their neighbours are attended, so their names are taken first.
        let ready: Vec<_> = (0..self.exchanges.len())
            .filter_map(|index| self.exchanges.ready(&self.poll_set, index))
            .collect();
        for id in ready {
            let mut happenings = core::mem::take(&mut self.happenings);
            self.exchanges
                .take(&self.clock, &self.poll_set, id, &mut happenings);
            for happening in happenings.drain(..) {
                self.tell(&happening)?;
            }
            self.happenings = happenings;
        }
        Ok(())
    }

    fn tell(&mut self, happening: &Happening) -> Result<(), Failure> {
        match happening {
            Happening::Stamped(exchange, stamp) => self.handle(Input::Transmitted {
                exchange: *exchange,
                stamp: *stamp,
            }),
            Happening::Failed(exchange, error) => self.handle(Input::SendFailed {
                exchange: *exchange,
                error: *error,
            }),
            Happening::Received {
                id,
                length,
                truncated,
                received,
            } => {
                let payload = self.exchanges.payload(*length);
                let datagram = Datagram {
                    exchange: *id,
                    payload,
                    truncated: *truncated,
                    received: *received,
                };
                let input = Input::Datagram(datagram);
                feed(
                    &mut self.engine,
                    &mut self.recorder,
                    &self.clock,
                    input,
                    None,
                );
                self.drain()
            }
        }
    }

    fn attend_others(&mut self) -> Result<(), Failure> {
        while let Some((query, result)) = self.resolver.answer(&self.poll_set) {
            let result = result.as_ref().map(Vec::as_slice).map_err(String::as_str);
            self.handle(Input::Resolved { query, result })?;
        }
        let (now, synchronized) = self.time_known();
        if synchronized {
            self.getting.settle(now);
        }
        while let Some(answer) = self.getting.answer(&self.poll_set, now, synchronized) {
            match answer {
                Answer::Exchanged(query, result) => {
                    let result = result.as_deref().map_err(String::as_str);
                    self.handle(Input::KeyExchanged { query, result })?;
                }
                Answer::Revoked(query, reason) => {
                    let reason = reason.as_str();
                    self.handle(Input::KeysRevoked { query, reason })?;
                }
            }
        }
        if self.addresses.as_mut().is_some_and(AddressMonitor::changed) {
            self.look_at_addresses();
            self.drain()?;
        }
        match self.leap_list.attend(monotonic()) {
            Some(News::List(table)) => self.handle(Input::LeapList(Some(&table)))?,
            Some(News::None(why)) => {
                if let Some(why) = why {
                    warn!("no list of leap seconds: {why}; only the sources tell of them");
                }
                self.handle(Input::LeapList(None))?;
            }
            None => {}
        }
        if let Some(servers) = &mut self.servers {
            servers.attend(&self.poll_set).map_err(Failure::Serve)?;
        }
        if let Some(giving) = &mut self.giving {
            giving
                .attend(&self.poll_set)
                .map_err(Failure::KeyExchange)?;
        }
        if self
            .observer
            .as_ref()
            .is_some_and(|observer| observer.has_visitor(&self.poll_set))
        {
            // The clock may have been set since the last wake-up; nobody must be told figures from before.
            self.handle(Input::Tick)?;
        }
        if let Some(mut observer) = self.observer.take() {
            observer.attend(&self.poll_set, || {
                observation::frame(&self.snapshot(), &self.served(), &self.clock, self.started)
            });
            self.observer = Some(observer);
        }
        self.attend_control()
    }

    fn attend_control(&mut self) -> Result<(), Failure> {
        let Some((mut door, mut desk)) = self.control.take() else {
            return Ok(());
        };
        if let Some(door) = &mut door {
            for visit in door.attend(&self.poll_set) {
                let result = desk.serve(self, &visit, door.permitted())?;
                door.answer(&visit, result);
            }
        }
        self.control = Some((door, desk));
        Ok(())
    }

    /// The time, and whether it is true.
    fn time_known(&self) -> (SystemTime, bool) {
        let now = now(&self.clock);
        let synchronized = self.engine.claim(now).is_synchronized(now.system);
        (now.system, synchronized)
    }

    fn hand_out_cookie_keys(&mut self) {
        if let (Some(keys), Some(servers)) = (&self.cookie_keys, &mut self.servers) {
            servers.publish_keyset(&keys.current());
        }
    }

    fn look_at_addresses(&mut self) {
        match local_addresses() {
            Ok(addresses) => self.feed(Input::LocalAddresses(&addresses)),
            Err(error) => debug!("this machine's addresses cannot be listed: {error}"),
        }
    }

    fn look_for_suspend(&mut self) -> Result<(), Failure> {
        let suspended = monotonic() - monotonic_unsuspended();
        let by = suspended - self.suspended;
        self.suspended = suspended;
        if by > SUSPEND {
            self.handle(Input::Suspended(by))
        } else {
            Ok(())
        }
    }

    // ---- the engine

    fn handle(&mut self, input: Input<'_>) -> Result<(), Failure> {
        self.feed(input);
        self.drain()
    }

    fn feed(&mut self, input: Input<'_>) {
        feed(
            &mut self.engine,
            &mut self.recorder,
            &self.clock,
            input,
            None,
        );
    }

    /// Does everything that the engine asks for, and tells it what came of it.
    fn drain(&mut self) -> Result<(), Failure> {
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.carry_out(output)?;
            }
            let Some(echo) = self.echoes.pop_front() else {
                break;
            };
            self.feed(echo.as_input());
        }
        self.tell_missing();
        Ok(())
    }

    fn carry_out(&mut self, output: Output) -> Result<(), Failure> {
        match output {
            Output::Adjust(adjustment) => self.adjust(&adjustment)?,
            Output::Transmit {
                exchange,
                remote,
                request,
            } => {
                let sent = self.exchanges.send(
                    &self.clock,
                    exchange,
                    remote,
                    &request.payload,
                    &mut self.missing,
                );
                self.echoes.push_back(match sent {
                    Ok(stamp) => Echo::Sent(exchange, stamp),
                    Err(error) => Echo::NotSent(exchange, error),
                });
            }
            Output::Close(exchange) => {
                self.exchanges.close(exchange);
                if let Some(recorder) = &mut self.recorder {
                    recorder.note(Line::Closed(exchange));
                }
            }
            Output::Resolve { query, host } => self.resolve(query, host),
            Output::Persist(prior) => self.store.save(prior),
            Output::ExchangeKeys {
                query,
                name,
                host,
                port,
            } => {
                let wish = Wish {
                    query,
                    name,
                    host: match host {
                        Host::Name(name) => name,
                        Host::Address(address) => address.to_string(),
                    },
                    port,
                };
                let (now, synchronized) = self.time_known();
                self.getting.ask(wish, now, synchronized);
            }
            Output::PersistSession { name, session } => self.getting.keep(&name, &session),
            Output::Event(event) => {
                log_event(&event);
                if let Some(recorder) = &mut self.recorder
                    && let Some(line) = Line::event(&event)
                {
                    recorder.note(line);
                }
            }
            Output::Completed(_, result) => self.completed = Some(result),
            Output::Halt(halt) => self.halted = Some(halt),
        }
        Ok(())
    }

    fn adjust(&mut self, adjustment: &Adjustment) -> Result<(), Failure> {
        let applied = self.clock.apply(adjustment).map_err(Failure::Clock)?;
        for shortcoming in self.clock.new_shortcomings() {
            warn!("{shortcoming}");
        }
        let input = Input::ClockApplied(applied);
        feed(
            &mut self.engine,
            &mut self.recorder,
            &self.clock,
            input,
            Some(adjustment),
        );
        Ok(())
    }

    fn resolve(&mut self, query: ResolveId, host: String) {
        if let Err(error) = self.resolver.ask(query, host) {
            error!("cannot start a look-up: {error}");
            self.echoes.push_back(Echo::NotAsked(query));
        }
    }

    fn tell_missing(&mut self) {
        for shortcoming in self.missing.drain(..) {
            if !self.told_missing.contains(&shortcoming.facility) {
                warn!("{shortcoming}");
                self.told_missing.push(shortcoming.facility);
            }
        }
    }
}

/// Tells the engine something, and writes it down. `wanted` is the adjustment that it answers.
fn feed(
    engine: &mut Engine,
    recorder: &mut Option<Recorder>,
    clock: &Clock,
    input: Input<'_>,
    wanted: Option<&Adjustment>,
) {
    let now = now(clock);
    engine.handle(now, input);
    if let Some(recorder) = recorder {
        recorder.note(Line::told(now, Told::of(&input, wanted), engine.drawn()));
    }
}

/// A facility that the daemon can do without; its absence is said once.
fn optional<T>(facility: Result<T, Shortcoming>) -> Option<T> {
    facility
        .inspect_err(|shortcoming| warn!("{shortcoming}"))
        .ok()
}

/// What came of something that the engine asked for; told to it once it has nothing more to ask.
#[derive(Debug)]
enum Echo {
    Sent(ExchangeId, Stamp),
    NotSent(ExchangeId, SendError),
    NotAsked(ResolveId),
}

impl Echo {
    fn as_input(&self) -> Input<'static> {
        match *self {
            Self::Sent(exchange, stamp) => Input::Transmitted { exchange, stamp },
            Self::NotSent(exchange, error) => Input::SendFailed { exchange, error },
            Self::NotAsked(query) => Input::Resolved {
                query,
                result: Err("no look-up could be started"),
            },
        }
    }
}

/// Both clocks, read so close together that their difference means something.
fn now(clock: &Clock) -> Now {
    let mut before = monotonic();
    let mut best: Option<(NtpDuration, Now)> = None;
    for _ in 0..READING_ATTEMPTS {
        let system = clock.now();
        let after = monotonic();
        let spread = after - before;
        if best.is_none_or(|(least, _)| spread < least) {
            best = Some((
                spread,
                Now {
                    monotonic: before + spread.half(),
                    system,
                },
            ));
        }
        if spread <= READING_SPREAD {
            break;
        }
        before = after;
    }
    best.map_or_else(
        || Now {
            monotonic: before,
            system: clock.now(),
        },
        |(_, now)| now,
    )
}

fn log_event(event: &Event) {
    match event.severity() {
        Severity::Debug => debug!("{event}"),
        Severity::Info => info!("{event}"),
        Severity::Warning => warn!("{event}"),
        Severity::Error => error!("{event}"),
    }
}

/// A duration that `poll` can wait for, for callers that want to be called regularly.
pub fn after(duration: Duration) -> Monotonic {
    monotonic() + NtpDuration::from(duration)
}
