//! Description of a world and its script of events: data that a test writes in a few lines.

use std::net::{IpAddr, Ipv4Addr};

use ntp_proto::client::AssociationConfig;
use ntp_proto::discipline::SelectionOptions;
use ntp_proto::engine::{
    ClockFacts, Command, EngineConfig, Host, RefClockConfig, SourceConfig, SourceKind,
};
use ntp_proto::leap::LeapTable;
use ntp_time::{
    Frequency, NtpDuration, PollInterval, PollLimits, ReferenceId, Stratum, SystemTime,
};
use ntp_types::refclock::{DeviceConfig, Edge, PpsSettings, RefClockDevice, SockSettings};

use crate::{
    Attack, Behaviour, ClockBehaviour, ClockLimits, Link, Nts, Oscillator, Receiver, RefClock,
    Rules, Server, Stamping,
};

/// A world and its script.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name in messages.
    pub name: String,
    /// UTC at the beginning.
    pub start: SystemTime,
    /// The simulated machine.
    pub node: NodeConfig,
    /// The engine's configuration.
    pub engine: EngineConfig,
    /// All servers that exist, polled or not.
    pub servers: Vec<Server>,
    /// Machines whose engines keep the clocks of some of the servers.
    pub machines: Vec<Machine>,
    /// All reference clocks that exist, used or not.
    pub ref_clocks: Vec<RefClock>,
    /// The resolver's answers: names and their addresses, or an error.
    pub names: Vec<(String, Result<Vec<IpAddr>, String>)>,
    /// How long a look-up takes, seconds.
    pub lookup_time: f64,
    /// UTC midnights at whose end a leap second is inserted.
    pub leaps: Vec<SystemTime>,
    /// An attacker who sends forgeries to the client.
    pub attack: Option<Attack>,
    /// Events and their times in seconds.
    pub script: Vec<(f64, Action)>,
    /// Duration of [`run`](crate::run), seconds.
    pub duration: f64,
    /// Time from which on the report counts, seconds.
    pub settled: f64,
    /// Invariants that the checker enforces.
    pub rules: Rules,
}

/// The simulated machine.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// Its crystal.
    pub oscillator: Oscillator,
    /// How its kernel quantises frequencies.
    pub clock: ClockLimits,
    /// How far its clock is ahead of UTC at the beginning.
    pub clock_error: NtpDuration,
    /// What timestamps its packets.
    pub stamping: Stamping,
    /// Noise of the engine's clock readings, seconds.
    pub reading_noise: f64,
}

/// A machine besides the simulated one. Our engine keeps its clock, which one of the servers serves;
/// what the server states about it is the engine's claim. Its own sources are its engine's.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Index of the server.
    pub server: usize,
    /// The machine.
    pub node: NodeConfig,
    /// Configuration of its engine.
    pub engine: EngineConfig,
}

/// An event of the script.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Changes a server's behaviour.
    Behaviour(usize, Behaviour),
    /// Divides the network: the machine of a server reaches only servers of the same number.
    Networks(Vec<u8>),
    /// Changes the error of a server's clock, in seconds.
    ServerError(usize, f64),
    /// Changes a reference clock's behaviour.
    ClockBehaviour(usize, ClockBehaviour),
    /// Changes the error of a reference clock, in seconds.
    ClockError(usize, f64),
    /// Changes the imperfections of a reference clock.
    Receiver(usize, Receiver),
    /// Changes or removes a server's NTS configuration.
    Nts(usize, Option<Nts>),
    /// Changes the path to a server.
    Route(usize, Link),
    /// Changes the resolver's answer for a name.
    Name(String, Result<Vec<IpAddr>, String>),
    /// Changes for which address families there is a route.
    Network {
        /// IPv4.
        v4: bool,
        /// IPv6.
        v6: bool,
    },
    /// The machine's addresses change, and the shell notices it.
    AddressesChanged,
    /// Another program steps the clock by this many seconds.
    ForeignStep(f64),
    /// The crystal's frequency jumps, s/s.
    FrequencyJump(f64),
    /// The machine is suspended, and its clock is wrong afterwards.
    Suspend {
        /// Length of the suspend, seconds.
        seconds: f64,
        /// Change of the clock's error by it, seconds.
        error: f64,
    },
    /// The virtual machine is paused for this many seconds without noticing it.
    Pause(f64),
    /// The virtual machine is moved to another host, which the hypervisor's marker shows.
    Migration {
        /// How long it stands still, seconds.
        pause: f64,
        /// Difference between the crystals of the hosts, s/s.
        frequency: f64,
        /// Time after which the daemon notices at the latest, seconds.
        noticed_after: f64,
    },
    /// An operator's command.
    Command(Command),
    /// A reload with a changed configuration.
    Reconfigure(Box<EngineConfig>),
    /// The list of leap seconds is updated or removed.
    LeapList(Option<LeapTable>),
    /// The daemon is stopped.
    ShutDown,
}

