//! Reasons that events and statuses carry. Each has a stable `name` and, as `Display`, a message for people.

use core::fmt;

use ntp_time::ReferenceId;
use serde::{Deserialize, Serialize};

/// Declares an enum whose variants have a stable name and a message.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $enum:ident {
        $($(#[doc = $variant_doc:literal])* $variant:ident = $name:literal: $message:literal,)*
    })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
            pub enum $enum {
                $($(#[doc = $variant_doc])* #[serde(rename = $name)] $variant,)*
            }

            impl $enum {
                /// The stable names of all variants.
                pub const NAMES: &'static [&'static str] = &[$($name),*];

                /// Returns the stable name.
                pub const fn name(self) -> &'static str {
                    match self {
                        $(Self::$variant => $name,)*
                    }
                }
            }

            /// The message for people.
            impl fmt::Display for $enum {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(match self {
                        $(Self::$variant => $message,)*
                    })
                }
            }
        )*
    };
}

reasons! {
    /// Why a datagram was not accepted as a reply (RFC 5905 section 8 and 9).
    Rejection {
        /// Not an NTP packet, or a damaged one.
        Malformed = "malformed": "not a well-formed NTP packet",
        /// The receive buffer truncated it: longer than any reply to our request can be.
        Oversized = "oversized": "longer than a reply can be",
        /// Not a server's reply (mode 4).
        WrongMode = "wrong-mode": "not a server's reply (mode 4)",
        /// Its origin timestamp is not the one that we sent: forged, replayed or very old.
        WrongOrigin = "wrong-origin": "origin timestamp does not match our request (forged, replayed or stale)",
        /// The request that it answers has been answered already.
        Duplicate = "duplicate": "the request was answered already",
        /// It came after the exchange had timed out.
        Late = "late": "it came too late",
        /// It knows our nonce, but is not authenticated with the source's key.
        Unauthenticated = "unauthenticated": "not authenticated with the source's key",
        /// It knows our nonce, but has no authentication, although the request has NTS: port 123 leads to another server, or a device on
        /// the path removes extension fields.
        PlainReply = "plain-reply": "answered without NTS: another server answers in its place, or a device on the path removes extension fields",
        /// The server reports that it could not verify our request; anybody on the path can send that.
        CryptoNak = "crypto-nak": "the server does not accept our key (compare number, type and secret on both sides)",
        /// A crypto-NAK, though our request had no key.
        UnexpectedNak = "unexpected-nak": "the server rejects a key (four octets of zero follow the header), but the source has none",
        /// The server reports that it could not read our NTS cookie; anybody on the path can send that.
        NtsNak = "nts-nak": "the server cannot read our NTS cookie",
        /// The server reports that it is not synchronised (leap indicator 3, stratum 16, or stratum 0 without a kiss code).
        Unsynchronized = "unsynchronized": "the server is not synchronised",
        /// Stratum above 16, or not below our own `local-stratum`.
        Stratum = "stratum": "the server's stratum is too high (it must be below `local-stratum` in [synchronization])",
        /// A receive or transmit timestamp of zero, transmit before receive, or seconds apart.
        Timestamps = "timestamps": "the server's timestamps are zero or contradict each other",
        /// Half of root delay plus root dispersion is 16 s or more.
        RootDistance = "root-distance": "the server's root distance is too large",
        /// With `orphan` in `[local]`: the server has our local stratum or a higher one, so it has no source of its own; or its
        /// reference ID is that of another source of ours.
        Orphan = "orphan": "the server is in orphan mode, or takes its time from one that is, or from another source",
        /// The server takes its time from this machine.
        Loop = "loop": "the server takes its time from this machine",
        /// The server is this daemon.
        Ourselves = "ourselves": "the address leads to this daemon",
        /// A reply of NTPv5 under another draft than that of the request.
        Draft = "draft": "the server speaks another draft of NTPv5",
        /// A reply of NTPv5 in TAI or UT1, though UTC was asked for.
        Timescale = "timescale": "the server's timestamps are not in UTC",
        /// Devices on the path claim more delay than there was, or less than none (NTPv5).
        Correction = "correction": "the correction by devices on the path is impossible",
        /// The set of servers behind the source is not known yet (NTPv5).
        ReferenceIdsIncomplete = "reference-ids-incomplete": "the servers from which it takes its time are not known yet",
        /// The server does not send the set of servers behind it, without which loops cannot be found (NTPv5).
        ReferenceIdsMissing = "reference-ids-missing": "the server does not say from which servers it takes its time, so that loops cannot be found",
        /// The set of servers behind the source is so full that it excludes no server (NTPv5).
        ReferenceIdsFull = "reference-ids-full": "more than half of the bits of the server's reference IDs are set: no chain of servers is that long",
    }

    /// Why a source was removed.
    RemovalReason {
        /// The server refused to serve us (DENY or RSTR).
        Denied = "denied": "the server denies access",
        /// It does not answer, and another address takes its place.
        Unreachable = "unreachable": "no reply; another address takes its place",
        /// This machine has no route to it, and another address takes its place.
        NoRoute = "no-route": "no route; another address takes its place",
        /// It disagreed with the majority for too long.
        Falseticker = "falseticker": "falseticker for too long; another address takes its place",
        /// Another source leads to the same server.
        Duplicate = "duplicate": "the same server as another source; another address takes its place",
        /// By an operator, a changed file, or DHCP.
        Operator = "operator": "no longer configured",
        /// It was not usable, and the pool names another server.
        Replaced = "replaced": "it is not usable; the pool names another server",
        /// The key exchange names another NTP server.
        Moved = "moved": "the NTS key exchange names another server",
        /// Its NTS keys failed re-verification.
        KeysRevoked = "keys-revoked": "its NTS keys failed re-verification; new keys are required",
    }

    /// Why an NTS key exchange failed (RFC 8915 section 4), or why its keys were revoked.
    KeyExchangeFailure {
        /// This machine cannot perform it: no thread, or no usable file of certificate authorities.
        Local = "local": "this machine cannot perform the key exchange",
        /// The name of the server cannot be resolved.
        NameResolution = "name-resolution": "the name of the server cannot be resolved",
        /// The host refuses TCP connections to the port.
        ConnectionRefused = "connection-refused": "nothing listens on the TCP port of the server",
        /// The host does not answer: it is down, or a firewall drops TCP to the port.
        ConnectionTimeout = "connection-timeout": "the host is down, or a firewall drops TCP to the port",
        /// This machine has no route to the host.
        NoRoute = "no-route": "no route to the server",
        /// The connection failed for another reason.
        ConnectionFailed = "connection-failed": "the connection failed",
        /// The server accepts the connection, and then sends nothing within the time limit.
        Timeout = "timeout": "the server does not answer within the time limit",
        /// The connection ended before the key exchange did.
        ConnectionLost = "connection-lost": "the connection ended before the key exchange did",
        /// The port answers, but not in TLS: another service.
        NotTls = "not-tls": "the port does not speak TLS",
        /// The server lacks TLS 1.3 (RFC 8915 section 3).
        TlsVersion = "tls-version": "the server does not support TLS 1.3",
        /// The port speaks TLS, but not NTS key exchange (ALPN `ntske/1`): another service.
        NotNtsKe = "not-nts-ke": "the port speaks TLS, but not NTS key exchange",
        /// The TLS handshake failed for another reason.
        Tls = "tls": "the TLS handshake failed",
        /// A certificate has expired: by the clock of this machine, which may be wrong.
        CertificateExpired = "certificate-expired": "the certificate has expired, or the clock is ahead",
        /// A certificate is not valid yet: the clock of this machine is probably behind.
        CertificateNotYetValid = "certificate-not-yet-valid": "the certificate is not yet valid, or the clock is behind",
        /// The certificate is for other names.
        NameMismatch = "name-mismatch": "the certificate is for other names",
        /// No trusted authority signed the certificate.
        UnknownAuthority = "unknown-authority": "no trusted authority signed the certificate",
        /// The certificate is invalid for another reason.
        CertificateInvalid = "certificate-invalid": "the certificate is invalid",
        /// The server replied with an error or a warning, or supports nothing that we offer.
        RefusedByServer = "refused-by-server": "the server refuses the request",
        /// The response violates RFC 8915, or names an NTP server that cannot be one.
        BadResponse = "bad-response": "the server's response is invalid",
        /// The pool names no other servers than those in use.
        NoOtherMember = "no-other-member": "the pool names no further servers",
    }

    /// How a leap second is carried out (`leap-second` in `[clock]`).
    LeapHandling {
        /// By the kernel: 23:59:60.
        Kernel = "kernel": "by the kernel",
        /// By a slew after the leap second.
        Slew = "slew": "slewed afterwards",
        /// Smeared from noon to noon (UTC).
        Smear = "smear": "smeared from noon to noon (UTC)",
    }

    /// The component to which a series of deviations is attributed.
    Cause {
        /// The path: its asymmetry changed together with its delay.
        Path = "path": "the path",
        /// The server: its clock was stepped, or its path changed.
        Server = "server": "the server",
        /// Our own clock: it was stepped or changed its frequency.
        Clock = "clock": "our clock",
    }

    /// A restriction of the daemon's process that could not be put into force.
    Restriction {
        /// The capabilities that were given are not in effect.
        RaiseCapabilities = "raise-capabilities": "capabilities not raised",
        /// Capabilities that are not needed remain.
        DropCapabilities = "drop-capabilities": "capabilities not dropped",
        /// Executed programs could gain privileges.
        NoNewPrivileges = "no-new-privileges": "no_new_privs not set, executed programs could gain privileges",
        /// Access to files is limited by their permissions only.
        Files = "files": "access to files not restricted",
        /// System calls of all threads.
        SystemCalls = "system-calls": "system calls not restricted",
        /// System calls of one thread.
        Thread = "thread": "system calls of a thread not restricted further",
    }

    /// Why a reading of a reference clock gave no sample, or one that is not used.
    SampleRefusal {
        /// It is later than the present time.
        Future = "future": "it is from the future",
        /// It is older than a sample may be when it arrives.
        Stale = "stale": "it is too old",
        /// It was taken before the last step of the system clock.
        Stepped = "stepped": "it is from before a step of the clock",
        /// The reference is not synchronised, for example without satellites.
        Unsynchronized = "unsynchronized": "the reference is not synchronised",
        /// Its length or a mark in it is wrong.
        Malformed = "malformed": "it is not well-formed",
        /// A checksum does not match, or there is none.
        Checksum = "checksum": "its checksum is missing or wrong",
        /// It was changed while it was read.
        Inconsistent = "inconsistent": "it changed while it was read",
        /// A value in it is impossible.
        OutOfRange = "out-of-range": "a value is out of range",
        /// It was read before.
        Repeated = "repeated": "it is the same as the one before",
        /// It marks a second and does not say which, and no source numbers it.
        Unnumbered = "unnumbered": "no synchronised source numbers the pulse",
        /// It marks a second, and the source that numbers it is too uncertain to tell which.
        Ambiguous = "ambiguous": "the error of the source that numbers the pulse is too large",
        /// It lies half a period from where the source that numbers it has the second.
        HalfPeriod = "half-period": "the pulse is half a period away from the second",
        /// It lies where the other edge of the pulse is expected.
        WrongEdge = "wrong-edge": "it looks like the other edge of the pulse",
        /// More than a quarter of the newest pulses are elsewhere in the period.
        Irregular = "irregular": "the pulse is not where most of the others are in the period",
        /// The reading took too long to be of use.
        Slow = "slow": "the reading took too long",
        /// The device was not ready.
        NotReady = "not-ready": "the device has no reading",
    }

    /// What a reference clock that contradicts the other sources probably suffers from.
    ClockFault {
        /// It is ahead by TAI minus UTC.
        ShowsTai = "shows-tai": "it is ahead by TAI minus UTC: it shows TAI, or a program converts to TAI; set `timescale = \"tai\"`",
        /// It is behind by TAI minus UTC.
        ShowsUtc = "shows-utc": "it is behind by TAI minus UTC: it shows UTC and `timescale` says TAI; set `timescale = \"utc\"`",
        /// It is off by twice TAI minus UTC.
        ConvertedTwice = "converted-twice": "it is off by twice TAI minus UTC: two programs convert between TAI and UTC",
        /// It is off by a multiple of 1024 weeks.
        WeekRollover = "week-rollover": "it is off by a multiple of 1024 weeks: the week number of the receiver has rolled over; its firmware needs an update",
        /// It is off by a whole number of seconds.
        WrongSecond = "wrong-second": "it is off by whole seconds: it names the wrong second; correct `offset`, or its leap seconds",
        /// A pulse is off by a part of its period.
        WrongEdge = "wrong-edge": "it is off by a constant part of the period: the other edge of the pulse marks the second; set `edge` to the other one, or correct `offset`",
        /// It is off by half a second, or a pulse by half its period.
        HalfSecond = "half-second": "it is off by half a second or period: the pulse marks the middle of the second, or the source that numbers it is wrong; set `edge` to the other one, or correct `offset`",
    }

    /// Why a measurement is not valid.
    InvalidMeasurement {
        /// No source has this key.
        UnknownSource = "unknown-source": "unknown source",
        /// The timestamp noise is not between 0 and 1 s: a defect of the caller.
        AbsurdNoise = "absurd-noise": "invalid timestamp noise",
        /// It lacks the delay that shows the noise of its source.
        MissingDelay = "missing-delay": "missing delay",
        /// The delay is more negative than timestamp noise explains.
        NegativeDelay = "negative-delay": "negative delay",
        /// It was taken before the newest measurement.
        OutOfOrder = "out-of-order": "out of order",
    }
}

