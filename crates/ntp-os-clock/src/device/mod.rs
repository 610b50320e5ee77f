//! Devices with a clock or pulses of their own: [`pps`], [`ptp`], [`vmclock`]; the serial ports of
//! receivers: [`serial`]; and which of them this machine has: [`sysfs`], [`host_clock`].
//!
//! Each type owns an open device and its path. The caller opens the file, because rules for opening
//! are those of the daemon.

pub mod host_clock;
pub mod pps;
pub mod ptp;
pub mod serial;
pub mod sysfs;
pub mod vmclock;

use std::io;
use std::path::{Path, PathBuf};

use crate::ioctl::{Request, Structure, request};

/// Error of a call to a device. Its cause is the device, its driver, or missing permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {call}: {}", .device.display(), io::Error::from_raw_os_error(*.number))]
pub struct DeviceError {
    /// Path of the device.
    pub device: PathBuf,
    /// Name of the request or system call.
    pub call: &'static str,
    /// Error number of the operating system.
    pub number: i32,
}

impl DeviceError {
    fn new(device: &Path, call: &'static str, error: &io::Error) -> Self {
        Self {
            device: device.to_owned(),
            call,
            number: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// Whether the device or its driver does not have the request, now and later.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.number,
            libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS | libc::EINVAL
        )
    }

    /// Whether a capability or a permission of the file is missing.
    pub fn is_not_permitted(&self) -> bool {
        matches!(self.number, libc::EPERM | libc::EACCES | libc::EBADF)
    }

    /// Whether the request may succeed later without any change: no event yet, or a stale sample of
    /// the host.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self.number,
            libc::EAGAIN | libc::ETIMEDOUT | libc::EBUSY | libc::ESTALE
        )
    }
}

/// An open file with its path, which errors name.
#[derive(Debug)]
struct OpenDevice {
    file: std::fs::File,
    path: PathBuf,
}

impl OpenDevice {
    fn request<const N: usize>(
        &self,
        kind: Request<N>,
        structure: &mut Structure<N>,
    ) -> Result<(), DeviceError> {
        request(&self.file, kind, structure).map_err(|error| self.error(kind.name, &error))
    }

    fn error(&self, call: &'static str, error: &io::Error) -> DeviceError {
        DeviceError::new(&self.path, call, error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::sysfs::Sysfs;

    /// A tree of attributes in a temporary directory.
    pub(super) struct FakeTree(tempfile::TempDir);

    impl FakeTree {
        pub(super) fn new(attributes: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            for (path, text) in attributes {
                let path = directory.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("{text}\n")).unwrap();
            }
            Self(directory)
        }

        pub(super) fn sysfs(&self) -> Sysfs {
            Sysfs::at(self.0.path())
        }
    }
}
