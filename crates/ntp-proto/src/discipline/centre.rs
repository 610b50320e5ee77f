//! Convention on the biases: their median is held at zero.
//!
//! # Problem
//! Samples show the sum of the phase and a source's bias, never the parts, so nothing in the data
//! says how the sum divides. The priors of the biases divide it at the start. Later, whatever is
//! attributed to a server changes the division a little, each time in another direction: without a
//! restoring force the phase walks away from all servers together, and a liar that moves back and
//! forth pushes it further each time.
//!
//! # Idea
//! State the convention and hold it: the weighted median of the biases is zero. After each
//! prediction the median `m` glides to zero with a time constant, in every filter by the same
//! weights,
//!
//! ```text
//! k = 1 - exp(-dt/tau)        theta += k m        b_i -= k m
//! ```
//!
//! and the covariance follows by the same linear map. The sum of phase and bias does not change, so
//! nothing that was measured is lost. A median needs more than half of the votes to be moved; for
//! two sources it is the mean.
//!
//! # Votes
//! Sources of comparable distance have one vote each, whatever their steadiness: a single steady
//! liar beside wandering servers must not get the largest vote. The asymmetry of a far source can
//! be larger than that of a near one by the ratio of their delays, so beyond a factor of four the
//! vote falls with the square of the distance, as the prior's information does. A source that falls
//! silent keeps its bias and its vote, which fades within a day; otherwise the clock would move to
//! another median whenever one leaves. A falseticker has no vote.

use ntp_time::FreeTime;

use super::Discipline;
use super::hypothesis::MAX_SLOTS;
use super::math;
use super::source::Source;

/// Time constant of the convention, seconds: longer than a few polls, so that a change of the
/// middle source is a glide; shorter than the servers' own wander over hours. Found with a prototype:
/// three servers of stratum 2 had an error of 2.8e-5 s, 3.1e-5 with 7200 s and 3.0e-5 with 100 s;
/// other worlds changed by 1 %.
const CENTRE_TIME: f64 = 2000.0;
/// Time constant of a silent source's vote, seconds: the wander of a steady server over a day is
/// smaller than what its bias is known to.
const SILENCE_TIME: f64 = 86_400.0;
/// Ratio of the distances up to which two sources have the same vote. A near server's asymmetry is
/// then at most a quarter of what a far one's may be.
const COMPARABLE: f64 = 4.0;

/// Two slots and their weights, which sum to one.
type Middle = [(usize, f64); 2];

/// A bias and its vote.
#[derive(Clone, Copy, Debug, Default)]
struct Vote {
    slot: usize,
    bias: f64,
    weight: f64,
}

impl Discipline {
    /// Predicts the filters by `dt` >= 0 seconds to `now`.
    pub(super) fn predict(&mut self, dt: f64, now: FreeTime) {
        self.bank.predict(dt);
        if self.slots_used < 2 {
            return;
        }
        let mut growth = [0.0; MAX_SLOTS];
        for (source, slot) in self.seated() {
            growth[slot] = source.wander * dt;
        }
        let share = 1.0 - math::exp(-dt / CENTRE_TIME);
        let slots = self.slots_used;
        let nearest = self.nearest();
        let middle = self.middle(|source| vote(source, nearest, now));
        let middle = middle.map(|terms| terms.map(|(slot, weight)| (slot, share * weight)));
        self.bank.for_each(|filter| {
            for (slot, variance) in growth.iter().enumerate().take(slots) {
                filter.widen_bias(slot, *variance);
            }
            if let Some(terms) = &middle {
                filter.move_centre(terms);
            }
        });
    }

    /// The median of the biases of all sources that answer, in seconds. `None` if there are none.
    ///
    /// Falsetickers have a vote here: when all servers are corrected, the first ones that report it
    /// disagree with the others for as long as those have not been polled.
    pub(super) fn median_bias(&self, now: FreeTime) -> Option<f64> {
        let nearest = self.nearest();
        let terms = self.middle(|source| {
            let answers = source.eligible && !source.is_stale(now);
            if answers {
                comparable(source, nearest)
            } else {
                0.0
            }
        })?;
        let bias =
            |(slot, weight): (usize, f64)| weight * self.bank.mix(|filter| filter.bias(slot));
        Some(terms.into_iter().map(bias).sum())
    }

    /// The median of the biases as a combination of two of them, by the votes of the sources. Returns
    /// `None` if there are no votes.
    fn middle(&self, vote: impl Fn(&Source) -> f64) -> Option<Middle> {
        let mut votes = [Vote::default(); MAX_SLOTS];
        let mut count = 0;
        for (source, slot) in self.seated() {
            votes[count] = Vote {
                slot,
                bias: self.bank.mix(|filter| filter.bias(slot)),
                weight: vote(source),
            };
            count += 1;
        }
        median(&mut votes[..count])
    }

