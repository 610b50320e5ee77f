//! `ntp-ctl nts check HOST`: tests the NTS of a server as a client would use it, and reports
//! problems.
//!
//! The check exchanges keys ([`ntp_nts_ke::client`]) and sends one request with them. The report
//! has everything up to the point of failure. The check changes nothing and needs no daemon.
//!
//! # Wrong clock or expired certificate
//! In both cases the certificate is not valid now. So if only the dates are wrong, the check
//! continues and requests the time of the server: if the certificate is valid at *that* time, the
//! local clock is probably wrong, by a known amount. This is a hint, not a proof, since a server
//! with an invalid certificate is not authenticated; the check fails in any case.
//!
//! # Four requests
//! Datagrams can be lost, so each address gets two requests before the next, and the check gives up
//! after the fourth. A rejected cookie (NTSN) is retried as well: it is not authenticated, and the
//! reply to the next request shows which key derivation the server uses (see `NtsSession`). In version
//! 5, the second request names the other draft, if the server did not answer the first.

mod cli;
mod pool;
mod problem;
mod report;
mod text;

use std::net::SocketAddr;
use std::time::Duration;

use ntp_config::{Address, NTP_PORT, NTS_KE_PORT};
use ntp_nts_ke::client::{Report, Request, exchange};
use ntp_nts_ke::failure::Failure as KeFailure;
use ntp_nts_ke::trust::{Authorities, Trust};
use ntp_nts_ke::validity::TimeBounds;
use ntp_os_clock::{monotonic, realtime};
use ntp_proto::client::{
    Association, AssociationConfig, NtsSession, Protection, Rejection, VersionChoice,
};
use ntp_proto::nts::{AeadAlgorithm, KeyExchangeResult};
use ntp_types::host::ScopedIp;
use ntp_types::path::NetworkPath;
use ntp_types::source::SrvVerification;
use ntp_udp::resolve_within;

use crate::console::{Console, Failure};
use crate::query::parse_address;
use crate::query_client::{Measurement, QueryClient, QueryError};
use problem::{NtpFailure, Problem};
use report::{CheckReport, Server};

pub(crate) use cli::Action;
use problem::exit_codes;

/// Maximum number of NTP requests.
const ATTEMPTS: usize = 4;

/// Algorithms offered to servers, as by the daemon.
const ALGORITHMS: &[AeadAlgorithm] = &[
    AeadAlgorithm::Aes128GcmSiv,
    AeadAlgorithm::AesSivCmac256,
    AeadAlgorithm::AesSivCmac512,
];

const LEGACY_KEYS: &str =
    "key derivation of chrony 4.4 to 4.6.0, not of RFC 8915; update the server";
const PACKET_LOSS: &str = "some requests unanswered: packet loss or interference on the path";

/// What shows who sent a reply, if no reply was authentic. The TLS connection does not: Linux reports the
/// hop limit of received segments of TCP over IPv6 only, and the key exchange may be on another host.
const COMPARE: &str =
    "; `ping` of the server, or `ntp-ctl source` if it has worked before, shows that of the server";

/// Parameters of the check.
#[derive(Clone, Copy, Debug)]
struct Check<'a> {
    host: &'a str,
    /// Which certificate authorities are trusted.
    authorities: Authorities<'a>,
    /// Which SRV records of the host are used; `None` if they are not looked up.
    srv: Option<SrvVerification>,
    /// Versions of NTP that are offered.
    version: VersionChoice,
    /// Number of members to check, if it is a pool.
    pool: Option<usize>,
    /// Timeout of the key exchange.
    limit: Duration,
}

fn run(check: &Check<'_>, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let address = parse_address(check.host, NTS_KE_PORT)?;
    if let Some(wanted) = check.pool {
        return pool::run(&address, check, wanted, json, console);
    }
    let report = perform(&address, check, None)?;
    if json {
        console.print_json(&report)?;
    } else {
        console.print(&text::format(&report))?;
    }
    match report.problem {
        None => Ok(()),
        Some(problem) => Err(Failure::Reported {
            exit_code: problem.exit_code,
            text: format!("{}: {}\n\n{}", address, problem.text, problem.advice),
        }),
    }
}

/// Checks a server, or the one that a pool names if the servers in `denied` are not wanted.
fn perform(
    address: &Address,
    check: &Check<'_>,
    denied: Option<&[String]>,
) -> Result<CheckReport, Failure> {
    let now = realtime();
    let clock = u64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(0);
    let ke_report = exchange(&Request {
        host: &address.host.to_string(),
        port: address.port,
        authorities: check.authorities,
        version: check.version,
        algorithms: ALGORITHMS,
        path: NetworkPath::default(),
        srv: check.srv,
        denied: denied.unwrap_or_default(),
        // Accepts certificates valid at any time; the current time is checked below.
        time: TimeBounds::within(clock, u64::MAX, u64::MAX, 0),
        limit: check.limit,
        resolve: resolve_within,
    });
    let mut report = CheckReport::new(address, clock, &ke_report);
    let validity_failure = validity_failure(&ke_report, check.authorities, clock);
    let Report { peer, outcome, .. } = ke_report;
    let result = match outcome {
        Ok(result) => result,
        Err(failure) => {
            report.problem = Some(Problem::of_exchange(
                &failure,
                address,
                check.authorities.paths,
            ));
            return Ok(report);
        }
    };
    report.add_result(&result);
    let mut client = QueryClient::new()?;
    let measurement = ntp_addresses(&result, peer, check.limit, &mut report.ntp_server)
        .and_then(|addresses| query(result, &addresses, &mut client, &mut report));
    // The time of a server with an invalid certificate is a hint about the local clock.
    if let Some(failure) = validity_failure {
        let mut problem = Problem::of_exchange(&failure, address, check.authorities.paths);
        if let Ok(measurement) = &measurement {
            let offset = measurement.offset.as_seconds_f64();
            problem.compare_clocks(&report.certificates, clock, offset);
        }
        report.problem = Some(problem);
        report.set_time(measurement.ok());
        return Ok(report);
    }
    match measurement {
        Ok(measurement) => report.set_time(Some(measurement)),
        Err(failure) => {
            report.problem = Some(failure.into_problem(report.ntp_server.as_ref()));
        }
    }
    Ok(report)
}

