//! Replies to an association: what closes its exchange, and the measurement that results.

use ntp_time::{Monotonic, NtpDuration, Stamp, Stratum};

use super::interleaved::{AnsweredExchange, FOLLOW_UP, ReplyMode};
use super::matching::{Matched, Purpose, Refusal};
use super::sanity::{self, LocalIdentity};
use super::{Association, Authenticity, Datagram, KissCode, Protection, Rejection, ReplyContent};
use crate::wire::Version;

/// Delay of a burst that is started by a reply.
const BURST_DELAY: NtpDuration = NtpDuration::from_seconds(2);

/// A reply that passed all tests.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Transmit timestamp of the request.
    pub sent: Stamp,
    /// Receive timestamp of the reply.
    pub received: Stamp,
    /// What the server states.
    pub content: ReplyContent,
    /// Why the source must not be selected, although the measurement is valid.
    pub exclusion: Option<Rejection>,
}

/// Result of an accepted datagram.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// A complete measurement.
    Time(Accepted),
    /// A valid reply whose transmit timestamp arrives with the next one, in interleaved mode.
    Incomplete,
    /// A kiss-o'-death in reply to our request.
    Kiss(KissCode),
}

impl Association {
    /// Processes a datagram from the socket of the open exchange. A rejection that is not the
    /// server's fault changes nothing; any other result closes the exchange.
    pub fn receive(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
        local_identity: &LocalIdentity,
        stratum_limit: Stratum,
    ) -> Result<Reply, Rejection> {
        self.counters.received += 1;
        self.authenticity = Authenticity::NotChecked;
        let matched = self.match_reply(now, datagram).inspect_err(|rejection| {
            self.count_mismatch(*rejection);
            // Without authentication, no reply shows the distance of the server.
            if !matches!(self.protection, Protection::None) {
                self.hop_limits.record_rejected(datagram.hop_limit);
            }
        })?;
        self.hop_limits.record_accepted(datagram.hop_limit);
        self.exchange = None;
        self.answered.record_reply();
        let result = match matched.statement {
            Ok(content) => sanity::check_server(&content, local_identity, stratum_limit)
                .and_then(|()| self.process_reply(now, datagram, &matched, content)),
            Err(Refusal::Kiss(kiss)) => {
                self.counters.unusable += 1;
                return Ok(Reply::Kiss(kiss));
            }
            Err(Refusal::Rejected(rejection)) => Err(rejection),
        };
        result.inspect_err(|_| self.counters.unusable += 1)
    }

    /// Processes a reply of the server except for its authentication.
    fn process_reply(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
        matched: &Matched,
        content: ReplyContent,
    ) -> Result<Reply, Rejection> {
        let answered = AnsweredExchange {
            id: datagram.exchange,
            sent: matched.sent,
            received: datagram.received,
            content,
            server_cookie: matched.server_cookie,
            at: now,
            measured: matched.mode != ReplyMode::Interleaved,
        };
        let measurable = if matched.mode == ReplyMode::Interleaved {
            self.interleaved.complete(now, &content)
        } else {
            Some(answered)
        };
        if let Some(exchange) = measurable {
            sanity::check_timestamps(&exchange.content)?;
            exchange.check_correction()?;
        }
        self.counters.accepted += 1;
        self.last_content = Some(content);
        self.reach.record_reply();
        if self.schedule.record_reply(now) {
            self.next_scheduled = now + BURST_DELAY;
        }
        let completes = measurable.is_some();
        self.interleaved
            .record_exchange(answered, matched.mode, completes);
        let Some(exchange) = measurable else {
            if self.interleaved.needs_follow_up(now, self.next_scheduled) {
                self.extra = Some((now + FOLLOW_UP, Purpose::FollowUp));
            }
            return Ok(Reply::Incomplete);
        };
        Ok(Reply::Time(Accepted {
            sent: exchange.sent,
            received: exchange.received,
            content: exchange.content,
            exclusion: self.exclusion(&content),
        }))
    }

    fn count_mismatch(&mut self, rejection: Rejection) {
        match rejection {
            Rejection::CryptoNak | Rejection::UnexpectedNak => {
                self.counters.unusable += 1;
                self.counters.crypto_naks += 1;
            }
            Rejection::NtsNak => {
                self.counters.unusable += 1;
                self.counters.nts_naks += 1;
            }
            _ => self.counters.bogus += 1,
        }
    }

    /// Why the source must not be selected, by the reference IDs of its server.
    fn exclusion(&self, content: &ReplyContent) -> Option<Rejection> {
        let guard = self.loop_guard.as_ref();
        guard
            .filter(|_| content.version == Version::V5)?
            .exclusion(content)
    }
}
