//! The page that a hypervisor shares with a virtual machine: `/dev/vmclock0` (VMClock 1.0).
//!
//! The page changes at any time under a sequence lock: the count at offset 12 is odd while the
//! hypervisor writes, and different afterwards. Two ways lead to a consistent copy:
//!
//! * [`VmClockPage::read`] copies the mapped page without a system call, as often as needed; it
//!   never waits.
//! * [`VmClockPage::acknowledge`] reads the file. The kernel waits up to 100 ms for the end of an
//!   update, and poll(2) reports only updates after this call.
//!
//! A regular file is never mapped, because access beyond its end would kill the process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::PathBuf;

use super::{DeviceError, OpenDevice};
use crate::mapping::MappedPage;

/// Number of octets of the page that have a meaning: up to the generation counter.
pub const VMCLOCK_SIZE: usize = 112;

/// Offset of the count of the sequence lock.
const SEQUENCE: usize = 12;

/// How often a copy is repeated. An update writes fewer than 100 octets, which takes less time than
/// one copy; more collisions than this are a hypervisor that was stopped within an update.
const ATTEMPTS: u32 = 16;

/// An open page.
#[derive(Debug)]
pub struct VmClockPage {
    device: OpenDevice,
    mapped: Option<MappedPage>,
}

impl VmClockPage {
    /// Takes an open device and maps its page. Where mapping is impossible, it is read instead.
    ///
    /// # Errors
    /// If its type cannot be determined.
    pub fn new(file: File, path: PathBuf) -> Result<Self, DeviceError> {
        let metadata = file.metadata();
        let device = OpenDevice { file, path };
        let metadata = metadata.map_err(|error| device.error("fstat", &error))?;
        let is_device = metadata.file_type().is_char_device();
        let mapped = is_device.then(|| MappedPage::new(&device.file));
        Ok(Self {
            mapped: mapped.and_then(io::Result::ok),
            device,
        })
    }

    /// Returns a consistent copy of the page. Octets beyond the end of the file are zero.
    ///
    /// # Errors
    /// If an update is in progress ([`DeviceError::is_temporary`]), or those of pread(2).
    pub fn read(&self) -> Result<[u8; VMCLOCK_SIZE], DeviceError> {
        let Some(mapped) = &self.mapped else {
            return self.acknowledge();
        };
        let copy = (0..ATTEMPTS).find_map(|_| mapped.copy_unchanged(SEQUENCE));
        copy.ok_or_else(|| self.updating())
    }

    /// Reads the file, after which poll(2) reports the next update only.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn acknowledge(&self) -> Result<[u8; VMCLOCK_SIZE], DeviceError> {
        for _ in 0..ATTEMPTS {
            let copy = self.pread()?;
            if is_settled(&copy) && self.pread()? == copy {
                return Ok(copy);
            }
        }
        Err(self.updating())
    }

    fn pread(&self) -> Result<[u8; VMCLOCK_SIZE], DeviceError> {
        let mut copy = [0; VMCLOCK_SIZE];
        (self.device.file)
            .read_at(&mut copy, 0)
            .map_err(|error| self.device.error("pread", &error))?;
        Ok(copy)
    }

    fn updating(&self) -> DeviceError {
        let error = io::Error::from_raw_os_error(libc::EAGAIN);
        self.device.error("read while the page is updated", &error)
    }
}

impl AsFd for VmClockPage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.file.as_fd()
    }
}

/// Whether no update is in progress.
fn is_settled(copy: &[u8; VMCLOCK_SIZE]) -> bool {
    copy[SEQUENCE].is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(bytes: &[u8]) -> (File, VmClockPage) {
        let path = std::env::temp_dir().join(format!(
            "ntp-os-clock-vmclock-{}-{:p}",
            std::process::id(),
            bytes
        ));
        let writer = File::create(&path).expect("a file can be created");
        writer.write_all_at(bytes, 0).expect("it can be written");
        let reader = File::open(&path).expect("it can be opened");
        std::fs::remove_file(&path).expect("it can be removed");
        let page = VmClockPage::new(reader, path).expect("it has a type");
        (writer, page)
    }

    #[test]
    fn a_page_is_copied_and_a_short_one_filled_with_zeros() {
        let bytes: Vec<u8> = (0..100u8).map(|octet| octet & !1).collect();
        let (_writer, page) = page(&bytes);
        let copy = page.read().expect("it can be read");
        assert_eq!(copy[..100], bytes);
        assert_eq!(copy[100..], [0; 12]);
    }

    #[test]
    fn an_update_in_progress_is_no_page() {
        let (writer, page) = page(&[0; 4096]);
        writer.write_all_at(&[1], 12).expect("it can be written");
        let error = page.read().expect_err("an update is in progress");
        assert!(error.is_temporary(), "{error}");
        writer.write_all_at(&[2], 12).expect("it can be written");
        assert_eq!(page.read().expect("the update has ended")[12], 2);
    }
}
