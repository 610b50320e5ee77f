//! Requests on their way to servers, and replies on their way back.

use core::net::SocketAddr;

use ntp_proto::engine::ExchangeId;
use ntp_time::NtpDuration;

use super::{ScheduledEvent, World};
use crate::TrueTime;
use crate::server::{Response, Statement};

impl World {
    /// Sends a request of `node`, which reaches the server at `remote` if there is one.
    pub(super) fn send(
        &mut self,
        node: usize,
        (exchange, remote): (ExchangeId, SocketAddr),
        payload: &[u8],
        leaves: TrueTime,
    ) {
        let utc = self.calendar.utc(self.now);
        let attacker = self.attacker.as_mut().filter(|_| node == 0);
        let forgeries =
            attacker.map(|attacker| attacker.on_request(leaves, utc, exchange, (remote, payload)));
        for (at, exchange, payload) in forgeries.unwrap_or_default() {
            let forgery = ScheduledEvent::Reply {
                exchange,
                remote,
                payload,
            };
            self.schedule(at, node, forgery);
        }
        let Some(server) = self.by_address.get(&remote.ip()).copied() else {
            return;
        };
        let from = self
            .hosts
            .iter()
            .position(|host| host.kept_by == Some(node));
        let network = |server: usize| self.networks.get(server);
        if from.is_some_and(|from| network(from) != network(server)) {
            return;
        }
        let arrivals: Vec<_> = self.hosts[server].outbound.transmit(leaves).collect();
        for at in arrivals {
            let request = ScheduledEvent::Request {
                server,
                exchange,
                remote,
                payload: payload.to_owned(),
            };
            self.schedule(at, node, request);
        }
    }

    /// Delivers a request of `node` to a server.
    pub(super) fn serve(
        &mut self,
        node: usize,
        server: usize,
        (exchange, remote): (ExchangeId, SocketAddr),
        payload: &[u8],
    ) {
        let leap = self.calendar.announces_leap(self.now);
        let host = &mut self.hosts[server];
        let kept_by = host.kept_by.map(|keeper| &self.nodes[keeper]);
        let statement = match kept_by {
            Some(keeper) => keeper.statement(),
            None => Statement::Configured { leap },
        };
        let (now, calendar) = (self.now, &self.calendar);
        let clock = |at: TrueTime| match kept_by {
            Some(keeper) => keeper.clock.system() + NtpDuration::from_seconds_f64(at - now),
            None => calendar.utc(at),
        };
        match host.server.handle_request(now, clock, statement, payload) {
            Response::None => {}
            Response::PortUnreachable => {
                let arrivals: Vec<_> = host.inbound.transmit(now).collect();
                for at in arrivals {
                    self.schedule(at, node, ScheduledEvent::PortUnreachable { exchange });
                }
            }
            Response::Reply(leaves, reply) => {
                let arrivals: Vec<_> = host.inbound.transmit(leaves).collect();
                let attacker = self.attacker.as_mut().filter(|_| node == 0);
                let damaged = attacker.and_then(|attacker| {
                    attacker.record_reply(remote, &reply);
                    attacker.damage(now, &reply)
                });
                for at in arrivals {
                    let at = at + self.nodes[node].reception_delay();
                    for payload in damaged.iter().chain([&reply]).cloned() {
                        let reply = ScheduledEvent::Reply {
                            exchange,
                            remote,
                            payload,
                        };
                        self.schedule(at, node, reply);
                    }
                }
            }
        }
    }
}
