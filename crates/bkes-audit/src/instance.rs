//! The instance that is compared: its calls with a time and repetition.

use crate::limits::EMPTY_PAGES_MAX;
use crate::options::{AuditError, Instance, Options};
use crate::topic::Topic;
use bkes_api::{
    ErrorClass, Event, Failure, Freshness, Head, KeyList, KeysRequest, Page, Positions, Read, ReadMany,
    Reason, TopicId,
};
use bkes_core::{Key, Offset, Order, Partition};
use bkes_log::{Log, LogError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio_stream::StreamExt;

/// When an event was written that is said to be somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Age {
    /// Before the end: it is judged.
    Judged,
    /// It was written, or decided, after the end.
    Newer,
    /// The log has no such place.
    Nowhere,
}

/// The instance, and up to where it is judged.
pub struct Judged<'a> {
    instance: Instance<'a>,
    log: &'a dyn Log,
    freshness: Freshness,
    /// Of each partition the end, and the members that wait for the rest of their batch there.
    ends: Vec<(u64, BTreeSet<u64>)>,
    /// How high each partition of the log is known to reach by now: it is asked again when an event lies higher.
    highs: RefCell<Vec<u64>>,
    /// Why the log could not be asked.
    trouble: Cell<Option<LogError>>,
    wait_max: Duration,
    tries_max: u32,
    pause: Duration,
}

