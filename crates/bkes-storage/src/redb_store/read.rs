//! Reading: where aggregates stand, and their events in order.
//!
//! The events of a stream are chained: each row says how far back the one before it lies, and the aggregate's row knows the last.
//! So an append touches no row but its own. That a chain need not be walked from its end, every so often an event's place is
//! *marked* in a table of its own: a read finds the first mark at or after what it wants and walks back from there, over at
//! most [`MARK_EVENTS`](super::layout::MARK_EVENTS) events and little more than [`MARK_BYTES`](super::layout::MARK_BYTES) bytes at a time.

use super::blocks;
use super::codec::{self, Content, Contents, Copying};
use super::failure::Failure;
use super::layout::{Dropped, Part, Place, Slot};
use super::row_grouping::RowGrouping;
use super::tables::{self, LOG, MARKS, NAMES, STREAMS};
use super::values::Values;
use super::varint::Garbled;
use super::write_back::{WriteBack, locked};
use crate::by_offset::{first_at, left_after, range_from};
use crate::contract::{EventOutline, Head, Heads, OffsetPart, ReadPart, StoredEvent};
use bkes_core::{Incarnation, Key, Offset, Order, Partition};
use hashbrown::HashMap;
use redb::{AccessGuard, ReadTransaction};
use std::ops::Range;
use std::sync::{Arc, RwLock};

/// A part of so many events is looked through as a whole: they lie between two marks.
const FEW_EVENTS: u64 = 32;

/// Blocks that are kept in mind while thousands of aggregates are looked into: 1 MiB. Events that came together lie side by side, and so do
/// those before them, so that of aggregates with so many events each block is fetched once and not once for every event in it.
pub const BLOCKS_KEPT_MAX: usize = 64;

/// Most events that room is made for before the first one is read: 200 KB, where a page of small events is as large or larger.
const RESERVED_EVENTS_MAX: u64 = 1_024;

/// The tables that reading needs, as of one commit.
pub struct Tables {
    pub(super) streams: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    marks: redb::ReadOnlyTable<(u64, u64), u64>,
    log: redb::ReadOnlyTable<u64, &'static [u8]>,
    names: redb::ReadOnlyTable<u64, u64>,
    values: Arc<Values>,
    pub(super) grouping: RowGrouping,
    pub(super) dropped: Dropped,
}

impl Tables {
    /// Opens them in a transaction, which lasts as long as they do.
    pub fn open(read: &ReadTransaction, values: Arc<Values>) -> Result<Tables, Failure> {
        let (grouping, dropped) = tables::layout(read)?;
        Ok(Tables {
            streams: read.open_table(STREAMS)?,
            marks: read.open_table(MARKS)?,
            log: read.open_table(LOG)?,
            names: read.open_table(NAMES)?,
            values,
            grouping,
            dropped,
        })
    }

    /// The parts of a key's aggregate; `row_key` is room to work in.
    fn parts(&self, key: &Key, row_key: &mut Vec<u8>, out: &mut Vec<Part>) -> Result<(), Failure> {
        let Some(row) = self.streams.get(self.grouping.row_key(key.as_ref(), row_key))? else {
            return Ok(());
        };
        codec::unseal_parts(row.value(), key.as_ref(), out).map_err(|Garbled| garbled_row(key))?;
        self.dropped.retain_alive(out);
        Ok(())
    }
}

/// The parts of a key's aggregate, by an unsettled row.
fn unsettled_parts(key: &Key, row: &[u8], out: &mut Vec<Part>) -> Result<(), Failure> {
    codec::get_parts(row, out).map_err(|Garbled| garbled_row(key))
}

pub fn garbled_row(key: &Key) -> Failure {
    Failure::Garbled(format!("the row of key {key}"))
}

pub fn heads_of(parts: &[Part]) -> Heads {
    let head = |part: &Part| Head { partition: part.partition, base: part.base, next: part.next };
    match parts {
        [] => Heads::None,
        [part] => Heads::One(head(part)),
        parts => Heads::Split(parts.iter().map(head).collect()),
    }
}

