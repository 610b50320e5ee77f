//! `[[server]]`: an address at which time is served, access control and rate limiting.

use std::net::SocketAddr;

use ntp_proto::keys::KeyId;
use ntp_proto::server::{ClientList, Policy, RateLimit};
use ntp_types::path::{InterfaceName, ListenAddress};
use toml::de::DeValue;

use crate::access::{self, AccessRules};
use crate::address::NTP_PORT;
use crate::diagnostic::Diagnostic;
use crate::document::{Located, Place};
use crate::documentation::KeyDoc;
use crate::entry::Entry;
use crate::path;
use crate::reader::{Context, Section, Value};
use crate::schema::{self, section};
use crate::subnet::{self, Subnet};
use crate::value;

section! {
    /// An address at which time is served.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ServerConfig = "server" [] then check {
        + place: Place = schema::place, "Start of the section.";
        + settings: toml::Table = schema::settings, "Its keys as the file has them.";
        + entries: Vec<Entry> = schema::entries, "The same, each value with its place.";
        listen: SocketAddr = |cx, value| value::socket_address(cx, value, NTP_PORT) => required,
            "listen" "string" "required" "Address and port to listen on, for example `0.0.0.0:123` or `[::]:123`.";
        device: Option<InterfaceName> = path::interface => optional,
            "bind-device" "string" "none" "Network interface or VRF whose clients are served; one address can be served with several, each with its own section. While it does not exist, the address is not served. Needs Linux 5.7, or CAP_NET_RAW.";
        dscp: u8 = path::dscp => or(0),
            "dscp" "integer" "0" "Differentiated services code point of the replies, 0 to 63 (RFC 2474).";
        denylist: FilterList = |cx, value| filter_list(cx, value, DENYLIST) => or(FilterList {
                filter: Vec::new(), action: FilterAction::Deny,
            }),
            "denylist" "table" "no clients" "Clients that are refused; checked first.";
        allowlist: FilterList = |cx, value| filter_list(cx, value, ALLOWLIST) => or(FilterList {
                filter: vec![Subnet::ALL_IPV6, Subnet::ALL_IPV4], action: FilterAction::Ignore,
            }),
            "allowlist" "table" "all clients" "Clients that are served; checked second. All clients that it does not contain are refused.";
        access: Option<AccessRules> = access::read => optional,
            "access" "table" "none" "Decision for each network, of which the most specific one counts; replaces `denylist` and `allowlist`.";
        rate_limiting_cache_size: usize = value::whole => or(0),
            "rate-limiting-cache-size" "integer" "0" "Number of client addresses whose request rate is tracked; 0 switches rate limiting off.";
        rate_limiting_cutoff_ms: u64 = value::whole => or(0),
            "rate-limiting-cutoff-ms" "integer, milliseconds" "0" "Minimum interval between two requests of one address; 0 permits any.";
        rate_limiting_burst: u8 = burst => or(RateLimit::NONE.burst),
            "rate-limiting-burst" "integer" "1" "Number of requests of one address that are answered in a row before the cutoff applies, 1 to 255; one is regained in each cutoff interval.";
        rate_limiting_leak: Option<u8> = one_in => or(RateLimit::NONE.leak),
            "rate-limiting-leak" "`0` or a power of two" "8" "After 16 refusals in a row, one request in this number is answered nevertheless, so that forged requests cannot silence a client; 0 is none.";
        rate_limiting_kiss: Option<u8> = one_in => or(None),
            "rate-limiting-kiss" "`0` or a power of two" "0" "One refused request in this number gets a RATE kiss, which asks the client to slow down; 0 is none, 1 all.";
        interleaved_cache_size: usize = |cx, value| value::within(cx, value, 0..=Policy::MAX_INTERLEAVED_PAIRS)
                => or(Policy::INTERLEAVED_PAIRS),
            "interleaved-cache-size" "integer" "4096" "Transmit timestamps that each thread keeps for clients in interleaved mode (RFC 9769), 24 octets each; 0 switches the mode off.";
        client_list_size: usize = |cx, value| value::within(cx, value, 0..=ClientList::MAX_ENTRIES) => or(0),
            "client-list-size" "integer" "0" "Number of client addresses, over all threads, that are kept for `ntp-ctl clients`, up to 65536, 72 octets each: those with the most requests. 0 keeps none.";
        keys: Option<Vec<Located<KeyId>>> = |cx, value| value::array(cx, value, value::key_id) => optional,
            "keys" "list of integers" "all keys of the key file" "Numbers of the symmetric keys that clients may use; with an empty list, authentication codes are not checked.";
        require_nts: Option<FilterAction> = require_nts => or(None),
            "require-nts" "boolean, `\"ignore\"` or `\"deny\"`" "false" "Whether requests without NTS are refused, and how; `true` is `\"ignore\"`.";
        accept_ntp_versions: Vec<NtpVersion> = |cx, value| value::array(cx, value, version)
                => or(vec![NtpVersion::V1, NtpVersion::V2, NtpVersion::V3, NtpVersion::V4]),
            "accept-ntp-versions" "list of `1` to `5`" "[1, 2, 3, 4]" "Protocol versions that are answered. 5 is the draft of NTPv5, to be named here; where it is, requests of older versions that ask for it get its mark.";
        workers: Option<usize> = |cx, value| value::within(cx, value, 1..=MAX_WORKERS) => optional,
            "workers" "integer" "the number of processors" "Number of threads that serve this address; the requests of one client go to one thread.";
        batching_under_load: bool = value::boolean => or(true),
            "batching-under-load" "boolean" "true" "Whether a thread that receives more than ten thousand requests a second collects them for a tenth of a millisecond at a time: replies are sent that much later, with correct timestamps, for a fraction of the processor time.";
    }
}

