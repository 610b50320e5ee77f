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
    let of_configured = |configured: &Configured| serde_json::json!({ "name": configured.name, "why": missing(configured) });
    let sources: Vec<_> = status.sources.iter().map(of_source).collect();
    let lacking = status.configured.iter().filter(|it| it.present < it.wanted);
    let lacking: Vec<_> = lacking.map(of_configured).collect();
    serde_json::json!({
        "synchronized": status.system.synchronized,
        "clock": clock(status),
        "sources": sources,
        "missing": lacking,
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
            "It is not steered, and will not be: {} sources must agree (`minimum-agreeing-sources` in [synchronization]), and only {potential} {} configured. \
             Add sources, or lower that number.",
            system.needed,
            if potential == 1 { "is" } else { "are" },
        );
    }
    if system.candidates == 0 {
        return "It is not steered because no source says anything usable.".into();
    }
    let asked = status.sources.len() as u64;
    if system.agreeing < system.needed {
        let advice = if system.candidates >= system.needed {
            "Not all of them can be right: replace what is wrong, add sources, or lower that number"
        } else {
            "Find out why the others say nothing, add sources, or lower that number"
        };
        return format!(
            "It is not steered because {} of {} sources that have a say agree, and {} must (`minimum-agreeing-sources` in [synchronization]). {advice}.",
            system.agreeing, system.candidates, system.needed
        );
    }
    if 2 * system.agreeing <= asked {
        let advice = if asked == 2 {
            "Of two that contradict each other nobody can tell who is right: add a third"
        } else {
            "Add sources, so that those who are right are more than half"
        };
        return format!(
            "It is not steered because only {} of {asked} sources that are asked agree, which is no majority. {advice}, or mark the one that you believe `trust = true` in its [[source]].",
            system.agreeing
        );
    }
    let required = |source: &Source| source.marks.iter().any(|mark| mark == "require");
    if let Some(required) = status.sources.iter().find(|source| required(source)) {
        return format!(
            "It is not steered because no source marked `require` in its [[source]] ({}, for one) is among the {} that agree.",
            required.name, system.agreeing
        );
    }
    "It is not steered yet: sources are being asked for the first time.".into()
}

/// Whom a source agrees with, and whom not, by what they said last.
fn parties(status: &Status, source: &Source) -> Option<String> {
    let interval = |source: &Source| {
        let measured = source.measurement.as_ref()?;
        let half = measured.uncertainty?;
        Some((measured.offset - half, measured.offset + half))
    };
    let (low, high) = interval(source)?;
    // Who does not answer any more had a say about another moment.
    let heard = |other: &&Source| other.id != source.id && other.state == source.state;
    let others = status.sources.iter().filter(heard);
    let others = others.filter_map(|other| Some((other, interval(other)?)));
    let (with, against): (Vec<_>, Vec<_>) =
        others.partition(|(_, (from, to))| *from <= high && low <= *to);
    let named = |said: &[(&Source, _)]| {
        let names: Vec<_> = said
            .iter()
            .take(NAMED)
            .map(|(it, _)| it.name.as_str())
            .collect();
        let more = said.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!(" and {more} more"));
        format!("{}{}", names.join(", "), more.unwrap_or_default())
    };
    match (with.is_empty(), against.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("disagrees with {}", named(&against))),
        (false, true) => Some(format!("agrees with {}", named(&with))),
        (false, false) => Some(format!(
            "agrees with {}, disagrees with {}",
            named(&with),
            named(&against)
        )),
    }
}

/// Sources named in one sentence.
const NAMED: usize = 4;
/// Sources that the estimate is made of at most.
const MOST_SEATED: usize = 16;

/// Whether the estimate is made of this source, among others. A daemon of another make does not say so.
fn is_seated(source: &Source) -> bool {
    source.path.as_ref().is_none_or(|path| path.seated)
}

