//! Opens files that others may have made.
//!
//! A path in a configuration may lead to anything: to a named pipe without a writer, where `open`
//! waits for ever; to a device that acts when it is opened (a watchdog starts, a tape rewinds); to
//! `/dev/zero`, which never ends; to a file of terabytes. A thread that waits there keeps no time
//! and answers nobody. All files that a user, an administrator or another program may have put in
//! place are therefore opened here; `crates/xtask/tests/architecture.rs` checks that.
//!
//! 1. The kind of the file is checked before it is opened, so that no device is touched.
//! 2. It is opened non-blocking and without becoming the controlling terminal, and the kind is
//!    checked again: the file may have been replaced in between.
//! 3. At most a given number of octets is read.
//!
//! A regular file of a network or user-space file system may block nevertheless, and no flag of
//! open(2) changes that. The daemon reads files on threads other than the timekeeping thread.
//!
//! Owner and mode are checked by the callers, because each kind of file has its own rule:
//! [`RegularFile::metadata`] belongs to the open file and not to the path.
#![forbid(unsafe_code)]

mod stdout;

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

pub use stdout::stdout_is_journal;

/// Maximum size in octets of a text that people or programs write: the largest real ones, bundles
/// of certificate authorities, have less than 1 MiB.
pub const MAX_TEXT: u64 = 16 << 20;

/// Permission of all users to write.
const OTHERS_WRITE: u32 = 0o002;
/// Permission of all users to read.
const OTHERS_READ: u32 = 0o004;

/// An open regular file.
#[derive(Debug)]
pub struct RegularFile {
    file: File,
    metadata: Metadata,
}

/// What all users of the machine may do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// They may write it, and perhaps read it.
    Writable,
    /// They may read it.
    Readable,
}

impl Exposure {
    /// Returns what all users may do with a file or directory; `None` if neither of both.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        match metadata.mode() {
            mode if mode & OTHERS_WRITE != 0 => Some(Self::Writable),
            mode if mode & OTHERS_READ != 0 => Some(Self::Readable),
            _ => None,
        }
    }
}

/// The word after "world-".
impl std::fmt::Display for Exposure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Writable => "writable",
            Self::Readable => "readable",
        })
    }
}

impl RegularFile {
    /// Opens a file for reading. Links are followed. `/dev/null` is an empty file: a link to it
    /// masks a file, as systemd's units are masked.
    ///
    /// # Errors
    /// Those of open(2); [`ErrorKind::IsADirectory`] for a directory and
    /// [`ErrorKind::InvalidInput`] for whatever else is not a regular file, with its kind in the
    /// text.
    pub fn open(path: &Path) -> io::Result<Self> {
        require_readable(&fs::metadata(path)?)?;
        let file = non_blocking(OpenOptions::new().read(true)).open(path)?;
        let metadata = file.metadata()?;
        require_readable(&metadata)?;
        Ok(Self { file, metadata })
    }

    /// Returns the metadata of the open file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns what all users may do with it.
    pub fn exposure(&self) -> Option<Exposure> {
        Exposure::of(&self.metadata).filter(|_| self.metadata.is_file())
    }

    /// Reads the whole file, which may have `limit` octets.
    ///
    /// # Errors
    /// Those of read(2); [`ErrorKind::FileTooLarge`] if the file is longer.
    pub fn read(self, limit: u64) -> io::Result<Vec<u8>> {
        let too_large = || {
            let message = format!("the file is longer than {limit} bytes");
            io::Error::new(ErrorKind::FileTooLarge, message)
        };
        let length = self.metadata.len();
        if length > limit {
            return Err(too_large());
        }
        // One octet more than expected, so that no copy of a secret is left in a smaller buffer.
        let mut octets = Vec::with_capacity(length as usize + 1);
        self.file.take(limit + 1).read_to_end(&mut octets)?;
        if octets.len() as u64 > limit {
            return Err(too_large());
        }
        Ok(octets)
    }

