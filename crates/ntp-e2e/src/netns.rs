//! Virtual hosts on a virtual network.
//!
//! A [`Network`] is a network namespace with a bridge; each [`Host`] is another one, tied to the bridge by a pair of
//! virtual interfaces. Every network has namespaces of its own, so all can use the same addresses,
//! 10.77.0.0/24 and fd00:77::/64, and tests that run at once never meet.
//!
//! Programs run on a host by `ip netns exec` (see [`process::command`](crate::process::command)). Sockets of the
//! test itself get there by [`Host::inside`]: a thread that enters the namespace, opens them and ends; a socket stays where it
//! was opened.
//!
//! Namespaces are the one thing of an arena that outlives a killed test process. Their names carry its number, and
//! the next test process removes those whose owner is gone.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::thread;

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Before the process number and the serial number in the name of a namespace.
const PREFIX: &str = "ntpe2e-";
/// Where `ip netns` keeps named namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where `ip netns exec` looks for files to lay over those of /etc.
const OVERLAYS: &str = "/etc/netns";

/// Why virtual networks cannot be had here.
pub fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    let namespace = match Namespace::try_new() {
        Ok(namespace) => namespace,
        Err(error) => return Some(error),
    };
    let bridge = ip(&[
        "-n",
        namespace.name(),
        "link",
        "add",
        "br0",
        "type",
        "bridge",
    ]);
    let pair = ip(&[
        "-n",
        namespace.name(),
        "link",
        "add",
        "veth0",
        "type",
        "veth",
        "peer",
        "name",
        "veth1",
    ]);
    bridge.and(pair).err()
}

/// A network with hosts on it.
#[derive(Debug)]
pub struct Network {
    bridge: Namespace,
    hosts: AtomicU16,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// A network without hosts.
    ///
    /// # Panics
    /// If the kernel refuses; [`missing`] tells beforehand.
    pub fn new() -> Self {
        let bridge = Namespace::new();
        bridge.ip("link add br0 type bridge mcast_snooping 0");
        bridge.ip("link set br0 up");
        Self {
            bridge,
            hosts: AtomicU16::new(0),
        }
    }

    /// A new host, with addresses in both families that can be used at once.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn host(&self) -> Host {
        self.tied("off")
    }

    /// A new host that the bridge lets talk to those of [`host`](Self::host) but to no other of its own kind: what such
    /// hosts have in common, they did not tell each other.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn isolated_host(&self) -> Host {
        self.tied("on")
    }

    fn tied(&self, isolated: &str) -> Host {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let [high, low] = number.to_be_bytes();
        assert_eq!(high, 0, "a network has at most 254 hosts");
        let host = Host {
            namespace: Namespace::new(),
            v4: Ipv4Addr::new(10, 77, 0, low),
            v6: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number),
        };
        let name = host.namespace();
        host.set_sysctl("ipv6/conf/default/accept_dad", "0");
        self.bridge.ip(&format!(
            "link add port{number} type veth peer name eth0 netns {name}"
        ));
        self.bridge
            .ip(&format!("link set port{number} master br0 up"));
        self.bridge.ip(&format!(
            "link set port{number} type bridge_slave isolated {isolated}"
        ));
        host.namespace.ip("link set lo up");
        host.namespace.ip("link set eth0 up");
        host.namespace
            .ip(&format!("address add {}/24 dev eth0", host.v4));
        host.namespace
            .ip(&format!("address add {}/64 dev eth0 nodad", host.v6));
        host
    }
}

