//! The control socket and `ntp-ctl`, as an operator, a foreign client and a nuisance use them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ntp_control_api::control::client::{CallError, Client};
use ntp_control_api::control::methods::{
    AddSource, Error, GetStatus, Named, New, Nothing, Reload, RemoveSource, Settings,
};
use ntp_control_api::control::types::Status;
use ntp_e2e::binaries::{self, Program};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::process::{self, Process};
use ntp_e2e::{query, scenario, wait};
use ntp_time::NtpDuration;
use rustix::process::Signal;
use serde_json::json;
use test_binaries::{Behaviour, ReferenceServer};

/// Only a machine in great distress exceeds it.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(a_foreign_client_adds_a_source_watches_it_and_removes_it),
            scenario!(an_unprivileged_user_reads_and_is_refused_every_change),
            scenario!(two_hundred_silent_clients_change_nothing_for_others),
            scenario!(a_reload_with_a_typo_changes_nothing),
            scenario!(a_reload_follows_what_it_can_and_names_what_it_cannot),
            scenario!(a_hangup_signal_reloads),
            scenario!(what_is_saved_comes_up_again_after_a_restart),
            scenario!(drop_ins_made_after_the_start_are_followed_by_a_reload),
            scenario!(every_command_answers),
            scenario!(clients_are_remembered_while_it_is_wanted_and_told_to_few),
            scenario!(an_operator_is_told_what_is_wrong),
        ],
    )
}

fn server() -> ReferenceServer {
    let address = "127.0.0.1:0".parse().expect("an address");
    ReferenceServer::bind(address, Behaviour::default()).expect("loopback")
}

fn connect(setup: &Setup) -> Client {
    wait::until(LIMIT, "the control socket", || {
        Client::connect(&setup.control(), LIMIT).ok()
    })
}

fn status(client: &mut Client) -> Status {
    client
        .call::<GetStatus>(&Nothing {})
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

/// Runs `ntp-ctl` and returns its exit code and all that it said.
fn ntp_ctl(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = setup.command(None, Program::Ctl);
    command.args(arguments);
    outcome("ntp-ctl", command)
}

fn outcome(name: &str, command: Command) -> (Option<i32>, String) {
    let mut process = Process::spawn(name, command);
    let code = process.wait_exit(LIMIT).code();
    (code, process.lines().join("\n"))
}

fn started(setup: &Setup) -> Daemon {
    let mut daemon = setup.start(None);
    daemon.wait_synchronized(LIMIT);
    daemon
}

/// The client is the one from PyPI, with the daemon's own description of the interface as all that it knows.
const FOREIGN: &str = r#"
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
        assert False, "a typo is refused"
    except varlink.VarlinkError as error:
        assert error.error() == "org.ntpd-rs.Control1.InvalidConfiguration", error
        assert "did you mean `address`?" in error.parameters()["report"]
print("all is well")
"#;

/// The Python that has the package varlink.
fn varlink_python() -> Option<PathBuf> {
    let path = binaries::workspace_root().join("target/arena/varlink/bin/python");
    path.exists().then_some(path)
}

fn a_foreign_client_adds_a_source_watches_it_and_removes_it() {
    let Some(python) = varlink_python() else {
        return harness::skip("Python with the package varlink, which .ci/install-arenas gets");
    };
    let (one, two) = (server(), server());
    let setup = Setup::new(1).server(&one.address().to_string());
    let _daemon = started(&setup);
    let mut command = process::command(None, &python);
    command.args(["-c", FOREIGN]).arg(setup.control());
    command.arg(two.address().to_string());
    let (code, said) = outcome("python", command);
    assert_eq!((code, said.as_str()), (Some(0), "all is well"));
}

fn an_unprivileged_user_reads_and_is_refused_every_change() {
    if !rustix::process::geteuid().is_root() {
        return harness::skip("root, to become somebody else");
    }
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let _daemon = started(&setup);
    open_to_all(setup.control().parent().expect("a directory"));
    let as_nobody = |arguments: &[&str]| as_nobody(&setup, arguments);
    let (code, said) = as_nobody(&["tracking"]);
    assert_eq!(code, Some(0), "{said}");
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
        let (code, said) = as_nobody(change);
        assert_eq!(code, Some(1), "{change:?}: {said}");
        assert!(
            said.contains("you are uid 65534") && said.contains("only root"),
            "{change:?}: {said}"
        );
    }
    let status = status(&mut connect(&setup));
    assert_eq!(status.configured.len(), 1);
    assert!(status.sources[0].online && status.sources[0].marks.is_empty());
}

