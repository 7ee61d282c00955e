//! The past: records are read from the log and judged, block by block.
//!
//! Nothing at or above what is decided in a partition is judged; the reader may be ahead of that, and what it gave is kept for later. A reader
//! is made when there is something to be read, and let go when nothing is. A partition is assigned once to a reader: where reading has to
//! go on elsewhere a new one is made, so that nothing which the old one had fetched can be taken for what comes next.

use super::failure;
use super::judge::{Judged, Shown, Unjudged, judge};
use super::lane::{Lane, Lanes};
use super::outbox::Outbox;
use crate::context::Context;
use crate::limits::{FOLLOW_BLOCK_BYTES, FOLLOW_BLOCK_RECORDS, FOLLOW_POLL_RECORDS};
use bkes_api::{Failure, Reason};
use bkes_core::{Key, Order, Partition, Position, ReadFailure, Record, StoredEvent, content_bytes};
use bkes_log::{LogReader, ReadEvent, Waker};
use bkes_storage::ReadPart;
use std::collections::{BTreeMap, VecDeque};

/// What a reader gave of a partition and was not judged.
#[derive(Default)]
struct Raw {
    records: VecDeque<Record>,
    /// Everything below this was read.
    end: Position,
    /// Something that was read and not judged was left out: what comes next of the reader is not what comes next here.
    is_torn: bool,
}

/// The reader, and what it gave.
#[derive(Default)]
struct Reading {
    reader: Option<Box<dyn LogReader>>,
    /// Of the partitions that are assigned to it.
    raw: BTreeMap<Partition, Raw>,
}

/// What is read of the past.
pub struct Past {
    waker: Waker,
    prefix: bytes::Bytes,
    reading: Reading,
    /// Judged and not shown, partition by partition.
    judged: VecDeque<Judged>,
    /// Up to where everything is shown when that is.
    judged_to: Vec<(Partition, Position)>,
    events: Vec<ReadEvent>,
}

/// Whether there was something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    Some,
    None,
    /// The store is being opened anew: soon.
    Later,
}

impl Past {
    pub fn new(waker: Waker, prefix: bytes::Bytes) -> Past {
        let (reading, judged, judged_to, events) = Default::default();
        Past { waker, prefix, reading, judged, judged_to, events }
    }

    /// Whether something is judged and not shown.
    pub fn is_showing(&self) -> bool {
        !self.judged.is_empty() || !self.judged_to.is_empty()
    }

    /// Lets the reader go: nothing of the past is left to be read.
    pub fn rest(&mut self) {
        self.reading = Reading::default();
    }

    /// Shows what is judged, as much as may be; the positions of the lanes follow.
    pub fn show(&mut self, context: &Context, lanes: &mut Lanes, outbox: &mut Outbox) -> Result<(), Failure> {
        while !outbox.is_full()
            && let Some(Judged { last, partition, shown }) = self.judged.pop_front()
        {
            match shown {
                Shown::Events { key, events } => outbox.show(&key, events),
                Shown::Stored { key, partition, first, count } => {
                    let events = stored(context, (&key, partition), first, count)?;
                    lanes.check(context, partition)?;
                    let is_whole = events.len() == count as usize
                        && events.first().is_some_and(|event| event.order == first);
                    if !is_whole {
                        return Err(failure::begun_anew(partition));
                    }
                    outbox.show(&key, events);
                }
            }
            lanes.come_to(partition, last.next());
        }
        if self.judged.is_empty() {
            for (partition, position) in self.judged_to.drain(..) {
                lanes.come_to(partition, position);
            }
        }
        Ok(())
    }

