//! NTS key exchange with our clients: the `[[nts-ke-server]]` sections, and what the server thread
//! needs from the daemon.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ntp_config::{Config, NtpVersion, NtsKeConfig};
use ntp_nts_ke::certificate::Date;
use ntp_nts_ke::server::{
    Bound, CertificateInUse, CertificatePaths, CookieSealer, EndpointConfig, Event as ServerEvent,
    Limits, PreparedEndpoint, Server, StartError,
};
use ntp_proto::nts::exchange::{COOKIES_PER_RESPONSE, NTPV4, ServerPolicy};
use ntp_proto::nts::{Cookie, Keyset, SessionKeys};
use ntp_proto::wire::v5::draft;
use ntp_types::event::Event;
use ntp_types::path::ListenAddress;
use ntp_types::statistics::KeStatistics;
use ntp_types::status::{CertificateStatus, KeServerStatus};
use ntp_udp::wait::{Interest, PollSet};
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::runtime::failure::Failure;
use crate::runtime::pollable::{Context, Pollable};
use crate::sandbox::{self, Profile};
use crate::status::from_unix;
use crate::{join, log};

/// Converts the sections into the endpoints of the server thread.
pub fn endpoints(config: &Config) -> Vec<EndpointConfig> {
    let sections = &config.nts_ke_servers;
    sections
        .iter()
        .map(|section| EndpointConfig {
            listen: section.listen,
            device: section.device,
            only_ipv6: sections.iter().any(|other| {
                other.listen.is_ipv4()
                    && other.listen.ip().is_unspecified()
                    && other.listen.port() == section.listen.port()
                    && other.device == section.device
            }),
            policy: policy(section),
            certificates: certificates(section),
            limits: Limits {
                connections: section.concurrent_connections,
                per_network: section.connections_per_address,
                time: Duration::from_millis(section.key_exchange_timeout_ms),
                long_lived: section.longlived_connections,
            },
        })
        .collect()
}

fn policy(section: &NtsKeConfig) -> ServerPolicy {
    let accepted = section.accept_ntp_versions.iter();
    let protocols = accepted.filter_map(|version| match version {
        NtpVersion::V4 => Some(NTPV4),
        NtpVersion::V5 => Some(draft::NTS_PROTOCOL),
        NtpVersion::V1 | NtpVersion::V2 | NtpVersion::V3 => None,
    });
    ServerPolicy {
        protocols: protocols.collect(),
        algorithms: section.aead_algorithms.clone(),
        ntp_server: section.ntp_server.as_ref().map(ToString::to_string),
        ntp_port: section.ntp_port,
        pool_tokens: section.accepted_pool_authentication_tokens.clone(),
    }
}

fn certificates(section: &NtsKeConfig) -> Vec<CertificatePaths> {
    let first = CertificatePaths {
        chain: section.certificate_chain_path.clone(),
        key: section.private_key_path.clone(),
    };
    let more = section.additional_certificates.iter();
    let more = more.map(|more| CertificatePaths {
        chain: more.certificate_chain_path.clone(),
        key: more.private_key_path.clone(),
    });
    core::iter::once(first).chain(more).collect()
}

/// The thread of the key-exchange server.
#[derive(Debug)]
pub struct KeServer {
    server: Server,
    /// Index in the poll set; `usize::MAX` before the first registration.
    place: usize,
}

impl KeServer {
    /// Starts serving through `bound`, with cookies of `keyset`. `seed` is a fresh secret.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(
        bound: Bound,
        keyset: Arc<ArcSwap<Keyset>>,
        seed: [u8; 32],
    ) -> Result<Self, StartError> {
        let sealer = Sealer {
            keyset,
            nonces: ChaCha12Rng::from_seed(seed),
        };
        let log = |event: &ServerEvent| log::emit(&event_of(event));
        let server = bound.start(sealer, log, || {
            sandbox::confine_thread(Profile::KeyExchange);
        })?;
        log_started(&server, &[]);
        log_waiting(&server, &[]);
        Ok(Self {
            server,
            place: usize::MAX,
        })
    }

    /// Serves at exactly these endpoints from now on; see [`Server::set_endpoints`].
    pub fn reconfigure(&mut self, endpoints: Vec<PreparedEndpoint>) -> Vec<StartError> {
        let before: Vec<_> = self.server.addresses().collect();
        let problems = self.server.set_endpoints(endpoints);
        for &(address, instead) in self.server.without_ipv6() {
            log::emit(&Event::ServerWithoutIpv6 { address, instead });
        }
        log_stopped(&self.server, &before);
        log_started(&self.server, &before);
        log_waiting(&self.server, &[]);
        problems
    }

    /// Addresses that are not served before their device exists.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = ListenAddress> {
        self.server.waiting()
    }

    /// Returns the status; `None` if keys are given out at no address.
    pub(crate) fn status(&self, keyset: &Keyset) -> Option<KeServerStatus> {
        let counters = self.server.counters();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let addresses: Vec<_> = self.server.addresses().map(|it| it.to_string()).collect();
        let certificate = |it: CertificateInUse| CertificateStatus {
            path: it.path.display().to_string(),
            names: it.names,
            expires: it.expires.map(from_unix),
        };
        (!addresses.is_empty()).then(|| KeServerStatus {
            addresses,
            connections: KeStatistics {
                connections: count(&counters.accepted),
                granted: count(&counters.granted),
                pool_queries: count(&counters.pool_queries),
                refused: count(&counters.refused),
                timed_out: count(&counters.timed_out),
                evicted: count(&counters.evicted),
                failed: count(&counters.failed),
            },
            cookie_key: (!keyset.is_empty()).then(|| keyset.primary_id().into()),
            certificates: (self.server.certificates().into_iter())
                .map(certificate)
                .collect(),
        })
    }

    /// Reloads the certificates.
    pub fn reload(&self) {
        self.server.reload();
    }

    /// Stops the thread.
    pub fn stop(self) {
        if let Some(thread) = self.server.stop() {
            // A failure of the thread has ended the daemon before.
            let _ = join::join_within(thread, join::LIMIT);
        }
    }
}

