//! Verdicts on thousands of mutated configurations, beside those of upstream ntpd-rs 1.9: a file that
//! upstream accepts must load here, except for the shapes that docs/migration.md names.
//!
//! ```text
//! UPSTREAM_NTP_CTL=/path/of/ntp-ctl UPSTREAM_FILES=/directory/of/examples \
//!     cargo test -p ntp-config --test upstream -- --ignored --nocapture
//! ```
//!
//! `UPSTREAM_FILES` is optional: its files are mutated, too. Configurations that only this project
//! accepts are counted and listed, and are no failure: it has keys that upstream has not.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use toml::{Table, Value};

/// All keys of upstream that concern sources, servers and the choice of versions, and one of every
/// other section.
const BASES: [&str; 4] = [
    r#"
    [[source]]
    mode = "pool"
    address = "pool.example"
    count = 2
    ignore = ["192.0.2.1"]
    ntp-version = "auto"
    poll-interval-limits = { min = 4, max = 6 }
    initial-poll-interval = 4
    [[source]]
    mode = "server"
    address = "server.example:123"
    ntp-version = 5
    [[source]]
    mode = "nts"
    address = "nts.example"
    ntp-version = "auto"
    enable-srv-resolution = true
    [[source]]
    mode = "nts-pool"
    address = "nts-pool.example:4460"
    count = 3
    ntp-version = 5
    enable-srv-resolution = true
    "#,
    r#"
    [[server]]
    listen = "[::]:123"
    rate-limiting-cache-size = 4
    rate-limiting-cutoff-ms = 5
    require-nts = "deny"
    accept-ntp-versions = [3, 4, 5]
    allowlist = { filter = ["::/0"], action = "deny" }
    denylist = { filter = ["192.0.2.0/24"], action = "ignore" }
    [[server]]
    listen = "192.0.2.1:123"
    require-nts = true
    accept-ntp-versions = [5]
    [[nts-ke-server]]
    listen = "[::]:4460"
    certificate-chain-path = "/nonexistent/chain.pem"
    private-key-path = "/nonexistent/key.pem"
    key-exchange-timeout-ms = 1000
    concurrent-connections = 512
    ntp-server = "ntp.example"
    ntp-port = 123
    accept-ntp-versions = [4, 5]
    accepted-pool-authentication-tokens = ["token"]
    [keyset]
    stale-key-count = 3
    key-rotation-interval = 7
    "#,
    r#"
    [source-defaults]
    poll-interval-limits = { min = 4, max = 6 }
    initial-poll-interval = 4
    [synchronization]
    minimum-agreeing-sources = 1
    single-step-panic-threshold = { forward = 1, backward = 2 }
    startup-step-panic-threshold = { forward = 1800, backward = 1800 }
    accumulated-step-panic-threshold = 1800
    local-stratum = 3
    reference-id = "ABCD"
    warn-on-jump = false
    [synchronization.algorithm]
    step-threshold = 0.1
    meddling-threshold = 5.0
    initial-wander = 1e-8
    ignore-server-dispersion = true
    "#,
    r#"
    [[source]]
    mode = "sock"
    path = "/nonexistent/a.sock"
    precision = 1e-3
    [[source]]
    mode = "pps"
    path = "/dev/pps0"
    precision = 1e-7
    [observability]
    log-level = "info"
    observation-path = "/run/x"
    observation-permissions = 438
    metrics-exporter-listen = "127.0.0.1:9975"
    ansi-colors = true
    "#,
];

/// What is put in the place of every value.
const REPLACEMENTS: &str = r#"
    values = [
        "", "x", "inf", "auto", "deny", "ignore", "pool", "server", "nts", "nts-pool", "sock", "5",
        "127.0.0.1", "127.0.0.1:123", "::1", "[::1]:99999", "a.example:0", "a b",
        0, 1, 3, 4, 5, 6, 17, 255, 256, 65536, -1, 9223372036854775807,
        0.0, 0.5, 4.0, -1.5, 1e300, inf, nan, true, false, 2026-01-01,
        [], [4], [5, 4], [4, 4], ["5"], [2], [6], [[4]], ["127.0.0.1", 4], {}, { min = 4 }, { forward = "inf" },
        { min = 6, max = 4 }, { min = 4, max = 300 }, { x = 1 }, { filter = [] }, { filter = [], action = "x" },
    ]
"#;

/// A step into a table or a list.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

fn child<'a>(value: &'a mut Value, step: &Step) -> &'a mut Value {
    match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Index(index) => &mut value[*index],
    }
}

/// All values of the tree but the root, by the path to them.
fn paths(value: &Value, prefix: &[Step], found: &mut Vec<Vec<Step>>) {
    let children: Vec<(Step, &Value)> = match value {
        Value::Table(table) => {
            let entries = table.iter();
            entries
                .map(|(key, child)| (Step::Key(key.clone()), child))
                .collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, child)| (Step::Index(index), child))
                .collect()
        }
        _ => Vec::new(),
    };
    for (step, child) in children {
        let path = [prefix, &[step]].concat();
        paths(child, &path, found);
        found.push(path);
    }
}

