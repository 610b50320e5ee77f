//! NTS servers that share a secret (`shared-secret-path` in `[keyset]`).
//!
//! Each member is a host that can reach the time source and the clients but, by isolation on the
//! bridge, no other member. Members can open each other's cookies only by the secret and the time.
//!
//! An epoch takes at least 60 s, too long for a test. So the *time source* jumps to shortly before
//! the end of an epoch, the members step their clocks, and the epoch ends a few seconds later on
//! each member by its own clock. One slow scenario waits for full epochs.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ntp_e2e::certificates::Authority;
use ntp_e2e::daemon::{Daemon, Setup};
use ntp_e2e::harness::Scenario;
use ntp_e2e::netns::{Host, Network};
use ntp_e2e::nts_query::{self, NtsReply};
use ntp_e2e::{scenario, wait};
use ntp_proto::nts::{AeadAlgorithm, Cookie, KeyExchangeResult};
use ntp_time::{NtpDuration, SystemTime};
use test_binaries::{Behaviour, Misbehaviour, ReferenceServer};

use super::LIMIT;

/// Timeout of one query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// Length of an epoch in seconds (the minimum), and number of further epochs in which a cookie is
/// valid.
const EPOCH: i64 = 60;
const STALE: i64 = 2;
/// Seconds before the end of an epoch to which the time source jumps: a member needs three polls to
/// follow it.
const BEFORE_THE_END: i64 = 10;

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!(cookies_of_one_member_work_on_all_members_for_two_rotations),
    scenario!(an_unsynchronised_member_issues_no_keys),
    scenario!(keys_rotate_in_real_time).slow(),
];

/// The servers' common parts: the secret, the time source, and a client.
struct Fleet {
    client: Host,
    reference: ReferenceServer,
    authority: Authority,
    secret: PathBuf,
    reference_address: IpAddr,
    /// Offset of the time source from the machine's clock.
    offset: NtpDuration,
    _reference_host: Host,
    _network: Network,
}

impl Fleet {
    /// Creates the network and three hosts, on which no member runs yet.
    fn new() -> (Self, Vec<Host>) {
        let network = Network::new();
        let (client, reference_host) = (network.host(), network.host());
        let address = SocketAddr::new(reference_host.v4(), 123);
        let bound = reference_host.inside(|| ReferenceServer::bind(address, Behaviour::default()));
        let authority = Authority::new();
        let secret = authority.directory().join("fleet.secret");
        std::fs::write(&secret, "a secret that three servers share").expect("a file");
        restrict(&secret);
        let hosts = (0..3).map(|_| network.isolated_host()).collect();
        let mut fleet = Self {
            client,
            reference: bound.expect("a socket"),
            authority,
            secret,
            reference_address: reference_host.v4(),
            offset: NtpDuration::ZERO,
            _reference_host: reference_host,
            _network: network,
        };
        fleet.jump_to(fleet.epoch() + 1, 5);
        (fleet, hosts)
    }

    /// Current time of the time source.
    fn now(&self) -> SystemTime {
        ntp_os_clock::realtime() + self.offset
    }

    fn epoch(&self) -> i64 {
        self.now().as_nanos().div_euclid(EPOCH * 1_000_000_000)
    }

    /// Sets the time source to `seconds` after the start of an epoch.
    fn jump_to(&mut self, epoch: i64, seconds: i64) {
        let time = SystemTime::from_nanos((epoch * EPOCH + seconds) * 1_000_000_000);
        self.offset = time - ntp_os_clock::realtime();
        self.reference.set_behaviour(self.correct());
    }

    fn correct(&self) -> Behaviour {
        Behaviour {
            offset: self.offset,
            ..Behaviour::default()
        }
    }

    /// Ends the epoch. Returns the number of the next one, once all of `running` issue its cookies.
    fn rotate(&mut self, running: &[&Host]) -> i64 {
        let next = self.epoch() + 1;
        self.jump_to(next, -BEFORE_THE_END);
        self.wait_epoch(running, next);
        next
    }

    fn wait_epoch(&self, running: &[&Host], epoch: i64) {
        for member in running {
            wait::until_slowly(LIMIT, "cookies of the next epoch", || {
                let exchanged = self.exchange(member).ok()?;
                let made_in = exchanged.cookies.first().map(epoch_of)?;
                (i64::from(made_in) >= epoch).then_some(())
            });
        }
    }