/// Why an NTS key exchange failed, with the details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyExchangeError {
    /// The reason.
    pub reason: KeyExchangeFailure,
    /// The reason with names, addresses and dates, for people. May contain text from outside.
    pub message: String,
}

/// The message for people.
impl fmt::Display for KeyExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

crate::schema::plain! { "string": KeyExchangeFailure; }

impl Rejection {
    /// Returns whether its sender knew the nonce of the open exchange: the server, or somebody on the path.
    pub const fn matches_nonce(self) -> bool {
        self.is_server_fault()
            || matches!(
                self,
                Self::Unauthenticated
                    | Self::PlainReply
                    | Self::CryptoNak
                    | Self::UnexpectedNak
                    | Self::NtsNak
            )
    }

    /// Returns whether the datagram answers our request, so that the server is to blame.
    pub const fn is_server_fault(self) -> bool {
        matches!(
            self,
            Self::Unsynchronized
                | Self::Stratum
                | Self::Timestamps
                | Self::RootDistance
                | Self::Loop
                | Self::Ourselves
                | Self::Draft
                | Self::Timescale
                | Self::Correction
        )
    }
}

impl RemovalReason {
    /// Returns whether it is part of normal operation.
    pub const fn is_normal(self) -> bool {
        matches!(self, Self::Operator | Self::Moved | Self::Duplicate)
    }
}

