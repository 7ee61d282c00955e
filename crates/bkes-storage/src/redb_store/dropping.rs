//! Dropping a partition: at once for whoever reads, and bit by bit for the file.
//!
//! Streams and blocks are numbered in the order in which they are begun. So a partition is dropped by writing down where these numbers
//! stand: whatever it has below them is dead, and everything it gets later lies above. That, and taking its checkpoint and its
//! incarnations away, is one small transaction: a partition is dropped as a whole or not at all, however large it is.
//!
//! What is dead is *swept* out of the file by transactions of a bounded size each: first the parts of aggregates, with their marks,
//! then the rows of events in their blocks. How far that has come is written down with it, so that it goes on where it was after a
//! crash. When all is swept, the partition is forgotten as one that was dropped.

use super::blocks::{self, Rest};
use super::codec;
use super::failure::{Failure, garbled};
use super::layout::{Dead, Dropped, Part, Swept};
use super::leak_on_panic::LeakOnPanic;
use super::row_grouping::GROUP_BYTES;
use super::tables::{DROPPED, INCARNATIONS, LOG, MARKS, META, OFFSETS, STREAMS};
use super::varint::Garbled;
use super::write::{Change, settle};
use bkes_core::Partition;
use redb::{ReadableTable, WriteTransaction};
use std::ops::{Bound, Range};

/// What one transaction sweeps at most.
#[derive(Clone, Copy, Debug)]
pub struct SweepLimits {
    /// Rows of aggregates that it looks at.
    pub rows: usize,
    /// Bytes of rows or of blocks that it looks at, but for the last one.
    pub bytes: usize,
    /// Marks that it removes.
    pub marks: usize,
    /// Large values whose room it gives back, but for those of the last block.
    pub values: usize,
}

/// Some 10 ms of work, and a few MiB of pages that change: a commit of events waits no longer for it than for another commit.
impl Default for SweepLimits {
    fn default() -> SweepLimits {
        SweepLimits { rows: 8_192, bytes: 4 * 1024 * 1024, marks: 8_192, values: 256 }
    }
}

/// Settles everything and drops a partition.
pub fn drop_partition(change: &mut Change<'_>, partition: Partition) -> Result<(), Failure> {
    let Change { write, numbers, unsettled, .. } = change;
    settle(write, unsettled, None, numbers)?;
    LeakOnPanic::new(write.open_table(OFFSETS)?).remove(partition.0)?;
    let incarnations = (partition.0, 0)..=(partition.0, u64::MAX);
    LeakOnPanic::new(write.open_table(INCARNATIONS)?).retain_in(incarnations, |_, _| false)?;
    // The rule forgot them with the partition.
    numbers.forget_names();
    numbers.tail.end_block();
    let (streams, blocks) = (numbers.next_stream, numbers.tail.number());
    numbers.dropped.0.insert(partition, Dead { streams, blocks, swept: Swept::Rows(Vec::new()) });
    put_dropped(write, &numbers.dropped)?;
    numbers.put(write)
}

fn put_dropped(write: &WriteTransaction, dropped: &Dropped) -> Result<(), Failure> {
    let mut meta = LeakOnPanic::new(write.open_table(META)?);
    if dropped.0.is_empty() {
        meta.remove(DROPPED)?;
    } else {
        meta.insert(DROPPED, &codec::put_dropped(dropped)[..])?;
    }
    Ok(())
}

/// Settles everything and sweeps a bounded part of what is dead.
pub fn sweep(change: &mut Change<'_>, limits: SweepLimits) -> Result<(), Failure> {
    settle(change.write, change.unsettled, None, change.numbers)?;
    if let Some((partition, dead)) = change.numbers.dropped.0.first_key_value() {
        let (partition, end) = (*partition, dead.blocks);
        let swept = match dead.swept.clone() {
            Swept::Rows(last) => sweep_rows(change, &last, limits)?,
            Swept::Blocks(from) => sweep_blocks(change, from..end, limits)?,
        };
        let dropped = &mut change.numbers.dropped;
        match (swept, dropped.0.get_mut(&partition)) {
            (Some(swept), Some(dead)) => dead.swept = swept,
            _ => drop(dropped.0.remove(&partition)),
        }
        put_dropped(change.write, dropped)?;
    }
    change.numbers.put(change.write)
}

