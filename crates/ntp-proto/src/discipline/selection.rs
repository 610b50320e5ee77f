//! Selection: which sources agree with each other.
//!
//! # Problem
//! A server that is wrong (a *falseticker*, RFC 5905 section 11.2.1) can be wrong by anything and
//! as precise as it likes. No weighting by noise helps against it; a vote does, as long as most
//! sources are right.
//!
//! # Idea
//! Every source's correctness interval contains the truth if the source is right. So the truth lies
//! where most intervals overlap. Sweeping over the sorted interval ends finds that place in O(n log
//! n): each lower end opens an interval, each upper end closes one, and the count between is the
//! number of sources that could be right there. The sources whose intervals cover the best place
//! form the agreeing group. The group decides only if it is a majority of the candidates, if the
//! candidates are a majority of those who were asked, and if it has as many members as the operator
//! wants.
//!
//! # The operator's opinion
//! An operator may know better than a vote ([`Opinion`](super::Opinion)). *Trusted* sources, while any of them answers,
//! vote among themselves, and others are used only if they agree with the outcome. A *required* source must be
//! part of the majority, or nothing is steered. *Preferred* sources that are part of the majority replace the
//! others of it, which then only vouch for them.
//!
//! # Where the truth must be
//! The best place is good for choosing sources, not for a promise: with one liar among four it may lie
//! where the liar's interval happens to overlap the others'. If most candidates are right, the truth
//! is somewhere within the intervals of more than half of them; nothing more is certain. The
//! *stretch* from the first such place to the last is what the error bound must reach. Sources that
//! were asked and do not speak may be among those who are right, so each of them lessens the number that must
//! vouch for a place; where one voucher would do, the stretch is all that the selected sources cover.
//!
//! Reading: K. Marzullo, S. Owicki, "Maintaining the time in a distributed system" (1983); RFC 5905
//! section 11.2.1.

/// One end of an interval, in seconds from the discipline's origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edge {
    at: f64,
    opens: bool,
}

/// An interval that contains the truth if its source is right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    /// Middle, seconds from the discipline's origin.
    pub(super) centre: f64,
    /// Half of its length, seconds.
    pub(super) half_width: f64,
}

impl Interval {
    pub(super) fn edges(&self) -> [Edge; 2] {
        [
            Edge {
                at: self.centre - self.half_width,
                opens: true,
            },
            Edge {
                at: self.centre + self.half_width,
                opens: false,
            },
        ]
    }

    pub(super) fn touches(&self, from: f64, to: f64) -> bool {
        self.centre - self.half_width <= to && from <= self.centre + self.half_width
    }

    /// From the lower of both lower ends to the upper of both upper ends.
    pub(super) fn joined(self, other: Self) -> Self {
        let low = (self.centre - self.half_width).min(other.centre - other.half_width);
        let high = (self.centre + self.half_width).max(other.centre + other.half_width);
        Self {
            centre: f64::midpoint(low, high),
            half_width: (high - low) / 2.0,
        }
    }

    pub(super) fn contains(&self, place: f64) -> bool {
        (self.centre - self.half_width..=self.centre + self.half_width).contains(&place)
    }
}

/// Where most intervals overlap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Overlap {
    /// A place that all of the group's intervals contain.
    pub(super) place: f64,
    /// Size of the group.
    pub(super) agreeing: usize,
}

/// Finds the largest group of overlapping intervals; of several equally large ones, that nearest to
/// `expected`. None without intervals.
pub(super) fn largest_overlap(edges: &mut [Edge], expected: f64) -> Option<Overlap> {
    // Intervals that touch do overlap: at one place, openings come before closings.
    edges.sort_unstable_by(|a, b| a.at.total_cmp(&b.at).then(b.opens.cmp(&a.opens)));
    let mut open = 0usize;
    let mut best: Option<Overlap> = None;
    for edge in edges.iter() {
        if !edge.opens {
            open = open.saturating_sub(1);
            continue;
        }
        open += 1;
        // The group of the moment overlaps from here to the next closing; this end is a member's
        // own, so it needs no arithmetic.
        let nearer = |than: &Overlap| (edge.at - expected).abs() < (than.place - expected).abs();
        if best.is_none_or(|best| open > best.agreeing || open == best.agreeing && nearer(&best)) {
            best = Some(Overlap {
                place: edge.at,
                agreeing: open,
            });
        }
    }
    best
}

/// The last place that the group at `place` has in common: where the first of it closes. `edges` as
/// [`largest_overlap`] has left them.
pub(super) fn end_of_overlap(edges: &[Edge], place: f64) -> f64 {
    let closing = edges.iter().find(|edge| !edge.opens && edge.at >= place);
    closing.map_or(place, |edge| edge.at)
}

