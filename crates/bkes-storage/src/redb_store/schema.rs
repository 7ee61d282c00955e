//! The tables, and what one transaction does with them. `docs/formats.md` writes them down byte by byte.
//!
//! Events lie in an append-only `log` table. A commit sorts its events by key, so those of one aggregate lie side by side:
//! a *run*. An aggregate's row names its last run; earlier ones are rows of `runs`. Appending costs the same however long
//! the aggregate is.

use super::codec::{self, Garbled, Part, Slot};
use crate::contract::{Head, Heads, Loaded, NewEvent, ReadPart, StoreBatch, StoreIdentity, StoredEvent};
use bkes_core::{Incarnation, Key, Order, Partition};
use bytes::Bytes;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::HashMap;

/// The format this code writes, and the only one it reads.
pub const FORMAT: u64 = 1;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const OFFSETS: TableDefinition<u32, &[u8]> = TableDefinition::new("offsets");
const INCARNATIONS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("incarnations");
const NAMES: TableDefinition<u64, u64> = TableDefinition::new("names");
const STREAMS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("streams");
const RUNS: TableDefinition<(u64, u64), (u64, u64)> = TableDefinition::new("runs");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// Why a transaction did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    Redb(redb::Error),
    Garbled(String),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Redb(error.into())
    }
}

fn garbled(what: impl Into<String>) -> impl FnOnce(Garbled) -> Failure {
    let what = what.into();
    move |Garbled| Failure::Garbled(what)
}

/// What the writer keeps in mind between commits: the next numbers, and the short numbers of incarnations.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub next_position: u64,
    pub next_stream: u64,
    pub keys: u64,
    names: HashMap<Incarnation, u64>,
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
    write.open_table(RUNS)?;
    write.open_table(LOG)?;
    Ok(())
}

