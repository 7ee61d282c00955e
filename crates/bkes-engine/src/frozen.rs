//! An aggregate as it was when a read began, and what is looked up of it later.
//!
//! What was decided does not change, so numbers are enough to see the same again: where the aggregate stood in each partition, and
//! which folds counted. Each look copies the overlay first and asks the store second, as every read does, or the store alone for what it had
//! then; and it is of no worth if a fold of these partitions has begun anew since, or the store is being opened anew: then the events may be
//! other ones.

use crate::api::{ReadError, ReadRequest};
use crate::board::Version;
use crate::epoch::Epoch;
use crate::read::{Located, View, base_of, end_of, parts, short, store_error};
use bkes_api::Layout;
use bkes_core::{EventOutline, Head, Heads, Key, Offset, Order, Partition, StoredEvent};
use bkes_storage::{OutlinePart, first_at};

/// An aggregate as of a moment: numbers, and no events.
#[derive(Clone, Debug)]
pub struct Frozen {
    pub key: Key,
    pub layout: Layout,
    heads: Vec<Head>,
    /// Where it stood in the store then.
    stored: Vec<Head>,
    epoch: Epoch,
    version: Version,
}

/// Which events of it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The first one.
    pub from: Order,
    /// How many at most.
    pub events_max: usize,
    /// The last one is the one that reaches this many bytes of values and headers.
    pub bytes_max: usize,
}

impl Frozen {
    /// What was located, and how its events are shown.
    pub fn new(key: Key, located: &Located, layout: Layout) -> Frozen {
        let Located { heads, stored, epoch, version, .. } = located;
        let (heads, stored) = (heads.clone(), stored.clone());
        Frozen { key, layout, heads, stored, epoch: *epoch, version: *version }
    }

    /// The order of its first event.
    pub fn base(&self) -> Order {
        match self.layout {
            Layout::ByOrderHeaders(_) => Order::FIRST,
            Layout::OnePartition | Layout::PartByPart(_) => base_of(&self.heads),
        }
    }

    /// The order that its next event takes.
    pub fn end(&self) -> Order {
        let events = end_of(&self.heads).0 - base_of(&self.heads).0;
        Order(self.base().0 + events)
    }

    /// The same again, where all that is wanted was in the store then: it still is.
    fn in_store(&self, wanted: Wanted) -> Option<Located> {
        let ([_], [stored]) = (&self.heads[..], &self.stored[..]) else { return None };
        let Wanted { from, events_max, .. } = wanted;
        let is_stored = stored.next.0 >= from.0.saturating_add(events_max as u64).min(self.end().0);
        is_stored.then(|| Located {
            overlay: Vec::new(),
            stored: self.stored.clone(),
            heads: self.heads.clone(),
            epoch: self.epoch,
            version: self.version,
        })
    }

    /// The partition of an aggregate that lies in one.
    pub fn partition(&self) -> Option<Partition> {
        match self.heads[..] {
            [head] => Some(head.partition),
            _ => None,
        }
    }
}

impl View<'_> {
    /// Reads events of an aggregate as it was; at least one if there is one at this order.
    pub fn read_frozen(&self, frozen: &Frozen, wanted: Wanted) -> Result<Vec<StoredEvent>, ReadError> {
        self.check_served(frozen)?;
        let Wanted { from, events_max, bytes_max } = wanted;
        let key = frozen.key.clone();
        let request = ReadRequest { from, events_max, bytes_max, ..ReadRequest::all(key) };
        let mut events = self.read(&request, self.located_again(frozen, wanted)?)?.events;
        if events.is_empty() && events_max > 0 && from < frozen.end() {
            return Err(short(&frozen.key, from, frozen.epoch));
        }
        if matches!(frozen.layout, Layout::PartByPart(_)) {
            // Those of several partitions are counted over all of them.
            (from.0..).zip(&mut events).for_each(|(index, event)| event.order = Order(index));
        }
        Ok(events)
    }

    /// The outlines of events of an aggregate in one partition as it was, from an order on; all that are asked for, if there are so many.
    pub fn outlines_frozen(
        &self,
        frozen: &Frozen,
        from: Order,
        events_max: usize,
    ) -> Result<Vec<EventOutline>, ReadError> {
        self.check_served(frozen)?;
        let found = self.outlines_in(frozen, from, events_max);
        self.check_unchanged(frozen)?;
        found
    }

    fn outlines_in(
        &self,
        frozen: &Frozen,
        from: Order,
        events_max: usize,
    ) -> Result<Vec<EventOutline>, ReadError> {
        let Some(partition) = frozen.partition() else { return Ok(Vec::new()) };
        let count = events_max.min(usize::try_from(frozen.end().0 - from.0).unwrap_or(usize::MAX));
        let part = OutlinePart { key: &frozen.key, partition, from, events_max: count };
        let applied = self.overlay.outlines(part);
        let mut outlines = Vec::new();
        self.store.outlines(part, &mut outlines).map_err(|error| store_error(error, frozen.epoch))?;
        // What was committed between the two looks is in both.
        let next = outlines.last().map_or(from, |last| Order(last.order.0 + 1));
        outlines.extend(applied.into_iter().filter(|outline| outline.order >= next));
        let is_whole = outlines.len() == count
            && outlines.iter().zip(from.0..).all(|(outline, order)| outline.order.0 == order);
        if is_whole { Ok(outlines) } else { Err(short(&frozen.key, from, frozen.epoch)) }
    }

    /// The order that the next event took at the moment that everything was decided with the record at an offset: whole appends only.
    pub fn end_at_offset(&self, frozen: &Frozen, offset: Offset) -> Result<Order, ReadError> {
        let event_at = |order| {
            let outline = self.outlines_frozen(frozen, order, 1)?.pop();
            outline.ok_or_else(|| short(&frozen.key, order, frozen.epoch))
        };
        first_at(frozen.base()..frozen.end(), None, Offset(offset.0.saturating_add(1)), event_at)
    }

    fn located_again(&self, frozen: &Frozen, wanted: Wanted) -> Result<Located, ReadError> {
        let Frozen { key, heads, epoch, version, .. } = frozen;
        if let Some(located) = frozen.in_store(wanted) {
            return Ok(located);
        }
        let overlay = match heads[..] {
            [Head { partition, .. }] => {
                let Wanted { from, events_max, .. } = wanted;
                self.overlay.part(OutlinePart { key, partition, from, events_max }).into_iter().collect()
            }
            _ => self.overlay.copy(key),
        };
        let mut stored = Vec::with_capacity(1);
        let found = self.store.heads(std::slice::from_ref(key), &mut stored);
        found.map_err(|error| store_error(error, *epoch))?;
        let stored = parts(stored.pop().unwrap_or(Heads::None));
        Ok(Located { overlay, stored, heads: heads.clone(), epoch: *epoch, version: *version })
    }

    /// Nothing is shown of a partition that is not served any more.
    fn check_served(&self, frozen: &Frozen) -> Result<(), ReadError> {
        for Head { partition, .. } in &frozen.heads {
            let Some(board) = self.board.partition(*partition) else {
                return Err(ReadError::Unavailable(self.board.still_catching_up()));
            };
            if let Some(unready) = self.board.unserved(&board) {
                return Err(ReadError::Unavailable(unready));
            }
        }
        Ok(())
    }

    fn check_unchanged(&self, frozen: &Frozen) -> Result<(), ReadError> {
        let mut partitions = frozen.heads.iter().map(|head| head.partition);
        if self.board.holds_since(frozen.version, &mut partitions) {
            return Ok(());
        }
        Err(ReadError::Unavailable(self.board.overtaken()))
    }
}
