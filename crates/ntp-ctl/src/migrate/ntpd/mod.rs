//! ntpd's `ntp.conf`, of the reference implementation (4.2.8) and of ntpsec.
//!
//! ntpd serves all clients except those that `restrict` lines exclude.

mod restrict;
mod serving;

use super::draft::{Draft, LOCAL, SOURCE, quoted};
use super::input::Input;
use super::lines::{Continuation, Line, Syntax, number};
use super::paths::Paths;
use super::ref_clock::{self, NO_DRIVER, RefClock};
use super::service::{OTHER_FILE, OWN_USER};
use super::source::{self, ANY_FAMILY, Source};
use super::table::Fate::{Converted, NotNeeded, Unsupported};
use super::table::{Conversion, Directive, INVALID, OptionFate, OptionRow, convert_options};
use restrict::Restrictions;
use serving::{Interfaces, NtsServer};
#[cfg(test)]
pub(super) use {
    restrict::{LIMIT_OPTIONS, RESTRICT_FLAGS},
    serving::NTS_OPTIONS,
};

/// Converts the file.
pub(super) fn draft(input: &Input) -> Draft {
    let mut ntpd = Ntpd::default();
    ntpd.convert(input);
    ntpd.finish()
}

/// State of the conversion.
#[derive(Default)]
pub(super) struct Ntpd {
    draft: Draft,
    restrictions: Restrictions,
    interfaces: Interfaces,
    nts: NtsServer,
    tos: Tos,
    clocks: Vec<RefClock>,
    paths: Paths,
    /// Whether `enable ntp` or `disable ntp` was given.
    steers: Option<bool>,
}

const NO_REMOTE: &str = "modes 6 and 7 and remote monitoring are not supported";
const AUTOMATIC: &str = "ntpd-rs weights its sources automatically";
const NO_AUTOKEY: &str = "not supported: set keys in the sources and servers that use them";
const NO_BROADCAST: &str = "broadcast and multicast cannot be authenticated and are not supported";
const NO_CALIBRATION: &str = "the constant delay of a clock is not measured: set its offset";

impl Conversion for Ntpd {
    const SYNTAX: Syntax = Syntax {
        comments: &['#'],
        comment_in_word: true,
        quotes: &['"'],
        continuation: Continuation::No,
    };

    #[rustfmt::skip]
    const DIRECTIVES: &'static [Directive<Self>] = &[
        ("server", Converted(|it, line| it.source(line, false))),
        ("pool", Converted(|it, line| it.source(line, true))),
        ("fudge", Converted(Self::fudge)),
        ("refclock", Converted(Self::named_ref_clock)),
        ("restrict", Converted(|it, line| it.restrictions.restrict(&mut it.draft, line))),
        ("unrestrict", Converted(|it, line| it.restrictions.unrestrict(&mut it.draft, line))),
        ("limit", Converted(|it, line| it.restrictions.limit(&mut it.draft, line))),
        ("interface nic", Converted(|it, line| it.interfaces.add(&mut it.draft, line))),
        ("keys", Converted(Self::keys)),
        ("leapfile", Converted(Self::leap_file)),
        ("leapsmearinterval", Converted(Self::leap_smear)),
        ("enable", Converted(|it, line| it.flags(line, ENABLE_FLAGS))),
        ("disable", Converted(|it, line| it.flags(line, DISABLE_FLAGS))),
        ("tos", Converted(Self::tos)),
        ("tinker", Converted(Self::tinker)),
        ("nts", Converted(|it, line| it.nts.add(&mut it.draft, line))),
        ("dscp", Converted(|it, line| it.paths.dscp(&mut it.draft, line))),

        ("driftfile", Converted(|it, line| {
            it.draft.drift_file = line.words.first().map(|&path| path.to_owned());
            it.draft.not_needed(line, super::write::DRIFT);
        })),
        ("logconfig logfile", NotNeeded("log lines go to the journal, or to [observability] log-path")),
        ("trustedkey", NotNeeded("all keys of the file are trusted")),
        ("requestkey controlkey mru", NotNeeded("no remote control over the network; modes 6 and 7 are not supported")),
        ("pidfile rlimit saveconfigdir user", NotNeeded("set in the service unit")),
        ("mdnstries", NotNeeded("multicast DNS is not supported")),
        ("end", NotNeeded("the rest of the file is read, too")),

