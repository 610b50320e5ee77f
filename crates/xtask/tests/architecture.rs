//! Tests of the architecture: dependencies between crates and modules, and the use of `unsafe`.
//!
//! The tables are those of ARCHITECTURE.md. A crate depends on lower layers only; only two crates
//! contain unsafe code; the lower crates have no external dependencies other than those listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Layer of every crate of the workspace. `ntp-types` is made of `ntp-time`.
const LAYERS: &[(&str, u8)] = &[
    ("ntp-files", 0),
    ("ntp-time", 0),
    ("ntp-types", 1),
    ("ntp-proto", 2),
    ("ntp-os-clock", 2),
    ("ntp-udp", 2),
    ("ntp-chronyc", 2),
    ("ntp-control-api", 2),
    ("ntp-config", 3),
    ("ntp-nts-ke", 3),
    ("ntp-history", 3),
    ("ntp-record", 3),
    ("ntp-refclock", 3),
    ("ntp-worker", 3),
    ("ntp-sim", 3),
    ("ntp-daemon", 4),
    ("ntp-ctl", 5),
    ("ntp-metrics-exporter", 5),
    ("test-binaries", 5),
    ("ntpd", 6),
    ("ntp-demo", 6),
    // Development only: may use anything; no other crate may use them.
    ("ntp-e2e", 7),
    ("clockbound-interop", 7),
    ("xtask", 8),
];

/// Dependencies that the layers would permit, with what takes their place.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "ntp-ctl",
        "ntp-daemon",
        "the entry point in `ntpd` passes the one-shot measurement of `force-sync`",
    ),
    (
        "ntp-config",
        "ntp-control-api",
        "settings and statuses are in `ntp-types`",
    ),
    (
        "ntp-worker",
        "ntp-control-api",
        "statistics are in `ntp-types`",
    ),
];

/// Crates that may contain unsafe code.
const UNSAFE: &[&str] = &["ntp-os-clock", "ntp-udp"];

/// Permitted external dependencies of the lower crates, which an auditor reads first.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("ntp-files", &["libc", "rustix"]),
    ("ntp-time", &["serde"]),
    ("ntp-types", &["serde", "serde_json"]),
    (
        "ntp-proto",
        &[
            "aes",
            "aes-gcm-siv",
            "cmac",
            "hkdf",
            "libm",
            "md-5",
            "rand_chacha",
            "rand_core",
            "serde",
            "sha1",
            "sha2",
            "siphasher",
            "subtle",
            "thiserror",
            "zeroize",
        ],
    ),
    ("ntp-chronyc", &[]),
    ("ntp-os-clock", &["libc", "nix", "thiserror"]),
    ("ntp-udp", &["libc", "nix", "thiserror"]),
    (
        "ntp-control-api",
        &["rustix", "serde", "serde_json", "thiserror"],
    ),
    ("ntp-history", &["serde", "serde_json", "sha2"]),
    (
        "ntp-config",
        &["annotate-snippets", "strsim", "thiserror", "toml"],
    ),
    (
        "ntp-nts-ke",
        &[
            "rustix",
            "rustls",
            "rustls-native-certs",
            "rustls-openssl",
            "simple-dns",
            "thiserror",
            "tokio",
            "tokio-rustls",
            "x509-cert",
            "zeroize",
        ],
    ),
    ("ntp-record", &["serde", "serde_json"]),
    (
        "ntp-refclock",
        &["rustix", "serde", "serde_json", "thiserror"],
    ),
    ("ntp-worker", &["arc-swap"]),
    ("ntp-sim", &["rand_chacha", "rand_core"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace root exists")
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"]
        .as_array()
        .expect("packages are a list")
        .clone()
}

fn name(value: &Value) -> &str {
    value["name"].as_str().expect("names are strings")
}

/// Names of the dependencies of a package, without those for tests and builds.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let all = package["dependencies"]
        .as_array()
        .expect("dependencies are a list");
    all.iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(name)
}

