//! Lists of aggregates.

use crate::positions::Freshness;
use bkes_core::{Key, Order, Partition};
use bytes::Bytes;

/// Most keys in a page of a list.
pub const KEYS_MAX: usize = 10_000;

/// Bytes of keys that end a page of a list: with keys of 100 bytes both bounds are reached together. A page has a key at least, so a
/// single key may be longer, as long as a record may be.
pub const KEYS_BYTES_MAX: usize = 1024 * 1024;

/// Which aggregates to list. The default is the first page of all, as large as one may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeysRequest {
    /// Those whose keys begin with this; empty for all.
    pub prefix: Bytes,
    /// Those above this key: the last one of the page before.
    pub after: Option<Key>,
    /// Most keys to return; [`KEYS_MAX`] at most are. One is returned where this is 0, so that whoever goes on after
    /// the last key of a page comes to the end.
    pub keys_max: usize,
    /// Stop after the key with which the keys reach this many bytes in all; [`KEYS_BYTES_MAX`] counts if that
    /// is less. At least one key is returned.
    pub bytes_max: usize,
    /// What the list takes in.
    pub freshness: Freshness,
}

impl Default for KeysRequest {
    fn default() -> KeysRequest {
        let (prefix, after, freshness) = (Bytes::new(), None, Freshness::Local);
        KeysRequest { prefix, after, keys_max: KEYS_MAX, bytes_max: KEYS_BYTES_MAX, freshness }
    }
}

/// Aggregates in the order of their keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyList {
    /// Each key once.
    pub keys: Vec<ListedKey>,
    /// Whether there are keys after these.
    pub more: bool,
}

/// An aggregate of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedKey {
    /// Its key.
    pub key: Key,
    /// The order its next event takes, as of this list. (Of a split aggregate: the number of its events.)
    pub next: Order,
    /// Where its events lie, lowest first: one partition, unless it is split.
    pub partitions: Vec<Partition>,
}
