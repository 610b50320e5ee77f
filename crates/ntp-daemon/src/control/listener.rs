//! The control socket and its connections.
//!
//! Limits on what a client can make the daemon do or store:
//!
//! - Everything is non-blocking. A connection holds at most one incomplete call and one unsent
//!   reply, and no further call is read before the reply is sent.
//! - One call of each connection is executed between two waits, so that packets are not delayed.
//! - A reply that cannot be sent for ten seconds ends the connection; a slow subscriber gets fewer
//!   replies.
//! - There are at most 64 connections. A further one evicts the connection that has been idle
//!   longest, of the user who has the most: a client that opens two hundred idle connections loses
//!   its own.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use ntp_config::{ControlConfig, build};
use ntp_control_api::control::methods::{
    INTERFACE, INTERFACE_FILE, MonitorInput, Request, SERVICE, SERVICE_DESCRIPTION,
};
use ntp_control_api::control::wire::{Call, MAX_CALL, MessageBuffer, Reply, encode};
use ntp_files::Entry;
use ntp_os_clock::monotonic;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::event::Event;
use ntp_udp::peer;
use ntp_udp::wait::{Interest, PollSet};
use serde::Serialize;
use serde_json::{Value, json};

use crate::log;

use super::caller::{Caller, Permissions};

/// Maximum number of connections.
const MAX_CONNECTIONS: usize = 64;
/// Time limit for sending a reply.
const SEND_TIMEOUT: NtpDuration = NtpDuration::from_seconds(10);
/// Shortest interval between two replies to a subscriber, in seconds.
const SHORTEST_INTERVAL: f64 = 0.1;
/// Longest interval between two replies to a subscriber, in seconds.
const LONGEST_INTERVAL: f64 = 86_400.0;

/// The listening socket and its connections.
#[derive(Debug)]
pub(crate) struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
    permitted: Permissions,
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
    /// Time of the last successful read or write.
    active: Monotonic,
    subscription: Option<Subscription>,
    /// Whether a call waits for a reply that takes a while. Nothing is received meanwhile.
    held: bool,
    place: usize,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    interval: NtpDuration,
    due: Monotonic,
}

/// A call that waits for its reply.
#[derive(Debug)]
pub(super) struct PendingCall {
    connection: u64,
    pub(crate) caller: Caller,
    pub(crate) request: Request,
    oneway: bool,
}

