//! Converters from TOML values to typed ones: numbers with ranges, strings, paths, choices, lists.
//!
//! Every converter reports an invalid value to the context and returns `None`. TOML 1.0 integers
//! are 64-bit and signed; an integer is accepted where a float is expected, but not vice versa.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ntp_proto::keys::KeyId;
use toml::de::DeValue;

use crate::diagnostic::{Diagnostic, list, quote};
use crate::document::Located;
use crate::documentation::heading;
use crate::reader::{Context, Section, Value};
use crate::suggest::closest;

/// An integer in the range of `T`.
pub(crate) fn whole<T>(cx: &mut Context, value: &Value<'_>) -> Option<T>
where
    T: TryFrom<i64> + Bounded,
{
    let number = integer(cx, value, || expected_whole(T::RANGE))?;
    match T::try_from(number) {
        Ok(number) => Some(number),
        Err(_) => value.reject_value(cx, &expected_whole(T::RANGE)),
    }
}

/// A count in `range`.
pub(crate) fn within(
    cx: &mut Context,
    value: &Value<'_>,
    range: RangeInclusive<usize>,
) -> Option<usize> {
    let number = whole(cx, value)?;
    if range.contains(&number) {
        return Some(number);
    }
    let (low, high) = range.into_inner();
    value.reject_value(cx, &format!("a number from {low} to {high}"))
}

/// A 64-bit integer.
pub(crate) fn integer(
    cx: &mut Context,
    value: &Value<'_>,
    expected: impl FnOnce() -> String,
) -> Option<i64> {
    match value.node {
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Some(number),
            Err(_) => value.reject(
                cx,
                format!(
                    "invalid value: {} does not fit in 64 bits",
                    value.describe()
                ),
            ),
        },
        other => {
            let message = value.mistyped(&expected());
            match other {
                DeValue::String(text) if text.parse::<i64>().is_ok() => value.reject_with(
                    cx,
                    message,
                    format!(
                        "write the number without quotation marks: `{} = {text}`",
                        value.key
                    ),
                ),
                _ => value.reject(cx, message),
            }
        }
    }
}

/// An integer or floating-point number of any sign; may be infinite or NaN.
pub(crate) fn number(cx: &mut Context, value: &Value<'_>) -> Option<f64> {
    match value.node {
        DeValue::Integer(_) => integer(cx, value, || "a number".into()).map(|number| number as f64),
        DeValue::Float(float) => {
            let text = float.as_str();
            match text.parse::<f64>() {
                Ok(number)
                    if number.is_finite() || text.contains("inf") || text.contains("nan") =>
                {
                    Some(number)
                }
                _ => value.reject(
                    cx,
                    format!("invalid value: {} is too large", value.describe()),
                ),
            }
        }
        _ => value.reject_type(cx, "a number"),
    }
}

/// A finite number.
pub(crate) fn finite(cx: &mut Context, value: &Value<'_>) -> Option<f64> {
    let number = number(cx, value)?;
    if number.is_finite() {
        return Some(number);
    }
    value.reject_value(cx, "a finite number")
}

/// A number above zero (infinity passes, as upstream).
pub(crate) fn positive(cx: &mut Context, value: &Value<'_>) -> Option<f64> {
    let number = number(cx, value)?;
    if number > 0.0 {
        return Some(number);
    }
    value.reject_value(cx, "a number greater than zero")
}

/// `true` or `false`.
pub(crate) fn boolean(cx: &mut Context, value: &Value<'_>) -> Option<bool> {
    match value.node {
        DeValue::Boolean(boolean) => Some(*boolean),
        _ => value.reject_type(cx, "`true` or `false`"),
    }
}

/// A string.
pub(crate) fn text<'t>(cx: &mut Context, value: &Value<'t>) -> Option<&'t str> {
    match value.node {
        DeValue::String(text) => Some(text.as_ref()),
        _ => value.reject_type(cx, "a string"),
    }
}

/// A string, owned.
pub(crate) fn string(cx: &mut Context, value: &Value<'_>) -> Option<String> {
    text(cx, value).map(str::to_owned)
}

