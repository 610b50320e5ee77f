//! The control socket and `ntp-ctl`: privileged and unprivileged users, foreign clients, idle
//! clients.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ntp_control_api::control::client::{CallError, Client};
use ntp_control_api::control::methods::{
    AddInput, AddSource, Error, GetStatus, NameInput, NoInput, Reload, RemoveSource, Settings,
};
use ntp_e2e::binaries::{self, Program};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers;
use ntp_e2e::process::{self, Process};
use ntp_e2e::{query, scenario, wait};
use ntp_time::NtpDuration;
use ntp_types::event::SendError;
use ntp_types::source::{SelectionOptions, SourceId};
use ntp_types::status::Status;
use rustix::process::Signal;
use serde_json::json;
use test_binaries::{Behaviour, ReferenceServer};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(a_python_varlink_client_adds_monitors_and_removes_a_source),
            scenario!(an_unprivileged_user_may_read_but_not_change),
            scenario!(two_hundred_idle_connections_do_not_block_other_clients),
            scenario!(a_reload_of_an_invalid_file_changes_nothing),
            scenario!(a_reload_applies_what_it_can_and_reports_what_it_cannot),
            scenario!(sighup_reloads_the_configuration),
            scenario!(a_saved_configuration_is_loaded_after_a_restart),
            scenario!(a_reload_reads_drop_ins_created_after_the_start),
            scenario!(servers_of_dhcp_come_and_go_without_a_reload_of_the_configuration),
            scenario!(every_command_succeeds),
            scenario!(the_status_needs_no_observation_socket),
            scenario!(a_shutdown_is_answered_and_ends_the_daemon),
            scenario!(the_client_list_is_optional_and_restricted_to_privileged_users),
            scenario!(access_rules_change_one_by_one_at_run_time),
            scenario!(a_report_names_who_changed_the_configuration),
            scenario!(explain_and_waitsync_report_the_cause_of_a_failure),
        ],
    )
}

/// The history of two runs, whose end an edit of the file would hide.
fn a_report_names_who_changed_the_configuration() {
    let (first, second) = (server(), server());
    let setup = Setup::new(1).server(&first.address().to_string());
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    let address = second.address().to_string();
    let (code, output) = setup.ntp_ctl(&["source", "add", &address]);
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!daemon.process.events("history_recorded").is_empty());
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    assert_eq!(daemon.stop().code(), Some(0));

    let (code, output) = setup.ntp_ctl(&["report", "--json"]);
    assert_eq!(code, Some(0), "{output}");
    let report: serde_json::Value = serde_json::from_str(&output).expect("a report");
    let change = &report["changes"][0];
    assert_eq!(change["event"], "control_call");
    let fields = change["fields"].as_str().expect("fields");
    assert!(
        fields.contains("uid=0 ") && fields.contains(&address),
        "{fields}"
    );
    assert_eq!(report["integrity"]["intact"], true);
    let synchronized = report["overall"]["synchronized"].as_f64().expect("seconds");
    assert!(synchronized > 0.0);
    let (code, output) = setup.ntp_ctl(&["report", "--format", "csv"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.lines().any(|line| line.starts_with("overall,")),
        "{output}"
    );

    let history = setup.state().join("history");
    let files = std::fs::read_dir(&history).expect("a history");
    for file in files.map(|file| file.expect("a file").path()) {
        let text = std::fs::read_to_string(&file).expect("text");
        std::fs::write(&file, text.replace("uid=0 ", "uid=7 ")).expect("it is changed");
    }
    let (code, output) = setup.ntp_ctl(&["report", "--json"]);
    assert_eq!(code, Some(1), "{output}");
}

fn server() -> ReferenceServer {
    peers::reference_server(Behaviour::default())
}

fn connect(setup: &Setup) -> Client {
    wait::until(LIMIT, "the control socket", || {
        Client::connect(&setup.control(), LIMIT).ok()
    })
}

fn status(client: &mut Client) -> Status {
    client
        .call::<GetStatus>(&NoInput {})
        .expect("the state")
        .status
}