/// The mutations of the value at `path`, each with its description.
fn mutations(base: &Table, path: &[Step], replacements: &[Value]) -> Vec<(String, Value)> {
    let place: String = path.iter().map(|step| format!("{step:?} ")).collect();
    let (parents, last) = path.split_at(path.len() - 1);
    let mut results = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Value)| {
        let mut root = Value::Table(base.clone());
        let parent = parents.iter().fold(&mut root, child);
        change(parent);
        results.push((format!("{place}{what}"), root));
    };
    for replacement in replacements {
        let replace = |parent: &mut Value| *child(parent, &last[0]) = replacement.clone();
        add(format!("= {replacement}"), &replace);
    }
    add("in a list".to_owned(), &|parent| {
        let value = child(parent, &last[0]);
        *value = Value::Array(vec![value.clone()]);
    });
    add("as text".to_owned(), &|parent| {
        let value = child(parent, &last[0]);
        *value = Value::String(value.to_string().trim_matches('"').to_owned());
    });
    add("removed".to_owned(), &|parent| match (parent, &last[0]) {
        (Value::Table(table), Step::Key(key)) => drop(table.remove(key)),
        (Value::Array(items), Step::Index(index)) => drop(items.remove(*index)),
        _ => {}
    });
    add("twice".to_owned(), &|parent| match (parent, &last[0]) {
        (Value::Table(table), Step::Key(key)) => {
            let value = table[key].clone();
            table.insert(key.replace('-', "_"), value);
        }
        (Value::Array(items), Step::Index(index)) => items.push(items[*index].clone()),
        _ => {}
    });
    add("beside an unknown key".to_owned(), &|parent| {
        if let Value::Table(table) = parent {
            table.insert("unknown-key".to_owned(), Value::Integer(1));
        }
    });
    results
}

/// What docs/migration.md names: a list in the place of a table, an address that no host can have,
/// and a port that clients need not accept.
const DOCUMENTED: [&str; 7] = [
    "a list, expected a table",
    "empty host",
    "in a host name",
    "invalid IPv4 address syntax",
    "invalid IPv6 address syntax",
    "invalid port number",
    "expected 123 or a port from 1024 to 65535",
];

fn is_documented(messages: &str) -> bool {
    DOCUMENTED.iter().any(|known| messages.contains(known))
}

fn upstream_accepts(program: &Path, file: &Path) -> bool {
    let output = Command::new(program)
        .args(["validate", "-c"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("UPSTREAM_NTP_CTL runs");
    let printed = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    !printed.contains("Could not load configuration")
}

/// Texts to mutate: ours, and upstream's example files.
fn bases() -> Vec<String> {
    let mut texts: Vec<String> = BASES.iter().map(ToString::to_string).collect();
    if let Some(directory) = env::var_os("UPSTREAM_FILES") {
        let files = fs::read_dir(directory).expect("UPSTREAM_FILES is a directory");
        let files: BTreeSet<_> = files.map(|file| file.unwrap().path()).collect();
        texts.extend(
            files
                .iter()
                .filter_map(|file| fs::read_to_string(file).ok()),
        );
    }
    texts
}

/// What both programs made of the configurations.
#[derive(Default)]
struct Comparison {
    seen: BTreeSet<String>,
    /// Number of configurations that upstream accepts.
    accepted: u32,
    /// Number of those that are refused here as documented.
    documented: u32,
    refused_here: Vec<String>,
    only_here: Vec<String>,
}

impl Comparison {
    /// Compares the verdicts on `text`, once.
    fn add(&mut self, program: &Path, file: &Path, what: &str, text: String) {
        if self.seen.contains(&text) {
            return;
        }
        fs::write(file, &text).unwrap();
        let upstream = upstream_accepts(program, file);
        self.accepted += u32::from(upstream);
        match ntp_config::parse(&text, "ntp.toml") {
            Ok(_) if !upstream => self.only_here.push(what.to_owned()),
            Err(error) if upstream => {
                let problems = error.problems().iter();
                let messages: Vec<_> = problems.map(|it| it.message.as_str()).collect();
                let messages = messages.join("; ");
                if is_documented(&messages) {
                    self.documented += 1;
                } else {
                    self.refused_here.push(format!("{what}: {messages}"));
                }
            }
            _ => {}
        }
        self.seen.insert(text);
    }
}

#[test]
#[ignore = "needs ntp-ctl of ntpd-rs 1.9, UPSTREAM_NTP_CTL is its path"]
fn what_upstream_accepts_loads() {
    let program = env::var_os("UPSTREAM_NTP_CTL").expect("UPSTREAM_NTP_CTL is set");
    let program = Path::new(&program);
    let replacements: Table = REPLACEMENTS.parse().unwrap();
    let replacements = replacements["values"].as_array().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ntp.toml");
    let mut all = Comparison::default();
    for (index, text) in bases().into_iter().enumerate() {
        let what = format!("text {index}");
        let before = all.accepted;
        all.add(program, &file, &what, text.clone());
        // A text of ours that is refused as it is would have no mutations of interest.
        assert!(index >= BASES.len() || all.accepted > before, "{what}");
        let Ok(base) = text.parse::<Table>() else {
            continue;
        };
        let mut places = Vec::new();
        paths(&Value::Table(base.clone()), &[], &mut places);
        for path in &places {
            for (mutation, mutated) in mutations(&base, path, replacements) {
                let what = format!("text {index}: {mutation}");
                all.add(program, &file, &what, toml::to_string(&mutated).unwrap());
            }
        }
    }
    println!(
        "{} configurations, upstream accepts {}, {} of these are refused here as documented",
        all.seen.len(),
        all.accepted,
        all.documented
    );
    println!("accepted here only: {}", all.only_here.len());
    all.only_here.iter().for_each(|what| println!("{what}"));
    let refused = all.refused_here.join("\n");
    assert!(refused.is_empty(), "accepted by upstream only:\n{refused}");
}
