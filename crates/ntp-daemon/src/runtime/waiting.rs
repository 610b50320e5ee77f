//! Waiting, and seeing who has something to say.
//!
//! Everybody who waits for a descriptor adds it to the poll set, everybody who waits for a moment adds it to the deadlines; after the
//! wait each is attended in turn, and what it brings is told to the engine.

use std::time::Duration;

use ntp_os_clock::{monotonic, monotonic_unsuspended};
use ntp_proto::engine::{Datagram, Input};
use ntp_time::{Monotonic, NtpDuration, SystemTime};
use ntp_udp::wait::Interest;
use ntp_udp::{AddressMonitor, local_addresses};
use tracing::{debug, warn};

use super::driver::feed;
use super::exchanges::SocketEvent;
use super::reading::now;
use super::{Failure, Runtime};
use crate::leap_list::News;
use crate::nts::{Answer, CookieKeys};
use crate::observation;
use crate::observation_socket::ObservationSocket;
use crate::service_manager::ServiceManager;

/// A gap between the clocks that run and stand still in suspend that is a suspend and not a reading's spread.
const SUSPEND: NtpDuration = NtpDuration::from_millis(100);

/// How long the daemon waits before the first request. The kernel switches receive stamping on in the background when
/// the first socket asks for it, so the reply to a request sent at once might go unstamped, and on the
/// first replies a step rests.
const SETTLING: NtpDuration = NtpDuration::from_millis(125);

impl Runtime {
    /// Waits for what is left of [`SETTLING`], or a signal.
    pub(super) fn settle(&mut self, until: Option<Monotonic>) -> Result<(), Failure> {
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

    pub(super) fn wait(&mut self, until: Option<Monotonic>) -> Result<(), Failure> {
        self.poll_set.clear();
        self.exchanges.watch(&mut self.poll_set);
        self.resolver.watch(&mut self.poll_set);
        if let Some(addresses) = &self.addresses {
            self.poll_set.push(addresses, Interest::Readable);
        }
        if let Some(observation_socket) = &mut self.observation_socket {
            observation_socket.watch(&mut self.poll_set);
        }
        if let Some(servers) = &mut self.servers {
            servers.watch(&mut self.poll_set);
        }
        if let Some(ke_server) = &mut self.ke_server {
            ke_server.watch(&mut self.poll_set);
        }
        self.ke_client.watch(&mut self.poll_set);
        let mut calls_wait = false;
        if let Some((Some(listener), _)) = &mut self.control {
            listener.watch(&mut self.poll_set);
            calls_wait = listener.has_pending_call();
        }
        let due = self.engine.next_wakeup().map(|(at, _)| at);
        let due = due
            .into_iter()
            .chain(until)
            .chain(
                self.observation_socket
                    .as_ref()
                    .and_then(ObservationSocket::deadline),
            )
            .chain(self.cookie_keys.as_ref().and_then(CookieKeys::due))
            .chain(self.manager.as_ref().and_then(ServiceManager::due))
            .chain(
                self.control
                    .as_ref()
                    .and_then(|(listener, _)| listener.as_ref()?.deadline()),
            )
            .chain(calls_wait.then(monotonic))
            .min();
        let at_once = self.ke_client.has_answers().then_some(Duration::ZERO);
        let timeout = at_once.or_else(|| due.map(|due| (due - monotonic()).to_std()));
        self.poll_set
            .wait(timeout)
            .map_err(|error| Failure::System("poll", error))?;
        Ok(())
    }

    pub(super) fn attend_exchanges(&mut self) -> Result<(), Failure> {
        // Sockets close while their neighbours are attended, so their names are taken first.
        let ready: Vec<_> = (0..self.exchanges.len())
            .filter_map(|index| self.exchanges.ready(&self.poll_set, index))
            .collect();
        for id in ready {
            let mut events = core::mem::take(&mut self.events);
            self.exchanges
                .take(&self.clock, &self.poll_set, id, &mut events);
            for event in events.drain(..) {
                self.tell(&event)?;
            }
            self.events = events;
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, event: &SocketEvent) -> Result<(), Failure> {
        match event {
            SocketEvent::Stamped(exchange, stamp) => self.handle(Input::Transmitted {
                exchange: *exchange,
                stamp: *stamp,
            }),
            SocketEvent::Failed(exchange, error) => self.handle(Input::SendFailed {
                exchange: *exchange,
                error: *error,
            }),
            SocketEvent::Received {
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

    pub(super) fn attend_others(&mut self) -> Result<(), Failure> {
        while let Some((query, result)) = self.resolver.answer(&self.poll_set) {
            let result = result.as_ref().map(Vec::as_slice).map_err(String::as_str);
            self.handle(Input::Resolved { query, result })?;
        }
        let (now, synchronized) = self.time_known();
        if synchronized {
            self.ke_client.reverify(now);
        }
        while let Some(answer) = self.ke_client.answer(&self.poll_set, now, synchronized) {
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
        if let Some(ke_server) = &mut self.ke_server {
            ke_server
                .attend(&self.poll_set)
                .map_err(Failure::KeyExchange)?;
        }
        if self
            .observation_socket
            .as_ref()
            .is_some_and(|observation_socket| observation_socket.has_visitor(&self.poll_set))
        {
            // The clock may have been set since the last wake-up; nobody must be told stats from before.
            self.handle(Input::Tick)?;
        }
        if let Some(mut observation_socket) = self.observation_socket.take() {
            observation_socket.attend(&self.poll_set, || {
                let (served, ke_stats) = (self.served(), self.ke_stats());
                let nts = self.nts_status(ke_stats.as_ref());
                observation::frame(&self.snapshot(), &served, nts, &self.clock, self.started)
            });
            self.observation_socket = Some(observation_socket);
        }
        self.attend_control()
    }

    pub(super) fn attend_control(&mut self) -> Result<(), Failure> {
        let Some((mut listener, mut handler)) = self.control.take() else {
            return Ok(());
        };
        if let Some(listener) = &mut listener {
            for call in listener.attend(&self.poll_set) {
                let result = handler.serve(self, &call, listener.permitted())?;
                listener.answer(&call, result);
            }
        }
        self.control = Some((listener, handler));
        Ok(())
    }

    /// The time, and whether it is true.
    pub(super) fn time_known(&self) -> (SystemTime, bool) {
        let now = now(&self.clock);
        let synchronized = self.engine.claim(now).is_synchronized(now.system);
        (now.system, synchronized)
    }

    pub(super) fn hand_out_cookie_keys(&mut self) {
        if let (Some(keys), Some(servers)) = (&self.cookie_keys, &mut self.servers) {
            servers.publish_keyset(&keys.current());
        }
    }

    pub(super) fn look_at_addresses(&mut self) {
        match local_addresses() {
            Ok(addresses) => self.feed(Input::LocalAddresses(&addresses)),
            Err(error) => debug!("this machine's addresses cannot be listed: {error}"),
        }
    }

    pub(super) fn look_for_suspend(&mut self) -> Result<(), Failure> {
        let suspended = monotonic() - monotonic_unsuspended();
        let by = suspended - self.suspended;
        self.suspended = suspended;
        if by > SUSPEND {
            self.handle(Input::Suspended(by))
        } else {
            Ok(())
        }
    }
}
