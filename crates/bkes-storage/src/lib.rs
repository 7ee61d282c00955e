//! The derived store: a fold over the topic, kept by key so that all events of one aggregate come back at once.
//!
//! [`Store`] is the contract. A store may be thrown away at any time and is rebuilt from the log, so damage is never
//! repaired, only noticed: the file is set aside. This crate does not know the log, the accept rule, or who is waiting.

#![forbid(unsafe_code)]

mod contract;
mod memory;

pub use contract::{
    Checkpoint, Counters, Durability, Fingerprint, Head, Heads, Loaded, NewEvent, ReadPart, Store,
    StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
pub use memory::MemoryStore;
