//! Batches of messages in one system call: `recvmmsg` and `sendmmsg` over memory that never moves.
//!
//! A call costs about as much as the processing of a small datagram in the kernel, so a busy server
//! receives and sends dozens at a time. The kernel expects an array of `mmsghdr`, each with
//! pointers to an address, a control buffer and a payload. Building that anew for each call would
//! cost as much as it saves; it is built once, and after a call only the fields that the kernel has
//! overwritten (lengths and flags of the messages used) are reset. Forgetting that for the control
//! length is the classic mistake here: the next message's timestamp then no longer fits.
//!
//! This file and `syscall` contain the unsafe code of sockets.

use core::ffi::{c_int, c_uint, c_void};
use core::ptr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{iovec, mmsghdr, socklen_t};

use crate::address::RawAddress;
use crate::cmsg::ControlBuffer;
use crate::syscall::{self, Blank as _};

/// Payload size in bytes: what fits into an Ethernet frame with IPv4 and UDP headers, so never a
/// fragment.
pub(crate) const PAYLOAD: usize = 1472;

/// Everything of one message except its header.
struct Slot {
    part: iovec,
    address: RawAddress,
    control: ControlBuffer,
    payload: [u8; PAYLOAD],
}

/// An array of messages, used for receiving or for sending.
///
/// Invariants:
/// - `headers` and `slots` are arrays of `capacity` initialised elements, allocated by `Box<[_]>`,
///   owned by this value alone and freed by its `Drop`; they are reached through these pointers
///   only, so no reference outlives a borrow of `self`.
/// - `headers[i]` points to the address, part and control buffer of `slots[i]`, `slots[i].part` to
///   its payload; these pointers never change.
/// - Every length in `headers[i]` and `slots[i].part` is at most the size of what its pointer leads
///   to.
/// - Messages `0..used` have been written by the kernel since their headers were last set back;
///   only meaningful for receiving.
#[derive(Debug)]
pub(crate) struct Messages {
    headers: *mut mmsghdr,
    slots: *mut Slot,
    capacity: usize,
    used: usize,
    /// The batch calls do not exist here (simulators, old kernels): messages are sent and received
    /// one by one.
    with_single_calls: bool,
}

// SAFETY: the pointers are to memory that only this value reaches, and plain memory is not tied to
// a thread.
unsafe impl Send for Messages {}

/// A received message.
pub(crate) struct Incoming<'a> {
    pub(crate) address: &'a RawAddress,
    pub(crate) control: &'a ControlBuffer,
    pub(crate) payload: &'a [u8],
    pub(crate) truncated: bool,
}

impl Messages {
    /// Allocates `capacity` messages; at least 1.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let slots: Box<[Slot]> = (0..capacity).map(|_| Slot::new()).collect();
        let headers: Box<[mmsghdr]> = (0..capacity).map(|_| mmsghdr::BLANK).collect();
        let messages = Self {
            headers: Box::into_raw(headers).cast(),
            slots: Box::into_raw(slots).cast(),
            capacity,
            used: 0,
            with_single_calls: false,
        };
        for index in 0..capacity {
            // SAFETY: the index is below the capacity of both arrays. RawAddress and ControlBuffer
            // are `repr(C)` and begin with their bytes. All pointers are made by projection,
            // without a reference in between.
            unsafe {
                let slot = messages.slots.add(index);
                (*slot).part.iov_base = (&raw mut (*slot).payload).cast();
                (*slot).part.iov_len = PAYLOAD;
                let header = &raw mut (*messages.headers.add(index)).msg_hdr;
                (*header).msg_name = (&raw mut (*slot).address).cast();
                (*header).msg_iov = &raw mut (*slot).part;
                (*header).msg_iovlen = 1;
                (*header).msg_control = (&raw mut (*slot).control).cast::<c_void>();
            }
            messages.reset_header(index);
        }
        messages
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    #[cfg(test)]
    pub(crate) fn force_single_calls(&mut self) {
        self.with_single_calls = true;
    }

    /// Resets a message's lengths to its whole buffers.
    fn reset_header(&self, index: usize) {
        debug_assert!(index < self.capacity);
        // SAFETY: the index is below the capacity; nothing else refers to the header during the
        // statement.
        let header = unsafe { &mut *self.headers.add(index) };
        header.msg_hdr.msg_namelen = RawAddress::CAPACITY as socklen_t;
        header.msg_hdr.msg_controllen = ControlBuffer::CAPACITY as _;
        header.msg_hdr.msg_flags = 0;
        header.msg_len = 0;
    }

    // ---- receiving

