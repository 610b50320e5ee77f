//! Who asks, how often and when: a list of clients whose memory does not depend on them.
//!
//! # The problem
//! An operator wants to know his clients. But a source address costs nothing: whoever forges them sends another one with every packet, and
//! a list that takes in all that come either grows without end or is washed out by nobodies, just when it is looked at.
//!
//! # The idea
//! Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements in data streams", ICDT 2005).
//! There is room for so many addresses and no more. A newcomer that finds no room takes the place of the entry with the fewest
//! requests, and takes over its count `c` as well: the newcomer may be one that was in the list before, and whoever left it had asked
//! at most as often as the least of those that stayed. So it begins with `c + 1` requests, of which `c` are possibly too many, and for every
//! entry
//!
//! ```text
//! requests - overcount  <=  true number of its requests  <=  requests
//! ```
//!
//! Every datagram adds 1 to the sum of all counts, whatever happens, so that the least of `n` counts is at most an `n`-th of all
//! datagrams. Who sends more than that is in the list. A flood in which every packet has an address of its own thus raises the least counts, slowly and evenly,
//! and turns over the entries that have them; it does not come near those who ask often.
//!
//! # In sets
//! To find the least of all at each packet would take a structure of pointers. Here, as in the rate limit's table, an address belongs to
//! one set of [`WAYS`], and the above holds within the set, of those datagrams that fell into it. Which set is a keyed hash of the address (SipHash), so nobody can aim at
//! another's. Some sets get more addresses than they hold before others are full: with room for as many as there are clients, one in seven is missing or takes turns; with
//! twice the room, one set in fifty is too small.
//!
//! # What is not told
//! The classes of an entry (answered, denied, limited) and its times are its own, since it came into the list; they are never taken over from another.
//! An entry does not age: `last` tells how long it has been silent. The list begins anew when its size is changed.

use core::net::{IpAddr, Ipv6Addr};

use ntp_time::{Monotonic, NtpDuration};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use siphasher::sip::SipHasher13;

use super::client::Client;
use super::{Kind, Reason, Verdict};

/// The clients of one worker, those who ask most often for certain.
///
/// All memory is taken by [`resize`](Self::resize); [`note`](Self::note) takes none.
#[derive(Clone)]
pub struct ClientList {
    sets: Vec<Set>,
    hasher: SipHasher13,
    displaced: u64,
}

/// A client as the list knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    /// Its address; that of an IPv4 client of an IPv6 socket is IPv4.
    pub address: IpAddr,
    /// Its datagrams: at most so many.
    pub requests: u64,
    /// How many of these may have been another's.
    pub overcount: u64,
    /// Answered with time.
    pub answered: u64,
    /// Refused by an access list or because NTS is required, in silence or not.
    pub denied: u64,
    /// Over the rate limit.
    pub limited: u64,
    /// When it came into the list.
    pub first: Monotonic,
    /// When it was heard last.
    pub last: Monotonic,
}

/// Entries among which one has to leave when another one comes.
const WAYS: usize = 8;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

/// [`ClientEntry`] as it is kept. An unused one has no requests, and so is the first to be displaced.
#[derive(Clone, Copy)]
struct Entry {
    /// IPv4 is mapped (RFC 4291 section 2.5.5.2).
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
    /// The most addresses that a server remembers, over all of its workers; they take 4.7 MB.
    pub const MOST: usize = 65_536;