/// By the kernel.
impl Default for LeapHandling {
    fn default() -> Self {
        Self::Kernel
    }
}

impl LeapHandling {
    /// Returns what will be done at the leap second, for people.
    pub const fn plan(self) -> &'static str {
        match self {
            Self::Kernel => "the kernel carries it out",
            Self::Slew => "the clock will be slewed afterwards",
            Self::Smear => "it is smeared from noon to noon (UTC)",
        }
    }

    /// Returns what was done at the leap second, for people.
    pub const fn result(self) -> &'static str {
        match self {
            Self::Kernel => "carried out by the kernel",
            Self::Slew => "the clock is one second off and is being slewed",
            Self::Smear => "half of it is smeared, the clock runs on smoothly",
        }
    }
}

/// Why a request could not be sent, or what the network reported about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SendError {
    /// No route, network or host unreachable, or the address family is not supported.
    NoRoute,
    /// The host answered with ICMP port unreachable.
    Refused,
    /// A firewall or policy of this machine forbids it.
    Forbidden,
    /// The `bind-device` of the source does not exist, or may not be used.
    BindDevice {
        /// The `errno`.
        errno: i32,
    },
    /// This machine does not have the `bind-address` of the source, or it is of the other family.
    BindAddress {
        /// The `errno`.
        errno: i32,
    },
    /// Another system error.
    Other {
        /// The `errno`.
        errno: i32,
    },
}

