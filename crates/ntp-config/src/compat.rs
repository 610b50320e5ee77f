//! `[compat]`: interfaces of other programs. Not in upstream ntpd-rs.

use std::net::SocketAddr;
use std::path::PathBuf;

use ntp_types::refclock::SockSettings;

use crate::observability;
use crate::reader::{Context, Value};
use crate::schema::{self, section};
use crate::value;

section! {
    /// Interfaces of other programs.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CompatConfig: Default = "compat" [] {
        chrony: ChronyConfig = schema::table => or(ChronyConfig::default()),
            "chrony" "table" "no sockets" "See `[compat.chrony]`.";
    }
}

section! {
    /// Sockets for chronyc and for programs that read chronyd's state.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ChronyConfig: Default = "compat.chrony" [] {
        socket: Option<PathBuf> = value::path => optional,
            "socket" "path" "none" "Unix datagram socket at which chronyc, and programs that speak its protocol, read the state; `/run/chrony/chronyd.sock` is where they look for it. The directory must exist, and they must be able to create their own sockets in it. Users who may write to the socket may read everything, client addresses included.";
        mode: u32 = observability::permissions => or(0o660),
            "mode" "integer" "0o660" "Permissions of that socket; write them in octal. Root may read in any case.";
        user: Option<String> = value::string => optional,
            "user" "string" "none" "Name or number of the user who owns the socket, if it is not the daemon's.";
        group: Option<String> = value::string => optional,
            "group" "string" "none" "Name or number of the group of the socket, if it is not the daemon's.";
        udp: Vec<SocketAddr> = |cx, value| value::array(cx, value, loopback) => or(Vec::new()),
            "udp" "array of strings" "none" "Loopback addresses, with port, at which every user of this machine may read what chronyd shows to all of them; chrony's are `\"127.0.0.1:323\"` and `\"[::1]:323\"`.";
    }
}

impl ChronyConfig {
    /// The Unix socket with its owner and permissions, if there is one.
    pub fn unix_socket(&self) -> Option<SockSettings> {
        Some(SockSettings {
            path: self.socket.clone()?,
            permissions: self.mode,
            user: self.user.clone(),
            group: self.group.clone(),
        })
    }
}

/// chrony's port for requests.
const PORT: u16 = 323;

/// An address of this machine that other machines cannot reach.
fn loopback(cx: &mut Context, value: &Value<'_>) -> Option<SocketAddr> {
    let address = value::socket_address(cx, value, PORT)?;
    if address.ip().is_loopback() {
        return Some(address);
    }
    value.reject_with(
        cx,
        format!("invalid value: {address} is not a loopback address"),
        format!("requests are not authenticated and are answered on this machine only: `\"127.0.0.1:{PORT}\"` or `\"[::1]:{PORT}\"`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_is_for_loopback_addresses_only() {
        let parse = |address: &str| {
            let text = format!("[compat.chrony]\nudp = [\"{address}\"]\n");
            crate::parse(&text, "ntp.toml").map(|(config, _)| config.compat.chrony.udp)
        };
        for address in ["127.0.0.1:323", "127.4.5.6:13323", "[::1]:323"] {
            assert_eq!(parse(address).unwrap(), [address.parse().unwrap()]);
        }
        for address in [
            "0.0.0.0:323",
            "[::]:323",
            "192.0.2.1:323",
            "[::ffff:192.0.2.1]:323",
        ] {
            let report = parse(address).unwrap_err().to_string();
            assert!(report.contains("is not a loopback address"), "{report}");
        }
        let report = parse("127.0.0.1").unwrap_err().to_string();
        assert!(report.contains("127.0.0.1:323"), "{report}");
    }

    #[test]
    fn nothing_is_opened_by_default_and_the_socket_is_not_for_everybody() {
        let config = CompatConfig::default().chrony;
        assert_eq!((config.unix_socket(), config.udp), (None, Vec::new()));
        let text = "[compat.chrony]\nsocket = \"/run/chrony/chronyd.sock\"\n";
        let (config, _) = crate::parse(text, "ntp.toml").unwrap();
        let socket = config.compat.chrony.unix_socket().unwrap();
        assert_eq!(socket.permissions, 0o660);
    }
}
