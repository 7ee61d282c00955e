//! Where a partition's records lie in the file: a place each 64 KiB or so, and the offset that comes next.

use crate::limits::INDEX_BYTES;
use bkes_core::{Offset, Partition};

/// Sparse places of a partition's records in the file, ascending.
#[derive(Clone, Debug, Default)]
pub struct Index {
    places: Vec<(Offset, u64)>,
    next: u64,
}

impl Index {
    /// The offset of the partition's next record.
    pub fn next(&self) -> Offset {
        Offset(self.next)
    }

    /// Notes that the record lies at `position`, if the last noted place is far enough away.
    pub fn note(&mut self, offset: Offset, position: u64) {
        self.next = offset.0 + 1;
        if self.places.last().is_none_or(|(_, last)| position >= last + INDEX_BYTES) {
            self.places.push((offset, position));
        }
    }

    /// A position at or before that of the record at `offset`; `None` when there are no records yet.
    pub fn locate(&self, offset: Offset) -> Option<u64> {
        let after = self.places.partition_point(|(at, _)| *at <= offset);
        self.places.get(after.saturating_sub(1)).map(|(_, position)| *position)
    }
}

/// The index of a partition that exists.
pub fn of(index: &[Index], partition: Partition) -> Option<&Index> {
    index.get(partition.0 as usize)
}
