//! The instance that is compared: its calls with a time and repetition.

use crate::options::{AuditError, Instance, Options};
use crate::topic::Topic;
use bkes_api::{
    ErrorClass, Event, Failure, Freshness, KeyList, KeysRequest, Page, Positions, Read, ReadMany, Reason,
    TopicId,
};
use bkes_core::{Key, Order};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_stream::StreamExt;

/// The instance, and up to where it is judged.
pub struct Judged<'a> {
    instance: Instance<'a>,
    freshness: Freshness,
    /// Of each partition the end, and the members that wait for the rest of their batch there.
    ends: Vec<(u64, BTreeSet<u64>)>,
    wait_max: Duration,
    tries_max: u32,
    pause: Duration,
}

/// Pages without an event and without an end that are taken for a read that does not go on.
const EMPTY_PAGES_MAX: u32 = 16;

impl<'a> Judged<'a> {
    pub fn new(instance: Instance<'a>, topic: &Topic<'_>, options: &Options) -> Judged<'a> {
        let id = &topic.identity.topic_id;
        let positions = Positions {
            topic: (!id.is_empty()).then(|| TopicId::new(id)),
            of: topic.spans.iter().map(|span| (span.partition, span.end)).collect(),
        };
        Judged {
            instance,
            freshness: Freshness::AtLeast(positions),
            ends: topic.spans.iter().map(|span| (span.end.0, span.undecided.clone())).collect(),
            wait_max: options.wait_max,
            tries_max: options.tries_max.max(1),
            pause: options.pause,
        }
    }

    /// Whether an event is of what was written, or decided, after the end: it is not judged.
    pub fn is_newer(&self, event: &Event) -> bool {
        let end = self.ends.get(event.partition.0 as usize);
        end.is_none_or(|(end, undecided)| event.offset.0 >= *end || undecided.contains(&event.offset.0))
    }

    /// A page of the list of all aggregates.
    pub fn keys(&self, after: Option<Key>) -> Result<KeyList, AuditError> {
        let request = KeysRequest { after, freshness: self.freshness.clone(), ..KeysRequest::default() };
        let call = || self.timed(self.instance.store.keys(request.clone()));
        self.repeated(call).map_err(AuditError::Instance)
    }

    /// Reads these aggregates, page by page, once. Those before the one at which it fails were read to their ends.
    pub fn read_many(&self, keys: Vec<Key>, mut on_page: impl FnMut(&Key, Page)) -> Result<(), Failure> {
        let freshness = self.freshness.clone();
        let (from, limit, with_headers) = (Order::FIRST, u64::MAX, true);
        let read = ReadMany { keys, from, limit, freshness, with_headers };
        let mut pages = self.timed(self.instance.store.read_many(read))?;
        while let Some(page) = self.next(&mut pages)? {
            on_page(&page.key, page.page);
        }
        Ok(())
    }

    /// Reads one aggregate, page by page, split or not, once.
    pub fn read(&self, key: Key, mut on_page: impl FnMut(Page)) -> Result<(), Failure> {
        let read = Read { freshness: self.freshness.clone(), part_by_part: true, ..Read::all(key) };
        let mut pages = self.timed(self.instance.store.read(read))?;
        while let Some(page) = self.next(&mut pages)? {
            on_page(page);
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
