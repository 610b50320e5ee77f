//! The contract between the event loop and what it polls: sockets, files, child threads, timers.
//!
//! A device feeds the engine or carries out its requests; an interface shows and changes the
//! devices. Each is one file that implements [`Pollable`] and one line in a list of the
//! [`Runtime`](super::Runtime).
//!
//! # Why two lists
//! The control socket changes servers, cookie keys and the key exchange, which are pollables
//! themselves. Two shapes were weighed:
//!
//! * One list, with shared pollables behind `Rc<RefCell<_>>`. Everything is uniform, but that no
//!   pollable reaches itself while it runs is a matter of discipline, and a mistake is a panic in a
//!   running daemon.
//! * Devices in one list and interfaces in another, and the shared devices passed to the interfaces
//!   as a plain `&mut`. The compiler proves that nothing is borrowed twice, and that a device
//!   cannot reach an interface.
//!
//! The second was chosen. The parameter `S` is what a pollable may use besides the driver: nothing
//! for a device, the [`Services`](super::services::Services) for an interface.
//!
//! # Why requests are queued
//! The engine asks for packets and lookups while a device is being polled, possibly the very device
//! that has to do it. So the driver puts requests into a queue for each kind of device
//! ([`Requests`](super::driver::Requests)), and a device takes its own in [`Pollable::execute`].

use core::fmt;

use ntp_time::Monotonic;
use ntp_udp::wait::PollSet;

use super::driver::Driver;
use super::failure::Failure;

/// What a pollable may use while it runs.
#[derive(Debug)]
pub(crate) struct Context<'a, S = ()> {
    /// The engine with its clock.
    pub(crate) driver: &'a mut Driver,
    /// The result of the last wait.
    pub(crate) set: &'a PollSet,
    /// What is shared with this kind of pollable.
    pub(crate) shared: &'a mut S,
}

/// Something that the event loop waits for.
///
/// In each round the loop calls [`register`](Self::register) and [`deadline`](Self::deadline),
/// waits, then calls [`on_ready`](Self::on_ready) of all pollables, lets the engine do what is due,
/// and calls [`after_round`](Self::after_round) of all pollables.
pub(crate) trait Pollable<S = ()> {
    /// Adds descriptors to the poll set.
    fn register(&mut self, _set: &mut PollSet) {}

    /// Time by which the next round has to begin, even if no descriptor is ready.
    fn deadline(&self) -> Option<Monotonic> {
        None
    }

    /// Handles what has become ready. Called in every round: a pollable checks its own descriptors
    /// and times.
    ///
    /// # Errors
    /// If the daemon cannot continue.
    fn on_ready(&mut self, _context: &mut Context<'_, S>) -> Result<(), Failure> {
        Ok(())
    }

    /// Publishes the state that the engine has reached at the end of a round.
    fn after_round(&mut self, _context: &mut Context<'_, S>) {}

    /// Leaves behind what others still read when the daemon has ended. Called once, after the engine
    /// has stopped.
    fn stop(&mut self, _driver: &mut Driver) {}

    /// Carries out the engine's requests for this device.
    fn execute(&mut self, _driver: &mut Driver) {}
}

/// Prints the name of the trait only. With [`fmt::Debug`] as a supertrait, the formatting of every
/// field of every pollable would be linked, and nothing formats a pollable.
impl<S> fmt::Debug for dyn Pollable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pollable")
    }
}
