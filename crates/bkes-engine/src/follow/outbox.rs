//! What one who follows is given next: items in their order, events in groups of a bounded size.

use crate::limits::{FOLLOW_GROUP_BYTES, FOLLOW_GROUP_EVENTS, FOLLOW_POSITIONS_MS, FOLLOW_UNTAKEN_EVENTS};
use bkes_api::{Event, Failure, FollowItem, FollowedEvent, Positions, TopicId};
use bkes_core::sequence::NowMs;
use bkes_core::{Key, Partition, Position, StoredEvent};
use std::collections::VecDeque;

/// Items that were not taken yet. What is told of positions covers all that was put in before.
pub struct Outbox {
    topic: TopicId,
    with_headers: bool,
    items: VecDeque<FollowItem>,
    /// The group that is being filled, and its bytes.
    group: Vec<FollowedEvent>,
    group_bytes: usize,
    /// How many events were not taken, and their bytes.
    events: usize,
    bytes: usize,
    /// The positions that were told last, and when.
    told: Vec<(Partition, Position)>,
    told_at: NowMs,
    is_caught_up: bool,
    end: Option<Failure>,
}

impl Outbox {
    /// An empty one.
    pub fn new(topic: TopicId, with_headers: bool, now: NowMs) -> Outbox {
        Outbox {
            topic,
            with_headers,
            items: VecDeque::new(),
            group: Vec::new(),
            group_bytes: 0,
            events: 0,
            bytes: 0,
            told: Vec::new(),
            told_at: now,
            is_caught_up: false,
            end: None,
        }
    }

    /// The next item; the failure that it ended with comes last.
    pub fn next(&mut self) -> Option<Result<FollowItem, Failure>> {
        if self.items.is_empty() {
            self.close_group();
            (self.events, self.bytes) = (0, 0);
        }
        match self.items.pop_front() {
            Some(item) => Some(Ok(item)),
            None => self.end.take().map(Err),
        }
    }

    /// Whether an item is there to be taken.
    pub fn has_items(&self) -> bool {
        !self.items.is_empty() || !self.group.is_empty()
    }

    /// Whether so much waits to be taken that no more is put in.
    pub fn is_full(&self) -> bool {
        self.bytes >= FOLLOW_GROUP_BYTES || self.events >= FOLLOW_UNTAKEN_EVENTS
    }

    /// Whether everything that was there was shown, when this was told last.
    pub fn is_caught_up(&self) -> bool {
        self.is_caught_up
    }

    /// The events of one append: they stay together.
    pub fn show(&mut self, key: &Key, events: impl IntoIterator<Item = StoredEvent>) {
        let shown = |event| FollowedEvent { key: key.clone(), event: Event::shown(event, self.with_headers) };
        let events: Vec<FollowedEvent> = events.into_iter().map(shown).collect();
        let bytes: usize = events.iter().map(|of| key.bytes().len() + of.event.content_bytes()).sum();
        let is_over = |events: usize, bytes| events > FOLLOW_GROUP_EVENTS || bytes > FOLLOW_GROUP_BYTES;
        if is_over(self.group.len() + events.len(), self.group_bytes + bytes) {
            self.close_group();
        }
        self.events += events.len();
        self.group.extend(events);
        self.group_bytes += bytes;
        self.bytes += bytes;
    }

    /// Everything that was there is shown, if that was not so before.
    pub fn catch_up(&mut self) {
        if !std::mem::replace(&mut self.is_caught_up, true) {
            self.put(FollowItem::CaughtUp);
        }
    }

    /// It is no longer so.
    pub fn fall_behind(&mut self) {
        if std::mem::replace(&mut self.is_caught_up, false) {
            self.put(FollowItem::FellBehind);
        }
    }

    /// Tells the positions, if they are others than were told and it is time for that, or `at_once`.
    pub fn tell(&mut self, of: &[(Partition, Position)], now: NowMs, at_once: bool) {
        if of != self.told && (at_once || now >= self.due()) {
            self.tell_all(of.to_vec(), now);
        }
    }

    /// When positions that have changed are to be told.
    pub fn due(&self) -> NowMs {
        self.told_at + FOLLOW_POSITIONS_MS
    }

