//! What a commit writes: events after the others, and what the tables say of aggregates.
//!
//! A commit sorts its events by key, so that those of one aggregate lie side by side. Appending costs the same however long the
//! aggregate is.

use super::blocks::in_block;
use super::codec::{self, Links};
use super::failure::{Failure, garbled};
use super::layout::{MARK_BYTES, MARK_EVENTS, Part, Place, Slot};
use super::leak_on_panic::LeakOnPanic;
use super::numbers::Numbers;
use super::row_grouping::{GROUP_BYTES, Ranked, RowGrouping};
use super::tables::{INCARNATIONS, LOG, MARKS, META, NAMES, OFFSETS, STREAMS};
use super::values::{Adding, LARGE_BYTES, Values};
use super::write_back::{Changes, WriteBack};
use crate::contract::{NewEvent, StoreBatch, StoreIdentity, StoredEvent};
use bkes_core::Order;
use redb::{ReadableTable, WriteTransaction};
use std::ops::Bound;

/// A transaction of the writer's, and what it works with.
pub struct Change<'a> {
    pub write: &'a WriteTransaction,
    pub values: &'a Values,
    /// Ahead of the file until the transaction is committed and settled.
    pub numbers: &'a mut Numbers,
    /// What is unsettled before it.
    pub unsettled: &'a WriteBack,
}

/// Binds the store to its topic. While there are no rows yet, they will be grouped as suits it.
pub fn set_identity(change: &mut Change<'_>, identity: &StoreIdentity) -> Result<(), Failure> {
    let Change { write, numbers, .. } = change;
    let mut meta = LeakOnPanic::new(write.open_table(META)?);
    meta.insert("identity", &codec::put_identity(identity)[..])?;
    if numbers.next_stream == 0 {
        numbers.grouping = RowGrouping::of(identity);
        meta.insert("spread", &codec::put_grouping(numbers.grouping)[..])?;
    }
    Ok(())
}

/// Writes the events of a batch, and says what they change of their aggregates.
pub fn write(change: &mut Change<'_>, events: &[NewEvent]) -> Result<Changes, Failure> {
    if events.is_empty() {
        return Ok(Changes::default());
    }
    let Change { write, values, unsettled, .. } = *change;
    let numbers = &mut *change.numbers;
    let sorted = numbers.grouping.sorted(events);
    let streams = LeakOnPanic::new(write.open_table(STREAMS)?);
    let mut log = LeakOnPanic::new(write.open_table(LOG)?);
    let mut events = EventWriter {
        log: log_end(&mut log, numbers.tail.number())?,
        names: LeakOnPanic::new(write.open_table(NAMES)?),
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
            None => match LeakOnPanic::new(streams.get(row_key)?).as_ref() {
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
    events.end()
}

/// What a transaction changes of rows before it is committed.
#[derive(Clone, Copy)]
pub struct Latest<'a> {
    /// Rows and marks.
    pub changes: &'a Changes,
    /// Checkpoints and incarnations.
    pub batch: &'a StoreBatch,
}

/// Brings what the tables say of aggregates up to the log table, in the order of the rows: to what is unsettled, and to `latest`,
/// what this transaction changes. Or without that: then `numbers` are those before it.
pub fn settle(
    write: &WriteTransaction,
    unsettled: &WriteBack,
    latest: Option<Latest<'_>>,
    numbers: &Numbers,
) -> Result<(), Failure> {
    let mut streams = LeakOnPanic::new(write.open_table(STREAMS)?);
    let latest_rows = latest.iter().flat_map(|latest| latest.changes.rows());
    let mut row = Vec::new();
    for (row_key, parts) in unsettled.rows().chain(latest_rows) {
        codec::seal_parts(&mut row, &row_key[GROUP_BYTES..], parts);
        streams.insert(row_key, &row[..])?;
    }
    let mut marks = LeakOnPanic::new(write.open_table(MARKS)?);
    let latest_marks = latest.iter().flat_map(|latest| &latest.changes.marks);
    for (at, place) in unsettled.marks().chain(latest_marks.copied()) {
        marks.insert(at, place.0)?;
    }
    let mut offsets = LeakOnPanic::new(write.open_table(OFFSETS)?);
    let earlier = unsettled.checkpoints.iter().map(|(partition, checkpoint)| (*partition, *checkpoint));
    let latest_checkpoints = latest.iter().flat_map(|latest| &latest.batch.checkpoints);
    for (partition, checkpoint) in earlier.chain(latest_checkpoints.copied()) {
        offsets.insert(partition.0, &codec::put_checkpoint(partition, &checkpoint)[..])?;
    }
    let mut incarnations = LeakOnPanic::new(write.open_table(INCARNATIONS)?);
    let earlier = unsettled.incarnations.iter().map(|(at, state)| (*at, state));
    let latest_states = latest.iter().flat_map(|latest| &latest.batch.incarnations);
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
    numbers.put(write)
}

/// The end of the log table, where blocks are added in order: the last one, of this number, is taken out if it is there, since it
/// takes more rows and is added again.
fn log_end<'a>(
    log: &'a mut redb::Table<'_, u64, &'static [u8]>,
    last: u64,
) -> Result<LeakOnPanic<LogEnd<'a>>, Failure> {
    let mut end = LeakOnPanic::new(log.upper_bound_mut(Bound::<u64>::Unbounded)?);
    let is_there = end.peek_prev()?.is_some_and(|(number, _)| number.value() == last);
    if is_there {
        drop(end.remove_prev()?);
    }
    Ok(end)
}

type LogEnd<'a> = redb::CursorMut<'a, u64, &'static [u8]>;

/// Adds events to the end of the log table, and to the chain of their stream.
struct EventWriter<'a, 'txn> {
    log: LeakOnPanic<LogEnd<'a>>,
    names: LeakOnPanic<redb::Table<'txn, u64, u64>>,
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
                Some(stamp) => Some(self.numbers.name_of(&mut self.names, stamp.incarnation)?),
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

    /// Writes what is left of large values, and the last block; says what changed.
    fn end(self) -> Result<Changes, Failure> {
        let EventWriter { log: mut end, numbers, changes, values, .. } = self;
        values.finish()?;
        numbers.tail.whole(|number, block| end.insert_before(number, block))?;
        end.into_inner().close()?;
        if numbers.tail.is_full() {
            // The next transaction need not read it, take it out and write it again.
            numbers.tail.end_block();
        }
        Ok(changes)
    }
}
