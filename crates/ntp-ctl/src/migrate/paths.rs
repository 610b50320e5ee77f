//! Addresses, devices and traffic class of packets: `bindacqaddress`, `binddevice` and `dscp` of
//! chrony, `dscp` of ntpd. They apply to all sources and servers of the file.

use std::net::{IpAddr, SocketAddr};

use super::draft::{Draft, KEY_EXCHANGE, SERVER, SOURCE, Table, quoted};
use super::lines::Line;
use super::table::INVALID;

/// Modes whose packets have a path.
const NTP_MODES: [&str; 3] = ["server", "pool", "nts"];

/// The paths of the file.
#[derive(Default)]
pub(super) struct Paths {
    dscp: Option<u8>,
    /// Addresses of requests, at most one of each family.
    addresses: Vec<IpAddr>,
    /// Device of the servers.
    device: Option<String>,
}

impl Paths {
    /// Reads `dscp`.
    pub(super) fn dscp(&mut self, draft: &mut Draft, line: &Line<'_>) {
        let value = line.words.first().and_then(|word| word.parse().ok());
        match value.filter(|value| *value < 64) {
            Some(value) => self.dscp = Some(value),
            None => draft.unsupported(line, INVALID),
        }
    }

    /// Reads `bindacqaddress`.
    pub(super) fn address(&mut self, draft: &mut Draft, line: &Line<'_>) {
        match line
            .words
            .first()
            .and_then(|word| word.parse::<IpAddr>().ok())
        {
            Some(address) => {
                let other_family = |it: &IpAddr| it.is_ipv4() != address.is_ipv4();
                self.addresses.retain(other_family);
                self.addresses.push(address);
            }
            None => draft.unsupported(line, INVALID),
        }
    }

    /// Reads `binddevice`.
    pub(super) fn device(&mut self, line: &Line<'_>) {
        self.device = line.words.first().map(|word| (*word).to_owned());
    }

    /// Writes them into the sources and servers of the draft.
    pub(super) fn write(self, draft: &mut Draft) {
        let of_ntp = |it: &&mut Table| NTP_MODES.iter().any(|mode| it.has_mode(mode));
        for table in draft.tables(SOURCE).filter(of_ntp) {
            if let Some(dscp) = self.dscp {
                table.set("dscp", dscp);
            }
            let literal = table.get("address").and_then(literal);
            let fits = |it: &&IpAddr| literal.is_none_or(|other| other.is_ipv4() == it.is_ipv4());
            let mut fitting = self.addresses.iter().filter(fits);
            match (fitting.next(), fitting.next()) {
                (Some(address), None) => {
                    table.set_text("bind-address", &address.to_string());
                    if literal.is_none() {
                        table.comment("addresses of the other family are not used");
                    }
                }
                (Some(_), Some(_)) => table.comment(
                    "bindacqaddress has two families and this is a name: write `bind-address` for the one to use",
                ),
                _ => {}
            }
        }
        for table in draft.tables(SERVER) {
            if let Some(dscp) = self.dscp {
                table.set("dscp", dscp);
            }
        }
        if let Some(device) = &self.device {
            for section in [SERVER, KEY_EXCHANGE] {
                for table in draft.tables(section) {
                    table.set("bind-device", quoted(device));
                }
            }
        }
    }
}

/// The address of a source, if it is no name.
fn literal(address: &str) -> Option<IpAddr> {
    let address = address.trim_matches('"');
    let socket = address.parse::<SocketAddr>().ok();
    socket.map_or_else(|| address.parse().ok(), |socket| Some(socket.ip()))
}
