//! Values of accepted files: those of present keys, and the defaults of absent ones.

use std::path::{Path, PathBuf};

use ntp_config::{
    ClockKind, Config, FilterAction, LeapHandling, LogLevel, NtpVersion, SelectionOptions,
    SourceKind, StepThreshold, TimestampMode, VersionChoice, parse,
};
use ntp_proto::nts::exchange::PoolToken;
use ntp_time::{Frequency, NtpDuration, PollInterval, ReferenceId, Stratum};

fn file(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/good")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    parse(&text, name).unwrap().0
}

fn inline(text: &str) -> Config {
    parse(text, "inline")
        .unwrap_or_else(|error| panic!("{error}"))
        .0
}

fn seconds(seconds: f64) -> NtpDuration {
    NtpDuration::from_seconds_f64(seconds)
}

#[test]
fn defaults_are_those_of_upstream() {
    let config = file("defaults.toml");
    assert_eq!(config, Config::default());
    assert!(config.sources.is_empty() && config.servers.is_empty());
    let poll = config.source_defaults;
    assert_eq!(poll.poll_limits.min, PollInterval::from_log2(4));
    assert_eq!(poll.poll_limits.max, PollInterval::from_log2(10));
    assert_eq!(poll.initial_poll, PollInterval::from_log2(4));
    let synchronization = &config.synchronization;
    assert_eq!(synchronization.minimum_agreeing_sources, 3);
    let thousand = StepThreshold::symmetric(NtpDuration::from_seconds(1000));
    assert_eq!(synchronization.single_step_panic_threshold, thousand);
    let startup = synchronization.startup_step_panic_threshold;
    assert_eq!(startup.forward, None);
    assert_eq!(startup.backward, Some(NtpDuration::from_seconds(86_400)));
    assert_eq!(synchronization.accumulated_step_panic_threshold, None);
    assert!(synchronization.warn_on_jump);
    assert_eq!(synchronization.local_stratum, Stratum::new(16));
    assert_eq!(synchronization.reference_id, ReferenceId::XNON);
    assert_eq!(config.keyset.stale_key_count, 7);
    assert_eq!(config.keyset.key_rotation_interval_seconds, 86_400);
    assert_eq!(config.observability.observation_permissions, 0o666);
    assert_eq!(
        config.observability.metrics_exporter_listen.to_string(),
        "127.0.0.1:9975"
    );
    assert_eq!(config.observability.observation_path, None);
    assert_eq!(config.clock.kind, ClockKind::System);
    assert_eq!(config.clock.timestamp_mode.value, TimestampMode::KernelAll);
    assert_eq!(
        config.state.directory.as_deref(),
        Some(Path::new("/var/lib/ntpd-rs"))
    );
}

#[test]
fn each_source_mode_has_its_values_and_defaults() {
    let config = file("sources.toml");
    let [server, pool, nts, nts_pool, sock, old, pps, selected] = &config.sources[..] else {
        panic!("{} sources", config.sources.len());
    };
    let addresses: Vec<String> = config
        .sources
        .iter()
        .filter_map(|source| source.kind.ntp())
        .map(|ntp| ntp.address.to_string())
        .collect();
    assert_eq!(
        addresses,
        [
            "a.example.org:4123",
            "pool.example.org:123",
            "nts.example.org:4460",
            "ntspool.example.org:4461",
            "selection.example.org:123"
        ]
    );

    let selection = SelectionOptions {
        prefer: true,
        trust: true,
        require: true,
        noselect: false,
        fallback: false,
    };
    assert_eq!(selected.kind.ntp().unwrap().selection, selection);

    let ntp = server.kind.ntp().unwrap();
    assert_eq!(ntp.selection, SelectionOptions::default());
    assert_eq!(ntp.version.value, VersionChoice::Number(NtpVersion::V5));
    let poll = ntp.poll.apply_to(config.source_defaults);
    assert_eq!(poll.poll_limits.min, PollInterval::from_log2(3));
    assert_eq!(poll.poll_limits.max, PollInterval::from_log2(9));
    assert_eq!(poll.initial_poll, PollInterval::from_log2(7));

    let SourceKind::Pool(pool) = &pool.kind else {
        panic!("{pool:?}")
    };
    assert_eq!(pool.ntp.version.value, VersionChoice::Auto);
    assert_eq!((pool.count, pool.ignore.len()), (7, 2));

    let SourceKind::Nts(nts) = &nts.kind else {
        panic!("{nts:?}")
    };
    assert!(nts.key_exchange.srv_resolution);
    let authority = nts.key_exchange.certificate_authorities.first().unwrap();
    assert_eq!(authority.value, PathBuf::from("/etc/ntpd-rs/ca.pem"));

    let SourceKind::NtsPool(nts_pool) = &nts_pool.kind else {
        panic!("{nts_pool:?}")
    };
    assert_eq!(nts_pool.count, 3);

    let SourceKind::RefClock(sock) = &sock.kind else {
        panic!("{sock:?}")
    };
    assert_eq!(
        (
            sock.quality.precision_seconds,
            sock.quality.accuracy_seconds
        ),
        (1.0, 1e-3)
    );
    let SourceKind::RefClock(old) = &old.kind else {
        panic!("{old:?}")
    };
    assert_eq!(
        (old.quality.precision_seconds, old.quality.accuracy_seconds),
        (1e-3, 0.0)
    );

    let SourceKind::RefClock(pps) = &pps.kind else {
        panic!("{pps:?}")
    };
    assert_eq!(
        (
            pps.quality.precision_seconds,
            pps.reader.device.pulse_period()
        ),
        (1e-7, Some(NtpDuration::from_seconds(2)))
    );
}

