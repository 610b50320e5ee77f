//! Users and capabilities (capabilities(7)).
//!
//! The power of root is divided into capabilities. A clock daemon needs one, CAP_SYS_TIME; a server
//! that may have to bind its port again needs CAP_NET_BIND_SERVICE. All others are dropped, for the
//! process and whatever it might start, and with `no_new_privs` no file can restore one.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{User, fchown, initgroups, setresgid, setresuid};
use ntp_config::{ClockKind, Config};
use ntp_files::Entry;
use ntp_types::event::{Event, Restriction};
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

use super::{Strictness, not_restricted};
use crate::log;

/// The capabilities that the configuration needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// To set the clock.
    pub(super) clock: bool,
    /// To bind ports below 1024.
    pub(super) low_ports: bool,
}

impl Needs {
    pub(super) fn of(config: &Config) -> Self {
        let time = config.servers.iter().map(|server| server.listen);
        let keys = config.nts_ke_servers.iter().map(|server| server.listen);
        Self {
            // Without a source, too: one may be added later.
            clock: matches!(config.clock.kind, ClockKind::System),
            low_ports: time.chain(keys).any(|address| address.port() < 1024),
        }
    }

    fn capabilities(self) -> CapabilitySet {
        let mut kept = CapabilitySet::empty();
        kept.set(CapabilitySet::SYS_TIME, self.clock);
        kept.set(CapabilitySet::NET_BIND_SERVICE, self.low_ports);
        kept
    }
}

/// Makes permitted capabilities effective: a container gives capabilities to an unprivileged
/// program as permitted only.
pub(super) fn raise_permitted() {
    let result = capabilities(None).and_then(|held| {
        let given = CapabilitySet::SYS_TIME | CapabilitySet::NET_BIND_SERVICE;
        let effective = held.effective | (held.permitted & given);
        if effective == held.effective {
            return Ok(());
        }
        set_capabilities(None, CapabilitySets { effective, ..held })
    });
    if let Err(error) = result {
        not_restricted(Restriction::RaiseCapabilities, &error);
    }
}

/// What the user owns to which the process changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned<'a> {
    /// The state directory, with what an earlier run as root left there.
    pub(super) state: Option<&'a Path>,
    /// Listening sockets of TCP: the kernel lets only their owner bind another address beside them.
    pub(super) sockets: &'a [BorrowedFd<'a>],
}

/// Changes to `user` if running as root, and keeps only the needed capabilities. Hands the state
/// directory over to that user.
///
/// # Errors
/// If the change of user fails. If `strict`, also if there is no such user, or if a privilege
/// cannot be dropped; otherwise that is logged.
pub(super) fn drop_to(
    user: &str,
    needs: Needs,
    owned: Owned<'_>,
    strict: Strictness,
) -> io::Result<()> {
    let kept = needs.capabilities();
    // Needs a capability that is about to be dropped.
    limit_bounding_set(kept);
    let root = geteuid().is_root();
    if root && user != "root" {
        match look_up(user) {
            Ok(found) => become_user(&found, owned)?,
            Err(error) if strict == Strictness::Required => return Err(io::Error::other(error)),
            Err(error) => log::emit(&Event::UserNotChanged {
                user: user.to_owned(),
                error,
            }),
        }
    }
    strict.check(Restriction::DropCapabilities, keep_only(kept))?;
    strict.check(Restriction::NoNewPrivileges, set_no_new_privs(true))
}

fn look_up(user: &str) -> Result<User, String> {
    match User::from_name(user) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(format!(
            "there is no user {user}; create it: useradd --system {user}"
        )),
        Err(error) => Err(format!("user {user} cannot be looked up: {error}")),
    }
}

fn become_user(user: &User, owned: Owned<'_>) -> io::Result<()> {
    if let Some(directory) = owned.state {
        hand_over(directory, user);
    }
    for socket in owned.sockets {
        fchown(socket, Some(user.uid), Some(user.gid))?;
    }
    // Capabilities survive the change of user only on request, and are reduced right after it.
    set_keep_capabilities(true)?;
    let name = std::ffi::CString::new(user.name.as_str())?;
    initgroups(&name, user.gid)?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    set_keep_capabilities(false)?;
    log::emit(&Event::UserChanged {
        user: user.name.clone(),
    });
    Ok(())
}

/// Hands over what an earlier run as root left in the state directory.
fn hand_over(directory: &Path, user: &User) {
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    for path in paths.chain([directory.to_path_buf()]) {
        // The directory may belong to another user, who could put a link to any file in the place
        // of an entry at any moment.
        let given = Entry::open(&path).and_then(|entry| {
            if entry.metadata().uid() == 0 && entry.is_unshared() {
                entry.set_owner(Some(uid), Some(gid))
            } else {
                Ok(())
            }
        });
        if let Err(error) = given {
            log::emit(&Event::OwnershipFailed {
                path: path.display().to_string(),
                user: user.name.clone(),
                error: error.to_string(),
            });
        }
    }
}

fn limit_bounding_set(kept: CapabilitySet) {
    for capability in CapabilitySet::all() - kept {
        // Permitted to root only; for others there is nothing to limit. Old kernels do not know the
        // newest capabilities.
        let _ = remove_capability_from_bounding_set(capability);
    }
}

/// Keeps the needed ones of the permitted capabilities, and makes them effective.
fn keep_only(kept: CapabilitySet) -> rustix::io::Result<()> {
    let _ = clear_ambient_capability_set();
    capabilities(None).and_then(|held| {
        let kept = held.permitted & kept;
        set_capabilities(
            None,
            CapabilitySets {
                effective: kept,
                permitted: kept,
                inheritable: CapabilitySet::empty(),
            },
        )
    })
}

/// Drops all capabilities of the calling thread.
pub(super) fn drop_all() -> rustix::io::Result<()> {
    keep_only(CapabilitySet::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_ports_of_time_and_of_keys_need_their_capability() {
        let time = |port| format!("[[server]]\nlisten = \"0.0.0.0:{port}\"\n");
        let keys = |port| {
            format!(
                "[[nts-ke-server]]\nlisten = \"0.0.0.0:{port}\"\n\
                 certificate-chain-path = \"/a\"\nprivate-key-path = \"/b\"\n"
            )
        };
        for (text, needed) in [
            (time(123), true),
            (time(1123), false),
            (time(1123) + &keys(443), true),
            (time(1123) + &keys(4460), false),
        ] {
            let (config, _) = ntp_config::parse(&text, "ntp.toml").unwrap();
            assert_eq!(Needs::of(&config).low_ports, needed, "{text}");
        }
    }
}
