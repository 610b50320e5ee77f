//! `ntp-ctl query HOST`: queries a server without the daemon and changes nothing; see
//! `query_client`.

use std::net::SocketAddr;
use std::time::Duration;

use ntp_config::Address;
use ntp_os_clock::{monotonic, realtime};
use ntp_proto::client::{Association, AssociationConfig, VersionChoice};
use ntp_proto::wire::v5::SupportedVersions;
use ntp_udp::resolve_within;
use serde_json::json;

use crate::console::{Console, Failure};
use crate::exit;
use crate::format::{duration, signed, timestamp};
use crate::layout::Page;
use crate::query_client::{Measurement, QueryClient, QueryError, pause};

/// Time between requests: servers accept this rate as a burst.
const SPACING: Duration = Duration::from_secs(2);

/// Time limit of the name resolution: two attempts of the usual resolver, each of 5 s.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Results of all requests to a server.
#[derive(Debug)]
struct Results {
    host: String,
    address: SocketAddr,
    samples: Vec<Measurement>,
    /// Errors, one for each request without a usable reply.
    problems: Vec<String>,
    /// Versions that the server supports, if it states them (version 5).
    versions: Option<SupportedVersions>,
}

impl Results {
    /// Returns the sample with the smallest delay.
    fn best(&self) -> Option<&Measurement> {
        self.samples.iter().min_by_key(|sample| sample.delay)
    }
}

pub(crate) fn run(
    host: &str,
    samples: u32,
    version: VersionChoice,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let address = parse_address(host, ntp_config::NTP_PORT)?;
    let remote = first_address(&address)?;
    let results = query(&address, remote, samples.max(1), version)?;
    if json {
        console.print_json(&data(&results))?;
    } else {
        console.print(&plain(&results))?;
    }
    if results.samples.is_empty() {
        return Err(Failure::Reported {
            exit_code: exit::FAILURE,
            text: format!(
                "No usable reply from {address} ({remote}). Check the address, that firewalls pass\n\
                 UDP port {}, and that an NTP server runs there",
                remote.port()
            ),
        });
    }
    Ok(())
}

/// Parses the address of a server from the command line.
pub(crate) fn parse_address(text: &str, default_port: u16) -> Result<Address, Failure> {
    Address::parse(text, default_port).map_err(|problem| {
        let advice = problem.advice();
        Failure::Error(format!("Invalid address {text:?}: {problem}\n{advice}"))
    })
}

fn first_address(address: &Address) -> Result<SocketAddr, Failure> {
    let failed =
        |problem: String| Failure::Error(format!("Could not resolve {}: {problem}", address.host));
    let found =
        resolve_within(&address.host, LOOKUP_LIMIT).map_err(|error| failed(error.to_string()))?;
    let first = found
        .first()
        .ok_or_else(|| failed("no address".to_owned()))?;
    Ok(first.with_port(address.port))
}

fn query(
    address: &Address,
    remote: SocketAddr,
    samples: u32,
    version: VersionChoice,
) -> Result<Results, Failure> {
    let mut client = QueryClient::new()?;
    let mut results = Results {
        host: address.to_string(),
        address: remote,
        samples: Vec::new(),
        problems: Vec::new(),
        versions: None,
    };
    let config = AssociationConfig {
        version,
        ..AssociationConfig::default()
    };
    let mut association = Association::new(remote, config, monotonic());
    for number in 0..samples {
        if number > 0 {
            pause(SPACING);
        }
        match client.query(&mut association) {
            Ok(measured) => results.samples.push(measured),
            Err(problem) => {
                results.problems.push(problem.to_string());
                if matches!(problem, QueryError::Kiss(_)) {
                    break;
                }
            }
        }
    }
    results.versions = association.server_versions();
    Ok(results)
}

fn data(results: &Results) -> serde_json::Value {
    let (best, last) = (results.best(), results.samples.last());
    let sample =
        |it: &Measurement| json!({ "offset": it.offset, "delay": it.delay, "stamps": it.stamps });
    json!({
        "host": results.host,
        "address": results.address,
        "version": last.map(|it| it.version.number()),
        "supported_versions": results.versions.map(|it| it.numbers().collect::<Vec<_>>()),
        "stratum": last.map(|it| it.stratum),
        "reference_id": last.map(|it| it.reference_id),
        "leap": last.map(|it| it.leap),
        "root_delay": last.map(|it| it.root_delay),
        "root_dispersion": last.map(|it| it.root_dispersion),
        "precision": last.map(|it| it.precision),
        "timescale": last.map(|it| it.timescale),
        "era": last.map(|it| it.era),
        "monotonic_epoch": last.map(|it| it.monotonic_epoch),
        "offset": best.map(|it| it.offset),
        "uncertainty": best.map(|it| it.uncertainty),
        "delay": best.map(|it| it.delay),
        "samples": results.samples.iter().map(sample).collect::<Vec<_>>(),
        "problems": results.problems,
    })
}

fn plain(results: &Results) -> String {
    let mut page = Page::new(16);
    page.line(
        "Server",
        format_args!("{} ({})", results.host, results.address),
    );
    for (index, sample) in results.samples.iter().enumerate() {
        page.line(
            &format!("Sample {}", index + 1),
            format_args!(
                "offset {}, delay {} (timestamps: {}, {})",
                signed(sample.offset),
                duration(sample.delay),
                sample.stamps.0,
                sample.stamps.1
            ),
        );
    }
    for problem in &results.problems {
        page.line("Error", problem);
    }
    if let Some(best) = results.best() {
        let now = realtime();
        page.line(
            "Offset",
            format_args!(
                "{} ± {} (if the server is right)",
                signed(best.offset),
                duration(best.uncertainty)
            ),
        );
        page.line("Delay", duration(best.delay));
        page.line("Server time", timestamp(now + best.offset));
        page.line("Local time", timestamp(now));
    }
    if let Some(last) = results.samples.last() {
        page.line("Stratum", last.stratum);
        page.line("Reference", last.reference_id);
        page.line("Root delay", duration(last.root_delay));
        page.line("Root dispersion", duration(last.root_dispersion));
        page.line("Leap status", last.leap);
        page.line("Precision", format_args!("2^{} s", last.precision));
        page.line("NTP version", last.version.number());
        page.optional("Timescale", last.timescale);
        if let Some(era) = last.era {
            page.line("Era", era);
        }
        if let Some(epoch) = last.monotonic_epoch {
            page.line("Monotonic epoch", format_args!("{epoch:08x}"));
        }
    }
    if let Some(versions) = results.versions {
        let numbers: Vec<_> = versions.numbers().map(|it| it.to_string()).collect();
        page.line("Supports", numbers.join(", "));
    }
    page.into_text()
}
