//! `[[source]]` of modes `sock` and `pps`: reference clocks.
//!
//! Quality is stated by two standard deviations in seconds: `precision` for the noise of a
//! single sample, `accuracy` for the error that all samples share. Files from before 1.5 have
//! the variance (s²) under another name, `measurement_noise_estimate`; its square root is used.

use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::document::Located;
use crate::reader::{Context, Section};
use crate::schema::{Table, section};
use crate::value;

section! {
    /// Keys of mode `sock`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SockSource = "source" ["sock"] {
        + quality: Quality = quality, "Quality of the samples.";
        path: PathBuf = value::path => required,
            "path" "path" "required" "Unix datagram socket that is created for samples; an existing file of that name is deleted.";
    }
}

section! {
    /// Keys of mode `pps`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct PpsSource = "source" ["pps"] {
        + quality: Quality = quality, "Quality of the pulses.";
        path: PathBuf = value::path => required,
            "path" "path" "required" "The device, for example `/dev/pps0`.";
        period_seconds: f64 = value::positive => or(1.0),
            "period" "number, seconds" "1.0" "Interval between pulses.";
    }
}

section! {
    pub(crate) struct NoiseKeys = "source" ["sock", "pps"] {
        precision: Option<Located<f64>> = value::located(value::positive) => optional,
            "precision" "number, seconds" "required" "Standard deviation of the noise of one sample.";
        variance: Option<Located<f64>> = value::located(value::positive) => optional,
            "measurement_noise_estimate" "number, seconds squared" "none" "Deprecated: variance of the noise of one sample, instead of `precision`.";
        accuracy: f64 = value::positive => or(0.0),
            "accuracy" "number, seconds" "0" "Standard deviation of the error that all samples have in common.";
    }
}

/// Quality of the samples of a reference clock. Values below a nanosecond are meaningful here,
/// which `NtpDuration` does not resolve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Standard deviation of one sample's noise, in seconds; above zero.
    pub precision_seconds: f64,
    /// Standard deviation of the error common to all samples, in seconds.
    pub accuracy_seconds: f64,
}

fn quality(cx: &mut Context, section: &mut Section<'_>) -> Option<Quality> {
    let keys = NoiseKeys::read_keys(cx, section)?;
    if !section.contains("measurement_noise_estimate") {
        section.require("precision");
    }
    if let (Some(precision), Some(variance)) = (&keys.precision, &keys.variance) {
        let diagnostic = Diagnostic::error(precision.place.clone(), "duplicate field `precision`")
            .with_related(variance.place.clone(), "the same under its old name")
            .with_help("remove `measurement_noise_estimate`");
        cx.report(diagnostic);
    }
    if let Some(variance) = &keys.variance {
        let message = "`measurement_noise_estimate` is deprecated";
        let precision = variance.sqrt();
        cx.report(
            Diagnostic::warning(variance.place.clone(), message).with_help(format!(
                "write its square root as `precision = {precision:e}`"
            )),
        );
    }
    let precision = match (keys.variance, keys.precision) {
        (Some(variance), _) => variance.sqrt(),
        (None, precision) => precision?.value,
    };
    Some(Quality {
        precision_seconds: precision,
        accuracy_seconds: keys.accuracy,
    })
}
