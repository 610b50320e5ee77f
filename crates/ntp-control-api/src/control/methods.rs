//! The methods, the errors, and the interface file that is generated from them.
//!
//! A method has one of three access classes. `Read` methods are open to every user that can connect
//! to the socket. `Change` methods require root, the daemon's own user or the configured group. So
//! do `Private` methods: they change nothing, but reveal personal data.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use ntp_types::configuration::{Disabled, Origin, Section, Setting};
use ntp_types::hop_limit::HopLimitDifference;
use ntp_types::record;
use ntp_types::refclock::{RefClockStatus, RefusalCount};
use ntp_types::schema::Described;
use ntp_types::statistics::{
    KeStatistics, Latency, PacketCounters, ServerDetails, ServerStatistics,
};
use ntp_types::status::{
    CertificateStatus, ClientStatus, ConfiguredSource, DisciplinedClock, EventCount,
    KeServerStatus, KeyExchangeStatus, KeyStatus, ManualEntry, MeasurementStatus, PathStatus,
    PlatformStatus, ProgramStatus, ProtocolStatus, ProviderStatus, RefusedStepStatus, ServerStatus,
    SourceStatus, Status, SystemStatus, TrendStatus,
};

use super::schema::{Input, comment, input, signature, type_definition};

/// Name of the interface.
pub const INTERFACE: &str = "org.ntpd-rs.Control1";

/// Name of the interface that every Varlink service has.
pub const SERVICE: &str = "org.varlink.service";

/// A configuration section, as JSON.
pub type Settings = Map<String, Value>;

input! {
    /// No parameters.
    NoInput {}

    /// The name of a source or server.
    NameInput {
        /// For a source its configured name, host, address in use or identifier; for a server its
        /// listening address.
        name: String,
    }

    /// The name of a source, or all sources.
    OptionalNameInput {
        /// As in `NameInput`; absent means all sources.
        name: Option<String>,
    }

    /// A source or server to add.
    AddInput {
        /// Keys of its section in the configuration file.
        settings: Settings,
    }

    /// New settings of a source or server.
    SetInput {
        /// Name, as in `NameInput`.
        name: String,
        /// Keys of its section in the configuration file with their new values; null resets a key
        /// to its default.
        settings: Settings,
    }

    /// Parameters of `Monitor`.
    MonitorInput {
        /// Seconds between replies, at least 0.1; the default is 1.
        interval: Option<f64>,
    }

    /// Parameters of `Step`.
    StepInput {
        /// Whether to override the panic thresholds.
        forced: Option<bool>,
    }

    /// Parameters of `SetTime`.
    SetTimeInput {
        /// The time now, seconds since 1970.
        time: f64,
        /// Whether to override the panic thresholds.
        forced: Option<bool>,
    }

    /// Parameters of `EnableManual`.
    EnabledInput {
        /// Whether times can be entered.
        enabled: bool,
    }

    /// Parameters of `DeleteManual`.
    EntryInput {
        /// Index of the entry in the list, from 0; absent means all.
        entry: Option<u64>,
    }

    /// Parameters of `GetClients`.
    ClientsInput {
        /// Listening address to report the clients of; absent means all.
        server: Option<String>,
        /// Maximum number of clients, from 1 to 1000; the default is 100.
        limit: Option<u64>,
    }

    /// Parameters of `SetLogLevel`.
    LogLevelInput {
        /// error, warn, info, debug or trace.
        level: String,
    }
}

record! {
    /// A reply without members.
    EmptyReply {}

    /// The state of the daemon.
    StatusReply {
        /// The state.
        status: Status,
    }

    /// The sources or servers that a change affected.
    NamesReply {
        /// Their configured names.
        names: Vec<String>,
    }

    /// Result of `BurstSource`.
    BurstReply {
        /// Number of associations that started a burst.
        started: u64,
        /// Number of associations that did not: measured recently, rate limited by the server, or
        /// offline.
        skipped: u64,
    }

    /// Result of `Step`.
    StepReply {
        /// System time before the step.
        clock: f64,
        /// Correction that was added.
        correction: f64,
    }

