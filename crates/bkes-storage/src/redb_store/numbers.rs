//! What the writer keeps in mind between commits.

use super::blocks::Tail;
use super::codec::Cursor;
use super::failure::{Failure, garbled};
use super::layout::Dropped;
use super::leak_on_panic::LeakOnPanic;
use super::row_grouping::RowGrouping;
use super::tables::{self, LOG, META, NAMES};
use super::varint::put_number;
use bkes_core::{Incarnation, IncarnationState, Partition};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use std::collections::HashMap;

/// What the writer keeps in mind between commits: the end of the log table, the next numbers, how rows are grouped, what was dropped,
/// and the short numbers of incarnations.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub tail: Tail,
    pub next_stream: u64,
    pub keys: u64,
    /// Where the large values end.
    pub values_end: u64,
    pub dropped: Dropped,
    pub grouping: RowGrouping,
    names: Names,
}

/// The short numbers of the incarnations that the rule remembers, as far as this process met them. One that is not here gets another
/// number: a number has one incarnation, and an incarnation may have several numbers.
#[derive(Clone, Debug, Default)]
struct Names {
    known: HashMap<Incarnation, u64>,
    next: u64,
}

impl Numbers {
    /// What the rule has forgotten is forgotten here.
    pub fn forget_states(&mut self, states: &[(Partition, Incarnation, Option<IncarnationState>)]) {
        for (_, incarnation, _) in states.iter().filter(|(_, _, state)| state.is_none()) {
            self.names.known.remove(incarnation);
        }
    }

    /// None is remembered.
    pub fn forget_names(&mut self) {
        self.names.known.clear();
    }

    /// The short number of an incarnation, which gets one if it has none here.
    pub fn name_of(
        &mut self,
        table: &mut redb::Table<'_, u64, u64>,
        incarnation: Incarnation,
    ) -> Result<u64, Failure> {
        let names = &mut self.names;
        if let Some(name) = names.known.get(&incarnation) {
            return Ok(*name);
        }
        let name = names.next;
        names.next += 1;
        table.insert(name, incarnation.0)?;
        names.known.insert(incarnation, name);
        Ok(name)
    }

    /// Writes where the numbers of what belongs to the rows stand.
    pub fn put(&self, write: &WriteTransaction) -> Result<(), Failure> {
        let mut row = Vec::new();
        for number in [self.next_stream, self.keys, self.tail.blocks(), self.values_end] {
            put_number(&mut row, number);
        }
        LeakOnPanic::new(write.open_table(META)?).insert("streams", &row[..])?;
        Ok(())
    }

    /// How many short numbers are in memory.
    #[cfg(test)]
    pub fn names_held(&self) -> usize {
        self.names.known.len()
    }
}

/// The writer's numbers as the file holds them, and how many of its blocks belong to events that it knows.
pub fn read(read: &ReadTransaction) -> Result<(Numbers, u64), Failure> {
    let mut numbers = Numbers::default();
    let mut blocks = 0;
    if let Some(row) = read.open_table(META)?.get("streams")? {
        let mut cursor = Cursor::new(row.value());
        let mut next = || cursor.number().map_err(garbled("the stream numbers"));
        (numbers.next_stream, numbers.keys, blocks) = (next()?, next()?, next()?);
        numbers.values_end = next()?;
    }
    let last = blocks.checked_sub(1).map(|last| read.open_table(LOG)?.get(last).map_err(Failure::from));
    let (grouping, dropped) = tables::layout(read)?;
    // A block in which rows are dead takes no more: of a number below, a partition's rows would be dead too.
    let is_open = |last: u64| dropped.0.values().all(|dead| last >= dead.blocks);
    numbers.tail = match last.transpose()?.flatten() {
        Some(last) if is_open(blocks - 1) => {
            Tail::resume(blocks, last.value()).map_err(garbled("the last block of events"))?
        }
        _ => Tail::behind(blocks),
    };
    numbers.dropped = dropped;
    numbers.grouping = grouping;
    let last_name = read.open_table(NAMES)?.last()?.map(|(name, _)| name.value());
    numbers.names.next = last_name.map_or(0, |name| name + 1);
    Ok((numbers, blocks))
}