    fn seated(&self) -> impl Iterator<Item = (&Source, usize)> {
        let seated = self.sources.iter();
        seated.filter_map(|source| Some((source, source.slot?)))
    }

    /// Smallest prior variance of the asymmetry of a source in the joint state, s^2.
    fn nearest(&self) -> f64 {
        let priors = self.seated().map(|(source, _)| source.asymmetry_prior());
        priors.fold(f64::INFINITY, f64::min)
    }

    /// Variance of the centre's own asymmetry under the priors, s^2, see `report`: zero for a source
    /// that started the clock alone.
    pub(super) fn centre_variance(&self, now: FreeTime) -> f64 {
        let (mut votes, mut sum) = (0.0, 0.0);
        for (source, _) in self.seated().filter(|(source, _)| source.asymmetric) {
            let vote = vote(source, self.nearest(), now);
            votes += vote;
            sum += vote * vote * source.asymmetry_prior();
        }
        if votes > 0.0 {
            sum / (votes * votes)
        } else {
            0.0
        }
    }
}

/// Vote of a source, from 0 to 1; `nearest` is the smallest prior variance of all.
fn vote(source: &Source, nearest: f64, now: FreeTime) -> f64 {
    let silence = match source.last {
        // It answers and is excluded, by what it states: its time may be any.
        Some(last) if !source.eligible && source.last_used.is_some_and(|used| used < last.at) => {
            return 0.0;
        }
        Some(last) if source.is_stale(now) || !source.eligible => {
            (now - last.at).as_seconds_f64().max(0.0)
        }
        Some(_) if source.in_use => 0.0,
        _ => return 0.0,
    };
    comparable(source, nearest) * math::exp(-silence / SILENCE_TIME)
}

/// Vote of a source by its distance.
fn comparable(source: &Source, nearest: f64) -> f64 {
    let distance = source.asymmetry_prior().max(f64::MIN_POSITIVE);
    (COMPARABLE * COMPARABLE * nearest / distance).min(1.0)
}

/// The weighted median as slots and weights: the bias at which half of the votes is reached. Close to
/// the boundary between two votes, within half of the smaller one, it is interpolated: the mean of
/// the middle two of an even number, and no jump while a vote fades.
fn median(votes: &mut [Vote]) -> Option<Middle> {
    votes.sort_unstable_by(|a, b| a.bias.total_cmp(&b.bias));
    let total: f64 = votes.iter().map(|vote| vote.weight).sum();
    let mut remaining = total / 2.0;
    let mut voting = votes.iter().filter(|vote| vote.weight > 0.0).peekable();
    while let Some(vote) = voting.next() {
        let Some(next) = voting.peek() else {
            return Some([(vote.slot, 1.0), (vote.slot, 0.0)]);
        };
        let zone = vote.weight.min(next.weight) / 2.0;
        let beyond = remaining - vote.weight;
        if beyond < zone {
            let share = ((beyond + zone) / (2.0 * zone)).max(0.0);
            return Some([(vote.slot, 1.0 - share), (next.slot, share)]);
        }
        remaining = beyond;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(votes: &[(f64, f64)]) -> Vec<f64> {
        let mut all: Vec<Vote> = votes
            .iter()
            .enumerate()
            .map(|(slot, (bias, weight))| Vote {
                slot,
                bias: *bias,
                weight: *weight,
            })
            .collect();
        let mut weights = vec![0.0; votes.len()];
        for (slot, weight) in median(&mut all).unwrap() {
            weights[slot] += weight;
        }
        weights
    }

    #[test]
    fn the_median_of_equal_votes_is_the_middle_one_or_the_mean_of_two() {
        assert_eq!(
            weights(&[(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]),
            [0.0, 0.0, 1.0]
        );
        assert_eq!(weights(&[(3.0, 1.0), (1.0, 1.0)]), [0.5, 0.5]);
        assert_eq!(
            weights(&[(4.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0)]),
            [0.0, 0.0, 0.5, 0.5]
        );
    }

    #[test]
    fn a_vote_of_more_than_half_decides() {
        let decided = weights(&[(5.0, 1.0), (0.0, 0.05), (1.0, 0.05), (2.0, 0.05)]);
        assert_eq!(decided[0], 1.0);
    }

    #[test]
    fn a_fading_vote_moves_the_median_without_a_jump() {
        let mut last = 0.5;
        for percent in (0..=100).rev() {
            let fading = f64::from(percent) / 100.0;
            let share = weights(&[(0.0, 1.0), (1.0, fading)])[0];
            assert!(share >= last && share - last < 0.021, "{share} {last}");
            last = share;
        }
        assert_eq!(last, 1.0);
    }
}
