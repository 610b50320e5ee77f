//! The servers that the world runs, and ones of known error: chronyd, ntpsec's ntpd, and `test-server`.
//!
//! `.ci/install-arenas` unpacks Debian's packages of the former two into `target/arena`. They are not installed,
//! since each is made to conflict with the other, and since an installed package would start a service. Elsewhere
//! the programs of `/usr/sbin` are used.
//!
//! Both serve the machine's clock and leave it alone (see [`process`]); neither is asked to
//! synchronise itself, so that they serve at once: chronyd as a local reference (`local`), ntpd in orphan mode, which is the only one
//! that needs no discipline.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::binaries::{Program, workspace_root};
use crate::certificates::Certificate;
use crate::netns::Host;
use crate::process::{self, Process};
use crate::query;
use crate::wait;

/// For a server to answer as a synchronised one.
const READY: Duration = Duration::from_secs(60);
const NTP_PORT: u16 = 123;

/// Why the peers cannot be run here.
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

/// A server on a virtual host, at port 123 of all of its addresses. It ends when dropped.
#[derive(Debug)]
pub struct Peer {
    /// The program.
    pub process: Process,
    _files: Option<TempDir>,
}

/// The program chronyd.
pub fn chronyd_path() -> PathBuf {
    let (package, program) = CHRONYD;
    locate(package, program)
}

/// A symmetric key, as each daemon writes it.
#[derive(Clone, Copy, Debug)]
pub struct SharedKey {
    /// Its number.
    pub id: u32,
    /// Its type, as chronyd and we call it.
    pub kind: &'static str,
    /// What ntpsec calls that.
    pub kind_of_ntpsec: &'static str,
    /// Its secret in hexadecimal.
    pub secret: &'static str,
}

impl SharedKey {
    /// One of each type that all daemons know.
    pub const ALL: [Self; 4] = [
        Self {
            id: 1,
            kind: "AES128",
            kind_of_ntpsec: "AES-128",
            secret: "6f9e3ac1d2b84075a1c0ffee51b0d00d",
        },
        Self {
            id: 2,
            kind: "SHA1",
            kind_of_ntpsec: "SHA1",
            secret: "0123456789abcdef0123456789abcdef01234567",
        },
        Self {
            id: 3,
            kind: "SHA256",
            kind_of_ntpsec: "SHA256",
            secret: "8d3f1c5be07a29648d3f1c5be07a29648d3f1c5be07a29648d3f1c5be07a2964",
        },
        Self {
            id: 4,
            kind: "MD5",
            kind_of_ntpsec: "MD5",
            secret: "a1b2c3d4e5f60718293a4b5c6d7e8f90",
        },
    ];

    /// A line of chronyd's key file.
    pub fn chrony(&self) -> String {
        format!("{} {} HEX:{}\n", self.id, self.kind, self.secret)
    }

    /// A line of ntpsec's key file.
    pub fn ntpsec(&self) -> String {
        format!("{} {} {}\n", self.id, self.kind_of_ntpsec, self.secret)
    }
}

/// Starts chronyd on `host`, and returns when it answers. It claims `stratum`.
///
/// # Panics
/// If it does not answer.
pub fn chronyd(host: &Host, stratum: u8) -> Peer {
    chronyd_with_keys(host, stratum, &[])
}

/// The same, and clients may use these keys.
///
/// # Panics
/// If it does not answer.
pub fn chronyd_with_keys(host: &Host, stratum: u8, keys: &[SharedKey]) -> Peer {
    let files = files();
    let configuration = format!(
        "allow\nlocal stratum {stratum}\nport {NTP_PORT}\nkeyfile {0}/keys\n\
         # No other way in than NTP.\ncmdport 0\nbindcmdaddress /\n\
         pidfile {0}/chronyd.pid\n",
        files.path().display(),
    );
    let lines: String = keys.iter().map(SharedKey::chrony).collect();
    write(&files, "keys", &lines);
    let path = write(&files, "chrony.conf", &configuration);
    let mut command = process::command(Some(host), locate_program(CHRONYD));
    // In the foreground, without control of the clock, without changing the user.
    command.args(["-d", "-x", "-u", "root", "-f"]).arg(path);
    start("chronyd", command, host, Some(files))
}

/// Starts chronyd on `host` as a server that gives out NTS keys with `certificate`, and returns when it answers.
///
/// # Panics
/// If it does not answer.
pub fn chronyd_giving_keys(host: &Host, stratum: u8, certificate: &Certificate) -> Peer {
    let files = files();
    let configuration = format!(
        "allow\nlocal stratum {stratum}\nport {NTP_PORT}\ncmdport 0\nbindcmdaddress /\n\
         ntsservercert {1}\nntsserverkey {2}\npidfile {0}/chronyd.pid\n",
        files.path().display(),
        certificate.chain.display(),
        certificate.key.display(),
    );
    let path = write(&files, "chrony.conf", &configuration);
    let mut command = process::command(Some(host), locate_program(CHRONYD));
    command.args(["-d", "-x", "-u", "root", "-f"]).arg(path);
    start("chronyd", command, host, Some(files))
}

