//! Loops of servers, found by their reference IDs (draft-ietf-ntp-ntpv5, "Reference IDs").
//!
//! A machine that serves time has a random ID, and its server sends a filter of its own ID and those
//! of all servers from which it takes the time. If our ID is in the filter of a source, the source
//! takes its time from us, directly or not, and must not be followed.
//!
//! The filter is fetched in parts of [`CHUNK`] octets, one with each request, again and again. The
//! source is not selected before it is complete; its measurements are processed meanwhile, so that
//! nothing is lost.
//!
//! # The end of a loop
//! In a loop all members find it at about the same time, and if all came back at the same time,
//! they would form it again. So a member waits a random number of polls after its ID has disappeared,
//! from a range that doubles with each recurrence.

use ntp_types::event::Rejection;
use rand_core::RngCore;

use super::ReplyContent;
use crate::reference_ids::{BloomFilter, ServerId};
use ntp_time::Stratum;

/// Octets of the filter in each response: four polls fetch it. Constant, because the lengths of the
/// packets of an association must be. A smaller value finds a loop later, a larger one leaves no
/// room for NTS cookies.
pub(super) const CHUNK: usize = 128;

/// Number of consecutive responses without a part of the filter after which there is none.
const MAX_MISSING: u8 = 8;

/// Largest number of polls that is waited after the first loop.
const FIRST_WAIT: u32 = 4;

/// Number of recurrences up to which the range doubles: 4 to 256 polls.
const MAX_DOUBLINGS: u32 = 6;

/// The filter of a source, and whether it has our ID.
#[derive(Clone, Debug)]
pub(super) struct LoopGuard {
    own: ServerId,
    /// The last complete filter.
    filter: Option<BloomFilter>,
    /// The filter that is being fetched, up to `offset`.
    incoming: BloomFilter,
    offset: usize,
    /// Number of consecutive responses without a part.
    missing: u8,
    state: State,
    /// Number of loops found.
    recurrences: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Clear,
    /// Our ID is in the filter.
    Loop,
    /// It was; the number of polls to wait is not drawn yet.
    Dissolved,
    /// It was, and the source is not used for this number of polls.
    Waiting(u32),
}

impl LoopGuard {
    pub(super) fn new(own: ServerId) -> Self {
        Self {
            own,
            filter: None,
            incoming: BloomFilter::EMPTY,
            offset: 0,
            missing: 0,
            state: State::Clear,
            recurrences: 0,
        }
    }

    /// Our ID.
    pub(super) fn own(&self) -> ServerId {
        self.own
    }

    /// Filter of the source, once it is known.
    pub(super) fn filter(&self) -> Option<&BloomFilter> {
        self.filter.as_ref()
    }

    /// Offset of the part to ask for next.
    pub(super) fn next_offset(&self) -> u16 {
        u16::try_from(self.offset).unwrap_or_default()
    }

    /// Begins a poll.
    pub(super) fn begin_poll(&mut self, rng: &mut impl RngCore) {
        self.state = match self.state {
            State::Dissolved => {
                let doublings = self.recurrences.saturating_sub(1).min(MAX_DOUBLINGS);
                let range = (FIRST_WAIT << doublings) + 1;
                State::Waiting(rng.next_u32() % range)
            }
            State::Waiting(0) => State::Clear,
            State::Waiting(polls) => State::Waiting(polls - 1),
            state => state,
        };
    }

    /// Processes the part of the filter in an authentic response, which was asked for at `offset`.
    pub(super) fn record(&mut self, offset: u16, part: Option<&[u8]>) {
        let offset = usize::from(offset);
        let part = part.filter(|part| part.len() == CHUNK && offset == self.offset);
        let written = part.and_then(|part| self.incoming.write_chunk(offset, part));
        if written.is_none() {
            self.missing = self.missing.saturating_add(1);
            return;
        }
        self.missing = 0;
        self.offset += CHUNK;
        if self.offset < BloomFilter::LEN {
            return;
        }
        self.offset = 0;
        let looped = !self.incoming.is_overfull() && self.incoming.contains(self.own);
        self.filter = Some(core::mem::take(&mut self.incoming));
        self.state = match (self.state, looped) {
            (State::Loop, true) => State::Loop,
            (_, true) => {
                self.recurrences = self.recurrences.saturating_add(1);
                State::Loop
            }
            (State::Loop, false) => State::Dissolved,
            (state, false) => state,
        };
    }

    /// Why the source must not be selected.
    pub(super) fn exclusion(&self, content: &ReplyContent) -> Option<Rejection> {
        match &self.filter {
            _ if self.state != State::Clear => Some(Rejection::Loop),
            Some(filter) => filter.is_overfull().then_some(Rejection::ReferenceIdsFull),
            // A primary server without sources in NTP need not have a filter, and is no loop.
            None if self.missing >= MAX_MISSING && content.stratum == Stratum::PRIMARY => None,
            None if self.missing >= MAX_MISSING => Some(Rejection::ReferenceIdsMissing),
            None => Some(Rejection::ReferenceIdsIncomplete),
        }
    }
}
