//! The sockets for chronyc and programs made for it: receives requests and sends what `ntp-chronyc`
//! answers.
//!
//! Limits on what a client can make the daemon do:
//!
//! - Nothing blocks. A reply that a client's socket does not take is lost, as a datagram is.
//! - Between two waits, at most [`BATCH`] requests of each socket are answered, from one status.
//! - Over UDP, where every user may send, at most a thousand requests a second are answered.
//! - The clients that are listed are the busiest thousand, copied once for a listing.

use std::net::{SocketAddr, UdpSocket};

use ntp_chronyc::{Daemon, MAX_REQUEST, Origin, RequestCounters, answer};
use ntp_config::ChronyConfig;
use ntp_os_clock::monotonic;
use ntp_refclock::SocketFile;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::event::Event;
use ntp_types::refclock::SockSettings;
use ntp_types::status::{ClientStatus, Status};
use ntp_udp::wait::{Interest, PollSet};

use crate::control::client_status;
use crate::log;
use crate::runtime::driver::Driver;
use crate::runtime::failure::Failure;
use crate::runtime::pollable::Pollable;
use crate::runtime::services::{DaemonContext, Services};
use crate::status::status;

/// Largest number of requests that are answered at once. chronyc waits for each answer, so more
/// than one come from several programs.
const BATCH: usize = 16;
/// Interval of answers over UDP, if they are requested without a pause.
const UDP_INTERVAL: NtpDuration = NtpDuration::from_millis(1);
/// How far requests over UDP may be ahead of that interval: a listing of three hundred sources with
/// their statistics and names is a thousand requests at once.
const UDP_BURST: NtpDuration = NtpDuration::from_seconds(1);
/// Largest number of clients in a listing, as for `ntp-ctl clients`.
const MAX_CLIENTS: usize = 1000;
/// How long a listing of clients is continued from the same copy: chronyc asks for eight at a time
/// and may look up their names.
const LISTING_TIME: NtpDuration = NtpDuration::from_seconds(60);

/// The sockets.
#[derive(Debug)]
pub struct ChronycSockets {
    unix: Option<SocketFile>,
    udp: Vec<UdpSocket>,
    /// Places of the sockets in the poll set, that of the Unix socket first.
    places: Vec<usize>,
    limit: RateLimit,
    counters: RequestCounters,
    listing: Listing,
}

impl ChronycSockets {
    /// Opens the sockets. Logs those that cannot be opened; returns `None` if there are none.
    pub(crate) fn open(config: &ChronyConfig) -> Option<Self> {
        let udp = config.udp.iter().filter_map(|address| udp_socket(*address));
        let sockets = Self {
            unix: config.unix_socket().and_then(|it| unix_socket(&it)),
            udp: udp.collect(),
            places: Vec::new(),
            limit: RateLimit::default(),
            counters: RequestCounters::default(),
            listing: Listing::default(),
        };
        (sockets.unix.is_some() || !sockets.udp.is_empty()).then_some(sockets)
    }
}

fn unix_socket(settings: &SockSettings) -> Option<SocketFile> {
    let failed = |error: &ntp_refclock::DeviceError| {
        log::emit(&Event::ChronycSocketFailed {
            socket: settings.path.display().to_string(),
            error: error.to_string(),
        });
    };
    SocketFile::create(settings).inspect_err(failed).ok()
}

fn udp_socket(address: SocketAddr) -> Option<UdpSocket> {
    let opened = UdpSocket::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    let failed = |error: &std::io::Error| {
        log::emit(&Event::ChronycSocketFailed {
            socket: address.to_string(),
            error: error.to_string(),
        });
    };
    opened.inspect_err(failed).ok()
}

impl Pollable<Services> for ChronycSockets {
    fn register(&mut self, set: &mut PollSet) {
        self.places.clear();
        let unix = self
            .unix
            .iter()
            .map(|it| set.push(it.socket(), Interest::Readable));
        self.places.extend(unix);
        let udp = self.udp.iter().map(|it| set.push(it, Interest::Readable));
        self.places.extend(udp);
    }

