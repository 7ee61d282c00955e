//! Append ids: whether an append was stored by an earlier try. That is looked up before its partition refuses or sends anything.
//!
//! An append that is sent takes the order after the last event that was looked at, and is accepted there or nowhere. So acceptance means
//! that exactly those events came before it: what was looked for among them is not there, whoever else writes meanwhile. An append
//! whose order was taken looks at what came since, and at nothing twice.

use super::{Append, FoldId, PartitionMachine, Scope, Step};
use crate::append::{AppendError, AppendRequest};
use crate::append_id::Identity;
use crate::{EventOutline, Head, Order};
use std::ops::Range;

/// Why an append is not sent.
pub(super) enum NotSent {
    /// It is refused.
    Refused(AppendError),
    /// An append with its id begins with this event, where it would be an earlier try.
    Found(EventOutline),
    /// An earlier try may lie in what was not read yet.
    Unverified(Scope),
}

impl From<AppendError> for NotSent {
    fn from(error: AppendError) -> NotSent {
        NotSent::Refused(error)
    }
}

/// What was looked at for an append's id, which was not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LookedAt {
    /// In this fold.
    fold: FoldId,
    /// All events from here on...
    from: Order,
    /// ... up to here, which is where the aggregate ended.
    end: Order,
}

impl<T> PartitionMachine<T> {
    /// Whether nothing that can be looked at says that an earlier try was stored.
    pub(super) fn look_for_id(
        &self,
        append: &mut Append<T>,
        head: Option<Head>,
        step: Step<'_, T>,
    ) -> Result<(), NotSent> {
        let Append { request, is_verified, looked_at, .. } = append;
        let Some(identity) = &request.identity else { return Ok(()) };
        let Some(head) = head else { return self.nothing_to_look_at(identity, *is_verified) };
        let look = Look { machine: self, request, identity, head, step };
        match request.expected.order() {
            Some(order) => look.at(order),
            None => {
                *looked_at = Some(look.back(*looked_at)?);
                Ok(())
            }
        }
    }

    /// The aggregate has no events, as far as is read. Where the head of the log is gone, it may have had some.
    fn nothing_to_look_at(&self, identity: &Identity, is_verified: bool) -> Result<(), NotSent> {
        if identity.is_first {
            Ok(())
        } else if self.checkpoint.cut {
            Err(out_of_sight(identity, Order::FIRST))
        } else if is_verified {
            Ok(())
        } else {
            Err(NotSent::Unverified(Scope::All))
        }
    }
}

/// A look at an aggregate that has events, for the id of an append.
struct Look<'a, T> {
    machine: &'a PartitionMachine<T>,
    request: &'a AppendRequest,
    identity: &'a Identity,
    head: Head,
    step: Step<'a, T>,
}

impl<T> Look<'_, T> {
    /// Of an append that names its order: an earlier try lies there or nowhere. In the window the id may lie elsewhere too: that append
    /// was another decision.
    fn at(&self, order: Order) -> Result<(), NotSent> {
        let Look { identity, head, .. } = *self;
        if (head.base..head.next).contains(&order) {
            let there = self.outlines(order..Order(order.0 + 1))?;
            if let Some(first) = self.find(there) {
                return Err(NotSent::Found(first));
            }
        }
        if identity.is_first {
            return Ok(());
        }
        if order < head.base {
            return Err(out_of_sight(identity, head.base));
        }
        let window = self.appends_in(self.from()..head.next)?;
        match self.find(window) {
            Some(EventOutline { order: first, partition, offset, .. }) => {
                Err(AppendError::IdUsed { id: identity.id.clone(), first, partition, offset }.into())
            }
            None => Ok(()),
        }
    }

    /// Of an append that takes whatever order is next: an earlier try may lie anywhere from where the aggregate was before it on. `before`
    /// is what was looked at already.
    fn back(&self, before: Option<LookedAt>) -> Result<LookedAt, NotSent> {
        let Look { identity, .. } = *self;
        let (fold, end) = (self.machine.fold, self.head.next);
        let before = before.filter(|before| before.fold == fold && before.end <= end);
        let since = before.map_or_else(|| self.from(), |before| before.end);
        let looked_at = self.appends_in(since..end)?;
        let from = before.map(|before| before.from).or(looked_at.first().map(|first| first.order));
        let from = from.unwrap_or(since);
        if let Some(first) = self.find(looked_at) {
            return Err(NotSent::Found(first));
        }
        let is_whole = from == Order::FIRST || identity.seen.map_or(identity.is_first, |seen| seen >= from);
        if is_whole { Ok(LookedAt { fold, from, end }) } else { Err(out_of_sight(identity, from)) }
    }

    /// From which order on the id is looked for.
    fn from(&self) -> Order {
        self.request.looked_for_from(self.head, self.machine.settings.id_window)
    }

    /// The event among these with which the append begins that has the id.
    fn find(&self, events: Vec<EventOutline>) -> Option<EventOutline> {
        let id = Some(self.identity.id.bytes());
        events.into_iter().find(|event| event.append_id.as_ref() == id)
    }

    /// The events at these orders, and the first event of the append that the first of them belongs to: an append is looked at if any of
    /// its events is.
    fn appends_in(&self, orders: Range<Order>) -> Result<Vec<EventOutline>, NotSent> {
        let events = self.outlines(orders)?;
        let Some((order, stamp)) = events.first().and_then(|event| Some((event.order, event.stamp?))) else {
            return Ok(events);
        };
        let begun = Order(order.0.saturating_sub(u64::from(stamp.i() - 1)));
        if begun == order || begun < self.head.base {
            return Ok(events);
        }
        let mut all = self.outlines(begun..Order(begun.0 + 1))?;
        all.extend(events);
        Ok(all)
    }

    /// Events of the aggregate without their content: what this step has applied, and what the host knows of those before.
    fn outlines(&self, orders: Range<Order>) -> Result<Vec<EventOutline>, NotSent> {
        let (key, lookup, machine) = (&self.request.key, self.step.lookup, self.machine);
        let is_of_step = machine.opened(lookup.hash(key), key).is_some();
        let here = || machine.work.events.iter().filter(|accepted| is_of_step && accepted.key == *key);
        let before = here().next().map_or(self.head.next, |accepted| accepted.first());
        let known = orders.start..orders.end.min(before);
        let mut outlines = if known.is_empty() {
            Vec::new()
        } else {
            lookup.outlines(key, known).map_err(AppendError::Unavailable)?
        };
        let of_step = here().flat_map(|accepted| accepted.outlines());
        outlines.extend(of_step.filter(|event| orders.contains(&event.order)));
        Ok(outlines)
    }
}

/// An earlier try may lie where nobody can look.
fn out_of_sight(identity: &Identity, from: Order) -> NotSent {
    AppendError::IdWindow { id: identity.id.clone(), from }.into()
}

#[cfg(test)]
mod tests;