    /// A list that remembers nobody.
    ///
    /// `seed` must be different for each worker and unknown to everybody else: it keys the hash.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut key = [0; 16];
        ChaCha8Rng::from_seed(seed).fill_bytes(&mut key);
        Self {
            sets: Vec::new(),
            hasher: SipHasher13::new_with_key(&key),
            displaced: 0,
        }
    }

    /// Forgets everybody, and makes room for the share of one of `workers` workers that remember `size` addresses together: rounded up to
    /// a multiple of 8. With a size of 0 no memory is kept.
    pub fn resize(&mut self, size: usize, workers: usize) {
        let share = size.min(Self::MOST).div_ceil(workers.max(1));
        self.sets = vec![Set([Entry::UNUSED; WAYS]); share.div_ceil(WAYS)];
        self.displaced = 0;
    }

    /// Enters a datagram that came from `from`, and what was decided about it.
    pub fn note(&mut self, from: IpAddr, verdict: Verdict, now: Monotonic) {
        let address = mapped(from);
        let place = self.place(address);
        let Some(Set(entries)) = self.sets.get_mut(place) else {
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

    /// How often an address had to make room for another one. Without that, the list is complete and all counts are exact.
    pub const fn displaced(&self) -> u64 {
        self.displaced
    }

    /// Everybody who is remembered, in no order.
    pub fn entries(&self) -> impl Iterator<Item = ClientEntry> {
        let entries = self.sets.iter().flat_map(|Set(entries)| entries);
        entries.filter(|it| it.requests > 0).map(Entry::told)
    }

    /// The set that an address belongs to.
    fn place(&self, address: Ipv6Addr) -> usize {
        let hash = self.hasher.hash(&address.octets());
        // The high half of the product: the hash's high bits, scaled to the number of sets.
        let scaled = (u128::from(hash) * self.sets.len() as u128) >> 64;
        usize::try_from(scaled).unwrap_or(usize::MAX)
    }
}

/// Without the addresses.
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
            // None of its own so far.
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
            // Nonsense, and what could not be authenticated; or there is no answer that would be short enough.
            Verdict::Answer { .. } | Verdict::Ignore(_) => {}
        }
    }

    fn told(&self) -> ClientEntry {
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
    /// The mean distance of those requests that are its own for certain; `None` before the second.
    pub fn interval(&self) -> Option<NtpDuration> {
        let own = i64::try_from(self.requests - self.overcount).ok()?;
        let gaps = own.checked_sub(1).filter(|gaps| *gaps > 0)?;
        let whole = self.last - self.first;
        Some(whole / gaps)
    }

    /// Adds what another worker knows of the same client. One client always meets the same worker, unless the kernel cannot steer.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.overcount += other.overcount;
        self.answered += other.answered;
        self.denied += other.denied;
        self.limited += other.limited;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
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
        /// Whoever comes in whatever order, against a count that forgets nobody.
        #[test]
        fn the_true_count_lies_between_the_bounds(
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
                // The small numbers come more often.
                let address = client(number * number / 60);
                *exact.entry(address).or_default() += 1;
                list.note(address, verdicts[*verdict], at(second));
            }
            for entry in list.entries() {
                let truth = exact[&entry.address];
                let own = entry.requests - entry.overcount;
                prop_assert!(own >= 1 && own <= truth && truth <= entry.requests, "{entry:?}: {truth}");
                prop_assert!(entry.answered + entry.denied + entry.limited <= own);
                prop_assert!(entry.first <= entry.last);
                prop_assert!(list.displaced() > 0 || truth == entry.requests);
            }
            // Nobody is missing who asked more often than the least of his set.
            for (address, truth) in &exact {
                let Set(set) = list.sets[list.place(mapped(*address))];
                let least = set.iter().map(|entry| entry.requests).min().unwrap();
                prop_assert!(of(&list, *address).is_some() || *truth <= least);
            }
            let sum: u64 = list.entries().map(|entry| entry.requests).sum();
            prop_assert_eq!(sum, stream.len() as u64);
        }
    }

    #[test]
    fn what_becomes_of_requests_is_told_apart() {
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
            list.note(client(1), verdict, at(2 * second));
        }
        let entry = of(&list, client(1)).unwrap();
        assert_eq!((entry.requests, entry.overcount), (9, 0));
        assert_eq!((entry.answered, entry.denied, entry.limited), (2, 3, 2));
        assert_eq!((entry.first, entry.last), (at(20), at(36)));
        assert_eq!(entry.interval(), Some(NtpDuration::from_seconds(2)));
    }

    #[test]
    fn an_ipv4_client_is_the_same_at_either_kind_of_socket_and_every_ipv6_address_is_one() {
        let mut list = list(64);
        for address in [
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "2001:db8::1",
            "2001:db8::2",
            "::",
        ] {
            list.note(address.parse().unwrap(), TIME, at(1));
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
    fn a_flood_of_forged_addresses_does_not_wash_out_who_asks_often() {
        let mut list = list(1024);
        let often: Vec<_> = (1..=20)
            .map(|host| IpAddr::from([192, 0, 2, host]))
            .collect();
        let mut asked = 0;
        for number in 0..1_000_000u32 {
            // An odd factor permutes the numbers: no address comes twice.
            list.note(client(number.wrapping_mul(0x9e37_79b1)), TIME, at(0));
            if number % 400 == 0 {
                asked += 1;
                for address in &often {
                    list.note(*address, TIME, at(0));
                }
            }
        }
        let everybody = list.entries().count();
        let mut entries: Vec<_> = list.entries().collect();
        entries.sort_unstable_by_key(|entry| core::cmp::Reverse(entry.requests));
        for address in &often {
            let place = entries.iter().position(|entry| entry.address == *address);
            assert!(
                place.is_some_and(|place| place < 20),
                "{address}: {place:?}"
            );
            let entry = of(&list, *address).unwrap();
            // What it took over when it came is little against what it asked.
            assert!(entry.overcount < 50 && entry.requests - entry.overcount > asked - 50);
        }
        assert_eq!(everybody, 1024);
        assert!(list.displaced() > 900_000);
    }

    #[test]
    fn size_is_shared_by_workers_and_a_new_one_begins_anew() {
        let mut list = ClientList::new([7; 32]);
        list.note(client(1), TIME, at(0));
        assert_eq!(list.entries().count(), 0, "switched off");
        for (size, workers, sets) in [
            (1, 1, 1),
            (1000, 1, 125),
            (1000, 3, 42),
            (usize::MAX, 1, ClientList::MOST / WAYS),
            (1, usize::MAX, 1),
            (8, 0, 1),
            (0, 2, 0),
        ] {
            list.resize(size, workers);
            assert_eq!(list.sets.len(), sets, "{size} over {workers}");
            assert_eq!(list.entries().count(), 0);
            list.note(client(1), TIME, at(0));
            assert_eq!(list.displaced(), 0);
        }
        assert_eq!(list.sets.capacity(), 0, "what is switched off is gone");
        assert_eq!(size_of::<Set>(), 576);
    }

    #[test]
    fn two_workers_that_met_one_client_are_added_up() {
        let (mut one, mut two) = (list(8), list(8));
        for second in 0..4 {
            one.note(client(1), TIME, at(second));
            two.note(client(1), Verdict::Ignore(Reason::Access), at(10 + second));
        }
        let mut sum = of(&one, client(1)).unwrap();
        sum.add(&of(&two, client(1)).unwrap());
        assert_eq!((sum.requests, sum.answered, sum.denied), (8, 4, 4));
        assert_eq!((sum.first, sum.last), (at(0), at(13)));
    }
}