/// Takes dead parts out of the rows of aggregates after `last`, and their marks.
fn sweep_rows(change: &mut Change<'_>, last: &[u8], limits: SweepLimits) -> Result<Option<Swept>, Failure> {
    let Change { write, numbers, .. } = change;
    let mut streams = LeakOnPanic::new(write.open_table(STREAMS)?);
    let (found, end) = rows_with_dead_parts(&*streams, last, &numbers.dropped, limits)?;
    let mut marks_left = limits.marks;
    let (mut row, mut last) = (Vec::new(), last.to_vec());
    for Found { row_key, parts } in found {
        let (dead, alive): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|part| numbers.dropped.is_dead(part));
        for part in dead {
            marks_left -= remove_marks(write, part.stream, marks_left)?;
        }
        if marks_left == 0 {
            // There may be more of them: the row says whose they are.
            return Ok(Some(Swept::Rows(last)));
        }
        if alive.is_empty() {
            streams.remove(&row_key[..])?;
            numbers.keys = numbers.keys.saturating_sub(1);
        } else {
            let mut plain = Vec::new();
            codec::put_parts(&mut plain, &alive);
            codec::seal_parts(&mut row, &row_key[GROUP_BYTES..], &plain);
            streams.insert(&row_key[..], &row[..])?;
        }
        last = row_key;
    }
    Ok(Some(end.map_or(Swept::Blocks(0), Swept::Rows)))
}

/// A row of an aggregate that has dead parts.
struct Found {
    row_key: Vec<u8>,
    parts: Vec<Part>,
}

/// Those among the next rows after `last`, and the last row that was looked at; none if there are no more.
fn rows_with_dead_parts(
    streams: &impl ReadableTable<&'static [u8], &'static [u8]>,
    last: &[u8],
    dropped: &Dropped,
    limits: SweepLimits,
) -> Result<(Vec<Found>, Option<Vec<u8>>), Failure> {
    let (mut found, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
    let mut parts = Vec::new();
    let mut rows = LeakOnPanic::new(streams.range::<&[u8]>((Bound::Excluded(last), Bound::Unbounded))?);
    while let Some(row) = rows.next().transpose()?.map(LeakOnPanic::new) {
        let (row_key, row) = (row.0.value(), row.1.value());
        let key = row_key.get(GROUP_BYTES..).ok_or_else(|| garbled("the key of a row")(Garbled))?;
        parts.clear();
        codec::unseal_parts(row, key, &mut parts).map_err(garbled("an aggregate's row"))?;
        looked_at += 1;
        bytes += row_key.len() + row.len();
        if parts.iter().any(|part| dropped.is_dead(part)) {
            found.push(Found { row_key: row_key.to_vec(), parts: parts.clone() });
        }
        if looked_at >= limits.rows || bytes >= limits.bytes {
            return Ok((found, Some(row_key.to_vec())));
        }
    }
    Ok((found, None))
}

/// Removes marks of a stream; says how many.
fn remove_marks(write: &WriteTransaction, stream: u64, marks_max: usize) -> Result<usize, Failure> {
    let mut marks = LeakOnPanic::new(write.open_table(MARKS)?);
    let mut of_stream = Vec::new();
    {
        let mut range = LeakOnPanic::new(marks.range((stream, 0)..=(stream, u64::MAX))?);
        while of_stream.len() < marks_max
            && let Some((at, _)) = range.next().transpose()?
        {
            of_stream.push(at.value());
        }
    }
    for at in &of_stream {
        marks.remove(at)?;
    }
    Ok(of_stream.len())
}

/// Cuts the rows of dropped partitions out of the next blocks; removes those that have no others. Large values are given back.
fn sweep_blocks(
    change: &Change<'_>,
    numbers: Range<u64>,
    limits: SweepLimits,
) -> Result<Option<Swept>, Failure> {
    let (dropped, values) = (&change.numbers.dropped, change.values);
    let mut log = LeakOnPanic::new(change.write.open_table(LOG)?);
    let (mut changed, mut bytes, mut discarded, mut end) = (Vec::new(), 0, 0, None);
    {
        let mut blocks = LeakOnPanic::new(log.range(numbers)?);
        while let Some((number, block)) = blocks.next().transpose()? {
            let (number, block) = (number.value(), LeakOnPanic::new(block));
            bytes += block.value().len();
            // It is dead whether this transaction lasts or not, and if not it is given back again.
            let give_back = |row: &[u8]| {
                if let Some(large) = codec::get_large(row)? {
                    values.discard(large);
                    discarded += 1;
                }
                Ok(())
            };
            let is_dead = |partition| dropped.is_dead_in(number, partition);
            let left = blocks::without(block.value(), is_dead, give_back);
            let left = left.map_err(garbled(format!("block {number} of events")))?;
            if left != Rest::All {
                changed.push((number, left));
            }
            if bytes >= limits.bytes || discarded >= limits.values {
                end = Some(Swept::Blocks(number + 1));
                break;
            }
        }
    }
    for (number, left) in changed {
        match left {
            Rest::Some(left) => drop(log.insert(number, &left[..])?),
            Rest::All | Rest::Nothing => drop(log.remove(number)?),
        }
    }
    Ok(end)
}
