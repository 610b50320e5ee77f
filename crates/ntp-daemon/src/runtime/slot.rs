//! A place for a part that this build may lack.
//!
//! A part that a feature of Cargo leaves out ([`ntp_config::build`]) is compiled in every build, so
//! that every build checks it. The slot is the only way to it: if `BUILT` is false, no code
//! reaches the part through the slot, and the linker leaves it out.

use ntp_time::Monotonic;
use ntp_udp::wait::PollSet;

use super::driver::Driver;
use super::failure::Failure;
use super::pollable::{Context, Pollable};

/// A part, unless there is none or the build lacks it.
#[derive(Debug)]
pub(crate) struct Slot<T, const BUILT: bool = true>(Option<T>);

impl<T, const BUILT: bool> Slot<T, BUILT> {
    /// Returns a slot without a part.
    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// Returns a slot with what `open` returns, which is not called if the build lacks the part.
    pub(crate) fn open(open: impl FnOnce() -> Option<T>) -> Self {
        Self(if BUILT { open() } else { None })
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if BUILT { self.0.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        if BUILT { self.0.as_mut() } else { None }
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        if BUILT { self.0.take() } else { None }
    }

    /// Returns the part, which `make` makes if there is none. Not called if the build lacks it.
    pub(crate) fn get_or_make<E>(
        &mut self,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<&mut T, E> {
        match &mut self.0 {
            Some(part) => Ok(part),
            none => Ok(none.insert(make()?)),
        }
    }
}

impl<T, const BUILT: bool> Default for Slot<T, BUILT> {
    fn default() -> Self {
        Self::empty()
    }
}

/// A slot without a part does nothing.
impl<S, P: Pollable<S>, const BUILT: bool> Pollable<S> for Slot<P, BUILT> {
    fn register(&mut self, set: &mut PollSet) {
        if let Some(part) = self.get_mut() {
            part.register(set);
        }
    }

    fn deadline(&self) -> Option<Monotonic> {
        self.get()?.deadline()
    }

    fn on_ready(&mut self, context: &mut Context<'_, S>) -> Result<(), Failure> {
        match self.get_mut() {
            Some(part) => part.on_ready(context),
            None => Ok(()),
        }
    }

    fn after_round(&mut self, context: &mut Context<'_, S>) {
        if let Some(part) = self.get_mut() {
            part.after_round(context);
        }
    }

    fn stop(&mut self, driver: &mut Driver) {
        if let Some(part) = self.get_mut() {
            part.stop(driver);
        }
    }

    fn execute(&mut self, driver: &mut Driver) {
        if let Some(part) = self.get_mut() {
            part.execute(driver);
        }
    }
}
