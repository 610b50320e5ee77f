//! `[[server]]`: where time is served, and to whom.

use std::net::SocketAddr;

use ntp_proto::keys::KeyId;
use ntp_proto::server::{ClientList, Policy, RateLimit};
use toml::de::DeValue;

use crate::address::NTP_PORT;
use crate::document::{Located, Place};
use crate::outline::Said;
use crate::reader::{Context, Section, Value};
use crate::subnet::{self, Subnet};
use crate::symmetric;
use crate::value::{self, describe};

/// An address at which time is served.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Where the section begins.
    pub place: Place,
    /// Its keys as the file has them.
    pub settings: toml::Table,
    /// The same, each value with its place.
    pub said: Vec<Said>,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Clients that are refused; looked at first.
    pub denylist: FilterList,
    /// Clients that are served; looked at second. The action is for all others.
    pub allowlist: FilterList,
    /// Clients whose request rate is watched; 0 watches none.
    pub rate_limiting_cache_size: usize,
    /// Shortest time between two requests of a client, in milliseconds; 0 permits any.
    pub rate_limiting_cutoff_ms: u64,
    /// Requests of a client that are answered in a row before the cutoff holds.
    pub rate_limiting_burst: u8,
    /// After many refusals in a row, one request in 2^n is answered all the same; `None` never.
    pub rate_limiting_leak: Option<u8>,
    /// One refused request in 2^n gets a RATE kiss; `None` never.
    pub rate_limiting_kiss: Option<u8>,
    /// Transmit timestamps that each thread keeps for clients in interleaved mode; 0 switches the mode off.
    pub interleaved_cache_size: usize,
    /// Client addresses that are remembered, over all threads, for an operator to see; 0 remembers none.
    pub client_list_size: usize,
    /// Symmetric keys that clients may use, by number; `None` stands for all of the key file.
    pub keys: Option<Vec<Located<KeyId>>>,
    /// What is done with requests without NTS; `None` answers them.
    pub require_nts: Option<FilterAction>,
    /// Versions that are answered; may be empty, and then nothing is.
    pub accept_ntp_versions: Vec<NtpVersion>,
    /// Threads that serve; `None` takes one for each processor.
    pub workers: Option<usize>,
    /// Whether threads gather requests for a tenth of a millisecond while there are very many.
    pub rest_under_load: bool,
}

/// Networks, and what happens to clients in them (deny list) or outside of them (allow list).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterList {
    /// The networks.
    pub filter: Vec<Subnet>,
    /// What happens.
    pub action: FilterAction,
}

/// What is done with a request that is not to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterAction {
    /// Nothing is sent.
    Ignore,
    /// A DENY kiss is sent (RFC 5905 section 7.4).
    Deny,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NtpVersion {
    /// RFC 1305.
    V3,
    /// RFC 5905.
    V4,
    /// The draft.
    V5,
}