    /// Starts a member, which follows the time source by steps of any size.
    fn member(&self, host: &Host) -> (Daemon, Setup) {
        let names = host.names();
        let certificate = self.authority.issue(&names[0], &names);
        let setup = Setup::new(1)
            .synchronization("single-step-panic-threshold = \"inf\"\nstepout-time = 0")
            .server(&self.reference_address.to_string())
            .with("[synchronization.algorithm]\nstep-threshold = 1.0")
            .with("[[server]]\nlisten = \"[::]:123\"\nrequire-nts = \"deny\"")
            .with(&certificate.ke_server_section("[::]:4460", "key-exchange-timeout-ms = 20000"))
            .with(&format!(
                "[keyset]\nshared-secret-path = \"{}\"\nkey-rotation-interval = {EPOCH}\nstale-key-count = {STALE}",
                self.secret.display(),
            ));
        (setup.start(Some(host)), setup)
    }

    fn exchange(&self, member: &Host) -> Result<KeyExchangeResult, String> {
        nts_query::exchange(
            &self.client,
            SocketAddr::new(member.v4(), 4460),
            &self.authority.path(),
            AeadAlgorithm::Aes128GcmSiv,
        )
    }

    /// Reply of `member` to a request with the cookie. Asserts that IPv4 and IPv6 agree.
    fn query(&self, member: &Host, exchanged: &KeyExchangeResult, cookie: &Cookie) -> NtsReply {
        let one = |address: IpAddr| {
            let socket = self.client.udp_to(address);
            let server = SocketAddr::new(address, 123);
            // A datagram may be lost on a busy machine.
            wait::try_until(LIMIT, || {
                let reply = nts_query::query(&socket, server, exchanged, cookie, QUERY_TIMEOUT);
                Some(reply.expect("a socket")).filter(|reply| *reply != NtsReply::None)
            })
            .unwrap_or(NtsReply::None)
        };
        let (v4, v6) = (one(member.v4()), one(member.v6()));
        assert_eq!(v4.is_time(), v6.is_time());
        v4
    }
}

/// Asserts that no member has tried to reach another member.
fn assert_no_contact(members: &[Host]) {
    for member in members {
        let others = members.iter().filter(|other| other.v4() != member.v4());
        let others: Vec<_> = others.flat_map(|other| [other.v4(), other.v6()]).collect();
        for neighbour in member.neighbours() {
            assert!(
                !others.contains(&neighbour),
                "{} tried to reach {neighbour}",
                member.v4()
            );
        }
    }
    // Verifies the check: an attempt is visible, and fails.
    let (one, other) = (&members[0], &members[1]);
    let tried = one.inside(|| {
        let address = SocketAddr::new(other.v4(), 4460);
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1))
    });
    assert!(tried.is_err() && one.neighbours().contains(&other.v4()));
}

fn restrict(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("our own file");
}

/// Number of the epoch whose key sealed a cookie (the format is upstream's).
fn epoch_of(cookie: &Cookie) -> u32 {
    let number = cookie.octets().first_chunk().expect("a number");
    u32::from_be_bytes(*number)
}

fn cookies_of_one_member_work_on_all_members_for_two_rotations() {
    let (mut fleet, hosts) = Fleet::new();
    let [first, second, late] = &hosts[..] else {
        panic!("three");
    };
    let mut running = vec![fleet.member(first), fleet.member(second)];
    for (daemon, _) in &mut running {
        daemon.wait_until(LIMIT, "a known frequency", |observation| {
            observation.is_synchronized() && observation.frequency_uncertainty_ppm() < 20.0
        });
    }
    let begin = fleet.epoch();
    fleet.wait_epoch(&[first, second], begin);
    let exchanged = fleet.exchange(first).expect("keys");
    let (old, client) = (&exchanged.cookies[0], client_of(&fleet, first));
    let made_in = i64::from(epoch_of(old));
    assert!(fleet.query(first, &exchanged, old).is_time());
    assert!(fleet.query(second, &exchanged, old).is_time());
    let kept = {
        let mut daemon = client.start(Some(&fleet.client));
        daemon.wait_synchronized(LIMIT);
        daemon.stop()
    };
    assert_eq!(kept.code(), Some(0));

    // Two rotations.
    while fleet.epoch() < made_in + STALE {
        let epoch = fleet.rotate(&[first, second]);
        assert!(epoch <= made_in + STALE, "an epoch was skipped");
        for member in [first, second] {
            let NtsReply::Time(fresh) = fleet.query(member, &exchanged, old) else {
                panic!("a cookie of epoch {made_in} is rejected in epoch {epoch}");
            };
            // All members accept the new cookie of one.
            for other in [first, second] {
                assert!(fleet.query(other, &exchanged, &fresh[0]).is_time());
            }
        }
    }
    // A member that is started later.
    running.push(fleet.member(late));
    running[2].0.wait_synchronized(LIMIT);
    fleet.wait_epoch(&[late], made_in + STALE);
    assert!(fleet.query(late, &exchanged, old).is_time());
    let newest = fleet.exchange(late).expect("keys");
    for member in [first, second] {
        assert!(fleet.query(member, &newest, &newest.cookies[0]).is_time());
    }

    // A third rotation.
    while fleet.epoch() <= made_in + STALE {
        fleet.rotate(&[first, second, late]);
    }
    for member in [first, second, late] {
        assert!(fleet.query(member, &exchanged, old).is_nts_nak());
        assert!(fleet.query(member, &newest, &newest.cookies[1]).is_time());
    }
    // A client that was stopped meanwhile has only expired cookies, and exchanges keys again.
    let mut back = client.start(Some(&fleet.client));
    back.process
        .wait_for_event(LIMIT, "nts_session_restored", &[]);
    wait::until(LIMIT, "another key exchange", || {
        (back.process.events("keys_exchanged").len() == 2).then_some(())
    });
    back.wait_synchronized(LIMIT);
    running[0].0.wait_until(LIMIT, "refusals", |observation| {
        observation.server_counter("nts_nak_packets") > 2
    });
    assert_no_contact(&hosts);
}

