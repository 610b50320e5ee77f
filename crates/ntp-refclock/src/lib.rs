//! Drivers of reference clocks: each opens a device, waits for it and decodes its readings.
//!
//! | module | content |
//! |---|---|
//! | `driver` | the contract between a driver and the event loop |
//! | `error` | why a device cannot be used |
//! | `filter` | the median of several samples |
//! | `accounts` | numbers of users and groups |
//! | `pps`, `pulse` | pulses that the kernel timestamps |
//! | `phc` | clocks of network cards and hosts |
//! | [`vmclock`] | the page of a hypervisor: its time, and the marker of migrations |
//! | `sample` | what all drivers check of a sample that another program dated |
//! | `socket_file` | a Unix datagram socket in the file system, with its owner and permissions |
//! | `sock` | datagrams that another program sends to a Unix socket |
//! | `shm` | samples that another program writes to shared memory |
//! | `nmea` | sentences of a receiver at a serial port |
//! | `gpsd` | reports of gpsd(8) over TCP |
//!
//! An open driver never blocks: it is read when its descriptor is ready or the time of its next
//! reading has come. Decoding is apart from reading, as pure functions of octets and the time, which the
//! fuzz targets call. A reading is a sample, or the reason why it is none.
//!
//! Samples are dated by the kernel's clock (`CLOCK_REALTIME`). What they mean is the engine's
//! decision.
#![forbid(unsafe_code)]

mod accounts;
mod driver;
mod error;
mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gpsd;
mod nmea;
mod phc;
mod pps;
mod pulse;
mod sample;
mod shm;
mod sock;
mod socket_file;
pub mod vmclock;

pub use driver::{Driver, Now, Reading};
pub use error::DeviceError;
pub use socket_file::SocketFile;

use ntp_types::refclock::{DeviceConfig, RefClockDevice};

/// Opens the device of a reference clock. May block: names of users and groups may be looked up over
/// the network. [`Driver::start`] completes it.
///
/// # Errors
/// If the device cannot be opened, or is not what the configuration names.
pub fn open(config: &DeviceConfig, now: Now) -> Result<Box<dyn Driver>, DeviceError> {
    let interval = config.interval.to_duration();
    let driver: Box<dyn Driver> = match &config.device {
        RefClockDevice::Sock(sock) => Box::new(sock::Sock::open(sock, config.interval)?),
        RefClockDevice::Pps(pps) => Box::new(pps::Pps::open(pps, now)?),
        RefClockDevice::Phc(phc) => Box::new(phc::Phc::open(phc, interval, now)?),
        RefClockDevice::VmClock(page) => Box::new(vmclock::VmClock::open(page, interval, now)?),
        RefClockDevice::HostClock => Box::new(phc::Phc::open_host_clock(interval, now)?),
        RefClockDevice::Shm(shm) => Box::new(shm::Shm::open(shm, interval, now)?),
        RefClockDevice::Nmea(nmea) => Box::new(nmea::Nmea::open(nmea, interval)?),
        RefClockDevice::Gpsd(gpsd) => Box::new(gpsd::Gpsd::open(gpsd, interval, now)?),
    };
    Ok(match config.filter {
        0 | 1 => driver,
        count => Box::new(filter::MedianFilter::new(driver, count)),
    })
}
