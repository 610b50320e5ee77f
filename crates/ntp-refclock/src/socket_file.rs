//! A Unix datagram socket in the file system, with the owner and the permissions of the configuration.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use ntp_files::Entry;
use ntp_types::refclock::SockSettings;

use crate::{DeviceError, accounts};

/// A socket that other programs send to. It is non-blocking; its file is removed when it is dropped.
#[derive(Debug)]
pub struct SocketFile {
    socket: UnixDatagram,
    path: PathBuf,
    /// Device and inode of the socket file, by which its removal is recognised as ours.
    identity: (u64, u64),
}

impl SocketFile {
    /// Creates the socket, in the place of one that no program has open any more.
    ///
    /// # Errors
    /// If another program has it open, something else is there, the owner is unknown, or the
    /// operating system refuses.
    pub fn create(settings: &SockSettings) -> Result<Self, DeviceError> {
        let path = &settings.path;
        let user = settings.user.as_deref().map(accounts::user).transpose()?;
        let group = settings.group.as_deref().map(accounts::group).transpose()?;
        remove_stale(path)?;
        let socket = UnixDatagram::bind(path).map_err(DeviceError::during(advice(path)))?;
        // From here on the file is removed if anything fails.
        let entry = Entry::open(path).map_err(DeviceError::during("opening the new socket"))?;
        let found = entry.metadata();
        let file = Self {
            socket,
            path: path.clone(),
            identity: (found.dev(), found.ino()),
        };
        let blocking = file.socket.set_nonblocking(true);
        blocking.map_err(DeviceError::during("preparing the socket"))?;
        if user.is_some() || group.is_some() {
            let owned = entry.set_owner(user, group);
            owned.map_err(DeviceError::during("changing the owner of the socket"))?;
        }
        let permitted = entry.set_mode(settings.permissions);
        permitted.map_err(DeviceError::during(
            "changing the permissions of the socket",
        ))?;
        Ok(file)
    }

    /// Returns the socket.
    pub fn socket(&self) -> &UnixDatagram {
        &self.socket
    }
}

/// Removes a socket that an earlier run left there.
fn remove_stale(path: &Path) -> Result<(), DeviceError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            let test = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
            if test.is_ok() {
                return Err(DeviceError::InUse(path.to_owned()));
            }
            let removed = fs::remove_file(path);
            removed.map_err(DeviceError::during("removing the old socket"))
        }
        Ok(_) => Err(DeviceError::NotASocket(path.to_owned())),
        // Other errors show when the socket is created.
        Err(_) => Ok(()),
    }
}

fn advice(path: &Path) -> String {
    let directory = path.parent().unwrap_or(path);
    format!(
        "creating the socket (the daemon must be able to write to {})",
        directory.display()
    )
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours {
            // Nothing is to be done if it fails: the next run replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gps.sock");
        let settings = SockSettings {
            permissions: 0o620,
            ..SockSettings::at(&path)
        };
        let open = || SocketFile::create(&settings);
        drop(UnixDatagram::bind(&path).unwrap());
        let first = open().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o620);
        assert!(matches!(open(), Err(DeviceError::InUse(_))));
        drop(first);
        assert!(!path.exists());
        fs::write(&path, "notes").unwrap();
        assert!(matches!(open(), Err(DeviceError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
    }

    #[test]
    fn an_unknown_owner_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let settings = SockSettings {
            group: Some("there-is-no-such-group".into()),
            ..SockSettings::at(directory.path().join("a"))
        };
        let error = SocketFile::create(&settings).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no group \"there-is-no-such-group\""
        );
    }
}