        ("statsdir statistics filegen", Unsupported("use [observability] record-path to record measurements, and `ntp-ctl replay` to read them")),
        ("discard", Unsupported("use rate-limiting-cutoff-ms and rate-limiting-burst of [[server]]")),
        ("autokey crypto keysdir revoke automax", Unsupported(NO_AUTOKEY)),
        ("ntpsigndsocket", Unsupported("Microsoft's authentication (MS-SNTP) is not supported")),
        ("broadcast broadcastclient multicastclient manycastclient manycastserver broadcastdelay", Unsupported(NO_BROADCAST)),
        ("peer", Unsupported("symmetric mode is not supported: configure each host as a server of the other")),
        ("includefile", Unsupported(super::input::NOT_READ)),
        ("unpeer unconfig", Unsupported("remove the source instead")),
        ("extra port", Unsupported("add a [[server]] with another port")),
        ("trap", Unsupported("traps are not supported; use the metrics for alerts (docs/monitoring.md)")),
        ("qos", Unsupported("use `dscp` with a number")),
        ("tick calldelay reset setvar ttl pollskewlist phone simulate", Unsupported("no equivalent")),
    ];

    #[rustfmt::skip]
    const COMMAND_LINE: &'static [OptionRow<Self>] = &[
        ("-g --panicgate", 0, OptionFate::NotNeeded("the limit of the first correction is startup-step-panic-threshold: any amount forward, a day back")),
        ("-N --nice", 0, OptionFate::NotNeeded("packets are timestamped by the kernel, so the priority of the process does not matter")),
        ("-p --pidfile -u --user -i --jaildir", 1, OptionFate::NotNeeded(OWN_USER)),
        ("-n --nofork -b --bcastsync", 0, OptionFate::NotNeeded("the service unit starts ntpd-rs")),
        ("-l --logfile", 1, OptionFate::NotNeeded("log lines go to the journal, or to [observability] log-path")),
        ("-d --debug_level -D --set-debug-level", 0, OptionFate::NotNeeded("see log-level in [observability]")),
        ("-f --driftfile", 1, OptionFate::Converted(|it, value| { it.draft.drift_file = Some(value.to_owned()); Ok(()) })),
        ("-c --configfile", 1, OptionFate::Unsupported(OTHER_FILE)),
        ("-k --keyfile -s --statsdir -t --trustedkey -v --var -V --dvar -I --interface", 1, OptionFate::Unsupported("add the directive of the configuration file, and migrate again")),
        ("-x --slew", 0, OptionFate::Unsupported("disables steps under 600 s: ntpd-rs steps in the first updates only")),
        ("-P --priority", 1, OptionFate::NotNeeded("packets are timestamped by the kernel, so the priority of the process does not matter")),
        ("-q --quit -w --wait-sync -L --novirtualips -m --mdns -4 --ipv4 -6 --ipv6 -M --modifymmtimer -U --updateinterval -a --authreq -A --authnoreq", 0, OptionFate::Unsupported("no equivalent")),
    ];

    fn draft(&mut self) -> &mut Draft {
        &mut self.draft
    }
}

/// Options of `server` and `pool`.
#[rustfmt::skip]
pub(super) const SOURCE_OPTIONS: &[OptionRow<Source>] = &[
    ("minpoll", 1, OptionFate::Converted(Source::shortest_poll)),
    ("maxpoll", 1, OptionFate::Converted(Source::longest_poll)),
    ("prefer", 0, OptionFate::Converted(|it, _| it.flag("prefer", "prefer"))),
    ("noselect", 0, OptionFate::Converted(|it, _| it.flag("noselect", "noselect"))),
    ("true", 0, OptionFate::Converted(|it, _| it.flag("true", "trust"))),
    ("xleave", 0, OptionFate::Converted(|it, _| it.flag("xleave", "interleaved"))),
    ("key", 1, OptionFate::Converted(|it, value| it.whole("key", "key", value))),
    ("version", 1, OptionFate::Converted(|it, value| it.whole("version", "ntp-version", value))),
    ("nts", 0, OptionFate::Converted(|it, _| it.set_nts())),
    ("ca", 1, OptionFate::Converted(|it, value| it.text("ca", "certificate-authority", value))),
    ("port", 1, OptionFate::Converted(Source::port)),
    ("iburst burst", 0, OptionFate::NotNeeded("the first exchanges are always frequent, and the interval adapts")),
    ("preempt dynamic xmtnonce", 0, OptionFate::NotNeeded("always so in ntpd-rs")),
    ("mode ttl subtype ident", 1, OptionFate::Unsupported("not supported")),
    ("cert aead ask require expire", 1, OptionFate::Unsupported("see certificate-authority in the manual")),
    ("bias", 1, OptionFate::Unsupported("correction of a constant offset is not supported")),
    ("noval", 0, OptionFate::Unsupported("certificates are always verified")),
    ("autokey", 0, OptionFate::Unsupported(NO_AUTOKEY)),
    ("ipv4 ipv6", 0, OptionFate::Unsupported(ANY_FAMILY)),
];

