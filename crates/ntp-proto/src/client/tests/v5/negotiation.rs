//! The choice of the version by the marker in version 4.

use super::*;

/// Answers a request of version 4, with the marker or without.
fn version_4_reply(client: &Client, request: &[u8], marker: bool, key: Option<&Key>) -> Vec<u8> {
    let header = wire::Packet::parse(request).unwrap().header;
    let arrival = (client.system() + ONE_WAY).to_ntp();
    let header = wire::Header {
        stratum: Stratum::new(2),
        precision: -25,
        origin_timestamp: header.transmit_timestamp,
        reference_timestamp: if marker {
            header.reference_timestamp
        } else {
            arrival
        },
        receive_timestamp: arrival,
        transmit_timestamp: arrival,
        ..wire::Header::blank(Version::V4, Mode::Server)
    };
    let mut octets = vec![0; 48];
    header.emit(&mut Writer::new(&mut octets)).unwrap();
    if let Some(key) = key {
        let tag = key.sign(&octets);
        octets.extend(key.id().to_be_bytes());
        octets.extend(tag.version_4());
    }
    octets
}

#[test]
fn the_marker_in_a_reply_leads_to_version_5_and_silence_back() {
    let mut client = Client::automatic(Protection::None);
    let request = client.request();
    let marked = wire::Packet::parse(&request).unwrap().header;
    assert_eq!(marked.reference_timestamp, draft::MARKERS[0]);
    let reply = version_4_reply(&client, &request, true, None);
    assert!(matches!(client.receive(&reply), Ok(Reply::Time(_))));
    client.time(&Script::default());
    assert_eq!(client.association.version(), Version::V5);
    // Packets of version 5 are dropped from now on.
    let versions: Vec<u8> = (0..4).map(|_| client.request()[0] >> 3 & 7).collect();
    assert_eq!(versions, [5, 5, 4, 4]);
    assert_eq!(client.association.negotiation().fallbacks(), 1);
}

#[test]
fn an_attacker_who_removes_or_inserts_the_marker_does_not_loosen_authentication() {
    let ours = key(5, b"secret");
    let mut client = Client::automatic(keyed(key(5, b"secret")));
    // Inserted by a stranger: not authentic, so it has no effect.
    let request = client.request();
    let forged = version_4_reply(&client, &request, true, None);
    assert_eq!(
        client.receive(&forged).err(),
        Some(Rejection::Unauthenticated)
    );
    assert_eq!(client.association.version(), Version::V4);
    client.now -= ONE_WAY + ONE_WAY;
    // Removed: the source stays at version 4, with its key.
    for _ in 0..20 {
        let reply = version_4_reply(&client, &request, false, Some(&ours));
        let _ = client.receive(&reply);
        let request = client.request();
        assert!(wire::Packet::parse(&request).unwrap().mac.is_some());
        let bare = version_4_reply(&client, &request, false, None);
        assert_eq!(
            client.receive(&bare).err(),
            Some(Rejection::Unauthenticated)
        );
    }
    // After the change, version 5 requires the key, and so does version 4 after a fallback.
    let mut client = Client::automatic(keyed(key(5, b"secret")));
    let request = client.request();
    let reply = version_4_reply(&client, &request, true, Some(&ours));
    assert!(client.receive(&reply).is_ok());
    assert_eq!(
        client.poll(&Script::default()).err(),
        Some(Rejection::Unauthenticated)
    );
    client.request();
    let request = client.request();
    assert_eq!(request[0] >> 3 & 7, 4);
    let bare = version_4_reply(&client, &request, false, None);
    assert_eq!(
        client.receive(&bare).err(),
        Some(Rejection::Unauthenticated)
    );
}

// ---- interleaved mode
