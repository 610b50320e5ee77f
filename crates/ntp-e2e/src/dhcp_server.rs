//! A DHCP server that names a time server (option 42, RFC 2132 section 8.3): dnsmasq.

use std::path::Path;

use crate::netns::Host;
use crate::process::{self, Process};

/// First octets of the addresses that are given to clients.
pub const LEASED: &str = "10.77.0.1";

/// Starts the server on a host, which is also the time server. `directory` keeps its leases.
///
/// # Panics
/// If dnsmasq cannot be started.
pub fn start(host: &Host, directory: &Path) -> Process {
    let mut command = process::command(Some(host), "dnsmasq");
    command.args("--keep-in-foreground --conf-file=/dev/null --port=0 --user=root".split(' '));
    command.args("--interface=eth0 --bind-interfaces --dhcp-authoritative --no-ping".split(' '));
    command.args([
        "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,2m",
        "--pid-file=",
    ]);
    command.arg(format!("--dhcp-option=option:ntp-server,{}", host.v4()));
    let leases = directory.join("leases");
    command.arg(format!("--dhcp-leasefile={}", leases.display()));
    Process::spawn("dnsmasq", command)
}
