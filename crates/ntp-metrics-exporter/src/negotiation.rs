//! What a client wants to have, by its `Accept` header (RFC 9110 section 12.5.1).
//!
//! Three things can be had. A browser names HTML; a scraper names OpenMetrics, perhaps with less weight than the classic text; everyone
//! else (curl, upstream's readers) gets the classic text.

use ntp_control_api::metrics::Format;

/// What the client said it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The metrics format that it prefers.
    pub(crate) format: Format,
    /// Whether it is a scraper: it named a metrics format.
    pub(crate) scraper: bool,
}

/// Reads the header.
pub(crate) fn wish(accept: Option<&str>) -> Wish {
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
            // Version 0.0.1 is the same to everyone who asks for it today.
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
    Wish {
        format,
        scraper: open > 0.0 || classic > 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(accept: &str) -> Format {
        wish(Some(accept)).format
    }

    #[test]
    fn a_prometheus_server_gets_what_it_prefers() {
        // What Prometheus 2.42 and 3.x send.
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
    fn others_get_the_classic_text_and_are_no_scrapers() {
        for accept in [
            "*/*",
            "",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain",
            ";;,=,q",
        ] {
            let wish = wish(Some(accept));
            assert_eq!(wish.format, Format::Classic, "{accept}");
            assert!(!wish.scraper, "{accept}");
        }
        assert!(!wish(None).scraper);
    }
}
