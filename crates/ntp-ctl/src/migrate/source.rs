//! Sources of the other daemons: a name, and options that each format names in a table.

use super::draft::{Draft, Remarks, SOURCE, Table, problem, quoted};
use super::lines::Line;
use super::table::{INVALID, OptionRow, convert_options};

/// Permitted poll intervals in log2 seconds.
const POLL: core::ops::RangeInclusive<i32> = 0..=17;
/// Default poll intervals of chronyd and ntpd, 64 s and 1024 s, in log2 seconds.
const DEFAULT_POLL: (i32, i32) = (6, 10);

/// Settings of a source.
#[derive(Default)]
pub(super) struct Source {
    pool: bool,
    pub(super) nts: bool,
    port: Option<String>,
    key_exchange_port: Option<String>,
    count: Option<String>,
    /// Shortest and longest poll interval in log2 seconds.
    polls: (Option<i32>, Option<i32>),
    /// Set of certificate authorities; chronyd's default is 0.
    pub(super) certificate_set: Option<String>,
    /// Other options, their keys and values.
    keys: Vec<(&'static str, &'static str, String)>,
}

/// What a converter of an option returns.
type Converted = Result<(), &'static str>;

impl Source {
    /// Sets the boolean key of an option.
    pub(super) fn flag(&mut self, option: &'static str, key: &'static str) -> Converted {
        self.keys.push((option, key, "true".into()));
        Ok(())
    }

    /// Sets the key of an option to a whole number.
    pub(super) fn whole(
        &mut self,
        option: &'static str,
        key: &'static str,
        value: &str,
    ) -> Converted {
        let value: u32 = value.parse().map_err(|_| INVALID)?;
        self.keys.push((option, key, value.to_string()));
        Ok(())
    }

    /// Sets the key of an option to a string.
    pub(super) fn text(
        &mut self,
        option: &'static str,
        key: &'static str,
        value: &str,
    ) -> Converted {
        self.keys.push((option, key, quoted(value)));
        Ok(())
    }

    pub(super) fn set_nts(&mut self) -> Converted {
        self.nts = true;
        Ok(())
    }

    pub(super) fn port(&mut self, value: &str) -> Converted {
        self.port = Some(port(value)?);
        Ok(())
    }

    pub(super) fn key_exchange_port(&mut self, value: &str) -> Converted {
        self.key_exchange_port = Some(port(value)?);
        Ok(())
    }

    pub(super) fn count(&mut self, value: &str) -> Converted {
        self.count = Some(value.parse::<u16>().map_err(|_| INVALID)?.to_string());
        Ok(())
    }

    pub(super) fn shortest_poll(&mut self, value: &str) -> Converted {
        self.polls.0 = Some(value.parse().map_err(|_| INVALID)?);
        Ok(())
    }

    pub(super) fn longest_poll(&mut self, value: &str) -> Converted {
        self.polls.1 = Some(value.parse().map_err(|_| INVALID)?);
        Ok(())
    }

    pub(super) fn certificate_set(&mut self, value: &str) -> Converted {
        self.certificate_set = Some(value.to_owned());
        Ok(())
    }

