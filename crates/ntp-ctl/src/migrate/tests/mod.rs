//! Real-world configurations: each is converted to a valid file, and no line is lost.

use super::*;

mod files;
mod serving;

/// Directives as distributions ship them and operators of public servers use them.
const CHRONY: &[(&str, &str)] = &[
    (
        "debian",
        "confdir /etc/chrony/conf.d\npool 2.debian.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\nsourcedir /etc/chrony/sources.d\n\
         keyfile /etc/chrony/chrony.keys\ndriftfile /var/lib/chrony/chrony.drift\nntsdumpdir /var/lib/chrony\n\
         #log tracking measurements statistics\nlogdir /var/log/chrony\nmaxupdateskew 100.0\nrtcsync\nmakestep 1 3\nleapsectz right/UTC\n",
    ),
    (
        "ubuntu",
        "pool ntp.ubuntu.com        iburst maxsources 4\npool 0.ubuntu.pool.ntp.org iburst maxsources 1\n\
         keyfile /etc/chrony/chrony.keys\ndriftfile /var/lib/chrony/chrony.drift\nmaxupdateskew 100.0\nrtcsync\nmakestep 1 3\n",
    ),
    (
        "fedora",
        "pool 2.fedora.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\ndriftfile /var/lib/chrony/drift\nmakestep 1.0 3\nrtcsync\n\
         #hwtimestamp *\nkeyfile /etc/chrony.keys\nntsdumpdir /var/lib/chrony\nleapseclist /usr/share/zoneinfo/leap-seconds.list\nlogdir /var/log/chrony\n",
    ),
    (
        "cloud",
        "server 169.254.169.123 prefer iburst minpoll 4 maxpoll 4\nserver fd00:ec2::123 iburst minpoll 4 maxpoll 4\n\
         driftfile /var/lib/chrony/drift\nmakestep 1.0 -1\nleapsectz right/UTC\nleapsecmode slew\nmaxslewrate 1000\nsmoothtime 400 0.01 leaponly\n",
    ),
    (
        "public server",
        "server ntp1.example.net iburst nts ntsport 4443 xleave\nserver 2001:db8::1 key 7 port 1123 minpoll -2 maxpoll 24\n\
         pool nts.example.org nts maxsources 3 maxdelay 0.2\nallow\nallow 10.1/16\ndeny 192.0.2.128/25\nbindaddress 192.0.2.1\nbindaddress 2001:db8::5\n\
         ratelimit interval 1 burst 16 leak 2\nntsratelimit interval 2\nntsserverkey /etc/pki/tls/private/ntp.key\nntsservercert /etc/pki/tls/certs/ntp.crt\n\
         local stratum 8 orphan\nclientloglimit 100000000\nlock_all\nsched_priority 1\nmaxchange 100 0 0\nminsources 2\nmaxdistance 16.0\nhwtimestamp eth0 minpoll -6\n\
         cmdallow 127.0.0.1\nkeyfile /etc/chrony.keys\nlog rawmeasurements\n! a remark\nfrobnicate 7\nrefclock PHC /dev/ptp0 poll 2\nallow backbone.example.net\n",
    ),
];

const NTPD: &[(&str, &str)] = &[
    (
        "debian",
        "driftfile /var/lib/ntpsec/ntp.drift\nleapfile /usr/share/zoneinfo/leap-seconds.list\nstatistics loopstats peerstats clockstats\n\
         filegen loopstats file loopstats type day enable\ntos maxclock 11\ntos minclock 4 minsane 3\npool 0.debian.pool.ntp.org iburst\npool 1.debian.pool.ntp.org iburst\n\
         restrict default kod nomodify nopeer noquery limited\nrestrict 127.0.0.1\nrestrict ::1\n",
    ),
    (
        "client",
        "server 0.rhel.pool.ntp.org iburst\nserver -6 ntp6.example.com minpoll 4 maxpoll 6 prefer\nrestrict default ignore\nrestrict 127.0.0.1\ntinker panic 0\n",
    ),
    (
        "local network",
        "server ntp.example.com key 3 nts\nserver 127.127.1.0\nfudge 127.127.1.0 stratum 10\nserver 127.127.28.0 minpoll 4\nkeys /etc/ntp/keys\ntrustedkey 3\n\
         restrict default noserve\nrestrict 192.168.0.0 mask 255.255.0.0 nomodify notrap\nrestrict 192.168.7.7 ignore\nbroadcast 192.168.1.255\n\
         tinker step 0.5\npeer other.example.com\nnts enable\nnts key /etc/ntp/k.pem\nnts cert /etc/ntp/c.pem\nnts cookie /var/lib/ntp/k\n",
    ),
];

