//! `[service]`: what the service manager is told. Ours alone.

use crate::reader::{Context, Section, Value};
use crate::value;

/// What the service manager (systemd) is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceConfig {
    /// When it hears that the daemon is ready.
    pub ready: Ready,
}

/// When the daemon counts as ready, and what is ordered after it may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ready {
    /// Once everything is open and the first requests are about to leave.
    #[default]
    Started,
    /// Once the clock is synchronised for the first time; as started where no source is configured.
    Synchronized,
}

/// `[service]`.
pub(crate) fn read(cx: &mut Context, value: &Value<'_>) -> Option<ServiceConfig> {
    let mut section = Section::open(cx, "service", value)?;
    let ready = section.optional(cx, "ready", |cx, value| value::choice(cx, value, MOMENTS));
    section.finish(cx);
    Some(ServiceConfig {
        ready: ready.unwrap_or_default(),
    })
}

const MOMENTS: &[(&str, Ready)] = &[
    ("started", Ready::Started),
    ("synchronized", Ready::Synchronized),
];
