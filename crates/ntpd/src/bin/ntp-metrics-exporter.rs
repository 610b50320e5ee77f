//! Entry point of the metrics exporter; everything is in the crate `ntp-metrics-exporter`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ntp_metrics_exporter::main()
}
