//! Requests of an association: each opens an exchange.

use ntp_time::{Monotonic, NtpDuration, NtpTimestamp};
use rand_core::RngCore;

use super::interleaved::InterleavedFields;
use super::matching::{Exchange, Expected, Purpose};
use super::v5::RequestFields;
use super::{Association, ExchangeId};
use crate::wire::v5::{ClientCookie, draft};
use crate::wire::{Header, Mode, Version};

/// Time after which an exchange is closed without a reply. Longer than any path (a geostationary
/// hop takes 0.3 s each way), shorter than any steady interval.
const REPLY_TIMEOUT: NtpDuration = NtpDuration::from_seconds(5);

/// Number of requests that ask which versions the server supports. The answer is for operators
/// only, and a server that ignores the question need not be asked for ever.
const MAX_VERSION_QUERIES: u8 = 4;

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The datagram. On the heap: the allocation is negligible beside the socket of each request,
    /// and an inline buffer for the longest request would make every output of the engine a
    /// kilobyte.
    pub payload: Vec<u8>,
}

impl Association {
    /// Opens an exchange. The caller has closed the previous one.
    ///
    /// Returns `None` if no NTS cookie is left. Then no exchange is opened, and the next attempt is
    /// made at the next poll.
    pub fn request(
        &mut self,
        now: Monotonic,
        id: ExchangeId,
        rng: &mut impl RngCore,
    ) -> Option<Request> {
        // A timestamp of zero means "unknown".
        let nonce = rng.next_u64().max(1);
        let extra = self.extra.take().filter(|_| now < self.next_scheduled);
        let purpose = extra.map_or(Purpose::Poll, |(_, purpose)| purpose);
        if purpose == Purpose::Poll {
            self.choose_version(rng);
        }
        let expected = if self.version() == Version::V5 {
            Expected::Cookie(self.version_5_fields(nonce, purpose))
        } else {
            Expected::Origin {
                nonce: NtpTimestamp::from_bits(nonce),
                interleaved: match purpose {
                    Purpose::Fallback => None,
                    _ => self.interleaved.request_fields(rng),
                },
                offered: self.negotiation.offers(),
            }
        };
        // Additional requests do not count as polls.
        if purpose == Purpose::Poll {
            self.reach.record_poll();
            self.answered.record_poll();
            self.last_poll = now;
            self.next_scheduled = self.schedule.record_request(now, rng);
        }
        self.exchange = None;
        let payload = match &expected {
            Expected::Cookie(fields) => self.protection.request_v5(fields, rng),
            Expected::Origin {
                nonce,
                interleaved,
                offered,
            } => {
                let header = Header {
                    reference_timestamp: if *offered {
                        draft::MARKERS[0]
                    } else {
                        NtpTimestamp::ZERO
                    },
                    ..request_header(self.version(), *nonce, *interleaved)
                };
                self.protection.request(&header, rng)
            }
        }?;
        self.exchange = Some(Exchange {
            id,
            expected,
            purpose,
            sent: None,
            deadline: now + REPLY_TIMEOUT,
        });
        self.counters.sent += 1;
        Some(Request { payload })
    }

    /// Chooses the version of a scheduled poll, and its draft.
    fn choose_version(&mut self, rng: &mut impl RngCore) {
        let version = self.version();
        self.negotiation.begin_poll();
        if self.version() != version {
            self.version_changed();
        }
        if self.version() == Version::V5 {
            self.draft.begin_poll();
            if let Some(guard) = &mut self.loop_guard {
                guard.begin_poll(rng);
            }
        }
    }

    /// Timestamps and cookies of one version mean nothing in another.
    pub(super) fn version_changed(&mut self) {
        self.interleaved.discard_timestamps();
    }

    fn version_5_fields(&mut self, cookie: u64, purpose: Purpose) -> RequestFields {
        let server_information =
            self.server_versions.is_none() && self.version_queries < MAX_VERSION_QUERIES;
        self.version_queries += u8::from(server_information);
        RequestFields {
            cookie: ClientCookie::from_bits(cookie),
            draft: self.draft.name(),
            interleaved: match purpose {
                Purpose::Fallback => None,
                _ => self.interleaved.server_cookie(),
            },
            server_information,
            reference_ids: self.loop_guard.as_ref().map(|guard| guard.next_offset()),
        }
    }
}

/// Header of a client request: version, mode and nonce only, plus the fields that interleaved mode
/// needs. Fields that a server does not need cannot be used to track or to manipulate the client.
fn request_header(
    version: Version,
    nonce: NtpTimestamp,
    fields: Option<InterleavedFields>,
) -> Header {
    Header {
        origin_timestamp: fields.map_or(NtpTimestamp::ZERO, |fields| fields.origin),
        receive_timestamp: fields.map_or(NtpTimestamp::ZERO, |fields| fields.receive),
        transmit_timestamp: nonce,
        ..Header::blank(version, Mode::Client)
    }
}
