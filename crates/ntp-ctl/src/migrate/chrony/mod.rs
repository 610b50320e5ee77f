//! chronyd's `chrony.conf`, up to chrony 4.9.

mod access;
mod serving;

use super::draft::{Draft, LOCAL, SOURCE, Table, quoted};
use super::input::Input;
use super::lines::{Continuation, Line, Syntax, number};
use super::paths::Paths;
use super::ref_clock::{self, NO_DRIVER, RefClock};
use super::service::{OTHER_FILE, OWN_USER};
use super::source::{self, ANY_FAMILY, Source};
use super::table::Fate::{Converted, NotNeeded, Unsupported};
use super::table::{Conversion, Directive, INVALID, OptionFate, OptionRow, convert_options};
#[cfg(test)]
pub(super) use serving::RATE_LIMIT_OPTIONS;
use serving::{Part, Serving};

/// Converts the file.
pub(super) fn draft(input: &Input) -> Draft {
    let mut chrony = Chrony::default();
    for line in &Chrony::SYNTAX.lines(&input.text) {
        chrony.collect_authorities(&Chrony::SYNTAX.split(line));
    }
    chrony.convert(input);
    // As configured: the hooks that come with ntpd-rs must not add what was not wanted.
    let dhcp = if input.dhcp { "use" } else { "ignore" };
    chrony.draft.set_dhcp_sources(dhcp);
    chrony.finish()
}

/// State of the conversion.
#[derive(Default)]
pub(super) struct Chrony {
    draft: Draft,
    serving: Serving,
    paths: Paths,
    /// Line, set number and file of certificate authorities.
    authorities: Vec<(usize, String, String)>,
    /// Line number and text of `nosystemcert`.
    own_only: Option<(usize, String)>,
    clocks: Vec<RefClock>,
    steps: bool,
    minimum: Option<u32>,
    leap_mode: Option<String>,
    /// Line number and text of a `smoothtime` with `leaponly`.
    smooth: Option<(usize, String)>,
}

const SET_IN_UNIT: &str = "set in the service unit: systemctl edit ntpd-rs";
const NO_REMOTE_CONTROL: &str =
    "no remote control over the network; file permissions protect the control socket ([control])";
const CHRONYC: &str = "chronyc reads the state of ntpd-rs if `socket` or `udp` in [compat.chrony] is set (docs/monitoring.md)";
const AUTOMATIC: &str =
    "ntpd-rs weights sources and models the oscillator automatically (docs/algorithm.md)";
const STATE: &str =
    "the frequency, keys and cookies are kept in [state] directory, /var/lib/ntpd-rs if unset";
const KEPT_CLOCK: &str = "the kernel maintains the real-time clock";
const FREE_PORT: &str = "each request has a new port";
const KEY_EXCHANGE: &str = "see [keyset] and [[nts-ke-server]] in the manual";

impl Conversion for Chrony {
    const SYNTAX: Syntax = Syntax {
        // chronyd has comments at the start of a line only, and refuses them after a directive.
        comments: &['#', '!', ';', '%'],
        comment_in_word: false,
        quotes: &[],
        continuation: Continuation::No,
    };

