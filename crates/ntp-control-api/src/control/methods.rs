//! The methods, the errors, and the interface file that is made from them.
//!
//! A method is of one of three kinds. What one `Reads`, everyone may who can open the socket. What one `Changes` is for root, for the daemon's own
//! user and for the configured group. So is what is `Private`: it changes nothing, but tells about other people.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::schema::{Described, comment, input, record, signature, type_definition};
use super::types::{
    Certificate, Client, Configured, KeyExchange, Measurement, Origin, Packets, Path, Program,
    Section, Server, Setting, Source, Status, System, Withdrawn,
};

/// The interface's name.
pub const INTERFACE: &str = "org.ntpd-rs.Control1";

/// The interface of every Varlink service.
pub const SERVICE: &str = "org.varlink.service";

/// A table of settings as the configuration file has it, in JSON.
pub type Settings = Map<String, Value>;

input! {
    /// No parameters.
    Nothing {}

    /// One source or server.
    Named {
        /// For a source its configured name, its host, an address in use or its number; for a server its listening address.
        name: String,
    }

    /// One source, or all.
    MaybeNamed {
        /// The same; absent means all.
        name: Option<String>,
    }

    /// A new source or server.
    New {
        /// The keys of its section in the configuration file.
        settings: Settings,
    }

    /// Other settings for a source or server.
    Other {
        /// Which one.
        name: String,
        /// Keys of its section in the configuration file with their new values; null takes a key out.
        settings: Settings,
    }

    /// How often to tell.
    Interval {
        /// Seconds between two replies, at least 0.1; 1 if absent.
        interval: Option<f64>,
    }

    /// A step.
    StepInput {
        /// Whether to go past the panic thresholds.
        forced: Option<bool>,
    }

    /// Which clients to tell about.
    ClientsInput {
        /// The listening address that they asked; absent means any.
        server: Option<String>,
        /// At most so many, from 1 to 1000; 100 if absent.
        limit: Option<u64>,
    }

    /// A log level.
    LevelInput {
        /// trace, debug, info, warn or error.
        level: String,
    }
}

record! {
    /// Nothing to tell.
    Empty {}

    /// The state.
    StatusReply {
        /// All of it.
        status: Status,
    }

    /// Which sources a change was about.
    Names {
        /// Their configured names.
        names: Vec<String>,
    }

    /// What became of a request for bursts.
    BurstReply {
        /// Addresses that are being measured.
        started: u64,
        /// Addresses that were measured just now, or that asked for fewer requests, or are offline.
        spared: u64,
    }

    /// A step that was made.
    StepReply {
        /// What the clock read before.
        clock: f64,
        /// What was added to it.
        correction: f64,
    }

    /// What a reload led to.
    ReloadReply {
        /// Sources that were not there before.
        added: Vec<String>,
        /// Sources that are not asked any more.
        removed: Vec<String>,
        /// Sources that go on under other settings.
        changed: Vec<String>,
        /// Other sections whose changes are in force now.
        applied: Vec<String>,
        /// Changes that could not be made, and what they need.
        not_applied: Vec<String>,
        /// What is accepted but probably not meant.
        warnings: Vec<String>,
    }

    /// What became of the key for cookies.
    RekeyReply {
        /// The number of the key that cookies are made with from now on.
        key: u64,
        /// For how long cookies of the key before can still be used, in seconds, if nobody asks for another key meanwhile.
        good_for: f64,
        /// The file that keeps the keys over a restart, if one is configured.
        stored: Option<String>,
    }

    /// Clients.
    ClientsReply {
        /// Those who asked most often, in that order.
        clients: Vec<Client>,
        /// How many are remembered.
        listed: u64,
        /// How many can be remembered (client-list-size); 0 if no list is kept.
        size: u64,
        /// How often one had to make room for another one. If never, all who asked are listed and all counts are exact.
        displaced: u64,
        /// Datagrams that were not counted, because the list was just being read.
        missed: u64,
    }

    /// The configuration in force.
    ConfigurationReply {
        /// The main file; absent if the daemon runs on defaults.
        path: Option<String>,
        /// All files that were read, in the order in which they count.
        files: Vec<String>,
        /// Its sections.
        sections: Vec<Section>,
        /// What files have and what is not in force, or not as they have it.
        withdrawn: Vec<Withdrawn>,
    }

    /// Files that were written.
    Written {
        /// Their paths.
        paths: Vec<String>,
    }
}

/// A method: its name and what goes in and comes out.
pub trait Method {
    /// Its name without the interface's.
    const NAME: &'static str;
    /// Its parameters.
    type Input: Serialize;
    /// Its reply.
    type Output: DeserializeOwned;
}

/// What a method is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It reads what everyone may know.
    Reads,
    /// It reads what only those may know who may change things.
    Private,
    /// It changes something.
    Changes,
}