/// Returns the failure of certificates that are valid only at another time than now.
fn validity_failure(report: &Report, authorities: Authorities<'_>, now: u64) -> Option<KeFailure> {
    let presented = report.presented.as_ref()?;
    presented.assumed_time()?;
    match Trust::load(authorities) {
        Ok(trust) => presented.reverify(&trust, now).err(),
        Err(problem) => Some(KeFailure::Trust(problem)),
    }
}

/// Returns the addresses of the NTP server: that of the key exchange, unless it names another (RFC
/// 8915 section 4.1.7).
fn ntp_addresses(
    result: &KeyExchangeResult,
    peer: Option<SocketAddr>,
    limit: Duration,
    server: &mut Option<Server>,
) -> Result<Vec<SocketAddr>, NtpFailure> {
    let port = result.port.unwrap_or(NTP_PORT);
    let peer_host = || peer.map(|peer| ScopedIp::from(peer).into());
    let Some(host) = result.server.clone().or_else(peer_host) else {
        return Err(NtpFailure::Address("no addresses found".into()));
    };
    *server = Some(Server {
        host: host.to_string(),
        port,
        named: result.server.is_some(),
        address: None,
    });
    let found =
        resolve_within(&host, limit).map_err(|error| NtpFailure::Address(error.to_string()))?;
    let mut addresses: Vec<_> = found.iter().map(|found| found.with_port(port)).collect();
    // The address family of the key exchange first.
    addresses.sort_by_key(|address| peer.is_none_or(|peer| peer.is_ipv4() != address.is_ipv4()));
    Ok(addresses)
}

/// Requests the time with the keys of an exchange.
fn query(
    result: KeyExchangeResult,
    addresses: &[SocketAddr],
    client: &mut QueryClient,
    report: &mut CheckReport,
) -> Result<Measurement, NtpFailure> {
    let has_legacy_keys = result.legacy_keys.is_some();
    let offered_draft = result.protocol.draft();
    let Some(first) = addresses.first() else {
        return Err(NtpFailure::Query(QueryError::NoReply(None)));
    };
    let mut association = associate(*first, NtsSession::new(result));
    let (mut naks, mut rejected_hop_limit) = (0, None);
    let mut error: Option<QueryError> = None;
    let twice = addresses.iter().flat_map(|address| [*address; 2]);
    for address in twice.cycle().take(ATTEMPTS) {
        if address != association.remote() {
            match association.into_session() {
                Some(session) => association = associate(address, session),
                None => break,
            }
        }
        if let Some(server) = &mut report.ntp_server {
            server.address = Some(address);
        }
        let latest = match client.query(&mut association) {
            Ok(measurement) => {
                report.set_draft(association.draft());
                // Each NAK makes the session try the other derivation.
                if has_legacy_keys && naks % 2 == 1 {
                    report.note(LEGACY_KEYS);
                } else if error.is_some() && association.draft() == offered_draft {
                    report.note(PACKET_LOSS);
                }
                if let Some(difference) = association.hop_limit_difference() {
                    report.note(&format!(
                        "a reply without authentication, too: {difference}"
                    ));
                }
                return Ok(measurement);
            }
            Err(error @ (QueryError::Kiss(_) | QueryError::Unusable(_))) => {
                return Err(NtpFailure::Query(error));
            }
            Err(error) => error,
        };
        naks += u32::from(is_nak(&latest));
        rejected_hop_limit = association.rejected_hop_limit().or(rejected_hop_limit);
        if error.as_ref().map_or(0, specificity) <= specificity(&latest) {
            error = Some(latest);
        }
    }
    if let Some(hop_limit) = rejected_hop_limit {
        report.note(&format!(
            "hop limit (TTL) {hop_limit} in the rejected reply{COMPARE}"
        ));
    }
    Err(NtpFailure::Query(
        error.unwrap_or(QueryError::NoReply(None)),
    ))
}

fn associate(address: SocketAddr, session: NtsSession) -> Association {
    let config = AssociationConfig {
        protection: Protection::Nts(Box::new(session)),
        ..AssociationConfig::default()
    };
    Association::new(address, config, monotonic())
}

fn is_nak(error: &QueryError) -> bool {
    matches!(error, QueryError::NoReply(Some(Rejection::NtsNak)))
}

/// Ranks errors: a higher one says more about the cause.
fn specificity(error: &QueryError) -> u8 {
    match error {
        QueryError::NoReply(None) => 0,
        QueryError::NotSent(_) => 1,
        QueryError::Unreachable(_) => 2,
        error if is_nak(error) => 5,
        QueryError::NoReply(Some(rejection)) if rejection.matches_nonce() => 4,
        QueryError::NoReply(Some(_)) => 3,
        QueryError::Kiss(_) | QueryError::Unusable(_) => 6,
    }
}
