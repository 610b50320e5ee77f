//! Nothing is lost silently: every directive and every option of every format is carried over or
//! named in a remark.
//!
//! Each sample is added to a file of its format. Either the settings of the result change, or a
//! remark names the sample. The samples of directives come from the manuals of the daemons, those of
//! options from the tables, which the converters use.

use std::collections::BTreeSet;

use super::table::{Conversion, OptionRow, names};
use super::{Dialect, chrony, migrate_text, ntpd, openntpd, timesyncd};

/// Directives of chrony 4.9 and of earlier versions.
const CHRONY: &[&str] = &[
    "acquisitionport 1123",
    "allow 10.0.0.0/8",
    "authselectmode require",
    "bindacqaddress 192.0.2.1",
    "bindacqdevice eth0",
    "bindaddress 192.0.2.1",
    "bindcmdaddress 127.0.0.1",
    "bindcmddevice eth0",
    "binddevice eth0",
    "broadcast 60 192.0.2.255",
    "clientloglimit 524288",
    "clockprecision 1e-6",
    "cmdallow 192.0.2.1",
    "cmddeny all",
    "cmdport 0",
    "cmdratelimit interval 2",
    "combinelimit 2",
    "commandkey 1",
    "confdir /etc/chrony/conf.d",
    "corrtimeratio 3",
    "deny 192.0.2.9",
    "driftfile /var/lib/chrony/drift",
    "dscp 46",
    "dumpdir /run/chrony",
    "dumponexit",
    "fallbackdrift 16 19",
    "generatecommandkey",
    "hwclockfile /etc/adjtime",
    "hwtimestamp eth0",
    "hwtstimeout 0.01",
    "include /etc/chrony/more.conf",
    "initstepslew 30 ntp1.example.net",
    "keyfile /etc/chrony/chrony.keys",
    "leapseclist /usr/share/zoneinfo/leap-seconds",
    "leapsecmode slew",
    "leapsecmode step",
    "leapsecmode system",
    "leapsecmode ignore",
    "leapsectz right/UTC",
    "linux_freq_scale 1.0",
    "linux_hz 100",
    "local",
    "lock_all",
    "log measurements",
    "logbanner 32",
    "logchange 0.1",
    "logdir /var/log/chrony",
    "mailonchange root@example.net 0.5",
    "makestep 1 3",
    "makestep 0.1 -1",
    "manual",
    "maxchange 1000 1 2",
    "maxclockerror 1",
    "maxdistance 3",
    "maxdrift 1000",
    "maxjitter 0.5",
    "maxntsconnections 50",
    "maxsamples 30",
    "maxslewrate 1000",
    "maxstratum 5",
    "maxtxbuffers 4",
    "maxupdateskew 100",
    "minsamples 8",
    "minsources 2",
    "minstratum 1",
    "nocerttimecheck 1",
    "noclientlog",
    "nosystemcert",
    "ntpsigndsocket /var/lib/samba/ntp_signd",
    "ntsaeads 15",
    "ntscachedir /var/lib/chrony",
    "ntsdumpdir /var/lib/chrony",
    "ntsntpserver ntp.example.net",
    "ntsport 4461",
    "ntsprocesses 2",
    "ntsratelimit interval 3",
    "ntsrefresh 86400",
    "ntsrotate 3600",
    "ntsservercert /another.crt",
    "ntsserverkey /another.key",
    "ntstrustedcerts /etc/pki/ca.pem",
    "ntstrustedcerts 7 /etc/pki/ca.pem",
    "opencommands activity",
    "peer ntp2.example.net",
    "pidfile /run/chronyd.pid",
    "pool pool.example.net",
    "port 1123",
    "ptpdomain 123",
    "ptpport 319",
    "ratelimit",
    "refclock SHM 0 refid GPS precision 1e-1 offset 0.5 delay 0.2",
    "refclock PPS /dev/pps0",
    "refclock RTC /dev/rtc0",
    "refresh 86400",
    "reselectdist 1e-4",
    "rtcautotrim 30",
    "rtcdevice /dev/rtc1",
    "rtcfile /var/lib/chrony/rtc",
    "rtconutc",
    "rtcsync",
    "sched_priority 1",
    "server ntp3.example.net",
    "smoothtime 400 0.01",
    "smoothtime 400 0.01 leaponly",
    "sourcedir /etc/chrony/sources.d",
    "stratumweight 0.1",
    "tempcomp /sys/temp 30 26.0 0.0 0.000183 0.0",
    "user _chrony",
];

