//! Explains why the clock is or is not steered, and why each source is or is not used: the sentences
//! of `ntp-ctl explain` and of the status page.
//!
//! A finding states the object, then the cause, then the configuration key or command that changes
//! it.

use ntp_time::NtpDuration;
use ntp_types::refclock::{ClockFault, RefClockStatus};
use ntp_types::source::SourceState;
use ntp_types::status::{ConfiguredSource, SourceStatus, Status, SystemStatus};
use serde::{Deserialize, Serialize};

use crate::format::{Seconds as _, age, duration, or_unknown, signed};

/// A configured source that has fewer servers in use than requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingSource {
    /// Its name.
    pub name: String,
    /// The finding.
    pub why: String,
}

/// Returns the configured sources with fewer servers in use than requested, and why.
pub fn missing(status: &Status) -> Vec<MissingSource> {
    let incomplete = status.configured.iter().filter(|it| it.present < it.wanted);
    let finding = |it: &ConfiguredSource| MissingSource {
        name: it.name.clone(),
        why: incomplete_because(it),
    };
    incomplete.map(finding).collect()
}

/// A remaining correction below this is not reported.
const SLEW_REPORT_THRESHOLD: NtpDuration = NtpDuration::from_micros(100);

/// Returns what `mode = "platform"` found, and why.
fn platform(status: &Status) -> Option<String> {
    let found = status.program.platform.as_ref()?;
    let sources = match found.sources.as_slice() {
        [] => "no source".to_owned(),
        names => names.join(", "),
    };
    Some(format!(
        "platform {}: {sources}; {}",
        found.name, found.reason
    ))
}

/// Returns the findings about the clock.
pub fn clock(status: &Status) -> Vec<String> {
    let system = &status.system;
    let mut findings: Vec<String> = platform(status).into_iter().collect();
    if status.clock.kind == "none" {
        findings.push(
            "not steered: `kind = \"none\"` in [clock], or no source at the start; sources are only measured"
                .into(),
        );
    }
    let waiting = status.waiting_servers.iter().flatten();
    findings.extend(waiting.map(|address| {
        format!("{address} is not served: its `bind-device` does not exist; served when it appears")
    }));
    findings.extend(local(status));
    findings.extend(fallback(status));
    if status.configured.is_empty() {
        findings.push(
            "no sources configured; add one with `ntp-ctl source add ADDRESS` or [[source]]".into(),
        );
        return findings;
    }
    if system.synchronized {
        findings.push(format!(
            "synchronised at stratum {} to {}",
            system.stratum,
            reference_name(status)
        ));
        findings.push(format!(
            "error bound {}, estimated error {} (99.9 % of the time if paths are symmetric)",
            or_unknown(system.error_bound),
            or_unknown(system.estimated_error)
        ));
        if let Some((target, error)) = system.accuracy_target.zip(system.estimated_error)
            && error > target
        {
            findings.push(format!(
                "`accuracy-target` {} is not reached: the estimated error is {}; the paths, or the \
                 shortest interval of `poll-interval-limits`, do not permit it",
                duration(target),
                duration(error)
            ));
        }
    } else if system.majority
        && system.step_wait.is_none()
        && system.contradicted_time.is_none()
        && system.refused_step.is_none()
    {
        findings.push("not synchronised: sources agree, first correction pending".into());
    } else {
        findings.push("not synchronised".into());
    }
    if let Some(saved) = system.contradicted_time {
        findings.push(format!(
            "the sources show a time before {saved}, which an earlier run saved as past; \
             two agreeing sources, or one and the clock, are followed nevertheless; \
             if they are right, `ntp-ctl step` forgets the saved time"
        ));
    }
    findings.extend(refused_step(status));
    if !system.majority {
        findings.extend(no_majority(status));
    } else if system.refused_step.is_none() {
        findings.extend(pending_correction(system));
    }
    findings
}

