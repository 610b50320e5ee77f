//! Command line of `ntp-ctl nts`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use ntp_nts_ke::trust::Authorities;
use ntp_proto::client::VersionChoice;
use ntp_proto::wire::Version;
use ntp_types::source::SrvVerification;

use super::Check;
use crate::cli::ntp_version;
use crate::console::{Console, Failure};
use crate::format::time;

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Action {
    /// Exchange keys with a server and send one authenticated request; report problems and remedies
    ///
    /// Needs no daemon and changes nothing. The report has the certificates of the server, the
    /// negotiated parameters, the duration of each stage and the offset of the local clock, as far
    /// as the check got.
    #[command(after_help = super::exit_codes())]
    Check {
        /// Host name or address of the key exchange server, with an optional port
        host: String,
        /// Trust the certificate authorities in this file (PEM), or in the files of this directory,
        /// too; may be repeated
        #[arg(long, value_name = "PATH")]
        ca: Vec<PathBuf>,
        /// Trust no certificate authorities but those of `--ca`
        #[arg(long, requires = "ca")]
        no_system_authorities: bool,
        /// NTP version to ask for, 4 or 5, or `auto`: what a server chooses that knows both
        #[arg(long, value_name = "VERSION", default_value = "auto", value_parser = nts_version)]
        version: VersionChoice,
        /// Check this many members of an NTS pool, and show a table of them
        #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "4", value_parser = members)]
        pool: Option<usize>,
        /// Find the server by SRV records: `dnssec`, `certificate` or `none`, as `srv-verification`
        #[arg(long, value_name = "VERIFICATION", num_args = 0..=1, default_missing_value = "dnssec", value_parser = srv)]
        srv: Option<SrvVerification>,
        /// Timeout of the key exchange
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
        timeout: Duration,
    },
}

impl Action {
    pub(crate) fn run(&self, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
        let Self::Check {
            host,
            ca,
            no_system_authorities,
            version,
            pool,
            srv,
            timeout,
        } = self;
        let check = Check {
            host,
            authorities: Authorities {
                system: !no_system_authorities,
                paths: ca,
            },
            version: *version,
            srv: *srv,
            pool: *pool,
            limit: *timeout,
        };
        super::run(&check, json, console)
    }
}

/// A version that NTS supports.
fn nts_version(text: &str) -> Result<VersionChoice, String> {
    let choice = ntp_version(text).ok();
    let exists = |choice: &VersionChoice| match choice {
        VersionChoice::Auto => true,
        VersionChoice::Fixed(version) => *version >= Version::V4,
    };
    choice
        .filter(exists)
        .ok_or_else(|| "expected 4, 5 or auto".to_owned())
}

/// Number of members of a pool.
fn members(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number.ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

fn srv(text: &str) -> Result<SrvVerification, String> {
    match text {
        "dnssec" => Ok(SrvVerification::Dnssec),
        "certificate" => Ok(SrvVerification::Certificate),
        "none" => Ok(SrvVerification::None),
        _ => Err("expected dnssec, certificate or none".to_owned()),
    }
}
