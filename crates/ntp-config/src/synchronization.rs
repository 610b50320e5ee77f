//! `[synchronization]`: when and how far the clock may be corrected.

use std::path::PathBuf;

use ntp_time::{NtpDuration, ReferenceId, Stratum};
use toml::de::DeValue;

use crate::algorithm::{self, AlgorithmConfig};
use crate::reader::{Context, Value};
use crate::schema::section;
use crate::threshold::{self, StepThreshold};
use crate::value;

/// Directory of the time servers that DHCP names, without `dhcp-sources-directory`.
const DHCP_DIRECTORY: &str = "/run/ntpd-rs/sources.d";

/// What the time servers that DHCP names are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DhcpSources {
    /// Nothing.
    Ignore,
    /// They are sources like those of the configuration.
    Use,
    /// They are sources with `fallback`. The default: in many networks no other server can be
    /// reached, which is why Debian and Fedora let chrony use them; but DHCP is not authenticated,
    /// and a server that names many must not outvote those that are configured.
    #[default]
    Fallback,
}

/// The words in the file.
const POLICIES: [(&str, DhcpSources); 3] = [
    ("ignore", DhcpSources::Ignore),
    ("use", DhcpSources::Use),
    ("fallback", DhcpSources::Fallback),
];

section! {
    /// When and how far the clock may be corrected, and what is served without a source.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SynchronizationConfig: Default = "synchronization" [] {
        minimum_agreeing_sources: usize = value::whole => or(3),
            "minimum-agreeing-sources" "integer" "3" "Number of sources that must agree before the clock is corrected.";
        single_step_panic_threshold: StepThreshold = |cx, value| threshold::read(cx, value, threshold::SINGLE)
                => or(StepThreshold::symmetric(NtpDuration::from_seconds(1000))),
            "single-step-panic-threshold" "number, `\"inf\"` or table, seconds" "1000" "A step of this size or more is not made: see `on-panic`.";
        startup_step_panic_threshold: StepThreshold = |cx, value| threshold::read(cx, value, threshold::STARTUP)
                => or(StepThreshold::A_DAY_BACKWARD),
            "startup-step-panic-threshold" "number, `\"inf\"` or table, seconds" "{ forward = \"inf\", backward = 86400 }" "The same, until the clock has been set for the first time.";
        accumulated_step_panic_threshold: Option<NtpDuration> = accumulated => or(None),
            "accumulated-step-panic-threshold" "number or `\"inf\"`, seconds" "none" "A step by which the sum of all exceeds this is not made: see `on-panic`. Those of start-up do not count; the sum begins anew when an operator forces a step. 0 and `\"inf\"` are no limit.";
        on_panic: OnPanic = |cx, value| value::choice(cx, value, ON_PANIC) => or(OnPanic::Hold),
            "on-panic" "`hold` or `exit`" "hold" "What happens when a panic threshold forbids a step. `hold`: the clock is not steered and counts as unsynchronised, for the kernel and for clients, until `ntp-ctl step --force` makes the step, or the sources ask for one that is permitted. `exit`: the daemon ends with exit code 70, as ntpd-rs 1.9 does, and the systemd unit does not start it again.";
        stepout_time: NtpDuration = waiting_time => or(NtpDuration::from_seconds(300)),
            "stepout-time" "number, seconds" "300" "After start-up, a step of more than 0.1 s that only the sources ask for is made once they have held their new time this long. Each such step doubles the time for the next one, up to a day; each day without one halves it again. A suspend, or a step by another program, is corrected at once. 0 does not wait.";
        stepout_polls: u32 = value::whole => or(4),
            "stepout-polls" "integer" "4" "Number of polls of each source during which they must hold it, too.";
        fallback_after: NtpDuration = waiting_time => or(NtpDuration::from_seconds(120)),
            "fallback-after" "number, seconds" "120" "Sources with `fallback` are used after too few others have been usable for this long, while a source with `fallback` answers. A key exchange that fails is tried five times meanwhile. 0 does not wait.";
        certificate_time_leniency: StepThreshold = |cx, value| threshold::read(cx, value, threshold::LENIENCY)
                => or(StepThreshold::A_DAY_BACKWARD),
            "certificate-time-leniency" "number, `\"inf\"` or table, seconds" "{ forward = \"inf\", backward = 86400 }" "While the clock is not synchronised, how far the validity period of an NTS server's certificate may be from the time of the clock (but not before the last time that an earlier run saved, unless that contradicts the clock or expires every certificate); the certificate is verified again when the time is known. 0 is no leniency.";
        warn_on_jump: bool = value::boolean => or(true),
            "warn-on-jump" "boolean" "true" "Whether a step is logged as a warning.";
        local_stratum: Stratum = |cx, value| value::whole(cx, value).map(Stratum::new) => or(Stratum::UNSYNCHRONIZED),
            "local-stratum" "integer" "16" "Stratum served without a source, and the stratum from which sources are not used. Only 1 is served as synchronised; see `[local]` for a local reference of any stratum.";
        reference_id: ReferenceId = reference_id => or(ReferenceId::XNON),
            "reference-id" "string" "\"XNON\"" "Reference identifier served at `local-stratum = 1`, of up to 4 characters.";
        dhcp_sources: DhcpSources = |cx, value| value::choice(cx, value, &POLICIES) => or(DhcpSources::default()),
            "dhcp-sources" "`\"ignore\"`, `\"use\"` or `\"fallback\"`" "\"fallback\"" "What the time servers that DHCP names are: not used, sources like those of the configuration, or sources with `fallback`. DHCP is not authenticated: any machine of the network can name them. See `ntp-ctl dhcp`.";
        dhcp_sources_directory: PathBuf = value::path => or(DHCP_DIRECTORY.into()),
            "dhcp-sources-directory" "path" "/run/ntpd-rs/sources.d" "Directory of the files with these servers; it should not survive a boot.";
        algorithm: AlgorithmConfig = algorithm::read => or(AlgorithmConfig::default()),
            "algorithm" "table" "our own steering" "See `[synchronization.algorithm]`.";
    }
}

