//! At which time certificates are judged while our own clock may be wrong.
//!
//! # The problem
//! A machine without a battery for its clock boots in the past. The server's certificate is not yet valid then, so there are no keys, so
//! there is no time, for ever. To ignore validity altogether would let in whoever holds a key that was valid once.
//!
//! # The policy
//! What we do know is an interval in which the true time lies: no earlier than the last time that an earlier run was sure of, and
//! as far from the clock as the operator lets it be set at the start. As long as the clock is not synchronised, a chain is good
//! if there is a moment in that interval at which all of it is valid. Everything else is checked as always. The chain is kept, and
//! judged again at the true time as soon as it is known; a source whose chain does not pass then loses its keys.
//!
//! Leniency *forwards* (a certificate that is not yet valid) costs little: a clock that is behind already accepts every
//! certificate that has expired since. Leniency *backwards* (one that has expired) is what a thief of old keys needs; by default
//! it is a day.
//!
//! # How the moment is found
//! The moments at which all certificates of a chain are valid form an interval, which begins with the beginning of one of them. So it meets ours
//! if the chain is valid at the clock's time, at the earliest moment, or at the beginning of one of its certificates within our interval.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::certificate::CertificateFacts;
use crate::failure::Failure;
use crate::provider;
use crate::trust::Trust;

/// When it is, as far as is known. In seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeKnown {
    /// What the clock says.
    pub now: u64,
    /// It is not earlier than this.
    pub earliest: u64,
    /// It is not later than this.
    pub latest: u64,
}

impl TimeKnown {
    /// The clock is right.
    pub const fn exactly(now: u64) -> Self {
        Self {
            now,
            earliest: now,
            latest: now,
        }
    }

    /// The clock may be behind by `forward` seconds or ahead by `backward`, but the true time is not before `floor`: a clock that is
    /// behind that is wrong for certain, and taken to show `floor`.
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

    /// The moments to try, the clock's first.
    fn moments(self, chain: &[CertificateDer<'_>]) -> Vec<u64> {
        let window = self.earliest..=self.latest;
        let mut moments: Vec<u64> = chain
            .iter()
            .filter_map(CertificateFacts::read)
            .map(|facts| facts.not_before)
            .chain([self.now, self.earliest])
            .filter(|moment| window.contains(moment))
            .collect();
        moments.sort_by_key(|moment| moment.abs_diff(self.now));
        moments.dedup();
        moments
    }
}

/// The certificates that a server showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// The server's own first.
    chain: Vec<CertificateDer<'static>>,
    /// Who it should be.
    name: ServerName<'static>,
    /// When all of it is valid, if that is not now: it is to be judged again.
    valid_at: Option<u64>,
}

impl Presented {
    /// What stands in them, the server's own first.
    pub fn facts(&self) -> Vec<CertificateFacts> {
        self.chain
            .iter()
            .filter_map(CertificateFacts::read)
            .collect()
    }

    /// The moment for which it was accepted although the clock says another; it is to be judged again when the time is known.
    pub const fn provisional(&self) -> Option<u64> {
        self.valid_at
    }

    /// Judges the certificates at `now`, which is true.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn judge_again(&self, trust: &Trust, now: u64) -> Result<(), Failure> {
        let (end_entity, intermediates) = self.chain.split_first().ok_or(Failure::NoCertificate)?;
        verifier(trust)?
            .verify_server_cert(end_entity, intermediates, &self.name, &[], unix(now))
            .map_err(|problem| Failure::of_tls(&problem, self))?;
        Ok(())
    }
}

/// Judges the server's certificates, and remembers what it saw.
#[derive(Debug)]
pub(crate) struct Judge {
    inner: Arc<WebPkiServerVerifier>,
    time: TimeKnown,
    presented: Mutex<Option<Presented>>,
}

impl Judge {
    pub(crate) fn new(trust: &Trust, time: TimeKnown) -> Result<Self, Failure> {
        Ok(Self {
            inner: verifier(trust)?,
            time,
            presented: Mutex::new(None),
        })
    }

    /// The certificates that the server showed, if it came to that.
    pub(crate) fn presented(&self) -> Option<Presented> {
        let presented = self.presented.lock();
        presented.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, presented: Presented) {
        let mut place = self
            .presented
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(presented);
    }
}

impl ServerCertVerifier for Judge {
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
        let judge = |moment| {
            let moment = unix(moment);
            self.inner
                .verify_server_cert(end_entity, intermediates, name, ocsp, moment)
        };
        let mut verdict = judge(self.time.now);
        if verdict.as_ref().is_err_and(is_about_time) {
            let moments = self.time.moments(&presented.chain);
            let good = moments.into_iter().find(|moment| judge(*moment).is_ok());
            if let Some(moment) = good {
                presented.valid_at = Some(moment);
                verdict = Ok(ServerCertVerified::assertion());
            }
        }
        self.remember(presented);
        verdict
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

fn is_about_time(problem: &Error) -> bool {
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