fn settings(address: &str) -> Settings {
    let settings = json!({
        "mode": "server", "address": address, "initial-poll-interval": 1,
        "poll-interval-limits": { "min": 1, "max": 1 },
    });
    serde_json::from_value(settings).expect("an object")
}

fn started(setup: &Setup) -> Daemon {
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    daemon
}

/// A script for the `varlink` package of PyPI, which gets the interface description from the
/// daemon.
const PYTHON_CLIENT: &str = r#"
import sys, varlink
path, address = sys.argv[1:]
client = varlink.Client(address="unix:" + path)
with client.open("org.ntpd-rs.Control1") as control, client.open("org.ntpd-rs.Control1") as watcher:
    settings = {"mode": "server", "address": address, "initial-poll-interval": 1,
                "poll-interval-limits": {"min": 1, "max": 1}}
    assert control.AddSource(settings)["names"] == [address]
    for reply in watcher.Monitor(0.2, _more=True):
        states = {source["name"]: source["state"] for source in reply["status"]["sources"]}
        if states.get(address) == "selected":
            break
    assert control.RemoveSource(address)["names"] == [address]
    names = [source["name"] for source in control.GetStatus()["status"]["sources"]]
    assert address not in names, names
    try:
        control.AddSource({"mode": "server", "adress": "a"})
        assert False, "a typo was accepted"
    except varlink.VarlinkError as error:
        assert error.error() == "org.ntpd-rs.Control1.InvalidConfiguration", error
        assert "did you mean `address`?" in error.parameters()["report"]
print("all is well")
"#;

/// The Python interpreter with the package `varlink`.
fn varlink_python() -> Option<PathBuf> {
    let path = binaries::workspace_root().join("target/arena/varlink/bin/python");
    path.exists().then_some(path)
}

fn a_python_varlink_client_adds_monitors_and_removes_a_source() {
    let Some(python) = varlink_python() else {
        return harness::skip("Python with the package varlink (installed by .ci/install-arenas)");
    };
    let (one, two) = (server(), server());
    let setup = Setup::new(1).server(&one.address().to_string());
    let _daemon = started(&setup);
    let mut command = process::command(None, &python);
    command.args(["-c", PYTHON_CLIENT]).arg(setup.control());
    command.arg(two.address().to_string());
    let (code, output) = Process::spawn("python", command).outcome();
    assert_eq!((code, output.as_str()), (Some(0), "all is well"));
}

fn an_unprivileged_user_may_read_but_not_change() {
    if !rustix::process::geteuid().is_root() {
        return harness::skip("root, to change the user");
    }
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let _daemon = started(&setup);
    open_to_all(setup.control().parent().expect("a directory"));
    let as_unprivileged_user = |arguments: &[&str]| as_unprivileged_user(&setup, arguments);
    let (code, output) = as_unprivileged_user(&["tracking"]);
    assert_eq!(code, Some(0), "{output}");
    let name = server.address().to_string();
    let changes: &[&[&str]] = &[
        &["source", "add", "192.0.2.1"],
        &["source", "remove", &name],
        &["source", "set", &name, "prefer=true"],
        &["source", "offline"],
        &["source", "online"],
        &["source", "burst"],
        &["server", "add", "127.0.0.1:0"],
        &["server", "remove", "127.0.0.1:0"],
        &["server", "set", "127.0.0.1:0", "workers=1"],
        &["step"],
        &["step", "--force"],
        &["log-level", "trace"],
        &["reload"],
        &["dump"],
    ];
    for change in changes {
        let (code, output) = as_unprivileged_user(change);
        assert_eq!(code, Some(1), "{change:?}: {output}");
        assert!(
            output.contains("you are uid 65534") && output.contains("only root"),
            "{change:?}: {output}"
        );
    }
    let status = status(&mut connect(&setup));
    assert_eq!(status.configured.len(), 1);
    assert!(status.sources[0].online && status.sources[0].options == SelectionOptions::default());
}