/// The correction that is made, or waits.
fn pending_correction(system: &SystemStatus) -> Option<String> {
    let offset = system.offset?;
    if let Some(wait) = system.step_wait {
        return Some(format!(
            "not steered: the sources have moved by {}, which needs confirmation; \
             the clock follows if they hold it for {} more (`stepout-time`); \
             `ntp-ctl step` follows at once",
            signed(offset),
            duration(wait)
        ));
    }
    (offset.abs() > SLEW_REPORT_THRESHOLD).then(|| {
        format!(
            "slewing: {} remaining; `ntp-ctl step` corrects it at once",
            signed(offset)
        )
    })
}

/// Why the clock is not steered although the sources agree: a panic threshold.
fn refused_step(status: &Status) -> Option<String> {
    let refused = status.system.refused_step.as_ref()?;
    Some(format!(
        "not steered for {}: the sources ask for a correction of {}, and `{}` = {} forbids it; \
         if they are right, `ntp-ctl step --force` makes it; the clock is served as unsynchronised",
        age(status.program.now - refused.since),
        signed(refused.correction),
        refused.threshold,
        duration(refused.limit)
    ))
}

/// What is served while no source is available.
fn local(status: &Status) -> Option<String> {
    let since = status.system.local_since?;
    Some(format!(
        "local time is served at stratum {} for {}: no source is available ([local])",
        status.system.stratum,
        age(status.program.now - since)
    ))
}

/// Why sources with `fallback` are used.
fn fallback(status: &Status) -> Option<String> {
    let since = status.system.fallback_since?;
    let plain = |it: &SourceStatus| {
        it.state == SourceState::Selected && it.options.fallback && it.authentication == "none"
    };
    let uses_nts = status.configured.iter().any(|it| it.key_exchange.is_some());
    let warning = if uses_nts && status.sources.iter().any(plain) {
        "; the time is not authenticated"
    } else {
        ""
    };
    Some(format!(
        "sources with `fallback` are used for {}: too few others have been usable; \
         they are given up when enough of the others are usable again{warning}",
        age(status.program.now - since)
    ))
}

/// Returns the name of the source that the clock is synchronised to, `local` for the local
/// reference, or the reference ID.
pub fn reference_name(status: &Status) -> String {
    if status.system.local_since.is_some() {
        return "local".to_owned();
    }
    let id = status.system.reference;
    let source = status.sources.iter().find(|source| Some(source.id) == id);
    source.map_or_else(
        || status.system.reference_id.to_string(),
        |source| source.name.clone(),
    )
}

/// Returns why the sources do not determine the time, and what to do.
fn no_majority(status: &Status) -> Vec<String> {
    let system = &status.system;
    let configured: u64 = status.configured.iter().map(|it| it.wanted).sum();
    let duplicates = status.sources.iter().filter(|it| it.duplicate_of.is_some());
    let duplicates = duplicates.count() as u64;
    let potential = configured.saturating_sub(duplicates);
    if potential < system.required {
        return vec![
            format!(
                "not steered: {potential} server{} configured{}, {} must agree",
                if potential == 1 { "" } else { "s" },
                if duplicates > 0 {
                    " besides duplicates"
                } else {
                    ""
                },
                system.required
            ),
            "add sources, or lower `minimum-agreeing-sources` in [synchronization]".into(),
        ];
    }
    if system.candidates == 0 {
        return vec!["not steered: no source has usable time".into()];
    }
    if system.agreeing < system.required {
        let advice = match system.candidates {
            2 if system.required == 2 => "add a third source",
            candidates if candidates >= system.required => "replace the wrong sources, add sources",
            _ => "check the other sources, add sources",
        };
        let remedy = if system.required > system.candidates / 2 + 1 {
            "lower `minimum-agreeing-sources` in [synchronization]"
        } else {
            "set `trust = true` in the [[source]] that is right"
        };
        return vec![
            format!(
                "not steered: {} of {} candidate sources agree ({} required)",
                system.agreeing, system.candidates, system.required
            ),
            format!("{advice}, or {remedy}"),
        ];
    }
    if let Some(required) = status.sources.iter().find(|it| it.options.require) {
        return vec![format!(
            "not steered: no source with `require` (for example {}) is among the {} that agree",
            required.name, system.agreeing
        )];
    }
    vec!["not steered yet: first polls in progress".into()]
}

