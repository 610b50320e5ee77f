//! `[[source]]` of modes `sock` and `pps`: clocks attached to this machine.
//!
//! Quality is told by two standard deviations in seconds: `precision` for the noise of a single
//! sample, `accuracy` for the error that all samples share. Files from before 1.5 give the
//! variance (s²) under another name, `measurement_noise_estimate`; its square root is taken.

use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::reader::{Context, Section, Value};
use crate::source::SourceKind;
use crate::value;

/// Keys of mode `sock`.
#[derive(Clone, Debug, PartialEq)]
pub struct SockSource {
    /// The Unix datagram socket to create.
    pub path: PathBuf,
    /// How good the samples are.
    pub quality: Quality,
}

/// Keys of mode `pps`.
#[derive(Clone, Debug, PartialEq)]
pub struct PpsSource {
    /// The device.
    pub path: PathBuf,
    /// How good the pulses are.
    pub quality: Quality,
    /// Seconds from one pulse to the next; above zero.
    pub period_seconds: f64,
}

/// How good the samples of a reference clock are. Sub-nanosecond values are meaningful here,
/// hence no `NtpDuration`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Standard deviation of one sample's noise, in seconds; above zero.
    pub precision_seconds: f64,
    /// Standard deviation of the error common to all samples, in seconds.
    pub accuracy_seconds: f64,
}

pub(crate) fn sock(cx: &mut Context, section: &mut Section<'_>) -> Option<SourceKind> {
    let path = section.required(cx, "path", value::path);
    let quality = quality(cx, section);
    Some(SourceKind::Sock(SockSource {
        path: path?,
        quality: quality?,
    }))
}

pub(crate) fn pps(cx: &mut Context, section: &mut Section<'_>) -> Option<SourceKind> {
    let path = section.required(cx, "path", value::path);
    let quality = quality(cx, section);
    let period_seconds = section.or(cx, "period", value::positive, 1.0);
    Some(SourceKind::Pps(PpsSource {
        path: path?,
        quality: quality?,
        period_seconds,
    }))
}

fn quality(cx: &mut Context, section: &mut Section<'_>) -> Option<Quality> {
    let variance = section.value(cx, "measurement_noise_estimate");
    let precision = match &variance {
        None => section.required(cx, "precision", value::positive),
        Some(variance) => {
            let precision = section.value(cx, "precision");
            let deviation = deviation(cx, variance);
            if let Some(precision) = precision {
                both(cx, &precision, variance);
            }
            deviation
        }
    };
    let accuracy_seconds = section.or(cx, "accuracy", value::positive, 0.0);
    Some(Quality {
        precision_seconds: precision?,
        accuracy_seconds,
    })
}

fn deviation(cx: &mut Context, variance: &Value<'_>) -> Option<f64> {
    let deviation = value::positive(cx, variance)?.sqrt();
    variance.warn(
        cx,
        "`measurement_noise_estimate` is deprecated",
        format!("write its square root as `precision = {deviation:e}`"),
    );
    Some(deviation)
}

fn both(cx: &mut Context, precision: &Value<'_>, variance: &Value<'_>) {
    let diagnostic = Diagnostic::error(precision.place(cx), "duplicate field `precision`")
        .with_related(variance.place(cx), "says the same in the old way")
        .with_help("remove `measurement_noise_estimate`");
    cx.report(diagnostic);
}
