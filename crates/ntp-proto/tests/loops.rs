//! Loops of servers of version 5: several engines that serve each other.
//!
//! Every clock is right, so that only the choice of sources matters, and time is virtual.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ntp_proto::client::{AssociationConfig, VersionChoice};
use ntp_proto::discipline::{Config, SelectionOptions, SourceState};
use ntp_proto::engine::{
    Datagram, Engine, EngineConfig, ExchangeId, Host, Input, Now, Output, SourceConfig, SourceKind,
};
use ntp_proto::reference_ids::ServerId;
use ntp_proto::server::{
    Claim, Draft, LocalMode, Policy, ServerNow, ServerView, Versions, WorkerState, respond,
};
use ntp_proto::wire::Version;
use ntp_time::{
    Applied, Frequency, LeapIndicator, Monotonic, NtpDuration, PollInterval, PollLimits, Stamp,
    StampSource, Stratum, SystemTime,
};

const EPOCH: SystemTime = SystemTime::from_nanos(1_800_000_000_000_000_000);
/// Time of a packet on its way.
const ONE_WAY: NtpDuration = NtpDuration::from_millis(1);
/// Longest interval between polls: 64 s, lengthened by up to 2 %.
const POLL: NtpDuration = NtpDuration::from_seconds(66);

fn now(at: NtpDuration) -> Now {
    Now {
        monotonic: Monotonic::from_nanos(0) + at,
        system: EPOCH + at,
    }
}

/// Address of a node, and of the primary server of a node.
fn address(network: u8, node: usize) -> IpAddr {
    IpAddr::from([192, 0, network, node as u8 + 1])
}

const NODES: u8 = 2;
const PRIMARIES: u8 = 3;

struct Node {
    engine: Engine,
    worker: WorkerState,
    frequency: Frequency,
}

struct Network {
    at: NtpDuration,
    nodes: Vec<Node>,
    policy: Arc<Policy>,
    /// Whether the primary server of a node answers.
    primaries: Vec<bool>,
    replies: Vec<(NtpDuration, usize, ExchangeId, Vec<u8>)>,
}

fn source(address: IpAddr, version: VersionChoice) -> SourceConfig {
    SourceConfig {
        name: address.to_string(),
        host: Host::Address(address),
        port: 123,
        kind: SourceKind::Server,
        association: AssociationConfig {
            limits: PollLimits {
                min: PollInterval::from_log2(4),
                max: PollInterval::from_log2(6),
            },
            initial_poll: PollInterval::from_log2(4),
            version,
            ..AssociationConfig::default()
        },
        selection: SelectionOptions::default(),
    }
}

impl Network {
    /// A ring in which each node has the next one as a source, and a primary server of its own.
    fn ring(count: usize) -> Self {
        let policy = Policy {
            versions: Versions::UP_TO_4.with(Version::V5),
            ..Policy::default()
        };
        let nodes = (0..count).map(|index| {
            let config = EngineConfig {
                sources: vec![
                    source(
                        address(NODES, (index + 1) % count),
                        VersionChoice::Fixed(Version::V5),
                    ),
                    source(address(PRIMARIES, index), VersionChoice::default()),
                ],
                discipline: Config {
                    minimum_agreeing_sources: 1,
                    ..Config::default()
                },
                ..EngineConfig::default()
            };
            let seed = [index as u8 + 1; 32];
            let mut engine = Engine::new(config, now(NtpDuration::ZERO), seed);
            let id = ServerId::from_octets(core::array::from_fn(|octet| {
                (octet as u8 + 1).wrapping_mul(29 + 12 * index as u8)
            }));
            engine.handle(now(NtpDuration::ZERO), Input::ServerId(Some(id)));
            Node {
                engine,
                worker: WorkerState::new(&policy, 1, seed),
                frequency: Frequency::ZERO,
            }
        });
        let nodes: Vec<Node> = nodes.collect();
        Self {
            at: NtpDuration::ZERO,
            primaries: vec![true; nodes.len()],
            nodes,
            policy: Arc::new(policy),
            replies: Vec::new(),
        }
    }

    /// Runs until `end`, and calls `watch` once a second.
    fn run(&mut self, end: NtpDuration, mut watch: impl FnMut(&Self)) {
        let mut second = self.at;
        while self.at < end {
            let wakeups = self
                .nodes
                .iter()
                .filter_map(|node| node.engine.next_wakeup());
            let wakeups = wakeups.map(|(at, _)| at - Monotonic::from_nanos(0));
            let arrivals = self.replies.iter().map(|(at, ..)| *at);
            let next = wakeups.chain(arrivals).chain([second, end]).min();
            self.at = self.at.max(next.unwrap_or(end));
            if self.at >= second {
                watch(self);
                second = self.at + NtpDuration::from_seconds(1);
            }
            let due = self.replies.extract_if(.., |(at, ..)| *at <= self.at);
            let due: Vec<_> = due.collect();
            for (_, node, exchange, payload) in due {
                let received = Stamp {
                    time: EPOCH + self.at,
                    source: StampSource::Kernel,
                };
                let datagram = Datagram {
                    exchange,
                    payload: &payload,
                    truncated: false,
                    received,
                };
                self.handle(node, Input::Datagram(datagram));
            }
            for node in 0..self.nodes.len() {
                self.handle(node, Input::Tick);
            }
        }
    }

    fn handle(&mut self, index: usize, input: Input<'_>) {
        let now = now(self.at);
        self.nodes[index].engine.handle(now, input);
        while let Some(output) = self.nodes[index].engine.poll_output() {
            match output {
                Output::Adjust(adjustment) => {
                    let node = &mut self.nodes[index];
                    node.frequency = adjustment.frequency.unwrap_or(node.frequency);
                    let applied = Applied {
                        at: now.system,
                        step: NtpDuration::ZERO,
                        frequency: node.frequency,
                    };
                    node.engine.handle(now, Input::ClockApplied(applied));
                }
                Output::Transmit {
                    exchange,
                    remote,
                    request,
                } => self.transmit(index, exchange, remote, &request.payload),
                _ => {}
            }
        }
    }

