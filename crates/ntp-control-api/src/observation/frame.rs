//! The frame in which a [`State`] travels: its length as 64 bits in network order, then the JSON.
//!
//! A reader cannot know who is at the other end of the path that it was given, so a length is
//! believed only up to [`MAX_FRAME`], and memory is taken as bytes arrive, not as they are announced.

use std::fmt;
use std::io::{self, Read, Write};

use super::State;

/// The longest JSON that readers accept, in bytes: 1 MiB, enough for about a thousand sources.
pub const MAX_FRAME: u64 = 1 << 20;

/// The frame that holds `state`: what the daemon sends to whoever connects.
///
/// # Errors
/// The state is too large for any reader.
pub fn encode_frame(state: &State) -> Result<Vec<u8>, WriteError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, state).map_err(WriteError::Encode)?;
    let length = (frame.len() - HEADER) as u64;
    if length > MAX_FRAME {
        return Err(WriteError::TooLong { length });
    }
    frame[..HEADER].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Sends `state` in a frame.
///
/// # Errors
/// As [`encode_frame`], in which case nothing was sent; or writing failed.
pub fn write_frame(mut to: impl Write, state: &State) -> Result<(), WriteError> {
    let frame = encode_frame(state)?;
    to.write_all(&frame)
        .and_then(|()| to.flush())
        .map_err(WriteError::Io)
}

/// Receives one frame; what follows it is not looked at.
///
/// # Errors
/// Reading failed, the frame is incomplete or too long, or its content is not a [`State`].
pub fn read_frame(mut from: impl Read) -> Result<State, ReadError> {
    let header = read_up_to(&mut from, HEADER as u64)?;
    let header: [u8; HEADER] =
        header
            .try_into()
            .map_err(|header: Vec<u8>| ReadError::Truncated {
                expected: HEADER as u64,
                received: header.len() as u64,
            })?;
    let length = u64::from_be_bytes(header);
    if length > MAX_FRAME {
        return Err(ReadError::TooLong { length });
    }
    let json = read_up_to(&mut from, length)?;
    if (json.len() as u64) < length {
        return Err(ReadError::Truncated {
            expected: length,
            received: json.len() as u64,
        });
    }
    serde_json::from_slice(&json).map_err(ReadError::Malformed)
}

fn read_up_to(from: &mut impl Read, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    match from.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(ReadError::Io(error)),
    }
}

/// Bytes before the JSON.
const HEADER: usize = 8;

/// Why a state could not be sent.
#[derive(Debug)]
pub enum WriteError {
    /// There is more to tell than readers accept: the daemon has too many sources or servers.
    TooLong {
        /// Bytes of JSON.
        length: u64,
    },
    /// The state has no JSON form.
    Encode(serde_json::Error),
    /// Writing failed: the reader went away or is too slow.
    Io(io::Error),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length } => write!(
                f,
                "the state takes {length} bytes, and readers accept {MAX_FRAME}"
            ),
            Self::Encode(error) => write!(f, "the state cannot be written as JSON: {error}"),
            Self::Io(error) => write!(f, "the reader did not take the state: {error}"),
        }
    }
}

impl std::error::Error for WriteError {}

/// Why a state could not be received.
#[derive(Debug)]
pub enum ReadError {
    /// Reading failed, or there was no answer in time.
    Io(io::Error),
    /// The stream ended within the header (`expected` is 8) or the JSON: the daemon stopped, or
    /// it has as many readers as it serves at a time.
    Truncated {
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        received: u64,
    },
    /// More than [`MAX_FRAME`] is announced: the other end is not an NTP daemon's observation socket.
    TooLong {
        /// Bytes announced.
        length: u64,
    },
    /// The content is not the JSON of a [`State`]: the other end is not an NTP daemon, or one of
    /// an incompatible version.
    Malformed(serde_json::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                f.write_str("the daemon did not answer in time")
            }
            Self::Io(error) => write!(f, "{error}"),
            Self::Truncated { received: 0, .. } => {
                f.write_str("the daemon closed the connection without an answer")
            }
            Self::Truncated { expected, received } => write!(
                f,
                "the answer ended early, after {received} of {expected} bytes"
            ),
            Self::TooLong { length } => write!(
                f,
                "the answer claims to be {length} bytes long, more than the {MAX_FRAME} allowed; is this an observation socket?"
            ),
            Self::Malformed(error) => {
                write!(f, "the answer is not the state of an NTP daemon: {error}")
            }
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::tests::sample;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut frame = Vec::new();
        write_frame(&mut frame, &sample()).unwrap();
        assert_eq!(frame[..4], [0; 4]);
        frame.extend(b"trailing");
        assert_eq!(read_frame(frame.as_slice()).unwrap(), sample());
    }

    #[test]
    fn lengths_are_believed_up_to_one_mebibyte() {
        let mut frame = MAX_FRAME.to_be_bytes().to_vec();
        frame.extend(serde_json::to_vec(&sample()).unwrap());
        frame.resize(HEADER + MAX_FRAME as usize, b' ');
        assert_eq!(read_frame(frame.as_slice()).unwrap(), sample());

        for length in [MAX_FRAME + 1, u64::MAX] {
            frame[..HEADER].copy_from_slice(&length.to_be_bytes());
            let error = read_frame(frame.as_slice()).unwrap_err();
            assert!(matches!(error, ReadError::TooLong { length: found } if found == length));
        }
    }

    #[test]
    fn an_early_end_is_told_as_such() {
        let frame = encode_frame(&sample()).unwrap();
        for end in 0..frame.len() {
            let error = read_frame(&frame[..end]).unwrap_err();
            let ReadError::Truncated { expected, received } = error else {
                panic!("{end}: {error:?}");
            };
            let skipped = if end < HEADER { 0 } else { HEADER };
            assert_eq!(received, (end - skipped) as u64);
            assert!(received < expected);
        }
    }

    #[test]
    fn what_is_not_a_state_is_refused() {
        for json in ["", "{", "[]", "null", "{}", "{\"program\":1}", "\u{1}"] {
            let mut frame = (json.len() as u64).to_be_bytes().to_vec();
            frame.extend(json.as_bytes());
            let error = read_frame(frame.as_slice()).unwrap_err();
            assert!(matches!(error, ReadError::Malformed(_)), "{json}: {error}");
        }
    }

    #[test]
    fn a_state_that_no_reader_would_accept_is_not_sent() {
        let mut state = sample();
        state.sources = vec![state.sources[0].clone(); 10_000];
        let mut sent = Vec::new();
        let error = write_frame(&mut sent, &state).unwrap_err();
        assert!(matches!(error, WriteError::TooLong { length } if length > MAX_FRAME));
        assert!(sent.is_empty());
    }
}
