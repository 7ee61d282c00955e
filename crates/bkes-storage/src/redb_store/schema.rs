//! The tables, and what one transaction does with them. `docs/formats.md` writes them down byte by byte.
//!
//! Events lie in an append-only `log` table, packed into [blocks](super::blocks), and those of one aggregate are chained from
//! the last to the first; [reading](super::read) follows the chain. A commit sorts its events by key, so that those of one
//! aggregate lie side by side. Appending costs the same however long the aggregate is. What the tables say of aggregates may lie
//! [behind](super::unsettled) the log table.

use super::blocks::{Place, Tail, in_block};
use super::codec::{self, Garbled, Links, Part, Slot};
use super::dropping::{self, Dropped, SweepLimits};
use super::fragile::Fragile;
use super::read::{MARK_BYTES, MARK_EVENTS};
use super::spread::{GROUP_BYTES, Ranked, Spread};
use super::unsettled::{Changes, Unsettled};
use super::values::{Adding, LARGE_BYTES, Values};
use crate::contract::{Loaded, NewEvent, StoreBatch, StoreIdentity, StoredEvent};
use bkes_core::{Incarnation, IncarnationState, Order, Partition};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::HashMap;
use std::ops::Bound;

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

/// Why a transaction did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    Redb(redb::Error),
    Garbled(String),
    /// redb met what it never wrote. Its locks may be poisoned.
    Panicked(String),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Redb(error.into())
    }
}

pub fn garbled(what: impl Into<String>) -> impl FnOnce(Garbled) -> Failure {
    move |Garbled| Failure::Garbled(what.into())
}

/// What the writer keeps in mind between commits: the end of the log table, the next numbers, how rows are spread, what was dropped,
/// and the short numbers of incarnations.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub tail: Tail,
    pub next_stream: u64,
    pub keys: u64,
    /// Where the large values end.
    pub values_end: u64,
    pub dropped: Dropped,
    spread: Spread,
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

    /// How many short numbers are in memory.
    #[cfg(test)]
    pub fn names_held(&self) -> usize {
        self.names.known.len()
    }
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

/// The writer's numbers as the file holds them, and how many of its blocks belong to events that it knows.
pub fn numbers(read: &ReadTransaction) -> Result<(Numbers, u64), Failure> {
    let mut numbers = Numbers::default();
    let mut blocks = 0;
    if let Some(row) = read.open_table(META)?.get("streams")? {
        let mut cursor = codec::Cursor::new(row.value());
        let mut next = || cursor.number().map_err(garbled("the stream numbers"));
        (numbers.next_stream, numbers.keys, blocks) = (next()?, next()?, next()?);
        numbers.values_end = next()?;
    }
    let last = blocks.checked_sub(1).map(|last| read.open_table(LOG)?.get(last).map_err(Failure::from));
    let dropped = dropping::read_dropped(&read.open_table(META)?)?;
    // A block in which rows are dead takes no more: of a number below, a partition's rows would be dead too.
    let is_open = |last: u64| dropped.0.values().all(|dead| last >= dead.blocks);
    numbers.tail = match last.transpose()?.flatten() {
        Some(last) if is_open(blocks - 1) => {
            Tail::resume(blocks, last.value()).map_err(garbled("the last block of events"))?
        }
        _ => Tail::behind(blocks),
    };
    numbers.dropped = dropped;
    numbers.spread = spread(read)?;
    let last_name = read.open_table(NAMES)?.last()?.map(|(name, _)| name.value());
    numbers.names.next = last_name.map_or(0, |name| name + 1);
    Ok((numbers, blocks))
}

/// Whether there are blocks from this number on: a process died before it had said whose they are.
pub fn has_blocks_from(read: &ReadTransaction, number: u64) -> Result<bool, Failure> {
    Ok(read.open_table(LOG)?.range(number..)?.next().is_some())
}

