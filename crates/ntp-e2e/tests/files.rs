//! Files that are not what a configuration expects: named pipes that nobody writes, directories,
//! devices, dangling links, terabytes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ntp_config::KEYS;
use ntp_e2e::binaries::Program;
use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::Setup;
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::process::Process;
use ntp_e2e::{scenario, wait};
use rustix::process::Signal;

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(nothing_at_a_path_of_the_configuration_stops_a_program),
            scenario!(nothing_that_replaces_a_file_stops_a_running_daemon),
            scenario!(migrate_and_replay_do_not_wait_for_a_pipe),
        ],
    )
}

/// Puts something at a path.
type Obstacle = (&'static str, fn(&Path));

const OBSTACLES: &[Obstacle] = &[
    ("pipe", pipe),
    ("directory", |path| fs::create_dir(path).expect("created")),
    ("device", |path| symlink("/dev/zero", path).expect("linked")),
    ("dangling link", |path| {
        symlink("/nowhere/at/all", path).expect("linked");
    }),
    ("huge file", |path| {
        let file = fs::File::create(path).expect("created");
        file.set_len(1 << 40).expect("a sparse file");
    }),
];

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()));
}

fn remove(path: &Path) {
    let removed = if fs::symlink_metadata(path).is_ok_and(|it| it.is_dir()) {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.expect("removed");
}

/// Keys whose value is a path, with the section that names it, from the table of all keys.
fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    let paths = KEYS.iter().filter(|key| key.kind.contains("path"));
    paths.map(|key| (key.section, key.key))
}

/// A configuration that has `path` at a key. `None` if another line of this table covers it.
///
/// # Panics
/// If the key is new: write a configuration for it.
fn naming(setup: Setup, section: &str, key: &str, path: &str, authority: &Authority) -> Setup {
    let certificate = authority.issue("server", &["localhost".to_owned()]);
    let (chain, private) = (certificate.chain.display(), certificate.key.display());
    let ke = "[[nts-ke-server]]\nlisten = \"127.0.0.1:0\"\n";
    let source = |mode: &str| format!("[[source]]\nmode = \"{mode}\"\npath = \"{path}\"\n");
    let directory = setup.socket();
    let directory = directory.parent().expect("a directory").display();
    match (section, key) {
        ("source", "path") => setup.with(&source("sock")).with(&source("pps")),
        ("source", "certificate-authority") => setup.with(&format!(
            "[[source]]\nmode = \"nts\"\naddress = \"localhost\"\ncertificate-authority = \"{path}\""
        )),
        ("nts-ke-server", "certificate-chain-path") => setup.with(&format!(
            "{ke}certificate-chain-path = \"{path}\"\nprivate-key-path = \"{private}\""
        )),
        ("nts-ke-server", "private-key-path") => setup.with(&format!(
            "{ke}certificate-chain-path = \"{chain}\"\nprivate-key-path = \"{path}\""
        )),
        ("nts-ke-server.additional-certificates", "certificate-chain-path") => {
            setup.with(&format!(
                "{ke}certificate-chain-path = \"{chain}\"\nprivate-key-path = \"{private}\"\n\
                 additional-certificates = [{{ certificate-chain-path = \"{path}\", private-key-path = \"{private}\" }}]"
            ))
        }
        ("nts-ke-server.additional-certificates", "private-key-path") => setup.with(&format!(
            "{ke}certificate-chain-path = \"{chain}\"\nprivate-key-path = \"{private}\"\n\
             additional-certificates = [{{ certificate-chain-path = \"{chain}\", private-key-path = \"{path}\" }}]"
        )),
        ("clock", "clock") => setup.replacing("[clock]\n", &format!("[clock]\nclock = \"{path}\"\n")),
        ("control", "path") => setup.replacing(
            &format!("[control]\npath = \"{directory}/control\""),
            &format!("[control]\npath = \"{path}\""),
        ),
        ("state", "directory") => setup.replacing(
            &format!("directory = \"{directory}/state\""),
            &format!("directory = \"{path}\""),
        ),
        ("observability", "observation-path") => setup.replacing(
            &format!("observation-path = \"{directory}/observe\""),
            &format!("observation-path = \"{path}\""),
        ),
        ("observability", _) => setup.replacing(
            "[observability]\n",
            &format!("[observability]\n{key} = \"{path}\"\n"),
        ),
        ("keyset" | "keys", _) => setup.with(&format!("[{section}]\n{key} = \"{path}\"\n{ke}certificate-chain-path = \"{chain}\"\nprivate-key-path = \"{private}\"")),
        ("compat.chrony", "socket") | ("clockbound", "directory") => {
            setup.with(&format!("[{section}]\n{key} = \"{path}\""))
        }
        ("synchronization", "dhcp-sources-directory") => {
            setup.synchronization(&format!("{key} = \"{path}\""))
        }
        ("leap", "list") => setup.with(&format!("[leap]\nlist = \"{path}\"")),
        _ => panic!("no configuration for `{key}` in [{section}]"),
    }
}

