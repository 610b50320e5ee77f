//! Drops all privileges that are not needed after start-up, to limit the damage of a vulnerability.
//!
//! # Order
//! 1. With its initial privileges the daemon binds its ports, opens its clock and creates its
//!    sockets.
//! 2. `privileges`: if started by root, it changes to its user and of all capabilities keeps that
//!    of setting the clock (and, where servers listen below port 1024, of binding such ports).
//!    Executing a program can add none from now on.
//! 3. `files`: landlock leaves the directories that the configuration names, and what name
//!    resolution needs.
//! 4. `calls`, `arguments`: seccomp leaves the system calls that the daemon makes.
//! 5. Only then are threads started. Each first restricts itself further to its [`Profile`]: only
//!    the timekeeping thread can set the clock; a thread that serves clients can receive, send and
//!    wait, and cannot even open a socket.
//!
//! # Threat model
//! Threads share memory, so a thread that runs an attacker's code can write into the others. Rust
//! has to prevent that; this is the second line of defence. A process that was taken over cannot
//! start a program, cannot read or write files outside its own directories, and cannot use kernel
//! interfaces that the daemon does not need.
//!
//! # Refused calls
//! Harmless calls fail with `EPERM`, because a library may try them and handle the error; each is
//! logged once ([`log_refusals`]). Calls that are never made by accident (to start a program, to
//! look into another process, for a serving thread to connect or to set the clock) end the process
//! by SIGSYS, and the kernel's log names the call: a process that was taken over must not continue.
//!
//! # What cannot be dropped
//! If a privilege cannot be dropped or a restriction fails, the daemon does not start, and a thread
//! that cannot be confined does not run: continuing silently with more power than documented would
//! be worse. `mode = "warn"` or `"off"` in `[sandbox]`, or the option `--sandbox`, start it
//! nevertheless, with a warning. Only mechanisms that the kernel, the container or the processor
//! does not have at all are logged and left out.

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod arguments;
// Filters are programs for one processor's calls; the library makes them for these.
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )),
    path = "no_calls.rs"
)]
mod calls;
mod files;
mod privileges;
mod profile;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

use ntp_config::{Config, Loaded, SandboxMode};
use ntp_types::event::{Event, Restriction};
use ntp_udp::allocator;
use ntp_udp::refusals::{self, Refusal};

use crate::log;

pub use files::AllowedPaths;
pub use profile::Profile;

/// The restrictions in force, for threads that start later and for reloads; unset if there are
/// none.
static CONFINEMENT: OnceLock<Confinement> = OnceLock::new();

/// What to do if a restriction fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    /// The daemon does not start without it.
    Required,
    /// It is logged.
    Optional,
}

impl Strictness {
    fn of(mode: SandboxMode) -> Self {
        match mode {
            SandboxMode::Enforce => Self::Required,
            SandboxMode::Warn | SandboxMode::Off => Self::Optional,
        }
    }

