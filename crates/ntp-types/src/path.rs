//! The path of packets through this machine: address, network device and traffic class.

use core::fmt;
use core::str::FromStr;
use std::net::{AddrParseError, IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of a network interface or of a VRF: 1 to 15 bytes, as the kernel allows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName {
    /// The name, then zeros: at least one, which ends the C string.
    bytes: [u8; Self::SIZE],
}

impl InterfaceName {
    /// Size of a name with its terminating zero (`IFNAMSIZ` of Linux).
    pub const SIZE: usize = 16;

    /// Validates a name.
    ///
    /// # Errors
    /// If it is empty, longer than 15 bytes, `.` or `..`, or contains a slash, a colon, a space or
    /// a control character.
    pub fn new(name: &str) -> Result<Self, InvalidInterfaceName> {
        let forbidden = |byte: u8| byte <= b' ' || byte == b'/' || byte == b':' || byte == 0x7f;
        if name.is_empty()
            || name.len() >= Self::SIZE
            || matches!(name, "." | "..")
            || name.bytes().any(forbidden)
        {
            return Err(InvalidInterfaceName);
        }
        let mut bytes = [0; Self::SIZE];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { bytes })
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
        core::str::from_utf8(&self.bytes[..end]).unwrap_or("")
    }

    /// Returns the name with its terminating zeros.
    pub const fn as_c_bytes(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for InterfaceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for InterfaceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(&name).map_err(de::Error::custom)
    }
}

/// The text is not a valid name of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidInterfaceName;

impl fmt::Display for InvalidInterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an interface name has 1 to 15 bytes, without slash, colon, spaces and control characters",
        )
    }
}

impl std::error::Error for InvalidInterfaceName {}

/// How packets leave this machine, and where they are received. The default leaves all of it to the
/// kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetworkPath {
    /// Our address.
    pub address: Option<IpAddr>,
    /// The network interface or the VRF.
    pub device: Option<InterfaceName>,
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: u8,
}

impl NetworkPath {
    /// Whether all of it is left to the kernel.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An address at which time is served, and the device to which its sockets are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenAddress {
    /// Address and port.
    pub socket: SocketAddr,
    /// The network interface or the VRF, if it is bound to one.
    pub device: Option<InterfaceName>,
}

impl ListenAddress {
    /// Returns the address of a socket that is bound to `device`.
    ///
    /// With a device, the scope of a link-local address is left out. The kernel reports the number
    /// of the device there, which changes when the device is made again.
    pub fn of_socket(mut socket: SocketAddr, device: Option<InterfaceName>) -> Self {
        if let (SocketAddr::V6(address), Some(_)) = (&mut socket, device) {
            address.set_scope_id(0);
        }
        Self { socket, device }
    }
}

/// No address.
impl Default for ListenAddress {
    fn default() -> Self {
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0).into()
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(socket: SocketAddr) -> Self {
        Self {
            socket,
            device: None,
        }
    }
}

/// `0.0.0.0:123`, or `0.0.0.0:123%eth0` with a device.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)?;
        self.device.map_or(Ok(()), |device| write!(f, "%{device}"))
    }
}

impl FromStr for ListenAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        // The interface of a link-local address has a percent sign, too, but a bracket follows.
        let device = text.rsplit_once('%').filter(|(_, end)| !end.contains(']'));
        let device =
            device.and_then(|(socket, name)| Some((socket, InterfaceName::new(name).ok()?)));
        let (socket, device) = device.map_or((text, None), |(socket, name)| (socket, Some(name)));
        Ok(Self {
            socket: socket.parse()?,
            device,
        })
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

crate::schema::plain! { "string": ListenAddress; }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_keep_their_device() {
        for text in [
            "0.0.0.0:123",
            "[::]:123",
            "[fe80::1%2]:123",
            "0.0.0.0:123%vrf-red",
            "[fe80::1%2]:123%eth0",
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.device.is_some(), text.contains("3%"), "{text}");
        }
        assert!("0.0.0.0:123%".parse::<ListenAddress>().is_err());
    }

    #[test]
    fn a_device_replaces_the_scope_of_a_bound_socket() {
        let socket = "[fe80::1%2]:123".parse().unwrap();
        let name = |device| ListenAddress::of_socket(socket, device).to_string();
        assert_eq!(name(InterfaceName::new("eth0").ok()), "[fe80::1]:123%eth0");
        assert_eq!(name(None), "[fe80::1%2]:123");
    }

    #[test]
    fn interface_names_are_checked() {
        assert_eq!(
            InterfaceName::new("enp0s31f6").map(|name| name.to_string()),
            Ok("enp0s31f6".into())
        );
        assert!(InterfaceName::new("fifteen-bytes-x").is_ok());
        for bad in [
            "",
            "sixteen-bytes-xx",
            ".",
            "..",
            "a/b",
            "eth 0",
            "eth0:1",
            "a\0b",
        ] {
            assert_eq!(
                InterfaceName::new(bad),
                Err(InvalidInterfaceName),
                "{bad:?}"
            );
        }
    }
}
