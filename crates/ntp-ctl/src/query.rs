//! `ntp-ctl query HOST`: queries a server without the daemon and changes nothing; see
//! `query_client`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use ntp_config::Address;
use ntp_os_clock::{monotonic, realtime};
use ntp_proto::client::{Association, AssociationConfig};
use serde::Serialize;

use crate::console::{Console, Failure};
use crate::exit;
use crate::format::{duration, signed, timestamp};
use crate::query_client::{Measurement, QueryClient, QueryError, pause};

/// Time between requests: servers accept this rate as a burst.
const SPACING: Duration = Duration::from_secs(2);

/// Result of one request.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    /// Server time minus local time in seconds.
    offset: f64,
    /// Round-trip delay in seconds.
    delay: f64,
    /// Origin of the timestamps of request and reply.
    stamps: (&'static str, &'static str),
}

/// Results of all requests to a server.
#[derive(Clone, Debug, Default, Serialize)]
struct Results {
    host: String,
    address: String,
    stratum: Option<u8>,
    reference_id: Option<String>,
    leap: Option<String>,
    root_delay: Option<f64>,
    root_dispersion: Option<f64>,
    /// Offset of the sample with the smallest delay in seconds.
    offset: Option<f64>,
    /// Half width of the interval that contains the true offset in seconds.
    uncertainty: Option<f64>,
    delay: Option<f64>,
    samples: Vec<Sample>,
    /// Errors, one for each request without a usable reply.
    problems: Vec<String>,
}

pub(crate) fn run(
    host: &str,
    samples: u32,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let address = Address::parse(host, ntp_config::NTP_PORT)
        .map_err(|problem| Failure::Error(format!("Invalid address {host:?}: {problem}")))?;
    let remote = resolve(&address)?;
    let results = query(&address, remote, samples.max(1))?;
    if json {
        console.print_json(&results)?;
    } else {
        console.print(&plain(&results))?;
    }
    if results.samples.is_empty() {
        // The JSON is printed already.
        return Err(Failure::WithExitCode {
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

fn resolve(address: &Address) -> Result<SocketAddr, Failure> {
    if let Ok(literal) = address.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(literal, address.port));
    }
    let mut found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .map_err(|error| Failure::Error(format!("Could not resolve {}: {error}", address.host)))?;
    let none = || Failure::Error(format!("Could not resolve {}: no address", address.host));
    found.next().ok_or_else(none)
}

fn query(address: &Address, remote: SocketAddr, samples: u32) -> Result<Results, Failure> {
    let mut client = QueryClient::new()?;
    let mut results = Results {
        host: address.to_string(),
        address: remote.to_string(),
        ..Results::default()
    };
    let mut association = Association::new(remote, AssociationConfig::default(), monotonic());
    let mut all: Vec<Measurement> = Vec::new();
    for number in 0..samples {
        if number > 0 {
            pause(SPACING);
        }
        match client.query(&mut association) {
            Ok(measured) => all.push(measured),
            Err(problem) => {
                results.problems.push(problem.to_string());
                if matches!(problem, QueryError::Kiss(_)) {
                    break;
                }
            }
        }
    }
    if let Some(last) = all.last() {
        results.stratum = Some(last.stratum);
        results.reference_id = Some(last.reference_id.clone());
        results.leap = Some(last.leap.clone());
        results.root_delay = Some(last.root_delay);
        results.root_dispersion = Some(last.root_dispersion);
    }
    if let Some(best) = all.iter().min_by(|a, b| a.delay.total_cmp(&b.delay)) {
        results.offset = Some(best.offset);
        results.delay = Some(best.delay);
        results.uncertainty = Some(best.uncertainty());
    }
    results.samples = (all.into_iter())
        .map(|measured| Sample {
            offset: measured.offset,
            delay: measured.delay,
            stamps: measured.stamps,
        })
        .collect();
    Ok(results)
}

fn plain(results: &Results) -> String {
    let mut text = format!("Server          : {} ({})\n", results.host, results.address);
    let mut line = |label: &str, value: String| {
        text.push_str(&format!("{label:<16}: {value}\n"));
    };
    for (number, sample) in results.samples.iter().enumerate() {
        line(
            &format!("Sample {}", number + 1),
            format!(
                "offset {}, delay {} (timestamps: {}, {})",
                signed(sample.offset),
                duration(sample.delay),
                sample.stamps.0,
                sample.stamps.1
            ),
        );
    }
    for problem in &results.problems {
        line("Error", problem.clone());
    }
    if let (Some(offset), Some(uncertainty), Some(delay)) =
        (results.offset, results.uncertainty, results.delay)
    {
        let now = realtime().as_nanos() as f64 * 1e-9;
        line(
            "Offset",
            format!(
                "{} ± {} (if the server is right)",
                signed(offset),
                duration(uncertainty)
            ),
        );
        line("Delay", duration(delay));
        line("Server time", timestamp(now + offset));
        line("Local time", timestamp(now));
    }
    if let Some(stratum) = results.stratum {
        line("Stratum", stratum.to_string());
    }
    if let Some(reference) = &results.reference_id {
        line("Reference", reference.clone());
    }
    if let (Some(delay), Some(dispersion)) = (results.root_delay, results.root_dispersion) {
        line("Root delay", duration(delay));
        line("Root dispersion", duration(dispersion));
    }
    if let Some(leap) = &results.leap {
        line("Leap status", leap.clone());
    }
    text
}
