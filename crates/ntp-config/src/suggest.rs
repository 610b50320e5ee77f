//! "Did you mean": the known word most similar to an unknown one.
//!
//! Three rules, the most certain first: the same word in another spelling
//! (`Certificate_Authority`), one word a prefix of the other (`warning` for `warn`, `allow` for
//! `allowlist`), and a small edit distance (optimal string alignment: insertion, deletion,
//! substitution and transposition of neighbours cost 1 each), at most a third of the longer
//! word.

use strsim::osa_distance;

/// Returns the candidate most similar to `word`, if one is similar enough.
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
    let by_prefix = |candidate: &&str| {
        let other = self::plain(candidate);
        let shorter = plain.len().min(other.len());
        shorter >= SHORTEST_PREFIX && (plain.starts_with(&other) || other.starts_with(&plain))
    };
    let mut prefixes = candidates.clone().into_iter().filter(by_prefix);
    if let (Some(only), None) = (prefixes.next(), prefixes.next()) {
        return Some(only);
    }
    candidates
        .into_iter()
        .map(|candidate| (osa_distance(&plain, &self::plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            let longer = candidate.chars().count().max(plain.chars().count());
            *distance <= (longer / 3).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The word in the file's usual spelling: lower case, with hyphens.
fn plain(word: &str) -> String {
    word.to_lowercase().replace(['_', ' '], "-")
}

/// Longer words are not compared, as the cost of the distance is quadratic.
const LONGEST_WORD: usize = 60;
/// A shorter prefix is not significant.
const SHORTEST_PREFIX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

    #[test]
    fn misspellings_find_their_word_and_other_words_find_none() {
        let keys = ["address", "mode", "ntp-version", "certificate-authority"];
        for (word, expected) in [
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
            assert_eq!(closest(word, keys), expected, "{word}");
        }
        assert_eq!(closest("warning", LEVELS), Some("warn"));
        assert_eq!(closest("INFO", LEVELS), Some("info"));
        assert_eq!(closest(&"a".repeat(100_000), LEVELS), None);
    }

    #[test]
    fn an_ambiguous_prefix_is_not_a_match() {
        let keys = ["rate-limiting-cache-size", "rate-limiting-cutoff-ms"];
        assert_eq!(closest("rate-limiting", keys), None);
        assert_eq!(
            closest("rate-limiting-cutoff", keys),
            Some("rate-limiting-cutoff-ms")
        );
    }
}
