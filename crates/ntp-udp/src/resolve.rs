//! Resolves hosts with the operating system's resolver.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use ntp_types::host::{Host, ScopedIp};

/// Returns the addresses of a host in the order of the resolver, each once.
///
/// Addresses that no server can have are left out: a name server must not make this machine send
/// requests to a multicast group or to itself (`0.0.0.0`). The resolver also finds the number of
/// the interface of `fe80::1%eth0`.
///
/// This blocks for as long as `getaddrinfo(3)` does, unless the host is an address.
///
/// # Errors
/// The resolver's, or that the name has no address, or none that a server can have.
pub fn resolve(host: &Host) -> io::Result<Vec<ScopedIp>> {
    let name = match host {
        Host::Address(address) => return Ok(vec![(*address).into()]),
        Host::Name(name) => name,
    };
    // A port is required, and none is looked up.
    usable((name.as_str(), 0).to_socket_addrs()?)
}

/// As [`resolve`], but waits for at most `limit`. A thread waits for the resolver, and stays until that
/// returns: for programs that end soon. It has the restrictions of its parent.
///
/// # Errors
/// Those of `resolve`; `TimedOut`; and those of starting a thread.
pub fn resolve_within(host: &Host, limit: Duration) -> io::Result<Vec<ScopedIp>> {
    let host = host.clone();
    within(limit, move || resolve(&host))
}

fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = channel();
    thread::Builder::new()
        .name("resolver".into())
        .spawn(move || sender.send(work()))?;
    receiver.recv_timeout(limit).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Timeout => io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "the resolver does not answer within {} s",
                    limit.as_secs_f64()
                ),
            ),
            RecvTimeoutError::Disconnected => io::Error::other("the resolver failed"),
        })
    })
}

fn usable(found: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<ScopedIp>> {
    let (mut addresses, mut refused) = (Vec::new(), None);
    for address in found.map(ScopedIp::from) {
        match address.check_server() {
            Ok(()) if addresses.contains(&address) => {}
            Ok(()) => addresses.push(address),
            Err(error) => refused = Some((address, error)),
        }
    }
    match refused {
        Some((address, error)) if addresses.is_empty() => Err(io::Error::other(format!(
            "the name has no usable address: {address} is {error}"
        ))),
        None if addresses.is_empty() => Err(io::Error::other("the resolver returned no address")),
        _ => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> io::Result<Vec<String>> {
        let found = texts.iter().map(|text| text.parse().unwrap());
        usable(found).map(|found| found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn addresses_that_no_server_has_are_left_out() {
        let mixed = [
            "0.0.0.0:0",
            "192.0.2.1:0",
            "[::ffff:192.0.2.1]:0",
            "[ff02::101]:0",
        ];
        assert_eq!(addresses(&mixed).unwrap(), ["192.0.2.1"]);
        assert_eq!(addresses(&["[fe80::1%7]:0"]).unwrap(), ["fe80::1%7"]);
        let message = |texts| addresses(texts).unwrap_err().to_string();
        let refused = message(&["0.0.0.0:0", "[::]:0"]);
        assert!(refused.contains("no usable address"), "{refused}");
        assert!(message(&["255.255.255.255:0"]).contains("broadcast"));
        assert!(message(&["[fe80::1]:0"]).contains("without an interface"));
        assert!(message(&[]).contains("no address"));
    }

    #[test]
    fn a_resolver_that_does_not_answer_is_not_awaited_for_ever() {
        let hanging = || loop {
            thread::park();
        };
        let error = within::<()>(Duration::from_millis(1), hanging).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let host = Host::parse("fe80::1%lo").unwrap();
        assert_eq!(
            resolve_within(&host, Duration::from_secs(60)).unwrap(),
            resolve(&host).unwrap()
        );
    }

    #[test]
    fn literal_and_scoped_addresses_are_resolved() {
        let resolved = |text| resolve(&Host::parse(text).unwrap()).unwrap();
        assert_eq!(resolved("192.0.2.1"), ["192.0.2.1".parse().unwrap()]);
        assert_eq!(resolved("fe80::1%7"), ["fe80::1%7".parse().unwrap()]);
        // The name of an interface, which every machine has, becomes its number.
        let loopback = resolved("fe80::1%lo");
        assert!(loopback[0].scope_id > 0, "{loopback:?}");
        assert!(resolve(&Host::parse("fe80::1%absent").unwrap()).is_err());
    }
}
