//! How often one address is answered.
//!
//! # The bucket
//! Each address has a bucket of `burst` tokens; an answer takes one, and one comes back every `cutoff`. With a burst of 1 that is a plain
//! minimum spacing. The whole bucket is one number, the time `full` at which it will be full again (the generic
//! cell rate algorithm): a request at `t` is answered if
//!
//! ```text
//! full - (burst - 1) * cutoff <= t,      and then   full := max(full, t) + cutoff
//! ```
//!
//! A request that is refused costs nothing, so someone who asks too often still gets an answer every `cutoff`.
//!
//! An IPv6 host commands a /64, so that is one address here; link-local addresses are the exception, because there a whole link
//! shares one /64. Only what would be answered is counted: garbage, and packets that are no requests, cannot use up a client's share.
//!
//! # The leak
//! Source addresses are easily forged. Who sends requests in the name of a victim, one just whenever a token comes back, would silence
//! it for good. So after [`PATIENCE`] refusals some requests are answered at random all the same, 1 in 2^`leak`: then nothing
//! the attacker does can bring the victim's share below that, and a victim needs only one answer in several. The bucket is not
//! charged for those. A client that is merely hasty never sees the leak: the count starts anew when its bucket has
//! been full for one `cutoff`. Randomness comes from a generator that an observer cannot predict.
//!
//! # Bounded memory
//! Buckets live in a table of fixed size, in sets of four that fit a cache line; a set that is full gives up the bucket
//! that will be full soonest, which had the least to say. Addresses are hashed with SipHash under a random key, so nobody can aim at a victim's set. Of an
//! address only 56 bits of that hash are kept: two that share them, once in 10^16, share a bucket. A flood from millions of
//! addresses thus makes the table forget, which frees honest clients instead of locking them out.

use ntp_time::{Monotonic, NtpDuration, PollInterval};
use rand_core::RngCore;
use siphasher::sip::SipHasher13;

use super::client::Client;

/// Limits for one address. The default limits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Addresses that are watched, over all workers; 0 limits nothing. Rounded up to a multiple of 4 for each worker, and down to
    /// [`RateLimit::MOST_SLOTS`].
    pub slots: usize,
    /// How long a token takes to come back; 0 or less limits nothing. At most [`RateLimit::LONGEST_CUTOFF`] counts.
    pub cutoff: NtpDuration,
    /// Requests that are answered in a row; 0 counts as 1.
    pub burst: u8,
    /// After [`PATIENCE`] refusals, 1 request in 2^`leak` is answered all the same; `None` never.
    pub leak: Option<u8>,
    /// 1 refused request in 2^`kiss` gets a RATE kiss; `None` never.
    pub kiss: Option<u8>,
}

/// Refusals after which the leak begins.
pub const PATIENCE: u8 = 16;

impl RateLimit {
    /// The longest cutoff: 36 hours, NTP's longest poll interval.
    pub const LONGEST_CUTOFF: NtpDuration = NtpDuration::from_seconds(1 << 17);
    /// The most addresses that a worker watches; they take 256 MB.
    pub const MOST_SLOTS: usize = 1 << 24;

    /// No limit. The rest is what the two keys `rate-limiting-cache-size` and `rate-limiting-cutoff-ms` are
    /// completed with: no burst, a leak of one in eight, no kisses.
    pub const NONE: Self = Self {
        slots: 0,
        cutoff: NtpDuration::ZERO,
        burst: 1,
        leak: Some(3),
        kiss: None,
    };

    /// Whether anything is limited.
    pub const fn is_active(&self) -> bool {
        self.slots > 0 && self.cutoff.to_bits() > 0
    }

    /// The shortest poll interval, in log2 seconds, at which no request is refused.
    fn poll(&self) -> Option<i8> {
        let units = u64::try_from(self.cutoff.min(Self::LONGEST_CUTOFF).to_bits()).ok()?;
        if !self.is_active() {
            return None;
        }
        let exponent = units.next_power_of_two().trailing_zeros();
        i8::try_from(exponent).ok().map(|exponent| exponent - 32)
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::NONE
    }
}

