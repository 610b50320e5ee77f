//! `ntp-ctl explain`: prints why the clock is or is not steered, and why each source is or is not
//! used. The findings are those of [`ntp_control_api::explain`].

use ntp_control_api::explain::{self, MissingSource};
use ntp_types::status::{SourceStatus, Status};

use crate::format::paragraph;
use crate::sources;

pub(crate) use ntp_control_api::explain::clock;

pub(crate) fn plain(status: &Status) -> String {
    let mut text = String::new();
    block(&mut text, "Clock", &clock(status));
    for source in &status.sources {
        let address = source.address.to_string();
        let name = if source.name == address {
            address
        } else {
            format!("{} ({address})", source.name)
        };
        block(&mut text, &name, &explain::source(status, source));
    }
    for MissingSource { name, why } in explain::missing(status) {
        block(&mut text, &name, &[why]);
    }
    text
}

fn block(text: &mut String, title: &str, findings: &[String]) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("{title}:\n"));
    for finding in findings {
        paragraph(text, finding);
    }
}

/// Returns the findings as JSON.
pub(crate) fn data(status: &Status) -> serde_json::Value {
    let of_source = |source: &SourceStatus| {
        serde_json::json!({
            "name": source.name,
            "address": source.address,
            "state": sources::state(source),
            "used": explain::is_selected(source),
            "why": explain::source(status, source),
        })
    };
    let sources: Vec<_> = status.sources.iter().map(of_source).collect();
    serde_json::json!({
        "synchronized": status.system.synchronized,
        "clock": clock(status),
        "sources": sources,
        "missing": explain::missing(status),
    })
}
