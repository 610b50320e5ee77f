//! Rendering of a [`Diagnostic`] in a build without excerpts: with the name of the file and the
//! line instead of its text.

use super::{Diagnostic, Severity, Style};
use crate::document::Place;

/// Renders the diagnostic in several lines, without a final line break. There are no colours.
pub(super) fn render(it: &Diagnostic, _: Style) -> String {
    let severity = match it.severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut text = format!("{severity}: {}", it.message);
    let mut add = |mark: &str, place: &Place, words: Option<&str>| {
        let Some((document, span)) = place.parts() else {
            return;
        };
        let line = document.line_of(span.start) + 1;
        text += &format!("\n {mark} {}:{line}", document.name());
        if let Some(words) = words {
            text += &format!(": {words}");
        }
    };
    add("-->", &it.place, it.label.as_deref());
    if let Some((place, words)) = &it.related {
        add(":::", place, Some(words));
    }
    for help in &it.help {
        text += &format!("\n  = help: {help}");
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::document::Document;

    use super::*;

    #[test]
    fn the_text_names_file_and_line() {
        let document = Document::new("ntp.toml", "[[source]]\nadress = \"x\"\n");
        let found = Diagnostic::error(Place::new(&document, 11..17), "unknown field `adress`")
            .with_label("did you mean `address`?")
            .with_related(Place::new(&document, 0..10), "in this section")
            .with_help("see the manual");
        let expected = "error: unknown field `adress`\n --> ntp.toml:2: did you mean `address`?\n ::: ntp.toml:1: in this section\n  = help: see the manual";
        assert_eq!(render(&found, Style::Plain), expected);
    }
}
