//! The minimal cost of a UDP server, for benchmarks: the cost of a real one beyond it is its own.
//!
//! It receives with a kernel timestamp and the destination address, copies a few fields so that the
//! reply looks like one of NTP, and sends it back from the destination address of the request. It
//! checks nothing, keeps no state and never ends. It uses libc directly, without the parts of this
//! crate, since it is their reference.
//!
//! ```text
//! echo-floor ADDRESS:PORT [batched | single]
//! ```
//!
//! `batched` uses `recvmmsg` and `sendmmsg` with up to 64 datagrams, `single` one system call for
//! each. Never expose it to a network.

use std::io;
use std::mem::zeroed;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

use libc::{c_int, c_void, iovec, mmsghdr, socklen_t};

const BATCH: usize = 64;
const PAYLOAD: usize = 1472;
const CONTROL: usize = 256;

#[repr(C, align(8))]
struct Slot {
    name: libc::sockaddr_storage,
    part: iovec,
    control: [u8; CONTROL],
    payload: [u8; PAYLOAD],
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:12300".to_owned());
    let single = arguments.next().is_some_and(|mode| mode == "single");
    let socket = UdpSocket::bind(&address)?;
    let fd = socket.as_raw_fd();
    let stamps = libc::SOF_TIMESTAMPING_RX_SOFTWARE
        | libc::SOF_TIMESTAMPING_SOFTWARE
        | libc::SOF_TIMESTAMPING_OPT_ID
        | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    switch_on(
        fd,
        libc::SOL_SOCKET,
        libc::SO_TIMESTAMPING,
        stamps.cast_signed(),
    )?;
    switch_on(
        fd,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_PROBE,
    )?;
    if socket.local_addr()?.is_ipv4() {
        switch_on(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    } else {
        switch_on(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    }
    serve(fd, if single { 1 } else { BATCH })
}

fn switch_on(fd: c_int, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer is to a live int, and the length its size.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn serve(fd: c_int, batch: usize) -> io::Result<()> {
    // SAFETY: all-zero bits are a value of both types.
    let mut slots: Vec<Slot> = (0..batch).map(|_| unsafe { zeroed() }).collect();
    // SAFETY: as above.
    let mut headers: Vec<mmsghdr> = (0..batch).map(|_| unsafe { zeroed() }).collect();
    let base = slots.as_mut_ptr();
    for (index, header) in headers.iter_mut().enumerate() {
        // SAFETY: the index is within the vector, which is never touched again but through these
        // pointers.
        unsafe {
            let slot = base.add(index);
            (*slot).part.iov_base = (&raw mut (*slot).payload).cast();
            header.msg_hdr.msg_iov = &raw mut (*slot).part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut (*slot).name).cast();
            header.msg_hdr.msg_control = (&raw mut (*slot).control).cast::<c_void>();
        }
    }
    let headers = headers.as_mut_ptr();
    let mut used = batch;
    loop {
        // SAFETY: headers and slots are live and reached through these pointers only; all lengths
        // are those of the buffers.
        unsafe {
            for index in 0..used {
                let header = &mut (*headers.add(index)).msg_hdr;
                header.msg_namelen = size_of::<libc::sockaddr_storage>() as socklen_t;
                header.msg_controllen = CONTROL as _;
                (*base.add(index)).part.iov_len = PAYLOAD;
            }
            let received = if batch == 1 {
                libc::recvmsg(fd, &raw mut (*headers).msg_hdr, 0) as c_int
            } else {
                libc::recvmmsg(
                    fd,
                    headers,
                    batch as u32,
                    libc::MSG_WAITFORONE as _,
                    null_mut(),
                )
            };
            if received < 0 {
                return Err(io::Error::last_os_error());
            }
            used = if batch == 1 { 1 } else { received as usize };
            for index in 0..used {
                make_reply(&mut *base.add(index));
                keep_source(&mut (*headers.add(index)).msg_hdr);
            }
            if batch == 1 {
                libc::sendmsg(fd, &raw const (*headers).msg_hdr, 0);
            } else {
                libc::sendmmsg(fd, headers, used as u32, 0);
            }
        }
    }
}

/// Turns a request into a minimal reply: version, mode 4, stratum 1, times copied from the request.
fn make_reply(slot: &mut Slot) {
    slot.part.iov_len = 48;
    let packet = &mut slot.payload;
    packet[0] = packet[0] & 0x38 | 4;
    packet[1] = 1;
    let transmit: [u8; 8] = packet[40..48].try_into().unwrap_or_default();
    packet[24..32].copy_from_slice(&transmit);
    packet[32..40].copy_from_slice(&transmit);
}

/// Keeps one control message: the destination address, which becomes the source. The timestamp must
/// not be sent.
///
/// # Safety
/// The header's control pointer and length are those of a live buffer.
unsafe fn keep_source(header: &mut libc::msghdr) {
    // SAFETY: the caller guarantees the buffer; libc's macros stay inside of it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let v4 = (found.cmsg_level, found.cmsg_type) == (libc::IPPROTO_IP, libc::IP_PKTINFO);
            let v6 =
                (found.cmsg_level, found.cmsg_type) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
            if v4 || v6 {
                let start = header.msg_control.cast::<u8>();
                let len = found.cmsg_len;
                std::ptr::copy(message.cast::<u8>(), start, len);
                header.msg_controllen = len.next_multiple_of(8) as _;
                return;
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
        header.msg_controllen = 0;
    }
}