/// A client of `member`.
fn client_of(fleet: &Fleet, member: &Host) -> Setup {
    Setup::new(1).nts_source((member.v4(), 4460).into(), &fleet.authority)
}

fn an_unsynchronised_member_issues_no_keys() {
    let (fleet, hosts) = Fleet::new();
    fleet.reference.set_behaviour(Behaviour {
        offset: fleet.offset,
        ..Behaviour::with(Misbehaviour::Drop(1.0))
    });
    let (host, other) = (&hosts[0], &hosts[1]);
    let (mut daemon, _setup) = fleet.member(host);
    daemon
        .process
        .wait_for_event(LIMIT, "ke_server_started", &[]);
    daemon.process.wait_for_event(LIMIT, "keyset_waiting", &[]);
    let refused = fleet.exchange(host).expect_err("no keys");
    assert!(refused.contains("internal"), "{refused}");

    fleet.reference.set_behaviour(fleet.correct());
    daemon.wait_synchronized(LIMIT);
    daemon.process.wait_for_event(LIMIT, "keyset_derived", &[]);
    fleet.wait_epoch(&[host], 0);
    // A member without its time source cannot open this one's cookies, and does not send NTS NAKs.
    let exchanged = fleet.exchange(host).expect("keys");
    fleet.reference.set_behaviour(Behaviour {
        offset: fleet.offset,
        ..Behaviour::with(Misbehaviour::Drop(1.0))
    });
    let (mut lost, _setup) = fleet.member(other);
    lost.process.wait_for_event(LIMIT, "server_started", &[]);
    let socket = fleet.client.udp_to(other.v4());
    let server = SocketAddr::new(other.v4(), 123);
    let reply = nts_query::query(
        &socket,
        server,
        &exchanged,
        &exchanged.cookies[0],
        QUERY_TIMEOUT,
    );
    assert_eq!(reply.expect("a socket"), NtsReply::None);
    lost.wait_until(LIMIT, "the request", |observation| {
        observation.server_counter("ignored_packets") == 1
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

fn keys_rotate_in_real_time() {
    let (fleet, hosts) = Fleet::new();
    let mut running: Vec<_> = hosts.iter().map(|host| fleet.member(host)).collect();
    for (daemon, _) in &mut running {
        daemon.wait_synchronized(LIMIT);
    }
    fleet.wait_epoch(&hosts.iter().collect::<Vec<_>>(), 0);
    let exchanged = fleet.exchange(&hosts[0]).expect("keys");
    let old = &exchanged.cookies[0];
    let made_in = i64::from(epoch_of(old));
    while fleet.epoch() <= made_in + STALE {
        let epoch = fleet.epoch();
        for host in &hosts {
            let reply = fleet.query(host, &exchanged, old);
            // The epoch may end during the query.
            assert!(
                reply.is_time() || fleet.epoch() != epoch,
                "in epoch {epoch}"
            );
        }
        wait::until_slowly(LIMIT, "the end of the epoch", || {
            (fleet.epoch() > epoch).then_some(())
        });
        fleet.wait_epoch(&hosts.iter().collect::<Vec<_>>(), epoch + 1);
    }
    for host in &hosts {
        assert!(fleet.query(host, &exchanged, old).is_nts_nak());
    }
    assert_no_contact(&hosts);
}
