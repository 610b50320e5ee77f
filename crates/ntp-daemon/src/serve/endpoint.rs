//! One listening address: its sockets, its worker threads, and the view that these share.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use ntp_os_clock::Translator;
use ntp_proto::nts::Keyset;
use ntp_proto::reference_ids::BloomFilter;
use ntp_proto::server::{Claim, Policy, ServerView};
use ntp_proto::wire::Version;
use ntp_types::path::ListenAddress;
use ntp_types::status::ServerStatus;
use ntp_udp::{ServerSocket, has_lost_device};
use ntp_worker::{ExitNotice, SharedClientList, SharedCounters, Worker};

use super::Listener;
use super::bound::Site;
use super::client_table::ClientTable;
use super::error::ServeError;
use crate::sandbox::{self, Profile};

/// The state that the workers at one address share. Dropping it stops them.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// As configured; its policy is the one that the workers started with.
    listener: Listener,
    /// With the port that the system chose.
    address: ListenAddress,
    policy: Arc<Policy>,
    keyset: Option<Arc<Keyset>>,
    reference_ids: Option<Arc<BloomFilter>>,
    view: Arc<ArcSwap<ServerView>>,
    counters: Vec<Arc<SharedCounters>>,
    clients: Vec<Arc<SharedClientList>>,
    threads: Vec<Thread>,
    stop: Arc<AtomicBool>,
}

/// What every new worker needs.
pub(super) struct WorkerContext<'a> {
    pub(super) claim: Claim,
    pub(super) keyset: Option<Arc<Keyset>>,
    pub(super) reference_ids: Option<Arc<BloomFilter>>,
    pub(super) translator: &'a Translator,
    /// Where workers write their exit notice.
    pub(super) report: &'a Arc<UnixStream>,
    /// Number of the next thread.
    pub(super) next: &'a mut u32,
    /// Returns a fresh secret for each call.
    pub(super) seed: &'a mut dyn FnMut() -> [u8; 32],
}

#[derive(Debug)]
struct Thread {
    /// Identifies the thread in its exit notice.
    number: u32,
    socket: Arc<ServerSocket>,
    handle: Option<JoinHandle<io::Result<()>>>,
}

impl Endpoint {
    /// Starts a thread for each socket.
    pub(super) fn open(
        listener: Listener,
        sockets: Vec<ServerSocket>,
        context: &mut WorkerContext<'_>,
    ) -> Result<Self, ServeError> {
        let bound = sockets.first().and_then(|socket| socket.local_addr().ok());
        let bound = bound.unwrap_or(listener.address.socket);
        let address = ListenAddress::of_socket(bound, listener.address.device);
        let policy = Arc::new(listener.policy.clone());
        let view = ServerView {
            claim: context.claim,
            policy: Arc::clone(&policy),
            keyset: context.keyset.clone(),
            reference_ids: context.reference_ids.clone(),
        };
        let mut endpoint = Self {
            address,
            policy,
            keyset: context.keyset.clone(),
            reference_ids: context.reference_ids.clone(),
            view: Arc::new(ArcSwap::from_pointee(view)),
            counters: Vec::new(),
            clients: Vec::new(),
            threads: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            listener,
        };
        let workers = sockets.len();
        for socket in sockets {
            let worker = Worker {
                socket: Arc::new(socket),
                view: Arc::clone(&endpoint.view),
                counters: Arc::default(),
                clients: Arc::new(SharedClientList::new((context.seed)())),
                translator: context.translator.clone(),
                stop: Arc::clone(&endpoint.stop),
                workers,
                coalesce: endpoint.listener.batching_under_load,
                seed: (context.seed)(),
            };
            let size = endpoint.policy.client_list_size;
            worker.clients.resize(size, workers);
            endpoint.start_worker(worker, context)?;
        }
        Ok(endpoint)
    }

