//! A daemon with a virtual clock, and ClockBound's clients that read its segments.
//!
//! The clients read the `CLOCK_REALTIME` of this machine, which is true time here: the server serves
//! it. The disciplined clock is a virtual one over it, in the process of the test, so that its error
//! is known for every reading. A window of the 2.x client, which is the machine's clock and the
//! bound, is shifted by that error; it then is what a client beside a disciplined kernel clock gets.
//! A virtual machine whose kernel clock is steered would be closer to practice, but its clocks count
//! instructions, and thousands of readings beside a busy writer need two processors at full speed.
//! A window of the 3.x client needs no shift: it follows from the processor's counter.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use ntp_daemon::clockbound::ClockBound;
use ntp_daemon::runtime::{DisruptionMonitor, Parts, RefClocks, Runtime, after};
use ntp_daemon::{LeapList, Store, convert};
use ntp_os_clock::{Clock, VirtualClock, realtime};
use ntp_proto::keys::KeyRing;
use ntp_time::{Frequency, NtpDuration, SystemTime};
use test_binaries::{Behaviour, ReferenceServer};

/// What a client returned, and what is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Nanoseconds since 1970.
    pub earliest: i64,
    /// Nanoseconds since 1970.
    pub latest: i64,
    /// State of the clock, whichever client returned it.
    pub status: Status,
}

/// State of the clock, in both clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing is guaranteed.
    Unknown,
    /// The clock follows its sources.
    Synchronized,
    /// The clock is in holdover.
    FreeRunning,
    /// The machine was migrated.
    Disrupted,
}

macro_rules! statuses {
    ($type:path) => {
        impl From<$type> for Status {
            fn from(status: $type) -> Self {
                match status {
                    <$type>::Unknown => Self::Unknown,
                    <$type>::Synchronized => Self::Synchronized,
                    <$type>::FreeRunning => Self::FreeRunning,
                    <$type>::Disrupted => Self::Disrupted,
                }
            }
        }
    };
}
type Status2 = clock_bound_client::ClockStatus;
type Status3 = clock_bound::ClockStatus;
statuses!(Status2);
statuses!(Status3);

impl Window {
    /// Half of its length.
    pub fn bound(&self) -> NtpDuration {
        NtpDuration::from_nanos((self.latest - self.earliest) / 2)
    }
}

macro_rules! nanos {
    ($time:expr) => {
        i64::from($time.tv_sec()) * 1_000_000_000 + i64::from($time.tv_nsec())
    };
}

/// Returns the window of a 2.x client.
///
/// # Panics
/// If the client returns an error.
pub fn window_2(client: &mut clock_bound_client::ClockBoundClient) -> Window {
    let read = client.now().expect("the 2.x client reads the segment");
    Window {
        earliest: nanos!(read.earliest),
        latest: nanos!(read.latest),
        status: read.clock_status.into(),
    }
}

/// Returns the window of a 3.x client.
///
/// # Panics
/// If the client returns an error.
pub fn window_3(client: &mut clock_bound::Client) -> Window {
    let read = client.now().expect("the 3.x client reads the segment");
    Window {
        earliest: nanos!(read.earliest),
        latest: nanos!(read.latest),
        status: read.clock_status.into(),
    }
}

/// Both clients beside a virtual clock.
pub struct Readers {
    clock: Arc<RwLock<VirtualClock>>,
    client_2: clock_bound_client::ClockBoundClient,
    client_3: clock_bound::Client,
    /// Number of windows that were checked.
    pub reads: u64,
}

impl Readers {
    /// Opens the segments.
    ///
    /// # Panics
    /// If one of them cannot be read.
    pub fn open(directory: &Path, clock: &Arc<RwLock<VirtualClock>>) -> Self {
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        Self {
            clock: Arc::clone(clock),
            client_2: clock_bound_client::ClockBoundClient::new_with_path(&path("shm0")).unwrap(),
            client_3: clock_bound::Client::new_with_path(&path("shm1")).unwrap(),
            reads: 0,
        }
    }

