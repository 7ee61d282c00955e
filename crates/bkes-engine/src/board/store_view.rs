//! Whether the store shows all that it was given.

use std::sync::atomic::{AtomicU64, Ordering};

/// Odd while the store is opened anew: then it may have lost something, and that is not announced as a new beginning yet. Nothing that was
/// seen in the store counts before it is even again, and what the store lost is announced by then.
#[derive(Debug, Default)]
pub struct StoreView(AtomicU64);

/// The store is being opened anew, until this is dropped.
pub struct Reopening<'a>(&'a AtomicU64);

impl StoreView {
    /// From here on until the end of this nothing is told of what the store shows. Only the writer calls it.
    pub fn reopening(&self) -> Reopening<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Reopening(&self.0)
    }

    /// Whether the store is not being opened anew. Asked *after* a look into it, and *before* it is asked whether a fold has begun anew: if
    /// the store had lost something before the look, that is announced by now.
    pub fn is_settled(&self) -> bool {
        self.before_look().is_some()
    }

    /// What must be the same after a look into the store, where a look that was disturbed is repeated; `None` while the store is opened
    /// anew.
    pub fn before_look(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|reopened| reopened.is_multiple_of(2))
    }
}

impl Drop for Reopening<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
