//! VMClock: the page that a hypervisor shares with a virtual machine.
//!
//! The page has two uses. Every hypervisor with VMClock writes a *marker* that changes when the
//! machine was moved to another host or continued from a snapshot ([`Disruptions`]). Some also write
//! the *time* as a line over the processor's counter; the kernel then has a PTP clock of it, which
//! mode `vmclock` reads, while the page states its error, its state and leap seconds.
//!
//! The page is little-endian and has a size of its own: fields beyond it are absent.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use ntp_os_clock::device::sysfs::Sysfs;
use ntp_os_clock::device::vmclock::{VMCLOCK_SIZE, VmClockPage};
use ntp_time::{LeapIndicator, Monotonic, NtpDuration};
use ntp_types::refclock::{ClockSample, PhcSettings, SampleRefusal, Timescale, VmClockSettings};
use ntp_udp::wait::Interest;

use crate::phc::Phc;
use crate::{DeviceError, Driver, Now, Reading};

/// "VCLK".
const MAGIC: u32 = 0x4B4C_4356;

/// Size of the structure of version 1 up to the marker and the flags: less is no page.
const LEAST_SIZE: u32 = 32;

/// Bits of `flags`.
mod flag {
    pub(super) const TAI_OFFSET: u64 = 1 << 0;
    pub(super) const TIME_MAX_ERROR: u64 = 1 << 6;
    pub(super) const GENERATION: u64 = 1 << 8;
    pub(super) const NOTIFICATION: u64 = 1 << 9;
}

/// `counter_id`: there is no counter, so there is no time.
const NO_COUNTER: u8 = 255;

/// Whether the hypervisor's clock is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStatus {
    /// Not stated.
    Unknown,
    /// Not synchronised yet.
    Initializing,
    /// Synchronised.
    Synchronized,
    /// It was synchronised and drifts now, within the stated error.
    FreeRunning,
    /// Known to be wrong.
    Unreliable,
}

/// The time scale of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageTimescale {
    /// Coordinated universal time.
    Utc,
    /// International atomic time.
    Tai,
    /// None: the time since something.
    Monotonic,
    /// UTC with smeared leap seconds, or one that is not known.
    Other,
}

/// The time fields of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTime {
    /// The time scale.
    pub timescale: PageTimescale,
    /// Largest error of the time, if stated.
    pub max_error: Option<NtpDuration>,
}

/// Contents of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// What changes with each disruption.
    pub identity: Identity,
    /// Number of the update: different after each one.
    pub sequence: u32,
    /// Whether poll(2) reports updates, as the hypervisor states.
    pub notifies: bool,
    /// Whether the clock is right.
    pub status: PageStatus,
    /// TAI minus UTC, if stated.
    pub tai_offset: Option<NtpDuration>,
    /// The leap second at the end of the month.
    pub leap: LeapIndicator,
    /// The time, if the page has one.
    pub time: Option<PageTime>,
}

/// What changes when the machine is moved or continued from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The disruption marker: the clock is another one.
    pub marker: u64,
    /// The generation counter, if there is one: the machine was cloned or set back.
    pub generation: Option<u64>,
}

/// Why a page cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The mark at its beginning is missing.
    #[error("it does not begin with the mark of a VMClock page")]
    Magic,
    /// It is shorter than its first fields.
    #[error("its size of {0} octets is too small")]
    Size(u32),
    /// Its version is not 1.
    #[error("its version is {0}, and only version 1 is known")]
    Version(u16),
}

/// Decodes a page.
///
/// # Errors
/// If it is no page of version 1.
pub fn decode(octets: &[u8]) -> Result<Page, PageError> {
    let whole = Fields(octets);
    if whole.u32(0) != Some(MAGIC) {
        return Err(PageError::Magic);
    }
    let size = whole.u32(4).unwrap_or(0);
    let within = octets.get(..size as usize).unwrap_or(octets);
    let fields = Fields(within);
    if size < LEAST_SIZE {
        return Err(PageError::Size(size));
    }
    let version = fields.u16(8).unwrap_or(0);
    if version != 1 {
        return Err(PageError::Version(version));
    }
    let (Some(marker), Some(flags)) = (fields.u64(16), fields.u64(24)) else {
        return Err(PageError::Size(size));
    };
    let has = |bit: u64| flags & bit != 0;
    Ok(Page {
        identity: Identity {
            marker,
            generation: fields.u64(104).filter(|_| has(flag::GENERATION)),
        },
        sequence: fields.u32(12).unwrap_or(0),
        notifies: has(flag::NOTIFICATION),
        status: match fields.u8(34) {
            Some(1) => PageStatus::Initializing,
            Some(2) => PageStatus::Synchronized,
            Some(3) => PageStatus::FreeRunning,
            Some(4) => PageStatus::Unreliable,
            _ => PageStatus::Unknown,
        },
        tai_offset: fields
            .u16(36)
            .filter(|_| has(flag::TAI_OFFSET))
            .map(|seconds| NtpDuration::from_seconds(seconds.cast_signed().into())),
        leap: match fields.u8(38) {
            Some(1) => LeapIndicator::Insert,
            Some(2) => LeapIndicator::Delete,
            _ => LeapIndicator::None,
        },
        time: time(fields, has(flag::TIME_MAX_ERROR)),
    })
}

