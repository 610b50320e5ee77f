//! What a reload has changed, as text.

use ntp_control_api::control::methods::ReloadReply;

use crate::console::Console;

/// Prints the warnings on standard error, and returns a line for each change; none if nothing has
/// changed.
pub(crate) fn report(reply: &ReloadReply, console: &mut Console<'_>) -> String {
    for warning in &reply.warnings {
        console.message(format_args!("{warning}\n"));
    }
    let mut text = String::new();
    for (what, names) in [
        ("Source added", &reply.added),
        ("Source removed", &reply.removed),
        ("Source changed", &reply.changed),
        ("Tried again", &reply.retried),
        ("Applied", &reply.applied),
        ("NOT applied", &reply.not_applied),
    ] {
        for name in names {
            text += &format!("{what:<15}: {name}\n");
        }
    }
    text
}
