//! A serde type and its description for the Varlink interface file, from the same lines.
//!
//! [`record!`](crate::record) declares a struct that the daemon sends. Its doc comments become the comments
//! of the interface file. Readers ignore members that they do not know, so a later version may add some;
//! a member that an earlier version lacks must be an `Option`.

use std::net::IpAddr;

use ntp_time::{
    Frequency, LeapIndicator, NtpDuration, PollInterval, ReferenceId, StampSource, Stratum,
    SystemTime,
};

/// A Rust type with a name in the Varlink interface language.
pub trait Described {
    /// Returns the type's name or expression in the interface language.
    fn name() -> String;
}

macro_rules! plain {
    ($($varlink:literal: $($rust:ty)*;)*) => {
        $($(impl $crate::schema::Described for $rust {
            fn name() -> String {
                $varlink.to_owned()
            }
        })*)*
    };
}

plain! {
    "bool": bool;
    "string": String IpAddr LeapIndicator ReferenceId StampSource;
    "float": f64 NtpDuration Frequency SystemTime PollInterval;
    "int": i8 i32 i64 u8 u32 u64 usize Stratum;
    "object": serde_json::Map<String, serde_json::Value>;
}
pub(crate) use plain;

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

impl<T: Described, const N: usize> Described for [T; N] {
    fn name() -> String {
        format!("[]{}", T::name())
    }
}

/// A struct with named members.
pub trait Record: Described {
    /// Lines of its comment.
    const DOC: &'static [&'static str];

    /// Returns its members: name, type, comment.
    fn members() -> Vec<Member>;
}

/// A member of a record.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its type in the interface language.
    pub kind: String,
    /// Lines of its comment.
    pub doc: &'static [&'static str],
}

/// Implements [`Described`] and [`Record`] for a struct that is declared elsewhere. `member as "name"` is a
/// member whose name in JSON differs.
#[macro_export]
macro_rules! describe {
    ([$($doc:literal)*] $name:ident {
        $([$($member_doc:literal)*] $member:ident $(as $json_name:literal)?: $kind:ty,)*
    }) => {
        impl $crate::schema::Described for $name {
            fn name() -> String {
                stringify!($name).to_owned()
            }
        }

        impl $crate::schema::Record for $name {
            const DOC: &'static [&'static str] = &[$($doc),*];

            fn members() -> Vec<$crate::schema::Member> {
                vec![$($crate::schema::Member {
                    name: [$($json_name,)? stringify!($member)][0],
                    kind: <$kind as $crate::schema::Described>::name(),
                    doc: &[$($member_doc),*],
                }),*]
            }
        }
    };
}

/// Declares structs that the daemon sends, with their descriptions. `#[serde(rename = "name")]` gives a member
/// another name in JSON.
#[macro_export]
macro_rules! record {
    ($($(#[doc = $doc:literal])* $(#[derive($($derive:ident),*)])? $name:ident {
        $(
            $(#[doc = $member_doc:literal])* $(#[serde(rename = $json_name:literal)])?
            $member:ident: $kind:ty,
        )*
    })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
            $(#[derive($($derive),*)])?
            pub struct $name {
                $(
                    $(#[doc = $member_doc])* $(#[serde(rename = $json_name)])?
                    pub $member: $kind,
                )*
            }

            $crate::describe! {
                [$($doc)*] $name { $([$($member_doc)*] $member $(as $json_name)?: $kind,)* }
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    use super::Record as _;
    use crate::statistics::ServerStatistics;

    #[test]
    fn members_are_described_by_their_name_in_json() {
        let json = serde_json::to_value(ServerStatistics::default()).unwrap();
        let names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        let mut described: Vec<_> = ServerStatistics::members()
            .iter()
            .map(|it| it.name)
            .collect();
        described.sort_unstable();
        assert_eq!(described, names);
    }
}
