//! Notices that the virtual machine was moved to another host or continued from a snapshot.
//!
//! Hypervisors with VMClock write a marker into a page of the machine. It is compared in each round
//! of the loop, before any other device is read: a reply that came after a migration must not be
//! joined with a timestamp from before it. A hypervisor that reports changes wakes the loop; for
//! others the loop wakes up by itself often enough.

use std::path::Path;

use ntp_config::{Config, SourceKind};
use ntp_os_clock::monotonic;
use ntp_proto::engine::{Event, Input};
use ntp_refclock::DeviceError;
use ntp_refclock::vmclock::Disruptions;
use ntp_time::{Monotonic, NtpDuration};
use ntp_types::event::Prose;
use ntp_types::refclock::RefClockDevice;
use ntp_udp::wait::{Interest, PollSet};

use super::failure::Failure;
use super::pollable::{Context, Pollable};
use crate::log;

/// The page of the hypervisor, if it has one.
const DEVICE: &str = "/dev/vmclock0";

/// How often the page is compared if the hypervisor does not report changes. The clock has to be
/// called unsynchronised within 100 ms of a migration.
const COMPARISON_INTERVAL: NtpDuration = NtpDuration::from_millis(50);

/// Compares the markers of the pages.
#[derive(Debug, Default)]
pub struct DisruptionMonitor {
    pages: Vec<Page>,
    /// When the pages that report no changes are compared next.
    next: Option<Monotonic>,
}

#[derive(Debug)]
struct Page {
    is_default: bool,
    disruptions: Disruptions,
    place: Option<usize>,
}

impl DisruptionMonitor {
    /// Opens the page of the hypervisor, and those that the configuration names. A machine without
    /// one has nothing to compare.
    pub fn open(config: &Config) -> Self {
        let named = config
            .sources
            .iter()
            .filter_map(|source| match &source.kind {
                SourceKind::RefClock(clock) => match &clock.reader.device {
                    RefClockDevice::VmClock(page) => Some(page.path.as_path()),
                    _ => None,
                },
                _ => None,
            });
        let mut paths: Vec<_> = named.chain([Path::new(DEVICE)]).collect();
        paths.sort_unstable();
        paths.dedup();
        let pages: Vec<_> = paths.into_iter().filter_map(Page::open).collect();
        Self {
            next: (!pages.is_empty()).then(monotonic),
            pages,
        }
    }

    /// Returns the marker of the hypervisor's page, if that is the only one that is compared.
    pub fn marker(&self) -> Option<u64> {
        match &self.pages[..] {
            [page] if page.is_default => Some(page.disruptions.marker()),
            _ => None,
        }
    }

    fn is_reported(&self) -> bool {
        let mut pages = self.pages.iter();
        pages.all(|page| page.disruptions.descriptor().is_some())
    }
}

impl Page {
    fn open(path: &Path) -> Option<Self> {
        if !path.exists() {
            return None;
        }
        let disruptions = Disruptions::open(path)
            .map_err(|error| report(&error))
            .ok()?;
        Some(Self {
            is_default: path == Path::new(DEVICE),
            disruptions,
            place: None,
        })
    }

    /// Compares the page. Returns the new marker after a disruption.
    fn check(&mut self, set: &PollSet) -> Result<Option<u64>, DeviceError> {
        let is_ready = self.place.is_some_and(|place| set.readiness(place).any());
        self.disruptions.check(is_ready)
    }
}

fn report(error: &DeviceError) {
    log::emit(&Event::FacilityMissing {
        facility: "migration-marker".to_owned(),
        text: Prose(format!(
            "migrations of this virtual machine are not detected: {error}"
        )),
    });
}

impl Pollable for DisruptionMonitor {
    fn register(&mut self, set: &mut PollSet) {
        for page in &mut self.pages {
            let descriptor = page.disruptions.descriptor();
            page.place = descriptor.map(|descriptor| set.push(&descriptor, Interest::Readable));
        }
    }

    fn deadline(&self) -> Option<Monotonic> {
        self.next
            .filter(|_| !self.pages.is_empty() && !self.is_reported())
    }

    fn on_ready(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        let set = context.set;
        let mut markers = Vec::new();
        self.pages.retain_mut(|page| match page.check(set) {
            Ok(marker) => {
                markers.extend(marker);
                true
            }
            Err(error) => {
                report(&error);
                false
            }
        });
        for marker in markers {
            context.driver.handle(Input::Disrupted { marker })?;
        }
        if let Some(next) = &mut self.next {
            *next = monotonic() + COMPARISON_INTERVAL;
        }
        Ok(())
    }
}
