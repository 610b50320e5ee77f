//! `ntp-ctl source NAME`: every figure of one source, as `chronyc ntpdata` shows them.

use ntp_control_api::explain::duplicate_of;
use ntp_types::refclock::RefClockStatus;
use ntp_types::status::{
    MeasurementStatus, PathStatus, ProtocolStatus, SourceStatus, Status, TrendStatus,
};

use crate::format::{age, duration, or_unknown, provider_text, signed, timestamp, validity};
use crate::layout::Page;
use crate::sources::{options, state};

/// Returns all details of one source.
pub(crate) fn plain(status: &Status, source: &SourceStatus) -> String {
    let mut page = Page::new(18);
    let now = status.program.now;
    page.line("Source", &source.name);
    page.line("Address", &source.address);
    page.optional("Pool member", source.member.as_ref());
    page.line("ID", source.id);
    page.line("State", state(source));
    let voter = duplicate_of(status, source).map(|voter| &voter.name);
    page.optional("Duplicate of", voter);
    page.optional("Local address", source.local_address);
    let platform = status.program.platform.as_ref();
    let platform = platform.filter(|it| it.sources.contains(&source.name));
    let chosen = platform.map(|it| format!("{}: {}", it.name, it.reason));
    page.optional("Platform", chosen);
    match &source.reference_clock {
        Some(clock) => page.line("Driver", &clock.driver),
        None => page.line("Authentication", &source.authentication),
    }
    let cookies = source.nts_cookies;
    page.optional("  Cookies", cookies.map(|count| format!("{count} of 8")));
    let expires = source.certificate_expires;
    page.optional("  Certificate", expires.map(|end| validity(end, now)));
    page.optional("  Group", key_exchange_group(status, source));
    page.optional("Protocol", source.protocol.as_ref().map(protocol));
    page.line("Options", options(source));
    polling(&mut page, source);
    page.optional("Hop limit", source.hop_limit);
    page.optional("  Rejected", source.rejected_hop_limit);
    page.optional("Last error", source.last_error.as_ref());
    match &source.measurement {
        Some(it) => {
            let ago = age(now - it.at);
            let at = timestamp(it.at);
            page.line("Last measurement", format_args!("{at} ({ago} ago)"));
            let mode = if source.interleaved {
                "interleaved"
            } else {
                "basic"
            };
            let version = it
                .version
                .map(|version| format!("NTPv{version}, server, {mode}"));
            page.optional("  Version, mode", version);
            measurement(&mut page, it);
        }
        None => page.line("Last measurement", "none"),
    }
    if let Some(it) = &source.path {
        path(&mut page, it);
    }
    if let Some(it) = &source.trend {
        trend(&mut page, it);
    }
    match &source.reference_clock {
        Some(clock) => samples(&mut page, clock),
        None => packets(&mut page, source),
    }
    page.into_text()
}

/// Group of the last key exchange, and the library of this side.
fn key_exchange_group(status: &Status, source: &SourceStatus) -> Option<String> {
    let group = source.key_exchange_group.as_ref()?;
    let provider = status.program.provider.as_ref();
    let provider = provider.map_or_else(String::new, |it| {
        format!(" ({})", provider_text(&it.name, it.fips))
    });
    Some(format!("{group}{provider}"))
}

/// The version of the requests, and what the server supports.
fn protocol(protocol: &ProtocolStatus) -> String {
    let mut text = format!("NTPv{} ({})", protocol.version, protocol.origin);
    if !protocol.server_versions.is_empty() {
        let versions = protocol.server_versions.iter().map(u8::to_string);
        let versions: Vec<String> = versions.collect();
        text += &format!(", server supports {}", versions.join(", "));
    }
    if protocol.fallbacks > 0 {
        text += &format!(", NTPv5 given up {} times", protocol.fallbacks);
    }
    text
}

/// When the source is asked, and whether it replies.
fn polling(page: &mut Page, source: &SourceStatus) {
    page.line(
        "Poll interval",
        format_args!(
            "{} (min {}, max {})",
            age(source.poll),
            age(source.poll_min),
            age(source.poll_max)
        ),
    );
    let is_clock = source.reference_clock.is_some();
    let next = source.next_poll.map(|wait| format!("in {}", age(wait)));
    match next {
        Some(next) => page.line("Next poll", next),
        None if is_clock && source.online => {}
        None => page.line("Next poll", "none (offline)"),
    }
    let (polls, reply) = if is_clock {
        ("intervals", "sample")
    } else {
        ("polls", "reply")
    };
    page.line(
        "Reach",
        format_args!(
            "{:o} (octal; {} {polls} since the last {reply})",
            source.reach, source.unanswered
        ),
    );
}

