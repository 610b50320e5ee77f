//! The servers under test, and how each is started.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::build;
use super::certificate::Certificate;
use super::namespaces::{End, Namespaces, Priority};
use ntp_e2e::binaries::workspace_root;

/// A running server under test; killed when dropped.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) version: String,
    pub(super) address: SocketAddr,
    /// Address of its key exchange server, if it has one.
    pub(super) key_exchange: Option<SocketAddr>,
    process: Child,
}

/// Role of a server in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ours,
    /// chronyd without its client log.
    Peer,
    /// chronyd with its client log, which it needs for interleaved mode.
    PeerWithLog,
    /// One of the two echo modes.
    Echo,
}

/// The key file of all servers and the generator.
pub(super) const KEYS: &str = "keys";
const KEY: &str = "1 AES128 HEX:000102030405060708090a0b0c0d0e0f\n";

/// Starts the servers.
#[derive(Debug)]
pub(super) struct Launcher<'a> {
    pub(super) namespaces: &'a Namespaces,
    pub(super) processor: u16,
    /// For configurations.
    pub(super) files: &'a Path,
    /// Scheduling priority of the servers.
    pub(super) priority: Priority,
    /// Address of the servers, and the port before that of the next one.
    pub(super) host: IpAddr,
    pub(super) port: u16,
}

impl Launcher<'_> {
    /// Builds our servers, finds the others, and starts all of them.
    pub(super) fn start_all(&mut self, chronyd: Option<&Path>) -> Result<Vec<Subject>, String> {
        let keys = self.file(KEYS, KEY)?;
        let restricted = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&keys, restricted).map_err(|error| format!("{keys}: {error}"))?;
        let Certificate { chain, key } = Certificate::new(self.files, self.host)?;
        let (chain, key) = (chain.display(), key.display());
        let mut all = Vec::new();
        for (name, batching) in [("ntp-daemon", true), ("ntp-daemon, no batching", false)] {
            let key_exchange = self.next_address();
            let top = format!(
                "[keys]\npath = \"{keys}\"\n[[nts-ke-server]]\nlisten = \"{key_exchange}\"\n\
                 certificate-chain-path = \"{chain}\"\nprivate-key-path = \"{key}\"\n\
                 key-exchange-timeout-ms = 10000\n"
            );
            let batching = format!("batching-under-load = {batching}\n");
            let mut daemon = self.daemon(name, &top, &batching)?;
            daemon.key_exchange = Some(key_exchange);
            all.push(daemon);
        }
        let chronyd = find_chronyd(chronyd);
        match version(Command::new(&chronyd).arg("--version")) {
            Ok(version) => {
                for (name, role, option) in [
                    ("chronyd", Role::Peer, "noclientlog\n"),
                    ("chronyd, client log", Role::PeerWithLog, ""),
                ] {
                    // Without the helper process for key exchanges, one process has all costs.
                    let key_exchange = self.next_address();
                    let options = format!(
                        "keyfile {keys}\n{option}ntsservercert {chain}\nntsserverkey {key}\n\
                         ntsport {}\nntsprocesses 0\n",
                        key_exchange.port()
                    );
                    let mut chronyd = self.chronyd(&chronyd, name, role, &version, &options)?;
                    chronyd.key_exchange = Some(key_exchange);
                    all.push(chronyd);
                }
            }
            Err(problem) => eprintln!("measuring without chronyd: {problem}"),
        }
        let echo = build::example("ntp-udp", "echo-floor")?;
        for (name, mode) in [("echo, batched", "batched"), ("echo, one by one", "single")] {
            let address = self.next_address();
            let arguments = [address.to_string(), mode.into()];
            let (role, version) = (Role::Echo, String::new());
            all.push(self.start(name, role, version, address, &echo, &arguments)?);
        }
        Ok(all)
    }

    /// Starts our server; `top` are further sections of its configuration, `server` further keys of
    /// `[[server]]`.
    pub(super) fn daemon(
        &mut self,
        name: &'static str,
        top: &str,
        server: &str,
    ) -> Result<Subject, String> {
        let program = build::binary("ntpd", "ntp-daemon")?;
        let version = version(Command::new(&program).arg("--version"))?;
        let address = self.next_address();
        let config = format!(
            "[synchronization]\nlocal-stratum = 1\n[clock]\nkind = \"none\"\n[state]\nenabled = false\n[sandbox]\nuser = \"root\"\n{top}\
             [[server]]\nlisten = \"{address}\"\nworkers = 1\n{server}"
        );
        let config = self.file(&format!("{}.toml", address.port()), &config)?;
        let arguments = ["--config".into(), config];
        self.start(name, Role::Ours, version, address, &program, &arguments)
    }

    fn chronyd(
        &mut self,
        program: &Path,
        name: &'static str,
        role: Role,
        version: &str,
        options: &str,
    ) -> Result<Subject, String> {
        let address = self.next_address();
        let port = address.port();
        let config = format!(
            "allow\nlocal stratum 1\nport {port}\ncmdport 0\nbindcmdaddress /\n\
             pidfile {}/{port}.pid\n{options}",
            self.files.display()
        );
        let config = self.file(&format!("{port}.conf"), &config)?;
        let arguments = ["-d", "-x", "-u", "root", "-f"].map(String::from);
        let arguments: Vec<String> = arguments.into_iter().chain([config]).collect();
        self.start(name, role, version.into(), address, program, &arguments)
    }

    fn start(
        &self,
        name: &'static str,
        role: Role,
        version: String,
        address: SocketAddr,
        program: &Path,
        arguments: &[String],
    ) -> Result<Subject, String> {
        let process = self
            .namespaces
            .command(End::Server, self.processor, self.priority, program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        Ok(Subject {
            name,
            role,
            version,
            address,
            key_exchange: None,
            process,
        })
    }

    fn next_address(&mut self) -> SocketAddr {
        self.port += 1;
        SocketAddr::new(self.host, self.port)
    }

    fn file(&self, name: &str, content: &str) -> Result<String, String> {
        let path = self.files.join(name);
        fs::write(&path, content)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(path.display().to_string())
    }
}

impl Subject {
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn find_chronyd(wanted: Option<&Path>) -> PathBuf {
    let unpacked = workspace_root().join("target/arena/chrony/usr/sbin/chronyd");
    let installed = PathBuf::from("/usr/sbin/chronyd");
    let found = [unpacked, installed].into_iter().find(|path| path.exists());
    wanted
        .map(Path::to_path_buf)
        .or(found)
        .unwrap_or_else(|| "chronyd".into())
}

fn version(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", command.get_program().display()))?;
    // Some programs print it to standard output, some to standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    number
        .map(str::to_owned)
        .ok_or_else(|| format!("{} prints no version", command.get_program().display()))
}
