//! End-to-end tests of the shipped programs: real processes, real sockets, real peers (chronyd,
//! ntpsec).
//!
//! # Problem
//! The simulation tests the engine, but not the operating system, other implementations or the
//! processes. These tests answer what only real parts can: whether kernel sockets deliver what we
//! expect, whether we interoperate with chronyd and ntpsec, and whether programs exit with the
//! documented codes.
//!
//! # Idea
//! There are six arenas:
//!
//! - *Loopback*: the daemon and the servers of `test-binaries` on 127.0.0.1 and ::1. Needs nothing,
//!   except that two scenarios run a real [`gpsd`].
//! - *Namespaces*: a network of virtual hosts ([`netns`]) that run the daemon, chronyd and ntpsec's
//!   ntpd ([`peers`], [`clients`]); a [`delay_proxy`] emulates bad links.
//! - *Virtual machines* ([`vm`]): guests with kernels of their own, whose clocks the daemon steers.
//! - *Browser*: the exporter's page in a headless Chromium ([`browser`]).
//! - *Monitoring*: a Prometheus server scrapes the exporter ([`prometheus`]).
//! - *Packaging*: the Debian package and the systemd units.
//!
//! Outside of virtual machines all hosts share the machine's clock, and **no test changes it**: it
//! is the reference that every result is compared with. The daemon disciplines a virtual clock
//! whose true error it reports, and every process of an arena runs without `CAP_SYS_TIME` (see
//! [`process`]), so the kernel refuses any attempt to set the clock.
//!
//! # How a test is written
//! A test is a function in `tests/*.rs` whose name is a sentence, listed in a `main` that calls
//! [`harness::run`]. Tests wait for conditions ([`wait`]), never for an amount of time. Processes,
//! namespaces and files belong to values that clean up when dropped, and the kernel ends them if
//! the test process is killed.
//!
//! A missing arena is a failure only if `NTP_E2E_REQUIRE=1` is set; otherwise its tests are
//! skipped.
#![forbid(unsafe_code)]

pub mod binaries;
pub mod browser;
pub mod certificates;
pub mod clients;
pub mod daemon;
pub mod debian;
pub mod delay_proxy;
pub mod dhcp_server;
pub mod exporter;
pub mod faulty_ke_server;
mod files;
pub mod gpsd;
pub mod harness;
pub mod http;
pub mod log_event;
pub mod netns;
pub mod nts_query;
pub mod observation;
pub mod peers;
pub mod process;
pub mod producer;
pub mod prometheus;
pub mod query;
pub mod torture;
pub mod vm;
pub mod wait;
