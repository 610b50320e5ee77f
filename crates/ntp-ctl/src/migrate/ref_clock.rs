//! Reference clocks of the other daemons: a driver, a device, and options that each format names in
//! a table.

use super::draft::{Draft, SOURCE, Table, problem, quoted};
use super::lines::{Line, number};
use super::table::INVALID;

/// Reason why a driver is not converted.
pub(super) const NO_DRIVER: &str = "no driver for this kind of clock; gpsd reads most receivers: use `mode = \"sock\"` or `\"gpsd\"`";
/// Reason why options of the sample processing need no equivalent.
pub(super) const AUTOMATIC: &str = "ntpd-rs uses every sample and models the noise of the clock";

/// A reference clock.
#[derive(Default)]
pub(super) struct RefClock {
    /// Number and text of its line.
    line: (usize, String),
    table: Table,
    /// Name by which other lines mean it: the reference ID in chrony, the address in ntpd.
    pub(super) id: Option<String>,
    /// Reference ID of the clock that numbers its pulses.
    lock: Option<String>,
}

/// What a converter of an option returns.
type Converted = Result<(), &'static str>;

impl RefClock {
    /// A clock of `mode` with the keys that name its device, in TOML syntax.
    pub(super) fn new(line: &Line<'_>, mode: &str, keys: &[(&str, String)]) -> Self {
        let mut table = Table::default();
        table.set_text("mode", mode);
        for (key, value) in keys {
            table.set(key, value);
        }
        if ["sock", "shm", "pps", "gpsd"].contains(&mode) {
            table.comment("`precision` is assumed: state the noise of one sample");
            table.set("precision", "1e-6");
        }
        Self {
            line: (line.number, line.text.to_owned()),
            table,
            ..Self::default()
        }
    }

    /// Sets a key, if the mode has it, to a value in TOML syntax.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Converted {
        let mut changed = self.table.clone();
        changed.set(key, value);
        if is_valid(&self.table) && !is_valid(&changed) {
            return Err("the mode of this clock has no such setting or value");
        }
        self.table = changed;
        Ok(())
    }

    pub(super) fn flag(&mut self, key: &str) -> Converted {
        self.set(key, "true")
    }

    /// Sets a key to a number.
    pub(super) fn number(&mut self, key: &str, value: &str) -> Converted {
        let value = number(value).ok_or(INVALID)?;
        self.set(key, &format!("{value:?}"))
    }

    /// Sets a key to a whole number.
    pub(super) fn whole(&mut self, key: &str, value: &str) -> Converted {
        let value: i32 = value.parse().map_err(|_| INVALID)?;
        self.set(key, &value.to_string())
    }

    pub(super) fn reference_id(&mut self, value: &str) -> Converted {
        self.id = Some(value.to_owned());
        self.set("reference-id", &quoted(value))
    }

    pub(super) fn mode_is(&self, mode: &str) -> bool {
        self.table.has_mode(mode)
    }

    pub(super) fn lock(&mut self, value: &str) -> Converted {
        self.lock = Some(value.to_owned());
        Ok(())
    }
}

/// Whether the daemon accepts a source.
fn is_valid(table: &Table) -> bool {
    problem(&table.to_section(SOURCE)).is_none()
}

/// Adds the clocks to the draft, once all are known.
pub(super) fn add_all(draft: &mut Draft, clocks: Vec<RefClock>) {
    let names: Vec<(Option<String>, Option<String>)> = clocks
        .iter()
        .map(|clock| (clock.id.clone(), name(&clock.table)))
        .collect();
    for mut clock in clocks {
        let (line, text) = (clock.line.0, clock.line.1.clone());
        if let Some(lock) = clock.lock.take() {
            let found = names.iter().find(|(id, _)| id.as_ref() == Some(&lock));
            let converted = match found {
                Some((_, Some(name))) => clock.set("lock", &quoted(name)),
                _ => Err(
                    "no converted clock has this reference ID: any synchronised source numbers the pulses",
                ),
            };
            if let Err(why) = converted {
                draft
                    .remarks
                    .unsupported(line, &format!("refclock lock {lock}"), why);
            }
        }
        draft.push(SOURCE, (line, &text), clock.table);
    }
}

/// The name of a source, by which others mean it.
fn name(table: &Table) -> Option<String> {
    let (config, _) = ntp_config::parse(&table.to_section(SOURCE), "migrated").ok()?;
    config.sources.first()?.name()
}
