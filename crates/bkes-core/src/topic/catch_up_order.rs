//! The order of catching up: partitions with much to read are read one after another.
//!
//! Read side by side, a transaction gets a little of every partition; read in turn, it gets much of one. Then more events of an
//! aggregate meet in it, and those of one share a row and neighbours a page: of a million records in five partitions that saves
//! a third of the store writer's work. Those with little to read come first, and what is caught up is followed at once.

use crate::Partition;
use crate::sequence::NowMs;

/// How long partitions that are read may give nothing before others get their turn: a leader may be away.
const PATIENCE_MS: NowMs = 500;

/// A partition, as far as the order goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Reading {
    /// Offsets to apply until it is served, as far as is known.
    pub left: u64,
    /// Its number.
    pub partition: Partition,
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct CatchUpOrder {
    /// Whether a partition may wait.
    is_waiting: bool,
    /// What is left to read of those that are read, and since when it has been as much; none before that was looked at.
    left: Option<u64>,
    since: NowMs,
}

impl CatchUpOrder {
    /// A partition waits from here on.
    pub fn begin(&mut self) {
        *self = CatchUpOrder { is_waiting: true, left: None, since: self.since };
    }

    /// Whether a partition may wait for its turn.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// The partitions whose turn has come: while less than `left_max` is left to read of those that are read, `left`, or when those give
    /// nothing. `waiting` are the others, in any order. While reading rests for the store's sake, that nothing is read says nothing.
    pub fn next(
        &mut self,
        left: u64,
        mut waiting: Vec<Reading>,
        (left_max, is_resting): (u64, bool),
        now: NowMs,
    ) -> Vec<Partition> {
        let (mut left, mut turns) = (left, Vec::new());
        if self.left != Some(left) || is_resting {
            (self.left, self.since) = (Some(left), now);
        }
        let mut is_stuck = now >= self.since + PATIENCE_MS;
        // Least first, taken from the end.
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        while let Some(Reading { left: more, .. }) = waiting.last() {
            let is_due = *more == 0 || left == 0 || left < left_max;
            if !is_due && !std::mem::take(&mut is_stuck) {
                return turns;
            }
            left += more;
            (self.left, self.since) = (Some(left), now);
            turns.extend(waiting.pop().map(|reading| reading.partition));
        }
        self.is_waiting = false;
        turns
    }

    /// When another partition gets its turn for the time alone.
    pub fn deadline(&self) -> Option<NowMs> {
        self.is_waiting.then_some(self.since + PATIENCE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT_MAX: (u64, bool) = (100, false);

    fn waiting(left: &[u64]) -> Vec<Reading> {
        (0..).zip(left).map(|(number, left)| Reading { left: *left, partition: Partition(number) }).collect()
    }

    #[test]
    fn those_with_little_to_read_come_first_and_large_ones_one_after_another() {
        let mut order = CatchUpOrder::default();
        order.begin();
        assert_eq!(order.next(0, waiting(&[900, 0, 500, 20]), LEFT_MAX, 1), [1, 3, 2].map(Partition));
        assert_eq!(order.next(520, waiting(&[900]), LEFT_MAX, 2), []);
        assert_eq!(order.next(99, waiting(&[900]), LEFT_MAX, 3), [Partition(0)]);
        assert!(!order.is_waiting());
    }

    #[test]
    fn one_more_gets_its_turn_while_those_before_give_nothing() {
        let mut order = CatchUpOrder::default();
        order.begin();
        assert_eq!(order.next(300, waiting(&[400, 500]), LEFT_MAX, 10), []);
        assert_eq!(order.deadline(), Some(10 + PATIENCE_MS));
        let resting = (LEFT_MAX.0, true);
        assert_eq!(order.next(300, waiting(&[400, 500]), resting, 10 + PATIENCE_MS), [], "reading rests");
        assert_eq!(order.next(300, waiting(&[400, 500]), LEFT_MAX, 10 + 2 * PATIENCE_MS), [Partition(0)]);
        assert_eq!(order.next(700, waiting(&[500]), LEFT_MAX, 11 + 2 * PATIENCE_MS), []);
    }
}
