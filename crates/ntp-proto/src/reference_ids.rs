//! Reference IDs of NTPv5 and the Bloom filter that holds them, by which a loop of servers is
//! found.
//!
//! Each server has a random [`ServerId`]. A server sends a [`BloomFilter`] of its own ID and of
//! those of all servers from which it takes the time, directly or indirectly: the union of the
//! filters of its sources, and itself. A server that finds its own ID in the filter of a source is
//! a source of that source, and must not follow it.
//!
//! A Bloom filter may contain an ID that was never inserted. With 4096 bits and ten positions per
//! ID the probability is 1e-12 for 26 IDs and 1e-6 for 118; with more than half of the bits set the
//! filter is of no use ([`BloomFilter::is_overfull`]).
//!
//! The draft does not state which bit of an octet is the lowest position, nor how an ID is divided
//! into positions. Only the server that owns an ID tests for it, so the others need not agree. Here
//! position p is bit `p % 8` of octet `p / 8`, counted from the lowest, as in upstream ntpd-rs; an
//! ID is ten groups of 12 bits, the first one highest.

use std::fmt;
use std::net::IpAddr;

use md5::{Digest, Md5};
use ntp_time::ReferenceId;
use rand_core::RngCore;

/// Identifies a server in a [`BloomFilter`]: 120 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId([u8; Self::LEN]);

impl ServerId {
    /// Length in octets.
    pub const LEN: usize = 15;
    /// Number of positions in the filter.
    const POSITIONS: usize = 10;

    /// The ID with these octets.
    pub const fn from_octets(octets: [u8; Self::LEN]) -> Self {
        Self(octets)
    }

    /// Draws an ID, all of whose positions differ: fewer positions would be found by chance more
    /// often.
    pub fn random(random: &mut impl RngCore) -> Self {
        loop {
            let mut octets = [0; Self::LEN];
            random.fill_bytes(&mut octets);
            let id = Self(octets);
            let mut positions = id.positions();
            positions.sort_unstable();
            // Fails once in ninety times.
            if positions.windows(2).all(|pair| pair.first() != pair.last()) {
                return id;
            }
        }
    }

    /// The ID of a server whose own is unknown, because it speaks version 4 only: the first 120
    /// bits of the MD5 digest of its address.
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::digest(&address.octets()),
            IpAddr::V6(address) => Self::digest(&address.octets()),
        }
    }

    /// The ID of a reference clock: the first 120 bits of the MD5 digest of its reference ID, such
    /// as `PPS` and a zero.
    pub fn of_reference_clock(reference_id: ReferenceId) -> Self {
        Self::digest(&reference_id.octets())
    }

    /// Its octets.
    pub const fn octets(self) -> [u8; Self::LEN] {
        self.0
    }

    /// Positions in the filter: each below 4096.
    fn positions(self) -> [u16; Self::POSITIONS] {
        let mut positions = [0; Self::POSITIONS];
        for (pair, group) in positions.chunks_exact_mut(2).zip(self.0.chunks_exact(3)) {
            if let ([first, second], [a, b, c]) = (pair, group) {
                *first = u16::from(*a) << 4 | u16::from(*b) >> 4;
                *second = u16::from(*b & 0xf) << 8 | u16::from(*c);
            }
        }
        positions
    }

    fn digest(octets: &[u8]) -> Self {
        let digest: [u8; 16] = Md5::digest(octets).into();
        let [id @ .., _] = digest;
        Self(id)
    }
}

/// In hexadecimal digits.
impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A set of [`ServerId`]s, of which only membership can be asked.
#[derive(Clone, PartialEq, Eq)]
pub struct BloomFilter([u8; Self::LEN]);

impl BloomFilter {
    /// Length in octets.
    pub const LEN: usize = 512;
    /// Number of bits.
    pub const BITS: u32 = 4096;
    /// The set without a member.
    pub const EMPTY: Self = Self([0; Self::LEN]);

    /// Adds an ID.
    pub fn insert(&mut self, id: ServerId) {
        for position in id.positions() {
            if let Some(octet) = self.0.get_mut(usize::from(position / 8)) {
                *octet |= 1 << (position % 8);
            }
        }
    }

    /// Whether the set contains an ID; rarely `true` for one that was not inserted.
    pub fn contains(&self, id: ServerId) -> bool {
        id.positions().into_iter().all(|position| {
            let octet = self.0.get(usize::from(position / 8));
            octet.is_some_and(|octet| octet >> (position % 8) & 1 == 1)
        })
    }

