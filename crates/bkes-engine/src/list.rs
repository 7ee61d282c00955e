//! Listing: aggregates in the order of their keys, with where each stands.
//!
//! As in a read, what is applied and not committed is copied first and the store is asked second. A list is of what this instance
//! has applied; that a key is not in it does not say that nobody has begun it.

use crate::api::{KeyList, KeysRequest, ListedKey, ReadError};
use crate::limits::LOCATE_TRIES;
use crate::overlay::NextHeads;
use crate::read::{View, merge_heads, parts, store_error};
use bkes_core::{Heads, Key, Order};
use bkes_storage::KeyRange;

impl View<'_> {
    /// Lists, or says why that cannot be done now: a list needs all partitions. A fold that began anew meanwhile may have taken
    /// aggregates away under our feet: then it is made once more.
    pub fn list(&self, request: &KeysRequest) -> Result<KeyList, ReadError> {
        for _ in 0..LOCATE_TRIES {
            let version = self.board.version();
            let list = self.list_in(request);
            if self.board.version() == version {
                return list;
            }
        }
        Err(ReadError::Unavailable(self.board.still_catching_up()))
    }

    fn list_in(&self, request: &KeysRequest) -> Result<KeyList, ReadError> {
        let epoch = self.board.epoch();
        if let Some(unready) = self.board.catching_up() {
            return Err(ReadError::Unavailable(unready));
        }
        if let Some(unready) = self.board.partitions().iter().find_map(|board| self.board.unserved(board)) {
            return Err(ReadError::Unavailable(unready));
        }
        // One more than asked for says whether there are more.
        let keys_max = request.keys_max.saturating_add(1);
        let range = KeyRange { prefix: &request.prefix, after: request.after.as_ref(), keys_max };
        let applied = self.overlay.list(range);
        let mut stored = Vec::new();
        self.store.keys(range, &mut stored).map_err(|error| store_error(error, epoch))?;
        let mut keys = merge(applied, stored, keys_max);
        let more = keys.len() > request.keys_max;
        keys.truncate(request.keys_max);
        Ok(KeyList { keys, more })
    }
}

/// The lowest `keys_max` of both. Where one of them was cut it holds that many, so nothing above its end is among the lowest.
fn merge(applied: NextHeads, stored: Vec<(Key, Heads)>, keys_max: usize) -> Vec<ListedKey> {
    let (mut applied, mut stored) = (applied.into_iter().peekable(), stored.into_iter().peekable());
    let mut keys = Vec::new();
    while keys.len() < keys_max {
        let (key, applied_heads, stored_heads) = match (applied.peek(), stored.peek()) {
            (None, None) => break,
            (Some((a, _)), Some((b, _))) if a == b => {
                let ((key, heads), (_, held)) =
                    (applied.next().expect("peeked"), stored.next().expect("peeked"));
                (key, heads, held)
            }
            (Some((a, _)), Some((b, _))) if a > b => {
                let (key, held) = stored.next().expect("peeked");
                (key, Vec::new(), held)
            }
            (Some(_), _) => {
                let (key, heads) = applied.next().expect("peeked");
                (key, heads, Heads::None)
            }
            (None, Some(_)) => {
                let (key, held) = stored.next().expect("peeked");
                (key, Vec::new(), held)
            }
        };
        let heads = parts(merge_heads(&applied_heads, stored_heads));
        let Some(first) = heads.first() else { continue };
        let events: u64 = heads.iter().map(|head| head.next.0 - head.base.0).sum();
        let next = Order(first.base.0 + events);
        keys.push(ListedKey { key, next, partitions: heads.iter().map(|head| head.partition).collect() });
    }
    keys
}
