//! Who is served, and how: access rules, listening addresses, limits, certificates.

use super::*;

#[test]
fn access_control_is_converted() {
    let open = migrated(Dialect::Ntpd, of(NTPD, "debian"));
    assert!(
        open.contains("[[server]]") && !open.contains("access"),
        "{open}"
    );
    assert!(open.contains("rate-limiting-cutoff-ms = 2000"), "{open}");
    assert!(open.contains("minimum-agreeing-sources = 3"), "{open}");
    let client = migrated(Dialect::Ntpd, of(NTPD, "client"));
    assert!(
        !client.contains("[[server]]") && client.contains("\"inf\""),
        "{client}"
    );
    let network = migrated(Dialect::Ntpd, of(NTPD, "local network"));
    for expected in [
        "default = \"ignore\"\n\"192.168.0.0/16\" = \"allow\"\n\"192.168.7.7/32\" = \"ignore\"\n",
        "[local]\nstratum = 11\n",
        "certificate-chain-path = \"/etc/ntp/c.pem\"",
    ] {
        assert!(network.contains(expected), "{expected}\n{network}");
    }
    let short = migrated(
        Dialect::Chrony,
        "server a\nallow 10.1\nallow 192.168.3\nallow 2001:db8::/32\nport 1123\n",
    );
    assert!(
        short.contains("\"10.1.0.0/16\" = \"allow\"\n\"192.168.3.0/24\" = \"allow\"\n\"2001:db8::/32\" = \"allow\"\n")
            && short.contains("[::]:1123"),
        "{short}"
    );
}

/// Cases of public reports: `deny all` before `allow`, a family that is refused, a host in a refused
/// network.
#[test]
fn the_most_specific_rule_of_the_other_daemon_decides() {
    let clients = [
        "192.0.2.8",
        "192.0.2.9",
        "198.51.100.1",
        "198.51.100.194",
        "2001:db8:1::1",
        "2001:db8:2::1",
    ];
    for (dialect, text, expected) in [
        (
            Dialect::Chrony,
            "server a\ndeny all\nallow 192.0.2.0/24\nallow 2001:db8:1::/48\n",
            [true, true, false, false, true, false],
        ),
        (
            Dialect::Chrony,
            "server a\nallow 192.0.2.0/24\ndeny all\nallow 198.51.100\n",
            [false, false, true, true, false, false],
        ),
        (
            Dialect::Chrony,
            "server a\ndeny 192.0.2.8\nallow 192.0\ndeny\n",
            [false, true, false, false, false, false],
        ),
        (
            Dialect::Ntpd,
            "server a\nrestrict -6 default ignore\nrestrict 127.0.0.1 mask 255.255.255.255\nrestrict -6 ::1\n\
             restrict 198.51.100.192 mask 255.255.255.248 nomodify\nrestrict default nomodify noquery kod\n",
            [true, true, true, true, false, false],
        ),
        (
            Dialect::Ntpd,
            "server a\nrestrict default ignore\nrestrict 192.0.2.0 mask 255.255.0.0 ignore\nrestrict 192.0.2.8\n\
             restrict 198.51.100.0 mask 255.255.255.0 noquery\n",
            [true, false, true, true, false, false],
        ),
        (
            Dialect::Openntpd,
            "server a\nlisten on * rtable 1\n",
            [true; 6],
        ),
    ] {
        let toml = migrated(dialect, text);
        assert_eq!(served(&toml, &clients), expected, "{text}\n{toml}");
    }
}

/// chronyd stores prefixes in steps of four bits, so that the later of these lines holds.
#[test]
fn networks_that_chronyd_rounds_are_converted_as_it_decides() {
    let toml = migrated(
        Dialect::Chrony,
        "server a\ndeny 10.64.0.0/10\nallow 10.0.0.0/9\n",
    );
    assert_eq!(
        served(&toml, &["10.64.0.1", "10.1.0.1", "10.128.0.1"]),
        [true, true, false]
    );
    let toml = migrated(
        Dialect::Chrony,
        "server a\nallow 10.0.0.0/9\ndeny 10.64.0.0/10\n",
    );
    assert_eq!(served(&toml, &["10.64.0.1", "10.1.0.1"]), [false, true]);
    assert!(toml.contains("\"10.64.0.0/10\" = \"ignore\""), "{toml}");
}

/// An address of one family leaves the other one open in chronyd.
#[test]
fn a_bound_address_of_chronyd_concerns_its_family_only() {
    let toml = migrated(Dialect::Chrony, "server a\nallow\nbindaddress 192.0.2.1\n");
    assert!(
        toml.contains("\"192.0.2.1:123\"") && toml.contains("\"[::]:123\""),
        "{toml}"
    );
    assert!(
        toml.contains("default = \"ignore\"\n\"::/0\" = \"allow\"\n"),
        "{toml}"
    );
    let toml = migrated(
        Dialect::Chrony,
        "server a\nallow 10.0.0.0/8\nbindaddress 192.0.2.1\n",
    );
    assert_eq!(toml.matches("[[server]]").count(), 1, "{toml}");
}

