//! Which request gets which reply.

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
use crate::negotiation::{Wish, wish};
use crate::{dashboard, families};

/// Everything that the exporter can tell.
#[derive(Debug)]
pub(crate) struct Site {
    daemon: Daemon,
    history: RefCell<History>,
    chrony_names: bool,
    host: String,
}

/// Asks the daemon regularly, so that there is a past to show. Does not return.
pub(crate) async fn keep_history(site: Rc<Site>) {
    let mut ticks = interval(Duration::from_secs(FINE.0.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reading = site.daemon.read().await;
        let state = reading.state.as_ref().ok();
        site.history.borrow_mut().note(now_millis(), state);
    }
}

fn now_millis() -> i64 {
    realtime().as_nanos() / 1_000_000
}

type Reply = Response<Full<Bytes>>;

impl Site {
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

    /// The reply to a request, whose body is not looked at.
    pub(crate) async fn answer(&self, request: &Request<Incoming>) -> Reply {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            reply
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        let accept = request
            .headers()
            .get(ACCEPT)
            .and_then(|it| it.to_str().ok());
        let wish = wish(accept);
        match request.uri().path() {
            "/metrics" => self.metrics(wish).await,
            _ if wish.scraper => self.metrics(wish).await,
            "/" => page(),
            "/api/state" => self.state().await,
            "/api/history" => self.history(request.uri().query().unwrap_or_default()),
            _ => plain(
                StatusCode::NOT_FOUND,
                "there are / and /metrics, and for the page /api/state and /api/history\n",
            ),
        }
    }

    async fn metrics(&self, wish: Wish) -> Reply {
        let reading = self.daemon.read().await;
        let mut text = Text::new(wish.format);
        families::write(&mut text, &reading, self.chrony_names);
        let mut reply = reply(StatusCode::OK, wish.format.media_type(), text.finish());
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
                "problem": problem.kind.word(),
                "text": problem.to_string(),
            }),
        };
        reply(StatusCode::OK, JSON, body.to_string())
    }

    /// `span=day` for the coarse ring, `after=N` for the points after number N.
    fn history(&self, query: &str) -> Reply {
        let of = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        let after = of("after").and_then(|number| number.parse().ok());
        let history = self.history.borrow();
        let excerpt = history.after(after, of("span") == Some("day"));
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