#[test]
fn servers_and_key_exchange_have_their_values_and_defaults() {
    let config = file("server.toml");
    let plain = &config.servers[0];
    assert!(plain.denylist.filter.is_empty());
    assert_eq!(plain.denylist.action, FilterAction::Deny);
    let all: Vec<String> = plain
        .allowlist
        .filter
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(all, ["::/0", "0.0.0.0/0"]);
    assert_eq!(plain.allowlist.action, FilterAction::Ignore);
    assert_eq!(
        (
            plain.rate_limiting_cache_size,
            plain.rate_limiting_cutoff_ms
        ),
        (0, 0)
    );
    assert_eq!(plain.require_nts, None);
    assert_eq!(
        plain.accept_ntp_versions,
        [
            NtpVersion::V1,
            NtpVersion::V2,
            NtpVersion::V3,
            NtpVersion::V4
        ]
    );

    let full = &config.servers[1];
    assert_eq!(full.denylist.filter[0].to_string(), "192.0.2.0/24");
    assert_eq!(full.allowlist.filter[0].to_string(), "192.0.0.0/8");
    assert_eq!(full.require_nts, Some(FilterAction::Ignore));
    assert!(full.accept_ntp_versions.is_empty());
    assert_eq!(config.servers[2].require_nts, Some(FilterAction::Deny));
    assert_eq!(config.servers[3].require_nts, None);

    let [plain, full, odd] = &config.nts_ke_servers[..] else {
        panic!()
    };
    assert_eq!(plain.key_exchange_timeout_ms, 1000);
    assert_eq!(
        (plain.concurrent_connections, plain.longlived_connections),
        (512, 51)
    );
    assert_eq!((plain.ntp_port, &plain.ntp_server), (None, &None));
    assert_eq!(plain.accept_ntp_versions, [NtpVersion::V4]);
    assert_eq!(
        (full.concurrent_connections, full.longlived_connections),
        (55, 5)
    );
    assert_eq!(
        (
            full.ntp_port,
            full.ntp_server.as_ref().map(ToString::to_string)
        ),
        (Some(1123), Some("ntp.example.org".to_owned()))
    );
    let tokens = ["one", "two"].map(|token| PoolToken::new(token.into()));
    assert_eq!(full.accepted_pool_authentication_tokens, tokens);
    assert_eq!(odd.longlived_connections, 9);

    assert_eq!(config.keyset.stale_key_count, 2);
    assert_eq!(
        config.keyset.key_storage_path.as_deref(),
        Some(Path::new("/var/lib/ntpd-rs/keys"))
    );
}

#[test]
fn synchronization_distinguishes_set_and_unset_values() {
    let config = file("synchronization.toml").synchronization;
    let single = config.single_step_panic_threshold;
    assert_eq!(
        (single.forward, single.backward),
        (Some(seconds(10.0)), None)
    );
    assert_eq!(
        config.startup_step_panic_threshold,
        StepThreshold::UNLIMITED
    );
    assert_eq!(config.accumulated_step_panic_threshold, None);
    assert!(!config.warn_on_jump);
    assert_eq!(config.reference_id, ReferenceId::new(*b"GPS "));
    let algorithm = config.algorithm;
    assert_eq!(algorithm.step_threshold, Some(seconds(0.1)));
    assert_eq!(
        algorithm.slew_maximum_frequency_offset,
        Some(Frequency::from_ratio(1e-4))
    );
    assert_eq!(algorithm.slew_minimum_duration, Some(seconds(16.0)));
    assert_eq!(
        algorithm.maximum_frequency_steer,
        Some(Frequency::from_ratio(f64::INFINITY))
    );
    assert_eq!(algorithm.meddling_threshold, Some(seconds(2.5)));
    assert_eq!(algorithm.ignore_server_dispersion, Some(true));
    let unset = inline("[synchronization.algorithm]\n")
        .synchronization
        .algorithm;
    assert_eq!(unset, Config::default().synchronization.algorithm);
    assert_eq!(unset.step_threshold, None);
}

