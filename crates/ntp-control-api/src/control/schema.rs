//! The Varlink interface file from the types of requests and replies.
//!
//! `ntp_types::record!` declares types of replies (readers ignore unknown members), `input!` types of
//! parameters (an unknown member is an error). Doc comments become comments of the interface file.

use std::fmt::Write as _;

use ntp_types::schema::Record;

/// Appends comment lines, each indented by `indent`.
pub(super) fn comment(text: &mut String, indent: &str, lines: &[&str]) {
    for line in lines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{indent}#{line}");
    }
}

/// Appends the `type` definition of `T`.
pub(super) fn type_definition<T: Record>(text: &mut String) {
    text.push('\n');
    comment(text, "", T::DOC);
    let _ = writeln!(text, "type {} (", T::name());
    let members = T::members();
    for (index, member) in members.iter().enumerate() {
        comment(text, "  ", member.doc);
        let comma = if index + 1 < members.len() { "," } else { "" };
        let _ = writeln!(text, "  {}: {}{comma}", member.name, member.kind);
    }
    text.push_str(")\n");
}

/// Returns the members of `T` on one line, as in a method or error definition.
pub(super) fn signature<T: Record>() -> String {
    let members = T::members();
    let words: Vec<_> = members
        .iter()
        .map(|member| format!("{}: {}", member.name, member.kind))
        .collect();
    format!("({})", words.join(", "))
}

/// Parameters of a method.
pub(super) trait Input: Sized {
    /// Parses the members of the object. An absent member is as null.
    ///
    /// # Errors
    /// Name of the member that is invalid, missing or unknown: `parameter` of Varlink's
    /// `InvalidParameter`.
    fn parse(parameters: serde_json::Map<String, serde_json::Value>) -> Result<Self, String>;
}

macro_rules! input {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $member_doc:literal])* $member:ident: $kind:ty,)* })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
            pub struct $name {
                $($(#[doc = $member_doc])* pub $member: $kind,)*
            }

            impl $crate::control::schema::Input for $name {
                #[allow(unused_mut, reason = "an input without members takes none")]
                fn parse(
                    mut parameters: serde_json::Map<String, serde_json::Value>,
                ) -> Result<Self, String> {
                    $(
                        let value = parameters.remove(stringify!($member)).unwrap_or_default();
                        let $member = serde_json::from_value(value)
                            .map_err(|_| stringify!($member).to_owned())?;
                    )*
                    match parameters.into_iter().next() {
                        Some((unknown, _)) => Err(unknown),
                        None => Ok(Self { $($member),* }),
                    }
                }
            }

            ntp_types::describe! {
                [$($doc)*] $name { $([$($member_doc)*] $member: $kind,)* }
            }
        )*
    };
}

pub(super) use input;
