//! Invariants that hold for any octets, as functions that panic if one is violated.
//!
//! They are called by the libFuzzer target in `fuzz/`, the replay of the committed corpus, and
//! property tests. A corpus entry is a datagram.

use super::{ExtensionField, Header, Mac, Packet, Reader, Truncated, Writer, emit};

/// Length of the longest input that is tested.
const LIMIT: usize = 4096;

/// Checks the codec with `data`, first as a datagram, then as the description of a packet.
///
/// # Panics
///
/// If an invariant of [`wire`](super) is violated.
pub fn check(data: &[u8]) {
    let Some(data) = data.get(..data.len().min(LIMIT)) else {
        return;
    };
    super::v5::fuzzing::check(data);
    parsed_packets_emit_the_same_octets(data);
    emitted_packets_parse_to_the_same_packet(data);
}

fn parsed_packets_emit_the_same_octets(datagram: &[u8]) {
    let Ok(packet) = Packet::parse(datagram) else {
        return;
    };
    let mut buffer = [0xa5; LIMIT];
    let mut writer = Writer::new(&mut buffer);
    packet
        .emit(&mut writer)
        .expect("a parsed packet can be emitted in the same length");
    assert_eq!(writer.written(), datagram);

    let fields: usize = packet
        .extensions()
        .map(|field| ExtensionField::PREFIX + field.body.len())
        .sum();
    let mac = packet.mac.map_or(0, |mac| mac.length());
    assert_eq!(Header::LEN + fields + mac, datagram.len());
    assert_eq!(packet.authenticated().len() + mac, datagram.len());
}

fn emitted_packets_parse_to_the_same_packet(data: &[u8]) {
    let Ok(description) = Description::read(&mut Reader::new(data)) else {
        return;
    };
    let Description {
        header,
        fields,
        count,
        mac,
    } = description;
    let fields = fields.get(..count).unwrap_or_default();
    let mut buffer = [0xa5; LIMIT];
    let mut writer = Writer::new(&mut buffer);
    if emit(&header, fields.iter().copied(), mac, &mut writer).is_err() {
        return;
    }
    let packet = Packet::parse(writer.written()).expect("an emitted packet parses");
    assert_eq!(packet.header, header);
    assert_eq!(packet.mac, mac);
    assert_eq!(packet.extensions().count(), fields.len());
    for (parsed, original) in packet.extensions().zip(fields) {
        assert_eq!(parsed.field_type, original.field_type);
        let padding = parsed
            .body
            .strip_prefix(original.body)
            .expect("the body is unchanged");
        assert!(padding.iter().all(|octet| *octet == 0));
    }
}

/// A packet to emit, with parts of any length.
struct Description<'a> {
    header: Header,
    fields: [ExtensionField<'a>; 4],
    count: usize,
    mac: Option<Mac<'a>>,
}

impl<'a> Description<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Truncated> {
        let header = Header::parse(reader).map_err(|_| Truncated)?;
        let shape = reader.u8()?;
        let mut fields = [ExtensionField {
            field_type: 0,
            body: &[],
        }; 4];
        let count = usize::from(shape & 7).min(fields.len());
        for field in fields.iter_mut().take(count) {
            field.field_type = reader.u16()?;
            let length = reader.u8()?;
            field.body = reader.take(usize::from(length))?;
        }
        let mac = match shape >> 6 {
            0 => None,
            1 => Some(Mac::CRYPTO_NAK),
            2 => Some(Mac {
                key_id: reader.u32()?,
                digest: reader.take(if shape & 8 == 0 { 16 } else { 20 })?,
            }),
            _ => Some(Mac {
                key_id: reader.u32()?,
                digest: reader.rest(),
            }),
        };
        Ok(Self {
            header,
            fields,
            count,
            mac,
        })
    }
}