    #[rustfmt::skip]
    const DIRECTIVES: &'static [Directive<Self>] = &[
        ("server", Converted(|it, line| it.source(line, false))),
        ("refclock", Converted(Self::ref_clock)),
        ("pool", Converted(|it, line| it.source(line, true))),
        ("makestep", Converted(Self::makestep)),
        ("maxchange", Converted(Self::maxchange)),
        ("maxslewrate", Converted(Self::maxslewrate)),
        ("minsources", Converted(Self::minsources)),
        ("maxdistance", Converted(Self::maxdistance)),
        ("authselectmode", Converted(Self::policy)),
        ("local", Converted(Self::local)),
        ("keyfile", Converted(Self::keyfile)),
        ("leapseclist", Converted(Self::leap_list)),
        ("leapsecmode", Converted(Self::leap_mode)),
        ("smoothtime", Converted(Self::smoothtime)),
        ("nosystemcert", Converted(|it, line| it.own_only = Some((line.number, line.text.into())))),
        ("ntstrustedcerts", Converted(Self::authority)),
        ("bindacqdevice", Converted(Self::interface)),
        ("bindacqaddress", Converted(|it, line| it.paths.address(&mut it.draft, line))),
        ("binddevice", Converted(|it, line| it.paths.device(line))),
        ("dscp", Converted(|it, line| it.paths.dscp(&mut it.draft, line))),
        ("ntsrotate", Converted(Self::rotation)),
        ("allow deny", Converted(|it, line| it.serve(line, Serving::access))),
        ("bindaddress", Converted(|it, line| it.serve(line, Serving::bind_address))),
        ("port", Converted(|it, line| it.serve(line, Serving::port))),
        ("ratelimit", Converted(|it, line| it.serve(line, Serving::rate_limit))),
        ("noclientlog", Converted(|it, line| it.serve(line, Serving::no_client_log))),
        ("clientloglimit", Converted(|it, line| it.serve(line, Serving::client_log_limit))),
        ("ntsservercert", Converted(|it, line| it.serve(line, Serving::certificate))),
        ("ntsserverkey", Converted(|it, line| it.serve(line, Serving::private_key))),
        ("ntsport", Converted(|it, line| it.serve(line, Serving::key_exchange_port))),
        ("ntsntpserver", Converted(|it, line| it.serve(line, Serving::ntp_server))),
        ("maxntsconnections", Converted(|it, line| it.serve(line, Serving::connections))),

        ("driftfile", Converted(Self::drift_file)),
        ("dumpdir dumponexit ntsdumpdir ntscachedir", NotNeeded(STATE)),
        ("logdir logbanner", NotNeeded("log lines go to the journal, or to [observability] log-path")),
        ("cmdport bindcmdaddress", NotNeeded(CHRONYC)),
        ("bindcmddevice cmdratelimit cmddeny", NotNeeded(NO_REMOTE_CONTROL)),
        ("commandkey generatecommandkey linux_freq_scale linux_hz", NotNeeded("chronyd ignores it, too")),
        ("initstepslew", NotNeeded("ntpd-rs steps the clock at start if the offset is too large to slew")),
        ("leapsectz", NotNeeded("the leap second list /usr/share/zoneinfo/leap-seconds.list is used if it exists ([leap] list)")),
        ("pidfile user", NotNeeded("set in the service unit, which runs ntpd-rs as its own user")),
        ("maxupdateskew maxdrift maxjitter corrtimeratio stratumweight combinelimit reselectdist maxclockerror fallbackdrift minsamples maxsamples clockprecision",
            NotNeeded(AUTOMATIC)),
        ("refresh", NotNeeded("names are looked up again when a source does not answer")),
        ("rtcsync", NotNeeded("the kernel copies a synchronised clock to the real-time clock every 11 minutes")),
        ("rtcfile rtcautotrim rtcdevice rtconutc hwclockfile", NotNeeded(KEPT_CLOCK)),
        ("ntsprocesses", NotNeeded("key exchange has a thread of its own")),

