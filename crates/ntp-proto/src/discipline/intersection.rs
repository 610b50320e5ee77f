//! Intersection of correctness intervals: which sources agree with each other.
//!
//! # Problem
//! A server that is wrong (a *falseticker*, RFC 5905 section 11.2.1) can have any offset and claim
//! any precision. No weighting by noise helps against it; a vote does, as long as most sources are
//! right.
//!
//! # Idea
//! Every source's correctness interval contains the truth if the source is right, so the truth lies
//! where most intervals overlap. A sweep over the sorted interval ends finds that point in O(n log
//! n): each lower end opens an interval, each upper end closes one, and the count between is the
//! number of sources that could be right there. The sources whose intervals cover the best point
//! form the agreeing group. The group is valid only if it is a majority of the candidates, if the
//! candidates are a majority of the sources that were polled, and if it has the configured size.
//!
//! # Selection options
//! Configuration can override the vote ([`SelectionOptions`](super::SelectionOptions)). While any
//! *trusted* source answers, only trusted sources vote and are used; the others that agree confirm
//! them. A *required* source must be part of the majority, or the clock is not steered.
//! *Preferred* sources that are part of the majority replace the others of it, which then only
//! confirm them.
//!
//! # Where the truth must be
//! The best point is good for choosing sources, but not for a guarantee: with one liar among four
//! it may lie where the liar's interval happens to overlap the others'. If most candidates are
//! right, the truth is somewhere within the intervals of more than half of them; nothing more is
//! certain. The error bound must reach the whole *span* from the first such point to the last.
//! Sources that have answered before and have no usable interval may be among those that are right,
//! so each of them reduces the overlap that is required by one; where a single interval would
//! suffice, the span is all that the selected sources cover. Sources that never answered do not
//! count: many dead entries would make the guarantee that of the least accurate servers.
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
    /// Both ends.
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

    /// Whether it overlaps the interval `from..=to`.
    pub(super) fn overlaps(&self, from: f64, to: f64) -> bool {
        self.centre - self.half_width <= to && from <= self.centre + self.half_width
    }

    /// Smallest interval that contains both.
    pub(super) fn hull(self, other: Self) -> Self {
        let low = (self.centre - self.half_width).min(other.centre - other.half_width);
        let high = (self.centre + self.half_width).max(other.centre + other.half_width);
        Self {
            centre: f64::midpoint(low, high),
            half_width: (high - low) / 2.0,
        }
    }

    /// What both contain; `None` if they do not overlap.
    pub(super) fn intersection(self, other: Self) -> Option<Self> {
        let low = (self.centre - self.half_width).max(other.centre - other.half_width);
        let high = (self.centre + self.half_width).min(other.centre + other.half_width);
        (low <= high).then(|| Self {
            centre: f64::midpoint(low, high),
            half_width: (high - low) / 2.0,
        })
    }

    /// Whether it contains a point.
    pub(super) fn contains(&self, point: f64) -> bool {
        (self.centre - self.half_width..=self.centre + self.half_width).contains(&point)
    }
}

/// Point where most intervals overlap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Overlap {
    /// A point that all intervals of the group contain.
    pub(super) point: f64,
    /// Number of intervals in the group.
    pub(super) agreeing: usize,
}

/// Finds the largest group of overlapping intervals, and sorts `edges`. Of several groups of the
/// same size it returns the one nearest to `expected`. Returns `None` without intervals.
pub(super) fn largest_overlap(edges: &mut [Edge], expected: f64) -> Option<Overlap> {
    // Intervals that touch overlap: at the same point, openings come before closings.
    edges.sort_unstable_by(|a, b| a.at.total_cmp(&b.at).then(b.opens.cmp(&a.opens)));
    let mut open = 0usize;
    let mut best: Option<Overlap> = None;
    for edge in edges.iter() {
        if !edge.opens {
            open = open.saturating_sub(1);
            continue;
        }
        open += 1;
        // The current group overlaps from here to the next closing. This end is one of its own, so
        // it is exact.
        let nearer = |than: &Overlap| (edge.at - expected).abs() < (than.point - expected).abs();
        if best.is_none_or(|best| open > best.agreeing || open == best.agreeing && nearer(&best)) {
            best = Some(Overlap {
                point: edge.at,
                agreeing: open,
            });
        }
    }
    best
}

