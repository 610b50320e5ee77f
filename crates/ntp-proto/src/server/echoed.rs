//! Extension fields of a request that its reply repeats.
//!
//! A field of a type in [`TYPES`] is repeated as it is, the first of each type, in the order of the
//! table. Other types need a reply of their own making, or are ignored (RFC 7822 section 3).

use crate::wire::ExtensionField;

/// Types of repeated fields.
const TYPES: [u16; 1] = [
    // RFC 8915 section 5.3, and without NTS as well: it lets a client recognise its reply.
    ExtensionField::UNIQUE_IDENTIFIER,
];

/// The repeated fields of one request: their bodies, by their place in [`TYPES`].
#[derive(Clone, Copy)]
pub(super) struct Echoed<'a>([Option<&'a [u8]>; TYPES.len()]);

impl<'a> Echoed<'a> {
    /// No fields, as in most requests.
    pub(super) const NONE: Self = Self([None; TYPES.len()]);

    /// Keeps the field if it is to be repeated. Returns whether its type is.
    pub(super) fn keep(&mut self, field: ExtensionField<'a>) -> bool {
        let mut places = self.0.iter_mut().zip(TYPES);
        match places.find(|(_, field_type)| *field_type == field.field_type) {
            Some((body, _)) => {
                *body = body.or(Some(field.body));
                true
            }
            None => false,
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The fields, in the order of the table.
    pub(super) fn iter(&self) -> impl Iterator<Item = ExtensionField<'a>> {
        let fields = self.0.into_iter().zip(TYPES);
        fields.filter_map(|(body, field_type)| {
            let body = body?;
            Some(ExtensionField { field_type, body })
        })
    }

    /// Their length in a reply, in octets.
    pub(super) fn length(&self) -> usize {
        let length = |field: ExtensionField<'_>| ExtensionField::PREFIX + field.body.len();
        self.iter().map(length).sum()
    }
}
