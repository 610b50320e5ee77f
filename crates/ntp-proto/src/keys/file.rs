//! Key files: one key a line, as `ntp.keys` of ntpd and ntpsec and `chrony.keys` have them.
//!
//! ```text
//! # number  type    secret
//! 1         AES128  HEX:000102030405060708090a0b0c0d0e0f
//! 2         SHA1    ASCII:correct-horse-battery-staple
//! ```
//!
//! Empty lines do not count, nor do lines that begin with `#`, `!`, `;` or `%` (chrony knows all four), nor anything
//! from a word on that begins with `#`, if it stands behind the secret. Types are read without regard to case and dashes, and `AES` means `AES128`, `M`
//! means `MD5` and `SHA` means `SHA1`, as old files write them.
//!
//! # Text or hexadecimal?
//! `HEX:` and `ASCII:` say so, and are chrony's. Without them the two traditions disagree: chrony takes any secret as text, ntpd and
//! ntpsec take what is longer than 20 characters as hexadecimal. We read more than 20 hexadecimal digits, an even number of them, as hexadecimal, because
//! that is how key generators write, with a [`Warning`] that names the two readings; everything else is text.
//!
//! # Errors
//! All faults of a file are reported at once, by line. No message repeats a word of the file: a secret in the wrong
//! column is a secret still.

use core::fmt;

use super::{Algorithm, BadSecret, Key, KeyId, KeyRing};

/// What a key file says.
#[derive(Debug)]
pub struct KeyFile {
    /// The keys.
    pub keys: KeyRing,
    /// What the operator should know about them.
    pub remarks: Vec<Remark>,
}

impl KeyFile {
    /// Reads a key file's octets.
    ///
    /// # Errors
    /// Every line that is no key, in order. The file's author is to blame.
    pub fn parse(file: &[u8]) -> Result<Self, Vec<Problem>> {
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
                        let fault = Fault::Duplicate { first: *first };
                        problems.push(Problem { line, fault });
                        continue;
                    }
                    let about = |warning| Remark {
                        line,
                        key: key.id(),
                        warning,
                    };
                    remarks.extend(warnings.into_iter().flatten().map(about));
                    keys.push((line, key));
                }
                Err(fault) => problems.push(Problem { line, fault }),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        // No number is there twice, so the ring takes them all.
        let keys = KeyRing::new(keys.into_iter().map(|(_, key)| key)).unwrap_or_default();
        Ok(Self { keys, remarks })
    }
}

/// A line that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not three words.
    Words,
    /// The first word is no number from 1 to 2^32 - 1.
    Id,
    /// The second word is no type that we know.
    Type,
    /// After `HEX:` stands something else than pairs of hexadecimal digits.
    Hex,
    /// The secret makes no key of this type.
    Secret(BadSecret),
    /// Another line has the number already.
    Duplicate {
        /// That line.
        first: usize,
    },
}

/// A key that works, but not as well as it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Counted from 1.
    pub line: usize,
    /// The key.
    pub key: KeyId,
    /// What about it.
    pub warning: Warning,
}

/// What can be said against a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// MD5 is broken, and RFC 8573 forbids it.
    Md5,
    /// The secret has fewer than 10 octets, and can be guessed.
    Short,
    /// The secret was read as hexadecimal, and chrony would read it as text.
    ReadAsHex,
}

/// Fewer octets than this can be searched.
const SHORT: usize = 10;
/// ntpd and ntpsec read longer secrets as hexadecimal.
const LONGEST_TEXT: usize = 20;

struct Line {
    key: Key,
    warnings: [Option<Warning>; 3],
}

