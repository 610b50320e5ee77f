//! A session with a server in the state directory: written at exit, used once by the next run.
//!
//! The file begins with the validity period of the certificates that led to the keys (two 64-bit
//! numbers, seconds since 1970). The clock of the run that accepted them may have been wrong: once
//! the time is known, the next run checks it against the period, and drops keys that fail.

use ntp_proto::nts::{KeyExchanged, StoredSession};
use ntp_types::event::{Event, KeyExchangeFailure, Prose};
use zeroize::Zeroizing;

use crate::log;
use crate::persist::StateFile;

/// Validity period of a certificate chain, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

impl Validity {
    /// Returns why the chain is not valid at `now`, or `None` if it is.
    pub(super) fn failure_at(self, now: u64) -> Option<KeyExchangeFailure> {
        if now < self.not_before {
            return Some(KeyExchangeFailure::CertificateNotYetValid);
        }
        (now > self.not_after).then_some(KeyExchangeFailure::CertificateExpired)
    }
}

/// Writes a session.
pub(super) fn store(file: &StateFile, validity: Validity, session: &KeyExchanged) {
    let session = StoredSession::emit(session);
    let mut octets = Zeroizing::new(Vec::with_capacity(session.len() + 16));
    octets.extend_from_slice(&validity.not_before.to_be_bytes());
    octets.extend_from_slice(&validity.not_after.to_be_bytes());
    octets.extend_from_slice(&session);
    file.write(&octets);
}

/// Loads and deletes a session of an earlier run: its cookies must not be used twice.
pub(super) fn take(file: &StateFile) -> Option<(Validity, KeyExchanged)> {
    let octets = file.read()?;
    let session = match parse(&octets) {
        Ok(session) => session,
        Err(problem) => {
            file.set_aside(&problem);
            return None;
        }
    };
    match file.remove() {
        Ok(()) => Some(session),
        Err(error) => {
            log::emit(&Event::StateRemoveFailed {
                path: file.path().display().to_string(),
                error: error.to_string(),
                consequence: Prose(
                    "its cookies may be used once only, so keys are exchanged again".to_owned(),
                ),
            });
            None
        }
    }
}

fn parse(octets: &[u8]) -> Result<(Validity, KeyExchanged), String> {
    let short = || "it ends too soon".to_owned();
    let (not_before, rest) = octets.split_first_chunk().ok_or_else(short)?;
    let (not_after, session) = rest.split_first_chunk().ok_or_else(short)?;
    let validity = Validity {
        not_before: u64::from_be_bytes(*not_before),
        not_after: u64::from_be_bytes(*not_after),
    };
    let session = StoredSession::parse(session).map_err(|problem| problem.to_string())?;
    Ok((validity, session))
}

#[cfg(test)]
mod tests {
    use ntp_proto::nts::{AeadAlgorithm, Cookie, KeyExchangeResult, NextProtocol, SessionKeys};

    use super::*;

    #[test]
    fn a_session_is_used_once_and_keeps_the_validity_of_its_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path().join("nts-a"), 0o600, 65_536, "");
        let session = KeyExchanged {
            from: "192.0.2.1".parse().unwrap(),
            member: None,
            result: KeyExchangeResult {
                protocol: NextProtocol::NtpV4,
                keys: SessionKeys::new(AeadAlgorithm::Aes128GcmSiv, &[1; 16], &[2; 16]).unwrap(),
                legacy_keys: None,
                cookies: vec![Cookie::new(&[7; 8]).unwrap()],
                server: None,
                port: None,
            },
        };
        let validity = Validity {
            not_before: 1_000,
            not_after: 2_000,
        };
        store(&file, validity, &session);
        let (read, restored) = take(&file).unwrap();
        assert_eq!(read, validity);
        assert_eq!(restored.from, session.from);
        let failures = [999, 1_000, 2_000, 2_001].map(|now| read.failure_at(now));
        assert_eq!(
            failures,
            [
                Some(KeyExchangeFailure::CertificateNotYetValid),
                None,
                None,
                Some(KeyExchangeFailure::CertificateExpired)
            ]
        );
        assert!(take(&file).is_none());
        // A file without the period is not used.
        file.write(&StoredSession::emit(&session));
        assert!(take(&file).is_none());
    }
}
