//! States that were folded before, kept in memory.
//!
//! A state that is kept is never an answer by itself: what came after it is read first. That read begins with events that are in it, which
//! shows that the aggregate is still the one that was folded.

use crate::decide::Known;
use bkes_core::Key;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// The states of the aggregates that were used last.
pub(crate) struct StateCache<S>(Mutex<LruCache<Key, Known<S>>>);

impl<S: Clone> StateCache<S> {
    pub fn new(states_max: NonZeroUsize) -> StateCache<S> {
        StateCache(Mutex::new(LruCache::new(states_max)))
    }

    /// A copy, since others may go on from it too.
    pub fn get(&self, key: &Key) -> Option<Known<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Keeps a state in the place of the one that was kept. An older one costs reading more, and no wrong state.
    pub fn put(&self, key: &Key, known: Known<S>) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.put(key.clone(), known);
    }
}
