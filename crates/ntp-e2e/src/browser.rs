//! Headless Chromium, controlled through chromedriver by the WebDriver protocol (W3C).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::workspace_root;
use crate::files;
use crate::http;
use crate::process::{self, Process};
use crate::wait;

/// Time limit for the start of the browser and for one command.
const LIMIT: Duration = Duration::from_secs(120);

/// Time limit for the end of a session.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Returns why the browser cannot run here, or `None` if it can.
pub fn missing() -> Option<String> {
    for program in ["chromium", "chromedriver"] {
        match Command::new(program).arg("--version").output() {
            Ok(output) if output.status.success() => {}
            other => return Some(format!("{program} cannot be run: {other:?}")),
        }
    }
    let axe = axe_core();
    (!axe.exists()).then(|| format!("{} does not exist", axe.display()))
}

/// Returns the file of axe-core, which checks the accessibility of a page.
pub fn axe_core() -> PathBuf {
    workspace_root().join("target/arena/axe-core/axe.min.js")
}

/// A browser with one window. Stopped when dropped.
#[derive(Debug)]
pub struct Browser {
    address: SocketAddr,
    session: String,
    profile: TempDir,
    _driver: Process,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    /// If chromedriver or the browser cannot be started.
    pub fn start() -> Self {
        let profile = files::temporary_directory();
        let mut command = process::command(None, "chromedriver");
        command.arg("--port=0");
        let driver = Process::spawn("chromedriver", command);
        let line = driver.wait_for_line(LIMIT, "started successfully on port ");
        let port = line
            .trim_end_matches('.')
            .rsplit(' ')
            .next()
            .and_then(|port| port.parse().ok());
        let Some(port) = port else {
            panic!("no port in: {line}");
        };
        let mut browser = Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            session: String::new(),
            _driver: driver,
            profile,
        };
        let data = format!("--user-data-dir={}", browser.profile.path().display());
        let options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &data,
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": options },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "", &capabilities);
        session["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no session: {session}"))
            .clone_into(&mut browser.session);
        browser
    }

    /// Opens `url`.
    ///
    /// # Panics
    /// If the browser reports an error; so do all other methods.
    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// Runs `script` as the body of a function in the page. Returns its result.
    pub fn evaluate(&self, script: &str) -> Value {
        self.command(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": [] }),
        )
    }

    /// Waits until `script` returns something other than null, false, 0 or the empty string.
    pub fn wait_for(&self, what: &str, script: &str) -> Value {
        wait::until(LIMIT, what, || {
            let value = self.evaluate(script);
            let empty = value.is_null() || value == false || value == 0 || value == "";
            (!empty).then_some(value)
        })
    }

    /// Emulates a screen of this size with a dark or light colour scheme.
    pub fn emulate_screen(&self, width: u32, height: u32, dark: bool) {
        let phone = width < 600;
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone }),
        );
        let scheme = if dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    /// Writes a PNG screenshot of the whole page to `file`.
    pub fn screenshot(&self, file: &Path) {
        let shot = self.devtools(
            "Page.captureScreenshot",
            &json!({ "captureBeyondViewport": true, "format": "png" }),
        );
        let picture = shot["data"]
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok());
        let picture = picture.unwrap_or_else(|| panic!("no screenshot"));
        files::write(file, picture);
    }

    /// Errors and warnings of the browser's console since the last call.
    pub fn console_problems(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| entry["message"].to_string())
            .collect()
    }

    fn devtools(&self, name: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": name, "params": parameters });
        self.command("POST", "/goog/cdp/execute", &body)
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session{path}");
        let json = ["Content-Type: application/json"];
        let reply = http::request(self.address, method, &path, &json, &body.to_string(), LIMIT);
        match reply {
            Ok(reply) if reply.status == 200 => match reply.json() {
                Ok(mut answer) => answer["value"].take(),
                Err(error) => panic!("chromedriver's answer to {path}: {error}"),
            },
            other => panic!("chromedriver refuses {path} {body}: {other:?}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Deleting the session normally ends the browser. If it does not, the browser is found by
        // its unique profile directory; while it runs it keeps the driver's output open.
        let path = format!("/session/{}", self.session);
        let _ = http::request(self.address, "DELETE", &path, &[], "", SHUTDOWN_LIMIT);
        let profile = self.profile.path().display().to_string();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if let Some(pid) = pid.and_then(Pid::from_raw)
                && String::from_utf8_lossy(&line).contains(&profile)
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
