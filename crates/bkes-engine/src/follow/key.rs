//! Following one aggregate: page after page is read of it, from the order behind the last event shown. The log is not read.

use super::failure;
use super::outbox::Outbox;
use super::past::Progress;
use crate::api::ReadError;
use crate::board::{Board, Version};
use crate::context::Context;
use crate::limits::{FOLLOW_GROUP_BYTES, FOLLOW_GROUP_EVENTS};
use crate::read::{Budget, Located, Part, View};
use bkes_api::{Failure, Positions};
use bkes_core::{Cause, Head, Key, Order, Partition, Position, StoredEvent};
use bkes_storage::OffsetPart;
use std::collections::BTreeMap;

/// An aggregate that is followed.
pub struct Followed {
    key: Key,
    /// The order that is shown next, in each partition that has events of it.
    shares: BTreeMap<Partition, Order>,
    /// Of the board, when it began: no fold may have begun anew since.
    version: Version,
    /// Everything of the aggregate that was decided below is shown.
    shown: BTreeMap<Partition, Position>,
    /// Up to where the partitions were decided when nothing more was to be shown.
    seen: Option<Vec<(Partition, Position)>>,
}

/// What a look found.
struct Look {
    /// Of each share the events that come next, and the order after them.
    read: Vec<(Partition, Vec<StoredEvent>, Order)>,
    /// Whether there is nothing beyond them.
    is_all: bool,
}

impl Followed {
    /// From these positions on; in partitions that are not named, from the first event there is.
    pub fn from(context: &Context, key: Key, positions: &Positions) -> Result<Followed, Failure> {
        let version = context.board.version();
        let (shares, shown) = (BTreeMap::new(), positions.of.iter().copied().collect());
        let followed = Followed { key, shares, version, shown, seen: None };
        // Where nothing can be said of the aggregate that is said at once.
        followed.locate(context)?;
        Ok(followed)
    }

    /// From now on.
    pub fn from_now(context: &Context, key: Key) -> Result<Followed, Failure> {
        let version = context.board.version();
        let shown = decided(&context.board).into_iter().collect();
        let mut followed = Followed { key, shares: BTreeMap::new(), version, shown, seen: None };
        if let Some(located) = followed.locate(context)? {
            for Head { partition, next, .. } in located.heads {
                followed.shares.insert(partition, next);
            }
        }
        Ok(followed)
    }

    /// How far it is shown.
    pub fn positions(&self) -> Vec<(Partition, Position)> {
        self.shown.iter().map(|(partition, position)| (*partition, *position)).collect()
    }

    /// Shows what there is next.
    pub fn step(&mut self, context: &Context, outbox: &mut Outbox) -> Result<Progress, Failure> {
        let Some(view) = context.board.store_view.before_look() else { return Ok(Progress::Later) };
        // Before the aggregate is looked at: what is decided below is there then.
        let decided = decided(&context.board);
        self.check(context)?;
        if self.seen.as_ref() == Some(&decided) {
            return Ok(Progress::None);
        }
        let looked = self.look(context);
        if context.board.store_view.before_look() != Some(view) {
            // Whatever came of it: it is looked at again when the store is open.
            return Ok(Progress::Later);
        }
        let Look { read, is_all } = looked?;
        self.check(context)?;
        let mut progress = if is_all { Progress::None } else { Progress::Some };
        for (partition, events, next) in read {
            self.shares.insert(partition, next);
            for append in appends(events) {
                let last = append.last().map_or(Position::START, |last| last.offset.next());
                // What lies below where it was to begin is not shown, though it was decided after that.
                if last > self.shown.get(&partition).copied().unwrap_or_default() {
                    progress = Progress::Some;
                    self.shown.insert(partition, last);
                    outbox.show(&self.key, append);
                }
            }
        }
        if is_all {
            self.is_shown_to(decided, outbox);
        }
        Ok(progress)
    }

    /// Looks at what there is next, and changes nothing.
    fn look(&self, context: &Context) -> Result<Look, Failure> {
        let Some(located) = self.locate(context)? else { return Ok(Look { read: Vec::new(), is_all: true }) };
        let mut budget = Budget { events: FOLLOW_GROUP_EVENTS, bytes: FOLLOW_GROUP_BYTES };
        let (mut read, mut is_all) = (Vec::new(), true);
        for head in &located.heads {
            let share = self.share(context, *head)?;
            let events = page(context, (&self.key, &located, *head, share), &mut budget)?;
            let next = events.last().map_or(share, |last| Order(last.order.0 + 1));
            is_all &= next >= head.next;
            read.push((head.partition, events, next));
        }
        Ok(Look { read, is_all })
    }