fn time(fields: Fields<'_>, states_error: bool) -> Option<PageTime> {
    let counter = fields.u8(10).filter(|id| *id != NO_COUNTER);
    // The seconds and their fraction are the last fields that a time needs.
    let (_, _) = (counter?, fields.u64(80)?);
    let max_error = fields.u64(96).filter(|_| states_error);
    Some(PageTime {
        timescale: match fields.u8(11) {
            Some(0) => PageTimescale::Utc,
            Some(1) => PageTimescale::Tai,
            Some(2) => PageTimescale::Monotonic,
            _ => PageTimescale::Other,
        },
        max_error: max_error
            .map(|nanos| NtpDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))),
    })
}

/// Little-endian fields at their offsets; `None` beyond the end.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn octets<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(self, at: usize) -> Option<u16> {
        self.octets(at).map(u16::from_le_bytes)
    }

    fn u32(self, at: usize) -> Option<u32> {
        self.octets(at).map(u32::from_le_bytes)
    }

    fn u64(self, at: usize) -> Option<u64> {
        self.octets(at).map(u64::from_le_bytes)
    }
}

/// An open page.
#[derive(Debug)]
struct OpenPage {
    page: VmClockPage,
    path: PathBuf,
}

impl OpenPage {
    fn open(path: &Path) -> Result<Self, DeviceError> {
        let during = DeviceError::during(format!("opening {}", path.display()));
        let opened = ntp_files::open_device(path, false).map_err(during)?;
        Ok(Self {
            page: VmClockPage::new(opened, path.to_owned())?,
            path: path.to_owned(),
        })
    }

    fn decode(&self, octets: &[u8; VMCLOCK_SIZE]) -> Result<Page, DeviceError> {
        decode(octets)
            .map_err(|error| DeviceError::Unsuitable(format!("{}: {error}", self.path.display())))
    }