        ("minstratum maxstratum", Unsupported("the stratum of sources is not limited")),
        ("log", Unsupported("use [observability] record-path to record measurements, and `ntp-ctl replay` to read them")),
        ("logchange mailonchange", Unsupported("steps are logged; use the metrics for alerts (docs/monitoring.md)")),
        ("lock_all sched_priority", Unsupported(SET_IN_UNIT)),
        ("opencommands", Unsupported(CHRONYC)),
        ("cmdallow", Unsupported(NO_REMOTE_CONTROL)),
        ("confdir include sourcedir", Unsupported(super::input::NOT_READ)),
        ("hwtimestamp hwtstimeout maxtxbuffers", Unsupported("kernel timestamps are used; hardware timestamps are not in this version")),
        ("ptpport ptpdomain", Unsupported("NTP over PTP is not supported")),
        ("manual", Converted(|it, line| it.draft.set(line, "[clock]", "manual", true))),
        ("broadcast", Unsupported("broadcast cannot be authenticated and is not supported")),
        ("peer", Unsupported("symmetric mode is not supported: configure each host as a server of the other")),
        ("tempcomp", Unsupported("temperature compensation is not supported")),
        ("ntsratelimit", Unsupported("the number of concurrent key exchanges is limited instead; see [[nts-ke-server]] in the manual")),
        ("ntpsigndsocket", Unsupported("Microsoft's authentication (MS-SNTP) is not supported")),
        ("acquisitionport", Unsupported(FREE_PORT)),
        ("ntsaeads ntsrefresh", Unsupported(KEY_EXCHANGE)),
        ("nocerttimecheck", Unsupported("use certificate-time-leniency in [synchronization] for clocks that are wrong at start")),
    ];

    #[rustfmt::skip]
    const COMMAND_LINE: &'static [OptionRow<Self>] = &[
        ("-x", 0, OptionFate::Converted(|it, _| { it.draft.set_clock_kind("none"); Ok(()) })),
        ("-F", 1, OptionFate::NotNeeded("[sandbox] restricts system calls and files by default")),
        ("-u", 1, OptionFate::NotNeeded(OWN_USER)),
        ("-U -n -d", 0, OptionFate::NotNeeded(OWN_USER)),
        ("-r", 0, OptionFate::NotNeeded("the frequency is kept in [state] directory; measurements are made anew")),
        ("-R", 0, OptionFate::NotNeeded("a restart steps only what is too large to slew")),
        ("-s", 0, OptionFate::NotNeeded("the kernel sets the clock from the real-time clock; without one, set-clock-forward in [state] has its effect")),
        ("-l", 1, OptionFate::NotNeeded("log lines go to the journal, or to [observability] log-path")),
        ("-L", 1, OptionFate::NotNeeded("see log-level in [observability]")),
        ("-m", 0, OptionFate::Unsupported(SET_IN_UNIT)),
        ("-P", 1, OptionFate::Unsupported(SET_IN_UNIT)),
        ("-f", 1, OptionFate::Unsupported(OTHER_FILE)),
        ("-4 -6", 0, OptionFate::Unsupported(ANY_FAMILY)),
        ("-q -Q -p -v", 0, OptionFate::Unsupported("use `ntp-ctl force-sync`, `query` or `config show`")),
        ("-t", 1, OptionFate::Unsupported("the daemon does not end by itself")),
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
    ("maxsources", 1, OptionFate::Converted(Source::count)),
    ("prefer", 0, OptionFate::Converted(|it, _| it.flag("prefer", "prefer"))),
    ("noselect", 0, OptionFate::Converted(|it, _| it.flag("noselect", "noselect"))),
    ("trust", 0, OptionFate::Converted(|it, _| it.flag("trust", "trust"))),
    ("require", 0, OptionFate::Converted(|it, _| it.flag("require", "require"))),
    ("xleave", 0, OptionFate::Converted(|it, _| it.flag("xleave", "interleaved"))),
    ("key", 1, OptionFate::Converted(|it, value| it.whole("key", "key", value))),
    ("version", 1, OptionFate::Converted(|it, value| it.whole("version", "ntp-version", value))),
    ("nts", 0, OptionFate::Converted(|it, _| it.set_nts())),
    ("ntsport", 1, OptionFate::Converted(Source::key_exchange_port)),
    ("port", 1, OptionFate::Converted(Source::port)),
    ("certset", 1, OptionFate::Converted(Source::certificate_set)),
    ("iburst burst", 0, OptionFate::NotNeeded("the first exchanges are always frequent, and the interval adapts")),
    ("presend minsamples maxsamples polltarget filter", 1, OptionFate::NotNeeded("ntpd-rs models the network automatically")),
    ("offline auto_offline", 0, OptionFate::Unsupported("sources are polled at once; see `ntp-ctl source offline`")),
    ("maxdelay maxdelayratio maxdelaydevratio maxdelayquant mindelay", 1, OptionFate::Unsupported("ntpd-rs estimates typical delays automatically")),
    ("asymmetry", 1, OptionFate::Unsupported("the asymmetry of jitter is estimated automatically")),
    ("offset", 1, OptionFate::Unsupported("correction of a constant offset is not supported")),
    ("minstratum", 1, OptionFate::Unsupported("the stratum of the server is used")),
    ("extfield maxunreach", 1, OptionFate::Unsupported("not supported")),
    ("copy", 0, OptionFate::Unsupported("not supported")),
    ("ipv4 ipv6", 0, OptionFate::Unsupported(ANY_FAMILY)),
];