/// Directives of ntpd 4.2.8 and of ntpsec.
const NTPD: &[&str] = &[
    "autokey",
    "automax 12",
    "broadcast 192.0.2.255",
    "broadcastclient",
    "broadcastdelay 0.004",
    "calldelay 30",
    "controlkey 1",
    "crypto pw secret",
    "disable ntp",
    "discard average 3 minimum 1",
    "driftfile /var/lib/ntp/drift",
    "dscp 46",
    "enable calibrate",
    "end",
    "extra port 1123",
    "filegen loopstats file loopstats type day enable",
    "fudge 127.127.1.0 stratum 12",
    "fudge 127.127.28.0 time1 0.1",
    "includefile /etc/ntp/more.conf",
    "interface listen 192.0.2.1",
    "interface ignore ipv6",
    "interface drop eth0",
    "interface ignore wildcard",
    "keys /etc/ntp/keys",
    "keysdir /etc/ntp",
    "leapfile /usr/share/zoneinfo/leap-seconds",
    "leapsmearinterval 86400",
    "limit average 2",
    "logconfig =syncevents",
    "logfile /var/log/ntp",
    "manycastclient 239.1.1.1",
    "manycastserver 239.1.1.1",
    "mdnstries 5",
    "mru maxmem 1024",
    "multicastclient 224.0.1.1",
    "nic listen 192.0.2.1",
    "ntpsigndsocket /var/lib/samba/ntp_signd",
    "nts ca /etc/ntp/ca.pem",
    "peer ntp2.example.net",
    "phone 555",
    "pidfile /run/ntpd.pid",
    "pollskewlist 6 3|3",
    "pool pool.example.net",
    "port 1123",
    "qos lowdelay",
    "refclock shm unit 0",
    "requestkey 2",
    "reset allpeers",
    "restrict 192.0.2.0 mask 255.255.255.0 ignore",
    "restrict -6 default ignore",
    "restrict 192.0.2.1 mask 255.0.255.0 ignore",
    "restrict name.example.net ignore",
    "restrict source noquery",
    "revoke 16",
    "rlimit memlock 32",
    "saveconfigdir /var/lib/ntp",
    "server 127.127.1.0",
    "server 127.127.28.0 minpoll 4",
    "server -4 ntp3.example.net",
    "server -6 ntp3.example.net",
    "setvar access_policy = open default",
    "simulate",
    "statistics loopstats",
    "statsdir /var/log/ntpstats/",
    "tick 0.01",
    "tinker panic 0",
    "tinker step 0",
    "tos minsane 2",
    "trap 192.0.2.1",
    "trustedkey 1 2",
    "ttl 32",
    "unconfig ntp2.example.net",
    "unpeer ntp2.example.net",
    "unrestrict default limited",
    "user ntp",
];

/// Directives of OpenNTPD.
const OPENNTPD: &[&str] = &[
    "constraint from \"192.0.2.1\"",
    "constraints from \"https://www.example.net\"",
    "listen on *",
    "listen on 192.0.2.1",
    "listen on name.example.net",
    "query from 192.0.2.9",
    "rtable 4",
    "sensor nmea0 refid GPS",
    "server ntp2.example.net",
    "servers pool.example.net",
];

/// Assignments of systemd-timesyncd.
const TIMESYNCD: &[&str] = &[
    "ConnectionRetrySec=30",
    "FallbackNTP=ntp3.example.net",
    "NTP=ntp2.example.net",
    "PollIntervalMaxSec=1d",
    "PollIntervalMinSec=1min 30s",
    "RootDistanceMaxSec=5",
    "SaveIntervalSec=60",
    "Servers=ntp2.example.net",
];