    /// Receives as many messages as there are, up to the capacity. With `wait`, waits for the
    /// first, and returns 0 or an empty message when [`syscall::stop_receiving`] was called;
    /// without, fails with `WouldBlock` if there is none.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, wait: bool) -> io::Result<usize> {
        for index in 0..self.used {
            self.reset_header(index);
        }
        self.used = 0;
        let flags = if wait {
            libc::MSG_WAITFORONE
        } else {
            libc::MSG_DONTWAIT
        };
        let count = loop {
            if self.with_single_calls {
                break self.receive_one(socket, flags & libc::MSG_DONTWAIT)?;
            }
            // SAFETY: `headers` is an array of `capacity` headers whose pointers and lengths are
            // valid by the invariants; `&mut self` makes all of it exclusively ours during the
            // call.
            let result = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers,
                    self.capacity as c_uint,
                    flags as _,
                    ptr::null_mut(),
                )
            };
            match syscall::check(result) {
                Ok(count) => break count.cast_unsigned() as usize,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_missing(&error) => self.with_single_calls = true,
                Err(error) => return Err(error),
            }
        };
        self.used = count.min(self.capacity);
        for index in 0..self.used {
            // SAFETY: the index is below the capacity, and `&mut self` excludes other references to
            // both.
            let (header, slot) =
                unsafe { (&*self.headers.add(index), &mut *self.slots.add(index)) };
            slot.address.set_len(header.msg_hdr.msg_namelen as usize);
            slot.control.set_len(header.msg_hdr.msg_controllen as _);
        }
        Ok(self.used)
    }

    fn receive_one(&mut self, socket: BorrowedFd<'_>, flags: c_int) -> io::Result<usize> {
        // SAFETY: as for recvmmsg, with the first header only.
        let len = syscall::retry(|| unsafe {
            libc::recvmsg(socket.as_raw_fd(), &raw mut (*self.headers).msg_hdr, flags)
        })?;
        // SAFETY: there is a first header, and `&mut self` excludes other references to it.
        unsafe { (*self.headers).msg_len = len as c_uint };
        Ok(1)
    }

    /// Returns a message of the last batch; `None` beyond them.
    pub(crate) fn incoming(&self, index: usize) -> Option<Incoming<'_>> {
        if index >= self.used {
            return None;
        }
        // SAFETY: the index is below the capacity, and the references live as long as a borrow of
        // `self`, during which nothing writes to them.
        let (header, slot) = unsafe { (&*self.headers.add(index), &*self.slots.add(index)) };
        let len = (header.msg_len as usize).min(PAYLOAD);
        Some(Incoming {
            address: &slot.address,
            control: &slot.control,
            payload: &slot.payload[..len],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        })
    }

    // ---- sending

    /// Sets the destination of message `index`, which has no payload and no control messages yet.
    /// Returns false if there is no such message.
    pub(crate) fn set_address(&mut self, index: usize, to: &RawAddress) -> bool {
        let Some((header, slot)) = self.outgoing(index) else {
            return false;
        };
        slot.address.copy_from(to);
        slot.part.iov_len = 0;
        slot.control.set_len(0);
        header.msg_hdr.msg_namelen = slot.address.as_bytes().len() as socklen_t;
        header.msg_hdr.msg_controllen = 0;
        true
    }

    /// Sets the payload of message `index`. Returns false, without a change, if there is no such
    /// message or the payload is too long.
    pub(crate) fn set_payload(&mut self, index: usize, payload: &[u8]) -> bool {
        let Some((_, slot)) = self.outgoing(index) else {
            return false;
        };
        let Some(room) = slot.payload.get_mut(..payload.len()) else {
            return false;
        };
        room.copy_from_slice(payload);
        slot.part.iov_len = payload.len();
        true
    }

    /// Adds a control message to message `index`. Returns false, without a change, if there is no
    /// such message or it does not fit.
    pub(crate) fn push_control(
        &mut self,
        index: usize,
        level: c_int,
        kind: c_int,
        data: &[u8],
    ) -> bool {
        let Some((header, slot)) = self.outgoing(index) else {
            return false;
        };
        let fits = slot.control.push(level, kind, data);
        header.msg_hdr.msg_controllen = slot.control.len() as _;
        fits
    }

    fn outgoing(&mut self, index: usize) -> Option<(&mut mmsghdr, &mut Slot)> {
        if index >= self.capacity {
            return None;
        }
        // SAFETY: the index is below the capacity, and `&mut self` excludes other references to
        // both for as long as these live. Callers that change lengths keep the invariants.
        Some(unsafe { (&mut *self.headers.add(index), &mut *self.slots.add(index)) })
    }

    /// Sends messages `from..to` without waiting; returns how many were sent, at least one. An
    /// error refers to message `from`.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        from: usize,
        to: usize,
    ) -> io::Result<usize> {
        assert!(from < to && to <= self.capacity);
        let fd = socket.as_raw_fd();
        loop {
            if self.with_single_calls {
                // SAFETY: `from` is below the capacity; the header's pointers and lengths are valid
                // by the invariants, and the call only reads what they lead to.
                syscall::retry(|| unsafe {
                    libc::sendmsg(
                        fd,
                        &raw const (*self.headers.add(from)).msg_hdr,
                        libc::MSG_DONTWAIT,
                    )
                })?;
                return Ok(1);
            }
            // SAFETY: `from..to` are headers whose pointers and lengths are valid by the
            // invariants; the call only writes to their `msg_len`.
            let result = unsafe {
                libc::sendmmsg(
                    fd,
                    self.headers.add(from),
                    (to - from) as c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match syscall::check(result) {
                Ok(count) => return Ok((count.cast_unsigned() as usize).max(1)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_missing(&error) => self.with_single_calls = true,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns whether the batch call is missing. A simulator's sockets are descriptors that the kernel
/// does not know; if this one really is invalid, the call for one message will fail too.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EBADF))
}

impl Drop for Messages {
    fn drop(&mut self) {
        let slices = (
            ptr::slice_from_raw_parts_mut(self.headers, self.capacity),
            ptr::slice_from_raw_parts_mut(self.slots, self.capacity),
        );
        // SAFETY: both came out of boxes of this length, and are given back once.
        unsafe {
            drop(Box::from_raw(slices.0));
            drop(Box::from_raw(slices.1));
        }
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            part: iovec::BLANK,
            address: RawAddress::empty(),
            control: ControlBuffer::new(),
            payload: [0; PAYLOAD],
        }
    }
}
