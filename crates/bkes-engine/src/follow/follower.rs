//! One who follows, as a state machine: each step puts what comes next into its outbox. It waits for nobody, and time is an argument.

use super::failure;
use super::key::Followed;
use super::outbox::Outbox;
use super::partitions::Partitions;
use super::past::Progress;
use crate::context::Context;
use crate::feed::Place;
use crate::limits::RETRY_MS;
use crate::owner_inbox::OwnerInbox;
use bkes_api::{Failure, FollowItem};
use bkes_core::append::Unready;
use bkes_core::sequence::NowMs;
use bkes_core::{Partition, Position};
use std::sync::atomic::Ordering;

/// What is followed.
pub enum Source {
    Partitions(Box<Partitions>),
    Key(Followed),
}

/// A place among those who follow. Owners begin to feed when there is one, and cease when there is none.
pub struct Seat {
    place: Option<Place>,
    context: Context,
}

impl Seat {
    pub fn new(context: &Context, place: Place) -> Seat {
        context.owners.iter().for_each(OwnerInbox::wake);
        Seat { place: Some(place), context: context.clone() }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.place.take());
        self.context.owners.iter().for_each(OwnerInbox::wake);
    }
}

/// One who follows.
pub struct Follower {
    seat: Seat,
    source: Source,
    outbox: Outbox,
    has_ended: bool,
}

/// What it wants after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There may be more to do at once, or an item to take.
    Busy,
    /// Nothing until woken, or until then.
    Idle(Option<NowMs>),
}

impl Follower {
    pub fn new(seat: Seat, source: Source, outbox: Outbox) -> Follower {
        Follower { seat, source, outbox, has_ended: false }
    }

    /// The next item that is there.
    pub fn next(&mut self) -> Option<Result<FollowItem, Failure>> {
        self.outbox.next()
    }

    /// Whether nothing more comes than is there.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether the next step may wait for the disk, or take long.
    pub fn may_wait(&self) -> bool {
        match &self.source {
            Source::Partitions(partitions) => partitions.is_past(),
            Source::Key(_) => !self.outbox.is_caught_up() || self.seat.context.store.reads_may_block(),
        }
    }

    /// Puts what comes next into the outbox, a bounded amount. What was there has been taken.
    pub fn step(&mut self, now: NowMs) -> Step {
        let context = &self.seat.context;
        if context.board.stopping.load(Ordering::Acquire) {
            return self.end(now, failure::unready(&Unready::ShuttingDown));
        }
        let was_caught_up = self.outbox.is_caught_up();
        let progress = match &mut self.source {
            Source::Partitions(partitions) => partitions.step(context, &mut self.outbox),
            Source::Key(followed) => followed.step(context, &mut self.outbox),
        };
        let progress = match progress {
            Ok(progress) => progress,
            Err(failure) => return self.end(now, failure),
        };
        let positions = self.positions();
        let has_caught_up = self.outbox.is_caught_up() && !was_caught_up;
        self.outbox.tell(&positions, now, has_caught_up);
        if self.outbox.has_items() {
            return Step::Busy;
        }
        match progress {
            Progress::Some => Step::Busy,
            Progress::None => Step::Idle(self.outbox.is_untold(&positions).then(|| self.outbox.due())),
            Progress::Later => Step::Idle(Some(now + RETRY_MS / 10)),
        }
    }

    fn end(&mut self, now: NowMs, failure: Failure) -> Step {
        self.outbox.end(self.positions(), now, failure);
        self.has_ended = true;
        Step::Busy
    }

    fn positions(&self) -> Vec<(Partition, Position)> {
        match &self.source {
            Source::Partitions(partitions) => partitions.positions(),
            Source::Key(followed) => followed.positions(),
        }
    }
}