/// Runs `ntp-ctl` as a user who may only read.
fn as_nobody(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = process::command(None, Path::new("setpriv"));
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    // Where the program was built, nobody may enter.
    let copy = setup.control().with_file_name("ntp-ctl");
    std::fs::copy(Program::Ctl.path(), &copy).expect("a copy");
    let config = setup.control().with_file_name("ntp.toml");
    command.arg(copy).arg("-c").arg(config).args(arguments);
    outcome("ntp-ctl as nobody", command)
}

fn open_to_all(directory: &Path) {
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, everyone).expect("our own directory");
}

fn two_hundred_silent_clients_change_nothing_for_others() {
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let mut daemon = started(&setup);
    let mut early = connect(&setup);
    status(&mut early);
    let silent: Vec<_> = (0..200)
        .map(|_| UnixStream::connect(setup.control()).expect("room in the queue"))
        .collect();
    let before = daemon.observe().expect("a state");
    let sent =
        |observation: &ntp_e2e::observation::Observation| observation.sources()[0].packets_sent();
    let asked = sent(&before);
    for _ in 0..20 {
        let mut client = connect(&setup);
        assert!(status(&mut client).system.synchronized);
    }
    daemon.wait_until(LIMIT, "more requests", |observation| {
        sent(observation) > asked + 2 && observation.is_synchronized()
    });
    drop(silent);
}

