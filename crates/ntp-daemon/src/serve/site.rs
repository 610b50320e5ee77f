//! One address: its sockets, the threads that serve there, and what they are told.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use ntp_os_clock::Translator;
use ntp_proto::nts::Keyset;
use ntp_proto::server::{Claim, Policy, ServerView};
use ntp_udp::ServerSocket;
use ntp_worker::{ExitNotice, SharedCounters, Totals, Worker, SharedClientList};

use super::register::Register;
use super::{Listener, ServeError};
use crate::sandbox::{self, Profile};

/// What the workers at one address share. They end with it.
#[derive(Debug)]
pub(super) struct Site {
    /// As it was asked for; the policy in it is the one that the workers began with.
    listener: Listener,
    /// With the port that the system chose.
    address: SocketAddr,
    policy: Arc<Policy>,
    keyset: Option<Arc<Keyset>>,
    view: Arc<ArcSwap<ServerView>>,
    tallies: Vec<Arc<SharedCounters>>,
    clients: Vec<Arc<SharedClientList>>,
    threads: Vec<Thread>,
    stop: Arc<AtomicBool>,
}

/// What every new thread needs.
pub(super) struct Opening<'a> {
    pub(super) claim: Claim,
    pub(super) keyset: Option<Arc<Keyset>>,
    pub(super) translator: &'a Translator,
    /// Where workers report their end.
    pub(super) report: &'a Arc<UnixStream>,
    /// Number of the next thread.
    pub(super) next: &'a mut u32,
    /// Gives a fresh secret for each call.
    pub(super) seed: &'a mut dyn FnMut() -> [u8; 32],
}

#[derive(Debug)]
struct Thread {
    /// By which its end is reported.
    number: u32,
    socket: Arc<ServerSocket>,
    handle: Option<JoinHandle<io::Result<()>>>,
}

impl Site {
    /// Starts a thread for each socket.
    pub(super) fn open(
        listener: Listener,
        sockets: Vec<ServerSocket>,
        opening: &mut Opening<'_>,
    ) -> Result<Self, ServeError> {
        let address = sockets
            .first()
            .and_then(|socket| socket.local_addr().ok())
            .unwrap_or(listener.address);
        let policy = Arc::new(listener.policy.clone());
        let view = ServerView {
            claim: opening.claim,
            policy: Arc::clone(&policy),
            keyset: opening.keyset.clone(),
        };
        let mut site = Self {
            address,
            policy,
            keyset: opening.keyset.clone(),
            view: Arc::new(ArcSwap::from_pointee(view)),
            tallies: Vec::new(),
            clients: Vec::new(),
            threads: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            listener,
        };
        let workers = sockets.len();
        for socket in sockets {
            let worker = Worker {
                socket: Arc::new(socket),
                view: Arc::clone(&site.view),
                counters: Arc::default(),
                clients: Arc::new(SharedClientList::new((opening.seed)())),
                translator: opening.translator.clone(),
                stop: Arc::clone(&site.stop),
                workers,
                coalesce: site.listener.rest_under_load,
                seed: (opening.seed)(),
            };
            let size = site.policy.client_list_size;
            worker.clients.resize(size, workers);
            site.employ(worker, opening)?;
        }
        Ok(site)
    }

