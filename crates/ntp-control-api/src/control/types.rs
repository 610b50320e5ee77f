//! What the methods give: the daemon's state, in plain numbers.
//!
//! Durations are seconds, frequencies parts per million, times seconds since 1970 (UTC, as the disciplined clock reads). A
//! figure that is not known is absent. An offset is what would have to be added to our clock: true (or the server's) time minus
//! ours, positive if our clock is behind (RFC 5905 section 8).

use super::schema::record;

record! {
    /// Everything there is to see.
    Status {
        /// The program.
        program: Program,
        /// The clock, and what is claimed about it.
        system: System,
        /// The sources that are asked: an association with one server address each.
        sources: Vec<Source>,
        /// The sources that are configured, each of which leads to one association or several.
        configured: Vec<Configured>,
        /// The addresses at which time is served.
        servers: Vec<Server>,
        /// The giving out of NTS keys; absent if none are given out.
        key_exchange: Option<KeyExchange>,
    }

    /// The daemon.
    Program {
        /// Its version.
        version: String,
        /// For how many seconds it has been running.
        uptime: f64,
        /// Its clock now.
        now: f64,
        /// Its main configuration file; absent if it runs on defaults.
        config_path: Option<String>,
    }

    /// The clock, and what is claimed about it.
    System {
        /// Whether the clock follows its sources and the error bound is below its limit.
        synchronized: bool,
        /// Hops to the primary reference, 16 without one.
        stratum: u32,
        /// What the time comes from: four characters, or an address.
        reference_id: String,
        /// The name of the source that is the reference.
        reference: Option<String>,
        /// When the clock was last updated from a source.
        reference_time: Option<f64>,
        /// Announced leap second: none, insert, delete or unsynchronized.
        leap: String,
        /// What is still to be added to the clock by the best estimate.
        offset: Option<f64>,
        /// By how much the bare oscillator runs fast, in parts per million.
        frequency: f64,
        /// The standard deviation of that.
        frequency_sigma: f64,
        /// The error that the clock stays within 99.9 % of the time.
        estimated_error: Option<f64>,
        /// The guaranteed error: true time is never further away.
        error_bound: Option<f64>,
        /// Round trip to the primary reference.
        root_delay: f64,
        /// Error accumulated on the way from the primary reference.
        root_dispersion: Option<f64>,
        /// Sum of the magnitudes of all steps after start-up.
        accumulated_steps: f64,
        /// The limit of that, if configured.
        accumulated_steps_limit: Option<f64>,
        /// Sources whose statements about the time are compatible.
        agreeing: u64,
        /// Sources that have a say.
        candidates: u64,
        /// Sources that must agree (minimum-agreeing-sources).
        needed: u64,
        /// Whether those that agree are enough to steer by.
        majority: bool,
        /// The clock that is disciplined: system, virtual or none.
        clock: String,
        /// How far a virtual clock is ahead of the clock it is laid over: its true error, if that one is right.
        true_offset: Option<f64>,
    }

    /// One association.
    Source {
        /// Its number, never used again in this run.
        id: u64,
        /// The configured name, host:port.
        name: String,
        /// The address in use.
        address: String,
        /// Where it stands: selected, outranked, falseticker, no-majority, too-uncertain, no-samples, stale, unreachable,
        /// unusable or offline. Later versions may add words.
        state: String,
        /// Whether requests are sent to it.
        online: bool,
        /// Whether packets are authenticated, and how: none, key or nts.
        authentication: String,
        /// The operator's marks: prefer, trust, require, noselect.
        marks: Vec<String>,
        /// The poll interval in use.
        poll: f64,
        /// The shortest poll interval permitted.
        poll_min: f64,
        /// The longest poll interval permitted.
        poll_max: f64,
        /// Seconds until it is asked next.
        next_poll: Option<f64>,
        /// The last eight polls, the newest in the lowest bit; 1 is an answer.
        reach: u64,
        /// Polls since the last answer, 8 at most.
        unanswered: u64,
        /// What was wrong with the last request or reply, in words, until an answer is of use again.
        trouble: Option<String>,
        /// The newest measurement.
        measurement: Option<Measurement>,
        /// What has been learnt about the path.
        path: Option<Path>,
        /// What became of its packets.
        packets: Packets,
        /// NTS cookies at hand, at most 8; absent if it does not use NTS.
        nts_cookies: Option<u64>,
        /// When the first certificate expires of the chain that its key exchange showed last; absent while keys of an earlier run are in use.
        certificate_expires: Option<f64>,
    }

    /// What a source said last.
    Measurement {
        /// When.
        at: f64,
        /// What it would have us add to the clock.
        offset: f64,
        /// Half width of the interval in which that offset must lie.
        uncertainty: Option<f64>,
        /// Round trip.
        delay: f64,
        /// The server's own round trip to the primary reference.
        root_delay: f64,
        /// The error that the server admits.
        root_dispersion: f64,
        /// The server's stratum.
        stratum: u32,
        /// The server's reference: four characters, or an address.
        reference_id: String,
        /// The leap second that the server announces: none, insert, delete or unsynchronized.
        leap: String,
    }

