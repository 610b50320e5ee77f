//! `[[source]]`: where time comes from.
//!
//! The key `mode` decides which other keys there are. When it is missing or unknown, the keys
//! of all modes are let pass, so that one wrong word does not make every line below it wrong.

use std::net::IpAddr;
use std::path::PathBuf;

use ntp_proto::keys::KeyId;
use toml::de::DeValue;

use crate::address::{self, Address, NTP_PORT, NTS_KE_PORT};
use crate::diagnostic::Diagnostic;
use crate::disabled;
use crate::document::{Located, Place};
use crate::outline::Said;
use crate::poll::{self, PollOverrides};
use crate::reader::{Context, Section, Value};
use crate::refclock::{self, PpsSource, SockSource};
use crate::symmetric;
use crate::value::{self, describe};

/// A source of time.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// Where its mode is written.
    pub place: Place,
    /// Its keys as the file has them.
    pub settings: toml::Table,
    /// The same, each value with its place.
    pub said: Vec<Said>,
    /// What it is.
    pub kind: SourceKind,
}

impl SourceConfig {
    /// The name by which it is known to the engine and to operators: its address with the port, the path of a reference clock.
    pub fn name(&self) -> Option<String> {
        match &self.kind {
            SourceKind::Sock(sock) => Some(sock.path.display().to_string()),
            SourceKind::Pps(pps) => Some(pps.path.display().to_string()),
            kind => kind.ntp().map(|ntp| ntp.address.to_string()),
        }
    }

    /// Whether `text` is its address (with or without the usual port) or path.
    pub fn is_called(&self, text: &str) -> bool {
        let usual = match self.kind {
            SourceKind::Nts(_) | SourceKind::NtsPool(_) => NTS_KE_PORT,
            _ => NTP_PORT,
        };
        match self.kind.ntp() {
            Some(ntp) => disabled::means(text, &ntp.address, usual),
            None => self.name().as_deref() == Some(text),
        }
    }
}

/// What a source is, by its `mode`.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// `server`: one NTP server.
    Server(NtpSource),
    /// `pool`: several servers of one name.
    Pool(PoolSource),
    /// `nts`: one NTP server, authenticated (RFC 8915).
    Nts(NtsSource),
    /// `nts-pool`: several authenticated servers, found through a key exchange broker.
    NtsPool(NtsPoolSource),
    /// `sock`: samples that a program writes to a Unix socket.
    Sock(SockSource),
    /// `pps`: a pulse per second.
    Pps(PpsSource),
}

impl SourceKind {
    /// The word in the file.
    pub const fn mode(&self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Pool(_) => "pool",
            Self::Nts(_) => "nts",
            Self::NtsPool(_) => "nts-pool",
            Self::Sock(_) => "sock",
            Self::Pps(_) => "pps",
        }
    }

    /// What sources that speak NTP have in common; `None` for a reference clock.
    pub const fn ntp(&self) -> Option<&NtpSource> {
        match self {
            Self::Server(ntp) => Some(ntp),
            Self::Pool(pool) => Some(&pool.ntp),
            Self::Nts(nts) => Some(&nts.ntp),
            Self::NtsPool(pool) => Some(&pool.ntp),
            Self::Sock(_) | Self::Pps(_) => None,
        }
    }

    /// How many sources this can become that count towards `minimum-agreeing-sources`. A
    /// pulse has no number of its own and never counts.
    pub const fn potential(&self) -> usize {
        if let Some(ntp) = self.ntp()
            && ntp.opinion.noselect
        {
            return 0;
        }
        match self {
            Self::Server(_) | Self::Nts(_) | Self::Sock(_) => 1,
            Self::Pool(pool) => pool.count,
            Self::NtsPool(pool) => pool.count,
            Self::Pps(_) => 0,
        }
    }
}

