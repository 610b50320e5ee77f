//! A test authority, servers with its certificates on loopback, and clients that trust it.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ntp_nts_ke::client::{Report, Request, exchange};
use ntp_nts_ke::server::{
    Bound, CertificatePaths, CookieSealer, EndpointConfig, Event, Limits, Server,
};
use ntp_nts_ke::validity::TimeBounds;
use ntp_proto::client::VersionChoice;
use ntp_proto::nts::exchange::{COOKIES_PER_RESPONSE, NTPV4, ServerPolicy};
use ntp_proto::nts::{AeadAlgorithm, Cookie, Keyset, MasterSecret, SessionKeys};
use ntp_types::path::NetworkPath;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// Noon of 2026-06-01: the time of clients unless a test sets another.
pub(crate) const NOW: u64 = 1_780_315_200;

/// An authority with a directory for its files.
pub(crate) struct Authority {
    pub directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority of {}", directory.path().display());
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(4000, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        fs::write(directory.path().join("ca.key"), key.serialize_pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { directory, issuer }
    }

    /// Its distinguished name.
    pub(crate) fn name(&self) -> String {
        format!("CN=authority of {}", self.directory.path().display())
    }

    /// Its own certificate, which no server should use.
    pub(crate) fn itself(&self) -> CertificatePaths {
        CertificatePaths {
            chain: self.path(),
            key: self.directory.path().join("ca.key"),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Issues a certificate for `names`, valid from the first of January of the first year until
    /// that of the second, in files whose names start with `file`.
    pub(crate) fn issue(&self, file: &str, names: &[&str], years: (i32, i32)) -> CertificatePaths {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = CertificatePaths {
            chain: self.directory.path().join(format!("{file}.crt")),
            key: self.directory.path().join(format!("{file}.key")),
        };
        fs::write(&paths.chain, certificate.pem()).unwrap();
        fs::write(&paths.key, key.serialize_pem()).unwrap();
        paths
    }

    /// A valid certificate.
    pub(crate) fn good(&self) -> CertificatePaths {
        self.issue("good", &["localhost", "127.0.0.1", "::1"], (2020, 2040))
    }
}

/// The cookie keys of a test.
pub(crate) fn keyset() -> Keyset {
    Keyset::new(MasterSecret::new([7; 64]))
}

pub(crate) struct Sealer(pub Keyset, pub u128);

impl CookieSealer for Sealer {
    fn seal(&mut self, keys: &SessionKeys) -> Option<[Cookie; COOKIES_PER_RESPONSE]> {
        let mut cookies = Vec::new();
        for _ in 0..COOKIES_PER_RESPONSE {
            self.1 += 1;
            cookies.push(self.0.seal_cookie(keys, self.1.to_be_bytes())?);
        }
        cookies.try_into().ok()
    }
}

pub(crate) fn endpoint(certificates: Vec<CertificatePaths>) -> EndpointConfig {
    EndpointConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        device: None,
        only_ipv6: false,
        policy: ServerPolicy {
            protocols: vec![NTPV4],
            algorithms: AeadAlgorithm::ALL.to_vec(),
            ntp_server: None,
            ntp_port: None,
            pool_tokens: Vec::new(),
        },
        certificates,
        limits: Limits {
            connections: 100,
            per_network: 100,
            time: Duration::from_secs(20),
            long_lived: 10,
        },
    }
}

/// A running server and its events.
pub(crate) struct Running {
    pub server: Server,
    pub address: SocketAddr,
    pub events: Arc<Mutex<Vec<Event>>>,
}

pub(crate) fn start(endpoint: EndpointConfig) -> Running {
    start_with(endpoint, keyset())
}

pub(crate) fn start_with(endpoint: EndpointConfig, keyset: Keyset) -> Running {
    let bound = Bound::bind(vec![endpoint]).unwrap();
    let address = bound.addresses().next().unwrap().socket;
    let events = Arc::<Mutex<Vec<Event>>>::default();
    let sink = Arc::clone(&events);
    let server = bound
        .start(
            Sealer(keyset, 0),
            move |event| sink.lock().unwrap().push(event.clone()),
            || {},
        )
        .unwrap();
    Running {
        server,
        address,
        events,
    }
}

pub(crate) fn request<'a>(host: &'a str, port: u16, authority: &'a PathBuf) -> Request<'a> {
    Request {
        host,
        port,
        authorities: std::slice::from_ref(authority).into(),
        version: VersionChoice::default(),
        algorithms: &[
            AeadAlgorithm::Aes128GcmSiv,
            AeadAlgorithm::AesSivCmac256,
            AeadAlgorithm::AesSivCmac512,
        ],
        path: NetworkPath::default(),
        srv: None,
        denied: &[],
        time: TimeBounds::exact(NOW),
        limit: Duration::from_secs(20),
        resolve: ntp_udp::resolve_within,
    }
}

pub(crate) fn exchange_keys(running: &Running, authority: &Authority) -> Report {
    exchange(&request(
        "127.0.0.1",
        running.address.port(),
        &authority.path(),
    ))
}

/// Waits for a condition with a generous limit.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = ntp_os_clock::monotonic() + ntp_time::NtpDuration::from_seconds(60);
    while !holds() {
        assert!(
            ntp_os_clock::monotonic() < limit,
            "timeout while waiting: {what}"
        );
        std::thread::yield_now();
    }
}
