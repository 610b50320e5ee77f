//! The loop that sends what is due and takes what has come.

use core::time::Duration;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ntp_os_clock::{monotonic, realtime};
use ntp_time::{Monotonic, NtpDuration};
use ntp_udp::wait::{Interest, PollSet};
use ntp_udp::{
    Inbox, Outbox, ServerOptions, ServerSocket, SocketOptions, StampKeeper, TimestampMode,
};

use super::clients::{Clients, LONGEST};
use super::flight::Flight;
use super::{Dialect, Report, Sources, process_cpu};

/// What to send, where to and how fast.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: SocketAddr,
    /// Requests in a second.
    pub rate: f64,
    /// For how long.
    pub duration: Duration,
    /// What the clients speak.
    pub dialect: Dialect,
    /// Addresses to send from; `None` leaves that to the system.
    pub sources: Option<Sources>,
    /// Clients, which ask in turn, each from an address of its own if there are enough; `None` is one for each address.
    pub clients: Option<u32>,
    /// Sockets, each with a port of its own.
    pub ports: usize,
    /// Requests that leave together.
    pub burst: usize,
    /// An answer that takes longer is late.
    pub patience: Duration,
    /// Seed of what is random in requests.
    pub seed: u64,
    /// A process whose processor time is told: the server, if it runs here.
    pub process: Option<u32>,
}

/// Datagrams taken or sent in one call.
const BATCH: usize = 64;
/// A request that leaves this much after its time spoils the run, if it is not alone in that.
const TARDY: NtpDuration = NtpDuration::from_millis(1);
/// Part of the requests that may be tardy or refused by the system.
const TOLERATED: f64 = 0.001;
/// Datagrams that a socket certainly has room for, with the kernel's default of 212992 bytes.
const SOCKET_ROOM: f64 = 200.0;
/// Below this time to the next request there is no sleep.
const NAP: NtpDuration = NtpDuration::from_millis(2);

/// Carries out a plan.
///
/// # Errors
/// If there are no such sockets.
pub fn run(plan: &Plan) -> io::Result<Report> {
    // Without it, the first arrivals may go unstamped.
    let _keeper = StampKeeper::open(&SocketOptions::default());
    let mut generator = Generator::new(plan)?;
    generator.run()
}

struct Generator<'a> {
    plan: &'a Plan,
    lines: Vec<Line>,
    clients: Clients,
    report: Report,
    tardy: u64,
    /// The longest time between two looks into the sockets.
    longest_gap: NtpDuration,
    last_look: Monotonic,
}

