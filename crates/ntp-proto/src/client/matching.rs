//! Matches a datagram with the open exchange and authenticates it.
//!
//! What identifies a reply is a number of 64 random bits in its request: the transmit timestamp, which
//! versions 1 to 4 return as origin timestamp, or the client cookie of version 5. Nothing of the
//! content of a datagram is looked at before this number matches and the authentication succeeds.

use ntp_time::{Monotonic, NtpTimestamp, PollInterval, Stamp, Stratum};

use super::interleaved::{InterleavedFields, ReplyMode};
use super::protection::{Authenticity, Protection};
use super::v5::{self, RequestFields, ResponseFields};
use super::{Association, Datagram, ExchangeId, KissCode, Rejection, ReplyContent, sanity};
use crate::wire::Packet;
use crate::wire::v5::{Header as Header5, Packet as Packet5, ServerCookie, draft};

/// Longest interval that a server of version 5 can ask for without authentication, 9 hours, and with
/// it, 3 days (draft-ietf-ntp-ntpv5, "Poll"): who can forge a reply must not silence a client.
const LONGEST_INTERVALS: (PollInterval, PollInterval) =
    (PollInterval::from_log2(15), PollInterval::from_log2(18));

/// An open exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    /// ID of the exchange and its socket.
    pub(super) id: ExchangeId,
    pub(super) expected: Expected,
    pub(super) purpose: Purpose,
    /// Transmit timestamp, once the request was sent.
    pub(super) sent: Option<Stamp>,
    pub(super) deadline: Monotonic,
}

/// By what the reply of a request is recognised.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// Versions 1 to 4.
    Origin {
        /// Origin timestamp of a basic reply.
        nonce: NtpTimestamp,
        /// In interleaved mode, the fields of the request, among them the origin timestamp of an
        /// interleaved reply.
        interleaved: Option<InterleavedFields>,
        /// Whether the request carried the marker of version 5.
        offered: bool,
    },
    /// Version 5.
    Cookie(RequestFields),
}

/// Purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A poll of the schedule.
    Poll,
    /// Completes the preceding exchange in interleaved mode.
    FollowUp,
    /// Repeats a lost follow-up.
    SecondFollowUp,
    /// Measures in basic mode after repeatedly lost follow-ups.
    Fallback,
}

/// A reply that matches the open exchange and passed authentication.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched {
    pub(super) sent: Stamp,
    pub(super) mode: ReplyMode,
    /// Name of the reply in version 5.
    pub(super) server_cookie: ServerCookie,
    /// What the server states, or why that is no time.
    pub(super) statement: Result<ReplyContent, Refusal>,
}

/// Why an authentic reply has no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A kiss-o'-death, or what takes its place in version 5.
    Kiss(KissCode),
    Rejected(Rejection),
}

impl Association {
    /// Matches a datagram with the open exchange.
    pub(super) fn match_reply(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
    ) -> Result<Matched, Rejection> {
        let exchange = self
            .exchange
            .filter(|exchange| exchange.id == datagram.exchange)
            .ok_or(Rejection::Duplicate)?;
        if datagram.truncated {
            return Err(Rejection::Oversized);
        }
        match exchange.expected {
            Expected::Origin {
                nonce,
                interleaved,
                offered,
            } => {
                let packet = Packet::parse(datagram.payload).map_err(|_| Rejection::Malformed)?;
                sanity::check_mode(packet.header.mode)?;
                let origin = packet.header.origin_timestamp;
                let mode = match interleaved {
                    Some(fields) if origin == fields.receive => ReplyMode::Interleaved,
                    Some(_) if origin == nonce => ReplyMode::Refused,
                    None if origin == nonce => ReplyMode::Basic,
                    _ => return Err(Rejection::WrongOrigin),
                };
                let sent = exchange.sent_before(now)?;
                let result = self.protection.check(&packet);
                self.authenticity = Authenticity::from_result(result);
                result?;
                if offered {
                    self.record_offer(draft::is_marker(packet.header.reference_timestamp));
                }
                Ok(Matched {
                    sent,
                    mode,
                    server_cookie: ServerCookie::NONE,
                    statement: statement(&packet),
                })
            }
            Expected::Cookie(request) => self.match_version_5(now, datagram, &exchange, &request),
        }
    }

