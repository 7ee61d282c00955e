//! Reads: an aggregate is frozen when the call begins, and its events come page by page. What is appended later is not shown.

use super::failures::{failure, in_field, of_read, of_unready};
use super::pages::Pages;
use super::range::shown;
use crate::api::ReadError;
use crate::freshness::Fresh;
use crate::frozen::Frozen;
use crate::handle::{EngineHandle, read_weight};
use crate::limits::{FIRST_PAGES_EVENTS_MAX, OUTLINES_MAX, READ_KEYS_MAX};
use crate::read::{Located, View};
use bkes_api::{
    AsOf, BoxStream, Direction, Failure, Freshness, Key, KeyedPage, Layout, Offset, Order, Page, PageEnd,
    Partition, Read, ReadMany, Reason, TimestampMs,
};
use bkes_core::append::List;
use futures_util::stream::{self, StreamExt};
use std::vec;

/// A read that has begun: its first page, and what makes the others if there are any.
struct Begun {
    first: Page,
    rest: Option<Pages>,
}

impl EngineHandle {
    pub(super) async fn read_pages(&self, read: Read) -> Result<BoxStream<Result<Page, Failure>>, Failure> {
        if read.part_by_part && (read.direction == Direction::Backwards || read.as_of.is_some()) {
            return Err(in_field("part_by_part", "parts are read forwards and as of now only"));
        }
        let fresh = self.fresh(&read.freshness, Some(&read.key)).await.map_err(of_read)?;
        let is_verified = &mut (read.freshness == Freshness::Latest);
        let begun = self.begin(read, is_verified).await;
        self.check_fresh(&fresh).map_err(of_read)?;
        let Begun { first, rest } = begun?;
        let rest = stream::unfold(rest, async |rest| {
            let mut rest = rest?;
            let page = rest.next().await;
            let goes_on = page.as_ref().is_ok_and(|page| page.end.is_none());
            Some((page, goes_on.then_some(rest)))
        });
        Ok(Box::pin(tokio_stream::once(Ok(first)).chain(rest)))
    }

    pub(super) async fn read_pages_of_many(
        &self,
        read: ReadMany,
    ) -> Result<BoxStream<Result<KeyedPage, Failure>>, Failure> {
        let ReadMany { keys, from, limit, freshness, with_headers } = read;
        if keys.len() > READ_KEYS_MAX {
            let why = format!("one call reads {READ_KEYS_MAX} aggregates at most, not {}", keys.len());
            return Err(in_field("keys", why));
        }
        let one = match &keys[..] {
            [key] => Some(key),
            _ => None,
        };
        let fresh = self.fresh(&freshness, one).await.map_err(of_read)?;
        let is_verified = freshness == Freshness::Latest;
        let (handle, keys) = (self.clone(), keys.into_iter());
        let mut many = Many { handle, keys, from, limit, with_headers, fresh, is_verified, open: None };
        // What hinders the first page is the answer to the call.
        let first = match many.next().await {
            None => return Ok(Box::pin(tokio_stream::empty())),
            Some(first) => first?,
        };
        let rest = stream::unfold(Some(many), async |many| {
            let mut many = many?;
            let page = many.next().await?;
            let goes_on = page.is_ok();
            Some((page, goes_on.then_some(many)))
        });
        Ok(Box::pin(tokio_stream::once(Ok(first)).chain(rest)))
    }

    /// Freezes an aggregate and makes the first page of a read of it.
    async fn begin(&self, read: Read, is_verified: &mut bool) -> Result<Begun, Failure> {
        let Some(mut frozen) = self.freeze(&read, is_verified).await? else {
            return Ok(Begun { first: nothing(), rest: None });
        };
        let end = match read.as_of {
            None => frozen.end(),
            Some(AsOf::Offset(offset)) => {
                let partition = frozen.partition().expect("a split one is shown as of now only");
                let fresh = self.decided(partition, offset).await.map_err(of_read)?;
                // What was applied meanwhile was not there when it was frozen.
                let again = self.freeze(&read, is_verified).await;
                self.check_fresh(&fresh).map_err(of_read)?;
                frozen = again?
                    .filter(|again| again.partition() == Some(partition))
                    .ok_or_else(|| of_unready(&self.context().board.still_catching_up()))?;
                self.end_at_offset(&frozen, offset).await?
            }
            Some(AsOf::Time(time)) => self.end_at_time(&frozen, time).await?,
        };
        let base = frozen.base();
        if end == base && base > Order::FIRST {
            let error = format!("the events below order {base} were removed from the topic");
            return Err(failure(Reason::OutOfRange, &error, "what there was at that moment is not known"));
        }
        let left = shown(&read, base, end);
        let end = PageEnd {
            first: base,
            next: end,
            exists: end > base,
            is_complete: left.is_complete,
            layout: frozen.layout.clone(),
        };
        let Read { direction, with_headers, .. } = read;
        let (handle, block) = (self.clone(), FIRST_PAGES_EVENTS_MAX);
        let mut rest = Pages { handle, frozen, direction, left, end, with_headers, block, shown: 0 };
        let first = rest.next().await?;
        let rest = first.end.is_none().then_some(rest);
        Ok(Begun { first, rest })
    }

