//! Reading: what the reader gave goes to the machines, with the counts of the keys that they want.

use super::Owner;
use super::lookup::add_stored;
use crate::limits::{COMMIT_BYTES_MAX, POLL_RECORDS_MAX, RETRY_MS};
use bkes_core::machine::{Counted, Fetched, Input};
use bkes_core::sequence::NowMs;
use bkes_core::topic::Reading;
use bkes_core::{Cause, Count, Fingerprint, Key, Partition, Position};
use bkes_log::ReadEvent;
use bkes_storage::StoreError;
use std::collections::BTreeSet;

/// The keys that are wanted of what was fetched: of the event at an index, in this partition.
struct Wanted {
    at: Vec<usize>,
    counted: Vec<(Partition, Counted)>,
}

impl Owner {
    pub(super) fn take_records(&mut self, now: NowMs) -> bool {
        if self.is_reading_paused(now) {
            return false;
        }
        let mut events = std::mem::take(&mut self.events);
        let Owner { reader, partitions, .. } = self;
        let applied = |partition| {
            partitions.get(&partition).map_or(Position::START, |hosted| hosted.machine.position())
        };
        reader.poll_known(POLL_RECORDS_MAX, &applied, &mut events);
        let busy = !events.is_empty();
        if busy {
            self.read(&mut events, now);
        }
        events.clear();
        self.events = events;
        busy
    }

    /// Takes what the reader gave: that of each partition in order.
    fn read(&mut self, events: &mut Vec<ReadEvent>, now: NowMs) {
        let Wanted { at, counted } = match self.count(events) {
            Ok(wanted) => wanted,
            Err(error) => return self.read_again(events, error, now),
        };
        let mut wanted = at.into_iter().zip(counted.into_iter().map(|(_, counted)| counted)).peekable();
        let mut touched = std::mem::take(&mut self.touched);
        for (index, event) in events.drain(..).enumerate() {
            let counted = wanted.next_if(|(at, _)| *at == index).map(|(_, counted)| counted);
            let (partition, input) = match event {
                ReadEvent::Record { record, epoch } => {
                    (record.partition, Input::Record(Fetched { record, epoch, counted }))
                }
                ReadEvent::Known { partition, offset, crc32c, epoch } => {
                    (partition, Input::Known(Fingerprint { offset, crc32c, epoch }))
                }
                ReadEvent::End { partition, position } => (partition, Input::EndOfPartition(position)),
                ReadEvent::Failed { partition: Some(partition), failure } => {
                    (partition, Input::ReadFailed(failure))
                }
                ReadEvent::Failed { partition: None, failure } => {
                    tracing::warn!("reading the log: {failure}");
                    continue;
                }
            };
            let Some(hosted) = self.partitions.get_mut(&partition) else { continue };
            if hosted.inputs.is_empty() {
                touched.push(partition);
            }
            hosted.inputs.push(input);
        }
        for partition in touched.drain(..) {
            let hosted = self.partitions.get_mut(&partition).expect("it was found above");
            // What the store said of a partition that begins anew counts for nothing: it may have been dropped before.
            if hosted.board.counts(hosted.machine.fold()) {
                self.drive(partition, now);
            } else {
                hosted.inputs.clear();
            }
        }
        self.touched = touched;
    }

    /// Where the keys of all records to be applied stand: by the overlay, and for keys that are not there by the store, in one snapshot.
    /// What this owner has open stays open from here to the end of the step.
    fn count(&mut self, events: &[ReadEvent]) -> Result<Wanted, StoreError> {
        let overlay = &self.context.overlay;
        overlay.begin_step(self.index);
        self.in_step = true;
        let (mut at, mut counted) = (Vec::new(), Vec::new());
        for (index, event) in events.iter().enumerate() {
            let ReadEvent::Record { record, .. } = event else { continue };
            let hosted = self.partitions.get(&record.partition);
            let Some(key) = hosted.and_then(|hosted| hosted.machine.wants(record)) else { continue };
            at.push(index);
            counted
                .push((record.partition, Counted { hash: overlay.hash(&key), key, count: Count::default() }));
        }
        overlay.count_all(&mut counted);
        let is_unknown = |(_, counted): &&mut (Partition, Counted)| counted.count.head.is_none();
        let mut asking: Vec<&mut (Partition, Counted)> = counted.iter_mut().filter(is_unknown).collect();
        let asked: Vec<Key> = asking.iter().map(|(_, counted)| counted.key.clone()).collect();
        let mut stored = Vec::with_capacity(asked.len());
        if !asked.is_empty() {
            self.context.store.heads(&asked, &mut stored)?;
            if !self.context.board.store_view.is_settled() {
                // It may have lost what it was asked for, and that is not announced yet.
                return Err(StoreError::Closed);
            }
        }
        for ((partition, counted), heads) in asking.iter_mut().zip(stored) {
            add_stored(&mut counted.count, *partition, &heads);
        }
        Ok(Wanted { at, counted })
    }

    /// The store could not be asked: what was read is read again later.
    fn read_again(&mut self, events: &[ReadEvent], error: StoreError, now: NowMs) {
        match error {
            StoreError::Damaged { detail } => self.context.writer.damaged(self.epoch, detail),
            StoreError::ReadFailed { source } => self.context.writer.unreadable(Cause::of(source)),
            // It is opened anew. If it lost something, this fold begins anew.
            StoreError::Closed => {}
            error => tracing::error!("{error}; reading the log rests"),
        }
        self.read_retry_at = now + RETRY_MS;
        let partitions: BTreeSet<Partition> = events
            .iter()
            .filter_map(|event| match event {
                ReadEvent::Record { record, .. } => Some(record.partition),
                ReadEvent::Known { partition, .. } | ReadEvent::End { partition, .. } => Some(*partition),
                ReadEvent::Failed { partition, .. } => *partition,
            })
            .collect();
        for partition in partitions {
            if self.partitions.get(&partition).is_some_and(|hosted| !hosted.machine.awaits_turn()) {
                self.tell(partition, Input::BeginReading, now);
            }
        }
    }

    /// Begins to read the partitions whose turn has come.
    pub(super) fn begin_reading(&mut self, now: NowMs) {
        if !self.order.is_waiting() {
            return;
        }
        let machines = || self.partitions.iter().map(|(partition, hosted)| (*partition, &hosted.machine));
        let left: u64 =
            machines().filter(|(_, machine)| machine.is_read()).map(|(_, machine)| machine.left()).sum();
        let waiting = machines().filter(|(_, machine)| machine.awaits_turn());
        let waiting =
            waiting.map(|(partition, machine)| Reading { left: machine.left(), partition }).collect();
        // That nothing is read while the writer is behind says nothing of a partition.
        let limits = (self.context.options.catch_up_records, self.is_reading_paused(now));
        for partition in self.order.next(left, waiting, limits, now) {
            self.tell(partition, Input::BeginReading, now);
        }
    }

    /// Whether the reader is not asked: for the store's sake.
    fn is_reading_paused(&self, now: NowMs) -> bool {
        now < self.read_retry_at || self.is_overlay_full()
    }

    /// Whether reading has to wait for the writer: all of what is not committed is bounded, and so is one transaction.
    pub(super) fn is_overlay_full(&self) -> bool {
        let overlay = &self.context.overlay;
        overlay.bytes() > self.context.options.overlay_bytes_max
            || overlay.open_bytes(self.index) > COMMIT_BYTES_MAX
    }
}
