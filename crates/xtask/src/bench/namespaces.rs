//! Two network namespaces, connected by a pair of virtual interfaces.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{self, Command, Stdio};

/// Addresses of the servers.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub(super) const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
const CLIENT: &str = "10.99.0.2";
const CLIENT_V6: &str = "fd99::2";
/// Addresses of the clients; all of them belong to the load generator.
pub(super) const CLIENTS: &str = "10.98.0.0/20";
/// 16 million addresses, and as many /64 networks. They are routed between the namespaces only.
pub(super) const MILLIONS: &str = "11.0.0.0/8";
pub(super) const MILLIONS_V6: &str = "fd98::/40";

const PREFIX: &str = "ntpbench-";

/// The namespaces; removed when dropped.
#[derive(Debug)]
pub(super) struct Namespaces {
    server: String,
    client: String,
}

/// The namespace of a program.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Server,
    Client,
}

/// Scheduling priority of a program.
#[derive(Clone, Copy, Debug)]
pub(super) enum Priority {
    /// Real-time, ahead of everything else on the machine.
    RealTime,
    /// As other programs.
    Normal,
}

impl Namespaces {
    pub(super) fn new() -> Result<Self, String> {
        remove_stale();
        let own = process::id();
        let namespaces = Self {
            server: format!("{PREFIX}{own}-server"),
            client: format!("{PREFIX}{own}-client"),
        };
        let Self { server, client } = &namespaces;
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
        Ok(namespaces)
    }

    /// Returns a command that runs `program` in one namespace, on one processor only and without
    /// `CAP_SYS_TIME`. The started process is replaced by the program, so that its process ID is
    /// that of the program.
    pub(super) fn command(
        &self,
        end: End,
        processor: u16,
        priority: Priority,
        program: impl AsRef<OsStr>,
    ) -> Command {
        let namespace = match end {
            End::Server => &self.server,
            End::Client => &self.client,
        };
        let (policy, level) = match priority {
            Priority::RealTime => ("--fifo", "10"),
            Priority::Normal => ("--other", "0"),
        };
        let mut command = Command::new("chrt");
        command
            .args([policy, level])
            .args(["taskset", "-c", &processor.to_string()])
            .args(["ip", "netns", "exec", namespace])
            .args(["setpriv", "--bounding-set=-sys_time"])
            .args(["--inh-caps=-sys_time", "--pdeathsig=KILL", "--"])
            .arg(program)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            // The next run removes what cannot be removed now.
            let _ = ip(&format!("netns delete {namespace}"));
        }
    }
}

/// Removes the namespaces of killed runs.
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