impl Scenario {
    /// Creates a world with a good clock and without servers, at noon of a day in 2026.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            start: SystemTime::from_nanos(1_780_315_200_000_000_000),
            node: NodeConfig {
                oscillator: Oscillator {
                    offset: 20e-6,
                    wander: 1e-9,
                    ..Oscillator::default()
                },
                clock: ClockLimits::Kernel,
                clock_error: NtpDuration::ZERO,
                stamping: Stamping::Kernel,
                reading_noise: 0.0,
            },
            engine: engine_defaults(),
            servers: Vec::new(),
            machines: Vec::new(),
            ref_clocks: Vec::new(),
            names: Vec::new(),
            lookup_time: 0.02,
            leaps: Vec::new(),
            attack: None,
            script: Vec::new(),
            duration: 3600.0,
            settled: 0.0,
            rules: Rules::default(),
        }
    }

    /// Adds `count` perfect servers and a source by address for each.
    #[must_use]
    pub fn with_servers(mut self, count: usize) -> Self {
        for _ in 0..count {
            let address = Self::address(self.servers.len());
            self = self.with_server(Server::new(address));
        }
        self
    }

    /// Adds a server and a source by address for it.
    #[must_use]
    pub fn with_server(mut self, server: Server) -> Self {
        self.engine.sources.push(source_at(server.address));
        self.servers.push(server);
        self
    }

    /// Adds a reference clock and a source for it.
    #[must_use]
    pub fn with_ref_clock(mut self, clock: RefClock) -> Self {
        self.engine.sources.push(ref_clock_source(&clock));
        self.ref_clocks.push(clock);
        self
    }

    /// Adds `count` perfect servers with NTS, and an NTS source by address for each.
    #[must_use]
    pub fn with_nts_servers(mut self, count: usize) -> Self {
        for _ in 0..count {
            let address = Self::address(self.servers.len());
            self.engine.sources.push(nts_source(Host::Address(address)));
            self.servers.push(Server {
                nts: Some(Nts::default()),
                ..Server::new(address)
            });
        }
        self
    }

    /// Adds `count` perfect servers without a source: they are reached by a name only.
    #[must_use]
    pub fn with_unconfigured_servers(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.servers
                .push(Server::new(Self::address(self.servers.len())));
        }
        self
    }

    /// Adds a name that resolves to these servers, by their indices.
    #[must_use]
    pub fn with_name(mut self, name: &str, servers: &[usize]) -> Self {
        let addresses = servers
            .iter()
            .map(|index| self.servers[*index].address)
            .collect();
        self.names.push((name.to_owned(), Ok(addresses)));
        self
    }

    /// Adds a source.
    #[must_use]
    pub fn with_source(mut self, source: SourceConfig) -> Self {
        self.engine.sources.push(source);
        self
    }

    /// Adds an event to the script.
    #[must_use]
    pub fn at(mut self, seconds: f64, action: Action) -> Self {
        self.script.push((seconds, action));
        self
    }

    /// Sets the clock's initial error, in seconds ahead of UTC.
    #[must_use]
    pub fn with_clock_offset(mut self, seconds: f64) -> Self {
        self.node.clock_error = NtpDuration::from_seconds_f64(seconds);
        self
    }

    /// Sets the minimum number of agreeing sources.
    #[must_use]
    pub fn with_minimum_agreeing(mut self, sources: usize) -> Self {
        self.engine.discipline.minimum_agreeing_sources = sources;
        self
    }

    /// Sets the poll limits of every source, log2 seconds.
    #[must_use]
    pub fn with_poll_limits(mut self, min: i8, max: i8) -> Self {
        for source in &mut self.engine.sources {
            source.association.limits = PollLimits {
                min: PollInterval::from_log2(min),
                max: PollInterval::from_log2(max),
            };
            source.association.initial_poll = PollInterval::from_log2(min);
        }
        self
    }

    /// Changes anything that has no method of its own.
    #[must_use]
    pub fn modify(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Address of the `index`th server.
    pub fn address(index: usize) -> IpAddr {
        let [.., high, low] = u32::try_from(index + 1).unwrap_or(u32::MAX).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(198, 18, high, low))
    }
}

