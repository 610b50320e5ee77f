//! Layout of a response: field for field that of its request.
//!
//! A response must be exactly as long as its request, and every field of a request has the length of
//! the field that answers it. So the response has the same fields at the same places: known ones
//! with the answer, all others as padding. With NTS, the cookie, its placeholders and the
//! authenticator make room for one authenticator, which holds the new cookies, and padding before
//! it. What follows the authenticator in a request is not authenticated and not answered, except
//! for the correction field, which is the last one in both.
//!
//! Refusals answer no field but the draft and the unique identifier of NTS.

use ntp_time::{Era, NtpDuration, NtpTimestamp, SystemTime, Timescale};
use rand_core::RngCore;

use super::super::StampToken;
use super::super::draft::{Authenticator, Signature};
use super::super::nts::{Session, blank_authenticator};
use super::super::view::SystemVariables;
use super::super::{Claim, PhaseFreeClock, RequestContext};
use super::Scale;
use crate::nts::Keyset;
use crate::reference_ids::BloomFilter;
use crate::wire::v5::draft::DraftField;
use crate::wire::v5::{Correction, Field, Header, Mac, Packet, SupportedVersions};
use crate::wire::{EmitError, ExtensionField, Writer};

/// Parts of a response.
pub(in super::super) struct Response<'a> {
    pub(super) header: &'a Header,
    pub(super) request: &'a Packet<'a>,
    /// Name of the draft that the request states.
    pub(super) draft: DraftName,
    /// What the fields of the request ask for; `None` refuses.
    pub(super) values: Option<Values<'a>>,
    pub(super) authenticator: Authenticator<'a>,
    /// What is added to the transmit timestamp.
    pub(in super::super) scale_offset: NtpDuration,
    /// Whether the header's transmit timestamp is already set.
    pub(in super::super) interleaved: bool,
    pub(in super::super) token: Option<StampToken>,
}

/// Draft that a request states.
#[derive(Clone, Copy)]
pub(super) enum DraftName {
    /// This is the only field of the request, and of the response.
    Plain(&'static DraftField),
    /// The name is in a field among others.
    Among(&'static str),
}

impl DraftName {
    fn octets(self) -> &'static [u8] {
        match self {
            Self::Plain(field) => field.name().as_bytes(),
            Self::Among(name) => name.as_bytes(),
        }
    }
}

/// Sources of the answers to fields.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    claim: &'a Claim,
    arrived: SystemTime,
    timescale: Timescale,
    reference_timestamp: NtpTimestamp,
    versions: SupportedVersions,
    reference_ids: Option<&'a BloomFilter>,
}

impl<'a> Values<'a> {
    #[inline(always)]
    pub(super) fn new(
        context: &RequestContext<'a>,
        system: &SystemVariables,
        scale: Scale,
    ) -> Self {
        let reference = system.reference_timestamp;
        Self {
            claim: &context.view.claim,
            arrived: context.arrived,
            timescale: scale.timescale,
            reference_timestamp: if reference.is_zero() {
                reference
            } else {
                reference + scale.offset
            },
            versions: context.view.policy.versions.supported(),
            reference_ids: context.view.reference_ids.as_deref(),
        }
    }

    /// The answer to a field; `None` if there is none.
    fn answer(&self, field: &Field<'_>) -> Option<Field<'a>> {
        Some(match *field {
            Field::ReferenceIdsRequest { offset, length } => {
                let filter = self.reference_ids?;
                Field::ReferenceIdsResponse(filter.chunk(offset.into(), length)?)
            }
            Field::ServerInformation(_) => Field::ServerInformation(self.versions),
            Field::Correction(correction) => Field::Correction(correction.response()),
            Field::ReferenceTimestamp(_) => Field::ReferenceTimestamp(self.reference_timestamp),
            Field::MonotonicReceive { .. } => {
                let clock: &PhaseFreeClock = self.claim.phase_free.as_ref()?;
                Field::MonotonicReceive {
                    epoch: clock.epoch,
                    timestamp: clock.read(self.arrived).to_ntp(),
                }
            }
            Field::SecondaryReceive { timescale, .. } if timescale != self.timescale => {
                let time = Scale::secondary(self.claim, timescale, self.arrived);
                Field::SecondaryReceive {
                    timescale,
                    era: time.map_or(Era::default(), Era::of),
                    timestamp: time.map_or(NtpTimestamp::ZERO, SystemTime::to_ntp),
                }
            }
            _ => return None,
        })
    }
}

impl Response<'_> {
    /// Length in octets: that of the request.
    pub(in super::super) fn length(&self) -> usize {
        match self.draft {
            DraftName::Plain(_) => Header::LEN + DraftField::LEN,
            DraftName::Among(_) => self.request.length(),
        }
    }

