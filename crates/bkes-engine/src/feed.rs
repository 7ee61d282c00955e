//! The feed: what owners decide, for those who follow the log.
//!
//! Each partition has a *ring*: the appends that were accepted last, in the order of decision, which is the order of their last records.
//! An owner adds to it what it decides while somebody follows, and says at the end of each step how far it has decided. Whoever
//! follows holds nothing here but a position, and takes what lies at or above it. A ring has a bound in bytes: what is pushed out of it
//! has to be read from the log.
//!
//! Invariants: a ring has every append whose last record lies in `from..to`, all of one fold; only the partition's owner changes it. So a
//! position in that range tells what comes next, wherever whoever holds it has read so far: handing over from the log to the ring loses
//! nothing and doubles nothing.
//!
//! While nobody follows it costs an owner one relaxed load. The time in which somebody does is a *period* with a number of its own, and a
//! ring that was begun in another one counts for nothing: nobody added to it in between.

use crate::lock::lock;
use bkes_core::machine::{Accepted, FoldId, Records};
use bkes_core::{Offset, Position, content_bytes};
use bkes_log::Waker;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A time in which somebody follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Period(u64);

impl Period {
    /// Nobody follows.
    pub const NONE: Period = Period(0);
}

/// Who follows.
#[derive(Default)]
pub struct Feed {
    /// Changed under the lock of those who follow. Owners read it whenever they have decided something.
    period: AtomicU64,
    followers: Mutex<Followers>,
}

#[derive(Default)]
struct Followers {
    wakers: Vec<(u64, Waker)>,
    /// The last number of one who follows, and of a period.
    last: u64,
}

/// A place among those who follow, given back when dropped.
pub struct Place {
    feed: Arc<Feed>,
    number: u64,
    /// The period it is in, until it is given back.
    pub period: Period,
}

impl Feed {
    /// Lets one more follow, whom `waker` wakes when there may be something new; `None` if there are as many as may be. Owners have to be
    /// woken after that, and after the place was given back.
    pub fn enter(self: &Arc<Feed>, waker: Waker, followers_max: usize) -> Option<Place> {
        let mut followers = lock(&self.followers);
        if followers.wakers.len() >= followers_max {
            return None;
        }
        followers.last += 1;
        let number = followers.last;
        if followers.wakers.is_empty() {
            self.period.store(number, Ordering::Relaxed);
        }
        followers.wakers.push((number, waker));
        Some(Place { feed: Arc::clone(self), number, period: self.period() })
    }

    /// The period that is now. What goes with it is read under the lock of a ring.
    pub fn period(&self) -> Period {
        Period(self.period.load(Ordering::Relaxed))
    }

    /// How many follow.
    pub fn followers(&self) -> usize {
        lock(&self.followers).wakers.len()
    }

    /// There may be something new for all who follow.
    pub fn wake(&self) {
        for (_, waker) in &lock(&self.followers).wakers {
            waker.wake();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut followers = lock(&self.feed.followers);
        followers.wakers.retain(|(number, _)| *number != self.number);
        if followers.wakers.is_empty() {
            self.feed.period.store(Period::NONE.0, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} follow", self.followers())
    }
}

/// An accepted append, shared by all who follow.
#[derive(Debug)]
pub struct Fed {
    /// It.
    pub accepted: Accepted,
    /// Where its last record lies.
    pub last: Offset,
    /// What it counts for.
    bytes: usize,
}

/// What was decided last in a partition.
#[derive(Debug, Default)]
pub struct Ring(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    period: Period,
    fold: FoldId,
    from: Position,
    to: Position,
    /// Rising by their last records; some may lie at `to` or above while the owner is in the middle of a step.
    appends: VecDeque<Arc<Fed>>,
    bytes: usize,
}

/// How much is taken at once.
#[derive(Clone, Copy, Debug)]
pub struct TakeLimits {
    pub appends_max: usize,
    /// The append that reaches it is the last.
    pub bytes_max: usize,
}

/// What a ring has from a position on.
#[derive(Debug)]
pub enum Taken {
    /// These, and that is all below `to`. `is_all` if nothing more is decided.
    Appends { appends: Vec<Arc<Fed>>, to: Position, is_all: bool },
    /// Its owner has not begun it in this period and fold, and will.
    NotBegun,
    /// What lies at the position was pushed out of it, or was decided before it was begun.
    Passed,
}

impl Ring {
    /// Adds what was accepted. It is seen when the step has ended.
    pub fn add(&self, (period, fold): (Period, FoldId), accepted: &[Accepted], bytes_max: usize) {
        let mut state = lock(&self.0);
        if (state.period, state.fold) != (period, fold) {
            // It is begun at the end of the step.
            return;
        }
        for accepted in accepted {
            let fed = Arc::new(Fed {
                last: last_offset(accepted),
                bytes: bytes_of(accepted),
                accepted: accepted.clone(),
            });
            state.bytes += fed.bytes;
            state.appends.push_back(fed);
        }
        while state.bytes > bytes_max
            && let Some(oldest) = state.appends.pop_front()
        {
            state.bytes -= oldest.bytes;
            state.from = oldest.last.next();
        }
    }

    /// Everything below `to` is decided and was added. A ring of another period or fold is begun here; where nobody follows, it is emptied.
    pub fn publish(&self, (period, fold): (Period, FoldId), to: Position) {
        let mut state = lock(&self.0);
        if (state.period, state.fold) == (period, fold) {
            state.to = to;
        } else {
            *state = State { period, fold, from: to, to, ..State::default() };
        }
    }

    /// What lies at `position` or above it.
    pub fn take(&self, (period, fold): (Period, FoldId), position: Position, limits: TakeLimits) -> Taken {
        let state = lock(&self.0);
        if (state.period, state.fold) != (period, fold) {
            return Taken::NotBegun;
        }
        if position < state.from {
            return Taken::Passed;
        }
        let first = state.appends.partition_point(|fed| fed.last < position.offset());
        let (mut appends, mut bytes) = (Vec::new(), 0);
        for fed in state.appends.range(first..).take_while(|fed| fed.last < state.to.offset()) {
            if appends.len() >= limits.appends_max || bytes >= limits.bytes_max {
                let to = appends.last().map_or(position, |fed: &Arc<Fed>| fed.last.next());
                return Taken::Appends { appends, to, is_all: false };
            }
            bytes += fed.bytes;
            appends.push(Arc::clone(fed));
        }
        Taken::Appends { appends, to: state.to.max(position), is_all: true }
    }
}

fn last_offset(accepted: &Accepted) -> Offset {
    match &accepted.records {
        Records::One(record) => record.offset,
        Records::Batch(records) => records.last().expect("a batch has members").offset,
    }
}

fn bytes_of(accepted: &Accepted) -> usize {
    let records = match &accepted.records {
        Records::One(record) => std::slice::from_ref(record),
        Records::Batch(records) => records,
    };
    let of =
        |record: &bkes_core::Record| content_bytes(record.payload_bytes(), &record.headers) + RECORD_BYTES;
    records.iter().map(of).sum()
}

/// What a record takes beside its content: its fields and its share of the allocations around it.
const RECORD_BYTES: usize = 200;

#[cfg(test)]
mod tests;
