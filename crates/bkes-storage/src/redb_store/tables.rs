//! The tables. `docs/formats.md` writes them down byte by byte.
//!
//! Events lie in an append-only `log` table, packed into [blocks](super::blocks), and those of one aggregate are chained from
//! the last to the first; [reading](super::read) follows the chain. What the tables say of aggregates may lie
//! [behind](super::write_back) the log table.

use super::codec;
use super::failure::{Failure, garbled};
use super::layout::Dropped;
use super::leak_on_panic::LeakOnPanic;
use super::row_grouping::RowGrouping;
use crate::contract::Loaded;
use bkes_core::{Incarnation, Partition};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

/// The format this code writes, and the only one it reads.
pub const FORMAT: u64 = 10;

/// The last format whose file was one of redb, without sums beside its blocks.
pub const BARE_FORMAT: u64 = 2;

pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub const OFFSETS: TableDefinition<u32, &[u8]> = TableDefinition::new("offsets");
pub const INCARNATIONS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("incarnations");
pub const NAMES: TableDefinition<u64, u64> = TableDefinition::new("names");
pub const STREAMS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("streams");
pub const MARKS: TableDefinition<(u64, u64), u64> = TableDefinition::new("marks");
pub const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// The row of `meta` that says what was dropped.
pub const DROPPED: &str = "dropped";

/// Begins a read transaction.
pub fn begin_read(database: &redb::Database) -> Result<ReadTransaction, Failure> {
    Ok(database.begin_read()?)
}

/// The format number of a file; `None` in a new one.
pub fn format(read: &ReadTransaction) -> Result<Option<u64>, Failure> {
    let meta = match read.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        meta => meta?,
    };
    let Some(row) = meta.get("format")? else { return Ok(None) };
    let bytes = row.value().try_into().map_err(|_| Failure::Garbled("the format number".into()))?;
    Ok(Some(u64::from_le_bytes(bytes)))
}

/// Makes the tables of a new file.
pub fn create(write: &WriteTransaction) -> Result<(), Failure> {
    write.open_table(META)?.insert("format", &FORMAT.to_le_bytes()[..])?;
    write.open_table(OFFSETS)?;
    write.open_table(INCARNATIONS)?;
    write.open_table(NAMES)?;
    write.open_table(STREAMS)?;
    write.open_table(MARKS)?;
    write.open_table(LOG)?;
    Ok(())
}

/// Whether there are blocks from this number on: a process died before it had said whose they are.
pub fn has_blocks_from(read: &ReadTransaction, number: u64) -> Result<bool, Failure> {
    Ok(read.open_table(LOG)?.range(number..)?.next().is_some())
}

/// Removes them.
pub fn remove_blocks_from(write: &WriteTransaction, number: u64) -> Result<(), Failure> {
    Ok(LeakOnPanic::new(write.open_table(LOG)?).retain_in(number.., |_, _| false)?)
}

/// How rows are grouped.
fn grouping(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<RowGrouping, Failure> {
    let Some(row) = meta.get("spread")? else { return Ok(RowGrouping::default()) };
    codec::get_grouping(row.value()).map_err(garbled("how rows are grouped"))
}

/// What has to be known to find an aggregate: how rows are grouped, and what was dropped.
pub fn layout(read: &ReadTransaction) -> Result<(RowGrouping, Dropped), Failure> {
    let meta = read.open_table(META)?;
    Ok((grouping(&meta)?, dropped(&meta)?))
}

/// What was dropped, by the row that says so.
fn dropped(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Dropped, Failure> {
    let Some(row) = meta.get(DROPPED)? else { return Ok(Dropped::default()) };
    codec::get_dropped(row.value()).map_err(garbled("what was dropped"))
}

/// What the engine needs when it starts.
pub fn load(read: &ReadTransaction) -> Result<Loaded, Failure> {
    let mut loaded = Loaded::default();
    if let Some(row) = read.open_table(META)?.get("identity")? {
        loaded.identity = Some(codec::get_identity(row.value()).map_err(garbled("the identity"))?);
    }
    for row in read.open_table(OFFSETS)?.iter()? {
        let (partition, row) = row?;
        let partition = Partition(partition.value());
        let what = format!("the checkpoint of partition {partition}");
        loaded
            .checkpoints
            .push((partition, codec::get_checkpoint(partition, row.value()).map_err(garbled(what))?));
    }
    for row in read.open_table(INCARNATIONS)?.iter()? {
        let (key, row) = row?;
        let (partition, incarnation) = (Partition(key.value().0), Incarnation(key.value().1));
        let what = format!("incarnation {incarnation} in partition {partition}");
        let state = codec::get_incarnation(partition, incarnation, row.value()).map_err(garbled(what))?;
        loaded.incarnations.push((partition, incarnation, state));
    }
    Ok(loaded)
}

/// Rows in the tables that events and marks lie in.
#[cfg(test)]
#[derive(Debug)]
pub struct Counts {
    pub blocks: u64,
    pub marks: u64,
}

/// How many there are.
#[cfg(test)]
pub fn counts(read: &ReadTransaction) -> Result<Counts, Failure> {
    use redb::ReadableTableMetadata;
    Ok(Counts { blocks: read.open_table(LOG)?.len()?, marks: read.open_table(MARKS)?.len()? })
}
