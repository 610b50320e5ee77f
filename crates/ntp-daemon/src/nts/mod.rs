//! NTS in the daemon (RFC 8915): the threads, files and sockets that the protocol needs.
//!
//! | file | content |
//! |---|---|
//! | `cookie_keys` | the keys that protect cookies: stored and rotated, or derived from a fleet's secret |
//! | `ke_client` | key exchange with our servers, off the timekeeping thread |
//! | `stored_session` | the file of a session with a server |
//! | `ke_server` | the server thread that gives keys to our clients |
//! | `absent` | in place of the last three in a build without NTS |

#[cfg(not(feature = "nts"))]
mod absent;
mod cookie_keys;
#[cfg(feature = "nts")]
mod ke_client;
#[cfg(feature = "nts")]
mod ke_server;
#[cfg(feature = "nts")]
mod stored_session;

use ntp_config::{Config, KeysetConfig, build};
#[cfg(feature = "nts")]
pub use ntp_nts_ke::server::{Bound, PreparedEndpoint, StartError};
use ntp_proto::nts::Fleet;

#[cfg(not(feature = "nts"))]
pub use absent::{Bound, StartError};
#[cfg(not(feature = "nts"))]
pub(crate) use absent::{KeClient, KeServer, PreparedEndpoint, endpoints, provider};
pub(crate) use cookie_keys::read_fleet;
pub use cookie_keys::{CookieKeys, Rekeyed};
#[cfg(feature = "nts")]
pub(crate) use ke_client::{KeClient, provider};
#[cfg(feature = "nts")]
pub use ke_server::{KeServer, endpoints};

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

/// Returns whether clients may come with cookies: because keys are given out here or by another
/// server of the fleet, or because NTS is required.
pub fn needs_cookie_keys(config: &Config) -> bool {
    let keyset = &config.keyset;
    build::SERVER
        && (!config.nts_ke_servers.is_empty()
            || keyset.key_storage_path.is_some()
            || keyset.shared_secret_path.is_some()
            || (config.servers.iter()).any(|server| server.require_nts.is_some()))
}