    /// Adds all members of `other`.
    pub fn union(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours |= theirs;
        }
    }

    /// Number of bits that are set: about ten for each member.
    pub fn count_ones(&self) -> u32 {
        self.0.iter().map(|octet| octet.count_ones()).sum()
    }

    /// Whether more than half of the bits are set: no real chain of servers has that many members
    /// (about 280), and a filter with all bits set contains every ID.
    pub fn is_overfull(&self) -> bool {
        self.count_ones() > Self::BITS / 2
    }

    /// The `length` octets from `offset` on. `None` if they reach beyond the end.
    pub fn chunk(&self, offset: usize, length: usize) -> Option<&[u8]> {
        self.0.get(offset..)?.get(..length)
    }

    /// Overwrites the octets from `offset` on. `None`, without an effect, if they reach beyond the
    /// end.
    pub fn write_chunk(&mut self, offset: usize, chunk: &[u8]) -> Option<()> {
        let place = self.0.get_mut(offset..)?.get_mut(..chunk.len())?;
        place.copy_from_slice(chunk);
        Some(())
    }
}

impl Default for BloomFilter {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Number of set bits.
impl fmt::Debug for BloomFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BloomFilter({} bits set)", self.count_ones())
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn positions_and_bits_have_a_fixed_order() {
        let id = ServerId::from_octets([
            0x00, 0x00, 0x01, 0x00, 0x20, 0x07, 0x00, 0x80, 0x09, 0xff, 0xf1, 0x23, 0x45, 0x67,
            0x89,
        ]);
        let expected = [0, 1, 2, 7, 8, 9, 0xfff, 0x123, 0x456, 0x789];
        assert_eq!(id.positions(), expected);
        let mut filter = BloomFilter::EMPTY;
        filter.insert(id);
        assert_eq!(filter.count_ones(), 10);
        assert_eq!(filter.chunk(0, 3), Some(&[0b1000_0111, 0b0000_0011, 0][..]));
        assert_eq!(filter.chunk(511, 1), Some(&[0b1000_0000][..]));
        assert_eq!(filter.chunk(0x123 / 8, 1), Some(&[1 << 3][..]));
    }

    #[test]
    fn a_filter_contains_its_members_and_those_of_its_sources() {
        let mut random = ChaCha8Rng::from_seed([1; 32]);
        let ids = [(); 26].map(|()| ServerId::random(&mut random));
        let (mut upstream, mut filter) = (BloomFilter::EMPTY, BloomFilter::EMPTY);
        for (index, id) in ids.into_iter().enumerate() {
            let inserted = if index < 20 {
                &mut upstream
            } else {
                &mut filter
            };
            inserted.insert(id);
        }
        filter.union(&upstream);
        assert!(ids.iter().all(|id| filter.contains(*id)));
        assert!(filter.count_ones() <= 260 && !filter.is_overfull());
        let strangers = (0..100_000).filter(|_| filter.contains(ServerId::random(&mut random)));
        assert_eq!(strangers.count(), 0);
    }

    #[test]
    fn random_ids_have_ten_different_positions() {
        let mut random = ChaCha8Rng::from_seed([2; 32]);
        for _ in 0..1000 {
            let mut filter = BloomFilter::EMPTY;
            filter.insert(ServerId::random(&mut random));
            assert_eq!(filter.count_ones(), 10);
        }
    }

    #[test]
    fn derived_ids_are_digests() {
        let address = ServerId::of_address(IpAddr::from([192, 0, 2, 1]));
        let mapped = ServerId::of_address("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(address, mapped);
        // `printf '\300\0\2\1' | md5sum`, `printf 'PPS\0' | md5sum`
        assert_eq!(format!("{address:?}"), ADDRESS);
        let pps = ServerId::of_reference_clock(ReferenceId::new(*b"PPS\0"));
        assert_eq!(format!("{pps:?}"), PPS);
    }

    const ADDRESS: &str = "b201f143e9c4d4048c4bf61e78b8ee";
    const PPS: &str = "ba67d74ec21092c75aac3caf44beab";

    #[test]
    fn chunks_assemble_to_the_filter() {
        let mut random = ChaCha8Rng::from_seed([3; 32]);
        let mut filter = BloomFilter::EMPTY;
        for _ in 0..200 {
            filter.insert(ServerId::random(&mut random));
        }
        for length in [4, 16, 128, 512] {
            let mut copy = BloomFilter::EMPTY;
            for offset in (0..BloomFilter::LEN).step_by(length) {
                let chunk = filter.chunk(offset, length).unwrap();
                copy.write_chunk(offset, chunk).unwrap();
            }
            assert_eq!(copy, filter);
        }
        assert_eq!(filter.chunk(509, 4), None);
        assert_eq!(filter.chunk(usize::MAX, 4), None);
        assert_eq!(filter.write_chunk(512, &[1]), None);
        assert!(!filter.is_overfull());
        filter.write_chunk(0, &[0xff; 257]).unwrap();
        assert!(filter.is_overfull());
    }
}
