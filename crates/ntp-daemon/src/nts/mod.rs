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

pub use cookie_keys::{CookieKeys, Rekeyed};
pub(crate) use ke_client::KeClient;
pub use ke_server::{KeServer, endpoints, needs_cookie_keys};
