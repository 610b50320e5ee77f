//! The events of the daemon around the engine: its process, configuration, servers, files and
//! control interface.

/// Declares the events of the daemon, after those of the engine.
macro_rules! daemon_events {
    ($($engine:tt)*) => {
        events! {
            $($engine)*

            // ---- process

            /// The daemon starts.
            daemon_starting = DaemonStarting {
                /// Its version.
                version: String,
            } Severity::Info => "ntp-daemon {version} starting";

            /// The daemon stops because it was asked to, by a signal.
            daemon_stopping = DaemonStopping {} Severity::Info => "ntp-daemon stopping: termination requested";

            /// The daemon stops, and a thread of it does not: a file system or a disk does not answer.
            thread_not_ended = ThreadNotEnded {
                /// Its name.
                thread: String,
            } Severity::Warning => "thread \"{thread}\" does not end: the daemon stops without it, and what it was writing may be lost";

            /// The daemon cannot go on.
            daemon_failed = DaemonFailed {
                /// Why, and what to do.
                error: Prose,
            } Severity::Error => "{error}";

            /// The service manager could not be notified.
            service_manager_failed = ServiceManagerFailed {
                /// What the operating system reported.
                error: String,
            } Severity::Warning => "service manager not notified: {error}";

            /// The log file could not be opened again after a rotation.
            log_reopen_failed = LogReopenFailed {
                /// What the operating system reported.
                error: String,
            } Severity::Error => "log file not opened again: {error}; the old one stays in use";

            /// The system lacks an optional facility.
            facility_missing = FacilityMissing {
                /// Its name.
                facility: String,
                /// The facility, the cause and the consequence.
                text: Prose,
            } Severity::Warning => "{text}";

            /// The segments for ClockBound's clients cannot be written.
            clockbound_failed = ClockBoundFailed {
                /// The directory.
                path: String,
                /// What the operating system reported.
                error: String,
            } Severity::Error => "segments for ClockBound not written in {path}: {error}; the daemon runs without them (see [clockbound] directory)";

            /// The operating system gives no random numbers; the daemon ends.
            random_numbers_missing = RandomNumbersMissing {
                /// What it reported.
                error: String,
            } Severity::Error => "no random numbers from the operating system: {error}; without them requests and keys can be guessed: ntp-daemon ends";

            /// The addresses of this machine could not be listed.
            local_addresses_unknown = LocalAddressesUnknown {
                /// What the operating system reported.
                error: String,
            } Severity::Debug => "addresses of this machine unknown: {error}";

            /// A host name lookup could not be started.
            lookup_not_started = LookupNotStarted {
                /// The host name.
                host: String,
                /// What the operating system reported.
                error: String,
            } Severity::Error => "{host}: lookup not started: {error}";

            /// The device of a reference clock was opened.
            refclock_opened = RefclockOpened {
                /// The device.
                device: String,
                /// What was found.
                text: String,
            } Severity::Info => "reference clock {device} opened: {text}";

            /// The device of a reference clock cannot be opened or read.
            refclock_failed = RefclockFailed {
                /// The device.
                device: String,
                /// Why, and what to do.
                error: String,
            } Severity::Warning => "reference clock {device} failed: {error}; it is opened again from time to time";

            /// What is unusual about the device of a reference clock, and what to do.
            refclock_warning = RefclockWarning {
                /// The device.
                device: String,
                /// What is unusual.
                text: String,
            } Severity::Warning => "reference clock {device}: {text}";

            // ---- configuration

            /// A source has `mode = "platform"`: what the cloud or the hypervisor of this machine offers was looked up.
            platform_detected = PlatformDetected {
                /// Where the machine runs.
                platform: String,
                /// The sources that it offers, comma-separated.
                sources: String,
                /// Why these, and which sources are not used beside them.
                reason: String,
            } Severity::Info => "mode platform: {platform}, sources: {sources}; {reason}";

            /// The configuration was read at the start.
            configuration_read = ConfigurationRead {
                /// The file; `None` if there is none.
                path: Option<String>,
            } Severity::Info => "configuration read from {}", path.as_deref().unwrap_or("no file: defaults apply");

            /// A part of the configuration is accepted, but probably not intended.
            configuration_warning = ConfigurationWarning {
                /// The file.
                file: Option<String>,
                /// The line, from 1.
                line: Option<usize>,
                /// The problem.
                problem: String,
                /// What to do.
                help: Prose,
            } Severity::Warning => "configuration{}: {problem}{help}", Place(file.as_deref(), *line);

            /// The configuration was read again and applied, because of a signal.
            configuration_reloaded = ConfigurationReloaded {
                /// Number of sources that were added.
                added: usize,
                /// Number of sources that were removed.
                removed: usize,
                /// Number of sources whose settings changed.
                changed: usize,
                /// Number of changes that did not take effect.
                not_applied: usize,
                /// All of them by name.
                summary: Prose,
            } if *not_applied == 0 { Severity::Info } else { Severity::Warning } => "configuration reloaded: {summary}";

            /// The configuration was read again, but is not valid. Nothing changed.
            configuration_refused = ConfigurationRefused {
                /// The first problem.
                error: String,
            } Severity::Error => "configuration not reloaded, nothing changed: {error}; details: ntp-ctl validate";

            // ---- clock and earlier runs

            /// Without sources: the clock cannot be set.
            clock_not_settable = ClockNotSettable {
                /// Why.
                error: String,
            } Severity::Warning => "clock not steered: {error}; sources that are added later are only measured";

            /// At the start, the clock showed a time that is certainly past, and was set forward.
            clock_set_forward = ClockSetForward {
                /// The clock's reading.
                clock: SystemTime,
                /// A time that is past: an earlier run has saved it, or it is before the release of this program.
                known: SystemTime,
            } Severity::Warning => "clock set forward from {clock} to {known}, which is past: an earlier run has saved it, or this program was released later (see [state] set-clock-forward)";

            /// At the start, the clock showed a time that an earlier run knew to be past, but was not set.
            clock_not_set_forward = ClockNotSetForward {
                /// The clock's reading.
                clock: SystemTime,
                /// A time that an earlier run knew to be past.
                known: SystemTime,
                /// Why it was not set.
                error: String,
            } Severity::Warning => "clock shows {clock}, but an earlier run knew {known} to be past; not set forward: {error}";

            /// The frequency of the oscillator is known from an earlier run.
            frequency_restored = FrequencyRestored {
                /// The frequency.
                frequency: Frequency,
            } Severity::Info => "frequency {frequency} restored from an earlier run";

            /// There is no list of leap seconds.
            leap_list_missing = LeapListMissing {
                /// Why.
                error: String,
            } Severity::Warning => "no list of leap seconds: {error}; only the sources announce leap seconds";

            // ---- state files

            /// A state file could not be written; reported once until it is written again.
            state_write_failed = StateWriteFailed {
                /// The file.
                path: String,
                /// What the operating system reported.
                error: String,
                /// Consequence, and where to look.
                consequence: Prose,
            } Severity::Warning => "{path} not written: {error}; {consequence}";

            /// The history of the clock's accuracy as it stands: a log that is kept elsewhere shows later whether it was changed.
            history_recorded = HistoryRecorded {
                /// Number of the last line, from 0.
                number: u64,
                /// Its hash, which covers all lines before.
                hash: String,
            } Severity::Info => "history of the clock recorded up to line {number}, SHA-256 {hash}";

            /// A state file was written again after failures.
            state_write_recovered = StateWriteRecovered {
                /// The file.
                path: String,
            } Severity::Info => "{path} written again";

            /// A state file was damaged. The daemon starts a new one.
            state_damaged = StateDamaged {
                /// The file.
                path: String,
                /// What is wrong with it.
                problem: String,
                /// Name under which it is kept.
                set_aside: Option<String>,
                /// Why it is not kept: remove it by hand.
                error: Option<String>,
            } Severity::Warning => "{path} not usable: {problem}; {}", SetAside(set_aside.as_deref(), error.as_deref());

            /// A state file could not be removed.
            state_remove_failed = StateRemoveFailed {
                /// The file.
                path: String,
                /// What the operating system reported.
                error: String,
                /// Consequence.
                consequence: Prose,
            } Severity::Warning => "{path} not removed: {error}; {consequence} (see [state] directory)";

            /// The state directory could not be created.
            state_directory_failed = StateDirectoryFailed {
                /// The directory.
                path: String,
                /// What the operating system reported.
                error: String,
            } Severity::Warning => "{path} not created: {error} (see [state] directory)";

            // ---- serving time

            /// Time is served at an address.
            server_started = ServerStarted {
                /// The address.
                address: ListenAddress,
            } Severity::Info => "serving time at {address}";

            /// An IPv6 address is not served, because this kernel has no IPv6.
            server_without_ipv6 = ServerWithoutIpv6 {
                /// The address, of time or key exchange.
                address: SocketAddr,
                /// The IPv4 wildcard that is served in its place.
                instead: Option<SocketAddr>,
            } Severity::Warning => "{address} is not served: this kernel has no IPv6{}", Instead(*instead);

            /// Time is not served any more at an address.
            server_stopped = ServerStopped {
                /// The address.
                address: ListenAddress,
            } Severity::Info => "serving time at {address} ended";

            /// An address of time or of key exchange is not served, because its `bind-device` does not exist. It is
            /// served when the device appears.
            server_waiting = ServerWaiting {
                /// The address.
                address: ListenAddress,
            } Severity::Warning => "{address} is not served: its `bind-device` does not exist; served when it appears";

            /// Serving at an address failed when servers were restored after a refused change, or when its device
            /// appeared.
            server_failed = ServerFailed {
                /// The address and what the operating system reported.
                error: String,
            } Severity::Warning => "{error}";

            // ---- key exchange

            /// NTS keys are given out at an address.
            ke_server_started = KeServerStarted {
                /// The address (TCP).
                address: ListenAddress,
            } Severity::Info => "serving NTS key exchange at {address}";

            /// NTS keys are not given out any more at an address.
            ke_server_stopped = KeServerStopped {
                /// The address (TCP).
                address: ListenAddress,
            } Severity::Info => "serving NTS key exchange at {address} ended";

            /// No connection can be accepted; reported once until one is.
            ke_accept_failed = KeAcceptFailed {
                /// The address (TCP).
                address: ListenAddress,
                /// What the operating system reported.
                error: String,
            } Severity::Warning => "NTS key exchange at {address}: no connection can be accepted: {error}; trying again";

            /// The key-exchange server uses a certificate.
            certificate_loaded = CertificateLoaded {
                /// Its file.
                path: String,
                /// The names for which it is valid.
                names: Vec<String>,
                /// When it expires.
                expires: Option<String>,
            } Severity::Info => "certificate {path} loaded for NTS key exchange{}", CertificateFacts(names, expires.as_deref());

            /// A certificate cannot be used. The previous one stays in use.
            certificate_failed = CertificateFailed {
                /// Its file.
                path: String,
                /// What is wrong with it.
                problem: String,
            } Severity::Warning => "certificate {path} not usable: {problem}; the previous one stays in use until the files change";

            /// The private key of a certificate was renewed, and all users of the machine may read or write its file.
            private_key_exposed = PrivateKeyExposed {
                /// The file.
                path: String,
            } Severity::Warning => "private key {path} accessible to all users, who could pass for this server: chmod o= {path}";

            /// Cookie keys are derived from a shared secret and the time, which is not known yet.
            keyset_waiting = KeysetWaiting {} Severity::Info => "no NTS keys before the clock is synchronised: they are derived from the shared secret \
                              and the time";

            /// Cookie keys are derived from a shared secret and the time.
            keyset_derived = KeysetDerived {} Severity::Info => "clock synchronised: NTS keys are derived from the shared secret";

            /// The file of cookie keys can be read by others.
            keyset_exposed = KeysetExposed {
                /// The file.
                path: String,
            } Severity::Warning => "{path} readable by other users, who could decrypt the cookies of clients: chmod 600 {path}";

            /// NTS keys of an earlier run are used.
            nts_session_restored = NtsSessionRestored {
                /// The source's configured name.
                source: String,
            } Severity::Info => "source {source}: NTS keys restored from an earlier run";

            /// A server's certificate is not valid by our clock. It is accepted until the time is known.
            certificate_accepted = CertificateAccepted {
                /// The source's configured name.
                source: String,
                /// A time at which it is valid.
                assumed_time: String,
            } Severity::Warning => "source {source}: certificate not valid by our clock, but on {assumed_time}; accepted until the time is known, \
                              then verified again";

            /// A certificate that was accepted under clock leniency is valid.
            certificate_verified = CertificateVerified {
                /// The source's configured name.
                source: String,
            } Severity::Info => "source {source}: certificate valid, now that the time is known";

            // ---- interfaces

            /// The observation socket could not be created.
            observation_socket_failed = ObservationSocketFailed {
                /// Its path.
                path: String,
                /// What the operating system reported.
                error: String,
            } Severity::Warning => "no observation socket at {path}: {error}; ntp-ctl status and the metrics exporter will not work";

            /// The control socket could not be created.
            control_socket_failed = ControlSocketFailed {
                /// Why, and what to do.
                error: String,
            } Severity::Warning => "no control socket: {error}; ntp-ctl can change nothing";

            /// The control socket could not be given to its group.
            control_group_failed = ControlGroupFailed {
                /// The group.
                group: u32,
                /// What the operating system reported.
                error: String,
            } Severity::Warning => "control socket not given to group {group}: {error}";

            /// A socket for chronyc could not be created.
            chronyc_socket_failed = ChronycSocketFailed {
                /// Its path, or its address.
                socket: String,
                /// What the operating system reported, and what to do.
                error: String,
            } Severity::Warning => "no socket for chronyc at {socket}: {error} (see [compat.chrony])";

            /// An operator changed something through the control socket.
            control_call = ControlCall {
                /// The method.
                method: String,
                /// Its parameters, as JSON.
                parameters: String,
                /// Who called.
                caller: Caller,
            } Severity::Info => "control call {method} {parameters} by {caller}";

            /// A change through the control socket failed.
            control_call_failed = ControlCallFailed {
                /// The method.
                method: String,
                /// Its parameters, as JSON.
                parameters: String,
                /// Who called.
                caller: Caller,
                /// Why.
                error: String,
            } Severity::Info => "control call {method} {parameters} by {caller} failed: {error}";

            /// A control call was refused: the caller has no permission.
            control_call_denied = ControlCallDenied {
                /// The method.
                method: String,
                /// Who called.
                caller: Caller,
                /// Who may call it.
                permitted: String,
                /// Number of such events since the last report.
                suppressed: u64,
            } Severity::Info => "control call {method} by {caller} denied: {permitted} may call it{}", Suppressed(*suppressed);

            /// The engine's inputs are recorded.
            record_started = RecordStarted {
                /// The file.
                path: String,
            } Severity::Info => "recording to {path}";

            /// Recording ended, or could not start.
            record_failed = RecordFailed {
                /// The file.
                path: String,
                /// What the operating system reported.
                error: String,
            } Severity::Warning => "not recording to {path}: {error} (see [observability] record-path)";

            /// The record lacks lines.
            record_incomplete = RecordIncomplete {
                /// The file.
                path: String,
                /// Number of missing lines.
                lines: u64,
            } Severity::Warning => "record {path} incomplete: {lines} lines dropped, the disk was too slow";

            // ---- privileges

            /// The daemon gave up root and runs as another user.
            user_changed = UserChanged {
                /// The user.
                user: String,
            } Severity::Info => "running as user {user}";

            /// The daemon remains root, with few capabilities.
            user_not_changed = UserNotChanged {
                /// The user that it would change to.
                user: String,
                /// Why it does not.
                error: String,
            } Severity::Warning => "running as root, without most capabilities: {error} (see [sandbox] user)";

            /// A file could not be given to the daemon's user.
            ownership_failed = OwnershipFailed {
                /// The file.
                path: String,
                /// The user.
                user: String,
                /// What the operating system reported.
                error: String,
            } Severity::Warning => "{path} not given to user {user}: {error}";

            /// A restriction that a configured sandbox has could not be put into force.
            restriction_failed = RestrictionFailed {
                /// The restriction.
                restriction: Restriction,
                /// What the operating system reported.
                error: String,
            } Severity::Warning => "{restriction}: {error}";

            /// The restrictions in force.
            sandbox_entered = SandboxEntered {
                /// Whether access to files is restricted.
                files: bool,
                /// Whether system calls are restricted.
                system_calls: bool,
            } Severity::Debug => "sandbox entered: files {}, system calls {}", Restricted(*files), Restricted(*system_calls);

            /// The sandbox is switched off.
            sandbox_off = SandboxOff {} Severity::Info => "sandbox off: files and system calls are not restricted ([sandbox] mode)";

            /// The sandbox refused a system call; reported once for each kind of thread.
            system_call_refused = SystemCallRefused {
                /// The name, the number, or `unknown`.
                call: String,
                /// The kind of thread.
                thread: String,
            } Severity::Warning => "system call {call} refused to {thread} thread; the thread goes on without. Unless the daemon is attacked, this \
                              is a defect: report it; --sandbox warn permits everything";
        }
    };
}
