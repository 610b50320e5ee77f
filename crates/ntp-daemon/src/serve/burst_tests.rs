//! Requests that arrive while a server does not run.
//!
//! A bound server that has not been started is one that pauses: the kernel queues its datagrams.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use ntp_os_clock::Clock;
use ntp_time::{Frequency, NtpDuration};

use super::*;

/// Requests within a pause of 20 ms at 50 000 requests a second.
const PAUSE: u64 = 1000;

/// More requests than the buffer holds.
const FLOOD: u64 = 30_000;

/// Sends `count` requests to a server that is not running, starts it, and returns its status when
/// it has answered a later request.
fn after_a_pause(count: u64) -> ServerStatus {
    let listener = Listener {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        workers: 1,
        batching_under_load: true,
        policy: Policy::default(),
        options: ServerOptions::default(),
    };
    let bound = Bound::bind(vec![listener]).unwrap();
    assert_eq!(bound.missing(), []);
    let address = bound.endpoints[0].1[0].local_addr().unwrap();
    let flood = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut request = [0; 48];
    request[0] = 0x23;
    for _ in 0..count {
        flood.send_to(&request, address).unwrap();
    }
    let clock = Clock::new_virtual(NtpDuration::ZERO, Frequency::ZERO);
    let translator = clock.translator();
    let mut servers = bound
        .start(Claim::UNSYNCHRONIZED, &translator, || [7; 32])
        .unwrap();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let limit = Duration::from_secs(1);
    client.set_read_timeout(Some(limit)).unwrap();
    // The first may find the buffer full.
    let answered = (0..30).any(|_| {
        client.send_to(&request, address).unwrap();
        client.recv(&mut [0; 100]).is_ok()
    });
    assert!(answered);
    servers.stop().unwrap();
    servers.status().remove(0)
}

#[test]
fn a_pause_of_20_ms_loses_nothing_at_50_000_requests_a_second() {
    let permitted = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    if permitted.trim().parse::<u64>().unwrap() < 2 << 20 {
        return eprintln!("skipped: net.core.rmem_max is smaller than the buffer");
    }
    let status = after_a_pause(PAUSE);
    assert_eq!(status.requests.received, PAUSE + 1);
    assert_eq!(status.details.dropped_by_kernel, 0);
}

#[test]
fn requests_that_the_kernel_drops_are_counted() {
    let status = after_a_pause(FLOOD);
    let (received, dropped) = (status.requests.received, status.details.dropped_by_kernel);
    assert!(dropped > 0 && received > 1);
    let sent = received + dropped;
    assert!((FLOOD + 1..=FLOOD + 30).contains(&sent), "{status:?}");
}