    /// Whether these are others than were told.
    pub fn is_untold(&self, of: &[(Partition, Position)]) -> bool {
        self.told != of
    }

    /// Ends it: with the positions, and why.
    pub fn end(&mut self, of: Vec<(Partition, Position)>, now: NowMs, failure: Failure) {
        self.tell_all(of, now);
        self.end = Some(failure);
    }

    fn tell_all(&mut self, of: Vec<(Partition, Position)>, now: NowMs) {
        self.put(FollowItem::Positions(Positions { topic: Some(self.topic.clone()), of: of.clone() }));
        (self.told, self.told_at) = (of, now);
    }

    fn put(&mut self, item: FollowItem) {
        self.close_group();
        self.items.push_back(item);
    }

    fn close_group(&mut self) {
        if !self.group.is_empty() {
            self.items.push_back(FollowItem::Events(std::mem::take(&mut self.group)));
            self.group_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_core::{Offset, Order};
    use bytes::Bytes;

    fn outbox() -> Outbox {
        Outbox::new(TopicId::new("topic"), true, 1)
    }

    fn events(count: u64, bytes: usize) -> Vec<StoredEvent> {
        let event = |order| StoredEvent {
            order: Order(order),
            partition: Partition(0),
            offset: Offset(order),
            timestamp: None,
            value: Bytes::from(vec![0; bytes]),
            tombstone: false,
            stamp: None,
            headers: Vec::new(),
        };
        (0..count).map(event).collect()
    }

    fn sizes(outbox: &mut Outbox) -> Vec<usize> {
        let items = std::iter::from_fn(|| outbox.next());
        items
            .map(|item| match item {
                Ok(FollowItem::Events(events)) => events.len(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn groups_are_bounded_and_an_append_stays_together() {
        let key = Key::new("k").expect("not empty");
        let mut full = outbox();
        (0..600).for_each(|_| full.show(&key, events(1, 10)));
        assert_eq!(sizes(&mut full), [256, 256, 88]);
        let mut batches = outbox();
        [100, 100, 100, 1_000, 3].into_iter().for_each(|count| batches.show(&key, events(count, 1)));
        assert_eq!(sizes(&mut batches), [200, 100, 1_000, 3], "an append is never torn");
        let mut large = outbox();
        (0..3).for_each(|_| large.show(&key, events(1, 200_000)));
        assert_eq!(sizes(&mut large), [1, 1, 1]);
    }

    /// The story: an event without content has the bytes of its key alone, so that any number was put in.
    #[test]
    fn no_more_is_put_in_after_so_many_bytes_or_events_were() {
        let key = Key::new("k").expect("not empty");
        for (bytes, until_full) in [(200_000, 2), (0, FOLLOW_UNTAKEN_EVENTS)] {
            let mut outbox = outbox();
            let mut shown = 0;
            while !outbox.is_full() {
                outbox.show(&key, events(1, bytes));
                shown += 1;
            }
            assert_eq!(shown, until_full, "of {bytes} bytes");
            sizes(&mut outbox);
            assert!(!outbox.is_full());
        }
    }

    #[test]
    fn changes_are_told_once_and_positions_when_they_are_due_or_it_ends() {
        let mut outbox = outbox();
        let at = |position| vec![(Partition(0), Position(position))];
        outbox.catch_up();
        outbox.catch_up();
        outbox.tell(&at(1), 500, false);
        outbox.tell(&at(1), 1_001, false);
        outbox.tell(&at(1), 9_000, true);
        outbox.fall_behind();
        outbox.fall_behind();
        outbox.end(at(1), 9_001, Failure::new(bkes_api::Reason::ShuttingDown, "stopping"));
        let items: Vec<_> = std::iter::from_fn(|| outbox.next()).collect();
        let told = || Ok(FollowItem::Positions(Positions { topic: Some(TopicId::new("topic")), of: at(1) }));
        let stopping = Err(Failure::new(bkes_api::Reason::ShuttingDown, "stopping"));
        assert_eq!(items, [Ok(FollowItem::CaughtUp), told(), Ok(FollowItem::FellBehind), told(), stopping]);
    }
}