#[rustfmt::skip]
pub(super) const ENABLE_FLAGS: &[OptionRow<Ntpd>] = &[
    ("ntp", 0, OptionFate::Converted(|it, _| { it.steers = Some(true); Ok(()) })),
    ("auth", 0, OptionFate::NotNeeded("sources are only those of the configuration")),
    ("kernel stats", 0, OptionFate::NotNeeded("ntpd-rs has its own clock discipline and metrics")),
    ("monitor mode7", 0, OptionFate::Unsupported(NO_REMOTE)),
    ("bclient", 0, OptionFate::Unsupported(NO_BROADCAST)),
    ("calibrate", 0, OptionFate::Unsupported(NO_CALIBRATION)),
    ("peer_clear_digest_early unpeer_crypto_early unpeer_crypto_nak_early unpeer_digest_early", 0, OptionFate::NotNeeded("there are no symmetric peers")),
];

#[rustfmt::skip]
pub(super) const DISABLE_FLAGS: &[OptionRow<Ntpd>] = &[
    ("ntp", 0, OptionFate::Converted(|it, _| { it.steers = Some(false); Ok(()) })),
    ("auth", 0, OptionFate::NotNeeded("sources are only those of the configuration")),
    ("kernel stats", 0, OptionFate::NotNeeded("ntpd-rs has its own clock discipline and metrics")),
    ("monitor mode7", 0, OptionFate::NotNeeded(NO_REMOTE)),
    ("bclient", 0, OptionFate::NotNeeded(NO_BROADCAST)),
    ("calibrate", 0, OptionFate::NotNeeded(NO_CALIBRATION)),
    ("peer_clear_digest_early unpeer_crypto_early unpeer_crypto_nak_early unpeer_digest_early", 0, OptionFate::NotNeeded("there are no symmetric peers")),
];

/// `tos`.
#[derive(Default)]
pub(super) struct Tos {
    minimum: Option<u32>,
    maximum: Option<usize>,
    /// Number and text of the line that sets it.
    maximum_line: Option<(usize, String)>,
    orphan: Option<u8>,
    orphan_wait: Option<f64>,
}

#[rustfmt::skip]
pub(super) const TOS_OPTIONS: &[OptionRow<Tos>] = &[
    ("minsane", 1, OptionFate::Converted(|it, value| {
        it.minimum = Some(value.parse().map_err(|_| INVALID)?);
        Ok(())
    })),
    ("maxclock", 1, OptionFate::Converted(|it, value| {
        it.maximum = Some(value.parse().map_err(|_| INVALID)?);
        Ok(())
    })),
    ("orphan", 1, OptionFate::Converted(|it, value| {
        it.orphan = Some(value.parse::<u8>().map_err(|_| INVALID)?.clamp(1, 15));
        Err("one host is elected as by chronyd, by the smallest address: migrate all hosts of the group")
    })),
    ("minclock mindist maxdist mintc bcpollbstep nonvolatile", 1, OptionFate::NotNeeded(AUTOMATIC)),
    ("floor ceiling cohort", 1, OptionFate::Unsupported("the stratum of sources is not limited")),
    ("beacon", 1, OptionFate::Unsupported(NO_BROADCAST)),
    ("orphanwait", 1, OptionFate::Converted(|it, value| {
        it.orphan_wait = Some(number(value).filter(|it| *it >= 0.0).ok_or(INVALID)?);
        Ok(())
    })),
    ("basedate", 1, OptionFate::NotNeeded("the era is that of the saved time and of the build")),
];

/// `tinker`.
#[derive(Default)]
pub(super) struct Tinker {
    panic: Option<f64>,
    step: Option<f64>,
}

