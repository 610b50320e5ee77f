//! Log of the exporter: standard output, or the file of `log-path-metrics-exporter`, in the format
//! of the daemon. It has a message now and then, so it needs no library.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::OnceLock;

use ntp_config::{LogLevel, ObservabilityConfig};
use ntp_types::escape::Escaped;
use ntp_types::event::{LineStart, Severity};

/// One for the process, because all tasks log.
static OUTPUT: OnceLock<Output> = OnceLock::new();

#[derive(Debug)]
struct Output {
    level: LogLevel,
    start: LineStart,
    /// Standard output without one.
    file: Option<File>,
}

/// Starts logging; a file is opened for appending.
pub(crate) fn start(config: &ObservabilityConfig) -> io::Result<()> {
    let path = config.log_path_metrics_exporter.as_deref();
    let file = path.map(ntp_files::append).transpose()?;
    // A second call in the same process changes nothing.
    let _ = OUTPUT.set(Output {
        level: config.log_level.unwrap_or_default(),
        start: config.line_start(file.is_some()),
        file,
    });
    Ok(())
}

/// Logs a fault that the exporter works around.
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    write(Severity::Warning, message);
}

/// Logs normal operation.
pub(crate) fn info(message: fmt::Arguments<'_>) {
    write(Severity::Info, message);
}

fn write(severity: Severity, message: fmt::Arguments<'_>) {
    let Some(output) = OUTPUT.get() else {
        return;
    };
    if LogLevel::from(severity) > output.level {
        return;
    }
    let mut line = output.start.line(severity, ntp_os_clock::realtime());
    // Writing to a string cannot fail.
    let _ = Escaped::line(&mut line).write_fmt(message);
    line.push('\n');
    // There is no place to report that the log cannot be written. A file is in append mode, where
    // one call writes a whole line.
    let _ = match &output.file {
        Some(file) => { file }.write_all(line.as_bytes()),
        None => io::stdout().write_all(line.as_bytes()),
    };
}
