//! Keys whose last append on a stream was no append at all, so that the store never saw it.
//!
//! The next append of such a key must fail as it would have if the store had refused the one before it, until one stands alone.

use crate::limits::{BROKEN_KEYS_BYTES_MAX, BROKEN_KEYS_MAX};
use bytes::Bytes;
use std::collections::HashSet;

#[derive(Default)]
pub struct BrokenKeys {
    keys: HashSet<Bytes>,
    bytes: usize,
}

impl BrokenKeys {
    pub fn contains(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
    }

    /// `false` when there are too many.
    #[must_use]
    pub fn insert(&mut self, key: &[u8]) -> bool {
        // A key that lies in a message would keep all of it.
        if self.keys.insert(Bytes::copy_from_slice(key)) {
            self.bytes += key.len();
        }
        self.keys.len() <= BROKEN_KEYS_MAX && self.bytes <= BROKEN_KEYS_BYTES_MAX
    }

    pub fn remove(&mut self, key: &[u8]) {
        if self.keys.remove(key) {
            self.bytes -= key.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_up_to_a_number_and_a_size() {
        let mut keys = BrokenKeys::default();
        assert!((0..BROKEN_KEYS_MAX).all(|n| keys.insert(&n.to_be_bytes())));
        assert!(keys.insert(&5usize.to_be_bytes()), "it is there already");
        assert!(!keys.insert(b"one more"));
        keys.remove(b"one more");
        keys.remove(b"never there");
        assert!(keys.contains(&5usize.to_be_bytes()) && !keys.contains(b"one more"));
        keys.remove(&5usize.to_be_bytes());
        assert!(keys.insert(b"room again"));
        assert!(!BrokenKeys::default().insert(&vec![0; BROKEN_KEYS_BYTES_MAX + 1]));
    }
}