    /// An aggregate as it is now, if it exists. That it does not is verified, unless it was since the call began, and is so for the
    /// rest of the call.
    async fn freeze(&self, read: &Read, is_verified: &mut bool) -> Result<Option<Frozen>, Failure> {
        match self.locate(read.key.clone(), *is_verified).await {
            Ok(located) => {
                let layout = self.layout(&located, read)?;
                Ok(Some(Frozen::new(read.key.clone(), &located, layout)))
            }
            Err(ReadError::NoSuchAggregate { .. }) => {
                *is_verified = true;
                Ok(None)
            }
            Err(error) => Err(of_read(error)),
        }
    }

    /// How the events of an aggregate are shown, or that they cannot be shown as one.
    fn layout(&self, located: &Located, read: &Read) -> Result<Layout, Failure> {
        let partitions: Vec<Partition> = located.heads.iter().map(|head| head.partition).collect();
        if partitions.len() == 1 {
            return Ok(Layout::OnePartition);
        }
        let split = |what: &str, advice| {
            let error = format!("the aggregate is split over partitions {}: {what}", List(&partitions));
            Err(failure(Reason::Split, &error, advice))
        };
        if read.as_of.is_some() {
            return split("no moment is one of all of them", "read it as of now");
        }
        if self.context().options.split_by_order_headers {
            return Ok(Layout::ByOrderHeaders(partitions));
        }
        if read.part_by_part {
            return Ok(Layout::PartByPart(partitions));
        }
        split("its events have no order over all of them", "read it part by part")
    }

    async fn end_at_offset(&self, frozen: &Frozen, offset: Offset) -> Result<Order, Failure> {
        let at_once = self.is_short(frozen.end().0 - frozen.base().0);
        let frozen = frozen.clone();
        let search = move |view: View<'_>| view.end_at_offset(&frozen, offset);
        self.look(at_once, 0, search).await.map_err(of_read)
    }

    /// The order that the next event took before the first one that is later than a time. Timestamps need not rise, so all are looked at.
    async fn end_at_time(&self, frozen: &Frozen, time: TimestampMs) -> Result<Order, Failure> {
        let mut from = frozen.base();
        while from < frozen.end() {
            let wanted = frozen.clone();
            let look = move |view: View<'_>| view.outlines_frozen(&wanted, from, OUTLINES_MAX);
            let events = (frozen.end().0 - from.0).min(OUTLINES_MAX as u64);
            let outlines =
                self.look(self.is_short(events), read_weight(events, 0), look).await.map_err(of_read)?;
            if let Some(later) = outlines.iter().find(|outline| outline.timestamp > Some(time)) {
                return Ok(later.append().start.max(frozen.base()));
            }
            from = Order(from.0 + outlines.len() as u64);
        }
        Ok(frozen.end())
    }
}

/// The only page of an aggregate that does not exist.
fn nothing() -> Page {
    let layout = Layout::OnePartition;
    let end = PageEnd { first: Order::FIRST, next: Order::FIRST, exists: false, is_complete: true, layout };
    Page { events: Vec::new(), end: Some(end) }
}

/// Several aggregates, one after the other.
struct Many {
    handle: EngineHandle,
    keys: vec::IntoIter<Key>,
    from: Order,
    limit: u64,
    with_headers: bool,
    /// What each of them takes in.
    fresh: Fresh,
    /// Whether everything is applied that the log held at some time since the call began.
    is_verified: bool,
    /// The one that is read now, if there is more of it.
    open: Option<Pages>,
}

impl Many {
    async fn next(&mut self) -> Option<Result<KeyedPage, Failure>> {
        if let Some(pages) = &mut self.open {
            let key = pages.frozen.key.clone();
            let page = pages.next().await;
            if !page.as_ref().is_ok_and(|page| page.end.is_none()) {
                self.open = None;
            }
            return Some(page.map(|page| KeyedPage { key, page }));
        }
        let key = self.keys.next()?;
        let (limit, with_headers) = (self.limit, self.with_headers);
        let read = Read { limit, with_headers, ..Read::after(key.clone(), self.from) };
        let begun = self.handle.begin(read, &mut self.is_verified).await;
        let checked = self.handle.check_fresh(&self.fresh).map_err(of_read);
        Some(checked.and(begun).map(|Begun { first, rest }| {
            self.open = rest;
            KeyedPage { key, page: first }
        }))
    }
}
