//! Rate limiting by client address.
//!
//! # Token bucket
//! Each address has a bucket of `burst` tokens; a reply takes one, and one is added every `cutoff`.
//! A burst of 1 is a plain minimum spacing. The state of a bucket is one number, the time `full` at
//! which it will be full again (generic cell rate algorithm): a request at `t` is answered if
//!
//! ```text
//! full - (burst - 1) * cutoff <= t,      and then   full := max(full, t) + cutoff
//! ```
//!
//! A refused request takes no token, so a client that exceeds the rate still gets a reply every
//! `cutoff`.
//!
//! An IPv6 host usually controls a /64, so a /64 counts as one address; link-local addresses are
//! the exception, because all hosts of a link share one /64. Only requests that would be answered
//! are counted: malformed packets and packets that are not requests do not use up a client's
//! tokens.
//!
//! # Leak
//! Source addresses are easily forged. An attacker who sends requests with a victim's address, one
//! whenever a token is added, would block the victim permanently. Therefore, after
//! [`LEAK_THRESHOLD`] refusals, 1 request in 2^`leak` is answered at random regardless of the
//! bucket: the attacker cannot reduce the victim's share below that, and the victim needs only one
//! reply in several. These replies take no token. A client that exceeds the rate only briefly never
//! reaches the leak: the count of refusals is reset when its bucket has been full for one `cutoff`.
//! The random numbers come from a generator that an observer cannot predict.
//!
//! # Bounded memory
//! Buckets are kept in a table of fixed size, in sets of four that fit a cache line; in a full set,
//! a new address replaces the bucket that will be full soonest, which holds the least information.
//! Addresses are hashed with SipHash and a random key, so an attacker cannot target a victim's set.
//! Of an address only 56 bits of that hash are kept: two addresses with the same 56 bits, a chance
//! of 1 in 10^16, share a bucket. A flood from millions of addresses thus makes the table forget
//! refusals, and honest clients are not blocked by it.

use ntp_time::{Monotonic, NtpDuration, PollInterval};
use rand_core::RngCore;
use siphasher::sip::SipHasher13;

use super::client::Client;

/// Rate limit for one address. The default does not limit anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Number of tracked addresses, over all workers; 0 disables the limit. Rounded up to a
    /// multiple of 4 for each worker, and limited to [`RateLimit::MAX_SLOTS`].
    pub slots: usize,
    /// Time until a token is added; 0 or less disables the limit. Limited to
    /// [`RateLimit::MAX_CUTOFF`].
    pub cutoff: NtpDuration,
    /// Number of requests that are answered in a row; 0 counts as 1.
    pub burst: u8,
    /// After [`LEAK_THRESHOLD`] refusals, 1 request in 2^`leak` is answered regardless; `None`
    /// disables this.
    pub leak: Option<u8>,
    /// 1 refused request in 2^`kiss` gets a RATE kiss; `None` disables kisses.
    pub kiss: Option<u8>,
}

/// Number of refusals after which the leak starts.
pub const LEAK_THRESHOLD: u8 = 16;

impl RateLimit {
    /// Largest cutoff: 36 hours, NTP's longest poll interval.
    pub const MAX_CUTOFF: NtpDuration = NtpDuration::from_seconds(1 << 17);
    /// Largest number of addresses that a worker tracks; 256 MB.
    pub const MAX_SLOTS: usize = 1 << 24;

    /// No limit. The other values are the defaults for a configuration that sets only
    /// `rate-limiting-cache-size` and `rate-limiting-cutoff-ms`: no burst, a leak of one in eight,
    /// no kisses.
    pub const NONE: Self = Self {
        slots: 0,
        cutoff: NtpDuration::ZERO,
        burst: 1,
        leak: Some(3),
        kiss: None,
    };

    /// Whether requests are limited at all.
    pub const fn is_active(&self) -> bool {
        self.slots > 0 && self.cutoff.to_bits() > 0
    }