const TIMESYNCD: &[(&str, &str)] = &[
    (
        "default",
        "[Time]\n#NTP=\n#FallbackNTP=0.debian.pool.ntp.org\n#RootDistanceMaxSec=5\n",
    ),
    (
        "two servers",
        "[Time]\nNTP=ntp1.example.com 192.0.2.7\nFallbackNTP=time.example.org\nPollIntervalMinSec=32\nPollIntervalMaxSec=34min 8s\n",
    ),
    (
        "only fallback",
        "[Time]\nFallbackNTP=time1.example.com time2.example.com\nPollIntervalMaxSec=1h\nSaveIntervalSec=60s\n",
    ),
];

fn migrated(dialect: Dialect, text: &str) -> String {
    let toml = migrate_text(dialect, text).toml;
    if let Err(problem) = ntp_config::parse(&toml, "made.toml") {
        panic!("{problem:?}\n{toml}");
    }
    toml
}

fn of(files: &[(&str, &str)], name: &str) -> &'static str {
    let file = files.iter().find(|(known, _)| *known == name);
    // The tables above are constants.
    Box::leak(file.unwrap().1.to_owned().into_boxed_str())
}

/// The decisions of the first server of a result about some clients.
fn served(toml: &str, clients: &[&str]) -> Vec<bool> {
    let (config, _) = ntp_config::parse(toml, "migrated").unwrap();
    let Some(server) = config.servers.first() else {
        return vec![false; clients.len()];
    };
    let decide = |client: &&str| {
        let client: std::net::IpAddr = client.parse().unwrap();
        let Some(access) = &server.access else {
            return true;
        };
        let networks = access
            .networks
            .iter()
            .filter(|(network, _)| network.contains(client));
        let narrowest = networks.max_by_key(|(network, _)| network.length());
        let decision = narrowest.map_or(access.default, |(_, decision)| *decision);
        decision == ntp_config::AccessDecision::Allow
    };
    clients.iter().map(decide).collect()
}

#[test]
fn every_file_becomes_a_valid_configuration() {
    for (dialect, files) in [
        (Dialect::Chrony, CHRONY),
        (Dialect::Ntpd, NTPD),
        (Dialect::Timesyncd, TIMESYNCD),
    ] {
        for (_, text) in files {
            migrated(dialect, text);
        }
    }
}

#[test]
fn every_directive_is_converted_or_listed_in_a_comment() {
    for (name, text) in CHRONY {
        let toml = migrated(Dialect::Chrony, text);
        for (index, line) in text.lines().enumerate() {
            let directive = line.split_whitespace().next().unwrap_or_default();
            let converted = [
                "pool",
                "server",
                "refclock",
                "allow",
                "deny",
                "bindaddress",
                "port",
                "ratelimit",
                "keyfile",
                "local",
                "makestep",
                "maxchange",
                "maxdistance",
                "minsources",
                "maxslewrate",
                "ntsserverkey",
                "ntsservercert",
                "leapseclist",
                "leapsecmode",
                "ntstrustedcerts",
                "clientloglimit",
            ];
            let silent = line.contains("leaponly")
                || line.starts_with(['#', '!'])
                || converted.contains(&directive);
            assert!(
                silent || toml.contains(&format!("# line {}: {line}", index + 1)),
                "{name}: {line}\n{toml}"
            );
        }
    }
}

#[test]
fn reference_clocks_are_converted_with_the_names_that_other_lines_use() {
    let chrony = "refclock PPS /dev/pps0:clear lock NMEA refid PPS\n\
         refclock PHC /dev/ptp0 tai lock NONE\nrefclock SHM 0 refid NMEA precision 1e-1 noselect\n";
    let toml = migrated(Dialect::Chrony, chrony);
    for expected in [
        "lock = \"shm:0\"\n",
        "edge = \"clear\"\n",
        "timescale = \"tai\"\n",
        "mode = \"shm\"\nunit = 0\nprecision = 0.1\nreference-id = \"NMEA\"\nnoselect = true\n",
        "refclock lock NONE\n",
    ] {
        assert!(toml.contains(expected), "{expected}\n{toml}");
    }
    let ntpd = "server 127.127.20.1 mode 16 prefer\nfudge 127.127.20.1 time2 0.4 refid GPS\n";
    let toml = migrated(Dialect::Ntpd, ntpd);
    let expected = "mode = \"nmea\"\npath = \"/dev/gps1\"\nspeed = 9600\nprefer = true\n\
                    offset = 0.4\nreference-id = \"GPS\"\n";
    assert!(toml.contains(expected), "{toml}");
}