    /// Writes the response into a buffer of its length, except for the digest or the encryption.
    /// Returns the length of the part at the end that is not authenticated.
    #[inline(always)]
    pub(in super::super) fn write(
        &self,
        writer: &mut Writer<'_>,
        session: Option<&mut Session>,
        random: &mut impl RngCore,
    ) -> Result<usize, EmitError> {
        self.header.emit(writer)?;
        if let DraftName::Plain(field) = self.draft {
            writer.put(field.octets())?;
            return Ok(0);
        }
        if let Authenticator::Nts(keyset) = self.authenticator {
            let session = session.ok_or(EmitError::BufferTooSmall)?;
            return self.write_nts(writer, session, keyset, random);
        }
        for field in self.request.fields() {
            self.write_answer(field, writer)?;
        }
        Ok(match self.request.correction {
            Some(_) => CORRECTION,
            None => 0,
        })
    }

    #[inline(never)]
    fn write_nts(
        &self,
        writer: &mut Writer<'_>,
        session: &mut Session,
        keyset: &Keyset,
        random: &mut impl RngCore,
    ) -> Result<usize, EmitError> {
        let (mut identified, mut authenticated) = (false, false);
        for field in self.request.fields() {
            match field.field_type {
                ExtensionField::NTS_AUTHENTICATOR => authenticated = true,
                ExtensionField::NTS_COOKIE | ExtensionField::NTS_PLACEHOLDER => {}
                // A second one would be repeated to no purpose.
                ExtensionField::UNIQUE_IDENTIFIER if !authenticated && !identified => {
                    identified = true;
                    Field::Other(field).emit(writer)?;
                }
                _ if !authenticated => self.write_answer(field, writer)?,
                _ => {}
            }
        }
        let correction = self.request.correction.map(Correction::response);
        let trailer = correction.map_or(0, |_| CORRECTION);
        let room = writer
            .remaining()
            .checked_sub(trailer)
            .ok_or(EmitError::BufferTooSmall)?;
        let plan = session.plan(room);
        let padding = room.checked_sub(plan.1).ok_or(EmitError::BufferTooSmall)?;
        // All lengths are multiples of 4, as long as the shortest field.
        if let Some(body) = padding.checked_sub(ExtensionField::PREFIX) {
            Field::Padding(body).emit(writer)?;
        }
        Field::Other(blank_authenticator(plan.1)?).emit(writer)?;
        session.lay_out(writer.written_mut(), plan, keyset, random)?;
        if let Some(correction) = correction {
            Field::Correction(correction).emit(writer)?;
        }
        Ok(trailer)
    }

    /// Writes the answer to a field, or padding of its length.
    #[inline(always)]
    fn write_answer(
        &self,
        field: ExtensionField<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<(), EmitError> {
        let padding = Field::Padding(field.body.len());
        let parsed = Field::parse(field);
        let answer = match (&parsed, &self.authenticator) {
            (Field::Draft(name), _) if *name == self.draft.octets() => parsed,
            (Field::Draft(_) | Field::Padding(_), _) => padding,
            (Field::Mac(_), Authenticator::Signature(signature)) => Field::Mac(Mac {
                key_id: signature.key.id(),
                digest: signature.blank(),
            }),
            (Field::Other(other), _) if other.field_type == ExtensionField::UNIQUE_IDENTIFIER => {
                parsed
            }
            _ => self
                .values
                .as_ref()
                .and_then(|values| values.answer(&parsed))
                .unwrap_or(padding),
        };
        answer.emit(writer)
    }

    /// The digest to be calculated.
    pub(in super::super) fn into_signature(self) -> Option<Signature> {
        match self.authenticator {
            Authenticator::Signature(signature) => Some(signature),
            _ => None,
        }
    }
}

/// Length of a correction field in octets.
const CORRECTION: usize = ExtensionField::PREFIX + Correction::LEN;