#[rustfmt::skip]
pub(super) const TINKER_OPTIONS: &[OptionRow<Tinker>] = &[
    ("panic", 1, OptionFate::Converted(|it, value| {
        it.panic = Some(number(value).ok_or(INVALID)?);
        Ok(())
    })),
    ("step", 1, OptionFate::Converted(|it, value| match number(value) {
        Some(0.0) => Err("disables steps: ntpd-rs steps in the first updates only"),
        Some(threshold) => { it.step = Some(threshold); Ok(()) }
        None => Err(INVALID),
    })),
    ("stepback stepfwd", 1, OptionFate::Unsupported("the threshold of steps is the same in both directions")),
    ("stepout allan dispersion freq huffpuff tick minpoll", 1, OptionFate::NotNeeded("ntpd-rs models the oscillator and the network automatically")),
];

/// `fudge` of the local clock; the state is its stratum.
#[rustfmt::skip]
pub(super) const FUDGE_OPTIONS: &[OptionRow<Option<u8>>] = &[
    ("stratum", 1, OptionFate::Converted(|it, value| {
        *it = Some(value.parse::<u8>().map_err(|_| INVALID)?.clamp(1, 15));
        Ok(())
    })),
    ("refid abbrev time1 time2 flag1 flag2 flag3 flag4 minjitter holdover", 1, OptionFate::Unsupported("only the stratum of the local clock is converted")),
];

/// Options of `server` and `fudge` for a reference clock, and of `refclock`.
#[rustfmt::skip]
pub(super) const REF_CLOCK_OPTIONS: &[OptionRow<RefClock>] = &[
    ("prefer", 0, OptionFate::Converted(|it, _| it.flag("prefer"))),
    ("noselect", 0, OptionFate::Converted(|it, _| it.flag("noselect"))),
    ("true", 0, OptionFate::Converted(|it, _| it.flag("trust"))),
    ("minpoll maxpoll version", 1, OptionFate::NotNeeded(ref_clock::AUTOMATIC)),
    ("iburst burst", 0, OptionFate::NotNeeded(ref_clock::AUTOMATIC)),
    ("refid", 1, OptionFate::Converted(RefClock::reference_id)),
    ("stratum", 1, OptionFate::Converted(|it, value| it.whole("stratum", value))),
    ("time1", 1, OptionFate::Converted(|it, value| it.number("offset", value))),
    ("time2", 1, OptionFate::Converted(|it, value| match it.mode_is("nmea") {
        true => it.number("offset", value),
        false => Err("its meaning depends on the driver"),
    })),
    ("mode subtype", 1, OptionFate::Converted(|it, value| {
        // Bits 4 to 6 are the speed of the serial port.
        const SPEEDS: [u32; 6] = [4800, 9600, 19_200, 38_400, 57_600, 115_200];
        let mode: usize = value.parse().map_err(|_| INVALID)?;
        let speed = SPEEDS.get(mode / 16 % 8).ok_or(INVALID)?;
        it.set("speed", &speed.to_string())
    })),
    ("baud", 1, OptionFate::Converted(|it, value| it.whole("speed", value))),
    ("path", 1, OptionFate::Converted(|it, value| match it.mode_is("gpsd") {
        true => it.set("device", &quoted(value)),
        false => it.set("path", &quoted(value)),
    })),
    ("unit", 1, OptionFate::NotNeeded("part of the device")),
    ("ppspath", 1, OptionFate::Unsupported("add a source with `mode = \"pps\"`, and `lock` with the name of this one")),
    ("flag1 flag2 flag3 flag4", 1, OptionFate::Unsupported("its meaning depends on the driver: see docs/gps-pps.md")),
    ("key ttl holdover minjitter abbrev", 1, OptionFate::Unsupported("not supported")),
];

/// ntpd's default of `tos orphanwait`, seconds.
const ORPHAN_WAIT: f64 = 300.0;

/// Stratum of ntpd's local clock without `fudge`.
const LOCAL_CLOCK_STRATUM: u8 = 5;

/// Stratum that ntpd serves while it follows its local clock of this stratum.
fn below(stratum: u8) -> u8 {
    stratum.saturating_add(1).min(15)
}

impl Ntpd {
    fn source(&mut self, line: &Line<'_>, pool: bool) {
        let host = line.words.iter().find(|word| !word.starts_with('-'));
        match host {
            Some(host) if host.starts_with("127.127.1.") => {
                // The undisciplined local clock as a source of last resort.
                let why =
                    "the local clock is not a source; without sources it is served by [local]";
                self.draft.not_needed(line, why);
                self.draft
                    .set(line, LOCAL, "stratum", below(LOCAL_CLOCK_STRATUM));
            }
            Some(host) if host.starts_with("127.127.") => {
                self.ref_clock(line, host);
            }
            _ => source::add(&mut self.draft, line, pool, SOURCE_OPTIONS, &|_| None),
        }
    }