/// From the first to the last place that at least `vouchers` intervals cover. `edges` as
/// [`largest_overlap`] has left them: sorted. None if there is no such place.
pub(super) fn stretch_of_majority(edges: &[Edge], vouchers: usize) -> Option<Interval> {
    let mut open = 0usize;
    let mut ends: Option<(f64, f64)> = None;
    for edge in edges {
        // An interval covers its own ends.
        open += usize::from(edge.opens);
        if open >= vouchers {
            let (first, _) = ends.unwrap_or((edge.at, edge.at));
            ends = Some((first, edge.at));
        }
        open -= usize::from(!edge.opens && open > 0);
    }
    ends.map(|(first, last)| Interval {
        centre: f64::midpoint(first, last),
        half_width: (last - first) / 2.0,
    })
}

/// How far the sources agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Sources whose intervals contain the place where most voters agree.
    pub agreeing: usize,
    /// Sources that had a say: eligible, heard lately, and certain enough.
    pub candidates: usize,
    /// Whether the group decides.
    pub majority: bool,
}

/// Whether `agreeing` of `voters` may speak for all `asked`.
pub(super) fn is_majority(agreeing: usize, voters: usize, asked: usize) -> bool {
    2 * agreeing > voters && 2 * voters > asked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(intervals: &[(f64, f64)], expected: f64) -> Option<Overlap> {
        let mut edges: Vec<Edge> = intervals
            .iter()
            .flat_map(|&(centre, half_width)| Interval { centre, half_width }.edges())
            .collect();
        largest_overlap(&mut edges, expected)
    }

    #[test]
    fn three_of_four_outvote_a_precise_falseticker() {
        let found = overlap(
            &[(0.0, 0.01), (0.002, 0.01), (-0.001, 0.005), (5.0, 1e-6)],
            0.0,
        )
        .unwrap();
        assert_eq!(found.agreeing, 3);
        assert!(found.place.abs() < 0.01);
        assert!(
            !Interval {
                centre: 5.0,
                half_width: 1e-6
            }
            .contains(found.place)
        );
    }

    #[test]
    fn intervals_that_touch_agree() {
        assert_eq!(overlap(&[(0.0, 1.0), (2.0, 1.0)], 0.0).unwrap().agreeing, 2);
        assert_eq!(overlap(&[(0.0, 1.0), (2.5, 1.0)], 0.0).unwrap().agreeing, 1);
    }

    #[test]
    fn of_equal_groups_the_expected_one_wins() {
        let chain = [(0.0, 1.0), (1.5, 1.0), (3.0, 1.0)];
        assert!(overlap(&chain, 3.0).unwrap().place > 1.0);
        assert!(overlap(&chain, 0.0).unwrap().place < 1.0);
    }

    fn stretch(intervals: &[(f64, f64)]) -> Option<(f64, f64)> {
        let mut edges: Vec<Edge> = intervals
            .iter()
            .flat_map(|&(centre, half_width)| Interval { centre, half_width }.edges())
            .collect();
        largest_overlap(&mut edges, 0.0);
        let found = stretch_of_majority(&edges, intervals.len() / 2 + 1)?;
        Some((
            found.centre - found.half_width,
            found.centre + found.half_width,
        ))
    }

    #[test]
    fn one_subtle_liar_among_four_does_not_shrink_what_three_cover() {
        // The liar says 5 and claims to be good to 0.1; the truth is 0.
        let (low, high) = stretch(&[(1.0, 10.0), (-1.0, 10.0), (0.0, 10.0), (5.0, 0.1)]).unwrap();
        assert!(
            (low + 9.0).abs() < 1e-12 && (high - 9.0).abs() < 1e-12,
            "{low} {high}"
        );
    }

    #[test]
    fn the_stretch_spans_gaps_and_a_lone_source_s_whole_interval() {
        assert_eq!(stretch(&[(2.0, 3.0)]), Some((-1.0, 5.0)));
        // Two of three overlap at both ends, and only one in the middle.
        assert_eq!(
            stretch(&[(0.0, 5.0), (-4.0, 2.0), (4.0, 2.0)]),
            Some((-5.0, 5.0))
        );
        assert_eq!(stretch(&[(0.0, 1.0), (3.0, 1.0)]), None);
    }

    #[test]
    fn nobody_has_no_opinion() {
        assert_eq!(overlap(&[], 0.0), None);
    }

    #[test]
    fn half_is_no_majority() {
        assert!(is_majority(1, 1, 1));
        assert!(!is_majority(1, 2, 2));
        assert!(!is_majority(2, 2, 4));
        assert!(is_majority(3, 3, 4));
    }
}