/// What the limit says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// Answer it.
    Within,
    /// Do not answer it.
    Over,
    /// Do not answer it, but send a RATE kiss.
    OverWithKiss,
}

/// The buckets of one worker.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    limit: RateLimit,
    /// Of [`RateLimit::poll`].
    poll: Option<PollInterval>,
    sets: Vec<Set>,
    hasher: SipHasher13,
}

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([Bucket; WAYS]);

const WAYS: usize = 4;

/// An unused bucket is that of the address whose hash is zero, and full.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// 56 bits of the address's hash, and in the lowest octet how often it was refused.
    tag: u64,
    /// When the bucket will be full: nanoseconds of the monotonic clock.
    full: i64,
}

impl Bucket {
    const UNUSED: Self = Self {
        tag: 0,
        full: i64::MIN,
    };
    const REFUSALS: u64 = 0xff;
}

impl Limiter {
    /// A table for one of `workers` workers.
    pub(super) fn new(limit: RateLimit, workers: usize, key: [u8; 16]) -> Self {
        let slots = if limit.is_active() {
            limit
                .slots
                .div_ceil(workers.max(1))
                .min(RateLimit::MOST_SLOTS)
        } else {
            0
        };
        Self {
            limit,
            poll: limit.poll().map(PollInterval::from_log2),
            sets: vec![Set([Bucket::UNUSED; WAYS]); slots.div_ceil(WAYS)],
            hasher: SipHasher13::new_with_key(&key),
        }
    }

    /// The limit that is in force.
    pub(super) const fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// The shortest poll interval that a reply may suggest.
    pub(super) const fn poll(&self) -> Option<PollInterval> {
        self.poll
    }

    /// Decides about a request of `client`.
    #[inline]
    pub(super) fn charge(
        &mut self,
        client: Client,
        now: Monotonic,
        random: &mut impl RngCore,
    ) -> Charge {
        if self.sets.is_empty() {
            return Charge::Within;
        }
        self.charge_bucket(client, now, random)
    }

    fn charge_bucket(
        &mut self,
        client: Client,
        now: Monotonic,
        random: &mut impl RngCore,
    ) -> Charge {
        let hash = hash(&self.hasher, client);
        let now = now.as_nanos();
        let RateLimit {
            cutoff,
            burst,
            leak,
            kiss,
            ..
        } = self.limit;
        let cutoff = cutoff.min(RateLimit::LONGEST_CUTOFF).as_nanos();
        let allowance = cutoff * i64::from(burst.max(1) - 1);
        let Some(bucket) = self.bucket(hash) else {
            return Charge::Within;
        };
        if bucket.full.saturating_sub(allowance) <= now {
            if bucket.full.saturating_add(cutoff) <= now {
                bucket.tag &= !Bucket::REFUSALS;
            }
            bucket.full = bucket.full.max(now).saturating_add(cutoff);
            return Charge::Within;
        }
        let refusals = bucket.tag & Bucket::REFUSALS;
        if refusals < u64::from(PATIENCE) {
            bucket.tag += 1;
        } else if one_in_power(leak, random) {
            return Charge::Within;
        }
        if one_in_power(kiss, random) {
            Charge::OverWithKiss
        } else {
            Charge::Over
        }
    }

    /// The bucket of the address with this hash; a fresh one takes the place of the least telling.
    fn bucket(&mut self, hash: u64) -> Option<&mut Bucket> {
        // The high half of the product: the hash's high bits, scaled to the number of sets.
        let index = (u128::from(hash) * self.sets.len() as u128) >> 64;
        let Set(buckets) = self.sets.get_mut(usize::try_from(index).ok()?)?;
        let tag = hash & !Bucket::REFUSALS;
        let known = buckets
            .iter()
            .position(|bucket| bucket.tag & !Bucket::REFUSALS == tag);
        let place = known.or_else(|| {
            let (place, bucket) = buckets
                .iter_mut()
                .enumerate()
                .min_by_key(|(_, bucket)| bucket.full)?;
            *bucket = Bucket {
                tag,
                ..Bucket::UNUSED
            };
            Some(place)
        });
        buckets.get_mut(place?)
    }
}

