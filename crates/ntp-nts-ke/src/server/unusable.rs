//! Names what this server cannot use in the files of a certificate: rustls only reports that it
//! cannot parse them.

use rustls::pki_types::pem::Error as PemError;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode;

use crate::trust::pem_problem;

/// Markers of an encrypted private key: PKCS #8 (RFC 5958) and the older form of RFC 1421.
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"ENCRYPTED\n"];

/// Kinds of keys that `ring` cannot sign with, by the object identifier in the key with its tag and
/// length (RFC 5480, RFC 8410, RFC 3279).
const NOT_SERVED: [(&[u8], &str); 4] = [
    (b"\x06\x05\x2b\x81\x04\x00\x23", "P-521"),
    (b"\x06\x05\x2b\x81\x04\x00\x0a", "secp256k1"),
    (b"\x06\x03\x2b\x65\x71", "Ed448"),
    (b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01", "DSA"),
];

/// Describes why no private key was found in a PEM file.
pub(super) fn no_private_key(file: &[u8], problem: &PemError) -> String {
    if ENCRYPTED.iter().any(|marker| contains(file, marker)) {
        return "the private key is encrypted with a passphrase, which nobody can enter at start-up: \
                write it without one (openssl pkey -in OLD -out NEW) and protect the file"
            .into();
    }
    format!("no private key: {}", pem_problem(problem))
}

/// Describes why a private key cannot be used.
pub(super) fn unusable_key(key: &PrivateKeyDer<'_>, problem: &rustls::Error) -> String {
    let der = key.secret_der();
    let kind = NOT_SERVED.iter().find(|(id, _)| contains(der, id));
    match kind {
        Some((_, kind)) => {
            format!(
                "{kind} keys are not served: use P-256, P-384, Ed25519 or RSA (2048 bits or more)"
            )
        }
        None => problem.to_string(),
    }
}

/// Describes why a certificate cannot be parsed.
pub(super) fn unusable_certificate(certificate: &CertificateDer<'_>) -> &'static str {
    let parsed = Certificate::from_der(certificate.as_ref());
    match parsed.map(|parsed| parsed.tbs_certificate().version()) {
        Ok(Version::V1 | Version::V2) => {
            "the first certificate is of X.509 version 1 or 2, which has no subjectAltName: clients \
             accept version 3 only"
        }
        _ => "the first certificate cannot be parsed",
    }
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// Made by OpenSSL for this test.
    const P521: &str = "\
-----BEGIN PRIVATE KEY-----
MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIBQZvCYVFuSSwvgX85
O1k15OYAEKSwng+SYhho2OyO258iUsnkbzyoBwr6in6K7dvQjpCSaKxQ01MPy/x5
J+BRicuhgYkDgYYABABjnEfPiZuLLwr2C+iNcN6uFA8zolyWDswLl6asUGgbScgg
OPm4h/luySxKT00jEieyqwO/AoFtlinzLzkR2QKDuwFKOF/r7oB9aKKnR+pIOUaQ
lJBbhkO3YHUaLD7gbZJ86EG83CzLIOMDQJzib9wQ3WbgboXE7vC6orFr0sOGvbG8
+g==
-----END PRIVATE KEY-----
";
    const ENCRYPTED_PKCS8: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgqiCy+dMRWmQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEGaj5fm5zqUwlurHd36wy/YEgZB4
a6Vw0lsd21kZmwrFyCyUv1aPAgNNR8F6pOmcBkZb8oxBKmkSDXZMAGAthZTvxQNe
dIif7UcYsLL+RAVpZxEvTyM23UlYngXyuPwmsNNc0/rouGBhWcXVDRDyE3k/RBVc
zQfRCnjSiWjKVJPUa25TXWdwmcIIiMOvPhtpOYi73U44OumqTpH52c6VdGV2LuI=
-----END ENCRYPTED PRIVATE KEY-----
";
    const ENCRYPTED_SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,0181ED03B06245B4C99B41DC9D8D0EB7

uqc2pBznMS66dVnSvd55oc9q8/C/PW6P3s2fMCSY1s3nmRLpNGOyZTavUER9zwMb
W8ieLO7S3YIwgXwnmt9gR8dUuOpK6lviRGY458M8CvHL74q4SceMvT9J37v3yqnQ
Ds2HYyoC26OaVZAa67E64lPf9F7U3rEhNOIor4Vykew=
-----END EC PRIVATE KEY-----
";
    const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFzCBvwIUQTawcm75vTdfSVauyq+Gffk6YDUwCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyOTEzNTU0MVoYDzIxMjYxMTA1MTM1NTQxWjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQsQBOn2da2jd62
OMvDI+GSjIfyMf26rbEThX6loRWyhK29V8+yn5bPDcdu2BRMflK4XpTHARFuQcrO
2GwEHqJfMAoGCCqGSM49BAMCA0cAMEQCIFs/DP1WGWl+3KE3DGIthNMPmIGRzr3M
5oLSTNjapXaGAiBYQ1gzGeWzRx38fGTDTQnbx90//2bjgWZksMugfDkBFw==
-----END CERTIFICATE-----
";

    #[test]
    fn files_that_cannot_be_used_have_a_reason_by_name() {
        for encrypted in [ENCRYPTED_PKCS8, ENCRYPTED_SEC1] {
            let problem = PrivateKeyDer::from_pem_slice(encrypted.as_bytes()).unwrap_err();
            let text = no_private_key(encrypted.as_bytes(), &problem);
            assert!(text.contains("encrypted with a passphrase"), "{text}");
        }
        let problem = PrivateKeyDer::from_pem_slice(b"x").unwrap_err();
        let text = no_private_key(b"x", &problem);
        assert!(text.starts_with("no private key"), "{text}");

        let key = PrivateKeyDer::from_pem_slice(P521.as_bytes()).unwrap();
        let text = unusable_key(&key, &rustls::Error::General("unknown".into()));
        assert!(text.starts_with("P-521 keys are not served"), "{text}");

        let old = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
        assert!(unusable_certificate(&old).contains("X.509 version 1"));
        let text = unusable_certificate(&CertificateDer::from(vec![0]));
        assert!(text.contains("cannot be parsed"), "{text}");
    }
}
