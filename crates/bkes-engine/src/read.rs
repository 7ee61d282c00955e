//! Reads: what is committed and what is applied, merged by order.
//!
//! The overlay is copied *first* and the store looked into *second*: an event that moves in between is seen twice and taken
//! once; the other way round it could be missed.

use crate::api::{Events, ReadError, ReadRequest};
use crate::board::{Board, Progress, Version};
use crate::epoch::Epoch;
use crate::overlay::{Overlay, OverlayPart};
use crate::owner_inbox::Pending;
use bkes_api::Layout;
use bkes_core::append::{AppendRequest, EventContent, Unready};
use bkes_core::append_id::{ID_LOOK_MAX, ID_WINDOW};
use bkes_core::{Cause, Key, Order};
use bkes_storage::{Head, Heads, OutlinePart, ReadPart, Store, StoreError, StoredEvent};

/// Where an aggregate stands, by the overlay and by the store: in each partition the farther one.
pub fn merge_heads(overlay: &[Head], stored: Heads) -> Heads {
    let mut heads = match (overlay, stored) {
        ([], stored) => return stored,
        ([applied], Heads::None) => return Heads::One(*applied),
        ([applied], Heads::One(head)) if head.partition == applied.partition => {
            return Heads::One(Head { next: head.next.max(applied.next), ..head });
        }
        (_, Heads::None) => Vec::new(),
        (_, Heads::One(head)) => vec![head],
        (_, Heads::Split(parts)) => parts,
    };
    for applied in overlay {
        match heads.iter_mut().find(|head| head.partition == applied.partition) {
            Some(head) => head.next = head.next.max(applied.next),
            None => heads.push(*applied),
        }
    }
    heads.sort_by_key(|head| head.partition);
    match heads[..] {
        [head] => Heads::One(head),
        _ => Heads::Split(heads),
    }
}

/// What a read needs to know.
pub struct View<'a> {
    pub board: &'a Board,
    pub overlay: &'a Overlay,
    pub store: &'a dyn Store,
    /// Split aggregates are shown in the order of their headers.
    pub split_by_order_headers: bool,
}

/// An aggregate located for a read: the overlay's part copied, the store's heads known.
pub struct Located {
    pub(crate) overlay: Vec<OverlayPart>,
    pub(crate) stored: Vec<Head>,
    pub(crate) heads: Vec<Head>,
    pub(crate) epoch: Epoch,
    /// Of the board, before anything was looked at.
    pub(crate) version: Version,
}

impl Located {
    /// The events of the append that comes next, if there is one: one whose place was taken is not pending any more, whatever its
    /// owner knew when it was asked.
    pub fn pending(&self, pending: Vec<Pending>) -> Vec<EventContent> {
        let [head] = self.heads[..] else { return Vec::new() };
        let is_next = |pending: &Pending| (pending.partition, pending.first) == (head.partition, head.next);
        pending.into_iter().find(is_next).map_or_else(Vec::new, |pending| pending.events)
    }

    /// How many events the aggregate has.
    pub fn events(&self) -> u64 {
        self.end().0 - self.base().0
    }

    /// Whether they lie in several partitions.
    pub fn is_split(&self) -> bool {
        self.heads.len() > 1
    }

    /// How many of them are at this order or after it.
    pub fn events_from(&self, from: Order) -> u64 {
        self.end().0.saturating_sub(from.0.max(self.base().0))
    }

    /// The order of the last event.
    pub fn last(&self) -> Order {
        Order(self.end().0 - 1)
    }

    fn base(&self) -> Order {
        base_of(&self.heads)
    }

    /// The order after the last event.
    fn end(&self) -> Order {
        end_of(&self.heads)
    }

    /// The answer that nothing was read of an aggregate in one partition, and that there is something.
    pub fn more(&self) -> Events {
        let (events, pending) = (Vec::new(), Vec::new());
        Events {
            events,
            pending,
            first: self.base(),
            next: self.end(),
            more: true,
            layout: Layout::OnePartition,
        }
    }
}

