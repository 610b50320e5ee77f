//! Key files: one key per line, in the format of `ntp.keys` (ntpd, ntpsec) and `chrony.keys`.
//!
//! ```text
//! # number  type    secret
//! 1         AES128  HEX:000102030405060708090a0b0c0d0e0f
//! 2         SHA1    ASCII:correct-horse-battery-staple
//! ```
//!
//! Empty lines are ignored, as are lines that begin with `#`, `!`, `;` or `%` (as in chrony), and
//! comments after the secret that begin with `#`. Types are case-insensitive and may contain
//! dashes; `AES` means `AES128`, `M` means `MD5` and `SHA` means `SHA1`, as in older files.
//!
//! chrony's type is optional: a line of two words is an MD5 key, with a [`WarningKind`]. If the
//! second word is a type, the secret is missing.
//!
//! # Text or hexadecimal?
//! The prefixes `HEX:` and `ASCII:` are explicit, as in chrony. Without one, the two traditions
//! disagree: chrony reads any secret as text, ntpd and ntpsec read one of more than 20 characters
//! as hexadecimal. We read an even number of more than 20 hexadecimal digits as hexadecimal,
//! because key generators write them, with a [`WarningKind`] that names both readings; everything
//! else is text, and so is the secret of a line of two words, which only chrony accepts. `#` is
//! part of a secret, as in chrony; ntpd and ntpsec end the secret there, which is a warning too.
//!
//! # Errors
//! All errors of a file are reported at once, by line. No message contains a word of the file: a
//! secret in the wrong column is still a secret.

use core::fmt;

use super::{Algorithm, InvalidSecret, Key, KeyId, KeyRing};

/// The content of a key file.
#[derive(Debug)]
pub struct KeyFile {
    /// The keys.
    pub keys: KeyRing,
    /// Warnings about the keys.
    pub remarks: Vec<KeyFileWarning>,
}

impl KeyFile {
    /// Parses a key file.
    ///
    /// # Errors
    ///
    /// Every invalid line, in order.
    pub fn parse(file: &[u8]) -> Result<Self, Vec<KeyFileError>> {
        let mut keys: Vec<(usize, Key)> = Vec::new();
        let mut remarks = Vec::new();
        let mut problems = Vec::new();
        for (index, text) in file.split(|octet| *octet == b'\n').enumerate() {
            let line = index + 1;
            match parse_line(text) {
                Ok(None) => {}
                Ok(Some(Line { key, warnings })) => {
                    let earlier = keys.iter().find(|(_, other)| other.id() == key.id());
                    if let Some((first, _)) = earlier {
                        let error = LineError::Duplicate { first: *first };
                        problems.push(KeyFileError { line, error });
                        continue;
                    }
                    let about = |warning| KeyFileWarning {
                        line,
                        key: key.id(),
                        warning,
                    };
                    remarks.extend(warnings.into_iter().flatten().map(about));
                    keys.push((line, key));
                }
                Err(error) => problems.push(KeyFileError { line, error }),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        // Duplicates were refused above, so this does not fail.
        let keys = KeyRing::new(keys.into_iter().map(|(_, key)| key)).unwrap_or_default();
        Ok(Self { keys, remarks })
    }
}

/// An invalid line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct KeyFileError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub error: LineError,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It does not have two or three words.
    #[error("expected two or three words: key ID, type (MD5 if left out) and secret")]
    Words,
    /// The first word is not a number from 1 to 2^32 - 1.
    #[error("key ID must be a number from 1 to 4294967295")]
    Id,
    /// It ends after the type.
    #[error("the secret after the key type is missing")]
    NoSecret,
    /// The second word is not a known type.
    #[error("unknown key type (expected AES128, AES256, SHA1, SHA256, SHA384, SHA512 or MD5)")]
    Type,
    /// The text after `HEX:` is not pairs of hexadecimal digits.
    #[error("`HEX:` must be followed by pairs of hexadecimal digits")]
    Hex,
    /// The secret is not valid for its type.
    #[error("{0}")]
    Secret(InvalidSecret),
    /// Another line has the same number.
    #[error("key ID is already used on line {first}")]
    Duplicate {
        /// The other line.
        first: usize,
    },
}

/// A warning about a valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFileWarning {
    /// Line number, from 1.
    pub line: usize,
    /// Number of the key.
    pub key: KeyId,
    /// What the warning is about.
    pub warning: WarningKind,
}