impl<'a> Judged<'a> {
    pub fn new(instance: Instance<'a>, topic: &Topic<'a>, options: &Options) -> Judged<'a> {
        let id = &topic.identity.topic_id;
        let positions = Positions {
            topic: (!id.is_empty()).then(|| TopicId::new(id)),
            of: topic.spans.iter().map(|span| (span.partition, span.end)).collect(),
        };
        Judged {
            instance,
            log: topic.log(),
            freshness: Freshness::AtLeast(positions),
            ends: topic.spans.iter().map(|span| (span.end.0, span.undecided.clone())).collect(),
            highs: RefCell::new(topic.spans.iter().map(|span| span.end.0).collect()),
            trouble: Cell::new(None),
            wait_max: options.wait_max,
            tries_max: options.tries_max.max(1),
            pause: options.pause,
        }
    }

    /// Learns whether the log has these places by now, of which the instance has told: for [`Self::age`]. Where the log must be asked and
    /// has no answer, [`Self::check_log`] tells it.
    pub fn look_up(&self, places: impl IntoIterator<Item = (Partition, Offset)>) {
        if places.into_iter().any(|(partition, offset)| self.age(partition, offset) == Age::Nowhere) {
            self.ask_highs();
        }
    }

    /// When an event at this place, which was looked up, was written.
    pub fn age(&self, partition: Partition, offset: Offset) -> Age {
        let is_in =
            |(end, undecided): &(u64, BTreeSet<u64>)| offset.0 < *end && !undecided.contains(&offset.0);
        if self.ends.get(partition.0 as usize).is_some_and(is_in) {
            return Age::Judged;
        }
        match self.highs.borrow().get(partition.0 as usize) {
            Some(high) if offset.0 < *high => Age::Newer,
            _ => Age::Nowhere,
        }
    }

    /// Whether there can be so many events that are newer than the end.
    pub fn can_be_newer(&self, events: u64) -> bool {
        let most = || {
            let of = |(partition, high): (usize, &u64)| match self.ends.get(partition) {
                Some((end, undecided)) => high.saturating_sub(*end) + undecided.len() as u64,
                None => *high,
            };
            self.highs.borrow().iter().enumerate().map(of).sum::<u64>()
        };
        if events > most() {
            self.ask_highs();
        }
        events <= most()
    }

    /// That the log had an answer whenever it was asked.
    pub fn check_log(&self) -> Result<(), AuditError> {
        self.trouble.take().map_or(Ok(()), |error| Err(AuditError::Log(error)))
    }

    /// Asks how high the log reaches: all that the instance has shown lies below.
    fn ask_highs(&self) {
        let ask = || -> Result<Vec<u64>, LogError> {
            let partitions: Vec<Partition> = (0..self.log.partition_count()?.get()).map(Partition).collect();
            let marks = self.log.watermarks_of(&partitions).into_iter();
            marks.map(|marks| marks.map(|marks| marks.high.0)).collect()
        };
        for tried in 1.. {
            match ask() {
                Ok(highs) => {
                    *self.highs.borrow_mut() = highs;
                    return;
                }
                Err(error) if tried >= self.tries_max => return self.trouble.set(Some(error)),
                Err(_) => std::thread::sleep(self.pause),
            }
        }
    }

    /// A page of the list of all aggregates.
    pub fn keys(&self, after: Option<Key>) -> Result<KeyList, AuditError> {
        let request = KeysRequest { after, freshness: self.freshness.clone(), ..KeysRequest::default() };
        let call = || self.timed(self.instance.store.keys(request.clone()));
        self.repeated(call).map_err(AuditError::Instance)
    }

    /// Where an aggregate stands.
    pub fn head(&self, key: &Key) -> Result<Option<Head>, Failure> {
        let call = || self.timed(self.instance.store.head(key.clone(), self.freshness.clone()));
        self.repeated(call)
    }

    /// Reads these aggregates, page by page, once, until it is told to break. Those before the one at which it fails were read to their
    /// ends.
    pub fn read_many(
        &self,
        keys: Vec<Key>,
        mut on_page: impl FnMut(&Key, Page) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let freshness = self.freshness.clone();
        let (from, limit, with_headers) = (Order::FIRST, u64::MAX, true);
        let read = ReadMany { keys, from, limit, freshness, with_headers };
        let mut pages = self.timed(self.instance.store.read_many(read))?;
        while let Some(page) = self.next(&mut pages)? {
            if on_page(&page.key, page.page).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads one aggregate, page by page, split or not, once, until it is told to break.
    pub fn read(&self, key: Key, mut on_page: impl FnMut(Page) -> ControlFlow<()>) -> Result<(), Failure> {
        let read = Read { freshness: self.freshness.clone(), part_by_part: true, ..Read::all(key) };
        let mut pages = self.timed(self.instance.store.read(read))?;
        while let Some(page) = self.next(&mut pages)? {
            if on_page(page).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Some events of an aggregate from an order on, and whether it ends with them.
    pub fn window(&self, key: &Key, from: Order, limit: u64) -> Result<(Vec<Event>, bool), Failure> {
        let freshness = self.freshness.clone();
        let read = Read { freshness, limit, part_by_part: true, ..Read::after(key.clone(), from) };
        self.repeated(|| {
            let mut pages = self.timed(self.instance.store.read(read.clone()))?;
            for _ in 0..EMPTY_PAGES_MAX {
                let Some(Page { events, end }) = self.next(&mut pages)? else { return Ok((vec![], true)) };
                let is_last = end.is_some_and(|end| end.is_complete);
                if !events.is_empty() || is_last {
                    return Ok((events, is_last));
                }
            }
            Ok((vec![], true))
        })
    }

    /// Makes a call again while that makes sense.
    pub fn repeated<T>(&self, mut call: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut tries = 1;
        loop {
            match call() {
                Err(failure) if failure.class() != ErrorClass::Rejected && tries < self.tries_max => {
                    std::thread::sleep(failure.retry_after.unwrap_or_default().max(self.pause));
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn timed<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = self.instance.runtime;
        runtime.block_on(async { tokio::time::timeout(self.wait_max, call).await.unwrap_or_else(late) })
    }

    fn next<T>(
        &self,
        pages: &mut (impl tokio_stream::Stream<Item = Result<T, Failure>> + Unpin),
    ) -> Result<Option<T>, Failure> {
        self.timed(async { pages.next().await.transpose() })
    }
}

fn late<T>(_: tokio::time::error::Elapsed) -> Result<T, Failure> {
    Err(Failure::new(Reason::DeadlineExceeded, "no answer came in the time that the audit gives"))
}
