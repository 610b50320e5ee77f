//! OpenNTPD's `ntpd.conf`.
//!
//! `server` uses one address of a name and `servers` all of them, like a pool. OpenNTPD serves time
//! only with `listen on`, and then to all clients: it has no access rules.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::draft::{Draft, SERVER, Table};
use super::input::Input;
use super::lines::{Continuation, Line, Syntax};
use super::service::OWN_USER;
use super::source::{self, Source};
use super::table::Fate::{Converted, NotNeeded, Unsupported};
use super::table::{Conversion, Directive, OptionFate, OptionRow, convert_options};

/// Converts the file.
pub(super) fn draft(input: &Input) -> Draft {
    let mut openntpd = Openntpd::default();
    openntpd.convert(input);
    let mut draft = openntpd.draft;
    let section = "[synchronization]";
    draft.comment(
        section,
        "OpenNTPD follows a single source if it has no other",
    );
    draft.set_minimum(1);
    draft
}

/// State of the conversion.
#[derive(Default)]
pub(super) struct Openntpd {
    draft: Draft,
}

const NO_TABLES: &str = "the kernel chooses the routing table";

impl Conversion for Openntpd {
    const SYNTAX: Syntax = Syntax {
        comments: &['#'],
        comment_in_word: true,
        quotes: &['"', '\''],
        continuation: Continuation::Every,
    };

    #[rustfmt::skip]
    const DIRECTIVES: &'static [Directive<Self>] = &[
        ("server", Converted(|it, line| it.source(line, false))),
        ("servers", Converted(|it, line| it.source(line, true))),
        ("listen", Converted(Self::listen)),
        ("sensor", NotNeeded("only OpenBSD has sensors; for reference clocks see docs/gps-pps.md")),
        ("constraint constraints", Unsupported("time from HTTPS is not supported: use authenticated sources of mode `nts`")),
        ("query", Unsupported("the kernel chooses the route of requests")),
        ("rtable", Unsupported(NO_TABLES)),
    ];

    #[rustfmt::skip]
    const COMMAND_LINE: &'static [OptionRow<Self>] = &[
        ("-f", 1, OptionFate::NotNeeded("names the converted file")),
        ("-s", 0, OptionFate::NotNeeded("ntpd-rs steps the clock at start if the offset is too large to slew")),
        ("-d -S -v", 0, OptionFate::NotNeeded("the service unit starts ntpd-rs; see [observability] for the log")),
        ("-p", 1, OptionFate::NotNeeded(OWN_USER)),
    ];

    fn draft(&mut self) -> &mut Draft {
        &mut self.draft
    }
}

/// Options of `server` and `servers`.
#[rustfmt::skip]
pub(super) const SOURCE_OPTIONS: &[OptionRow<Source>] = &[
    ("trusted", 0, OptionFate::Converted(|it, _| it.flag("trusted", "trust"))),
    ("weight", 1, OptionFate::Unsupported("ntpd-rs weights its sources automatically")),
    ("rtable", 1, OptionFate::Unsupported(NO_TABLES)),
];

/// Options of `listen on`.
pub(super) const LISTEN_OPTIONS: &[OptionRow<()>] =
    &[("rtable", 1, OptionFate::Unsupported(NO_TABLES))];

impl Openntpd {
    fn source(&mut self, line: &Line<'_>, pool: bool) {
        source::add(&mut self.draft, line, pool, SOURCE_OPTIONS, &|_| None);
    }

    /// Converts `listen on ADDRESS`; `*` is any address.
    fn listen(&mut self, line: &Line<'_>) {
        let Some(("on", [address, options @ ..])) =
            line.words.split_first().map(|(on, rest)| (*on, rest))
        else {
            return self.draft.unsupported(line, "no address given");
        };
        let address = match *address {
            "*" => Some(IpAddr::from(Ipv6Addr::UNSPECIFIED)),
            word => word.parse().ok(),
        };
        let Some(address) = address else {
            return self
                .draft
                .unsupported(line, "use the address of the interface");
        };
        let remarks = convert_options(&mut (), line, options, LISTEN_OPTIONS);
        self.draft.remarks.append(remarks);
        let mut table = Table::default();
        let listen = SocketAddr::from((address, ntp_config::NTP_PORT));
        table.set_text("listen", &listen.to_string());
        self.draft.push(SERVER, (line.number, line.text), table);
    }
}