/// A keyed hash of what counts as one address.
fn hash(hasher: &SipHasher13, client: Client) -> u64 {
    const LINK_LOCAL: u128 = 0xfe80 >> 6;
    match client {
        Client::V4(bits) => hasher.hash(&bits.to_be_bytes()),
        Client::V6(bits) if bits >> (128 - 10) == LINK_LOCAL => hasher.hash(&bits.to_be_bytes()),
        Client::V6(bits) => hasher.hash(&((bits >> 64) as u64).to_be_bytes()),
    }
}

/// True once in 2^`exponent`, never without one.
fn one_in_power(exponent: Option<u8>, random: &mut impl RngCore) -> bool {
    match exponent {
        None => false,
        Some(exponent) => {
            let mask = 1u32
                .checked_shl(exponent.into())
                .map_or(u32::MAX, |power| power - 1);
            random.next_u32() & mask == 0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    const CUTOFF: RateLimit = RateLimit {
        slots: 64,
        cutoff: NtpDuration::from_seconds(1),
        ..RateLimit::NONE
    };

    struct Bench {
        limiter: Limiter,
        random: ChaCha8Rng,
    }

    impl Bench {
        fn new(limit: RateLimit) -> Self {
            Self {
                limiter: Limiter::new(limit, 1, [7; 16]),
                random: ChaCha8Rng::from_seed([3; 32]),
            }
        }

        fn ask(&mut self, client: impl Into<IpAddr>, millis: i64) -> Charge {
            let now = Monotonic::from_nanos(millis * 1_000_000);
            let client = Client::from(client.into());
            self.limiter.charge(client, now, &mut self.random)
        }

        /// How many of the requests at these times are answered.
        fn answered(&mut self, client: [u8; 4], times: impl Iterator<Item = i64>) -> usize {
            times
                .filter(|at| self.ask(client, *at) == Charge::Within)
                .count()
        }
    }

    #[test]
    fn with_the_two_keys_alone_the_cutoff_is_a_minimum_spacing() {
        let mut bench = Bench::new(CUTOFF);
        for (millis, expected) in [
            (5_000, Charge::Within),
            (5_999, Charge::Over),
            (6_000, Charge::Within),
            (6_001, Charge::Over),
            (90_000, Charge::Within),
            (90_999, Charge::Over),
            // The monotonic clock never goes back; if it did, no harm comes of it.
            (80_000, Charge::Over),
        ] {
            assert_eq!(bench.ask([192, 0, 2, 1], millis), expected, "{millis}");
        }
        assert_eq!(bench.ask([192, 0, 2, 2], 5_001), Charge::Within);
    }

    #[test]
    fn a_burst_is_answered_and_then_comes_back_token_by_token() {
        let mut bench = Bench::new(RateLimit { burst: 4, ..CUTOFF });
        let client = [192, 0, 2, 1];
        assert_eq!(bench.answered(client, 0..8), 4);
        assert_eq!(bench.answered(client, 1_000..1_008), 1);
        assert_eq!(bench.answered(client, 3_000..3_008), 2);
        assert_eq!(bench.answered(client, 60_000..60_008), 4);
    }

    #[test]
    fn nothing_is_limited_unless_both_keys_are_set() {
        let no_slots = RateLimit { slots: 0, ..CUTOFF };
        let no_cutoff = RateLimit {
            cutoff: NtpDuration::ZERO,
            ..CUTOFF
        };
        for limit in [RateLimit::NONE, no_slots, no_cutoff] {
            assert_eq!(limit.poll(), None);
            assert_eq!(Bench::new(limit).answered([192, 0, 2, 1], 0..100), 100);
        }
    }

    #[test]
    fn a_forger_cannot_silence_its_victim() {
        let client = [192, 0, 2, 1];
        // A forged request takes every token at the moment it is there; the victim asks in between.
        let victim_share = |limit| {
            let mut bench = Bench::new(limit);
            let polls = (0..4_000).filter(|second| {
                bench.ask(client, second * 1_000);
                bench.ask(client, second * 1_000 + 500) == Charge::Within
            });
            polls.count()
        };
        let share = victim_share(CUTOFF);
        assert!((400..600).contains(&share), "one in eight of 4000: {share}");
        assert_eq!(
            victim_share(RateLimit {
                leak: None,
                ..CUTOFF
            }),
            0
        );
        // A flood gets its token a second and little more.
        let flood = Bench::new(CUTOFF).answered(client, 0..80_000);
        assert!((9_500..10_800).contains(&flood), "{flood}");
    }

    #[test]
    fn a_hasty_client_is_refused_every_time() {
        let mut bench = Bench::new(CUTOFF);
        for hour in 0..100 {
            let start = hour * 3_600_000;
            assert_eq!(bench.answered([192, 0, 2, 1], start..start + 16), 1);
        }
    }

    #[test]
    fn kisses_are_sent_as_often_as_asked() {
        let kisses = |kiss| {
            let limit = RateLimit {
                kiss,
                leak: None,
                ..CUTOFF
            };
            let mut bench = Bench::new(limit);
            (0..900)
                .filter(|at| bench.ask([192, 0, 2, 1], *at) == Charge::OverWithKiss)
                .count()
        };
        assert_eq!(kisses(None), 0);
        assert_eq!(kisses(Some(0)), 899);
        assert!((150..300).contains(&kisses(Some(2))));
        assert_eq!(kisses(Some(255)), 0);
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_address() {
        let mut bench = Bench::new(CUTOFF);
        let host =
            |high: u64, low: u64| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        assert_eq!(bench.ask(host(0x2001_0db8_0000_0001, 1), 0), Charge::Within);
        assert_eq!(bench.ask(host(0x2001_0db8_0000_0001, 2), 1), Charge::Over);
        assert_eq!(bench.ask(host(0x2001_0db8_0000_0002, 1), 1), Charge::Within);
        // Everybody on a link has the same prefix.
        assert_eq!(bench.ask(host(0xfe80 << 48, 1), 2), Charge::Within);
        assert_eq!(bench.ask(host(0xfe80 << 48, 2), 2), Charge::Within);
    }

    #[test]
    fn the_poll_interval_that_is_asked_for_suffices() {
        for (millis, poll) in [
            (1_000, 0),
            (1_001, 1),
            (2_000, 1),
            (64_000, 6),
            (64_001, 7),
            (250, -2),
            (1, -9),
        ] {
            let cutoff = NtpDuration::from_millis(millis);
            assert_eq!(
                RateLimit { cutoff, ..CUTOFF }.poll(),
                Some(poll),
                "{millis} ms"
            );
        }
        let absurd = RateLimit {
            cutoff: NtpDuration::MAX,
            ..CUTOFF
        };
        assert_eq!(absurd.poll(), Some(17));
        assert_eq!(Bench::new(absurd).answered([192, 0, 2, 1], 0..10), 1);
    }

    #[test]
    fn a_million_forged_addresses_leave_the_table_as_it_is() {
        let mut bench = Bench::new(RateLimit {
            slots: 1_000,
            ..CUTOFF
        });
        let before = (bench.limiter.sets.capacity(), bench.limiter.sets.len());
        for address in 0..1_000_000u32 {
            bench.ask(address.to_be_bytes(), 0);
        }
        assert_eq!(
            (bench.limiter.sets.capacity(), bench.limiter.sets.len()),
            before
        );
        assert_eq!(before.1 * WAYS, 1_000);
        // Nobody is locked out by it.
        assert_eq!(bench.ask([203, 0, 113, 1], 0), Charge::Within);
    }

    #[test]
    fn an_absurd_table_is_cut_to_size() {
        let limiter = Limiter::new(
            RateLimit {
                slots: usize::MAX,
                ..CUTOFF
            },
            usize::MAX / 1_000,
            [0; 16],
        );
        assert!(limiter.sets.len() * WAYS <= 1_004);
        assert_eq!(size_of::<Set>(), 64);
    }
}
