//! What is followed, as messages, and where a client may go on when the server ends its stream.

use super::pump::Feed;
use bkes_api::{Failure, FollowFrom, FollowItem, FollowedEvent, Positions};
use bkes_wire::{to_wire, v2};
use std::sync::Arc;

/// The messages of a follower.
pub struct FollowFeed {
    /// How far its client is with all that was made; `None` while that is not known. It is not before the store has said positions, if
    /// the stream began with what comes: a partition that is not named would be gone on with from its beginning.
    shown: Option<Arc<Positions>>,
}

impl FollowFeed {
    pub fn new(from: &FollowFrom) -> FollowFeed {
        let shown = match from {
            FollowFrom::Now => None,
            FollowFrom::Beginning => Some(Positions::default()),
            FollowFrom::Positions(positions) => Some(positions.clone()),
        };
        FollowFeed { shown: shown.map(Arc::new) }
    }

    /// Events of a partition come in the order in which their appends lie, and those of an append together, so what lies below the last
    /// one was shown.
    fn advance(&mut self, events: &[FollowedEvent]) {
        if let Some(shown) = &mut self.shown {
            let shown = Arc::make_mut(shown);
            for FollowedEvent { event, .. } in events {
                let of = vec![(event.partition, event.offset.next())];
                shown.advance(&Positions { topic: None, of });
            }
        }
    }
}

impl Feed for FollowFeed {
    type Item = FollowItem;
    type Message = v2::FollowReply;
    type Mark = Option<Arc<Positions>>;

    fn messages(&mut self, item: FollowItem) -> Result<Vec<(v2::FollowReply, Self::Mark)>, Failure> {
        match &item {
            FollowItem::Events(events) => self.advance(events),
            FollowItem::Positions(positions) => match &mut self.shown {
                Some(shown) => Arc::make_mut(shown).advance(positions),
                None => self.shown = Some(Arc::new(positions.clone())),
            },
            FollowItem::CaughtUp | FollowItem::FellBehind => {}
        }
        let message = to_wire::follow_item(item).map_err(|bad| bad.in_answer())?;
        Ok(vec![(message, self.shown.clone())])
    }

    fn beginning(&self) -> Self::Mark {
        self.shown.clone()
    }

    fn last_words(&self, mark: &Self::Mark) -> Option<v2::FollowReply> {
        let positions = mark.as_ref()?;
        to_wire::follow_item(FollowItem::Positions((**positions).clone())).ok()
    }

    fn end(&self) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_api::{Event, Key, Offset, Order, Origin, Partition, Position};

    fn followed(partition: u32, offset: u64) -> FollowedEvent {
        let event = Event {
            order: Order(0),
            partition: Partition(partition),
            offset: Offset(offset),
            timestamp: None,
            value: None,
            headers: Vec::new(),
            origin: Origin::Foreign,
        };
        FollowedEvent { key: Key::new("k").expect("it has bytes"), event }
    }

    fn positions(of: &[(u32, u64)]) -> Positions {
        let of = of.iter().map(|(partition, at)| (Partition(*partition), Position(*at))).collect();
        Positions { topic: None, of }
    }

    fn mark_after(feed: &mut FollowFeed, item: FollowItem) -> Option<Positions> {
        let made = feed.messages(item).expect("it fits");
        made.last().expect("one message").1.as_deref().cloned()
    }

    /// The story: a stream that was ended before it had shown anything said nothing of where to go on, though its client had said it.
    #[test]
    fn a_client_that_was_shown_nothing_goes_on_where_it_began() {
        let began = positions(&[(0, 5), (2, 9)]);
        for (from, told) in [
            (FollowFrom::Positions(began.clone()), Some(began)),
            (FollowFrom::Beginning, Some(Positions::default())),
            (FollowFrom::Now, None),
        ] {
            let feed = FollowFeed::new(&from);
            let last = feed.last_words(&feed.beginning());
            let last = last.map(|reply| bkes_wire::from_wire::follow_item(reply).expect("it is one"));
            assert_eq!(last, told.map(|told| Some(FollowItem::Positions(told))), "{from:?}");
        }
    }

    #[test]
    fn a_client_goes_on_behind_the_last_event_of_each_partition() {
        let mut feed = FollowFeed::new(&FollowFrom::Positions(positions(&[(0, 5), (2, 9)])));
        let events = FollowItem::Events(vec![followed(0, 7), followed(1, 3), followed(0, 8)]);
        assert_eq!(mark_after(&mut feed, events), Some(positions(&[(0, 9), (2, 9), (1, 4)])));
        let said = FollowItem::Positions(positions(&[(0, 20), (1, 4)]));
        assert_eq!(mark_after(&mut feed, said), Some(positions(&[(0, 20), (2, 9), (1, 4)])));
    }

    /// Positions that name one partition alone would have the client begin all others anew.
    #[test]
    fn a_client_that_began_with_what_comes_is_told_nothing_before_the_store_said_positions() {
        let mut feed = FollowFeed::new(&FollowFrom::Now);
        assert_eq!(mark_after(&mut feed, FollowItem::CaughtUp), None);
        assert_eq!(mark_after(&mut feed, FollowItem::Events(vec![followed(1, 3)])), None);
        assert_eq!(feed.last_words(&None), None);
        let said = positions(&[(0, 7), (1, 4)]);
        assert_eq!(mark_after(&mut feed, FollowItem::Positions(said.clone())), Some(said));
        let after = mark_after(&mut feed, FollowItem::Events(vec![followed(1, 6)]));
        assert_eq!(after, Some(positions(&[(0, 7), (1, 7)])));
        let last = feed.last_words(&after.map(Arc::new)).expect("it is known");
        assert!(matches!(last.item, Some(v2::follow_reply::Item::Positions(_))));
    }
}
