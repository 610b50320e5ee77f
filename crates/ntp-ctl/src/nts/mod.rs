//! `ntp-ctl nts check HOST`: does what a client with NTS does, once, and says what is wrong if it does not work.
//!
//! Keys are exchanged ([`ntp_nts_ke::client`]), then one request is sent with them. Whatever was seen on the way is shown, also when the end was not
//! reached; nothing is changed, and no daemon is needed.
//!
//! # A wrong clock and an expired certificate look the same
//! Both say that the certificate is not valid now. So the exchange goes on if the dates are all that is wrong, and the server's
//! time is asked for: if the certificate is valid by *that* time, our clock is to blame, and the distance between the two is known. It is
//! a hint, no proof, since nobody vouches for a server whose certificate does not stand; the check fails all the same.
//!
//! # Three requests
//! A datagram may be lost, so silence is believed after the third. A refusal of the cookie (NTSN) is not believed at once either:
//! anybody on the path can send one, and the answer to the next request settles which derivation of keys the server means (see
//! `NtsSession`).

mod findings;
mod plain;
mod verdict;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use ntp_config::{Address, NTP_PORT, NTS_KE_PORT};
use ntp_nts_ke::client::{Report, Request, exchange};
use ntp_nts_ke::failure::Failure as Trouble;
use ntp_nts_ke::trust::Trust;
use ntp_nts_ke::validity::TimeKnown;
use ntp_os_clock::{monotonic, realtime};
use ntp_proto::client::{Association, NtsSession, Protection, Rejection, Terms};
use ntp_proto::nts::{AeadAlgorithm, KeyExchangeResult};

use crate::asking::{Asker, Measured, NoTime};
use crate::console::{Console, Failure};
use findings::{Findings, Server};
use verdict::{Missing, Problem};

pub(crate) use verdict::exit_codes;

/// Requests until silence is believed.
const ATTEMPTS: usize = 3;

/// Offered to servers, as the daemon does.
const ALGORITHMS: &[AeadAlgorithm] = &[
    AeadAlgorithm::Aes128GcmSiv,
    AeadAlgorithm::AesSivCmac256,
    AeadAlgorithm::AesSivCmac512,
];

const OLD_DERIVATION: &str = "the server derives its keys as chrony 4.4 to 4.6.0 did, not as RFC 8915 says; an update repairs that";
const LOSSY: &str =
    "not every request was answered: datagrams are lost on the way, or somebody interferes";

/// What to check, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check<'a> {
    pub(crate) host: &'a str,
    /// PEM file of authorities that are believed besides the system's.
    pub(crate) authority: Option<&'a Path>,
    /// For the key exchange.
    pub(crate) limit: Duration,
}

pub(crate) fn check(
    asked: &Check<'_>,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let address = Address::parse(asked.host, NTS_KE_PORT)
        .map_err(|problem| Failure::Told(format!("{:?} is no address: {problem}", asked.host)))?;
    let findings = look(&address, asked)?;
    if json {
        console.json(&findings)?;
    } else {
        console.text(&plain::text(&findings))?;
    }
    match findings.problem {
        None => Ok(()),
        Some(problem) => Err(Failure::Judged {
            exit_code: problem.exit_code,
            text: format!("{}: {}\n\n{}", address, problem.text, problem.advice),
        }),
    }
}

fn look(address: &Address, asked: &Check<'_>) -> Result<Findings, Failure> {
    let now = realtime();
    let clock = u64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(0);
    let report = exchange(&Request {
        host: &address.host,
        port: address.port,
        authority: asked.authority,
        algorithms: ALGORITHMS,
        // Whatever is valid at some time; what is not valid now is found out below.
        time: TimeKnown::within(clock, u64::MAX, u64::MAX, 0),
        limit: asked.limit,
    });
    let mut findings = Findings::of(address, clock, &report);
    let out_of_time = out_of_time(&report, asked.authority, clock);
    let Report { peer, outcome, .. } = report;
    let result = match outcome {
        Ok(result) => result,
        Err(trouble) => {
            findings.problem = Some(Problem::of_exchange(&trouble, address, asked.authority));
            return Ok(findings);
        }
    };
    findings.take(&result);
    let mut asker = Asker::new()?;
    let measured = named_addresses(&result, peer, &mut findings.ntp_server)
        .and_then(|addresses| ask(result, &addresses, &mut asker, &mut findings));
    // What a request tells about a server that is not to be believed is a hint about our clock.
    if let Some(trouble) = out_of_time {
        let mut problem = Problem::of_exchange(&trouble, address, asked.authority);
        if let Ok(measured) = &measured {
            problem.blame_clock(&findings.certificates, clock, measured.offset);
        }
        findings.problem = Some(problem);
        findings.set_time(measured.ok());
        return Ok(findings);
    }
    match measured {
        Ok(measured) => findings.set_time(Some(measured)),
        Err(missing) => {
            findings.problem = Some(missing.into_problem(findings.ntp_server.as_ref()));
        }
    }
    Ok(findings)
}

