//! `[[nts-ke-server]]`: an address of the NTS key exchange server (RFC 8915 section 4).

use std::net::SocketAddr;
use std::path::PathBuf;

use ntp_proto::nts::AeadAlgorithm;
use ntp_proto::nts::exchange::{PoolToken, is_ntp_port};
use ntp_types::host::Host;
use ntp_types::path::InterfaceName;

use crate::address::{self, NTS_KE_PORT};
use crate::document::Place;
use crate::entry::Entry;
use crate::path;
use crate::reader::{Context, Value};
use crate::schema::{self, section};
use crate::server::NtpVersion;
use crate::value;

section! {
    /// An address of the key exchange server.
    #[derive(Clone, Debug, PartialEq)]
    pub struct NtsKeConfig = "nts-ke-server" [] then check {
        + place: Place = schema::place, "Start of the section.";
        + entries: Vec<Entry> = schema::entries, "Its values as the files have them, each with its place.";
        listen: SocketAddr = |cx, value| value::socket_address(cx, value, NTS_KE_PORT) => required,
            "listen" "string" "required" "Address and port (TCP) to listen on, for example `0.0.0.0:4460`.";
        device: Option<InterfaceName> = path::interface => optional,
            "bind-device" "string" "none" "Network interface or VRF whose clients are served; one address can be served with several, each with its own section. While it does not exist, the address is not served. Needs Linux 5.7, or CAP_NET_RAW.";
        certificate_chain_path: PathBuf = value::path => required,
            "certificate-chain-path" "path" "required" "PEM file with the server's certificate and its chain.";
        private_key_path: PathBuf = value::path => required,
            "private-key-path" "path" "required" "PEM file with the certificate's private key.";
        key_exchange_timeout_ms: u64 = value::whole => or(1000),
            "key-exchange-timeout-ms" "integer, milliseconds" "1000" "Time limit of one key exchange.";
        concurrent_connections: usize = value::whole => or(512),
            "concurrent-connections" "integer" "512" "Maximum number of connections at the same time.";
        longlived_connections: usize = value::whole => or(concurrent_connections / 10),
            "longlived-connections" "integer" "a tenth of `concurrent-connections`" "Number of connections that NTS pools may keep open, in addition to those of clients.";
        ntp_port: Option<u16> = ntp_port => optional,
            "ntp-port" "integer" "none" "Port of the NTP server in the response to clients: 123, or 1024 and above, because clients refuse the ports of other services; without it they use 123.";
        ntp_server: Option<Host> = address::read_host => optional,
            "ntp-server" "string" "none" "NTP server in the response to clients; without it they use this host.";
        accept_ntp_versions: Vec<NtpVersion> = |cx, value| value::array(cx, value, version) => or(vec![NtpVersion::V4]),
            "accept-ntp-versions" "list of `4` and `5`" "[4]" "Protocol versions that are negotiated.";
        accepted_pool_authentication_tokens: Vec<PoolToken> = |cx, value| value::array(cx, value, token) => or(Vec::new()),
            "accepted-pool-authentication-tokens" "list of strings" "[]" "Tokens of NTS pools that may request cookies for the keys of their clients. They are secrets: the file should not be readable for all users.";
        connections_per_address: usize = value::whole => or((concurrent_connections / 8).max(1)),
            "connections-per-address" "integer" "an eighth of `concurrent-connections`" "Maximum number of connections of one address (IPv6: /64) at the same time; a further one closes its oldest.";
        aead_algorithms: Vec<AeadAlgorithm> = |cx, value| value::array(cx, value, algorithm) => or(vec![
                AeadAlgorithm::Aes128GcmSiv, AeadAlgorithm::AesSivCmac256, AeadAlgorithm::AesSivCmac512,
            ]),
            "aead-algorithms" "list of `15`, `17` and `30`" "[30, 15, 17]" "Algorithms that are negotiated, most preferred first: AES-SIV-CMAC-256, AES-SIV-CMAC-512, AES-128-GCM-SIV. The default prefers the cheapest one.";
        additional_certificates: Vec<CertificateConfig> = schema::tables => or(Vec::new()),
            "additional-certificates" "list of tables" "[]" "Certificates for other names, chosen by the name that a client requests.";
    }
}

section! {
    /// A certificate with its key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CertificateConfig = "nts-ke-server.additional-certificates" [] {
        certificate_chain_path: PathBuf = value::path => required,
            "certificate-chain-path" "path" "required" "PEM file with a certificate and its chain.";
        private_key_path: PathBuf = value::path => required,
            "private-key-path" "path" "required" "PEM file with the certificate's private key.";
    }
}

fn check(cx: &mut Context, server: NtsKeConfig) -> NtsKeConfig {
    path::check_scope(cx, &server.entries, server.listen, server.device);
    server
}

/// A port that clients accept.
fn ntp_port(cx: &mut Context, value: &Value<'_>) -> Option<u16> {
    let port = value::whole(cx, value)?;
    if is_ntp_port(port) {
        return Some(port);
    }
    value.reject_with(
        cx,
        value.invalid("123 or a port from 1024 to 65535"),
        "clients refuse the ports of other services",
    )
}

fn token(cx: &mut Context, value: &Value<'_>) -> Option<PoolToken> {
    value::string(cx, value).map(PoolToken::new)
}

fn algorithm(cx: &mut Context, value: &Value<'_>) -> Option<AeadAlgorithm> {
    let expected =
        "one of the numbers 15 (AES-SIV-CMAC-256), 17 (AES-SIV-CMAC-512) and 30 (AES-128-GCM-SIV)";
    let number = value::integer(cx, value, || expected.into())?;
    let known = u16::try_from(number).ok().and_then(AeadAlgorithm::from_id);
    known.or_else(|| value.reject_value(cx, expected))
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
        _ => value.reject_value(cx, expected),
    }
}
