//! The set of keys of a server or of a set of sources.

use std::sync::Arc;

use super::{Key, KeyId};

/// Keys by number, immutable.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    /// In ascending order of number, without duplicates.
    keys: Vec<Arc<Key>>,
}

impl KeyRing {
    /// Creates a ring of `keys`.
    ///
    /// # Errors
    ///
    /// [`DuplicateKey`] if two keys have the same number.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, DuplicateKey> {
        let mut keys: Vec<Arc<Key>> = keys.into_iter().map(Arc::new).collect();
        keys.sort_by_key(|key| key.id());
        match keys.windows(2).find(|pair| pair[0].id() == pair[1].id()) {
            Some(pair) => Err(DuplicateKey(pair[0].id())),
            None => Ok(Self { keys }),
        }
    }

    /// The key with this number.
    pub fn get(&self, id: KeyId) -> Option<&Arc<Key>> {
        let index = self.keys.binary_search_by_key(&id, |key| key.id()).ok()?;
        self.keys.get(index)
    }

    /// Returns the keys for which `wanted` returns `true`: a server may use fewer keys than the
    /// file has.
    #[must_use]
    pub fn filtered(&self, wanted: impl Fn(&Key) -> bool) -> Self {
        let keys = self.keys.iter().filter(|key| wanted(key)).cloned();
        Self {
            keys: keys.collect(),
        }
    }

    /// Whether there are no keys.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All keys, in ascending order of number.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter()
    }
}

/// Two keys have this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {0} is defined twice")]
pub struct DuplicateKey(pub KeyId);

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;

    fn key(id: KeyId) -> Key {
        Key::new(id, Algorithm::Sha1, b"secret").unwrap()
    }

    #[test]
    fn keys_are_found_by_number() {
        let ring = KeyRing::new([key(30), key(1), key(u32::MAX)]).unwrap();
        for id in [1, 30, u32::MAX] {
            assert_eq!(ring.get(id).map(|key| key.id()), Some(id));
        }
        for id in [0, 2, 31] {
            assert!(ring.get(id).is_none());
        }
        assert!(ring.filtered(|key| key.id() != 30).get(30).is_none());
        assert!(KeyRing::default().is_empty());
    }

    #[test]
    fn duplicate_key_ids_are_refused() {
        assert_eq!(
            KeyRing::new([key(5), key(4), key(5)]).err(),
            Some(DuplicateKey(5))
        );
    }
}
