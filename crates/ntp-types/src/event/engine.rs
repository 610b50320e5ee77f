//! The events of the engine: sources, measurements, the clock, leap seconds, NTS keys.

/// Declares the events of the engine, and then those of the daemon.
macro_rules! engine_events {
    () => {
        daemon_events! {
            /// A source was added: an association, or a reference clock.
            source_added = SourceAdded {
                /// The source.
                source: SourceName,
            } Severity::Info => "source {source} added";

            /// A source was removed.
            source_removed = SourceRemoved {
                /// The source.
                source: SourceName,
                /// Why.
                reason: RemovalReason,
            } if reason.is_normal() { Severity::Info } else { Severity::Warning } => "source {source} removed: {reason}";

            /// A source gives usable time, for the first time or again.
            source_reachable = SourceReachable {
                /// The source.
                source: SourceName,
            } Severity::Info => "source {source} reachable";

            /// A source gives no usable time any more.
            source_unreachable = SourceUnreachable {
                /// The source.
                source: SourceName,
                /// What was wrong with its last reply; absent if there was none.
                error: Option<String>,
            } Severity::Warning => "source {source} unreachable: {}", match error {
                Some(error) => format!("no usable time: {error}"),
                None if source.address.socket().is_some() => "no reply".to_owned(),
                None => "no sample".to_owned(),
            };

            /// A reading of a reference clock gave no sample, or one that is not used.
            sample_refused = SampleRefused {
                /// The source.
                source: SourceName,
                /// Why.
                reason: SampleRefusal,
                /// Number of its refused readings since the last report of this reason.
                suppressed: u64,
            } Severity::Info => "source {source}: reading refused: {reason}{}", Suppressed(*suppressed);

            /// A reference clock contradicts the other sources in a way whose cause is known.
            refclock_suspect = RefclockSuspect {
                /// The source.
                source: SourceName,
                /// The probable cause, and what to do.
                fault: ClockFault,
                /// The offset of the clock from ours.
                offset: NtpDuration,
                /// Number of such reports that were suppressed.
                suppressed: u64,
            } Severity::Warning => "source {source}: offset {offset}: {fault}{}", Suppressed(*suppressed);

            /// A source leads to the same server as another one, which votes for it.
            source_duplicate = SourceDuplicate {
                /// The source.
                source: SourceName,
                /// The configured name of the source that votes.
                of: String,
            } Severity::Warning => "source {source} is a duplicate of {of}: both lead to one server, which has one vote";

            /// A source became a falseticker: its correctness interval lies outside that of the majority (RFC 5905 section 11.2.1).
            source_falseticker = SourceFalseticker {
                /// The source.
                source: SourceName,
                /// The source's time minus ours.
                offset: NtpDuration,
                /// Number of its measurements outside the majority since the last report of this kind.
                suppressed: u64,
            } Severity::Info => "source {source} is a falseticker: it disagrees with the majority; offset {offset}{}", Suppressed(*suppressed);

            /// A source that was a falseticker agrees with the majority again.
            source_agrees = SourceAgrees {
                /// The source.
                source: SourceName,
            } Severity::Info => "source {source} agrees with the majority again";

            /// A request could not be sent.
            send_failed = SendFailed {
                /// The source.
                source: SourceName,
                /// What the operating system reported.
                error: SendError,
            } Severity::Warning => "source {source}: cannot send a request: {error}";

            /// A reply was rejected.
            reply_rejected = ReplyRejected {
                /// The source.
                source: SourceName,
                /// Why.
                reason: Rejection,
                /// Its hop limit and that of authenticated replies, if they differ.
                distance: Option<HopLimitDifference>,
                /// Number of such events since the last report.
                suppressed: u64,
            } Severity::Warning => "source {source}: reply ignored: {reason}{}{}", InParentheses(*distance), Suppressed(*suppressed);

            /// A source must not be selected, by what its server states about the servers from which it takes its time (NTPv5).
            source_excluded = SourceExcluded {
                /// The source.
                source: SourceName,
                /// Why.
                reason: Rejection,
                /// Number of such events since the last report.
                suppressed: u64,
            } Severity::Warning => "source {source} is not selected: {reason}{}", Suppressed(*suppressed);

            /// A source is polled in another version of NTP, after negotiation with its server.
            version_changed = VersionChanged {
                /// The source.
                source: SourceName,
                /// The new version.
                version: u32,
                /// How often NTPv5 was given up since the source was added.
                fallbacks: u32,
            } Severity::Info => "source {source} is polled with NTPv{version} from now on";

            /// A server sent a kiss-o'-death packet (RFC 5905 section 7.4).
            kiss_received = KissReceived {
                /// The source.
                source: SourceName,
                /// The kiss code.
                code: KissCode,
                /// The poll interval from now on; absent with DENY and RSTR.
                poll: Option<PollInterval>,
                /// Time until the server is tried again after DENY or RSTR.
                retry: Option<NtpDuration>,
            } Severity::Warning => "source {source}: {code}{}{}", poll.map_or(String::new(), |poll| format!(", polled every {poll}")),
                retry.map_or(String::new(), |wait| format!(
                    ", next attempt in {:.0} s (at once: ntp-ctl source online {})", wait.as_seconds_f64(), source.name
                ));

            /// A host name could not be resolved.
            resolve_failed = ResolveFailed {
                /// The host name.
                host: String,
                /// What the resolver reported.
                error: String,
                /// Time until the next attempt.
                retry: NtpDuration,
            } Severity::Warning => "{host}: cannot resolve the name: {error}; next attempt in {:.0} s", retry.as_seconds_f64();

            /// A host name has no address that can be used.
            no_usable_address = NoUsableAddress {
                /// The host name.
                host: String,
            } Severity::Warning => "{host}: every address is in use already, or ignored";

            /// An NTS key exchange succeeded (RFC 8915 section 4).
            keys_exchanged = KeysExchanged {
                /// The source's configured name.
                source: String,
                /// The AEAD algorithm.
                algorithm: String,
                /// The NTP server.
                server: String,
            } Severity::Info => "source {source}: NTS keys exchanged, {algorithm}, NTP server {server}";

            /// NTS keys that were accepted under clock leniency failed re-verification.
            keys_revoked = KeysRevoked {
                /// The source's configured name.
                source: String,
                /// Why.
                reason: KeyExchangeFailure,
                /// Details.
                error: String,
            } Severity::Error => "source {source}: NTS keys revoked, they were accepted while the clock was wrong: {error}";

            /// An NTS key exchange failed.
            key_exchange_failed = KeyExchangeFailed {
                /// The source's configured name.
                source: String,
                /// Why.
                reason: KeyExchangeFailure,
                /// Details.
                error: String,
                /// Time until the next attempt.
                retry: NtpDuration,
            } Severity::Warning => "source {source}: NTS key exchange failed: {error}; next attempt in {:.0} s (details: ntp-ctl nts check {source})", retry.as_seconds_f64();

            /// A measurement was taken.
            measured = Measured {
                /// The source.
                source: SourceName,
                /// The source's time minus ours.
                offset: NtpDuration,
                /// Round trip; absent for a reference clock.
                delay: Option<NtpDuration>,
                /// What the discipline did with it.
                outcome: MeasurementOutcome,
            } Severity::Debug => "source {source}: offset {offset}{}: {outcome}", delay.map_or(String::new(), |delay| format!(", delay {delay}"));

            /// The clock follows its sources.
            synchronized = Synchronized {
                /// Our stratum.
                stratum: Stratum,
                /// The source with the smallest root distance.
                source: SourceName,
            } Severity::Info => "clock synchronised to {source}, stratum {stratum}";

            /// The stratum or the reference ID of the clock changed while it is synchronised.
            reference_changed = ReferenceChanged {
                /// Our stratum.
                stratum: Stratum,
                /// Our reference ID.
                reference_id: ReferenceId,
                /// The source that is followed now: the one with the smallest root distance for some time.
                source: SourceName,
                /// Number of such events since the last report.
                suppressed: u64,
            } Severity::Info => "reference changed to {source}: stratum {stratum}, reference ID {reference_id}{}", Suppressed(*suppressed);

            /// The sources do not agree; the clock is not steered.
            no_majority = NoMajority {
                /// Number of sources that agree.
                agreeing: usize,
                /// Number of sources that must agree.
                required: usize,
                /// What each source measures.
                sources: Vec<SourceOffset>,
            } Severity::Warning => "no majority: {agreeing} of {} sources agree ({required} required), the clock is not steered; offsets: {}. Remove the wrong \
                          sources, add more, or see minimum-agreeing-sources", sources.len(), Listed(sources);

            /// The error bound passed its limit: no source has given usable time for long, or the sources hold another time.
            synchronization_lost = SynchronizationLost {
                /// The error bound.
                bound: NtpDuration,
            } Severity::Warning => "clock not synchronised any more: the error bound is {bound} (details: ntp-ctl explain)";

            /// No source is available: the local reference is served.
            local_time_started = LocalTimeStarted {
                /// Our stratum.
                stratum: Stratum,
            } Severity::Warning => "no source is available: local time is served at stratum {stratum}";

            /// The local reference is not served any more: a source is available, or `[local]` was removed.
            local_time_ended = LocalTimeEnded {
                /// How long it was served.
                after: NtpDuration,
            } Severity::Info => "local time is not served any more, after {:.0} s", after.as_seconds_f64();

            /// Too few sources without `fallback` have been usable for a while: those with it are used.
            fallback_started = FallbackStarted {
                /// How long too few others have been usable.
                after: NtpDuration,
            } Severity::Warning => "sources with fallback are used: too few others have been usable for {:.0} s (details: ntp-ctl explain)",
                          after.as_seconds_f64();

            /// Sources with `fallback` are not used any more: enough others are usable, or none is configured.
            fallback_ended = FallbackEnded {
                /// How long they were used.
                after: NtpDuration,
            } Severity::Info => "sources with fallback are not used any more, after {:.0} s", after.as_seconds_f64();

            /// The majority of the sources suddenly holds another time. The clock is not stepped before they have held it for a while.
            step_pending = StepPending {
                /// The step that they ask for.
                step: NtpDuration,
                /// How long they must hold the time.
                wait: NtpDuration,
                /// Number of such events since the last report.
                suppressed: u64,
            } Severity::Warning => "sources ask for a step of {step} after start-up: not made before they have held that time for {:.0} s (stepout-time){}; if they \
                          are right, ntp-ctl step makes it at once", wait.as_seconds_f64(), Suppressed(*suppressed);

            /// A panic threshold forbids the step that the sources ask for: it is not made. The clock is not steered and counts as unsynchronised; with
            /// `on-panic = "exit"` the daemon ends.
            step_refused = StepRefused {
                /// The key of the threshold in `[synchronization]`.
                threshold: String,
                /// Its value.
                limit: NtpDuration,
                /// What would be added to the clock.
                correction: NtpDuration,
                /// The clock's reading.
                clock: SystemTime,
                /// Whether the daemon ends.
                exits: bool,
                /// Number of such events since the last report.
                suppressed: u64,
            } Severity::Error => "step refused: the clock reads {clock}, the sources {}: the correction of {correction} exceeds {threshold} = {limit}{}; {}",
                *clock + *correction, Suppressed(*suppressed), if *exits {
                    "the daemon ends (on-panic). If the sources are right, set the clock by `ntp-ctl force-sync`, or raise the threshold, and start again"
                } else {
                    "the clock is not steered and counts as unsynchronised. If the sources are right, `ntp-ctl step --force` makes the step"
                };

            /// The clock is steered again: the step that a panic threshold had forbidden was forced, or the sources ask for a correction that is permitted.
            steering_resumed = SteeringResumed {
                /// What is added to the clock now.
                correction: NtpDuration,
                /// How long the clock was not steered.
                after: NtpDuration,
            } Severity::Info => "clock steered again after {:.0} s, by a correction of {correction}", after.as_seconds_f64();

            /// The sources show a time before one that an earlier run saved as past.
            floor_contradicted = FloorContradicted {
                /// The saved time.
                saved: SystemTime,
                /// The time of the sources.
                time: SystemTime,
                /// Number of sources that agree.
                agreeing: usize,
                /// Whether the clock follows them nevertheless.
                followed: bool,
                /// Number of such events since the last report.
                suppressed: u64,
            } Severity::Warning => "sources show {time} ({agreeing} agree), but an earlier run saved {saved} as past: {}{}", if *followed {
                "they are followed; the saved time is replaced once two sources, or one and the clock at the start, have held theirs for an hour"
            } else {
                "not followed, because a lone source cannot overrule it; if it is right: ntp-ctl step, or ntp-ctl force-sync without the daemon"
            }, Suppressed(*suppressed);

            /// The clock is so far from the sources that the era of their timestamps is ambiguous (RFC 5905 section 6). Nothing is measured.
            clock_out_of_range = ClockOutOfRange {
                /// The clock's reading.
                clock: SystemTime,
                /// Number of such events since the last report.
                suppressed: u64,
            } Severity::Error => "clock shows {clock}, 68 years or more from the sources: nothing can be measured{}; set the date (date -s) and restart", Suppressed(*suppressed);

            /// The clock was stepped.
            clock_stepped = ClockStepped {
                /// What was added to the clock.
                step: NtpDuration,
                /// Whether `warn-on-jump` makes it a warning.
                warn: bool,
            } if *warn { Severity::Warning } else { Severity::Info } => "clock stepped by {step}";

            /// The clock is being slewed.
            clock_slewing = ClockSlewing {
                /// What is to be added to the clock.
                offset: NtpDuration,
                /// Frequency correction of the oscillator.
                frequency: Frequency,
                /// Duration of the slew.
                duration: NtpDuration,
            } Severity::Debug => "clock slewed: offset {offset} over {duration}, frequency correction {frequency}";

            /// The oscillator's error exceeds what the clock can correct.
            frequency_out_of_range = FrequencyOutOfRange {
                /// Frequency error of the oscillator; positive if it runs fast.
                frequency: Frequency,
                /// Largest correction.
                limit: Frequency,
            } Severity::Error => "oscillator wrong by {frequency}, more than the largest correction of {limit} (maximum-frequency-steer, 10 % at \
                          most): the clock cannot be kept right";

            /// Another program changed the clock. Measurements start again.
            clock_disturbed = ClockDisturbed {
                /// By how much, about.
                change: NtpDuration,
            } Severity::Warning => "clock changed by another program by about {change}; measuring again";

            /// The machine was suspended. Measurements start again.
            resumed = Resumed {
                /// For how long, about.
                suspended: NtpDuration,
            } Severity::Info => "resumed after {suspended}; measuring again";

            /// The virtual machine was moved to another host or continued from a snapshot: its clocks did not notice the time
            /// that passed. All measurements are dropped and start again.
            machine_disrupted = MachineDisrupted {
                /// The hypervisor's new disruption marker.
                marker: u64,
                /// Whether the clock was synchronised before.
                was_synchronized: bool,
            } Severity::Warning => "machine migrated or continued from a snapshot (disruption marker {marker}): all measurements dropped; not synchronised \
                                    until sources are measured again";

            /// A leap second is ahead.
            leap_second_ahead = LeapSecondAhead {
                /// Inserted or deleted.
                leap: LeapIndicator,
                /// What will be done.
                handling: LeapHandling,
            } Severity::Info => "leap second at the end of this day ({leap}): {}", handling.plan();

            /// UTC had a leap second.
            leap_second = LeapSecond {
                /// Inserted or deleted.
                leap: LeapIndicator,
                /// What was done.
                handling: LeapHandling,
            } Severity::Info => "leap second ({leap}): {}", handling.result();

            /// Most sources announce a leap second that the list of leap seconds lacks.
            leap_second_contradicted = LeapSecondContradicted {
                /// Inserted or deleted.
                leap: LeapIndicator,
            } Severity::Warning => "leap second ({leap}) announced by most sources, but not in the list of leap seconds: ignored";

            /// The list of leap seconds has expired.
            leap_list_expired = LeapListExpired {
                /// When it expired.
                expired: SystemTime,
            } Severity::Warning => "list of leap seconds expired at {expired}: update it (usually part of the time zone package); until then only the sources \
                          announce leap seconds";

            /// A source smears leap seconds.
            source_smears = SourceSmears {
                /// The source.
                source: SourceName,
            } Severity::Warning => "source {source} smears leap seconds: near one, its time is not UTC and it disagrees with sources that do not smear";

            /// The sources contradicted the clock model; the estimator started again.
            discipline_restarted = DisciplineRestarted {} Severity::Error => "estimation restarted: the sources contradict the clock model";
        }
    };
}