    fn transmit(&mut self, from: usize, exchange: ExchangeId, to: SocketAddr, request: &[u8]) {
        let stamp = Stamp {
            time: EPOCH + self.at,
            source: StampSource::Kernel,
        };
        let now = now(self.at);
        let engine = &mut self.nodes[from].engine;
        engine.handle(now, Input::Transmitted { exchange, stamp });
        let IpAddr::V4(ip) = to.ip() else { return };
        let [_, _, network, node] = ip.octets();
        let node = usize::from(node) - 1;
        let reply = if network == NODES {
            let view = self.view(node);
            answer(
                &view,
                &mut self.nodes[node].worker,
                self.at + ONE_WAY,
                request,
            )
        } else if self.primaries[node] {
            let view = self.primary();
            let mut worker = WorkerState::new(&self.policy, 1, [0; 32]);
            answer(&view, &mut worker, self.at + ONE_WAY, request)
        } else {
            Vec::new()
        };
        if !reply.is_empty() {
            let arrival = self.at + ONE_WAY + ONE_WAY;
            self.replies.push((arrival, from, exchange, reply));
        }
    }

    fn view(&self, node: usize) -> ServerView {
        let engine = &self.nodes[node].engine;
        ServerView {
            claim: engine.claim(now(self.at)),
            policy: Arc::clone(&self.policy),
            keyset: None,
            reference_ids: engine.reference_ids(),
        }
    }

    fn primary(&self) -> ServerView {
        let local = LocalMode {
            leap: LeapIndicator::None,
            stratum: Stratum::PRIMARY,
            root_dispersion: ntp_time::NtpShort::ZERO,
            ..LocalMode::NONE
        };
        ServerView {
            policy: Arc::clone(&self.policy),
            ..ServerView::unrestricted(Claim::local(local, -25))
        }
    }

    /// Whether the node follows the next one.
    fn follows(&self, node: usize) -> bool {
        let status = self.nodes[node].engine.status(now(self.at));
        let next = address(NODES, (node + 1) % self.nodes.len()).to_string();
        let mut sources = status.sources.iter().filter(|source| source.name == next);
        sources.any(|source| source.state == SourceState::Selected)
    }

    fn is_loop(&self) -> bool {
        (0..self.nodes.len()).all(|node| self.follows(node))
    }
}

fn answer(view: &ServerView, worker: &mut WorkerState, at: NtpDuration, request: &[u8]) -> Vec<u8> {
    let mut draft = Draft::new();
    let (time, from) = (now(at), SocketAddr::from(([192, 0, 2, 200], 4000)));
    let time = ServerNow {
        monotonic: time.monotonic,
        system: time.system,
    };
    let received = time.system;
    respond(view, worker, from, time, request, received, &mut draft);
    draft.seal(received).to_vec()
}

#[test]
fn loops_of_two_to_five_nodes_dissolve_within_bounded_polls() {
    for count in 2..=5 {
        let mut network = Network::ring(count);
        // Each filter is fetched in four polls, and the IDs pass one node after the other.
        let bound = POLL * (4 * count as i64 + 4);
        let (mut since, mut longest, mut looped) = (None, NtpDuration::ZERO, NtpDuration::ZERO);
        let mut followed = false;
        let end = NtpDuration::from_seconds(4 * 3600);
        network.run(end, |network| {
            followed |= (0..count).any(|node| network.follows(node));
            if network.is_loop() {
                let begin = *since.get_or_insert(network.at);
                longest = longest.max(network.at - begin);
                looped += NtpDuration::from_seconds(1);
            } else {
                since = None;
            }
        });
        assert!(followed, "{count} nodes: a source that is no loop is used");
        assert!(longest <= bound, "{count} nodes: a loop lasted {longest}");
        assert!(
            looped < end.half().half(),
            "{count} nodes: loops lasted {looped} of {end}"
        );
    }
}

#[test]
fn nodes_that_lose_their_primary_servers_do_not_follow_each_other_round_and_round() {
    let mut network = Network::ring(3);
    network.run(NtpDuration::from_seconds(3600), |_| {});
    network.primaries = vec![false; 3];
    // The bound of a loop, and the time until the primary servers count as unreachable.
    let settled = NtpDuration::from_seconds(3600) + POLL * (16 + 9);
    network.run(settled, |_| {});
    let (mut looped, mut checked) = (0, 0);
    network.run(settled + NtpDuration::from_seconds(4 * 3600), |network| {
        looped += u32::from(network.is_loop());
        checked += 1;
    });
    assert!(looped * 4 < checked, "{looped} of {checked} s");
}

#[test]
fn a_chain_is_followed_and_its_end_is_no_source_of_its_beginning() {
    let mut network = Network::ring(4);
    // Only the last node has a primary server, so the others form a chain behind it.
    network.primaries = vec![false, false, false, true];
    network.run(NtpDuration::from_seconds(2 * 3600), |network| {
        assert!(!network.is_loop(), "at {}", network.at);
    });
    for node in 0..3 {
        assert!(network.follows(node), "node {node} follows the next one");
    }
    assert!(!network.follows(3));
    let status = network.nodes[3].engine.status(now(network.at));
    let excluded = &status.sources[0];
    assert_eq!(excluded.state, SourceState::Unusable);
    assert!(
        excluded
            .last_error
            .as_ref()
            .unwrap()
            .contains("this machine")
    );
}
