//! Tables of TOML made of the sections of the control interface.

use ntp_types::configuration::Section;
use toml::{Table, Value};

/// Converts the settings of a section to a table.
pub(crate) fn table(section: &Section) -> Table {
    let mut table = Table::new();
    for setting in &section.settings {
        let line = format!("{} = {}", setting.key, setting.value);
        if let Ok(parsed) = line.parse::<Table>() {
            merge(&mut table, parsed);
        }
    }
    table
}

/// Merges `other` into `table`, nested tables key by key.
pub(crate) fn merge(table: &mut Table, other: Table) {
    for (key, value) in other {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(table)), Value::Table(other)) => merge(table, other),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}
