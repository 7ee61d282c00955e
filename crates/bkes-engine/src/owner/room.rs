//! Room: an append that does not fit now waits until it does, in the order of arrival, for a bounded time.
//!
//! Three things bound what is sent: the bytes that are applied and not committed (the overlay), the records and bytes that the
//! log's send queue takes, and what lies between them, sent and not applied. An append that would pass one of the bounds is
//! *held*. While one is held, everything that arrives is held after it: so a small append never passes a large one, and what is on its way
//! drains until the large one fits. One that is larger than a whole bound is let in once nothing else is on its way.
//!
//! Invariants: nothing of what is held is in the log as an event, and it is never sent after its time is over or after its caller went
//! away. Holding blocks nobody: the owner goes on, and looks again in each step; reports and commits, which make room, wake it. How many
//! bytes may wait is bounded where appends are admitted, and who goes away gives up its place at once.

use super::bound::{Bound, bound_of};
use super::lookup::HostLookup;
use super::{Hosted, Owner};
use crate::owner::lookup::stand_all;
use crate::owner_inbox::{Ticket, Waiting};
use bkes_core::append::{AppendError, Unit, Unready};
use bkes_core::machine::{Append, Load};
use bkes_core::sequence::NowMs;
use std::collections::VecDeque;

/// Appends that wait for room, oldest first.
#[derive(Default)]
pub struct Held {
    queue: VecDeque<Waiting>,
    /// When the time of one of them is over; earlier than that at most, never later.
    next_end: Option<NowMs>,
}

impl Held {
    fn push_back(&mut self, append: Waiting) {
        self.note(&append);
        self.queue.push_back(append);
    }

    fn push_front(&mut self, append: Waiting) {
        self.note(&append);
        self.queue.push_front(append);
    }

    fn note(&mut self, append: &Append<Ticket>) {
        self.next_end = Some(self.next_end.map_or(append.ticket.until, |end| end.min(append.ticket.until)));
    }

    pub fn next_end(&self) -> Option<NowMs> {
        self.next_end
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Those that waited for their key, and do not fit: they came before all that is held, in this order.
    pub fn again(&mut self, appends: impl DoubleEndedIterator<Item = Waiting>) {
        appends.rev().for_each(|append| self.push_front(append));
    }

    pub fn take_all(&mut self) -> Vec<Waiting> {
        self.extract(|_| true)
    }

    /// Takes out all that are to be taken out.
    fn extract(&mut self, mut is_out: impl FnMut(&Append<Ticket>) -> bool) -> Vec<Waiting> {
        let (out, kept): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.queue).into_iter().partition(|append| is_out(append));
        self.queue = kept.into();
        self.next_end = self.queue.iter().map(|append| append.ticket.until).min();
        out
    }
}

impl Owner {
    /// Takes an append in: it is grouped to be sent, or held.
    pub(super) fn arrive(&mut self, append: Waiting, now: NowMs) {
        if self.held.is_empty() && self.is_let_in(&append, now) {
            self.group(append, now);
        } else {
            self.held.push_back(append);
        }
    }

    /// Lets in what fits by now, and ends the waiting of those whose time is over or whose callers went away.
    pub(super) fn let_in(&mut self, now: NowMs) {
        if self.inbox.take_withdrawn() {
            self.held.extract(|append| append.ticket.to.is_closed());
        }
        if self.held.next_end.is_some_and(|end| end <= now) {
            for append in self.held.extract(|append| append.ticket.until <= now) {
                let error = self.no_room(&append, now);
                self.refuse(append, error);
            }
        }
        while let Some(append) = self.held.queue.pop_front() {
            if !self.is_let_in(&append, now) {
                return self.held.queue.push_front(append);
            }
            self.group(append, now);
        }
        self.held.next_end = None;
    }

    /// Whether an append need not wait: there is room, or it would be refused whether or not there is.
    fn is_let_in(&self, append: &Append<Ticket>, now: NowMs) -> bool {
        if self.bound_of(append).is_none() {
            return true;
        }
        let key = &append.request.key;
        let is_served = |hosted: &Hosted| hosted.machine.is_serving(now, &self.lookup(hosted));
        if !self.partitions.get(&append.ticket.guess).is_some_and(is_served) {
            return true;
        }
        // Of a key that is not known yet, while not all is read, it cannot be told where it belongs.
        let is_unknown = || {
            let standings = stand_all(&self.context, self.epoch, std::slice::from_ref(key), None);
            standings.iter().all(Result::is_err)
        };
        !self.context.board.all_read() && is_unknown()
    }

    fn lookup<'a>(&'a self, hosted: &'a Hosted) -> HostLookup<'a> {
        HostLookup {
            context: &self.context,
            index: self.index,
            epoch: self.epoch,
            board: &hosted.board,
            fold: hosted.machine.fold(),
            appender: self.appender.as_deref(),
            under_way: self.under_way(),
            grouped: self.grouped,
        }
    }

    /// What is sent and not reported on, with the bytes of what is grouped to be sent.
    pub(super) fn under_way(&self) -> Load {
        Load { records: self.sent.records, ..self.sent.and(self.grouped) }
    }

    /// The bound that an append would pass if it were sent now.
    fn bound_of(&self, append: &Append<Ticket>) -> Option<Bound> {
        let queued = (self.under_way(), self.grouped);
        bound_of(&self.context, self.appender.as_deref(), append.load, queued)
    }

    /// What an append is told that has waited in vain.
    fn no_room(&self, append: &Append<Ticket>, now: NowMs) -> AppendError {
        let waited_ms = now.saturating_sub(append.ticket.since);
        AppendError::Unavailable(match self.bound_of(append) {
            Some(Bound { queue, limit, unit }) => Unready::NoRoom { waited_ms, queue, limit, unit },
            // Those before it did not fit.
            None => {
                let limit = self.context.options.append_bytes_max as u64;
                Unready::NoRoom { waited_ms, queue: "the append queue", limit, unit: Unit::Bytes }
            }
        })
    }
}
