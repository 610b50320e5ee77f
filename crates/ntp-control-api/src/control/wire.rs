//! Messages on the socket: JSON objects, each ended by a NUL octet.
//!
//! What is received is held only until its NUL, and never more of it than [`LONGEST_CALL`]: a stranger cannot make the daemon
//! remember much. Replies have no such limit; they are as long as the daemon makes them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest call that is read, in octets. The largest honest one is a source with a long list of addresses to ignore.
pub const LONGEST_CALL: usize = 64 << 10;

/// The longest reply that a client reads, in octets: some ten thousand sources.
pub const LONGEST_REPLY: usize = 64 << 20;

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Interface and method, with a dot between them.
    pub method: String,
    /// Its parameters, an object.
    #[serde(default)]
    pub parameters: Value,
    /// Reply again and again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// Do not reply.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// Hand the connection over to another protocol: not offered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub upgrade: bool,
}

/// An answer. Its parameters are a tree, or text that is JSON already (a raw value): a state of a thousand sources is half a million
/// nodes of a tree that nobody needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply<P = Value> {
    /// The error's full name, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is told, an object.
    #[serde(default)]
    pub parameters: P,
    /// More replies to the same call follow.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continues: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A message in the form in which it travels.
///
/// # Panics
/// Never: messages are trees of strings and numbers.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // JSON of a tree that is already JSON does not fail; an empty message would be the answer if it did.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(0);
    bytes
}

/// Octets received, of which messages are made.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// So many octets have been searched for a NUL in vain.
    searched: usize,
}

/// Why there will be no further message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Inbox {
    /// Takes what was received.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Octets held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether a complete message is held.
    pub fn has_message(&self) -> bool {
        self.bytes.contains(&0)
    }

    /// The next complete message without its NUL, if it is no longer than `longest`.
    ///
    /// # Errors
    /// It is longer, finished or not.
    pub fn next(&mut self, longest: usize) -> Result<Option<Vec<u8>>, TooLong> {
        let fresh = self.bytes.get(self.searched..).unwrap_or_default();
        let Some(end) = fresh.iter().position(|byte| *byte == 0) else {
            self.searched = self.bytes.len();
            return if self.bytes.len() > longest {
                Err(TooLong)
            } else {
                Ok(None)
            };
        };
        let end = self.searched + end;
        if end > longest {
            return Err(TooLong);
        }
        let rest = self.bytes.split_off(end + 1);
        let mut message = std::mem::replace(&mut self.bytes, rest);
        message.pop();
        self.searched = 0;
        Ok(Some(message))
    }
}
