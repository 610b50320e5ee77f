//! Control messages: information that the kernel returns with a datagram.
//!
//! They are stored one after the other in a buffer, each with a header (`cmsghdr`: length, level,
//! type) and aligned to the size of a `long`:
//!
//! ```text
//!   | len: usize | level: int | type: int | data ... | padding | next header ...
//!   '------------------ len ------------------------'
//! ```
//!
//! `len` counts header and data, without padding. C programs walk this with macros and pointers;
//! here the buffer is bytes and the iteration is index arithmetic on checked slices. The header's
//! layout is the kernel's, the same under every C library (musl declares a shorter `cmsg_len` plus
//! padding for it).

use core::mem::size_of;

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 2 * size_of::<libc::c_int>();

const _: () = assert!(HEADER == size_of::<libc::cmsghdr>() && HEADER.is_multiple_of(WORD));

/// A buffer of control messages.
///
/// Invariants: aligned as `cmsghdr` demands; `len <= Self::CAPACITY`; the bytes after `len` are
/// undefined. The contents of the first `len` bytes are not trusted: a message that does not fit
/// ends the iteration. Laid out as in C: the bytes come first.
#[repr(C, align(8))]
pub(crate) struct ControlBuffer {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

const _: () = assert!(align_of::<ControlBuffer>() >= align_of::<libc::cmsghdr>());

impl ControlBuffer {
    /// Several times the size of all control messages that our options can request at once.
    pub(crate) const CAPACITY: usize = 512;

    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        }
    }

    /// Returns the whole buffer, for the kernel to write into; [`Self::set_len`] must follow.
    pub(crate) fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Sets the length that the kernel has written.
    pub(crate) fn set_len(&mut self, len: usize) {
        self.len = len.min(Self::CAPACITY);
    }

    /// Length of the messages in bytes.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Iterates over the messages that are complete.
    pub(crate) fn messages(&self) -> Messages<'_> {
        Messages {
            rest: &self.bytes[..self.len],
        }
    }

    /// Appends a message; returns false, without a change, if it does not fit.
    pub(crate) fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) -> bool {
        let len = HEADER.saturating_add(data.len());
        let Some(room) = self.bytes[self.len..].get_mut(..padded(len)) else {
            return false;
        };
        let (header, rest) = room.split_at_mut(HEADER);
        header[..WORD].copy_from_slice(&len.to_ne_bytes());
        header[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        header[WORD + 4..].copy_from_slice(&kind.to_ne_bytes());
        rest[..data.len()].copy_from_slice(data);
        rest[data.len()..].fill(0);
        self.len += padded(len);
        true
    }
}

const fn padded(len: usize) -> usize {
    match len.checked_next_multiple_of(WORD) {
        Some(padded) => padded,
        None => usize::MAX,
    }
}

/// One control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) level: libc::c_int,
    pub(crate) kind: libc::c_int,
    /// May be shorter than its type requires, if the kernel's buffer was too small.
    pub(crate) data: &'a [u8],
}

/// Iterator over the messages of a buffer. `rest` begins at a header or is too short for one.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let (header, _) = self.rest.split_at_checked(HEADER)?;
        let len = usize::from_ne_bytes(header[..WORD].try_into().ok()?);
        // Shorter than a header would not advance; beyond the buffer is invalid.
        let data = self.rest.get(HEADER..len)?;
        let message = Message {
            level: libc::c_int::from_ne_bytes(header[WORD..WORD + 4].try_into().ok()?),
            kind: libc::c_int::from_ne_bytes(header[WORD + 4..].try_into().ok()?),
            data,
        };
        self.rest = self.rest.get(padded(len)..).unwrap_or(&[]);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPACITY: usize = ControlBuffer::CAPACITY;

    fn buffer_of(bytes: &[u8]) -> ControlBuffer {
        let mut buffer = ControlBuffer::new();
        buffer.buffer_mut()[..bytes.len()].copy_from_slice(bytes);
        buffer.set_len(bytes.len());
        buffer
    }

    fn header(len: usize) -> Vec<u8> {
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend([1i32.to_ne_bytes(), 2i32.to_ne_bytes()].concat());
        bytes
    }

    proptest! {
        #[test]
        fn messages_round_trip(
            messages in prop::collection::vec((any::<i32>(), any::<i32>(), prop::collection::vec(any::<u8>(), 0..60)), 0..6),
        ) {
            let mut buffer = ControlBuffer::new();
            for (level, kind, data) in &messages {
                prop_assert!(buffer.push(*level, *kind, data));
            }
            let found: Vec<_> = buffer.messages().map(|m| (m.level, m.kind, m.data.to_vec())).collect();
            prop_assert_eq!(found, messages);
        }

        /// With arbitrary contents the iteration ends and stays inside the buffer.
        #[test]
        fn iteration_over_random_bytes_ends(bytes in prop::collection::vec(any::<u8>(), 0..CAPACITY)) {
            let buffer = buffer_of(&bytes);
            prop_assert!(buffer.messages().map(|m| m.data.len() + HEADER).sum::<usize>() <= bytes.len());
        }

        /// Plausible lengths reach deeper than random ones.
        #[test]
        fn iteration_over_plausible_lengths_ends(lens in prop::collection::vec(0usize..80, 1..40)) {
            let mut bytes: Vec<u8> = lens.iter().flat_map(|len| header(*len)).collect();
            bytes.truncate(CAPACITY);
            prop_assert!(buffer_of(&bytes).messages().count() <= bytes.len() / HEADER);
        }
    }

    #[test]
    fn a_header_cut_short_is_no_message() {
        for len in 0..HEADER {
            assert_eq!(buffer_of(&header(HEADER)[..len]).messages().next(), None);
        }
        assert_eq!(buffer_of(&header(HEADER)).messages().count(), 1);
    }

    #[test]
    fn invalid_lengths_end_the_iteration() {
        for len in [
            0,
            1,
            HEADER - 1,
            HEADER + 9,
            usize::MAX,
            usize::MAX - WORD,
            isize::MAX as usize,
        ] {
            let mut bytes = header(len);
            bytes.extend([0; 8]);
            assert_eq!(buffer_of(&bytes).messages().next(), None, "{len}");
        }
    }

    #[test]
    fn the_last_message_needs_no_padding() {
        let mut bytes = header(HEADER + 3);
        bytes.extend([7, 8, 9]);
        let buffer = buffer_of(&bytes);
        let found: Vec<_> = buffer.messages().collect();
        assert_eq!(
            found,
            [Message {
                level: 1,
                kind: 2,
                data: &[7, 8, 9]
            }]
        );
    }

    #[test]
    fn a_full_buffer_rejects_messages() {
        let mut buffer = ControlBuffer::new();
        while buffer.push(0, 0, &[1; 40]) {}
        let count = buffer.messages().count();
        assert_eq!(count, CAPACITY / padded(HEADER + 40));
        assert!(!buffer.push(0, 0, &[0; CAPACITY]));
        assert_eq!(buffer.messages().count(), count);
    }
}
