//! Sections of the manual pages that no definition in the programs contains.

/// A list of terms with their meanings.
pub(super) type Terms = &'static [(&'static str, &'static str)];

/// The sections of one page. Text between backquotes is bold.
pub(super) struct Texts {
    /// Paragraphs of DESCRIPTION.
    pub(super) description: &'static [&'static str],
    /// EXAMPLES: what is done, and the lines to type.
    pub(super) examples: Terms,
    /// FILES.
    pub(super) files: Terms,
    /// SIGNALS.
    pub(super) signals: Terms,
}

const CONFIGURATION: (&str, &str) = (
    "/etc/ntpd-rs/ntp.toml",
    "Configuration; see `ntp.toml`(5). Drop-in files are in /etc/ntpd-rs/sources.d and /etc/ntpd-rs/ntp.toml.d.",
);
const CONTROL: (&str, &str) = (
    "/run/ntpd-rs/control",
    "Control socket (`path` in `[control]`), a Varlink service. Every user may read the state; changes need root, the daemon's user or the group of `[control]`.",
);
const OBSERVATION: (&str, &str) = (
    "/run/ntpd-rs/observe",
    "Observation socket (`observation-path` in `[observability]`; there is no default), which sends the state as JSON to every reader.",
);
const GUIDE: (&str, &str) = (
    "/usr/share/doc/ntpd-rs/docs",
    "The guide. figures.md explains every figure that commands, status page and metrics show: unit, sign, formula and condition.",
);

pub(super) const DAEMON: Texts = Texts {
    description: &[
        "`ntp-daemon` synchronises the clock of this machine with NTP servers (NTPv4, RFC 5905; NTS, RFC 8915) and, if a `[[server]]` is configured, serves the time to others. It \
         disciplines the clock by slewing; it steps the clock only at start-up, after a suspend, after another program has set the clock, if the sources have held another time for `stepout-time`, or if `step-threshold` is configured.",
        "It reports two error figures. The error bound holds as long as most sources are right within what they state and the oscillator changes by less than the drift allowance between measurements. The estimated error is \
         exceeded 0.1 % of the time if paths are symmetric. The kernel carries both as maxerror and esterror, see `adjtimex`(2).",
        "A step beyond a panic threshold is not made: the daemon logs both times, stops steering and serves as unsynchronised until `ntp-ctl step --force` makes the step or the sources ask for one that is permitted. With `on-panic = \"exit\"` in `[synchronization]` it exits with code 70 instead.",
        "The daemon runs in the foreground. Started by root, it opens its ports and sockets, switches to the user of `[sandbox]` (default ntpd-rs) and keeps the capability \
         CAP_SYS_TIME. Started by another user it needs CAP_SYS_TIME, and CAP_NET_BIND_SERVICE to serve a port below 1024. Without privileges, \
         `kind = \"none\"` in `[clock]` measures without steering, and `kind = \"virtual\"` steers a simulated clock.",
        "Events are logged with a stable name and fields (event=source_unreachable source=...); the text before them may change from version to version.",
    ],
    examples: &[
        (
            "Check the configuration, then run in the foreground with details:",
            "ntp-ctl validate && ntp-daemon --log-level debug",
        ),
        (
            "Try a configuration without privileges; the clock is not changed if it has `kind = \"virtual\"` in `[clock]`:",
            "ntp-daemon --config ./test.toml",
        ),
        (
            "Find out which system calls or files the sandbox would refuse:",
            "ntp-daemon --sandbox warn",
        ),
    ],
    files: &[
        CONFIGURATION,
        CONTROL,
        OBSERVATION,
        (
            "/var/lib/ntpd-rs",
            "State (`directory` in `[state]`): the oscillator's frequency, the last known time, NTS sessions and cookie keys. An unusable file is renamed to NAME.damaged and replaced.",
        ),
        (
            "/usr/share/zoneinfo/leap-seconds.list",
            "List of leap seconds (`list` in `[leap]`).",
        ),
        GUIDE,
    ],
    signals: &[
        (
            "SIGHUP",
            "Reloads the configuration and the certificates, and reopens the log file. An invalid configuration changes nothing.",
        ),
        (
            "SIGTERM, SIGINT",
            "Ends a slew, saves the state, and exits with code 0.",
        ),
    ],
};

pub(super) const CTL: Texts = Texts {
    description: &[
        "`ntp-ctl` shows the state of the running `ntp-daemon`(8), changes it, and checks configurations. `validate`, `query`, `nts check`, `migrate`, `trial`, `replay` and `force-sync` work without a daemon.",
        "`status` reads the observation socket; the other commands about the daemon call its control socket. Commands that change something need root, the daemon's user or the group of \
         `[control]`. Changes at run time are lost at a restart unless `config save` keeps them.",
        "An offset is what must be added to our clock: it is positive if our clock is behind. Unit, sign, formula and condition of every figure are in the guide, in \
         /usr/share/doc/ntpd-rs/docs/figures.md.",
        "Output fits 80 columns and shows more in a wider terminal. `--json` prints all figures in seconds and parts per million.",
    ],
    examples: &[
        (
            "Show the clock, the sources, and the reasons for their state:",
            "ntp-ctl tracking; ntp-ctl sources; ntp-ctl explain",
        ),
        (
            "Wait at boot until the clock is correct to 10 ms, for at most a minute:",
            "ntp-ctl waitsync --max-error 10ms --timeout 60s",
        ),
        (
            "Add a preferred source, and keep it for the next start:",
            "ntp-ctl source add time.example.com prefer=true && ntp-ctl config save",
        ),
        (
            "Find out why NTS with a server fails:",
            "ntp-ctl nts check time.example.com",
        ),
        (
            "Set the clock once without a daemon, by at most one hour, from a script:",
            "ntp-ctl force-sync --yes --max-offset 1h",
        ),
        (
            "Convert the configuration of chrony:",
            "ntp-ctl migrate /etc/chrony && ntp-ctl migrate --write /etc/chrony",
        ),
        (
            "Compare with the time daemon that runs, for five minutes:",
            "ntp-ctl trial --minutes 5 --interval 10s",
        ),
    ],
    files: &[
        CONFIGURATION,
        CONTROL,
        OBSERVATION,
        (
            "/etc/ntpd-rs/ntp.toml.d/90-runtime.toml",
            "Changes at run time that `config save` wrote.",
        ),
        GUIDE,
    ],
    signals: &[],
};