#[test]
fn ntpd_serves_where_it_listens() {
    let toml = migrated(
        Dialect::Ntpd,
        "server a\ninterface ignore wildcard\ninterface listen 192.0.2.1\ninterface listen 2001:db8::1\ninterface listen eth0\n",
    );
    for expected in [
        "listen = \"192.0.2.1:123\"",
        "listen = \"[2001:db8::1]:123\"",
        "# line 5: interface listen eth0",
    ] {
        assert!(toml.contains(expected), "{expected}\n{toml}");
    }
    assert!(!toml.contains("[::]:123"), "{toml}");
}

#[test]
fn openntpd_serves_only_with_listen_on() {
    let client = "servers pool.example\nserver time.example trusted\nsensor *\nconstraint from \"192.0.2.1\"\n";
    assert_eq!(
        Dialect::detect(Path::new("x.conf"), client),
        Some(Dialect::Openntpd)
    );
    let toml = migrated(Dialect::Openntpd, client);
    for expected in [
        "mode = \"pool\"\naddress = \"pool.example\"",
        "address = \"time.example\"\ntrust = true",
        "# line 3: sensor *",
        "# line 4: constraint from",
    ] {
        assert!(toml.contains(expected), "{expected}\n{toml}");
    }
    assert!(!toml.contains("[[server]]"), "{toml}");
    let server = migrated(
        Dialect::Openntpd,
        "server a\nlisten on *\nlisten on 192.0.2.1\n",
    );
    assert_eq!(server.matches("[[server]]").count(), 2, "{server}");
}

#[test]
fn all_certificates_of_chronyd_are_served() {
    let lines = "server a\nallow\nntsservercert /1.crt\nntsserverkey /1.key\nntsservercert /2.crt\nntsserverkey /2.key\nntsservercert /3.crt\n";
    let toml = migrated(Dialect::Chrony, lines);
    let second = "[[nts-ke-server.additional-certificates]]\ncertificate-chain-path = \"/2.crt\"\nprivate-key-path = \"/2.key\"\n";
    assert!(toml.contains(second), "{toml}");
    assert!(toml.contains("# line 7: ntsservercert /3.crt"), "{toml}");
}

#[test]
fn chronyds_limits_are_carried_over() {
    let toml = migrated(
        Dialect::Chrony,
        "server a\nallow\nratelimit leak 3 kod 2 burst 20\n",
    );
    for expected in [
        "rate-limiting-cutoff-ms = 8000",
        "rate-limiting-leak = 8",
        "rate-limiting-kiss = 4",
        "rate-limiting-burst = 20",
    ] {
        assert!(toml.contains(expected), "{expected}\n{toml}");
    }
    let toml = migrated(Dialect::Ntpd, "server a\nrestrict default limited kod\n");
    assert!(toml.contains("rate-limiting-kiss"), "{toml}");
}

#[test]
fn the_client_log_becomes_a_client_list() {
    let of = |lines: &str| migrated(Dialect::Chrony, &format!("server a\n{lines}"));
    for (lines, expected) in [
        (
            "allow\nclientloglimit 524288\n",
            "client-list-size = 4096\n",
        ),
        ("clientloglimit 1\nallow\n", "client-list-size = 1\n"),
        ("allow\nnoclientlog\n", "client-list-size = 0\n"),
        (
            "allow\nnoclientlog\nclientloglimit 524288\n",
            "client-list-size = 0\n",
        ),
        (
            "allow\nclientloglimit 524288\nnoclientlog\n",
            "client-list-size = 0\n",
        ),
        (
            "clientloglimit 524288\n",
            "clientloglimit 524288\n#     no server configured",
        ),
        (
            "allow\nclientloglimit much\n",
            "clientloglimit much\n#     invalid value",
        ),
    ] {
        let toml = of(lines);
        assert!(toml.contains(expected), "{lines}\n{toml}");
    }
    // By default, chronyd records clients and ntpd-rs does not.
    assert!(!of("allow\n").contains("client-list-size"));
}

#[test]
fn a_local_reference_and_orphan_mode_are_converted_exactly() {
    let all = "stratum 8 distance 0.5 orphan activate 0.25 waitsynced 30 waitunsynced 60";
    let all = format!("server 192.0.2.1\nlocal {all}\n");
    for (dialect, text, section) in [
        (Dialect::Chrony, "local\n", "stratum = 10\ndistance = 1\n"),
        (
            Dialect::Chrony,
            &all,
            "stratum = 8\ndistance = 0.5\norphan = true\nactivate-below = 0.25\n\
             wait-synced = 30\nwait-unsynced = 60\n",
        ),
        (Dialect::Ntpd, "server 127.127.1.0\n", "stratum = 6\n"),
        (
            Dialect::Ntpd,
            "server 127.127.1.0\nfudge 127.127.1.0 stratum 10\n",
            "stratum = 11\n",
        ),
        (
            Dialect::Ntpd,
            "tos orphan 7\n",
            "stratum = 7\norphan = true\nwait-synced = 300\nwait-unsynced = 300\n",
        ),
        (
            Dialect::Ntpd,
            "tos orphanwait 20\ntos orphan 7\n",
            "stratum = 7\norphan = true\nwait-synced = 20\nwait-unsynced = 20\n",
        ),
    ] {
        let toml = migrated(dialect, text);
        let expected = format!("[local]\n{section}");
        assert!(toml.contains(&expected), "{text}: {toml}");
        assert!(!toml.contains("local-stratum"), "{toml}");
    }
    let toml = migrated(Dialect::Ntpd, "tos orphanwait 20\n");
    assert!(!toml.contains("[local]"), "{toml}");
}
