//! All endpoints on the server's thread: opens, changes and closes them as the owner of the thread
//! commands.
//!
//! Everything that can fail was done before: the owner binds sockets and reads certificates,
//! because it can report errors. An endpoint that is closed stops accepting connections; open
//! connections finish.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use ntp_types::path::ListenAddress;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::certificates::{CHECK_INTERVAL, Certificates};
use super::connection::{Endpoint, Shared};
use super::{CertificateInUse, EndpointConfig};

/// A command for the server's thread.
pub(super) enum Command {
    /// Read the certificates again.
    Reload,
    /// Serve these endpoints and no others.
    SetEndpoints(Vec<EndpointChange>),
}

/// How to get an endpoint into its new state.
pub(super) enum EndpointChange {
    /// It is unchanged.
    Keep(ListenAddress),
    /// It applies to new connections.
    Change(EndpointConfig, Certificates),
    /// It is a new endpoint.
    Add(EndpointConfig, TcpListener, Certificates),
    /// It listens again, with another socket: that of before is shut down.
    Listen(ListenAddress, TcpListener),
}

/// All endpoints, on the server's thread.
pub(super) struct Endpoints {
    open: Vec<OpenEndpoint>,
    shared: Rc<Shared>,
    /// Certificates in use, for readers on other threads.
    certificates: Arc<Mutex<Vec<CertificateInUse>>>,
}

/// An endpoint that accepts connections until this is dropped.
struct OpenEndpoint {
    address: ListenAddress,
    endpoint: Rc<Endpoint>,
    accept_task: AbortHandle,
}

impl Drop for OpenEndpoint {
    fn drop(&mut self) {
        // The task owns the listening socket; open connections hold a reference to the endpoint.
        self.accept_task.abort();
        self.endpoint.close();
    }
}

impl Endpoints {
    pub(super) fn new(shared: Rc<Shared>, certificates: Arc<Mutex<Vec<CertificateInUse>>>) -> Self {
        Self {
            open: Vec::new(),
            shared,
            certificates,
        }
    }

    /// Serves until the owner drops its end of `commands`.
    pub(super) async fn run(
        mut self,
        initial: Vec<EndpointChange>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) -> io::Result<()> {
        self.apply(initial)?;
        loop {
            let read = match tokio::time::timeout(CHECK_INTERVAL, commands.recv()).await {
                Ok(Some(Command::Reload)) => self.reload(true),
                Ok(Some(Command::SetEndpoints(changes))) => {
                    self.apply(changes)?;
                    false
                }
                Ok(None) => return Ok(()),
                Err(_) => self.reload(false),
            };
            if read {
                self.publish_certificates();
            }
        }
    }

    /// Applies the changes and closes all endpoints that are not among them.
    fn apply(&mut self, changes: Vec<EndpointChange>) -> io::Result<()> {
        let mut before = core::mem::take(&mut self.open);
        for change in changes {
            match change {
                EndpointChange::Keep(address) => self.open.extend(take(&mut before, address)),
                EndpointChange::Change(config, certificates) => {
                    if let Some(open) = take(&mut before, config.address()) {
                        open.endpoint.change(config, certificates);
                        self.open.push(open);
                    }
                }
                EndpointChange::Add(config, listener, certificates) => {
                    certificates.report(&*self.shared.on_event);
                    let address = config.address();
                    let endpoint = Endpoint::new(config, certificates, Rc::clone(&self.shared));
                    self.open.push(OpenEndpoint {
                        address,
                        accept_task: accept(&endpoint, listener)?,
                        endpoint,
                    });
                }
                EndpointChange::Listen(address, listener) => {
                    if let Some(mut open) = take(&mut before, address) {
                        open.accept_task.abort();
                        open.accept_task = accept(&open.endpoint, listener)?;
                        self.open.push(open);
                    }
                }
            }
        }
        self.publish_certificates();
        Ok(())
    }

    /// Reloads the certificates of all endpoints. Returns whether any were read.
    fn reload(&self, requested: bool) -> bool {
        let read = |open: &OpenEndpoint| open.endpoint.reload(requested);
        // Does not stop at the first one.
        self.open.iter().map(read).fold(false, |any, one| any | one)
    }

    fn publish_certificates(&self) {
        let in_use = self.open.iter().flat_map(|open| open.endpoint.in_use());
        let published = self.certificates.lock();
        *published.unwrap_or_else(PoisonError::into_inner) = in_use.collect();
    }
}

/// Starts a task that accepts connections.
fn accept(endpoint: &Rc<Endpoint>, listener: TcpListener) -> io::Result<AbortHandle> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let task = tokio::task::spawn_local(Rc::clone(endpoint).accept(listener));
    Ok(task.abort_handle())
}

fn take(endpoints: &mut Vec<OpenEndpoint>, address: ListenAddress) -> Option<OpenEndpoint> {
    let index = endpoints.iter().position(|open| open.address == address)?;
    Some(endpoints.swap_remove(index))
}