#[test]
fn crates_depend_on_lower_layers_only() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    for package in &packages() {
        let own = *layers
            .get(name(package))
            .unwrap_or_else(|| panic!("{} has no layer in this table", name(package)));
        for dependency in dependencies(package) {
            if let Some(other) = layers.get(dependency) {
                assert!(
                    other < &own,
                    "{} (L{own}) must not depend on {dependency} (L{other})",
                    name(package)
                );
            }
        }
    }
}

#[test]
fn crates_that_were_separated_stay_separate() {
    for package in &packages() {
        for (own, refused, instead) in REFUSED {
            assert!(
                name(package) != *own || dependencies(package).all(|it| it != *refused),
                "{own} must not depend on {refused}: {instead}"
            );
        }
    }
}

#[test]
fn lower_crates_have_only_listed_dependencies() {
    let allowed: BTreeMap<&str, &[&str]> = OUTSIDE.iter().copied().collect();
    for package in &packages() {
        let Some(allowed) = allowed.get(name(package)) else {
            continue;
        };
        for dependency in
            dependencies(package).filter(|name| !LAYERS.iter().any(|(ours, _)| ours == name))
        {
            assert!(
                allowed.contains(&dependency),
                "{} may not use {dependency}",
                name(package)
            );
        }
    }
}

#[test]
fn only_two_crates_contain_unsafe_code() {
    for package in &packages() {
        if UNSAFE.contains(&name(package)) {
            continue;
        }
        for target in package["targets"].as_array().expect("targets are a list") {
            let kinds = target["kind"].as_array().expect("kinds are a list");
            if kinds.iter().all(|kind| kind != "lib" && kind != "bin") {
                continue;
            }
            let path = target["src_path"].as_str().expect("paths are strings");
            let source = fs::read_to_string(path).expect("sources can be read");
            assert!(
                source.contains("#![forbid(unsafe_code)]"),
                "{path} does not forbid unsafe code"
            );
        }
    }
}

/// A structure of the C library has other fields and padding on other targets (`timespec` with a
/// 64-bit `time_t`, `msghdr` of musl), so that a literal compiles on some only.
#[test]
fn structures_of_the_c_library_are_not_written_as_literals() {
    // What the crates use of it, with or without the path.
    const NAMES: &[&str] = &[
        "Dl_info",
        "cmsghdr",
        "ifaddrs",
        "iovec",
        "itimerspec",
        "mmsghdr",
        "msghdr",
        "pollfd",
        "shmid_ds",
        "sigaction",
        "sock_filter",
        "sock_fprog",
        "timespec",
        "timeval",
        "timex",
    ];
    let crates = root().join("crates");
    for file in sources(&crates) {
        if file.ends_with("xtask/tests/architecture.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("sources can be read");
        for (index, line) in text.lines().enumerate() {
            if let Some(name) = libc_literal(line, NAMES) {
                panic!("{}:{}: a literal of {name}", file.display(), index + 1);
            }
        }
    }
}

/// Returns the structure of which a line begins a literal: `libc::anything {`, or one of `names`
/// before a brace. The brace after a return type begins a function.
fn libc_literal<'l>(line: &'l str, names: &[&str]) -> Option<&'l str> {
    line.match_indices(" {").find_map(|(at, _)| {
        let before = line[..at].trim_start();
        let path = before.rsplit([' ', '(', '&', '[', '=']).next()?;
        let name = path.rsplit("::").next()?;
        let is_declaration = before.contains("-> ") || before.contains(" for ");
        let is_code = !before.starts_with("//") && !before.starts_with("use ") && !is_declaration;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_type = name.chars().all(is_name) && name.contains(|c: char| c.is_ascii_lowercase());
        let is_structure = path.strip_prefix("libc::") == Some(name) && is_type;
        (is_code && (is_structure || names.contains(&name))).then_some(name)
    })
}

#[test]
fn literals_of_the_c_library_are_recognised() {
    for (line, found) in [
        (
            "    let time = libc::timeval { tv_sec: 5 };",
            Some("timeval"),
        ),
        ("        (*slot).part = iovec {", Some("iovec")),
        ("    self.entries.push(libc::pollfd {", Some("pollfd")),
        ("unsafe impl Blank for libc::iovec {}", None),
        ("fn encode(self) -> libc::sock_filter {", None),
        ("use libc::{iovec, mmsghdr};", None),
        ("extern \"C\" fn on_signal(signal: libc::c_int) {", None),
        ("if start == libc::MAP_FAILED {", None),
        ("let mut part = libc::iovec::BLANK;", None),
    ] {
        assert_eq!(libc_literal(line, &["iovec"]), found, "{line}");
    }
}