/// One socket with its buffers.
struct Line {
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
        let line = |_| {
            let (socket, _) = ServerSocket::bind((any, 0).into(), &options)?;
            Ok(Line {
                socket,
                inbox: Inbox::new(BATCH),
                outbox: Outbox::new(BATCH),
            })
        };
        let lines = (0..plan.ports.max(1))
            .map(line)
            .collect::<io::Result<Vec<_>>>()?;
        let under_way = plan.rate * (plan.patience.as_secs_f64() + 1.0) * 2.0;
        let flight = Flight::new(plan.seed, (under_way as usize).clamp(1 << 10, 1 << 24));
        let addresses = plan.sources.map_or(1, |sources| sources.count());
        let clients = plan.clients.unwrap_or(addresses);
        Ok(Self {
            plan,
            lines,
            clients: Clients::new(
                plan.dialect.clone(),
                plan.sources,
                clients,
                flight,
                plan.seed,
            ),
            report: Report::default(),
            tardy: 0,
            longest_gap: NtpDuration::ZERO,
            last_look: monotonic(),
        })
    }

    fn run(&mut self) -> io::Result<Report> {
        let own = std::process::id();
        let cpu = process_cpu(own)?;
        let server_cpu = self.plan.process.map(process_cpu).transpose()?;
        let total = (self.plan.rate * self.plan.duration.as_secs_f64()) as u64;
        let start = monotonic();
        self.last_look = start;
        let mut busy = NtpDuration::ZERO;
        let mut next = 0;
        while next < total {
            let begin = monotonic();
            let due = self.due(begin - start).min(total);
            let mut worked = false;
            if due >= next + self.plan.burst as u64 || (due == total && due > next) {
                self.count_tardy(begin - start, next, due);
                self.send(due - next);
                next = due;
                worked = true;
            }
            worked |= self.take()?;
            if worked {
                busy += monotonic() - begin;
            } else {
                self.nap(start, next)?;
            }
        }
        self.report.elapsed = (monotonic() - start).to_std();
        self.report.busy = (busy.as_seconds_f64() / self.report.elapsed.as_secs_f64()).min(1.0);
        self.report.own_cpu = process_cpu(own)?.saturating_sub(cpu);
        self.take_the_last()?;
        if let (Some(process), Some(before)) = (self.plan.process, server_cpu) {
            self.report.process_cpu = Some(process_cpu(process)?.saturating_sub(before));
        }
        self.report.reused_cookies = self.clients.reused_cookies();
        self.judge();
        Ok(core::mem::take(&mut self.report))
    }

    /// How many requests should have left by now.
    fn due(&self, elapsed: NtpDuration) -> u64 {
        (elapsed.as_seconds_f64() * self.plan.rate) as u64 + 1
    }

    /// When request `number` is due. Those of a burst are due with its last.
    fn time_of(&self, number: u64) -> NtpDuration {
        let burst = self.plan.burst as u64;
        let last = number / burst * burst + burst - 1;
        NtpDuration::from_seconds_f64(last as f64 / self.plan.rate)
    }

    fn count_tardy(&mut self, elapsed: NtpDuration, from: u64, to: u64) {
        if elapsed - self.time_of(from) <= TARDY {
            return;
        }
        self.tardy += (from..to)
            .take_while(|number| elapsed - self.time_of(*number) > TARDY)
            .count() as u64;
    }

    fn send(&mut self, mut count: u64) {
        let mut octets = [0; LONGEST];
        while count > 0 {
            let together = count.min(BATCH as u64);
            count -= together;
            let line = (self.clients.asked() / self.plan.burst as u64) as usize % self.lines.len();
            let line = &mut self.lines[line];
            let now = realtime();
            for _ in 0..together {
                let source = self.clients.next_source();
                let place = line.outbox.len();
                // A batch is never larger than the outbox, nor a request than its room.
                let request = self.clients.ask(now, &mut octets);
                if line.outbox.push(self.plan.target, source) {
                    line.outbox.write(place, request, None);
                }
            }
            let sent = line.socket.send(&mut line.outbox);
            self.report.sent += sent.sent as u64;
            self.report.unsent += sent.failed as u64;
        }
    }

    /// Takes everything that has come. Returns whether that was anything.
    fn take(&mut self) -> io::Result<bool> {
        let now = monotonic();
        self.longest_gap = self.longest_gap.max(now - self.last_look);
        self.last_look = now;
        let mut any = false;
        for line in &mut self.lines {
            loop {
                let count = match line.socket.receive(&mut line.inbox) {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What the network says about a request; it will be missing in the count.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                    Err(error) => return Err(error),
                };
                any = true;
                let now = realtime();
                for index in 0..count {
                    if let Some(arrival) = line.inbox.get(index) {
                        let arrived = arrival.stamp.map_or(now, |stamp| stamp.time);
                        let judgement = self.clients.judge(&arrival, arrived, self.plan.target);
                        self.report.count(judgement, self.plan.patience.into());
                    }
                }
                if count < BATCH {
                    break;
                }
            }
        }
        Ok(any)
    }

    /// Waits for answers to the last requests, until there are none missing or the patience is over.
    fn take_the_last(&mut self) -> io::Result<()> {
        let deadline = monotonic() + NtpDuration::from(self.plan.patience);
        while self.report.lost() > 0 && monotonic() < deadline {
            if !self.take()? {
                self.sleep(NAP)?;
            }
        }
        Ok(())
    }

    fn nap(&mut self, start: Monotonic, next: u64) -> io::Result<()> {
        let until = self.time_of(next) - (monotonic() - start);
        if until > NAP {
            self.sleep(until - NAP.half())?;
        }
        Ok(())
    }

    fn sleep(&mut self, limit: NtpDuration) -> io::Result<()> {
        let mut set = PollSet::new();
        for line in &self.lines {
            set.push(&line.socket, Interest::Readable);
        }
        set.wait(Some(limit.to_std()))?;
        // Whoever sleeps is woken by an arrival, so this was no gap.
        self.last_look = monotonic();
        Ok(())
    }

    fn judge(&mut self) {
        let report = &mut self.report;
        let sent = report.sent.max(1) as f64;
        let mut spoil = |reason: String| report.spoiled.push(reason);
        if self.tardy as f64 > TOLERATED * sent {
            spoil(format!(
                "{} requests left more than {} ms late",
                self.tardy,
                TARDY.as_nanos() / 1_000_000
            ));
        }
        if report.unsent as f64 > TOLERATED * sent {
            report
                .spoiled
                .push(format!("{} requests could not be sent", report.unsent));
        }
        let gap = self.longest_gap.as_seconds_f64();
        if gap * self.plan.rate > SOCKET_ROOM * self.lines.len() as f64
            && report.lost() as f64 > TOLERATED * sent
        {
            report.spoiled.push(format!(
                "the sockets were not looked into for {:.1} ms, and answers may have been thrown away",
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
            dialect: Dialect::default(),
            sources: Some("127.1.0.0/28".parse().unwrap()),
            clients: None,
            ports: 3,
            burst: 5,
            patience: Duration::from_secs(30),
            seed: 1,
            process: None,
        }
    }

    fn run_against(behaviour: Behaviour) -> Report {
        let server = ReferenceServer::bind((Ipv4Addr::LOCALHOST, 0).into(), behaviour).unwrap();
        run(&plan(server.address())).unwrap()
    }

    #[test]
    fn every_answer_finds_its_request() {
        let report = run_against(Behaviour::default());
        assert_eq!((report.sent, report.unsent), (50, 0));
        assert_eq!((report.answered, report.lost(), report.invalid), (50, 0, 0));
        assert_eq!(report.unsynchronized, 0);
        assert!(report.latency.percentile(50.0) > Some(NtpDuration::ZERO));
    }

    #[test]
    fn a_kiss_is_no_answer_and_not_lost() {
        let report = run_against(Behaviour::demobilizing());
        assert_eq!((report.answered, report.kissed, report.lost()), (0, 50, 0));
    }
}