/// The writer's numbers as the file holds them.
pub fn numbers(read: &ReadTransaction) -> Result<Numbers, Failure> {
    let mut numbers = Numbers::default();
    if let Some((position, _)) = read.open_table(LOG)?.last()? {
        numbers.next_position = position.value() + 1;
    }
    if let Some(row) = read.open_table(META)?.get("streams")? {
        let row = Bytes::copy_from_slice(row.value());
        let mut cursor = codec::Cursor::new(&row);
        let mut next = || cursor.number().map_err(garbled("the stream numbers"));
        (numbers.next_stream, numbers.keys) = (next()?, next()?);
    }
    for row in read.open_table(NAMES)?.iter()? {
        let (name, incarnation) = row?;
        numbers.names.insert(Incarnation(incarnation.value()), name.value());
    }
    Ok(numbers)
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

pub fn set_identity(write: &WriteTransaction, identity: &StoreIdentity) -> Result<(), Failure> {
    write.open_table(META)?.insert("identity", &codec::put_identity(identity)[..])?;
    Ok(())
}

/// Writes a batch; `numbers` is ahead of the file until the transaction is committed.
pub fn write(write: &WriteTransaction, batch: &StoreBatch, numbers: &mut Numbers) -> Result<(), Failure> {
    write_events(write, &batch.events, numbers)?;
    let mut offsets = write.open_table(OFFSETS)?;
    for (partition, checkpoint) in &batch.checkpoints {
        offsets.insert(partition.0, &codec::put_checkpoint(*partition, checkpoint)[..])?;
    }
    let mut incarnations = write.open_table(INCARNATIONS)?;
    for (partition, incarnation, state) in &batch.incarnations {
        let key = (partition.0, incarnation.0);
        match state {
            Some(state) => {
                incarnations.insert(key, &codec::put_incarnation(*partition, *incarnation, state)[..])?;
            }
            None => {
                incarnations.remove(key)?;
            }
        }
    }
    Ok(())
}

fn write_events(write: &WriteTransaction, events: &[NewEvent], numbers: &mut Numbers) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<&NewEvent> = events.iter().collect();
    sorted.sort_unstable_by(|a, b| {
        (&a.key, a.event.partition, a.event.order).cmp(&(&b.key, b.event.partition, b.event.order))
    });
    let mut log = write.open_table(LOG)?;
    let mut streams = write.open_table(STREAMS)?;
    let mut runs = write.open_table(RUNS)?;
    let mut names = write.open_table(NAMES)?;
    let (mut row, mut parts) = (Vec::new(), Vec::new());
    for of_key in sorted.chunk_by(|a, b| a.key == b.key) {
        let key = of_key[0].key.as_ref();
        parts.clear();
        match streams.get(key)? {
            Some(row) => {
                codec::get_parts(row.value(), key, &mut parts).map_err(garbled("an aggregate's row"))?
            }
            None => numbers.keys += 1,
        }
        for of_part in of_key.chunk_by(|a, b| a.event.partition == b.event.partition) {
            let (partition, first) = (of_part[0].event.partition, of_part[0].event.order);
            let (position, length) = (numbers.next_position, of_part.len() as u64);
            let part = match parts.iter_mut().find(|part| part.partition == partition) {
                Some(part) if part.next != first => {
                    let detail = format!("order {first} was to be stored where {} belongs", part.next);
                    return Err(Failure::Garbled(detail));
                }
                Some(part) if part.run_position + part.run_length == position => {
                    part.run_length += length;
                    part
                }
                Some(part) => {
                    runs.insert((part.stream, part.run_first().0), (part.run_position, part.run_length))?;
                    part.run_position = position;
                    part.run_length = length;
                    part
                }
                None => {
                    let stream = numbers.next_stream;
                    numbers.next_stream += 1;
                    let (run_position, run_length) = (position, length);
                    let at = parts.partition_point(|part| part.partition < partition);
                    parts.insert(
                        at,
                        Part { partition, stream, base: first, next: first, run_position, run_length },
                    );
                    &mut parts[at]
                }
            };
            for NewEvent { event, .. } in of_part {
                if event.order != part.next {
                    let detail =
                        format!("order {} was to be stored where {} belongs", event.order, part.next);
                    return Err(Failure::Garbled(detail));
                }
                let name = match event.stamp {
                    Some(stamp) => Some(name_of(&mut names, &mut numbers.names, stamp.incarnation)?),
                    None => None,
                };
                codec::put_event(&mut row, Slot { stream: part.stream, order: event.order }, event, name);
                log.insert(numbers.next_position, &row[..])?;
                numbers.next_position += 1;
                part.next = Order(part.next.0 + 1);
            }
        }
        codec::put_parts(&mut row, key, &parts);
        streams.insert(key, &row[..])?;
    }
    row.clear();
    codec::put_number(&mut row, numbers.next_stream);
    codec::put_number(&mut row, numbers.keys);
    write.open_table(META)?.insert("streams", &row[..])?;
    Ok(())
}

fn name_of(
    table: &mut redb::Table<'_, u64, u64>,
    names: &mut HashMap<Incarnation, u64>,
    incarnation: Incarnation,
) -> Result<u64, Failure> {
    if let Some(name) = names.get(&incarnation) {
        return Ok(*name);
    }
    let name = names.len() as u64;
    table.insert(name, incarnation.0)?;
    names.insert(incarnation, name);
    Ok(name)
}

pub fn heads(read: &ReadTransaction, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), Failure> {
    let streams = read.open_table(STREAMS)?;
    let mut parts = Vec::new();
    for key in keys {
        parts.clear();
        if let Some(row) = streams.get(key.as_ref())? {
            codec::get_parts(row.value(), key.as_ref(), &mut parts)
                .map_err(garbled(format!("the row of key {key}")))?;
        }
        let head = |part: &Part| Head { partition: part.partition, base: part.base, next: part.next };
        out.push(match &parts[..] {
            [] => Heads::None,
            [part] => Heads::One(head(part)),
            parts => Heads::Split(parts.iter().map(head).collect()),
        });
    }
    Ok(())
}

