//! What `ntp-ctl nts check` saw, as programs get it (`--json`).

use std::net::SocketAddr;

use ntp_config::Address;
use ntp_nts_ke::certificate::CertificateFacts;
use ntp_nts_ke::client::Report;
use ntp_nts_ke::failure::Stage;
use ntp_proto::nts::{Cookie, KeyExchangeResult};
use serde::Serialize;

use super::verdict::Problem;
use crate::asking::Measured;

const DAY: f64 = 86_400.0;

/// Days before the end of a certificate at which its renewal should have happened: those of Let's Encrypt are renewed 30 days before.
const RENEWAL_OVERDUE: f64 = 14.0;

/// Everything that was seen.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    pub(super) host: String,
    pub(super) port: u16,
    /// What our clock said, in seconds since 1970.
    pub(super) clock: u64,
    /// Addresses that could not be connected to.
    pub(super) failed: Vec<Failed>,
    /// The address that the keys were exchanged with.
    pub(super) peer: Option<SocketAddr>,
    /// The server's own first.
    pub(super) certificates: Vec<Shown>,
    /// The algorithm that was agreed on.
    pub(super) aead: Option<Aead>,
    pub(super) cookies: Option<Cookies>,
    pub(super) ntp_server: Option<Server>,
    pub(super) timings: Timings,
    pub(super) time: Option<Time>,
    /// What works and could be better.
    pub(super) notes: Vec<String>,
    /// What does not work.
    pub(super) problem: Option<Problem>,
}

#[derive(Debug, Serialize)]
pub(super) struct Failed {
    pub(super) address: SocketAddr,
    pub(super) problem: String,
}

/// A certificate.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) subject: String,
    pub(super) names: Vec<String>,
    pub(super) issuer: String,
    /// Seconds since 1970.
    pub(super) not_before: u64,
    /// Seconds since 1970.
    pub(super) not_after: u64,
    /// Until it expires, by our clock; negative afterwards.
    pub(super) days_left: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Aead {
    /// In IANA's registry.
    pub(super) id: u16,
    pub(super) name: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Cookies {
    pub(super) count: usize,
    /// Octets of the longest.
    pub(super) octets: usize,
}

/// Who is to be asked for the time.
#[derive(Debug, Serialize)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the key exchange named it; it is at the same address otherwise.
    pub(super) named: bool,
    /// The address that was asked last.
    pub(super) address: Option<SocketAddr>,
}

/// How long each stage took, in seconds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Timings {
    pub(super) lookup: Option<f64>,
    pub(super) connect: Option<f64>,
    pub(super) tls: Option<f64>,
    pub(super) exchange: Option<f64>,
    pub(super) ntp_round_trip: Option<f64>,
}

/// What the authenticated request yielded.
#[derive(Debug, Serialize)]
pub(super) struct Time {
    #[serde(flatten)]
    pub(super) measured: Measured,
    /// Half width of the interval around the offset in which the truth must lie if the server is right, seconds.
    pub(super) uncertainty: f64,
}

impl Findings {
    /// Those of the key exchange.
    pub(super) fn of(address: &Address, clock: u64, report: &Report) -> Self {
        let presented = report.presented.as_ref();
        let facts = presented.map_or_else(Vec::new, ntp_nts_ke::validity::Presented::facts);
        let failed = report.failed.iter().map(|(address, error)| Failed {
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
            *place = Some(length.as_seconds_f64());
        }
        Self {
            host: address.host.clone(),
            port: address.port,
            clock,
            failed: failed.collect(),
            peer: report.peer,
            certificates: facts.into_iter().map(|facts| shown(facts, clock)).collect(),
            aead: None,
            cookies: None,
            ntp_server: None,
            timings,
            time: None,
            notes: Vec::new(),
            problem: None,
        }
    }

    /// Those of its response.
    pub(super) fn take(&mut self, result: &KeyExchangeResult) {
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
        if count < Cookie::IN_STOCK {
            self.note(&format!(
                "the server gives {count} cookies at a time, and eight are usual: a client can lose no more than {count} packets in a row before it has to exchange keys again"
            ));
        }
        if let Some(days) = self.certificates.first().map(|own| own.days_left)
            && (0.0..RENEWAL_OVERDUE).contains(&days)
        {
            self.note(&format!(
                "the server's certificate expires in {days:.1} days, and should have been renewed by now"
            ));
        }
    }

    pub(super) fn set_time(&mut self, measured: Option<Measured>) {
        self.timings.ntp_round_trip = measured.as_ref().map(|measured| measured.delay);
        self.time = measured.map(|measured| Time {
            uncertainty: measured.uncertainty(),
            measured,
        });
    }

    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

fn shown(facts: CertificateFacts, clock: u64) -> Shown {
    Shown {
        days_left: (facts.not_after as f64 - clock as f64) / DAY,
        subject: facts.subject,
        names: facts.names,
        issuer: facts.issuer,
        not_before: facts.not_before,
        not_after: facts.not_after,
    }
}
