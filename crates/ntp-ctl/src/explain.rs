//! `ntp-ctl explain`: why the clock is or is not steered, and why each source is or is not used, in sentences.
//!
//! Every sentence about something that is not as it might be ends with what would change it: a key of the configuration or a command.

use std::fmt::Write as _;

use ntp_control_api::control::types::{Configured, Source, Status};

use crate::figures::{age, duration, known, signed};

pub(crate) fn plain(status: &Status) -> String {
    let mut text = String::new();
    for sentence in clock(status) {
        let _ = writeln!(text, "{sentence}");
    }
    for source in &status.sources {
        let name = if source.name == source.address {
            source.name.clone()
        } else {
            format!("{} ({})", source.name, source.address)
        };
        let _ = writeln!(
            text,
            "\n{name}: {}.",
            self::source(status, source).join("; ")
        );
    }
    for configured in status.configured.iter().filter(|it| it.present < it.wanted) {
        let _ = writeln!(text, "\n{}: {}.", configured.name, missing(configured));
    }
    text
}

/// The same for programs.
pub(crate) fn data(status: &Status) -> serde_json::Value {
    let of_source = |source: &Source| {
        serde_json::json!({
            "name": source.name,
            "address": source.address,
            "state": source.state,
            "used": source.state == "selected",
            "why": self::source(status, source),
        })
    };
    let sources: Vec<_> = status.sources.iter().map(of_source).collect();
    serde_json::json!({
        "synchronized": status.system.synchronized,
        "clock": clock(status),
        "sources": sources,
    })
}

/// About the clock.
pub(crate) fn clock(status: &Status) -> Vec<String> {
    let system = &status.system;
    let mut said = Vec::new();
    if system.clock == "none" {
        said.push(
            "The clock is not steered: `kind = \"none\"` in [clock], or there was no source at the start; sources are measured only."
                .into(),
        );
    }
    if status.configured.is_empty() {
        said.push("There is nobody to ask for the time: no [[source]] is configured. `ntp-ctl source add ADDRESS` adds one.".into());
        return said;
    }
    if system.synchronized {
        let reference = system.reference.as_deref().unwrap_or(&system.reference_id);
        said.push(format!(
            "The clock is synchronised at stratum {} to {reference}; it is certainly not off by more than {}, and 99.9 % of the time by less than {}.",
            system.stratum,
            known(system.error_bound),
            known(system.estimated_error)
        ));
    } else if system.majority {
        said.push("The sources agree, but the clock has not been corrected by them yet.".into());
    } else {
        said.push("The clock is not synchronised.".into());
    }
    if !system.majority {
        said.push(no_majority(status));
    } else if let Some(offset) = system.offset.filter(|offset| offset.abs() > 1e-4) {
        said.push(format!(
            "It is being slewed: {} are still to be added. `ntp-ctl step` would do it at once.",
            signed(offset)
        ));
    }
    said
}

/// Why the sources do not decide.
fn no_majority(status: &Status) -> String {
    let system = &status.system;
    let potential: u64 = status.configured.iter().map(|it| it.wanted).sum();
    if potential < system.needed {
        return format!(
            "It is not steered, and will not be: {} sources must agree (`minimum-agreeing-sources` in [synchronization]), and only {potential} are configured. \
             Add sources, or lower that number.",
            system.needed
        );
    }
    if system.candidates == 0 {
        return "It is not steered because no source has said anything usable yet; see below why."
            .into();
    }
    if system.agreeing < system.needed {
        return format!(
            "It is not steered because {} of {} sources that have a say agree, and {} must (`minimum-agreeing-sources` in [synchronization]).",
            system.agreeing, system.candidates, system.needed
        );
    }
    format!(
        "It is not steered because only {} of {} sources agree, which is no majority of those that are asked, or because no source marked `require` is among them.",
        system.agreeing, system.candidates
    )
}

/// Why this source is or is not used.
pub(crate) fn source(status: &Status, source: &Source) -> Vec<String> {
    let mut said = Vec::new();
    let unanswered = || format!("{} requests in a row were not answered", source.unanswered);
    let why = match source.state.as_str() {
        "selected" => {
            let seated = source.path.as_ref().is_none_or(|path| path.seated);
            if seated {
                "used: it agrees with the majority".into()
            } else {
                "agrees with the majority; sixteen better sources are used for the estimate".into()
            }
        }
        "outranked" => {
            "agrees with the majority, but a source marked `prefer` is used in its place".into()
        }
        "falseticker" => {
            let offset = source.measurement.as_ref().map_or(0.0, |it| it.offset);
            format!(
                "not used: its time is incompatible with the majority's; it would have us add {} to the clock. \
                 If it is right and the others are wrong, mark it `trust = true` in its [[source]]",
                signed(offset)
            )
        }
        "no-majority" => "not used: too few sources agree with it".into(),
        "too-uncertain" => format!(
            "not used: what it says is uncertain by {}; `maximum-source-uncertainty` in [synchronization.algorithm] sets the limit",
            known(source.measurement.as_ref().and_then(|it| it.uncertainty))
        ),
        "no-samples" if source.packets.sent == 0 => "not used yet: it has not been asked".into(),
        "no-samples" => format!("not used yet: {}", unanswered()),
        "stale" => format!("not used any more: {}", unanswered()),
        "unreachable" if source.packets.received == 0 => format!(
            "not used: {} of {} requests have been answered. Is its address right, does a firewall let UDP port {} out and the answers in, and is \
             a time server running there? `ntp-ctl query {}` asks it directly",
            source.packets.received,
            source.packets.sent,
            source.address.rsplit(':').next().unwrap_or("123"),
            source.address
        ),
        "unreachable" => format!("not used: {}", unanswered()),
        "offline" => format!(
            "not asked: it was taken offline; `ntp-ctl source online {}` changes that",
            source.name
        ),
        "unusable" if source.marks.iter().any(|mark| mark == "noselect") => {
            "measured but not used: it is marked `noselect` in its [[source]]".into()
        }
        "unusable" => "not used: its answers were not usable (the log says why)".into(),
        other => format!("in state {other}"),
    };
    said.push(why);
    if source.packets.accepted == 0 && source.packets.unusable > 0 {
        said.push(format!(
            "it answered {} times without usable time: it is not synchronised itself, or refuses us",
            source.packets.unusable
        ));
    }
    if source.packets.bogus > 0 {
        said.push(format!(
            "{} datagrams answered nothing of ours or were not authentic",
            source.packets.bogus
        ));
    }
    if source.online
        && let Some(wait) = source.next_poll
        && source.state != "selected"
    {
        said.push(format!("it is asked again in {}", age(wait)));
    }
    if source.state == "selected"
        && let Some(it) = &source.measurement
    {
        said.push(format!(
            "its last offset was {}, certain to {}, {} ago",
            signed(it.offset),
            it.uncertainty
                .map_or_else(|| "an unknown amount".into(), duration),
            age(status.program.now - it.at)
        ));
    }
    said
}

/// Why a configured source has fewer associations than wanted.
fn missing(configured: &Configured) -> String {
    let Configured {
        wanted, present, ..
    } = configured;
    if configured.denied {
        return "the server told us to go away (a DENY kiss), and is not asked again before a restart; ask its operator".into();
    }
    if !configured.online {
        return format!(
            "offline; `ntp-ctl source online {}` changes that",
            configured.name
        );
    }
    if *present == 0 {
        return "no address is known for it yet: the name does not resolve, or the look-up is under way (the log says what the resolver answered)"
            .into();
    }
    format!(
        "{present} of {wanted} servers found so far; the name leads to no more addresses that are not in use (`count` in its [[source]])"
    )
}