/// Why this source is or is not used.
pub(crate) fn source(status: &Status, source: &Source) -> Vec<String> {
    let mut said = Vec::new();
    let unanswered = || match &source.trouble {
        Some(trouble) => format!("the last request failed: {trouble}"),
        None => format!("{} requests in a row were not answered", source.unanswered),
    };
    let why = match source.state.as_str() {
        "selected" => {
            // Of whom nothing has been learnt has no seat.
            let seated = |it: &&Source| it.path.is_some() && is_seated(it);
            let others = status.sources.iter().filter(seated).count();
            // One request may be on its way.
            let missing = source.unanswered > 1;
            match is_seated(source) {
                true => "used: it agrees with the majority".into(),
                false if missing => "agreed with the majority when it answered last".into(),
                false if others >= MOST_SEATED => {
                    "agrees with the majority; sixteen better sources are used for the estimate"
                        .into()
                }
                false => {
                    "agrees with the majority; its next answer is used for the estimate".into()
                }
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
        "no-majority" => {
            let offset = source.measurement.as_ref().map_or(0.0, |it| it.offset);
            let parties = parties(status, source);
            format!(
                "not used: there is no majority; it would have us add {} to the clock{}",
                signed(offset),
                parties.map_or_else(String::new, |parties| format!(", and {parties}"))
            )
        }
        "too-uncertain" => format!(
            "not used: what it says is uncertain by {}; `maximum-source-uncertainty` in [synchronization.algorithm] sets the limit",
            known(source.measurement.as_ref().and_then(|it| it.uncertainty))
        ),
        "no-samples" if source.packets.sent == 0 => "not used yet: it has not been asked".into(),
        "no-samples" => format!("not used yet: {}", unanswered()),
        "stale" => format!("not used any more: {}", unanswered()),
        "unreachable" if source.packets.received == 0 && source.trouble.is_some() => format!(
            "not used: none of {} requests was answered, and the last one failed: {}. Is its address right, and is there a way to it?",
            source.packets.sent,
            source.trouble.as_deref().unwrap_or_default()
        ),
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
        "unusable" => format!(
            "not used: {}",
            source
                .trouble
                .as_deref()
                .unwrap_or("its answers were not usable")
        ),
        other => format!("in state {other}"),
    };
    said.push(why);
    // The clock goes on by what it said before, and silence that has just begun is nothing; but who asks should know.
    let relied_on = matches!(source.state.as_str(), "selected" | "outranked");
    if relied_on && (source.unanswered > 1 || source.unanswered > 0 && source.trouble.is_some()) {
        said.push(unanswered());
    }
    let naks = source.packets.nts_naks;
    // New keys end the count of unanswered requests, but not the trouble.
    if naks > 0 && (source.unanswered > 0 || source.trouble.is_some()) {
        said.push(format!(
            "it said {naks} times that it cannot read our cookies (NTSN), which anybody on the way could say, too: the NTP server and the key exchange \
             have to share their cookie keys. Keys are exchanged anew now and then; `ntp-ctl nts check {}` looks closer",
            source.name
        ));
    } else if source.packets.accepted == 0 && source.packets.unusable > 0 {
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
        said.push(if wait < 1.0 {
            "it is asked again now".into()
        } else {
            format!("it is asked again in {}", age(wait))
        });
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
    if let Some(trouble) = &configured.trouble {
        return format!("{present} of {wanted} servers found so far; {trouble}");
    }
    if *present == 0 {
        return "no address is known for it yet: the look-up, or the key exchange, is under way"
            .into();
    }
    format!(
        "{present} of {wanted} servers found so far; the name leads to no more addresses that are not in use (`count` in its [[source]])"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn source(name: &str, state: &str, said: Option<(f64, f64)>, trouble: Option<&str>) -> Value {
        let measurement = said.map(|(offset, uncertainty)| {
            json!({
                "at": 0.0, "offset": offset, "uncertainty": uncertainty, "delay": 0.0, "root_delay": 0.0,
                "root_dispersion": 0.0, "stratum": 1, "reference_id": "GPS", "leap": "none",
            })
        });
        let received = u32::from(measurement.is_some());
        json!({
            "id": name.len(), "name": name, "address": name, "state": state, "online": true, "authentication": "none",
            "marks": [], "poll": 16.0, "poll_min": 16.0, "poll_max": 1024.0, "next_poll": 0.2, "reach": 0,
            "unanswered": 8, "trouble": trouble, "measurement": measurement, "path": null,
            "packets": { "sent": 8, "received": received, "accepted": received, "unusable": 0, "bogus": 0 },
        })
    }

    /// What is explained of sources of which so many agree, and so many must.
    fn explained(sources: &[Value], (agreeing, candidates, needed): (u64, u64, u64)) -> String {
        let configured: Vec<Value> = sources
            .iter()
            .map(|it| json!({ "name": it["name"], "wanted": 1, "present": 1, "online": true, "denied": false }))
            .collect();
        let status = json!({
            "program": { "version": "1", "uptime": 1.0, "now": 1.0, "config_path": null },
            "system": {
                "synchronized": false, "stratum": 16, "reference_id": "XNON", "reference": null, "reference_time": null,
                "leap": "unsynchronized", "offset": null, "frequency": 0.0, "frequency_sigma": 1.0, "estimated_error": null,
                "error_bound": null, "root_delay": 0.0, "root_dispersion": null, "accumulated_steps": 0.0,
                "accumulated_steps_limit": null, "agreeing": agreeing, "candidates": candidates, "needed": needed,
                "majority": false, "clock": "virtual", "true_offset": null,
            },
            "sources": sources, "configured": configured, "servers": [],
        });
        plain(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn a_disagreement_is_told_with_who_is_on_which_side() {
        let said = |name, offset| source(name, "no-majority", Some((offset, 1e-3)), None);
        let sources = [said("a", 0.0), said("bb", 5e-4), said("ccc", 0.5)];
        let text = explained(&sources, (2, 3, 3));
        assert!(
            text.contains(
                "2 of 3 sources that have a say agree, and 3 must (`minimum-agreeing-sources`"
            ),
            "{text}"
        );
        assert!(text.contains("a: not used: there is no majority; it would have us add +0 s to the clock, and agrees with bb, disagrees with ccc"), "{text}");
        assert!(text.contains("ccc: not used: there is no majority; it would have us add +500 ms to the clock, and disagrees with a, bb"), "{text}");
        assert!(text.contains("it is asked again now"), "{text}");
        let text = explained(&sources[1..], (1, 2, 1));
        assert!(
            text.contains("add a third") && text.contains("`trust = true`"),
            "{text}"
        );
        assert!(!text.contains("require"), "{text}");
    }

    #[test]
    fn a_reason_that_the_daemon_knows_is_told_instead_of_guesses() {
        let known = source(
            "a",
            "unreachable",
            None,
            Some("nothing listens on its port"),
        );
        let text = explained(&[known, source("bb", "unreachable", None, None)], (0, 0, 1));
        assert!(text.contains("a: not used: none of 8 requests was answered, and the last one failed: nothing listens on its port."), "{text}");
        assert!(text.contains("bb: not used: 0 of 8 requests have been answered. Is its address right, does a firewall"), "{text}");
    }

    #[test]
    fn a_source_that_is_relied_on_and_cannot_be_asked_was_called_used_and_no_more() {
        let sources = [
            source("a", "selected", Some((0.0, 1e-3)), Some("no route to it")),
            source("bb", "selected", Some((0.0, 1e-3)), None),
        ];
        let text = explained(&sources, (2, 2, 1));
        let used = "used: it agrees with the majority";
        assert!(
            text.contains(&format!(
                "a: {used}; the last request failed: no route to it;"
            )),
            "{text}"
        );
        assert!(
            text.contains(&format!(
                "bb: {used}; 8 requests in a row were not answered;"
            )),
            "{text}"
        );
    }
}
