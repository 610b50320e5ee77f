//! NTS in the daemon (RFC 8915): what the protocol needs of threads, files and sockets.
//!
//! | file | what it does |
//! |---|---|
//! | `cookie_keys` | the keys that protect our clients' cookies: kept, rotated, stored, or derived from a fleet's secret |
//! | `getting` | key exchange with our own servers, off the timekeeping thread |
//! | `giving` | the thread that gives keys to our clients, as configured |

mod cookie_keys;
mod getting;
mod giving;

pub use cookie_keys::CookieKeys;
pub(crate) use getting::{Answer, Exchanges, Wish};
pub use giving::{Giving, endpoints, needs_cookie_keys};
