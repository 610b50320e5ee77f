//! List of the most active clients, in memory of fixed size.
//!
//! # The problem
//! The operator wants to know the clients of the server. But source addresses are easily forged: an
//! attacker can send every packet from a new one, so a list that accepts all of them either grows
//! without limit or loses the real clients to forged ones, just when it is needed.
//!
//! # Space-Saving
//! The algorithm is Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent
//! and top-k elements in data streams", ICDT 2005). The number of entries is fixed. If the list is
//! full, a new client replaces the least active entry and inherits its count `c`: the new client
//! may have been in the list before, and whatever was replaced had at most as many requests as the
//! least of the remaining entries. It starts with `c + 1` requests, at most `c` of which are not
//! its own, so for every entry
//!
//! ```text
//! requests - overcount  <=  true number of its requests  <=  requests
//! ```
//!
//! Every datagram adds 1 to the sum of all counts, so the least of `n` counts is at most an `n`-th
//! of all datagrams. A client that sends more than that is in the list. A flood in which every
//! packet has a different address raises the least counts slowly and evenly and replaces the
//! entries that have them; it does not affect frequent clients.
//!
//! # Set associativity
//! Finding the least entry of all for each packet would need a structure of pointers. As in the
//! rate limiter's table, an address belongs to one set of [`WAYS`] entries, and the bound holds
//! within the set, for the datagrams that fall into it. The set is chosen by a keyed hash of the
//! address (SipHash), so an attacker cannot target the set of a given client. Some sets get more
//! addresses than they hold before others are full: if the list has as many entries as there are
//! clients, one client in seven is missing or replaced repeatedly; with twice as many entries, one
//! set in fifty is too small.
//!
//! # Limits
//! The counts by outcome of an entry (answered, denied, limited) and its times are its own since it
//! was added; they are not inherited. An entry does not age: `last` shows how long it has been
//! silent. The list is cleared when its size changes.

use core::net::{IpAddr, Ipv6Addr};

use ntp_time::{Monotonic, NtpDuration};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use siphasher::sip::SipHasher13;

use super::client::Client;
use super::{Kind, Reason, Verdict};

/// The clients of one worker; the most active ones are guaranteed to be included.
///
/// Only [`resize`](Self::resize) allocates memory; [`record`](Self::record) does not.
#[derive(Clone)]
pub struct ClientList {
    sets: Vec<Set>,
    hasher: SipHasher13,
    displaced: u64,
}

/// An entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    /// Address of the client; an IPv4 client of an IPv6 socket has its IPv4 address.
    pub address: IpAddr,
    /// Upper bound of the number of its datagrams.
    pub requests: u64,
    /// How many of these may belong to replaced entries.
    pub overcount: u64,
    /// Answered with the time.
    pub answered: u64,
    /// Refused by an access list or because NTS is required, with or without a kiss.
    pub denied: u64,
    /// Over the rate limit.
    pub limited: u64,
    /// When the entry was added.
    pub first: Monotonic,
    /// When its last datagram arrived.
    pub last: Monotonic,
}

/// Entries of a set.
const WAYS: usize = 8;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

/// A [`ClientEntry`] in memory. An unused one has no requests, so it is replaced first.
#[derive(Clone, Copy)]
struct Entry {
    /// IPv4 addresses are mapped (RFC 4291 section 2.5.5.2).
    address: Ipv6Addr,
    requests: u64,
    overcount: u64,
    answered: u64,
    denied: u64,
    limited: u64,
    first: Monotonic,
    last: Monotonic,
}

impl ClientList {
    /// Largest number of entries of a server, over all of its workers; 4.7 MB.
    pub const MAX_ENTRIES: usize = 65_536;

