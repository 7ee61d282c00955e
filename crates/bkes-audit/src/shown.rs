//! One aggregate as the instance shows it, summed up page by page, and what of that cannot be.

use crate::event_view::{EventView, Orders, Tally};
use crate::finding::Place;
use crate::instance::{Age, Judged};
use crate::limits::{EMPTY_PAGES_MAX, EXTRAS_MAX};
use crate::tally_pass::Shared;
use bkes_api::{Event, Head, Layout, ListedKey, Page, PageEnd, TimestampMs};
use bkes_core::{Offset, Order, Partition};
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// Events of one partition at the orders that follow from their places.
#[derive(Clone, Copy)]
pub struct ByPlace {
    partition: Partition,
    /// The order of the first event that the topic has.
    first: u64,
    shown: u64,
    tally: Tally,
}

impl ByPlace {
    /// None shown yet of what the topic has so.
    pub fn of(partition: Partition, topic: &Tally) -> ByPlace {
        // Orders in a partition have no gaps.
        let first = topic.next.wrapping_sub(topic.events());
        ByPlace { partition, first, shown: 0, tally: Tally::default() }
    }

    fn add(&mut self, event: &Event, is_judged: bool, shared: &Shared<'_>) {
        let order = Order(self.first.wrapping_add(self.shown));
        self.shown += 1;
        if is_judged {
            self.tally.add(&shared.events, &EventView::of_shown(event), order);
        }
    }
}

/// Why an aggregate was not read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// At this event: the log has no such place.
    Nowhere(Place),
    /// It has many more events than the topic.
    TooMany,
    /// It has more events above the end than the log has offsets there.
    TooManyNewer,
}

/// The last event shown.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Last {
    order: Order,
    partition: Partition,
    offset: Offset,
    timestamp: Option<TimestampMs>,
}

/// The aggregate.
#[derive(Default)]
pub struct Shown {
    pub parts: Vec<(Partition, Tally)>,
    /// Of all that is shown.
    pub events: u64,
    pub newer: u64,
    pub partitions: Vec<Partition>,
    pub end: Option<PageEnd>,
    pub stopped: Option<Stopped>,
    /// So many events the topic has of it.
    in_topic: u64,
    last: Option<Last>,
    /// Pages without an event, one after the other.
    empty_pages: u32,
    /// Orders that do not follow each other in one partition.
    disorder: Option<(Order, Order)>,
    /// Orders, where they are indexes over all partitions, that do not follow each other, or that go back to a lower partition.
    disorder_of_parts: Option<(Order, Order)>,
    /// Of one that may be split.
    by_place: Vec<ByPlace>,
}

impl Shown {
    /// Nothing shown yet of an aggregate of which the topic has so many events; for one that may be split, with its partitions.
    pub fn of(in_topic: u64, by_place: Vec<ByPlace>) -> Shown {
        Shown { in_topic, by_place, ..Shown::default() }
    }

