//! Aggregates that are split over partitions: how their events are shown, and the one order that `order` headers may give them.
//!
//! Whoever wrote an `order` header wrote down which events it knew. Where the headers of all events of a key are exactly the
//! numbers from 0 up, each once, they are one order. It does not depend on what else is read: a later event takes a number above
//! or ends the order for good, and none that was shown changes its place.
//!
//! To find the order all events are read, in small parts, and only their places are kept; then the events asked for are read
//! again. [`SPLIT_EVENTS_MAX`] bounds the places.

use crate::api::{Events, ReadError, ReadRequest};
use crate::limits::{SPLIT_EVENTS_MAX, SPLIT_PART_BYTES, SPLIT_PART_EVENTS};
use crate::no_order::NoOrder;
use crate::read::{Budget, Located, Part, View, short};
use bkes_api::Layout;
use bkes_core::marker::unmarked_order;
use bkes_core::{Key, Order, Partition};
use bkes_storage::StoredEvent;

/// Where an event lies: in which of the aggregate's parts, and at which order in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    part: usize,
    order: Order,
}

impl Place {
    fn next(self) -> Place {
        Place { order: Order(self.order.0 + 1), ..self }
    }
}

impl View<'_> {
    /// Reads the events asked for of a split aggregate in the order of their headers.
    pub fn read_by_order_headers(
        &self,
        request: &ReadRequest,
        located: &Located,
    ) -> Result<Events, ReadError> {
        let partitions: Vec<Partition> = located.heads.iter().map(|head| head.partition).collect();
        let places = match self.places(&request.key, located)? {
            Ok(places) => places,
            Err(why) => return Err(ReadError::Split { partitions, why }),
        };
        let end = places.len();
        let mut budget = Budget { events: request.events_max, bytes: request.bytes_max };
        let mut events: Vec<StoredEvent> = Vec::new();
        let mut next = usize::try_from(request.from.0).unwrap_or(usize::MAX).min(end);
        while next < end && budget.is_left() {
            let first = places[next];
            // Events that follow each other in one partition are read together.
            let follow = std::iter::successors(Some(first), |place| Some(place.next()));
            let together =
                places[next..].iter().zip(follow).take_while(|(place, next)| *place == next).count();
            let before = events.len();
            let part =
                Part { key: &request.key, located, head: located.heads[first.part], from: first.order };
            let mut part_budget = Budget { events: together.min(budget.events), bytes: budget.bytes };
            self.read_part(part, &mut part_budget, &mut events)?;
            if events.len() == before {
                return Err(short(&request.key, first.order, located.epoch));
            }
            for event in &mut events[before..] {
                event.order = Order(next as u64);
                next += 1;
            }
            budget = Budget { events: budget.events - (events.len() - before), bytes: part_budget.bytes };
        }
        let layout = Layout::ByOrderHeaders(partitions);
        let (pending, more) = (Vec::new(), next < end);
        Ok(Events { events, pending, first: Order::FIRST, next: Order(end as u64), more, layout })
    }

    /// The places of all events, in the order of their headers.
    fn places(&self, key: &Key, located: &Located) -> Result<Result<Vec<Place>, NoOrder>, ReadError> {
        let events = located.events();
        if events > SPLIT_EVENTS_MAX {
            return Ok(Err(NoOrder::TooMany { events, events_max: SPLIT_EVENTS_MAX }));
        }
        let mut places = vec![None; events as usize];
        for (part, head) in located.heads.iter().enumerate() {
            let mut from = head.base;
            while from < head.next {
                let read = self.some_of(Part { key, located, head: *head, from })?;
                for event in &read {
                    if let Err(why) = put(&mut places, part, event) {
                        return Ok(Err(why));
                    }
                    from = Order(event.order.0 + 1);
                }
            }
        }
        // As many events as places, each at another one: none is left empty.
        Ok(Ok(places.into_iter().flatten().collect()))
    }

    /// Some events of a part from an order on, at least one.
    fn some_of(&self, part: Part) -> Result<Vec<StoredEvent>, ReadError> {
        let mut events = Vec::new();
        let mut budget = Budget { events: SPLIT_PART_EVENTS, bytes: SPLIT_PART_BYTES };
        self.read_part(part, &mut budget, &mut events)?;
        if events.is_empty() {
            return Err(short(part.key, part.from, part.located.epoch));
        }
        Ok(events)
    }
}

/// Puts an event at the place that its header names.
fn put(places: &mut [Option<Place>], part: usize, event: &StoredEvent) -> Result<(), NoOrder> {
    let &StoredEvent { partition, offset, .. } = event;
    // A record of BKES has no header left: it was accepted at the order that its header named.
    let order = if event.stamp.is_some() { Some(event.order) } else { unmarked_order(&event.headers) };
    let order = order.ok_or(NoOrder::Missing { partition, offset })?;
    let events = places.len() as u64;
    let place = usize::try_from(order.0).ok().and_then(|index| places.get_mut(index));
    match place {
        None => Err(NoOrder::Gap { order, partition, offset, events }),
        Some(Some(_)) => Err(NoOrder::Twice { order, partition, offset }),
        Some(place) => {
            *place = Some(Place { part, order: event.order });
            Ok(())
        }
    }
}