#[test]
fn a_drift_allowance_is_learnt_or_a_number_and_a_target_is_above_zero() {
    let read = |key: &str| {
        let text = format!("[synchronization.algorithm]\n{key}\n");
        parse(&text, "inline").map(|(config, _)| config.synchronization.algorithm)
    };
    let learnt = read("drift-allowance = \"learnt\"").unwrap();
    assert_eq!(learnt.drift_allowance, None);
    let fixed = read("drift-allowance = 2.5").unwrap();
    assert_eq!(fixed.drift_allowance, Some(Frequency::from_ppm(2.5)));
    for wrong in ["\"learned\"", "-1", "1001", "true", "nan"] {
        let error = read(&format!("drift-allowance = {wrong}")).unwrap_err();
        assert!(
            wrong == "nan" || error.to_string().contains("\"learnt\" or a number"),
            "{error}"
        );
    }
    let target = read("accuracy-target = 1e-3").unwrap();
    assert_eq!(target.accuracy_target, Some(seconds(1e-3)));
    for wrong in ["0", "-1", "inf", "\"1 ms\""] {
        assert!(
            read(&format!("accuracy-target = {wrong}")).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn thresholds_have_three_forms() {
    let threshold = |value: &str| {
        let text = format!("[synchronization]\nstartup-step-panic-threshold = {value}\n");
        inline(&text).synchronization.startup_step_panic_threshold
    };
    assert_eq!(threshold("5"), StepThreshold::symmetric(seconds(5.0)));
    assert_eq!(threshold("0.5"), StepThreshold::symmetric(seconds(0.5)));
    assert_eq!(threshold("\"inf\""), StepThreshold::UNLIMITED);
    assert_eq!(threshold("{}"), StepThreshold::UNLIMITED);
    let backward = threshold("{ backward = 60, forward = \"inf\" }");
    assert_eq!(
        (backward.forward, backward.backward),
        (None, Some(seconds(60.0)))
    );
    assert!(!threshold("0").permits(seconds(1e-9)));
    assert!(!threshold("{ forward = nan }").permits(seconds(1e-9)));
    let accumulated = |value: &str| {
        inline(&format!(
            "[synchronization]\naccumulated-step-panic-threshold = {value}\n"
        ))
        .synchronization
        .accumulated_step_panic_threshold
    };
    assert_eq!(accumulated("7"), Some(seconds(7.0)));
    assert_eq!(accumulated("0"), None);
    assert_eq!(accumulated("\"inf\""), None);
}

#[test]
fn the_remaining_sections_have_their_values() {
    let config = file("observability.toml");
    assert_eq!(config.observability.log_level, Some(LogLevel::Trace));
    assert_eq!(config.observability.ansi_colors, Some(false));
    assert_eq!(config.observability.observation_permissions, 0o660);
    assert_eq!(
        config.observability.metrics_exporter_listen.to_string(),
        "[::1]:9000"
    );
    let expected = ClockKind::Virtual {
        offset: seconds(-0.25),
        frequency: Frequency::from_ppm(12.0),
    };
    assert_eq!(config.clock.kind, expected);
    assert_eq!(config.clock.timestamp_mode.value, TimestampMode::KernelRecv);
    assert_eq!(
        config.clock.interface.as_ref().unwrap().value.as_str(),
        "enp1s0"
    );
    assert_eq!(
        config.clock.device.as_ref().unwrap().value,
        PathBuf::from("/dev/ptp0")
    );
    assert_eq!(
        config.state.directory.as_deref(),
        Some(Path::new("/srv/ntp"))
    );
    assert_eq!(inline("[state]\nenabled = false\n").state.directory, None);
    assert_eq!(
        inline("[clock]\nkind = \"none\"\n").clock.kind,
        ClockKind::None
    );
}

#[test]
fn the_default_leap_second_list_is_used_unless_the_file_names_another() {
    let default = inline("").leap;
    assert_eq!(default.handling, LeapHandling::Kernel);
    assert!(default.list.is_some() && !default.list_is_named);
    let named = inline("[leap]\nlist = \"/etc/leap\"\nhandling = \"slew\"").leap;
    assert_eq!(named.list.as_deref(), Some(Path::new("/etc/leap")));
    assert!(named.list_is_named);
    assert_eq!(named.handling, LeapHandling::Slew);
    assert_eq!(inline("[leap]\nlist = \"none\"").leap.list, None);
    assert!(parse("[leap]\nlist = \"leap\"", "inline").is_err());
}

#[test]
fn spelling_does_not_change_the_meaning() {
    let config = file("spelling.toml");
    assert_eq!(config.sources.len(), 2);
    assert_eq!(config.sources[0], config.sources[1]);
    assert_eq!(
        config.source_defaults.poll_limits.max,
        PollInterval::from_log2(10)
    );
    assert_eq!(config.synchronization.minimum_agreeing_sources, 2);
    assert_eq!(
        config.synchronization.algorithm.step_threshold,
        Some(seconds(1.0))
    );
    assert_eq!(config.observability.observation_permissions, 0o666);
    assert_eq!(config.keyset.stale_key_count, 3);
}
