//! Room: an append that does not fit now waits until it does, in the order of arrival, for a bounded time.
//!
//! Three things bound what is sent: the bytes that are applied and not committed (the overlay), the records and bytes that the
//! log's send queue takes, and what lies between them, sent and not applied. An append that would pass one of the bounds is
//! *held*. While one is held, everything that arrives is held after it: so a small append never passes a large one, and what is on its way
//! drains until the large one fits. One that is larger than a whole bound is let in once nothing else is on its way.
//!
//! Invariants: what is held was not sent, and never is after its time is over or after its caller went away. Holding blocks nobody: the
//! owner goes on, and looks again in each step; reports and commits, which make room, wake it. How many bytes may wait is
//! bounded where appends are admitted, and who goes away gives up its place at once.

use super::{Owner, Waiting};
use crate::api::{AppendError, Unit, Unready};
use crate::limits::MARKER_BYTES_MAX;
use bkes_core::sequence::NowMs;
use bkes_log::QueueBound;
use std::collections::VecDeque;

/// What appends take of a bound.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Load {
    pub records: usize,
    /// With keys and markers.
    pub bytes: u64,
}

impl Load {
    /// Of an append.
    pub fn of(waiting: &Waiting) -> Load {
        let records = waiting.request.values.len();
        Load { records, bytes: waiting.place.bytes() + MARKER_BYTES_MAX * records as u64 }
    }

    pub fn add(&mut self, more: Load) {
        self.records += more.records;
        self.bytes += more.bytes;
    }

    pub fn sub(&mut self, less: Load) {
        self.records -= less.records;
        self.bytes -= less.bytes;
    }
}

/// Appends that wait for room, oldest first.
#[derive(Default)]
pub struct Held {
    queue: VecDeque<Waiting>,
    /// When the time of one of them is over; earlier than that at most, never later.
    next_end: Option<NowMs>,
}

impl Held {
    fn push_back(&mut self, waiting: Waiting) {
        self.note(&waiting);
        self.queue.push_back(waiting);
    }

    fn push_front(&mut self, waiting: Waiting) {
        self.note(&waiting);
        self.queue.push_front(waiting);
    }

    fn note(&mut self, waiting: &Waiting) {
        self.next_end = Some(self.next_end.map_or(waiting.until, |end| end.min(waiting.until)));
    }

    pub fn next_end(&self) -> Option<NowMs> {
        self.next_end
    }

    /// Takes out all that are to be taken out.
    fn extract(&mut self, mut is_out: impl FnMut(&Waiting) -> bool) -> Vec<Waiting> {
        let (out, kept): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.queue).into_iter().partition(|waiting| is_out(waiting));
        self.queue = kept.into();
        self.next_end = self.queue.iter().map(|waiting| waiting.until).min();
        out
    }
}

impl Owner {
    /// Takes an append in: it is gathered to be sent, or held.
    pub(super) fn arrive(&mut self, waiting: Waiting, now: NowMs) {
        if self.held.queue.is_empty() && self.is_let_in(&waiting, now) {
            self.gather(waiting, now);
        } else {
            self.held.push_back(waiting);
        }
    }

    /// Lets in what fits by now, and ends the waiting of those whose time is over or whose callers went away.
    pub(super) fn let_in(&mut self, now: NowMs) {
        if self.inbox.take_withdrawn() {
            self.held.extract(|waiting| waiting.to.is_closed());
        }
        if self.held.next_end.is_some_and(|end| end <= now) {
            for waiting in self.held.extract(|waiting| waiting.until <= now) {
                let error = self.no_room(&waiting, now);
                self.refuse(waiting, error);
            }
        }
        while let Some(waiting) = self.held.queue.pop_front() {
            if !self.is_let_in(&waiting, now) {
                return self.held.queue.push_front(waiting);
            }
            self.gather(waiting, now);
        }
        self.held.next_end = None;
    }

    /// Those that waited for their key, and do not fit: they came before all that is held, in this order.
    pub(super) fn hold_again(&mut self, waiting: impl DoubleEndedIterator<Item = Waiting>) {
        waiting.rev().for_each(|waiting| self.held.push_front(waiting));
    }

    /// Whether an append need not wait: there is room, or it would be refused whether or not there is.
    pub(super) fn is_let_in(&self, waiting: &Waiting, now: NowMs) -> bool {
        if self.bound_of(waiting).is_none() {
            return true;
        }
        let key = &waiting.request.key;
        let guess = self.context.board.placing().guess(key);
        let is_served = self.partitions.contains_key(&guess) && self.serving(guess, now).is_ok();
        // Of a key that is not known yet, while not all is read, it cannot be told where it belongs.
        !is_served || (self.all_read().is_err() && self.locate_one(key).is_err())
    }

    /// The bound that an append would pass if it were sent now.
    pub(super) fn bound_of(&self, waiting: &Waiting) -> Option<Bound> {
        let (load, gathered) = (Load::of(waiting), self.gathered_load);
        let under_way = gathered.bytes + self.sent_bytes;
        let applied = self.context.overlay.bytes() as u64;
        let limit = self.context.options.overlay_bytes_max as u64;
        if applied > limit || (under_way > 0 && applied + under_way + load.bytes > limit) {
            return Some(Bound { queue: "the overlay of uncommitted events", limit, unit: Unit::Bytes });
        }
        // What does not fit into an empty queue is refused when it is to be sent.
        if gathered.records == 0 && self.sent.is_empty() {
            return None;
        }
        let (records, bytes) = (gathered.records + load.records, gathered.bytes + load.bytes);
        let full = self.appender.as_ref()?.has_room(records, bytes).err()?;
        Some(Bound::of_queue(full))
    }

    /// What an append is told that has waited in vain.
    fn no_room(&self, waiting: &Waiting, now: NowMs) -> AppendError {
        let waited_ms = now.saturating_sub(waiting.since);
        AppendError::Unavailable(match self.bound_of(waiting) {
            Some(Bound { queue, limit, unit }) => Unready::NoRoom { waited_ms, queue, limit, unit },
            // Those before it did not fit.
            None => {
                let limit = self.context.options.append_bytes_max as u64;
                Unready::NoRoom { waited_ms, queue: "the append queue", limit, unit: Unit::Bytes }
            }
        })
    }

    /// The owner stops: nobody waits on.
    pub(super) fn refuse_held(&mut self) {
        for waiting in self.held.extract(|_| true) {
            self.refuse(waiting, AppendError::Unavailable(Unready::ShuttingDown));
        }
    }

    /// How many appends wait for room.
    pub(super) fn held(&self) -> usize {
        self.held.queue.len()
    }
}

/// A queue that is full, and what it may hold.
pub(super) struct Bound {
    queue: &'static str,
    limit: u64,
    unit: Unit,
}

impl Bound {
    fn of_queue(bound: QueueBound) -> Bound {
        let (limit, unit) = match bound {
            QueueBound::Records { records_max } => (records_max, Unit::Records),
            QueueBound::Bytes { bytes_max } => (bytes_max, Unit::Bytes),
        };
        Bound { queue: "the send queue", limit, unit }
    }
}
