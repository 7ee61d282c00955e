//! Why following is not begun, or ends.

use crate::board::PartitionBoard;
use crate::context::Context;
use crate::epoch::Epoch;
use crate::limits::RETRY_LATER;
use bkes_api::{Failure, Reason};
use bkes_core::{Cause, Partition, Position};
use bkes_log::LogError;
use bkes_storage::StoreError;

/// Something that passes.
fn later(reason: Reason, message: impl Into<String>) -> Failure {
    Failure::new(reason, message).after(RETRY_LATER)
}

pub(crate) use crate::face::of_unready as unready;

pub fn log_error(error: &LogError) -> Failure {
    later(Reason::LogDown, error.to_string())
}

/// The partition has just come, and is not read here yet.
pub fn new_partition(partition: Partition) -> Failure {
    later(Reason::CatchingUp, format!("partition {partition} is new, and not read here yet: try again"))
}

/// The partition's fold began anew.
pub fn begun_anew(partition: Partition) -> Failure {
    later(
        Reason::CatchingUp,
        format!(
            "partition {partition} is read anew: follow again at the last positions. If its log had lost its end, some of what was shown \
             is gone"
        ),
    )
}

/// Damage has the store rebuilt, and a failure has it opened anew, as when a read meets them.
pub fn store_error(context: &Context, epoch: Epoch, error: StoreError) -> Failure {
    let message = error.to_string();
    match error {
        StoreError::Damaged { detail } => context.writer.damaged(epoch, detail),
        StoreError::ReadFailed { source } => context.writer.unreadable(Cause::of(source)),
        _ => {}
    }
    unreadable(&message)
}

/// The store could not be read.
pub fn unreadable(cause: &str) -> Failure {
    later(Reason::StoreUnavailable, format!("the past cannot be shown: {cause}"))
}

/// The log has nothing at a position that it had a moment ago, or says so in passing.
pub fn out_of_range(board: &PartitionBoard, position: Position) -> Failure {
    let (partition, low) = (board.partition, board.state().seen.marks.low);
    if position < low {
        return removed(partition, position, low);
    }
    later(Reason::LogDown, format!("position {position} of partition {partition} is said to be out of range"))
}

/// What lies from a position on was removed from the log: it would be missing without a word.
pub fn removed(partition: Partition, position: Position, low: Position) -> Failure {
    let message =
        format!("partition {partition} begins at {low}: what lay from {position} on was removed from it");
    Failure::new(Reason::OutOfRange, message)
}

/// A position that the log does not hold.
pub fn above(partition: Partition, position: Position, high: Position) -> Failure {
    let message = format!("position {position} is above the end of partition {partition}, which is {high}");
    Failure::new(Reason::OutOfRange, message)
}
