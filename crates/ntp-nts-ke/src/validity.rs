//! Verification of certificates while our own clock may be wrong.
//!
//! # The problem
//! A machine without a battery-backed clock boots with a time in the past. The server's certificate
//! is not yet valid then, so there are no keys, so the clock can never be set. Ignoring the
//! validity period altogether would accept every certificate whose key was valid once.
//!
//! # The policy
//! The true time is known to be in an interval: no earlier than the last time that an earlier run
//! saved, and no further from the clock than the operator allows it to be stepped at the start. As
//! long as the clock is not synchronised, a chain is accepted if there is a time in that interval
//! at which all of it is valid. Everything else is verified as usual. The chain is kept, and
//! verified again at the true time as soon as that is known; if it fails, the source loses its
//! keys.
//!
//! Leniency *forwards* (a certificate that is not yet valid) costs little: a clock that is behind
//! already accepts every certificate that has expired since. Leniency *backwards* (one that has
//! expired) is what an attacker with old keys needs; by default it is a day.
//!
//! # Finding the time
//! The times at which all certificates of a chain are valid form an interval, which starts with the
//! start of one of them. So it intersects ours if the chain is valid at the clock's time, at the
//! earliest time, or at the start of one of its certificates within our interval.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::certificate::CertificateFacts;
use crate::failure::Failure;
use crate::provider::provider;
use crate::trust::Trust;

/// Bounds of the true time, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBounds {
    /// Reading of the clock.
    pub now: u64,
    /// The true time is not earlier than this.
    pub earliest: u64,
    /// The true time is not later than this.
    pub latest: u64,
}

impl TimeBounds {
    /// The clock is correct.
    pub const fn exact(now: u64) -> Self {
        Self {
            now,
            earliest: now,
            latest: now,
        }
    }

    /// The clock may be behind by up to `forward` seconds or ahead by up to `backward`, and the
    /// true time is not before `floor`. A clock before `floor` is certainly wrong, and `floor` is
    /// used as its reading.
    pub const fn within(now: u64, forward: u64, backward: u64, floor: u64) -> Self {
        let now = if now < floor { floor } else { now };
        let latest = now.saturating_add(forward);
        let earliest = now.saturating_sub(backward);
        let earliest = if earliest < floor { floor } else { earliest };
        Self {
            now,
            earliest,
            latest,
        }
    }

    /// The times at which to verify the chain, the closest to the clock first.
    fn candidates(self, chain: &[CertificateDer<'_>]) -> Vec<u64> {
        let window = self.earliest..=self.latest;
        let mut candidates: Vec<u64> = chain
            .iter()
            .filter_map(CertificateFacts::read)
            .map(|facts| facts.not_before)
            .chain([self.now, self.earliest])
            .filter(|time| window.contains(time))
            .collect();
        candidates.sort_by_key(|time| time.abs_diff(self.now));
        candidates.dedup();
        candidates
    }
}

/// The certificate chain that a server presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The server's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    /// The expected server name.
    name: ServerName<'static>,
    /// The time at which it was accepted, if it is not valid at the clock's time.
    valid_at: Option<u64>,
}

impl Presented {
    /// Contents of the certificates, the server's own first.
    pub fn facts(&self) -> Vec<CertificateFacts> {
        self.chain
            .iter()
            .filter_map(CertificateFacts::read)
            .collect()
    }

    /// The time at which the chain was accepted although it is not valid at the clock's time; it
    /// must be verified again when the true time is known. `None` if it is valid at the clock's
    /// time.
    pub const fn assumed_time(&self) -> Option<u64> {
        self.valid_at
    }

    /// Verifies the chain at the true time `now`.
    ///
    /// # Errors
    /// Why the verification failed.
    pub fn reverify(&self, trust: &Trust, now: u64) -> Result<(), Failure> {
        let (end_entity, intermediates) = self.chain.split_first().ok_or(Failure::NoCertificate)?;
        verifier(trust)?
            .verify_server_cert(end_entity, intermediates, &self.name, &[], unix(now))
            .map_err(|error| Failure::from_tls(&error, &self.facts()))?;
        Ok(())
    }
}

/// Verifies the server's certificates with leniency about time, and keeps them.
#[derive(Debug)]
pub(crate) struct LenientVerifier {
    inner: Arc<WebPkiServerVerifier>,
    time: TimeBounds,
    presented: Mutex<Option<Presented>>,
}

impl LenientVerifier {
    pub(crate) fn new(trust: &Trust, time: TimeBounds) -> Result<Self, Failure> {
        Ok(Self {
            inner: verifier(trust)?,
            time,
            presented: Mutex::new(None),
        })
    }

    /// The certificate chain that the server presented, if the handshake got that far.
    pub(crate) fn presented(&self) -> Option<Presented> {
        let presented = self.presented.lock();
        presented.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, presented: Presented) {
        let kept = self.presented.lock();
        *kept.unwrap_or_else(PoisonError::into_inner) = Some(presented);
    }
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = core::iter::once(end_entity).chain(intermediates);
        let mut presented = Presented {
            chain: chain
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
            name: name.to_owned(),
            valid_at: None,
        };
        let verify_at = |time| {
            let time = unix(time);
            self.inner
                .verify_server_cert(end_entity, intermediates, name, ocsp, time)
        };
        let mut result = verify_at(self.time.now);
        if result.as_ref().is_err_and(is_validity_error) {
            let candidates = self.time.candidates(&presented.chain);
            let valid_at = candidates.into_iter().find(|time| verify_at(*time).is_ok());
            if valid_at.is_some() {
                presented.valid_at = valid_at;
                result = Ok(ServerCertVerified::assertion());
            }
        }
        self.keep(presented);
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn verifier(trust: &Trust) -> Result<Arc<WebPkiServerVerifier>, Failure> {
    WebPkiServerVerifier::builder_with_provider(Arc::clone(&trust.roots), provider())
        .build()
        .map_err(|problem| Failure::Tls(problem.to_string()))
}

/// Whether the verification failed only because of the validity period.
fn is_validity_error(problem: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        problem,
        Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

const fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(core::time::Duration::from_secs(seconds))
}