    fn mode(&self) -> &'static str {
        match (self.nts, self.pool) {
            (true, _) => "nts",
            (false, true) => "pool",
            (false, false) => "server",
        }
    }

    /// Adds the authority of its set of certificates. Returns why a set has no effect.
    fn take_authority(
        &mut self,
        certificates: &dyn Fn(&str) -> Option<String>,
    ) -> Option<&'static str> {
        let set = self.certificate_set.as_deref();
        let why = if !self.nts {
            "only for a source with `nts`"
        } else if let Some(paths) = certificates(set.unwrap_or("0")) {
            let key = "certificate-authority";
            self.keys.push(("certset", key, paths));
            return None;
        } else {
            "no certificates are configured for this set"
        };
        set.map(|_| why)
    }

    /// The section, and what it cannot express. `certificates` finds the files of a set of
    /// certificate authorities, as a value of TOML.
    fn into_table(
        mut self,
        line: &Line<'_>,
        host: &str,
        certificates: &dyn Fn(&str) -> Option<String>,
    ) -> (Table, Remarks) {
        let mut remarks = Remarks::default();
        let mut table = Table::default();
        let number = line.number;
        table.set_text("mode", self.mode());
        let text = |option: &str, value: &str| format!("{} {option} {value}", line.directive);
        let port = if self.nts {
            if let Some(port) = &self.port {
                let why = "the key exchange names the port of the server";
                remarks.unsupported(number, &text("port", port), why);
            }
            self.key_exchange_port.take()
        } else {
            if let Some(port) = &self.key_exchange_port {
                let why = "only for a source with `nts`";
                remarks.not_needed(number, &text("ntsport", port), why);
            }
            self.port.take()
        };
        table.set_text("address", &address(host, port.as_deref()));
        let single = self.count.as_deref() == Some("1");
        if self.nts && self.pool && !single {
            table.comment("one server of the pool; add others as separate sources");
        }
        match self.count.take() {
            Some(count) if self.pool && !self.nts => {
                self.keys.push(("maxsources", "count", count));
            }
            Some(_) if self.pool && single => {}
            Some(count) => {
                let why = "only for a pool without `nts`; add the servers as separate sources";
                remarks.unsupported(number, &text("maxsources", &count), why);
            }
            None => {}
        }
        self.write_polls(line, &mut table, &mut remarks);
        if let Some(why) = self.take_authority(certificates) {
            let set = self.certificate_set.as_deref().unwrap_or("0");
            remarks.not_needed(number, &text("certset", set), why);
        }
        for (option, key, value) in &self.keys {
            let probe = format!(
                "{SOURCE}\nmode = \"{}\"\naddress = \"a.example\"\n{key} = {value}\n",
                self.mode()
            );
            match problem(&probe) {
                _ if *key == "key" && self.nts => {
                    let why = "this source is authenticated by NTS";
                    remarks.unsupported(number, &text(option, value), why);
                }
                None => table.set(key, value),
                Some(why) => remarks.unsupported(number, &text(option, value), &why),
            }
        }
        // chronyd adds the authorities of the system to its set 0 only.
        let set = self.certificate_set.as_deref().unwrap_or("0");
        if set != "0" && table.get("certificate-authority").is_some() {
            table.set("system-authorities", false);
        }
        (table, remarks)
    }

    fn write_polls(&self, line: &Line<'_>, table: &mut Table, remarks: &mut Remarks) {
        if self.polls == (None, None) {
            return;
        }
        let (shortest, longest) = DEFAULT_POLL;
        let asked = (
            self.polls.0.unwrap_or(shortest),
            self.polls.1.unwrap_or(longest),
        );
        let clamped = |poll: i32| poll.clamp(*POLL.start(), *POLL.end());
        let (min, max) = (clamped(asked.0), clamped(asked.1.max(asked.0)));
        if (min, max) != asked {
            let text = format!("{} minpoll {} maxpoll {}", line.directive, asked.0, asked.1);
            let why = format!("poll intervals limited to 2^{min} to 2^{max} s");
            remarks.unsupported(line.number, &text, &why);
        }
        table.set(
            "poll-interval-limits",
            format!("{{ min = {min}, max = {max} }}"),
        );
    }
}

/// Adds the source of a line: words that select the address family, a host and options.
pub(super) fn add(
    draft: &mut Draft,
    line: &Line<'_>,
    pool: bool,
    options: &[OptionRow<Source>],
    certificates: &dyn Fn(&str) -> Option<String>,
) {
    let families = ["-4", "-6", "--ipv4", "--ipv6"];
    let is_family = |word: &&&str| families.contains(*word);
    let first = line.words.iter().take_while(is_family).count();
    for word in &line.words[..first] {
        let text = format!("{} {word}", line.directive);
        draft.remarks.unsupported(line.number, &text, ANY_FAMILY);
    }
    let Some(host) = line.words.get(first) else {
        return draft.unsupported(line, "no server given");
    };
    let mut source = Source {
        pool,
        ..Source::default()
    };
    let words = &line.words[first + 1..];
    let remarks = convert_options(&mut source, line, words, options);
    draft.remarks.append(remarks);
    let (table, remarks) = source.into_table(line, host, certificates);
    draft.remarks.append(remarks);
    draft.push(SOURCE, (line.number, line.text), table);
}

/// Reason why the address family of a source is not converted.
pub(super) const ANY_FAMILY: &str = "addresses of both families are used, in the resolver's order";

fn port(value: &str) -> Result<String, &'static str> {
    match value.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port.to_string()),
        _ => Err(INVALID),
    }
}

/// Formats a host with an optional port; an IPv6 address with a port needs brackets.
fn address(host: &str, port: Option<&str>) -> String {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    match port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
