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

use std::collections::BTreeMap;

pub use cookie_keys::{CookieKeys, Rekeyed};
pub(crate) use getting::{Answer, Exchanges, Wish};
pub(crate) use giving::Given;
pub use giving::{Giving, endpoints, needs_cookie_keys};

/// What readers are told about NTS that the engine does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures<'a> {
    /// The giving out of keys, if any are.
    pub(crate) given: Option<&'a Given>,
    /// When the certificates expire that sources showed last, by the source's name: seconds since 1970.
    pub(crate) expiries: &'a BTreeMap<String, u64>,
}