const CHRONY_BASE: &str = "server a.example\nserver n.example nts\nallow 198.51.100.0/24\n\
     ntsservercert /c\nntsserverkey /k\n";
const NTPD_BASE: &str = "server a.example\nserver n.example nts\nrestrict default limited\n\
     nts enable cert /c key /k\n";
const OPENNTPD_BASE: &str = "server a.example\nlisten on 198.51.100.1\n";
const TIMESYNCD_BASE: &str = "[Time]\nNTP=a.example\n";

/// Settings of a result.
fn settings(toml: &str) -> Vec<&str> {
    toml.lines().filter(|line| !line.starts_with('#')).collect()
}

/// Asserts that `with` differs from `without` in its settings, or has a remark with `word`.
fn assert_accounted(dialect: Dialect, without: &str, with: &str, word: &str) {
    let before = migrate_text(dialect, without).toml;
    let after = migrate_text(dialect, with).toml;
    let number = with.lines().count();
    let mut remarks = after.lines().filter(|line| {
        let numbers = line.strip_prefix("# line").unwrap_or_default();
        let numbers = numbers.split(':').next().unwrap_or_default();
        let mut numbers = numbers.split(|c: char| !c.is_ascii_digit());
        numbers.any(|it| it == number.to_string())
    });
    let named = remarks.any(|line| line.contains(word));
    let carried = settings(&before) != settings(&after);
    assert!(named || carried, "lost: {with}\n{after}");
    let unknown = ["unknown option", "unknown directive"];
    assert!(
        !unknown.iter().any(|it| after.contains(it)),
        "not in the table: {with}\n{after}"
    );
    let config = ntp_config::parse(&after, "migrated");
    let (config, _) = config.unwrap_or_else(|error| panic!("{with}\n{error}\n{after}"));
    let acceptable = config
        .check()
        .iter()
        .all(ntp_config::Finding::is_acceptable);
    assert!(
        acceptable && config.unsupported().is_empty(),
        "{with}\n{after}"
    );
}

fn check_directives<S: Conversion>(dialect: Dialect, base: &str, samples: &[&str]) {
    let first = |line: &&str| {
        let end = line.find([' ', '=']).unwrap_or(line.len());
        line[..end].to_ascii_lowercase()
    };
    let sampled: BTreeSet<String> = samples.iter().map(first).collect();
    let known: BTreeSet<String> = names(S::DIRECTIVES, |row| row.0)
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(sampled, known, "samples and table differ");
    for sample in samples {
        assert_accounted(dialect, base, &format!("{base}{sample}\n"), sample);
    }
}

/// A value that no daemon has as its default.
fn value(option: &str) -> &'static str {
    match option {
        "ca" | "cert" | "key-file" | "cookie" => "/another.pem",
        "serverresponse" => "fuzz",
        _ => "4",
    }
}

fn check_options<S>(dialect: Dialect, base: &str, lines: &[&str], table: &[OptionRow<S>]) {
    for line in lines {
        for (names, values, _) in table {
            let absent = |name: &&str| !line.split(' ').any(|word| word == *name);
            for name in names.split(' ').filter(absent) {
                let values: String = (0..*values).map(|_| format!(" {}", value(name))).collect();
                let without = format!("{base}{line}\n");
                let with = format!("{base}{line} {name}{values}\n");
                assert_accounted(dialect, &without, &with, name);
            }
        }
    }
}

#[test]
fn every_directive_is_carried_over_or_named() {
    check_directives::<chrony::Chrony>(Dialect::Chrony, CHRONY_BASE, CHRONY);
    check_directives::<ntpd::Ntpd>(Dialect::Ntpd, NTPD_BASE, NTPD);
    check_directives::<openntpd::Openntpd>(Dialect::Openntpd, OPENNTPD_BASE, OPENNTPD);
    check_directives::<timesyncd::Timesyncd>(Dialect::Timesyncd, TIMESYNCD_BASE, TIMESYNCD);
}