/// Events in order, run by run, each checked.
pub fn read(read: &ReadTransaction, wanted: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), Failure> {
    let mut parts = Vec::new();
    if let Some(row) = read.open_table(STREAMS)?.get(wanted.key.as_ref())? {
        let what = format!("the row of key {}", wanted.key);
        codec::get_parts(row.value(), wanted.key.as_ref(), &mut parts).map_err(garbled(what))?;
    }
    let Some(part) = parts.iter().find(|part| part.partition == wanted.partition) else { return Ok(()) };
    let mut reader = EventReader {
        log: read.open_table(LOG)?,
        names: read.open_table(NAMES)?,
        wanted,
        part,
        bytes: 0,
        out,
    };
    let mut order = wanted.from.max(part.base);
    if order < part.run_first() {
        let runs = read.open_table(RUNS)?;
        let stream = part.stream;
        let before = runs.range((stream, 0)..=(stream, order.0))?.next_back().transpose()?;
        let first = before.map_or(order.0, |(key, _)| key.value().1);
        for run in runs.range((stream, first)..(stream, part.run_first().0))? {
            let (key, run) = run?;
            let (position, length) = run.value();
            let first = Order(key.value().1);
            if first > order || first.plus(length).is_none_or(|end| end <= order) {
                return Err(reader.missing(order));
            }
            let skip = order.0 - first.0;
            let at = position.checked_add(skip).ok_or_else(|| reader.missing(order))?;
            match reader.run(order, at, length - skip)? {
                Some(next) => order = next,
                None => return Ok(()),
            }
        }
        if order != part.run_first() {
            return Err(reader.missing(order));
        }
    }
    if order < part.next {
        let skip = order.0 - part.run_first().0;
        reader.run(order, part.run_position + skip, part.run_length - skip)?;
    }
    Ok(())
}

struct EventReader<'a> {
    log: redb::ReadOnlyTable<u64, &'static [u8]>,
    names: redb::ReadOnlyTable<u64, u64>,
    wanted: ReadPart<'a>,
    part: &'a Part,
    bytes: usize,
    out: &'a mut Vec<StoredEvent>,
}

impl EventReader<'_> {
    /// Reads `length` events from a position on; `None` when a limit ended it, otherwise the order behind the run.
    fn run(&mut self, first: Order, position: u64, length: u64) -> Result<Option<Order>, Failure> {
        let mut order = first;
        let taken_before = self.out.len();
        let limit = self.wanted.events_max;
        for row in self.log.range(position..position.saturating_add(length))? {
            if limit == 0 {
                return Ok(None);
            }
            let (_, row) = row?;
            let row = Bytes::copy_from_slice(row.value());
            let slot = Slot { stream: self.part.stream, order };
            let name = |name: u64| self.names.get(name).ok().flatten().map(|row| Incarnation(row.value()));
            let what = || format!("event {order} of key {}", self.wanted.key);
            let event = codec::get_event(&row, slot, name).map_err(|Garbled| Failure::Garbled(what()))?;
            let headers: usize =
                event.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len)).sum();
            self.bytes += event.value.len() + headers;
            self.out.push(event);
            order = Order(order.0 + 1);
            self.wanted.events_max -= 1;
            if self.wanted.events_max == 0 || self.bytes >= self.wanted.bytes_max {
                return Ok(None);
            }
        }
        if (self.out.len() - taken_before) as u64 != length {
            return Err(self.missing(order));
        }
        Ok(Some(order))
    }

    fn missing(&self, order: Order) -> Failure {
        Failure::Garbled(format!("event {order} of key {} is missing", self.wanted.key))
    }
}

/// Begins a read transaction.
pub fn begin_read(database: &redb::Database) -> Result<ReadTransaction, Failure> {
    Ok(database.begin_read()?)
}
