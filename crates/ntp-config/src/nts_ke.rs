//! `[[nts-ke-server]]`: where keys for NTS are given out (RFC 8915 section 4).

use std::net::SocketAddr;
use std::path::PathBuf;

use ntp_proto::nts::AeadAlgorithm;

use crate::address::NTS_KE_PORT;
use crate::document::Place;
use crate::outline::Said;
use crate::reader::{Context, Section, Value};
use crate::server::NtpVersion;
use crate::value;

/// An address at which keys are given out.
#[derive(Clone, Debug, PartialEq)]
pub struct NtsKeConfig {
    /// Where the section begins.
    pub place: Place,
    /// Its keys as the files have them, each with its place.
    pub said: Vec<Said>,
    /// The address to listen on (TCP).
    pub listen: SocketAddr,
    /// PEM file of the certificate and its chain.
    pub certificate_chain_path: PathBuf,
    /// PEM file of the private key.
    pub private_key_path: PathBuf,
    /// How long a whole exchange may take, in milliseconds.
    pub key_exchange_timeout_ms: u64,
    /// Connections served at the same time.
    pub concurrent_connections: usize,
    /// How many of them pool brokers may keep open.
    pub longlived_connections: usize,
    /// Port that clients are told; `None` tells none, and they use 123.
    pub ntp_port: Option<u16>,
    /// Server that clients are told; `None` tells none, and they use this host.
    pub ntp_server: Option<String>,
    /// Versions that keys are given out for.
    pub accept_ntp_versions: Vec<NtpVersion>,
    /// Tokens of brokers that may ask for the keys of pool members.
    pub accepted_pool_authentication_tokens: Vec<String>,
    /// Connections from one address at the same time, or from one /64 of IPv6.
    pub connections_per_address: usize,
    /// Algorithms that keys are given out for, best first.
    pub aead_algorithms: Vec<AeadAlgorithm>,
    /// Certificates for other names.
    pub additional_certificates: Vec<CertificateConfig>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateConfig {
    /// PEM file of the certificate and its chain.
    pub certificate_chain_path: PathBuf,
    /// PEM file of the private key.
    pub private_key_path: PathBuf,
}

/// All `[[nts-ke-server]]` sections.
pub(crate) fn read_all(cx: &mut Context, value: &Value<'_>) -> Option<Vec<NtsKeConfig>> {
    value::sections(cx, value, "nts-ke-server", read)
}

fn read(cx: &mut Context, mut section: Section<'_>) -> Option<NtsKeConfig> {
    let place = section.place(cx);
    let said = section.said(cx);
    let listen = section.required(cx, "listen", |cx, value| {
        value::socket_address(cx, value, NTS_KE_PORT)
    });
    let certificate_chain_path = section.required(cx, "certificate-chain-path", value::path);
    let private_key_path = section.required(cx, "private-key-path", value::path);
    let key_exchange_timeout_ms = section.or(cx, "key-exchange-timeout-ms", value::whole, 1000);
    let concurrent_connections = section.or(cx, "concurrent-connections", value::whole, 512);
    let longlived = section.optional(cx, "longlived-connections", value::whole);
    let ntp_port = section.optional(cx, "ntp-port", value::whole);
    let ntp_server = section.optional(cx, "ntp-server", value::text);
    let versions = |cx: &mut Context, value: &Value<'_>| value::array(cx, value, version);
    let accept_ntp_versions = section.or(cx, "accept-ntp-versions", versions, vec![NtpVersion::V4]);
    let tokens = |cx: &mut Context, value: &Value<'_>| value::array(cx, value, owned_text);
    let tokens = section.or(
        cx,
        "accepted-pool-authentication-tokens",
        tokens,
        Vec::new(),
    );
    let connections_per_address = section.or(
        cx,
        "connections-per-address",
        value::whole,
        (concurrent_connections / 8).max(1),
    );
    let algorithms = |cx: &mut Context, value: &Value<'_>| value::array(cx, value, algorithm);
    let aead_algorithms = section.or(cx, "aead-algorithms", algorithms, ALGORITHMS.to_vec());
    let certificates = |cx: &mut Context, value: &Value<'_>| {
        value::sections(
            cx,
            value,
            "nts-ke-server.additional-certificates",
            certificate,
        )
    };
    let additional = section.or(cx, "additional-certificates", certificates, Vec::new());
    section.finish(cx);
    Some(NtsKeConfig {
        place,
        said,
        listen: listen?,
        certificate_chain_path: certificate_chain_path?,
        private_key_path: private_key_path?,
        key_exchange_timeout_ms,
        concurrent_connections,
        longlived_connections: longlived.unwrap_or(concurrent_connections / 10),
        ntp_port,
        ntp_server: ntp_server.map(str::to_owned),
        accept_ntp_versions,
        accepted_pool_authentication_tokens: tokens,
        connections_per_address,
        aead_algorithms,
        additional_certificates: additional,
    })
}

/// What is given out if the file does not say: the one that costs least first.
const ALGORITHMS: [AeadAlgorithm; 3] = [
    AeadAlgorithm::Aes128GcmSiv,
    AeadAlgorithm::AesSivCmac256,
    AeadAlgorithm::AesSivCmac512,
];

fn certificate(cx: &mut Context, mut section: Section<'_>) -> Option<CertificateConfig> {
    let chain = section.required(cx, "certificate-chain-path", value::path);
    let key = section.required(cx, "private-key-path", value::path);
    section.finish(cx);
    Some(CertificateConfig {
        certificate_chain_path: chain?,
        private_key_path: key?,
    })
}

fn algorithm(cx: &mut Context, value: &Value<'_>) -> Option<AeadAlgorithm> {
    let expected =
        "one of the numbers 15 (AES-SIV-CMAC-256), 17 (AES-SIV-CMAC-512) and 30 (AES-128-GCM-SIV)";
    let number = value::integer(cx, value, || expected.into())?;
    let known = u16::try_from(number).ok().and_then(AeadAlgorithm::from_id);
    known.or_else(|| {
        value.reject(
            cx,
            format!("invalid value: integer `{number}`, expected {expected}"),
        )
    })
}

fn owned_text(cx: &mut Context, value: &Value<'_>) -> Option<String> {
    value::text(cx, value).map(str::to_owned)
}

fn version(cx: &mut Context, value: &Value<'_>) -> Option<NtpVersion> {
    let expected = "one of the numbers 4 and 5";
    match value::integer(cx, value, || expected.into())? {
        4 => Some(NtpVersion::V4),
        5 => Some(NtpVersion::V5),
        3 => value.reject_with(
            cx,
            "invalid value: integer `3`: NTS does not exist for NTPv3",
            "list 4, or 4 and 5",
        ),
        other => value.reject(
            cx,
            format!("invalid value: integer `{other}`, expected {expected}"),
        ),
    }
}