/// Last point that the group at `point` has in common: where its first interval closes. `edges`
/// must be sorted by [`largest_overlap`].
pub(super) fn end_of_overlap(edges: &[Edge], point: f64) -> f64 {
    let closing = edges.iter().find(|edge| !edge.opens && edge.at >= point);
    closing.map_or(point, |edge| edge.at)
}

/// Span from the first to the last point that at least `required_overlap` intervals cover. `edges`
/// must be sorted by [`largest_overlap`]. Returns `None` if there is no such point.
pub(super) fn majority_span(edges: &[Edge], required_overlap: usize) -> Option<Interval> {
    let mut open = 0usize;
    let mut ends: Option<(f64, f64)> = None;
    for edge in edges {
        // An interval covers its own ends.
        open += usize::from(edge.opens);
        if open >= required_overlap {
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

/// Agreement of the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Number of sources whose intervals contain the point where most voters agree.
    pub agreeing: usize,
    /// Number of candidates: sources that are eligible, not stale, and certain enough.
    pub candidates: usize,
    /// Number of sources that must agree: more than half, and as many as configured.
    pub required: usize,
    /// Whether the agreeing sources are a valid majority.
    pub majority: bool,
}

/// Whether `agreeing` of `voters` decide for all sources that were polled.
pub(super) fn is_majority(agreeing: usize, voters: usize, polled: usize) -> bool {
    2 * agreeing > voters && 2 * voters > polled
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
        assert!(found.point.abs() < 0.01);
        assert!(
            !Interval {
                centre: 5.0,
                half_width: 1e-6
            }
            .contains(found.point)
        );
    }

    #[test]
    fn intervals_that_touch_agree() {
        assert_eq!(overlap(&[(0.0, 1.0), (2.0, 1.0)], 0.0).unwrap().agreeing, 2);
        assert_eq!(overlap(&[(0.0, 1.0), (2.5, 1.0)], 0.0).unwrap().agreeing, 1);
    }

    #[test]
    fn of_equal_groups_the_one_nearest_to_the_expectation_is_chosen() {
        let chain = [(0.0, 1.0), (1.5, 1.0), (3.0, 1.0)];
        assert!(overlap(&chain, 3.0).unwrap().point > 1.0);
        assert!(overlap(&chain, 0.0).unwrap().point < 1.0);
    }

    fn span(intervals: &[(f64, f64)]) -> Option<(f64, f64)> {
        let mut edges: Vec<Edge> = intervals
            .iter()
            .flat_map(|&(centre, half_width)| Interval { centre, half_width }.edges())
            .collect();
        largest_overlap(&mut edges, 0.0);
        let found = majority_span(&edges, intervals.len() / 2 + 1)?;
        Some((
            found.centre - found.half_width,
            found.centre + found.half_width,
        ))
    }

    #[test]
    fn one_liar_among_four_does_not_shrink_the_span_of_the_others() {
        // The liar is at 5 with a half-width of 0.1; the truth is 0.
        let (low, high) = span(&[(1.0, 10.0), (-1.0, 10.0), (0.0, 10.0), (5.0, 0.1)]).unwrap();
        assert!(
            (low + 9.0).abs() < 1e-12 && (high - 9.0).abs() < 1e-12,
            "{low} {high}"
        );
    }

    #[test]
    fn the_span_includes_gaps_and_the_whole_interval_of_a_single_source() {
        assert_eq!(span(&[(2.0, 3.0)]), Some((-1.0, 5.0)));
        // Two of three overlap at both ends, and only one in the middle.
        assert_eq!(
            span(&[(0.0, 5.0), (-4.0, 2.0), (4.0, 2.0)]),
            Some((-5.0, 5.0))
        );
        assert_eq!(span(&[(0.0, 1.0), (3.0, 1.0)]), None);
    }

    #[test]
    fn there_is_no_overlap_without_intervals() {
        assert_eq!(overlap(&[], 0.0), None);
    }

    #[test]
    fn half_is_not_a_majority() {
        assert!(is_majority(1, 1, 1));
        assert!(!is_majority(1, 2, 2));
        assert!(!is_majority(2, 2, 4));
        assert!(is_majority(3, 3, 4));
    }
}