    /// Returns the contents; `None` while the hypervisor writes them.
    fn read(&self) -> Result<Option<Page>, DeviceError> {
        match self.page.read() {
            Ok(octets) => self.decode(&octets).map(Some),
            Err(error) if error.is_temporary() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Like [`Self::read`]; poll(2) then reports the next change only.
    fn acknowledge(&self) -> Result<Option<Page>, DeviceError> {
        match self.page.acknowledge() {
            Ok(octets) => self.decode(&octets).map(Some),
            Err(error) if error.is_temporary() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Detects that the machine was moved to another host or continued from a snapshot.
#[derive(Debug)]
pub struct Disruptions {
    page: OpenPage,
    known: Identity,
    sequence: u32,
    notifies: bool,
}

impl Disruptions {
    /// Opens the page and remembers its marker.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        let page = OpenPage::open(path)?;
        let now = page.acknowledge()?;
        let now = now.ok_or_else(|| {
            DeviceError::Unsuitable(format!(
                "{}: the hypervisor does not finish writing it",
                path.display()
            ))
        })?;
        Ok(Self {
            page,
            known: now.identity,
            sequence: now.sequence,
            notifies: now.notifies,
        })
    }

    /// Returns the marker of the last comparison.
    pub fn marker(&self) -> u64 {
        self.known.marker
    }

    /// Returns the descriptor to wait for. `None` if the hypervisor does not report changes, so that
    /// the page has to be compared often.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.notifies.then(|| self.page.page.as_fd())
    }

    /// Compares the page with the last one. Returns the new marker after a disruption. `is_ready` is
    /// whether poll(2) reported a change.
    ///
    /// # Errors
    /// If the page cannot be read any more.
    pub fn check(&mut self, is_ready: bool) -> Result<Option<u64>, DeviceError> {
        let page = if is_ready {
            self.page.acknowledge()?
        } else {
            self.page.read()?
        };
        let Some(page) = page else {
            return Ok(None);
        };
        let is_new = page.identity != self.known;
        self.known = page.identity;
        // A driver that cannot report updates reports "ready" at all times, whatever the hypervisor
        // states.
        self.notifies &= !is_ready || page.sequence != self.sequence;
        if is_ready {
            self.sequence = page.sequence;
        }
        Ok(is_new.then_some(page.identity.marker))
    }
}

/// The hypervisor's time as a reference clock.
#[derive(Debug)]
pub(crate) struct VmClock {
    page: OpenPage,
    clock: Phc,
}

impl VmClock {
    /// Opens the page and the PTP clock that the kernel has of it.
    pub(crate) fn open(
        settings: &VmClockSettings,
        interval: NtpDuration,
        now: Now,
    ) -> Result<Self, DeviceError> {
        let page = OpenPage::open(&settings.path)?;
        let contents = page.read()?.ok_or_else(|| {
            DeviceError::Unsuitable("the hypervisor is writing the page".to_owned())
        })?;
        let time = contents
            .time
            .filter(|time| matches!(time.timescale, PageTimescale::Utc | PageTimescale::Tai));
        let time = time.ok_or_else(|| {
            DeviceError::Unsuitable(
                "the hypervisor gives no time, only the marker of migrations, which is watched \
                 without this source: remove it"
                    .to_owned(),
            )
        })?;
        let name = settings.path.file_name().and_then(|name| name.to_str());
        let device = name.unwrap_or("vmclock0").to_owned();
        let timescale = match time.timescale {
            PageTimescale::Tai => Timescale::Tai,
            _ => Timescale::Utc,
        };
        let settings = PhcSettings {
            device,
            timescale,
            cross_timestamps: true,
            external_timestamps: None,
        };
        let clock = Phc::open_on(&Sysfs::default(), &settings, interval, now)?;
        Ok(Self { page, clock })
    }
}

impl Driver for VmClock {
    fn descriptor(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        None
    }

    fn next_read(&self) -> Option<Monotonic> {
        self.clock.next_read()
    }

    fn read(&mut self, now: Now, readings: &mut Vec<Reading>) -> Result<(), DeviceError> {
        let page = self.page.read()?;
        self.clock
            .set_tai_offset(page.and_then(|page| page.tai_offset));
        let first = readings.len();
        self.clock.read(now, readings)?;
        for reading in readings.iter_mut().skip(first) {
            *reading = reading.and_then(|sample| complete(sample, page));
        }
        Ok(())
    }

    fn description(&self) -> String {
        self.clock.description()
    }
}

/// Adds what the page states about the time.
fn complete(sample: ClockSample, page: Option<Page>) -> Reading {
    let page = page.ok_or(SampleRefusal::NotReady)?;
    let time = page.time.ok_or(SampleRefusal::NotReady)?;
    // A hypervisor that states nothing about its clock is believed like any other server.
    if matches!(
        page.status,
        PageStatus::Initializing | PageStatus::Unreliable
    ) {
        return Err(SampleRefusal::Unsynchronized);
    }
    Ok(ClockSample {
        leap: page.leap,
        error: Some(sample.error.unwrap_or_default() + time.max_error.unwrap_or_default()),
        ..sample
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    /// A page of a hypervisor with time, in the order of the fields.
    pub(crate) fn page() -> Vec<u8> {
        let mut page = Vec::new();
        page.extend(MAGIC.to_le_bytes());
        page.extend(4096u32.to_le_bytes());
        page.extend(1u16.to_le_bytes());
        page.extend([1, 0]); // TSC, UTC
        page.extend(6u32.to_le_bytes());
        page.extend(0xfeed_u64.to_le_bytes());
        let flags = flag::TAI_OFFSET | flag::TIME_MAX_ERROR | flag::GENERATION | flag::NOTIFICATION;
        page.extend(flags.to_le_bytes());
        page.extend([0, 0, 2, 0]); // padding, synchronised, strict
        page.extend(37i16.to_le_bytes());
        page.extend([1, 0]); // positive leap second, shift
        page.extend([0; 7 * 8]); // counter, three periods, time, estimated error: see below
        page.extend(5_000u64.to_le_bytes());
        page.extend(77u64.to_le_bytes());
        assert_eq!(page.len(), VMCLOCK_SIZE);
        page
    }

    fn with(offset: usize, octets: &[u8]) -> Vec<u8> {
        let mut page = page();
        page[offset..offset + octets.len()].copy_from_slice(octets);
        page
    }

    #[test]
    fn every_field_is_read_at_its_offset() {
        let page = decode(&page()).unwrap();
        assert_eq!(
            page,
            Page {
                identity: Identity {
                    marker: 0xfeed,
                    generation: Some(77)
                },
                sequence: 6,
                notifies: true,
                status: PageStatus::Synchronized,
                tai_offset: Some(NtpDuration::from_seconds(37)),
                leap: LeapIndicator::Insert,
                time: Some(PageTime {
                    timescale: PageTimescale::Utc,
                    max_error: Some(NtpDuration::from_nanos(5000)),
                }),
            }
        );
    }

    #[test]
    fn fields_beyond_the_size_or_without_their_flag_are_absent() {
        let short = decode(&with(4, &104u32.to_le_bytes())).unwrap();
        assert_eq!(short.identity.generation, None);
        let marker_only = decode(&with(4, &32u32.to_le_bytes())).unwrap();
        assert_eq!(marker_only.identity.marker, 0xfeed);
        assert_eq!((marker_only.time, marker_only.tai_offset), (None, None));
        let flagless = decode(&with(24, &[0; 8])).unwrap();
        assert_eq!(
            (flagless.identity.generation, flagless.tai_offset),
            (None, None)
        );
        assert_eq!(flagless.time.unwrap().max_error, None);
        let counterless = decode(&with(10, &[NO_COUNTER])).unwrap();
        assert_eq!(counterless.time, None);
    }

    #[test]
    fn what_is_no_page_of_version_1_is_refused() {
        assert_eq!(decode(&with(0, &[0])), Err(PageError::Magic));
        assert_eq!(decode(&with(8, &[2])), Err(PageError::Version(2)));
        assert_eq!(
            decode(&with(4, &31u32.to_le_bytes())),
            Err(PageError::Size(31))
        );
        for length in 0..VMCLOCK_SIZE {
            // Whatever is there, it must not panic.
            let _ = decode(&page()[..length]);
        }
    }

    #[test]
    fn an_unreliable_clock_gives_no_samples() {
        let sample = crate::pulse::sample(
            ntp_time::Stamp {
                time: ntp_time::SystemTime::from_nanos(0),
                source: ntp_time::StampSource::Kernel,
            },
            NtpDuration::from_seconds(1),
        );
        for (status, expected) in [(0, true), (1, false), (2, true), (3, true), (4, false)] {
            let page = decode(&with(34, &[status])).unwrap();
            let reading = complete(sample, Some(page));
            assert_eq!(reading.is_ok(), expected, "{status}");
            if let Ok(sample) = reading {
                assert_eq!(sample.error, Some(NtpDuration::from_nanos(5000)));
                assert_eq!(sample.leap, LeapIndicator::Insert);
            }
        }
        assert_eq!(complete(sample, None), Err(SampleRefusal::NotReady));
    }

    #[test]
    fn a_new_marker_is_reported_once_and_only_after_the_update() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vmclock0");
        std::fs::write(&path, page()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mut disruptions = Disruptions::open(&path).unwrap();
        assert_eq!(disruptions.check(false).unwrap(), None);
        file.write_all_at(&7u32.to_le_bytes(), 12).unwrap();
        file.write_all_at(&0xbeef_u64.to_le_bytes(), 16).unwrap();
        assert_eq!(
            disruptions.check(false).unwrap(),
            None,
            "an update is in progress"
        );
        file.write_all_at(&8u32.to_le_bytes(), 12).unwrap();
        assert_eq!(disruptions.check(true).unwrap(), Some(0xbeef));
        assert_eq!(disruptions.check(false).unwrap(), None);
        assert!(disruptions.descriptor().is_some());
        // A clone of a snapshot: the same clock, another generation.
        file.write_all_at(&78u64.to_le_bytes(), 104).unwrap();
        assert_eq!(disruptions.check(false).unwrap(), Some(0xbeef));
        // A file is ready at all times: waiting for it would never wait.
        assert_eq!(disruptions.check(true).unwrap(), None);
        assert!(disruptions.descriptor().is_none());
    }
}
