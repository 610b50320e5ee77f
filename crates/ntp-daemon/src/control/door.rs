//! The control socket and the connections to it.
//!
//! Nobody who connects can hold the daemon up or make it remember much:
//!
//! - everything is non-blocking; a connection holds at most one call that is not complete and one reply that is not sent, and no
//!   further call is read before the reply has left;
//! - of each connection one call is answered between two waits, so that packets have their turn;
//! - a reply that does not leave for ten seconds ends the connection; a subscriber who reads slowly is told less often;
//! - there are at most 64 connections. When one more comes, the one that has been silent longest makes room, taken from the user who has the
//!   most: whoever opens two hundred and says nothing loses their own.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use ntp_config::ControlConfig;
use ntp_control_api::control::methods::{
    INTERFACE, MonitorInput, Request, SERVICE, SERVICE_DESCRIPTION, interface,
};
use ntp_control_api::control::wire::{Call, MessageBuffer, MAX_CALL, Reply, encode};
use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};
use ntp_udp::peer;
use ntp_udp::wait::{Interest, PollSet};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::warn;

use super::caller::{Caller, Permitted};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// How long a reply may take to leave.
const PATIENCE: NtpDuration = NtpDuration::from_seconds(10);
/// Shortest interval between two replies to a subscriber, seconds.
const SHORTEST_INTERVAL: f64 = 0.1;
/// Longest, seconds.
const LONGEST_INTERVAL: f64 = 86_400.0;

/// The socket and who is there.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    permitted: Permitted,
    place: usize,
    connections: Vec<Connection>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    stream: UnixStream,
    caller: Caller,
    inbox: MessageBuffer,
    unsent: Vec<u8>,
    sent: usize,
    /// When it last said or took something.
    active: Monotonic,
    subscription: Option<Subscription>,
    place: usize,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    interval: NtpDuration,
    due: Monotonic,
}

/// A call that is the daemon's to answer.
#[derive(Debug)]
pub(crate) struct Visit {
    connection: u64,
    pub(crate) caller: Caller,
    pub(crate) request: Request,
    oneway: bool,
}

impl Door {
    /// Listens where `config` says, in place of a socket that an earlier run left there. None if there is to be no socket.
    ///
    /// # Errors
    /// If a daemon that runs has it, something that is not a socket is in the way, or the operating system refuses; with what to do.
    pub fn open(config: &ControlConfig) -> Result<Option<Self>, String> {
        let Some(path) = &config.path else {
            return Ok(None);
        };
        let group = match &config.group {
            Some(name) => Some((name.clone(), group_number(name)?)),
            None => None,
        };
        let listener = listen(path, config, group.as_ref().map(|(_, number)| *number))
            .map_err(|error| advice(path, &error))?;
        Ok(Some(Self {
            listener,
            path: path.clone(),
            permitted: Permitted { group },
            place: usize::MAX,
            connections: Vec::new(),
            next: 0,
        }))
    }

    /// Who may change things.
    pub(crate) fn permitted(&self) -> &Permitted {
        &self.permitted
    }