#[test]
fn options_of_sources_are_converted() {
    let toml = migrated(Dialect::Chrony, of(CHRONY, "public server"));
    for expected in [
        "mode = \"nts\"\naddress = \"ntp1.example.net:4443\"\ninterleaved = true\n",
        "address = \"[2001:db8::1]:1123\"\npoll-interval-limits = { min = 0, max = 17 }\nkey = 7\n",
        "one server of the pool; add others as separate sources\n[[source]]\nmode = \"nts\"\naddress = \"nts.example.org\"\n",
        "pool maxdelay 0.2\n#     ntpd-rs estimates",
        "listen = \"192.0.2.1:123\"",
        "listen = \"[2001:db8::5]:123\"",
        "rate-limiting-cutoff-ms = 2000",
        "client-list-size = 65536\n",
        "certificate-chain-path = \"/etc/pki/tls/certs/ntp.crt\"",
        "[local]\nstratum = 8\ndistance = 1\norphan = true\n",
        "minimum-agreeing-sources = 2",
        "maximum-source-uncertainty = 16\n",
        "single-step-panic-threshold = 100\non-panic = \"exit\"\n",
        "[server.access]\ndefault = \"allow\"\n\"10.1.0.0/16\" = \"allow\"\n\"192.0.2.128/25\" = \"ignore\"\n",
        "frobnicate 7\n#     unknown directive",
        "allow backbone.example.net\n#     use addresses of networks",
    ] {
        assert!(toml.contains(expected), "{expected}\n{toml}");
    }
    let cloud = migrated(Dialect::Chrony, of(CHRONY, "cloud"));
    assert!(
        cloud.contains("prefer = true") && cloud.contains("{ min = 4, max = 4 }"),
        "{cloud}"
    );
    assert!(cloud.contains("step-threshold = 1\n"), "{cloud}");
    assert!(!cloud.contains("[[server]]"), "{cloud}");
}

#[test]
fn servers_of_timesyncd_become_sources() {
    let toml = migrated(Dialect::Timesyncd, of(TIMESYNCD, "two servers"));
    assert!(
        toml.contains("address = \"192.0.2.7\"\npoll-interval-limits = { min = 5, max = 11 }"),
        "{toml}"
    );
    assert!(toml.contains("FallbackNTP=time.example.org"), "{toml}");
    let toml = migrated(Dialect::Timesyncd, of(TIMESYNCD, "only fallback"));
    assert!(
        toml.contains("time2.example.com") && toml.contains("max = 12"),
        "{toml}"
    );
}

#[test]
fn the_daemon_is_detected_by_name_and_content() {
    let of = |name: &str, text: &str| Dialect::detect(Path::new(name), text);
    assert_eq!(of("/etc/chrony/chrony.conf", ""), Some(Dialect::Chrony));
    assert_eq!(of("/etc/ntp.conf", ""), Some(Dialect::Ntpd));
    assert_eq!(of("/etc/ntpsec/ntp.conf", ""), Some(Dialect::Ntpd));
    assert_eq!(
        of("/etc/systemd/timesyncd.conf", ""),
        Some(Dialect::Timesyncd)
    );
    assert_eq!(
        of("time.conf", "server a\nmakestep 1 3\n"),
        Some(Dialect::Chrony)
    );
    assert_eq!(
        of("time.conf", "server a\nrestrict default\n"),
        Some(Dialect::Ntpd)
    );
    assert_eq!(of("time.conf", "server a\n"), None);
}

#[test]
fn hostile_text_stays_inside_strings_and_comments() {
    for text in [
        "server a\"\\b\u{7}c\nfoo \u{1b}[31m\r\"\n",
        "keyfile \"x\ny\"\nserver\npool\nallow /\nallow 1.2.3.4.5\ndeny 300.1\nmakestep\nmaxchange x\nratelimit interval\n",
    ] {
        migrated(Dialect::Chrony, text);
        migrated(Dialect::Ntpd, text);
        migrated(Dialect::Timesyncd, text);
    }
}