/// What happens when a panic threshold forbids a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPanic {
    /// The clock is not steered, and counts as unsynchronised.
    #[default]
    Hold,
    /// The daemon ends.
    Exit,
}

const ON_PANIC: &[(&str, OnPanic)] = &[("hold", OnPanic::Hold), ("exit", OnPanic::Exit)];

/// The outer `None` is a rejected value, the inner one no limit, written 0 or `"inf"`. The guides of
/// ntpd-rs 1.9 show `"inf"`, as in the other thresholds, though that program refuses it here.
fn accumulated(cx: &mut Context, value: &Value<'_>) -> Option<Option<NtpDuration>> {
    if let DeValue::String(text) = value.node
        && text == "inf"
    {
        return Some(None);
    }
    let seconds = value::finite(cx, value)?;
    if seconds < 0.0 {
        value.warn(
            cx,
            "below zero, every step after start-up is refused",
            "leave the key out, or write 0, for no limit",
        );
    }
    Some((seconds != 0.0).then(|| NtpDuration::from_seconds_f64(seconds)))
}

/// A finite number of seconds that is not negative.
fn waiting_time(cx: &mut Context, value: &Value<'_>) -> Option<NtpDuration> {
    let seconds = value::finite(cx, value)?;
    if seconds < 0.0 {
        return value.reject_value(cx, "a number of seconds that is not negative");
    }
    Some(NtpDuration::from_seconds_f64(seconds))
}

/// Up to four octets, padded with spaces as upstream does.
pub(crate) fn reference_id(cx: &mut Context, value: &Value<'_>) -> Option<ReferenceId> {
    let text = value::text(cx, value)?;
    let mut octets = [b' '; 4];
    match octets.get_mut(..text.len()) {
        Some(start) => {
            start.copy_from_slice(text.as_bytes());
            Some(ReferenceId::new(octets))
        }
        None => value.reject_value(cx, "up to 4-character string"),
    }
}
