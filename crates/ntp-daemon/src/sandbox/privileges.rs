//! Users and capabilities (capabilities(7)).
//!
//! The power of root is divided into capabilities. A clock daemon needs one, CAP_SYS_TIME; a server
//! that may have to bind its port again needs CAP_NET_BIND_SERVICE. All others are dropped, for the
//! process and whatever it might start, and with `no_new_privs` no file can restore one.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use nix::unistd::{User, initgroups, setresgid, setresuid};
use ntp_types::event::{Event, Restriction};
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

use super::not_restricted;
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

/// Changes to `user` if running as root, and keeps only the needed capabilities. Hands the state
/// directory over to that user.
///
/// # Errors
/// If the user exists but the change fails.
pub(super) fn drop_to(user: &str, needs: Needs, state: Option<&Path>) -> io::Result<()> {
    let kept = needs.capabilities();
    // Needs a capability that is about to be dropped.
    limit_bounding_set(kept);
    let root = geteuid().is_root();
    if root && user != "root" {
        match User::from_name(user) {
            Ok(Some(found)) => become_user(&found, state)?,
            Ok(None) => log::emit(&Event::UserNotChanged {
                user: user.to_owned(),
                error: format!("there is no user {user}; create it: useradd --system {user}"),
            }),
            Err(error) => log::emit(&Event::UserNotChanged {
                user: user.to_owned(),
                error: format!("user {user} cannot be looked up: {error}"),
            }),
        }
    }
    keep_only(kept);
    if let Err(error) = set_no_new_privs(true) {
        not_restricted(Restriction::NoNewPrivileges, &error);
    }
    Ok(())
}

fn become_user(user: &User, state: Option<&Path>) -> io::Result<()> {
    if let Some(directory) = state {
        hand_over(directory, user);
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
        // Links are not followed: another user may have created one.
        let of_root =
            fs::symlink_metadata(&path).is_ok_and(|data| data.uid() == 0 && !data.is_symlink());
        if of_root && let Err(error) = chown(&path, Some(uid), Some(gid)) {
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
fn keep_only(kept: CapabilitySet) {
    let _ = clear_ambient_capability_set();
    let result = capabilities(None).and_then(|held| {
        let kept = held.permitted & kept;
        set_capabilities(
            None,
            CapabilitySets {
                effective: kept,
                permitted: kept,
                inheritable: CapabilitySet::empty(),
            },
        )
    });
    if let Err(error) = result {
        not_restricted(Restriction::DropCapabilities, &error);
    }
}

/// Drops all capabilities of the calling thread.
pub(super) fn drop_all() {
    keep_only(CapabilitySet::empty());
}
