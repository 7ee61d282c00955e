//! The number of a run of all folds together.

/// Which run of all folds together: rises when they all begin anew, and when that is announced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Epoch(pub u64);
