//! Control of a running machine through its monitor (QMP: JSON lines, after a greeting and
//! `qmp_capabilities`).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

/// Executes a QMP command without arguments.
///
/// # Errors
/// If the emulator does not listen or reports an error.
pub(super) fn execute(socket: &Path, name: &str) -> io::Result<()> {
    request(socket, &json!({ "execute": name })).map(drop)
}

/// Executes a command of the monitor for people; `savevm` and `loadvm` exist only there.
///
/// # Errors
/// If the emulator does not listen, or the command has an output: these commands are silent unless
/// they fail.
pub(super) fn execute_text(socket: &Path, line: &str) -> io::Result<()> {
    let arguments = json!({ "command-line": line });
    let command = json!({ "execute": "human-monitor-command", "arguments": arguments });
    match request(socket, &command)?.as_str() {
        None | Some("") => Ok(()),
        Some(output) => Err(io::Error::other(output.trim().to_owned())),
    }
}

/// Returns what the command returns.
fn request(socket: &Path, command: &Value) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    answer(&mut lines, "QMP")?;
    writeln!(stream, "{}", json!({ "execute": "qmp_capabilities" }))?;
    answer(&mut lines, "return")?;
    writeln!(stream, "{command}")?;
    answer(&mut lines, "return")
}

/// Returns the member `name` of the next object that has it; events do not.
fn answer(lines: &mut impl Iterator<Item = io::Result<String>>, name: &str) -> io::Result<Value> {
    for line in lines {
        let mut object: Value = serde_json::from_str(&line?)?;
        if let Some(member) = object.get_mut(name) {
            return Ok(member.take());
        }
        if let Some(error) = object.get("error") {
            return Err(io::Error::other(error.to_string()));
        }
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof))
}