impl Pollable for KeServer {
    /// Adds the exit notification of the thread.
    fn register(&mut self, set: &mut PollSet) {
        self.place = set.push(&self.server.as_fd(), Interest::Readable);
    }

    /// Checks whether the thread has ended.
    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        if !context.set.readiness(self.place).any() {
            return Ok(());
        }
        let ended = self.server.exit_error();
        ended.map_or(Ok(()), |error| Err(Failure::KeyExchange(error)))
    }

    /// Closes addresses whose device is gone and opens those whose device exists.
    fn after_round(&mut self, _context: &mut Context<'_>) {
        let waited: Vec<_> = self.server.waiting().collect();
        let lost = self.server.close_lost();
        if waited.is_empty() && lost.is_empty() {
            return;
        }
        let before: Vec<_> = self.server.addresses().collect();
        for problem in self.server.open_waiting() {
            let error = problem.to_string();
            log::emit(&Event::ServerFailed { error });
        }
        log_stopped(&self.server, &lost);
        log_started(&self.server, &before);
        log_waiting(&self.server, &waited);
    }
}

/// Logs the addresses that wait for their device now and did not `before`.
fn log_waiting(server: &Server, before: &[ListenAddress]) {
    for address in server.waiting().filter(|it| !before.contains(it)) {
        log::emit(&Event::ServerWaiting { address });
    }
}

/// Logs the addresses that are served now and were not `before`.
fn log_started(server: &Server, before: &[ListenAddress]) {
    for address in server.addresses().filter(|it| !before.contains(it)) {
        log::emit(&Event::KeServerStarted { address });
    }
}

/// Logs the addresses that were served `before`, and now neither are nor wait for their device.
fn log_stopped(server: &Server, before: &[ListenAddress]) {
    let now: Vec<_> = server.addresses().chain(server.waiting()).collect();
    for &address in before.iter().filter(|it| !now.contains(it)) {
        log::emit(&Event::KeServerStopped { address });
    }
}

/// Converts an event of the server.
fn event_of(event: &ServerEvent) -> Event {
    match event {
        ServerEvent::Certificate { path, facts } => Event::CertificateLoaded {
            path: path.display().to_string(),
            names: facts
                .as_ref()
                .map_or_else(Vec::new, |facts| facts.names.clone()),
            expires: facts
                .as_ref()
                .map(|facts| Date(facts.not_after).to_string()),
        },
        ServerEvent::BadCertificate(bad) => Event::CertificateFailed {
            path: bad.path.display().to_string(),
            problem: bad.problem.clone(),
        },
        ServerEvent::ExposedKey(path) => Event::PrivateKeyExposed {
            path: path.display().to_string(),
        },
        ServerEvent::CannotAccept(address, error) => Event::KeAcceptFailed {
            address: *address,
            error: error.clone(),
        },
    }
}

struct Sealer {
    keyset: Arc<ArcSwap<Keyset>>,
    nonces: ChaCha12Rng,
}

impl CookieSealer for Sealer {
    fn seal(&mut self, keys: &SessionKeys) -> Option<[Cookie; COOKIES_PER_RESPONSE]> {
        let keyset = self.keyset.load();
        let mut cookies = Vec::with_capacity(COOKIES_PER_RESPONSE);
        for _ in 0..COOKIES_PER_RESPONSE {
            let mut nonce = [0; 16];
            self.nonces.fill_bytes(&mut nonce);
            cookies.push(keyset.seal_cookie(keys, nonce)?);
        }
        cookies.try_into().ok()
    }
}