    /// Reads the whole file as UTF-8.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`ErrorKind::InvalidData`] with the line of the first octet that is
    /// not UTF-8.
    pub fn read_text(self, limit: u64) -> io::Result<String> {
        String::from_utf8(self.read(limit)?).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!("line {line} is not valid UTF-8");
            io::Error::new(ErrorKind::InvalidData, message)
        })
    }

    /// Returns the file, to read it in parts.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Reads a file; see [`RegularFile::open`] and [`RegularFile::read`].
///
/// # Errors
/// Those of both.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    RegularFile::open(path)?.read(limit)
}

/// Reads a text; see [`RegularFile::open`] and [`RegularFile::read_text`].
///
/// # Errors
/// Those of both.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    RegularFile::open(path)?.read_text(limit)
}

/// Reads a file that a user names on the command line of a tool: a regular file, or one of the
/// descriptors with which the tool was started (`/dev/stdin`, `/dev/fd/63`), which may be a pipe
/// that the user's shell writes.
///
/// # Errors
/// As [`read`].
pub fn read_input(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let descriptors = ["/dev/stdin", "/dev/fd", "/proc/self/fd"];
    if !descriptors.iter().any(|it| path.starts_with(it)) {
        return read(path, limit);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    RegularFile { file, metadata }.read(limit)
}

/// Creates a file with the permissions `mode` (before the umask), or empties an existing one.
///
/// # Errors
/// As [`RegularFile::open`].
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    // Not truncated when it is opened: it may be something else by then.
    let file = open_or_create(path, OpenOptions::new().mode(mode))?;
    file.set_len(0)?;
    Ok(file)
}

/// Replaces a file: others see the old or the new content, also after a loss of power. The new file
/// has the permissions `mode` and the owner (user and group), that of the process if `None`.
///
/// The directory may belong to another user: no link in it is followed.
///
/// # Errors
/// Those of open(2), write(2), fchown(2) and rename(2). The old file is kept then.
pub fn replace(
    path: &Path,
    content: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that readers of a directory ignore it.
    let temporary = path.with_file_name(format!(".{name}.new"));
    // Left by an interrupted replacement.
    let _ = fs::remove_file(&temporary);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        // Whatever the umask is.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if let Some((user, group)) = owner {
            std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path.parent().unwrap_or_else(|| Path::new(".")))
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Opens a file for reading and writing with its contents, or creates it with the permissions
/// `mode` (before the umask).
///
/// # Errors
/// As [`RegularFile::open`].
pub fn update(path: &Path, mode: u32) -> io::Result<File> {
    open_or_create(path, OpenOptions::new().read(true).mode(mode))
}

fn open_or_create(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(found) => require_regular(found.file_type())?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = non_blocking(options.create(true).write(true).truncate(false)).open(path)?;
    require_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Waits until a created, renamed or removed entry of the directory is on disk.
///
/// # Errors
/// Those of open(2) and fsync(2).
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY);
    options.open(path)?.sync_all()
}

/// Opens a log: a file is created or appended to. A terminal or a pipe that somebody reads is
/// accepted, too; what it does not take at once is lost.
///
/// # Errors
/// Those of open(2); [`ErrorKind::InvalidInput`] for a pipe that nobody reads, and for a socket.
pub fn append(path: &Path) -> io::Result<File> {
    let opened = non_blocking(OpenOptions::new().create(true).append(true)).open(path);
    opened.map_err(|error| match fs::metadata(path) {
        Ok(found) if error.raw_os_error() == Some(libc::ENXIO) => {
            let kind = kind(found.file_type());
            let message = format!("it is {kind} that no process reads");
            io::Error::new(ErrorKind::InvalidInput, message)
        }
        _ => error,
    })
}