/// Runs the programs with what is there; each must end by itself or after SIGTERM.
fn run_all(setup: &Setup, what: &str) {
    let mut validate = setup.command(None, Program::Ctl);
    validate.arg("validate");
    let mut validate = Process::spawn(&format!("ntp-ctl validate: {what}"), validate);
    validate.wait_exit(LIMIT);
    let command = setup.command(None, Program::Daemon);
    let mut daemon = Process::spawn(&format!("ntp-daemon: {what}"), command);
    // Either the log or the control socket may be what is obstructed.
    let control = setup.control();
    let runs = wait::try_until(LIMIT, || {
        let ended = !daemon.is_running();
        let ready = control.exists() || !daemon.events("sandbox_entered").is_empty();
        (ended || ready).then_some(!ended)
    });
    if runs == Some(true) {
        daemon.signal(Signal::HUP);
        let mut reload = setup.command(None, Program::Ctl);
        reload.arg("reload");
        Process::spawn(&format!("ntp-ctl reload: {what}"), reload).wait_exit(LIMIT);
    }
    daemon.terminate(LIMIT);
}

fn nothing_at_a_path_of_the_configuration_stops_a_program() {
    let authority = Authority::new();
    for (section, key) in keys() {
        for (obstacle, put) in OBSTACLES {
            let setup = Setup::new(1);
            let path = setup.file("obstacle", "");
            fs::remove_file(&path).expect("removed");
            put(&path);
            let name = path.display().to_string();
            let setup = naming(setup, section, key, &name, &authority);
            run_all(&setup, &format!("{obstacle} at `{key}` in [{section}]"));
        }
    }
    for file in ["ntp.toml.d/a.toml", "sources.d/a.toml"] {
        for (obstacle, put) in OBSTACLES {
            let setup = Setup::new(1);
            let path = setup.drop_in(file, "");
            fs::remove_file(&path).expect("removed");
            put(&path);
            run_all(&setup, &format!("{obstacle} at {file}"));
            let (_, output) = setup.ntp_ctl(&["validate"]);
            assert!(
                output.contains("cannot read the drop-in"),
                "{obstacle}: {output}"
            );
        }
    }
}

/// Files of a daemon that uses as many as possible.
fn with_all_files(authority: &Authority) -> (Setup, Vec<PathBuf>) {
    let certificate = authority.issue("server", &["localhost".to_owned()]);
    let setup = Setup::new(1);
    let keys = setup.file(
        "ntp.keys",
        "1 AES128 HEX:00112233445566778899aabbccddeeff\n",
    );
    let secret = setup.file("secret", &"s".repeat(32));
    let list = setup.file("leap", "#@ 3928521600\n3644697600 36\n3692217600 37\n");
    let drop_in = setup.drop_in("ntp.toml.d/a.toml", "");
    let setup = setup
        .with(&format!("[keys]\npath = \"{}\"", keys.display()))
        .with(&format!(
            "[keyset]\nshared-secret-path = \"{}\"",
            secret.display()
        ))
        .with(&format!("[leap]\nlist = \"{}\"", list.display()))
        .with(&certificate.ke_server_section("127.0.0.1:0", ""))
        .with(&format!(
            "[[source]]\nmode = \"nts\"\naddress = \"localhost\"\ncertificate-authority = \"{}\"",
            authority.path().display()
        ));
    let files = vec![
        keys,
        secret,
        list,
        drop_in,
        certificate.chain,
        certificate.key,
        authority.path(),
    ];
    (setup, files)
}

fn nothing_that_replaces_a_file_stops_a_running_daemon() {
    let authority = Authority::new();
    let (setup, files) = with_all_files(&authority);
    let mut daemon = setup.start(None);
    daemon
        .process
        .wait_for_event(LIMIT, "ke_server_started", &[]);
    for path in files {
        let content = fs::read(&path).expect("a file");
        for (_, put) in OBSTACLES {
            remove(&path);
            put(&path);
            daemon.process.signal(Signal::HUP);
            setup.ntp_ctl(&["reload"]);
            let (code, output) = setup.ntp_ctl(&["tracking"]);
            assert_eq!(code, Some(0), "{output}");
        }
        remove(&path);
        pipe(&path);
        // The key-exchange thread looks at its files every few seconds, too.
        remove(&path);
        fs::write(&path, content).expect("written");
    }
    for path in [
        authority.directory().join("server.crt"),
        authority.directory().join("server.key"),
    ] {
        remove(&path);
        pipe(&path);
    }
    daemon
        .process
        .wait_for_event(LIMIT, "certificate_failed", &[]);
    let status = daemon.process.terminate(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
}

fn migrate_and_replay_do_not_wait_for_a_pipe() {
    let setup = Setup::new(1);
    let path = setup.file("input", "");
    let name = path.display().to_string();
    for (obstacle, put) in OBSTACLES {
        remove(&path);
        put(&path);
        for arguments in [["migrate", &name], ["replay", &name]] {
            let (code, output) = setup.ntp_ctl(&arguments);
            assert_eq!(code, Some(1), "{obstacle}: {output}");
            let is_searched = *obstacle == "directory" && arguments[0] == "migrate";
            let why = if is_searched {
                "No configuration"
            } else {
                "Could not read"
            };
            assert!(output.contains(why), "{obstacle}: {output}");
        }
    }
}
