//! `[[source]]`: a time source.
//!
//! The key `mode` decides which other keys there are. If it is missing or unknown, the keys of
//! all modes are accepted, so that one wrong word does not make every line below it wrong.

use std::net::IpAddr;
use std::path::PathBuf;

use ntp_proto::keys::KeyId;
use ntp_types::path::NetworkPath;
use ntp_types::source::SrvVerification;
use toml::de::DeValue;

use crate::address::{self, Address, NTP_PORT, NTS_KE_PORT};
use crate::build;
use crate::diagnostic::Diagnostic;
use crate::document::{Located, Place};
use crate::documentation::KeyDoc;
use crate::entry::Entry;
use crate::nts::{self, NtsConfig, NtsPolicy};
use crate::path;
use crate::poll::PollOverrides;
use crate::reader::{Context, Section, Value};
use crate::refclock::{self, RefClockSource};
use crate::schema::{Table, section};
use crate::selection_options::SelectionOptions;
use crate::server::NtpVersion;
use crate::value;

/// A time source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// Place of its mode.
    pub place: Place,
    /// Its keys as the file has them.
    pub settings: toml::Table,
    /// The same, each value with its place.
    pub entries: Vec<Entry>,
    /// Its mode and keys.
    pub kind: SourceKind,
}

impl SourceConfig {
    /// The name that the engine and operators use: the address with its port, and behind `%` its
    /// `bind-device`; or the device of a reference clock.
    pub fn name(&self) -> Option<String> {
        match &self.kind {
            SourceKind::RefClock(clock) => Some(clock.reader.device.to_string()),
            kind => kind.ntp().map(NtpSource::name),
        }
    }

    /// Whether `text` is its address (with or without the default port) or device.
    pub fn has_name(&self, text: &str) -> bool {
        let default_port = match self.kind {
            SourceKind::Nts(_) | SourceKind::NtsPool(_) => NTS_KE_PORT,
            _ => NTP_PORT,
        };
        match self.kind.ntp() {
            Some(ntp) => {
                let Some(device) = ntp.path.device else {
                    return ntp.address.matches(text, default_port);
                };
                let address = text.strip_suffix(device.as_str());
                let address = address.and_then(|address| address.strip_suffix('%'));
                address.is_some_and(|address| ntp.address.matches(address, default_port))
            }
            None => self.name().as_deref() == Some(text),
        }
    }
}

/// Mode of a source, and its keys.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// `server`: one NTP server.
    Server(NtpSource),
    /// `pool`: several servers of one name.
    Pool(PoolSource),
    /// `nts`: one NTP server, authenticated (RFC 8915).
    Nts(NtsSource),
    /// `nts-pool`: several authenticated servers, named by the key exchange server of a pool.
    NtsPool(NtsPoolSource),
    /// `sock`, `pps` and others: a reference clock.
    RefClock(RefClockSource),
    /// `platform`: what the machine offers, which follows as sources of their own.
    Platform,
}

impl SourceKind {
    /// The word in the file.
    pub const fn mode(&self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Pool(_) => "pool",
            Self::Nts(_) => "nts",
            Self::NtsPool(_) => "nts-pool",
            Self::RefClock(clock) => clock.reader.device.driver(),
            Self::Platform => "platform",
        }
    }

    /// The keys that all NTP sources have; `None` for a reference clock.
    pub const fn ntp(&self) -> Option<&NtpSource> {
        match self {
            Self::Server(ntp) => Some(ntp),
            Self::Pool(pool) => Some(&pool.ntp),
            Self::Nts(nts) => Some(&nts.ntp),
            Self::NtsPool(pool) => Some(&pool.ntp),
            Self::RefClock(_) | Self::Platform => None,
        }
    }

    /// How its key exchange server is found and verified; `None` without one.
    pub const fn key_exchange(&self) -> Option<&KeyExchange> {
        match self {
            Self::Nts(nts) => Some(&nts.key_exchange),
            Self::NtsPool(pool) => Some(&pool.key_exchange),
            Self::Server(_) | Self::Pool(_) | Self::RefClock(_) | Self::Platform => None,
        }
    }

    /// Whether it is used only while too few others are usable.
    pub const fn is_fallback(&self) -> bool {
        match self {
            Self::RefClock(clock) => clock.selection.fallback,
            kind => match kind.ntp() {
                Some(ntp) => ntp.selection.fallback,
                None => false,
            },
        }
    }

    /// Applies the policy for sources without authentication, unless it has one of its own.
    pub fn apply_policy(&mut self, nts: NtsConfig) {
        let (Self::Server(ntp) | Self::Pool(PoolSource { ntp, .. })) = self else {
            return;
        };
        if ntp.key.is_some() {
            return;
        }
        match ntp.nts_policy.unwrap_or(nts.policy) {
            NtsPolicy::Only => ntp.selection.noselect = true,
            NtsPolicy::Prefer => ntp.selection.fallback = true,
            NtsPolicy::Ignore => {}
        }
    }

    /// Maximum number of sources that it contributes to `minimum-agreeing-sources`. A pulse
    /// does not number seconds and never counts.
    pub const fn maximum_voters(&self) -> usize {
        if let Some(ntp) = self.ntp()
            && ntp.selection.noselect
        {
            return 0;
        }
        match self {
            Self::Server(_) | Self::Nts(_) => 1,
            Self::Pool(pool) => pool.count,
            Self::NtsPool(pool) => pool.count,
            Self::RefClock(clock) => clock.votes() as usize,
            Self::Platform => 0,
        }
    }
}

