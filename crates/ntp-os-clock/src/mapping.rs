//! Memory that is shared with other programs, and a page of it that another program, or the
//! hypervisor, changes at any time.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

/// Octets that are mapped. Kernels map a whole page, whatever its size, for any length up to it.
const LENGTH: usize = 4096;

const WORD: usize = size_of::<u32>();

/// Memory of a file or device that is shared with other programs. Unmapped when dropped.
///
/// Invariant: `start` is the start of a mapping of `length` octets, aligned to a page, until this
/// value is dropped.
#[derive(Debug)]
pub(crate) struct SharedMapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to no thread; its users access it by volatile or atomic operations.
unsafe impl Send for SharedMapping {}

impl SharedMapping {
    /// Maps the first `length` octets, for writing too if `writable`.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub(crate) fn new(file: impl AsFd, length: usize, writable: bool) -> io::Result<Self> {
        let write = if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: the kernel chooses an unused range of addresses; the descriptor is open.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | write,
                libc::MAP_SHARED,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>());
        start
            .map(|start| Self { start, length })
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns the address of the first octet.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Returns its length in octets.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this length, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A page, mapped for reading. Nothing refers to its contents, which change: they are read as volatile
/// words.
#[derive(Debug)]
pub(crate) struct MappedPage(SharedMapping);

impl MappedPage {
    /// Maps the first page of a device.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub(crate) fn new(device: impl AsFd) -> io::Result<Self> {
        SharedMapping::new(device, LENGTH, false).map(Self)
    }

    /// Copies the first `N` octets, a multiple of four, if the count at offset `sequence` is even and the same before and after.
    pub(crate) fn copy_unchanged<const N: usize>(&self, sequence: usize) -> Option<[u8; N]> {
        let before = self.word(sequence / WORD);
        fence(Ordering::Acquire);
        let mut copy = [0; N];
        for (index, octets) in copy.chunks_exact_mut(WORD).enumerate() {
            octets.copy_from_slice(&self.word(index).to_le_bytes());
        }
        fence(Ordering::Acquire);
        let is_unchanged = before.is_multiple_of(2) && self.word(sequence / WORD) == before;
        is_unchanged.then_some(copy)
    }

    /// Reads a little-endian word; zero beyond the mapping.
    fn word(&self, index: usize) -> u32 {
        if index >= LENGTH / WORD {
            return 0;
        }
        let start = self.0.start().cast::<u32>();
        // SAFETY: the index is within the mapping, which is aligned to a page; the access is
        // volatile, because the contents change.
        u32::from_le(unsafe { start.add(index).read_volatile() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_page_is_copied_only_between_updates() {
        let path = std::env::temp_dir().join(format!("ntp-os-clock-page-{}", std::process::id()));
        let file = File::options();
        let file = file
            .clone()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let file = file.expect("a file can be created");
        file.write_all_at(&[6; LENGTH], 0)
            .expect("it can be written");
        let page = MappedPage::new(&file).expect("it can be mapped");
        assert_eq!(page.copy_unchanged(12), Some([6; 112]));
        file.write_all_at(&[7], 12).expect("it can be written");
        assert_eq!(page.copy_unchanged::<112>(12), None, "the count is odd");
        std::fs::remove_file(&path).expect("it can be removed");
    }
}
