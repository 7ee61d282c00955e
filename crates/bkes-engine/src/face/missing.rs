//! What a conflict brings along: the events that its writer had not seen.

use super::pages::trim;
use crate::api::{Events, ReadRequest};
use crate::handle::EngineHandle;
use bkes_api::{Conflict, Event, Key, Layout, MISSING_BYTES_MAX, MISSING_MAX, Order};

impl EngineHandle {
    /// A conflict with the events from the expected order on, as far as they may and can be read. That they cannot be read is no reason
    /// to hold back that there is a conflict.
    pub(super) async fn with_missing(
        &self,
        key: Key,
        missing_max: usize,
        conflict: Box<Conflict>,
    ) -> Box<Conflict> {
        let Some(from) = conflict.expected.order().filter(|from| *from < conflict.current) else {
            return conflict;
        };
        let (events_max, bytes_max) = (missing_max.min(MISSING_MAX), MISSING_BYTES_MAX);
        let request = ReadRequest { from, events_max, bytes_max, ..ReadRequest::all(key) };
        match self.read(request).await {
            Ok(events) => Box::new(with_events(*conflict, from, events)),
            Err(_) => conflict,
        }
    }
}

/// A conflict with what was read from the expected order on: later than the refusal, so there may be more than it named. What does not
/// go on from the expected order, or does not reach so far, is of another beginning of the fold, or of an aggregate that is split by now.
fn with_events(conflict: Conflict, from: Order, read: Events) -> Conflict {
    let Events { mut events, next, layout, .. } = read;
    let bytes = trim(&mut events, MISSING_BYTES_MAX);
    let goes_on = events.first().is_some_and(|first| first.order == from);
    if !goes_on || next < conflict.current || layout != Layout::OnePartition {
        return conflict;
    }
    if bytes > MISSING_BYTES_MAX {
        // The first one alone. It is to be read, in a call whose replies may be as large.
        return Conflict { current: next, more: true, ..conflict };
    }
    let missing: Vec<Event> = events.into_iter().map(Event::from).collect();
    let more = from.0 + (missing.len() as u64) < next.0;
    Conflict { current: next, missing, more, ..conflict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::Expected;
    use bkes_core::{Offset, Partition, StoredEvent};

    fn conflict() -> Conflict {
        Conflict { expected: Expected::At(Order(3)), current: Order(6), missing: Vec::new(), more: true }
    }

    fn read(from: u64, count: u64, next: u64) -> Events {
        let event = |order| StoredEvent {
            order: Order(order),
            partition: Partition(0),
            offset: Offset(order),
            timestamp: None,
            value: "value".into(),
            tombstone: false,
            stamp: None,
            headers: Vec::new(),
        };
        let events = (from..from + count).map(event).collect();
        Events { events, next: Order(next), more: from + count < next, ..Events::default() }
    }

    fn orders(conflict: &Conflict) -> Vec<u64> {
        conflict.missing.iter().map(|event| event.order.0).collect()
    }

    #[test]
    fn what_is_missing_reaches_up_to_the_current_order_or_says_that_there_is_more() {
        let whole = with_events(conflict(), Order(3), read(3, 3, 6));
        assert_eq!((orders(&whole), whole.current, whole.more), (vec![3, 4, 5], Order(6), false));
        let part = with_events(conflict(), Order(3), read(3, 2, 6));
        assert_eq!((orders(&part), part.current, part.more), (vec![3, 4], Order(6), true));
    }

    #[test]
    fn what_was_appended_since_the_refusal_moves_the_current_order() {
        let later = with_events(conflict(), Order(3), read(3, 5, 8));
        assert_eq!((orders(&later).len(), later.current, later.more), (5, Order(8), false));
        let part = with_events(conflict(), Order(3), read(3, 3, 8));
        assert_eq!((orders(&part).len(), part.current, part.more), (3, Order(8), true));
    }

    /// The story: a conflict brought one event along however large it was, where the contract promises 1 MiB at most.
    #[test]
    fn an_event_that_is_too_large_is_left_to_be_read() {
        for (bytes, missing) in [(MISSING_BYTES_MAX, 1), (MISSING_BYTES_MAX + 1, 0)] {
            let mut found = read(3, 3, 6);
            found.events[0].value = vec![0; bytes].into();
            let told = with_events(conflict(), Order(3), found);
            assert_eq!((told.missing.len(), told.current, told.more), (missing, Order(6), true));
        }
    }

    #[test]
    fn events_that_do_not_go_on_from_the_expected_order_are_left_out() {
        let split = Events { layout: Layout::PartByPart(Vec::new()), ..read(3, 3, 6) };
        for other in [read(4, 2, 6), read(3, 0, 6), read(3, 2, 5), split] {
            assert_eq!(with_events(conflict(), Order(3), other), conflict());
        }
    }
}
