//! The methods, the errors, and the interface file that is made from them.
//!
//! A method either reads, which everyone may who can open the socket, or changes something, which is for root, for the daemon's own
//! user and for the configured group.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::schema::{Described, comment, input, record, signature, type_definition};
use super::types::{
    Certificate, Configured, KeyExchange, Measurement, Origin, Packets, Path, Program, Section,
    Server, Setting, Source, Status, System, Withdrawn,
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

            /// Whether it changes anything.
            pub fn changes(&self) -> bool {
                match self {
                    $(Self::$name(_) => stringify!($kind).as_bytes() == b"changes",)*
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
    reads GetStatus(Nothing) -> StatusReply;
    /// The state now, and again and again; must be called with `more`.
    reads Monitor(Interval) -> StatusReply;
    /// The configuration in force, with where each value comes from. Secrets are not told.
    reads GetConfiguration(Nothing) -> ConfigurationReply;
    /// Asks one more source.
    changes AddSource(New) -> Names;
    /// Asks a source no more.
    changes RemoveSource(Named) -> Names;
    /// Changes settings of a source. If only poll intervals, marks or the size of a pool change, it goes on undisturbed.
    changes SetSource(Other) -> Names;
    /// Asks a source, or all, again after OfflineSource.
    changes OnlineSource(MaybeNamed) -> Names;
    /// Sends no requests to a source, or to any, until OnlineSource.
    changes OfflineSource(MaybeNamed) -> Names;
    /// Measures a source, or all, eight times within 16 s.
    changes BurstSource(MaybeNamed) -> BurstReply;
    /// Steps the clock to what the sources say.
    changes Step(StepInput) -> StepReply;
    /// Serves time at one more address.
    changes AddServer(New) -> Names;
    /// Serves time at an address no more.
    changes RemoveServer(Named) -> Names;
    /// Changes settings of a server; clients that are served by the old rules and the new lose no answer.
    changes SetServer(Other) -> Names;
    /// Logs more, or less, until the next start.
    changes SetLogLevel(LevelInput) -> Empty;
    /// Reads the configuration again. A file that is not acceptable changes nothing.
    changes Reload(Nothing) -> ReloadReply;
    /// Makes NTS cookies with a new key from now on. Those that clients have stay good as long as `[keyset]` keeps their keys.
    changes Rekey(Nothing) -> RekeyReply;
    /// Writes what has been learnt to the state directory now.
    changes Dump(Nothing) -> Written;
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
    /// The caller may only read.
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