#[test]
fn lines_not_needed_are_listed_after_lines_without_an_equivalent() {
    let made = migrate_text(
        Dialect::Chrony,
        "server a\nrtcsync\nlock_all\ndriftfile /x\n",
    );
    assert_eq!(made.unsupported, 1, "{}", made.toml);
    let lost = made.toml.find("# Without an equivalent:").unwrap();
    let needless = made.toml.find("# Needs no equivalent:").unwrap();
    let at = |text| made.toml.find(text).unwrap();
    assert!(lost < at("lock_all") && at("lock_all") < needless && needless < at("rtcsync"));
}

/// Distributions configure a key file that may not exist or be readable; it must not prevent the
/// start of the daemon.
#[test]
fn a_key_file_is_kept_only_if_a_key_can_be_used() {
    let client = migrated(Dialect::Chrony, "server a\nkeyfile /etc/chrony.keys\n");
    assert!(!client.contains("[keys]"), "{client}");
    for used in [
        "server a key 3\nkeyfile /etc/chrony.keys\n",
        "server a\nallow\nkeyfile /etc/chrony.keys\n",
    ] {
        let toml = migrated(Dialect::Chrony, used);
        assert!(
            toml.contains("[keys]\npath = \"/etc/chrony.keys\""),
            "{toml}"
        );
    }
}

#[test]
fn authorities_are_assigned_to_the_sources_of_their_set() {
    let toml = migrated(
        Dialect::Chrony,
        "server a nts certset 1\nserver b nts\nserver c\nntstrustedcerts 1 /etc/one.pem\nntstrustedcerts /etc/all.pem\n\
         server d nts certset 2\nntstrustedcerts 2 /etc/two.pem\nntstrustedcerts 2 /etc/two.d\n",
    );
    assert!(
        toml.contains("address = \"d\"\ncertificate-authority = [\"/etc/two.pem\", \"/etc/two.d\"]\nsystem-authorities = false\n"),
        "{toml}"
    );
    assert!(
        toml.contains("address = \"a\"\ncertificate-authority = \"/etc/one.pem\"\nsystem-authorities = false\n"),
        "{toml}"
    );
    assert!(
        toml.contains("address = \"b\"\ncertificate-authority = \"/etc/all.pem\""),
        "{toml}"
    );
    assert!(
        toml.contains("address = \"c\"\n\n") && !toml.contains("certset"),
        "{toml}"
    );
}

#[test]
fn hosts_that_the_configuration_refuses_are_not_converted() {
    let dialects = [
        (Dialect::Chrony, "server HOST\n"),
        (Dialect::Ntpd, "server HOST\n"),
        (Dialect::Openntpd, "server HOST\n"),
        (Dialect::Timesyncd, "[Time]\nNTP=HOST\n"),
    ];
    for (dialect, file) in dialects {
        for host in [
            "192.0.2.300",
            "0.0.0.0",
            "224.0.1.1",
            "fe80::1",
            "a..b",
            "a\u{1b}b",
        ] {
            let toml = migrated(dialect, &file.replace("HOST", host));
            let config = ntp_config::parse(&toml, "ntp.toml").map(|(config, _)| config);
            assert!(config.unwrap().sources.is_empty(), "{dialect:?}: {toml}");
            assert!(
                toml.contains("Without an equivalent"),
                "{dialect:?}: {toml}"
            );
        }
        for (host, name) in [
            ("fe80::1%eth0", "[fe80::1%eth0]:123"),
            ("fe80::1%3", "[fe80::1%3]:123"),
        ] {
            let toml = migrated(dialect, &file.replace("HOST", host));
            let (config, _) = ntp_config::parse(&toml, "ntp.toml").unwrap();
            let names: Vec<_> = config
                .sources
                .iter()
                .filter_map(ntp_config::SourceConfig::name)
                .collect();
            assert_eq!(names, [name], "{dialect:?}: {toml}");
        }
    }
}

#[test]
fn the_role_of_sources_without_authentication_is_carried_over() {
    let of = |mode: &str| {
        let text = format!("server a nts\nserver b\nauthselectmode {mode}\n");
        migrated(Dialect::Chrony, &text)
    };
    assert!(of("require").contains("[nts]\npolicy = \"only\""));
    assert!(of("Prefer").contains("[nts]\npolicy = \"prefer\""));
    assert!(!of("ignore").contains("[nts]"));
    assert!(of("mix").contains("authselectmode mix"));
}

