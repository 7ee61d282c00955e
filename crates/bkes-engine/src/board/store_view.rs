//! Whether the store shows all that it was given.

use std::sync::atomic::{AtomicU64, Ordering};

/// Odd while the store is opened anew: then it may have lost something, and that is not announced as a new beginning yet. Whoever denies
/// something because it is not in the store compares this before and after.
#[derive(Debug, Default)]
pub struct StoreView(AtomicU64);

/// The store is being opened anew, until this is dropped.
pub struct Reopening<'a>(&'a AtomicU64);

impl StoreView {
    /// From here on until the end of this nothing is denied. Only the writer calls it.
    pub fn reopening(&self) -> Reopening<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Reopening(&self.0)
    }

    /// What must be the same after a look into the store; `None` while the store is opened anew.
    pub fn before_look(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|reopened| reopened.is_multiple_of(2))
    }
}

impl Drop for Reopening<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