impl ServerConfig {
    /// The name by which operators know it: the address, and behind `%` its `bind-device`.
    pub fn address(&self) -> ListenAddress {
        ListenAddress {
            socket: self.listen,
            device: self.device,
        }
    }
}

/// Catches typing errors; no machine needs more threads.
const MAX_WORKERS: usize = 1024;
const DENYLIST: &str = "server.denylist";
const ALLOWLIST: &str = "server.allowlist";

fn check(cx: &mut Context, server: ServerConfig) -> ServerConfig {
    path::check_scope(cx, &server.entries, server.listen, server.device);
    check_access(cx, &server);
    server
}

/// `access` decides about every client, so that lists beside it would have no meaning.
fn check_access(cx: &mut Context, server: &ServerConfig) {
    if server.access.is_some() {
        let entries = server.entries.iter();
        for (list, prefix) in [("denylist", "denylist."), ("allowlist", "allowlist.")] {
            if let Some(entry) = entries.clone().find(|entry| entry.key.starts_with(prefix)) {
                let message = format!("`{list}` beside `access` has no meaning");
                cx.report(Diagnostic::error(entry.place.clone(), message).with_help(
                    "write its networks into `access`, where the most specific one counts",
                ));
            }
        }
    }
}

/// Keys of the access lists.
#[rustfmt::skip]
pub(crate) const FILTER_KEYS: &[KeyDoc] = &[
    KeyDoc::new(DENYLIST, ["filter", "list of strings", "required", "Networks, for example `192.0.2.0/24`."]),
    KeyDoc::new(DENYLIST, ["action", "`ignore` or `deny`", "required", "Response to clients in the list: none, or a DENY kiss."]),
    KeyDoc::new(ALLOWLIST, ["filter", "list of strings", "required", "Networks, for example `2001:db8::/32`."]),
    KeyDoc::new(ALLOWLIST, ["action", "`ignore` or `deny`", "required", "Response to clients that are not in the list: none, or a DENY kiss."]),
];

/// Networks, and the response to clients in them (deny list) or outside of them (allow list).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterList {
    /// The networks.
    pub filter: Vec<Subnet>,
    /// The response.
    pub action: FilterAction,
}

/// Response to a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterAction {
    /// None.
    Ignore,
    /// A DENY kiss (RFC 5905 section 7.4).
    Deny,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NtpVersion {
    /// RFC 1059.
    V1,
    /// RFC 1119.
    V2,
    /// RFC 1305.
    V3,
    /// RFC 5905.
    V4,
    /// The draft.
    V5,
}

impl NtpVersion {
    /// The version with this number.
    pub(crate) const fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    /// The version's number.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

fn burst(cx: &mut Context, value: &Value<'_>) -> Option<u8> {
    let burst = value::within(cx, value, 1..=usize::from(u8::MAX))?;
    u8::try_from(burst).ok()
}

/// Binary logarithm of a ratio "one in n": a power of two, or 0 for none. The outer `None` is a
/// rejected value.
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
        value.invalid(&format!("0 or a power of two up to {MOST}")),
        format!("write {near} for one request in {near}, or 0 for none"),
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
        _ => value.reject_type(cx, "`true`, `false`, `\"ignore\"` or `\"deny\"`"),
    }
}

fn version(cx: &mut Context, value: &Value<'_>) -> Option<NtpVersion> {
    let expected = "one of the numbers 1 to 5";
    let number = value::integer(cx, value, || expected.into())?;
    NtpVersion::from_number(number).or_else(|| value.reject_value(cx, expected))
}

const ACTIONS: &[(&str, FilterAction)] = &[
    ("ignore", FilterAction::Ignore),
    ("deny", FilterAction::Deny),
];
