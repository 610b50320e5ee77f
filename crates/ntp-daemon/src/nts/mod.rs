//! NTS in the daemon (RFC 8915): the threads, files and sockets that the protocol needs.
//!
//! | file | content |
//! |---|---|
//! | `cookie_keys` | the keys that protect cookies: stored and rotated, or derived from a fleet's secret |
//! | `ke_client` | key exchange with our servers, off the timekeeping thread |
//! | `ke_server` | the server thread that gives keys to our clients |

mod cookie_keys;
mod ke_client;
mod ke_server;

use std::collections::BTreeMap;

pub use cookie_keys::{CookieKeys, Rekeyed};
pub(crate) use ke_client::{KeClient, KeRequest};
pub(crate) use ke_server::KeStats;
pub use ke_server::{KeServer, endpoints, needs_cookie_keys};

/// The part of the NTS status that the engine does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NtsStatus<'a> {
    /// Statistics of the key-exchange server, if there is one.
    pub(crate) ke_stats: Option<&'a KeStats>,
    /// Expiry of the certificates that sources presented last, by the name of the source: seconds
    /// since 1970.
    pub(crate) expiries: &'a BTreeMap<String, u64>,
}