/// The keys that all sources that speak NTP have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtpSource {
    /// The server, or its key exchange server.
    pub address: Address,
    /// The protocol version.
    pub version: Located<VersionChoice>,
    /// Poll intervals, where they differ from `[source-defaults]`.
    pub poll: PollOverrides,
    /// What the operator thinks of it.
    pub opinion: Opinion,
    /// The number of the symmetric key that its packets are signed with; modes `server` and `pool` only.
    pub key: Option<Located<KeyId>>,
    /// Whether interleaved mode (RFC 9769) is tried.
    pub interleaved: bool,
}

/// What the operator thinks of a source, beyond what measurements say. These keys are ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opinion {
    /// Used in place of sources without this mark, as long as it is part of the majority.
    pub prefer: bool,
    /// Right by decree: only sources that agree with the trusted ones are used.
    pub trust: bool,
    /// Without at least one such source in the majority nothing is steered.
    pub require: bool,
    /// Measured and shown, never used.
    pub noselect: bool,
}

/// The protocol version spoken with a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionChoice {
    /// NTPv4 (RFC 5905).
    #[default]
    V4,
    /// The NTPv5 draft.
    V5,
    /// NTPv4, and NTPv5 where the server shows that it can.
    Auto,
}

/// Keys of mode `pool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSource {
    /// The common keys; the address is the pool's name.
    pub ntp: NtpSource,
    /// How many members are used at the same time.
    pub count: usize,
    /// Members that are never used.
    pub ignore: Vec<IpAddr>,
}

/// Keys of mode `nts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtsSource {
    /// The common keys; the address is the key exchange server's.
    pub ntp: NtpSource,
    /// How the key exchange server is found and believed.
    pub key_exchange: KeyExchange,
}

/// Keys of mode `nts-pool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NtsPoolSource {
    /// The common keys; the address is the broker's.
    pub ntp: NtpSource,
    /// How the broker is found and believed.
    pub key_exchange: KeyExchange,
    /// How many members are used at the same time.
    pub count: usize,
}

/// How a key exchange server is found and believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyExchange {
    /// PEM file of certificate authorities trusted in addition to the system's.
    pub certificate_authority: Option<Located<PathBuf>>,
    /// Whether the server is looked up by its SRV record.
    pub srv_resolution: bool,
}

/// All `[[source]]` sections.
pub(crate) fn read_all(cx: &mut Context, value: &Value<'_>) -> Option<Vec<SourceConfig>> {
    value::sections(cx, value, "source", read)
}

fn read(cx: &mut Context, mut section: Section<'_>) -> Option<SourceConfig> {
    let source = match section.value(cx, "mode") {
        None => {
            let place = section.place(cx);
            cx.report_missing(
                Diagnostic::error(place, "missing field `mode` in `[[source]]`")
                    .with_help("for one time server write `mode = \"server\"`, for a pool of them `mode = \"pool\"`"),
            );
            None
        }
        Some(value) => value::choice(cx, &value, MODES).map(|(mode, read)| {
            section.set_mode(mode);
            (value.place(cx), read(cx, &mut section))
        }),
    };
    if source.is_none() {
        section.accept_documented();
    }
    let settings = section.settings();
    let said = section.said(cx);
    section.finish(cx);
    let (place, kind) = source?;
    kind.map(|kind| SourceConfig {
        place,
        settings,
        said,
        kind,
    })
}

