//! A reply that lacks only its transmit timestamp.

use ntp_time::SystemTime;

use crate::wire::{Header, Writer};

/// A buffer for one reply. Workers keep one for each place in their batch and use it again and again.
#[derive(Clone, Debug)]
pub struct Draft {
    octets: [u8; Header::LEN],
    ready: bool,
}

impl Draft {
    /// An empty draft.
    pub const fn new() -> Self {
        Self {
            octets: [0; Header::LEN],
            ready: false,
        }
    }

    /// Stamps the reply and gives it out for sending; nothing if there is none.
    ///
    /// `transmit` is when the reply leaves: the caller reads the clock as late as it can, and adds what it
    /// knows about the time from there to the wire.
    pub fn seal(&mut self, transmit: SystemTime) -> &[u8] {
        if !self.ready {
            return &[];
        }
        Header::restamp(&mut self.octets, transmit.to_ntp());
        &self.octets
    }

    pub(super) const fn clear(&mut self) {
        self.ready = false;
    }

    pub(super) fn write(&mut self, header: &Header) {
        // A header fits: the buffer is as long as one.
        self.ready = header.emit(&mut Writer::new(&mut self.octets)).is_ok();
    }
}

impl Default for Draft {
    fn default() -> Self {
        Self::new()
    }
}
