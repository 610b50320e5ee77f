//! Servers for the daemon to synchronise to: chronyd, ntpsec's ntpd, and our `test-server`.
//!
//! `.ci/install-arenas` unpacks Debian's packages of chrony and ntpsec into `target/arena`. They
//! are not installed, since the packages conflict and would start a service. If they are not there,
//! the programs of `/usr/sbin` are used.
//!
//! Both serve the machine's clock without steering it (see [`process`]) and without sources, so
//! that they serve immediately: chronyd as a local reference (`local`), ntpd in orphan mode, the
//! only mode that needs no discipline.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use test_binaries::{Behaviour, ReferenceServer};

use crate::binaries::{Program, workspace_root};
use crate::certificates::Certificate;
use crate::files::{temporary_directory, write_in};
use crate::netns::Host;
use crate::process::{self, Process};
use crate::query;
use crate::wait;

/// Time limit for a server to answer as synchronised.
const READY_LIMIT: Duration = Duration::from_secs(60);
const NTP_PORT: u16 = 123;

/// Returns why the peers cannot run here, or `None` if they can.
pub fn missing() -> Option<String> {
    for (package, program) in [CHRONYD, NTPD] {
        let path = locate(package, program);
        match Command::new(&path).arg("--version").output() {
            Err(error) => return Some(format!("{} cannot be run: {error}", path.display())),
            Ok(output) if !output.status.success() => {
                let message = String::from_utf8_lossy(&output.stderr);
                return Some(format!(
                    "{} cannot be run: {}",
                    path.display(),
                    message.trim()
                ));
            }
            Ok(_) => {}
        }
    }
    None
}

/// A server on port 123 of all addresses of a virtual host. Stopped when dropped.
#[derive(Debug)]
pub struct Peer {
    /// The program.
    pub process: Process,
    _files: Option<TempDir>,
}

/// Path of chronyd.
pub fn chronyd_path() -> PathBuf {
    let (package, program) = CHRONYD;
    locate(package, program)
}

/// A symmetric key, in the syntax of each daemon's key file.
#[derive(Clone, Copy, Debug)]
pub struct SharedKey {
    /// Key number.
    pub id: u32,
    /// Key type, as chronyd and we name it.
    pub kind: &'static str,
    /// Key type, as ntpsec names it.
    pub ntpsec_kind: &'static str,
    /// Secret in hexadecimal.
    pub secret: &'static str,
}

impl SharedKey {
    /// A key of each type that all daemons support.
    pub const ALL: [Self; 4] = [
        Self {
            id: 1,
            kind: "AES128",
            ntpsec_kind: "AES-128",
            secret: "6f9e3ac1d2b84075a1c0ffee51b0d00d",
        },
        Self {
            id: 2,
            kind: "SHA1",
            ntpsec_kind: "SHA1",
            secret: "0123456789abcdef0123456789abcdef01234567",
        },
        Self {
            id: 3,
            kind: "SHA256",
            ntpsec_kind: "SHA256",
            secret: "8d3f1c5be07a29648d3f1c5be07a29648d3f1c5be07a29648d3f1c5be07a2964",
        },
        Self {
            id: 4,
            kind: "MD5",
            ntpsec_kind: "MD5",
            secret: "a1b2c3d4e5f60718293a4b5c6d7e8f90",
        },
    ];

    /// A line of chronyd's key file.
    pub fn chrony(&self) -> String {
        format!("{} {} HEX:{}\n", self.id, self.kind, self.secret)
    }

    /// A line of ntpsec's key file.
    pub fn ntpsec(&self) -> String {
        format!("{} {} {}\n", self.id, self.ntpsec_kind, self.secret)
    }
}

/// Starts chronyd on `host` as a server of this stratum. Returns when it answers.
///
/// # Panics
/// If it does not answer in time.
pub fn chronyd(host: &Host, stratum: u8) -> Peer {
    chronyd_with_keys(host, stratum, &[])
}

