//! The status as one frame of the observation socket.

use ntp_control_api::observation::{State, encode_truncated_frame};
use ntp_types::status::Status;

/// Encodes one frame. If there are more sources than a reader accepts, the last ones are left out. Empty if
/// nothing can be encoded.
pub(crate) fn frame(status: &Status) -> Vec<u8> {
    let commit = option_env!("NTPD_RS_GIT_REV").unwrap_or("-");
    let commit_date = option_env!("NTPD_RS_GIT_DATE").unwrap_or("-");
    let state = State::from_status(status, commit, commit_date);
    encode_truncated_frame(state).unwrap_or_default()
}