/// A virtual host: a network namespace with an interface `eth0`.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Host {
    /// Its IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.v4.into()
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.v6.into()
    }

    /// The name that `ip netns` knows it by.
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// Runs `work` on this host: sockets that it opens are this host's.
    ///
    /// # Panics
    /// If `work` does, or if the namespace cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = Path::new(NAMESPACES).join(self.namespace());
        let entered = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = fs::File::open(&path)?;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok::<_, std::io::Error>(work())
            });
            thread.join()
        });
        match entered {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => panic!("cannot enter {}: {error}", path.display()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A UDP socket on this host.
    ///
    /// # Panics
    /// If the address cannot be bound.
    pub fn udp(&self, address: IpAddr, port: u16) -> UdpSocket {
        match self.inside(|| UdpSocket::bind((address, port))) {
            Ok(socket) => socket,
            Err(error) => panic!(
                "cannot bind {address} port {port} on {}: {error}",
                self.namespace()
            ),
        }
    }

    /// Gives names to addresses, for programs that are started afterwards. A program that runs already sees a second
    /// call, too: the file is written in place.
    ///
    /// # Panics
    /// If the files below /etc/netns cannot be written.
    pub fn set_names(&self, names: &[(&str, &[IpAddr])]) {
        let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for (name, addresses) in names {
            for address in *addresses {
                hosts += &format!("{address} {name}\n");
            }
        }
        let overlay = self.namespace.overlay();
        let written = fs::create_dir_all(&overlay)
            .and_then(|()| fs::write(overlay.join("hosts"), hosts))
            // No name is asked of a name server outside.
            .and_then(|()| {
                fs::write(
                    overlay.join("resolv.conf"),
                    "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
                )
            })
            .and_then(|()| fs::write(overlay.join("nsswitch.conf"), "hosts: files\n"));
        if let Err(error) = written {
            panic!("cannot write {}: {error}", overlay.display());
        }
    }

    /// The addresses that this host has tried to reach on its network, with or without success: the kernel remembers whom it asked for.
    ///
    /// # Panics
    /// If it does not tell.
    pub fn neighbours(&self) -> Vec<IpAddr> {
        let arguments = ["-n", self.namespace(), "neighbour", "show", "nud", "all"];
        let table = match ip(&arguments) {
            Ok(table) => table,
            Err(error) => panic!("{error}"),
        };
        let addresses = table.lines().filter_map(|line| line.split(' ').next());
        addresses
            .filter_map(|address| address.parse().ok())
            .collect()
    }

    /// Runs `ip` on this host with these arguments, split at spaces.
    ///
    /// # Panics
    /// With its message, if it fails.
    pub fn ip(&self, arguments: &str) {
        self.namespace.ip(arguments);
    }

    /// Sets a kernel parameter below /proc/sys/net.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn set_sysctl(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(name);
        if let Err(error) = self.inside(|| fs::write(&path, value)) {
            panic!("cannot set {}: {error}", path.display());
        }
    }
}

/// A named network namespace, removed when dropped.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    fn new() -> Self {
        match Self::try_new() {
            Ok(namespace) => namespace,
            Err(error) => panic!("{error}"),
        }
    }

    fn try_new() -> Result<Self, String> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(remove_stale);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{serial}", process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self { name })
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn overlay(&self) -> PathBuf {
        Path::new(OVERLAYS).join(&self.name)
    }

    fn ip(&self, arguments: &str) {
        let mut all = vec!["-n", self.name()];
        all.extend(arguments.split(' '));
        if let Err(error) = ip(&all) {
            panic!("{error}");
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Whatever cannot be removed now is stale for the next run.
        let _ = ip(&["netns", "delete", &self.name]);
        let _ = fs::remove_dir_all(self.overlay());
    }
}

/// Removes what killed test processes left.
fn remove_stale() {
    for directory in [NAMESPACES, OVERLAYS] {
        let Ok(entries) = fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if let Some(name) = entry.file_name().to_str()
                && owner(name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
            {
                drop(Namespace {
                    name: name.to_owned(),
                });
            }
        }
    }
}

/// The process that a namespace of this name belongs to.
fn owner(name: &str) -> Option<u32> {
    let (pid, _serial) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

/// Runs `ip` and returns what it prints.
fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("ip (of iproute2) cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), message.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(owner("ntpe2e-123-4"), Some(123));
        for name in ["ntpe2e-123", "ntpe2e-x-1", "other-123-4", ""] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