    fn employ(&mut self, worker: Worker, opening: &mut Opening<'_>) -> Result<(), ServeError> {
        let number = *opening.next;
        *opening.next = number.wrapping_add(1);
        let socket = Arc::clone(&worker.socket);
        self.tallies.push(Arc::clone(&worker.counters));
        self.clients.push(Arc::clone(&worker.clients));
        let obituary = ExitNotice {
            report: Arc::clone(opening.report),
            number,
        };
        let work = move || {
            let _obituary = obituary;
            worker.run()
        };
        let handle = sandbox::spawn(format!("serve-{number}"), Profile::Serving, work)
            .map_err(|error| ServeError::System("starting a thread", error))?;
        self.threads.push(Thread {
            number,
            socket,
            handle: Some(handle),
        });
        Ok(())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether `listener` wants this very site, but for its policy.
    pub(super) fn suits(&self, listener: &Listener) -> bool {
        let (ours, theirs) = (&self.listener, listener);
        // The steering key is a secret drawn at random, and as good as any other.
        ours.address == theirs.address
            && ours.workers == theirs.workers
            && ours.rest_under_load == theirs.rest_under_load
            && ours.options.timestamps == theirs.options.timestamps
            && ours.options.only_ipv6 == theirs.options.only_ipv6
    }

    pub(super) fn publish(&self, claim: Claim) {
        if self.view.load().claim != claim {
            self.store(claim);
        }
    }

    pub(super) fn publish_policy(&mut self, policy: Policy) {
        let size = policy.client_list_size;
        if size != self.policy.client_list_size {
            // Here and not by the workers: what is switched off is gone at once, whether or not anybody asks again. A worker that goes by the old
            // rules for another batch finds no room.
            for clients in &self.clients {
                clients.resize(size, self.clients.len());
            }
        }
        self.policy = Arc::new(policy);
        let claim = self.view.load().claim;
        self.store(claim);
    }

    pub(super) fn publish_keyset(&mut self, keyset: Arc<Keyset>) {
        self.keyset = Some(keyset);
        let claim = self.view.load().claim;
        self.store(claim);
    }

    fn store(&self, claim: Claim) {
        let policy = Arc::clone(&self.policy);
        let keyset = self.keyset.clone();
        self.view.store(Arc::new(ServerView {
            claim,
            policy,
            keyset,
        }));
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for tally in &self.tallies {
            totals.add(tally);
        }
        totals
    }

    /// How many clients are to be remembered.
    pub(super) fn client_list_size(&self) -> usize {
        self.policy.client_list_size
    }

    /// Adds what the workers know of their clients to `register`.
    pub(super) fn tell_clients(&self, register: &mut Register) {
        register.add(self.address, self.client_list_size(), &self.clients);
    }

    /// Whether this is the site that an operator calls `address`: as it was asked for, or with the port that the system chose.
    pub(super) fn is_called(&self, address: SocketAddr) -> bool {
        self.address == address || self.listener.address == address
    }

    /// Joins thread `number`, which has reported its end. Nothing if it is none of ours.
    pub(super) fn bury(&mut self, number: u32) -> Result<(), ServeError> {
        let address = self.address;
        let thread = self.threads.iter_mut().find(|it| it.number == number);
        thread.map_or(Ok(()), |thread| thread.join(address))
    }

    /// Stops the threads and waits for them.
    pub(super) fn stop(&mut self) -> Result<(), ServeError> {
        self.stop.store(true, Ordering::Release);
        for thread in &self.threads {
            if let Err(error) = thread.socket.end_receiving() {
                return Err(ServeError::System("shutdown", error));
            }
        }
        let address = self.address;
        let results: Vec<_> = self
            .threads
            .iter_mut()
            .map(|thread| thread.join(address))
            .collect();
        results.into_iter().collect()
    }

    #[cfg(test)]
    pub(super) fn clients_of(&self, worker: usize) -> &SharedClientList {
        &self.clients[worker]
    }

    /// What a defect of the kernel or of ours would do: a worker's socket goes away under it.
    #[cfg(test)]
    pub(super) fn sabotage(&self) {
        let last = self.threads.last().expect("a site has workers");
        last.socket.end_receiving().unwrap();
    }
}

impl Thread {
    fn join(&mut self, address: SocketAddr) -> Result<(), ServeError> {
        match self.handle.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(ServeError::Worker(address, error)),
            Some(Err(_)) => Err(ServeError::Panic(address)),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Whoever wants to know calls it before.
        let _ = self.stop();
    }
}
