//! Framing of a [`State`]: its length as 64 bits in network order, then the JSON.
//!
//! A reader does not trust the other end of the socket: lengths over [`MAX_FRAME`] are rejected,
//! and memory is allocated for bytes received, not for bytes announced.

use std::fmt;
use std::io::{self, Read, Write};

use super::State;

/// Maximum length of the JSON in bytes: 1 MiB, enough for about a thousand sources.
pub const MAX_FRAME: u64 = 1 << 20;

/// Encodes `state` as a frame.
///
/// # Errors
/// The JSON is longer than [`MAX_FRAME`].
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

/// Encodes `state` as a frame. If it is longer than [`MAX_FRAME`], the last sources are left out and
/// `sources_omitted` has their number.
///
/// # Errors
/// The JSON is too long even without sources.
pub fn encode_truncated_frame(mut state: State) -> Result<Vec<u8>, WriteError> {
    let all = state.sources.len();
    loop {
        match encode_frame(&state) {
            Err(WriteError::TooLong { length }) if !state.sources.is_empty() => {
                // Slightly less than what would fit if all sources had the same length.
                let kept = state.sources.len() as u64 * MAX_FRAME / length;
                let kept = usize::try_from(kept).unwrap_or(0) * 31 / 32;
                state.sources.truncate(kept);
                state.system.details.sources_omitted = Some((all - kept) as u64);
            }
            result => return result,
        }
    }
}

/// Writes `state` as a frame.
///
/// # Errors
/// As [`encode_frame`], in which case nothing is written; or writing failed.
pub fn write_frame(mut to: impl Write, state: &State) -> Result<(), WriteError> {
    let frame = encode_frame(state)?;
    to.write_all(&frame)
        .and_then(|()| to.flush())
        .map_err(WriteError::Io)
}

/// Reads one frame and nothing after it.
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

/// Length of the frame header in bytes.
const HEADER: usize = 8;

/// Why a state could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The state is longer than [`MAX_FRAME`]: the daemon has too many sources or servers.
    #[error("state of {length} bytes exceeds the limit of {MAX_FRAME} bytes")]
    TooLong {
        /// Length of the JSON in bytes.
        length: u64,
    },
    /// The state cannot be encoded as JSON.
    #[error("state cannot be encoded as JSON: {0}")]
    Encode(serde_json::Error),
    /// Writing failed: the reader closed the connection or is too slow.
    #[error("state could not be sent: {0}")]
    Io(io::Error),
}

/// Why a state could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// Reading failed or timed out.
    Io(io::Error),
    /// The stream ended within the header (`expected` is 8) or the JSON: the daemon stopped, or
    /// it has reached its maximum number of readers.
    Truncated {
        /// Number of bytes announced.
        expected: u64,
        /// Number of bytes received.
        received: u64,
    },
    /// The announced length exceeds [`MAX_FRAME`]: not the observation socket of an NTP daemon.
    TooLong {
        /// Number of bytes announced.
        length: u64,
    },
    /// The content is not the JSON of a [`State`]: not an NTP daemon, or an incompatible version.
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
                f.write_str("timeout waiting for the daemon")
            }
            Self::Io(error) => write!(f, "{error}"),
            Self::Truncated { received: 0, .. } => {
                f.write_str("connection closed by the daemon without a reply")
            }
            Self::Truncated { expected, received } => {
                write!(f, "reply truncated after {received} of {expected} bytes")
            }
            Self::TooLong { length } => write!(
                f,
                "reply of {length} bytes exceeds the limit of {MAX_FRAME} bytes; check that this is an observation socket"
            ),
            Self::Malformed(error) => {
                write!(f, "reply is not the state of an NTP daemon: {error}")
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
    fn a_written_frame_can_be_read() {
        let mut frame = Vec::new();
        write_frame(&mut frame, &sample()).unwrap();
        assert_eq!(frame[..4], [0; 4]);
        frame.extend(b"trailing");
        assert_eq!(read_frame(frame.as_slice()).unwrap(), sample());
    }

    #[test]
    fn lengths_over_one_mebibyte_are_rejected() {
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
    fn truncated_frames_are_reported() {
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
    fn json_that_is_not_a_state_is_rejected() {
        for json in ["", "{", "[]", "null", "{}", "{\"program\":1}", "\u{1}"] {
            let mut frame = (json.len() as u64).to_be_bytes().to_vec();
            frame.extend(json.as_bytes());
            let error = read_frame(frame.as_slice()).unwrap_err();
            assert!(matches!(error, ReadError::Malformed(_)), "{json}: {error}");
        }
    }

    #[test]
    fn a_state_over_the_limit_is_not_sent() {
        let mut state = sample();
        state.sources = vec![state.sources[0].clone(); 10_000];
        let mut sent = Vec::new();
        let error = write_frame(&mut sent, &state).unwrap_err();
        assert!(matches!(error, WriteError::TooLong { length } if length > MAX_FRAME));
        assert!(sent.is_empty());
    }
    #[test]
    fn sources_over_the_limit_are_left_out_and_counted() {
        let mut state = sample();
        let all = 10_000;
        state.sources = vec![state.sources[0].clone(); all];
        let read = read_frame(encode_truncated_frame(state).unwrap().as_slice()).unwrap();
        let kept = read.sources.len();
        assert!(kept > 1000, "{kept}");
        assert_eq!(
            read.system.details.sources_omitted,
            Some((all - kept) as u64)
        );

        let whole = encode_truncated_frame(sample()).unwrap();
        assert_eq!(read_frame(whole.as_slice()).unwrap(), sample());
    }
}
