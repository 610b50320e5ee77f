//! The dashboard: one HTML document with inline style and script, embedded in the program.
//!
//! It loads nothing from other hosts: the content security policy permits only its one style and
//! its one script, identified by their digests, and requests to this exporter. Text from the
//! daemon, which can originate from servers, is inserted as text, never as HTML.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};

/// The HTML document.
pub(crate) const PAGE: &str = include_str!("dashboard.html");

/// Returns the content security policy.
pub(crate) fn content_security_policy() -> &'static HeaderValue {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    POLICY.get_or_init(|| {
        let digest = |element: &str| {
            let content = content(PAGE, element).unwrap_or_default();
            format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
        };
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            digest("script"),
            digest("style")
        );
        // Digests are ASCII; otherwise nothing would be permitted.
        HeaderValue::from_str(&policy)
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
    })
}

/// Returns the content of an element.
fn content<'a>(page: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("<{element}>"))?;
    Some(rest.split_once(&format!("</{element}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_permits_the_one_style_and_the_one_script() {
        let policy = content_security_policy().to_str().unwrap();
        assert_eq!(policy.matches("'sha256-").count(), 2);
        assert!(!policy.contains("unsafe"));
        for element in ["style", "script"] {
            assert_eq!(PAGE.matches(&format!("</{element}>")).count(), 1);
            assert!(content(PAGE, element).is_some_and(|content| content.len() > 1000));
        }
    }

    #[test]
    fn the_page_loads_nothing_from_other_hosts_and_inserts_no_html() {
        for forbidden in [
            "http://",
            "https://",
            "//cdn",
            "@import",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            " style=\"",
            " onclick",
            " src=",
        ] {
            let allowed = PAGE.matches("http://www.w3.org/").count();
            let found = PAGE.matches(forbidden).count();
            let excess = if forbidden == "http://" {
                found - allowed
            } else {
                found
            };
            assert_eq!(excess, 0, "{forbidden}");
        }
    }
}