/// The same, with these symmetric keys.
///
/// # Panics
/// If it does not answer in time.
pub fn chronyd_with_keys(host: &Host, stratum: u8, keys: &[SharedKey]) -> Peer {
    chronyd_with(host, &format!("local stratum {stratum}"), keys)
}

/// The same, with these lines of configuration in place of `local`.
///
/// # Panics
/// If it does not answer in time.
pub fn chronyd_with(host: &Host, lines: &str, keys: &[SharedKey]) -> Peer {
    let files = temporary_directory();
    let configuration = format!(
        "allow\n{lines}\nport {NTP_PORT}\nkeyfile {0}/keys\n\
         # No command socket.\ncmdport 0\nbindcmdaddress /\n\
         pidfile {0}/chronyd.pid\n",
        files.path().display(),
    );
    let lines: String = keys.iter().map(SharedKey::chrony).collect();
    write_in(&files, "keys", &lines);
    let command = chronyd_command(host, &files, &configuration);
    start("chronyd", command, host, Some(files))
}

/// Starts chronyd on `host` as an NTS server with `certificate`. Returns when it answers.
///
/// # Panics
/// If it does not answer in time.
pub fn chronyd_nts_server(host: &Host, stratum: u8, certificate: &Certificate) -> Peer {
    let files = temporary_directory();
    let configuration = format!(
        "allow\nlocal stratum {stratum}\nport {NTP_PORT}\ncmdport 0\nbindcmdaddress /\n\
         ntsservercert {1}\nntsserverkey {2}\npidfile {0}/chronyd.pid\n",
        files.path().display(),
        certificate.chain.display(),
        certificate.key.display(),
    );
    let command = chronyd_command(host, &files, &configuration);
    start("chronyd", command, host, Some(files))
}

/// Starts ntpsec's ntpd on `host` as an NTS server with `certificate`. Returns when it answers.
///
/// # Panics
/// If it does not answer in time.
pub fn ntpsec_nts_server(host: &Host, stratum: u8, certificate: &Certificate) -> Peer {
    let files = temporary_directory();
    let configuration = format!(
        "disable kernel\ndisable ntp\ntos orphan {stratum} orphanwait 1\nrestrict default\n\
         nts enable\nnts cert {1}\nnts key {2}\nnts cookie {0}/cookies\ndriftfile {0}/drift\nstatsdir {0}/\n",
        files.path().display(),
        certificate.chain.display(),
        certificate.key.display(),
    );
    let command = ntpd_command(host, &files, &configuration);
    start("ntpd of ntpsec", command, host, Some(files))
}

/// Measures `server` once with chronyd as a client. Returns its offset: by how many seconds the
/// local clock is behind the server.
///
/// # Panics
/// If it gets no reply.
pub fn measure_with_chronyd(host: &Host, server: IpAddr) -> f64 {
    match try_measure_with_chronyd(host, &format!("server {server} iburst")) {
        Ok(seconds) => seconds,
        Err(log) => panic!("chronyd could not measure {server}: {log}"),
    }
}

/// Starts chronyd on `host` as a client of `server`, which chronyc on this host can ask. It does not
/// steer the clock.
///
/// # Panics
/// If it cannot be started.
pub fn chronyd_client(host: &Host, server: IpAddr) -> Peer {
    let files = temporary_directory();
    let configuration = format!(
        "server {server} iburst minpoll 0 maxpoll 1\nport 0\nbindcmdaddress /\n\
         bindcmdaddress 127.0.0.1\npidfile {}/chronyd.pid\n",
        files.path().display(),
    );
    let command = chronyd_command(host, &files, &configuration);
    Peer {
        process: Process::spawn("chronyd as a client", command),
        _files: Some(files),
    }
}

