//! All endpoints on the server's thread: opened, changed and closed as the owner of the thread orders.
//!
//! Whatever can fail has been done by then: sockets are bound and certificates are read by the owner, who can tell somebody. An endpoint that closes
//! lets nobody in any more; those who are inside end as they began.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::certificates::{Certificates, LOOK};
use super::connection::{Hall, Shared};
use super::{Endpoint, InUse};

/// What the server's thread is told.
pub(super) enum Order {
    /// Read the certificates again.
    Reload,
    /// Serve at these endpoints and no others.
    Follow(Vec<Arrangement>),
}

/// How an endpoint comes to be as it is wanted.
pub(super) enum Arrangement {
    /// It stays as it is.
    Keep(SocketAddr),
    /// Those who come from now on find it changed.
    Change(Endpoint, Certificates),
    /// It was not there before.
    New(Endpoint, TcpListener, Certificates),
}

/// All endpoints, on the server's thread.
pub(super) struct House {
    halls: Vec<Open>,
    shared: Rc<Shared>,
    /// Certificates in use, for readers on other threads.
    shown: Arc<Mutex<Vec<InUse>>>,
}

/// An endpoint that lets people in as long as this lives.
struct Open {
    listen: SocketAddr,
    hall: Rc<Hall>,
    door: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        // With the task goes the listening socket; those who are inside hold on to the hall.
        self.door.abort();
    }
}

impl House {
    pub(super) fn new(shared: Rc<Shared>, shown: Arc<Mutex<Vec<InUse>>>) -> Self {
        Self {
            halls: Vec::new(),
            shared,
            shown,
        }
    }

    pub(super) async fn run(
        mut self,
        begun: Vec<Arrangement>,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> io::Result<()> {
        self.follow(begun)?;
        loop {
            let read = match tokio::time::timeout(LOOK, orders.recv()).await {
                Ok(Some(Order::Reload)) => self.reload(true),
                Ok(Some(Order::Follow(arrangements))) => {
                    self.follow(arrangements)?;
                    false
                }
                Ok(None) => return Ok(()),
                Err(_) => self.reload(false),
            };
            if read {
                self.show();
            }
        }
    }

    fn follow(&mut self, arrangements: Vec<Arrangement>) -> io::Result<()> {
        let mut before = core::mem::take(&mut self.halls);
        for arrangement in arrangements {
            match arrangement {
                Arrangement::Keep(listen) => self.halls.extend(taken(&mut before, listen)),
                Arrangement::Change(endpoint, certificates) => {
                    if let Some(open) = taken(&mut before, endpoint.listen) {
                        open.hall.change(endpoint, certificates);
                        self.halls.push(open);
                    }
                }
                Arrangement::New(endpoint, listener, certificates) => {
                    certificates.announce(&*self.shared.tell);
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    let listen = endpoint.listen;
                    let hall = Hall::new(endpoint, certificates, Rc::clone(&self.shared));
                    let door = tokio::task::spawn_local(Rc::clone(&hall).accept(listener));
                    self.halls.push(Open {
                        listen,
                        hall,
                        door: door.abort_handle(),
                    });
                }
            }
        }
        self.show();
        Ok(())
    }

    fn reload(&self, asked: bool) -> bool {
        let read = |open: &Open| open.hall.reload(asked);
        // Every one of them, whatever the others say.
        self.halls
            .iter()
            .map(read)
            .fold(false, |any, one| any | one)
    }

    fn show(&self) {
        let in_use = self.halls.iter().flat_map(|open| open.hall.in_use());
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = in_use.collect();
    }
}

fn taken(halls: &mut Vec<Open>, listen: SocketAddr) -> Option<Open> {
    let place = halls.iter().position(|open| open.listen == listen)?;
    Some(halls.swap_remove(place))
}