    /// Adds the listener and all connections to a poll set.
    pub(crate) fn watch(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.listener, Interest::Readable);
        for connection in &mut self.connections {
            let interest = if connection.unsent.is_empty() {
                Interest::Readable
            } else {
                Interest::Writable
            };
            connection.place = set.push(&connection.stream, interest);
        }
    }

    /// When something is due: a subscriber's next reply, or the end of patience.
    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        let connections = self.connections.iter();
        connections.filter_map(Connection::deadline).min()
    }

    /// Whether a call lies there that was received along with the one before.
    pub(crate) fn is_busy(&self) -> bool {
        self.connections
            .iter()
            .any(|connection| connection.unsent.is_empty() && connection.inbox.has_message())
    }

    /// Takes what is ready: at most one call of each connection.
    pub(crate) fn attend(&mut self, set: &PollSet) -> Vec<Visit> {
        let now = monotonic();
        let mut visits = Vec::new();
        self.connections.retain_mut(|connection| {
            connection.attend(now, set.readiness(connection.place).any(), &mut visits)
        });
        if set.readiness(self.place).readable {
            self.admit(now);
        }
        visits
    }

    /// Answers a visit.
    pub(crate) fn answer(
        &mut self,
        visit: &Visit,
        result: Result<impl Serialize, (String, Value)>,
    ) {
        let connections = &mut self.connections;
        let connection = connections
            .iter_mut()
            .find(|connection| connection.number == visit.connection);
        let Some(connection) = connection else {
            return;
        };
        if visit.oneway {
            return;
        }
        let continues = connection.subscription.is_some() && result.is_ok();
        if result.is_err() {
            connection.subscription = None;
        }
        connection.say(result, continues);
    }

    fn admit(&mut self, now: Monotonic) {
        // A bounded number, lest a flood of connections keep the loop here.
        for _ in 0..CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            let caller = stream
                .set_nonblocking(true)
                .and_then(|()| Caller::of(&stream));
            let Ok(caller) = caller else {
                continue;
            };
            if self.connections.len() >= CONNECTIONS {
                self.make_room();
            }
            self.connections.push(Connection {
                number: self.next,
                stream,
                caller,
                inbox: MessageBuffer::default(),
                unsent: Vec::new(),
                sent: 0,
                active: now,
                subscription: None,
                place: usize::MAX,
            });
            self.next += 1;
        }
    }

    /// Ends the most idle connection of the user who has the most of them.
    fn make_room(&mut self) {
        let of_user = |user: u32| {
            let connections = self.connections.iter();
            connections
                .filter(|connection| connection.caller.user() == user)
                .count()
        };
        let victim = self
            .connections
            .iter()
            .enumerate()
            .max_by_key(|(_, connection)| {
                let quiet = connection.subscription.is_none();
                let idle = core::cmp::Reverse(connection.active);
                (of_user(connection.caller.user()), quiet, idle)
            })
            .map(|(index, _)| index);
        if let Some(index) = victim {
            self.connections.remove(index);
        }
    }
}

impl Connection {
    fn deadline(&self) -> Option<Monotonic> {
        if !self.unsent.is_empty() {
            return Some(self.active + PATIENCE);
        }
        self.subscription.map(|subscription| subscription.due)
    }

