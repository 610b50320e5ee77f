//! The control interface: Varlink on a Unix socket, for reading the daemon's state and changing its mind.
//!
//! Varlink is JSON objects, each ended by a NUL octet. A call names a method and its parameters; the answer is a reply or an
//! error with a name. A call that says `more` is answered again and again. Everything is described by an interface file, which
//! the daemon itself hands out (`org.varlink.service.GetInterfaceDescription`), so that clients of any language, and people with
//! `varlinkctl`, need nothing else.
//!
//! | module | what it holds |
//! |---|---|
//! | `schema` | one macro that makes a serde type and its words in the interface file from the same lines |
//! | [`types`] | what methods take and give |
//! | [`methods`] | the methods and errors, and the interface file |
//! | [`wire`] | messages, and a reader that never holds more than one too long |
//! | [`client`] | a small blocking client |
//!
//! The interface's name ends in its version. Within a version there are only additions: methods, errors, members of what is
//! given, members of what is taken that may be left out. Readers ignore members that they do not know; the daemon refuses parameters
//! that it does not know, because a misspelt wish must not pass for a granted one.

pub mod client;
#[doc(hidden)]
pub mod fuzzing;
pub mod methods;
mod schema;
pub mod types;
pub mod wire;

/// Where the socket is if the configuration does not say.
pub const DEFAULT_PATH: &str = "/run/ntpd-rs/control";

#[cfg(test)]
mod tests;