/// Measures once with chronyd as a client with these lines of configuration. Returns the offset as
/// [`measure_with_chronyd`].
///
/// # Errors
/// Exit status and log of chronyd if it got no reply.
pub fn try_measure_with_chronyd(host: &Host, lines: &str) -> Result<f64, String> {
    let files = temporary_directory();
    let configuration = format!(
        "{lines}\ncmdport 0\nbindcmdaddress /\npidfile {}/chronyd.pid\n",
        files.path().display(),
    );
    let path = write_in(&files, "chrony.conf", &configuration);
    let mut command = process::command(Some(host), locate_program(CHRONYD));
    command
        .args(["-Q", "-t", "30", "-u", "root", "-f"])
        .arg(path);
    let mut client = Process::spawn("chronyd as a client", command);
    let status = client.wait_exit(Duration::from_secs(90));
    let line = client.lines_with("System clock wrong by").concat();
    let seconds = line
        .split("wrong by ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .filter(|_| status.success());
    seconds
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{status}; {}", client.lines_with("").join("; ")))
}

/// Asks chronyd with these lines of configuration which clients it serves.
///
/// # Panics
/// If it does not start in time or does not answer for every client.
pub fn chronyd_access(host: &Host, lines: &str, clients: &[IpAddr]) -> Vec<bool> {
    let files = temporary_directory();
    // chronyd refuses a directory that others may enter.
    let private = files.path().join("private");
    let made = DirBuilder::new().mode(0o700).create(&private);
    assert!(
        made.is_ok(),
        "cannot create {}: {made:?}",
        private.display()
    );
    let socket = private.join("chronyd.sock");
    let configuration = format!(
        "pidfile {0}/pid\ncmdport 0\nbindcmdaddress {1}\nlocal\nallow 127.0.0.1\n{lines}",
        files.path().display(),
        socket.display(),
    );
    let command = chronyd_command(host, &files, &configuration);
    let _process = Process::spawn("chronyd", command);
    let (package, _) = CHRONYD;
    let chronyc = locate(package, "usr/bin/chronyc");
    wait::until(READY_LIMIT, "chronyd to answer", || {
        let mut command = Command::new(&chronyc);
        command.args(["-n", "-m", "-h"]).arg(&socket);
        command.args(clients.iter().map(|client| format!("accheck {client}")));
        let output = command.output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answers = text.lines().filter_map(|line| match line.trim() {
            "208 Access allowed" => Some(true),
            "209 Access denied" => Some(false),
            _ => None,
        });
        let answers: Vec<bool> = answers.collect();
        (answers.len() == clients.len()).then_some(answers)
    })
}

/// Starts ntpsec's ntpd on `host` as a server of this stratum. Returns when it answers.
///
/// # Panics
/// If it does not answer in time.
pub fn ntpsec(host: &Host, stratum: u8) -> Peer {
    ntpsec_with_keys(host, stratum, &[])
}

/// The same, with these symmetric keys.
///
/// # Panics
/// If it does not answer in time.
pub fn ntpsec_with_keys(host: &Host, stratum: u8, keys: &[SharedKey]) -> Peer {
    let files = temporary_directory();
    let lines: String = keys.iter().map(SharedKey::ntpsec).collect();
    write_in(&files, "keys", &lines);
    let trusted: String = keys
        .iter()
        .map(|key| format!("trustedkey {}\n", key.id))
        .collect();
    let configuration = format!(
        "disable kernel\ndisable ntp\ntos orphan {stratum} orphanwait 1\nrestrict default\n\
         keys {0}/keys\n{trusted}driftfile {0}/drift\nstatsdir {0}/\n",
        files.path().display(),
    );
    let command = ntpd_command(host, &files, &configuration);
    start("ntpd of ntpsec", command, host, Some(files))
}

/// Starts ntpsec's ntpd on `host` as a server with these lines of configuration, which permit this
/// host. Returns when it answers.
///
/// # Panics
/// If it does not answer in time.
pub fn ntpsec_with_lines(host: &Host, lines: &str) -> Peer {
    let files = temporary_directory();
    let configuration = format!(
        "disable kernel\ndisable ntp\ntos orphan 5 orphanwait 1\ndriftfile {0}/drift\n\
         statsdir {0}/\n{lines}",
        files.path().display(),
    );
    let command = ntpd_command(host, &files, &configuration);
    start("ntpd of ntpsec", command, host, Some(files))
}

/// Starts ntpsec's ntpd on `host` as an NTS client of the key-exchange server `keys`. It trusts
/// only `authority`.
///
/// # Panics
/// If it cannot be started.
pub fn ntpsec_nts_client(host: &Host, keys: &str, authority: &Path) -> Peer {
    let files = temporary_directory();
    let configuration = format!(
        "disable kernel\ndisable ntp\nserver {keys} nts iburst minpoll 3 maxpoll 3 ca {1}\n\
         driftfile {0}/drift\nstatsdir {0}/\n",
        files.path().display(),
        authority.display(),
    );
    let command = ntpd_command(host, &files, &configuration);
    Peer {
        process: Process::spawn("ntpd of ntpsec", command),
        _files: Some(files),
    }
}

/// Starts `test-server` on an address of `host`, with a clock that is `offset` seconds ahead.
///
/// # Panics
/// If it does not answer in time.
pub fn test_server(host: &Host, address: IpAddr, offset: f64) -> Peer {
    let mut command = process::command(Some(host), Program::TestServer.path());
    let listen = SocketAddr::new(address, NTP_PORT);
    command
        .arg(format!("--listen={listen}"))
        .arg(format!("--offset={offset}"));
    start_at("test-server", command, host, address, None)
}

/// Starts a test server in this process, on a free port of 127.0.0.1.
///
/// # Panics
/// If it cannot be started.
pub fn reference_server(behaviour: Behaviour) -> ReferenceServer {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    match ReferenceServer::bind(address, behaviour) {
        Ok(server) => server,
        Err(error) => panic!("cannot start a test server: {error}"),
    }
}

fn start(name: &str, command: Command, host: &Host, files: Option<TempDir>) -> Peer {
    start_at(name, command, host, host.v4(), files)
}

fn start_at(
    name: &str,
    command: Command,
    host: &Host,
    address: IpAddr,
    files: Option<TempDir>,
) -> Peer {
    let process = Process::spawn(name, command);
    let socket = host.udp_to(address);
    // ntpsec limits clients to one request per second.
    wait::until_slowly(READY_LIMIT, &format!("{name} to answer"), || {
        let reply = query::query(&socket, (address, NTP_PORT).into(), Duration::from_secs(1));
        reply.ok().filter(query::Reply::is_synchronized)
    });
    Peer {
        process,
        _files: files,
    }
}

/// A command that runs chronyd in the foreground with this configuration, without control of the
/// clock and without dropping privileges.
pub(crate) fn chronyd_command(host: &Host, files: &TempDir, configuration: &str) -> Command {
    // Not the usual name, which would tell our tools what the file is.
    let path = write_in(files, "settings", configuration);
    let mut command = process::command(Some(host), locate_program(CHRONYD));
    command.args(["-d", "-x", "-u", "root", "-f"]).arg(path);
    command
}

/// A command that runs ntpsec's ntpd in the foreground with this configuration.
pub(crate) fn ntpd_command(host: &Host, files: &TempDir, configuration: &str) -> Command {
    let path = write_in(files, "ntp.conf", configuration);
    let mut command = process::command(Some(host), locate_program(NTPD));
    command
        .args(["-n", "-c"])
        .arg(path)
        .arg("-p")
        .arg(files.path().join("ntpd.pid"));
    command
}

/// Package and program.
type Installed = (&'static str, &'static str);
const CHRONYD: Installed = ("chrony", "usr/sbin/chronyd");
const NTPD: Installed = ("ntpsec", "usr/sbin/ntpd");

pub(crate) fn locate_program((package, program): Installed) -> OsString {
    locate(package, program).into()
}

fn locate(package: &str, program: &str) -> PathBuf {
    let unpacked = workspace_root()
        .join("target/arena")
        .join(package)
        .join(program);
    if unpacked.exists() {
        unpacked
    } else {
        Path::new("/").join(program)
    }
}
