//! Sources that are not selected because of their filter of reference IDs.

use super::*;

fn server_id(number: u8) -> ServerId {
    let mut octets = [number; ServerId::LEN];
    for (index, octet) in octets.iter_mut().enumerate() {
        *octet = octet.wrapping_mul(31).wrapping_add(17 * index as u8);
    }
    ServerId::from_octets(octets)
}

fn filter_of(ids: &[u8]) -> BloomFilter {
    let mut filter = BloomFilter::EMPTY;
    ids.iter().for_each(|id| filter.insert(server_id(*id)));
    filter
}

/// Polls a server with this filter and returns why it is excluded after each poll.
fn exclusions(
    client: &mut Client,
    filter: Option<&BloomFilter>,
    polls: usize,
) -> Vec<Option<Rejection>> {
    (0..polls)
        .map(|_| {
            let script = Script {
                filter,
                ..Script::default()
            };
            client.time(&script).exclusion
        })
        .collect()
}

fn serving() -> Client {
    let mut client = Client::version_5(Protection::None);
    client.association.set_server_id(Some(server_id(1)));
    client
}

#[test]
fn a_source_is_not_selected_before_its_whole_filter_is_known() {
    let mut client = serving();
    let filter = filter_of(&[2, 3]);
    let incomplete = Some(Rejection::ReferenceIdsIncomplete);
    let seen = exclusions(&mut client, Some(&filter), 6);
    assert_eq!(seen, [incomplete, incomplete, incomplete, None, None, None]);
    assert_eq!(client.association.reference_ids(), Some(&filter));
    let lengths: Vec<usize> = (0..3).map(|_| client.request().len()).collect();
    assert!(
        lengths.windows(2).all(|pair| pair[0] == pair[1]),
        "{lengths:?}"
    );
}

#[test]
fn our_id_in_the_filter_is_a_loop_and_the_source_comes_back_after_random_polls() {
    let mut client = serving();
    let (loops, free) = (filter_of(&[1, 2]), filter_of(&[2]));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let seen = exclusions(&mut client, Some(&loops), 8);
        assert_eq!(seen.last(), Some(&Some(Rejection::Loop)));
        let mut wait = 0;
        while exclusions(&mut client, Some(&free), 1) != [None] {
            wait += 1;
            assert!(wait < 300, "{waits:?}");
        }
        waits.push(wait);
    }
    assert!(waits[0] <= 4 + 8, "{waits:?}");
    assert!(waits.iter().max() > Some(&32), "it grows: {waits:?}");
}

#[test]
fn a_full_filter_and_a_missing_one_are_reasons_not_to_select() {
    let mut client = serving();
    let mut full = BloomFilter::EMPTY;
    full.write_chunk(0, &[0xff; BloomFilter::LEN]).unwrap();
    let seen = exclusions(&mut client, Some(&full), 4);
    assert_eq!(seen[3], Some(Rejection::ReferenceIdsFull));
    let mut client = serving();
    let seen = exclusions(&mut client, None, 12);
    assert_eq!(seen[11], Some(Rejection::ReferenceIdsMissing));
    // A primary server without sources is no loop.
    let mut client = serving();
    let primary = |header: &mut Header| header.stratum = Stratum::PRIMARY;
    let last = (0..12)
        .map(|_| client.time(&with_header(&primary)).exclusion)
        .last();
    assert_eq!(last, Some(None));
}