    /// Result of `SetTime`.
    SetTimeReply {
        /// Correction that was added, or is being added by a slew.
        correction: f64,
        /// Frequency error of the oscillator, parts per million; positive if it runs fast.
        frequency: f64,
        /// How far this entry has changed it.
        frequency_change: f64,
    }

    /// Result of `Reload`.
    ReloadReply {
        /// Sources that were added.
        added: Vec<String>,
        /// Sources that were removed.
        removed: Vec<String>,
        /// Sources whose settings changed.
        changed: Vec<String>,
        /// Sources whose server denied access and is tried again now.
        retried: Vec<String>,
        /// Other sections whose changes took effect.
        applied: Vec<String>,
        /// Changes that did not take effect, each with what it requires.
        not_applied: Vec<String>,
        /// Warnings about the configuration.
        warnings: Vec<String>,
    }

    /// Result of `Rekey`.
    RekeyReply {
        /// Number of the key that encrypts new cookies.
        key: u64,
        /// Seconds for which cookies of the previous key remain valid if there is no further
        /// `Rekey`.
        old_cookies_valid_for: f64,
        /// File that stores the keys, if one is configured.
        key_file: Option<String>,
    }

    /// The client list.
    ClientsReply {
        /// The most active clients, in descending order of requests.
        clients: Vec<ClientStatus>,
        /// Number of entries in the list.
        listed: u64,
        /// Capacity of the list (client-list-size); 0 if it is disabled.
        size: u64,
        /// Number of entries replaced by new clients. While it is 0, the list is complete and all
        /// counts are exact.
        evicted: u64,
        /// Datagrams that were not counted because the list was being read.
        uncounted: u64,
    }

    /// The active configuration.
    ConfigurationReply {
        /// Main file; absent if the daemon runs on defaults.
        path: Option<String>,
        /// All files that were read, in order of precedence, lowest first.
        files: Vec<String>,
        /// Sections.
        sections: Vec<Section>,
        /// Sources and servers of the files that are removed, replaced or disabled.
        disabled: Vec<Disabled>,
    }

    /// Result of `Dump`.
    DumpReply {
        /// Files that were written.
        paths: Vec<String>,
    }
}

/// A method of the interface.
pub trait Method {
    /// Name without that of the interface.
    const NAME: &'static str;
    /// Parameters.
    type Input: Serialize;
    /// Reply.
    type Output: DeserializeOwned;
}

/// Access class of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads public state.
    Read,
    /// Reads personal data; requires the right to make changes.
    Private,
    /// Changes the state of the daemon.
    Change,
}

impl Access {
    /// Whether every user that can connect to the socket may call the method.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Read)
    }
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $access:ident $name:ident($input:ty) -> $output:ty;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug)]
            pub enum $name {}

            impl Method for $name {
                const NAME: &'static str = stringify!($name);
                type Input = $input;
                type Output = $output;
            }
        )*

        /// A call of one of the methods.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            $($(#[doc = $doc])* $name($input),)*
        }

        impl Request {
            /// Parses a call of the method `name` (without the name of the interface).
            ///
            /// # Errors
            /// The name of the invalid parameter, or `None` if the method does not exist.
            pub fn parse(name: &str, parameters: Value) -> Result<Self, Option<String>> {
                let parameters = match parameters {
                    Value::Object(members) => Ok(members),
                    _ => Err(Some("parameters".to_owned())),
                };
                match name {
                    $(stringify!($name) => Input::parse(parameters?).map(Self::$name).map_err(Some),)*
                    _ => Err(None),
                }
            }

            /// Name of the method.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }

            /// Parameters as JSON, for the log.
            pub fn parameters(&self) -> String {
                match self {
                    $(Self::$name(input) => serde_json::to_string(input).unwrap_or_default(),)*
                }
            }

            /// Access class of the method.
            pub fn access(&self) -> Access {
                match self {
                    $(Self::$name(_) => Access::$access,)*
                }
            }
        }

        fn method_definitions(text: &mut String) {
            $(
                text.push('\n');
                comment(text, "", &[$($doc),*]);
                let _ = writeln!(
                    text,
                    "method {}{} -> {}",
                    stringify!($name),
                    signature::<$input>(),
                    signature::<$output>()
                );
            )*
        }
    };
}

