//! Segments of System V shared memory (shmget(2)), which other programs write to at any time.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use libc::c_int;

const WORD: usize = size_of::<u32>();

/// `SHM_DEST` in the mode of a segment: it was removed, and ends with its last user.
const REMOVED: u32 = 0o1000;

/// Facts about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// Size in octets, as its creator asked for it.
    pub size: usize,
    /// Number of the user who owns it.
    pub owner: u32,
    /// Number of the user who created it.
    pub creator: u32,
    /// Permission bits.
    pub permissions: u32,
    /// Whether it was removed: whoever opens the key now gets another segment.
    pub is_removed: bool,
}

/// An attached segment.
///
/// Invariant: `start` is the start of an attached segment of at least `size` octets until this
/// value is dropped. Nothing refers to its contents, which change: they are accessed as volatile
/// words.
#[derive(Debug)]
pub struct SharedMemory {
    start: NonNull<u32>,
    size: usize,
    id: c_int,
}

// SAFETY: the segment is accessed by volatile words only, and belongs to no thread.
unsafe impl Send for SharedMemory {}

impl SharedMemory {
    /// Attaches the segment of a key, or creates one of `size` octets that only this user and root
    /// can attach.
    ///
    /// # Errors
    /// Those of shmget(2), shmat(2) and shmctl(2).
    pub fn open(key: i32, size: usize) -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let found = unsafe { libc::shmget(key, 0, 0) };
        let id = match check(found) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                // SAFETY: no memory is passed.
                check(unsafe { libc::shmget(key, size, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) })
            }
            found => found,
        }?;
        let size = status(id)?.size;
        // SAFETY: the kernel chooses an unused range of addresses.
        let start = unsafe { libc::shmat(id, std::ptr::null(), 0) };
        // shmat(2) returns -1 on errors.
        if start.addr() == usize::MAX {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u32>()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, size, id })
    }

    /// Returns facts about the segment.
    ///
    /// # Errors
    /// Those of shmctl(2).
    pub fn status(&self) -> io::Result<SegmentStatus> {
        status(self.id)
    }

    /// Reads the word at an offset, before anything that is read later; zero beyond the segment.
    pub fn word(&self, offset: usize) -> u32 {
        let word = match self.at(offset) {
            // SAFETY: the word is within the segment, which is aligned to a page; the access is
            // volatile, because the contents change.
            Some(word) => unsafe { word.read_volatile() },
            None => 0,
        };
        fence(Ordering::Acquire);
        word
    }

    /// Sets the word at an offset, after all that was set before. Does nothing beyond the segment.
    pub fn set_word(&self, offset: usize, value: u32) {
        fence(Ordering::Release);
        if let Some(word) = self.at(offset) {
            // SAFETY: as in `word`; the segment is attached for writing.
            unsafe { word.write_volatile(value) };
        }
    }

    /// Copies the first `N` octets, a multiple of four; zeros beyond the segment.
    pub fn copy<const N: usize>(&self) -> [u8; N] {
        let mut copy = [0; N];
        for (index, octets) in copy.chunks_exact_mut(WORD).enumerate() {
            octets.copy_from_slice(&self.word(index * WORD).to_ne_bytes());
        }
        copy
    }

    fn at(&self, offset: usize) -> Option<NonNull<u32>> {
        let end = offset.checked_add(WORD)?;
        if !offset.is_multiple_of(WORD) || end > self.size {
            return None;
        }
        // SAFETY: the offset is within the segment.
        Some(unsafe { self.start.add(offset / WORD) })
    }

    /// Removes the segment, once it is attached nowhere any more.
    ///
    /// # Errors
    /// Those of shmctl(2).
    pub fn remove(&self) -> io::Result<()> {
        // SAFETY: this command takes no memory.
        check(unsafe { libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) })?;
        Ok(())
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the segment is attached there, and nothing refers to it any more.
        unsafe { libc::shmdt(self.start.as_ptr().cast()) };
    }
}

fn status(id: c_int) -> io::Result<SegmentStatus> {
    // SAFETY: shmid_ds is a C struct of integers, for which all zero bits is a value.
    let mut facts: libc::shmid_ds = unsafe { core::mem::zeroed() };
    // SAFETY: `facts` is valid and ours for the duration of the call.
    check(unsafe { libc::shmctl(id, libc::IPC_STAT, &raw mut facts) })?;
    let mode = u32::from(facts.shm_perm.mode);
    Ok(SegmentStatus {
        size: facts.shm_segsz as usize,
        owner: facts.shm_perm.uid,
        creator: facts.shm_perm.cuid,
        permissions: mode & 0o777,
        is_removed: mode & REMOVED != 0,
    })
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_created_once_and_shared() {
        let key = 0x5245_0000 + i32::try_from(std::process::id() % 50_000).unwrap();
        let first = SharedMemory::open(key, 96).unwrap();
        let second = SharedMemory::open(key, 80).unwrap();
        second.remove().unwrap();
        let status = first.status().unwrap();
        assert_eq!((status.size, status.permissions), (96, 0o600));
        assert!(status.is_removed);
        assert_eq!(first.word(92), 0);
        // Neither beyond the end nor between words.
        for offset in [1, 94, 96, usize::MAX] {
            first.set_word(offset, 1);
            assert_eq!(first.word(offset), 0);
        }
        assert_eq!(second.copy::<128>(), [0; 128]);
        first.set_word(4, 0x0102_0304);
        assert_eq!(second.word(4), 0x0102_0304);
    }
}