/// Protocol version of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionChoice {
    /// This one.
    Number(NtpVersion),
    /// NTPv4, and NTPv5 if the server supports it.
    Auto,
}

/// NTPv4.
impl Default for VersionChoice {
    fn default() -> Self {
        Self::Number(NtpVersion::V4)
    }
}

/// The key that decides which other keys there are.
pub(crate) const MODE: KeyDoc = KeyDoc::new(
    "source",
    [
        "mode",
        "`server`, `pool`, `nts`, `nts-pool`; for a reference clock `sock`, `shm`, `pps`, `phc`, `nmea`, `gpsd`, `vmclock` or `host-clock`; `platform` for what the cloud or the hypervisor of this machine offers",
        "required",
        "Kind of this source.",
    ],
);

section! {
    pub(crate) struct ServerAddress = "source" ["server", "pool"] {
        address: Address = |cx, value| address::read(cx, value, NTP_PORT) => required,
            "address" "string" "required" "Host name or IP address, with an optional port (default 123). A link-local IPv6 address needs its interface: `fe80::1%eth0`.";
    }
}

section! {
    pub(crate) struct KeyExchangeAddress = "source" ["nts", "nts-pool"] {
        address: Address = |cx, value| address::read(cx, value, NTS_KE_PORT) => required,
            "address" "string" "required" "Host name or IP address of the key exchange server, with an optional port (default 4460). A link-local IPv6 address needs its interface: `fe80::1%eth0`.";
    }
}

section! {
    /// Keys that all NTP sources have.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NtpSource = "source" ["server", "pool", "nts", "nts-pool"] {
        + address: Address = address, "The server, or its key exchange server.";
        + poll: PollOverrides = PollOverrides::read_keys, "Poll interval settings.";
        + selection: SelectionOptions = SelectionOptions::read_keys, "Selection options.";
        + key: Option<Located<KeyId>> = key, "Symmetric key of requests and replies (modes `server` and `pool`).";
        + nts_policy: Option<NtsPolicy> = nts_policy, "Its policy in place of that of `[nts]` (modes `server` and `pool`).";
        + version: Located<VersionChoice> = version, "Protocol version.";
        + path: NetworkPath = path::read_source, "Address, device and traffic class of its packets.";
        interleaved: bool = value::boolean => or(false),
            "interleaved" "boolean" "false" "Whether the client requests interleaved mode (RFC 9769), in which the server's timestamps are those of its kernel or network card; it falls back to basic mode by itself. Requests then repeat the server's last receive timestamp, and two follow each other at poll intervals above 8 s.";
    }
}

impl NtpSource {
    /// The name: the address with its port, and behind `%` its `bind-device`. The same address is
    /// another server in another network.
    pub fn name(&self) -> String {
        match self.path.device {
            Some(device) => format!("{}%{device}", self.address),
            None => self.address.to_string(),
        }
    }
}

section! {
    pub(crate) struct ProtocolVersion = "source" ["server", "pool", "nts", "nts-pool"] {
        version: Located<VersionChoice> = version_choice => or(VersionChoice::default().into()),
            "ntp-version" "`1` to `5` or `\"auto\"`" "4" "Protocol version of the requests; 1 to 3 for servers that do not answer newer ones, without NTS. `auto` starts with 4 and switches to 5 if the server supports it.";
    }
}

section! {
    pub(crate) struct SymmetricKey = "source" ["server", "pool"] {
        key: Option<Located<KeyId>> = value::key_id => optional,
            "key" "integer" "none" "Number of the symmetric key that authenticates requests and replies; see `[keys]`.";
    }
}

section! {
    pub(crate) struct PolicyKey = "source" ["server", "pool"] {
        nts_policy: Option<NtsPolicy> = nts::policy => optional,
            "nts-policy" "`\"only\"`, `\"prefer\"` or `\"ignore\"`" "none" "Takes the place of `policy` in `[nts]` for this source.";
    }
}