#[test]
fn every_option_of_chrony_is_carried_over_or_named() {
    let sources = [
        "server b.example",
        "pool b.example",
        "server b.example nts",
        "pool b.example nts",
    ];
    let check = Dialect::Chrony;
    check_options(check, CHRONY_BASE, &sources, chrony::SOURCE_OPTIONS);
    check_options(check, CHRONY_BASE, &["local"], chrony::LOCAL_OPTIONS);
    let clocks = [
        "refclock SOCK /run/a.sock",
        "refclock SHM 0:perm=0666",
        "refclock PPS /dev/pps0:clear",
        "refclock PHC /dev/ptp0:nocrossts:extpps:pin=1:channel=2",
    ];
    check_options(check, CHRONY_BASE, &clocks, chrony::REF_CLOCK_OPTIONS);
    check_options(
        check,
        CHRONY_BASE,
        &["ratelimit"],
        chrony::RATE_LIMIT_OPTIONS,
    );
}

#[test]
fn every_option_of_ntpd_is_carried_over_or_named() {
    let sources = ["server b.example", "pool b.example", "server b.example nts"];
    let restrict = [
        "restrict default",
        "restrict 192.0.2.0/24",
        "restrict -6 default",
    ];
    let check = Dialect::Ntpd;
    check_options(check, NTPD_BASE, &sources, ntpd::SOURCE_OPTIONS);
    check_options(check, "server a\n", &restrict, ntpd::RESTRICT_FLAGS);
    check_options(check, NTPD_BASE, &["limit"], ntpd::LIMIT_OPTIONS);
    check_options(check, NTPD_BASE, &["enable"], ntpd::ENABLE_FLAGS);
    check_options(check, NTPD_BASE, &["disable"], ntpd::DISABLE_FLAGS);
    check_options(check, NTPD_BASE, &["tos"], ntpd::TOS_OPTIONS);
    check_options(check, NTPD_BASE, &["tinker"], ntpd::TINKER_OPTIONS);
    check_options(
        check,
        NTPD_BASE,
        &["fudge 127.127.1.0"],
        ntpd::FUDGE_OPTIONS,
    );
    check_options(check, "server a\n", &["nts"], ntpd::NTS_OPTIONS);
    let clocks = [
        "server 127.127.20.1",
        "server 127.127.28.0",
        "server 127.127.46.0",
        "refclock nmea unit 0",
        "server 127.127.28.0\nfudge 127.127.28.0",
    ];
    check_options(check, NTPD_BASE, &clocks, ntpd::REF_CLOCK_OPTIONS);
}

#[test]
fn every_option_of_openntpd_is_carried_over_or_named() {
    let sources = ["server b.example", "servers b.example"];
    let check = Dialect::Openntpd;
    check_options(check, OPENNTPD_BASE, &sources, openntpd::SOURCE_OPTIONS);
    check_options(
        check,
        OPENNTPD_BASE,
        &["listen on 192.0.2.1"],
        openntpd::LISTEN_OPTIONS,
    );
}

/// A word that a daemon does not have is reported, wherever it stands.
#[test]
fn unknown_words_are_named() {
    for (dialect, text) in [
        (Dialect::Chrony, "frobnicate"),
        (Dialect::Chrony, "server b frobnicate"),
        (Dialect::Chrony, "local frobnicate"),
        (Dialect::Chrony, "ratelimit frobnicate"),
        (Dialect::Ntpd, "restrict default frobnicate"),
        (Dialect::Ntpd, "tos frobnicate"),
        (Dialect::Ntpd, "enable frobnicate"),
        (Dialect::Ntpd, "nts frobnicate"),
        (Dialect::Openntpd, "listen on * frobnicate"),
        (Dialect::Timesyncd, "[Time]\nFrobnicate=1"),
    ] {
        let toml = migrate_text(dialect, text).toml.to_lowercase();
        assert!(toml.contains("frobnicate"), "{text}\n{toml}");
    }
}
