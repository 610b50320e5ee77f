//! Requests of pools over real connections: fixed keys, Keep Alive and its limits.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Authority, Running, endpoint, exchange_keys, keyset, start, until};
use ntp_nts_ke::server::{EndpointConfig, PreparedEndpoint};
use ntp_proto::nts::Direction;
use ntp_proto::nts::exchange::{ALPN, PoolToken};
use ntp_proto::nts::record::{MessageBuffer, RESPONSE_LIMIT, RecordKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A connection of a pool.
struct Pool(StreamOwned<ClientConnection, TcpStream>);

impl Pool {
    fn connect(running: &Running, authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(authority.path()).unwrap();
        roots.add(certificate).unwrap();
        let provider = ntp_nts_ke::provider::provider();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(running.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self(StreamOwned::new(tls, socket))
    }

    fn send(&mut self, octets: &[u8]) {
        self.0.write_all(octets).unwrap();
    }

    /// Reads one response.
    fn response(&mut self) -> MessageBuffer {
        let mut response = MessageBuffer::new(RESPONSE_LIMIT);
        loop {
            // A response is not followed by anything that has not been requested.
            let mut octet = [0];
            self.0.read_exact(&mut octet).unwrap();
            if response.push(&octet).unwrap() {
                return response;
            }
        }
    }

    fn ask(&mut self, octets: &[u8]) -> MessageBuffer {
        self.send(octets);
        self.response()
    }

    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

fn has(response: &MessageBuffer, kind: RecordKind) -> bool {
    response.records().any(|record| record.kind == kind)
}

const TOKEN: &[u8] = &[0, 14, 0, 3, b'k', b'e', b'y'];
const KEEP_ALIVE: &[u8] = &[0, 8, 0, 0];
const PROTOCOLS: &[u8] = &[0x80, 9, 0, 0];
const END: &[u8] = &[0x80, 0, 0, 0];

fn fixed_key(key: u8, keep_alive: bool) -> Vec<u8> {
    let keep_alive = if keep_alive { KEEP_ALIVE } else { &[] };
    let records = [
        &[0x80, 12, 0, 64][..],
        &[key; 32],
        &[key + 1; 32],
        &[0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 2, 0, 15],
    ];
    [TOKEN, &records.concat(), keep_alive, END].concat()
}

fn member(authority: &Authority, long_lived: usize) -> EndpointConfig {
    let mut endpoint = endpoint(vec![authority.good()]);
    endpoint.policy.pool_tokens = vec![PoolToken::new("key".into())];
    endpoint.limits.long_lived = long_lived;
    endpoint
}

#[test]
fn a_pool_gets_cookies_for_the_keys_of_its_clients_over_one_connection() {
    let authority = Authority::new();
    let mut endpoint = member(&authority, 1);
    // A connection that is kept open is not evicted by those of clients.
    endpoint.limits.connections = 1;
    let running = start(endpoint);
    let mut pool = Pool::connect(&running, &authority);
    let lists = pool.ask(&[TOKEN, PROTOCOLS, KEEP_ALIVE, END].concat());
    assert!(has(&lists, RecordKind::SUPPORTED_PROTOCOLS));
    assert!(has(&lists, RecordKind::KEEP_ALIVE));
    for key in 1..4 {
        assert!(exchange_keys(&running, &authority).outcome.is_ok());
        let response = pool.ask(&fixed_key(key, true));
        assert!(has(&response, RecordKind::KEEP_ALIVE));
        let cookies = response
            .records()
            .filter(|it| it.kind == RecordKind::COOKIE);
        let opened: Vec<_> = cookies
            .map(|cookie| keyset().open_cookie(cookie.body).unwrap())
            .collect();
        assert_eq!(opened.len(), 8);
        for keys in opened {
            assert_eq!(keys.key(Direction::ClientToServer), [key; 32]);
            assert_eq!(keys.key(Direction::ServerToClient), [key + 1; 32]);
        }
    }
    // Two requests in one segment get two responses, and the last one closes the connection.
    pool.send(&[fixed_key(8, true), fixed_key(9, false)].concat());
    assert!(has(&pool.response(), RecordKind::KEEP_ALIVE));
    assert!(!has(&pool.response(), RecordKind::KEEP_ALIVE));
    assert!(pool.is_closed());
    let counters = running.server.counters();
    assert_eq!(counters.pool_queries.load(Ordering::Relaxed), 1);
    until("all exchanges are counted", || {
        counters.granted.load(Ordering::Relaxed) == 3 + 3 + 2
    });
}

#[test]
fn connections_that_pools_keep_open_are_limited() {
    let authority = Authority::new();
    let running = start(member(&authority, 1));
    let mut first = Pool::connect(&running, &authority);
    assert!(has(&first.ask(&fixed_key(1, true)), RecordKind::KEEP_ALIVE));
    let mut second = Pool::connect(&running, &authority);
    let response = second.ask(&fixed_key(1, true));
    assert!(has(&response, RecordKind::COOKIE));
    assert!(!has(&response, RecordKind::KEEP_ALIVE));
    assert!(second.is_closed());
    // The place of a connection that ended is free.
    drop(first);
    until("another connection is kept open", || {
        let mut third = Pool::connect(&running, &authority);
        has(&third.ask(&fixed_key(1, true)), RecordKind::KEEP_ALIVE)
    });
}

#[test]
fn a_kept_connection_exports_no_keys_and_ends_with_a_new_configuration() {
    let authority = Authority::new();
    let mut running = start(member(&authority, 2));
    let mut pool = Pool::connect(&running, &authority);
    pool.ask(&fixed_key(1, true));
    let plain = [&[0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 2, 0, 15][..], END].concat();
    let refused = pool.ask(&plain);
    let error = refused.records().find(|it| it.kind == RecordKind::ERROR);
    assert_eq!(error.and_then(|error| error.number()), Some(1));
    assert!(pool.is_closed());

    let mut pool = Pool::connect(&running, &authority);
    pool.ask(&fixed_key(1, true));
    let mut changed = member(&authority, 2);
    changed.listen = "127.0.0.1:0".parse().unwrap();
    changed.policy.pool_tokens.clear();
    let errors = running
        .server
        .set_endpoints(vec![PreparedEndpoint::read(changed)]);
    assert!(errors.is_empty(), "{errors:?}");
    assert!(pool.is_closed());
    // The token is not accepted any more.
    let response = Pool::connect(&running, &authority).ask(&fixed_key(1, true));
    let error = response.records().find(|it| it.kind == RecordKind::ERROR);
    assert_eq!(error.and_then(|error| error.number()), Some(0));
}
