//! A build without features refuses what it lacks, each at its line (`cargo test -p ntp-config
//! --no-default-features --test lacking`).
#![cfg(not(any(
    feature = "interfaces",
    feature = "nts",
    feature = "records",
    feature = "ref-clocks",
    feature = "server"
)))]

use ntp_config::parse;

#[test]
fn what_the_build_lacks_is_refused_with_its_line() {
    for (text, line) in [
        ("[[source]]\nmode = \"nts\"\naddress = \"a\"\n", 2),
        ("[[source]]\nmode = \"nts-pool\"\naddress = \"a\"\n", 2),
        ("[[source]]\nmode = \"pps\"\npath = \"/dev/pps0\"\n", 2),
        ("[[source]]\nmode = \"platform\"\n", 2),
        ("[[server]]\nlisten = \"[::]:123\"\n", 1),
        ("[[nts-ke-server]]\nlisten = \"[::]:4460\"\n", 1),
        ("[keyset]\nstale-key-count = 3\n", 1),
        ("[compat.chrony]\nsocket = \"/run/x\"\n", 1),
        ("[clockbound]\ndirectory = \"/run/x\"\n", 1),
        ("[observability]\nobservation-path = \"/run/x\"\n", 2),
        ("[observability]\nrecord-path = \"/run/x\"\n", 2),
        ("[state]\nhistory-days = 30\n", 2),
    ] {
        let refusals = match parse(text, "ntp.toml") {
            Ok((config, _)) => {
                let refused = config.unsupported();
                refused.iter().map(ToString::to_string).collect()
            }
            Err(error) => error.to_string(),
        };
        let place = format!("ntp.toml:{line}");
        for part in ["not supported by this build", &place] {
            assert!(refusals.contains(part), "{text}{refusals}");
        }
    }
}

#[test]
fn a_client_of_plain_ntp_lacks_nothing() {
    let text = "[[source]]\nmode = \"server\"\naddress = \"a\"\n[[source]]\nmode = \"pool\"\naddress = \"b\"\n\
                [state]\nhistory-days = 0\n";
    let (config, _) = parse(text, "ntp.toml").unwrap();
    assert_eq!(config.unsupported(), []);
}