/// Returns the source that votes for the server of a duplicate.
pub fn duplicate_of<'s>(status: &'s Status, source: &SourceStatus) -> Option<&'s SourceStatus> {
    let id = source.duplicate_of?;
    status.sources.iter().find(|source| source.id == id)
}

/// Whether the source is part of the majority and polled.
pub fn is_selected(source: &SourceStatus) -> bool {
    source.online && source.state == SourceState::Selected
}

/// Returns which sources agree and disagree with `source` by their last measurements.
fn agreement(status: &Status, source: &SourceStatus) -> Option<String> {
    let interval = |source: &SourceStatus| {
        let measured = source.measurement.as_ref()?;
        let half = measured.uncertainty?;
        Some((measured.offset - half, measured.offset + half))
    };
    let (low, high) = interval(source)?;
    // Measurements of sources that no longer reply are of another time.
    let comparable = |other: &&SourceStatus| {
        other.id != source.id && other.online && other.state == source.state
    };
    let others = status.sources.iter().filter(comparable);
    let others = others.filter_map(|other| Some((other, interval(other)?)));
    let (with, against): (Vec<_>, Vec<_>) =
        others.partition(|(_, (from, to))| *from <= high && low <= *to);
    let names = |sources: &[(&SourceStatus, _)]| {
        let names: Vec<_> = sources
            .iter()
            .take(MAX_NAMES)
            .map(|(it, _)| it.name.as_str())
            .collect();
        let more = sources.len().saturating_sub(MAX_NAMES);
        let more = (more > 0).then(|| format!(" and {more} more"));
        format!("{}{}", names.join(", "), more.unwrap_or_default())
    };
    match (with.is_empty(), against.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("disagrees with {}", names(&against))),
        (false, true) => Some(format!("agrees with {}", names(&with))),
        (false, false) => Some(format!(
            "agrees with {}, disagrees with {}",
            names(&with),
            names(&against)
        )),
    }
}

/// Maximum number of sources named in one finding.
const MAX_NAMES: usize = 4;
/// Number of slots of the joint estimate.
const ESTIMATE_SLOTS: usize = 16;

/// Whether the source is part of the joint estimate; true if the daemon does not report it.
fn in_estimate(source: &SourceStatus) -> bool {
    source.path.is_none_or(|path| path.combined)
}

/// Returns why `source` is or is not used.
pub fn source(status: &Status, source: &SourceStatus) -> Vec<String> {
    let mut findings = state(status, source);
    if let Some(member) = &source.member {
        findings.push(format!("member of the NTS pool {}: {member}", source.name));
    }
    // A single unanswered request is not reported: it may be in flight.
    let relied_on = matches!(source.state, SourceState::Selected | SourceState::Outranked);
    let failed = source.last_error.is_some();
    if source.online && relied_on && (source.unanswered > 1 || source.unanswered > 0 && failed) {
        findings.push(unanswered(source));
    }
    packets(source, &mut findings);
    findings.extend(fallbacks(source));
    findings.extend(source.reference_clock.as_ref().and_then(refusals));
    if source.online
        && let Some(wait) = source.next_poll
        && !is_selected(source)
    {
        findings.push(if wait.seconds() < 1.0 {
            "next poll now".into()
        } else {
            format!("next poll in {}", age(wait))
        });
    }
    if is_selected(source)
        && let Some(it) = &source.measurement
    {
        findings.push(format!(
            "last offset {} ± {}, {} ago",
            signed(it.offset),
            or_unknown(it.uncertainty),
            age(status.program.now - it.at)
        ));
    }
    findings
}

/// How many readings of a reference clock gave no sample, by reason.
fn refusals(clock: &RefClockStatus) -> Option<String> {
    let reasons: Vec<_> = clock
        .refused
        .iter()
        .map(|refused| format!("{} ({})", refused.count, refused.text))
        .collect();
    let all = clock.refused_readings();
    (all > 0).then(|| {
        let readings = clock.accepted + all;
        format!(
            "{all} of {readings} readings refused: {}",
            reasons.join(", ")
        )
    })
}