pub(super) const EXPORTER: Texts = Texts {
    description: &[
        "`ntp-metrics-exporter` serves the state of `ntp-daemon`(8) over HTTP: metrics for Prometheus at /metrics (OpenMetrics or the classic text format, as the client asks), and a status page for people at /. It is a \
         separate process that needs no privilege. It reads the observation socket.",
        "The address and the socket are set in `[observability]` of `ntp.toml`(5): `metrics-exporter-listen` (default 127.0.0.1:9975) and `observation-path` (required). Everyone who can reach the address \
         can read the state; addresses of clients are not part of it. Requests for host names that are not known to be of this machine are refused (`metrics-exporter-hosts`).",
        "The history that the page shows is kept in the file of `metrics-exporter-history-path`, as a service in /var/cache/ntpd-rs-observe/history. It is written every ten minutes and at the end; SIGTERM \
         and SIGINT end the process within seconds.",
        "If the daemon does not answer, a scrape still succeeds: `ntp_up` is 0, and `ntp_exporter_observation` has the reason. The metrics and their meanings are in the guide, in \
         /usr/share/doc/ntpd-rs/docs/figures.md.",
    ],
    examples: &[
        (
            "Run as a service:",
            "systemctl enable --now ntpd-rs-metrics",
        ),
        ("Look at the metrics:", "curl http://127.0.0.1:9975/metrics"),
    ],
    files: &[
        CONFIGURATION,
        OBSERVATION,
        (
            "/usr/share/doc/ntpd-rs/pkg/prometheus/ntpd-rs.rules.yml",
            "Alert rules for Prometheus.",
        ),
        (
            "/usr/share/doc/ntpd-rs/pkg/grafana/ntpd-rs.json",
            "Dashboard for Grafana.",
        ),
    ],
    signals: &[(
        "SIGTERM, SIGINT",
        "Ends the process. Restart it after a change of the configuration.",
    )],
};

/// Exit codes of `ntp-metrics-exporter`.
pub(super) const EXPORTER_CODES: Terms = &[
    ("0", "Printed help or version."),
    (
        "1",
        "The command line is invalid, or `observation-path` is not configured.",
    ),
    ("70", "The log cannot be opened."),
    (
        "78",
        "The configuration cannot be used; see standard error for the reason.",
    ),
];

/// EXAMPLES of `ntp.toml(5)`: what the file does, and its lines.
pub(super) const CONFIGURATION_EXAMPLES: Terms = &[
    (
        "A client of a pool:",
        "[[source]]\nmode = \"pool\"\naddress = \"ntpd-rs.pool.ntp.org\"\n\n[observability]\nobservation-path = \"/run/ntpd-rs/observe\"",
    ),
    (
        "A client with NTS, with servers of several operators:",
        "[[source]]\nmode = \"nts\"\naddress = \"time.example.com\"\n\n[[source]]\nmode = \"nts\"\naddress = \"nts.example.net\"\n\n[[source]]\nmode = \"nts\"\naddress = \"nts.example.org\"",
    ),
    (
        "A server for a local network, with a rate limit:",
        "[[server]]\nlisten = \"[::]:123\"\nrate-limiting-cache-size = 10000\nrate-limiting-cutoff-ms = 1000\nrate-limiting-burst = 8\n\n[server.access]\ndefault = \"ignore\"\n\"192.168.0.0/16\" = \"allow\"\n\"fd00::/8\" = \"allow\"",
    ),
    (
        "A single source; without the key, the daemon waits for three sources that agree:",
        "[[source]]\nmode = \"server\"\naddress = \"ntp.example.com\"\n\n[synchronization]\nminimum-agreeing-sources = 1",
    ),
];

/// FILES of `ntp.toml(5)`.
pub(super) const CONFIGURATION_FILES: Terms = &[
    ("/etc/ntpd-rs/ntp.toml", "The main file."),
    (
        "/etc/ntpd-rs/sources.d/*.toml",
        "Sources that programs found; read next.",
    ),
    (
        "/etc/ntpd-rs/ntp.toml.d/*.toml",
        "Additions of administrators; read last.",
    ),
    (
        "/run/ntpd-rs/sources.d/*.toml",
        "Time servers that DHCP names; see `ntp-ctl`(8), command `dhcp`.",
    ),
    (
        "/usr/share/doc/ntpd-rs/ntp.toml.default",
        "The configuration as it is installed.",
    ),
];