    /// A list of size 0.
    ///
    /// `seed` must be secret and different for each worker: it keys the hash.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut key = [0; 16];
        ChaCha8Rng::from_seed(seed).fill_bytes(&mut key);
        Self {
            sets: Vec::new(),
            hasher: SipHasher13::new_with_key(&key),
            displaced: 0,
        }
    }

    /// Removes all entries and allocates the share of one of `workers` workers whose lists have
    /// `size` entries together, rounded up to a multiple of 8. With a size of 0 no memory is kept.
    pub fn resize(&mut self, size: usize, workers: usize) {
        let share = size.min(Self::MAX_ENTRIES).div_ceil(workers.max(1));
        self.sets = vec![Set([Entry::UNUSED; WAYS]); share.div_ceil(WAYS)];
        self.displaced = 0;
    }

    /// Records a datagram from `from` and its verdict.
    pub fn record(&mut self, from: IpAddr, verdict: Verdict, now: Monotonic) {
        let address = to_mapped_ipv6(from);
        let index = self.set_index(address);
        let Some(Set(entries)) = self.sets.get_mut(index) else {
            return;
        };
        if let Some(entry) = entries.iter_mut().find(|it| it.address == address) {
            entry.count(verdict, now);
            return;
        }
        let Some(least) = entries.iter_mut().min_by_key(|entry| entry.requests) else {
            return;
        };
        self.displaced += u64::from(least.requests > 0);
        *least = Entry {
            address,
            requests: least.requests,
            overcount: least.requests,
            ..Entry::UNUSED
        };
        least.count(verdict, now);
    }

    /// How often an entry was replaced. If never, the list is complete and all counts are exact.
    pub const fn displaced(&self) -> u64 {
        self.displaced
    }

    /// All entries, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = ClientEntry> {
        let entries = self.sets.iter().flat_map(|Set(entries)| entries);
        entries
            .filter(|it| it.requests > 0)
            .map(Entry::client_entry)
    }

    /// Index of the set that an address belongs to.
    fn set_index(&self, address: Ipv6Addr) -> usize {
        let hash = self.hasher.hash(&address.octets());
        // The high half of the product: the hash's high bits, scaled to the number of sets.
        let scaled = (u128::from(hash) * self.sets.len() as u128) >> 64;
        usize::try_from(scaled).unwrap_or(usize::MAX)
    }
}

/// Does not show the addresses.
impl core::fmt::Debug for ClientList {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ClientList")
            .field("room", &(self.sets.len() * WAYS))
            .finish_non_exhaustive()
    }
}

impl Entry {
    const UNUSED: Self = Self {
        address: Ipv6Addr::UNSPECIFIED,
        requests: 0,
        overcount: 0,
        answered: 0,
        denied: 0,
        limited: 0,
        first: Monotonic::from_nanos(0),
        last: Monotonic::from_nanos(0),
    };

    fn count(&mut self, verdict: Verdict, now: Monotonic) {
        if self.requests == self.overcount {
            // It has no requests of its own so far.
            self.first = now;
        }
        self.requests += 1;
        self.last = now;
        match verdict {
            Verdict::Answer {
                kind: Kind::Time, ..
            } => self.answered += 1,
            Verdict::Answer {
                kind: Kind::Deny, ..
            }
            | Verdict::Ignore(Reason::Access | Reason::NtsRequired) => self.denied += 1,
            Verdict::Answer {
                kind: Kind::Rate, ..
            }
            | Verdict::Ignore(Reason::RateLimited) => self.limited += 1,
            // Malformed, not authentic, or no reply is short enough.
            Verdict::Answer { .. } | Verdict::Ignore(_) => {}
        }
    }

    fn client_entry(&self) -> ClientEntry {
        ClientEntry {
            address: IpAddr::V6(self.address).to_canonical(),
            requests: self.requests,
            overcount: self.overcount,
            answered: self.answered,
            denied: self.denied,
            limited: self.limited,
            first: self.first,
            last: self.last,
        }
    }
}