#[test]
fn one_authority_is_trusted_alone_as_before() {
    let own = "ntstrustedcerts /ca.pem\nserver a nts\nserver b\nnosystemcert\n";
    let converted = migrated(Dialect::Chrony, own);
    assert_eq!(
        converted.matches("system-authorities = false").count(),
        1,
        "{converted}"
    );
    assert!(!converted.contains("nosystemcert"), "{converted}");
    assert!(migrated(Dialect::Chrony, "server a nts\nnosystemcert\n").contains("nosystemcert"));
}

#[test]
fn leap_seconds_are_treated_as_before() {
    let chrony = migrated(
        Dialect::Chrony,
        "server a\nleapsecmode slew\nleapseclist /l\n",
    );
    assert!(
        chrony.contains("handling = \"slew\"\nlist = \"/l\""),
        "{chrony}"
    );
    let smear = "server a\nleapsecmode slew\nsmoothtime 400 0.01 leaponly\n";
    assert!(migrated(Dialect::Chrony, smear).contains("handling = \"smear\""));
    let ntpd = migrated(Dialect::Ntpd, "server a\nleapfile \"/l\"\n");
    assert!(ntpd.contains("[leap]\nlist = \"/l\""), "{ntpd}");
}

/// Each pool has its own size: without an adjustment, sixteen servers would be polled where ntpd
/// polls ten.
#[test]
fn the_pools_of_ntpd_share_its_ten_sources() {
    let four = "pool 0.x\npool 1.x\npool 2.x\npool 3.x\n";
    let toml = migrated(Dialect::Ntpd, four);
    assert_eq!(toml.matches("count = 2").count(), 4, "{toml}");
    assert!(!migrated(Dialect::Ntpd, "pool 0.x\n").contains("count"));
}

#[test]
fn timesyncd_without_servers_becomes_a_pool() {
    let toml = migrated(Dialect::Timesyncd, "[Time]\n#NTP=\n");
    assert!(
        toml.contains("mode = \"pool\"") && !toml.contains("minimum-agreeing"),
        "{toml}"
    );
}

/// Words of a comment became options.
#[test]
fn comments_are_ignored_after_any_white_space() {
    let words = "# prefer this one, never nts or key 5";
    for (dialect, line) in [
        (Dialect::Ntpd, "server ntp1.example.net iburst"),
        (Dialect::Chrony, "server ntp1.example.net iburst"),
        (Dialect::Openntpd, "server ntp1.example.net"),
        (Dialect::Timesyncd, "[Time]\nNTP=ntp1.example.net"),
    ] {
        let plain = migrated(dialect, &format!("{line}\n"));
        for space in [" ", "\t", "  \t "] {
            for comment in [words, "#noselect", "#"] {
                let commented = migrated(dialect, &format!("{line}{space}{comment}\n"));
                assert_eq!(commented, plain, "{space:?}{comment}");
            }
        }
    }
    let flags = "server a\nrestrict 192.0.2.0 mask 255.255.255.0\t# noserve was here\nrestrict default nomodify\t# do not ignore\n";
    assert_eq!(
        served(&migrated(Dialect::Ntpd, flags), &["192.0.2.1", "10.0.0.1"]),
        [true, true]
    );
}

#[test]
fn continuation_lines_and_time_spans_of_timesyncd_are_read() {
    let toml = migrated(
        Dialect::Timesyncd,
        "[Time]\nNTP=ntp1.example.net ntp2.example.net \\\n# between\n    ntp3.example.net\nFallbackNTP=0.pool.example.net\n\
         RootDistanceMaxSec=5\nPollIntervalMinSec=1min 30s\nPollIntervalMaxSec=1d\n",
    );
    assert_eq!(toml.matches("mode = \"server\"").count(), 3, "{toml}");
    assert_eq!(toml.matches("{ min = 7, max = 17 }").count(), 3, "{toml}");
    for named in [
        "# line 5: FallbackNTP",
        "# line 6: RootDistance",
        "# line 7: PollIntervalMin",
        "2^7 s",
    ] {
        assert!(toml.contains(named), "{named}\n{toml}");
    }
}

#[test]
fn a_clock_that_ntpd_does_not_steer_is_not_steered() {
    let toml = migrated(Dialect::Ntpd, "server a\ndisable ntp monitor\n");
    assert!(toml.contains("[clock]\nkind = \"none\""), "{toml}");
    let toml = migrated(Dialect::Ntpd, "server a\ndisable ntp\nenable ntp\n");
    assert!(toml.contains("[clock]\nkind = \"system\""), "{toml}");
}

