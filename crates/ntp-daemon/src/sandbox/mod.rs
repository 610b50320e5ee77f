//! What the daemon gives up once it has what it needs, so that a flaw in it is worth little.
//!
//! # In which order
//! 1. As whoever it was started, it binds its ports, opens its clock and makes its sockets.
//! 2. `privileges`: started by root it becomes its user, and of root's powers keeps the setting of the clock (and, where
//!    servers listen below port 1024, the binding of such ports). No program can be given more from now on.
//! 3. `files`: landlock leaves the directories that the configuration names, and what looking up names needs.
//! 4. `calls`, `arguments`: seccomp leaves the system calls that the daemon makes.
//! 5. Only then are threads started. Each narrows itself further by its [`Profile`] as the first thing that it does: only
//!    the timekeeping thread can set the clock; a thread that answers strangers can receive, send and wait, and cannot even open a socket.
//!
//! # What it is worth
//! Threads share memory, so a thread that runs an attacker's code can write into the others. That Rust has to prevent;
//! this is the second line: against a process taken over it stands that no program can be started, no file outside its own directories be read or
//! written, and no kernel interface be reached that the daemon has no business with.
//!
//! # What happens to a call that is refused
//! Harmless ones fail with `EPERM`, because a library may try them and live with the answer; each is told once in the daemon's log
//! ([`tell_refusals`]). What nobody makes by accident
//! (to start a program, to look into another process, for a server's thread to connect or to set the clock) ends the process by
//! SIGSYS, and the kernel's log names the call. Loud is right here: a process taken over should not go on.
//!
//! A kernel or a container that lacks one of these means is told once and done without.

mod arguments;
mod calls;
mod files;
mod privileges;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

use ntp_config::{ClockKind, Config, Loaded, SandboxMode};
use ntp_udp::refusals::{self, Refusal};
use syscalls::Sysno;
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
            // Without a source too: one may be added later.
            clock: matches!(config.clock.kind, ClockKind::System),
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
    if mode == SandboxMode::Enforce
        && refusals::CAN_BE_CAUGHT
        && let Err(error) = refusals::catch()
    {
        // Without a handler, a refused call would end the process.
        return Err(error);
    }
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

/// Whether the calling thread is the process's only one, as it has to be for [`enter`]: others would keep what is given up here. True
/// where it cannot be known.
pub fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}

/// Starts a thread that does its work with no more than `profile` permits.
///
/// # Errors
/// If there can be no more threads.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    profile: Profile,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let confined = move || {
        confine_thread(profile);
        work()
    };
    thread::Builder::new().name(name.into()).spawn(confined)
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

/// Says which system calls were refused, each once for each kind of thread. To be called now and then.
pub fn tell_refusals() {
    for refusal in refusals::take() {
        warn!(
            "the sandbox refused {}; the thread goes on without. Unless the daemon is under attack this is \
             a mistake in it that is worth reporting; `--sandbox warn` permits everything",
            shown(refusal)
        );
    }
}

fn shown(refusal: Refusal) -> String {
    let call = match refusal.call {
        None => "a system call of another convention".to_owned(),
        Some(number) => match Sysno::new(number) {
            Some(known) => format!("the system call {known} ({number})"),
            None => format!("the system call {number}"),
        },
    };
    let thread = Profile::labelled(refusal.kind).map_or("an unconfined", Profile::name);
    format!("{call} to {thread} thread")
}

/// Which of the files that `config` names the running process can't reach any more, so that these need a restart: the key, and the file.
pub fn out_of_reach(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let Some(reach) = reach() else {
        return Vec::new();
    };
    let read = (config.paths_read()).filter(|(_, path)| !reach.covers(path));
    let written = (config.paths_written()).filter(|(_, path)| !reach.covers_writing(path));
    read.chain(written)
        .map(|(key, path)| (key, path.to_path_buf()))
        .collect()
}

/// Whether the running process can read a file at `path`, as far as the sandbox is concerned.
pub fn can_read(path: &Path) -> bool {
    reach().is_none_or(|reach| reach.covers(path))
}

fn reach() -> Option<&'static Reach> {
    CONFINEMENT.get()?.reach.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_name() {
        let refusal = Refusal {
            kind: Profile::Names.label(),
            call: usize::try_from(libc::SYS_ptrace).ok(),
        };
        let number = libc::SYS_ptrace;
        assert_eq!(
            shown(refusal),
            format!("the system call ptrace ({number}) to a name resolution thread")
        );
        let unknown = Refusal {
            kind: 0,
            call: None,
        };
        assert_eq!(
            shown(unknown),
            "a system call of another convention to an unconfined thread"
        );
    }
}
