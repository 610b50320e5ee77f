//! The keys of a section as plain TOML, without their places.
//!
//! Changes at run time are keys too: they are merged with those of the file and read by the same
//! parser. The result can be written to a file again.

use toml::de::{DeTable, DeValue};

/// Converts a table. Numbers out of range are left out; the parser reports them.
pub(crate) fn plain(table: &DeTable<'_>) -> toml::Table {
    let entries = table.iter();
    let plain = entries.filter_map(|(key, node)| {
        let value = value(node.get_ref())?;
        Some((key.get_ref().to_string(), value))
    });
    plain.collect()
}

/// Converts a value.
pub(crate) fn value(node: &DeValue<'_>) -> Option<toml::Value> {
    Some(match node {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            toml::Value::Integer(number)
        }
        DeValue::Float(number) => toml::Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(value) => toml::Value::Boolean(*value),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(values) => {
            let values = values.iter();
            toml::Value::Array(values.filter_map(|it| value(it.get_ref())).collect())
        }
        DeValue::Table(table) => toml::Value::Table(plain(table)),
    })
}