/// What cannot be expressed is named, and the result stays valid.
#[test]
fn results_are_valid_whatever_the_lines_say() {
    for (dialect, text, named) in [
        (
            Dialect::Chrony,
            "server a noselect\nserver b noselect\n",
            "at most 0 can",
        ),
        (
            Dialect::Chrony,
            "server a\nminsources 3\n",
            "3 sources had to agree",
        ),
        (
            Dialect::Chrony,
            "server a\nntsservercert /c\nntsserverkey /k\n",
            "ntsservercert /c",
        ),
        (
            Dialect::Chrony,
            "server a:b:c\n",
            "server a:b:c\n#     invalid IPv6",
        ),
        (
            Dialect::Chrony,
            "server a nts port 124 key 3\n",
            "server port 124",
        ),
        (
            Dialect::Chrony,
            "server a\nleapseclist leap.list\n",
            "must be an absolute path",
        ),
        (
            Dialect::Chrony,
            "server a\nserver a\n",
            "the same as line 1",
        ),
        (
            Dialect::Ntpd,
            "server -4 a\n",
            "server -4\n#     addresses of both",
        ),
        (
            Dialect::Ntpd,
            "server a\ninterface ignore all\n",
            "interface ignore all",
        ),
        (
            Dialect::Openntpd,
            "server a\nlisten on *\nlisten on *\n",
            "the same as line 2",
        ),
        (
            Dialect::Openntpd,
            "listen on ::1 rtable 4\n",
            "listen rtable 4",
        ),
        (Dialect::Timesyncd, "[Time]\nNTP=a:b:c\n", "NTP=a:b:c"),
    ] {
        fuzzing::check(text.as_bytes());
        let toml = migrated(dialect, text);
        assert!(toml.contains(named), "{named}\n{toml}");
    }
}

/// Such values were copied, and the result was invalid TOML.
#[test]
fn numbers_that_toml_rejects_are_not_converted() {
    for odd in ["NaN", "inf", "1e400", "1e30"] {
        for (dialect, line) in [
            (Dialect::Chrony, "maxchange"),
            (Dialect::Chrony, "maxslewrate"),
            (Dialect::Ntpd, "tinker panic"),
            (Dialect::Ntpd, "tinker step"),
        ] {
            let text = format!("{line} {odd} 1 2\n");
            let toml = migrate_text(dialect, &text).toml;
            let active = toml.lines().filter(|line| !line.starts_with('#'));
            assert!(!active.collect::<String>().contains(odd), "{toml}");
            toml.parse::<toml::Table>()
                .unwrap_or_else(|problem| panic!("{problem}\n{toml}"));
        }
    }
}

#[test]
fn paths_apply_to_the_sources_and_servers_that_they_fit() {
    let toml = migrated(
        Dialect::Chrony,
        "dscp 46\nbindacqaddress 192.0.2.9\nbinddevice vrf-red\nserver 192.0.2.1\n\
         server 2001:db8::1\npool a.example\nallow\nntsservercert /c\nntsserverkey /k\n",
    );
    let sections: Vec<_> = toml.split("[[").collect();
    let of = |text: &str| *sections.iter().find(|it| it.contains(text)).unwrap();
    assert!(
        of("192.0.2.1\"").contains("bind-address = \"192.0.2.9\"\n"),
        "{toml}"
    );
    assert!(!of("2001:db8::1").contains("bind-address"), "{toml}");
    assert!(
        of("a.example").contains("bind-address = \"192.0.2.9\"\n"),
        "{toml}"
    );
    assert_eq!(toml.matches("dscp = 46\n").count(), 4, "{toml}");
    for section in ["server]]", "nts-ke-server]]"] {
        let section = sections.iter().filter(|it| it.starts_with(section));
        let device = "bind-device = \"vrf-red\"\n";
        assert!(
            section.clone().count() > 0 && section.clone().all(|it| it.contains(device)),
            "{toml}"
        );
    }
    let toml = migrated(
        Dialect::Ntpd,
        "server 192.0.2.1\ndscp 10\nrestrict default ignore\n",
    );
    assert!(toml.contains("dscp = 10\n"), "{toml}");
    assert!(migrate_text(Dialect::Chrony, "server a\ndscp 64\n").unsupported > 0);
}
