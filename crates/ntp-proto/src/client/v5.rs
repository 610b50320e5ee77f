//! Requests and responses of version 5 (draft-ietf-ntp-ntpv5).
//!
//! A request has nothing of the client in it: a random cookie, by which alone its response is
//! recognised, and fields that ask for something. A response is as long as its request, so each of
//! these fields has the length of its answer.
//!
//! | field | purpose |
//! |---|---|
//! | draft | both sides speak the same draft; nothing else is a response |
//! | reference timestamp | recognises our own server, as in version 4 |
//! | monotonic receive | frequency without the phase corrections of the server, see `monotonic` of the engine |
//! | server information | versions of the server, asked until answered |
//! | reference IDs | loops, see `loop_guard` |
//! | MAC | if the source has a key |
//! | correction | delays in switches, only without authentication: nothing protects this field |
//!
//! # What a response states
//! Timestamps are asked for in UTC. A server that smears leap seconds answers in its smeared scale, and
//! is treated as such a server of version 4: by the reference ID that marks it. One that knows TAI
//! only is used if the list of leap seconds has its offset. UT1 is refused. The leap indicator 3 means that the server knows nothing about leap seconds.

use ntp_time::{Era, LeapIndicator, NtpDuration, NtpTimestamp, ReferenceId, Time32, Timescale};
use ntp_types::event::Rejection;

use super::content::{MonotonicReceive, PathCorrection, ReplyContent};
use super::interleaved::ReplyMode;
use super::loop_guard::CHUNK;
use crate::wire::v5::{
    ClientCookie, Correction, Field, Fields, Flags, Header, Packet, ServerCookie,
    SupportedVersions, draft,
};
use crate::wire::{EmitError, ExtensionField, Mode, Version, Writer};

/// Space for the fields before the authentication; they need 240 octets.
const FRONT: usize = 320;

/// What a request asks for, by which its response is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestFields {
    /// Chosen at random.
    pub(super) cookie: ClientCookie,
    /// Name of the draft.
    pub(super) draft: &'static str,
    /// In interleaved mode, the server's cookie of the last response.
    pub(super) interleaved: Option<ServerCookie>,
    /// Whether to ask which versions the server supports.
    pub(super) server_information: bool,
    /// Offset of the part of the filter of reference IDs that is asked for.
    pub(super) reference_ids: Option<u16>,
}

impl RequestFields {
    /// Header and fields, without those that authenticate, and the correction.
    ///
    /// # Errors
    /// None occurs: the buffer has room for all fields.
    pub(super) fn emit(&self) -> Result<Vec<u8>, EmitError> {
        let mut buffer = vec![0; FRONT];
        let mut writer = Writer::new(&mut buffer);
        let header = Header {
            flags: Flags {
                interleaved: self.interleaved.is_some(),
                ..Flags::NONE
            },
            server_cookie: self.interleaved.unwrap_or(ServerCookie::NONE),
            client_cookie: self.cookie,
            ..Header::blank(Mode::Client)
        };
        header.emit(&mut writer)?;
        Field::Draft(self.draft.as_bytes()).emit(&mut writer)?;
        Field::ReferenceTimestamp(NtpTimestamp::ZERO).emit(&mut writer)?;
        let monotonic = Field::MonotonicReceive {
            epoch: 0,
            timestamp: NtpTimestamp::ZERO,
        };
        monotonic.emit(&mut writer)?;
        if self.server_information {
            Field::ServerInformation(SupportedVersions::NONE).emit(&mut writer)?;
        }
        if let Some(offset) = self.reference_ids {
            let length = CHUNK;
            Field::ReferenceIdsRequest { offset, length }.emit(&mut writer)?;
        }
        let length = writer.written().len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Appends a correction field to a request, which is the last field.
    ///
    /// # Errors
    /// None occurs.
    pub(super) fn append_correction(request: &mut Vec<u8>) -> Result<(), EmitError> {
        let front = request.len();
        request.resize(front + ExtensionField::PREFIX + Correction::LEN, 0);
        let place = request.get_mut(front..).unwrap_or_default();
        Field::Correction(Correction::default()).emit(&mut Writer::new(place))
    }

    /// Whether the response is in the mode that was asked for.
    ///
    /// # Errors
    /// [`Rejection::Timestamps`] if it is interleaved and nothing was named that it could complete.
    pub(super) fn mode(&self, header: &Header) -> Result<ReplyMode, Rejection> {
        match (self.interleaved, header.flags.interleaved) {
            (Some(named), true) if named != ServerCookie::NONE => Ok(ReplyMode::Interleaved),
            (_, true) => Err(Rejection::Timestamps),
            (None, false) => Ok(ReplyMode::Basic),
            // The first response of a server that supports the mode has a cookie.
            (Some(ServerCookie::NONE), false) if header.server_cookie != ServerCookie::NONE => {
                Ok(ReplyMode::Basic)
            }
            (Some(_), false) => Ok(ReplyMode::Refused),
        }
    }
}

/// What the fields of a response hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ResponseFields<'a> {
    pub(super) reference_timestamp: Option<NtpTimestamp>,
    pub(super) monotonic: Option<MonotonicReceive>,
    pub(super) server_information: Option<SupportedVersions>,
    /// Part of the filter of reference IDs.
    pub(super) reference_ids: Option<&'a [u8]>,
}