fn parse_line(text: &[u8]) -> Result<Option<Line>, Fault> {
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let Some(id) = words.next() else {
        return Ok(None);
    };
    if matches!(id.first(), Some(b'#' | b'!' | b';' | b'%')) {
        return Ok(None);
    }
    let (Some(kind), Some(secret)) = (words.next(), words.next()) else {
        return Err(Fault::Words);
    };
    if words.next().is_some_and(|word| !word.starts_with(b"#")) {
        return Err(Fault::Words);
    }
    let id = core::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    let id = id.filter(|id| *id != 0).ok_or(Fault::Id)?;
    let algorithm = algorithm(kind).ok_or(Fault::Type)?;
    let (secret, guessed) = read_secret(secret)?;
    let key = Key::new(id, algorithm, &secret).map_err(Fault::Secret)?;
    let warn = |condition: bool, warning| condition.then_some(warning);
    Ok(Some(Line {
        key,
        warnings: [
            warn(algorithm == Algorithm::Md5, Warning::Md5),
            warn(secret.len() < SHORT, Warning::Short),
            // Of the two readings only one makes a key of a prescribed length.
            warn(
                guessed && algorithm.secret_length().is_none(),
                Warning::ReadAsHex,
            ),
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

/// The secret's octets, and whether the word did not say how to read it but was read as hexadecimal.
fn read_secret(word: &[u8]) -> Result<(Secret, bool), Fault> {
    if let Some(digits) = word.strip_prefix(b"HEX:") {
        return Ok((hexadecimal(digits).ok_or(Fault::Hex)?, false));
    }
    if let Some(text) = word.strip_prefix(b"ASCII:") {
        return Ok((Secret::new(text.to_vec()), false));
    }
    let digits = (word.len() > LONGEST_TEXT)
        .then(|| hexadecimal(word))
        .flatten();
    Ok(match digits {
        Some(secret) => (secret, true),
        None => (Secret::new(word.to_vec()), false),
    })
}

type Secret = zeroize::Zeroizing<Vec<u8>>;

fn hexadecimal(digits: &[u8]) -> Option<Secret> {
    // Never grows, so that no copy is left behind unwiped.
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

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words => f.write_str("a key is three words: its number, its type and its secret"),
            Self::Id => f.write_str("the first word must be the key's number, from 1 to 4294967295"),
            Self::Type => f.write_str(
                "the second word is no type of key; known are AES128, AES256, SHA1, SHA256, SHA384, SHA512 and MD5",
            ),
            Self::Hex => f.write_str("behind `HEX:` must stand pairs of hexadecimal digits"),
            Self::Secret(bad) => bad.fmt(f),
            Self::Duplicate { first } => write!(f, "line {first} has the same key number"),
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: key {} ", self.line, self.key)?;
        f.write_str(match self.warning {
            Warning::Md5 => "uses MD5, which RFC 8573 forbids; use AES128 if the other side can",
            Warning::Short => "has a secret of less than 10 octets, which can be guessed",
            Warning::ReadAsHex => {
                "was read as hexadecimal, as ntpd does, but chrony would read it as text; write `HEX:` or `ASCII:` before it"
            }
        })
    }
}

impl core::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> KeyFile {
        KeyFile::parse(text.as_bytes()).unwrap()
    }

    /// The tag that a key of the file makes tells what its secret was.
    fn same(file: &KeyFile, id: KeyId, algorithm: Algorithm, secret: &[u8]) {
        let read = file.keys.get(id).unwrap();
        assert_eq!(read.algorithm(), algorithm);
        let expected = Key::new(id, algorithm, secret).unwrap();
        assert_eq!(read.sign(b"x").whole(), expected.sign(b"x").whole(), "{id}");
    }

    #[test]
    fn files_of_chrony_and_ntpsec_are_read() {
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
        same(&file, 1, Algorithm::Md5, b"AVeryLongAndSecretPw");
        same(&file, 20, Algorithm::Aes128Cmac, &counting[..16]);
        same(&file, 21, Algorithm::Aes128Cmac, &counting[..16]);
        same(&file, 22, Algorithm::Aes128Cmac, b"0123456789abcdef");
        same(&file, 23, Algorithm::Aes256Cmac, &counting);
        same(&file, 30, Algorithm::Sha256, b"HEX:is-not-hex-here");
        same(
            &file,
            u32::MAX,
            Algorithm::Sha512,
            b"a#b;longer-than-twenty-characters",
        );
        assert_eq!(file.keys.iter().count(), 8);
        let remark = Remark {
            line: 4,
            key: 1,
            warning: Warning::Md5,
        };
        assert_eq!(file.remarks, [remark]);
    }

    #[test]
    fn twenty_characters_are_text_and_more_digits_are_hexadecimal() {
        let file = parse("1 SHA1 00112233445566778899\n2 SHA1 0011223344556677889900");
        same(&file, 1, Algorithm::Sha1, b"00112233445566778899");
        same(
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
        assert_eq!(warnings, [(2, Warning::ReadAsHex)]);
        assert_eq!(parse("1 SHA1 short").remarks[0].warning, Warning::Short);
    }

    #[test]
    fn every_bad_line_is_named_and_no_secret_repeated() {
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
                    10 SHA1 HEX:";
        let problems = KeyFile::parse(text.as_bytes()).unwrap_err();
        let expected = [
            (1, Fault::Words),
            (2, Fault::Id),
            (3, Fault::Id),
            (4, Fault::Id),
            (5, Fault::Id),
            (6, Fault::Type),
            (7, Fault::Hex),
            (8, Fault::Secret(BadSecret::Length(Algorithm::Aes128Cmac))),
            (9, Fault::Words),
            (11, Fault::Duplicate { first: 10 }),
            (12, Fault::Secret(BadSecret::Empty)),
        ];
        assert_eq!(
            problems,
            expected.map(|(line, fault)| Problem { line, fault })
        );
        for problem in problems {
            assert!(!format!("{problem} {problem:?}").contains("hunter"));
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_file_or_name_a_line_of_it(file in proptest::collection::vec(any::<u8>(), 0..200)) {
            let lines = file.split(|octet| *octet == b'\n').count();
            if let Err(problems) = KeyFile::parse(&file) {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
            }
        }
    }
}
