//! Kinds of threads, which differ in what they are permitted.

/// Kinds of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// The timekeeping thread: everything that the others do, and the clock.
    Timekeeping,
    /// Serves time: packets in, packets out.
    Serving,
    /// NTS key exchange: TLS connections, certificates.
    KeyExchange,
    /// Resolves names, with whatever the system's libraries need.
    Names,
    /// Reads and writes state files.
    Files,
    /// Opens reference clocks: devices, sockets, shared memory, and names of users and groups.
    Devices,
}

impl Profile {
    pub(super) const ALL: [Self; 6] = [
        Self::Timekeeping,
        Self::Serving,
        Self::KeyExchange,
        Self::Names,
        Self::Files,
        Self::Devices,
    ];

    /// Description of a thread in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Timekeeping => "timekeeping",
            Self::Serving => "serving",
            Self::KeyExchange => "key-exchange",
            Self::Names => "name-resolution",
            Self::Files => "file",
            Self::Devices => "device",
        }
    }

    /// Identifies the profile in reports of refused calls; 0 is for threads that were never
    /// confined.
    pub fn label(self) -> usize {
        let place = Self::ALL.iter().position(|profile| *profile == self);
        place.map_or(0, |place| place + 1)
    }

    /// Returns the profile of a label.
    pub(super) fn labelled(label: usize) -> Option<Self> {
        Self::ALL.get(label.checked_sub(1)?).copied()
    }
}
