//! A read in the making: one page at a time, when it is asked for, and nothing but numbers in between.

use super::failures::of_read;
use super::range::Shown;
use crate::frozen::{Frozen, Wanted};
use crate::handle::{EngineHandle, read_weight};
use crate::limits::{FIRST_PAGES_EVENTS, FIRST_PAGES_EVENTS_MAX, PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
use crate::read::View;
use bkes_api::{Direction, Event, Failure, Layout, Order, Page, PageEnd};
use bkes_core::StoredEvent;

/// What is left of a read.
pub struct Pages {
    pub handle: EngineHandle,
    pub frozen: Frozen,
    pub direction: Direction,
    /// The orders that are not shown yet, and whether nothing lies beyond them.
    pub left: Shown,
    /// What its last page says.
    pub end: PageEnd,
    pub with_headers: bool,
    /// How many events are looked at together: more from page to page after the first ones, and fewer where they are large and the last of
    /// them are wanted.
    pub block: usize,
    /// How many events were shown in pages that might have been larger.
    pub shown: usize,
}

impl Pages {
    /// The next page; the last one has an end.
    pub async fn next(&mut self) -> Result<Page, Failure> {
        let events = match self.direction {
            _ if self.left.low == self.left.high => Vec::new(),
            Direction::Forwards => self.forwards().await?,
            Direction::Backwards => self.backwards().await?,
        };
        let end = (self.left.low == self.left.high).then(|| self.end.clone());
        let shown = |event| Event::shown(event, self.with_headers);
        Ok(Page { events: events.into_iter().map(shown).collect(), end })
    }

    async fn forwards(&mut self) -> Result<Vec<StoredEvent>, Failure> {
        let mut events = self.read(self.left.low, self.count(self.block)).await?;
        trim(&mut events, PAGE_BYTES_MAX);
        self.left.low = Order(self.left.low.0 + events.len() as u64);
        self.grow(events.len());
        Ok(events)
    }

    /// The last events that are left, the last one first. They are read from the first of a block on, and the bytes of a page may end
    /// before the block does: then a smaller one is read. So no try holds more than a page and an event.
    async fn backwards(&mut self) -> Result<Vec<StoredEvent>, Failure> {
        let mut events = loop {
            let count = self.count(self.block);
            let events = self.read(Order(self.left.high.0 - count as u64), count).await?;
            if events.len() == count {
                break events;
            }
            self.block = events.len().min(count / 2).max(1);
        };
        events.reverse();
        let is_small = trim(&mut events, PAGE_BYTES_MAX) <= PAGE_BYTES_MAX / 2;
        self.left.high = Order(self.left.high.0 - events.len() as u64);
        if is_small {
            self.grow(events.len());
        }
        Ok(events)
    }

    /// After a page of so many events the next one may have more.
    fn grow(&mut self, events: usize) {
        self.shown += events;
        let is_long = self.shown >= FIRST_PAGES_EVENTS;
        let events_max = if is_long { PAGE_EVENTS_MAX } else { FIRST_PAGES_EVENTS_MAX };
        self.block = (self.block * 2).min(events_max);
    }

    /// How many events are left, so many at most.
    fn count(&self, count_max: usize) -> usize {
        usize::try_from(self.left.high.0 - self.left.low.0).unwrap_or(usize::MAX).min(count_max)
    }

    async fn read(&self, from: Order, events_max: usize) -> Result<Vec<StoredEvent>, Failure> {
        let wanted = Wanted { from, events_max, bytes_max: PAGE_BYTES_MAX };
        // To put a split aggregate in order all of it is looked at.
        let in_order = matches!(self.frozen.layout, Layout::ByOrderHeaders(_));
        let looked_at = if in_order { self.frozen.end().0 - self.frozen.base().0 } else { events_max as u64 };
        let _turn = if in_order { self.handle.split_turn(looked_at).await } else { None };
        let frozen = self.frozen.clone();
        let read = move |view: View<'_>| view.read_frozen(&frozen, wanted);
        let weight = read_weight(looked_at, PAGE_BYTES_MAX);
        self.handle.look(self.handle.is_short(looked_at), weight, read).await.map_err(of_read)
    }
}

/// Drops the last events where there are more than so many bytes; the first one stays. Says how many bytes are left.
pub fn trim(events: &mut Vec<StoredEvent>, bytes_max: usize) -> usize {
    let (mut bytes, mut count) = (0, 0);
    for event in events.iter() {
        let with_this = bytes + event.content_bytes();
        if count > 0 && with_this > bytes_max {
            break;
        }
        (bytes, count) = (with_this, count + 1);
    }
    events.truncate(count);
    bytes
}
