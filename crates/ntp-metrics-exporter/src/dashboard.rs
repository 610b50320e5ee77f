//! The page: one HTML document with its style and its script inside, part of this program.
//!
//! It needs nothing from elsewhere and cannot be made to: the content security policy forbids everything but the one style and the one script that
//! stand in it, named by their digests, and requests to this exporter. All text that comes from the daemon, which has it from
//! servers, is put into the page as text, never as HTML.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};

/// The document.
pub(crate) const PAGE: &str = include_str!("dashboard.html");

/// What the page may do.
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
        // Digests are ASCII. Were they not, nothing would be permitted.
        HeaderValue::from_str(&policy)
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
    })
}

/// What stands between an element's tags.
fn content<'a>(page: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("<{element}>"))?;
    Some(rest.split_once(&format!("</{element}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_one_style_and_the_one_script() {
        let policy = content_security_policy().to_str().unwrap();
        assert_eq!(policy.matches("'sha256-").count(), 2);
        assert!(!policy.contains("unsafe"));
        for element in ["style", "script"] {
            assert_eq!(PAGE.matches(&format!("</{element}>")).count(), 1);
            assert!(content(PAGE, element).is_some_and(|content| content.len() > 1000));
        }
    }

    #[test]
    fn the_page_asks_nobody_else_and_trusts_no_text() {
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
