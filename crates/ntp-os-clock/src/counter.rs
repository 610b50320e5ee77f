//! The counter of the processor, which programs read without a system call: the TSC of x86-64, the
//! virtual count of AArch64.
//!
//! It is used only if its rate is constant, it runs at all times, and the kernel derives its own
//! clock from it: the kernel compares the counters of all processors and gives one up that is not
//! sound.

use crate::device::sysfs::Sysfs;

/// The counter.
#[derive(Clone, Copy, Debug)]
pub struct Counter(());

/// A reading of the counter together with that of something else.
#[derive(Clone, Copy, Debug)]
pub struct Bracketed<T> {
    /// The counter in the middle of the reading.
    pub count: u64,
    /// Largest difference of `count` from the moment of the reading, in counts.
    pub uncertainty: u64,
    /// What was read.
    pub value: T,
}

/// Why the counter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCounter {
    /// Programs cannot read a counter on this processor, or its rate changes.
    #[error("the processor has no counter of constant rate that programs may read")]
    Processor,
    /// The kernel uses another clock.
    #[error("the kernel's clock source is {0}, not the processor's counter")]
    ClockSource(String),
    /// The kernel's clock source is not known.
    #[error("the kernel's clock source cannot be read")]
    Unknown,
}

/// Attribute with the clock source of the kernel.
const CLOCK_SOURCE: &str = "devices/system/clocksource/clocksource0/current_clocksource";

/// Clock sources that are the counter. That of KVM is the counter with parameters of the host.
const COUNTERS: [&str; 3] = ["tsc", "kvm-clock", "arch_sys_counter"];

/// Number of readings of which the narrowest counts: a processor that is interrupted makes one wide.
const ATTEMPTS: usize = 5;

impl Counter {
    /// Returns the counter if it can be used.
    ///
    /// # Errors
    /// If it cannot, with the reason.
    pub fn open() -> Result<Self, NoCounter> {
        if !is_constant() || crate::syscall::clock_is_simulated() {
            return Err(NoCounter::Processor);
        }
        match Sysfs::default().attribute(CLOCK_SOURCE) {
            None => Err(NoCounter::Unknown),
            Some(source) if COUNTERS.contains(&&*source) => Ok(Self(())),
            Some(source) => Err(NoCounter::ClockSource(source)),
        }
    }

    /// Reads the counter, after all that precedes and before all that follows.
    pub fn read(self) -> u64 {
        read()
    }

    /// Reads the counter before and after something else; the narrowest of several attempts.
    pub fn bracket<T>(self, value: impl Fn() -> T) -> Bracketed<T> {
        let attempt = || {
            let before = self.read();
            let value = value();
            let width = self.read().saturating_sub(before);
            Bracketed {
                count: before + width / 2,
                uncertainty: width.div_ceil(2),
                value,
            }
        };
        let first = attempt();
        (1..ATTEMPTS).fold(first, |best, _| {
            let next = attempt();
            if next.uncertainty < best.uncertainty {
                next
            } else {
                best
            }
        })
    }
}

/// Whether the counter has a constant rate in all states of the processor.
#[cfg(target_arch = "x86_64")]
fn is_constant() -> bool {
    use core::arch::x86_64::__cpuid;

    /// Advanced power management, and the bit "invariant TSC" of its register EDX.
    const POWER: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & INVARIANT != 0
}

#[cfg(target_arch = "x86_64")]
fn read() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};

    // SAFETY: every processor of this architecture has both instructions.
    unsafe {
        _mm_lfence();
        let count = _rdtsc();
        _mm_lfence();
        count
    }
}

/// The architecture demands it.
#[cfg(target_arch = "aarch64")]
const fn is_constant() -> bool {
    true
}

#[cfg(target_arch = "aarch64")]
fn read() -> u64 {
    let count: u64;
    // SAFETY: Linux lets programs read this register; the instructions touch no memory.
    unsafe {
        core::arch::asm!("isb", "mrs {}, cntvct_el0", "isb", out(reg) count, options(nostack));
    }
    count
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const fn is_constant() -> bool {
    false
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const fn read() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracketed_reading_contains_the_moment() {
        let Ok(counter) = Counter::open() else {
            return eprintln!("skipped: no counter");
        };
        let reading = counter.bracket(|| counter.read());
        assert!(reading.value.abs_diff(reading.count) <= reading.uncertainty);
        assert!(counter.read() > reading.value);
    }
}