    /// Converts `server 127.127.TYPE.UNIT`.
    fn ref_clock(&mut self, line: &Line<'_>, address: &str) {
        let mut numbers = address.split('.').skip(2).map(str::parse::<u8>);
        let (Some(Ok(kind)), Some(Ok(unit))) = (numbers.next(), numbers.next()) else {
            return self.draft.unsupported(line, INVALID);
        };
        let words: Vec<&str> = line
            .words
            .iter()
            .copied()
            .skip_while(|it| *it != address)
            .collect();
        let names = [(20, "nmea"), (22, "pps"), (28, "shm"), (46, "gpsd")];
        let name = names.iter().find(|(number, _)| *number == kind);
        let Some((_, name)) = name else {
            return self.draft.unsupported(line, NO_DRIVER);
        };
        self.add_ref_clock(line, name, unit, words.get(1..).unwrap_or_default());
        if let Some(clock) = self.clocks.last_mut() {
            clock.id = Some(address.to_owned());
        }
    }

    /// Converts `refclock NAME unit UNIT` of ntpsec.
    fn named_ref_clock(&mut self, line: &Line<'_>) {
        let Some((name, words)) = line.words.split_first() else {
            return self.draft.unsupported(line, INVALID);
        };
        let unit = words.iter().position(|word| *word == "unit");
        let unit = unit.and_then(|at| words.get(at + 1)?.parse().ok());
        if !["nmea", "pps", "shm", "gpsd"].contains(name) {
            return self.draft.unsupported(line, NO_DRIVER);
        }
        self.add_ref_clock(line, name, unit.unwrap_or(0), words);
    }

    fn add_ref_clock(&mut self, line: &Line<'_>, name: &str, unit: u8, options: &[&str]) {
        let (key, value) = match name {
            "nmea" => ("path", quoted(&format!("/dev/gps{unit}"))),
            "pps" => ("path", quoted(&format!("/dev/pps{unit}"))),
            "gpsd" => ("device", quoted(&format!("/dev/gps{unit}"))),
            _ => ("unit", unit.to_string()),
        };
        let mut clock = RefClock::new(line, name, &[(key, value)]);
        let remarks = convert_options(&mut clock, line, options, REF_CLOCK_OPTIONS);
        self.draft.remarks.append(remarks);
        clock.id = None;
        self.clocks.push(clock);
    }

    fn fudge(&mut self, line: &Line<'_>) {
        match line.words.split_first() {
            Some((host, options)) if host.starts_with("127.127.1.") => {
                let mut stratum = None;
                let remarks = convert_options(&mut stratum, line, options, FUDGE_OPTIONS);
                self.draft.remarks.append(remarks);
                if let Some(stratum) = stratum {
                    self.draft.set(line, LOCAL, "stratum", below(stratum));
                }
            }
            Some((host, options)) => {
                let mut clocks = self.clocks.iter_mut();
                match clocks.find(|clock| clock.id.as_deref() == Some(*host)) {
                    Some(clock) => {
                        let remarks = convert_options(clock, line, options, REF_CLOCK_OPTIONS);
                        self.draft.remarks.append(remarks);
                        clock.id = Some((*host).to_owned());
                    }
                    None => self.draft.unsupported(line, NO_DRIVER),
                }
            }
            None => self.draft.unsupported(line, INVALID),
        }
    }

    fn keys(&mut self, line: &Line<'_>) {
        match line.words.first() {
            Some(path) => self.draft.set_key_file(line, path),
            None => self.draft.unsupported(line, "no file given"),
        }
    }

    fn leap_file(&mut self, line: &Line<'_>) {
        match line.words.split_first() {
            Some((path, options)) => {
                self.draft.set_text(line, "[leap]", "list", path);
                for option in options {
                    let text = format!("leapfile {option}");
                    let why = "the hash of the list is always checked";
                    self.draft.remarks.not_needed(line.number, &text, why);
                }
            }
            None => self.draft.unsupported(line, "no file given"),
        }
    }

    fn leap_smear(&mut self, line: &Line<'_>) {
        self.draft.set_text(line, "[leap]", "handling", "smear");
        let why = "smeared from noon to noon, whatever the interval";
        self.draft.unsupported(line, why);
    }