/// What is wrong with certificates that are valid at another time than now.
fn out_of_time(report: &Report, authority: Option<&Path>, now: u64) -> Option<Trouble> {
    let presented = report.presented.as_ref()?;
    presented.provisional()?;
    match Trust::load(authority) {
        Ok(trust) => presented.judge_again(&trust, now).err(),
        Err(problem) => Some(Trouble::Trust(problem)),
    }
}

/// Where the NTP server is: at the address of the key exchange, unless that names another (RFC 8915 section 4.1.7).
fn named_addresses(
    result: &KeyExchangeResult,
    peer: Option<SocketAddr>,
    server: &mut Option<Server>,
) -> Result<Vec<SocketAddr>, Missing> {
    let port = result.port.unwrap_or(NTP_PORT);
    let host = match (&result.server, peer) {
        (Some(named), _) => named.clone(),
        (None, Some(peer)) => peer.ip().to_string(),
        (None, None) => String::new(),
    };
    *server = Some(Server {
        host: host.clone(),
        port,
        named: result.server.is_some(),
        address: None,
    });
    let found = (host.as_str(), port)
        .to_socket_addrs()
        .map_err(|error| Missing::Address(error.to_string()))?;
    let mut addresses: Vec<_> = found.collect();
    // The family that the key exchange got through with first.
    addresses.sort_by_key(|address| peer.is_none_or(|peer| peer.is_ipv4() != address.is_ipv4()));
    addresses.dedup();
    if addresses.is_empty() {
        return Err(Missing::Address("the resolver found none".into()));
    }
    Ok(addresses)
}

/// Asks for the time with the keys of an exchange.
fn ask(
    result: KeyExchangeResult,
    addresses: &[SocketAddr],
    asker: &mut Asker,
    findings: &mut Findings,
) -> Result<Measured, Missing> {
    let unsure = result.legacy_keys.is_some();
    let mut session = NtsSession::new(result);
    let mut refusals = 0;
    let mut worst: Option<NoTime> = None;
    for address in addresses.iter().cycle().take(ATTEMPTS) {
        let terms = Terms {
            protection: Protection::Nts(Box::new(session)),
            ..Terms::default()
        };
        let mut association = Association::new(*address, terms, monotonic());
        if let Some(server) = &mut findings.ntp_server {
            server.address = Some(*address);
        }
        let problem = match asker.ask(&mut association) {
            Ok(measured) => {
                // Each refusal makes the session try the other derivation.
                if unsure && refusals % 2 == 1 {
                    findings.note(OLD_DERIVATION);
                } else if worst.is_some() {
                    findings.note(LOSSY);
                }
                return Ok(measured);
            }
            Err(problem @ (NoTime::Kiss(_) | NoTime::Unusable(_))) => {
                return Err(Missing::Time(problem));
            }
            Err(problem) => problem,
        };
        refusals += u32::from(is_refusal(&problem));
        let before = worst.as_ref().map_or(0, telling);
        if before <= telling(&problem) {
            worst = Some(problem);
        }
        match association.into_session() {
            Some(left) => session = left,
            None => break,
        }
    }
    Err(Missing::Time(worst.unwrap_or(NoTime::Silence(None))))
}

fn is_refusal(problem: &NoTime) -> bool {
    matches!(problem, NoTime::Silence(Some(Rejection::NtsNak)))
}

/// How much a failure says about its cause.
fn telling(problem: &NoTime) -> u8 {
    match problem {
        NoTime::Silence(None) => 0,
        NoTime::NotSent(_) => 1,
        NoTime::Unreachable(_) => 2,
        problem if is_refusal(problem) => 5,
        NoTime::Silence(Some(rejection)) if rejection.knows_nonce() => 4,
        NoTime::Silence(Some(_)) => 3,
        NoTime::Kiss(_) | NoTime::Unusable(_) => 6,
    }
}