/// Starts ntpsec's ntpd on `host` as a server that gives out NTS keys with `certificate`, and returns when it answers.
///
/// # Panics
/// If it does not answer.
pub fn ntpsec_giving_keys(host: &Host, stratum: u8, certificate: &Certificate) -> Peer {
    let files = files();
    let configuration = format!(
        "disable kernel\ndisable ntp\ntos orphan {stratum} orphanwait 1\nrestrict default\n\
         nts enable\nnts cert {1}\nnts key {2}\nnts cookie {0}/cookies\ndriftfile {0}/drift\nstatsdir {0}/\n",
        files.path().display(),
        certificate.chain.display(),
        certificate.key.display(),
    );
    let path = write(&files, "ntp.conf", &configuration);
    let mut command = process::command(Some(host), locate_program(NTPD));
    command
        .args(["-n", "-c"])
        .arg(path)
        .arg("-p")
        .arg(files.path().join("ntpd.pid"));
    start("ntpd of ntpsec", command, host, Some(files))
}

/// Asks `servers` with chronyd as a client, once, and returns by how many seconds it finds the clock to be behind
/// them.
///
/// # Panics
/// If it gets no answer.
pub fn chronyd_measures(host: &Host, server: IpAddr) -> f64 {
    match chronyd_tries(host, &format!("server {server} iburst")) {
        Ok(seconds) => seconds,
        Err(said) => panic!("chronyd could not measure {server}: {said}"),
    }
}

/// Asks with chronyd as a client, once, as these lines of its configuration say. Returns by how many seconds it finds the clock
/// to be behind, or what it said if it got no answer.
///
/// # Errors
/// If it got no answer.
pub fn chronyd_tries(host: &Host, lines: &str) -> Result<f64, String> {
    let files = files();
    let configuration = format!(
        "{lines}\ncmdport 0\nbindcmdaddress /\npidfile {}/chronyd.pid\n",
        files.path().display(),
    );
    let path = write(&files, "chrony.conf", &configuration);
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

/// Starts ntpsec's ntpd on `host`, and returns when it answers. It claims `stratum`.
///
/// # Panics
/// If it does not answer.
pub fn ntpsec(host: &Host, stratum: u8) -> Peer {
    ntpsec_with_keys(host, stratum, &[])
}

/// The same, and clients may use these keys.
///
/// # Panics
/// If it does not answer.
pub fn ntpsec_with_keys(host: &Host, stratum: u8, keys: &[SharedKey]) -> Peer {
    let files = files();
    let lines: String = keys.iter().map(SharedKey::ntpsec).collect();
    write(&files, "keys", &lines);
    let trusted: String = keys
        .iter()
        .map(|key| format!("trustedkey {}\n", key.id))
        .collect();
    let configuration = format!(
        "disable kernel\ndisable ntp\ntos orphan {stratum} orphanwait 1\nrestrict default\n\
         keys {0}/keys\n{trusted}driftfile {0}/drift\nstatsdir {0}/\n",
        files.path().display(),
    );
    let path = write(&files, "ntp.conf", &configuration);
    let mut command = process::command(Some(host), locate_program(NTPD));
    command
        .args(["-n", "-c"])
        .arg(path)
        .arg("-p")
        .arg(files.path().join("ntpd.pid"));
    start("ntpd of ntpsec", command, host, Some(files))
}

/// Starts ntpsec's ntpd on `host` as a client with NTS, whose keys come from `keys`. It believes `authority` only.
///
/// # Panics
/// If it cannot be started.
pub fn ntpsec_with_nts(host: &Host, keys: &str, authority: &Path) -> Peer {
    let files = files();
    let configuration = format!(
        "disable kernel\ndisable ntp\nserver {keys} nts iburst minpoll 3 maxpoll 3 ca {1}\n\
         driftfile {0}/drift\nstatsdir {0}/\n",
        files.path().display(),
        authority.display(),
    );
    let path = write(&files, "ntp.conf", &configuration);
    let mut command = process::command(Some(host), locate_program(NTPD));
    command
        .args(["-n", "-c"])
        .arg(path)
        .arg("-p")
        .arg(files.path().join("ntpd.pid"));
    Peer {
        process: Process::spawn("ntpd of ntpsec", command),
        _files: Some(files),
    }
}

/// Starts `test-server` on an address of `host`, with its clock `offset` seconds ahead.
///
/// # Panics
/// If it does not answer.
pub fn shifted(host: &Host, address: IpAddr, offset: f64) -> Peer {
    let mut command = process::command(Some(host), Program::TestServer.path());
    let listen = SocketAddr::new(address, NTP_PORT);
    command
        .arg(format!("--listen={listen}"))
        .arg(format!("--offset={offset}"));
    start_at("test-server", command, host, address, None)
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
    let any: IpAddr = match address {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0_u8; 16].into(),
    };
    let socket = host.udp(any, 0);
    // Ntpsec stops to answer who asks more than once in a second.
    wait::until_unhurried(READY, &format!("{name} to answer"), || {
        let answer = query::ask(&socket, (address, NTP_PORT).into(), Duration::from_secs(1));
        answer.ok().filter(query::Answer::is_synchronized)
    });
    Peer {
        process,
        _files: files,
    }
}

/// Package and program.
type Installed = (&'static str, &'static str);
pub(crate) const CHRONYD: Installed = ("chrony", "usr/sbin/chronyd");
pub(crate) const NTPD: Installed = ("ntpsec", "usr/sbin/ntpd");

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

pub(crate) fn files() -> TempDir {
    match tempfile::Builder::new().prefix("ntpe2e-").tempdir() {
        Ok(directory) => directory,
        Err(error) => panic!("cannot create a temporary directory: {error}"),
    }
}

pub(crate) fn write(directory: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = directory.path().join(name);
    if let Err(error) = fs::write(&path, content) {
        panic!("cannot write {}: {error}", path.display());
    }
    path
}
