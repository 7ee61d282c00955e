//! The derived store: a fold over the topic, kept by key so that all events of one aggregate come back at once.
//!
//! [`Store`] is the contract, [`RedbStore`] the implementation on disk, [`MemoryStore`] the one in memory; what must hold of
//! both is written as tests in [`conformance`]; [`disk`] is what the one on disk lies on. A store may be thrown away at any time
//! and is rebuilt from the log, so damage is never repaired, only noticed: the file is set aside. This crate does not know the log, the accept rule, or who is waiting.

#![forbid(unsafe_code)]

mod by_offset;
pub mod conformance;
mod contract;
pub mod disk;
mod lowest_keys;
mod memory;
mod redb_store;

pub use by_offset::{Placed, first_at};
pub use contract::{
    Checkpoint, Counters, Durability, EventOutline, Fingerprint, Head, Heads, KeyPage, KeyRange, Loaded,
    NewEvent, OffsetPart, OutlinePart, ReadPart, Store, StoreBatch, StoreError, StoreIdentity, StoreStats,
    StoredEvent, Unread,
};
pub use lowest_keys::LowestKeys;
pub use memory::MemoryStore;
pub use redb_store::{OpenError, Opened, RedbOptions, RedbStore};