/// Removes them.
pub fn remove_blocks_from(write: &WriteTransaction, number: u64) -> Result<(), Failure> {
    Ok(Fragile::new(write.open_table(LOG)?).retain_in(number.., |_, _| false)?)
}

/// How the rows of aggregates are spread.
fn spread(read: &ReadTransaction) -> Result<Spread, Failure> {
    spread_by(&read.open_table(META)?)
}

fn spread_by(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Spread, Failure> {
    let Some(row) = meta.get("spread")? else { return Ok(Spread::default()) };
    codec::get_spread(row.value()).map_err(garbled("how rows are spread"))
}

/// What has to be known to find an aggregate: how rows are spread, and what was dropped.
pub fn layout(read: &ReadTransaction) -> Result<(Spread, Dropped), Failure> {
    let meta = read.open_table(META)?;
    Ok((spread_by(&meta)?, dropping::read_dropped(&meta)?))
}

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

/// Binds the store to its topic. While there are no rows yet, they will be spread as suits it.
pub fn set_identity(
    write: &WriteTransaction,
    identity: &StoreIdentity,
    numbers: &mut Numbers,
) -> Result<(), Failure> {
    let mut meta = Fragile::new(write.open_table(META)?);
    meta.insert("identity", &codec::put_identity(identity)[..])?;
    if numbers.next_stream == 0 {
        numbers.spread = Spread::of(identity);
        meta.insert("spread", &codec::put_spread(numbers.spread)[..])?;
    }
    Ok(())
}

/// Writes the events of a batch, and says what they change of their aggregates. `numbers` is ahead of the file until the
/// transaction is committed and settled.
pub fn write(
    write: &WriteTransaction,
    (events, values): (&[NewEvent], &Values),
    unsettled: &Unsettled,
    numbers: &mut Numbers,
) -> Result<Changes, Failure> {
    if events.is_empty() {
        return Ok(Changes::default());
    }
    let sorted = numbers.spread.sorted(events);
    let streams = Fragile::new(write.open_table(STREAMS)?);
    let mut log = Fragile::new(write.open_table(LOG)?);
    let mut events = EventWriter {
        log: log_end(&mut log, numbers.tail.number())?,
        names: Fragile::new(write.open_table(NAMES)?),
        values: Adding::new(values),
        row: Vec::new(),
        changes: Changes::default(),
        numbers,
    };
    let (mut row_key, mut row, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    let of_keys: Vec<&[Ranked<'_>]> = sorted.chunk_by(Ranked::is_of_key_of).collect();
    let found = unsettled.find_all(of_keys.iter().map(|of_key| of_key[0].event.key.as_ref()));
    for (of_key, found) in of_keys.into_iter().zip(found) {
        let key = of_key[0].event.key.as_ref();
        let row_key = of_key[0].row_key(&mut row_key);
        parts.clear();
        match found {
            Some(found) => codec::get_parts(unsettled.row_at(found), &mut parts),
            None => match Fragile::new(streams.get(row_key)?).as_ref() {
                Some(row) => codec::unseal_parts(row.value(), key, &mut parts)
                    .map(|()| events.numbers.dropped.retain_alive(&mut parts)),
                None => {
                    events.numbers.keys += 1;
                    Ok(())
                }
            },
        }
        .map_err(garbled("an aggregate's row"))?;
        let partition = |ranked: &Ranked<'_>| ranked.event.event.partition;
        for of_part in of_key.chunk_by(|a, b| partition(a) == partition(b)) {
            events.add(&mut parts, of_part)?;
        }
        codec::put_parts(&mut row, &parts);
        events.changes.push(row_key, &row, found);
    }
    let EventWriter { log: mut end, numbers, changes, values, .. } = events;
    values.finish()?;
    numbers.tail.whole(|number, block| end.insert_before(number, block))?;
    end.into_inner().close()?;
    if numbers.tail.is_full() {
        // The next transaction need not read it, take it out and write it again.
        numbers.tail.end_block();
    }
    Ok(changes)
}

/// Brings what the tables say of aggregates up to the log table, in the order of the rows: to what is unsettled, and to `latest`,
/// what this transaction changes. Or without that: then `numbers` are those before it.
pub fn settle(
    write: &WriteTransaction,
    unsettled: &Unsettled,
    latest: Option<(&Changes, &StoreBatch)>,
    numbers: &Numbers,
) -> Result<(), Failure> {
    let mut streams = Fragile::new(write.open_table(STREAMS)?);
    let latest_rows = latest.iter().flat_map(|(changes, _)| changes.rows());
    let mut row = Vec::new();
    for (row_key, parts) in unsettled.rows().chain(latest_rows) {
        codec::seal_parts(&mut row, &row_key[GROUP_BYTES..], parts);
        streams.insert(row_key, &row[..])?;
    }
    let mut marks = Fragile::new(write.open_table(MARKS)?);
    let latest_marks = latest.iter().flat_map(|(changes, _)| &changes.marks);
    for (at, place) in unsettled.marks().chain(latest_marks.copied()) {
        marks.insert(at, place.0)?;
    }
    let mut offsets = Fragile::new(write.open_table(OFFSETS)?);
    let earlier = unsettled.checkpoints.iter().map(|(partition, checkpoint)| (*partition, *checkpoint));
    let latest_checkpoints = latest.iter().flat_map(|(_, batch)| &batch.checkpoints);
    for (partition, checkpoint) in earlier.chain(latest_checkpoints.copied()) {
        offsets.insert(partition.0, &codec::put_checkpoint(partition, &checkpoint)[..])?;
    }
    let mut incarnations = Fragile::new(write.open_table(INCARNATIONS)?);
    let earlier = unsettled.incarnations.iter().map(|(at, state)| (*at, state));
    let latest_states = latest.iter().flat_map(|(_, batch)| &batch.incarnations);
    for ((partition, incarnation), state) in
        earlier.chain(latest_states.map(|(p, i, state)| ((*p, *i), state)))
    {
        let key = (partition.0, incarnation.0);
        match state {
            Some(state) => {
                incarnations.insert(key, &codec::put_incarnation(partition, incarnation, state)[..])?;
            }
            None => {
                incarnations.remove(key)?;
            }
        }
    }
    put_numbers(write, numbers)
}

/// Writes where the numbers of what belongs to the rows stand.
fn put_numbers(write: &WriteTransaction, numbers: &Numbers) -> Result<(), Failure> {
    let mut row = Vec::new();
    for number in [numbers.next_stream, numbers.keys, numbers.tail.blocks(), numbers.values_end] {
        codec::put_number(&mut row, number);
    }
    Fragile::new(write.open_table(META)?).insert("streams", &row[..])?;
    Ok(())
}

/// Settles everything and drops a partition.
pub fn drop_partition(
    write: &WriteTransaction,
    partition: Partition,
    unsettled: &Unsettled,
    numbers: &mut Numbers,
) -> Result<(), Failure> {
    settle(write, unsettled, None, numbers)?;
    dropping::drop_partition(write, partition, numbers)?;
    put_numbers(write, numbers)
}

/// Settles everything and sweeps a part of what was dropped.
pub fn sweep(
    write: &WriteTransaction,
    (values, limits): (&Values, SweepLimits),
    unsettled: &Unsettled,
    numbers: &mut Numbers,
) -> Result<(), Failure> {
    settle(write, unsettled, None, numbers)?;
    dropping::sweep(write, numbers, values, limits)?;
    put_numbers(write, numbers)
}

/// The end of the log table, where blocks are added in order: the last one, of this number, is taken out if it is there, since it
/// takes more rows and is added again.
fn log_end<'a>(
    log: &'a mut redb::Table<'_, u64, &'static [u8]>,
    last: u64,
) -> Result<Fragile<LogEnd<'a>>, Failure> {
    let mut end = Fragile::new(log.upper_bound_mut(Bound::<u64>::Unbounded)?);
    let is_there = end.peek_prev()?.is_some_and(|(number, _)| number.value() == last);
    if is_there {
        drop(end.remove_prev()?);
    }
    Ok(end)
}

type LogEnd<'a> = redb::CursorMut<'a, u64, &'static [u8]>;

/// Adds events to the end of the log table, and to the chain of their stream.
struct EventWriter<'a, 'txn> {
    log: Fragile<LogEnd<'a>>,
    names: Fragile<redb::Table<'txn, u64, u64>>,
    values: Adding<'a>,
    row: Vec<u8>,
    changes: Changes,
    numbers: &'a mut Numbers,
}

impl EventWriter<'_, '_> {
    /// Adds the events of an aggregate in one partition; `parts` are the aggregate's so far.
    fn add(&mut self, parts: &mut Vec<Part>, events: &[Ranked<'_>]) -> Result<(), Failure> {
        let StoredEvent { partition, order: first, .. } = events[0].event.event;
        let known = parts.iter().position(|part| part.partition == partition);
        let at = known.unwrap_or_else(|| parts.partition_point(|part| part.partition < partition));
        if known.is_none() {
            let stream = self.numbers.next_stream;
            self.numbers.next_stream += 1;
            let (base, next, last) = (first, first, Place(0));
            parts.insert(at, Part { partition, stream, base, next, last, unmarked: 0, unmarked_bytes: 0 });
        }
        let part = &mut parts[at];
        for Ranked { event: NewEvent { event, .. }, .. } in events {
            let Part { stream, base, next, last, .. } = *part;
            if event.order != next {
                let detail = format!("order {} was to be stored where {next} belongs", event.order);
                return Err(Failure::Garbled(detail));
            }
            let name = match event.stamp {
                Some(stamp) => Some(name_of(&mut self.names, &mut self.numbers.names, stamp.incarnation)?),
                None => None,
            };
            let EventWriter { log, row, values, numbers, changes, .. } = self;
            let slot = Slot { stream, order: next };
            let is_large = event.value.len() >= LARGE_BYTES;
            let large =
                is_large.then(|| values.add(slot, &event.value, &mut numbers.values_end)).transpose()?;
            let links = Links { back: 0, name, large };
            // How far back the event before lies is a part of the row, and where the row lies hangs on its length: room is taken
            // for the row as it would be with the farthest way back.
            let length = in_block(codec::event_bytes_max(event, links));
            let full = |number: u64, block: &[u8]| log.insert_before(number, block);
            let place = numbers.tail.place(partition, length, full)?;
            let back = if next == base { 0 } else { place.0 - last.0 };
            let row = codec::put_event(row, slot, event, Links { back, ..links });
            numbers.tail.push(partition, row);
            changes.event_bytes += row.len();
            part.last = place;
            part.next = Order(next.0 + 1);
            part.unmarked += 1;
            part.unmarked_bytes += row.len() as u64 + large.map_or(0, |large| large.bytes);
            if part.unmarked >= MARK_EVENTS || part.unmarked_bytes >= MARK_BYTES {
                changes.marks.push(((stream, next.0), place));
                (part.unmarked, part.unmarked_bytes) = (0, 0);
            }
        }
        Ok(())
    }
}

fn name_of(
    table: &mut redb::Table<'_, u64, u64>,
    names: &mut Names,
    incarnation: Incarnation,
) -> Result<u64, Failure> {
    if let Some(name) = names.known.get(&incarnation) {
        return Ok(*name);
    }
    let name = names.next;
    names.next += 1;
    table.insert(name, incarnation.0)?;
    names.known.insert(incarnation, name);
    Ok(name)
}

/// Begins a read transaction.
pub fn begin_read(database: &redb::Database) -> Result<ReadTransaction, Failure> {
    Ok(database.begin_read()?)
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
