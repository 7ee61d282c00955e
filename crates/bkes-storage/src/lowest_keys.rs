//! The lowest keys of a range: how a page of keys is made of keys that come in any order.

use crate::contract::{KeyPage, KeyRange};
use bkes_core::Key;
use std::collections::BTreeMap;

/// Takes keys in any order and keeps the lowest ones of a range, as many as its bounds allow, with what is known of each. It never
/// holds more than a page.
pub struct LowestKeys<'r, T> {
    range: KeyRange<'r>,
    kept: BTreeMap<Key, T>,
    /// Of the keys that are kept.
    bytes: usize,
    more: bool,
}

impl<'r, T: Default> LowestKeys<'r, T> {
    /// Of this range, without keys.
    pub fn new(range: KeyRange<'r>) -> LowestKeys<'r, T> {
        LowestKeys { range, kept: BTreeMap::new(), bytes: 0, more: false }
    }

    /// Whether a key would be kept: it is in the range, and not above a full page.
    pub fn takes(&mut self, key: &[u8]) -> bool {
        if !self.range.contains(key) {
            return false;
        }
        let is_above = self.is_full(self.kept.len(), self.bytes)
            && self.kept.last_key_value().is_some_and(|(last, _)| key > last.as_ref());
        self.more |= is_above;
        !is_above
    }

    /// What is known of a key, to be changed; the default if the key is new. `None` if it is not kept.
    pub fn entry(&mut self, key: &Key) -> Option<&mut T> {
        if !self.takes(key.as_ref()) {
            return None;
        }
        if !self.kept.contains_key(key) {
            self.bytes += key.as_ref().len();
            self.kept.insert(key.clone(), T::default());
            self.remove_above();
        }
        self.kept.get_mut(key)
    }

    /// What is known of the keys that are kept.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.kept.values()
    }

    /// The page.
    pub fn into_page(self) -> KeyPage<T> {
        KeyPage { keys: self.kept.into_iter().collect(), more: self.more }
    }

    /// Removes the highest keys while the page is full without them.
    fn remove_above(&mut self) {
        while let Some((last, _)) = self.kept.last_key_value() {
            let bytes = self.bytes - last.as_ref().len();
            if !self.is_full(self.kept.len() - 1, bytes) {
                return;
            }
            self.kept.pop_last();
            self.bytes = bytes;
            self.more = true;
        }
    }

    /// Whether a page of so many keys is full. One key always fits.
    fn is_full(&self, keys: usize, bytes: usize) -> bool {
        keys > 0 && (keys >= self.range.keys_max || bytes >= self.range.bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(range: KeyRange<'_>, keys: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
        let mut lowest: LowestKeys<'_, ()> = LowestKeys::new(range);
        for key in keys {
            let key = Key::new(key.to_vec()).expect("not empty");
            assert_eq!(lowest.takes(key.as_ref()), lowest.entry(&key).is_some());
        }
        let KeyPage { keys, more } = lowest.into_page();
        (keys.into_iter().map(|(key, ())| key.as_ref().to_vec()).collect(), more)
    }

    #[test]
    fn the_lowest_keys_are_kept_in_whatever_order_they_come() {
        let mut random = fastrand::Rng::with_seed(3);
        let all: Vec<Vec<u8>> = (0..60u8).map(|n| vec![n; 1 + usize::from(n % 7)]).collect();
        for round in 0..300 {
            let mut keys: Vec<&[u8]> = all.iter().map(|key| &key[..]).filter(|_| random.bool()).collect();
            let (keys_max, bytes_max) = (random.usize(..40), random.usize(..120));
            let (mut expected, mut bytes) = (Vec::new(), 0);
            for key in &keys {
                if expected.is_empty() || (expected.len() < keys_max && bytes < bytes_max) {
                    bytes += key.len();
                    expected.push(key.to_vec());
                }
            }
            let more = expected.len() < keys.len();
            random.shuffle(&mut keys);
            // Some are offered twice.
            let again = keys.clone();
            keys.extend(again.into_iter().filter(|_| random.u8(..4) == 0));
            let range = KeyRange { prefix: b"", after: None, keys_max, bytes_max };
            assert_eq!(page(range, &keys), (expected, more), "round {round}: {range:?}");
        }
    }

    #[test]
    fn one_key_is_kept_whatever_the_bounds() {
        let range = KeyRange { prefix: b"", after: None, keys_max: 0, bytes_max: 0 };
        assert_eq!(page(range, &[b"b", b"a"]), (vec![b"a".to_vec()], true));
        assert_eq!(page(range, &[b"a"]), (vec![b"a".to_vec()], false));
        assert_eq!(page(range, &[]), (Vec::new(), false));
    }

    #[test]
    fn keys_outside_of_the_range_are_neither_kept_nor_counted() {
        let after = Key::new("ab").expect("not empty");
        let range = KeyRange { prefix: b"a", after: Some(&after), keys_max: 2, bytes_max: 100 };
        let keys: [&[u8]; 6] = [b"b", b"a", b"ab", b"ac", b"ad", b"c"];
        assert_eq!(page(range, &keys), (vec![b"ac".to_vec(), b"ad".to_vec()], false));
    }
}
