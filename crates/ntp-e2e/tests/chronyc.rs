//! chronyc of Debian 12 reads the daemon's state, and so do the requests of other programs that are
//! made for chrony.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ntp_control_api::control::client::Client;
use ntp_control_api::control::methods::{GetStatus, NoInput};
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::{self, Arena};
use ntp_e2e::peers::{self, SharedKey};
use ntp_e2e::process::{self, Process};
use ntp_e2e::{query, scenario, wait};
use ntp_time::NtpDuration;
use ntp_types::status::{SourceStatus, Status};
use test_binaries::{Behaviour, ReferenceServer};

/// Timeout of every wait; exceeded only on an overloaded machine.
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        Arena::Loopback,
        &[
            scenario!(chronyc_prints_what_the_daemon_knows),
            scenario!(every_command_of_chronyc_is_answered_or_refused),
            scenario!(other_users_read_over_udp_what_chronyd_shows_to_all),
            scenario!(programs_in_go_get_the_replies_that_they_decode),
        ],
    )
}

/// Permits other users to enter the directory of the daemon, which drops its privileges.
fn unprivileged(setup: Setup) -> Setup {
    let everyone = std::fs::Permissions::from_mode(0o777);
    let directory = setup.control().with_file_name("");
    std::fs::set_permissions(directory, everyone).expect("permission");
    setup.replacing("user = \"root\"", "user = \"nobody\"")
}

fn socket(setup: &Setup) -> PathBuf {
    setup.control().with_file_name("chronyd.sock")
}

/// A free port, at an address that no other test uses.
fn free(host: u8) -> SocketAddr {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 78, 0, host], 0)));
    let address = socket.and_then(|socket| socket.local_addr());
    address.expect("a free port")
}

/// A daemon with four sources: one that agrees with the clock, one that is far from it, one that
/// does not reply, and one without an address.
struct Scene {
    setup: Setup,
    daemon: Daemon,
    _servers: [ReferenceServer; 2],
    serving: SocketAddr,
    udp: SocketAddr,
}

