//! The sections and keys of the file, each with type, default and one line of explanation.
//!
//! This table is the source of the manual page and the reference chapter of the guide. Types
//! are written as TOML has them; a unit follows the type. Lists of modes apply to `[[source]]`.

use crate::keys::{KeyDoc, SectionDoc};

macro_rules! sections {
    ($($name:literal $heading:literal $upstream:literal : $doc:literal;)*) => {
        /// Every section and table that the file can hold.
        pub const SECTIONS: &[SectionDoc] = &[$(SectionDoc {
            name: $name, heading: $heading, upstream: $upstream, doc: $doc,
        }),*];
    };
}

macro_rules! keys {
    ($($section:literal $modes:tt { $($key:literal $kind:literal $default:literal $doc:literal;)* })*) => {
        /// Every key that the file can hold.
        pub const KEYS: &[KeyDoc] = &[$($(KeyDoc {
            section: $section, modes: &$modes, key: $key, kind: $kind, default: $default, doc: $doc,
        }),*),*];
    };
}

sections! {
    "source" "[[source]]" true: "A source of time; may be repeated.";
    "source.poll-interval-limits" "[source.poll-interval-limits]" true: "The range of one source's poll interval.";
    "source-defaults" "[source-defaults]" true: "What holds for every source that does not say otherwise.";
    "source-defaults.poll-interval-limits" "[source-defaults.poll-interval-limits]" true: "The range of poll intervals.";
    "server" "[[server]]" true: "An address at which time is served; may be repeated.";
    "server.denylist" "[server.denylist]" true: "Clients that are refused.";
    "server.allowlist" "[server.allowlist]" true: "Clients that are served; all others are refused.";
    "nts-ke-server" "[[nts-ke-server]]" true: "An address at which keys for NTS are given out; may be repeated.";
    "nts-ke-server.additional-certificates" "[[nts-ke-server.additional-certificates]]" false: "A certificate for other names; may be repeated.";
    "keys" "[keys]" false: "Symmetric keys, for sources and servers.";
    "keyset" "[keyset]" true: "The keys that protect NTS cookies.";
    "synchronization" "[synchronization]" true: "When and how far the clock may be corrected.";
    "synchronization.single-step-panic-threshold" "[synchronization.single-step-panic-threshold]" true: "The limit of a step, by direction.";
    "synchronization.startup-step-panic-threshold" "[synchronization.startup-step-panic-threshold]" true: "The limit of a step at start-up, by direction.";
    "synchronization.certificate-time-leniency" "[synchronization.certificate-time-leniency]" false: "How far the clock may be wrong when certificates are judged, by direction.";
    "synchronization.algorithm" "[synchronization.algorithm]" true: "Tuning of estimation and steering; the defaults are right for nearly everyone.";
    "observability" "[observability]" true: "Logs, metrics and the observation socket.";
    "control" "[control]" false: "The socket at which the daemon is read and changed while it runs.";
    "clock" "[clock]" true: "The clock to be corrected, and how packets are timestamped.";
    "leap" "[leap]" false: "What happens at a leap second.";
    "state" "[state]" false: "What is kept over a restart.";
    "sandbox" "[sandbox]" false: "What the daemon gives up once it has what it needs.";
    "service" "[service]" false: "What the service manager is told.";
    "disabled" "[disabled]" false: "In a drop-in: what files before this one say, and this one takes back.";
}