impl<'a> ResponseFields<'a> {
    /// Reads the fields. `authenticated_by_nts` is whether only those before the authenticator
    /// count, which are all that NTS protects; a MAC is behind all fields already.
    pub(super) fn read(fields: Fields<'a>, authenticated_by_nts: bool) -> Self {
        let is_authenticator =
            |field: &ExtensionField<'_>| field.field_type == ExtensionField::NTS_AUTHENTICATOR;
        let protected =
            fields.take_while(|field| !(authenticated_by_nts && is_authenticator(field)));
        let mut read = Self::default();
        for field in protected {
            match Field::parse(field) {
                Field::ReferenceTimestamp(timestamp) => read.reference_timestamp = Some(timestamp),
                Field::MonotonicReceive { epoch, timestamp } if !timestamp.is_zero() => {
                    read.monotonic = Some(MonotonicReceive { epoch, timestamp });
                }
                Field::ServerInformation(versions) if versions != SupportedVersions::NONE => {
                    read.server_information = Some(versions);
                }
                Field::ReferenceIdsResponse(part) => read.reference_ids = Some(part),
                _ => {}
            }
        }
        read
    }
}

/// Checks that the response is of the draft of its request.
///
/// # Errors
/// [`Rejection::Draft`].
pub(super) fn check_draft(packet: &Packet<'_>, request: &RequestFields) -> Result<(), Rejection> {
    let same = packet.draft == Some(request.draft.as_bytes());
    same.then_some(()).ok_or(Rejection::Draft)
}

