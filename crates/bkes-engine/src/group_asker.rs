//! An asker: asks consumer groups what they have committed, for those who wait for it.
//!
//! There are [`GROUP_ASKERS`](crate::limits::GROUP_ASKERS) of them, since a coordinator that does not answer holds one up for as long as
//! a question may take. Each takes the next group that is due; none is asked by two at a time. While nobody waits for a group they
//! sleep.

use crate::board::Board;
use crate::context::Context;
use crate::position_waits::{Commits, PositionWaits};
use bkes_core::Partition;
use bkes_core::sequence::NowMs;
use bkes_log::{Log, LogError, Waker};
use std::sync::Arc;

/// An asker's state; a thread, or a simulator, steps it.
pub struct GroupAsker {
    log: Arc<dyn Log>,
    board: Arc<Board>,
    waits: Arc<PositionWaits>,
    /// All askers: what one has asked another may have to ask next.
    askers: Arc<Vec<Waker>>,
}

/// What an asker wants after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskerStep {
    /// There may be more to do at once.
    Busy,
    /// Nothing until woken, or until then.
    Idle(Option<NowMs>),
    /// The engine stops: nobody waits any more.
    Stopped,
}

impl GroupAsker {
    pub fn new(context: &Context) -> GroupAsker {
        GroupAsker {
            log: Arc::clone(&context.log),
            board: Arc::clone(&context.board),
            waits: Arc::clone(&context.positions),
            askers: Arc::clone(&context.askers),
        }
    }

    /// Asks the group that is due, if one is. `clock` tells the time after the question.
    pub fn step(&mut self, clock: &dyn Fn() -> NowMs) -> AskerStep {
        if self.waits.is_closed() {
            return AskerStep::Stopped;
        }
        let Some(group) = self.waits.take_group(clock()) else {
            return AskerStep::Idle(self.waits.group_due());
        };
        let answer = self.ask(&group);
        self.waits.group_answered(&group, clock(), answer);
        self.askers.iter().for_each(Waker::wake);
        AskerStep::Busy
    }

    /// All partitions are asked for: a group that has commits in others than those waited for is there.
    fn ask(&self, group: &str) -> Result<Commits, LogError> {
        let partitions: Vec<Partition> =
            self.board.partitions().iter().map(|board| board.partition).collect();
        let committed = self.log.committed(group, &partitions)?;
        Ok(partitions.into_iter().zip(committed).collect())
    }
}
