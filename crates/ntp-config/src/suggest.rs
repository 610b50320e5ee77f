//! "Did you mean": the known word nearest to an unknown one.
//!
//! Three rules, tried in this order, because they are ordered by how sure they are:
//! the same word in another spelling (`Certificate_Authority`), a beginning of it or it a
//! beginning (`warning` for `warn`, `allow` for `allowlist`), and a small edit distance
//! (Damerau's, restricted: insertion, deletion, replacement and the swap of neighbours cost 1
//! each), at most a third of the longer word.

/// The candidate that `word` most probably stands for.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    if word.chars().count() > LONGEST_WORD {
        return None;
    }
    let plain = plain(word);
    let by_spelling = |candidate: &&str| self::plain(candidate) == plain;
    if let Some(same) = candidates.clone().into_iter().find(by_spelling) {
        return Some(same);
    }
    let by_beginning = |candidate: &&str| {
        let other = self::plain(candidate);
        let shorter = plain.len().min(other.len());
        shorter >= SHORTEST_BEGINNING && (plain.starts_with(&other) || other.starts_with(&plain))
    };
    let mut beginnings = candidates.clone().into_iter().filter(by_beginning);
    if let (Some(only), None) = (beginnings.next(), beginnings.next()) {
        return Some(only);
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&plain, &self::plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            let longer = candidate.chars().count().max(plain.chars().count());
            *distance <= (longer / 3).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    // Three rows of the table suffice: a swap looks two rows back.
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(from != to);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The word in the file's usual spelling: lower case, with hyphens.
fn plain(word: &str) -> String {
    word.to_lowercase().replace(['_', ' '], "-")
}

/// Longer words are no misspelling of ours (and the distance is quadratic).
const LONGEST_WORD: usize = 60;
/// A beginning shorter than this says nothing.
const SHORTEST_BEGINNING: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

    #[test]
    fn misspellings_find_their_word_and_strangers_find_none() {
        let keys = ["address", "mode", "ntp-version", "certificate-authority"];
        for (word, meant) in [
            ("adress", Some("address")),
            ("addres", Some("address")),
            ("adderss", Some("address")),
            ("moed", Some("mode")),
            ("NTP_Version", Some("ntp-version")),
            ("certificate_authority", Some("certificate-authority")),
            ("driftfile", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(word, keys), meant, "{word}");
        }
        assert_eq!(closest("warning", LEVELS), Some("warn"));
        assert_eq!(closest("INFO", LEVELS), Some("info"));
        assert_eq!(closest(&"a".repeat(100_000), LEVELS), None);
    }

    #[test]
    fn distance_counts_a_swap_once() {
        assert_eq!(distance("abcd", "acbd"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn an_ambiguous_beginning_is_left_to_the_distance() {
        let keys = ["rate-limiting-cache-size", "rate-limiting-cutoff-ms"];
        assert_eq!(closest("rate-limiting", keys), None);
        assert_eq!(
            closest("rate-limiting-cutoff", keys),
            Some("rate-limiting-cutoff-ms")
        );
    }
}