keys! {
    "source" [] {
        "mode" "`server`, `pool`, `nts`, `nts-pool`, `sock` or `pps`" "required" "What kind of source this is.";
    }
    "source" ["server", "pool"] {
        "address" "string" "required" "Host name or IP address, with an optional port (123 if none).";
    }
    "source" ["nts", "nts-pool"] {
        "address" "string" "required" "Host name or IP address of the key exchange server, with an optional port (4460 if none).";
    }
    "source" ["server", "pool", "nts", "nts-pool"] {
        "ntp-version" "`4`, `5` or `\"auto\"`" "4" "Protocol version; `auto` begins with 4 and goes over to 5 where the server can.";
        "poll-interval-limits" "table" "as in `[source-defaults]`" "Range of the poll interval of this source.";
        "initial-poll-interval" "integer, log2 seconds" "as in `[source-defaults]`" "Poll interval of this source after its first samples.";
        "prefer" "boolean" "false" "Used in place of sources without this mark, as long as it agrees with the majority.";
        "trust" "boolean" "false" "Right by decree: only sources that agree with the trusted ones are used.";
        "require" "boolean" "false" "Nothing is steered unless at least one such source is part of the majority.";
        "noselect" "boolean" "false" "Measured and shown, but never used.";
        "interleaved" "boolean" "false" "Whether the server is asked for interleaved mode (RFC 9769), in which its timestamps are those of its kernel or network card; falls back by itself. Requests then repeat the server's last receive timestamp, and two follow each other at poll intervals above 8 s.";
    }
    "source" ["server", "pool"] {
        "key" "integer" "none" "Number of the symmetric key that requests are signed with and replies must be signed with; see `[keys]`.";
    }
    "source" ["pool"] {
        "count" "integer" "4" "How many servers of the pool are used at the same time.";
        "ignore" "list of IP addresses" "[]" "Addresses of the pool that are never used.";
    }
    "source" ["nts-pool"] {
        "count" "integer" "4" "How many servers of the pool are used at the same time.";
    }
    "source" ["nts", "nts-pool"] {
        "certificate-authority" "path" "none" "PEM file of certificate authorities that are trusted in addition to the system's.";
        "enable-srv-resolution" "boolean" "false" "Whether the server is looked up by its SRV record (experimental).";
    }
    "source" ["sock"] {
        "path" "path" "required" "Unix datagram socket that is created for samples; a file of that name is deleted.";
    }
    "source" ["pps"] {
        "path" "path" "required" "The device, for example `/dev/pps0`.";
        "period" "number, seconds" "1.0" "Time from one pulse to the next.";
    }
    "source" ["sock", "pps"] {
        "precision" "number, seconds" "required" "Standard deviation of the noise of one sample.";
        "measurement_noise_estimate" "number, seconds squared" "none" "Deprecated: variance of the noise of one sample, in place of `precision`.";
        "accuracy" "number, seconds" "0" "Standard deviation of the error that all samples have in common.";
    }
    "source.poll-interval-limits" [] {
        "min" "integer, log2 seconds" "as in `[source-defaults]`" "Shortest poll interval: 4 is 16 s.";
        "max" "integer, log2 seconds" "as in `[source-defaults]`" "Longest poll interval: 10 is 1024 s.";
    }
    "source-defaults" [] {
        "poll-interval-limits" "table" "{ min = 4, max = 10 }" "Range of the poll interval.";
        "initial-poll-interval" "integer, log2 seconds" "4" "Poll interval after the first samples of a source.";
    }
    "source-defaults.poll-interval-limits" [] {
        "min" "integer, log2 seconds" "required" "Shortest poll interval: 4 is 16 s.";
        "max" "integer, log2 seconds" "required" "Longest poll interval: 10 is 1024 s.";
    }
    "server" [] {
        "listen" "string" "required" "Address and port to listen on, for example `0.0.0.0:123` or `[::]:123`.";
        "denylist" "table" "nobody" "Clients that are refused; looked at first.";
        "allowlist" "table" "everybody" "Clients that are served; looked at second, and refuses all that it does not name.";
        "rate-limiting-cache-size" "integer" "0" "How many client addresses are watched for too frequent requests; 0 watches none.";
        "rate-limiting-cutoff-ms" "integer, milliseconds" "0" "Shortest time between two requests of one address; 0 permits any.";
        "rate-limiting-burst" "integer" "1" "How many requests of one address are answered in a row before the cutoff holds, 1 to 255; one is regained in each cutoff.";
        "rate-limiting-leak" "`0` or a power of two" "8" "After 16 refusals in a row, one request in so many is answered all the same, so that forged requests cannot silence a client; 0 is none.";
        "rate-limiting-kiss" "`0` or a power of two" "0" "One refused request in so many gets a RATE kiss, which asks the client to slow down; 0 is none, 1 all.";
        "interleaved-cache-size" "integer" "4096" "Transmit timestamps that each thread keeps for clients in interleaved mode (RFC 9769), 24 octets each; 0 switches the mode off.";
        "client-list-size" "integer" "0" "How many client addresses are remembered for `ntp-ctl clients`, up to 65536, 72 octets each: those that ask most often. 0 remembers none.";
        "keys" "list of integers" "all keys of the key file" "Numbers of the symmetric keys that clients may use; with an empty list, signatures are not looked at.";
        "require-nts" "boolean, `\"ignore\"` or `\"deny\"`" "false" "Whether requests without NTS are refused, and how; `true` is `\"ignore\"`.";
        "accept-ntp-versions" "list of `3`, `4` and `5`" "[3, 4]" "Protocol versions that are answered.";
        "workers" "integer" "the number of processors" "Threads that serve at this address; each client meets the same one.";
        "rest-under-load" "boolean" "true" "Whether a thread that gets over ten thousand requests a second gathers them for a tenth of a millisecond at a time: answers come that much later, with correct timestamps, for a fraction of the processor time.";
    }
    "server.denylist" [] {
        "filter" "list of strings" "required" "Networks, for example `192.0.2.0/24`.";
        "action" "`ignore` or `deny`" "required" "Answer to clients in the list: none, or a refusal.";
    }
    "server.allowlist" [] {
        "filter" "list of strings" "required" "Networks, for example `2001:db8::/32`.";
        "action" "`ignore` or `deny`" "required" "Answer to clients that are not in the list: none, or a refusal.";
    }
    "nts-ke-server" [] {
        "listen" "string" "required" "Address and port to listen on, for example `0.0.0.0:4460`.";
        "certificate-chain-path" "path" "required" "PEM file with the server's certificate and its chain.";
        "private-key-path" "path" "required" "PEM file with the certificate's private key.";
        "key-exchange-timeout-ms" "integer, milliseconds" "1000" "How long one key exchange may take.";
        "concurrent-connections" "integer" "512" "How many connections are served at the same time.";
        "longlived-connections" "integer" "a tenth of `concurrent-connections`" "How many of them pool brokers may keep open.";
        "ntp-port" "integer" "none" "Port of the NTP server that clients are sent to; 123 if none.";
        "ntp-server" "string" "none" "NTP server that clients are sent to; this host if none.";
        "accept-ntp-versions" "list of `4` and `5`" "[4]" "Protocol versions that keys are given out for.";
        "accepted-pool-authentication-tokens" "list of strings" "[]" "Tokens of brokers that may ask for pool members' keys.";
        "connections-per-address" "integer" "an eighth of `concurrent-connections`" "How many connections one address (IPv6: /64) may have at the same time; its oldest goes first.";
        "aead-algorithms" "list of `15`, `17` and `30`" "[30, 15, 17]" "Algorithms that keys are given out for, best first: AES-SIV-CMAC-256, AES-SIV-CMAC-512, AES-128-GCM-SIV.";
        "additional-certificates" "list of tables" "[]" "Certificates for other names, chosen by the name that a client asks for.";
    }
    "nts-ke-server.additional-certificates" [] {
        "certificate-chain-path" "path" "required" "PEM file with a certificate and its chain.";
        "private-key-path" "path" "required" "PEM file with the certificate's private key.";
    }
    "keys" [] {
        "path" "path" "required" "File of symmetric keys, a line `number type secret` for each, as ntpd and chrony have them; types are `AES128`, `AES256`, `SHA1`, `SHA256`, `SHA384`, `SHA512` and `MD5`.";
    }
    "keyset" [] {
        "stale-key-count" "integer" "7" "How many replaced keys stay valid.";
        "key-rotation-interval" "integer, seconds" "86400" "Time until a key is replaced.";
        "key-storage-path" "path" "`keyset` in the state directory" "File that keeps the keys over a restart.";
        "shared-secret-path" "path" "none" "File with a secret of at least 32 octets, the same on several servers: they derive the same keys from it and from the time, so that each accepts the others' cookies. The clock must be synchronised, `key-rotation-interval` and `stale-key-count` the same everywhere. Not readable for everybody.";
    }
    "synchronization" [] {
        "minimum-agreeing-sources" "integer" "3" "How many sources must agree before the clock is corrected.";
        "single-step-panic-threshold" "number, `\"inf\"` or table, seconds" "1000" "Steps of this size or more stop the daemon.";
        "startup-step-panic-threshold" "number, `\"inf\"` or table, seconds" "{ forward = \"inf\", backward = 86400 }" "The same, until the clock has been set for the first time.";
        "accumulated-step-panic-threshold" "number, seconds" "none" "Steps that together exceed this stop the daemon; those of start-up do not count. 0 is no limit.";
        "certificate-time-leniency" "number, `\"inf\"` or table, seconds" "{ forward = \"inf\", backward = 86400 }" "As long as the clock is not synchronised, the certificate of an NTS source may be valid at a time so far from what the clock says (but not before the last time that an earlier run saved); it is judged again when the time is known. 0 is no leniency.";
        "warn-on-jump" "boolean" "true" "Whether a step is logged as a warning.";
        "local-stratum" "integer" "16" "Stratum served without a source, and the stratum from which sources are not used.";
        "reference-id" "string" "\"XNON\"" "Reference identifier served at `local-stratum = 1`, of up to 4 characters.";
        "algorithm" "table" "our own steering" "See `[synchronization.algorithm]`.";
    }
    "synchronization.single-step-panic-threshold" [] {
        "forward" "number or `\"inf\"`, seconds" "\"inf\"" "Limit of steps that set the clock forward.";
        "backward" "number or `\"inf\"`, seconds" "\"inf\"" "Limit of steps that set the clock back.";
    }
    "synchronization.startup-step-panic-threshold" [] {
        "forward" "number or `\"inf\"`, seconds" "\"inf\"" "Limit of steps that set the clock forward.";
        "backward" "number or `\"inf\"`, seconds" "\"inf\"" "Limit of steps that set the clock back.";
    }
    "synchronization.certificate-time-leniency" [] {
        "forward" "number or `\"inf\"`, seconds" "\"inf\"" "How far the clock may be behind.";
        "backward" "number or `\"inf\"`, seconds" "\"inf\"" "How far the clock may be ahead.";
    }
    "synchronization.algorithm" [] {
        "step-threshold" "number, seconds" "none" "Offsets above it are stepped, at any time; unset, only the first updates and ones after a disturbance step.";
        "slew-maximum-frequency-offset" "number, seconds per second" "500e-6" "How much faster or slower than true the clock may run to make up for an offset.";
        "slew-minimum-duration" "number, seconds" "none" "An offset is made up for over at least this time.";
        "maximum-frequency-steer" "number, seconds per second" "none" "Limit of the whole frequency correction.";
        "maximum-source-uncertainty" "number, seconds" "none" "Sources less certain than this are disregarded.";
        "meddling-threshold" "number, seconds" "none" "A jump of the clock that is not ours and larger than this starts estimation anew.";
        "initial-frequency-uncertainty" "number, seconds per second" "none" "Standard deviation of the frequency estimate after the first samples.";
        "ignore-server-dispersion" "boolean" "false" "Whether the root dispersion that a server tells is left out when sources are combined.";
        "precision-low-probability" "number" "none" "Without effect: belongs to another estimator.";
        "precision-high-probability" "number" "none" "Without effect: belongs to another estimator.";
        "precision-hysteresis" "integer" "none" "Without effect: belongs to another estimator.";
        "precision-minimum-weight" "number" "none" "Without effect: belongs to another estimator.";
        "poll-interval-low-weight" "number" "none" "Without effect: belongs to another estimator.";
        "poll-interval-high-weight" "number" "none" "Without effect: belongs to another estimator.";
        "poll-interval-hysteresis" "integer" "none" "Without effect: belongs to another estimator.";
        "poll-interval-step-threshold" "number" "none" "Without effect: belongs to another estimator.";
        "delay-outlier-threshold" "number" "none" "Without effect: belongs to another estimator.";
        "initial-wander" "number" "none" "Without effect: belongs to another estimator.";
        "range-statistical-weight" "number" "none" "Without effect: belongs to another estimator.";
        "range-delay-weight" "number" "none" "Without effect: belongs to another estimator.";
        "steer-offset-threshold" "number" "none" "Without effect: belongs to another estimator.";
        "steer-offset-leftover" "number" "none" "Without effect: belongs to another estimator.";
        "steer-frequency-threshold" "number" "none" "Without effect: belongs to another estimator.";
        "steer-frequency-leftover" "number" "none" "Without effect: belongs to another estimator.";
    }
    "observability" [] {
        "log-level" "`trace`, `debug`, `info`, `warn` or `error`" "info" "What is logged; the command line's option comes first.";
        "log-path" "path" "standard output" "File that the daemon logs to.";
        "log-path-metrics-exporter" "path" "standard output" "File that the metrics exporter logs to.";
        "ansi-colors" "boolean" "true on a terminal" "Whether log lines are coloured.";
        "observation-path" "path" "none" "Unix socket at which the daemon's state can be read.";
        "observation-permissions" "integer" "0o666" "Permissions of that socket; write them in octal.";
        "record-path" "path" "none" "File in which everything that decisions depend on is recorded, for `ntp-ctl replay`; at most 64 MiB with older ones (`NAME.1` and so on), without keys.";
        "metrics-exporter-listen" "string" "127.0.0.1:9975" "Address and port at which the metrics exporter listens.";
    }
    "control" [] {
        "path" "path" "/run/ntpd-rs/control" "Unix socket that `ntp-ctl` and other Varlink clients use.";
        "enabled" "boolean" "true" "Whether there is such a socket.";
        "group" "string" "none" "Group, by name or number, that may change things, beside root and the daemon's own user. It is given the socket.";
        "mode" "integer" "0o666" "Permissions of that socket; whoever may write to it may read the daemon's state.";
    }
    "clock" [] {
        "kind" "`system`, `virtual` or `none`" "system" "The clock to correct: the system's, a simulated one of this process (a dry run), or none.";
        "virtual-offset" "number, seconds" "0" "How far a virtual clock is ahead of the system's at start.";
        "virtual-frequency" "number, parts per million" "0" "How much faster than the system's a virtual clock runs.";
        "timestamp-mode" "`software`, `kernel-recv`, `kernel-all` or `hardware`" "kernel-all" "Where packets are timestamped.";
        "interface" "string" "none" "Network interface that client packets are bound to.";
        "clock" "path" "none" "PTP device to correct in place of the system clock.";
    }
    "leap" [] {
        "handling" "`kernel`, `slew` or `smear`" "kernel" "What the clock does: the kernel repeats or leaves out a second; or the clock is a second off and slewed; or the second is spread over the day from noon to noon (UTC), for clients of this server too, whose reference identifier is then 127.127.1.255.";
        "list" "path or `\"none\"`" "/usr/share/zoneinfo/leap-seconds.list" "The list of all leap seconds; while it is valid it has the last word, and the kernel is told TAI - UTC.";
    }
    "state" [] {
        "directory" "path" "/var/lib/ntpd-rs" "Directory that keeps the oscillator's frequency, a time that is past, cookies and keys over a restart. What is found there and cannot be used is set aside (`NAME.damaged`) and begun anew.";
        "enabled" "boolean" "true" "Whether anything is kept over a restart at all.";
        "set-clock-forward" "boolean" "true" "Whether a clock that is more than a minute behind the last time that an earlier run was sure of is set forward to that at the start, as far as `startup-step-panic-threshold` allows: for machines without a battery for their clock.";
    }
    "sandbox" [] {
        "mode" "`off`, `warn` or `enforce`" "enforce" "Whether files and system calls that a thread does not need are refused to it; `warn` only writes such calls to the kernel's log. The command line's option comes first.";
        "user" "string" "ntpd-rs" "The user that a daemon started by root becomes, if there is such a user; `root` stays.";
    }
    "service" [] {
        "ready" "`started` or `synchronized`" "started" "When systemd is told that the daemon is ready, so that services ordered after it may start: once it runs, or once the clock is synchronised for the first time. The manager's time limit for a start is extended as long as that takes. Where no source is configured, `synchronized` is as `started`.";
    }
    "disabled" [] {
        "sources" "list of strings" "[]" "Addresses of sources (of reference clocks, paths) of files before this one that are not used.";
        "servers" "list of strings" "[]" "Addresses and ports of `[[server]]` sections of files before this one at which no time is served.";
    }
}