/// Where each key stands. `tables` opens the snapshot that is looked into for those that are settled.
pub fn heads(
    unsettled: &RwLock<WriteBack>,
    tables: impl FnOnce() -> Result<Arc<Tables>, Failure>,
    keys: &[Key],
    out: &mut Vec<Heads>,
) -> Result<(), Failure> {
    let start = out.len();
    out.resize(start + keys.len(), Heads::None);
    let (mut settled, mut parts) = (Vec::new(), Vec::new());
    {
        let unsettled = locked(unsettled);
        let found = unsettled.find_all(keys.iter().map(AsRef::as_ref));
        for (index, (key, found)) in keys.iter().zip(found).enumerate() {
            match found {
                Some(found) => {
                    parts.clear();
                    unsettled_parts(key, unsettled.row_at(found), &mut parts)?;
                    out[start + index] = heads_of(&parts);
                }
                None => settled.push(index),
            }
        }
    }
    if settled.is_empty() {
        return Ok(());
    }
    let (tables, mut row_key) = (tables()?, Vec::new());
    for index in settled {
        parts.clear();
        tables.parts(&keys[index], &mut row_key, &mut parts)?;
        out[start + index] = heads_of(&parts);
    }
    Ok(())
}

/// Events in order, each checked, with so much of their content. `tables` opens the snapshot.
pub fn read(
    unsettled: &RwLock<WriteBack>,
    tables: impl FnOnce() -> Result<Arc<Tables>, Failure>,
    (wanted, content): (ReadPart<'_>, Content),
    out: &mut Vec<StoredEvent>,
) -> Result<(), Failure> {
    let ReadPart { key, partition, from, events_max, bytes_max } = wanted;
    let mut parts = Vec::new();
    let changed = {
        let unsettled = locked(unsettled);
        unsettled.row(key.as_ref()).map(|row| unsettled_parts(key, row, &mut parts))
    };
    let tables = &*tables()?;
    match changed {
        Some(found) => found?,
        None => tables.parts(key, &mut Vec::new(), &mut parts)?,
    }
    let Some(part) = alive(tables, &parts, partition) else { return Ok(()) };
    let from = from.max(part.base);
    let end = Order(part.next.0.min(from.0.saturating_add(events_max as u64)));
    let looked = &mut Looked::default();
    Stream { unsettled, tables, key, part, content, looked }.read(from..end, bytes_max, out)
}

/// The part in a partition. The snapshot may have been made when the partition had been dropped, and the row found before that.
fn alive<'p>(tables: &Tables, parts: &'p [Part], partition: Partition) -> Option<&'p Part> {
    parts.iter().find(|part| part.partition == partition && !tables.dropped.is_dead(part))
}

