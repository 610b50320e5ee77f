//! The loop that sends due requests and receives replies.

use core::time::Duration;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ntp_os_clock::{monotonic, realtime};
use ntp_time::{Monotonic, NtpDuration, RawStamp};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{
    Inbox, Outbox, ServerOptions, ServerSocket, SocketOptions, TimestampMode, TimestampingGuard,
};

use super::clients::{Clients, MAX_REQUEST};
use super::in_flight::InFlight;
use super::{ClientProtocol, Report, Sources, process_cpu};

/// Parameters of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Address and port of the server.
    pub target: SocketAddr,
    /// Requests per second.
    pub rate: f64,
    /// Duration of the run.
    pub duration: Duration,
    /// Protocol options of the clients.
    pub protocol: ClientProtocol,
    /// Source addresses; `None` lets the system choose.
    pub sources: Option<Sources>,
    /// Number of clients, which send in turn, each from its own address if there are enough; `None`
    /// means one per address.
    pub clients: Option<u32>,
    /// Number of sockets, each with its own port.
    pub ports: usize,
    /// Requests sent together.
    pub burst: usize,
    /// Time after which a reply counts as late.
    pub timeout: Duration,
    /// Seed of the random generator.
    pub seed: u64,
    /// A process whose CPU time is reported: the server, if it runs on this machine.
    pub process: Option<u32>,
}

/// Datagrams received or sent in one call.
const BATCH: usize = 64;
/// Delay of sending above which a request counts as sent late.
const LATE_SEND: NtpDuration = NtpDuration::from_millis(1);
/// Fraction of requests that may be sent late, unsent or lost in a valid run.
const TOLERANCE: f64 = 0.001;
/// Datagrams that fit into a socket's buffer with the kernel's default of 212992 bytes.
const SOCKET_CAPACITY: f64 = 200.0;
/// Minimum time to the next request for which the generator sleeps.
const MIN_SLEEP: NtpDuration = NtpDuration::from_millis(2);

/// Runs the load generator.
///
/// # Errors
/// If a socket cannot be opened or fails.
pub fn run(plan: &Plan) -> io::Result<Report> {
    // Otherwise the first datagrams may lack kernel timestamps.
    let _keeper = TimestampingGuard::open(&SocketOptions::default());
    let mut generator = Generator::new(plan)?;
    generator.run()
}

struct Generator<'a> {
    plan: &'a Plan,
    ports: Vec<Port>,
    clients: Clients,
    report: Report,
    late_sends: u64,
    /// Longest time between two reads of the sockets.
    longest_gap: NtpDuration,
    last_read: Monotonic,
}

