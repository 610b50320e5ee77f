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

macro_rules! input {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $member_doc:literal])* $member:ident: $kind:ty,)* })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name {
                $($(#[doc = $member_doc])* pub $member: $kind,)*
            }

            ntp_types::describe! {
                [$($doc)*] $name { $([$($member_doc)*] $member: $kind,)* }
            }
        )*
    };
}

pub(super) use input;
