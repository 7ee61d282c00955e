//! Append ids: whether an append was stored by an earlier try. That is looked up before its partition refuses or sends anything.
//!
//! An append that is sent takes the order after the last event that was looked at, and is accepted there or nowhere. So acceptance means
//! that exactly those events came before it: what was looked for among them is not there, whoever else writes meanwhile. An append
//! whose order was taken looks at what came since, and at nothing twice.

use super::{Append, FoldId, PartitionMachine, Scope, Step};
use crate::append::{AppendError, AppendRequest, Expected};
use crate::append_id::{ID_LOOK_MAX, Identity};
use crate::{EventOutline, Head, Key, Order};
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
        let Some(identity) = &append.request.identity else { return Ok(()) };
        let Some(head) = head else { return self.nothing_to_look_at(append, identity) };
        match append.request.expected {
            Expected::New => self.look_at(&append.request, Order::FIRST, head, step),
            Expected::At(order) => self.look_at(&append.request, order, head, step),
            Expected::Exists | Expected::Any => {
                append.looked_at = Some(self.look_back(append, identity, head, step)?);
                Ok(())
            }
        }
    }

    /// The aggregate has no events, as far as is read. Where the head of the log is gone, it may have had some.
    fn nothing_to_look_at(&self, append: &Append<T>, identity: &Identity) -> Result<(), NotSent> {
        if identity.is_first {
            return Ok(());
        }
        if self.checkpoint.cut {
            return Err(AppendError::IdWindow { id: identity.id.clone(), from: Order::FIRST }.into());
        }
        if append.is_verified { Ok(()) } else { Err(NotSent::Unverified(Scope::All)) }
    }

    /// Of an append that names its order: an earlier try lies there or nowhere. In the window the id may lie elsewhere too: that append
    /// was another decision.
    fn look_at(
        &self,
        request: &AppendRequest,
        order: Order,
        head: Head,
        step: Step<'_, T>,
    ) -> Result<(), NotSent> {
        let (Some(identity), key) = (&request.identity, &request.key) else { return Ok(()) };
        if (head.base..head.next).contains(&order) {
            let there = self.outlines(key, head, order..Order(order.0 + 1), step)?;
            if let Some(first) = there.into_iter().find(|event| begins(event, identity)) {
                return Err(NotSent::Found(first));
            }
        }
        if identity.is_first {
            return Ok(());
        }
        let id = identity.id.clone();
        if order < head.base {
            return Err(AppendError::IdWindow { id, from: head.base }.into());
        }
        let from = Order(head.next.0.saturating_sub(self.settings.id_window).max(head.base.0));
        let looked_at = self.appends_in(key, head, from..head.next, step)?;
        match looked_at.into_iter().find(|event| begins(event, identity)) {
            Some(EventOutline { order: first, partition, offset, .. }) => {
                Err(AppendError::IdUsed { id, first, partition, offset }.into())
            }
            None => Ok(()),
        }
    }

    /// Of an append that takes whatever order is next: an earlier try may lie anywhere from where the aggregate was before it on.
    fn look_back(
        &self,
        append: &Append<T>,
        identity: &Identity,
        head: Head,
        step: Step<'_, T>,
    ) -> Result<LookedAt, NotSent> {
        let (fold, end) = (self.fold, head.next);
        let before = append.looked_at.filter(|before| before.fold == fold && before.end <= end);
        let back = |events: u64| Order(end.0.saturating_sub(events).max(head.base.0));
        let window = back(self.settings.id_window);
        let wanted = identity.seen.map_or(window, |seen| seen.min(window)).max(back(ID_LOOK_MAX));
        let since = before.map_or(wanted, |before| before.end);
        let mut from = before.map_or(wanted, |before| before.from);
        let looked_at = self.appends_in(&append.request.key, head, since..end, step)?;
        if let (None, Some(first)) = (before, looked_at.first()) {
            from = from.min(first.order);
        }
        if let Some(first) = looked_at.into_iter().find(|event| begins(event, identity)) {
            return Err(NotSent::Found(first));
        }
        let is_whole = from == Order::FIRST || identity.seen.map_or(identity.is_first, |seen| seen >= from);
        if is_whole {
            Ok(LookedAt { fold, from, end })
        } else {
            Err(AppendError::IdWindow { id: identity.id.clone(), from }.into())
        }
    }

    /// The events at these orders, and the first event of the append that the first of them belongs to: an append is looked at if any of
    /// its events is.
    fn appends_in(
        &self,
        key: &Key,
        head: Head,
        orders: Range<Order>,
        step: Step<'_, T>,
    ) -> Result<Vec<EventOutline>, NotSent> {
        let events = self.outlines(key, head, orders, step)?;
        let Some((order, stamp)) = events.first().and_then(|event| Some((event.order, event.stamp?))) else {
            return Ok(events);
        };
        let begun = Order(order.0.saturating_sub(u64::from(stamp.i() - 1)));
        if begun == order || begun < head.base {
            return Ok(events);
        }
        let mut all = self.outlines(key, head, begun..Order(begun.0 + 1), step)?;
        all.extend(events);
        Ok(all)
    }

    /// Events of an aggregate without their content: what this step has applied, and what the host knows of those before.
    fn outlines(
        &self,
        key: &Key,
        head: Head,
        orders: Range<Order>,
        step: Step<'_, T>,
    ) -> Result<Vec<EventOutline>, NotSent> {
        let is_of_step = self.opened(step.lookup.hash(key), key).is_some();
        let here = || self.work.events.iter().filter(|accepted| is_of_step && accepted.key == *key);
        let before = here().next().map_or(head.next, |accepted| accepted.first());
        let known = orders.start..orders.end.min(before);
        let mut outlines = if known.is_empty() {
            Vec::new()
        } else {
            step.lookup.outlines(key, known).map_err(AppendError::Unavailable)?
        };
        let of_step = here().flat_map(|accepted| accepted.outlines());
        outlines.extend(of_step.filter(|event| orders.contains(&event.order)));
        Ok(outlines)
    }
}

/// Whether an append with this id begins with an event.
fn begins(event: &EventOutline, identity: &Identity) -> bool {
    event.append_id.as_ref() == Some(identity.id.bytes())
}

#[cfg(test)]
mod tests;