impl View<'_> {
    /// Finds an aggregate, or says why that cannot be said now. A fold that began anew meanwhile, or a store that is opened anew,
    /// may have taken events away under our feet: then it is looked for once more.
    pub fn locate(&self, key: &Key) -> Result<Located, ReadError> {
        let located = self.board.not_overtaken(|version| self.locate_in(key, version));
        located.unwrap_or_else(|| Err(ReadError::Unavailable(self.board.overtaken())))
    }

    fn locate_in(&self, key: &Key, version: Version) -> Result<Located, ReadError> {
        let epoch = self.board.epoch();
        // Before the copy: what catches up while we look may hold events that the copy does not have.
        let unread = self.board.catching_up();
        let behind = match unread {
            Some(_) => self.board.behind(),
            None => Vec::new(),
        };
        let overlay = self.overlay.copy(key);
        let mut stored = Vec::with_capacity(1);
        self.store
            .heads(std::slice::from_ref(key), &mut stored)
            .map_err(|error| store_error(error, epoch))?;
        let stored = stored.pop().unwrap_or(Heads::None);
        let applied: Vec<Head> = overlay.iter().map(|part| part.head).collect();
        let heads = merge_heads(&applied, stored.clone());
        let located = Located { overlay, stored: parts(stored), heads: parts(heads), epoch, version };
        if located.heads.is_empty() {
            if let Some(unready) = unread {
                return Err(ReadError::Unavailable(unready));
            }
            return Err(ReadError::NoSuchAggregate { key: key.clone() });
        }
        for head in &located.heads {
            let Some(board) = self.board.partition(head.partition) else {
                return Err(ReadError::Unavailable(self.board.still_catching_up()));
            };
            if let Some(unready) = self.board.unserved(&board) {
                return Err(ReadError::Unavailable(unready));
            }
            if behind.contains(&head.partition) {
                let Progress { applied, target } = board.state().progress();
                return Err(ReadError::Unavailable(Unready::CatchingUp { applied, target }));
            }
        }
        Ok(located)
    }

    /// Looks at the events that an append's id will be looked for in: for the caches. Of the request its events are not needed.
    pub fn warm(&self, request: &AppendRequest) -> Result<(), StoreError> {
        let key = &request.key;
        let (mut heads, mut outlines) = (Vec::with_capacity(1), Vec::new());
        self.store.heads(std::slice::from_ref(key), &mut heads)?;
        let Some(Heads::One(head)) = heads.pop() else { return Ok(()) };
        let from = request.looked_for_from(head, ID_WINDOW);
        let part = OutlinePart { key, partition: head.partition, from, events_max: ID_LOOK_MAX as usize };
        self.store.outlines(part, &mut outlines)?;
        match request.expected.order() {
            Some(from) => self.store.outlines(OutlinePart { from, events_max: 1, ..part }, &mut outlines),
            None => Ok(()),
        }
    }

    /// Reads the events asked for of a located aggregate, unless a fold of its partitions has begun anew meanwhile or the store is opened
    /// anew: that may have taken events away under our feet.
    pub fn read(&self, request: &ReadRequest, located: Located) -> Result<Events, ReadError> {
        let events = self.read_in(request, &located);
        let mut partitions = located.heads.iter().map(|head| head.partition);
        if !self.board.holds_since(located.version, &mut partitions) {
            return Err(ReadError::Unavailable(self.board.overtaken()));
        }
        events
    }

    fn read_in(&self, request: &ReadRequest, located: &Located) -> Result<Events, ReadError> {
        if self.split_by_order_headers && located.is_split() {
            return self.read_by_order_headers(request, located);
        }
        let (base, end) = (located.base(), located.end());
        let mut budget = Budget { events: request.events_max, bytes: request.bytes_max };
        let mut events = Vec::new();
        // The index of a part's first event: the parts of a split aggregate follow each other, lowest partition first.
        let mut start = base.0;
        for head in &located.heads {
            let count = head.next.0 - head.base.0;
            let skip = request.from.0.saturating_sub(start);
            start += count;
            if skip < count && budget.is_left() {
                let from = Order(head.base.0 + skip);
                let part = Part { key: &request.key, located, head: *head, from };
                self.read_part(part, &mut budget, &mut events)?;
            }
        }
        let first = request.from.0.max(base.0);
        let more = first + (events.len() as u64) < end.0;
        let layout = match &located.heads[..] {
            [] | [_] => Layout::OnePartition,
            parts => Layout::PartByPart(parts.iter().map(|head| head.partition).collect()),
        };
        Ok(Events { events, pending: Vec::new(), first: base, next: end, more, layout })
    }

    /// Reads events of one part below its head, as many as the budget has room for; it is at least one if there is one.
    pub(crate) fn read_part(
        &self,
        part: Part,
        budget: &mut Budget,
        events: &mut Vec<StoredEvent>,
    ) -> Result<(), ReadError> {
        let Part { key, located, head, mut from } = part;
        let stored = located.stored.iter().find(|stored| stored.partition == head.partition);
        // There may be more by now than the head knows.
        let stored_next = stored.map_or(head.base, |stored| stored.next.min(head.next));
        if from < stored_next {
            let events_max = budget.events.min(usize::try_from(stored_next.0 - from.0).unwrap_or(usize::MAX));
            let before = events.len();
            let part = ReadPart { key, partition: head.partition, from, events_max, bytes_max: budget.bytes };
            self.store.read(part, events).map_err(|error| store_error(error, located.epoch))?;
            for event in &events[before..] {
                if event.order != from {
                    let detail = format!("order {} of key {key} was found where {from} belongs", event.order);
                    return Err(ReadError::Damaged { detail, epoch: located.epoch });
                }
                from = Order(from.0 + 1);
                budget.take(event);
            }
        }
        if from < stored_next {
            return if budget.is_left() { Err(short(key, from, located.epoch)) } else { Ok(()) };
        }
        let overlay = located.overlay.iter().find(|part| part.head.partition == head.partition);
        for event in overlay.map_or(&[][..], |part| &part.events) {
            if event.order < from {
                continue;
            }
            if event.order >= head.next {
                break;
            }
            if event.order != from {
                return Err(short(key, from, located.epoch));
            }
            if !budget.is_left() {
                break;
            }
            budget.take(event);
            from = Order(from.0 + 1);
            events.push(event.clone());
        }
        Ok(())
    }
}

