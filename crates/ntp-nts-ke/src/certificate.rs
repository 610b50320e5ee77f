//! Contents of a certificate (RFC 5280), for display and for its validity period.
//!
//! Verification of certificates is done by rustls, not here. Names in a certificate are untrusted:
//! control characters are replaced, so that they cannot affect a terminal or a log.

use core::fmt;
use core::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Contents of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Distinguished name of its owner.
    pub subject: String,
    /// Distinguished name of its issuer.
    pub issuer: String,
    /// First second at which it is valid, since 1970.
    pub not_before: u64,
    /// Last second at which it is valid, since 1970.
    pub not_after: u64,
    /// Names and addresses for which it is valid (subjectAltName).
    pub names: Vec<String>,
}

impl CertificateFacts {
    /// Parses a certificate. `None` if it is malformed.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate.as_ref()).ok()?;
        let certificate = certificate.tbs_certificate();
        let validity = certificate.validity();
        let names = match certificate.get_extension::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(name).collect(),
            _ => Vec::new(),
        };
        Some(Self {
            subject: sanitize(&certificate.subject().to_string()),
            issuer: sanitize(&certificate.issuer().to_string()),
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
            names,
        })
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(sanitize(name.as_str())),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            if let Ok(octets) = <[u8; 4]>::try_from(octets) {
                return Some(std::net::Ipv4Addr::from(octets).to_string());
            }
            let octets = <[u8; 16]>::try_from(octets).ok()?;
            Some(std::net::Ipv6Addr::from(octets).to_string())
        }
        _ => None,
    }
}

/// Replaces control characters and limits the length.
fn sanitize(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let shown = text.chars().take(MAX_CHARS);
    shown
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A time in seconds since 1970, displayed as a date in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date(pub u64);

impl From<UnixTime> for Date {
    fn from(time: UnixTime) -> Self {
        Self(time.as_secs())
    }
}

/// For example `2026-11-23 04:17:45 UTC`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Certificates are valid until the end of the year 9999 at most.
        let time = DateTime::from_unix_duration(Duration::from_secs(self.0));
        let time = time.unwrap_or(DateTime::INFINITY);
        let (year, month, day) = (time.year(), time.month(), time.day());
        let (hour, minute, second) = (time.hour(), time.minutes(), time.seconds());
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_match_the_gregorian_calendar() {
        for (second, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_407_465, "2026-11-23 04:17:45 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(Date(second).to_string(), text);
        }
    }

    #[test]
    fn a_certificate_is_parsed_and_garbage_is_refused() {
        let names = vec![
            "ntp.example".to_owned(),
            "192.0.2.1".to_owned(),
            "2001:db8::1".to_owned(),
        ];
        let mut params = rcgen::CertificateParams::new(names.clone()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "a \u{1b}[2J b");
        params.not_before = rcgen::date_time_ymd(2020, 1, 2);
        params.not_after = rcgen::date_time_ymd(2030, 3, 4);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let facts = CertificateFacts::read(certificate.der()).unwrap();
        assert_eq!(facts.names, names);
        assert_eq!(
            Date(facts.not_before).to_string(),
            "2020-01-02 00:00:00 UTC"
        );
        assert_eq!(Date(facts.not_after).to_string(), "2030-03-04 00:00:00 UTC");
        assert!(!facts.subject.contains('\u{1b}'), "{}", facts.subject);
        assert_eq!(
            CertificateFacts::read(&CertificateDer::from(vec![1, 2, 3])),
            None
        );
    }
}