fn unanswered(source: &SourceStatus) -> String {
    if source.reference_clock.is_some() {
        return match &source.last_error {
            Some(error) => error.clone(),
            None => format!("{} intervals without a sample", source.unanswered),
        };
    }
    match &source.last_error {
        Some(error) => format!("last request failed: {error}"),
        None => format!("{} consecutive requests unanswered", source.unanswered),
    }
}

/// Returns the reason of the state in the selection, and what to do.
fn state(status: &Status, source: &SourceStatus) -> Vec<String> {
    let measurement = source.measurement.as_ref();
    let offset = signed(measurement.map_or(NtpDuration::ZERO, |it| it.offset));
    if !source.online {
        return vec![format!(
            "not polled: taken offline; resume with `ntp-ctl source online {}`",
            source.name
        )];
    }
    let reason = match source.state {
        SourceState::Selected => selected(status, source).into(),
        SourceState::Outranked => {
            "not used: agrees with the majority, but sources with `trust` or `prefer` take precedence"
                .into()
        }
        SourceState::Duplicate => {
            let voter = duplicate_of(status, source);
            let voter = voter.map_or("another source", |voter| &voter.name);
            return vec![
                format!("not used: leads to the same server as {voter}; one server has one vote"),
                "remove one of them, or configure another server".into(),
            ];
        }
        SourceState::Falseticker => return falseticker(source, &offset),
        SourceState::NoMajority => {
            let agreement = agreement(status, source);
            let agreement = agreement.map_or_else(String::new, |it| format!("; {it}"));
            format!("not used: no majority; offset {offset}{agreement}")
        }
        SourceState::TooUncertain => return too_uncertain(source),
        SourceState::Unreachable if source.reference_clock.is_some() => {
            return vec![
                format!("not used: {}", unanswered(source)),
                format!("check the device {}, and the program that sends to it", source.address),
            ];
        }
        SourceState::NoSamples if source.reference_clock.is_some() => {
            format!("not used yet: {}", unanswered(source))
        }
        SourceState::NoSamples if source.packets.sent == 0 => "not used yet: not polled yet".into(),
        SourceState::NoSamples => format!("not used yet: {}", unanswered(source)),
        SourceState::Stale => format!("no longer used: {}", unanswered(source)),
        SourceState::Unreachable if source.packets.received == 0 => return never_answered(source),
        SourceState::Unreachable => format!("not used: {}", unanswered(source)),
        SourceState::Standby => {
            format!(
                "not used: `fallback` in its [[source]]{}; enough other sources are usable, or have been \
                 within `fallback-after`",
                policy(source, "prefer")
            )
        }
        SourceState::Unusable if source.options.noselect => {
            format!("not used: `noselect` in its [[source]]{}; only measured", policy(source, "only"))
        }
        SourceState::Unusable => format!(
            "not used: {}",
            source
                .last_error
                .as_deref()
                .unwrap_or("replies have no usable time")
        ),
    };
    vec![reason]
}

fn too_uncertain(source: &SourceStatus) -> Vec<String> {
    let measurement = source.measurement.as_ref();
    vec![
        format!(
            "not used: uncertainty {} exceeds the limit",
            or_unknown(measurement.and_then(|it| it.uncertainty))
        ),
        "`maximum-source-uncertainty` in [synchronization.algorithm] sets the limit".into(),
    ]
}

/// The policy that may have set an option of a source instead.
fn policy(source: &SourceStatus, policy: &str) -> String {
    if source.authentication != "none" || source.reference_clock.is_some() {
        return String::new();
    }
    format!(", or `policy = \"{policy}\"` in [nts]")
}

/// Why a source is not in the majority: the probable fault of a reference clock, or what to do if it
/// is right.
fn falseticker(source: &SourceStatus, offset: &str) -> Vec<String> {
    let not_used =
        format!("not used: its interval does not overlap the majority's; offset {offset}");
    let clock = source.reference_clock.as_ref();
    let fault = clock
        .zip(source.measurement.as_ref())
        .and_then(|(clock, measurement)| ClockFault::of_offset(measurement.offset, clock.period));
    let remedy = fault.map_or_else(
        || "if it is right and the others are wrong, set `trust = true` in its [[source]]".into(),
        |fault| fault.to_string(),
    );
    vec![not_used, remedy]
}

