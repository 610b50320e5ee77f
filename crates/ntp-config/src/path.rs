//! `bind-address`, `bind-device` and `dscp`: the path of packets through this machine.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use ntp_types::path::{InterfaceName, NetworkPath};

use crate::diagnostic::{Diagnostic, quote};
use crate::entry::Entry;
use crate::reader::{Context, Section, Value};
use crate::schema::{Table as _, section};
use crate::value;

section! {
    pub(crate) struct SourcePath = "source" ["server", "pool", "nts", "nts-pool"] {
        address: Option<IpAddr> = value::ip_address => optional,
            "bind-address" "IP address" "none" "Address of this machine from which the requests and the connections of the key exchange are sent. Servers of the other family are not used.";
        device: Option<InterfaceName> = interface => optional,
            "bind-device" "string" "`interface` in `[clock]`" "Network interface or VRF through which the requests and the connections of the key exchange are sent. Part of the name of the source, `ADDRESS%DEVICE`, because the same address may be another server there. Names are looked up as usual: the resolver of the system does not use it. Needs Linux 5.7, or CAP_NET_RAW. While it does not exist, the source is unreachable.";
        dscp: u8 = dscp => or(0),
            "dscp" "integer" "0" "Differentiated services code point of requests and of connections of the key exchange, 0 to 63 (RFC 2474).";
    }
}

/// Reads the keys of a source.
pub(crate) fn read_source(cx: &mut Context, section: &mut Section<'_>) -> Option<NetworkPath> {
    let SourcePath {
        address,
        device,
        dscp,
    } = SourcePath::read_keys(cx, section)?;
    Some(NetworkPath {
        address,
        device,
        dscp,
    })
}

/// The name of a network interface or VRF.
pub(crate) fn interface(cx: &mut Context, value: &Value<'_>) -> Option<InterfaceName> {
    let name = value::text(cx, value)?;
    match InterfaceName::new(name) {
        Ok(name) => Some(name),
        Err(error) => {
            let message = format!("invalid value: interface name {}", quote(name, '"'));
            value.reject_with(cx, message, error.to_string())
        }
    }
}

/// Refuses a scope in `listen` beside `bind-device`: the kernel would bind the socket to the number
/// of the scope in place of the device.
pub(crate) fn check_scope(
    cx: &mut Context,
    entries: &[Entry],
    listen: SocketAddr,
    device: Option<InterfaceName>,
) {
    let SocketAddr::V6(address) = listen else {
        return;
    };
    let entry = entries.iter().find(|entry| entry.key == "listen");
    if let (Some(_), Some(entry), scope @ 1..) = (device, entry, address.scope_id()) {
        let message = format!("scope `%{scope}` of `listen` beside `bind-device`");
        let without = SocketAddrV6::new(*address.ip(), address.port(), 0, 0);
        cx.report(
            Diagnostic::error(entry.place.clone(), message).with_help(format!(
                "write `\"{without}\"`: the device is the scope of the address"
            )),
        );
    }
}

/// A code point.
pub(crate) fn dscp(cx: &mut Context, value: &Value<'_>) -> Option<u8> {
    let number = value::within(cx, value, 0..=63)?;
    u8::try_from(number).ok()
}