    /// The shortest poll interval, in log2 seconds, at which no request is refused.
    fn poll(&self) -> Option<i8> {
        let units = u64::try_from(self.cutoff.min(Self::MAX_CUTOFF).to_bits()).ok()?;
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

/// Decision of the rate limiter on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// Within the limit: answer it.
    Within,
    /// Over the limit: do not answer it.
    Over,
    /// Over the limit: send a RATE kiss.
    OverWithKiss,
}

/// The buckets of one worker.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    limit: RateLimit,
    /// Result of [`RateLimit::poll`].
    poll: Option<PollInterval>,
    sets: Vec<Set>,
    hasher: SipHasher13,
}

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([Bucket; WAYS]);

const WAYS: usize = 4;

/// An unused bucket is full and belongs to the address whose hash is zero.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// 56 bits of the address's hash, and in the lowest octet the number of refusals.
    tag: u64,
    /// When the bucket will be full, in nanoseconds of the monotonic clock.
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
                .min(RateLimit::MAX_SLOTS)
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

    /// The current limit.
    pub(super) const fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// The shortest poll interval that a reply should suggest.
    pub(super) const fn poll(&self) -> Option<PollInterval> {
        self.poll
    }

    /// Decides on a request of `client` and takes a token if it is answered.
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
        let cutoff = cutoff.min(RateLimit::MAX_CUTOFF).as_nanos();
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
        if refusals < u64::from(LEAK_THRESHOLD) {
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

    /// The bucket of the address with this hash; a new one replaces the bucket of the set that will
    /// be full soonest.
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

/// Keyed hash of a client, in which all addresses of an IPv6 /64 are one.
fn hash(hasher: &SipHasher13, client: Client) -> u64 {
    const LINK_LOCAL: u128 = 0xfe80 >> 6;
    match client {
        Client::V4(bits) => hasher.hash(&bits.to_be_bytes()),
        Client::V6(bits) if bits >> (128 - 10) == LINK_LOCAL => hasher.hash(&bits.to_be_bytes()),
        Client::V6(bits) => hasher.hash(&((bits >> 64) as u64).to_be_bytes()),
    }
}

/// Returns `true` with probability 1 in 2^`exponent`; never for `None`.
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

    struct TestLimiter {
        limiter: Limiter,
        random: ChaCha8Rng,
    }

    impl TestLimiter {
        fn new(limit: RateLimit) -> Self {
            Self {
                limiter: Limiter::new(limit, 1, [7; 16]),
                random: ChaCha8Rng::from_seed([3; 32]),
            }
        }

        fn request(&mut self, client: impl Into<IpAddr>, millis: i64) -> Charge {
            let now = Monotonic::from_nanos(millis * 1_000_000);
            let client = Client::from(client.into());
            self.limiter.charge(client, now, &mut self.random)
        }

        /// How many of the requests at these times are answered.
        fn answered(&mut self, client: [u8; 4], times: impl Iterator<Item = i64>) -> usize {
            times
                .filter(|at| self.request(client, *at) == Charge::Within)
                .count()
        }
    }

    #[test]
    fn with_default_burst_the_cutoff_is_a_minimum_spacing() {
        let mut limiter = TestLimiter::new(CUTOFF);
        for (millis, expected) in [
            (5_000, Charge::Within),
            (5_999, Charge::Over),
            (6_000, Charge::Within),
            (6_001, Charge::Over),
            (90_000, Charge::Within),
            (90_999, Charge::Over),
            // The monotonic clock never goes back; if it did, the limiter would still work.
            (80_000, Charge::Over),
        ] {
            assert_eq!(
                limiter.request([192, 0, 2, 1], millis),
                expected,
                "{millis}"
            );
        }
        assert_eq!(limiter.request([192, 0, 2, 2], 5_001), Charge::Within);
    }

    #[test]
    fn a_burst_is_answered_and_tokens_refill_one_per_cutoff() {
        let mut limiter = TestLimiter::new(RateLimit { burst: 4, ..CUTOFF });
        let client = [192, 0, 2, 1];
        assert_eq!(limiter.answered(client, 0..8), 4);
        assert_eq!(limiter.answered(client, 1_000..1_008), 1);
        assert_eq!(limiter.answered(client, 3_000..3_008), 2);
        assert_eq!(limiter.answered(client, 60_000..60_008), 4);
    }

    #[test]
    fn nothing_is_limited_unless_slots_and_cutoff_are_set() {
        let no_slots = RateLimit { slots: 0, ..CUTOFF };
        let no_cutoff = RateLimit {
            cutoff: NtpDuration::ZERO,
            ..CUTOFF
        };
        for limit in [RateLimit::NONE, no_slots, no_cutoff] {
            assert_eq!(limit.poll(), None);
            assert_eq!(
                TestLimiter::new(limit).answered([192, 0, 2, 1], 0..100),
                100
            );
        }
    }

    #[test]
    fn forged_requests_do_not_starve_the_victim() {
        let client = [192, 0, 2, 1];
        // A forged request takes every token as soon as it is added; the victim's requests come in
        // between.
        let victim_share = |limit| {
            let mut limiter = TestLimiter::new(limit);
            let polls = (0..4_000).filter(|second| {
                limiter.request(client, second * 1_000);
                limiter.request(client, second * 1_000 + 500) == Charge::Within
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
        // A flood gets its token per second and little more.
        let flood = TestLimiter::new(CUTOFF).answered(client, 0..80_000);
        assert!((9_500..10_800).contains(&flood), "{flood}");
    }

    #[test]
    fn a_client_that_exceeds_the_rate_briefly_never_gets_leaked_replies() {
        let mut limiter = TestLimiter::new(CUTOFF);
        for hour in 0..100 {
            let start = hour * 3_600_000;
            assert_eq!(limiter.answered([192, 0, 2, 1], start..start + 16), 1);
        }
    }

    #[test]
    fn kisses_are_sent_at_the_configured_rate() {
        let kisses = |kiss| {
            let limit = RateLimit {
                kiss,
                leak: None,
                ..CUTOFF
            };
            let mut limiter = TestLimiter::new(limit);
            (0..900)
                .filter(|at| limiter.request([192, 0, 2, 1], *at) == Charge::OverWithKiss)
                .count()
        };
        assert_eq!(kisses(None), 0);
        assert_eq!(kisses(Some(0)), 899);
        assert!((150..300).contains(&kisses(Some(2))));
        assert_eq!(kisses(Some(255)), 0);
    }

    #[test]
    fn an_ipv6_prefix_of_64_bits_counts_as_one_address() {
        let mut limiter = TestLimiter::new(CUTOFF);
        let host =
            |high: u64, low: u64| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
        assert_eq!(
            limiter.request(host(0x2001_0db8_0000_0001, 1), 0),
            Charge::Within
        );
        assert_eq!(
            limiter.request(host(0x2001_0db8_0000_0001, 2), 1),
            Charge::Over
        );
        assert_eq!(
            limiter.request(host(0x2001_0db8_0000_0002, 1), 1),
            Charge::Within
        );
        // All hosts of a link have the same prefix.
        assert_eq!(limiter.request(host(0xfe80 << 48, 1), 2), Charge::Within);
        assert_eq!(limiter.request(host(0xfe80 << 48, 2), 2), Charge::Within);
    }

    #[test]
    fn the_suggested_poll_interval_is_at_least_the_cutoff() {
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
        assert_eq!(TestLimiter::new(absurd).answered([192, 0, 2, 1], 0..10), 1);
    }

    #[test]
    fn a_million_forged_addresses_do_not_grow_the_table() {
        let mut limiter = TestLimiter::new(RateLimit {
            slots: 1_000,
            ..CUTOFF
        });
        let before = (limiter.limiter.sets.capacity(), limiter.limiter.sets.len());
        for address in 0..1_000_000u32 {
            limiter.request(address.to_be_bytes(), 0);
        }
        assert_eq!(
            (limiter.limiter.sets.capacity(), limiter.limiter.sets.len()),
            before
        );
        assert_eq!(before.1 * WAYS, 1_000);
        // No client is blocked by it.
        assert_eq!(limiter.request([203, 0, 113, 1], 0), Charge::Within);
    }

    #[test]
    fn table_size_is_limited() {
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