/// For each part the events from an offset on, without their content, each checked. `tables` opens the snapshot.
pub fn outlines_from(
    unsettled: &RwLock<WriteBack>,
    tables: impl FnOnce() -> Result<Arc<Tables>, Failure>,
    wanted: &[OffsetPart<'_>],
    out: &mut Vec<Vec<EventOutline>>,
) -> Result<(), Failure> {
    let mut changed: Vec<Option<Vec<Part>>> = Vec::with_capacity(wanted.len());
    {
        let unsettled = locked(unsettled);
        let found = unsettled.find_all(wanted.iter().map(|part| part.key.as_ref()));
        for (OffsetPart { key, .. }, found) in wanted.iter().zip(found) {
            let parts = |found| {
                let mut parts = Vec::new();
                unsettled_parts(key, unsettled.row_at(found), &mut parts).map(|()| parts)
            };
            changed.push(found.map(parts).transpose()?);
        }
    }
    let (tables, mut row_key, mut events) = (&*tables()?, Vec::new(), Vec::new());
    let mut looked = Looked { kept_max: BLOCKS_KEPT_MAX, ..Looked::default() };
    for (OffsetPart { key, partition, from, guess, events_max }, changed) in wanted.iter().zip(changed) {
        let parts = match changed {
            Some(parts) => parts,
            None => {
                let mut parts = Vec::new();
                tables.parts(key, &mut row_key, &mut parts)?;
                parts
            }
        };
        events.clear();
        if let Some(part) = alive(tables, &parts, *partition) {
            let (content, looked) = (Content::Outline, &mut looked);
            let mut stream = Stream { unsettled, tables, key, part, content, looked };
            stream.read_from(*from, *guess, *events_max, &mut events)?;
        }
        out.push(events.iter().map(StoredEvent::outline).collect());
    }
    Ok(())
}

type Block = AccessGuard<'static, &'static [u8]>;

/// What was looked into in one snapshot and may be wanted again soon.
#[derive(Default)]
struct Looked {
    /// The block of the last row: its neighbours are often in the same.
    last: Option<(u64, Block)>,
    /// Blocks before it, so many at most.
    kept: HashMap<u64, Block>,
    kept_max: usize,
    /// The short number of the last incarnation: most events of an aggregate come from few.
    named: Option<(u64, Incarnation)>,
}

impl Looked {
    /// A block of the log table, if it is there.
    fn block(&mut self, tables: &Tables, number: u64) -> Result<Option<&Block>, Failure> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
            let block = match self.kept.remove(&number) {
                Some(block) => block,
                None => match tables.log.get(number)? {
                    Some(block) => block,
                    None => return Ok(None),
                },
            };
            if let Some((before, block)) = self.last.replace((number, block)) {
                self.keep(before, block);
            }
        }
        Ok(self.last.as_ref().map(|(_, block)| block))
    }

    fn keep(&mut self, number: u64, block: Block) {
        // The block of a row that is larger than one is seldom wanted twice.
        if self.kept_max == 0 || block.value().len() > blocks::BLOCK_BYTES_MAX {
            return;
        }
        if self.kept.len() >= self.kept_max {
            // Those that are wanted still are soon here again.
            self.kept.clear();
        }
        self.kept.insert(number, block);
    }
}

/// The events of one key in one partition.
struct Stream<'a> {
    unsettled: &'a RwLock<WriteBack>,
    tables: &'a Tables,
    key: &'a Key,
    part: &'a Part,
    content: Content,
    looked: &'a mut Looked,
}

impl Stream<'_> {
    /// Reads these orders, up to the event that reaches the bytes.
    fn read(
        &mut self,
        Range { start: from, end }: Range<Order>,
        bytes_max: usize,
        out: &mut Vec<StoredEvent>,
    ) -> Result<(), Failure> {
        let Stream { unsettled, tables, key, part, content, .. } = *self;
        let looked = &mut *self.looked;
        let contents = Contents::of(end.0.saturating_sub(from.0));
        let mut walk = Walk { tables, key, part, content, contents, looked };
        // What is read after these grows by itself: how many there are before the bytes are reached is not known.
        out.reserve((end.0.saturating_sub(from.0)).min(RESERVED_EVENTS_MAX) as usize);
        let (mut order, mut bytes) = (from, 0usize);
        let mut marks = Marks { unsettled, tables, part, settled: None };
        while order < end {
            let (top, place) = match marks.next(order)? {
                Some(mark) => mark,
                None => (Order(part.next.0 - 1), part.last),
            };
            let start = out.len();
            walk.back(order..end, top, place, out)?;
            out[start..].reverse();
            for (index, event) in out[start..].iter().enumerate() {
                bytes += event.content_bytes();
                if bytes >= bytes_max {
                    out.truncate(start + index + 1);
                    return Ok(());
                }
            }
            order = Order(top.0 + 1);
        }
        Ok(())
    }

    /// Reads events from an offset on. Of a few events all are read, which costs no more than a look at one of them.
    fn read_from(
        &mut self,
        from: Offset,
        guess: Option<Order>,
        events_max: usize,
        out: &mut Vec<StoredEvent>,
    ) -> Result<(), Failure> {
        let Part { base, next, .. } = *self.part;
        let all = base..next;
        let first = if next.0 - base.0 <= FEW_EVENTS {
            self.read(all, usize::MAX, out)?;
            let Range { start, end } = range_from(out, from, events_max);
            out.truncate(end);
            out.drain(..start);
            return Ok(());
        } else {
            first_at(all, guess, from, |order| {
                let start = out.len();
                self.read(order..Order(order.0 + 1), usize::MAX, out)?;
                let found = out.drain(start..).next();
                found.ok_or_else(|| missing(self.key, order))
            })?
        };
        let end = Order(next.0.min(first.0.saturating_add(events_max as u64)));
        self.read(first..end, usize::MAX, out)?;
        let left = left_after(out, events_max) as u64;
        self.read(end..Order(next.0.min(end.0 + left)), usize::MAX, out)
    }
}

