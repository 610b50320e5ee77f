//! The architecture is a test: who may import whom, and where `unsafe` may stand.
//!
//! The tables here are those of ARCHITECTURE.md. A crate imports only from lower layers, never sideways; only two crates
//! contain unsafe code; the pure crates depend on nothing from outside that the table does not name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Layer of every crate of the workspace.
const LAYERS: &[(&str, u8)] = &[
    ("ntp-time", 0),
    ("ntp-proto", 1),
    ("ntp-os-clock", 1),
    ("ntp-udp", 1),
    ("ntp-control-api", 1),
    ("ntp-config", 2),
    ("ntp-nts-ke", 2),
    ("ntp-record", 2),
    ("ntp-worker", 2),
    ("ntp-sim", 2),
    ("ntp-daemon", 3),
    ("ntp-ctl", 4),
    ("ntp-metrics-exporter", 4),
    ("test-binaries", 4),
    ("ntpd", 5),
    // Development only: may use anything, and nobody else may use them.
    ("ntp-e2e", 6),
    ("xtask", 7),
];

/// Crates that may contain unsafe code.
const UNSAFE: &[&str] = &["ntp-os-clock", "ntp-udp"];

/// What the crates at the bottom may use from outside the workspace. They are the ones that an auditor reads first.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("ntp-time", &[]),
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
            "sha1",
            "sha2",
            "siphasher",
            "subtle",
            "zeroize",
        ],
    ),
    ("ntp-os-clock", &["libc"]),
    ("ntp-udp", &["libc"]),
    ("ntp-control-api", &["serde", "serde_json"]),
    ("ntp-config", &["annotate-snippets", "toml"]),
    (
        "ntp-nts-ke",
        &[
            "rustix",
            "rustls",
            "rustls-native-certs",
            "tokio",
            "tokio-rustls",
            "x509-cert",
            "zeroize",
        ],
    ),
    ("ntp-record", &["serde_json"]),
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

/// Names of a package's dependencies that are part of the shipped program.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let all = package["dependencies"]
        .as_array()
        .expect("dependencies are a list");
    all.iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(name)
}

#[test]
fn every_crate_imports_only_from_lower_layers() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    for package in &packages() {
        let own = *layers
            .get(name(package))
            .unwrap_or_else(|| panic!("{} has no layer in this table", name(package)));
        for dependency in dependencies(package) {
            if let Some(other) = layers.get(dependency) {
                assert!(
                    other < &own,
                    "{} (L{own}) must not import {dependency} (L{other})",
                    name(package)
                );
            }
        }
    }
}

#[test]
fn the_lower_crates_use_only_what_is_agreed() {
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
fn unsafe_code_stands_in_two_crates() {
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

/// A thread that starts by another way keeps what the timekeeping thread has: the right to set the clock.
#[test]
fn threads_of_the_daemon_start_confined() {
    let daemon = root().join("crates/ntp-daemon/src");
    for file in sources(&daemon) {
        if file.starts_with(daemon.join("sandbox")) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("sources can be read");
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for way in ["thread::spawn(", "thread::Builder"] {
            assert!(
                !shipped.contains(way) || file.ends_with("tests.rs"),
                "{} starts a thread without `sandbox::spawn`",
                file.display()
            );
        }
    }
}

#[test]
fn every_source_file_opens_with_its_idea() {
    for file in sources(&root().join("crates")) {
        let text = fs::read_to_string(&file).expect("sources can be read");
        assert!(
            text.starts_with("//!"),
            "{} does not open with what it is",
            file.display()
        );
    }
}

#[test]
fn no_room_is_called_miscellaneous() {
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
fn everything_carries_the_same_licence_and_stays_unpublished() {
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

/// Functions of `f64` that the C library computes, and each version of it a little differently.
const INEXACT: &[&str] = &[
    "acos", "asin", "atan", "atan2", "cbrt", "cos", "cosh", "exp", "exp2", "exp_m1", "hypot", "ln",
    "ln_1p", "log", "log10", "log2", "powf", "sin", "sin_cos", "sinh", "tan", "tanh",
];

#[test]
fn the_engine_computes_the_same_on_every_machine() {
    let mut directories = vec![root().join("crates/ntp-proto/src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("directories can be listed") {
            let path = entry.expect("entries can be read").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).expect("sources can be read");
            // The worlds that tests make up may be a little different elsewhere.
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
                    "{} calls f64::{function}; discipline/math.rs has what is the same everywhere",
                    path.display()
                );
            }
        }
    }
}