/// Options of `refclock`.
#[rustfmt::skip]
pub(super) const REF_CLOCK_OPTIONS: &[OptionRow<RefClock>] = &[
    ("dpoll", 1, OptionFate::Converted(|it, value| it.whole("poll-interval", value))),
    ("refid", 1, OptionFate::Converted(RefClock::reference_id)),
    ("lock", 1, OptionFate::Converted(RefClock::lock)),
    ("rate", 1, OptionFate::Converted(|it, value| it.number("rate", value))),
    ("width", 1, OptionFate::Converted(|it, value| it.number("width", value))),
    ("offset", 1, OptionFate::Converted(|it, value| it.number("offset", value))),
    ("delay", 1, OptionFate::Converted(|it, value| it.number("delay", value))),
    ("precision", 1, OptionFate::Converted(|it, value| it.number("precision", value))),
    ("stratum", 1, OptionFate::Converted(|it, value| it.whole("stratum", value))),
    ("prefer", 0, OptionFate::Converted(|it, _| it.flag("prefer"))),
    ("noselect", 0, OptionFate::Converted(|it, _| it.flag("noselect"))),
    ("trust", 0, OptionFate::Converted(|it, _| it.flag("trust"))),
    ("require", 0, OptionFate::Converted(|it, _| it.flag("require"))),
    ("tai", 0, OptionFate::Converted(|it, _| it.set("timescale", "\"tai\""))),
    ("poll filter minsamples maxsamples maxdispersion", 1, OptionFate::NotNeeded(ref_clock::AUTOMATIC)),
    ("maxlockage", 1, OptionFate::NotNeeded("a source that numbers pulses must have a measurement of its last eight intervals")),
    ("pps", 0, OptionFate::Unsupported("a program that sends pulses marks them as such (mode `sock`); segments of shared memory have no such mark")),
    ("local", 0, OptionFate::Unsupported("a clock that is not true time cannot be followed")),
];

/// Options of `local`, whose state is the stratum.
#[rustfmt::skip]
pub(super) const LOCAL_OPTIONS: &[OptionRow<Local>] = &[
    ("stratum", 1, OptionFate::Converted(|it, value| {
        it.stratum = value.parse().ok().filter(|it| (1..16).contains(it)).ok_or(INVALID)?;
        Ok(())
    })),
    ("orphan", 0, OptionFate::Converted(|it, _| {
        it.orphan = true;
        Ok(())
    })),
    ("distance", 1, OptionFate::Converted(|it, value| {
        it.distance = seconds(value)?;
        Ok(())
    })),
    ("activate", 1, OptionFate::Converted(|it, value| it.condition("activate-below", value))),
    ("waitsynced", 1, OptionFate::Converted(|it, value| it.condition("wait-synced", value))),
    ("waitunsynced", 1, OptionFate::Converted(|it, value| it.condition("wait-unsynced", value))),
];