/// The message for people.
impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route"),
            Self::Refused => f.write_str("nothing listens on the port"),
            Self::Forbidden => f.write_str("forbidden by this machine's firewall"),
            Self::BindDevice { errno } => {
                write!(f, "`bind-device` cannot be used: {}", system_error(*errno))
            }
            Self::BindAddress { errno } => {
                write!(f, "`bind-address` cannot be used: {}", system_error(*errno))
            }
            Self::Other { errno } => system_error(*errno).fmt(f),
        }
    }
}

fn system_error(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}

/// A kiss code: what a stratum 0 reply asks for (RFC 5905 section 7.4, RFC 9748).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KissCode {
    /// DENY: stop sending.
    Deny,
    /// RSTR: stop sending, by local policy.
    Restrict,
    /// RATE: send less often.
    Rate,
    /// NTSN: the NTS cookie or authenticator cannot be used (RFC 8915 section 5.7).
    NtsNak,
    /// Any other code.
    Other(ReferenceId),
}

impl KissCode {
    /// Returns the reference ID that carries the code.
    pub fn reference_id(self) -> ReferenceId {
        match self {
            Self::Deny => ReferenceId::new(*b"DENY"),
            Self::Restrict => ReferenceId::new(*b"RSTR"),
            Self::Rate => ReferenceId::new(*b"RATE"),
            Self::NtsNak => ReferenceId::new(*b"NTSN"),
            Self::Other(id) => id,
        }
    }

