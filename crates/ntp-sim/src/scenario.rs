//! What a world is like and what happens in it: data that a test writes down in a few lines.

use std::net::{IpAddr, Ipv4Addr};

use ntp_proto::client::AssociationConfig;
use ntp_proto::discipline::{Config, SelectionOptions, SteeringConfig};
use ntp_proto::engine::{ClockFacts, Command, EngineConfig, Host, SourceConfig, SourceKind};
use ntp_proto::leap::{LeapHandling, LeapTable};
use ntp_time::{
    Frequency, NtpDuration, PollInterval, PollLimits, ReferenceId, Stratum, SystemTime,
};

use crate::{Attack, ClockLimits, Conduct, Link, Nts, Oscillator, Rules, Server, Stamping};

/// A world and its story.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called in messages.
    pub name: String,
    /// UTC at the beginning.
    pub start: SystemTime,
    /// The simulated machine.
    pub node: NodeConfig,
    /// The engine's configuration.
    pub engine: EngineConfig,
    /// All servers there are, asked or not.
    pub servers: Vec<Server>,
    /// What the resolver knows: names and their addresses, or what it says instead.
    pub names: Vec<(String, Result<Vec<IpAddr>, String>)>,
    /// How long a look-up takes, seconds.
    pub lookup_time: f64,
    /// UTC midnights at whose end a leap second is inserted.
    pub leaps: Vec<SystemTime>,
    /// Somebody who sends us forgeries.
    pub attack: Option<Attack>,
    /// What happens when, in seconds.
    pub script: Vec<(f64, Action)>,
    /// How long [`run`](crate::run) plays, seconds.
    pub duration: f64,
    /// From when on the report counts, seconds.
    pub settled: f64,
    /// What the checker insists on.
    pub rules: Rules,
}

/// The simulated machine.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// Its crystal.
    pub oscillator: Oscillator,
    /// How its kernel takes frequencies.
    pub clock: ClockLimits,
    /// How far its clock is ahead of UTC at the beginning.
    pub clock_error: NtpDuration,
    /// Who stamps its packets.
    pub stamping: Stamping,
    /// Noise of the engine's clock readings, seconds.
    pub reading_noise: f64,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A server behaves differently from now on.
    Conduct(usize, Conduct),
    /// A server's clock is off by this many seconds from now on.
    ServerError(usize, f64),
    /// A server does NTS differently, or not at all, from now on.
    Nts(usize, Option<Nts>),
    /// The path to a server is another one.
    Route(usize, Link),
    /// The resolver has another answer for a name.
    Name(String, Result<Vec<IpAddr>, String>),
    /// There is a route for IPv4, and for IPv6, or none.
    Network {
        /// IPv4.
        v4: bool,
        /// IPv6.
        v6: bool,
    },
    /// The machine's addresses changed, and the shell noticed.
    AddressesChanged,
    /// Somebody else sets the clock, by this many seconds.
    ForeignStep(f64),
    /// The crystal's frequency jumps, s/s.
    FrequencyJump(f64),
    /// The machine sleeps, and its clock wakes up wrong.
    Suspend {
        /// For how long, seconds.
        seconds: f64,
        /// How far the clock is off by it afterwards.
        error: f64,
    },
    /// The virtual machine stands still and does not know.
    Pause(f64),
    /// An operator asks for something.
    Command(Command),
    /// The operator changed the configuration, and the daemon reads it again.
    Reconfigure(Box<EngineConfig>),
    /// Somebody updated the list of leap seconds, or removed it.
    LeapList(Option<LeapTable>),
    /// The daemon is told to stop.
    ShutDown,
}

impl Scenario {
    /// A world with a good clock and without servers, at noon of a day in 2026.
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

    /// Adds `count` perfect servers and asks each by its address.
    #[must_use]
    pub fn with_servers(mut self, count: usize) -> Self {
        for _ in 0..count {
            let address = Self::address(self.servers.len());
            self = self.with_server(Server::new(address));
        }
        self
    }

    /// Adds a server and asks it by its address.
    #[must_use]
    pub fn with_server(mut self, server: Server) -> Self {
        self.engine.sources.push(source_at(server.address));
        self.servers.push(server);
        self
    }

    /// Adds `count` perfect servers with NTS, and exchanges keys with each by its address.
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

    /// Adds `count` perfect servers that only a name leads to.
    #[must_use]
    pub fn with_strangers(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.servers
                .push(Server::new(Self::address(self.servers.len())));
        }
        self
    }

    /// The name leads to these servers, by their numbers.
    #[must_use]
    pub fn with_name(mut self, name: &str, servers: &[usize]) -> Self {
        let addresses = servers
            .iter()
            .map(|index| self.servers[*index].address)
            .collect();
        self.names.push((name.to_owned(), Ok(addresses)));
        self
    }

    /// Asks by a name.
    #[must_use]
    pub fn with_source(mut self, source: SourceConfig) -> Self {
        self.engine.sources.push(source);
        self
    }

    /// Lets something happen.
    #[must_use]
    pub fn at(mut self, seconds: f64, action: Action) -> Self {
        self.script.push((seconds, action));
        self
    }

    /// The clock begins this many seconds ahead of UTC.
    #[must_use]
    pub fn clock_off_by(mut self, seconds: f64) -> Self {
        self.node.clock_error = NtpDuration::from_seconds_f64(seconds);
        self
    }

    /// So many sources must agree.
    #[must_use]
    pub fn agreeing(mut self, sources: usize) -> Self {
        self.engine.discipline.minimum_agreeing_sources = sources;
        self
    }

    /// Every source is polled within these limits, log2 seconds.
    #[must_use]
    pub fn polling(mut self, min: i8, max: i8) -> Self {
        for source in &mut self.engine.sources {
            source.association.limits = PollLimits {
                min: PollInterval::from_log2(min),
                max: PollInterval::from_log2(max),
            };
            source.association.initial_poll = PollInterval::from_log2(min);
        }
        self
    }

    /// Changes whatever has no name of its own here.
    #[must_use]
    pub fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The address of the `index`th server.
    pub fn address(index: usize) -> IpAddr {
        let [.., high, low] = u32::try_from(index + 1).unwrap_or(u32::MAX).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(198, 18, high, low))
    }
}

/// A source that is asked by name.
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

/// A server with which keys are exchanged.
pub fn nts_source(host: Host) -> SourceConfig {
    let shown = match &host {
        Host::Name(name) => name.clone(),
        Host::Address(address) => address.to_string(),
    };
    SourceConfig {
        name: format!("{shown}:4460"),
        host,
        port: 4460,
        kind: SourceKind::Nts,
        association: AssociationConfig::default(),
        selection: SelectionOptions::default(),
    }
}

/// A server that is asked by address.
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

fn engine_defaults() -> EngineConfig {
    EngineConfig {
        sources: Vec::new(),
        discipline: Config::default(),
        steering: SteeringConfig::default(),
        warn_on_jump: true,
        local_stratum: Stratum::UNSYNCHRONIZED,
        local_reference_id: ReferenceId::XNON,
        frequency_prior: None,
        meddling_threshold: None,
        leap_handling: LeapHandling::Kernel,
        clock: ClockFacts {
            frequency: Frequency::ZERO,
            precision: -30,
            steerable: true,
        },
    }
}
