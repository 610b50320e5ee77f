//! Two network namespaces and a wire between them.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{self, Command, Stdio};

/// Where servers listen.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub(super) const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
const CLIENT: &str = "10.99.0.2";
const CLIENT_V6: &str = "fd99::2";
/// The addresses of the clients. All of them are the generator's.
pub(super) const CLIENTS: &str = "10.98.0.0/20";
/// 16 million addresses, and as many /64 networks. They are routed here only.
pub(super) const MILLIONS: &str = "11.0.0.0/8";
pub(super) const MILLIONS_V6: &str = "fd98::/40";

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

/// Before whom a program runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Urgency {
    /// Before everything else on the machine.
    First,
    /// As all others.
    InTurn,
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
            format!("-n {server} address add {SERVER_V6}/64 dev eth0 nodad"),
            format!("-n {client} address add {CLIENT_V6}/64 dev eth0 nodad"),
            format!("-n {server} link set eth0 up"),
            format!("-n {client} link set eth0 up"),
            format!("-n {client} route add local {CLIENTS} dev lo"),
            format!("-n {client} route add local {MILLIONS} dev lo"),
            format!("-n {client} route add local {MILLIONS_V6} dev lo"),
            format!("-n {server} route add {CLIENTS} via {CLIENT}"),
            format!("-n {server} route add {MILLIONS} via {CLIENT}"),
            format!("-n {server} route add {MILLIONS_V6} via {CLIENT_V6}"),
        ] {
            ip(&arguments)?;
        }
        Ok(arena)
    }

    /// A command for `program` at one end of the wire, on one processor only and without the right to set the machine's clock. The
    /// process that is started becomes the program, so that its number is the program's.
    pub(super) fn command(
        &self,
        end: End,
        processor: u16,
        urgency: Urgency,
        program: impl AsRef<OsStr>,
    ) -> Command {
        let namespace = match end {
            End::Server => &self.server,
            End::Client => &self.client,
        };
        let (policy, priority) = match urgency {
            Urgency::First => ("--fifo", "10"),
            Urgency::InTurn => ("--other", "0"),
        };
        let mut command = Command::new("chrt");
        command
            .args([policy, priority])
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