/// What is questionable about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// It uses MD5, which is broken and forbidden by RFC 8573.
    Md5,
    /// The secret has fewer than 10 octets and can be guessed.
    Short,
    /// It has no type and is an MD5 key, as in chrony; see [`Self::Md5`].
    NoType,
    /// The secret was read as hexadecimal; chrony would read it as text.
    ReadAsHex,
    /// The secret contains `#`, at which ntpd would end it.
    ContainsHash,
}

/// A secret with fewer octets can be found by exhaustive search.
const MIN_SECRET_LENGTH: usize = 10;
/// ntpd and ntpsec read longer secrets as hexadecimal.
const MAX_TEXT_LENGTH: usize = 20;

struct Line {
    key: Key,
    warnings: [Option<WarningKind>; 5],
}

fn parse_line(text: &[u8]) -> Result<Option<Line>, LineError> {
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let Some(id) = words.next() else {
        return Ok(None);
    };
    if matches!(id.first(), Some(b'#' | b'!' | b';' | b'%')) {
        return Ok(None);
    }
    let second = words.next().ok_or(LineError::Words)?;
    let third = words.next();
    // After a type, a word that begins with `#` is a secret; after a secret, it is a comment.
    let (kind, secret) = match (algorithm(second), third) {
        (Some(_), None) => return Err(LineError::NoSecret),
        (None, None) => (None, second),
        (None, Some(comment)) if comment.starts_with(b"#") => {
            words.by_ref().for_each(drop);
            (None, second)
        }
        (_, Some(secret)) => (Some(second), secret),
    };
    if words.next().is_some_and(|word| !word.starts_with(b"#")) {
        return Err(LineError::Words);
    }
    let id = core::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    let id = id.filter(|id| *id != 0).ok_or(LineError::Id)?;
    let algorithm = match kind {
        Some(kind) => algorithm(kind).ok_or(LineError::Type)?,
        None => Algorithm::Md5,
    };
    let contains_hash = secret.contains(&b'#');
    let (secret, guessed) = read_secret(secret, kind.is_some())?;
    let key = Key::new(id, algorithm, &secret).map_err(LineError::Secret)?;
    let warn = |condition: bool, warning| condition.then_some(warning);
    Ok(Some(Line {
        key,
        warnings: [
            warn(kind.is_none(), WarningKind::NoType),
            warn(
                kind.is_some() && algorithm == Algorithm::Md5,
                WarningKind::Md5,
            ),
            warn(secret.len() < MIN_SECRET_LENGTH, WarningKind::Short),
            // A type with a prescribed length is valid in one of the two readings only.
            warn(
                guessed && algorithm.secret_length().is_none(),
                WarningKind::ReadAsHex,
            ),
            warn(contains_hash, WarningKind::ContainsHash),
        ],
    }))
}

fn algorithm(word: &[u8]) -> Option<Algorithm> {
    let plain: Vec<u8> = word
        .iter()
        .filter(|octet| !matches!(octet, b'-' | b'_'))
        .map(u8::to_ascii_uppercase)
        .collect();
    Some(match plain.as_slice() {
        b"AES" | b"AES128" | b"AES128CMAC" | b"AES128CBC" => Algorithm::Aes128Cmac,
        b"AES256" | b"AES256CMAC" | b"AES256CBC" => Algorithm::Aes256Cmac,
        b"SHA" | b"SHA1" => Algorithm::Sha1,
        b"SHA256" => Algorithm::Sha256,
        b"SHA384" => Algorithm::Sha384,
        b"SHA512" => Algorithm::Sha512,
        b"M" | b"MD5" => Algorithm::Md5,
        _ => return None,
    })
}

