//! The shipped files for Prometheus and Grafana use only existing metrics.

use std::collections::BTreeSet;
use std::path::Path;

use ntp_control_api::metrics::{UPSTREAM, ours};
use ntp_metrics_exporter::{OBSERVATION, OWN};

fn families() -> BTreeSet<&'static str> {
    let daemon = UPSTREAM
        .iter()
        .copied()
        .chain(ours())
        .map(|family| family.name);
    let own = OWN.iter().map(|family| family.name);
    daemon.chain(own).chain([OBSERVATION]).collect()
}

/// Returns all names of metrics in a file.
fn metrics_in(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../pkg")
        .join(file);
    let text = std::fs::read_to_string(path).expect("the file");
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let words = words.filter(|word| word.starts_with("ntp_"));
    words.map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_use_only_existing_metrics() {
    let families = families();
    for file in [
        "prometheus/ntpd-rs.rules.yml",
        "prometheus/ntpd-rs.rules.test.yml",
        "grafana/ntpd-rs.json",
    ] {
        let names = metrics_in(file);
        assert!(names.len() >= 8, "{file}: {names:?}");
        for name in names {
            let of_histogram = ["_bucket", "_sum", "_count"];
            let bare = of_histogram.iter().find_map(|it| name.strip_suffix(it));
            let known = families.contains(name.as_str())
                || bare.is_some_and(|bare| families.contains(bare));
            assert!(known, "{file} uses {name}");
        }
    }
}

#[test]
fn upstreams_27_families_exist_and_names_are_unique() {
    assert_eq!(UPSTREAM.len(), 27);
    let all = UPSTREAM.len() + ours().count() + OWN.len() + 1;
    assert_eq!(families().len(), all);
}
