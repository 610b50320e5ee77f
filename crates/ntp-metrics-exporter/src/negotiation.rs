//! Content negotiation by the `Accept` header (RFC 9110 section 12.5.1).
//!
//! There are three representations. A browser accepts HTML; a scraper accepts OpenMetrics, possibly
//! with a lower weight than the classic text; any other client (curl, upstream's readers) gets the
//! classic text.

use ntp_control_api::metrics::Format;

/// Returns the metrics format that a client prefers; `None` if it accepts none explicitly, so that it is no
/// scraper.
pub(crate) fn negotiate(accept: &str) -> Option<Format> {
    let ranges = accept.split(',').filter_map(|range| {
        let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
        let parameter = |name: &str| {
            let mut pairs = parameters
                .split(';')
                .filter_map(|it| it.trim().split_once('='));
            pairs.find_map(|(key, value)| (key == name).then_some(value.trim_matches(['"', ' '])))
        };
        let weight: f32 = parameter("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        let format = match (
            media.trim().to_ascii_lowercase().as_str(),
            parameter("version"),
        ) {
            // Version 0.0.1 is compatible with 1.0.0 for all current scrapers.
            ("application/openmetrics-text", version) if version != Some("2.0.0") => {
                Format::OpenMetrics
            }
            ("text/plain", Some(_)) => Format::Classic,
            _ => return None,
        };
        (weight > 0.0).then_some((weight, format))
    });
    // With equal weights OpenMetrics.
    let preferred = ranges.reduce(|best, range| {
        let wins =
            (range.0, range.1 == Format::OpenMetrics) > (best.0, best.1 == Format::OpenMetrics);
        if wins { range } else { best }
    });
    preferred.map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prometheus_server_gets_its_preferred_format() {
        // Headers of Prometheus 2.42 and 3.x.
        assert_eq!(
            negotiate(
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
            ),
            Some(Format::OpenMetrics)
        );
        assert_eq!(
            negotiate(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.6,*/*;q=0.1"
            ),
            Some(Format::Classic)
        );
    }

    #[test]
    fn with_equal_weights_the_format_is_openmetrics() {
        for accept in [
            "text/plain;version=0.0.4,application/openmetrics-text",
            "Application/OpenMetrics-Text; q=0.5 , text/plain; version=\"0.0.4\"; q=0.5",
        ] {
            assert_eq!(negotiate(accept), Some(Format::OpenMetrics), "{accept}");
        }
    }

    #[test]
    fn other_clients_are_not_scrapers() {
        for accept in [
            "*/*",
            "",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            ";;,=,q",
        ] {
            assert_eq!(negotiate(accept), None, "{accept}");
        }
    }
}