section! {
    /// Keys of mode `pool`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PoolSource = "source" ["pool"] {
        + ntp: NtpSource = NtpSource::read_keys, "The common keys.";
        count: usize = value::whole => or(4),
            "count" "integer" "4" "Number of servers of the pool that are used at the same time.";
        ignore: Vec<IpAddr> = |cx, value| value::array(cx, value, value::ip_address) => or(Vec::new()),
            "ignore" "list of IP addresses" "[]" "Addresses of the pool that are never used.";
    }
}

section! {
    /// Keys of mode `nts`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NtsSource = "source" ["nts"] {
        + ntp: NtpSource = NtpSource::read_keys, "The common keys; the address is the key exchange server's.";
        + key_exchange: KeyExchange = KeyExchange::read_keys, "How the key exchange server is found and verified.";
    }
}

section! {
    /// Keys of mode `nts-pool`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NtsPoolSource = "source" ["nts-pool"] {
        + ntp: NtpSource = NtpSource::read_keys, "The common keys; the address is that of the pool's key exchange server.";
        + key_exchange: KeyExchange = KeyExchange::read_keys, "How that server is found and verified.";
        count: usize = value::whole => or(4),
            "count" "integer" "4" "Number of servers of the pool that are used at the same time.";
        ignore: Vec<IpAddr> = |cx, value| value::array(cx, value, value::ip_address) => or(Vec::new()),
            "ignore" "list of IP addresses" "[]" "Addresses of the pool that are never used.";
    }
}

section! {
    /// How a key exchange server is found and verified.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct KeyExchange: Default = "source" ["nts", "nts-pool"] then check_authorities {
        certificate_authorities: Vec<Located<PathBuf>> = |cx, value| value::one_or_more(cx, value, value::located_path) => or(Vec::new()),
            "certificate-authority" "path, or list of paths" "[]" "Certificate authorities that are trusted in addition to the system's: PEM files, and directories of such files.";
        system_authorities: Located<bool> = located_boolean => or(true.into()),
            "system-authorities" "boolean" "true" "Whether the system's certificate authorities are trusted for this source. `false`: only those in `certificate-authority` are, so that no public authority can vouch for another server.";
        srv_resolution: bool = value::boolean => or(false),
            "enable-srv-resolution" "boolean" "false" "Whether the key exchange server is found by SRV records, `_ntske._tcp.NAME`: host, port and order (RFC 2782). Without usable records, the address itself is the server.";
        srv_verification: SrvVerification = |cx, value| value::choice(cx, value, &SRV_VERIFICATIONS) => or(SrvVerification::default()),
            "srv-verification" "`\"dnssec\"`, `\"certificate\"` or `\"none\"`" "`\"dnssec\"`" "Which SRV records are used. `dnssec`: those that the name server marks as validated, if it is on this machine, or resolv.conf(5) has `options trust-ad`; the certificate must be valid for the host that they name. `certificate`: also others, but then the certificate must be valid for the name in `address`. `none`: all, although anyone who can forge DNS answers can then choose the server.";
    }
}

fn located_boolean(cx: &mut Context, value: &Value<'_>) -> Option<Located<bool>> {
    let flag = value::boolean(cx, value)?;
    Some(value.locate(cx, flag))
}

fn check_authorities(cx: &mut Context, exchange: KeyExchange) -> KeyExchange {
    let Located { value, place } = &exchange.system_authorities;
    if !value && exchange.certificate_authorities.is_empty() {
        let message =
            "`system-authorities = false` without `certificate-authority`: no server is trusted";
        let help = "name the PEM file of the authority that is trusted alone: `certificate-authority = \"/etc/ntpd-rs/ca.pem\"`";
        cx.report(Diagnostic::error(place.clone(), message).with_help(help));
    }
    exchange
}

const SRV_VERIFICATIONS: [(&str, SrvVerification); 3] = [
    ("dnssec", SrvVerification::Dnssec),
    ("certificate", SrvVerification::Certificate),
    ("none", SrvVerification::None),
];

impl KeyExchange {
    /// Which SRV records are used; `None` if they are not looked up.
    pub fn srv(&self) -> Option<SrvVerification> {
        self.srv_resolution.then_some(self.srv_verification)
    }
}

/// Reads all `[[source]]` sections.
pub(crate) fn read_all(cx: &mut Context, value: &Value<'_>) -> Option<Vec<SourceConfig>> {
    value::sections(cx, value, "source", read)
}