/// Runs `ntp-ctl` as an unprivileged user.
fn as_unprivileged_user(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = process::command(None, Path::new("setpriv"));
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    // Other users have no access to the build directory.
    let copy = setup.control().with_file_name("ntp-ctl");
    // By another process: a child that another thread starts meanwhile would keep a file open for
    // writing that this process copies, and the copy could not be executed.
    let mut cp = process::command(None, Path::new("cp"));
    cp.arg(Program::Ctl.path()).arg(&copy);
    let (code, output) = Process::spawn("cp", cp).outcome();
    assert_eq!(code, Some(0), "{output}");
    let config = setup.control().with_file_name("ntp.toml");
    command.arg(copy).arg("-c").arg(config).args(arguments);
    Process::spawn("ntp-ctl as nobody", command).outcome()
}

fn open_to_all(directory: &Path) {
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, everyone).expect("permission");
}

fn two_hundred_idle_connections_do_not_block_other_clients() {
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let mut daemon = started(&setup);
    let mut early = connect(&setup);
    status(&mut early);
    let silent: Vec<_> = (0..200)
        .map(|_| UnixStream::connect(setup.control()).expect("a connection"))
        .collect();
    let before = daemon.observe().expect("an observation");
    let sent =
        |observation: &ntp_e2e::observation::Observation| observation.sources()[0].packets_sent();
    let count = sent(&before);
    for _ in 0..20 {
        let mut client = connect(&setup);
        assert!(status(&mut client).system.synchronized);
    }
    daemon.wait_until(LIMIT, "more requests", |observation| {
        sent(observation) > count + 2 && observation.is_synchronized()
    });
    drop(silent);
}

fn a_reload_of_an_invalid_file_changes_nothing() {
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let mut daemon = started(&setup);
    let mut client = connect(&setup);
    let before = status(&mut client);
    setup.rewrite(|text| text.replace("minimum-agreeing-sources", "minimum-agreing-sources"));
    let Err(CallError::Refused(Error::InvalidConfiguration { report })) =
        client.call::<Reload>(&NoInput {})
    else {
        panic!("a typo was accepted");
    };
    assert!(
        report.contains("did you mean `minimum-agreeing-sources`?"),
        "{report}"
    );
    let after = status(&mut client);
    assert_eq!(before.sources[0].id, after.sources[0].id);
    assert!(after.system.synchronized);
    assert!(daemon.process.is_running());
}

fn a_reload_applies_what_it_can_and_reports_what_it_cannot() {
    let (one, two, three) = (server(), server(), server());
    let name = |server: &ReferenceServer| server.address().to_string();
    let setup = Setup::new(1).server(&name(&one)).server(&name(&two));
    let _daemon = started(&setup);
    let mut client = connect(&setup);
    let added = AddInput {
        settings: settings(&name(&three)),
    };
    client.call::<AddSource>(&added).expect("a source");
    let before = status(&mut client);
    setup.rewrite(|text| {
        text.replace(&name(&two), "127.0.0.1:9")
            .replace("kind = \"virtual\"", "kind = \"none\"")
            .replace("virtual-offset", "# virtual-offset")
            .replace("virtual-frequency", "# virtual-frequency")
    });
    let reply = client.call::<Reload>(&NoInput {}).expect("a good file");
    assert_eq!(reply.added, ["127.0.0.1:9"]);
    assert_eq!(reply.removed, [name(&two)]);
    assert!(reply.not_applied[0].starts_with("[clock]"), "{reply:?}");
    let after = status(&mut client);
    assert_eq!(after.clock.kind, "virtual");
    let ids = |status: &Status, wanted: &str| -> Vec<SourceId> {
        let sources = status.sources.iter();
        sources
            .filter(|it| it.name == wanted)
            .map(|it| it.id)
            .collect()
    };
    for kept in [name(&one), name(&three)] {
        assert_eq!(ids(&before, &kept), ids(&after, &kept), "{kept}");
    }
    let which = NameInput { name: name(&three) };
    client.call::<RemoveSource>(&which).expect("still there");
}

