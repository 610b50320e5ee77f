//! Every number of NTPv5 that is provisional: the draft assigns them for experiments, and the RFC
//! will replace them. Nothing else in the project states one of them.

use ntp_time::NtpTimestamp;

/// Names of the drafts that are spoken, the newest first. The format of their packets is the same;
/// a request is answered under the name that it states.
pub const NAMES: [&str; 2] = ["draft-ietf-ntp-ntpv5-09", "draft-ietf-ntp-ntpv5-08"];

/// Reference timestamps of a version 4 request by which a client shows that it speaks version 5,
/// the one to send first. The second is that of the final version: `NTP5NTP5`.
pub const MARKERS: [NtpTimestamp; 2] = [
    NtpTimestamp::from_bits(u64::from_be_bytes(*b"NTP5DRFT")),
    NtpTimestamp::from_bits(u64::from_be_bytes(*b"NTP5NTP5")),
];

/// Protocol ID of NTPv5 in the next protocol negotiation of an NTS key exchange (RFC 8915 section
/// 4.1.2).
pub const NTS_PROTOCOL: u16 = 0x8001;

/// Type of the record of an NTS key exchange that holds the name of the draft. It is not critical.
/// An old draft of NTS pools uses the same number with the critical bit.
pub const NTS_DRAFT_RECORD: u16 = 0x4001;

/// Types of extension fields.
pub(super) mod field_type {
    pub(crate) const PADDING: u16 = 0xf501;
    pub(crate) const MAC: u16 = 0xf502;
    pub(crate) const REFERENCE_IDS_REQUEST: u16 = 0xf503;
    pub(crate) const REFERENCE_IDS_RESPONSE: u16 = 0xf504;
    pub(crate) const SERVER_INFORMATION: u16 = 0xf505;
    pub(crate) const CORRECTION: u16 = 0xf506;
    pub(crate) const REFERENCE_TIMESTAMP: u16 = 0xf507;
    pub(crate) const MONOTONIC_RECEIVE: u16 = 0xf508;
    pub(crate) const SECONDARY_RECEIVE: u16 = 0xf509;
    pub(crate) const DRAFT: u16 = 0xf5ff;
}

/// The extension field that states a draft of [`NAMES`], as a whole.
#[derive(Debug)]
pub struct DraftField {
    octets: [u8; Self::LEN],
    name: &'static str,
}

impl DraftField {
    /// Length in octets.
    pub const LEN: usize = (4 + NAMES[0].len()).next_multiple_of(4);
    const ALL: [Self; NAMES.len()] = [Self::new(NAMES[0]), Self::new(NAMES[1])];

    const fn new(name: &'static str) -> Self {
        let mut octets = [0; Self::LEN];
        let (prefix, rest) = octets.split_at_mut(4);
        let [high, low] = field_type::DRAFT.to_be_bytes();
        prefix.copy_from_slice(&[high, low, 0, 4 + name.len() as u8]);
        rest.split_at_mut(name.len())
            .0
            .copy_from_slice(name.as_bytes());
        Self { octets, name }
    }

    /// The field that consists of `octets`.
    #[inline]
    pub fn find(octets: &[u8]) -> Option<&'static Self> {
        static ALL: [DraftField; NAMES.len()] = DraftField::ALL;
        let octets: &[u8; Self::LEN] = octets.try_into().ok()?;
        ALL.iter().find(|field| field.octets == *octets)
    }

    /// Its octets.
    pub const fn octets(&self) -> &[u8; Self::LEN] {
        &self.octets
    }

    /// The name of the draft.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The name of a draft that is spoken, if `octets` is one: in full, without NUL.
pub fn known_name(octets: &[u8]) -> Option<&'static str> {
    NAMES.into_iter().find(|name| name.as_bytes() == octets)
}

/// Whether the reference timestamp of a version 4 packet is a marker of version 5.
#[inline]
pub fn is_marker(reference_timestamp: NtpTimestamp) -> bool {
    MARKERS.contains(&reference_timestamp)
}
