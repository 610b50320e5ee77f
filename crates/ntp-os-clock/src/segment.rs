//! A segment that other programs map and read while this one writes it: a file under a sequence
//! lock, as ClockBound defines it.
//!
//! The file begins with a header of [`HEADER`] octets, in the byte order of the machine: three
//! words that never change, the version (offset 12) and the generation (offset 14). The body
//! follows. The generation is odd while the body is written and different afterwards; readers copy
//! the body and accept the copy if the generation was even and is still the same. Version and
//! generation 0 mark a segment without contents.
//!
//! Readers keep their mapping for ever. The file is therefore written in place: it is neither
//! replaced nor truncated, because access beyond the end of a file kills a reader.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

use crate::mapping::SharedMapping;

/// Length of the header in octets.
pub const HEADER: usize = 16;

const WORD: usize = size_of::<u32>();

/// The words of the header that never change: two magic numbers and the size of the segment.
const FIXED_WORDS: usize = 3;
/// Offset of the version.
const VERSION: usize = 12;
/// Offset of the generation.
const GENERATION: usize = 14;

/// A segment, mapped for writing.
///
/// Invariant: the length of the mapping is a multiple of eight and more than [`HEADER`]. Nothing
/// refers to its contents: they are accessed as atomics, the octets 12 to 15 as two halves and all
/// others as words.
#[derive(Debug)]
pub struct Segment(SharedMapping);

