//! Names that were never right here, or are no longer: what to write instead.
//!
//! Edit distance finds slips of the finger. This table holds what it cannot find: keys that
//! ntpd-rs itself has renamed or removed, keys that its documentation at some time got wrong,
//! and the words of other daemons for the same thing.

/// A wrong name, the name in the same section that replaces it (if one does), and advice.
pub(crate) struct Renamed {
    /// The section it is written in, empty for the top level.
    section: &'static str,
    wrong: &'static str,
    pub(crate) right: Option<&'static str>,
    pub(crate) advice: &'static str,
}

/// The entry for `wrong` in `section`, whatever its spelling (`min_poll`, `min-poll`).
pub(crate) fn find(section: &str, wrong: &str) -> Option<&'static Renamed> {
    let kebab = wrong.to_lowercase().replace('_', "-");
    TABLE
        .iter()
        .find(|entry| entry.section == section && entry.wrong == kebab)
}

const fn renamed(
    section: &'static str,
    wrong: &'static str,
    right: &'static str,
    advice: &'static str,
) -> Renamed {
    Renamed {
        section,
        wrong,
        right: Some(right),
        advice,
    }
}

const fn gone(section: &'static str, wrong: &'static str, advice: &'static str) -> Renamed {
    Renamed {
        section,
        wrong,
        right: None,
        advice,
    }
}