impl Kind {
    /// Whether everyone may call the method who can open the socket.
    pub const fn is_for_everyone(self) -> bool {
        matches!(self, Self::Reads)
    }
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $kind:ident $name:ident($input:ty) -> $output:ty;)*) => {
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
            /// Understands a call of the method `name` (without the interface's).
            ///
            /// # Errors
            /// The parameter that is wrong, with what is wrong about it; None if there is no such method.
            pub fn parse(name: &str, parameters: Value) -> Result<Self, Option<String>> {
                match name {
                    $(stringify!($name) => serde_json::from_value(parameters)
                        .map(Self::$name)
                        .map_err(|error| Some(error.to_string())),)*
                    _ => Err(None),
                }
            }

            /// The method's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }

            /// Its parameters, for a log: JSON.
            pub fn parameters(&self) -> String {
                match self {
                    $(Self::$name(input) => serde_json::to_string(input).unwrap_or_default(),)*
                }
            }

            /// Who may call it, and whether it changes anything.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$name(_) => Kind::$kind,)*
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
    /// The state now.
    Reads GetStatus(Nothing) -> StatusReply;
    /// The state now, and again and again; must be called with `more`.
    Reads Monitor(Interval) -> StatusReply;
    /// The configuration in force, with where each value comes from. Secrets are not told.
    Reads GetConfiguration(Nothing) -> ConfigurationReply;
    /// Who asks for time, as far as `client-list-size` has it remembered. Only for those who may change things: addresses of clients are personal data.
    Private GetClients(ClientsInput) -> ClientsReply;
    /// Asks one more source.
    Changes AddSource(New) -> Names;
    /// Asks a source no more.
    Changes RemoveSource(Named) -> Names;
    /// Changes settings of a source. If only poll intervals, marks or the size of a pool change, it goes on undisturbed.
    Changes SetSource(Other) -> Names;
    /// Asks a source, or all, again after OfflineSource.
    Changes OnlineSource(MaybeNamed) -> Names;
    /// Sends no requests to a source, or to any, until OnlineSource.
    Changes OfflineSource(MaybeNamed) -> Names;
    /// Measures a source, or all, eight times within 16 s.
    Changes BurstSource(MaybeNamed) -> BurstReply;
    /// Steps the clock to what the sources say.
    Changes Step(StepInput) -> StepReply;
    /// Serves time at one more address.
    Changes AddServer(New) -> Names;
    /// Serves time at an address no more.
    Changes RemoveServer(Named) -> Names;
    /// Changes settings of a server; clients that are served by the old rules and the new lose no answer.
    Changes SetServer(Other) -> Names;
    /// Logs more, or less, until the next start.
    Changes SetLogLevel(LevelInput) -> Empty;
    /// Reads the configuration again. A file that is not acceptable changes nothing.
    Changes Reload(Nothing) -> ReloadReply;
    /// Makes NTS cookies with a new key from now on. Those that clients have stay good as long as `[keyset]` keeps their keys.
    Changes Rekey(Nothing) -> RekeyReply;
    /// Writes what has been learnt to the state directory now.
    Changes Dump(Nothing) -> Written;
}

macro_rules! errors {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $member_doc:literal])* $member:ident: $kind:ty,)* })*) => {
        /// Why a method did nothing.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "error", content = "parameters")]
        pub enum Error {
            $(
                $(#[doc = $doc])*
                $name { $($(#[doc = $member_doc])* $member: $kind,)* },
            )*
        }

        impl Error {
            /// The error's name without the interface's.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)*
                }
            }

            /// Its parameters.
            pub fn parameters(&self) -> Value {
                match serde_json::to_value(self) {
                    Ok(Value::Object(mut object)) => object.remove("parameters").unwrap_or_default(),
                    _ => Value::Null,
                }
            }

            /// Understands an error reply; None if this version does not know it.
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
    /// The caller may neither change anything nor read what is private.
    PermissionDenied {
        /// Who asked.
        caller: String,
        /// Who may.
        permitted: String,
    }

    /// It cannot be done as things are; the reason is a sentence.
    Refused {
        /// Why.
        reason: String,
    }

    /// A panic threshold forbids a step of this size; it can be forced.
    StepTooLarge {
        /// What the clock reads.
        clock: f64,
        /// What would have been added to it.
        correction: f64,
        /// The threshold's key in the configuration.
        threshold: String,
        /// Its value.
        limit: f64,
    }

    /// Settings or a configuration file are not acceptable; the report shows every problem with its place.
    InvalidConfiguration {
        /// The report.
        report: String,
    }

    /// The operating system did not let it be done.
    Failed {
        /// What was tried, and what the operating system said.
        reason: String,
    }
}

/// The interface file.
pub fn interface() -> String {
    let mut text = format!(
        "# Reading the state of the ntpd-rs daemon, and changing its mind.\n#\n\
         # Durations are seconds, frequencies parts per million, times seconds since 1970. What is not known is absent.\n\
         # Within this version there are only additions.\ninterface {INTERFACE}\n"
    );
    type_definition::<Status>(&mut text);
    type_definition::<Program>(&mut text);
    type_definition::<System>(&mut text);
    type_definition::<Source>(&mut text);
    type_definition::<Measurement>(&mut text);
    type_definition::<Path>(&mut text);
    type_definition::<Packets>(&mut text);
    type_definition::<Configured>(&mut text);
    type_definition::<Server>(&mut text);
    type_definition::<Client>(&mut text);
    type_definition::<KeyExchange>(&mut text);
    type_definition::<Certificate>(&mut text);
    type_definition::<Section>(&mut text);
    type_definition::<Setting>(&mut text);
    type_definition::<Origin>(&mut text);
    type_definition::<Withdrawn>(&mut text);
    method_definitions(&mut text);
    error_definitions(&mut text);
    text
}

/// The description of `org.varlink.service`, which every service has.
pub const SERVICE_DESCRIPTION: &str = "\
# Every Varlink service describes itself by this interface.
interface org.varlink.service

# What the service is, and which interfaces it has.
method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)

# An interface's file.
method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)

error MethodNotFound (method: string)

error MethodNotImplemented (method: string)

error InvalidParameter (parameter: string)

error PermissionDenied ()

error ExpectedMore ()
";
