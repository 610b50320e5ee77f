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
use ntp_control_api::metrics::Text;
use ntp_os_clock::realtime;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::daemon::Daemon;
use crate::history::{FINE, History};
use crate::negotiation::{Preference, negotiate};
use crate::{dashboard, families};

/// State of the service.
#[derive(Debug)]
pub(crate) struct Service {
    daemon: Daemon,
    history: RefCell<History>,
    chrony_names: bool,
    host: String,
}

/// Reads the state of the daemon periodically into the history. Does not return.
pub(crate) async fn record_history(service: Rc<Service>) {
    let mut ticks = interval(Duration::from_secs(FINE.0.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reading = service.daemon.read().await;
        let state = reading.state.as_ref().ok();
        service.history.borrow_mut().record(now_millis(), state);
    }
}

fn now_millis() -> i64 {
    realtime().as_nanos() / 1_000_000
}

type Reply = Response<Full<Bytes>>;

impl Service {
    pub(crate) fn new(daemon: Daemon, chrony_names: bool) -> Self {
        Self {
            daemon,
            history: RefCell::new(History::new(now_millis())),
            chrony_names,
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        }
    }

    /// Handles a request; its body is ignored.
    pub(crate) async fn handle(&self, request: &Request<Incoming>) -> Reply {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut reply = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "Only GET and HEAD are supported\n",
            );
            reply
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        let accept = request
            .headers()
            .get(ACCEPT)
            .and_then(|it| it.to_str().ok());
        let preference = negotiate(accept);
        match request.uri().path() {
            "/metrics" => self.metrics(preference).await,
            _ if preference.is_scraper => self.metrics(preference).await,
            "/" => page(),
            "/api/state" => self.state().await,
            "/api/history" => self.history(request.uri().query().unwrap_or_default()),
            _ => plain(
                StatusCode::NOT_FOUND,
                "Not found; see / and /metrics, or /api/state and /api/history\n",
            ),
        }
    }

    async fn metrics(&self, Preference { format, .. }: Preference) -> Reply {
        let reading = self.daemon.read().await;
        let mut text = Text::new(format);
        families::write(&mut text, &reading, self.chrony_names);
        let mut reply = reply(StatusCode::OK, format.media_type(), text.finish());
        reply
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("accept"));
        reply
    }

    async fn state(&self) -> Reply {
        let reading = self.daemon.read().await;
        let body = match &reading.state {
            Ok(state) => json!({ "up": true, "host": self.host, "state": state }),
            Err(problem) => json!({
                "up": false,
                "problem": problem.kind.name(),
                "text": problem.to_string(),
            }),
        };
        reply(StatusCode::OK, JSON, body.to_string())
    }

    /// Query parameters: `span=day` selects the coarse ring, `after=N` the points after number N.
    fn history(&self, query: &str) -> Reply {
        let parameter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        let after = parameter("after").and_then(|number| number.parse().ok());
        let history = self.history.borrow();
        let excerpt = history.after(after, parameter("span") == Some("day"));
        match serde_json::to_string(&excerpt) {
            Ok(body) => reply(StatusCode::OK, JSON, body),
            Err(problem) => plain(StatusCode::INTERNAL_SERVER_ERROR, &problem.to_string()),
        }
    }
}

const JSON: &str = "application/json";

fn page() -> Reply {
    let mut reply = reply(StatusCode::OK, "text/html; charset=utf-8", dashboard::PAGE);
    let headers = reply.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        dashboard::content_security_policy().clone(),
    );
    headers.insert(VARY, HeaderValue::from_static("accept"));
    reply
}

fn plain(status: StatusCode, text: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", text.to_owned())
}

fn reply(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}
