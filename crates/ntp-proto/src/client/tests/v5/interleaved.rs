//! Interleaved mode by the cookie of the server.

use super::*;

#[test]
fn interleaved_mode_completes_the_exchange_that_the_cookie_names() {
    let mut client = Client::new(AssociationConfig {
        interleaved: true,
        version: VersionChoice::Fixed(Version::V5),
        ..AssociationConfig::default()
    });
    let asked = |request: &[u8]| {
        let header = Packet::parse(request).unwrap().header;
        assert!(header.flags.interleaved);
        header.server_cookie
    };
    let cookie = ServerCookie::from_bits;
    // Basic: the server offers a cookie.
    let request = client.request();
    assert_eq!(asked(&request), ServerCookie::NONE);
    let offer = |header: &mut Header| header.server_cookie = cookie(1);
    let response = client.respond(&request, &with_header(&offer));
    assert!(matches!(client.receive(&response), Ok(Reply::Time(_))));
    // Interleaved: that exchange was measured already.
    let request = client.request();
    assert_eq!(asked(&request), cookie(1));
    let first = (client.system() - NtpDuration::from_seconds(2)).to_ntp();
    let interleaved = |header: &mut Header| {
        header.flags.interleaved = true;
        header.server_cookie = cookie(2);
        header.transmit_timestamp = first;
    };
    let arrival = (client.system() + ONE_WAY).to_ntp();
    let response = client.respond(&request, &with_header(&interleaved));
    assert!(matches!(client.receive(&response), Ok(Reply::Incomplete)));
    assert!(client.association.is_interleaved());
    // The next response completes it, with the actual transmit time.
    let request = client.request();
    assert_eq!(asked(&request), cookie(2));
    let actual = arrival + NtpDuration::from_millis(1);
    let complete = |header: &mut Header| {
        header.flags.interleaved = true;
        header.server_cookie = cookie(3);
        header.transmit_timestamp = actual;
    };
    let response = client.respond(&request, &with_header(&complete));
    let Ok(Reply::Time(accepted)) = client.receive(&response) else {
        panic!("a measurement");
    };
    assert_eq!(accepted.content.receive_timestamp, arrival);
    assert_eq!(accepted.content.transmit_timestamp, actual);
    // A lost response: the cookie is still that of the last one received.
    client.request();
    let request = client.request();
    assert_eq!(asked(&request), cookie(3));
    // The server has forgotten it and answers in basic mode, which is measured.
    let response = client.respond(&request, &with_header(&offer));
    assert!(matches!(client.receive(&response), Ok(Reply::Time(_))));
}

#[test]
fn a_server_without_cookies_is_asked_in_basic_mode_after_four_responses() {
    let mut client = Client::new(AssociationConfig {
        interleaved: true,
        version: VersionChoice::Fixed(Version::V5),
        ..AssociationConfig::default()
    });
    let modes: Vec<bool> = (0..6)
        .map(|_| {
            let request = client.request();
            let response = client.respond(&request, &Script::default());
            assert!(matches!(client.receive(&response), Ok(Reply::Time(_))));
            Packet::parse(&request).unwrap().header.flags.interleaved
        })
        .collect();
    assert_eq!(modes, [true, true, true, true, false, false]);
}

// ---- loops