impl ClientEntry {
    /// Mean interval between the requests that are its own for certain (`requests - overcount`).
    /// `None` if there are fewer than two.
    pub fn interval(&self) -> Option<NtpDuration> {
        let own = i64::try_from(self.requests - self.overcount).ok()?;
        let gaps = own.checked_sub(1).filter(|gaps| *gaps > 0)?;
        let whole = self.last - self.first;
        Some(whole / gaps)
    }

    /// Adds the entry of another worker for the same client. A client always reaches the same
    /// worker, unless the kernel cannot steer.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.overcount += other.overcount;
        self.answered += other.answered;
        self.denied += other.denied;
        self.limited += other.limited;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

fn to_mapped_ipv6(address: IpAddr) -> Ipv6Addr {
    match Client::from(address) {
        Client::V4(bits) => core::net::Ipv4Addr::from_bits(bits).to_ipv6_mapped(),
        Client::V6(bits) => Ipv6Addr::from_bits(bits),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const TIME: Verdict = Verdict::Answer {
        kind: Kind::Time,
        interleaved: false,
        authenticated: false,
    };

    fn list(size: usize) -> ClientList {
        let mut list = ClientList::new([7; 32]);
        list.resize(size, 1);
        list
    }

    fn at(seconds: i64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    fn client(number: u32) -> IpAddr {
        number.to_be_bytes().into()
    }

    fn of(list: &ClientList, address: impl Into<IpAddr>) -> Option<ClientEntry> {
        let address = address.into();
        list.entries().find(|entry| entry.address == address)
    }

    proptest! {
        /// Random clients in random order, compared with an exact count.
        #[test]
        fn the_true_count_is_within_the_bounds(
            stream in vec((0u32..60, 0usize..5), 0..600),
            size in 1usize..40,
        ) {
            let verdicts = [
                TIME,
                Verdict::Answer { kind: Kind::Deny, interleaved: false, authenticated: false },
                Verdict::Ignore(Reason::Access),
                Verdict::Ignore(Reason::RateLimited),
                Verdict::Ignore(Reason::Unanswerable),
            ];
            let mut list = list(size);
            let mut exact: HashMap<IpAddr, u64> = HashMap::new();
            for (second, (number, verdict)) in (0..).zip(&stream) {
                // Small numbers are more frequent.
                let address = client(number * number / 60);
                *exact.entry(address).or_default() += 1;
                list.record(address, verdicts[*verdict], at(second));
            }
            for entry in list.entries() {
                let truth = exact[&entry.address];
                let own = entry.requests - entry.overcount;
                prop_assert!(own >= 1 && own <= truth && truth <= entry.requests, "{entry:?}: {truth}");
                prop_assert!(entry.answered + entry.denied + entry.limited <= own);
                prop_assert!(entry.first <= entry.last);
                prop_assert!(list.displaced() > 0 || truth == entry.requests);
            }
            // No client is missing that has more requests than the least of its set.
            for (address, truth) in &exact {
                let Set(set) = list.sets[list.set_index(to_mapped_ipv6(*address))];
                let least = set.iter().map(|entry| entry.requests).min().unwrap();
                prop_assert!(of(&list, *address).is_some() || *truth <= least);
            }
            let sum: u64 = list.entries().map(|entry| entry.requests).sum();
            prop_assert_eq!(sum, stream.len() as u64);
        }
    }

    #[test]
    fn requests_are_counted_by_outcome() {
        let mut list = list(8);
        let answer = |kind| Verdict::Answer {
            kind,
            interleaved: false,
            authenticated: false,
        };
        for (second, verdict) in (10..).zip([
            TIME,
            TIME,
            answer(Kind::Deny),
            Verdict::Ignore(Reason::Access),
            Verdict::Ignore(Reason::NtsRequired),
            answer(Kind::Rate),
            Verdict::Ignore(Reason::RateLimited),
            answer(Kind::NtsNak),
            Verdict::Ignore(Reason::NoKeys),
        ]) {
            list.record(client(1), verdict, at(2 * second));
        }
        let entry = of(&list, client(1)).unwrap();
        assert_eq!((entry.requests, entry.overcount), (9, 0));
        assert_eq!((entry.answered, entry.denied, entry.limited), (2, 3, 2));
        assert_eq!((entry.first, entry.last), (at(20), at(36)));
        assert_eq!(entry.interval(), Some(NtpDuration::from_seconds(2)));
    }

    #[test]
    fn mapped_and_native_ipv4_addresses_share_an_entry_and_ipv6_addresses_do_not() {
        let mut list = list(64);
        for address in [
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "2001:db8::1",
            "2001:db8::2",
            "::",
        ] {
            list.record(address.parse().unwrap(), TIME, at(1));
        }
        let count = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            of(&list, address).map(|entry| entry.requests)
        };
        assert_eq!(count("192.0.2.1"), Some(2));
        assert_eq!(count("2001:db8::1"), Some(1));
        assert_eq!(count("2001:db8::2"), Some(1));
        assert_eq!(count("::"), Some(1));
        assert_eq!(
            of(&list, client(0xc000_0201)).unwrap().interval(),
            Some(NtpDuration::ZERO)
        );
        assert_eq!((list.entries().count(), list.displaced()), (4, 0));
    }

    #[test]
    fn a_flood_of_forged_addresses_does_not_evict_frequent_clients() {
        let mut list = list(1024);
        let frequent: Vec<_> = (1..=20)
            .map(|host| IpAddr::from([192, 0, 2, host]))
            .collect();
        let mut requests = 0;
        for number in 0..1_000_000u32 {
            // An odd factor permutes the numbers: no address is repeated.
            list.record(client(number.wrapping_mul(0x9e37_79b1)), TIME, at(0));
            if number % 400 == 0 {
                requests += 1;
                for address in &frequent {
                    list.record(*address, TIME, at(0));
                }
            }
        }
        let total = list.entries().count();
        let mut entries: Vec<_> = list.entries().collect();
        entries.sort_unstable_by_key(|entry| core::cmp::Reverse(entry.requests));
        for address in &frequent {
            let place = entries.iter().position(|entry| entry.address == *address);
            assert!(
                place.is_some_and(|place| place < 20),
                "{address}: {place:?}"
            );
            let entry = of(&list, *address).unwrap();
            // The inherited count is small compared with its own.
            assert!(entry.overcount < 50 && entry.requests - entry.overcount > requests - 50);
        }
        assert_eq!(total, 1024);
        assert!(list.displaced() > 900_000);
    }

    #[test]
    fn size_is_divided_among_workers_and_resizing_clears_the_list() {
        let mut list = ClientList::new([7; 32]);
        list.record(client(1), TIME, at(0));
        assert_eq!(list.entries().count(), 0, "switched off");
        for (size, workers, sets) in [
            (1, 1, 1),
            (1000, 1, 125),
            (1000, 3, 42),
            (usize::MAX, 1, ClientList::MAX_ENTRIES / WAYS),
            (1, usize::MAX, 1),
            (8, 0, 1),
            (0, 2, 0),
        ] {
            list.resize(size, workers);
            assert_eq!(list.sets.len(), sets, "{size} over {workers}");
            assert_eq!(list.entries().count(), 0);
            list.record(client(1), TIME, at(0));
            assert_eq!(list.displaced(), 0);
        }
        assert_eq!(list.sets.capacity(), 0, "what is switched off is gone");
        assert_eq!(size_of::<Set>(), 576);
    }

    #[test]
    fn entries_of_two_workers_for_one_client_are_merged() {
        let (mut one, mut two) = (list(8), list(8));
        for second in 0..4 {
            one.record(client(1), TIME, at(second));
            two.record(client(1), Verdict::Ignore(Reason::Access), at(10 + second));
        }
        let mut sum = of(&one, client(1)).unwrap();
        sum.merge(&of(&two, client(1)).unwrap());
        assert_eq!((sum.requests, sum.answered, sum.denied), (8, 4, 4));
        assert_eq!((sum.first, sum.last), (at(0), at(13)));
    }
}
