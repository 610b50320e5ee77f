//! Content negotiation by the `Accept` header (RFC 9110 section 12.5.1).
//!
//! There are three representations. A browser accepts HTML; a scraper accepts OpenMetrics, possibly
//! with a lower weight than the classic text; any other client (curl, upstream's readers) gets the
//! classic text.

use ntp_control_api::metrics::Format;

/// Preference of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preference {
    /// Preferred format of metrics.
    pub(crate) format: Format,
    /// Whether the client accepts a metrics format explicitly.
    pub(crate) is_scraper: bool,
}

/// Parses the header.
pub(crate) fn negotiate(accept: Option<&str>) -> Preference {
    let mut open = 0.0f32;
    let mut classic = 0.0f32;
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut weight = 1.0f32;
        let mut version = None;
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q", q)) => weight = q.trim().parse().unwrap_or(0.0),
                Some(("version", value)) => version = Some(value.trim_matches('"')),
                _ => {}
            }
        }
        match media.as_str() {
            // Version 0.0.1 is compatible with 1.0.0 for all current scrapers.
            "application/openmetrics-text" if version.is_none_or(|v| v != "2.0.0") => {
                open = open.max(weight);
            }
            "text/plain" if version.is_some() => classic = classic.max(weight),
            _ => {}
        }
    }
    let format = if open > 0.0 && open >= classic {
        Format::OpenMetrics
    } else {
        Format::Classic
    };
    Preference {
        format,
        is_scraper: open > 0.0 || classic > 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(accept: &str) -> Format {
        negotiate(Some(accept)).format
    }

    #[test]
    fn a_prometheus_server_gets_its_preferred_format() {
        // Headers of Prometheus 2.42 and 3.x.
        assert_eq!(
            format(
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
            ),
            Format::OpenMetrics
        );
        assert_eq!(
            format(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.6,*/*;q=0.1"
            ),
            Format::Classic
        );
    }

    #[test]
    fn other_clients_get_the_classic_text_and_are_not_scrapers() {
        for accept in [
            "*/*",
            "",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain",
            ";;,=,q",
        ] {
            let preference = negotiate(Some(accept));
            assert_eq!(preference.format, Format::Classic, "{accept}");
            assert!(!preference.is_scraper, "{accept}");
        }
        assert!(!negotiate(None).is_scraper);
    }
}
