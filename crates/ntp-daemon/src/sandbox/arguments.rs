//! Restrictions on the arguments of permitted system calls.
//!
//! Some calls are harmless or not depending on their arguments. A filter sees numbers, not what
//! pointers point to, so only numbers can be tested:
//!
//! | call | permitted | refused |
//! |---|---|---|
//! | `clone` | start a thread | start a process, or enter new namespaces |
//! | `socket` | IP, Unix and netlink sockets | other families: raw links, virtual machines, kernel cryptography |
//! | `mprotect` | anything else | make memory executable |
//! | `mmap` | map libraries, where names are resolved | writable executable memory (without libraries: any executable) |
//! | `ioctl` | anything else | type into the terminal that the daemon was started from |
//! | `open`, `openat` | read files | write them, in threads that only read |
//! | `tgkill`, `prlimit64` | this process | other processes |
//!
//! `clone3` hides its flags behind a pointer. It fails as on a kernel without it, and the C library
//! falls back to `clone`.

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::profile::Profile;

/// Calls that fail as if the kernel did not implement them.
pub(super) const UNKNOWN: &[i64] = &[libc::SYS_clone3];

const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Flags that must be absent when a file is opened for reading.
const WRITING: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;

/// Permitted socket families; netlink is for the machine's own addresses.
const FAMILIES: [i32; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// Returns alternative conditions for the arguments of a call; empty if any are permitted.
///
/// # Errors
/// Only in case of a bug in this file.
pub(super) fn rules(call: i64, profile: Profile) -> Result<Vec<SeccompRule>, BackendError> {
    let executable = libc::PROT_EXEC;
    let written_too = libc::PROT_EXEC | libc::PROT_WRITE;
    let ways = match call {
        libc::SYS_clone => vec![vec![masked(
            0,
            libc::CLONE_THREAD | NAMESPACES,
            libc::CLONE_THREAD,
        )?]],
        libc::SYS_socket => {
            let family = |family| Ok(vec![equal(0, family)?]);
            FAMILIES.into_iter().map(family).collect::<Result<_, _>>()?
        }
        libc::SYS_mprotect => vec![vec![masked(2, executable, 0)?]],
        libc::SYS_mmap if loads_libraries(profile) => vec![
            vec![masked(2, written_too, 0)?],
            vec![masked(2, written_too, libc::PROT_WRITE)?],
            vec![masked(2, written_too, executable)?],
        ],
        libc::SYS_mmap => vec![vec![masked(2, executable, 0)?]],
        libc::SYS_openat if !writes_files(profile) => vec![vec![masked(2, WRITING, 0)?]],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open if !writes_files(profile) => vec![vec![masked(1, WRITING, 0)?]],
        libc::SYS_ioctl => vec![vec![
            condition(1, SeccompCmpOp::Ne, u64::from(libc::TIOCSTI as u32))?,
            condition(1, SeccompCmpOp::Ne, u64::from(libc::TIOCLINUX as u32))?,
        ]],
        libc::SYS_tgkill => {
            let this = u64::from(std::process::id());
            vec![vec![condition(0, SeccompCmpOp::Eq, this)?]]
        }
        libc::SYS_prlimit64 => vec![vec![equal(0, 0)?]],
        _ => Vec::new(),
    };
    ways.into_iter().map(SeccompRule::new).collect()
}

/// Returns whether threads of a profile write files.
fn writes_files(profile: Profile) -> bool {
    matches!(
        profile,
        Profile::Timekeeping | Profile::Files | Profile::Devices
    )
}

/// Returns whether threads of a profile load shared libraries, as name resolution does.
fn loads_libraries(profile: Profile) -> bool {
    match profile {
        // A filter can only become narrower: the first profile must permit what the others do.
        Profile::Timekeeping | Profile::KeyExchange | Profile::Names | Profile::Devices => true,
        Profile::Serving | Profile::Files => false,
    }
}

fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition, BackendError> {
    let mask = u64::from(mask.cast_unsigned());
    let value = u64::from(value.cast_unsigned());
    condition(argument, SeccompCmpOp::MaskedEq(mask), value)
}

fn equal(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Eq, u64::from(value.cast_unsigned()))
}

/// All arguments tested here have 32 bits, or no meaning beyond those.
fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}
