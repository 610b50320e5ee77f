//! Messages on the socket: JSON objects, each followed by a NUL octet.
//!
//! A received message is buffered until its NUL. A call is limited to [`MAX_CALL`] octets, which
//! bounds the memory that a client can make the daemon use. The daemon does not limit its replies.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Maximum length of a call in octets. The largest legitimate call is a source with a long list of
/// addresses to ignore.
pub const MAX_CALL: usize = 64 << 10;

/// Maximum length of a reply in octets that a client accepts: room for some ten thousand sources.
pub const MAX_REPLY: usize = 64 << 20;

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Interface and method, joined by a dot.
    pub method: String,
    /// Parameters, an object.
    #[serde(default)]
    pub parameters: Value,
    /// Request for several replies.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// Request for no reply.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// Request to switch to another protocol: not supported.
    #[serde(default, skip_serializing_if = "is_false")]
    pub upgrade: bool,
}

/// A reply. Its parameters are a tree or JSON text (a raw value): as a tree, the state of a
/// thousand sources would have half a million nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply<P = Value> {
    /// Full name of the error; `None` for a successful reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Parameters, an object.
    #[serde(default)]
    pub parameters: P,
    /// Whether more replies to the same call follow.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continues: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Encodes a message with its final NUL.
///
/// # Panics
/// Never: messages are trees of strings and numbers.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    // Serialising such a tree cannot fail; if it did, the message would be empty.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(0);
    bytes
}

/// Buffer that splits received octets into messages.
#[derive(Debug, Default)]
pub struct MessageBuffer {
    bytes: Vec<u8>,
    /// Number of octets already scanned without finding a NUL.
    scanned: usize,
}

/// Error: a message exceeds the length limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl MessageBuffer {
    /// Appends received octets.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Number of buffered octets.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the buffer holds a complete message.
    pub fn has_message(&self) -> bool {
        self.bytes.contains(&0)
    }

    /// Removes the next complete message and returns it without its NUL; `None` if it is
    /// incomplete.
    ///
    /// # Errors
    /// The message, complete or not, is longer than `limit`.
    pub fn next(&mut self, limit: usize) -> Result<Option<Vec<u8>>, TooLong> {
        let fresh = self.bytes.get(self.scanned..).unwrap_or_default();
        let Some(end) = fresh.iter().position(|byte| *byte == 0) else {
            self.scanned = self.bytes.len();
            return if self.bytes.len() > limit {
                Err(TooLong)
            } else {
                Ok(None)
            };
        };
        let end = self.scanned + end;
        if end > limit {
            return Err(TooLong);
        }
        let rest = self.bytes.split_off(end + 1);
        let mut message = std::mem::replace(&mut self.bytes, rest);
        message.pop();
        self.scanned = 0;
        Ok(Some(message))
    }
}