impl Segment {
    /// Maps the first `header[2]` octets of a file, which becomes as long if it is shorter. A
    /// segment of an earlier run with the same header and version keeps its contents and its
    /// generation, so that its readers notice the next write; anything else is wiped in place.
    ///
    /// # Errors
    /// Those of fstat(2), write(2) and mmap(2); `InvalidInput` if the size is not a multiple of
    /// eight and more than that of the header.
    pub fn open(file: &File, header: [u32; FIXED_WORDS], version: u16) -> io::Result<Self> {
        let size = header[2] as usize;
        if !size.is_multiple_of(8) || size <= HEADER {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let present = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if present < size {
            // Written and not only extended: on a full file system, access to a hole would kill
            // this process.
            file.write_all_at(&vec![0; size - present], present as u64)?;
        }
        let mut segment = SharedMapping::new(file, size, true).map(Self)?;
        let is_kept = segment.fixed() == header
            && segment.half(VERSION).load(Ordering::Relaxed) == version
            && segment.generation() != 0;
        if !is_kept {
            segment.wipe(header, version);
        }
        Ok(segment)
    }

    /// Returns the generation.
    pub fn generation(&self) -> u16 {
        self.half(GENERATION).load(Ordering::Acquire)
    }

    /// Replaces the body, which may be shorter than the segment's. The generation changes, and is
    /// even and not 0 afterwards. A writer that was killed while it wrote left an odd one; the body
    /// is then incomplete, which readers know.
    pub fn write(&mut self, body: &[u8]) {
        let odd = self.generation() | 1;
        self.half(GENERATION).store(odd, Ordering::Relaxed);
        // The generation is odd before any octet of the body changes.
        fence(Ordering::Release);
        self.copy_body(body);
        let next = match odd.wrapping_add(1) {
            0 => 2,
            next => next,
        };
        // And even only after all of them have changed.
        self.half(GENERATION).store(next, Ordering::Release);
    }

    /// Removes the contents. Readers that have it mapped keep their last copy.
    fn wipe(&mut self, header: [u32; FIXED_WORDS], version: u16) {
        self.half(VERSION).store(0, Ordering::Release);
        self.half(GENERATION).store(0, Ordering::Release);
        fence(Ordering::Release);
        for (index, word) in header.into_iter().enumerate() {
            self.word(index * WORD).store(word, Ordering::Relaxed);
        }
        for offset in (HEADER..self.0.length()).step_by(WORD) {
            self.word(offset).store(0, Ordering::Relaxed);
        }
        self.half(VERSION).store(version, Ordering::Release);
    }

    fn copy_body(&mut self, body: &[u8]) {
        let offsets = (HEADER..self.0.length()).step_by(WORD);
        for (offset, octets) in offsets.zip(body.chunks(WORD)) {
            let mut word = [0; WORD];
            word[..octets.len()].copy_from_slice(octets);
            let word = u32::from_ne_bytes(word);
            self.word(offset).store(word, Ordering::Relaxed);
        }
    }

    fn fixed(&self) -> [u32; FIXED_WORDS] {
        std::array::from_fn(|index| self.word(index * WORD).load(Ordering::Relaxed))
    }

    /// Returns a word of the mapping.
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(WORD) && offset < self.0.length() && offset != VERSION);
        // SAFETY: the word is aligned and within the mapping, which lives as long as `self`, and is
        // accessed as a whole and by atomics only.
        unsafe { AtomicU32::from_ptr(self.0.start().as_ptr().add(offset).cast()) }
    }

    /// Returns the version or the generation.
    fn half(&self, offset: usize) -> &AtomicU16 {
        assert!(offset == VERSION || offset == GENERATION);
        // SAFETY: as in `word`; the header is within the mapping.
        unsafe { AtomicU16::from_ptr(self.0.start().as_ptr().add(offset).cast()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    const FIXED: [u32; 3] = [0x0102_0304, 0x0506_0708, 32];

    fn contents(file: &File) -> Vec<u8> {
        let mut octets = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut octets, 0).unwrap();
        octets
    }

    #[test]
    fn a_new_segment_has_contents_after_the_first_write() {
        let file = tempfile::tempfile().unwrap();
        let mut segment = Segment::open(&file, FIXED, 2).unwrap();
        assert_eq!(segment.generation(), 0);
        segment.write(b"0123456789");
        let octets = contents(&file);
        assert_eq!(octets.len(), 32);
        assert_eq!(octets[..4], 0x0102_0304u32.to_ne_bytes());
        assert_eq!(
            octets[12..16],
            [2u16.to_ne_bytes(), 2u16.to_ne_bytes()].concat()
        );
        assert_eq!(&octets[16..], b"0123456789\0\0\0\0\0\0");
    }

    #[test]
    fn a_restart_keeps_the_generation_and_another_layout_is_wiped_in_place() {
        let file = tempfile::tempfile().unwrap();
        let mut segment = Segment::open(&file, FIXED, 2).unwrap();
        (0..5).for_each(|_| segment.write(&[7; 16]));
        drop(segment);
        let mut segment = Segment::open(&file, FIXED, 2).unwrap();
        assert_eq!(
            (segment.generation(), &contents(&file)[16..]),
            (10, &[7; 16][..])
        );
        segment.write(&[8; 16]);
        assert_eq!(segment.generation(), 12);

        // A longer segment of another version, and one that is shorter: never truncated.
        let longer = Segment::open(&file, [1, 2, 48], 3).unwrap();
        assert_eq!((longer.generation(), contents(&file).len()), (0, 48));
        assert_eq!(contents(&file)[16..], [0; 32]);
        let shorter = Segment::open(&file, FIXED, 2).unwrap();
        assert_eq!((shorter.generation(), contents(&file).len()), (0, 48));
    }

    #[test]
    fn a_writer_that_was_killed_leaves_an_odd_generation_which_the_next_one_ends() {
        let file = tempfile::tempfile().unwrap();
        let mut segment = Segment::open(&file, FIXED, 2).unwrap();
        segment.write(&[7; 16]);
        file.write_all_at(&3u16.to_ne_bytes(), 14).unwrap();
        drop(segment);
        let mut segment = Segment::open(&file, FIXED, 2).unwrap();
        segment.write(&[8; 16]);
        assert_eq!((segment.generation(), contents(&file)[16]), (4, 8));
    }

    #[test]
    fn the_generation_is_never_zero_again() {
        let file = tempfile::tempfile().unwrap();
        let mut segment = Segment::open(&file, FIXED, 2).unwrap();
        let mut last = 0;
        for _ in 0..40_000 {
            segment.write(&[1; 16]);
            let next = segment.generation();
            assert!(next != last && next != 0 && next.is_multiple_of(2));
            last = next;
        }
    }
}