/// The secret's octets, and whether it was read as hexadecimal without a prefix, which
/// `may_be_hexadecimal` permits.
fn read_secret(word: &[u8], may_be_hexadecimal: bool) -> Result<(Secret, bool), LineError> {
    if let Some(digits) = word.strip_prefix(b"HEX:") {
        return Ok((hexadecimal(digits).ok_or(LineError::Hex)?, false));
    }
    if let Some(text) = word.strip_prefix(b"ASCII:") {
        return Ok((Secret::new(text.to_vec()), false));
    }
    let digits = (may_be_hexadecimal && word.len() > MAX_TEXT_LENGTH)
        .then(|| hexadecimal(word))
        .flatten();
    Ok(match digits {
        Some(secret) => (secret, true),
        None => (Secret::new(word.to_vec()), false),
    })
}

type Secret = zeroize::Zeroizing<Vec<u8>>;

fn hexadecimal(digits: &[u8]) -> Option<Secret> {
    // Never reallocated, so no unwiped copy is left behind.
    let mut octets = Secret::new(Vec::with_capacity(digits.len() / 2));
    let digit = |octet: u8| char::from(octet).to_digit(16);
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    for &[high, low] in pairs {
        octets.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
    }
    Some(octets)
}

impl fmt::Display for KeyFileWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: key {} ", self.line, self.key)?;
        f.write_str(match self.warning {
            WarningKind::Md5 => "uses MD5, which RFC 8573 forbids; use AES128 if the other side supports it",
            WarningKind::Short => "has a secret of less than 10 octets, which can be guessed",
            WarningKind::NoType => "has no type and was read as MD5, as in chrony; RFC 8573 forbids MD5: use AES128 if the other side supports it",
            WarningKind::ContainsHash => "has a secret with `#`, where ntpd would end it: write it in hexadecimal after `HEX:`",
            WarningKind::ReadAsHex => {
                "was read as hexadecimal, as in ntpd; chrony would read it as text: write `HEX:` or `ASCII:` before the secret"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> KeyFile {
        KeyFile::parse(text.as_bytes()).unwrap()
    }

    /// Asserts that a key of the file has this algorithm and secret, by comparing digests.
    fn assert_key(file: &KeyFile, id: KeyId, algorithm: Algorithm, secret: &[u8]) {
        let read = file.keys.get(id).unwrap();
        assert_eq!(read.algorithm(), algorithm);
        let expected = Key::new(id, algorithm, secret).unwrap();
        assert_eq!(read.sign(b"x").whole(), expected.sign(b"x").whole(), "{id}");
    }

    #[test]
    fn key_files_of_chrony_and_ntpsec_are_read() {
        let file = parse(
            "# a comment\n\
             \n\
             ! another\n\
             1 MD5 AVeryLongAndSecretPw\n\
             10\tSHA1\tHEX:33DBFC4D2D8D4F6C7A1B0F1D8A0E7F2C6B5A4938  # comment\r\n\
             20 AES128 HEX:000102030405060708090a0b0c0d0e0f\n\
             \t21  aes-128  000102030405060708090A0B0C0D0E0F\n\
             22 AES 0123456789abcdef\n\
             23 AES256 HEX:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\
             30 SHA256 ASCII:HEX:is-not-hex-here\n\
             4294967295 sha512 a#b;longer-than-twenty-characters",
        );
        let counting: Vec<u8> = (0..32).collect();
        assert_key(&file, 1, Algorithm::Md5, b"AVeryLongAndSecretPw");
        assert_key(&file, 20, Algorithm::Aes128Cmac, &counting[..16]);
        assert_key(&file, 21, Algorithm::Aes128Cmac, &counting[..16]);
        assert_key(&file, 22, Algorithm::Aes128Cmac, b"0123456789abcdef");
        assert_key(&file, 23, Algorithm::Aes256Cmac, &counting);
        assert_key(&file, 30, Algorithm::Sha256, b"HEX:is-not-hex-here");
        assert_key(
            &file,
            u32::MAX,
            Algorithm::Sha512,
            b"a#b;longer-than-twenty-characters",
        );
        assert_eq!(file.keys.iter().count(), 8);
        let remarks = [
            (4, 1, WarningKind::Md5),
            (11, u32::MAX, WarningKind::ContainsHash),
        ];
        let remarks = remarks.map(|(line, key, warning)| KeyFileWarning { line, key, warning });
        assert_eq!(file.remarks, remarks);
    }

    #[test]
    fn the_type_is_optional_as_in_chrony() {
        let file = parse(
            "1 a-secret-of-md5\n\
             2 HEX:000102030405060708090a0b0c0d0e0f\n\
             3 ASCII:HEX:x12345678 # comment\n\
             4 00112233445566778899aabb\t#comment\n\
             5 SHA1 #not-a-comment\n\
             % 6 text\n",
        );
        let counting: Vec<u8> = (0..16).collect();
        assert_key(&file, 1, Algorithm::Md5, b"a-secret-of-md5");
        assert_key(&file, 2, Algorithm::Md5, &counting);
        assert_key(&file, 3, Algorithm::Md5, b"HEX:x12345678");
        assert_key(&file, 4, Algorithm::Md5, b"00112233445566778899aabb");
        assert_key(&file, 5, Algorithm::Sha1, b"#not-a-comment");
        let warnings: Vec<_> = file
            .remarks
            .iter()
            .map(|it| (it.line, it.warning))
            .collect();
        let no_type = |line| (line, WarningKind::NoType);
        let hash = (5, WarningKind::ContainsHash);
        assert_eq!(
            warnings,
            [no_type(1), no_type(2), no_type(3), no_type(4), hash]
        );
    }

    #[test]
    fn secrets_of_more_than_twenty_digits_are_hexadecimal() {
        let file = parse("1 SHA1 00112233445566778899\n2 SHA1 0011223344556677889900");
        assert_key(&file, 1, Algorithm::Sha1, b"00112233445566778899");
        assert_key(
            &file,
            2,
            Algorithm::Sha1,
            &[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0],
        );
        let warnings: Vec<_> = file
            .remarks
            .iter()
            .map(|it| (it.line, it.warning))
            .collect();
        assert_eq!(warnings, [(2, WarningKind::ReadAsHex)]);
        assert_eq!(parse("1 SHA1 short").remarks[0].warning, WarningKind::Short);
    }

    #[test]
    fn every_invalid_line_is_reported_without_its_secret() {
        let text = "1 SHA1\n\
                    0 SHA1 hunter2hunter2\n\
                    hunter2 SHA1 x\n\
                    -1 SHA1 hunter2hunter2\n\
                    4294967296 SHA1 hunter2hunter2\n\
                    5 hunter2 SHA1\n\
                    6 SHA1 HEX:hunter2\n\
                    7 AES128 hunter2\n\
                    8 SHA1 two hunter2\n\
                    9 SHA1 hunter2hunter2\n\
                    9 SHA1 hunter2hunter3\n\
                    10 SHA1 HEX:\n\
                    11\n\
                    12 SHA9 hunter2hunter2\n\
                    13 hunter2 hunter2 # hunter2\n\
                    14 hunter2 hunter2 hunter2";
        let problems = KeyFile::parse(text.as_bytes()).unwrap_err();
        let expected = [
            (1, LineError::NoSecret),
            (2, LineError::Id),
            (3, LineError::Id),
            (4, LineError::Id),
            (5, LineError::Id),
            (6, LineError::Type),
            (7, LineError::Hex),
            (
                8,
                LineError::Secret(InvalidSecret::Length(Algorithm::Aes128Cmac)),
            ),
            (9, LineError::Words),
            (11, LineError::Duplicate { first: 10 }),
            (12, LineError::Secret(InvalidSecret::Empty)),
            (13, LineError::Words),
            (14, LineError::Type),
            (15, LineError::Type),
            (16, LineError::Words),
        ];
        assert_eq!(
            problems,
            expected.map(|(line, error)| KeyFileError { line, error })
        );
        for problem in problems {
            assert!(!format!("{problem} {problem:?}").contains("hunter"));
        }
    }

    proptest! {
        #[test]
        fn parse_errors_have_valid_line_numbers(file in proptest::collection::vec(any::<u8>(), 0..200)) {
            let lines = file.split(|octet| *octet == b'\n').count();
            if let Err(problems) = KeyFile::parse(&file) {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
            }
        }
    }
}
