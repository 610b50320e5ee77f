//! Macros that define a serde type and its Varlink definition from the same lines, so that they
//! cannot diverge.
//!
//! `record!` defines types of replies (readers ignore unknown members), `input!` types of
//! parameters (an unknown member is an error). Doc comments become comments of the interface file.

use std::fmt::Write as _;

/// A Rust type with a name in the Varlink interface language.
pub(crate) trait VarlinkType {
    /// Returns the name or type expression.
    fn name() -> String;
}

macro_rules! basic_types {
    ($($rust:ty => $varlink:literal)*) => {
        $(impl VarlinkType for $rust {
            fn name() -> String {
                $varlink.to_owned()
            }
        })*
    };
}

basic_types! {
    bool => "bool"
    String => "string"
    f64 => "float"
    i64 => "int"
    u64 => "int"
    u32 => "int"
    serde_json::Map<String, serde_json::Value> => "object"
}

impl<T: VarlinkType> VarlinkType for Option<T> {
    fn name() -> String {
        format!("?{}", T::name())
    }
}

impl<T: VarlinkType> VarlinkType for Vec<T> {
    fn name() -> String {
        format!("[]{}", T::name())
    }
}

/// A Varlink struct.
pub(crate) trait Record: VarlinkType {
    /// Comment lines.
    const DOC: &'static [&'static str];

    /// Returns the members in order of definition.
    fn members() -> Vec<Member>;
}

/// A member of a [`Record`].
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Name.
    pub(crate) name: &'static str,
    /// Type in the interface language.
    pub(crate) kind: String,
    /// Comment lines.
    pub(crate) doc: &'static [&'static str],
}

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

macro_rules! describe {
    ([$($doc:literal)*] $name:ident { $([$($member_doc:literal)*] $member:ident: $kind:ty,)* }) => {
        impl $crate::control::schema::VarlinkType for $name {
            fn name() -> String {
                stringify!($name).to_owned()
            }
        }

        impl $crate::control::schema::Record for $name {
            const DOC: &'static [&'static str] = &[$($doc),*];

            fn members() -> Vec<$crate::control::schema::Member> {
                vec![$($crate::control::schema::Member {
                    name: stringify!($member),
                    kind: <$kind as $crate::control::schema::VarlinkType>::name(),
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
            // A daemon of an earlier version sends fewer members.
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
