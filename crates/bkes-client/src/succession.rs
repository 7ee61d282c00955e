//! What a server may show of one aggregate: events that follow each other, from where they were asked for, and no more than that.

use bkes_api::{Direction, Event, Order, Page, Read, ReadMany};
use bkes_wire::BadField;

/// What was asked for, and how far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Succession {
    /// `None` of a read part by part: its events have no order.
    direction: Option<Direction>,
    from: Option<Order>,
    to: Option<Order>,
    /// How many events may come still.
    left: u64,
    last: Option<Order>,
}

impl Succession {
    pub fn of(read: &Read) -> Succession {
        let Read { direction, from, to, limit, part_by_part, .. } = *read;
        Succession { direction: (!part_by_part).then_some(direction), from, to, left: limit, last: None }
    }

    /// Of each aggregate of several.
    pub fn of_each(read: &ReadMany) -> Succession {
        let (direction, from) = (Some(Direction::Forwards), Some(read.from));
        Succession { direction, from, to: None, left: read.limit, last: None }
    }

    /// Takes in the next page.
    pub fn check(&mut self, page: &Page) -> Result<(), BadField> {
        if page.events.is_empty() && page.end.is_none() {
            return Err(BadField::new("events", "are none, and there is no end"));
        }
        for (index, event) in page.events.iter().enumerate() {
            let Some(left) = self.left.checked_sub(1) else {
                return Err(BadField::new("events", "are more than were asked for"));
            };
            self.left = left;
            self.check_order(event).map_err(|bad| bad.within(format_args!("events[{index}]")))?;
        }
        Ok(())
    }

    fn check_order(&mut self, event: &Event) -> Result<(), BadField> {
        let (order, last) = (event.order, self.last.replace(event.order));
        let Some(direction) = self.direction else { return Ok(()) };
        let is_right = match (direction, last) {
            // An aggregate whose head was removed begins above the first order.
            (Direction::Forwards, None) => self.from.is_none_or(|from| from <= order),
            (Direction::Forwards, Some(last)) => last.plus(1) == Some(order),
            (Direction::Backwards, None) => self.from.is_none_or(|from| order <= from),
            (Direction::Backwards, Some(last)) => order.plus(1) == Some(last),
        };
        let is_asked_for = self.to.is_none_or(|to| match direction {
            Direction::Forwards => order <= to,
            Direction::Backwards => to <= order,
        });
        // No event has the last number, or there would be no next one.
        if is_right && is_asked_for && order.plus(1).is_some() {
            return Ok(());
        }
        let why = match (last, self.from) {
            (Some(last), _) => format!("is {order} after {last}"),
            (None, Some(from)) => format!("is {order} where {from} was asked for"),
            (None, None) => format!("is {order}"),
        };
        Err(BadField::new("order", why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::{Key, Layout, Offset, Origin, PageEnd, Partition};

    fn page(orders: &[u64], has_end: bool) -> Page {
        let event = |order: &u64| Event {
            order: Order(*order),
            partition: Partition(0),
            offset: Offset(0),
            timestamp: None,
            value: None,
            headers: Vec::new(),
            origin: Origin::Foreign,
        };
        let (first, next, layout) = (Order(0), Order(9), Layout::OnePartition);
        let end = PageEnd { first, next, exists: true, is_complete: true, layout };
        Page { events: orders.iter().map(event).collect(), end: has_end.then_some(end) }
    }

    fn all() -> Read {
        Read::all(Key::new("k").expect("it has bytes"))
    }

    /// Whether these pages may come of a read.
    fn is_right(read: &Read, pages: &[&[u64]]) -> bool {
        let mut succession = Succession::of(read);
        pages.iter().all(|orders| succession.check(&page(orders, false)).is_ok())
    }

    #[test]
    fn events_follow_each_other_from_where_they_were_asked_for() {
        let from = |from| Read { from: Some(Order(from)), ..all() };
        let backwards = |read: Read| Read { direction: Direction::Backwards, ..read };
        for (read, pages) in [
            (all(), &[&[0, 1, 2][..], &[3]][..]),
            (all(), &[&[7, 8], &[9]]),
            (from(3), &[&[3, 4]]),
            (from(3), &[&[7, 8]]),
            (backwards(all()), &[&[9, 8], &[7]]),
            (backwards(from(5)), &[&[5, 4]]),
            (backwards(from(5)), &[&[2, 1, 0]]),
            (Read { to: Some(Order(1)), ..all() }, &[&[0, 1]]),
            (Read { part_by_part: true, ..all() }, &[&[0, 1, 0], &[1]]),
        ] {
            assert!(is_right(&read, pages), "{pages:?}");
        }
        for (read, pages) in [
            (all(), &[&[0, 2][..]][..]),
            (all(), &[&[0, 1], &[1]]),
            (all(), &[&[1, 0]]),
            (all(), &[&[0], &[]]),
            (all(), &[&[u64::MAX]]),
            (from(3), &[&[2, 3]]),
            (backwards(all()), &[&[4, 5]]),
            (backwards(all()), &[&[0, u64::MAX]]),
            (backwards(from(5)), &[&[6, 5]]),
            (Read { to: Some(Order(1)), ..all() }, &[&[0, 1, 2]]),
            (Read { to: Some(Order(4)), ..backwards(all()) }, &[&[5, 4, 3]]),
            (Read { limit: 2, ..all() }, &[&[0, 1, 2]]),
            (Read { limit: 2, part_by_part: true, ..all() }, &[&[0, 1], &[0]]),
        ] {
            assert!(!is_right(&read, pages), "{pages:?}");
        }
    }

    #[test]
    fn a_page_without_events_is_the_last_one() {
        assert!(Succession::of(&all()).check(&page(&[], true)).is_ok());
        assert!(Succession::of(&all()).check(&page(&[], false)).is_err());
    }
}
