//! End-to-end tests: the programs that users run, over real sockets, against the servers that the world runs.
//!
//! # Problem
//! The engine is tested in simulation, where everything is known and nothing is real. What remains are the
//! questions that only real parts answer: does a kernel's socket deliver what we think, does chronyd understand us
//! and we ntpsec, does a process end with the exit code that it promises?
//!
//! # Idea
//! Five arenas. *Loopback* needs nothing: the daemon talks to the servers of `test-binaries` on 127.0.0.1 and ::1.
//! *Namespaces* builds a small network of virtual hosts ([`netns`]) on which the daemon, chronyd and ntpsec's ntpd
//! ([`peers`]) live side by side, with bad links made by a [`delay_proxy`]. *Browser* looks at the exporter's page with a headless Chromium ([`browser`]),
//! *Monitoring* has a Prometheus server scrape it ([`prometheus`]).
//!
//! *Virtual machines* ([`vm`]) have kernels of their own, whose clocks the daemon steers for real.
//!
//! Outside of virtual machines all hosts share the kernel's one clock, and **nobody may touch it**: it is the truth that every result is
//! compared with. The daemon disciplines a virtual clock whose error it reports, and every process of an arena runs
//! without `CAP_SYS_TIME` (see [`process`]), so that the kernel refuses whatever else a program may try.
//!
//! # How a test is written
//! Tests are sentences in `tests/*.rs`, listed in a `main` that calls [`harness::run`]. They wait for conditions
//! ([`wait`]), never for an amount of time, and what they start ends with them: processes, namespaces and files
//! belong to values that clean up when dropped, and die with the test process if that is killed.
//!
//! A missing arena is no failure unless `NTP_E2E_REQUIRE=1` says that it must be there.
#![forbid(unsafe_code)]

pub mod binaries;
pub mod browser;
pub mod certificates;
pub mod clients;
pub mod daemon;
pub mod delay_proxy;
pub mod exporter;
pub mod harness;
pub mod http;
pub mod netns;
pub mod nts_query;
pub mod observation;
pub mod odd_key_server;
pub mod peers;
pub mod process;
pub mod prometheus;
pub mod query;
pub mod torture;
pub mod vm;
pub mod wait;