type ReadKind = fn(&mut Context, &mut Section<'_>) -> Option<SourceKind>;

const MODES: &[(&str, (&str, ReadKind))] = &[
    ("server", ("server", server)),
    ("pool", ("pool", pool)),
    ("nts", ("nts", nts)),
    ("nts-pool", ("nts-pool", nts_pool)),
    ("sock", ("sock", refclock::sock)),
    ("pps", ("pps", refclock::pps)),
];

fn server(cx: &mut Context, section: &mut Section<'_>) -> Option<SourceKind> {
    let ntp = keyed(cx, section);
    Some(SourceKind::Server(ntp?))
}

fn pool(cx: &mut Context, section: &mut Section<'_>) -> Option<SourceKind> {
    let ntp = keyed(cx, section);
    let count = section.or(cx, "count", value::whole, DEFAULT_COUNT);
    let addresses =
        |cx: &mut Context, value: &Value<'_>| value::array(cx, value, value::ip_address);
    let ignore = section.or(cx, "ignore", addresses, Vec::new());
    let ntp = ntp?;
    Some(SourceKind::Pool(PoolSource { ntp, count, ignore }))
}

fn nts(cx: &mut Context, section: &mut Section<'_>) -> Option<SourceKind> {
    let ntp = ntp(cx, section, NTS_KE_PORT);
    let key_exchange = key_exchange(cx, section);
    let ntp = ntp?;
    Some(SourceKind::Nts(NtsSource { ntp, key_exchange }))
}

fn nts_pool(cx: &mut Context, section: &mut Section<'_>) -> Option<SourceKind> {
    let ntp = ntp(cx, section, NTS_KE_PORT);
    let key_exchange = key_exchange(cx, section);
    let count = section.or(cx, "count", value::whole, DEFAULT_COUNT);
    Some(SourceKind::NtsPool(NtsPoolSource {
        ntp: ntp?,
        key_exchange,
        count,
    }))
}

/// A source that is asked directly, perhaps with a symmetric key.
fn keyed(cx: &mut Context, section: &mut Section<'_>) -> Option<NtpSource> {
    let ntp = ntp(cx, section, NTP_PORT);
    let key = section.optional(cx, "key", symmetric::key_id);
    Some(NtpSource { key, ..ntp? })
}

fn ntp(cx: &mut Context, section: &mut Section<'_>, default_port: u16) -> Option<NtpSource> {
    let address = section.required(cx, "address", |cx, value| {
        address::read(cx, value, default_port)
    });
    let version = section.or(cx, "ntp-version", version, VersionChoice::V4.into());
    let poll = poll::read_overrides(cx, section);
    let opinion = opinion(cx, section);
    let interleaved = section.or(cx, "interleaved", value::boolean, false);
    Some(NtpSource {
        address: address?,
        version,
        poll,
        opinion,
        key: None,
        interleaved,
    })
}

fn opinion(cx: &mut Context, section: &mut Section<'_>) -> Opinion {
    Opinion {
        prefer: section.or(cx, "prefer", value::boolean, false),
        trust: section.or(cx, "trust", value::boolean, false),
        require: section.or(cx, "require", value::boolean, false),
        noselect: section.or(cx, "noselect", value::boolean, false),
    }
}

fn key_exchange(cx: &mut Context, section: &mut Section<'_>) -> KeyExchange {
    KeyExchange {
        certificate_authority: section.optional(cx, "certificate-authority", value::located_path),
        srv_resolution: section.or(cx, "enable-srv-resolution", value::boolean, false),
    }
}

fn version(cx: &mut Context, value: &Value<'_>) -> Option<Located<VersionChoice>> {
    let choice = match value.node {
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(4) => Some(VersionChoice::V4),
            Ok(5) => Some(VersionChoice::V5),
            _ => None,
        },
        DeValue::String(text) if text == "auto" => Some(VersionChoice::Auto),
        _ => None,
    };
    let Some(choice) = choice else {
        let message = format!(
            "invalid value: {}, expected `4`, `5` or `\"auto\"`",
            describe(value.node)
        );
        return match value.node {
            DeValue::String(text) if text == "4" || text == "5" => {
                let help =
                    format!("write the number without quotation marks: `ntp-version = {text}`");
                value.reject_with(cx, message, help)
            }
            _ => value.reject(cx, message),
        };
    };
    Some(value.locate(cx, choice))
}

/// Members of a pool that are used at the same time, if the file does not say.
const DEFAULT_COUNT: usize = 4;