    /// Reads a block of what is decided in these lanes, and judges it. That their folds have counted throughout is seen at the beginning of the
    /// next step, before anything of it is shown.
    pub fn read(&mut self, context: &Context, lanes: &Lanes) -> Result<Progress, Failure> {
        let mut decided = BTreeMap::new();
        for lane in lanes.past() {
            let end = lane.decided(context)?;
            if lane.position < end {
                decided.insert(lane.board.partition, end);
            }
        }
        if decided.is_empty() {
            return Ok(Progress::None);
        }
        let Some(view) = context.board.store_view.before_look() else { return Ok(Progress::Later) };
        self.assign(context, lanes.past().filter(|lane| decided.contains_key(&lane.board.partition)))?;
        if !self.has_judgeable(&decided) {
            self.poll(lanes)?;
        }
        let (records, ends) = self.take_judgeable(lanes, &decided);
        if ends.is_empty() {
            return Ok(Progress::None);
        }
        let epoch = context.board.epoch();
        let judged = judge(context, records, &self.prefix);
        if context.board.store_view.before_look() != Some(view) {
            // What was taken is read again: by a new reader, since the lanes have not moved.
            self.rest();
            return Ok(Progress::Later);
        }
        self.judged = match judged {
            Ok(judged) => judged.into(),
            Err(Unjudged::Store(error)) => return Err(failure::store_error(context, epoch, error)),
            Err(Unjudged::Missing { partition, offset }) => {
                lanes.check(context, partition)?;
                tracing::error!(
                    "partition {partition}: the record at offset {offset} is applied and no event"
                );
                return Err(failure::begun_anew(partition));
            }
        };
        self.judged_to = ends;
        Ok(Progress::Some)
    }

    /// Has the reader stand where each of these lanes goes on.
    fn assign<'l>(
        &mut self,
        context: &Context,
        lanes: impl Iterator<Item = &'l Lane> + Clone,
    ) -> Result<(), Failure> {
        let raw = &self.reading.raw;
        let goes_on =
            |lane: &Lane| raw.get(&lane.board.partition).is_none_or(|raw| raw.begins_at(lane.position));
        if !lanes.clone().all(goes_on) {
            self.rest();
        }
        let Reading { reader, raw } = &mut self.reading;
        let reader = match reader {
            Some(reader) => reader,
            None => {
                let made = context.log.reader(self.waker.clone());
                reader.insert(made.map_err(|error| failure::log_error(&error))?)
            }
        };
        for lane in lanes {
            raw.entry(lane.board.partition).or_insert_with(|| {
                reader.assign(lane.board.partition, lane.position);
                Raw { records: VecDeque::new(), end: lane.position, is_torn: false }
            });
        }
        Ok(())
    }

    fn has_judgeable(&self, decided: &BTreeMap<Partition, Position>) -> bool {
        decided.iter().any(|(partition, end)| {
            let first = self.reading.raw.get(partition).and_then(|raw| raw.records.front());
            first.is_some_and(|record| record.offset < end.offset())
        })
    }

    /// Takes a block from the reader.
    fn poll(&mut self, lanes: &Lanes) -> Result<(), Failure> {
        let Reading { reader: Some(reader), raw } = &mut self.reading else { return Ok(()) };
        let kept = |raw: &Raw| (raw.records.len(), raw.records.iter().map(record_bytes).sum::<usize>());
        let (mut records, mut bytes) =
            raw.values().map(kept).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        if records >= FOLLOW_BLOCK_RECORDS || bytes >= FOLLOW_BLOCK_BYTES {
            // What was read ahead in others would leave no room: they are read again when it is their turn.
            raw.values_mut().for_each(Raw::forget);
            (records, bytes) = (0, 0);
        }
        let is_past = |partition| lanes.get(partition).is_some_and(|lane: &Lane| !lane.is_live);
        let mut events = std::mem::take(&mut self.events);
        while records < FOLLOW_BLOCK_RECORDS && bytes < FOLLOW_BLOCK_BYTES {
            reader.poll(FOLLOW_POLL_RECORDS, &mut events);
            if events.is_empty() {
                break;
            }
            for event in events.drain(..) {
                match event {
                    ReadEvent::Record { record, .. } => {
                        let Some(raw) = raw.get_mut(&record.partition) else { continue };
                        // Of a partition that is shown as it is decided by now, nothing is kept.
                        if !is_past(record.partition) {
                            raw.forget();
                            raw.is_torn = true;
                        } else if !raw.is_torn && record.offset >= raw.end.offset() {
                            records += 1;
                            bytes += record_bytes(&record);
                            raw.end = record.offset.next();
                            raw.records.push_back(record);
                        }
                    }
                    ReadEvent::End { partition, position } => {
                        if let Some(raw) = raw.get_mut(&partition) {
                            raw.ended_at(position);
                        }
                    }
                    ReadEvent::Failed { partition: Some(partition), failure } => {
                        match lanes.get(partition).filter(|lane| !lane.is_live) {
                            Some(lane) => stopped(lane, failure)?,
                            None => raw.values_mut().for_each(|raw| raw.is_torn = true),
                        }
                    }
                    ReadEvent::Failed { partition: None, failure } => {
                        tracing::warn!("reading the past: {failure}");
                    }
                    ReadEvent::Known { .. } => unreachable!("nothing is known to this reader"),
                }
            }
        }
        self.events = events;
        Ok(())
    }

    /// What lies below what is decided, and up to where that goes in each partition that gets on.
    fn take_judgeable(
        &mut self,
        lanes: &Lanes,
        decided: &BTreeMap<Partition, Position>,
    ) -> (Vec<Record>, Vec<(Partition, Position)>) {
        let (mut records, mut ends) = (Vec::new(), Vec::new());
        for (partition, end) in decided {
            let (Some(raw), Some(lane)) = (self.reading.raw.get_mut(partition), lanes.get(*partition)) else {
                continue;
            };
            let count = raw.records.partition_point(|record| record.offset < end.offset());
            records.extend(raw.records.drain(..count));
            // Where a record is ahead of what is decided, everything below what is decided was read too.
            let to = raw.end.min(*end);
            if to > lane.position {
                ends.push((*partition, to));
            }
        }
        (records, ends)
    }
}

