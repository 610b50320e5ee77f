//! `lock`: the source that numbers the pulses of a reference clock.
//!
//! It is found by its name among all sources: those of other files, of the platform, and of
//! changes at run time. So it is looked up in the whole configuration, after all sections were
//! read.

use ntp_types::host::Host;

use crate::address::{Address, NTP_PORT};
use crate::config::Config;
use crate::diagnostic::{Diagnostic, quote};
use crate::document::Place;
use crate::refclock::RefClockSource;
use crate::source::{SourceConfig, SourceKind};
use crate::suggest::closest;

/// Maximum number of sources that a message lists.
const LISTED: usize = 8;

impl Config {
    /// Returns the name of the source that numbers the pulses of `clock`; `None` if the
    /// synchronised clock does. The name in the file may omit the default port, or any port if
    /// only one source has that host.
    ///
    /// # Errors
    /// If `lock` names no source, several, or the clock itself. A source that `[disabled]` removes
    /// is a warning: a restart after `ntp-ctl config save` must not fail.
    pub fn lock_of(&self, clock: &RefClockSource) -> Result<Option<String>, Box<Diagnostic>> {
        let Some(lock) = &clock.lock else {
            return Ok(None);
        };
        let quoted = quote(&lock.value, '`');
        let error = |message: String| Diagnostic::error(lock.place.clone(), message);
        let problem = match &self.names_of(&lock.value)[..] {
            [one] if *one == clock.reader.device.to_string() => {
                error(format!("`lock` names the clock itself: {quoted}")).with_help(
                    "name another source, or leave `lock` out: the synchronised clock then \
                     numbers the pulses",
                )
            }
            [one] => return Ok(Some(one.clone())),
            [] if self.is_disabled(&lock.value) => Diagnostic::warning(
                lock.place.clone(),
                format!("`lock` names a disabled source: {quoted}; no pulse is numbered"),
            ),
            [] => self.unknown(lock.place.clone(), &lock.value),
            several => error(format!("`lock` is ambiguous: {quoted}"))
                .with_help(format!("write one of {}", listed(several))),
        };
        Err(Box::new(problem))
    }

    /// Returns the problems of `lock` in all sources.
    pub(crate) fn check_locks(&self) -> impl Iterator<Item = Diagnostic> {
        let clocks = self.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::RefClock(clock) => Some(clock),
            _ => None,
        });
        clocks.filter_map(|clock| self.lock_of(clock).err().map(|problem| *problem))
    }

    /// Returns the names of the sources that are meant by `text`: those with this name or address,
    /// or else those with this host.
    fn names_of(&self, text: &str) -> Vec<String> {
        let host = Host::parse(text).ok();
        let has_host = |source: &SourceConfig| {
            let ntp = source.kind.ntp();
            match (ntp.map(|ntp| &ntp.address.host), &host) {
                (Some(Host::Name(name)), Some(Host::Name(meant))) => {
                    name.eq_ignore_ascii_case(meant)
                }
                (Some(known), Some(meant)) => known == meant,
                _ => false,
            }
        };
        let names = |is_meant: &dyn Fn(&SourceConfig) -> bool| {
            let sources = self.sources.iter().filter(|source| is_meant(source));
            let mut names: Vec<_> = sources.filter_map(SourceConfig::name).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let exact = names(&|source| source.name().as_deref() == Some(text));
        if !exact.is_empty() {
            return exact;
        }
        let address = names(&|source| source.has_name(text));
        if address.is_empty() {
            names(&has_host)
        } else {
            address
        }
    }

    fn is_disabled(&self, text: &str) -> bool {
        let host = |text: &str| Address::parse(text, NTP_PORT).map(|address| address.host);
        let is_same =
            |other: &str| other == text || host(text).is_ok_and(|meant| host(other) == Ok(meant));
        let mut disabled = self.disabled.sources.iter();
        disabled.any(|source| is_same(&source.value))
    }

    fn unknown(&self, place: Place, text: &str) -> Diagnostic {
        let names: Vec<_> = self.sources.iter().filter_map(SourceConfig::name).collect();
        let message = format!("`lock` names no source: {}", quote(text, '`'));
        let error = Diagnostic::error(place, message)
            .with_help(format!("the sources are {}", listed(&names)));
        match closest(text, names.iter().map(String::as_str)) {
            Some(near) => error.with_label(format!("did you mean `{near}`?")),
            None => error,
        }
    }
}

/// Lists names for a message; the texts are those of the file.
fn listed(names: &[String]) -> String {
    let shown: Vec<_> = (names.iter().take(LISTED))
        .map(|name| quote(name, '`'))
        .collect();
    let more = names.len().saturating_sub(LISTED);
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Severity;

    /// The problems of a pulse with this `lock` beside four sources.
    fn problems(lock: &str, more: &str) -> Vec<Diagnostic> {
        let text = format!(
            "{more}[[source]]\nmode = \"server\"\naddress = \"a.example\"\n\
             [[source]]\nmode = \"server\"\naddress = \"b.example:1123\"\n\
             [[source]]\nmode = \"server\"\naddress = \"c.example:1123\"\n\
             [[source]]\nmode = \"nts\"\naddress = \"c.example\"\n\
             [[source]]\nmode = \"nmea\"\npath = \"/dev/ttyS0\"\n\
             [[source]]\nmode = \"pps\"\npath = \"/dev/pps0\"\nprecision = 1e-6\nlock = \"{lock}\"\n"
        );
        let (config, _) = crate::parse(&text, "ntp.toml").expect("valid sections");
        config.check_locks().collect()
    }

    #[test]
    fn a_lock_that_names_no_source_is_an_error_with_its_place_and_the_names() {
        let [error] = &problems("/dev/ttyS1", "")[..] else {
            panic!("one problem");
        };
        assert_eq!(error.severity, Severity::Error);
        assert_eq!(error.place.line(), Some(20));
        let text = error.to_string();
        for part in [
            "names no source",
            "did you mean `/dev/ttyS0`?",
            "`a.example:123`",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert_eq!(problems("/dev/pps0", "").len(), 1, "itself");
    }

    #[test]
    fn a_lock_may_omit_a_port_that_is_not_needed() {
        for lock in [
            "a.example",
            "A.Example",
            "b.example",
            "/dev/ttyS0",
            "c.example",
        ] {
            assert_eq!(problems(lock, ""), [], "{lock}");
        }
        let second = "[[source]]\nmode = \"nts\"\naddress = \"a.example\"\n";
        let [ambiguous] = &problems("a.example", second)[..] else {
            panic!("one problem");
        };
        let text = ambiguous.to_string();
        assert!(text.contains("`a.example:123`, `a.example:4460`"), "{text}");
        assert_eq!(problems("a.example:4460", second), []);
    }

    /// `ntp-ctl config save` disables a source that was removed, and the daemon must start again.
    #[test]
    fn a_lock_that_names_a_disabled_source_is_a_warning() {
        for lock in ["d.example", "d.example:123"] {
            let problems = problems(lock, "[disabled]\nsources = [\"d.example:123\"]\n");
            let [warning] = &problems[..] else {
                panic!("one problem");
            };
            assert_eq!(warning.severity, Severity::Warning, "{warning}");
        }
    }
}