    fn record_offer(&mut self, returned: bool) {
        let version = self.version();
        self.negotiation.record_offer(returned);
        if self.version() != version {
            self.version_changed();
        }
    }

    fn match_version_5(
        &mut self,
        now: Monotonic,
        datagram: &Datagram<'_>,
        exchange: &Exchange,
        request: &RequestFields,
    ) -> Result<Matched, Rejection> {
        let packet = Packet5::parse(datagram.payload).map_err(|_| Rejection::Malformed)?;
        sanity::check_mode(packet.header.mode)?;
        if packet.header.client_cookie != request.cookie {
            return Err(Rejection::WrongOrigin);
        }
        let sent = exchange.sent_before(now)?;
        let result = self.protection.check_v5(&packet);
        self.authenticity = Authenticity::from_result(result);
        result?;
        let mut mode = ReplyMode::Basic;
        let statement = v5::check_draft(&packet, request)
            .and_then(|()| request.mode(&packet.header))
            .map_err(Refusal::Rejected)
            .and_then(|requested| {
                mode = requested;
                self.statement_of_version_5(&packet, request)
            });
        Ok(Matched {
            sent,
            mode,
            server_cookie: packet.header.server_cookie,
            statement,
        })
    }

    /// What an authentic response of our draft states.
    fn statement_of_version_5(
        &mut self,
        packet: &Packet5<'_>,
        request: &RequestFields,
    ) -> Result<ReplyContent, Refusal> {
        self.negotiation.record_version_5();
        self.draft.confirm();
        let header = &packet.header;
        if header.poll == Header5::NEVER {
            return Err(Refusal::Kiss(KissCode::Deny));
        }
        let (unauthenticated, authenticated) = LONGEST_INTERVALS;
        let longest = match self.protection {
            Protection::None => unauthenticated,
            Protection::Symmetric(_) | Protection::Nts(_) => authenticated,
        };
        let interval = self.interval();
        self.respect_minimum(header.poll, longest);
        if header.stratum == Stratum::KISS {
            let too_fast = header.poll.to_duration() > interval;
            return Err(match too_fast {
                true => Refusal::Kiss(KissCode::Rate),
                false => Refusal::Rejected(Rejection::Unsynchronized),
            });
        }
        let uses_nts = matches!(self.protection, Protection::Nts(_));
        let fields = ResponseFields::read(packet.fields(), uses_nts);
        self.server_versions = fields.server_information.or(self.server_versions);
        if let Some((guard, offset)) = self.loop_guard.as_mut().zip(request.reference_ids) {
            guard.record(offset, fields.reference_ids);
        }
        let correct = matches!(self.protection, Protection::None);
        v5::content(packet, &fields, correct, self.tai_offset).map_err(Refusal::Rejected)
    }
}

impl Exchange {
    /// Transmit timestamp of the request, if its reply may come at `now`.
    fn sent_before(&self, now: Monotonic) -> Result<Stamp, Rejection> {
        if now > self.deadline {
            return Err(Rejection::Late);
        }
        // A reply to a request that was never sent cannot exist: the nonce has not left this
        // process.
        self.sent.ok_or(Rejection::WrongOrigin)
    }
}

/// What a reply of versions 1 to 4 states.
fn statement(packet: &Packet<'_>) -> Result<ReplyContent, Refusal> {
    let header = &packet.header;
    if header.stratum != Stratum::KISS {
        return Ok(ReplyContent::from(header));
    }
    let kiss = KissCode::from_reference_id(header.reference_id);
    Err(kiss.map_or(Refusal::Rejected(Rejection::Unsynchronized), Refusal::Kiss))
}