    /// An error if a fold has begun anew: what was decided below the positions may be another history, in partitions too that have nothing of
    /// the aggregate.
    fn check(&self, context: &Context) -> Result<(), Failure> {
        let partitions: Vec<Partition> =
            context.board.partitions().iter().map(|board| board.partition).collect();
        let is_other =
            |partition: &Partition| !context.board.is_as_in(self.version, std::iter::once(*partition));
        match partitions.into_iter().find(is_other) {
            Some(partition) => Err(failure::begun_anew(partition)),
            None => Ok(()),
        }
    }

    /// Nothing more is to be shown of what is decided below.
    fn is_shown_to(&mut self, decided: Vec<(Partition, Position)>, outbox: &mut Outbox) {
        for (partition, end) in &decided {
            let shown = self.shown.entry(*partition).or_insert(*end);
            *shown = (*shown).max(*end);
        }
        self.seen = Some(decided);
        outbox.catch_up();
    }

    fn locate(&self, context: &Context) -> Result<Option<Located>, Failure> {
        match view(context).locate(&self.key) {
            Ok(located) => Ok(Some(located)),
            Err(ReadError::NoSuchAggregate { .. }) => Ok(None),
            Err(error) => Err(unread(context, error)),
        }
    }

    /// The order that is shown next of a share; of one that is met for the first time, that of the first append whose last event lies at
    /// the position or above it.
    fn share(&self, context: &Context, head: Head) -> Result<Order, Failure> {
        if let Some(share) = self.shares.get(&head.partition) {
            return Ok(*share);
        }
        let Some(position) = self.shown.get(&head.partition) else { return Ok(head.base) };
        let (partition, from) = (head.partition, position.offset());
        let epoch = context.board.epoch();
        let applied = context.overlay.outlines_from((&self.key, partition), from);
        let part = OffsetPart { key: &self.key, partition, from, guess: None, events_max: 1 };
        let mut stored = Vec::with_capacity(1);
        context
            .store
            .outlines_from(&[part], &mut stored)
            .map_err(|error| failure::store_error(context, epoch, error))?;
        let first = stored.into_iter().flatten().chain(applied).min_by_key(|outline| outline.order);
        Ok(first.map_or(head.next, |outline| outline.order))
    }
}

/// The next events of a share, whole appends.
fn page(
    context: &Context,
    (key, located, head, from): (&Key, &Located, Head, Order),
    budget: &mut Budget,
) -> Result<Vec<StoredEvent>, Failure> {
    let mut events = Vec::new();
    if from >= head.next || !budget.is_left() {
        return Ok(events);
    }
    let view = view(context);
    let read = |from, budget: &mut Budget, events: &mut Vec<StoredEvent>| {
        let part = Part { key, located, head, from };
        view.read_part(part, budget, events).map_err(|error| unread(context, error))
    };
    read(from, budget, &mut events)?;
    let place = events.last().and_then(|last| Some((last.order, last.stamp?.place?)));
    if let Some((order, place)) = place.filter(|(_, place)| place.i < place.count) {
        let mut rest = Budget { events: (place.count - place.i) as usize, bytes: usize::MAX };
        read(Order(order.0 + 1), &mut rest, &mut events)?;
    }
    Ok(events)
}

/// Events by the appends that they are of.
fn appends(events: Vec<StoredEvent>) -> Vec<Vec<StoredEvent>> {
    let mut appends: Vec<Vec<StoredEvent>> = Vec::new();
    let mut is_open = false;
    for event in events {
        let goes_on = event.stamp.is_some_and(|stamp| stamp.i() < stamp.count());
        match appends.last_mut().filter(|_| is_open) {
            Some(append) => append.push(event),
            None => appends.push(vec![event]),
        }
        is_open = goes_on;
    }
    appends
}

/// Up to where the partitions that are served are decided.
fn decided(board: &Board) -> Vec<(Partition, Position)> {
    let of = |partition: &std::sync::Arc<crate::board::PartitionBoard>| {
        let unserved = board.unserved(partition);
        let state = partition.state();
        let seen = state.current().filter(|_| unserved.is_none())?;
        Some((partition.partition, seen.applied))
    };
    board.partitions().iter().filter_map(of).collect()
}

fn view(context: &Context) -> View<'_> {
    View {
        board: &context.board,
        overlay: &context.overlay,
        store: &*context.store,
        split_by_order_headers: context.options.split_by_order_headers,
    }
}

/// An error of a read ends following. Damage that it met has the store rebuilt, and a failure has it opened anew.
fn unread(context: &Context, error: ReadError) -> Failure {
    match error {
        ReadError::Unavailable(unready) => return failure::unready(&unready),
        ReadError::Damaged { ref detail, epoch } => context.writer.damaged(epoch, detail.clone()),
        ReadError::Store { ref cause } => context.writer.unreadable(Cause::clone(cause)),
        _ => {}
    }
    failure::unreadable(&error.to_string())
}