/// What an aggregate has in one partition, from an order on.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub key: &'a Key,
    pub located: &'a Located,
    pub head: Head,
    pub from: Order,
}

pub(crate) struct Budget {
    pub events: usize,
    pub bytes: usize,
}

impl Budget {
    pub fn is_left(&self) -> bool {
        self.events > 0 && self.bytes > 0
    }

    fn take(&mut self, event: &StoredEvent) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(event.content_bytes());
    }
}

/// The order of the first event of an aggregate with these parts.
pub(crate) fn base_of(heads: &[Head]) -> Order {
    heads.first().map_or(Order::FIRST, |head| head.base)
}

/// The order after the last event of an aggregate with these parts, counted over all of them.
pub(crate) fn end_of(heads: &[Head]) -> Order {
    let events: u64 = heads.iter().map(|head| head.next.0 - head.base.0).sum();
    Order(base_of(heads).0 + events)
}

pub(crate) fn parts(heads: Heads) -> Vec<Head> {
    match heads {
        Heads::None => Vec::new(),
        Heads::One(head) => vec![head],
        Heads::Split(parts) => parts,
    }
}

/// The store holds fewer events than it said: it must not be shown as if that were all.
pub(crate) fn short(key: &Key, order: Order, epoch: Epoch) -> ReadError {
    ReadError::Damaged { detail: format!("order {order} of key {key} is missing"), epoch }
}

pub(crate) fn store_error(error: StoreError, epoch: Epoch) -> ReadError {
    match error {
        StoreError::Damaged { detail } => ReadError::Damaged { detail, epoch },
        // It is being opened anew, or stopped.
        StoreError::Closed => ReadError::Unavailable(Unready::Store { cause: Cause::of(error) }),
        error => ReadError::Store { cause: store_cause(error) },
    }
}

/// What the layer below the store said, or the store.
pub(crate) fn store_cause(error: StoreError) -> Cause {
    match error {
        StoreError::ReadFailed { source } => Cause::of(source),
        error => Cause::of(error),
    }
}