fn samples(page: &mut Page, clock: &RefClockStatus) {
    page.optional("Pulse period", clock.period.map(duration));
    page.line(
        "Samples",
        format_args!(
            "{} accepted, {} refused",
            clock.accepted,
            clock.refused_readings()
        ),
    );
    for refused in &clock.refused {
        page.line(
            "  Refused",
            format_args!("{}: {}", refused.count, refused.text),
        );
    }
}

fn packets(page: &mut Page, source: &SourceStatus) {
    let packets = &source.packets;
    page.line(
        "Packets",
        format_args!("{} sent, {} received", packets.sent, packets.received),
    );
    page.line(
        "  Replies",
        format_args!(
            "{} accepted, {} unusable, {} bogus",
            packets.accepted, packets.unusable, packets.bogus
        ),
    );
    page.line(
        "  Checks",
        match &source.last_error {
            None if packets.accepted > 0 => "the last reply passed all tests",
            None => "no reply yet",
            Some(_) => "failed, see last error",
        },
    );
}

fn measurement(page: &mut Page, it: &MeasurementStatus) {
    page.line(
        "  Offset",
        format_args!("{} ± {}", signed(it.offset), or_unknown(it.uncertainty)),
    );
    page.optional("  Delay", it.delay.map(duration));
    page.line("  Stratum", it.stratum);
    page.line("  Reference", it.reference_id);
    let updated = it.reference_time.map(timestamp);
    page.optional("  Reference time", updated);
    let precision = it
        .precision
        .map(|log2| (log2, duration(2f64.powi(log2.into()))));
    page.optional(
        "  Precision",
        precision.map(|(log2, seconds)| format!("{seconds} (2^{log2} s)")),
    );
    page.optional("  Response time", it.response_time.map(duration));
    page.line("  Root delay", duration(it.root_delay));
    page.line("  Root dispersion", duration(it.root_dispersion));
    page.line("  Leap status", it.leap);
    let receive = it.receive_stamp;
    match it.transmit_stamp {
        Some(transmit) => page.line(
            "  Timestamps",
            format_args!("{transmit} (transmit), {receive} (receive)"),
        ),
        None => page.line("  Timestamps", receive),
    }
}

fn path(page: &mut Page, it: &PathStatus) {
    page.line(
        "Path delay",
        format_args!(
            "{} minimum, {} typical excess",
            duration(it.base_delay),
            duration(it.typical_excess)
        ),
    );
    page.line("  Jitter", duration(it.jitter));
    page.line(
        "  Asymmetry",
        format_args!("{} ± {}", signed(it.bias), duration(it.bias_uncertainty)),
    );
    page.line("  Residual", signed(it.residual));
    let weight = it
        .weight
        .map(|weight| format!(", weight {:.1} %", 100.0 * weight));
    page.line(
        "  In estimate",
        match it.combined {
            true => format!("yes{}", weight.unwrap_or_default()),
            false => "no".into(),
        },
    );
    page.line(
        "  Outliers",
        format_args!("{} consecutive", it.consecutive_outliers),
    );
}

fn trend(page: &mut Page, it: &TrendStatus) {
    page.line(
        "Trend",
        format_args!("{} measurements in {}", it.samples, age(it.span)),
    );
    page.line(
        "  Frequency",
        format_args!(
            "{:+.3} ppm ± {:.3} ppm (of the oscillator)",
            it.frequency.as_ppm(),
            it.frequency_uncertainty.as_ppm()
        ),
    );
    page.line("  Std deviation", duration(it.deviation));
}

#[cfg(test)]
mod tests {
    use ntp_time::StampSource;

    use super::*;

    #[test]
    fn details_show_who_took_the_timestamps() {
        let details_with = |transmit_stamp| {
            let source = SourceStatus {
                measurement: Some(MeasurementStatus {
                    transmit_stamp,
                    receive_stamp: StampSource::Kernel,
                    ..MeasurementStatus::default()
                }),
                ..SourceStatus::default()
            };
            plain(&Status::default(), &source)
        };
        let network = details_with(Some(StampSource::Daemon));
        assert!(
            network.contains(": daemon (transmit), kernel (receive)\n"),
            "{network}"
        );
        let device = details_with(None);
        assert!(device.contains(": kernel\n"), "{device}");
    }
}