/// Source configured by name.
pub fn source(name: &str, kind: SourceKind) -> SourceConfig {
    SourceConfig {
        name: format!("{name}:123"),
        host: Host::Name(name.to_owned()),
        port: 123,
        kind,
        association: AssociationConfig::default(),
        selection: SelectionOptions::default(),
    }
}

/// NTS source.
pub fn nts_source(host: Host) -> SourceConfig {
    SourceConfig {
        name: format!("{host}:4460"),
        host,
        port: 4460,
        kind: SourceKind::Nts,
        association: AssociationConfig::default(),
        selection: SelectionOptions::default(),
    }
}

/// Source configured by address.
pub fn source_at(address: IpAddr) -> SourceConfig {
    SourceConfig {
        name: format!("{address}:123"),
        host: Host::Address(address),
        port: 123,
        kind: SourceKind::Server,
        association: AssociationConfig::default(),
        selection: SelectionOptions::default(),
    }
}

/// Source of a reference clock at stratum 0, which states the clock's noise and an accuracy of
/// 100 us.
pub fn ref_clock_source(clock: &RefClock) -> SourceConfig {
    SourceConfig::ref_clock(RefClockConfig {
        reader: DeviceConfig {
            device: simulated_device(clock),
            interval: PollInterval::from_log2(clock.interval.log2().round() as i8),
            filter: 1,
        },
        sigma: NtpDuration::from_seconds_f64(clock.noise),
        accuracy: NtpDuration::from_micros(100),
        stratum: Stratum::new(0),
        delay: NtpDuration::ZERO,
        correction: NtpDuration::ZERO,
        lock: None,
        reference_id: ReferenceId::new(*b"GPS\0"),
    })
}

/// A device of the kind that yields such samples.
fn simulated_device(clock: &RefClock) -> RefClockDevice {
    if !clock.receiver.is_pulse {
        return RefClockDevice::Sock(SockSettings::at(&clock.device));
    }
    RefClockDevice::Pps(PpsSettings {
        path: clock.device.clone().into(),
        edge: Edge::Assert,
        period: NtpDuration::from_seconds(1),
        width: clock
            .receiver
            .wrong_edge
            .map(|(_, width)| NtpDuration::from_seconds_f64(width)),
    })
}

/// A clock whose resolution is a nanosecond, as that of a simulated host.
fn engine_defaults() -> EngineConfig {
    EngineConfig {
        clock: ClockFacts {
            frequency: Frequency::ZERO,
            precision: -30,
            steerable: true,
            rate_difference: Frequency::ZERO,
        },
        ..EngineConfig::default()
    }
}
