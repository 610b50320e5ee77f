//! Report of `ntp-ctl nts check`, in the form of its JSON output.

use std::net::SocketAddr;

use ntp_config::Address;
use ntp_nts_ke::certificate::CertificateFacts;
use ntp_nts_ke::client::Report;
use ntp_nts_ke::failure::Stage;
use ntp_nts_ke::provider;
use ntp_proto::nts::{Cookie, KeyExchangeResult};
use ntp_time::NtpDuration;
use serde::Serialize;

use super::problem::Problem;
use crate::query_client::Measurement;

const DAY: f64 = 86_400.0;

/// Remaining validity of a certificate in days below which its renewal is overdue: Let's Encrypt
/// renews 30 days before expiry.
const RENEWAL_OVERDUE: f64 = 14.0;

/// Results of all stages of the check.
#[derive(Debug, Serialize)]
pub(super) struct CheckReport {
    pub(super) host: String,
    pub(super) port: u16,
    /// Local time in seconds since 1970.
    pub(super) clock: u64,
    /// The server that an SRV record names, with its port.
    pub(super) target: Option<String>,
    /// Name by which a pool knows the NTP server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) member: Option<String>,
    /// Addresses to which the connection failed.
    pub(super) failed: Vec<FailedConnection>,
    /// Address of the key exchange.
    pub(super) peer: Option<SocketAddr>,
    /// Group of the key exchange of TLS.
    pub(super) group: Option<&'static str>,
    /// What provides the cryptography of TLS on this side.
    pub(super) provider: &'static str,
    /// Whether the provider is in FIPS mode.
    pub(super) fips: bool,
    /// Certificate chain, that of the server first.
    pub(super) certificates: Vec<Certificate>,
    /// Version of NTP that the server chose.
    pub(super) version: Option<NtpVersion>,
    /// Negotiated algorithm.
    pub(super) aead: Option<Aead>,
    pub(super) cookies: Option<Cookies>,
    pub(super) ntp_server: Option<Server>,
    pub(super) timings: Timings,
    /// Result of the authenticated request.
    pub(super) time: Option<Measurement>,
    /// Possible improvements.
    pub(super) notes: Vec<String>,
    /// Why NTS does not work.
    pub(super) problem: Option<Problem>,
}

#[derive(Debug, Serialize)]
pub(super) struct FailedConnection {
    pub(super) address: SocketAddr,
    pub(super) problem: String,
}

/// A certificate.
#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) names: Vec<String>,
    pub(super) issuer: String,
    /// In seconds since 1970.
    pub(super) not_before: u64,
    /// In seconds since 1970.
    pub(super) not_after: u64,
    /// Days until expiry by the local clock; negative after expiry.
    pub(super) days_left: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct NtpVersion {
    pub(super) number: u8,
    /// Name of the draft of version 5: that offered, and then that of the reply.
    pub(super) draft: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Aead {
    /// Number in the IANA registry.
    pub(super) id: u16,
    pub(super) name: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Cookies {
    pub(super) count: usize,
    /// Length of the longest cookie in octets.
    pub(super) octets: usize,
}

/// The NTP server that belongs to the key exchange.
#[derive(Debug, Serialize)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the key exchange named it; otherwise it has the same address.
    pub(super) named: bool,
    /// Address of the last request.
    pub(super) address: Option<SocketAddr>,
}

/// Duration of each stage.
#[derive(Debug, Default, Serialize)]
pub(super) struct Timings {
    pub(super) lookup: Option<NtpDuration>,
    pub(super) connect: Option<NtpDuration>,
    pub(super) tls: Option<NtpDuration>,
    pub(super) exchange: Option<NtpDuration>,
    pub(super) ntp_round_trip: Option<NtpDuration>,
}

impl CheckReport {
    /// Creates a report from that of the key exchange.
    pub(super) fn new(address: &Address, clock: u64, report: &Report) -> Self {
        let presented = report.presented.as_ref();
        let facts = presented.map_or_else(Vec::new, ntp_nts_ke::validity::Presented::facts);
        let failed = report
            .failed
            .iter()
            .map(|(address, error)| FailedConnection {
                address: *address,
                problem: error.to_string(),
            });
        let mut timings = Timings::default();
        for (stage, length) in &report.timings {
            let place = match stage {
                Stage::Lookup => &mut timings.lookup,
                Stage::Connect => &mut timings.connect,
                Stage::Handshake => &mut timings.tls,
                Stage::Exchange => &mut timings.exchange,
            };
            *place = Some(*length);
        }
        Self {
            host: address.host.to_string(),
            port: address.port,
            clock,
            target: (report.target.as_ref())
                .map(|target| format!("{}:{}", target.host, target.port)),
            member: report.member.clone(),
            failed: failed.collect(),
            peer: report.peer,
            group: report.group,
            provider: provider::NAME,
            fips: provider::is_fips(),
            certificates: facts
                .into_iter()
                .map(|facts| Certificate::new(facts, clock))
                .collect(),
            version: None,
            aead: None,
            cookies: None,
            ntp_server: None,
            timings,
            time: None,
            notes: Vec::new(),
            problem: None,
        }
    }

    /// Adds the response of the key exchange.
    pub(super) fn add_result(&mut self, result: &KeyExchangeResult) {
        self.version = Some(NtpVersion {
            number: result.protocol.version().number(),
            draft: result.protocol.draft(),
        });
        let algorithm = result.keys.algorithm();
        self.aead = Some(Aead {
            id: algorithm.id(),
            name: algorithm.name(),
        });
        let count = result.cookies.len();
        let lengths = result.cookies.iter().map(|cookie| cookie.octets().len());
        self.cookies = Some(Cookies {
            count,
            octets: lengths.max().unwrap_or(0),
        });
        if count < Cookie::MAX_STORED {
            self.note(&format!(
                "{count} cookies instead of eight: after {count} consecutive lost packets a client must repeat the key exchange"
            ));
        }
        if let Some(days) = self.certificates.first().map(|own| own.days_left)
            && (0.0..RENEWAL_OVERDUE).contains(&days)
        {
            self.note(&format!(
                "certificate expires in {days:.1} days; its renewal is overdue"
            ));
        }
    }

    /// Sets the draft of version 5 that the NTP server speaks.
    pub(super) fn set_draft(&mut self, draft: Option<&'static str>) {
        if let Some(version) = &mut self.version {
            version.draft = draft;
        }
    }

    /// Name of the member of a pool: that of the pool, or the address if it has none.
    pub(super) fn name(&self) -> Option<String> {
        let server = self.ntp_server.as_ref().map(|server| server.host.clone());
        self.member.clone().or(server)
    }

    /// The same for people. A server's text does not reach the terminal as it is.
    pub(super) fn shown(&self) -> String {
        let name = self.name().unwrap_or_else(|| "(none)".into());
        name.escape_default().to_string()
    }

    pub(super) fn set_time(&mut self, measurement: Option<Measurement>) {
        self.timings.ntp_round_trip = measurement.map(|it| it.delay);
        self.time = measurement;
    }

    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

impl Certificate {
    fn new(facts: CertificateFacts, clock: u64) -> Self {
        Self {
            days_left: (facts.not_after as f64 - clock as f64) / DAY,
            subject: facts.subject,
            names: facts.names,
            issuer: facts.issuer,
            not_before: facts.not_before,
            not_after: facts.not_after,
        }
    }
}