    /// Takes a page in. Breaks where what follows has no bound.
    pub fn take(&mut self, page: Page, judged: &Judged<'_>, shared: &Shared<'_>) -> ControlFlow<()> {
        self.empty_pages = if page.events.is_empty() { self.empty_pages + 1 } else { 0 };
        judged.look_up(page.events.iter().map(|event| (event.partition, event.offset)));
        for event in &page.events {
            self.take_event(event, judged, shared);
            if self.stopped.is_some() {
                return ControlFlow::Break(());
            }
        }
        self.end = page.end.or(self.end.take());
        if self.end.is_none() && self.empty_pages >= EMPTY_PAGES_MAX {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn take_event(&mut self, event: &Event, judged: &Judged<'_>, shared: &Shared<'_>) {
        let &Event { order, partition, offset, timestamp, .. } = event;
        let age = judged.age(partition, offset);
        if age == Age::Nowhere {
            self.stopped = Some(Stopped::Nowhere(Place { order, partition, offset }));
            return;
        }
        if let Some(last) = self.last {
            let follows = last.order.plus(1) == Some(order);
            if partition == last.partition && !follows {
                self.disorder.get_or_insert((last.order, order));
            }
            if !follows || last.partition > partition {
                self.disorder_of_parts.get_or_insert((last.order, order));
            }
        }
        self.last = Some(Last { order, partition, offset, timestamp });
        self.events += 1;
        if !self.partitions.contains(&partition) {
            self.partitions.push(partition);
        }
        if let Some(by_place) = self.by_place.iter_mut().find(|part| part.partition == partition) {
            by_place.add(event, age == Age::Judged, shared);
        }
        if age == Age::Newer {
            self.newer += 1;
            if !judged.can_be_newer(self.newer) {
                self.stopped = Some(Stopped::TooManyNewer);
            }
            return;
        }
        let known = self.parts.iter().position(|(of, _)| *of == partition);
        let index = known.unwrap_or(self.parts.len());
        if known.is_none() {
            self.parts.push((partition, Tally::default()));
        }
        self.parts[index].1.add(&shared.events, &EventView::of_shown(event), order);
        if self.events - self.newer > self.in_topic.saturating_add(EXTRAS_MAX as u64) {
            self.stopped = Some(Stopped::TooMany);
        }
    }

    fn is_part_by_part(&self) -> bool {
        matches!(self.end, Some(PageEnd { layout: Layout::PartByPart(_), .. }))
    }

    /// Two orders that should not follow each other as they do.
    pub fn disorder(&self) -> Option<(Order, Order)> {
        if self.is_part_by_part() { self.disorder_of_parts } else { self.disorder }
    }

    /// The sum over the events of a partition, at their orders in it. Orders of what is shown part by part are indexes over all
    /// partitions, so that the place in its part says an event's order.
    pub fn tally(&self, partition: Partition, is_split: bool) -> Tally {
        if is_split && self.is_part_by_part() {
            let part = self.by_place.iter().find(|part| part.partition == partition);
            return part.map_or_else(Tally::default, |part| part.tally);
        }
        let part = self.parts.iter().find(|(of, _)| *of == partition);
        part.map_or_else(Tally::default, |(_, tally)| *tally)
    }

    /// What its orders are compared with. The instance's word that they are those of `order` headers counts only where the events are in
    /// several partitions.
    pub fn orders(&self, is_split: bool) -> Orders {
        let is_by_headers = matches!(self.end, Some(PageEnd { layout: Layout::ByOrderHeaders(_), .. }));
        if is_by_headers && is_split { Orders::OfHeaders } else { Orders::InPartition }
    }

    /// Whether its events are in several partitions, in the topic or, with newer ones, as it is shown.
    pub fn is_split(&self, topic: &[(Partition, Tally)]) -> bool {
        topic.len() > 1 || self.partitions.len() > 1
    }

    /// Whether the end says of other partitions than the events are shown in.
    pub fn is_wrong_layout(&self, topic: &[(Partition, Tally)]) -> bool {
        let Some(end) = self.end.as_ref().filter(|_| self.events > 0) else { return false };
        let over = match &end.layout {
            Layout::OnePartition => return self.is_split(topic),
            Layout::PartByPart(over) | Layout::ByOrderHeaders(over) => over,
        };
        !self.is_split(topic)
            || over.len() != self.partitions.len()
            || over.iter().any(|partition| !self.partitions.contains(partition))
    }

    /// Whether the end says something else than was shown.
    pub fn is_wrong_end(&self) -> bool {
        let Some(end) = &self.end else { return true };
        let next = match &end.layout {
            Layout::OnePartition => self.last.map_or(Some(0), |last| last.order.0.checked_add(1)),
            Layout::PartByPart(_) => {
                let after = self.last.and_then(|last| last.order.0.checked_add(1));
                after.filter(|after| *after == self.events)
            }
            Layout::ByOrderHeaders(_) => Some(self.events),
        };
        end.exists != (self.events > 0) || !end.is_complete || next != Some(end.next.0)
    }

    /// Whether the list says something else than was shown after it. Counts only grow.
    pub fn is_wrongly_listed(&self, listed: &ListedKey, topic: &[(Partition, Tally)]) -> bool {
        let in_topic = match topic {
            [(_, tally)] => tally.next,
            parts => parts.iter().map(|(_, tally)| tally.events()).sum(),
        };
        // Of one that was given up there may be more.
        let read = match (&self.end, self.stopped) {
            (Some(end), _) => end.next.0,
            (None, Some(_)) => u64::MAX,
            (None, None) => 0,
        };
        let lacks = topic.iter().any(|(partition, _)| !listed.partitions.contains(partition));
        let is_shown = |partition: &Partition| self.partitions.contains(partition);
        let adds = self.stopped.is_none() && !listed.partitions.iter().all(is_shown);
        listed.next.0 < in_topic || listed.next.0 > read || lacks || adds
    }

    /// Whether a head that was asked for afterwards says something else than was shown.
    pub fn is_wrong_head(&self, head: Option<&Head>, judged: &Judged<'_>) -> bool {
        let Some(head) = head else { return self.events > 0 };
        judged.look_up([(head.partition, head.offset)]);
        let age = judged.age(head.partition, head.offset);
        let (Some(end), Some(last)) = (&self.end, self.last) else { return age != Age::Newer };
        match head.next.cmp(&end.next) {
            Ordering::Less => true,
            Ordering::Equal => {
                (head.partition, head.offset, head.timestamp) != (last.partition, last.offset, last.timestamp)
                    || head.layout != end.layout
            }
            // It has grown since, by an event above the end. Of a split one that need not be the last.
            Ordering::Greater => match age {
                Age::Newer => false,
                Age::Judged => !head.layout.is_split(),
                Age::Nowhere => true,
            },
        }
    }
}