impl ControlListener {
    /// Listens as `config` requires, and replaces a socket that an earlier run left. Returns `None`
    /// if no socket is configured.
    ///
    /// # Errors
    /// If a running daemon owns the socket, the path is not a socket, or the operating system
    /// refuses; the text has advice.
    pub(crate) fn open(config: &ControlConfig) -> Result<Option<Self>, String> {
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
            permitted: Permissions { group },
            place: usize::MAX,
            connections: Vec::new(),
            next: 0,
        }))
    }

    /// Returns who may make changes.
    pub(super) fn permitted(&self) -> &Permissions {
        &self.permitted
    }

    /// Adds the listener and all connections to a poll set.
    pub(super) fn register(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.listener, Interest::Readable);
        for connection in &mut self.connections {
            connection.place = usize::MAX;
            if connection.held {
                continue;
            }
            let interest = if connection.unsent.is_empty() {
                Interest::Readable
            } else {
                Interest::Writable
            };
            connection.place = set.push(&connection.stream, interest);
        }
    }

    /// Earliest time of a subscriber's next reply or of a send timeout; at once if a call is
    /// buffered that was received along with the previous one.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let mut connections = self.connections.iter();
        if connections.any(Connection::has_pending_call) {
            return Some(monotonic());
        }
        let connections = self.connections.iter();
        connections.filter_map(Connection::deadline).min()
    }

    /// Takes what is ready: at most one call of each connection.
    pub(super) fn take_calls(&mut self, set: &PollSet) -> Vec<PendingCall> {
        let now = monotonic();
        let mut calls = Vec::new();
        self.connections.retain_mut(|connection| {
            connection.poll(now, set.readiness(connection.place).any(), &mut calls)
        });
        if set.readiness(self.place).readable {
            self.accept_new(now);
        }
        calls
    }

    /// Keeps the connection of a call waiting until its [`reply`](Self::reply).
    pub(super) fn hold(&mut self, call: &PendingCall) {
        let mut connections = self.connections.iter_mut();
        if let Some(connection) = connections.find(|it| it.number == call.connection) {
            connection.held = true;
        }
    }

    /// Sends the reply to a call.
    pub(super) fn reply(
        &mut self,
        call: &PendingCall,
        result: Result<impl Serialize, (String, Value)>,
    ) {
        let connections = &mut self.connections;
        let connection = connections
            .iter_mut()
            .find(|connection| connection.number == call.connection);
        let Some(connection) = connection else {
            return;
        };
        connection.held = false;
        if call.oneway {
            return;
        }
        let continues = connection.subscription.is_some() && result.is_ok();
        if result.is_err() {
            connection.subscription = None;
        }
        connection.send_reply(result, continues);
    }

    fn accept_new(&mut self, now: Monotonic) {
        // Bounded, so that a flood of connections cannot keep the loop here.
        for _ in 0..MAX_CONNECTIONS {
            let Ok((stream, _)) = self.listener.accept() else {
                break;
            };
            let caller = stream
                .set_nonblocking(true)
                .and_then(|()| Caller::from_stream(&stream));
            let Ok(caller) = caller else {
                continue;
            };
            if self.connections.len() >= MAX_CONNECTIONS {
                self.evict();
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
                held: false,
                place: usize::MAX,
            });
            self.next += 1;
        }
    }

    /// Closes the connection that has been idle longest, of the user who has the most connections.
    fn evict(&mut self) {
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
    fn has_pending_call(&self) -> bool {
        self.unsent.is_empty() && !self.held && self.inbox.has_message()
    }

    fn deadline(&self) -> Option<Monotonic> {
        if !self.unsent.is_empty() {
            return Some(self.active + SEND_TIMEOUT);
        }
        self.subscription.map(|subscription| subscription.due)
    }

    /// Returns whether the connection stays open.
    fn poll(&mut self, now: Monotonic, ready: bool, calls: &mut Vec<PendingCall>) -> bool {
        if !self.unsent.is_empty() {
            return if ready {
                self.flush(now)
            } else {
                now < self.active + SEND_TIMEOUT
            };
        }
        if self.held {
            return true;
        }
        if ready && !self.receive(now) {
            return false;
        }
        if let Some(subscription) = &mut self.subscription {
            if subscription.due <= now {
                subscription.due = now + subscription.interval;
                calls.push(PendingCall {
                    connection: self.number,
                    caller: self.caller.clone(),
                    request: Request::Monitor(MonitorInput::default()),
                    oneway: false,
                });
            }
            return true;
        }
        match self.inbox.next(MAX_CALL) {
            Ok(Some(message)) => self.parse_call(now, &message, calls),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Receives what is available, up to the length limit of a call.
    fn receive(&mut self, now: Monotonic) -> bool {
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
        // A subscriber must not send; whatever it is, it exceeds the limit.
        self.subscription.is_none()
    }

    /// Returns whether the connection stays open; it is closed after an invalid call.
    fn parse_call(&mut self, now: Monotonic, message: &[u8], calls: &mut Vec<PendingCall>) -> bool {
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
                            self.send_reply(wrong, false);
                            return true;
                        }
                        let interval = NtpDuration::from_seconds_f64(seconds);
                        let due = now + interval;
                        self.subscription = Some(Subscription { interval, due });
                    }
                    calls.push(PendingCall {
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
            self.send_reply(result, false);
        }
        true
    }

    fn send_reply(&mut self, result: Result<impl Serialize, (String, Value)>, continues: bool) {
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
        // The rest is sent when the socket is writable. A failed connection is noticed then.
        let now = monotonic();
        self.active = now;
        let _ = self.flush(now);
    }

    /// Sends what the socket takes. Returns whether the connection stays open.
    fn flush(&mut self, now: Monotonic) -> bool {
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

/// The interface file, or in a build without it its name.
const fn description() -> &'static str {
    if build::INTERFACES {
        INTERFACE_FILE
    } else {
        "# This build does not have the description.\ninterface org.ntpd-rs.Control1\n"
    }
}

fn method_of<'m>(full: &'m str, interface: &str) -> Option<&'m str> {
    full.strip_prefix(interface)?.strip_prefix('.')
}

/// Implements `org.varlink.service`.
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
            Some(name) if name == INTERFACE => Ok(json!({ "description": description() })),
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
            if ntp_control_api::is_listening(path) {
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
    // The directory may belong to the daemon's user, who could put a link there.
    let socket = Entry::open(path)?;
    if let Some(group) = group
        && let Err(error) = socket.set_owner(None, Some(group))
    {
        log::emit(&Event::ControlGroupFailed {
            group,
            error: error.to_string(),
        });
    }
    socket.set_mode(config.mode)?;
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

impl Drop for ControlListener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
