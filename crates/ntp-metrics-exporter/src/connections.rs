//! Bounded number of connections.
//!
//! # Problem
//! A client that connects and sends nothing, sends its request octet by octet or never reads the
//! reply costs a descriptor and a few kilobytes. A client with many such connections must not
//! prevent the next scrape.
//!
//! # Idea
//! There are at most [`MAX_CONNECTIONS`]. A further one replaces the oldest: a regular request
//! takes milliseconds, so the oldest connection is the least active. The head of a request must
//! arrive within [`HEAD_TIMEOUT`]. A connection lasts at most [`MAX_AGE`]: then it is shut down
//! gracefully (without further keep-alive), and closed after [`GRACE_PERIOD`].

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

use crate::log;
use crate::service::Service;

/// Maximum number of connections.
pub(crate) const MAX_CONNECTIONS: usize = 100;
/// Timeout of the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum age of a connection, with all its requests.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Time after that to complete the current reply.
const GRACE_PERIOD: Duration = Duration::from_secs(5);
/// Maximum size of the head of a request in octets: the minimum that hyper permits.
const MAX_HEAD_SIZE: usize = 8192;
/// Delay after a failed accept, for example without free descriptors.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves connections. Does not return.
pub(crate) async fn serve(listener: TcpListener, service: Rc<Service>) {
    let mut connections: VecDeque<AbortHandle> = VecDeque::with_capacity(MAX_CONNECTIONS);
    let mut logged = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(problem) => {
                if !core::mem::replace(&mut logged, true) {
                    log::warn(format_args!("cannot accept a connection: {problem}"));
                }
                connections.pop_front().inspect(AbortHandle::abort);
                sleep(RETRY_DELAY).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= MAX_CONNECTIONS {
            connections.pop_front().inspect(AbortHandle::abort);
        }
        let connection = spawn_local(serve_connection(stream, Rc::clone(&service)));
        connections.push_back(connection.abort_handle());
    }
}

async fn serve_connection(stream: TcpStream, service: Rc<Service>) {
    let handler = service_fn(move |request| {
        let service = Rc::clone(&service);
        async move { Ok::<_, Infallible>(service.handle(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), handler);
    let mut connection = core::pin::pin!(connection);
    // Errors of a connection are ignored: clients cause them.
    if timeout(MAX_AGE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE_PERIOD, connection).await;
    }
}