/// `local`.
pub(super) struct Local {
    stratum: u8,
    orphan: bool,
    distance: f64,
    /// Other keys of `[local]`.
    conditions: Vec<(&'static str, f64)>,
}

impl Default for Local {
    /// chronyd's defaults.
    fn default() -> Self {
        Self {
            stratum: 10,
            orphan: false,
            distance: 1.0,
            conditions: Vec::new(),
        }
    }
}

impl Local {
    fn condition(&mut self, key: &'static str, value: &str) -> Result<(), &'static str> {
        let seconds = seconds(value)?;
        // Zero is no condition for chronyd.
        if seconds > 0.0 || key != "activate-below" {
            self.conditions.push((key, seconds));
        }
        Ok(())
    }
}

/// A number of seconds that is not negative.
fn seconds(value: &str) -> Result<f64, &'static str> {
    number(value).filter(|it| *it >= 0.0).ok_or(INVALID)
}

impl Chrony {
    /// Adds a setting of the server.
    fn serve(&mut self, line: &Line<'_>, part: Part) {
        self.serving.add(&mut self.draft, line, part);
    }

    fn source(&mut self, line: &Line<'_>, pool: bool) {
        let authorities = &self.authorities;
        let certificates = |set: &str| paths_of_set(authorities, set);
        source::add(&mut self.draft, line, pool, SOURCE_OPTIONS, &certificates);
    }

    fn ref_clock(&mut self, line: &Line<'_>) {
        let [driver, parameter, words @ ..] = line.words.as_slice() else {
            return self.draft.unsupported(line, INVALID);
        };
        let (device, options) = parameter.split_once(':').unwrap_or((parameter, ""));
        let device = match driver.to_ascii_uppercase().as_str() {
            "SOCK" => ("sock", "path", quoted(device)),
            "SHM" => ("shm", "unit", device.to_owned()),
            "PPS" => ("pps", "path", quoted(device)),
            "PHC" => ("phc", "device", quoted(device)),
            _ => return self.draft.unsupported(line, NO_DRIVER),
        };
        let (mode, key, value) = device;
        let mut clock = RefClock::new(line, mode, &[(key, value)]);
        for option in options.split(':').filter(|option| !option.is_empty()) {
            if let Err(why) = driver_option(&mut clock, mode, option) {
                let text = format!("refclock {driver} {parameter}");
                self.draft.remarks.unsupported(line.number, &text, why);
            }
        }
        let remarks = convert_options(&mut clock, line, words, REF_CLOCK_OPTIONS);
        self.draft.remarks.append(remarks);
        self.clocks.push(clock);
    }

    /// Converts `makestep`. By default, chronyd never steps; ntpd-rs steps at start.
    fn makestep(&mut self, line: &Line<'_>) {
        self.steps = true;
        match line.words.as_slice() {
            [threshold, limit] => match (number(threshold), number(limit)) {
                (Some(threshold), Some(limit)) if limit < 0.0 => {
                    let section = "[synchronization.algorithm]";
                    self.draft.set(line, section, "step-threshold", threshold);
                }
                (Some(_), Some(_)) => self.draft.not_needed(
                    line,
                    "ntpd-rs steps in the first updates only, whatever is too large to slew",
                ),
                _ => self.draft.unsupported(line, INVALID),
            },
            _ => self.draft.unsupported(line, INVALID),
        }
    }

    fn maxchange(&mut self, line: &Line<'_>) {
        let words = line.words.iter().map(|word| number(word));
        let words: Option<Vec<f64>> = words.collect();
        let Some([limit, start, ignored]) = words.as_deref() else {
            return self.draft.unsupported(line, INVALID);
        };
        let section = "[synchronization]";
        let key = "single-step-panic-threshold";
        self.draft.set(line, section, key, limit);
        // Below zero, all are ignored: the default of `on-panic`.
        let (text, exits) = (
            format!("maxchange {limit} {start} {ignored}"),
            *ignored >= 0.0,
        );
        if exits {
            self.draft.set_text(line, section, "on-panic", "exit");
        }
        if *start > 1.0 || *ignored > 0.0 {
            let why = "the limit applies from the first update after start-up on, to corrections that the sources have held for `stepout-time`; the first of them counts";
            self.draft.remarks.unsupported(line.number, &text, why);
        }
    }

