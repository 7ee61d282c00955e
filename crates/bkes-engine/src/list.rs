//! Listing: aggregates in the order of their keys, with where each stands.
//!
//! As in a read, what is applied and not committed is copied first and the store is asked second. A list is of what this instance
//! has applied; that a key is not in it does not say that nobody has begun it.

use crate::api::ReadError;
use crate::limits::LISTED_KEY_BYTES;
use crate::read::{View, end_of, merge_heads, parts, store_error};
use bkes_api::{KeyList, KeysRequest, ListedKey};
use bkes_core::{Heads, Key};
use bkes_storage::{KeyPage, KeyRange, LowestKeys};

/// Bytes that a list may hold while it is made. The overlay and the store may have other keys: each has a page of them.
pub fn list_weight(request: &KeysRequest) -> usize {
    request.keys_max * LISTED_KEY_BYTES + 2 * request.bytes_max
}

impl View<'_> {
    /// Lists, or says why that cannot be done now: a list needs all partitions. A fold that began anew meanwhile, or a store
    /// that is opened anew, may have taken aggregates away under our feet: then it is made once more.
    pub fn list(&self, request: &KeysRequest) -> Result<KeyList, ReadError> {
        let list = self.board.not_overtaken(|_| self.list_in(request));
        list.unwrap_or_else(|| Err(ReadError::Unavailable(self.board.overtaken())))
    }

    fn list_in(&self, request: &KeysRequest) -> Result<KeyList, ReadError> {
        let epoch = self.board.epoch();
        if let Some(unready) = self.board.catching_up() {
            return Err(ReadError::Unavailable(unready));
        }
        if let Some(unready) = self.board.partitions().iter().find_map(|board| self.board.unserved(board)) {
            return Err(ReadError::Unavailable(unready));
        }
        let KeysRequest { prefix, after, keys_max, bytes_max, .. } = request;
        let range = KeyRange { prefix, after: after.as_ref(), keys_max: *keys_max, bytes_max: *bytes_max };
        let applied = self.overlay.list(range);
        let stored = self.store.keys(range).map_err(|error| store_error(error, epoch))?;
        // Where one of them was cut, there is a key above it, and so above the page of both.
        let cut = applied.more || stored.more;
        let mut lowest = LowestKeys::new(range);
        for (key, of_key) in stored.keys {
            if let Some(heads) = lowest.entry(&key) {
                *heads = of_key;
            }
        }
        for (key, of_key) in applied.keys {
            if let Some(heads) = lowest.entry(&key) {
                *heads = merge_heads(&of_key, std::mem::take(heads));
            }
        }
        let KeyPage { keys, more } = lowest.into_page();
        let keys = keys.into_iter().map(|(key, heads)| listed(key, heads)).collect();
        Ok(KeyList { keys, more: more || cut })
    }
}

fn listed(key: Key, heads: Heads) -> ListedKey {
    let heads = parts(heads);
    let partitions = heads.iter().map(|head| head.partition).collect();
    ListedKey { key, next: end_of(&heads), partitions }
}
