//! What machines want operators to hear, in words.

use super::Owner;
use bkes_core::Partition;
use bkes_core::machine::Notice;

impl Owner {
    /// Says it in the log of this process.
    pub(super) fn notice(&mut self, partition: Partition, notice: Notice) {
        let number = partition.0;
        match notice {
            Notice::HeadRemoved { low } => tracing::warn!(
                partition = number,
                "the partition begins at offset {low}: what came before was removed. Aggregates that began there are cut off; \
                 where that shows, appends are refused"
            ),
            Notice::FirstVoid { offset, why } => {
                let why =
                    why.map_or_else(|| "a batch before it was never finished".into(), |why| why.to_string());
                tracing::info!(partition = number, "the first void record, at offset {offset}: {why}");
            }
            Notice::FirstSkipped { offset } => {
                tracing::warn!(
                    partition = number,
                    "the first record without a key, at offset {offset}: skipped"
                );
            }
            Notice::FirstForeign { offset } => {
                tracing::info!(
                    partition = number,
                    "the first event that BKES did not write, at offset {offset}"
                );
            }
            Notice::FirstForwarded { offset } => tracing::warn!(
                partition = number,
                "the record at offset {offset} carries a `bkes` header that was written for another record: it is taken as an \
                 event of somebody else. Whoever wrote it forwards headers: have it drop the headers `bkes` and `order`"
            ),
            Notice::FirstSplit { offset, key } => tracing::warn!(
                partition = number,
                "the first key with events in another partition too, at offset {offset}: {key} is split, and takes no appends"
            ),
            Notice::OnlyVoid { offset, writer } => tracing::error!(
                partition = number,
                "records of the writer {writer} are void again and again, and none was accepted (the last at offset {offset}): they look \
                 like copies from another topic on which BKES runs. Their markers fit and their orders do not, so they are no \
                 events here: whoever copies them has to drop the headers `bkes` and `order`"
            ),
            Notice::Cut { offset } => tracing::error!(
                partition = number,
                "the head of the log was removed after events had been numbered there (seen at offset {offset}): reads go on, appends \
                 are refused"
            ),
            Notice::Degraded(reason) => tracing::error!(partition = number, "partition degraded: {reason}"),
            Notice::Mended(reason) => tracing::info!(partition = number, "no longer degraded: {reason}"),
            Notice::ReadAgain { position } => {
                tracing::warn!(partition = number, "position {position} was out of range, reading again");
            }
            Notice::ReadUnavailable { detail } => {
                tracing::debug!(partition = number, "reading the log: the log is unavailable: {detail}");
            }
            Notice::TargetLost { high, target } => tracing::error!(
                partition = number,
                "the log ends at {high}, below {target}, which it had reached: it was truncated"
            ),
            Notice::Stalled { stable, high } => tracing::warn!(
                %partition,
                "stalled at {stable} below {high} by an open transaction of another producer"
            ),
            Notice::NoLongerStalled => tracing::info!(%partition, "no longer stalled"),
            // Of the topic's settings, so once for all partitions.
            Notice::StartMoved { low } if !std::mem::replace(&mut self.start_moved, true) => tracing::warn!(
                partition = number,
                "the log's start moved to {low}: retention removes events; the store still has them, a rebuild would not. \
                 Set retention.ms=-1 and retention.bytes=-1"
            ),
            Notice::StartMoved { .. } => {}
        }
    }
}