    fn maxslewrate(&mut self, line: &Line<'_>) {
        match line.words.first().and_then(|word| number(word)) {
            Some(ppm) if ppm >= 0.0 => {
                // A fraction in ntp.toml; the kernel's maximum is 0.1.
                let (section, key) = (
                    "[synchronization.algorithm]",
                    "slew-maximum-frequency-offset",
                );
                self.draft.set(line, section, key, (ppm * 1e-6).min(0.1));
            }
            _ => self.draft.unsupported(line, INVALID),
        }
    }

    fn minsources(&mut self, line: &Line<'_>) {
        match line.words.first().and_then(|word| word.parse().ok()) {
            Some(minimum) => self.minimum = Some(minimum),
            None => self.draft.unsupported(line, INVALID),
        }
    }

    fn maxdistance(&mut self, line: &Line<'_>) {
        match line.words.first().and_then(|word| number(word)) {
            Some(seconds) if seconds >= 0.0 => {
                let (section, key) = ("[synchronization.algorithm]", "maximum-source-uncertainty");
                self.draft.set(line, section, key, seconds);
            }
            _ => self.draft.unsupported(line, INVALID),
        }
    }

    fn policy(&mut self, line: &Line<'_>) {
        let mode = line.words.first().map(|word| word.to_ascii_lowercase());
        match mode.as_deref() {
            Some("require") => self.draft.set_text(line, "[nts]", "policy", "only"),
            Some("prefer") => self.draft.set_text(line, "[nts]", "policy", "prefer"),
            Some("ignore") => self.draft.not_needed(line, "the default"),
            Some("mix") => self.draft.unsupported(
                line,
                "set `trust` and `require` of the sources with `key` or NTS, or `policy` in [nts]",
            ),
            _ => self.draft.unsupported(line, INVALID),
        }
    }

    fn local(&mut self, line: &Line<'_>) {
        let mut local = Local::default();
        let remarks = convert_options(&mut local, line, &line.words, LOCAL_OPTIONS);
        self.draft.remarks.append(remarks);
        self.draft.set(line, LOCAL, "stratum", local.stratum);
        self.draft.set(line, LOCAL, "distance", local.distance);
        if local.orphan {
            self.draft.set(line, LOCAL, "orphan", true);
        }
        for (key, seconds) in local.conditions {
            self.draft.set(line, LOCAL, key, seconds);
        }
    }

    fn drift_file(&mut self, line: &Line<'_>) {
        self.draft.drift_file = line.words.first().map(|&path| path.to_owned());
        self.draft.not_needed(line, super::write::DRIFT);
    }

    fn keyfile(&mut self, line: &Line<'_>) {
        match line.words.first() {
            Some(path) => self.draft.set_key_file(line, path),
            None => self.draft.unsupported(line, "no file given"),
        }
    }

    fn leap_list(&mut self, line: &Line<'_>) {
        match line.words.first() {
            Some(path) => self.draft.set_text(line, "[leap]", "list", path),
            None => self.draft.unsupported(line, "no file given"),
        }
    }

    fn leap_mode(&mut self, line: &Line<'_>) {
        let mode = line.words.first().map(|word| word.to_ascii_lowercase());
        match mode.as_deref() {
            Some("system") => self.draft.set_text(line, "[leap]", "handling", "kernel"),
            Some("slew") => self.draft.set_text(line, "[leap]", "handling", "slew"),
            Some("step" | "ignore") => self.draft.unsupported(
                line,
                "the kernel inserts or deletes leap seconds; see `handling` in [leap]",
            ),
            _ => self.draft.unsupported(line, INVALID),
        }
        self.leap_mode = mode;
    }

    fn smoothtime(&mut self, line: &Line<'_>) {
        if line.words.contains(&"leaponly") {
            self.smooth = Some((line.number, line.text.to_owned()));
        } else {
            let why = "served time is smoothed over leap seconds only ([leap] handling)";
            self.draft.unsupported(line, why);
        }
    }

    fn interface(&mut self, line: &Line<'_>) {
        let interface = line.words.first().copied().unwrap_or_default();
        self.draft.set_text(line, "[clock]", "interface", interface);
    }