impl Raw {
    /// Whether what comes next of it is what comes next of a lane that stands there.
    fn begins_at(&self, position: Position) -> bool {
        match self.records.front() {
            _ if self.is_torn => false,
            // What lies between was read, and is nothing that is left.
            Some(first) => first.offset >= position.offset(),
            None => self.end >= position,
        }
    }

    /// The reader has given everything below the position. Of what is torn, some of that was left out.
    fn ended_at(&mut self, position: Position) {
        if !self.is_torn {
            self.end = self.end.max(position);
        }
    }

    fn forget(&mut self) {
        self.is_torn |= !self.records.is_empty();
        self.records = VecDeque::new();
    }
}

fn record_bytes(record: &Record) -> usize {
    content_bytes(record.payload_bytes(), &record.headers)
}

/// What becomes of it when the reader cannot go on in a partition.
fn stopped(lane: &Lane, failure: ReadFailure) -> Result<(), Failure> {
    let partition = lane.board.partition;
    match failure {
        ReadFailure::Unavailable { detail } => {
            tracing::warn!(partition = partition.0, "the past cannot be read now: {detail}");
            Ok(())
        }
        ReadFailure::OutOfRange { position } => Err(failure::out_of_range(&lane.board, position)),
        ReadFailure::LostEnd { .. } => Err(failure::begun_anew(partition)),
        failure => Err(Failure::new(Reason::Degraded, format!("partition {partition}: {failure}"))),
    }
}

/// The events of an append, from the overlay first and the store second.
fn stored(
    context: &Context,
    (key, partition): (&Key, Partition),
    first: Order,
    count: u32,
) -> Result<Vec<StoredEvent>, Failure> {
    let epoch = context.board.epoch();
    let applied = context.overlay.copy(key);
    let mut events = Vec::with_capacity(count as usize);
    let part = ReadPart { key, partition, from: first, events_max: count as usize, bytes_max: usize::MAX };
    context.store.read(part, &mut events).map_err(|error| failure::store_error(context, epoch, error))?;
    let next = Order(first.0 + events.len() as u64);
    let end = Order(first.0 + u64::from(count));
    let applied = applied.into_iter().filter(|part| part.head.partition == partition);
    events.extend(applied.flat_map(|part| part.events).filter(|event| (next..end).contains(&event.order)));
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that fails in one partition tears what is read of all: what it gives after that is left out. Where it then came to the end of
    /// a partition, everything up to there counted as read, and a follower missed events without a word.
    #[test]
    fn the_end_of_what_is_torn_says_nothing() {
        let end = |is_torn| {
            let mut raw = Raw { records: VecDeque::new(), end: Position(5), is_torn };
            raw.ended_at(Position(9));
            raw.end
        };
        assert_eq!((end(false), end(true)), (Position(9), Position(5)));
    }
}