#[rustfmt::skip]
const TABLE: &[Renamed] = &[
    renamed("", "peer", "source", "time sources are sections `[[source]]` (named `[[peer]]` before 1.0)"),
    renamed("", "peers", "source", "each time source is a section `[[source]]`"),
    renamed("", "sources", "source", "each time source is a section `[[source]]`"),
    renamed("", "pool", "source", "a pool is a section `[[source]]` with `mode = \"pool\"`"),
    renamed("", "nts", "source", "an NTS source is a section `[[source]]` with `mode = \"nts\"`"),
    renamed("", "peer-defaults", "source-defaults", "named `[source-defaults]` since 1.0"),
    renamed("", "servers", "server", "each listening address is a section `[[server]]`"),
    renamed("", "nts-server", "nts-ke-server", "NTS key exchange is served by a section `[[nts-ke-server]]`"),
    renamed("", "nts-ke", "nts-ke-server", "NTS key exchange is served by a section `[[nts-ke-server]]`"),
    renamed("", "keyfile", "keys", "symmetric keys are a section `[keys]` with `path`"),
    renamed("", "symmetric-keys", "keys", "symmetric keys are a section `[keys]` with `path`"),
    renamed("", "system", "synchronization", "named `[synchronization]` since 1.0"),
    renamed("", "observe", "observability", "the observation socket is `observation-path` in `[observability]`"),
    renamed("", "logging", "observability", "logging is set in `[observability]`"),
    gone("", "configure", "run-time changes are no longer set up by a section of this name"),
    gone("", "csptp", "CSPTP is not part of this release"),
    gone("", "csptp-server", "CSPTP is not part of this release"),

    renamed("source", "host", "address", "write it as `address`"),
    renamed("source", "hostname", "address", "write it as `address`"),
    renamed("source", "server", "address", "write it as `address`"),
    renamed("source", "addr", "address", "write it as `address`"),
    renamed("source", "type", "mode", "write it as `mode`"),
    renamed("source", "ca", "certificate-authority", "write it as `certificate-authority`"),
    renamed("source", "max-peers", "count", "the size of a pool is `count`"),
    renamed("source", "max-sources", "count", "the size of a pool is `count`"),
    renamed("source", "maxsources", "count", "the size of a pool is `count`"),
    renamed("source", "version", "ntp-version", "write it as `ntp-version`"),
    renamed("source", "measurement-noise-estimate", "precision", "use `precision`: the standard deviation in seconds (the old key was a variance, and spelled with underscores)"),
    renamed("source", "min-poll", "poll-interval-limits", "write `poll-interval-limits = { min = … }`, in log2 seconds"),
    renamed("source", "max-poll", "poll-interval-limits", "write `poll-interval-limits = { max = … }`, in log2 seconds"),
    renamed("source", "minpoll", "poll-interval-limits", "write `poll-interval-limits = { min = … }`, in log2 seconds"),
    renamed("source", "maxpoll", "poll-interval-limits", "write `poll-interval-limits = { max = … }`, in log2 seconds"),
    renamed("source", "poll-interval", "poll-interval-limits", "the range is `poll-interval-limits = { min = …, max = … }`, the first value `initial-poll-interval`"),
    gone("source", "port", "the port is written behind the address: `address = \"ntp.example.org:123\"`"),
    gone("source", "iburst", "leave it out: the first exchanges with a source are always quick"),
    gone("source", "burst", "leave it out: the poll interval adapts by itself"),
    renamed("source", "key-id", "key", "write it as `key`: a number in the file of `[keys]`"),
    renamed("source", "keyid", "key", "write it as `key`: a number in the file of `[keys]`"),
    renamed("source", "xleave", "interleaved", "write it as `interleaved`"),

    renamed("source-defaults", "min-poll", "poll-interval-limits", "write `poll-interval-limits = { min = …, max = … }`, in log2 seconds"),
    renamed("source-defaults", "max-poll", "poll-interval-limits", "write `poll-interval-limits = { min = …, max = … }`, in log2 seconds"),

    renamed("server", "address", "listen", "the address to listen on is `listen`"),
    renamed("server", "addr", "listen", "the address to listen on is `listen`"),
    renamed("server", "bind", "listen", "the address to listen on is `listen`"),
    renamed("server", "key", "keys", "the keys that clients may use are a list: `keys = [1, 2]`"),
    renamed("server", "trustedkey", "keys", "the keys that clients may use are a list: `keys = [1, 2]`"),
    renamed("server", "burst", "rate-limiting-burst", "write it as `rate-limiting-burst`"),
    renamed("server", "leak", "rate-limiting-leak", "write it as `rate-limiting-leak`: one request in so many"),
    renamed("server", "kod", "rate-limiting-kiss", "write it as `rate-limiting-kiss`: one request in so many"),
    renamed("server", "ratelimit", "rate-limiting-cutoff-ms", "requests are limited by `rate-limiting-cutoff-ms` and `rate-limiting-cache-size`"),
    renamed("server", "clientloglimit", "client-list-size", "write it as `client-list-size`: the number of addresses that are remembered"),
    gone("server", "port", "the port is written behind the address: `listen = \"0.0.0.0:123\"`"),
    renamed("nts-ke-server", "addr", "listen", "the address to listen on is `listen`"),
    renamed("nts-ke-server", "address", "listen", "the address to listen on is `listen`"),
    renamed("nts-ke-server", "cert-chain-path", "certificate-chain-path", "write it as `certificate-chain-path`"),
    renamed("nts-ke-server", "certificate", "certificate-chain-path", "write it as `certificate-chain-path`"),
    renamed("nts-ke-server", "key", "private-key-path", "write it as `private-key-path`"),

    renamed("observability", "log", "log-level", "write it as `log-level`"),
    renamed("observability", "verbosity", "log-level", "write it as `log-level`"),
    renamed("observability", "socket", "observation-path", "write it as `observation-path`"),
    gone("observability", "configure-permissions", "there is no configuration socket of this kind any more (removed in 1.0)"),
    gone("observability", "configure-path", "there is no configuration socket of this kind any more (removed in 1.0)"),

    renamed("synchronization", "startup-panic-threshold", "startup-step-panic-threshold", "write it as `startup-step-panic-threshold`"),
    renamed("synchronization", "panic-threshold", "single-step-panic-threshold", "write it as `single-step-panic-threshold`"),
    renamed("synchronization", "single-panic-threshold", "single-step-panic-threshold", "write it as `single-step-panic-threshold`"),
    renamed("synchronization", "accumulated-threshold", "accumulated-step-panic-threshold", "write it as `accumulated-step-panic-threshold`"),
    renamed("synchronization", "accumulated-panic-threshold", "accumulated-step-panic-threshold", "write it as `accumulated-step-panic-threshold`"),
    renamed("synchronization", "min-intersection-survivors", "minimum-agreeing-sources", "write it as `minimum-agreeing-sources`"),
    renamed("synchronization", "minsources", "minimum-agreeing-sources", "write it as `minimum-agreeing-sources`"),
    gone("synchronization", "makestep", "the step limits are `single-step-panic-threshold` and `startup-step-panic-threshold`"),

    renamed("keys", "file", "path", "write it as `path`"),
    renamed("keys", "keyfile", "path", "write it as `path`"),
    renamed("keyset", "path", "key-storage-path", "write it as `key-storage-path`"),
    renamed("state", "path", "directory", "write it as `directory`"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KEYS, SECTIONS};

    /// Advice that names a key nobody reads would send the reader in a circle.
    #[test]
    fn every_replacement_exists_and_no_wrong_name_does() {
        for entry in TABLE {
            let exists = |name: &str| {
                if entry.section.is_empty() {
                    SECTIONS.iter().any(|section| section.name == name)
                } else {
                    KEYS.iter()
                        .any(|key| key.section == entry.section && key.key == name)
                }
            };
            assert!(entry.right.is_none_or(exists), "{:?}", entry.right);
            assert!(!exists(entry.wrong), "{} is a name in use", entry.wrong);
        }
    }
}
