//! Replies of version 5 in a record: header and those fields that are no secret.
//!
//! The header alone is not the whole statement of a server of version 5. A record also has the
//! fields of the draft; those of NTS and the MAC are replaced by [surrogates](crate::surrogate).

use ntp_proto::wire::v5::{Field, Header, Mac, Packet, ServerCookie};
use ntp_proto::wire::{ExtensionField, Reader, Writer};

/// Largest recorded reply in octets: a header and all fields that a reply to our requests can have,
/// with room for an unknown padding. Longer ones lose the fields at the end.
pub(crate) const LONGEST: usize = 512;

/// The octets of a reply that are recorded.
pub(crate) fn recorded(packet: &Packet<'_>) -> Vec<u8> {
    let fields = packet.fields().map(Field::parse);
    let public = fields.filter(|field| !matches!(field, Field::Mac(_) | Field::Other(_)));
    emit(&packet.header, public)
}

/// Returns a recorded reply for another request: with its cookie, under its draft, and in basic mode
/// if it is the first one. `None` if the request is of another version.
pub(crate) fn readdress(reply: &[u8], request: &[u8]) -> Option<Vec<u8>> {
    let (reply, request) = (Packet::parse(reply).ok()?, Packet::parse(request).ok()?);
    let mut header = Header {
        client_cookie: request.header.client_cookie,
        ..reply.header
    };
    if header.flags.interleaved && request.header.server_cookie == ServerCookie::NONE {
        header.flags.interleaved = false;
        header.transmit_timestamp = header.receive_timestamp;
    }
    let fields = reply.fields().map(|field| match Field::parse(field) {
        Field::Draft(name) => Field::Draft(request.draft.unwrap_or(name)),
        field => field,
    });
    Some(emit(&header, fields))
}

/// A reply that reports that the request could not be authenticated. `identifier` is that of a
/// request with NTS.
pub(crate) fn refusal(reply: &[u8], identifier: Option<&[u8]>) -> Option<Vec<u8>> {
    let packet = Packet::parse(reply).ok()?;
    let identifier = identifier.map(unique_identifier);
    let mut header = packet.header;
    header.flags.authentication_nak = true;
    Some(emit(
        &header,
        packet.fields().map(Field::parse).chain(identifier),
    ))
}

/// The part of a reply that is authenticated: all but a correction.
pub(crate) fn covered(reply: &[u8], identifier: Option<&[u8]>) -> Option<Vec<u8>> {
    let packet = Packet::parse(reply).ok()?;
    let fields = packet.fields().map(Field::parse);
    let fields = fields.filter(|field| !matches!(field, Field::Correction(_)));
    Some(emit(
        &packet.header,
        fields.chain(identifier.map(unique_identifier)),
    ))
}

/// Appends a MAC.
pub(crate) fn with_mac(mut covered: Vec<u8>, key_id: u32, digest: &[u8]) -> Option<Vec<u8>> {
    let mac = Mac { key_id, digest };
    let front = covered.len();
    covered.resize(front + mac.length(), 0);
    let place = covered.get_mut(front..)?;
    Field::Mac(mac).emit(&mut Writer::new(place)).ok()?;
    Some(covered)
}

/// Whether the packet is of version 5.
pub(crate) fn is_version_5(packet: &[u8]) -> bool {
    Header::parse(&mut Reader::new(packet)).is_ok()
}

fn unique_identifier(identifier: &[u8]) -> Field<'_> {
    Field::Other(ExtensionField {
        field_type: ExtensionField::UNIQUE_IDENTIFIER,
        body: identifier,
    })
}

fn emit<'a>(header: &Header, fields: impl Iterator<Item = Field<'a>>) -> Vec<u8> {
    let mut buffer = [0; LONGEST];
    let mut writer = Writer::new(&mut buffer);
    // A buffer of this length has room for a header.
    let mut length = header.emit(&mut writer).map_or(0, |()| Header::LEN);
    for field in fields {
        if field.emit(&mut writer).is_err() {
            break;
        }
        length = writer.written().len();
    }
    buffer.get(..length).unwrap_or_default().to_vec()
}
