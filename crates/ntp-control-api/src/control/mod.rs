//! The control interface: Varlink on a Unix socket, to read state and change configuration of the
//! daemon.
//!
//! A Varlink message is a JSON object followed by a NUL octet. A call has a method name and
//! parameters; the answer is a reply or a named error. A call with `more` can get several replies.
//! An interface file describes all methods; the daemon returns it on request
//! (`org.varlink.service.GetInterfaceDescription`), so that clients in any language, and
//! `varlinkctl`, need nothing else.
//!
//! | module | content |
//! |---|---|
//! | [`ntp_types`] | types of replies, with their descriptions |
//! | `schema` | types of parameters, and the interface file from all of them |
//! | [`methods`] | methods, errors and the interface file |
//! | [`wire`] | messages and their framing, with a size limit |
//! | [`client`] | a blocking client |
//!
//! The name of the interface ends in its version. Within a version there are only additions:
//! methods, errors, members of replies, optional parameters. Readers ignore unknown members; the
//! daemon rejects unknown parameters, because a misspelt option must not be ignored silently.

pub mod client;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod methods;
mod schema;
pub mod wire;

/// Default path of the socket.
pub const DEFAULT_PATH: &str = "/run/ntpd-rs/control";

#[cfg(test)]
mod tests;