fn read(cx: &mut Context, mut section: Section<'_>) -> Option<SourceConfig> {
    let source = match section.value(cx, MODE.key) {
        None => {
            let place = section.place(cx);
            cx.report_missing(
                Diagnostic::error(place, "missing field `mode` in `[[source]]`")
                    .with_help("for one time server write `mode = \"server\"`, for a pool of them `mode = \"pool\"`"),
            );
            None
        }
        Some(value) => match value::choice(cx, &value, &modes()) {
            Some((mode, Some(read))) => {
                section.set_mode(mode);
                Some((value.place(cx), read(cx, &mut section)))
            }
            Some((mode, None)) => value.reject_as_lacking(cx, &format!("`mode = \"{mode}\"`")),
            None => None,
        },
    };
    if source.is_none() {
        section.accept_documented(cx);
    }
    let settings = section.settings();
    let entries = section.entries(cx);
    section.finish(cx);
    let (place, kind) = source?;
    kind.map(|kind| SourceConfig {
        place,
        settings,
        entries,
        kind,
    })
}

type ReadKind = fn(&mut Context, &mut Section<'_>) -> Option<SourceKind>;

/// The modes of all sources, each with its name again and what reads its keys; `None` if the build
/// lacks it.
fn modes() -> Vec<(&'static str, (&'static str, Option<ReadKind>))> {
    let ntp = NTP_MODES.iter().map(|&(mode, read)| (mode, Some(read)));
    let nts = NTS_MODES
        .iter()
        .map(|&(mode, read)| (mode, build::NTS.then_some(read)));
    let read_clock: Option<ReadKind> = if build::REF_CLOCKS {
        Some(|cx, section| refclock::read(cx, section).map(SourceKind::RefClock))
    } else {
        None
    };
    let clocks = refclock::NAMES.map(|mode| (mode, read_clock));
    // It has no keys, so it is none of the modes that have the common ones.
    let read_platform: ReadKind = |_, _| Some(SourceKind::Platform);
    let platform = ("platform", build::REF_CLOCKS.then_some(read_platform));
    let modes = ntp.chain(nts).chain(clocks).chain([platform]);
    modes.map(|(mode, read)| (mode, (mode, read))).collect()
}

#[rustfmt::skip]
const NTP_MODES: [(&str, ReadKind); 2] = [
    ("server", |cx, section| NtpSource::read_keys(cx, section).map(SourceKind::Server)),
    ("pool", |cx, section| PoolSource::read_keys(cx, section).map(SourceKind::Pool)),
];

#[rustfmt::skip]
const NTS_MODES: [(&str, ReadKind); 2] = if build::NTS { [
    ("nts", |cx, section| NtsSource::read_keys(cx, section).map(SourceKind::Nts)),
    ("nts-pool", |cx, section| NtsPoolSource::read_keys(cx, section).map(SourceKind::NtsPool)),
] } else { [
    ("nts", |_, _| None),
    ("nts-pool", |_, _| None),
] };

fn uses_key_exchange(section: &Section<'_>) -> bool {
    matches!(section.mode(), Some("nts" | "nts-pool"))
}

fn address(cx: &mut Context, section: &mut Section<'_>) -> Option<Address> {
    if uses_key_exchange(section) {
        KeyExchangeAddress::read_keys(cx, section).map(|it| it.address)
    } else {
        ServerAddress::read_keys(cx, section).map(|it| it.address)
    }
}

fn key(cx: &mut Context, section: &mut Section<'_>) -> Option<Option<Located<KeyId>>> {
    if uses_key_exchange(section) {
        return Some(None);
    }
    SymmetricKey::read_keys(cx, section).map(|it| it.key)
}

fn nts_policy(cx: &mut Context, section: &mut Section<'_>) -> Option<Option<NtsPolicy>> {
    if uses_key_exchange(section) {
        return Some(None);
    }
    PolicyKey::read_keys(cx, section).map(|it| it.nts_policy)
}

fn version(cx: &mut Context, section: &mut Section<'_>) -> Option<Located<VersionChoice>> {
    let version = ProtocolVersion::read_keys(cx, section)?.version;
    if uses_key_exchange(section)
        && let VersionChoice::Number(number) = version.value
        && number.number() < NtpVersion::V4.number()
    {
        let message = format!(
            "NTS does not exist in NTPv{} (RFC 8915 section 5)",
            number.number()
        );
        let error = Diagnostic::error(version.place, message);
        cx.report(error.with_help("leave `ntp-version` out"));
        return None;
    }
    Some(version)
}

fn version_choice(cx: &mut Context, value: &Value<'_>) -> Option<Located<VersionChoice>> {
    let choice = match value.node {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(NtpVersion::from_number)
            .map(VersionChoice::Number),
        DeValue::String(text) if text == "auto" => Some(VersionChoice::Auto),
        _ => None,
    };
    let Some(choice) = choice else {
        let message = value.invalid("`1` to `5` or `\"auto\"`");
        return match value.node {
            DeValue::String(text) if matches!(text.as_bytes(), [b'1'..=b'5']) => {
                let help =
                    format!("write the number without quotation marks: `ntp-version = {text}`");
                value.reject_with(cx, message, help)
            }
            _ => value.reject(cx, message),
        };
    };
    Some(value.locate(cx, choice))
}