methods! {
    /// Returns the state.
    Read GetStatus(NoInput) -> StatusReply;
    /// Returns the state now and then periodically; requires `more`.
    Read Monitor(MonitorInput) -> StatusReply;
    /// Returns the active configuration with the origin of each value. Secrets are left out.
    Read GetConfiguration(NoInput) -> ConfigurationReply;
    /// Returns the client list (`client-list-size`). Requires the right to make changes: addresses
    /// of clients are personal data.
    Private GetClients(ClientsInput) -> ClientsReply;
    /// Adds a source.
    Change AddSource(AddInput) -> NamesReply;
    /// Removes a source.
    Change RemoveSource(NameInput) -> NamesReply;
    /// Changes settings of a source. Changes of poll intervals, selection options and pool size
    /// keep its associations.
    Change SetSource(SetInput) -> NamesReply;
    /// Resumes polling of a source, or of all, after OfflineSource.
    Change OnlineSource(OptionalNameInput) -> NamesReply;
    /// Suspends polling of a source, or of all, until OnlineSource.
    Change OfflineSource(OptionalNameInput) -> NamesReply;
    /// Starts a burst of eight requests within 16 s to a source, or to all.
    Change BurstSource(OptionalNameInput) -> BurstReply;
    /// Steps the clock by the estimated offset.
    Change Step(StepInput) -> StepReply;
    /// Enters that it is this time now, and corrects the clock. Refused while sources determine the time.
    Change SetTime(SetTimeInput) -> SetTimeReply;
    /// Permits or refuses the entry of times until the next reload of another setting, and drops all entries.
    Change EnableManual(EnabledInput) -> EmptyReply;
    /// Drops an entered time, or all, and corrects the clock by those that remain.
    Change DeleteManual(EntryInput) -> EmptyReply;
    /// Resolves the names of the sources again and replaces addresses that a name no longer has.
    /// Returns the sources that have a name.
    Change Refresh(NoInput) -> NamesReply;
    /// Repeats the selection, and lets a source that is clearly nearer become the reference with the
    /// next measurement. Returns the selected sources.
    Change Reselect(NoInput) -> NamesReply;
    /// Drops all measurements and polls all sources. The clock is not synchronised until a majority
    /// agrees again, and may be stepped then, as at start-up. The frequency is kept.
    Change Reset(NoInput) -> NamesReply;
    /// Stops the daemon, as SIGTERM does, after the reply.
    Change Shutdown(NoInput) -> EmptyReply;
    /// Adds a server, a listening address.
    Change AddServer(AddInput) -> NamesReply;
    /// Removes a server.
    Change RemoveServer(NameInput) -> NamesReply;
    /// Changes settings of a server. No request is lost of clients that both the old and the new
    /// settings serve.
    Change SetServer(SetInput) -> NamesReply;
    /// Changes the log level until the next start.
    Change SetLogLevel(LogLevelInput) -> EmptyReply;
    /// Reloads the configuration. An invalid file changes nothing.
    Change Reload(NoInput) -> ReloadReply;
    /// Reloads the time servers that DHCP names (`dhcp-sources-directory`) and nothing else.
    Change ReloadDhcpSources(NoInput) -> ReloadReply;
    /// Encrypts NTS cookies with a new key from now on. Existing cookies stay valid as long as
    /// `[keyset]` keeps their keys.
    Change Rekey(NoInput) -> RekeyReply;
    /// Writes the persistent state to the state directory.
    Change Dump(NoInput) -> DumpReply;
}

