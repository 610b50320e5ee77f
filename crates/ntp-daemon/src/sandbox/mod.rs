//! What the daemon gives up once it has what it needs, so that a flaw in it is worth little.
//!
//! # In which order
//! 1. As whoever it was started, it binds its ports, opens its clock and makes its sockets.
//! 2. `privileges`: started by root it becomes its user, and of root's powers keeps the setting of the clock (and, where
//!    servers listen below port 1024, the binding of such ports). No program can be given more from now on.
//! 3. `files`: landlock leaves the directories that the configuration names, and what looking up names needs.
//! 4. `calls`: seccomp leaves the system calls that the daemon makes.
//! 5. Only then are threads started. Each narrows itself further by its [`Profile`] as the first thing that it does: only
//!    the timekeeping thread can set the clock; a thread that answers strangers can receive, send and wait, and cannot even open a socket.
//!
//! # What it is worth
//! Threads share memory, so a thread that runs an attacker's code can write into the others. That Rust has to prevent;
//! this is the second line: against a process taken over it stands that no program can be started, no file outside its own directories be read or
//! written, and no kernel interface be reached that the daemon has no business with.
//!
//! # What happens to a call that is refused
//! Harmless ones fail with `EPERM`, because a library may try them and live with the answer. What nobody makes by accident
//! (to start a program, to look into another process, for a server's thread to connect or to set the clock) ends the process by
//! SIGSYS, and the kernel's log names the call. Loud is right here: a process taken over should not go on.
//!
//! A kernel or a container that lacks one of these means is told once and done without.

mod calls;
mod files;
mod privileges;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ntp_config::{ClockKind, Loaded, SandboxMode};
use tracing::{debug, info, warn};

pub use calls::Profile;
pub use files::Reach;

/// What the process was confined to, for threads that start later and for reloads; unset if it never was.
static CONFINEMENT: OnceLock<Confinement> = OnceLock::new();

#[derive(Debug)]
struct Confinement {
    calls: Option<calls::Filters>,
    reach: Option<Reach>,
}

/// Takes up the capabilities that the process was given and that are not in effect yet. Before anything is opened.
pub fn take_up_capabilities() {
    privileges::take_up();
}

/// Confines the process. Call it when everything that needs privilege is open, and before the first thread starts.
///
/// # Errors
/// If the process was started by root and cannot become the configured user: running on as root in silence would be worse.
pub fn enter(loaded: &Loaded, mode: SandboxMode) -> io::Result<()> {
    let config = &loaded.config;
    if let Some(directory) = &config.state.directory {
        // Later it could not be made any more.
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        if let Err(error) = made {
            warn!(
                "cannot make {}: {error} (see [state] directory)",
                directory.display()
            );
        }
    }
    privileges::drop_to(
        &config.sandbox.user,
        privileges::Needs {
            clock: matches!(config.clock.kind, ClockKind::System) && !config.sources.is_empty(),
            low_ports: config
                .servers
                .iter()
                .any(|server| server.listen.port() < 1024),
        },
        config.state.directory.as_deref(),
    )?;
    if mode == SandboxMode::Off {
        info!("files and system calls are not restricted (sandbox mode `off`)");
        return Ok(());
    }
    let reach = (mode == SandboxMode::Enforce).then(|| Reach::of(loaded));
    let reach = reach.filter(|reach| match reach.restrict() {
        Ok(files::Strength::Full) => true,
        Ok(files::Strength::None) => {
            warn!("this kernel has no landlock: files are protected by their permissions only");
            false
        }
        Err(error) => {
            warn!("access to files cannot be restricted: {error}");
            false
        }
    });
    let calls = match calls::Filters::new(mode) {
        Ok(filters) => match filters.apply(Profile::Timekeeping) {
            Ok(()) => Some(filters),
            Err(error) => {
                warn!("system calls cannot be restricted: {error}");
                None
            }
        },
        Err(error) => {
            warn!("system calls are not restricted on this processor: {error}");
            None
        }
    };
    debug!(
        "sandbox: files {}, system calls {}",
        if reach.is_some() {
            "restricted"
        } else {
            "not restricted"
        },
        if calls.is_some() {
            "restricted"
        } else {
            "not restricted"
        },
    );
    // A process is confined once; a second call finds the first one's filters in force already.
    let _ = CONFINEMENT.set(Confinement { calls, reach });
    Ok(())
}

/// Narrows the calling thread to what its kind needs. The first thing that every thread does; without effect in a
/// process that was never confined, such as a test.
pub fn confine_thread(profile: Profile) {
    let Some(confinement) = CONFINEMENT.get() else {
        return;
    };
    privileges::drop_all();
    if let Some(filters) = &confinement.calls
        && let Err(error) = filters.apply(profile)
    {
        warn!("the system calls of a thread cannot be restricted: {error}");
    }
}

/// Which of `paths` the running process can't reach any more, so that a configuration which names them needs a restart.
pub fn out_of_reach<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
    let Some(reach) = CONFINEMENT
        .get()
        .and_then(|confinement| confinement.reach.as_ref())
    else {
        return Vec::new();
    };
    let lost = paths.into_iter().filter(|path| !reach.covers(path));
    lost.map(Path::to_path_buf).collect()
}
