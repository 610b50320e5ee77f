//! Socket options.

use core::fmt;

/// Which component timestamps packets, as in the configuration (`[clock] timestamp-mode`). What the
/// system does not support is replaced by the next lower mode and reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampMode {
    /// The daemon, by reading the clock around its system calls.
    Software,
    /// The kernel for received packets; the daemon for sent ones.
    KernelReceive,
    /// The kernel, in both directions.
    #[default]
    KernelAll,
    /// The network interface, in both directions, and the kernel for packets without an interface
    /// timestamp.
    ///
    /// Such timestamps are readings of the interface's own clock. They are only useful while that
    /// clock is kept at system time and its timestamping has been enabled (both by other means),
    /// and a hardware timestamp must not be compared with a kernel timestamp.
    Hardware,
}

impl TimestampMode {
    /// Returns whether sent packets are timestamped by something other than the daemon.
    pub const fn wants_transmit(self) -> bool {
        matches!(self, Self::KernelAll | Self::Hardware)
    }
}

/// The name of a network interface: 1 to 15 bytes, as the kernel allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceName {
    /// The name, then zeros: at least one, which ends the C string.
    bytes: [u8; libc::IFNAMSIZ],
}

impl InterfaceName {
    /// Validates a name.
    ///
    /// # Errors
    /// If it is empty, longer than 15 bytes, `.` or `..`, or contains a slash, a colon, a space or
    /// a control character.
    pub fn new(name: &str) -> Result<Self, InvalidInterfaceName> {
        let forbidden = |byte: u8| byte <= b' ' || byte == b'/' || byte == b':' || byte == 0x7f;
        if name.is_empty()
            || name.len() >= libc::IFNAMSIZ
            || matches!(name, "." | "..")
            || name.bytes().any(forbidden)
        {
            return Err(InvalidInterfaceName);
        }
        let mut bytes = [0; libc::IFNAMSIZ];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { bytes })
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(0);
        core::str::from_utf8(&self.bytes[..end]).unwrap_or("")
    }

    /// Returns the name with its terminating zeros.
    pub(crate) const fn as_c_bytes(&self) -> &[u8] {
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

/// The text is not a valid name of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an interface name has 1 to 15 bytes, without slash, colon, spaces and control characters")]
pub struct InvalidInterfaceName;

/// Options of a client socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    /// Send and receive through this interface only.
    pub interface: Option<InterfaceName>,
    /// Which component timestamps packets.
    pub timestamps: TimestampMode,
}

#[cfg(test)]
mod tests {
    use super::*;

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