macro_rules! errors {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $member_doc:literal])* $member:ident: $kind:ty,)* })*) => {
        /// Why a method failed.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "error", content = "parameters")]
        pub enum Error {
            $(
                $(#[doc = $doc])*
                $name { $($(#[doc = $member_doc])* $member: $kind,)* },
            )*
        }

        impl Error {
            /// Name of the error without that of the interface.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)*
                }
            }

            /// Parameters of the error.
            pub fn parameters(&self) -> Value {
                match serde_json::to_value(self) {
                    Ok(Value::Object(mut object)) => object.remove("parameters").unwrap_or_default(),
                    _ => Value::Null,
                }
            }

            /// Parses an error reply; `None` if this version does not know the error.
            pub fn parse(name: &str, parameters: &Value) -> Option<Self> {
                serde_json::from_value(serde_json::json!({ "error": name, "parameters": parameters })).ok()
            }
        }

        fn error_definitions(text: &mut String) {
            $(
                text.push('\n');
                comment(text, "", &[$($doc),*]);
                let members: &[(&str, String)] = &[$((stringify!($member), <$kind as Described>::name())),*];
                let members: Vec<_> = members.iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
                let _ = writeln!(text, "error {} ({})", stringify!($name), members.join(", "));
            )*
        }
    };
}

errors! {
    /// The caller has no right to make changes or to read private data.
    PermissionDenied {
        /// The calling user.
        caller: String,
        /// The users and groups that have the right.
        permitted: String,
    }

    /// The request cannot be fulfilled in the current state; nothing was changed.
    Refused {
        /// Reason.
        reason: String,
    }

    /// The step exceeds a panic threshold; it can be forced.
    StepTooLarge {
        /// System time.
        clock: f64,
        /// Correction that was refused.
        correction: f64,
        /// Configuration key of the threshold.
        threshold: String,
        /// Value of the threshold.
        limit: f64,
    }

    /// Settings or a configuration file are invalid; the report lists every problem with its
    /// location.
    InvalidConfiguration {
        /// Report, several lines.
        report: String,
    }

    /// A system call failed.
    Failed {
        /// The operation and the error of the operating system.
        reason: String,
    }
}

/// The interface file, which programs print: the text that [`interface`] makes (a test compares them).
pub const INTERFACE_FILE: &str = include_str!("../../org.ntpd-rs.Control1.varlink");

/// Makes the interface file from the types.
pub fn interface() -> String {
    let mut text = format!(
        "# Read state and change configuration of the ntpd-rs daemon.\n#\n\
         # Durations are in seconds, frequencies in parts per million, times in seconds since 1970.\n\
         # An offset is true (or the server's) time minus local time. Unknown values are absent.\n\
         # Changes within this version are additions only.\ninterface {INTERFACE}\n"
    );
    type_definition::<Status>(&mut text);
    type_definition::<ProgramStatus>(&mut text);
    type_definition::<PlatformStatus>(&mut text);
    type_definition::<ProviderStatus>(&mut text);
    type_definition::<DisciplinedClock>(&mut text);
    type_definition::<SystemStatus>(&mut text);
    type_definition::<SourceStatus>(&mut text);
    type_definition::<RefusedStepStatus>(&mut text);
    type_definition::<ManualEntry>(&mut text);
    type_definition::<MeasurementStatus>(&mut text);
    type_definition::<RefClockStatus>(&mut text);
    type_definition::<RefusalCount>(&mut text);
    type_definition::<KeyStatus>(&mut text);
    type_definition::<HopLimitDifference>(&mut text);
    type_definition::<ProtocolStatus>(&mut text);
    type_definition::<TrendStatus>(&mut text);
    type_definition::<PathStatus>(&mut text);
    type_definition::<PacketCounters>(&mut text);
    type_definition::<ConfiguredSource>(&mut text);
    type_definition::<KeyExchangeStatus>(&mut text);
    type_definition::<EventCount>(&mut text);
    type_definition::<ServerStatus>(&mut text);
    type_definition::<ServerStatistics>(&mut text);
    type_definition::<ServerDetails>(&mut text);
    type_definition::<Latency>(&mut text);
    type_definition::<ClientStatus>(&mut text);
    type_definition::<KeServerStatus>(&mut text);
    type_definition::<KeStatistics>(&mut text);
    type_definition::<CertificateStatus>(&mut text);
    type_definition::<Section>(&mut text);
    type_definition::<Setting>(&mut text);
    type_definition::<Origin>(&mut text);
    type_definition::<Disabled>(&mut text);
    method_definitions(&mut text);
    error_definitions(&mut text);
    text
}

/// Interface file of `org.varlink.service`, which every Varlink service has.
pub const SERVICE_DESCRIPTION: &str = "\
# Describes a Varlink service.
interface org.varlink.service

# Returns the product and its interfaces.
method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)

# Returns an interface file.
method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)

error MethodNotFound (method: string)

error MethodNotImplemented (method: string)

error InvalidParameter (parameter: string)

error PermissionDenied ()

error ExpectedMore ()
";