/// What the response states, in UTC or smeared UTC. `correct` is whether its correction is used,
/// `tai_offset` is TAI - UTC in seconds.
///
/// # Errors
/// [`Rejection::Timescale`] if it is in a scale that we cannot convert, [`Rejection::Correction`] if
/// its correction is impossible.
pub(super) fn content(
    packet: &Packet<'_>,
    fields: &ResponseFields<'_>,
    correct: bool,
    tai_offset: Option<i32>,
) -> Result<ReplyContent, Rejection> {
    let header = &packet.header;
    let (reference_id, ahead) = match (header.timescale, tai_offset) {
        (Timescale::Utc, _) => (ReferenceId::default(), 0),
        (Timescale::SmearedUtc, _) => (ReferenceId::SMEARED, 0),
        (Timescale::Tai, Some(offset)) => (ReferenceId::default(), offset),
        (Timescale::Tai, None) | (Timescale::Ut1, _) => return Err(Rejection::Timescale),
    };
    let to_utc = NtpDuration::from_seconds(-i64::from(ahead));
    // Zero means "unknown", whatever the scale.
    let in_utc = |timestamp: NtpTimestamp| match timestamp.is_zero() {
        true => timestamp,
        false => timestamp + to_utc,
    };
    let arrival = header.era.resolve(header.receive_timestamp);
    let correction = packet.correction.filter(|_| correct);
    Ok(ReplyContent {
        version: Version::V5,
        leap: match header.leap {
            _ if !header.flags.synchronized => LeapIndicator::Unsynchronized,
            LeapIndicator::Unsynchronized => LeapIndicator::None,
            leap => leap,
        },
        stratum: header.stratum,
        precision: header.precision,
        root_delay: root_error(header.root_delay),
        root_dispersion: root_error(header.root_dispersion),
        reference_id,
        reference_timestamp: in_utc(fields.reference_timestamp.unwrap_or(NtpTimestamp::ZERO)),
        receive_timestamp: in_utc(header.receive_timestamp),
        transmit_timestamp: in_utc(header.transmit_timestamp),
        era: Some(arrival.map_or(header.era, |arrival| Era::of(arrival + to_utc))),
        monotonic: fields.monotonic,
        correction: correction.map(path_correction).transpose()?.flatten(),
    })
}

/// Above any limit of the root distance.
const TOO_FAR: NtpDuration = NtpDuration::from_seconds(32);

/// The largest value also stands for everything above, which no server may have.
fn root_error(value: Time32) -> NtpDuration {
    if value == Time32::MAX {
        TOO_FAR
    } else {
        value.to_duration()
    }
}

/// Both values, or `None` if no device on the path has set one or one is too large for the field.
fn path_correction(correction: Correction) -> Result<Option<PathCorrection>, Rejection> {
    let values = correction
        .origin
        .to_duration()
        .zip(correction.delay.to_duration());
    let Some((request, response)) = values else {
        return Ok(None);
    };
    if request.is_negative() || response.is_negative() {
        return Err(Rejection::Correction);
    }
    let measured = request > NtpDuration::ZERO || response > NtpDuration::ZERO;
    Ok(measured.then_some(PathCorrection { request, response }))
}

/// The names of drafts, tried in turn until a server answers under one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DraftChoice {
    index: usize,
    /// Number of consecutive polls without a response.
    missed: u8,
    /// Whether a response had this name.
    confirmed: bool,
}

/// Number of consecutive unanswered polls after which another name is tried with a server that has
/// answered under this one: it may have been upgraded. Single packets get lost.
const MISSED_BEFORE_CHANGE: u8 = 2;

impl DraftChoice {
    /// Begins a poll: changes the name if the last one had no effect.
    pub(super) fn begin_poll(&mut self) {
        if self.missed >= MISSED_BEFORE_CHANGE || self.missed > 0 && !self.confirmed {
            self.index = (self.index + 1) % draft::NAMES.len();
            self.confirmed = false;
            self.missed = 0;
        }
        self.missed = self.missed.saturating_add(1);
    }

    /// Processes a response under this name.
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
        self.missed = 0;
    }

    /// Begins with `name`, which the key exchange offered, unless names have been tried already.
    /// Only a response confirms it: servers exist that give keys for version 5 without a word about
    /// the draft (upstream ntpd-rs up to 1.9).
    pub(super) fn prefer(&mut self, name: &str) {
        let offered = draft::NAMES.iter().position(|known| *known == name);
        if let Some(index) = offered.filter(|_| !self.confirmed && self.missed == 0) {
            *self = Self {
                index,
                ..Self::default()
            };
        }
    }

    /// The name of the next request.
    pub(super) fn name(self) -> &'static str {
        draft::NAMES
            .get(self.index)
            .copied()
            .unwrap_or(draft::NAMES[0])
    }
}