    /// What has been learnt about the path to a source.
    Path {
        /// Round trip when nothing is in the way.
        base_delay: f64,
        /// Median excess over it.
        typical_excess: f64,
        /// Standard deviation of a typical sample.
        jitter: f64,
        /// Estimated asymmetry.
        bias: f64,
        /// Standard deviation of that.
        bias_sigma: f64,
        /// What the newest sample says about our best estimate: estimate minus sample.
        residual: f64,
        /// Whether it has a place in the joint estimate; if not, better sources do.
        seated: bool,
        /// Samples in a row that were surprises.
        strikes: u64,
    }

    /// What became of packets.
    Packets {
        /// Requests sent.
        sent: u64,
        /// Datagrams received.
        received: u64,
        /// Replies that gave usable time.
        accepted: u64,
        /// Replies to our requests without usable time.
        unusable: u64,
        /// Datagrams that answered nothing of ours.
        bogus: u64,
        /// Of the unusable ones: those that said that our symmetric key is not accepted. Anybody on the path can say that.
        crypto_naks: u64,
        /// Of the unusable ones: those that said that our NTS cookie cannot be read. Anybody on the path can say that.
        nts_naks: u64,
    }

    /// A configured source.
    Configured {
        /// Its name, host:port.
        name: String,
        /// Associations wanted.
        wanted: u64,
        /// Associations there are.
        present: u64,
        /// Whether it is asked.
        online: bool,
        /// Whether the server refused us, so that it is not asked again.
        denied: bool,
        /// Why the last look-up or key exchange failed, if it did, in words.
        trouble: Option<String>,
    }

    /// An address at which time is served.
    Server {
        /// The address.
        address: String,
        /// Datagrams received; the next five add up to it.
        received: u64,
        /// Answered with time.
        accepted: u64,
        /// Refused by configuration.
        denied: u64,
        /// Dropped: malformed, of a mode or version not served, or by configuration.
        ignored: u64,
        /// Over the rate limit.
        rate_limited: u64,
        /// NTS cookie or authentication failed.
        nts_nak: u64,
        /// Answers that could not be sent.
        send_errors: u64,
        /// How many clients are remembered at most (client-list-size); 0 if none.
        client_list_size: u64,
    }

    /// Who asked for time at one address.
    Client {
        /// The address.
        address: String,
        /// The address at which it asked.
        server: String,
        /// Its datagrams, at most.
        requests: u64,
        /// How many of these may have been those of clients that had to make room.
        overcount: u64,
        /// Answered with time.
        answered: u64,
        /// Refused by an access list, or because NTS is required.
        denied: u64,
        /// Over the rate limit.
        limited: u64,
        /// Mean time between two requests; absent before the second.
        interval: Option<f64>,
        /// When it came into the list.
        first: f64,
        /// When it was heard last.
        last: f64,
    }

    /// The giving out of NTS keys (RFC 8915 section 4).
    KeyExchange {
        /// The addresses.
        addresses: Vec<String>,
        /// Connections; those that have ended are in one of the next five.
        connections: u64,
        /// Ended with keys.
        granted: u64,
        /// Answered without keys.
        refused: u64,
        /// Took too long.
        timed_out: u64,
        /// Had to make room for others.
        evicted: u64,
        /// Broke, or never spoke the protocol.
        failed: u64,
        /// Number of the key that cookies are made with; absent while there is none, as in a fleet before the clock is synchronised.
        cookie_key: Option<u64>,
        /// The certificates that clients are shown.
        certificates: Vec<Certificate>,
    }

    /// A certificate.
    Certificate {
        /// Its file.
        path: String,
        /// Names and addresses that it is good for.
        names: Vec<String>,
        /// When it, or another one of its chain, expires.
        expires: Option<f64>,
    }

    /// A section of the configuration in force, with those of its keys that somebody has set.
    Section {
        /// Its name, for example source.
        name: String,
        /// Whether there may be several of that name.
        repeated: bool,
        /// Who began it, or changed it last.
        origin: Origin,
        /// Its keys.
        settings: Vec<Setting>,
    }

    /// A key of the configuration and its value.
    Setting {
        /// The key, with those of the tables around it, joined by dots.
        key: String,
        /// The value as TOML has it.
        value: String,
        /// Where it comes from.
        origin: Origin,
    }

    /// Where a setting comes from.
    Origin {
        /// file, runtime (a command changed it) or command-line.
        kind: String,
        /// The file.
        file: Option<String>,
        /// The line in it.
        line: Option<u64>,
        /// Who made the change at run time.
        by: Option<String>,
        /// When.
        at: Option<f64>,
    }

    /// A source or server of a file that is not in force, or not as the file has it.
    Withdrawn {
        /// source or server.
        section: String,
        /// Its address.
        name: String,
        /// Where it stands; absent if the file that disables it is all that is known.
        stands: Option<Origin>,
        /// What took it back: a change at run time, or `[disabled]` in a later file.
        origin: Origin,
    }
}