    fn on_ready(&mut self, daemon: &mut DaemonContext<'_>) -> Result<(), Failure> {
        let now = monotonic();
        self.listing.forget(now);
        if !self
            .places
            .iter()
            .any(|place| daemon.set.readiness(*place).readable)
        {
            return Ok(());
        }
        // The clock may have been set since the last wake-up; the figures must not be older.
        daemon.driver.tick()?;
        let mut view = View {
            driver: daemon.driver,
            services: daemon.shared,
            now,
            status: None,
            counters: &mut self.counters,
            listing: &mut self.listing,
        };
        // Longer than any request, so that a longer datagram is recognised.
        let mut buffer = [0; MAX_REQUEST + 1];
        if let Some(file) = &self.unix {
            for _ in 0..BATCH {
                let Ok((length, client)) = file.socket().recv_from(&mut buffer) else {
                    break;
                };
                if let Some(reply) = view.answer(&buffer[..length], Origin::Unix) {
                    let _ = file.socket().send_to_addr(&reply, &client);
                }
            }
        }
        for socket in &self.udp {
            for _ in 0..BATCH {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else {
                    break;
                };
                // The kernel may be set to route other addresses to loopback.
                if !client.ip().is_loopback() {
                    continue;
                }
                if !self.limit.admit(now) {
                    view.counters.dropped += 1;
                } else if let Some(reply) = view.answer(&buffer[..length], Origin::Udp) {
                    let _ = socket.send_to(&reply, client);
                }
            }
        }
        Ok(())
    }
}

/// Limits requests over UDP.
#[derive(Debug, Default)]
struct RateLimit {
    /// When the next request is due at the regular interval.
    due: Option<Monotonic>,
}

impl RateLimit {
    /// Returns whether a request may be answered, and counts it then.
    fn admit(&mut self, now: Monotonic) -> bool {
        let due = self.due.map_or(now, |due| due.max(now));
        if due - now >= UDP_BURST {
            return false;
        }
        self.due = Some(due + UDP_INTERVAL);
        true
    }
}

/// The clients of the listing in progress.
#[derive(Debug, Default)]
struct Listing {
    clients: Vec<ClientStatus>,
    taken: Option<Monotonic>,
}

impl Listing {
    /// Forgets clients that are no longer needed: addresses are personal data.
    fn forget(&mut self, now: Monotonic) {
        if self.taken.is_some_and(|taken| now - taken > LISTING_TIME) {
            *self = Self::default();
        }
    }
}

/// The daemon at one moment.
struct View<'a> {
    driver: &'a Driver,
    services: &'a Services,
    now: Monotonic,
    status: Option<Status>,
    counters: &'a mut RequestCounters,
    listing: &'a mut Listing,
}

impl View<'_> {
    fn answer(&mut self, datagram: &[u8], origin: Origin) -> Option<Vec<u8>> {
        let reply = answer(datagram, origin, self)?;
        self.counters.answered += 1;
        Some(reply)
    }
}

impl Daemon for View<'_> {
    fn status(&mut self) -> &Status {
        let (driver, services) = (self.driver, self.services);
        self.status
            .get_or_insert_with(|| status(driver, services, None))
    }

    fn clients(&mut self, first: usize) -> &[ClientStatus] {
        if first == 0 || self.listing.taken.is_none() {
            let table = self.services.clients(None).unwrap_or_default();
            let now = self.driver.now();
            let busiest = table.by_client().busiest(MAX_CLIENTS);
            let clients = busiest
                .iter()
                .map(|(server, it)| client_status(*server, it, now));
            self.listing.clients = clients.collect();
            self.listing.taken = Some(self.now);
        }
        &self.listing.clients
    }

    fn counters(&self) -> RequestCounters {
        *self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_over_udp_gets_a_thousand_answers_a_second() {
        let mut limit = RateLimit::default();
        let start = Monotonic::from_nanos(5_000_000_000);
        let mut count = |seconds: i64| {
            let now = start + NtpDuration::from_seconds(seconds);
            (0..100_000).filter(|_| limit.admit(now)).count()
        };
        assert_eq!([count(0), count(1), count(9)], [1000, 1000, 1000]);
    }
}
