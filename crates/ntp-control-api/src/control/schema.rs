//! A serde type and its description from the same lines, so that neither can drift from the other.
//!
//! `record!` makes what the daemon gives (readers pass over members that they do not know), `input!` what it takes (an
//! unknown member is an error). Doc comments become the interface file's comments.

use std::fmt::Write as _;

/// A Rust type as Varlink calls it.
pub(crate) trait Described {
    /// The type's name or expression in the interface language.
    fn name() -> String;
}

macro_rules! plain {
    ($($rust:ty => $varlink:literal)*) => {
        $(impl Described for $rust {
            fn name() -> String {
                $varlink.to_owned()
            }
        })*
    };
}

plain! {
    bool => "bool"
    String => "string"
    f64 => "float"
    i64 => "int"
    u64 => "int"
    u32 => "int"
    serde_json::Map<String, serde_json::Value> => "object"
}

impl<T: Described> Described for Option<T> {
    fn name() -> String {
        format!("?{}", T::name())
    }
}

impl<T: Described> Described for Vec<T> {
    fn name() -> String {
        format!("[]{}", T::name())
    }
}

/// A struct with named members.
pub(crate) trait Record: Described {
    /// Its comment.
    const DOC: &'static [&'static str];

    /// Its members: name, type, comment.
    fn members() -> Vec<Member>;
}

/// A member of a record.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its type in the interface language.
    pub(crate) kind: String,
    /// Its comment.
    pub(crate) doc: &'static [&'static str],
}

/// Writes a comment, each line of it indented by `indent`.
pub(super) fn comment(text: &mut String, indent: &str, lines: &[&str]) {
    for line in lines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{indent}#{line}");
    }
}

/// A `type` of the interface file.
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

/// The members of a record in one line, as a method's parameters or an error's.
pub(super) fn signature<T: Record>() -> String {
    let members = T::members();
    let words: Vec<_> = members
        .iter()
        .map(|member| format!("{}: {}", member.name, member.kind))
        .collect();
    format!("({})", words.join(", "))
}

macro_rules! describe {
    ([$($doc:literal)*] $name:ident { $([$($member_doc:literal)*] $member:ident: $kind:ty,)* }) => {
        impl $crate::control::schema::Described for $name {
            fn name() -> String {
                stringify!($name).to_owned()
            }
        }

        impl $crate::control::schema::Record for $name {
            const DOC: &'static [&'static str] = &[$($doc),*];

            fn members() -> Vec<$crate::control::schema::Member> {
                vec![$($crate::control::schema::Member {
                    name: stringify!($member),
                    kind: <$kind as $crate::control::schema::Described>::name(),
                    doc: &[$($member_doc),*],
                }),*]
            }
        }
    };
}

macro_rules! record {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $member_doc:literal])* $member:ident: $kind:ty,)* })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
            // A daemon of an earlier version knows fewer members.
            #[serde(default)]
            pub struct $name {
                $($(#[doc = $member_doc])* pub $member: $kind,)*
            }

            $crate::control::schema::describe! {
                [$($doc)*] $name { $([$($member_doc)*] $member: $kind,)* }
            }
        )*
    };
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

            $crate::control::schema::describe! {
                [$($doc)*] $name { $([$($member_doc)*] $member: $kind,)* }
            }
        )*
    };
}

pub(super) use {describe, input, record};