fn a_reload_with_a_typo_changes_nothing() {
    let server = server();
    let setup = Setup::new(1).server(&server.address().to_string());
    let mut daemon = started(&setup);
    let mut client = connect(&setup);
    let before = status(&mut client);
    setup.rewrite(|text| text.replace("minimum-agreeing-sources", "minimum-agreing-sources"));
    let Err(CallError::Refused(Error::InvalidConfiguration { report })) =
        client.call::<Reload>(&Nothing {})
    else {
        panic!("a typo is refused");
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

fn a_reload_follows_what_it_can_and_names_what_it_cannot() {
    let (one, two, three) = (server(), server(), server());
    let name = |server: &ReferenceServer| server.address().to_string();
    let setup = Setup::new(1).server(&name(&one)).server(&name(&two));
    let _daemon = started(&setup);
    let mut client = connect(&setup);
    let added = New {
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
    let reply = client.call::<Reload>(&Nothing {}).expect("a good file");
    assert_eq!(reply.added, ["127.0.0.1:9"]);
    assert_eq!(reply.removed, [name(&two)]);
    assert!(reply.not_applied[0].starts_with("[clock]"), "{reply:?}");
    let after = status(&mut client);
    assert_eq!(after.system.clock, "virtual");
    let ids = |status: &Status, wanted: &str| -> Vec<u64> {
        let sources = status.sources.iter();
        sources
            .filter(|it| it.name == wanted)
            .map(|it| it.id)
            .collect()
    };
    for kept in [name(&one), name(&three)] {
        assert_eq!(ids(&before, &kept), ids(&after, &kept), "{kept}");
    }
    let which = Named { name: name(&three) };
    client.call::<RemoveSource>(&which).expect("still there");
}

fn a_hangup_signal_reloads() {
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

fn drop_ins_made_after_the_start_are_followed_by_a_reload() {
    let (one, two) = (server(), server());
    let setup = Setup::new(1).server(&one.address().to_string());
    let _daemon = started(&setup);
    // The sandbox is closed, and the folder was not there when it was.
    let address = two.address();
    let section = format!("[[source]]\nmode = \"server\"\naddress = \"{address}\"\n");
    let file = setup.drop_in("sources.d/dhcp.toml", &section);
    let (code, said) = ntp_ctl(&setup, &["reload"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("Source added   : {address}")),
        "{said}"
    );

    std::fs::write(&file, section.replace("address", "adress")).expect("the file");
    let (code, said) = ntp_ctl(&setup, &["reload"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("dhcp.toml:3:1") && said.contains("did you mean `address`?"),
        "{said}"
    );
    let mut client = connect(&setup);
    assert_eq!(status(&mut client).sources.len(), 2);

    std::fs::remove_file(&file).expect("the file");
    let (_, said) = ntp_ctl(&setup, &["reload"]);
    assert!(
        said.contains(&format!("Source removed : {address}")),
        "{said}"
    );
}

/// What `config show` says without where it comes from, sorted: sources and servers may have changed their order.
fn in_force(setup: &Setup) -> Vec<String> {
    let (code, said) = ntp_ctl(setup, &["config", "show"]);
    assert_eq!(code, Some(0), "{said}");
    let config: toml::Table = said.parse().expect("what is shown is TOML");
    let mut lines = Vec::new();
    for (section, value) in &config {
        // What was disabled is in force by its absence.
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

fn what_is_saved_comes_up_again_after_a_restart() {
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
        let (code, said) = ntp_ctl(&setup, change);
        assert_eq!(code, Some(0), "{change:?}: {said}");
    }
    let running = in_force(&setup);
    let (code, said) = ntp_ctl(&setup, &["config", "save"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("disabled : {first}")), "{said}");
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
    // Saved again, nothing is lost, though nothing was changed since; and what goes is forgotten.
    ntp_ctl(&setup, &["config", "save"]);
    ntp_ctl(&setup, &["source", "remove", &third]);
    let running = in_force(&setup);
    let (code, said) = ntp_ctl(&setup, &["config", "save", "--format", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&told["sources"], &told["servers"]),
        (&json!(1), &json!(1)),
        "{said}"
    );
    let (_, said) = ntp_ctl(&setup, &["reload"]);
    assert!(said.contains("nothing new"), "{said}");
    assert_eq!(in_force(&setup), running);
    daemon.stop();

    // Without the file all is as it was.
    let path = told["path"].as_str().expect("a path");
    assert!(
        Path::new(path).ends_with("ntp.toml.d/90-runtime.toml"),
        "{path}"
    );
    std::fs::remove_file(path).expect("the file");
    let _daemon = setup.start(None);
    connect(&setup);
    assert_eq!(in_force(&setup), before);
}

fn every_command_answers() {
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
        (&["sources"], "* "),
        (&["source", &first], "State             : selected"),
        (
            &["source", "add", &second, "prefer=true"],
            "asked from now on",
        ),
        (
            &["source", "set", &second, "prefer=null", "noselect=true"],
            "changed",
        ),
        (&["source", "offline", &second], "offline"),
        (&["source", "online"], "asked again"),
        (&["source", "burst", &second], "Being measured: "),
        (&["source", "remove", &second], "asked no more"),
        (&["servers"], "served at no address"),
        (&["server", "add", "127.0.0.1:0"], "served from now on"),
        (
            &["server", "set", "127.0.0.1:0", "rate-limiting-cutoff-ms=5"],
            "changed",
        ),
        (&["clients"], "Which clients"),
        (&["server", "remove", "127.0.0.1:0"], "served no more"),
        (&["step"], "The clock was stepped by"),
        (&["log-level", "trace"], "Logging at level trace"),
        (
            &["config", "show"],
            "log-level = \"trace\"  # changed at run time by uid",
        ),
        (&["reload"], "The configuration says nothing new"),
    ];
    for (arguments, expected) in commands {
        let (code, said) = ntp_ctl(&setup, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    // Who is used is decided with the next measurement, also after a source was removed.
    wait::until(LIMIT, "an explanation", || {
        let (_, said) = ntp_ctl(&setup, &["explain"]);
        said.contains("it agrees with the majority").then_some(())
    });
    for arguments in [
        ["tracking"],
        ["sources"],
        ["servers"],
        ["clients"],
        ["explain"],
    ] {
        let (code, said) = ntp_ctl(&setup, &[&arguments[..], &["-f", "json"]].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        serde_json::from_str::<serde_json::Value>(&said).expect("JSON");
    }
}

fn clients_are_remembered_while_it_is_wanted_and_told_to_few() {
    let upstream = server();
    // A port that was free a moment ago, at an address that nobody else uses.
    let free = UdpSocket::bind("127.77.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port");
    let at = address.to_string();
    let setup = Setup::new(1)
        .server(&upstream.address().to_string())
        .with(&format!("[[server]]\nlisten = \"{at}\""));
    let daemon = started(&setup);
    let mut asked = 0;
    let mut ask_all = || {
        for (host, times) in [(2, 5), (3, 3), (4, 1)] {
            asked += ask_from(Ipv4Addr::new(127, 77, 0, host), address, times);
        }
        asked
    };
    ask_all();
    let (code, said) = ntp_ctl(&setup, &["clients"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("127.77.0.2"), "{said}");
    // The command that it names is the one that does it.
    let command = said
        .lines()
        .find_map(|line| line.strip_prefix("  ntp-ctl "));
    let command: Vec<_> = command.expect("advice").split(' ').collect();
    let (code, said) = ntp_ctl(&setup, &command);
    assert_eq!(code, Some(0), "{command:?}: {said}");

    ask_all();
    // Clients are entered when they have got their answers.
    let listed = |more: &[&str]| {
        let arguments = [&["clients", "--json"], more].concat();
        let (code, said) = ntp_ctl(&setup, &arguments);
        assert_eq!(code, Some(0), "{said}");
        let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let clients = told["list"]["clients"].as_array().cloned();
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
    // Times are told by a clock that is being slewed.
    let [first] = &listed(&["--limit", "1", "--server", &at])[..] else {
        panic!("one, as asked for");
    };
    assert_eq!(first["address"], clients[0]["address"]);
    let (_, said) = ntp_ctl(&setup, &["clients"]);
    assert!(said.contains("3 known, with room for 1000"), "{said}");
    assert!(said.contains("\n127.77.0.2        5        5"), "{said}");
    assert!(said.lines().all(|line| line.len() <= 80), "{said}");
    let (code, said) = ntp_ctl(&setup, &["clients", "--server", "127.77.0.9:123"]);
    assert!(
        code == Some(1) && said.contains("no time is served"),
        "{said}"
    );

    if rustix::process::geteuid().is_root() {
        open_to_all(setup.control().parent().expect("a directory"));
        for _ in 0..3 {
            let (code, said) = as_nobody(&setup, &["clients"]);
            assert_eq!(code, Some(0), "{said}");
            assert!(said.starts_with("Requests         : 18,"), "{said}");
            assert!(
                said.contains("you are uid 65534") && said.contains("only root"),
                "{said}"
            );
            assert!(!said.contains("127.77.0.2"), "{said}");
        }
        assert_eq!(daemon.process.lines_with("GetClients refused").len(), 1);
    }

    // A list that is switched off is gone, and the next one begins anew.
    for size in ["client-list-size=0", "client-list-size=8"] {
        let (code, said) = ntp_ctl(&setup, &["server", "set", &at, size]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(listed(&[]), [0; 0], "{size}");
    }
    let asked = ask_all();
    wait::until(LIMIT, "the last answers to be counted", || {
        let servers = status(&mut connect(&setup)).servers;
        (servers[0].accepted == asked && servers[0].client_list_size == 8).then_some(())
    });
    assert!(daemon.process.lines_with("127.77.0.2").is_empty());
}

/// Asks a server from an address of this machine, so many times, and returns that number: each must be answered.
fn ask_from(address: Ipv4Addr, server: SocketAddr, times: u64) -> u64 {
    let socket = UdpSocket::bind((address, 0)).expect("loopback");
    for _ in 0..times {
        query::ask(&socket, server, LIMIT).expect("an answer");
    }
    times
}

fn an_operator_is_told_what_is_wrong() {
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
    // Before it runs.
    let (code, said) = ntp_ctl(&setup, &["tracking"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("Is it running?"), "{said}");
    let _daemon = started(&setup);
    let said = wait::until(LIMIT, "an explanation", || {
        let (_, said) = ntp_ctl(&setup, &["explain"]);
        let known = [
            "incompatible with the majority's",
            "nothing listens on its port",
        ];
        known
            .iter()
            .all(|reason| said.contains(reason))
            .then_some(said)
    });
    assert!(said.contains("`trust = true`"), "{said}");
    let (code, said) = ntp_ctl(
        &setup,
        &["waitsync", "--max-error", "1ns", "--timeout", "1s"],
    );
    assert_eq!(code, Some(124));
    assert!(said.contains("1.00 ns was asked for"), "{said}");
    let (code, said) = ntp_ctl(&setup, &["source", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("there are 127.0.0.1:"), "{said}");
}
