//! Log of the exporter: standard output, or the file of `log-path-metrics-exporter`, in the format
//! of the daemon.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Mutex;

use ntp_config::{LogLevel, ObservabilityConfig};
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let text = ntp_os_clock::realtime().to_string();
        // Truncates nanoseconds to microseconds.
        let micros = text.len().saturating_sub(4);
        write!(writer, "{}Z", text.get(..micros).unwrap_or(&text))
    }
}

/// Starts logging; a file is opened for appending.
pub(crate) fn start(config: &ObservabilityConfig) -> io::Result<()> {
    let level = match config.log_level.unwrap_or_default() {
        LogLevel::Trace => Level::TRACE,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    let (writer, is_terminal) = match &config.log_path_metrics_exporter {
        Some(path) => {
            let file = ntp_files::append(path)?;
            (BoxMakeWriter::new(Mutex::new(file)), false)
        }
        None => (BoxMakeWriter::new(io::stdout), io::stdout().is_terminal()),
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_timer(Utc)
        .with_target(false)
        .with_ansi(config.ansi_colors.unwrap_or(is_terminal))
        .with_writer(writer)
        .init();
    Ok(())
}