/// Opens a device for reading, and for writing if `writable`, so that its driver permits changes. A
/// regular file is accepted in its place.
///
/// # Errors
/// Those of open(2); [`ErrorKind::InvalidInput`] for what is neither.
pub fn open_device(path: &Path, writable: bool) -> io::Result<File> {
    require_device(fs::metadata(path)?.file_type())?;
    let file = non_blocking(OpenOptions::new().read(true).write(writable)).open(path)?;
    require_device(file.metadata()?.file_type())?;
    Ok(file)
}

/// An entry of a directory, whatever it is, held by a descriptor. Owner and mode are those of this
/// entry, even if somebody puts a link in its place meanwhile: in a directory that belongs to
/// another user, root must never change what a *path* leads to.
#[derive(Debug)]
pub struct Entry {
    file: File,
    metadata: Metadata,
}

impl Entry {
    /// Holds the entry. A link is not followed: it is the entry.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        // Not by std: its mask of access modes, which it takes from the C library, has this flag in
        // musl, so that it would really open the entry, which no socket permits.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        Ok(Self { file, metadata })
    }

    /// Returns the metadata of the entry.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns whether a change of the entry is a change of nothing else: it is a directory, or no
    /// link, neither symbolic nor hard.
    pub fn is_unshared(&self) -> bool {
        let facts = &self.metadata;
        facts.is_dir() || !facts.is_symlink() && facts.nlink() == 1
    }

    /// Changes the owner and the group.
    ///
    /// # Errors
    /// Those of chown(2), also if /proc is not mounted.
    pub fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        std::os::unix::fs::chown(self.path(), user, group)
    }

    /// Changes the permissions.
    ///
    /// # Errors
    /// Those of chmod(2), also if /proc is not mounted.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode))
    }

    /// A path that leads to the open entry only, as long as this value exists: of a directory, to
    /// use what is inside; of others, because fchown(2) and fchmod(2) refuse a descriptor that was
    /// not opened for reading, and opening it for reading could block. It needs /proc.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

fn non_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
}

/// Accepts a regular file and the null device, which neither waits nor acts.
fn require_readable(found: &Metadata) -> io::Result<()> {
    if found.file_type().is_char_device() && found.rdev() == libc::makedev(1, 3) {
        return Ok(());
    }
    require_regular(found.file_type())
}

fn require_regular(found: FileType) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let message = format!("it is {}, not a regular file", kind(found));
    let error = if found.is_dir() {
        ErrorKind::IsADirectory
    } else {
        ErrorKind::InvalidInput
    };
    Err(io::Error::new(error, message))
}

fn require_device(found: FileType) -> io::Result<()> {
    if found.is_char_device() || found.is_file() {
        return Ok(());
    }
    let message = format!("it is {}, not a device", kind(found));
    Err(io::Error::new(ErrorKind::InvalidInput, message))
}

