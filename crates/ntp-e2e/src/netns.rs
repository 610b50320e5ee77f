//! Virtual hosts on a virtual network, made of network namespaces.
//!
//! A [`Network`] is a network namespace with a bridge; each [`Host`] is another namespace, attached
//! to the bridge by a pair of virtual interfaces. Every network has its own namespaces, so all use
//! the same addresses, 10.77.0.0/24 and fd00:77::/64, and parallel tests do not interfere.
//!
//! Programs run on a host by `ip netns exec` (see
//! [`process::command`](crate::process::command)). Sockets of the test itself are opened by
//! [`Host::inside`]: a thread enters the namespace, opens them and ends; a socket stays in the
//! namespace in which it was opened.
//!
//! Namespaces are the only resource of an arena that outlives a killed test process. Their names
//! contain its process id, and the next test process removes those whose owner has ended.

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

/// Prefix of the names of namespaces, followed by the process id and a serial number.
const PREFIX: &str = "ntpe2e-";
/// Directory in which `ip netns` keeps named namespaces.
const NAMESPACES: &str = "/run/netns";
/// Directory whose files `ip netns exec` mounts over those of /etc.
const OVERLAYS: &str = "/etc/netns";

/// Returns why virtual networks cannot be created here, or `None` if they can.
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

/// A network of hosts.
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
    /// If the kernel refuses; [`missing`] checks that beforehand.
    pub fn new() -> Self {
        let bridge = Namespace::new();
        bridge.ip("link add br0 type bridge mcast_snooping 0");
        bridge.ip("link set br0 up");
        Self {
            bridge,
            hosts: AtomicU16::new(0),
        }
    }

    /// A new host, with usable IPv4 and IPv6 addresses.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn host(&self) -> Host {
        self.attach_host("off")
    }

    /// A new host that can reach those of [`host`](Self::host), but no other isolated host.
    /// Isolated hosts cannot exchange state over the network.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn isolated_host(&self) -> Host {
        self.attach_host("on")
    }

    /// Attaches a host of another network to this one, too, by a new interface.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn attach(&self, host: &Host, interface: &str, address: Ipv4Addr) {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let name = host.namespace();
        self.bridge.ip(&format!(
            "link add port{number} type veth peer name {interface} netns {name}"
        ));
        self.bridge
            .ip(&format!("link set port{number} master br0 up"));
        host.ip(&format!("link set {interface} up"));
        host.ip(&format!("address add {address}/24 dev {interface}"));
    }

    fn attach_host(&self, isolated: &str) -> Host {
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
    /// IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.v4.into()
    }

    /// IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.v6.into()
    }

    /// Name of the namespace for `ip netns`.
    pub fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// Runs `work` in this host's namespace: sockets that it opens belong to this host.
    ///
    /// # Panics
    /// If `work` panics or the namespace cannot be entered.
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

    /// IPv4 and IPv6 address as names of a certificate.
    pub fn names(&self) -> Vec<String> {
        vec![self.v4.to_string(), self.v6.to_string()]
    }

    /// Opens a UDP socket on this host for sending to `server`: any address of its family, any port.
    ///
    /// # Panics
    /// If it cannot be bound.
    pub fn udp_to(&self, server: IpAddr) -> UdpSocket {
        let any = match server {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.udp(any, 0)
    }

    /// Opens a UDP socket on this host.
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

    /// Maps names to addresses for programs that are started afterwards. Running programs see the
    /// changes of a second call, since the file is written in place.
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
            // No lookup leaves the host.
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

    /// Addresses that this host has tried to reach on its network, successfully or not (the
    /// kernel's neighbour table).
    ///
    /// # Panics
    /// If `ip` fails.
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
        // The next run removes as stale what cannot be removed now.
        let _ = ip(&["netns", "delete", &self.name]);
        let _ = fs::remove_dir_all(self.overlay());
    }
}

/// Removes namespaces left by killed test processes.
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

/// Process id in the name of a namespace.
fn owner(name: &str) -> Option<u32> {
    let (pid, _serial) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

/// Runs `ip`. Returns its output.
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
    fn only_names_with_our_prefix_have_an_owner() {
        assert_eq!(owner("ntpe2e-123-4"), Some(123));
        for name in ["ntpe2e-123", "ntpe2e-x-1", "other-123-4", ""] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