/// The marks of a stream, lowest order first.
struct Marks<'a> {
    unsettled: &'a RwLock<WriteBack>,
    tables: &'a Tables,
    part: &'a Part,
    /// Those that are settled and were not passed yet, once one was looked for: to find the first is dear, those after it come cheap.
    settled: Option<redb::Range<'static, (u64, u64), u64>>,
}

impl Marks<'_> {
    /// The first mark at or after an order, which is behind the mark before.
    fn next(&mut self, order: Order) -> Result<Option<(Order, Place)>, Failure> {
        let Marks { unsettled, tables, part, settled } = self;
        if order.0 >= part.next.0 - part.unmarked {
            return Ok(None);
        }
        let settled = match settled {
            Some(settled) => settled,
            none => none.insert(tables.marks.range((part.stream, order.0)..(part.stream, part.next.0))?),
        };
        Ok(match settled.next().transpose()? {
            Some((at, place)) => Some((Order(at.value().1), Place(place.value()))),
            // Those that are not settled are behind those that are. One that was settled meanwhile makes the way longer.
            None => locked(unsettled).mark(part.stream, order..part.next),
        })
    }
}

/// A walk along the chain of one stream.
struct Walk<'a> {
    tables: &'a Tables,
    key: &'a Key,
    part: &'a Part,
    content: Content,
    /// Of all that is read in this walk.
    contents: Contents,
    looked: &'a mut Looked,
}

impl Walk<'_> {
    /// Adds the events `wanted` to `out`, the last one first, beginning at event `top`, which lies at `place`.
    fn back(
        &mut self,
        wanted: std::ops::Range<Order>,
        top: Order,
        mut place: Place,
        out: &mut Vec<StoredEvent>,
    ) -> Result<(), Failure> {
        let mut order = top;
        loop {
            let mut named = self.looked.named;
            let gone = || missing(self.key, order);
            let block = self.looked.block(self.tables, place.block())?.ok_or_else(gone)?;
            let row = blocks::row(block.value(), place).map_err(|Garbled| gone())?;
            let back = if order < wanted.end {
                let slot = Slot { stream: self.part.stream, order };
                let names = &self.tables.names;
                let name = |name: u64| {
                    if named.is_none_or(|(known, _)| known != name) {
                        named = names.get(name).ok()?.map(|row| (name, Incarnation(row.value())));
                    }
                    named.map(|(_, incarnation)| incarnation)
                };
                let (partition, content) = (self.part.partition, self.content);
                let copying = Copying { partition, content, contents: &mut self.contents };
                let found = codec::get_event(row, slot, copying, name);
                let garbled = |Garbled| Failure::Garbled(format!("event {order} of key {}", self.key));
                let (mut event, back, large) = found.map_err(garbled)?;
                if let (Some(large), Content::Whole) = (large, self.content) {
                    event.value = self.tables.values.get(slot, large)?;
                }
                out.push(event);
                back
            } else {
                codec::get_back(row).map_err(|Garbled| gone())?
            };
            self.looked.named = named;
            if order == wanted.start {
                return Ok(());
            }
            order = Order(order.0 - 1);
            let before = place.0.checked_sub(back).filter(|_| back > 0);
            place = Place(before.ok_or_else(|| missing(self.key, order))?);
        }
    }
}

fn missing(key: &Key, order: Order) -> Failure {
    Failure::Garbled(format!("event {order} of key {key} is missing"))
}
