//! Two network namespaces and a wire between them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{self, Command, Stdio};

/// Where servers listen.
pub(super) const SERVER: &str = "10.99.0.1";
const CLIENT: &str = "10.99.0.2";
/// The addresses of the clients. All of them are the generator's.
pub(super) const CLIENTS: &str = "10.98.0.0/20";

const PREFIX: &str = "ntpbench-";

/// The namespaces; removed when dropped.
#[derive(Debug)]
pub(super) struct Arena {
    server: String,
    client: String,
}

/// Which end of the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Server,
    Client,
}

impl Arena {
    pub(super) fn new() -> Result<Self, String> {
        remove_stale();
        let own = process::id();
        let arena = Self {
            server: format!("{PREFIX}{own}-server"),
            client: format!("{PREFIX}{own}-client"),
        };
        let Self { server, client } = &arena;
        for arguments in [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-n {server} link add eth0 type veth peer name eth0 netns {client}"),
            format!("-n {server} link set lo up"),
            format!("-n {client} link set lo up"),
            format!("-n {server} address add {SERVER}/24 dev eth0"),
            format!("-n {client} address add {CLIENT}/24 dev eth0"),
            format!("-n {server} link set eth0 up"),
            format!("-n {client} link set eth0 up"),
            format!("-n {client} route add local {CLIENTS} dev lo"),
            format!("-n {server} route add {CLIENTS} via {CLIENT}"),
        ] {
            ip(&arguments)?;
        }
        Ok(arena)
    }

    /// A command for `program` at one end of the wire, on one processor only, ahead of everything else on the machine and
    /// without the right to set its clock. The process that is started becomes the program, so that its number is the program's.
    pub(super) fn command(&self, end: End, processor: u16, program: impl AsRef<OsStr>) -> Command {
        // Sessions share the processors before processes do; the session's own share is set by a file.
        const FIRST: &str = "echo -20 2>/dev/null >/proc/self/autogroup; exec \"$@\"";
        let namespace = match end {
            End::Server => &self.server,
            End::Client => &self.client,
        };
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", FIRST, "sh", "nice", "-n", "-20"])
            .args(["taskset", "-c", &processor.to_string()])
            .args(["ip", "netns", "exec", namespace])
            .args(["setpriv", "--bounding-set=-sys_time"])
            .args(["--inh-caps=-sys_time", "--pdeathsig=KILL", "--"])
            .arg(program)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            // Whatever cannot be removed now is stale for the next run.
            let _ = ip(&format!("netns delete {namespace}"));
        }
    }
}

/// Removes what killed runs have left.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some((owner, _)) = owner.and_then(|name| name.split_once('-'))
            && !Path::new("/proc").join(owner).exists()
        {
            let _ = ip(&format!("netns delete {}", name.to_string_lossy()));
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("ip (of iproute2) cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "ip {arguments}: {} (network namespaces need root)",
        message.trim()
    ))
}