fn kind(found: FileType) -> &'static str {
    if found.is_dir() {
        "a directory"
    } else if found.is_fifo() {
        "a named pipe"
    } else if found.is_socket() {
        "a socket"
    } else if found.is_char_device() || found.is_block_device() {
        "a device"
    } else {
        "something"
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    /// Puts something at a path.
    type Prepare = fn(&Path);

    fn pipe(path: &Path) {
        let made = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once_and_by_name() {
        let cases: [(&str, Prepare); 6] = [
            ("a directory", |path| fs::create_dir(path).unwrap()),
            ("a named pipe", pipe),
            ("a named pipe", |path| {
                let target = path.with_extension("target");
                pipe(&target);
                symlink(target, path).unwrap();
            }),
            ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
            ("a device", |path| symlink("/dev/zero", path).unwrap()),
            ("a device", |path| symlink("/dev/full", path).unwrap()),
        ];
        for (what, prepare) in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            prepare(&path);
            let expected = format!("it is {what}, not a regular file");
            for error in [
                read(&path, 100).unwrap_err(),
                read_text(&path, 100).unwrap_err(),
                create(&path, 0o600).unwrap_err(),
            ] {
                assert_eq!(error.to_string(), expected);
            }
        }
    }

    #[test]
    fn a_device_is_opened_and_nothing_that_waits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device");
        pipe(&path);
        let error = open_device(&path, false).unwrap_err();
        assert_eq!(error.to_string(), "it is a named pipe, not a device");
        assert!(open_device(directory.path(), false).is_err());
        assert!(open_device(Path::new("/dev/null"), true).is_ok());
    }

    #[test]
    fn a_link_to_the_null_device_is_an_empty_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("masked");
        symlink("/dev/null", &path).unwrap();
        let file = RegularFile::open(&path).unwrap();
        assert_eq!(file.exposure(), None);
        assert_eq!(file.read_text(0).unwrap(), "");
    }

    #[test]
    fn a_missing_file_is_no_special_case() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        symlink(directory.path().join("absent"), &path).unwrap();
        for path in [path, directory.path().join("absent")] {
            assert_eq!(read(&path, 1).unwrap_err().kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn files_are_read_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        // Reading a terabyte of nothing would take minutes.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(
            read(&path, MAX_TEXT).unwrap_err().kind(),
            ErrorKind::FileTooLarge
        );
        // The kernel states a length of 0 for these.
        let itself = Path::new("/proc/self/stat");
        assert!(!read(itself, 4096).unwrap().is_empty());
        assert_eq!(read(itself, 1).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_pipe_is_read_if_it_is_a_descriptor_of_the_caller() {
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"piped").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let path = Path::new(&path);
        assert_eq!(read(path, 100).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(read_input(path, 100).unwrap(), b"piped");
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"one\ntwo \xff\n").unwrap();
        let error = read_text(&path, 100).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not valid UTF-8");
    }

    #[test]
    fn the_exposure_is_that_of_the_open_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"").unwrap();
        for (mode, exposure) in [
            (0o600, None),
            (0o670, None),
            (0o604, Some(Exposure::Readable)),
            (0o606, Some(Exposure::Writable)),
            (0o602, Some(Exposure::Writable)),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(RegularFile::open(&path).unwrap().exposure(), exposure);
        }
    }

    #[test]
    fn a_created_file_is_empty_and_keeps_its_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("file"), directory.path().join("link"));
        symlink(&path, &link).unwrap();
        create(&link, 0o600).unwrap().write_all(b"first").unwrap();
        create(&link, 0o600).unwrap().write_all(b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_that_takes_the_place_of_an_entry_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, precious) = (directory.path().join("a"), directory.path().join("b"));
        for file in [&path, &precious] {
            fs::write(file, b"").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let entry = Entry::open(&path).unwrap();
        assert!(entry.is_unshared());
        fs::rename(&path, directory.path().join("moved")).unwrap();
        symlink(&precious, &path).unwrap();
        entry.set_mode(0o666).unwrap();
        entry.set_owner(None, None).unwrap();
        assert_eq!(fs::metadata(&precious).unwrap().mode() & 0o777, 0o600);
        let link = Entry::open(&path).unwrap();
        assert!(link.metadata().is_symlink() && !link.is_unshared());
        fs::hard_link(&precious, directory.path().join("hard")).unwrap();
        assert!(!Entry::open(&precious).unwrap().is_unshared());
    }

    #[test]
    fn a_log_may_be_a_device_or_a_pipe_that_is_read_and_never_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path).unwrap().write_all(b"one\n").unwrap();
        append(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        append(Path::new("/dev/null")).unwrap();

        let path = directory.path().join("pipe");
        pipe(&path);
        let error = append(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is a named pipe that no process reads"
        );
        let mut options = OpenOptions::new();
        let _reader = non_blocking(options.read(true)).open(&path).unwrap();
        let mut log = append(&path).unwrap();
        let full = loop {
            if let Err(error) = log.write(&[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
}
