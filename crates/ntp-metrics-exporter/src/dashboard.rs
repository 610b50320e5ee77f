//! The dashboard: an HTML document, its style and its script, embedded in the program.
//!
//! It loads nothing from other hosts: the content security policy permits only what this exporter serves, and no
//! inline style or script. Text from the daemon, which can originate from servers, is inserted as text, never
//! as HTML.

/// The content security policy.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Returns media type and content of a file of the dashboard.
pub(crate) fn file(path: &str) -> Option<(&'static str, &'static str)> {
    Some(match path {
        "/" => ("text/html; charset=utf-8", include_str!("dashboard.html")),
        "/dashboard.css" => ("text/css; charset=utf-8", include_str!("dashboard.css")),
        "/dashboard.js" => (JAVASCRIPT, include_str!("dashboard.js")),
        "/plots.js" => (JAVASCRIPT, include_str!("plots.js")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_consists_of_the_served_files() {
        let (_, page) = file("/").unwrap();
        let mut links = page
            .split(['"', '\''])
            .filter(|it| it.starts_with('/') && (it.ends_with(".css") || it.ends_with(".js")));
        let files = ["/dashboard.css", "/plots.js", "/dashboard.js"];
        assert!(links.by_ref().eq(files));
        for path in files {
            assert!(file(path).is_some_and(|(_, content)| content.len() > 1000));
        }
        assert!(!POLICY.contains("unsafe") && !page.contains("<style"));
    }

    #[test]
    fn the_page_loads_nothing_from_other_hosts_and_inserts_no_html() {
        let page =
            ["/", "/dashboard.css", "/plots.js", "/dashboard.js"].map(|path| file(path).unwrap().1);
        // The name space of SVG is no address.
        let page = page.concat().replace("http://www.w3.org/", "");
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
            " src=\"http",
            " src=\"//",
        ] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }
}
