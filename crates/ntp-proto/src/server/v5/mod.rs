//! Requests of version 5 (draft-ietf-ntp-ntpv5), answered where the policy accepts that version.
//!
//! Access, rate limit and authentication are those of the other versions, and so is their order. Of
//! its own are the header and the kisses:
//!
//! | version 4 | version 5 |
//! |---|---|
//! | DENY | stratum 0, poll 127: the client is not to come back |
//! | RATE | stratum 0, and the poll interval that is permitted |
//! | NTSN, crypto-NAK | stratum 0 and the flag for a failed authentication |
//! | stratum 16, leap 3 | stratum 0 without the flag for a synchronised clock; leap 3 only means that leap seconds are unknown |
//! | | a MAC that cannot be verified is refused even if no keys are configured |
//!
//! A request is answered under the draft that it names, if [that is
//! spoken](crate::wire::v5::draft::NAMES), and ignored otherwise. The response is exactly as long
//! as the request; see `response.rs`.
//!
//! # Timescale
//! A client asks for a scale. TAI is served where its offset from UTC is known; all other scales
//! are answered in that of the clock, UTC or smeared UTC, which the response states. The fields for
//! other scales have what is known, and else zero.
//!
//! # Interleaved mode
//! The cookie of a response is the receive timestamp by which the store of [version
//! 4](super::interleaved) finds its transmit timestamp, in UTC whatever the scale. A response names
//! one only if the client asked for the mode, so that other clients need no state.

mod response;

use std::sync::Arc;

use ntp_time::{
    Era, LeapIndicator, NtpDuration, NtpTimestamp, PollInterval, Stratum, SystemTime, Time32,
    Timescale,
};

use super::draft::{Authenticator, Draft, Signature};
use super::interleaved::{mark_receive, mark_transmit};
use super::nts::NtsFields;
use super::view::SystemVariables;
use super::{
    Authentication, Claim, Kind, Reason, RequestContext, Restrictions, StampToken, Verdict,
    WorkerState,
};
use crate::wire::v5::{Flags, Header, Mac, Packet, ServerCookie, draft};
use crate::wire::{Mode, Version};
pub(super) use response::Response;
use response::{DraftName, Values};

