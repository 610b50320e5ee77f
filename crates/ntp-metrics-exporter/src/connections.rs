//! The bounded crowd of clients.
//!
//! # Problem
//! A client that connects and stays silent, sends its request octet by octet or never reads the reply costs a descriptor and a few kilobytes. Whoever can
//! open many such connections must not keep the next scrape out.
//!
//! # Idea
//! There are [`CROWD`] places. When all are taken, the one that has been there longest is shown the door: an honest request is done in
//! milliseconds, so the oldest connection is the one that does least. Besides, a request's head must arrive within [`HEAD`], and no connection
//! lives longer than [`LIFE`]: it is then ended in order (keep-alive is not renewed), and after [`GRACE`] cut off.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::answer::Site;

/// Clients at a time.
pub(crate) const CROWD: usize = 100;
/// Time for the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// Time for a connection, with all of its requests.
const LIFE: Duration = Duration::from_secs(60);
/// Time that is left after it for the reply that is on its way.
const GRACE: Duration = Duration::from_secs(5);
/// Largest head of a request, in octets; the least that hyper permits.
const HEAD_SIZE: usize = 8192;
/// How long to wait if the system gives no more descriptors.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves whoever comes. Does not return.
pub(crate) async fn serve(listener: TcpListener, site: Rc<Site>) {
    let mut crowd: VecDeque<AbortHandle> = VecDeque::with_capacity(CROWD);
    let mut told = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(problem) => {
                if !core::mem::replace(&mut told, true) {
                    warn!("cannot accept a connection: {problem}");
                }
                crowd.pop_front().inspect(AbortHandle::abort);
                sleep(EXHAUSTED).await;
                continue;
            }
        };
        crowd.retain(|client| !client.is_finished());
        if crowd.len() >= CROWD {
            crowd.pop_front().inspect(AbortHandle::abort);
        }
        let client = spawn_local(attend(stream, Rc::clone(&site)));
        crowd.push_back(client.abort_handle());
    }
}

async fn attend(stream: TcpStream, site: Rc<Site>) {
    let service = service_fn(move |request| {
        let site = Rc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = core::pin::pin!(connection);
    // What goes wrong on a connection is the client's affair.
    if timeout(LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE, connection).await;
    }
}
