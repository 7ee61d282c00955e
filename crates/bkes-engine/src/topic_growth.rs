//! A topic that grows: new partitions are taken in by whoever sees them first, the monitor or the verifier.

use crate::board::{Board, PartitionBoard};
use crate::owner_inbox::{Command, OwnerInbox, owner_of};
use bkes_core::Partition;
use bkes_log::{Log, LogError};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Takes the partitions below `count` in that are not known yet. They are read to the end that they have now before anything is said
/// of keys that were not met, and keys are placed in them later still.
pub fn take_in(
    log: &dyn Log,
    board: &Board,
    owners: &[OwnerInbox],
    count: NonZeroU32,
) -> Result<(), LogError> {
    let known = board.partitions().len() as u32;
    for number in known..count.get() {
        let partition = Partition(number);
        let marks = log.watermarks(partition)?;
        let new = Arc::new(PartitionBoard::new(partition, marks));
        // Somebody else may have seen it meanwhile.
        if board.add_partition(Arc::clone(&new)) {
            tracing::warn!(
                "the topic grew: partition {partition} is read before keys are placed in it. Other writers that already use \
                 it may have split keys"
            );
            // An owner that has ended needs no partition.
            let _ = owners[owner_of(partition, owners)].send(Command::Add { board: new });
        }
    }
    Ok(())
}