impl NtpVersion {
    /// The version's number.
    pub const fn number(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

/// All `[[server]]` sections.
pub(crate) fn read_all(cx: &mut Context, value: &Value<'_>) -> Option<Vec<ServerConfig>> {
    value::sections(cx, value, "server", read)
}

fn read(cx: &mut Context, mut section: Section<'_>) -> Option<ServerConfig> {
    let place = section.place(cx);
    let settings = section.settings();
    let said = section.said(cx);
    let listen = section.required(cx, "listen", |cx, value| {
        value::socket_address(cx, value, NTP_PORT)
    });
    let nobody = FilterList {
        filter: Vec::new(),
        action: FilterAction::Deny,
    };
    let everybody = FilterList {
        filter: vec![Subnet::ALL_IPV6, Subnet::ALL_IPV4],
        action: FilterAction::Ignore,
    };
    let denylist = section.or(
        cx,
        "denylist",
        |cx, value| filter_list(cx, value, "server.denylist"),
        nobody,
    );
    let allowlist = section.or(
        cx,
        "allowlist",
        |cx, value| filter_list(cx, value, "server.allowlist"),
        everybody,
    );
    let rate_limiting_cache_size = section.or(cx, "rate-limiting-cache-size", value::whole, 0);
    let rate_limiting_cutoff_ms = section.or(cx, "rate-limiting-cutoff-ms", value::whole, 0);
    let rate_limiting_burst = section.or(cx, "rate-limiting-burst", burst, DEFAULT_BURST);
    let rate_limiting_leak = section.or(cx, "rate-limiting-leak", one_in, DEFAULT_LEAK);
    let rate_limiting_kiss = section.or(cx, "rate-limiting-kiss", one_in, None);
    let interleaved_cache_size = section.or(
        cx,
        "interleaved-cache-size",
        |cx, value| at_most(cx, value, Policy::MAX_INTERLEAVED_PAIRS),
        Policy::INTERLEAVED_PAIRS,
    );
    let client_list_size = section.or(
        cx,
        "client-list-size",
        |cx, value| at_most(cx, value, ClientList::MAX_ENTRIES),
        0,
    );
    let keys = section.optional(cx, "keys", |cx, value| {
        value::array(cx, value, symmetric::key_id)
    });
    let require_nts = section.or(cx, "require-nts", require_nts, None);
    let accept_ntp_versions = section.or(
        cx,
        "accept-ntp-versions",
        |cx, value| value::array(cx, value, version),
        vec![NtpVersion::V3, NtpVersion::V4],
    );
    let workers = section.optional(cx, "workers", workers);
    let rest_under_load = section.or(cx, "rest-under-load", value::boolean, true);
    section.finish(cx);
    Some(ServerConfig {
        place,
        settings,
        said,
        listen: listen?,
        denylist,
        allowlist,
        rate_limiting_cache_size,
        rate_limiting_cutoff_ms,
        rate_limiting_burst,
        rate_limiting_leak,
        rate_limiting_kiss,
        interleaved_cache_size,
        client_list_size,
        keys,
        require_nts,
        accept_ntp_versions,
        workers,
        rest_under_load,
    })
}

fn burst(cx: &mut Context, value: &Value<'_>) -> Option<u8> {
    let number: usize = value::whole(cx, value)?;
    match u8::try_from(number) {
        Ok(burst) if burst > 0 => Some(burst),
        _ => value.reject(
            cx,
            format!("invalid value: {number}, expected a number from 1 to 255"),
        ),
    }
}

/// A share, written as "one in so many": a power of two, or 0 for none. The outer `None` is a rejected value.
fn one_in(cx: &mut Context, value: &Value<'_>) -> Option<Option<u8>> {
    const MOST: usize = 1 << 16;
    let number: usize = value::whole(cx, value)?;
    if number == 0 {
        return Some(None);
    }
    if number.is_power_of_two() && number <= MOST {
        return Some(u8::try_from(number.trailing_zeros()).ok());
    }
    let near = number.min(MOST).next_power_of_two();
    value.reject_with(
        cx,
        format!("invalid value: {number}, expected 0 or a power of two up to {MOST}"),
        format!("write {near} for one request in {near}, or 0 for none"),
    )
}

fn at_most(cx: &mut Context, value: &Value<'_>, most: usize) -> Option<usize> {
    let number = value::whole(cx, value)?;
    if number <= most {
        return Some(number);
    }
    value.reject(
        cx,
        format!("invalid value: {number}, expected a number from 0 to {most}"),
    )
}

fn workers(cx: &mut Context, value: &Value<'_>) -> Option<usize> {
    /// A slip of the finger is caught, and no machine needs more.
    const MOST: usize = 1024;
    let number = value::whole(cx, value)?;
    if (1..=MOST).contains(&number) {
        return Some(number);
    }
    value.reject(
        cx,
        format!("invalid value: {number}, expected a number from 1 to {MOST}"),
    )
}

fn filter_list(cx: &mut Context, value: &Value<'_>, name: &'static str) -> Option<FilterList> {
    let mut table = Section::open(cx, name, value)?;
    // Upstream ignores unknown keys here. Both keys are required, so no misspelling is missed.
    table.accept_unknown();
    let subnets = |cx: &mut Context, value: &Value<'_>| value::array(cx, value, subnet::read);
    let filter = table.required(cx, "filter", subnets);
    let action = table.required(cx, "action", action);
    table.finish(cx);
    Some(FilterList {
        filter: filter?,
        action: action?,
    })
}

fn action(cx: &mut Context, value: &Value<'_>) -> Option<FilterAction> {
    value::choice(cx, value, ACTIONS)
}

/// The outer `None` is a rejected value, the inner one no requirement.
fn require_nts(cx: &mut Context, value: &Value<'_>) -> Option<Option<FilterAction>> {
    match value.node {
        DeValue::Boolean(false) => Some(None),
        DeValue::Boolean(true) => Some(Some(FilterAction::Ignore)),
        DeValue::String(_) => action(cx, value).map(Some),
        other => {
            let message = format!(
                "invalid type: {}, expected `true`, `false`, `\"ignore\"` or `\"deny\"`",
                describe(other)
            );
            value.reject(cx, message)
        }
    }
}

fn version(cx: &mut Context, value: &Value<'_>) -> Option<NtpVersion> {
    let expected = "one of the numbers 3, 4 and 5";
    match value::integer(cx, value, || expected.into())? {
        3 => Some(NtpVersion::V3),
        4 => Some(NtpVersion::V4),
        5 => Some(NtpVersion::V5),
        other => value.reject(
            cx,
            format!("invalid value: integer `{other}`, expected {expected}"),
        ),
    }
}

/// Of the limiter itself, so that the two cannot differ.
const DEFAULT_BURST: u8 = RateLimit::NONE.burst;
const DEFAULT_LEAK: Option<u8> = RateLimit::NONE.leak;

const ACTIONS: &[(&str, FilterAction)] = &[
    ("ignore", FilterAction::Ignore),
    ("deny", FilterAction::Deny),
];
