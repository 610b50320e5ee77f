//! Restricts the system calls of a thread (seccomp(2)).
//!
//! Calls are listed in groups, and a profile is a list of groups. Two filters apply at the same
//! time: one ends the process for calls that no legitimate thread of that kind makes, the other
//! refuses whatever is not listed. Filters are inherited and can only become narrower, so the
//! profile of the timekeeping thread contains all others. Some permitted calls are restricted in
//! their arguments (`arguments`).
//!
//! A refused call is caught as a signal, so that it can be reported (`ntp_udp::refusals`). Filters
//! cost the hot path nothing: the kernel caches which calls are permitted with any arguments.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::{
    SYS_accept, SYS_accept4, SYS_adjtimex, SYS_bind, SYS_bpf, SYS_brk, SYS_capget, SYS_capset,
    SYS_clock_adjtime, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_clock_settime,
    SYS_clone, SYS_clone3, SYS_close, SYS_connect, SYS_delete_module, SYS_dup, SYS_dup3,
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_execve,
    SYS_execveat, SYS_exit, SYS_exit_group, SYS_faccessat, SYS_faccessat2, SYS_fchmod,
    SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync, SYS_finit_module, SYS_flock,
    SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_getcpu, SYS_getcwd,
    SYS_getdents64, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getgroups, SYS_getpeername,
    SYS_getpid, SYS_getppid, SYS_getrandom, SYS_getresgid, SYS_getresuid, SYS_getrusage,
    SYS_getsockname, SYS_getsockopt, SYS_gettid, SYS_gettimeofday, SYS_getuid, SYS_init_module,
    SYS_inotify_add_watch, SYS_inotify_init1, SYS_inotify_rm_watch, SYS_io_uring_setup, SYS_ioctl,
    SYS_kexec_load, SYS_landlock_add_rule, SYS_landlock_create_ruleset, SYS_landlock_restrict_self,
    SYS_listen, SYS_lseek, SYS_madvise, SYS_membarrier, SYS_mkdirat, SYS_mlockall, SYS_mmap,
    SYS_mount, SYS_mprotect, SYS_mremap, SYS_munmap, SYS_name_to_handle_at, SYS_nanosleep,
    SYS_newfstatat, SYS_open_by_handle_at, SYS_openat, SYS_perf_event_open, SYS_pipe2,
    SYS_pivot_root, SYS_ppoll, SYS_prctl, SYS_pread64, SYS_prlimit64, SYS_process_vm_readv,
    SYS_process_vm_writev, SYS_pselect6, SYS_ptrace, SYS_pwrite64, SYS_read, SYS_readlinkat,
    SYS_readv, SYS_reboot, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg, SYS_renameat2,
    SYS_restart_syscall, SYS_rseq, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn,
    SYS_sched_getaffinity, SYS_sched_yield, SYS_seccomp, SYS_sendmmsg, SYS_sendmsg, SYS_sendto,
    SYS_set_robust_list, SYS_setitimer, SYS_setns, SYS_setsockopt, SYS_settimeofday, SYS_shmat,
    SYS_shmctl, SYS_shmdt, SYS_shmget, SYS_shutdown, SYS_sigaltstack, SYS_signalfd4, SYS_socket,
    SYS_socketpair, SYS_statfs, SYS_statx, SYS_sysinfo, SYS_tgkill, SYS_timerfd_create,
    SYS_timerfd_settime, SYS_times, SYS_umask, SYS_umount2, SYS_uname, SYS_unlinkat, SYS_unshare,
    SYS_userfaultfd, SYS_utimensat, SYS_write, SYS_writev,
};
use ntp_config::SandboxMode;
use ntp_udp::refusals;
use seccompiler::{BackendError, BpfProgram, Error, SeccompAction, SeccompFilter, TargetArch};
use syscalls::Sysno;

use super::arguments;
use super::profile::Profile;