/// Crates that the programs link with the given features of `ntpd`.
fn linked(features: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args([
            "tree",
            "--offline",
            "--locked",
            "--package=ntpd",
            "--edges=normal",
        ])
        .args(["--prefix=none", "--format={lib}"])
        .args(features)
        .output()
        .expect("cargo can be run");
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let text = String::from_utf8_lossy(&tree.stdout);
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[test]
fn each_build_has_the_cryptography_of_its_feature_only() {
    const LIBRARIES: [(&str, &[&str]); 3] = [
        ("ring", &["ring"]),
        ("aws-lc-rs", &["aws_lc_rs", "aws_lc_sys"]),
        ("openssl", &["openssl", "openssl_sys", "rustls_openssl"]),
    ];
    let check = |features: &[&str], wanted: &str| {
        let linked = linked(features);
        for (feature, libraries) in LIBRARIES {
            for library in libraries {
                assert_eq!(
                    linked.contains(*library),
                    feature == wanted,
                    "{wanted}: {library}"
                );
            }
        }
    };
    check(&[], "ring");
    for (feature, _) in LIBRARIES {
        check(&["--no-default-features", "--features", feature], feature);
    }
    let small = ["--no-default-features", "--features", "without-nts"];
    check(&small, "none");
    let small = linked(&small);
    for library in ["annotate_snippets", "ratatui", "rustls", "x509_cert"] {
        assert!(!small.contains(library), "{library} is in a small build");
    }
}

/// Threads started by other means would keep the privilege of the main thread to set the clock.
#[test]
fn threads_of_the_daemon_are_sandboxed() {
    let daemon = root().join("crates/ntp-daemon/src");
    for file in sources(&daemon) {
        if file.starts_with(daemon.join("sandbox")) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("sources can be read");
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in ["thread::spawn(", "thread::Builder"] {
            assert!(
                !shipped.contains(call) || file.ends_with("tests.rs"),
                "{} starts a thread without `sandbox::spawn`",
                file.display()
            );
        }
    }
}

/// Functions of `f64` that call the C library's mathematics.
const C_MATHEMATICS: &[&str] = &[
    "cbrt", "cos", "exp", "exp2", "exp_m1", "hypot", "ln", "ln_1p", "log10", "log2", "powf", "sin",
];

/// Files of the daemon's crates that may use them.
const C_MATHEMATICS_USERS: &[(&str, &str)] = &[
    ("ntp-proto/src/discipline/testworld.rs", "part of tests"),
    ("ntp-record/src/plot.rs", "used by ntp-ctl only"),
];

/// Its results differ from machine to machine, so that records would replay differently, and it
/// costs 0.3 MB of a client's memory.
#[test]
fn the_daemon_does_without_the_mathematics_of_the_c_library() {
    let crates = root().join("crates");
    let programs = [
        "clockbound-interop",
        "ntp-ctl",
        "ntp-demo",
        "ntp-e2e",
        "ntp-metrics-exporter",
        "ntp-sim",
        "ntpd",
        "test-binaries",
        "xtask",
    ];
    let mut allowed: BTreeSet<&str> = C_MATHEMATICS_USERS.iter().map(|(file, _)| *file).collect();
    for package in packages() {
        let source = crates.join(name(&package)).join("src");
        if programs.contains(&name(&package)) {
            continue;
        }
        for file in sources(&source) {
            let text = fs::read_to_string(&file).expect("sources can be read");
            let shipped = text.split("#[cfg(test)]\nmod tests").next();
            let shipped = shipped.unwrap_or_default();
            let calls = |function: &&&str| {
                shipped.contains(&format!(".{function}("))
                    || shipped.contains(&format!("f64::{function}"))
            };
            let Some(call) = C_MATHEMATICS.iter().find(calls) else {
                continue;
            };
            let file = file.strip_prefix(&crates).expect("files are in crates");
            let is_test = file.components().any(|part| part.as_os_str() == "tests");
            let file = file.to_string_lossy();
            assert!(
                is_test || file.ends_with("tests.rs") || allowed.remove(&*file),
                "{file} uses f64::{call}: see ntp-proto/src/discipline/math.rs"
            );
        }
    }
    assert!(allowed.is_empty(), "no exceptions any more: {allowed:?}");
}

/// Functions that open files, which may wait for ever if somebody puts a named pipe there.
const OPENING: &[&str] = &[
    "File::create",
    "File::open",
    "File::options",
    "OpenOptions",
    "from_pem_file",
    "fs::copy(",
    "fs::read(",
    "fs::read_to_string",
    "fs::write(",
    "pem_file_iter",
];

/// Files that may open files by themselves: nobody but the kernel or the program made those.
const OPENERS: &[(&str, &str)] = &[
    (
        "ntp-ctl/src/replay.rs",
        "writes the picture that the user names, perhaps to a terminal or a pipe",
    ),
    (
        "ntp-ctl/src/report/mod.rs",
        "writes the picture that the user names, perhaps to a terminal or a pipe",
    ),
    ("ntp-daemon/src/control/caller.rs", "reads below /proc"),
    (
        "ntp-daemon/src/persist/file.rs",
        "creates files with O_EXCL only",
    ),
    ("ntp-metrics-exporter/src/process.rs", "reads below /proc"),
    (
        "ntp-metrics-exporter/src/store.rs",
        "creates files with O_EXCL only",
    ),
];

#[test]
fn files_that_others_may_have_made_are_opened_in_one_place() {
    let crates = root().join("crates");
    let development = ["ntp-e2e", "ntp-files", "test-binaries", "xtask"];
    let of_tests = ["tests.rs", "fuzzing.rs", "corpus.rs"];
    let mut allowed: BTreeSet<&str> = OPENERS.iter().map(|(file, _)| *file).collect();
    for package in &packages() {
        let source = crates.join(name(package)).join("src");
        if development.contains(&name(package)) || !source.exists() {
            continue;
        }
        for file in sources(&source) {
            if of_tests.iter().any(|name| file.ends_with(name)) {
                continue;
            }
            let text = fs::read_to_string(&file).expect("sources can be read");
            let shipped = text.split("#[cfg(test)]\nmod tests").next();
            let shipped = shipped.unwrap_or_default();
            // The names of other types may end in these words.
            let calls = |call: &str| {
                let mut found = shipped.match_indices(call);
                found.any(|(at, _)| !shipped[..at].ends_with(char::is_alphanumeric))
            };
            let Some(call) = OPENING.iter().find(|call| calls(call)) else {
                continue;
            };
            let file = file.strip_prefix(&crates).expect("files are in crates");
            let file = file.to_string_lossy();
            assert!(
                allowed.remove(&*file),
                "{file} uses {call}: use the functions of ntp-files"
            );
        }
    }
    assert!(allowed.is_empty(), "no exceptions any more: {allowed:?}");
}

/// What reaches a file system.
const FILE_ACCESS: &[&str] = &[
    " fs::",
    "(fs::",
    "ntp_files::",
    ".exists()",
    "File::open",
    "OpenOptions",
    "Trust::load",
];

/// The files of the daemon that do so, with the thread or the time. The timekeeping thread must not,
/// once it runs: a network file system that does not answer would stop it.
const FILE_USERS: &[(&str, &str)] = &[
    ("clockbound/mod.rs", "at the start"),
    ("control/caller.rs", "below /proc, where the kernel answers"),
    ("control/file_check.rs", "on a thread for each check"),
    (
        "control/listener.rs",
        "at the start, and the socket file at the end",
    ),
    ("leap_list.rs", "on a thread"),
    ("log.rs", "at the start, then on a thread"),
    ("nts/cookie_keys.rs", "at the start; written by a thread"),
    ("nts/ke_client.rs", "on a thread for each exchange"),
    (
        "observation_socket.rs",
        "at the start, and the socket file at the end",
    ),
    (
        "persist/file.rs",
        "its callers are the state file, sessions and cookie keys",
    ),
    ("persist/history.rs", "on a thread"),
    ("persist/mod.rs", "at the start; written by a thread"),
    ("record.rs", "on the recorder's thread"),
    ("runtime/disruption.rs", "at the start, devices"),
    (
        "sandbox/mod.rs",
        "at the start, below /proc and the state directory",
    ),
    ("sandbox/privileges.rs", "at the start"),
];

#[test]
fn the_timekeeping_thread_opens_no_files() {
    let daemon = root().join("crates/ntp-daemon/src");
    let mut known: BTreeSet<&str> = FILE_USERS.iter().map(|(file, _)| *file).collect();
    for file in sources(&daemon) {
        if file.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("sources can be read");
        let shipped = text.split("#[cfg(test)]\nmod tests").next();
        let mut code = shipped.unwrap_or_default().lines();
        let name = file.strip_prefix(&daemon).expect("files are in the daemon");
        let used = code.find(|line| {
            let is_code = !line.trim_start().starts_with("//") && !line.starts_with("use ");
            is_code && FILE_ACCESS.iter().any(|access| line.contains(access))
        });
        if let Some(line) = used {
            assert!(
                known.remove(&*name.to_string_lossy()),
                "{} reaches a file system, perhaps on the timekeeping thread: {line}",
                name.display()
            );
        }
    }
    assert!(known.is_empty(), "no users of files any more: {known:?}");
}

#[test]
fn every_source_file_starts_with_a_description() {
    for file in sources(&root().join("crates")) {
        let text = fs::read_to_string(&file).expect("sources can be read");
        assert!(
            text.starts_with("//!"),
            "{} does not start with //!",
            file.display()
        );
    }
}

#[test]
fn no_module_has_a_generic_name() {
    for file in sources(&root().join("crates")) {
        let stem = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        assert!(
            !["util", "utils", "common", "misc", "helpers"].contains(&stem),
            "{}",
            file.display()
        );
    }
}

#[test]
fn all_packages_have_the_same_licence_and_are_unpublished() {
    for package in &packages() {
        assert_eq!(package["license"], "Apache-2.0 OR MIT", "{}", name(package));
        assert_eq!(
            package["publish"],
            Value::Array(Vec::new()),
            "{}",
            name(package)
        );
    }
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("directories can be read") {
        let path = entry.expect("entries can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Functions of `f64` from the C library, whose results differ between versions.
const INEXACT: &[&str] = &[
    "acos", "asin", "atan", "atan2", "cbrt", "cos", "cosh", "exp", "exp2", "exp_m1", "hypot", "ln",
    "ln_1p", "log", "log10", "log2", "powf", "sin", "sin_cos", "sinh", "tan", "tanh",
];

#[test]
fn the_engine_has_the_same_results_on_every_machine() {
    let mut directories = vec![root().join("crates/ntp-proto/src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("directories can be listed") {
            let path = entry.expect("entries can be read").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).expect("sources can be read");
            // Simulated inputs of tests may differ slightly.
            if path.ends_with("discipline/testworld.rs") {
                continue;
            }
            let shipped = source
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            for function in INEXACT {
                let called = [format!(".{function}("), format!("f64::{function}")];
                assert!(
                    !called.iter().any(|call| shipped.contains(call.as_str())),
                    "{} calls f64::{function}; use the functions of discipline/math.rs",
                    path.display()
                );
            }
        }
    }
}

/// Modules of each crate that are part of an import cycle today. The numbers may only decrease.
const MODULES_IN_CYCLES: &[(&str, usize)] = &[];

#[test]
fn modules_do_not_import_each_other_in_cycles() {
    let mut problems = Vec::new();
    for package in &packages() {
        let crate_name = name(package);
        let source = root().join("crates").join(crate_name).join("src");
        let graph = import_graph(&source);
        let cycles = cycles(&graph);
        let count: usize = cycles.iter().map(Vec::len).sum();
        let allowed = MODULES_IN_CYCLES
            .iter()
            .find(|(name, _)| *name == crate_name);
        let allowed = allowed.map_or(0, |(_, allowed)| *allowed);
        if count > allowed {
            let shown: Vec<_> = cycles.iter().map(|cycle| cycle.join(", ")).collect();
            problems.push(format!(
                "{crate_name}: {count} modules in cycles ({allowed} allowed):\n    {}",
                shown.join("\n    ")
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Modules and the modules of the same crate that they and their submodules must not import.
const FORBIDDEN_IMPORTS: &[(&str, &str, &[&str])] = &[
    // The algorithms can be read, tested and reused without what drives them.
    ("ntp-proto", "discipline", &["client", "engine"]),
    ("ntp-proto", "client", &["engine"]),
];

#[test]
fn modules_do_not_import_what_drives_them() {
    let is_in = |module: &str, outer: &str| {
        let rest = module.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    for (crate_name, importer, forbidden) in FORBIDDEN_IMPORTS {
        let graph = import_graph(&root().join("crates").join(crate_name).join("src"));
        let modules = graph.iter().filter(|(module, _)| is_in(module, importer));
        assert!(
            modules.clone().count() > 0,
            "{crate_name} has no {importer}"
        );
        for (module, imports) in modules {
            for import in imports {
                let allowed = forbidden.iter().all(|outer| !is_in(import, outer));
                assert!(allowed, "{crate_name}: {module} must not import {import}");
            }
        }
    }
}

/// The modules of a crate, and the modules that each one imports by paths `crate::...`.
fn import_graph(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let module = |file: &Path| {
        let path = file.strip_prefix(source).expect("files are in the crate");
        let path = path.with_extension("").to_string_lossy().replace('/', "::");
        let path = path.strip_suffix("mod").unwrap_or(&path);
        path.trim_end_matches("::").to_owned()
    };
    let files: BTreeMap<String, PathBuf> = sources(source)
        .into_iter()
        .map(|file| (module(&file), file))
        .filter(|(name, _)| !["lib", "main"].contains(&name.as_str()))
        .collect();
    let imports = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("sources can be read");
        let code = text.lines().map(|line| match line.trim_start() {
            comment if comment.starts_with("//") => "",
            code => code,
        });
        let code = code.collect::<Vec<_>>().concat();
        let code = code
            .split("#[cfg(test)]mod tests {")
            .next()
            .unwrap_or_default();
        let mut paths = Vec::new();
        for part in code.split("crate::").skip(1) {
            flatten(part, "", &mut paths);
        }
        let resolved = paths.iter().filter_map(|path| {
            let mut path = path.as_str();
            while !files.contains_key(path) {
                path = path.rsplit_once("::")?.0;
            }
            Some(path.to_owned())
        });
        resolved.collect::<BTreeSet<_>>()
    };
    files
        .iter()
        .map(|(name, file)| (name.clone(), imports(file)))
        .collect()
}

/// Expands the path at the beginning of `text`, with its groups `a::{b, c::d}`. Returns the rest.
fn flatten<'t>(text: &'t str, prefix: &str, paths: &mut Vec<String>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = flatten(rest, prefix, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = [prefix, word].join(if prefix.is_empty() { "" } else { "::" });
    match rest.strip_prefix("::") {
        Some(rest) if !word.is_empty() => flatten(rest, &path, paths),
        _ => {
            paths.push(path);
            rest.trim_start_matches(|c: char| c.is_alphanumeric() || [' ', '_', '*'].contains(&c))
        }
    }
}

/// The sets of modules that import each other, directly or indirectly.
fn cycles(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reachable = |from: &String| {
        let (mut found, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for import in graph.get(module).into_iter().flatten() {
                if import != module && found.insert(import) {
                    next.push(import);
                }
            }
        }
        found
    };
    let reachable: BTreeMap<_, _> = graph.keys().map(|name| (name, reachable(name))).collect();
    let mut cycles = BTreeSet::new();
    for (name, targets) in &reachable {
        let cycle: Vec<String> = targets
            .iter()
            .filter(|other| {
                reachable
                    .get(*other)
                    .is_some_and(|back| back.contains(name))
            })
            .map(|other| (*other).clone())
            .collect();
        if cycle.len() > 1 {
            cycles.insert(cycle);
        }
    }
    cycles.into_iter().collect()
}