fn selected(status: &Status, source: &SourceStatus) -> &'static str {
    if in_estimate(source) {
        return "used: agrees with the majority";
    }
    // A source without path statistics has no slot.
    let in_slot = |it: &&SourceStatus| it.path.is_some() && in_estimate(it);
    // One request may be in flight.
    if source.unanswered > 1 {
        "not used: agreed with the majority at its last reply"
    } else if status.sources.iter().filter(in_slot).count() >= ESTIMATE_SLOTS {
        "not used: agrees with the majority, but the estimate uses 16 better sources"
    } else {
        "not used yet: agrees with the majority; used from its next reply on"
    }
}

fn never_answered(source: &SourceStatus) -> Vec<String> {
    let mut findings = vec![format!(
        "not used: none of {} requests answered",
        source.packets.sent
    )];
    match &source.last_error {
        Some(error) => {
            findings.push(format!("last error: {error}"));
            findings.push("check the address and the route to it".into());
        }
        None => findings.push(match source.address.socket() {
            Some(address) => format!(
                "check the address, that firewalls pass UDP port {}, and that an NTP server runs \
                 there; `ntp-ctl query {address}` tests it directly",
                address.port()
            ),
            None => format!("check the device {}", source.address),
        }),
    }
    findings
}

/// Appends findings from the packet counters.
fn packets(source: &SourceStatus, findings: &mut Vec<String>) {
    let packets = &source.packets;
    let naks = packets.nts_naks;
    // New keys reset the count of unanswered requests, but not the last error.
    if naks > 0 && (source.unanswered > 0 || source.last_error.is_some()) {
        findings.push(format!(
            "{naks} NTS NAKs (kiss code NTSN): server cannot decrypt the cookies; not authenticated, possibly forged"
        ));
        findings.push(format!(
            "NTP server and key exchange must share cookie keys; keys are renewed from time to time; \
             check with `ntp-ctl nts check {}`",
            source.name
        ));
    } else if packets.accepted == 0 && packets.unusable > 0 {
        findings.push(format!("{} replies without usable time", packets.unusable));
    }
    if packets.bogus > 0 {
        findings.push(format!(
            "{} datagrams matched no request or failed authentication",
            packets.bogus
        ));
    }
    if let Some(difference) = source.rejected_hop_limit {
        findings.push(format!("last rejected reply: {difference}"));
    }
}

/// Number of times that NTPv5 was given up from which on it is reported. A server that restarts, or a
/// path that fails, causes one at a time.
const REPORTED_FALLBACKS: u64 = 3;

fn fallbacks(source: &SourceStatus) -> Option<String> {
    let protocol = source.protocol.as_ref()?;
    let often = protocol.fallbacks >= REPORTED_FALLBACKS;
    often.then(|| {
        format!(
            "NTPv5 was given up {} times: its packets are lost on the path, or somebody tampers with the negotiation; \
             authentication does not depend on it; set `ntp-version` to 4, or to 5 if it works",
            protocol.fallbacks
        )
    })
}

/// Returns why a configured source has fewer associations than requested.
fn incomplete_because(configured: &ConfiguredSource) -> String {
    let ConfiguredSource {
        wanted, present, ..
    } = configured;
    if configured.denied {
        let error = configured.last_error.as_deref();
        return format!(
            "not used: {}; next attempt in {}, or at once with `ntp-ctl source online {}`; contact its operator",
            error.unwrap_or("server denies access"),
            configured
                .retry
                .map_or_else(|| "an unknown time".into(), age),
            configured.name
        );
    }
    if !configured.online {
        return format!(
            "offline; resume with `ntp-ctl source online {}`",
            configured.name
        );
    }
    if let Some(error) = &configured.last_error {
        return format!("{present} of {wanted} servers in use; {error}");
    }
    if *present == 0 {
        return "no address yet: name resolution or key exchange in progress".into();
    }
    format!(
        "{present} of {wanted} servers in use; the name has no further addresses (`count` in its [[source]])"
    )
}

#[cfg(test)]
mod tests;
