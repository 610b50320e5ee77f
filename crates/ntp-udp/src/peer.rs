//! Credentials of the peer of a Unix socket, as the kernel knows them.
//!
//! The credentials are those with which the peer connected; it cannot change or forge them. Groups
//! come from the kernel as well (`SO_PEERGROUPS`, Linux 4.13), because looking them up by the
//! peer's process would race with its end.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::unistd::{Group, User};

use crate::syscall;

/// A connected process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process ID; the process may have ended since.
    pub pid: i32,
    /// User ID.
    pub uid: u32,
    /// Group IDs, the primary one first.
    pub groups: Vec<u32>,
}

/// Maximum number of groups of a process; the kernel permits 65 536, typical is a dozen.
const MAX_GROUPS: usize = 65_536;

/// Returns the credentials of the peer of `socket`.
///
/// # Errors
/// Those of `getsockopt(2)`; a kernel without `SO_PEERGROUPS` is not an error, only the primary
/// group is known then.
pub fn credentials(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    // `struct ucred`: three 32-bit numbers.
    let mut credentials = [0; 3];
    let (result, count) = numbers(socket, libc::SO_PEERCRED, &mut credentials);
    result?;
    if count != credentials.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let [pid, uid, group] = credentials;
    let mut groups = vec![group];
    groups.extend(supplementary_groups(socket));
    Ok(Peer {
        pid: pid.cast_signed(),
        uid,
        groups,
    })
}

fn supplementary_groups(socket: BorrowedFd<'_>) -> Vec<u32> {
    let mut groups = vec![0; 64];
    loop {
        let (result, count) = numbers(socket, libc::SO_PEERGROUPS, &mut groups);
        let Err(error) = result else {
            groups.truncate(count);
            return groups;
        };
        let short = error.raw_os_error() == Some(libc::ERANGE);
        if !short || count <= groups.len() || count > MAX_GROUPS {
            return Vec::new();
        }
        groups.resize(count, 0);
    }
}

/// Reads a socket option that consists of 32-bit numbers. Returns their number too, also if they
/// are more than the buffer holds.
fn numbers(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    buffer: &mut [u32],
) -> (io::Result<()>, usize) {
    let mut length = size_of_val(buffer) as libc::socklen_t;
    // SAFETY: the buffer is as long as `length` says, the kernel writes no more than that, and any
    // bits are valid numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let result = syscall::check(result).map(|_| ());
    (result, length as usize / size_of::<u32>())
}

/// Returns the user ID of this process.
pub fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Returns the ID of the group `name`; `None` if there is no such group. Queries the machine's name
/// services, and may block.
///
/// # Errors
/// Those of `getgrnam_r(3)`.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let group = Group::from_name(name)?;
    Ok(group.map(|group| group.gid.as_raw()))
}

/// Returns the ID of the user `name`; `None` if there is no such user. Queries the machine's name
/// services, and may block.
///
/// # Errors
/// Those of `getpwnam_r(3)`.
pub fn user(name: &str) -> io::Result<Option<u32>> {
    let user = User::from_name(name)?;
    Ok(user.map(|user| user.uid.as_raw()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_of_a_socket_pair_is_this_process() {
        let (near, _far) = UnixStream::pair().unwrap();
        let peer = credentials(near.as_fd()).unwrap();
        assert_eq!(peer.uid, own_user());
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        assert!(!peer.groups.is_empty());
    }

    #[test]
    fn names_of_users_and_groups_resolve_to_ids() {
        assert_eq!(user("root").unwrap(), Some(0));
        assert_eq!(user("there-is-no-such-user").unwrap(), None);
        assert_eq!(group("root").unwrap(), Some(0));
        assert_eq!(group("there-is-no-such-group").unwrap(), None);
        assert_eq!(group("a\0b").unwrap(), None);
    }
}
