//! NTS in the daemon (RFC 8915): the threads, files and sockets that the protocol needs.
//!
//! | file | content |
//! |---|---|
//! | `cookie_keys` | the keys that protect cookies: stored and rotated, or derived from a fleet's secret |
//! | `ke_client` | key exchange with our servers, off the timekeeping thread |
//! | `stored_session` | the file of a session with a server |
//! | `ke_server` | the server thread that gives keys to our clients |

mod cookie_keys;
mod ke_client;
mod ke_server;
mod stored_session;

use ntp_config::{Config, KeysetConfig};
use ntp_nts_ke::server::PreparedEndpoint;
use ntp_proto::nts::Fleet;

pub(crate) use cookie_keys::read_fleet;
pub use cookie_keys::{CookieKeys, Rekeyed};
pub(crate) use ke_client::KeClient;
pub use ke_server::{KeServer, endpoints, needs_cookie_keys};

/// What the files say that the NTS sections of a configuration name. Reading them may block, so a
/// thread does it for a reload.
#[derive(Debug)]
pub(crate) struct NtsFiles {
    /// The section that names the secret of the fleet.
    pub(crate) keyset: KeysetConfig,
    /// The fleet, if there is one, or why its secret cannot be used.
    pub(crate) fleet: Result<Option<Fleet>, String>,
    /// The endpoints of the key-exchange server with their certificates.
    pub(crate) endpoints: Vec<PreparedEndpoint>,
}

impl NtsFiles {
    /// Reads the files that `config` names.
    pub(crate) fn read(config: &Config) -> Self {
        let endpoints = endpoints(config).into_iter();
        Self {
            keyset: config.keyset.clone(),
            fleet: read_fleet(&config.keyset),
            endpoints: endpoints.map(PreparedEndpoint::read).collect(),
        }
    }
}
