//! Complete commands, run in process against a daemon in a thread.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use ntp_config::Loaded;
use ntp_control_api::observation::{MAX_FRAME, State, encode_frame};

use super::*;

mod tables;

/// State of an upstream daemon.
pub(crate) const UPSTREAM: &str = include_str!("../tests/data/upstream.json");
/// State of our daemon.
pub(crate) const OURS: &str = include_str!("../tests/data/ours.json");

pub(crate) fn state(json: &str) -> State {
    serde_json::from_str(json).unwrap()
}

/// Result of a command.
pub(crate) struct Outcome {
    succeeded: bool,
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn no_clock(_: &Loaded) -> Result<Box<dyn OneShot>, Box<dyn Error>> {
    Err("tests set no clock".into())
}

pub(crate) fn ntp_ctl(arguments: &[&str]) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: Escaping::new(&mut out, false),
        err: Escaping::new(&mut err, false),
        style: Style::Plain,
        coloured: false,
        width: DEFAULT_WIDTH,
    };
    let arguments = std::iter::once(&"ntp-ctl").chain(arguments);
    let code = run(arguments.map(OsString::from), &no_clock, &mut console);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome {
        succeeded: code == 0,
        code,
        out: text(out),
        err: text(err),
    }
}

/// A temporary directory, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ntp-ctl-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("observe")
    }

    /// Writes a configuration and returns its path.
    fn config(&self, text: &str) -> String {
        let path = self.0.join("ntp.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a configuration with the socket's path and returns its path.
    fn config_with_socket(&self) -> String {
        let path = self.socket();
        self.config(&format!("[observability]\nobservation-path = {path:?}\n"))
    }

    /// Starts a daemon that sends `bytes` to one reader.
    fn daemon(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // The reader may close the connection early.
            let _ = stream.write_all(&bytes);
        })
    }

    /// Runs `ntp-ctl status` against such a daemon.
    fn status(&self, bytes: Vec<u8>, format: &str) -> Outcome {
        let config = self.config_with_socket();
        let daemon = self.daemon(bytes);
        let outcome = ntp_ctl(&["status", "-c", &config, "-f", format]);
        daemon.join().unwrap();
        outcome
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn status_is_shown_in_each_format() {
    for json in [UPSTREAM, OURS] {
        let frame = encode_frame(&state(json)).unwrap();
        let show = |format| {
            let outcome = Directory::new().status(frame.clone(), format);
            assert!(
                outcome.succeeded && outcome.err.is_empty(),
                "{}",
                outcome.err
            );
            outcome.out
        };
        assert_eq!(show("plain"), status_text::plain(&state(json)));
        assert_eq!(show("json"), json);
        let metrics = show("prometheus");
        assert!(metrics.ends_with("# EOF\n\n"));
        assert!(metrics.contains("\nntp_system_stratum 2\n"));
    }
}

#[test]
fn invalid_frames_are_reported_with_the_reason() {
    let short = |length: u64, content: &[u8]| [&length.to_be_bytes(), content].concat();
    for (bytes, reason) in [
        (short(MAX_FRAME + 1, b"{"), "1048577 bytes exceeds"),
        (short(u64::MAX, b""), "18446744073709551615 bytes exceeds"),
        (short(100, b"{\"program\":"), "after 11 of 100 bytes"),
        (
            short(11, b"{\"program\":"),
            "not the state of an NTP daemon",
        ),
        (b"HTTP".to_vec(), "after 4 of 8 bytes"),
        (
            Vec::new(),
            "connection closed by the daemon without a reply",
        ),
    ] {
        let outcome = Directory::new().status(bytes, "plain");
        assert!(!outcome.succeeded && outcome.out.is_empty());
        let begin = "Error: Failed to read state from observation socket: ";
        assert!(outcome.err.starts_with(begin), "{}", outcome.err);
        assert!(outcome.err.contains(reason), "{}", outcome.err);
    }
}

#[test]
fn a_missing_socket_is_reported_with_its_path() {
    let directory = Directory::new();
    let configured = directory.config_with_socket();
    let outcome = ntp_ctl(&["status", "-c", &configured]);
    assert!(!outcome.succeeded);
    let begin = format!(
        "Error: Could not open socket at {}: ",
        directory.socket().display()
    );
    assert!(outcome.err.starts_with(&begin), "{}", outcome.err);
    assert!(
        outcome.err.contains("ntpd-rs`.") || outcome.err.contains("service ntpd-rs."),
        "{}",
        outcome.err
    );
    assert!(!outcome.err.contains("Add\n"), "{}", outcome.err);
}

#[test]
fn a_stale_socket_and_a_file_that_is_not_a_socket_are_distinguished() {
    let directory = Directory::new();
    let config = directory.config_with_socket();
    drop(UnixListener::bind(directory.socket()).unwrap());
    let outcome = ntp_ctl(&["status", "-c", &config]);
    assert!(outcome.err.contains("Stale socket"), "{}", outcome.err);

    fs::remove_file(directory.socket()).unwrap();
    fs::write(directory.socket(), "").unwrap();
    let outcome = ntp_ctl(&["status", "-c", &config]);
    assert!(outcome.err.contains("is not a socket"), "{}", outcome.err);
}

#[test]
fn status_warns_of_an_invalid_configuration_without_corrupting_data() {
    let directory = Directory::new();
    let config = directory.config("[observability]\nobservation-pth = \"/a\"\n");
    let warning = "Warning: Unable to load configuration file: config toml parsing error: ";
    // Whether a daemon runs at the default path depends on the machine.
    let outcome = ntp_ctl(&["status", "-c", &config]);
    assert!(outcome.out.starts_with(warning), "{}", outcome.out);
    for format in ["json", "prometheus"] {
        let outcome = ntp_ctl(&["status", "-c", &config, "-f", format]);
        assert!(!outcome.out.contains("Warning"), "{}", outcome.out);
        assert!(outcome.err.starts_with(warning), "{}", outcome.err);
    }
}

#[test]
fn validate_accepts_valid_files() {
    let directory = Directory::new();
    let pool = "[[source]]\nmode = \"pool\"\naddress = \"pool.example.org\"\ncount = 4\n";
    for good in [pool, ""] {
        let outcome = ntp_ctl(&["validate", "-c", &directory.config(good)]);
        assert!(outcome.succeeded, "{}", outcome.err);
        assert!(outcome.out.is_empty());
        assert!(
            outcome.err.ends_with("Config looks good\n"),
            "{}",
            outcome.err
        );
    }
}

#[test]
fn validate_reports_all_problems_at_once() {
    let directory = Directory::new();
    let config = directory.config("[[source]]\nmode = \"server\"\nadress = \"a\"\n[bogus]\n");
    let outcome = ntp_ctl(&["validate", "-c", &config]);
    assert!(!outcome.succeeded && outcome.out.is_empty());
    let begin = "Error: Could not load configuration: config toml parsing error: ";
    assert!(outcome.err.starts_with(begin), "{}", outcome.err);
    assert!(
        outcome.err.contains("unknown field `adress`"),
        "{}",
        outcome.err
    );
    assert!(
        outcome.err.contains("unknown field `bogus`"),
        "{}",
        outcome.err
    );
    assert!(!outcome.err.contains("looks good"));
}

#[test]
fn validate_rejects_inconsistent_and_unsupported_settings() {
    let directory = Directory::new();
    let server = "[[source]]\nmode = \"server\"\naddress = \"a\"\n";
    let outcome = ntp_ctl(&["validate", "-c", &directory.config(server)]);
    assert!(!outcome.succeeded);
    assert!(
        outcome.err.contains("`minimum-agreeing-sources` is 3"),
        "{}",
        outcome.err
    );

    let pulse = "[[source]]\nmode = \"pps\"\npath = \"/dev/pps0\"\nprecision = 1e-7\n";
    let text = format!("{}{pulse}", server.repeat(3));
    let config = directory.config(&text);
    let loaded = ntp_config::load(Some(config.as_ref())).unwrap();
    let outcome = ntp_ctl(&["validate", "-c", &config]);
    for diagnostic in loaded.config.unsupported() {
        assert!(!outcome.succeeded);
        assert!(outcome.err.contains(&diagnostic.message), "{}", outcome.err);
        assert!(!outcome.err.contains("looks good"));
    }
}

#[test]
fn validate_rejects_a_missing_file() {
    let outcome = ntp_ctl(&["validate", "-c", "/nonexistent/ntp.toml"]);
    assert!(!outcome.succeeded);
    let begin = "Error: Could not load configuration: io error while reading config: ";
    assert!(outcome.err.starts_with(begin), "{}", outcome.err);
}

#[test]
fn help_goes_to_standard_output_and_the_version_to_standard_error() {
    for arguments in [&[][..], &["-h"], &["--help"]] {
        let outcome = ntp_ctl(arguments);
        assert!(outcome.succeeded && outcome.err.is_empty());
        for word in ["validate", "status", "force-sync", "--config", "--format"] {
            assert!(outcome.out.contains(word), "{}", outcome.out);
        }
    }
    let outcome = ntp_ctl(&["-v"]);
    assert!(outcome.succeeded && outcome.out.is_empty());
    assert_eq!(
        outcome.err,
        concat!("ntp-ctl ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn invalid_command_lines_are_reported() {
    for arguments in [&["sync"][..], &["status", "-f", "xml"], &["--bogus"]] {
        let outcome = ntp_ctl(arguments);
        assert!(!outcome.succeeded && outcome.out.is_empty());
        assert!(outcome.err.starts_with("error: "), "{}", outcome.err);
    }
}

/// Tests have no terminal, and `--yes` fails before anything is sent without a valid configuration
/// or sources.
#[test]
fn force_sync_requires_confirmation_and_sources() {
    let directory = Directory::new();
    let without = directory.config("[clock]\nkind = \"virtual\"\n");
    let outcome = ntp_ctl(&["force-sync", "-c", &without]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("run interactively") && outcome.err.contains("`--yes`"));
    let outcome = ntp_ctl(&["force-sync", "--yes", "-c", &without]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.contains("No sources configured"),
        "{}",
        outcome.err
    );
    let source = "[[source]]\nmode = \"server\"\naddress = \"192.0.2.1\"\n";
    let none = directory.config(&format!("{source}[clock]\nkind = \"none\"\n"));
    let outcome = ntp_ctl(&["force-sync", "--yes", "-c", &none]);
    assert!(
        outcome.err.contains("Setting the clock is disabled"),
        "{}",
        outcome.err
    );
    let bad = directory.config("[clok]\n");
    assert_eq!(ntp_ctl(&["force-sync", "--yes", "-c", &bad]).code, 78);
}

/// The table has every exit code and no other.
#[test]
fn exit_codes_are_those_of_the_table() {
    let directory = Directory::new();
    let good = directory.config("[control]\npath = \"/nowhere/at/all\"\n");
    let bad = directory.0.join("bad.toml");
    fs::write(&bad, "[clok]\n").unwrap();
    let bad = bad.to_str().unwrap();
    let lonely = directory.0.join("lonely.toml");
    fs::write(&lonely, "[[source]]\nmode = \"server\"\naddress = \"a\"\n").unwrap();
    let lonely = lonely.to_str().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for (arguments, code) in [
        (&["validate", "-c", &good][..], 0),
        (&["validate", "-c", bad], 1),
        (&["validate", "-c", lonely], 18),
        (&["validate", "-c", lonely, "--json"], 18),
        (&["statsu"], 2),
        (&["tracking", "-f", "prometheus", "-c", &good], 2),
        (&["source", "add", "a", "prefer", "-c", &good], 2),
        (&["waitsync", "--max-error", "10", "-c", &good], 2),
        (&["tracking", "-c", &good], 1),
        (&["waitsync", "--timeout", "0.1s", "-c", &good], 1),
        (&["force-sync", "--yes", "-c", bad], 78),
    ] {
        let outcome = ntp_ctl(arguments);
        assert_eq!(outcome.code, code, "{arguments:?}: {}", outcome.err);
        seen.insert(code);
    }
    // A timeout, `bound` and `trial` require a daemon, `nts check` a server: `ntp-e2e` tests these codes.
    seen.extend([124, 75, 3, 16, 17]);
    let table = crate::CODES
        .iter()
        .flat_map(|(codes, _)| codes.split(" to "));
    let table: std::collections::BTreeSet<u8> = table.map(|code| code.parse().unwrap()).collect();
    assert_eq!(seen, table);
}

#[test]
fn errors_are_printed_as_json_on_request() {
    let directory = Directory::new();
    let good = directory.config("[control]\npath = \"/nowhere/at/all\"\n");
    for command in [
        &["source", "remove", "a"][..],
        &["reload"],
        &["step"],
        &["tracking"],
    ] {
        for format in [&["-f", "json"][..], &["--json"]] {
            let outcome = ntp_ctl(&[command, format, &["-c", &good]].concat());
            assert_eq!(outcome.code, 1);
            let error: Value = serde_json::from_str(&outcome.out).unwrap();
            assert_eq!(error["done"], false, "{command:?}");
            let reason = error["reason"].as_str().unwrap();
            assert!(reason.contains("Could not connect"), "{error}");
        }
    }
}

#[test]
fn errors_of_the_command_line_are_printed_as_json_on_request() {
    for arguments in [
        &["statsu", "--json"][..],
        &["--format", "json", "status", "--confg", "/a"],
        &["--format=json", "query"],
        &["query", "-n", "many", "-fjson", "host"],
        &["-f=json", "source", "remove"],
        &["waitsync", "--timeout", "10", "-f", "json"],
        &["status", "--json", "--format", "plain"],
    ] {
        let outcome = ntp_ctl(arguments);
        assert_eq!(outcome.code, 2, "{arguments:?}");
        let error: Value = serde_json::from_str(&outcome.out).expect("JSON");
        assert_eq!(error["done"], false, "{error}");
        assert_eq!(error["error"], "Usage", "{error}");
        assert!(outcome.err.starts_with("error: "), "{}", outcome.err);
    }
    // Not asked for: nothing on standard output.
    for arguments in [&["statsu"][..], &["statsu", "--", "--json"]] {
        let outcome = ntp_ctl(arguments);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""));
    }
}

#[test]
fn commands_without_a_daemon_have_json_on_success_and_failure() {
    let directory = Directory::new();
    let bad = directory.config("[[source]]\nmode = \"server\"\nadress = \"a\"\n");
    let chrony = directory.0.join("chrony.conf");
    fs::write(&chrony, "server ntp.example.org\nmailonchange a 1\n").unwrap();
    let chrony = chrony.to_str().unwrap();
    let json = |arguments: &[&str]| -> Value {
        let outcome = ntp_ctl(&[arguments, &["--json"]].concat());
        serde_json::from_str(&outcome.out).unwrap_or_else(|_| panic!("{}", outcome.err))
    };

    let invalid = json(&["validate", "-c", &bad]);
    assert_eq!(invalid["done"], false);
    let problems = invalid["problems"].as_array().unwrap();
    let misspelt = problems.iter().find(|it| it["line"] == 3).unwrap();
    assert_eq!(misspelt["severity"], "error");
    assert!(misspelt["message"].as_str().unwrap().contains("`adress`"));
    let migrated = json(&["migrate", chrony]);
    assert_eq!(migrated["unsupported_lines"], 1);
    assert!(
        migrated["toml"]
            .as_str()
            .unwrap()
            .contains("ntp.example.org")
    );
    for missing in [
        &["migrate", "/nonexistent"][..],
        &["replay", "/nonexistent"],
    ] {
        assert_eq!(json(missing)["done"], false, "{missing:?}");
    }
    let good = directory.config("");
    assert_eq!(json(&["validate", "-c", &good])["done"], true);
}

/// A stream that fails with this error.
struct Broken(ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a command with a failing standard output.
fn run_on(out: ErrorKind, err: &mut dyn Write, arguments: &[&str]) -> bool {
    let mut out = Broken(out);
    let mut console = Console {
        out: Escaping::new(&mut out, false),
        err: Escaping::new(err, false),
        style: Style::Plain,
        coloured: false,
        width: DEFAULT_WIDTH,
    };
    run(
        arguments.iter().map(OsString::from),
        &no_clock,
        &mut console,
    ) == 0
}

#[test]
fn a_closed_pipe_is_success_and_a_full_disk_a_failure() {
    let mut err = Vec::new();
    assert!(run_on(ErrorKind::BrokenPipe, &mut err, &["ntp-ctl"]));
    assert!(err.is_empty());
    assert!(!run_on(ErrorKind::StorageFull, &mut err, &["ntp-ctl"]));
    assert!(err.starts_with(b"Error: Could not write the output: "));
}

#[test]
fn a_failure_is_one_even_if_standard_error_is_closed() {
    let (out, mut err) = (ErrorKind::BrokenPipe, Broken(ErrorKind::BrokenPipe));
    assert!(!run_on(out, &mut err, &["ntp-ctl", "force-sync"]));
}

#[test]
fn text_from_outside_reaches_the_terminal_escaped() {
    for arguments in [
        &["query", "a\u{1b}[2Jb"][..],
        &["nts", "check", "a\u{9b}2Jb"],
        &["source\u{1b}[2J"],
    ] {
        let outcome = ntp_ctl(arguments);
        assert!(!outcome.succeeded, "{arguments:?}");
        for text in [&outcome.out, &outcome.err] {
            let is_control = |c: char| c.is_control() && c != '\n';
            assert!(!text.contains(is_control), "{text:?}");
        }
        // The parser of the command line removes terminal sequences from its own messages.
        let parsed = arguments.len() > 1;
        assert!(!parsed || outcome.err.contains("\\u{"), "{}", outcome.err);
    }
}

#[test]
fn hosts_of_the_command_line_have_the_grammar_of_the_configuration() {
    for command in [&["query"][..], &["nts", "check"]] {
        for (host, why) in [
            ("192.0.2.300", "invalid IPv4 address syntax"),
            ("two words", "invalid character"),
            ("host:0", "invalid port number"),
            ("224.0.1.1", "multicast"),
            ("fe80::1", "without an interface"),
        ] {
            let outcome = ntp_ctl(&[command, &[host]].concat());
            assert!(
                !outcome.succeeded && outcome.err.contains(why),
                "{}",
                outcome.err
            );
        }
    }
}