    /// Reads both segments and checks that true time is within the windows. Returns the windows of
    /// 2.x and 3.x.
    ///
    /// # Panics
    /// If true time is outside.
    pub fn check(&mut self) -> [Window; 2] {
        let window = window_2(&mut self.client_2);
        // The client's reading of the machine's clock, at which the virtual one had this error.
        let read = SystemTime::from_nanos(window.earliest + (window.latest - window.earliest) / 2);
        let error = self.clock.read().unwrap().true_offset(read);
        // Half of an odd window is rounded.
        let bound = window.bound() + NtpDuration::from_nanos(1);
        assert!(error.abs() <= bound, "2.x: {error} {window:?}");

        let before = realtime().as_nanos();
        let counted = window_3(&mut self.client_3);
        let after = realtime().as_nanos();
        let inside = counted.earliest <= after && before <= counted.latest;
        assert!(inside, "3.x: {before} {after} {counted:?}");
        self.reads += 1;
        [window, counted]
    }
}

/// A daemon that runs in this thread for some time and stops then.
pub struct Daemon {
    runtime: Runtime,
}

/// How a daemon is started.
pub struct Start<'a> {
    /// Where it writes the segments.
    pub directory: &'a Path,
    /// Its clock.
    pub clock: &'a Arc<RwLock<VirtualClock>>,
    /// Its only server.
    pub server: SocketAddr,
    /// Offsets up to this one are slewed, in seconds.
    pub step_threshold: f64,
    /// A page of a hypervisor that it watches, with the marker in it.
    pub page: Option<(PathBuf, u64)>,
}

impl Daemon {
    /// Starts it.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(start: Start<'_>) -> Self {
        let Start {
            directory,
            clock,
            server,
            step_threshold,
            page,
        } = start;
        let (address, port) = (server.ip(), server.port());
        let page_source = page.as_ref().map_or_else(String::new, |(path, _)| {
            let path = path.display();
            format!("[[source]]\nmode = \"vmclock\"\npath = \"{path}\"\n")
        });
        let text = format!(
            "[[source]]\nmode = \"server\"\naddress = \"{address}:{port}\"\n\
             initial-poll-interval = 0\npoll-interval-limits = {{ min = 0, max = 0 }}\n{page_source}\
             [synchronization]\nminimum-agreeing-sources = 1\n\
             [synchronization.algorithm]\nstep-threshold = {step_threshold}\n"
        );
        let (config, _) = ntp_config::parse(&text, "ntp.toml").expect("the file is valid");
        let disruptions = DisruptionMonitor::open(&config);
        let marker = page.map(|(_, marker)| marker);
        let clockbound = ClockBound::open(directory, marker).expect("the segments can be written");
        let clock = Clock::Virtual(Arc::clone(clock));
        let facts = convert::clock_facts(&clock).expect("a virtual clock can be read");
        let parts = Parts {
            clock,
            sockets: convert::socket_options(&config),
            store: Store::new(None),
            leap_list: LeapList::default(),
            disruptions,
            ref_clocks: Some(RefClocks::default()),
            history: None,
            clockbound: Some(clockbound),
            observation_socket: None,
            chronyc: None,
            recorder: None,
            seed: [7; 32],
        };
        let engine = convert::engine_config(&config, &KeyRing::default(), None, facts);
        Self {
            runtime: Runtime::new(engine, parts),
        }
    }

    /// Runs it for a moment.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&mut self) {
        let until = after(Duration::from_millis(2));
        self.runtime.run(Some(until)).expect("the daemon runs");
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// If it fails.
    pub fn stop(mut self) {
        self.runtime.shut_down().expect("the daemon ends");
    }
}

/// Returns a virtual clock with this error now, in a form that tests share with the daemon.
pub fn virtual_clock(offset: NtpDuration, frequency_error: Frequency) -> Arc<RwLock<VirtualClock>> {
    let clock = VirtualClock::new(realtime(), offset, frequency_error).with_kernel_limits();
    Arc::new(RwLock::new(clock))
}

/// Starts a server that serves true time at a port, or at a free one.
///
/// # Panics
/// If it cannot be started.
pub fn server(port: u16) -> ReferenceServer {
    let listen = ([127, 0, 0, 1], port).into();
    ReferenceServer::bind(listen, Behaviour::default()).expect("a server starts")
}
