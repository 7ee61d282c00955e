//! Calls that waited for positions: a part of a [`History`](crate::History).

use super::{ClientId, InstanceId};
use bkes_core::{Partition, Position};

/// A call that waits until an instance has applied everything below positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitCall {
    /// Who called.
    pub client: ClientId,
    /// Whom.
    pub instance: InstanceId,
    /// When the call was made.
    pub begin: u64,
    /// When the answer was there; `None` when none came.
    pub end: Option<u64>,
    /// What was waited for. Each was told by a call to any instance before this one began.
    pub positions: Vec<(Partition, Position)>,
    /// What was answered.
    pub outcome: WaitOutcome,
}

/// What was answered to one who waits for positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitOutcome {
    /// Everything below them is applied, and is shown by every read on the instance that begins later.
    Reached,
    /// They lie above what the log holds.
    OutOfRange,
    /// Not in time, or not now.
    Unavailable,
    /// The answer did not come.
    Unanswered,
}
