//! The status as one frame of the observation socket.

use ntp_control_api::observation::{MAX_FRAME, State, WriteError, encode_frame};
use ntp_types::status::Status;

/// Encodes one frame. If there are more sources than a reader accepts, the last ones are left out
/// and `sources_omitted` has their number.
pub(crate) fn frame(status: &Status) -> Vec<u8> {
    let commit = option_env!("NTPD_RS_GIT_REV").unwrap_or("-");
    let commit_date = option_env!("NTPD_RS_GIT_DATE").unwrap_or("-");
    let mut state = State::from_status(status, commit, commit_date);
    let all = state.sources.len();
    loop {
        match encode_frame(&state) {
            Ok(frame) => return frame,
            Err(WriteError::TooLong { length }) if !state.sources.is_empty() => {
                // Slightly less than what would fit if all sources had the same length.
                let kept = state.sources.len() as u64 * MAX_FRAME / length.max(1);
                let kept = usize::try_from(kept).unwrap_or(0) * 31 / 32;
                state.sources.truncate(kept);
                state.system.details.sources_omitted = Some((all - kept) as u64);
            }
            Err(_) => return Vec::new(),
        }
    }
}