/// Memory, time, waiting and thread exit: what every thread needs.
const LIFE: &[i64] = &[
    SYS_brk,
    SYS_clock_getres,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_exit,
    SYS_exit_group,
    SYS_futex,
    SYS_getcpu,
    SYS_getpid,
    SYS_getrandom,
    SYS_gettid,
    SYS_gettimeofday,
    SYS_madvise,
    SYS_membarrier,
    SYS_mmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_munmap,
    SYS_nanosleep,
    SYS_restart_syscall,
    SYS_rseq,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_set_robust_list,
    // The signal handler sets an alarm, in whichever thread it runs.
    SYS_setitimer,
    SYS_sigaltstack,
    SYS_tgkill,
    // Abort on a panic within a panic restores the default action.
    SYS_rt_sigaction,
];
/// Operations on open descriptors; the log is one.
const DESCRIPTORS: &[i64] = &[
    SYS_close,
    SYS_fcntl,
    SYS_fstat,
    SYS_lseek,
    SYS_ppoll,
    SYS_pread64,
    SYS_pwrite64,
    SYS_read,
    SYS_readv,
    SYS_write,
    SYS_writev,
];
/// Packets through open sockets.
const PACKETS: &[i64] = &[
    SYS_getsockname,
    SYS_getsockopt,
    SYS_recvfrom,
    SYS_recvmmsg,
    SYS_recvmsg,
    SYS_sendmmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_setsockopt,
    SYS_shutdown,
];
/// New sockets.
const SOCKETS: &[i64] = &[
    SYS_accept,
    SYS_accept4,
    SYS_bind,
    SYS_connect,
    SYS_getpeername,
    SYS_listen,
    SYS_socket,
    SYS_socketpair,
];
/// Waiting for many descriptors, as asynchronous runtimes do.
const EVENTS: &[i64] = &[
    SYS_dup,
    SYS_dup3,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_inotify_add_watch,
    SYS_inotify_init1,
    SYS_inotify_rm_watch,
    SYS_pipe2,
    SYS_pselect6,
    SYS_signalfd4,
    SYS_timerfd_create,
    SYS_timerfd_settime,
];
/// Reading files, and what libraries query beforehand.
const READING: &[i64] = &[
    SYS_faccessat,
    SYS_faccessat2,
    SYS_flock,
    SYS_fstatfs,
    SYS_getcwd,
    SYS_getdents64,
    SYS_getegid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getgroups,
    SYS_getppid,
    SYS_getresgid,
    SYS_getresuid,
    SYS_getrusage,
    SYS_getuid,
    SYS_ioctl,
    SYS_newfstatat,
    SYS_openat,
    SYS_readlinkat,
    SYS_statfs,
    SYS_statx,
    SYS_sysinfo,
    SYS_times,
    SYS_uname,
];
/// Writing files.
const WRITING: &[i64] = &[
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_fdatasync,
    SYS_fsync,
    SYS_ftruncate,
    SYS_mkdirat,
    SYS_renameat2,
    SYS_umask,
    SYS_unlinkat,
    SYS_utimensat,
];
/// Segments of shared memory with samples (mode `shm`).
const SHARED_MEMORY: &[i64] = &[SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shmget];
/// Starting threads.
const THREADS: &[i64] = &[SYS_clone, SYS_clone3, SYS_prctl, SYS_prlimit64];
/// Dropping privileges.
const NARROWING: &[i64] = &[
    SYS_capget,
    SYS_capset,
    SYS_landlock_add_rule,
    SYS_landlock_create_ruleset,
    SYS_landlock_restrict_self,
    SYS_mlockall,
    SYS_prctl,
    SYS_seccomp,
];
/// Setting the clock.
const CLOCK: &[i64] = &[SYS_adjtimex, SYS_clock_adjtime, SYS_clock_settime];
/// Calls that only an attacker would make.
const NEVER: &[i64] = &[
    SYS_bpf,
    SYS_delete_module,
    SYS_execve,
    SYS_execveat,
    SYS_finit_module,
    SYS_init_module,
    SYS_io_uring_setup,
    SYS_kexec_load,
    SYS_mount,
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
    SYS_perf_event_open,
    SYS_pivot_root,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_ptrace,
    SYS_reboot,
    SYS_setns,
    SYS_settimeofday,
    SYS_umount2,
    SYS_unshare,
    SYS_userfaultfd,
];

