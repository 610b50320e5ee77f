//! Command-line options shared by the programs.

use core::time::Duration;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::Args;
use ntp_proto::nts::AeadAlgorithm;
use ntp_time::{LeapIndicator, NtpDuration, ReferenceId, Stratum};

use crate::behaviour::reference_id;
use crate::{Behaviour, Misbehaviour, ReferenceServer};

/// Options of a server's socket.
#[derive(Args, Clone, Debug)]
pub struct Listen {
    /// Address and port to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Seed of the random generator
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
}

impl Listen {
    /// Serves until the process is killed. The first line on standard output is `listening on
    /// ADDR`, with the actual port.
    pub fn serve(&self, behaviour: Behaviour) -> ExitCode {
        match self.try_serve(behaviour) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot serve on {}: {error}", self.listen);
                ExitCode::FAILURE
            }
        }
    }

    fn try_serve(&self, behaviour: Behaviour) -> io::Result<()> {
        let server = ReferenceServer::bind_seeded(self.listen, behaviour, self.seed)?;
        let mut out = io::stdout();
        writeln!(out, "listening on {}", server.address())?;
        out.flush()?;
        server.wait()
    }
}

/// Options that define a [`Behaviour`].
#[derive(Args, Clone, Debug)]
pub struct BehaviourOptions {
    /// Offset of the served time from the system clock, in seconds (positive: ahead)
    #[arg(long, value_name = "SECONDS", default_value = "0", allow_hyphen_values = true, value_parser = offset)]
    pub offset: NtpDuration,

    /// Stratum in replies
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = stratum)]
    pub stratum: Stratum,

    /// Reference identifier in replies, up to four characters
    #[arg(long, value_name = "CODE", default_value = "TEST", value_parser = code)]
    pub reference_id: ReferenceId,

    /// Leap status in replies: none, insert, delete or unsynchronized
    #[arg(long, value_name = "STATUS", default_value = "none", value_parser = leap)]
    pub leap: LeapIndicator,

    /// Misbehaviours, in the order given.
    #[arg(
        long = "misbehave",
        value_name = "WHAT",
        help = format!("Misbehave in this way (repeatable): {}", Misbehaviour::SYNTAX)
    )]
    pub misbehaviours: Vec<Misbehaviour>,
}

impl BehaviourOptions {
    /// The behaviour that these options define.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour {
            offset: self.offset,
            stratum: self.stratum,
            reference_id: self.reference_id,
            leap: self.leap,
            misbehaviours: self.misbehaviours.clone(),
            ..Behaviour::default()
        }
    }
}

/// Value parser for clap: a non-negative number of seconds, with fractions.
///
/// # Errors
/// If the text is not a number, negative, or too large.
pub fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Value parser for clap: `HOST[:PORT]` of a key-exchange server; the default port is 4460. An IPv6
/// address with a port must be in brackets.
///
/// # Errors
/// If the name is empty or the port invalid.
pub fn key_server(text: &str) -> Result<(String, u16), String> {
    let host = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((address.to_string(), ntp_nts_ke::PORT));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    let (host, port) = match text.split_once(':') {
        None => (text, ntp_nts_ke::PORT),
        Some((host, port)) => (host, port.parse().map_err(|_| "invalid port")?),
    };
    if host.is_empty() {
        return Err("missing host name".into());
    }
    Ok((host.to_owned(), port))
}

/// Value parser for clap: an AEAD algorithm for NTS by its number in IANA's registry.
///
/// # Errors
/// If the algorithm is not supported.
pub fn aead(text: &str) -> Result<AeadAlgorithm, String> {
    let number = text.parse().ok().and_then(AeadAlgorithm::from_id);
    number.ok_or_else(|| "not 15, 17 or 30".into())
}

fn offset(text: &str) -> Result<NtpDuration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Ok(NtpDuration::from_seconds_f64(seconds)),
        _ => Err("not a number of seconds".into()),
    }
}

fn stratum(text: &str) -> Result<Stratum, String> {
    let number = text.parse().map_err(|_| "not a number from 0 to 255")?;
    Ok(Stratum::new(number))
}

fn code(text: &str) -> Result<ReferenceId, String> {
    reference_id(text).ok_or_else(|| "not one to four printable characters".into())
}

fn leap(text: &str) -> Result<LeapIndicator, String> {
    match text {
        "none" => Ok(LeapIndicator::None),
        "insert" => Ok(LeapIndicator::Insert),
        "delete" => Ok(LeapIndicator::Delete),
        "unsynchronized" => Ok(LeapIndicator::Unsynchronized),
        _ => Err("not one of none, insert, delete, unsynchronized".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_server_is_a_name_or_address_with_an_optional_port() {
        let is = |text, host: &str, port| assert_eq!(key_server(text), Ok((host.into(), port)));
        is("keys.test", "keys.test", 4460);
        is("keys.test:1", "keys.test", 1);
        is("192.0.2.1:2", "192.0.2.1", 2);
        is("2001:db8::1", "2001:db8::1", 4460);
        is("[2001:db8::1]", "2001:db8::1", 4460);
        is("[2001:db8::1]:3", "2001:db8::1", 3);
        for text in ["", ":3", "keys.test:", "keys.test:x", "keys.test:70000"] {
            assert!(key_server(text).is_err(), "{text}");
        }
    }
}
