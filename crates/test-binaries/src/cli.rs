//! What the programs have in common: where to listen, and how to say so.

use core::time::Duration;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use ntp_time::{LeapIndicator, NtpDuration, ReferenceId, Stratum};

use crate::behaviour::reference_id;
use crate::{Behaviour, Misbehaviour, ReferenceServer};

/// Where and how to serve.
#[derive(Args, Clone, Debug)]
pub struct Listen {
    /// Address and port to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Seed for what is random
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
}

impl Listen {
    /// Serves until the process is killed. The first line on standard output is `listening on ADDR`, with the port
    /// that was taken.
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

/// The options that make up a [`Behaviour`].
#[derive(Args, Clone, Debug)]
pub struct Conduct {
    /// Seconds that the served time is ahead of the system clock
    #[arg(long, value_name = "SECONDS", default_value = "0", allow_hyphen_values = true, value_parser = offset)]
    pub offset: NtpDuration,

    /// Stratum to claim
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = stratum)]
    pub stratum: Stratum,

    /// Reference identifier to claim, up to four characters
    #[arg(long, value_name = "CODE", default_value = "TEST", value_parser = code)]
    pub reference_id: ReferenceId,

    /// Leap status to claim: none, insert, delete or unsynchronized
    #[arg(long, value_name = "STATUS", default_value = "none", value_parser = leap)]
    pub leap: LeapIndicator,

    /// Deviations, in the order given.
    #[arg(
        long = "misbehave",
        value_name = "WHAT",
        help = format!("Do something wrong (may be given several times): {}", Misbehaviour::SYNTAX)
    )]
    pub misbehaviours: Vec<Misbehaviour>,
}

impl Conduct {
    /// The behaviour that was asked for.
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

/// For clap: a time span in seconds, fractions allowed.
///
/// # Errors
/// The text is not a number, negative, or too large.
pub fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
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
