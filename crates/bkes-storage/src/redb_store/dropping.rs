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
use super::codec::{self, Garbled, Part};
use super::fragile::Fragile;
use super::schema::{Failure, INCARNATIONS, LOG, MARKS, META, Numbers, OFFSETS, STREAMS, garbled};
use super::spread::GROUP_BYTES;
use super::values::Values;
use bkes_core::Partition;
use redb::{ReadableTable, WriteTransaction};
use std::collections::BTreeMap;
use std::ops::Bound;

/// The row of `meta` that says what was dropped.
const DROPPED: &str = "dropped";

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

/// What is dead of partitions that were dropped, and not swept yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dropped(pub BTreeMap<Partition, Dead>);

/// Of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dead {
    /// Its streams below this one.
    pub streams: u64,
    /// Its rows in the blocks below this one.
    pub blocks: u64,
    /// What of it is swept.
    pub swept: Swept,
}

/// How far sweeping has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Swept {
    /// Through the rows of aggregates, up to this one; empty at the beginning.
    Rows(Vec<u8>),
    /// Through all of them, and the blocks below this one.
    Blocks(u64),
}

impl Dropped {
    /// Leaves the parts of an aggregate that are not dead.
    pub fn retain_alive(&self, parts: &mut Vec<Part>) {
        if !self.0.is_empty() {
            parts.retain(|part| !self.is_dead(part));
        }
    }

    /// Whether a part of an aggregate is of a partition as it was before it was dropped.
    pub fn is_dead(&self, part: &Part) -> bool {
        self.0.get(&part.partition).is_some_and(|dead| part.stream < dead.streams)
    }

    fn is_dead_in(&self, block: u64, partition: Partition) -> bool {
        self.0.get(&partition).is_some_and(|dead| block < dead.blocks)
    }
}

/// What was dropped, by the row that says so.
pub fn read_dropped(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Dropped, Failure> {
    let Some(row) = meta.get(DROPPED)? else { return Ok(Dropped::default()) };
    codec::get_dropped(row.value()).map_err(garbled("what was dropped"))
}

/// Drops a partition. What was unsettled is settled, and `numbers` are written by whoever calls this.
pub fn drop_partition(
    write: &WriteTransaction,
    partition: Partition,
    numbers: &mut Numbers,
) -> Result<(), Failure> {
    Fragile::new(write.open_table(OFFSETS)?).remove(partition.0)?;
    let incarnations = (partition.0, 0)..=(partition.0, u64::MAX);
    Fragile::new(write.open_table(INCARNATIONS)?).retain_in(incarnations, |_, _| false)?;
    // The rule forgot them with the partition.
    numbers.forget_names();
    numbers.tail.end_block();
    let (streams, blocks) = (numbers.next_stream, numbers.tail.number());
    numbers.dropped.0.insert(partition, Dead { streams, blocks, swept: Swept::Rows(Vec::new()) });
    put_dropped(write, &numbers.dropped)
}

fn put_dropped(write: &WriteTransaction, dropped: &Dropped) -> Result<(), Failure> {
    let mut meta = Fragile::new(write.open_table(META)?);
    if dropped.0.is_empty() {
        meta.remove(DROPPED)?;
    } else {
        meta.insert(DROPPED, &codec::put_dropped(dropped)[..])?;
    }
    Ok(())
}

/// Sweeps a bounded part of what is dead. Nothing is unsettled, and `numbers` are written by whoever calls this.
pub fn sweep(
    write: &WriteTransaction,
    numbers: &mut Numbers,
    values: &Values,
    limits: SweepLimits,
) -> Result<(), Failure> {
    let Some((partition, dead)) = numbers.dropped.0.first_key_value() else { return Ok(()) };
    let (partition, end) = (*partition, dead.blocks);
    let swept = match dead.swept.clone() {
        Swept::Rows(last) => sweep_rows(write, &last, numbers, limits)?,
        Swept::Blocks(from) => sweep_blocks(write, from..end, (&numbers.dropped, values), limits)?,
    };
    match (swept, numbers.dropped.0.get_mut(&partition)) {
        (Some(swept), Some(dead)) => dead.swept = swept,
        _ => drop(numbers.dropped.0.remove(&partition)),
    }
    put_dropped(write, &numbers.dropped)
}

/// Takes dead parts out of the rows of aggregates behind `last`, and their marks.
fn sweep_rows(
    write: &WriteTransaction,
    last: &[u8],
    numbers: &mut Numbers,
    limits: SweepLimits,
) -> Result<Option<Swept>, Failure> {
    let mut streams = Fragile::new(write.open_table(STREAMS)?);
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

/// Those among the next rows behind `last`, and the last row that was looked at; none if there are no more.
fn rows_with_dead_parts(
    streams: &impl ReadableTable<&'static [u8], &'static [u8]>,
    last: &[u8],
    dropped: &Dropped,
    limits: SweepLimits,
) -> Result<(Vec<Found>, Option<Vec<u8>>), Failure> {
    let (mut found, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
    let mut parts = Vec::new();
    let mut rows = Fragile::new(streams.range::<&[u8]>((Bound::Excluded(last), Bound::Unbounded))?);
    while let Some(row) = rows.next().transpose()?.map(Fragile::new) {
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
    let mut marks = Fragile::new(write.open_table(MARKS)?);
    let mut of_stream = Vec::new();
    {
        let mut range = Fragile::new(marks.range((stream, 0)..=(stream, u64::MAX))?);
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
    write: &WriteTransaction,
    numbers: std::ops::Range<u64>,
    (dropped, values): (&Dropped, &Values),
    limits: SweepLimits,
) -> Result<Option<Swept>, Failure> {
    let mut log = Fragile::new(write.open_table(LOG)?);
    let (mut changed, mut bytes, mut discarded, mut end) = (Vec::new(), 0, 0, None);
    {
        let mut blocks = Fragile::new(log.range(numbers)?);
        while let Some((number, block)) = blocks.next().transpose()? {
            let (number, block) = (number.value(), Fragile::new(block));
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
