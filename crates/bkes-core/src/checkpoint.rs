//! How far a partition is applied, and what a later start compares the log with. Its bytes are a format (docs/formats.md).

use crate::{LeaderEpoch, Offset, Position};

/// What identifies a record, to notice a log that lost its end and was written anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// Where that record lies.
    pub offset: Offset,
    /// CRC-32C of its key, value and headers.
    pub crc32c: u32,
    /// The leader that took it; `None` where that is not told: before the record was read, and by a log without leaders.
    pub epoch: Option<LeaderEpoch>,
}

impl Fingerprint {
    /// Whether nothing that is known of both tells them apart.
    pub fn agrees_with(&self, other: &Fingerprint) -> bool {
        let is_one_leader = self.epoch.is_none() || other.epoch.is_none() || self.epoch == other.epoch;
        (self.offset, self.crc32c) == (other.offset, other.crc32c) && is_one_leader
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fingerprint { offset, crc32c, epoch } = self;
        write!(f, "offset {offset} with checksum {crc32c:08x}")?;
        epoch.map_or(Ok(()), |LeaderEpoch(epoch)| write!(f, " of leader epoch {epoch}"))
    }
}

/// Records at the end of what is applied that were applied before they were read from the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unread {
    /// The last record before them, which was read; `None` if the first record of the fold is one of them.
    pub behind: Option<Fingerprint>,
    /// The sum over them of `crc32c * (2 * offset + 1)`, modulo 2^64.
    pub sum: u64,
}

/// What was met so far in a partition. Rising counts of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Accepted events.
    pub events: u64,
    /// Marked records that the rule rejected.
    pub void: u64,
    /// Accepted events that BKES did not write.
    pub foreign: u64,
    /// Those of them that carried a marker of another record.
    pub forwarded: u64,
    /// Aggregates found in another partition too when they first appeared in this one.
    pub split: u64,
    /// Records with a null or an empty key.
    pub skipped: u64,
}

/// How far a partition is applied, stored in the same transaction as where the aggregates stand that it covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// The next offset to apply.
    pub position: Position,
    /// Where this fold began: above 0, the head of the log was gone.
    pub fold_start: Position,
    /// The last applied record; `None` before the first.
    pub fingerprint: Option<Fingerprint>,
    /// Those of the applied records that were not read yet; `None` if all were.
    pub unread: Option<Unread>,
    /// Whether the fold met the traces of a head that was cut off after BKES had written it.
    pub cut: bool,
    /// Counts of what was met.
    pub counters: Counters,
}

impl Checkpoint {
    /// Behind the last applied record. What follows it, up to the position, held nothing.
    pub fn behind_last(&self) -> Position {
        self.fingerprint.map_or(self.fold_start, |fingerprint| fingerprint.offset.next())
    }
}
