//! Serial ports of receivers (termios(3), tty_ioctl(4)).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::PathBuf;

use nix::sys::termios::{
    BaudRate, ControlFlags, SetArg, cfmakeraw, cfsetspeed, tcgetattr, tcsetattr,
};

use super::{DeviceError, OpenDevice};

/// Octets of `struct serial_struct`, and more than any target has.
const SERIAL_STRUCT: usize = 128;
/// Offset of its flags, after four 32-bit fields.
const FLAGS: usize = 16;
/// `ASYNC_LOW_LATENCY`: octets are passed on when they arrive, not with the next timer.
const LOW_LATENCY: i32 = 1 << 13;

/// A serial port that receives octets as they are.
#[derive(Debug)]
pub struct SerialPort {
    device: OpenDevice,
}

impl SerialPort {
    /// Prepares an open port: no other program may open it, octets are passed on unchanged and at once,
    /// the lines of a modem are ignored, and closing the port changes none of them. `speed` is in
    /// bits per second.
    ///
    /// # Errors
    /// If it is not a serial port, or does not have this speed.
    pub fn new(file: File, path: PathBuf, speed: u32) -> Result<Self, DeviceError> {
        let device = OpenDevice { file, path };
        let failed = |call: &'static str, number: nix::Error| {
            device.error(call, &io::Error::from_raw_os_error(number as i32))
        };
        let rate = rate(speed).ok_or_else(|| failed("speed", nix::Error::EINVAL))?;
        let mut settings = tcgetattr(&device.file).map_err(|it| failed("tcgetattr", it))?;
        cfmakeraw(&mut settings);
        settings.control_flags |= ControlFlags::CLOCAL | ControlFlags::CREAD;
        settings.control_flags &= !(ControlFlags::HUPCL | ControlFlags::CRTSCTS);
        cfsetspeed(&mut settings, rate).map_err(|it| failed("cfsetspeed", it))?;
        // What was received before was received with other settings.
        let set = tcsetattr(&device.file, SetArg::TCSAFLUSH, &settings);
        set.map_err(|it| failed("tcsetattr", it))?;
        exclude_others(&device.file).map_err(|it| device.error("TIOCEXCL", &it))?;
        // Only some drivers have the flag, and the port works without it.
        let _ = set_low_latency(&device.file);
        Ok(Self { device })
    }

    /// Reads what has arrived. Returns 0 if the port was hung up.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.device.file.read(buffer)
    }
}

impl AsFd for SerialPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.file.as_fd()
    }
}

fn rate(speed: u32) -> Option<BaudRate> {
    Some(match speed {
        1200 => BaudRate::B1200,
        2400 => BaudRate::B2400,
        4800 => BaudRate::B4800,
        9600 => BaudRate::B9600,
        19_200 => BaudRate::B19200,
        38_400 => BaudRate::B38400,
        57_600 => BaudRate::B57600,
        115_200 => BaudRate::B115200,
        230_400 => BaudRate::B230400,
        _ => return None,
    })
}

/// Refuses further openings of the port, except for root.
fn exclude_others(file: &File) -> io::Result<()> {
    // SAFETY: this request takes no memory.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCEXCL) })
}

fn set_low_latency(file: &File) -> io::Result<()> {
    let mut settings = [0_u8; SERIAL_STRUCT];
    // SAFETY: the buffer is longer than the structure, and ours for the duration of the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCGSERIAL, settings.as_mut_ptr()) })?;
    let Some(field) = settings[FLAGS..].first_chunk_mut() else {
        return Ok(());
    };
    *field = (i32::from_ne_bytes(*field) | LOW_LATENCY).to_ne_bytes();
    // SAFETY: as before; the kernel only reads it.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCSSERIAL, settings.as_ptr()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