    /// Returns whether it goes on.
    fn attend(&mut self, now: Monotonic, ready: bool, visits: &mut Vec<Visit>) -> bool {
        if !self.unsent.is_empty() {
            return if ready {
                self.push_out(now)
            } else {
                now < self.active + PATIENCE
            };
        }
        if ready && !self.take_in(now) {
            return false;
        }
        if let Some(subscription) = &mut self.subscription {
            if subscription.due <= now {
                subscription.due = now + subscription.interval;
                visits.push(Visit {
                    connection: self.number,
                    caller: self.caller.clone(),
                    request: Request::Monitor(MonitorInput::default()),
                    oneway: false,
                });
            }
            return true;
        }
        match self.inbox.next(MAX_CALL) {
            Ok(Some(message)) => self.understand(now, &message, visits),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Receives what there is, up to the length of a call.
    fn take_in(&mut self, now: Monotonic) -> bool {
        let mut buffer = [0; 4096];
        while self.inbox.len() <= MAX_CALL {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.active = now;
                    self.inbox.extend(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        // A subscriber has nothing to say; whatever it is, there is too much of it.
        self.subscription.is_none()
    }

    /// Returns whether the connection goes on: not after something that is no call.
    fn understand(&mut self, now: Monotonic, message: &[u8], visits: &mut Vec<Visit>) -> bool {
        let Ok(mut call) = serde_json::from_slice::<Call>(message) else {
            return false;
        };
        if call.parameters.is_null() {
            call.parameters = json!({});
        }
        let service = |name: &str| format!("{SERVICE}.{name}");
        let oneway = call.oneway;
        let refuse = |name: &str, parameters: Value| Err((service(name), parameters));
        let result = if let Some(method) = method_of(&call.method, SERVICE) {
            describe(method, &call.parameters)
        } else if let Some(method) = method_of(&call.method, INTERFACE) {
            match Request::parse(method, call.parameters) {
                Ok(Request::Monitor(_)) if !call.more => refuse("ExpectedMore", json!({})),
                Ok(request) => {
                    if let Request::Monitor(MonitorInput { interval }) = &request {
                        let seconds = interval.unwrap_or(1.0);
                        if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&seconds) {
                            let wrong =
                                refuse("InvalidParameter", json!({ "parameter": "interval" }));
                            self.say(wrong, false);
                            return true;
                        }
                        let interval = NtpDuration::from_seconds_f64(seconds);
                        let due = now + interval;
                        self.subscription = Some(Subscription { interval, due });
                    }
                    visits.push(Visit {
                        connection: self.number,
                        caller: self.caller.clone(),
                        request,
                        oneway,
                    });
                    return true;
                }
                Err(Some(problem)) => refuse("InvalidParameter", json!({ "parameter": problem })),
                Err(None) => refuse("MethodNotFound", json!({ "method": call.method })),
            }
        } else {
            let interface = call
                .method
                .rsplit_once('.')
                .map_or("", |(before, _)| before);
            refuse("InterfaceNotFound", json!({ "interface": interface }))
        };
        if !oneway {
            self.say(result, false);
        }
        true
    }

    fn say(&mut self, result: Result<impl Serialize, (String, Value)>, continues: bool) {
        self.unsent = match result {
            Ok(parameters) => encode(&Reply {
                error: None,
                parameters,
                continues,
            }),
            Err((name, parameters)) => encode(&Reply {
                error: Some(name),
                parameters,
                continues,
            }),
        };
        self.sent = 0;
        // What does not leave at once waits for room. A connection that has failed is noticed at the next look.
        let now = monotonic();
        self.active = now;
        let _ = self.push_out(now);
    }

    /// Sends what the socket takes. Returns whether the connection goes on.
    fn push_out(&mut self, now: Monotonic) -> bool {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return false,
                Ok(count) => {
                    self.sent += count;
                    self.active = now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        self.unsent = Vec::new();
        self.sent = 0;
        true
    }
}

fn method_of<'m>(full: &'m str, interface: &str) -> Option<&'m str> {
    full.strip_prefix(interface)?.strip_prefix('.')
}

/// Answers for `org.varlink.service`.
fn describe(method: &str, parameters: &Value) -> Result<Value, (String, Value)> {
    let service = |name: &str| format!("{SERVICE}.{name}");
    match method {
        "GetInfo" => Ok(json!({
            "vendor": "ntpd-rs",
            "product": "ntp-daemon",
            "version": env!("CARGO_PKG_VERSION"),
            "url": "",
            "interfaces": [SERVICE, INTERFACE],
        })),
        "GetInterfaceDescription" => match parameters["interface"].as_str() {
            Some(name) if name == INTERFACE => Ok(json!({ "description": interface() })),
            Some(name) if name == SERVICE => Ok(json!({ "description": SERVICE_DESCRIPTION })),
            Some(name) => Err((service("InterfaceNotFound"), json!({ "interface": name }))),
            None => Err((
                service("InvalidParameter"),
                json!({ "parameter": "interface" }),
            )),
        },
        _ => {
            let full = format!("{SERVICE}.{method}");
            Err((service("MethodNotFound"), json!({ "method": full })))
        }
    }
}

fn group_number(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match peer::group(name) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(format!(
            "there is no group {name:?} (see `group` in [control])"
        )),
        Err(error) => Err(format!("the group {name:?} cannot be looked up: {error}")),
    }
}

fn listen(path: &Path, config: &ControlConfig, group: Option<u32>) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if UnixStream::connect(path).is_ok() {
                let message = "another daemon that runs has it";
                return Err(io::Error::new(ErrorKind::AddrInUse, message));
            }
            fs::remove_file(path)?;
        }
        Ok(_) => {
            let message = "something that is not a socket is there";
            return Err(io::Error::new(ErrorKind::AlreadyExists, message));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    if let Some(group) = group
        && let Err(error) = chown(path, None, Some(group))
    {
        warn!("the control socket cannot be given to group {group}: {error}");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(config.mode))?;
    Ok(listener)
}

fn advice(path: &Path, error: &io::Error) -> String {
    let directory = path.parent().unwrap_or(path).display();
    let what = match error.kind() {
        ErrorKind::NotFound => format!(
            "; the directory {directory} is not there (systemd's `RuntimeDirectory=ntpd-rs` makes it)"
        ),
        ErrorKind::PermissionDenied => format!("; the daemon may not write to {directory}"),
        _ => String::new(),
    };
    format!("{}: {error}{what}", path.display())
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
