//! Matches a record with an engine that did not make it.
//!
//! # Problem
//! If the start of a run or lines in it are missing, the replayed engine numbers associations,
//! exchanges and queries differently from the recorded one, and its requests contain other
//! timestamps.
//!
//! # Solution
//! Associations are matched by address, reference clocks by device. A name resolves to the recorded addresses of its source,
//! and a key exchange leads to the recorded address. The first line of a recorded exchange causes a
//! request of the replayed engine, with which all its lines are paired. A recorded reply gets the
//! origin timestamp of that request. An address that the recorded engine has removed is polled once
//! more: an engine replaces an unreachable address when it is due for a poll.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ntp_proto::engine::{ExchangeId, Host, QueryId, SourceConfig, SourceId};
use ntp_proto::nts::{AeadAlgorithm, Cookie};
use ntp_proto::wire::{Header, Reader, Writer};
use ntp_time::{NtpDuration, NtpTimestamp, Stratum};
use ntp_types::host::ScopedIp;
use ntp_types::source::{SourceAddress, SourceName};

use crate::input::{RecordedInput, RecordedKeyExchange};
use crate::version_5;

/// Associations and exchanges of the record, and open queries of the replayed engine.
#[derive(Default)]
pub(crate) struct Matching {
    /// All associations, including removed ones, of which replies may still be recorded.
    associations: BTreeMap<SourceId, SourceName>,
    /// Exchange of the replayed engine for each recorded one.
    exchanges: BTreeMap<ExchangeId, ExchangeId>,
    queries: Vec<(QueryId, Wanted)>,
    /// Reference clocks of the replayed engine by device.
    devices: BTreeMap<String, SourceId>,
}

/// What the replayed engine asks for.
pub(crate) enum Wanted {
    /// Addresses of a host.
    Addresses(String),
    /// Keys for the source with this name.
    Keys(String),
}

impl Matching {
    pub(crate) fn add(&mut self, association: &SourceName) {
        let association = association.clone();
        self.associations.insert(association.id, association);
    }

    /// Returns the address of a recorded association.
    pub(crate) fn address(&self, source: SourceId) -> Option<SocketAddr> {
        self.associations.get(&source)?.address.socket()
    }

    pub(crate) fn open_device(&mut self, device: String, source: SourceId) {
        self.devices.insert(device, source);
    }

    /// Returns the reference clock with the device of a recorded one.
    pub(crate) fn device(&self, recorded: SourceId) -> Option<SourceId> {
        match &self.associations.get(&recorded)?.address {
            SourceAddress::Device(device) => self.devices.get(device).copied(),
            SourceAddress::Socket(_) => None,
        }
    }

    /// Returns the exchange that is paired with a recorded one.
    pub(crate) fn exchange(&self, recorded: ExchangeId) -> Option<ExchangeId> {
        self.exchanges.get(&recorded).copied()
    }

    pub(crate) fn pair(&mut self, recorded: ExchangeId, replayed: ExchangeId) {
        self.exchanges.insert(recorded, replayed);
    }

    // ---- queries

    pub(crate) fn open_query(&mut self, query: QueryId, wanted: Wanted) {
        self.queries.push((query, wanted));
    }

    /// Forgets the queries of which the record contains a result.
    pub(crate) fn close_query(&mut self, input: &RecordedInput) {
        if let RecordedInput::Resolved { query, .. } | RecordedInput::KeyExchange { query, .. } =
            input
        {
            self.queries.retain(|(open, _)| open != query);
        }
    }

    pub(crate) fn has_queries(&self) -> bool {
        !self.queries.is_empty()
    }

    /// Returns the results of the open queries, as far as recorded associations provide them.
    /// `sources` are the configured ones.
    pub(crate) fn answer_queries(&mut self, sources: &[SourceConfig]) -> Vec<RecordedInput> {
        let queries = core::mem::take(&mut self.queries);
        let mut results = Vec::new();
        for (query, wanted) in queries {
            match self.result(query, &wanted, sources) {
                Some(result) => results.push(result),
                None => self.queries.push((query, wanted)),
            }
        }
        results
    }

    fn result(
        &self,
        query: QueryId,
        wanted: &Wanted,
        sources: &[SourceConfig],
    ) -> Option<RecordedInput> {
        match wanted {
            Wanted::Addresses(host) => {
                let is_host = |it: &&SourceConfig| matches!(&it.host, Host::Name(it) if it == host);
                let sources = sources.iter().filter(is_host);
                let addresses = sources.flat_map(|source| self.addresses(&source.name));
                let addresses: Vec<ScopedIp> = addresses.map(ScopedIp::from).collect();
                let is_known = !addresses.is_empty();
                let result = Ok(addresses);
                is_known.then_some(RecordedInput::Resolved { query, result })
            }
            Wanted::Keys(name) => {
                let address = self.addresses(name).next()?;
                let result = Ok(RecordedKeyExchange {
                    from: address.into(),
                    member: None,
                    algorithm: AeadAlgorithm::AesSivCmac256.id(),
                    legacy: false,
                    cookies: Cookie::MAX_STORED,
                    server: None,
                    draft: None,
                    port: Some(address.port()),
                });
                Some(RecordedInput::KeyExchange { query, result })
            }
        }
    }

    /// Returns the addresses of a source, the newest first.
    fn addresses(&self, name: &str) -> impl Iterator<Item = SocketAddr> {
        let associations = self.associations.values().rev();
        associations
            .filter(move |association| association.name == name)
            .filter_map(|association| association.address.socket())
    }
}

/// Turns the header of a reply into that of a reply to `request`. Returns `None` if one of them has
/// no header.
///
/// The transmit timestamp of an interleaved reply (RFC 9769) is that of the previous reply, earlier
/// than its receive timestamp. For a request in basic mode, which the engine sends first, it is
/// replaced by the receive timestamp: the error is the time that the server took.
pub(crate) fn readdress(header: &[u8], request: &[u8]) -> Option<Vec<u8>> {
    if version_5::is_version_5(header) {
        return version_5::readdress(header, request);
    }
    let parse = |octets: &[u8]| Header::parse(&mut Reader::new(octets)).ok();
    let (mut header, request) = (parse(header)?, parse(request)?);
    let residence = header.transmit_timestamp - header.receive_timestamp;
    let interleaved = header.stratum != Stratum::KISS && residence < NtpDuration::ZERO;
    header.origin_timestamp = request.transmit_timestamp;
    if interleaved && request.receive_timestamp == NtpTimestamp::ZERO {
        header.transmit_timestamp = header.receive_timestamp;
    } else if interleaved {
        header.origin_timestamp = request.receive_timestamp;
    }
    let mut octets = vec![0; Header::LEN];
    header.emit(&mut Writer::new(&mut octets)).ok()?;
    Some(octets)
}