/// Calls of x86-64 that later architectures omit because others do the same.
#[cfg(target_arch = "x86_64")]
mod older {
    use libc::{
        SYS_access, SYS_alarm, SYS_arch_prctl, SYS_chmod, SYS_chown, SYS_dup2, SYS_epoll_create,
        SYS_epoll_wait, SYS_eventfd, SYS_fork, SYS_getdents, SYS_lstat, SYS_mkdir, SYS_open,
        SYS_pipe, SYS_poll, SYS_readlink, SYS_rename, SYS_renameat, SYS_rmdir, SYS_select,
        SYS_stat, SYS_time, SYS_unlink, SYS_vfork,
    };

    pub(super) const LIFE: &[i64] = &[SYS_alarm, SYS_arch_prctl, SYS_time];
    pub(super) const DESCRIPTORS: &[i64] = &[SYS_poll];
    pub(super) const EVENTS: &[i64] = &[
        SYS_dup2,
        SYS_epoll_create,
        SYS_epoll_wait,
        SYS_eventfd,
        SYS_pipe,
        SYS_select,
    ];
    pub(super) const READING: &[i64] = &[
        SYS_access,
        SYS_getdents,
        SYS_lstat,
        SYS_open,
        SYS_readlink,
        SYS_stat,
    ];
    pub(super) const WRITING: &[i64] = &[
        SYS_chmod,
        SYS_chown,
        SYS_mkdir,
        SYS_rename,
        SYS_renameat,
        SYS_rmdir,
        SYS_unlink,
    ];
    pub(super) const NEVER: &[i64] = &[SYS_fork, SYS_vfork];
}
#[cfg(not(target_arch = "x86_64"))]
mod older {
    pub(super) const LIFE: &[i64] = &[];
    pub(super) const DESCRIPTORS: &[i64] = &[];
    pub(super) const EVENTS: &[i64] = &[];
    pub(super) const READING: &[i64] = &[];
    #[cfg(target_arch = "aarch64")]
    pub(super) const WRITING: &[i64] = &[libc::SYS_renameat];
    #[cfg(not(target_arch = "aarch64"))]
    pub(super) const WRITING: &[i64] = &[];
    pub(super) const NEVER: &[i64] = &[];
}

/// Returns the groups that a profile permits.
fn allowed(profile: Profile) -> Vec<&'static [i64]> {
    let mut groups = vec![LIFE, older::LIFE, DESCRIPTORS, older::DESCRIPTORS];
    let reading = [READING, older::READING];
    let writing = [WRITING, older::WRITING];
    let events = [EVENTS, older::EVENTS];
    match profile {
        Profile::Serving => groups.push(PACKETS),
        Profile::Files => groups.extend(reading.into_iter().chain(writing)),
        Profile::Names | Profile::KeyExchange => {
            groups.extend([PACKETS, SOCKETS, THREADS]);
            groups.extend(reading.into_iter().chain(events));
        }
        Profile::Devices => {
            groups.extend([PACKETS, SOCKETS, THREADS, SHARED_MEMORY]);
            groups.extend(reading.into_iter().chain(events).chain(writing));
        }
        Profile::Timekeeping => {
            groups.extend([PACKETS, SOCKETS, THREADS, NARROWING, CLOCK, SHARED_MEMORY]);
            groups.extend(reading.into_iter().chain(events).chain(writing));
        }
    }
    groups
}

/// Returns the groups that end the process in a profile.
fn fatal(profile: Profile) -> Vec<&'static [i64]> {
    let mut groups = vec![NEVER, older::NEVER];
    match profile {
        Profile::Timekeeping => {}
        Profile::KeyExchange | Profile::Names | Profile::Devices => groups.push(CLOCK),
        Profile::Serving | Profile::Files => groups.extend([CLOCK, SOCKETS]),
    }
    groups
}

