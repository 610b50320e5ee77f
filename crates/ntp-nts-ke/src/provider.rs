//! The cryptography of TLS: which library provides it is chosen when the program is built.
//!
//! | feature | library | post-quantum key exchange | FIPS 140-3 |
//! |---|---|---|---|
//! | `ring` (default) | ring | no | no |
//! | `aws-lc-rs` | AWS-LC | X25519MLKEM768, preferred | no |
//! | `openssl` | the system's OpenSSL 3 | X25519MLKEM768 with OpenSSL 3.5, preferred | if OpenSSL is in FIPS mode |
//! | `aws-lc-fips` | the FIPS module of AWS-LC | X25519MLKEM768, if the module has it | yes |
//!
//! If several are enabled, the last one in this table is used, so that a feature can be added to the
//! default ones. NTS packets are no TLS: their AEADs are in `ntp-proto`, the same for all providers.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

/// Name of the provider: that of its feature.
pub const NAME: &str = if cfg!(feature = "aws-lc-fips") {
    "aws-lc-fips"
} else if cfg!(feature = "openssl") {
    "openssl"
} else if cfg!(feature = "aws-lc-rs") {
    "aws-lc-rs"
} else {
    "ring"
};

/// Returns whether all that TLS uses of the provider is in a FIPS mode.
pub fn is_fips() -> bool {
    provider().fips()
}

/// The provider, made once: OpenSSL reads its configuration and its modules, and rustls-openssl
/// generates a key of each group to see whether OpenSSL has it.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(selected()));

/// Returns the provider. The first call may take a tenth of a second, if its library has to be
/// initialised.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

#[allow(
    unreachable_code,
    clippy::needless_return,
    reason = "the first of these that is enabled is used"
)]
fn selected() -> CryptoProvider {
    #[cfg(feature = "aws-lc-fips")]
    return rustls::crypto::default_fips_provider();
    #[cfg(feature = "openssl")]
    return rustls_openssl::default_provider();
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(feature = "ring")]
    return rustls::crypto::ring::default_provider();
    #[cfg(not(any(
        feature = "ring",
        feature = "aws-lc-rs",
        feature = "openssl",
        feature = "aws-lc-fips"
    )))]
    return compile_error!(
        "NTS needs a cryptography provider: enable one of the features `ring` (the default), \
         `aws-lc-rs`, `openssl` and `aws-lc-fips`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_with_post_quantum_groups_prefers_them() {
        let groups: Vec<_> = (provider().kx_groups.iter())
            .map(|group| group.name())
            .collect();
        let hybrid = rustls::NamedGroup::X25519MLKEM768;
        match NAME {
            "ring" => assert!(!groups.contains(&hybrid)),
            "aws-lc-rs" => assert_eq!(groups.first(), Some(&hybrid)),
            // Depends on the version of the library.
            _ => assert!(!groups.contains(&hybrid) || groups.first() == Some(&hybrid)),
        }
    }

    /// With OpenSSL, each status of the daemon generated a key of each group.
    #[test]
    fn the_provider_is_made_once() {
        assert!(Arc::ptr_eq(&provider(), &provider()));
    }

    #[test]
    fn only_a_fips_module_is_in_fips_mode() {
        match NAME {
            "aws-lc-fips" => assert!(is_fips()),
            "ring" | "aws-lc-rs" => assert!(!is_fips()),
            // The configuration of OpenSSL decides.
            _ => {}
        }
    }
}
