//! `ntp-ctl query HOST`: asks a server directly, without a daemon; see `asking`. Nothing is changed.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use ntp_config::Address;
use ntp_os_clock::{monotonic, realtime};
use ntp_proto::client::{Association, Terms};
use serde::Serialize;

use crate::asking::{Asker, Measured, NoTime, pause};
use crate::console::{Console, Failure};
use crate::exit;
use crate::figures::{duration, moment, signed};

/// Between two requests to a server: what servers let pass as a burst.
const SPACING: Duration = Duration::from_secs(2);

/// What one request led to.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    /// True time by the server minus ours, seconds.
    offset: f64,
    /// Round trip, seconds.
    delay: f64,
    /// Who stamped the request, and the reply.
    stamps: (&'static str, &'static str),
}

/// All about one server.
#[derive(Clone, Debug, Default, Serialize)]
struct Answer {
    host: String,
    address: String,
    stratum: Option<u8>,
    reference_id: Option<String>,
    leap: Option<String>,
    root_delay: Option<f64>,
    root_dispersion: Option<f64>,
    /// The offset of the sample with the smallest delay, seconds.
    offset: Option<f64>,
    /// Half width of the interval in which that must lie, seconds.
    uncertainty: Option<f64>,
    delay: Option<f64>,
    samples: Vec<Sample>,
    /// What went wrong, one for each request without a usable answer.
    problems: Vec<String>,
}

pub(crate) fn run(
    host: &str,
    samples: u32,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let address = Address::parse(host, ntp_config::NTP_PORT)
        .map_err(|problem| Failure::Told(format!("{host:?} is no address: {problem}")))?;
    let remote = resolve(&address)?;
    let answer = ask(&address, remote, samples.max(1))?;
    if json {
        console.json(&answer)?;
    } else {
        console.text(&plain(&answer))?;
    }
    if answer.samples.is_empty() {
        // Programs have the answer that has no samples.
        return Err(Failure::Judged {
            exit_code: exit::FAILED,
            text: format!(
                "{address} ({remote}) gave no usable answer. Is its address right, does a firewall let UDP port {} out and the answers in, and \
             does a time server run there?",
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
        .map_err(|error| Failure::Told(format!("cannot resolve {}: {error}", address.host)))?;
    let none = || Failure::Told(format!("{} has no address", address.host));
    found.next().ok_or_else(none)
}

fn ask(address: &Address, remote: SocketAddr, samples: u32) -> Result<Answer, Failure> {
    let mut asker = Asker::new()?;
    let mut answer = Answer {
        host: address.to_string(),
        address: remote.to_string(),
        ..Answer::default()
    };
    let mut association = Association::new(remote, Terms::default(), monotonic());
    let mut all: Vec<Measured> = Vec::new();
    for number in 0..samples {
        if number > 0 {
            pause(SPACING);
        }
        match asker.ask(&mut association) {
            Ok(measured) => all.push(measured),
            Err(problem) => {
                answer.problems.push(problem.to_string());
                if matches!(problem, NoTime::Kiss(_)) {
                    break;
                }
            }
        }
    }
    if let Some(last) = all.last() {
        answer.stratum = Some(last.stratum);
        answer.reference_id = Some(last.reference_id.clone());
        answer.leap = Some(last.leap.clone());
        answer.root_delay = Some(last.root_delay);
        answer.root_dispersion = Some(last.root_dispersion);
    }
    if let Some(best) = all.iter().min_by(|a, b| a.delay.total_cmp(&b.delay)) {
        answer.offset = Some(best.offset);
        answer.delay = Some(best.delay);
        answer.uncertainty = Some(best.uncertainty());
    }
    answer.samples = (all.into_iter())
        .map(|measured| Sample {
            offset: measured.offset,
            delay: measured.delay,
            stamps: measured.stamps,
        })
        .collect();
    Ok(answer)
}

fn plain(answer: &Answer) -> String {
    let mut text = format!("Server          : {} ({})\n", answer.host, answer.address);
    let mut line = |label: &str, value: String| {
        text.push_str(&format!("{label:<16}: {value}\n"));
    };
    for (number, sample) in answer.samples.iter().enumerate() {
        line(
            &format!("Sample {}", number + 1),
            format!(
                "offset {}, delay {} (stamps: {}, {})",
                signed(sample.offset),
                duration(sample.delay),
                sample.stamps.0,
                sample.stamps.1
            ),
        );
    }
    for problem in &answer.problems {
        line("Problem", problem.clone());
    }
    if let (Some(offset), Some(uncertainty), Some(delay)) =
        (answer.offset, answer.uncertainty, answer.delay)
    {
        let now = realtime().as_nanos() as f64 * 1e-9;
        line(
            "Offset",
            format!(
                "{}, ± {} at most if the server is right",
                signed(offset),
                duration(uncertainty)
            ),
        );
        line("Delay", duration(delay));
        line("Its time", moment(now + offset));
        line("Our time", moment(now));
    }
    if let Some(stratum) = answer.stratum {
        line("Stratum", stratum.to_string());
    }
    if let Some(reference) = &answer.reference_id {
        line("Reference", reference.clone());
    }
    if let (Some(delay), Some(dispersion)) = (answer.root_delay, answer.root_dispersion) {
        line("Root delay", duration(delay));
        line("Root dispersion", duration(dispersion));
    }
    if let Some(leap) = &answer.leap {
        line("Leap second", leap.clone());
    }
    text
}
