//! Numbers of users and groups, by name or number.

use ntp_udp::peer;

use crate::DeviceError;

/// Returns the number of a user.
pub(crate) fn user(name: &str) -> Result<u32, DeviceError> {
    number("user", name, peer::user)
}

/// Returns the number of a group.
pub(crate) fn group(name: &str) -> Result<u32, DeviceError> {
    number("group", name, peer::group)
}

fn number(
    kind: &'static str,
    name: &str,
    look_up: impl FnOnce(&str) -> std::io::Result<Option<u32>>,
) -> Result<u32, DeviceError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found =
        look_up(name).map_err(DeviceError::during(format!("looking up {kind} {name:?}")))?;
    found.ok_or_else(|| DeviceError::UnknownAccount {
        kind,
        name: name.to_owned(),
    })
}