    fn rotation(&mut self, line: &Line<'_>) {
        match line.words.first().and_then(|word| word.parse::<u32>().ok()) {
            Some(seconds) if seconds > 0 => {
                let key = "key-rotation-interval";
                self.draft.set(line, "[keyset]", key, seconds);
            }
            _ => self.draft.unsupported(line, KEY_EXCHANGE),
        }
    }

    /// Sets of certificate authorities, which sources before their line use too.
    fn collect_authorities(&mut self, line: &Line<'_>) {
        if line.directive == "ntstrustedcerts"
            && let Some((set, path)) = authority(line)
        {
            let (set, path) = (set.to_owned(), path.to_owned());
            self.authorities.push((line.number, set, path));
        }
    }

    fn authority(&mut self, line: &Line<'_>) {
        if authority(line).is_none() {
            self.draft.unsupported(line, INVALID);
        }
    }

    fn finish(mut self) -> Draft {
        ref_clock::add_all(&mut self.draft, core::mem::take(&mut self.clocks));
        for (line, set, path) in &self.authorities {
            let paths = paths_of_set(&self.authorities, set);
            let used = |it: &mut Table| it.get("certificate-authority") == paths.as_deref();
            if !self.draft.tables(SOURCE).any(used) {
                let text = format!("ntstrustedcerts {set} {path}");
                let why = "no source with `nts` uses these certificates";
                self.draft.remarks.not_needed(*line, &text, why);
            }
        }
        if let Some((line, text)) = &self.own_only {
            self.draft.trust_own_authorities_only(*line, text);
        }
        if let Some((line, text)) = self.smooth {
            // chronyd smears leap seconds by slewing its clock and smoothing the served time.
            if matches!(self.leap_mode.as_deref(), Some("slew" | "ignore")) {
                let line = Line {
                    number: line,
                    text: &text,
                    directive: "smoothtime".into(),
                    words: Vec::new(),
                };
                self.draft.set_text(&line, "[leap]", "handling", "smear");
                let comment = "smeared from noon to noon; chronyd uses another interval";
                self.draft.comment("[leap]", comment);
            } else {
                let why = "without `leapsecmode slew`, there is nothing to smooth";
                self.draft.remarks.not_needed(line, &text, why);
            }
        }
        if !self.steps {
            self.draft.comment(
                "[synchronization]",
                "chronyd without `makestep` never steps; ntpd-rs steps in the first updates",
            );
        }
        // chronyd follows a single source; the default of ntpd-rs is three.
        self.draft.set_minimum(self.minimum.unwrap_or(1).max(1));
        self.serving.write(&mut self.draft);
        self.paths.write(&mut self.draft);
        self.draft
    }
}

/// Converts an option of a driver, which follows the device after a colon.
fn driver_option(clock: &mut RefClock, mode: &str, option: &str) -> Result<(), &'static str> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    match (mode, name) {
        ("pps" | "phc", "clear") => clock.set("edge", "\"clear\""),
        ("phc", "nocrossts") => clock.set("cross-timestamps", "false"),
        ("phc", "extpps") => clock.set("channel", "0"),
        ("phc", "channel") => clock.whole("channel", value),
        ("phc", "pin") => clock.whole("pin", value),
        ("shm", "perm") => Err("a segment that ntpd-rs creates is for its own user and root"),
        _ => Err("unknown option of the driver"),
    }
}

/// The files and directories of a set of certificate authorities, as a value of TOML.
fn paths_of_set(authorities: &[(usize, String, String)], set: &str) -> Option<String> {
    let of_set = authorities.iter().filter(|(_, known, _)| known == set);
    let paths: Vec<String> = of_set.map(|(.., path)| quoted(path)).collect();
    match paths.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

/// Set number and file of `ntstrustedcerts`; the set without a number is 0.
fn authority<'l>(line: &Line<'l>) -> Option<(&'l str, &'l str)> {
    match line.words.as_slice() {
        [path] => Some(("0", path)),
        [set, path] => Some((set, path)),
        _ => None,
    }
}
