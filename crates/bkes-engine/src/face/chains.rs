//! Which append of a key comes before which in one stream, and whether that one was stored.
//!
//! An append rests on the one of its key before it, so it is not sent if that one was not stored, however long ago that is: another
//! writer's event may have its place by now, and the order that the append names would be right by chance. So a key stays *failed*
//! until an append of it is stored that stands alone. Of failed keys hashes are kept. Where two keys have one hash, or there are too many,
//! an append may be taken for one that rests on what was not stored: it is not sent then, which is the safe mistake.

use crate::limits::STREAM_FAILED_KEYS_MAX;
use bkes_core::Key;
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};
use std::hash::BuildHasher;

/// What comes before an append that is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    /// Nothing, or what was stored.
    Nothing,
    /// What ended and was not stored.
    Failed,
    /// This one, which has not ended.
    Undecided(u64),
}

/// The keys of one stream.
#[derive(Default)]
pub struct Chains {
    /// The last append of each key that has one which has not ended.
    last: HashMap<Key, u64>,
    /// The hashes of keys whose last append was not stored.
    failed: HashSet<u64>,
    /// Whether there were more of these than are kept.
    too_many_failed: bool,
    hasher: DefaultHashBuilder,
}

impl Chains {
    /// Takes an append as the last one of its key; its number is one that no other has.
    pub fn take(&mut self, key: &Key, number: u64) -> Before {
        if let Some(last) = self.last.get_mut(key) {
            return Before::Undecided(std::mem::replace(last, number));
        }
        self.last.insert(key.clone(), number);
        let is_failed = self.too_many_failed || self.failed.contains(&self.hash(key));
        if is_failed { Before::Failed } else { Before::Nothing }
    }

    /// An append has ended. Those after it have heard of it: only of the last one it is kept.
    pub fn end(&mut self, key: &Key, number: u64, is_stored: bool) {
        if self.last.get(key) != Some(&number) {
            return;
        }
        self.last.remove(key);
        let hash = self.hash(key);
        if is_stored {
            self.failed.remove(&hash);
        } else if self.failed.len() < STREAM_FAILED_KEYS_MAX {
            self.failed.insert(hash);
        } else {
            self.too_many_failed |= !self.failed.contains(&hash);
        }
    }

    fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name.to_owned()).expect("not empty")
    }

    #[test]
    fn an_append_comes_after_the_last_one_of_its_key() {
        let mut chains = Chains::default();
        assert_eq!(chains.take(&key("a"), 1), Before::Nothing);
        assert_eq!(chains.take(&key("b"), 2), Before::Nothing);
        assert_eq!(chains.take(&key("a"), 3), Before::Undecided(1));
        assert_eq!(chains.take(&key("a"), 4), Before::Undecided(3));
        chains.end(&key("a"), 1, true);
        assert_eq!(chains.take(&key("a"), 5), Before::Undecided(4));
    }

    #[test]
    fn a_key_whose_last_append_was_not_stored_is_failed_until_one_is() {
        let mut chains = Chains::default();
        chains.take(&key("a"), 1);
        chains.end(&key("a"), 1, false);
        assert_eq!(chains.take(&key("a"), 2), Before::Failed);
        chains.end(&key("a"), 2, false);
        assert_eq!(chains.take(&key("a"), 3), Before::Failed);
        assert_eq!(chains.take(&key("b"), 4), Before::Nothing);
        chains.end(&key("a"), 3, true);
        assert_eq!(chains.take(&key("a"), 5), Before::Nothing);
        assert_eq!(chains.failed.len(), 0);
    }

    /// One whose time was over while it waited: the one before it may be stored after all, and says nothing of what rests on this one.
    #[test]
    fn what_ends_before_its_predecessor_counts_all_the_same() {
        let mut chains = Chains::default();
        chains.take(&key("a"), 1);
        assert_eq!(chains.take(&key("a"), 2), Before::Undecided(1));
        chains.end(&key("a"), 2, false);
        chains.end(&key("a"), 1, true);
        assert_eq!(chains.take(&key("a"), 3), Before::Failed);
    }

    #[test]
    fn where_too_many_keys_failed_nothing_is_taken_for_sound() {
        let mut chains = Chains::default();
        for number in 0..=STREAM_FAILED_KEYS_MAX as u64 {
            assert_ne!(chains.take(&key(&number.to_string()), number), Before::Failed, "{number}");
            chains.end(&key(&number.to_string()), number, false);
        }
        assert_eq!(chains.failed.len(), STREAM_FAILED_KEYS_MAX);
        assert_eq!(chains.take(&key("another"), u64::MAX), Before::Failed);
    }
}