fn sighup_reloads_the_configuration() {
    let (one, two) = (server(), server());
    let setup = Setup::new(1).server(&one.address().to_string());
    let mut daemon = started(&setup);
    setup.rewrite(|text| {
        let address = two.address();
        format!("{text}\n[[source]]\nmode = \"server\"\naddress = \"{address}\"\n")
    });
    daemon.process.signal(Signal::HUP);
    daemon.wait_until(LIMIT, "the new source", |observation| {
        observation.source(&two.address().to_string()).is_some()
    });
    assert!(daemon.process.is_running());
}

fn a_reload_reads_drop_ins_created_after_the_start() {
    let (one, two) = (server(), server());
    let setup = Setup::new(1).server(&one.address().to_string());
    let _daemon = started(&setup);
    // The directory did not exist when the daemon entered its sandbox.
    let address = two.address();
    let section = format!("[[source]]\nmode = \"server\"\naddress = \"{address}\"\n");
    let file = setup.drop_in("sources.d/dhcp.toml", &section);
    let (code, output) = setup.ntp_ctl(&["reload"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.contains(&format!("Source added   : {address}")),
        "{output}"
    );

    std::fs::write(&file, section.replace("address", "adress")).expect("the file");
    let (code, output) = setup.ntp_ctl(&["reload"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("dhcp.toml:3:1") && output.contains("did you mean `address`?"),
        "{output}"
    );
    let mut client = connect(&setup);
    assert_eq!(status(&mut client).sources.len(), 2);

    std::fs::remove_file(&file).expect("the file");
    let (_, output) = setup.ntp_ctl(&["reload"]);
    assert!(
        output.contains(&format!("Source removed : {address}")),
        "{output}"
    );
}

fn servers_of_dhcp_come_and_go_without_a_reload_of_the_configuration() {
    let (one, two) = (server(), server());
    let setup = Setup::new(1).server(&one.address().to_string());
    let run = setup.state().with_file_name("run");
    let directory = format!("dhcp-sources-directory = \"{}\"", run.display());
    let setup = setup.synchronization(&directory);
    // No daemon runs yet.
    let dhcp = |arguments: &[&str]| {
        let (code, output) = setup.ntp_ctl(&[&["dhcp"], arguments].concat());
        assert_eq!(code, Some(0), "{output}");
        output
    };
    assert!(dhcp(&["eth0", "127.0.0.9"]).contains("Written"));
    let mut daemon = started(&setup);
    let mut client = connect(&setup);
    let names = |client: &mut Client| -> Vec<_> {
        let sources = status(client).sources.into_iter();
        sources.map(|source| source.name).collect()
    };
    let [first, second] = [&one, &two].map(|it| it.address().to_string());
    assert_eq!(names(&mut client), [&*first, "127.0.0.9:123"]);

    // Neither what an administrator is changing nor what an operator has changed is touched.
    let (code, output) = setup.ntp_ctl(&["source", "add", &second]);
    assert_eq!(code, Some(0), "{output}");
    setup.drop_in("ntp.toml.d/half.toml", "[source");
    let output = dhcp(&["eth0", "127.0.0.8", "$(reboot)", "127.0.0.8"]);
    for expected in [
        "Source added   : 127.0.0.8:123",
        "Source removed : 127.0.0.9:123",
        "\"$(reboot)\" is not used",
    ] {
        assert!(output.contains(expected), "{output}");
    }
    assert_eq!(names(&mut client), [&*first, &*second, "127.0.0.8:123"]);
    assert!(dhcp(&["eth0", "127.0.0.8"]).starts_with("Unchanged"));
    assert!(dhcp(&["wlan0", "127.0.0.8"]).starts_with("Written"));
    dhcp(&["eth0"]);
    assert_eq!(names(&mut client), [&*first, &*second, "127.0.0.8:123"]);
    // It is shown where it is now.
    let (_, shown) = setup.ntp_ctl(&["config", "show"]);
    assert!(!shown.contains("dhcp-eth0"), "{shown}");
    assert!(shown.contains("dhcp-wlan0"), "{shown}");
    assert!(dhcp(&["wlan0"]).contains("Source removed : 127.0.0.8:123"));
    assert_eq!(names(&mut client), [&*first, &*second]);

    let (code, output) = setup.ntp_ctl(&["dhcp", "../eth0", "127.0.0.8"]);
    assert_eq!(code, Some(2), "{output}");
    assert_eq!(daemon.stop().code(), Some(0));
}

/// Output of `config show` without origins, sorted: the order of sources and servers may differ.
fn in_force(setup: &Setup) -> Vec<String> {
    let (code, output) = setup.ntp_ctl(&["config", "show"]);
    assert_eq!(code, Some(0), "{output}");
    let config: toml::Table = output.parse().expect("TOML");
    let mut lines = Vec::new();
    for (section, value) in &config {
        // Disabled sources are absent; their section is not compared.
        let tables = match value {
            toml::Value::Array(tables) => tables.clone(),
            table => vec![table.clone()],
        };
        let tables = tables.iter().filter(|_| section != "disabled");
        lines.extend(tables.map(|table| format!("{section}: {table}")));
    }
    lines.sort();
    lines
}

fn a_saved_configuration_is_loaded_after_a_restart() {
    let (one, two, three) = (server(), server(), server());
    let [first, second, third] = [&one, &two, &three].map(|it| it.address().to_string());
    let setup = Setup::new(1).server(&first).server(&second);
    let mut daemon = started(&setup);
    let before = in_force(&setup);
    for change in [
        &[
            "source",
            "add",
            &third,
            "poll-interval-limits.min=1",
            "prefer=true",
        ][..],
        &["source", "remove", &first],
        &["source", "set", &second, "noselect=true"],
        &["server", "add", "127.0.0.1:0", "rate-limiting-cutoff-ms=5"],
        &["log-level", "trace"],
    ] {
        let (code, output) = setup.ntp_ctl(change);
        assert_eq!(code, Some(0), "{change:?}: {output}");
    }
    let running = in_force(&setup);
    let (code, output) = setup.ntp_ctl(&["config", "save"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(&format!("disabled : {first}")), "{output}");
    daemon.stop();

    let mut daemon = setup.start(None);
    let mut client = connect(&setup);
    assert_eq!(in_force(&setup), running);
    let names: Vec<_> = status(&mut client)
        .configured
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, [second, third.clone()]);
    // Saving without changes loses nothing; removed sources are not saved.
    setup.ntp_ctl(&["config", "save"]);
    setup.ntp_ctl(&["source", "remove", &third]);
    let running = in_force(&setup);
    let (code, output) = setup.ntp_ctl(&["config", "save", "--format", "json"]);
    assert_eq!(code, Some(0), "{output}");
    let saved: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(
        (&saved["sources"], &saved["servers"]),
        (&json!(1), &json!(1)),
        "{output}"
    );
    let (_, output) = setup.ntp_ctl(&["reload"]);
    assert!(
        output.contains("No changes in the configuration"),
        "{output}"
    );
    assert_eq!(in_force(&setup), running);
    daemon.stop();

    // Without the file the original configuration applies.
    let path = saved["path"].as_str().expect("a path");
    assert!(
        Path::new(path).ends_with("ntp.toml.d/90-runtime.toml"),
        "{path}"
    );
    std::fs::remove_file(path).expect("the file");
    let _daemon = setup.start(None);
    connect(&setup);
    assert_eq!(in_force(&setup), before);
}

/// The command of upstream, with a daemon that has no socket of upstream.
fn the_status_needs_no_observation_socket() {
    let one = server();
    let setup = Setup::new(1).server(&one.address().to_string());
    let _daemon = started(&setup);
    let control = setup.control();
    let text = format!("[control]\npath = \"{}\"\n", control.display());
    let file = setup.file("control-only.toml", &text);
    let run = |format: &str| {
        let mut command = process::command(None, Program::Ctl.path());
        command.args(["status", "-f", format, "-c"]).arg(&file);
        Process::spawn("ntp-ctl status", command).outcome()
    };
    for (format, part) in [
        ("plain", "Synchronization status:"),
        ("json", "\"sources\""),
        ("prometheus", "ntp_system_stratum"),
    ] {
        let (code, output) = run(format);
        assert_eq!(code, Some(0), "{output}");
        assert!(output.contains(part), "{format}: {output}");
    }
    // A path that is configured and not there is an error: monitoring reads it.
    let missing = format!("{text}[observability]\nobservation-path = \"/nonexistent/observe\"\n");
    std::fs::write(&file, missing).unwrap();
    assert_eq!(run("plain").0, Some(1));
}

fn every_command_succeeds() {
    let (one, two) = (server(), server());
    let (first, second) = (one.address().to_string(), two.address().to_string());
    let setup = Setup::new(1).server(&first);
    let _daemon = started(&setup);
    let commands: &[(&[&str], &str)] = &[
        (
            &["waitsync", "--max-error", "1s", "--timeout", "60s"],
            "Synchronised",
        ),
        (&["status"], "Synchronization status:"),
        (&["tracking"], "Synchronised    : yes"),
        (&["bound"], "status=synchronized"),
        (&["sources"], "* "),
        (&["source", &first], "State             : selected"),
        (&["ntpdata"], "Local address     : 127."),
        (&["sourcestats"], "* "),
        (&["selectdata"], "100.0%"),
        (&["authdata"], "* "),
        (&["activity"], "1 sources online"),
        (&["refresh"], "Nothing to change"),
        (&["reselect"], ": selected"),
        (&["source", "add", &second, "prefer=true"], "added"),
        (
            &["source", "set", &second, "prefer=null", "noselect=true"],
            "changed",
        ),
        (&["source", "offline", &second], "offline"),
        (&["source", "online"], "online"),
        (&["source", "burst", &second], "Burst started: "),
        (&["source", "remove", &second], "removed"),
        (&["servers"], "No servers configured"),
        (&["server", "add", "127.0.0.1:0"], "added"),
        (
            &["server", "set", "127.0.0.1:0", "rate-limiting-cutoff-ms=5"],
            "changed",
        ),
        (&["clients"], "Client list"),
        (&["server", "remove", "127.0.0.1:0"], "removed"),
        (&["step"], "Clock stepped by"),
        (&["log-level", "trace"], "Log level set to trace"),
        (
            &["config", "show"],
            "log-level = \"trace\"  # changed at run time by uid",
        ),
        (&["reload"], "No changes in the configuration"),
    ];
    for (arguments, expected) in commands {
        let (code, output) = setup.ntp_ctl(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {output}");
        assert!(output.contains(expected), "{arguments:?}: {output}");
    }
    // Selection runs with the next measurement, also after a source was removed.
    wait::until(LIMIT, "an explanation", || {
        let (_, output) = setup.ntp_ctl(&["explain"]);
        output.contains("agrees with the majority").then_some(())
    });
    for arguments in [
        ["tracking"],
        ["sources"],
        ["servers"],
        ["clients"],
        ["explain"],
        ["sourcestats"],
        ["activity"],
    ] {
        let (code, output) = setup.ntp_ctl(&[&arguments[..], &["-f", "json"]].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {output}");
        serde_json::from_str::<serde_json::Value>(&output).expect("JSON");
    }
    let (code, output) = setup.ntp_ctl(&["reset"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("measurements dropped"), "{output}");
}

fn a_shutdown_is_answered_and_ends_the_daemon() {
    let one = server();
    let setup = Setup::new(1).server(&one.address().to_string());
    let mut daemon = started(&setup);
    let (code, output) = setup.ntp_ctl(&["shutdown"]);
    assert_eq!((code, output.trim()), (Some(0), "The daemon is stopping"));
    assert_eq!(daemon.process.wait_exit(LIMIT).code(), Some(0));
}

fn access_rules_change_one_by_one_at_run_time() {
    let upstream = server();
    // A free port, at an address that no other test uses.
    let free = UdpSocket::bind("127.78.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port");
    let at = address.to_string();
    let setup = Setup::new(1)
        .server(&upstream.address().to_string())
        .with(&format!(
            "[[server]]\nlisten = \"{at}\"\n\
             access = {{ default = \"ignore\", \"127.78.0.2/32\" = \"allow\" }}"
        ));
    let _daemon = started(&setup);
    let reply = |host: u8| {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 78, 0, host), 0)).expect("a socket");
        query::query(&socket, address, Duration::from_secs(1)).ok()
    };
    let is_denied = |host: u8| reply(host).map(|reply| &reply.reference_id == b"DENY");
    assert_eq!((is_denied(2), is_denied(3)), (Some(false), None));
    let set = |change: &str| {
        let (code, output) = setup.ntp_ctl(&["server", "set", &at, change]);
        assert_eq!(code, Some(0), "{output}");
    };
    set("access.\"127.78.0.3/32\"=deny");
    wait::until(LIMIT, "a DENY kiss", || {
        is_denied(3).filter(|denied| *denied)
    });
    assert_eq!(is_denied(2), Some(false));
    set("access.\"127.78.0.2/32\"=null");
    wait::until(LIMIT, "no reply", || reply(2).is_none().then_some(()));
    assert_eq!(is_denied(3), Some(true));
}

fn the_client_list_is_optional_and_restricted_to_privileged_users() {
    let upstream = server();
    // A free port, at an address that no other test uses.
    let free = UdpSocket::bind("127.77.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port");
    let at = address.to_string();
    let setup = Setup::new(1)
        .server(&upstream.address().to_string())
        .with(&format!("[[server]]\nlisten = \"{at}\""));
    let daemon = started(&setup);
    let mut requests = 0;
    let mut query_from_all = || {
        for (host, times) in [(2, 5), (3, 3), (4, 1)] {
            requests += query_from(Ipv4Addr::new(127, 77, 0, host), address, times);
        }
        requests
    };
    query_from_all();
    let (code, output) = setup.ntp_ctl(&["clients"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(!output.contains("127.77.0.2"), "{output}");
    // The command in the output enables the list.
    let command = output
        .lines()
        .find_map(|line| line.strip_prefix("  ntp-ctl "));
    let command: Vec<_> = command.expect("advice").split(' ').collect();
    let (code, output) = setup.ntp_ctl(&command);
    assert_eq!(code, Some(0), "{command:?}: {output}");

    query_from_all();
    // Clients are entered after their replies were sent.
    let listed = |more: &[&str]| {
        let arguments = [&["clients", "--json"], more].concat();
        let (code, output) = setup.ntp_ctl(&arguments);
        assert_eq!(code, Some(0), "{output}");
        let reply: serde_json::Value = serde_json::from_str(&output).expect("JSON");
        let clients = reply["list"]["clients"].as_array().cloned();
        clients.unwrap_or_default()
    };
    let clients = wait::until(LIMIT, "nine requests", || {
        let clients = listed(&[]);
        let sum: u64 = clients
            .iter()
            .filter_map(|it| it["requests"].as_u64())
            .sum();
        (sum == 9).then_some(clients)
    });
    assert_clients(&clients, &at);
    // Only the addresses are compared: times come from a clock that is being slewed.
    let [first] = &listed(&["--limit", "1", "--server", &at])[..] else {
        panic!("expected one client");
    };
    assert_eq!(first["address"], clients[0]["address"]);
    let (_, output) = setup.ntp_ctl(&["clients"]);
    assert!(output.contains("3 entries, capacity 1000"), "{output}");
    assert!(
        output.contains("\n127.77.0.2        5        5"),
        "{output}"
    );
    assert!(output.lines().all(|line| line.len() <= 80), "{output}");
    let (code, output) = setup.ntp_ctl(&["clients", "--server", "127.77.0.9:123"]);
    assert!(
        code == Some(1) && output.contains("Unknown server"),
        "{output}"
    );

    assert_clients_are_restricted(&setup, &daemon);

    // Disabling the list deletes it, and a new one starts empty.
    for size in ["client-list-size=0", "client-list-size=8"] {
        let (code, output) = setup.ntp_ctl(&["server", "set", &at, size]);
        assert_eq!(code, Some(0), "{output}");
        assert_eq!(listed(&[]), [0; 0], "{size}");
    }
    let requests = query_from_all();
    wait::until(LIMIT, "the last replies to be counted", || {
        let servers = status(&mut connect(&setup)).servers;
        (servers[0].requests.accepted == requests && servers[0].client_list_size == 8).then_some(())
    });
    assert!(daemon.process.lines_with("127.77.0.2").is_empty());
}

/// Asserts the entries of the three clients of the server `at`.
fn assert_clients(clients: &[serde_json::Value], at: &str) {
    let expected = [("127.77.0.2", 5), ("127.77.0.3", 3), ("127.77.0.4", 1)];
    for (client, (from, requests)) in clients.iter().zip(expected) {
        assert_eq!(client["address"], from);
        assert_eq!(client["requests"], requests);
        assert_eq!(
            (&client["answered"], &client["overcount"]),
            (&json!(requests), &json!(0))
        );
        assert_eq!(
            (&client["server"], client["interval"].is_null()),
            (&json!(at), requests == 1)
        );
    }
}

/// Asserts that unprivileged users get no addresses, and that refusals are logged once.
fn assert_clients_are_restricted(setup: &Setup, daemon: &Daemon) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    open_to_all(setup.control().parent().expect("a directory"));
    for _ in 0..3 {
        let (code, output) = as_unprivileged_user(setup, &["clients"]);
        assert_eq!(code, Some(0), "{output}");
        assert!(output.starts_with("Requests         : 18,"), "{output}");
        assert!(
            output.contains("you are uid 65534") && output.contains("only root"),
            "{output}"
        );
        assert!(!output.contains("127.77.0.2"), "{output}");
    }
    let denied = daemon.process.events("control_call_denied");
    assert_eq!(denied.len(), 1, "{denied:?}");
    assert_eq!(denied[0].field("method"), "GetClients");
}

/// Queries a server `times` times from an address of this machine; each must be answered. Returns
/// `times`.
fn query_from(address: Ipv4Addr, server: SocketAddr, times: u64) -> u64 {
    let socket = UdpSocket::bind((address, 0)).expect("loopback");
    for _ in 0..times {
        query::query(&socket, server, LIMIT).expect("a reply");
    }
    times
}

fn explain_and_waitsync_report_the_cause_of_a_failure() {
    let (right, also_right) = (server(), server());
    let wrong = server();
    wrong.set_behaviour(Behaviour {
        offset: NtpDuration::from_millis(500),
        ..Behaviour::default()
    });
    let setup = Setup::new(2)
        .server(&right.address().to_string())
        .server(&also_right.address().to_string())
        .server(&wrong.address().to_string())
        .server("127.0.0.1:9");
    // Before the daemon runs.
    let (code, output) = setup.ntp_ctl(&["tracking"]);
    assert_eq!(code, Some(1));
    assert!(output.contains("The daemon is not running"), "{output}");
    let _daemon = started(&setup);
    let output = wait::until(LIMIT, "an explanation", || {
        let (_, output) = setup.ntp_ctl(&["explain"]);
        let refused = SendError::Refused.to_string();
        let known = ["does not overlap the majority's", &refused];
        known
            .iter()
            .all(|reason| output.contains(reason))
            .then_some(output)
    });
    assert!(output.contains("`trust = true`"), "{output}");
    let (code, output) = setup.ntp_ctl(&["waitsync", "--max-error", "1ns", "--timeout", "1s"]);
    assert_eq!(code, Some(124));
    assert!(output.contains("required 1.00 ns"), "{output}");
    let (code, output) = setup.ntp_ctl(&["source", "unknown"]);
    assert_eq!(code, Some(1));
    assert!(output.contains("configured: 127.0.0.1:"), "{output}");
}