    /// Returns the code in the reference ID of a stratum 0 reply. Returns `None` if the server only
    /// reports that it is not synchronised: without a code, as chrony does, or with the codes INIT
    /// and STEP of RFC 5905 section 7.4, as ntpd does.
    pub fn from_reference_id(id: ReferenceId) -> Option<Self> {
        Some(match &id.octets() {
            b"DENY" => Self::Deny,
            b"RSTR" => Self::Restrict,
            b"RATE" => Self::Rate,
            b"NTSN" => Self::NtsNak,
            [0, 0, 0, 0] | b"INIT" | b"STEP" => return None,
            _ => Self::Other(id),
        })
    }
}

/// The message for people.
impl fmt::Display for KissCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny => f.write_str("access denied (kiss code DENY)"),
            Self::Restrict => f.write_str("access denied by policy (kiss code RSTR)"),
            Self::Rate => f.write_str("rate limit exceeded (kiss code RATE)"),
            Self::NtsNak => f.write_str("NTS cookie not accepted (kiss code NTSN)"),
            Self::Other(id) => write!(f, "kiss code {id}"),
        }
    }
}

/// The code itself.
impl Serialize for KissCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.reference_id())
    }
}

/// What the discipline did with a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasurementOutcome {
    /// It was used.
    Used,
    /// Its source is not eligible or not selected. Path, noise and interval models were updated.
    NotSelected,
    /// Sixteen better sources occupy the joint state. Path, noise and interval models were updated.
    NoSlot,
    /// It lay outside the gate and was dropped.
    Outlier {
        /// Number of consecutive outliers of this source.
        consecutive: u32,
    },
    /// Too many consecutive outliers: the component that caused them was made uncertain, and the
    /// measurement was used.
    StepDetected(Cause),
    /// Not an outlier, but recent deviations together prove a drift: the component that caused it
    /// was made uncertain by what has built up, and the measurement was used.
    DriftDetected(Cause),
    /// Most sources show at the start that the assumed frequency of the oscillator is wrong: the
    /// filters started again with another one.
    FrequencyReplaced,
    /// The sources contradict the model, or arithmetic failed. The next majority restarts the
    /// filters.
    Restarted,
    /// It is not a valid measurement.
    Rejected(InvalidMeasurement),
}

impl MeasurementOutcome {
    /// Returns the stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::NotSelected => "not-selected",
            Self::NoSlot => "no-slot",
            Self::Outlier { .. } => "outlier",
            Self::StepDetected(_) => "step-detected",
            Self::DriftDetected(_) => "drift-detected",
            Self::FrequencyReplaced => "frequency-replaced",
            Self::Restarted => "restarted",
            Self::Rejected(_) => "rejected",
        }
    }
}

/// The message for people.
impl fmt::Display for MeasurementOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used => f.write_str("used"),
            Self::NotSelected => f.write_str("not selected"),
            Self::NoSlot => f.write_str("selected, not combined"),
            Self::Outlier { consecutive } => write!(f, "outlier, dropped ({consecutive} in a row)"),
            Self::StepDetected(cause) => write!(f, "outliers attributed to {cause}"),
            Self::DriftDetected(cause) => write!(f, "drift attributed to {cause}"),
            Self::FrequencyReplaced => f.write_str("initial frequency replaced"),
            Self::Restarted => f.write_str("estimation restarted"),
            Self::Rejected(reason) => write!(f, "rejected: {reason}"),
        }
    }
}