/// A socket with its buffers.
struct Port {
    socket: ServerSocket,
    inbox: Inbox,
    outbox: Outbox<()>,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan) -> io::Result<Self> {
        let any: IpAddr = match plan.target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let options = ServerOptions {
            timestamps: TimestampMode::KernelReceive,
            ..ServerOptions::default()
        };
        let port = |_| {
            let (socket, _) = ServerSocket::bind((any, 0).into(), &options)?;
            Ok(Port {
                socket,
                inbox: Inbox::new(BATCH),
                outbox: Outbox::new(BATCH),
            })
        };
        let ports = (0..plan.ports.max(1))
            .map(port)
            .collect::<io::Result<Vec<_>>>()?;
        let pending = plan.rate * (plan.timeout.as_secs_f64() + 1.0) * 2.0;
        let in_flight = InFlight::new(plan.seed, (pending as usize).clamp(1 << 10, 1 << 24));
        let addresses = plan.sources.map_or(1, |sources| sources.count());
        let clients = plan.clients.unwrap_or(addresses);
        Ok(Self {
            plan,
            ports,
            clients: Clients::new(
                plan.protocol.clone(),
                plan.sources,
                clients,
                in_flight,
                plan.seed,
            ),
            report: Report::default(),
            late_sends: 0,
            longest_gap: NtpDuration::ZERO,
            last_read: monotonic(),
        })
    }

    fn run(&mut self) -> io::Result<Report> {
        let own = std::process::id();
        let cpu = process_cpu(own)?;
        let server_cpu = self.plan.process.map(process_cpu).transpose()?;
        let total = (self.plan.rate * self.plan.duration.as_secs_f64()) as u64;
        let start = monotonic();
        self.last_read = start;
        let mut busy = NtpDuration::ZERO;
        let mut next = 0;
        while next < total {
            let begin = monotonic();
            let due = self.due(begin - start).min(total);
            let mut worked = false;
            if due >= next + self.plan.burst as u64 || (due == total && due > next) {
                self.count_late_sends(begin - start, next, due);
                self.send(due - next);
                next = due;
                worked = true;
            }
            worked |= self.receive()?;
            if worked {
                busy += monotonic() - begin;
            } else {
                self.sleep_until_due(start, next)?;
            }
        }
        self.report.elapsed = (monotonic() - start).to_std();
        self.report.busy = (busy.as_seconds_f64() / self.report.elapsed.as_secs_f64()).min(1.0);
        self.report.own_cpu = process_cpu(own)?.saturating_sub(cpu);
        self.receive_remaining()?;
        if let (Some(process), Some(before)) = (self.plan.process, server_cpu) {
            self.report.process_cpu = Some(process_cpu(process)?.saturating_sub(before));
        }
        self.report.reused_cookies = self.clients.reused_cookies();
        self.check_validity();
        Ok(core::mem::take(&mut self.report))
    }

    /// Number of requests due by now.
    fn due(&self, elapsed: NtpDuration) -> u64 {
        (elapsed.as_seconds_f64() * self.plan.rate) as u64 + 1
    }

    /// Due time of request `number`. All requests of a burst are due with its last one.
    fn time_of(&self, number: u64) -> NtpDuration {
        let burst = self.plan.burst as u64;
        let last = number / burst * burst + burst - 1;
        NtpDuration::from_seconds_f64(last as f64 / self.plan.rate)
    }

    fn count_late_sends(&mut self, elapsed: NtpDuration, from: u64, to: u64) {
        if elapsed - self.time_of(from) <= LATE_SEND {
            return;
        }
        self.late_sends += (from..to)
            .take_while(|number| elapsed - self.time_of(*number) > LATE_SEND)
            .count() as u64;
    }

    fn send(&mut self, mut count: u64) {
        let mut octets = [0; MAX_REQUEST];
        while count > 0 {
            let batch = count.min(BATCH as u64);
            count -= batch;
            let burst = self.clients.requests() / self.plan.burst as u64;
            let index = burst as usize % self.ports.len();
            let port = &mut self.ports[index];
            let now = realtime();
            for _ in 0..batch {
                let source = self.clients.next_source();
                let place = port.outbox.len();
                // A batch fits into the outbox, and a request into its slot.
                let request = self.clients.write_request(now, &mut octets);
                if port.outbox.push(self.plan.target, source) {
                    port.outbox.write(place, request, None);
                }
            }
            let sent = port.socket.send(&mut port.outbox);
            self.report.sent += sent.sent as u64;
            self.report.unsent += sent.failed as u64;
        }
    }

    /// Receives all pending datagrams. Returns whether there were any.
    fn receive(&mut self) -> io::Result<bool> {
        let now = monotonic();
        self.longest_gap = self.longest_gap.max(now - self.last_read);
        self.last_read = now;
        let mut any = false;
        for port in &mut self.ports {
            loop {
                let count = match port.socket.receive(&mut port.inbox) {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error about a request, which counts as lost.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                    Err(error) => return Err(error),
                };
                any = true;
                let now = realtime();
                for index in 0..count {
                    if let Some(arrival) = port.inbox.get(index) {
                        let stamp = arrival.stamp.and_then(RawStamp::to_stamp);
                        let arrived = stamp.map_or(now, |stamp| stamp.time);
                        let outcome =
                            self.clients
                                .handle_reply(&arrival, arrived, self.plan.target);
                        self.report.count(outcome, self.plan.timeout.into());
                    }
                }
                if count < BATCH {
                    break;
                }
            }
        }
        Ok(any)
    }

    /// Waits for replies to the last requests, until none is missing or the timeout has passed.
    fn receive_remaining(&mut self) -> io::Result<()> {
        let deadline = monotonic() + NtpDuration::from(self.plan.timeout);
        while self.report.lost() > 0 && monotonic() < deadline {
            if !self.receive()? {
                self.sleep(MIN_SLEEP)?;
            }
        }
        Ok(())
    }

    fn sleep_until_due(&mut self, start: Monotonic, next: u64) -> io::Result<()> {
        let until = self.time_of(next) - (monotonic() - start);
        if until > MIN_SLEEP {
            self.sleep(until - MIN_SLEEP.half())?;
        }
        Ok(())
    }

    fn sleep(&mut self, limit: NtpDuration) -> io::Result<()> {
        let mut set = PollSet::new();
        for port in &self.ports {
            set.push(&port.socket, Interest::Readable);
        }
        set.wait(Some(limit.to_std()))?;
        // A datagram ends the sleep, so this was not a gap.
        self.last_read = monotonic();
        Ok(())
    }

    /// Records why the run is invalid, if it is.
    fn check_validity(&mut self) {
        let report = &mut self.report;
        let sent = report.sent.max(1) as f64;
        let mut spoil = |reason: String| report.spoiled.push(reason);
        if self.late_sends as f64 > TOLERANCE * sent {
            spoil(format!(
                "{} requests were sent more than {} ms late",
                self.late_sends,
                LATE_SEND.as_nanos() / 1_000_000
            ));
        }
        if report.unsent as f64 > TOLERANCE * sent {
            report
                .spoiled
                .push(format!("{} requests could not be sent", report.unsent));
        }
        let gap = self.longest_gap.as_seconds_f64();
        if gap * self.plan.rate > SOCKET_CAPACITY * self.ports.len() as f64
            && report.lost() as f64 > TOLERANCE * sent
        {
            report.spoiled.push(format!(
                "the sockets were not read for {:.1} ms, and the kernel may have dropped replies",
                gap * 1e3
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Behaviour, ReferenceServer};

    fn plan(target: SocketAddr) -> Plan {
        Plan {
            target,
            rate: 1000.0,
            duration: Duration::from_millis(50),
            protocol: ClientProtocol::default(),
            sources: Some("127.1.0.0/28".parse().unwrap()),
            clients: None,
            ports: 3,
            burst: 5,
            timeout: Duration::from_secs(30),
            seed: 1,
            process: None,
        }
    }

    fn run_against(behaviour: Behaviour) -> Report {
        let server = ReferenceServer::bind((Ipv4Addr::LOCALHOST, 0).into(), behaviour).unwrap();
        run(&plan(server.address())).unwrap()
    }

    #[test]
    fn every_reply_is_matched_to_its_request() {
        let report = run_against(Behaviour::default());
        assert_eq!((report.sent, report.unsent), (50, 0));
        assert_eq!((report.answered, report.lost(), report.invalid), (50, 0, 0));
        assert_eq!(report.unsynchronized, 0);
        assert!(report.latency.percentile(50.0) > Some(NtpDuration::ZERO));
    }

    #[test]
    fn a_kiss_counts_neither_as_answered_nor_as_lost() {
        let report = run_against(Behaviour::demobilizing());
        assert_eq!((report.answered, report.kissed, report.lost()), (0, 50, 0));
    }
}
