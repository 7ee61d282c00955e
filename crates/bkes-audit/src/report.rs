//! What an audit comes to.

use crate::finding::Findings;
use bkes_core::{NewerFormat, Offset, Partition, Position};
use bkes_log::LogIdentity;

/// What a topic holds, and where an instance shows something else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The topic.
    pub identity: LogIdentity,
    /// Each partition.
    pub partitions: Vec<PartitionReport>,
    /// Aggregates.
    pub aggregates: u64,
    /// Those of them with events in several partitions.
    pub split: u64,
    /// Passes over the topic.
    pub passes: u32,
    /// What was compared; `None` without an instance.
    pub compared: Option<Compared>,
}

impl Report {
    /// Whether the instance shows what the topic holds; `None` without an instance.
    pub fn is_as_the_topic(&self) -> Option<bool> {
        self.compared.as_ref().map(|compared| compared.findings.is_empty())
    }
}

/// What was compared with an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compared {
    /// Aggregates that the instance lists.
    pub aggregates: u64,
    /// Events that it shows of what was judged.
    pub events: u64,
    /// Events that it shows at or above the end, which were not judged.
    pub newer: u64,
    /// Heads that were compared: of the first aggregates each, of the others some.
    pub heads: u64,
    /// The differences.
    pub findings: Findings,
}

/// Void records by the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VoidCounts {
    /// Another append had taken the order.
    pub order_taken: u64,
    /// Copies.
    pub judged_before: u64,
    /// Members of batches that did not become whole.
    pub batch_broken: u64,
    /// Too far above what their writer had applied.
    pub base_too_old: u64,
}

impl VoidCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.order_taken + self.judged_before + self.batch_broken + self.base_too_old
    }
}

/// What a partition holds, from where its log begins to the stable end that was asked for when the audit began. Each record is an
/// event, void, skipped, or undecided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionReport {
    /// The partition.
    pub partition: Partition,
    /// Where its log begins. Above 0 its head was removed: orders of events that BKES did not write count from what is left.
    pub begin: Position,
    /// The end of what was judged.
    pub end: Position,
    /// Records.
    pub records: u64,
    /// Events.
    pub events: u64,
    /// Events that BKES did not write.
    pub foreign: u64,
    /// Those of them that carry the marker of another record.
    pub forwarded: u64,
    /// Aggregates that have events in another partition too.
    pub split: u64,
    /// Records that BKES wrote and that are not events.
    pub void: VoidCounts,
    /// Records without a key.
    pub skipped: u64,
    /// Members of batches that wait for the rest.
    pub undecided: u64,
    /// Ranges of offsets without a record.
    pub gaps: u64,
    /// Offsets in them.
    pub gap_offsets: u64,
    /// The first record that shows that events below the beginning were removed, by what BKES wrote.
    pub cut: Option<Offset>,
    /// The first void record that names an order above the next one: its writer had read events that are not in this log. They were lost,
    /// or removed (by compaction too), or the record is a copy from another topic.
    pub above_next: Option<Offset>,
    /// The record of a newer format that ended the partition.
    pub newer_format: Option<NewerFormat>,
}

impl PartitionReport {
    pub(crate) fn new(partition: Partition, begin: Position, end: Position) -> PartitionReport {
        PartitionReport {
            partition,
            begin,
            end,
            records: 0,
            events: 0,
            foreign: 0,
            forwarded: 0,
            split: 0,
            void: VoidCounts::default(),
            skipped: 0,
            undecided: 0,
            gaps: 0,
            gap_offsets: 0,
            cut: None,
            above_next: None,
            newer_format: None,
        }
    }
}