/// Compiled filters of all profiles.
#[derive(Clone, Debug)]
pub(super) struct Filters {
    programs: BTreeMap<Profile, [BpfProgram; 3]>,
}

impl Filters {
    /// Compiles the filters for this processor.
    pub(super) fn new(mode: SandboxMode) -> Result<Self, Error> {
        let programs: Result<_, BackendError> = Profile::ALL
            .into_iter()
            .map(|profile| Ok((profile, compile(profile, mode)?)))
            .collect();
        Ok(Self {
            programs: programs.map_err(Error::Backend)?,
        })
    }

    /// Applies a profile to the calling thread and all threads that it starts.
    pub(super) fn apply(&self, profile: Profile) -> Result<(), Error> {
        refusals::label_thread(profile.label());
        self.programs
            .get(&profile)
            .into_iter()
            .flatten()
            .filter(|program| !program.is_empty())
            .try_for_each(|program| seccompiler::apply_filter(program))
    }
}

/// Returns the name of a call, or its number if it has none.
pub(super) fn name(number: usize) -> String {
    Sysno::new(number).map_or_else(|| number.to_string(), |call| call.to_string())
}

/// Returns whether the kernel, or what emulates it, has no filters at all.
pub(super) fn are_missing(error: &Error) -> bool {
    let missing = [Some(libc::ENOSYS), Some(libc::EINVAL)];
    matches!(error, Error::Seccomp(error) if missing.contains(&error.raw_os_error()))
}

/// Compiles three programs: fatal calls, calls that seem not to be implemented, and permitted
/// calls.
fn compile(profile: Profile, mode: SandboxMode) -> Result<[BpfProgram; 3], BackendError> {
    let (unknown, refusal, end) = match mode {
        SandboxMode::Enforce => (
            SeccompAction::Errno(libc::ENOSYS as u32),
            if refusals::CAN_BE_CAUGHT {
                SeccompAction::Trap
            } else {
                SeccompAction::Errno(libc::EPERM as u32)
            },
            SeccompAction::KillProcess,
        ),
        SandboxMode::Warn | SandboxMode::Off => (
            // The call itself is permitted; its flags cannot be seen.
            SeccompAction::Allow,
            SeccompAction::Log,
            SeccompAction::Log,
        ),
    };
    let filter = |rules, otherwise, matched| {
        let arch = TargetArch::try_from(ARCH)?;
        // The library refuses a filter with only one outcome.
        if otherwise == matched {
            return Ok(BpfProgram::new());
        }
        SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()
    };
    let whatever_arguments =
        |calls: Vec<i64>| calls.into_iter().map(|call| (call, Vec::new())).collect();
    let allowed: Result<_, BackendError> = allowed(profile)
        .concat()
        .into_iter()
        .map(|call| Ok((call, arguments::rules(call, profile)?)))
        .collect();
    Ok([
        filter(
            whatever_arguments(fatal(profile).concat()),
            SeccompAction::Allow,
            end,
        )?,
        filter(
            whatever_arguments(arguments::UNKNOWN.to_vec()),
            SeccompAction::Allow,
            unknown,
        )?,
        filter(allowed?, refusal, SeccompAction::Allow)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters are inherited, so a thread cannot do what the timekeeping thread may not.
    #[test]
    fn the_timekeeping_profile_contains_all_others() {
        let all: Vec<i64> = allowed(Profile::Timekeeping).concat();
        for profile in Profile::ALL {
            let beyond: Vec<_> = allowed(profile).concat();
            assert!(beyond.iter().all(|call| all.contains(call)), "{profile:?}");
        }
    }

    #[test]
    fn no_permitted_call_is_fatal() {
        for profile in Profile::ALL {
            let (allowed, fatal) = (allowed(profile).concat(), fatal(profile).concat());
            assert!(
                !fatal.iter().any(|call| allowed.contains(call)),
                "{profile:?}"
            );
        }
    }
}