impl RequestContext<'_> {
    /// Decides on a request of version 5. Sets `nts` if it has NTS.
    #[inline(never)]
    pub(super) fn decide_version_5(
        &self,
        worker: &mut WorkerState,
        port: u16,
        request: &[u8],
        draft: &mut Draft,
        nts: &mut bool,
    ) -> Result<Verdict, Reason> {
        // Nearly every request has the draft field only, and a copy of its own as in version 4.
        if let Some(plain) = Packet::parse_plain(request) {
            let denied = self.admit(port)?;
            let (packet, field) = plain.map_err(Reason::Malformed)?;
            self.check_version_5(&packet)?;
            let limited = self.charge(worker)?;
            let none = Authentication::None;
            let kind = self.kind(Restrictions { denied, limited }, &none)?;
            let draft_name = DraftName::Plain(field);
            return self.write_response(worker, kind, &packet, draft_name, none, draft);
        }
        self.decide_version_5_with_fields(worker, port, request, draft, nts)
    }

    #[inline(never)]
    fn decide_version_5_with_fields(
        &self,
        worker: &mut WorkerState,
        port: u16,
        request: &[u8],
        draft: &mut Draft,
        nts: &mut bool,
    ) -> Result<Verdict, Reason> {
        let denied = self.admit(port)?;
        let packet = Packet::parse(request).map_err(Reason::Malformed)?;
        self.check_version_5(&packet)?;
        let name = packet.draft.and_then(draft::known_name);
        let name = name.ok_or(Reason::UnknownDraft)?;
        if request.len() > Draft::CAPACITY {
            return Err(Reason::Unanswerable);
        }
        let fields = NtsFields::search_version_5(&packet);
        *nts = fields.is_some();
        let limited = self.charge(worker)?;
        let authentication = match (&fields, packet.mac) {
            (Some(fields), _) => self.authenticate_nts(fields, draft)?,
            (None, Some(mac)) => {
                self.authenticate_mac(packet.authenticated(), mac.key_id, mac.digest)
            }
            (None, None) => Authentication::None,
        };
        let kind = self.kind(Restrictions { denied, limited }, &authentication)?;
        let draft_name = DraftName::Among(name);
        self.write_response(worker, kind, &packet, draft_name, authentication, draft)
    }

    /// Checks that a packet is a request, of an accepted version.
    #[inline(always)]
    fn check_version_5(&self, packet: &Packet<'_>) -> Result<(), Reason> {
        if packet.header.mode != Mode::Client {
            return Err(Reason::NotARequest(packet.header.mode));
        }
        if !self.view.policy.versions.contains(Version::V5) {
            return Err(Reason::Version(Version::V5));
        }
        Ok(())
    }

    #[inline(always)]
    fn write_response(
        &self,
        worker: &mut WorkerState,
        kind: Kind,
        packet: &Packet<'_>,
        name: DraftName,
        authentication: Authentication<'_>,
        draft: &mut Draft,
    ) -> Result<Verdict, Reason> {
        let scale = Scale::of(&self.view.claim, packet.header.timescale);
        let system = self.system_variables_version_5(kind);
        let mut header = self.header_version_5(kind, packet, &system, scale, worker);
        let token = match kind {
            Kind::Time => self.interleave(&mut header, packet, scale, worker),
            _ => None,
        };
        let authenticator = match (authentication, packet.mac) {
            (Authentication::Key(key), Some(mac)) => Authenticator::Signature(Signature {
                key: Arc::clone(key),
                length: mac.digest.len(),
                prefix: Mac::PREFIX,
            }),
            (Authentication::Nts(keyset), _) => Authenticator::Nts(keyset),
            _ => Authenticator::None,
        };
        let authenticated = !matches!(authenticator, Authenticator::None);
        let interleaved = header.flags.interleaved;
        let response = Response {
            header: &header,
            request: packet,
            draft: name,
            values: (kind == Kind::Time).then(|| Values::new(self, &system, scale)),
            authenticator,
            scale_offset: scale.offset,
            interleaved,
            token,
        };
        match draft.write_version_5(response, &mut worker.random) {
            Ok(()) => Ok(Verdict::Answer {
                kind,
                interleaved,
                authenticated,
            }),
            Err(_) => {
                draft.clear();
                Err(Reason::Unanswerable)
            }
        }
    }

    #[inline(always)]
    fn system_variables_version_5(&self, kind: Kind) -> SystemVariables {
        match kind {
            Kind::Time => {
                let claim = &self.view.claim;
                claim.system_variables(self.now.system, self.received)
            }
            // The code has no place in version 5.
            Kind::Deny | Kind::Rate | Kind::CryptoNak | Kind::NtsNak => {
                SystemVariables::kiss([0; 4])
            }
        }
    }

    #[inline(always)]
    fn header_version_5(
        &self,
        kind: Kind,
        packet: &Packet<'_>,
        system: &SystemVariables,
        scale: Scale,
        worker: &WorkerState,
    ) -> Header {
        let claim = &self.view.claim;
        let synchronized = system.leap != LeapIndicator::Unsynchronized;
        let shortest = worker.limiter.poll().unwrap_or(PollInterval::from_log2(0));
        Header {
            leap: match (synchronized, scale.timescale) {
                (false, _) => LeapIndicator::Unsynchronized,
                (true, Timescale::SmearedUtc) => LeapIndicator::None,
                (true, _) => claim.leap_ahead,
            },
            mode: Mode::Server,
            stratum: if system.stratum == Stratum::UNSYNCHRONIZED {
                Stratum::new(0)
            } else {
                system.stratum
            },
            poll: match kind {
                Kind::Deny => Header::NEVER,
                Kind::Rate => shortest.longer(),
                Kind::Time | Kind::CryptoNak | Kind::NtsNak => shortest,
            },
            precision: claim.precision,
            root_delay: Time32::from_duration_ceil(system.root_delay),
            root_dispersion: Time32::from_duration_ceil(system.root_dispersion),
            timescale: scale.timescale,
            era: Era::of(scale.apply(self.arrived)),
            flags: Flags {
                synchronized,
                interleaved: false,
                authentication_nak: matches!(kind, Kind::CryptoNak | Kind::NtsNak),
            },
            server_cookie: ServerCookie::NONE,
            client_cookie: packet.header.client_cookie,
            receive_timestamp: self.received + scale.offset,
            transmit_timestamp: NtpTimestamp::ZERO,
        }
    }

    /// Fills the fields of interleaved mode, if the client asked for it.
    #[inline(always)]
    fn interleave(
        &self,
        header: &mut Header,
        packet: &Packet<'_>,
        scale: Scale,
        worker: &mut WorkerState,
    ) -> Option<StampToken> {
        if !packet.header.flags.interleaved {
            return None;
        }
        let epoch = self.view.claim.epoch;
        let asked = NtpTimestamp::from_bits(packet.header.server_cookie.to_bits());
        if packet.header.server_cookie != ServerCookie::NONE
            && let Some(transmit) = worker.store.transmit(asked, self.client, epoch)
        {
            header.flags.interleaved = true;
            header.transmit_timestamp = mark_transmit(transmit + scale.offset);
        }
        let mut cookie = mark_receive(self.received);
        let token = worker.store.reserve(&mut cookie, self.client, epoch)?;
        header.server_cookie = ServerCookie::from_bits(cookie.to_bits());
        Some(token)
    }
}

/// Scale of the timestamps of a response.
#[derive(Clone, Copy)]
struct Scale {
    timescale: Timescale,
    /// What is added to the clock.
    offset: NtpDuration,
}

impl Scale {
    /// The scale in which a request for `wanted` is answered.
    #[inline(always)]
    fn of(claim: &Claim, wanted: Timescale) -> Self {
        match claim.tai_offset {
            Some(offset) if wanted == Timescale::Tai => Self {
                timescale: Timescale::Tai,
                offset: NtpDuration::from_seconds(offset.into()),
            },
            _ => Self {
                timescale: claim.timescale,
                offset: NtpDuration::ZERO,
            },
        }
    }

    /// The era and timestamp of `arrived` in the scale `wanted`. `None` if that is not known.
    fn secondary(claim: &Claim, wanted: Timescale, arrived: SystemTime) -> Option<SystemTime> {
        let scale = Self::of(claim, wanted);
        (scale.timescale == wanted).then(|| scale.apply(arrived))
    }

    /// Converts a reading of the clock.
    #[inline(always)]
    fn apply(self, time: SystemTime) -> SystemTime {
        // The usual case; adding converts to nanoseconds.
        if self.offset == NtpDuration::ZERO {
            time
        } else {
            time + self.offset
        }
    }
}
