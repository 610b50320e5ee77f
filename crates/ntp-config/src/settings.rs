//! A section's keys as plain TOML, without their places.
//!
//! Changes at run time come as keys too, are laid over those that the file has, and are read by the same parser. What results can be
//! written to a file again.

use toml::de::{DeTable, DeValue};

/// The table as plain values. What is no number after all is left out: the parser has said so.
pub(crate) fn plain(table: &DeTable<'_>) -> toml::Table {
    let entries = table.iter();
    let plain = entries.filter_map(|(key, node)| {
        let value = value(node.get_ref())?;
        Some((key.get_ref().to_string(), value))
    });
    plain.collect()
}

/// A value as TOML without its place.
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