/// A converter that adds the place of the value.
pub(crate) fn located<T>(
    convert: impl Fn(&mut Context, &Value<'_>) -> Option<T>,
) -> impl Fn(&mut Context, &Value<'_>) -> Option<Located<T>> {
    move |cx, value| {
        let converted = convert(cx, value)?;
        Some(value.locate(cx, converted))
    }
}

/// The path of a file.
pub(crate) fn path(cx: &mut Context, value: &Value<'_>) -> Option<PathBuf> {
    text(cx, value).map(PathBuf::from)
}

/// An absolute path of `what`; `help` is for the message if it is a relative one.
pub(crate) fn absolute_path(
    cx: &mut Context,
    value: &Value<'_>,
    what: &str,
    help: &str,
) -> Option<PathBuf> {
    let path = path(cx, value)?;
    if path.is_absolute() {
        return Some(path);
    }
    let problem = format!("invalid value: the {what} must be an absolute path");
    value.reject_with(cx, problem, help)
}

/// The path of a file where the default is a path too.
pub(crate) fn some_path(cx: &mut Context, value: &Value<'_>) -> Option<Option<PathBuf>> {
    path(cx, value).map(Some)
}

/// The path of a file, with the place of the value.
pub(crate) fn located_path(cx: &mut Context, value: &Value<'_>) -> Option<Located<PathBuf>> {
    located(path)(cx, value)
}

/// An IP address without a port.
pub(crate) fn ip_address(cx: &mut Context, value: &Value<'_>) -> Option<IpAddr> {
    let text = text(cx, value)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    value.reject_with(
        cx,
        format!("invalid IP address syntax: {}", quote(text, '"')),
        "one address, without a port, a prefix length or a name: `\"192.0.2.1\"` or `\"2001:db8::1\"`",
    )
}

/// An IP address with a port; `default_port` is for advice only.
pub(crate) fn socket_address(
    cx: &mut Context,
    value: &Value<'_>,
    default_port: u16,
) -> Option<SocketAddr> {
    let text = text(cx, value)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let help = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            format!("add the port: `\"{address}:{default_port}\"`")
        }
        Ok(IpAddr::V6(address)) => {
            format!("add the port: `\"[{address}]:{default_port}\"`")
        }
        Err(_) => format!(
            "an IP address and a port: `\"0.0.0.0:{default_port}\"`, or `\"[::]:{default_port}\"` for IPv6"
        ),
    };
    value.reject_with(
        cx,
        format!("invalid socket address syntax: {}", quote(text, '"')),
        help,
    )
}

/// The number of a symmetric key.
pub(crate) fn key_id(cx: &mut Context, value: &Value<'_>) -> Option<Located<KeyId>> {
    let id = match value.node {
        DeValue::Integer(number) => KeyId::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    match id {
        Some(id) if id != 0 => Some(value.locate(cx, id)),
        _ => value.reject_with(
            cx,
            value.invalid("the number of a key, from 1 to 4294967295"),
            "the keys themselves are in the file that `path` in `[keys]` names",
        ),
    }
}

/// One of the words of `choices`.
pub(crate) fn choice<T: Copy>(
    cx: &mut Context,
    value: &Value<'_>,
    choices: &[(&'static str, T)],
) -> Option<T> {
    let text = text(cx, value)?;
    if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
        return Some(*chosen);
    }
    let words: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
    let message = format!(
        "unknown variant {}, expected one of {}",
        quote(text, '`'),
        list(&words)
    );
    let mut diagnostic = Diagnostic::error(value.place(cx), message);
    if let Some(meant) = closest(text, words) {
        diagnostic = diagnostic.with_label(format!("did you mean `{meant}`?"));
    }
    cx.report(diagnostic);
    None
}

/// A list, each element converted; invalid elements are reported and left out.
pub(crate) fn array<'t, T>(
    cx: &mut Context,
    value: &Value<'t>,
    mut convert: impl FnMut(&mut Context, &Value<'t>) -> Option<T>,
) -> Option<Vec<T>> {
    let DeValue::Array(elements) = value.node else {
        return value.reject_with(
            cx,
            value.mistyped("a list"),
            format!("write a list in brackets: `{} = […]`", value.key),
        );
    };
    let elements = elements.iter();
    Some(
        elements
            .filter_map(|element| convert(cx, &Value::new(element, value.key)))
            .collect(),
    )
}

/// A value, or a list of such values.
pub(crate) fn one_or_more<T>(
    cx: &mut Context,
    value: &Value<'_>,
    mut convert: impl FnMut(&mut Context, &Value<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    if matches!(value.node, DeValue::Array(_)) {
        return array(cx, value, convert);
    }
    convert(cx, value).map(|one| vec![one])
}

/// The sections `[[name]]`, each read; invalid ones are reported and left out.
pub(crate) fn sections<'t, T>(
    cx: &mut Context,
    value: &Value<'t>,
    name: &'static str,
    mut read: impl FnMut(&mut Context, Section<'t>) -> Option<T>,
) -> Option<Vec<T>> {
    if let DeValue::Table(table) = value.node {
        let heading = heading(name);
        value.reject_with::<()>(
            cx,
            value.mistyped("a list of tables"),
            format!("this section may be repeated, so it needs double brackets: `{heading}`"),
        );
        let read = read(cx, Section::of_table(name, table, value.span.clone()));
        return read.map(|section| vec![section]);
    }
    array(cx, value, |cx, element| {
        let section = Section::open(cx, name, element)?;
        read(cx, section)
    })
}

fn expected_whole(range: RangeInclusive<i64>) -> String {
    match (*range.start(), *range.end()) {
        (0, i64::MAX) => "a whole number, zero or more".into(),
        (low, high) => format!("a whole number from {low} to {high}"),
    }
}

/// An integer type and the part of its range that TOML can represent.
pub(crate) trait Bounded {
    /// The range.
    const RANGE: RangeInclusive<i64>;
}

macro_rules! bounded {
    ($($Integer:ty: $range:expr,)*) => {
        $(impl Bounded for $Integer {
            const RANGE: RangeInclusive<i64> = $range;
        })*
    };
}

bounded! {
    i8: -128..=127,
    u8: 0..=255,
    u16: 0..=65_535,
    i32: -2_147_483_648..=2_147_483_647,
    u32: 0..=4_294_967_295,
    u64: 0..=i64::MAX,
    usize: 0..=i64::MAX,
}