    /// Returns the error of a restriction that is required, and logs any other.
    fn check<E: std::fmt::Display>(
        self,
        restriction: Restriction,
        result: Result<(), E>,
    ) -> io::Result<()> {
        match result {
            Err(error) if self == Self::Required => {
                Err(io::Error::other(format!("{restriction}: {error}")))
            }
            Err(error) => {
                not_restricted(restriction, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Confinement {
    strict: Strictness,
    calls: Option<calls::Filters>,
    allowed: Option<AllowedPaths>,
}

/// Makes the capabilities effective that the process was given. Call it before anything is opened.
pub fn raise_permitted_capabilities() {
    privileges::raise_permitted();
}

/// Confines the process. Call it when everything that needs privilege is open, and before the first
/// thread starts. The user that the process changes to becomes the owner of `sockets`.
///
/// # Errors
/// If the process was started by root and cannot change to the configured user. In the mode
/// `Enforce`, also if there is no such user, or if any other restriction fails.
pub fn enter(loaded: &Loaded, mode: SandboxMode, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    allocator::share_one_heap();
    let config = &loaded.config;
    let strict = Strictness::of(mode);
    if let Some(directory) = &config.state.directory {
        create_state_directory(directory);
    }
    privileges::drop_to(
        &config.sandbox.user,
        privileges::Needs::of(config),
        privileges::Owned {
            state: config.state.directory.as_deref(),
            sockets,
        },
        strict,
    )?;
    if mode == SandboxMode::Off {
        log::emit(&Event::SandboxOff {});
        return Ok(());
    }
    let enforce = mode == SandboxMode::Enforce;
    let allowed = if enforce {
        restrict_files(loaded)?
    } else {
        None
    };
    if enforce && refusals::CAN_BE_CAUGHT {
        // Without a handler, a refused call would end the process.
        refusals::catch()?;
    }
    let calls = restrict_calls(mode)?;
    log::emit(&Event::SandboxEntered {
        files: allowed.is_some(),
        system_calls: calls.is_some(),
    });
    // A process is confined once; a second call finds the first one's filters in force already.
    let _ = CONFINEMENT.set(Confinement {
        strict,
        calls,
        allowed,
    });
    Ok(())
}

/// Creates the state directory, which would not be possible later.
fn create_state_directory(directory: &Path) {
    let created = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    if let Err(error) = created {
        log::emit(&Event::StateDirectoryFailed {
            path: directory.display().to_string(),
            error: error.to_string(),
        });
    }
}

/// Restricts access to files. Returns the accessible directories, or `None` if the kernel does not
/// have such restrictions.
fn restrict_files(loaded: &Loaded) -> io::Result<Option<AllowedPaths>> {
    let allowed = AllowedPaths::for_config(loaded);
    let restricted = allowed.restrict().map_err(|error| {
        let restriction = Restriction::Files;
        io::Error::other(format!("{restriction}: {error}"))
    })?;
    match restricted {
        files::Enforcement::Full => Ok(Some(allowed)),
        files::Enforcement::None => {
            not_restricted(Restriction::Files, &"this kernel has no landlock");
            Ok(None)
        }
    }
}

/// Restricts the system calls of the timekeeping thread. Returns the filters for the other threads,
/// or `None` if the kernel or this processor does not have such filters.
fn restrict_calls(mode: SandboxMode) -> io::Result<Option<calls::Filters>> {
    let missing = |error: &dyn std::fmt::Display| {
        not_restricted(Restriction::SystemCalls, error);
        Ok(None)
    };
    let filters = match calls::Filters::new(mode) {
        Ok(filters) => filters,
        Err(error) => return missing(&error),
    };
    match filters.apply(Profile::Timekeeping) {
        Ok(()) => Ok(Some(filters)),
        Err(error) if calls::are_missing(&error) => missing(&error),
        failed @ Err(_) => {
            Strictness::of(mode).check(Restriction::SystemCalls, failed)?;
            Ok(None)
        }
    }
}

/// Returns whether the calling thread is the only one of the process, as [`enter`] requires: others
/// would keep the privileges. Returns true if that cannot be determined.
pub fn is_single_threaded() -> bool {
    fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}

/// Starts a thread that is restricted to `profile`.
///
/// # Errors
/// If no more threads can be started.
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

/// Restricts the calling thread to its profile. Every thread does this first. Has no effect in a
/// process that was never confined, such as a test.
///
/// # Panics
/// If the thread cannot be confined although that is required: it ends, and whoever waits for it
/// takes it for failed.
pub fn confine_thread(profile: Profile) {
    let Some(confinement) = CONFINEMENT.get() else {
        return;
    };
    let strict = confinement.strict;
    let dropped = strict.check(Restriction::DropCapabilities, privileges::drop_all());
    let filters = confinement.calls.as_ref();
    let filtered = filters.map_or(Ok(()), |filters| filters.apply(profile));
    let restricted = dropped.and(strict.check(Restriction::Thread, filtered));
    if let Err(error) = restricted {
        not_restricted(Restriction::Thread, &error);
        std::panic::resume_unwind(Box::new("the thread is not confined"));
    }
}

/// Logs that a restriction could not be put into force.
fn not_restricted(restriction: Restriction, error: &dyn std::fmt::Display) {
    log::emit(&Event::RestrictionFailed {
        restriction,
        error: error.to_string(),
    });
}

/// Logs which system calls were refused, each once for each kind of thread. Call it from time to
/// time.
pub fn log_refusals() {
    for refusal in refusals::take() {
        log::emit(&refusal_event(refusal));
    }
}

fn refusal_event(refusal: Refusal) -> Event {
    let call = match refusal.call {
        // Of another calling convention.
        None => "unknown".to_owned(),
        Some(number) => calls::name(number),
    };
    let thread = Profile::labelled(refusal.kind).map_or("unconfined", Profile::name);
    Event::SystemCallRefused {
        call,
        thread: thread.to_owned(),
    }
}

/// Returns the files of `config` that the running process cannot access, so that they need a
/// restart, each with its key.
pub fn unreachable_paths(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let Some(allowed) = allowed() else {
        return Vec::new();
    };
    let read = (config.paths_read()).filter(|(_, path)| !allowed.covers(path));
    let written = (config.paths_written()).filter(|(_, path)| !allowed.covers_writing(path));
    read.chain(written)
        .map(|(key, path)| (key, path.to_path_buf()))
        .collect()
}

/// Returns whether the sandbox lets the running process read a file at `path`.
pub fn can_read(path: &Path) -> bool {
    allowed().is_none_or(|allowed| allowed.covers(path))
}

fn allowed() -> Option<&'static AllowedPaths> {
    CONFINEMENT.get()?.allowed.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_call_and_the_thread() {
        let refusal = Refusal {
            kind: Profile::Names.label(),
            call: usize::try_from(libc::SYS_ptrace).ok(),
        };
        let event = |call: &str, thread: &str| Event::SystemCallRefused {
            call: call.to_owned(),
            thread: thread.to_owned(),
        };
        assert_eq!(refusal_event(refusal), event("ptrace", "name-resolution"));
        let unknown = Refusal {
            kind: 0,
            call: None,
        };
        assert_eq!(refusal_event(unknown), event("unknown", "unconfined"));
    }
}