    fn flags(&mut self, line: &Line<'_>, table: &[OptionRow<Self>]) {
        let remarks = convert_options(self, line, &line.words, table);
        self.draft.remarks.append(remarks);
        if let Some(steers) = self.steers.take() {
            let kind = if steers { "system" } else { "none" };
            self.draft.set_text(line, "[clock]", "kind", kind);
        }
    }

    fn tos(&mut self, line: &Line<'_>) {
        let remarks = convert_options(&mut self.tos, line, &line.words, TOS_OPTIONS);
        self.draft.remarks.append(remarks);
        if line
            .words
            .iter()
            .any(|word| word.eq_ignore_ascii_case("maxclock"))
        {
            self.tos.maximum_line = Some((line.number, line.text.to_owned()));
        }
        if let Some(stratum) = self.tos.orphan {
            self.draft.set(line, LOCAL, "stratum", stratum);
            self.draft.set(line, LOCAL, "orphan", true);
            // ntpd waits that long without a source, whether it had one before or not.
            let wait = self.tos.orphan_wait.unwrap_or(ORPHAN_WAIT);
            self.draft.set(line, LOCAL, "wait-synced", wait);
            self.draft.set(line, LOCAL, "wait-unsynced", wait);
        } else if self.tos.orphan_wait.is_some() {
            let why = "`orphanwait` has an effect only with `tos orphan`";
            self.draft.not_needed(line, why);
        }
    }

    fn tinker(&mut self, line: &Line<'_>) {
        let mut tinker = Tinker::default();
        let remarks = convert_options(&mut tinker, line, &line.words, TINKER_OPTIONS);
        self.draft.remarks.append(remarks);
        let section = "[synchronization]";
        let single = "single-step-panic-threshold";
        match tinker.panic {
            Some(0.0) => {
                self.draft.set_text(line, section, single, "inf");
                let startup = "startup-step-panic-threshold";
                self.draft.set_text(line, section, startup, "inf");
            }
            Some(limit) => {
                self.draft.set(line, section, single, limit);
                self.draft.set_text(line, section, "on-panic", "exit");
            }
            None => {}
        }
        if let Some(threshold) = tinker.step {
            let section = "[synchronization.algorithm]";
            self.draft.set(line, section, "step-threshold", threshold);
        }
    }

    /// Sets the sizes of the pools: ntpd uses up to ten sources of all pools together, ntpd-rs a
    /// number for each pool.
    fn set_pool_sizes(&mut self) {
        const MAX_SOURCES: usize = 10;
        let pools = self.draft.tables(SOURCE).filter(|it| it.has_mode("pool"));
        let pools = pools.count();
        if let Some((line, text)) = &self.tos.maximum_line
            && self.draft.tables(SOURCE).count() != pools
        {
            let why = "limits the servers of pools here; other sources are all used";
            self.draft.remarks.unsupported(*line, text, why);
        }
        let most = self.tos.maximum.unwrap_or(MAX_SOURCES);
        if pools > 2 || (pools > 0 && self.tos.maximum.is_some()) {
            for pool in self.draft.tables(SOURCE).filter(|it| it.has_mode("pool")) {
                pool.set("count", (most / pools).clamp(1, MAX_SOURCES));
            }
        }
    }

    fn finish(mut self) -> Draft {
        ref_clock::add_all(&mut self.draft, core::mem::take(&mut self.clocks));
        self.set_pool_sizes();
        self.draft.set_minimum(self.tos.minimum.unwrap_or(1).max(1));
        self.draft.comment(
            "[synchronization]",
            "ntpd steps offsets over 0.128 s after 15 minutes; ntpd-rs steps in the first updates and slews later",
        );
        self.nts.set_authorities(&mut self.draft);
        let rules = self.restrictions.rules();
        let servers = self.interfaces.addresses(&rules);
        for (address, rules) in &servers {
            let server = self.restrictions.server(*address, rules);
            let origin = self.interfaces.origin();
            self.draft.push(super::draft::SERVER, origin, server);
        }
        if servers.is_empty() {
            self.restrictions.explain_closed(&mut self.draft);
        }
        self.restrictions.write_remarks(&mut self.draft);
        self.nts.write(&mut self.draft, !servers.is_empty());
        self.paths.write(&mut self.draft);
        self.draft
    }
}