    fn start_worker(
        &mut self,
        worker: Worker,
        context: &mut WorkerContext<'_>,
    ) -> Result<(), ServeError> {
        let number = *context.next;
        *context.next = number.wrapping_add(1);
        let socket = Arc::clone(&worker.socket);
        self.counters.push(Arc::clone(&worker.counters));
        self.clients.push(Arc::clone(&worker.clients));
        let exit_notice = ExitNotice {
            report: Arc::clone(context.report),
            number,
        };
        let work = move || {
            let _exit_notice = exit_notice;
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

    pub(super) fn address(&self) -> ListenAddress {
        self.address
    }

    /// Where it is bound.
    pub(super) fn site(&self) -> Site {
        Site {
            address: self.address,
            only_ipv6: self.listener.options.only_ipv6,
        }
    }

    /// Returns its sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.threads.iter().map(|thread| thread.socket.as_fd())
    }

    /// Returns whether its sockets are no longer bound to what has the name of its device now.
    pub(super) fn has_lost_device(&self) -> bool {
        // They were bound together.
        let first = self.sockets().next();
        first.is_some_and(|socket| has_lost_device(socket, self.address))
    }

    /// Returns the address as configured, with the present policy.
    pub(super) fn listener(&self) -> Listener {
        Listener {
            policy: (*self.policy).clone(),
            ..self.listener.clone()
        }
    }

    /// Returns whether this endpoint fits `listener` in all but its policy.
    pub(super) fn matches(&self, listener: &Listener) -> bool {
        let (ours, theirs) = (&self.listener, listener);
        // The steering key is a random secret, and any other would do as well.
        ours.address == theirs.address
            && ours.workers == theirs.workers
            && ours.batching_under_load == theirs.batching_under_load
            && ours.options.dscp == theirs.options.dscp
            && ours.options.timestamps == theirs.options.timestamps
            && ours.options.only_ipv6 == theirs.options.only_ipv6
    }

    pub(super) fn publish(&self, claim: Claim) {
        if self.view.load().claim != claim {
            self.store(claim);
        }
    }

    /// Whether requests of version 5 are answered.
    pub(super) fn serves_version_5(&self) -> bool {
        self.policy.versions.contains(Version::V5)
    }

    pub(super) fn publish_policy(&mut self, policy: Policy) {
        let size = policy.client_list_size;
        if size != self.policy.client_list_size {
            // Done here and not by the workers: a list that is switched off is gone at once,
            // whether or not requests arrive. A worker that applies the old policy for another
            // batch finds a capacity of zero.
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

    pub(super) fn publish_reference_ids(&mut self, reference_ids: Option<Arc<BloomFilter>>) {
        self.reference_ids = reference_ids;
        let claim = self.view.load().claim;
        self.store(claim);
    }

    fn store(&self, claim: Claim) {
        let policy = Arc::clone(&self.policy);
        let keyset = self.keyset.clone();
        let reference_ids = self.reference_ids.clone();
        self.view.store(Arc::new(ServerView {
            claim,
            policy,
            keyset,
            reference_ids,
        }));
    }

    /// Returns the status of the endpoint, over all workers.
    pub(super) fn status(&self) -> ServerStatus {
        let (mut requests, mut details) = Default::default();
        for worker in &self.counters {
            worker.add_to(&mut requests, &mut details);
        }
        ServerStatus {
            address: self.address,
            requests,
            details,
            client_list_size: self.client_list_size() as u64,
        }
    }

    /// Number of clients to remember.
    pub(super) fn client_list_size(&self) -> usize {
        self.policy.client_list_size
    }

    /// Adds the clients of all workers to `table`.
    pub(super) fn copy_clients(&self, table: &mut ClientTable) {
        table.add(self.address, self.client_list_size(), &self.clients);
    }

    /// Returns whether `address` names this endpoint: as configured, or with the port that the
    /// system chose.
    pub(super) fn has_address(&self, address: ListenAddress) -> bool {
        self.address == address || self.listener.address == address
    }

    /// Joins the thread `number`, which has sent its exit notice. Ignores threads of other
    /// endpoints.
    pub(super) fn join_exited(&mut self, number: u32) -> Result<(), ServeError> {
        let address = self.address;
        let thread = self.threads.iter_mut().find(|it| it.number == number);
        thread.map_or(Ok(()), |thread| thread.join(address))
    }

    /// Stops the threads and waits for them.
    pub(super) fn stop(&mut self) -> Result<(), ServeError> {
        self.stop.store(true, Ordering::Release);
        for thread in &self.threads {
            if let Err(error) = thread.socket.stop_receiving() {
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

    /// Simulates a fault of the kernel or of this program: shuts the socket of a worker down.
    #[cfg(test)]
    pub(super) fn inject_fault(&self) {
        let last = self.threads.last().expect("an endpoint has workers");
        last.socket.stop_receiving().unwrap();
    }
}

impl Thread {
    fn join(&mut self, address: ListenAddress) -> Result<(), ServeError> {
        match self.handle.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(ServeError::Worker(address, error)),
            Some(Err(_)) => Err(ServeError::Panic(address)),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Errors matter only to callers of `stop`.
        let _ = self.stop();
    }
}
