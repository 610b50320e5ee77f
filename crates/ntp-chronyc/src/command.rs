//! The commands: their codes, lengths and replies, and who may use them.

use crate::field::{Fields, Writer};
use crate::message::{NULL, REPLY_HEADER, Refusal, Report, Request};
use crate::{Daemon, Origin, ntp_data, server_reports, source_reports, tracking};

/// Who may use a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Every user of this machine, over UDP as well.
    Open,
    /// Users who may write to the Unix socket.
    Private,
}
use Access::{Open, Private};

/// Writes the body of a reply.
type Body = fn(&mut dyn Daemon, Fields<'_>) -> Result<Writer, Refusal>;

/// A layout of a reply.
struct Form {
    /// Code of the reply.
    code: u16,
    /// Its length, which the request must have, too.
    length: usize,
    body: Body,
}

const fn form(code: u16, length: usize, body: Body) -> Form {
    Form { code, length, body }
}

/// A command that reads.
struct Command {
    code: u16,
    access: Access,
    /// The longest one that is not longer than the request is used: a program that knows only the
    /// older reply sends the shorter request.
    forms: &'static [Form],
}

const fn command(code: u16, access: Access, forms: &'static [Form]) -> Command {
    Command {
        code,
        access,
        forms,
    }
}

/// The commands that read, by code. Those that are open are open by default in chronyd.
#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    // NULL
    command(0, Open, &[form(NULL, REPLY_HEADER, |_, _| Ok(Writer::default()))]),
    // N_SOURCES
    command(14, Open, &[form(2, 32, source_reports::number_of_sources)]),
    // SOURCE_DATA
    command(15, Open, &[form(3, 76, source_reports::source_data)]),
    // TRACKING
    command(33, Open, &[form(5, 104, tracking::tracking)]),
    // SOURCESTATS
    command(34, Open, &[form(6, 84, source_reports::source_statistics)]),
    // RTCREPORT
    command(35, Open, &[form(7, 56, |_, _| Err(Refusal::NoRealTimeClock))]),
    // MANUAL_LIST
    command(41, Open, &[form(18, 416, |_, _| Err(Refusal::NotEnabled))]),
    // ACTIVITY
    command(44, Open, &[form(12, 48, server_reports::activity)]),
    // SMOOTHING
    command(51, Open, &[form(13, 52, |_, _| Err(Refusal::NotEnabled))]),
    // SERVER_STATS: up to chrony 4.3, and later
    command(54, Private, &[
        form(25, 196, server_reports::statistics), form(24, 72, server_reports::short_statistics),
    ]),
    // NTP_DATA: up to chrony 4.5, and later
    command(57, Private, &[form(26, 172, ntp_data::ntp_data), form(16, 152, ntp_data::ntp_data)]),
    // NTP_SOURCE_NAME
    command(65, Open, &[form(19, 284, source_reports::source_name)]),
    // AUTH_DATA
    command(67, Private, &[form(20, 52, source_reports::authentication)]),
    // CLIENT_ACCESSES_BY_INDEX3
    command(68, Private, &[form(21, 520, server_reports::clients)]),
    // SELECT_DATA
    command(69, Private, &[form(23, 76, source_reports::selection)]),
];

/// Executes a request.
pub(crate) fn execute(
    request: &Request<'_>,
    origin: Origin,
    daemon: &mut dyn Daemon,
) -> Result<Report, Refusal> {
    if !request.version_matches {
        return Err(Refusal::Version);
    }
    let command = COMMANDS
        .iter()
        .find(|command| command.code == request.command)
        .ok_or_else(|| refusal(request.command))?;
    let form = command
        .forms
        .iter()
        .find(|form| form.length <= request.length)
        .ok_or(Refusal::Length)?;
    if command.access == Private && origin == Origin::Udp {
        return Err(Refusal::Unauthorised);
    }
    Ok(Report {
        code: form.code,
        length: form.length,
        body: (form.body)(daemon, request.arguments)?,
    })
}

/// Why a command that does not only read is refused, as chronyd 4.3 does.
fn refusal(code: u16) -> Refusal {
    match code {
        // A password, which no version uses any more.
        10 => Refusal::Failed,
        // Replaced by commands with other arguments.
        12 | 27 | 28 | 32 | 38..=40 | 55 | 58..=61 => Refusal::Invalid,
        // The last one is LOCAL3 of chrony 4.6.
        0..=74 => Refusal::Unauthorised,
        _ => Refusal::Invalid,
    }
}
