//! HTTP service: routes requests and makes replies.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use ntp_control_api::metrics::{Format, Text};
use ntp_os_clock::realtime;
use ntp_udp::signals;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::daemon::Daemon;
use crate::history::{FINE, History};
use crate::hosts::Hosts;
use crate::negotiation::negotiate;
use crate::store::{SAVE_INTERVAL, Store};
use crate::{dashboard, families};

/// State of the service.
#[derive(Debug)]
pub(crate) struct Service {
    daemon: Daemon,
    history: RefCell<History>,
    store: RefCell<Store>,
    chrony_names: bool,
    host: String,
    hosts: Hosts,
}

/// Reads the state of the daemon periodically into the history, and saves it. Returns after SIGTERM or
/// SIGINT, if the history is saved; otherwise these signals end the process.
pub(crate) async fn record_history(service: Rc<Service>) {
    let mut ticks = interval(Duration::from_secs(FINE.0.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut saved = Instant::now();
    loop {
        ticks.tick().await;
        let is_end = signals::terminate_requested();
        if is_end || saved.elapsed() >= SAVE_INTERVAL {
            saved = Instant::now();
            let history = service.history.borrow();
            service.store.borrow_mut().save(&history);
        }
        if is_end {
            return;
        }
        let reading = service.daemon.read().await;
        let state = reading.state.as_ref().map_err(|it| it.text.as_str());
        service.history.borrow_mut().record(now_millis(), state);
    }
}

fn now_millis() -> i64 {
    realtime().as_nanos() / 1_000_000
}

type Reply = Response<Full<Bytes>>;

impl Service {
    /// Permits requests for `hosts` beside the names of this machine.
    pub(crate) fn new(daemon: Daemon, store: Store, chrony_names: bool, hosts: &[String]) -> Self {
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy().into_owned();
        Self {
            daemon,
            history: RefCell::new(store.load(now_millis())),
            store: RefCell::new(store),
            chrony_names,
            hosts: Hosts::new(&host, hosts),
            host,
        }
    }

    /// Handles a request; its body is ignored.
    pub(crate) async fn handle(&self, request: &Request<Incoming>) -> Reply {
        if let Some(text) = self.hosts.refusal(request) {
            return reply(StatusCode::MISDIRECTED_REQUEST, TEXT, text);
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut reply = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "Only GET and HEAD are supported\n",
            );
            let methods = HeaderValue::from_static("GET, HEAD");
            reply.headers_mut().insert(ALLOW, methods);
            return reply;
        }
        let accept = request.headers().get(ACCEPT);
        let accept = accept.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let uri = request.uri();
        match (uri.path(), negotiate(accept)) {
            ("/metrics", format) => self.metrics(format.unwrap_or(Format::Classic)).await,
            (_, Some(format)) => self.metrics(format).await,
            (path, None) => self.page(path, uri.query().unwrap_or_default()).await,
        }
    }

    /// Replies to a client that is no scraper.
    async fn page(&self, path: &str, query: &str) -> Reply {
        match (path, dashboard::file(path)) {
            ("/api/state", _) => self.state().await,
            ("/api/history", _) => self.history(query),
            (_, Some((media_type, content))) => reply(StatusCode::OK, media_type, content),
            (_, None) => plain(
                StatusCode::NOT_FOUND,
                "Not found; see / and /metrics, or /api/state and /api/history\n",
            ),
        }
    }

    async fn metrics(&self, format: Format) -> Reply {
        let reading = self.daemon.read().await;
        let mut text = Text::new(format);
        families::write(&mut text, &reading, self.chrony_names);
        reply(StatusCode::OK, format.media_type(), text.finish())
    }

    async fn state(&self) -> Reply {
        let reading = self.daemon.read().await;
        let body = match &reading.state {
            Ok(state) => json!({ "up": true, "host": self.host, "state": state }),
            Err(problem) => json!({
                "up": false,
                "host": self.host,
                "problem": problem.kind.name(),
                "text": problem.text,
            }),
        };
        reply(StatusCode::OK, JSON, body.to_string())
    }

    /// Query parameters: `span=day` selects the coarse ring, `after=N` the points after number N,
    /// `change=N` the changes after number N.
    fn history(&self, query: &str) -> Reply {
        let parameter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        let number = |name: &str| parameter(name).and_then(|number| number.parse().ok());
        let is_day = parameter("span") == Some("day");
        let body = self
            .history
            .borrow()
            .json_after(number("after"), is_day, number("change"));
        reply(StatusCode::OK, JSON, body)
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

fn plain(status: StatusCode, text: &'static str) -> Reply {
    reply(status, TEXT, text)
}

fn reply(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, dashboard::POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (VARY, "accept"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    reply.headers_mut().extend(headers);
    reply
}