impl Scene {
    /// Starts the daemon; returns `None` if this machine lacks something. Scenarios run side by side
    /// and differ in `host`.
    fn start(host: u8) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            harness::skip("root, to change the user");
            return None;
        }
        if !chronyc_path().exists() {
            harness::skip("chronyc (unpacked by .ci/install-arenas)");
            return None;
        }
        let near = peers::reference_server(Behaviour::default());
        let far = peers::reference_server(Behaviour {
            offset: NtpDuration::from_seconds(3),
            ..Behaviour::default()
        });
        let (serving, udp) = (free(host), free(host));
        let setup = Setup::new(1)
            .server_with(&near.address().to_string(), "prefer = true\ntrust = true")
            .server(&far.address().to_string())
            .keys(&SharedKey::ALL)
            .server_with(&format!("127.78.1.{host}:9"), "key = 1")
            .server("absent.invalid");
        let path = socket(&setup);
        let setup = unprivileged(setup.with(&format!(
            "[[server]]\nlisten = \"{serving}\"\nclient-list-size = 64\n\
             [compat.chrony]\nsocket = \"{}\"\nudp = [\"{udp}\"]\n",
            path.display()
        )));
        let mut daemon = setup.start(None);
        daemon.wait_synchronized(LIMIT);
        Some(Self {
            setup,
            daemon,
            _servers: [near, far],
            serving,
            udp,
        })
    }

    fn status(&self) -> Status {
        let mut client = Client::connect(&self.setup.control(), LIMIT).expect("the control socket");
        let reply = client.call::<GetStatus>(&NoInput {});
        reply.expect("the state").status
    }

    /// Runs chronyc through the Unix socket. Returns its exit code and output.
    fn chronyc(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = process::command(None, chronyc_path());
        command.arg("-n").arg("-h").arg(socket(&self.setup));
        command.args(arguments);
        Process::spawn("chronyc", command).outcome()
    }

    /// The same over UDP as a user without privileges.
    fn chronyc_as_nobody(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = process::command(None, "setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        // Other users have no access to the build directory.
        let copy = self.setup.control().with_file_name("chronyc");
        if !copy.exists() {
            std::fs::copy(chronyc_path(), &copy).expect("a copy");
        }
        command.arg(copy).arg("-n");
        command.arg("-h").arg(self.udp.ip().to_string());
        command.arg("-p").arg(self.udp.port().to_string());
        command.args(arguments);
        Process::spawn("chronyc as nobody", command).outcome()
    }

    /// Fields of each line of CSV.
    fn csv(&self, arguments: &[&str]) -> Vec<Vec<String>> {
        let (code, output) = self.chronyc(&[&["-c"], arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {output}");
        let fields = |line: &str| line.split(',').map(str::to_owned).collect();
        output.lines().map(fields).collect()
    }

    /// Output of a command between two equal states: nothing was measured meanwhile.
    fn settled(&self, arguments: &[&str]) -> (Status, Vec<Vec<String>>, Status) {
        wait::until(LIMIT, "a pause between measurements", || {
            let before = self.status();
            let fields = self.csv(arguments);
            let after = self.status();
            let moments = |status: &Status| {
                let sources = status.sources.iter();
                let measured = sources.map(|it| it.measurement.map(|it| it.at));
                (measured.collect::<Vec<_>>(), status.system.reference_time)
            };
            (moments(&before) == moments(&after)).then_some((before, fields, after))
        })
    }
}

fn chronyc_path() -> PathBuf {
    peers::chronyd_path().with_file_name("../bin/chronyc")
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?}"))
}

/// Asserts that a printed figure is between two values, to the last printed digit.
#[track_caller]
fn assert_between(printed: &str, before: f64, after: f64) {
    let decimals = printed
        .rsplit_once('.')
        .map_or(0, |(_, digits)| digits.len());
    // Seven digits are transmitted.
    let error = 0.6 * 0.1f64.powi(decimals as i32) + 2e-7 * before.abs();
    let (low, high) = (before.min(after) - error, before.max(after) + error);
    let found = number(printed);
    assert!((low..=high).contains(&found), "{printed}: {before} {after}");
}

fn seconds(duration: NtpDuration) -> f64 {
    duration.as_seconds_f64()
}

fn chronyc_prints_what_the_daemon_knows() {
    let Some(scene) = Scene::start(1) else {
        return;
    };
    wait::until(LIMIT, "statistics of both servers", || {
        let status = scene.status();
        let trends = status.sources.iter().filter(|it| it.trend.is_some());
        (trends.count() == 2).then_some(())
    });
    check_tracking(&scene);
    check_sources(&scene);
    check_statistics(&scene);
    check_selection(&scene);
    check_packets(&scene);
    assert_eq!(scene.csv(&["activity"]), [["3", "0", "0", "0", "1"]]);
}

fn check_tracking(scene: &Scene) {
    let (before, lines, after) = scene.settled(&["tracking"]);
    let [fields] = &lines[..] else {
        panic!("{lines:?}");
    };
    let (from, to) = (&before.system, &after.system);
    let reference = &before.sources[0];
    let octets = from.reference_id.octets();
    assert_eq!(fields[0], format!("{:08X}", u32::from_be_bytes(octets)));
    assert_eq!(fields[1], host(reference));
    assert_eq!(fields[2], from.stratum.to_string());
    // JSON and chronyc print a double: to a microsecond.
    let updated = from.reference_time.expect("an update").as_nanos() / 1000;
    let printed = (number(&fields[3]) * 1e6) as i64;
    assert!((printed - updated).abs() <= 1, "{fields:?} {updated}");
    let of = |duration: Option<NtpDuration>| duration.map_or(0.0, seconds);
    assert_between(&fields[4], of(from.offset), of(to.offset));
    // chrony: positive if the clock was ahead.
    assert_between(&fields[5], -of(from.last_offset), -of(to.last_offset));
    assert_between(&fields[6], of(from.rms_offset), of(to.rms_offset));
    assert_between(&fields[7], from.frequency.as_ppm(), to.frequency.as_ppm());
    let trend = reference.trend.expect("a trend");
    let residual = |status: &Status| (trend.frequency - status.system.frequency).as_ppm();
    assert_between(&fields[8], residual(&before), residual(&after));
    let skew = |status: &Status| 3.290_527 * status.system.frequency_uncertainty.as_ppm();
    assert_between(&fields[9], skew(&before), skew(&after));
    assert_between(
        &fields[10],
        seconds(from.root_delay),
        seconds(to.root_delay),
    );
    assert_between(
        &fields[11],
        of(from.root_dispersion),
        of(to.root_dispersion),
    );
    assert_between(
        &fields[12],
        of(from.update_interval),
        of(to.update_interval),
    );
    assert_eq!(fields[13], "Normal");
    // The virtual clock is 40 ppm fast.
    let (_, text) = scene.chronyc(&["tracking"]);
    let frequency = text.lines().find(|line| line.starts_with("Frequency"));
    assert!(
        frequency.is_some_and(|line| line.ends_with("ppm fast")),
        "{text}"
    );
}

fn host(source: &SourceStatus) -> String {
    source.address.socket().expect("a server").ip().to_string()
}

fn check_sources(scene: &Scene) {
    let (before, lines, after) = scene.settled(&["sources"]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (index, letter) in ["*", "x", "?"].into_iter().enumerate() {
        let (source, fields) = (&before.sources[index], &lines[index]);
        assert_eq!(fields[..3], ["^".to_owned(), letter.into(), host(source)]);
        assert_eq!(fields[4], source.poll.as_log2().to_string());
        assert_eq!(fields[5], format!("{:o}", source.reach), "{fields:?}");
        let Some(measured) = source.measurement else {
            assert_eq!(
                fields[6..],
                ["4294967295", "0.000000000", "0.000000000", "0.000000000"]
            );
            continue;
        };
        assert_eq!(fields[3], measured.stratum.to_string());
        let age = |status: &Status| seconds(status.program.now - measured.at).floor();
        assert_between(&fields[6], age(&before), age(&after));
        // The clock is slewed by less than 500 ppm since the measurement, 2 s ago at most.
        let offset = -seconds(measured.offset);
        assert!((number(&fields[7]) - offset).abs() < 0.002, "{fields:?}");
        assert_between(&fields[8], offset, offset);
        let error = measured.uncertainty.expect("a bound");
        assert_between(&fields[9], seconds(error), seconds(error));
    }
    // `far` is ahead, so our clock is behind.
    assert!((number(&lines[1][7]) + 3.0).abs() < 0.3, "{lines:?}");
    let all = scene.csv(&["sources", "-a"]);
    assert_eq!(all.len(), 4, "{all:?}");
    let (_, text) = scene.chronyc(&["-N", "sources", "-a"]);
    assert!(text.contains("absent.invalid"), "{text}");
    let (_, text) = scene.chronyc(&["sourcename", &host(&before.sources[2])]);
    assert_eq!(text.trim(), host(&before.sources[2]));
}

fn check_statistics(scene: &Scene) {
    let (before, lines, after) = scene.settled(&["sourcestats"]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (index, fields) in lines.iter().enumerate().take(2) {
        let source = &before.sources[index];
        let trend = source.trend.expect("a trend");
        assert_eq!(fields[0], host(source));
        assert_eq!(fields[1], trend.samples.to_string());
        assert_eq!(fields[3], seconds(trend.span).floor().to_string());
        let residual = |status: &Status| (trend.frequency - status.system.frequency).as_ppm();
        assert_between(&fields[4], residual(&before), residual(&after));
        let skew = 3.290_527 * trend.frequency_uncertainty.as_ppm();
        assert_between(&fields[5], skew, skew);
        assert_between(
            &fields[7],
            seconds(trend.deviation),
            seconds(trend.deviation),
        );
    }
    let estimated = number(&lines[1][6]);
    assert!((estimated + 3.0).abs() < 0.3, "{lines:?}");
}

fn check_selection(scene: &Scene) {
    let (before, lines, _) = scene.settled(&["selectdata"]);
    let letters: Vec<_> = lines.iter().map(|fields| fields[0].as_str()).collect();
    assert_eq!(letters, ["*", "x", "s"], "{lines:?}");
    let options: Vec<_> = lines[0][2..13].iter().map(String::as_str).collect();
    let expected = ["N", "-", "P", "T", "-", "-", "-", "P", "T", "-", "-"];
    assert_eq!(options, expected, "{lines:?}");
    for (source, fields) in before.sources.iter().zip(&lines).take(2) {
        let measured = source.measurement.expect("a measurement");
        let (offset, half) = (
            -seconds(measured.offset),
            seconds(measured.uncertainty.unwrap_or_default()),
        );
        assert_between(&fields[15], offset - half, offset - half);
        assert_between(&fields[16], offset + half, offset + half);
    }
    let keys: Vec<_> = scene
        .csv(&["authdata"])
        .into_iter()
        .map(|it| it[1..5].join(" "))
        .collect();
    // AES128 has the number 13.
    assert_eq!(keys, ["- 0 0 0", "- 0 0 0", "SK 1 13 128"]);
}

fn check_packets(scene: &Scene) {
    let (before, lines, _) = scene.settled(&["ntpdata"]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    let (source, fields) = (&before.sources[0], &lines[0]);
    let measured = source.measurement.expect("a measurement");
    assert_eq!(fields[0], host(source));
    let port = source.address.socket().expect("a server").port();
    assert_eq!(fields[2], port.to_string());
    assert_eq!(fields[5..8], ["Normal", "4", "Server"], "{fields:?}");
    assert_eq!(fields[15..17], ["54455354", "TEST"], "{fields:?}");
    // As our offsets: positive if the clock is behind.
    assert_between(
        &fields[18],
        seconds(measured.offset),
        seconds(measured.offset),
    );
    let delay = measured.delay.expect("a delay");
    assert_between(&fields[19], seconds(delay), seconds(delay));
    assert_eq!(
        fields[23..28],
        ["111", "111", "1111", "No", "No"],
        "{fields:?}"
    );
    let sent = number(&fields[30]);
    assert!(sent >= 3.0 && number(&fields[32]) <= sent, "{fields:?}");

    for (host, times) in [(2, 3), (3, 1)] {
        let socket = UdpSocket::bind(SocketAddr::from(([127, 78, 2, host], 0))).expect("loopback");
        for _ in 0..times {
            query::query(&socket, scene.serving, LIMIT).expect("a reply");
        }
    }
    // Clients are entered, and requests counted, after their replies were sent.
    wait::until(LIMIT, "four requests of two clients", || {
        let lines = scene.csv(&["clients"]);
        let found: Vec<_> = lines
            .iter()
            .map(|it| (it[0].as_str(), it[1].as_str()))
            .collect();
        (found == [("127.78.2.2", "3"), ("127.78.2.3", "1")]).then_some(())
    });
    wait::until(LIMIT, "four requests", || {
        (scene.csv(&["serverstats"])[0][0] == "4").then_some(())
    });
}

fn every_command_of_chronyc_is_answered_or_refused() {
    let Some(mut scene) = Scene::start(2) else {
        return;
    };
    for command in [
        "tracking",
        "sources",
        "sources -v",
        "sources -a -v",
        "sourcestats",
        "sourcestats -a -v",
        "activity",
        "ntpdata",
        "serverstats",
        "authdata",
        "authdata -a -v",
        "selectdata",
        "selectdata -a -v",
        "clients",
        "clients -k",
        "clients -p 1",
        "waitsync 1",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let (code, output) = scene.chronyc(&words);
        assert_eq!(code, Some(0), "{command}: {output}");
        let (code, output) = scene.chronyc(&[&["-c"][..], &words].concat());
        assert_eq!(code, Some(0), "{command}: {output}");
    }
    for (command, reply) in [
        ("rtcdata", "513 RTC driver not running"),
        ("smoothing", "505 Facility not enabled in daemon"),
        ("manual list", "505 Facility not enabled in daemon"),
        ("clients -r", "501 Not authorised"),
        ("ntpdata 192.0.2.1", "503 No such source"),
        ("makestep", "501 Not authorised"),
        ("offline", "501 Not authorised"),
        ("burst 1/2", "501 Not authorised"),
        ("add server 192.0.2.1", "501 Not authorised"),
        ("shutdown", "501 Not authorised"),
        ("settime 12:00", "501 Not authorised"),
        ("deny all", "501 Not authorised"),
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let (code, output) = scene.chronyc(&words);
        assert_eq!(
            (code, output.lines().last()),
            (Some(1), Some(reply)),
            "{command}"
        );
    }
    assert!(scene.daemon.process.is_running());
    assert!(scene.daemon.stop().success());
    assert!(!socket(&scene.setup).exists());
}

fn other_users_read_over_udp_what_chronyd_shows_to_all() {
    let Some(scene) = Scene::start(3) else {
        return;
    };
    for command in ["tracking", "sources", "sourcestats", "activity"] {
        let (code, output) = scene.chronyc_as_nobody(&["-c", command]);
        assert_eq!(code, Some(0), "{command}: {output}");
        // The same number of fields as through the Unix socket, which the others compare.
        let fields = output.split(',').count();
        assert_eq!(
            fields,
            scene.chronyc(&["-c", command]).1.split(',').count(),
            "{command}"
        );
    }
    for command in [
        "ntpdata",
        "serverstats",
        "authdata",
        "selectdata",
        "clients",
    ] {
        let (code, output) = scene.chronyc_as_nobody(&[command]);
        let last = output.lines().last();
        assert_eq!(
            (code, last),
            (Some(1), Some("501 Not authorised")),
            "{command}"
        );
    }
    let mode = std::fs::metadata(socket(&scene.setup))
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

/// telegraf, netdata and chrony_exporter send 396 octets of arguments, most of them unused, and read
/// the body by the code of the reply.
fn programs_in_go_get_the_replies_that_they_decode() {
    let Some(scene) = Scene::start(4) else {
        return;
    };
    let request = |command: u16, arguments: &[u8]| {
        let mut request = vec![6, 1, 0, 0];
        request.extend(command.to_be_bytes());
        request.extend([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        request.extend(arguments);
        request.resize(416, 0);
        request
    };
    let unix = {
        let own = socket(&scene.setup).with_file_name("chrony-telegraf.sock");
        let client = UnixDatagram::bind(&own).expect("a socket");
        let everyone = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(&own, everyone).expect("permission");
        client
            .connect(socket(&scene.setup))
            .expect("the daemon's socket");
        client.set_read_timeout(Some(LIMIT)).expect("a timeout");
        client
    };
    let udp = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    udp.connect(scene.udp).expect("loopback");
    udp.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let ask = |command: u16, arguments: &[u8]| {
        let request = request(command, arguments);
        let mut replies = [[0; 1024]; 2];
        unix.send(&request).expect("sent");
        udp.send(&request).expect("sent");
        let lengths = [unix.recv(&mut replies[0]), udp.recv(&mut replies[1])];
        let [unix, udp] = lengths.map(|length| length.expect("a reply"));
        let code = |reply: &[u8]| (reply[7], reply[9]);
        [(unix, code(&replies[0])), (udp, code(&replies[1]))]
    };
    for (command, length, code) in [
        (33, 104, 5),
        (14, 32, 2),
        (15, 76, 3),
        (34, 84, 6),
        (44, 48, 12),
    ] {
        assert_eq!(ask(command, &[]), [(length, (code, 0)); 2], "{command}");
    }
    let status = scene.status();
    let mut address = vec![0; 20];
    let ip = host(&status.sources[0]);
    let octets = ip
        .split('.')
        .map(|octet| octet.parse::<u8>().expect("a number"));
    address.splice(..4, octets);
    address[17] = 1;
    let refused = (28, (1, 2));
    assert_eq!(ask(54, &[]), [(196, (25, 0)), refused]);
    assert_eq!(ask(57, &address), [(172, (26, 0)), refused]);
    assert_eq!(ask(65, &address), [(284, (19, 0)); 2]);
}
