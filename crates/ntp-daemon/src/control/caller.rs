//! Identity and permissions of a caller.
//!
//! Every process that can open the socket may read. Changes and private data require root, the user
//! that the daemon runs as, or the configured group. The kernel provides the credentials (see
//! `ntp_udp::peer`).

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use ntp_types::event;
use ntp_udp::peer::{self, Peer};

/// A process that is connected.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    peer: Peer,
    /// Name of the program, if it is visible.
    program: Option<String>,
}

/// Who may make changes and read private data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Permissions {
    /// The configured group: name and number.
    pub(crate) group: Option<(String, u32)>,
}

impl Caller {
    pub(crate) fn from_stream(stream: &UnixStream) -> io::Result<Self> {
        let peer = peer::credentials(stream.as_fd())?;
        // For the log only: the process may have been replaced, and can choose its name.
        let program = fs::read_to_string(format!("/proc/{}/comm", peer.pid)).ok();
        let program = program.map(|name| name.trim_end().escape_debug().to_string());
        Ok(Self { peer, program })
    }

    /// Returns the caller as events name it.
    pub(super) fn to_event(&self) -> event::Caller {
        event::Caller {
            uid: self.peer.uid,
            pid: self.peer.pid,
            program: self.program.clone(),
        }
    }

    pub(crate) fn user(&self) -> u32 {
        self.peer.uid
    }
}

impl Permissions {
    pub(crate) fn includes(&self, caller: &Caller) -> bool {
        let Peer { uid, groups, .. } = &caller.peer;
        let in_group = |(_, number): &(String, u32)| groups.contains(number);
        *uid == 0 || *uid == peer::own_user() || self.group.as_ref().is_some_and(in_group)
    }
}

/// For example `uid 1000 (process 4711, ntp-ctl)`.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_event().fmt(f)
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (peer::own_user(), &self.group) {
            (0, None) => f.write_str("only root"),
            (own, None) => write!(f, "only root and uid {own}"),
            (0, Some((name, number))) => write!(f, "only root and group {name} ({number})"),
            (own, Some((name, number))) => {
                write!(f, "only root, uid {own} and group {name} ({number})")
            }
        }?;
        if self.group.is_none() {
            f.write_str(" (no `group` is set in [control])")?;
        }
        Ok(())
    }
}
