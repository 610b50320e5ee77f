//! Invariants that hold for any octets; see [`wire::fuzzing`](super::super::fuzzing) for the
//! callers.

use super::super::{ExtensionField, Writer};
use super::{Field, Header, Packet, draft};

/// Length of the longest input that is tested.
const LIMIT: usize = 4096;

/// Checks the codec of version 5 with `data` as a datagram.
///
/// # Panics
///
/// If an invariant of [`v5`](super) is violated.
pub fn check(data: &[u8]) {
    let Some(data) = data.get(..data.len().min(LIMIT)) else {
        return;
    };
    let Ok(packet) = Packet::parse(data) else {
        return;
    };
    let mut buffer = [0xa5; LIMIT];
    let mut writer = Writer::new(&mut buffer);
    packet.header.emit(&mut writer).expect("it fits");
    assert_eq!(writer.written(), data.get(..Header::LEN).expect("a header"));
    for raw in packet.fields() {
        let field = Field::parse(raw);
        field
            .emit(&mut writer)
            .expect("a parsed packet can be emitted in the same length");
    }
    let emitted = writer.finish();
    assert_eq!(emitted.len(), data.len());
    assert_eq!(
        Packet::parse(emitted).map(|packet| packet.header),
        Ok(packet.header)
    );
    fields_are_the_same(&packet, emitted);

    let macs = packet
        .fields()
        .filter(|field| matches!(Field::parse(*field), Field::Mac(_)));
    assert_eq!(macs.count(), usize::from(packet.mac.is_some()));
    assert!(packet.authenticated().len() <= data.len());
    if let Some(name) = packet.draft.and_then(draft::known_name) {
        assert_eq!(Some(name.as_bytes()), packet.draft);
    }
    if let Some(plain) = Packet::parse_plain(data) {
        assert_eq!(plain.map(|(plain, _)| plain), Ok(packet));
    }
}

/// The emitted fields have the same meaning; those that are not interpreted, the same octets.
fn fields_are_the_same(packet: &Packet<'_>, emitted: &[u8]) {
    let emitted = Packet::parse(emitted).expect("an emitted packet parses");
    assert_eq!(emitted.mac, packet.mac);
    assert_eq!(emitted.correction, packet.correction);
    assert_eq!(emitted.draft, packet.draft);
    assert_eq!(emitted.fields().count(), packet.fields().count());
    for (ours, theirs) in emitted.fields().zip(packet.fields()) {
        let length = |field: ExtensionField<'_>| (field.field_type, field.body.len());
        assert_eq!(length(ours), length(theirs));
        assert_eq!(Field::parse(ours), Field::parse(theirs));
    }
}
