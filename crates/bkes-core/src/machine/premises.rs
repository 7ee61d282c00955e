//! What a record above the next order says of this fold.
//!
//! A correct writer numbers an append by the events of its key that it has applied, and those lie before the record in its
//! partition. So a record that names an order above the next one shows that its writer knew events which this fold does not: the
//! fold missed them (the log lost its end and grew again, unnoticed), or the writer rested on events that the log has lost, or the
//! record was copied here from another topic, or the head of the log was removed. Which of these it is cannot be told from here, but a
//! fold that begins anew can tell: it meets the events, or it does not. So nothing is decided on such a record by a fold that has
//! followed the log for a while; the partition is degraded and rebuilt. What is *decided* is a function of the log alone, and the same
//! everywhere: a rebuild is only how this instance makes sure that it reads that log.
//!
//! A rebuild must not follow upon a rebuild. Records that were in the log when a fold began at its beginning are decided by that
//! fold as they are met; so each costs one rebuild at most. A writer whose record that fold found to be unfounded is *unfounded* itself
//! from then on: an instance takes a new name whenever its folds begin anew, so what it still wrote under this name rests on what
//! was wrong. And after some rebuilds that found nothing, such records are believed no more.

use super::limits::{UNFOUNDED_MAX, VAIN_REBUILDS_MAX};
use crate::{Incarnation, Offset, Position};
use std::collections::BTreeSet;

/// What is known of one partition. It survives new beginnings, not the process.
#[derive(Clone, Debug, Default)]
pub struct Premises {
    /// Whether this fold began at the log's beginning in this process: until it has caught up, all it meets was there when it began.
    is_whole: bool,
    /// The record on which nothing was decided, until a fold begins at the log's beginning.
    doubted: Option<Offset>,
    /// Behind the record for which this fold, or an earlier one, was begun there: all before it is decided.
    begun_for: Position,
    /// Whether that record was not above the next order again so far.
    is_open: bool,
    /// Writers that rested on what is not in this log.
    unfounded: BTreeSet<Incarnation>,
    /// Rebuilds, one after the other, that found that nothing had been missed.
    vain: u32,
}

/// What is done with a record above the next order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JudgedAbove {
    /// It is decided as it is met.
    Decide,
    /// It is decided by a fold that begins anew.
    Doubt,
}

impl Premises {
    /// A fold begins, at the log's beginning or where an earlier one stood.
    pub fn begin(&mut self, is_whole: bool) {
        self.is_whole = is_whole;
        if let Some(offset) = self.doubted.take_if(|_| is_whole) {
            self.begun_for = offset.next();
            self.is_open = true;
        }
    }

    /// What was still written under a name that we gave up proves nothing to us.
    pub fn gave_up(&mut self, incarnation: Incarnation) {
        self.note(incarnation);
    }

    /// A record at `offset` names an order above the next one.
    pub fn judge(&mut self, incarnation: Incarnation, offset: Offset, is_caught_up: bool) -> JudgedAbove {
        if offset < self.begun_for.offset() || (self.is_whole && !is_caught_up) {
            if offset.next() == self.begun_for && std::mem::take(&mut self.is_open) {
                self.vain += 1;
            }
            self.note(incarnation);
            return JudgedAbove::Decide;
        }
        if self.unfounded.contains(&incarnation) || self.vain >= VAIN_REBUILDS_MAX {
            return JudgedAbove::Decide;
        }
        if std::mem::take(&mut self.is_open) {
            // The record before this one was not above the next order when it was met again: something had been missed.
            self.vain = 0;
        }
        self.doubted = Some(offset);
        JudgedAbove::Doubt
    }

    fn note(&mut self, incarnation: Incarnation) {
        if self.unfounded.len() < UNFOUNDED_MAX {
            self.unfounded.insert(incarnation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAUGHT_UP: bool = true;

    fn name(number: u32) -> Incarnation {
        Incarnation(u64::from(number))
    }

    #[test]
    fn a_record_is_doubted_once_and_its_writer_no_more() {
        let mut premises = Premises::default();
        premises.begin(false);
        // Until the fold begins anew it may be met several times.
        for _ in 0..3 {
            assert_eq!(premises.judge(name(1), Offset(7), CAUGHT_UP), JudgedAbove::Doubt);
        }
        premises.begin(true);
        assert_eq!(premises.judge(name(1), Offset(7), CAUGHT_UP), JudgedAbove::Decide);
        assert_eq!(
            premises.judge(name(1), Offset(9), CAUGHT_UP),
            JudgedAbove::Decide,
            "its writer is unfounded"
        );
        assert_eq!(premises.judge(name(2), Offset(10), CAUGHT_UP), JudgedAbove::Doubt, "another one");
    }

    #[test]
    fn a_fold_from_the_beginning_decides_until_it_has_caught_up() {
        let mut premises = Premises::default();
        premises.begin(true);
        assert_eq!(premises.judge(name(1), Offset(7), !CAUGHT_UP), JudgedAbove::Decide);
        assert_eq!(premises.judge(name(2), Offset(8), CAUGHT_UP), JudgedAbove::Doubt);
        premises.begin(false);
        assert_eq!(premises.judge(name(3), Offset(9), !CAUGHT_UP), JudgedAbove::Doubt, "it was resumed");
    }

    /// Every record of a topic that is copied into another one may have a writer of its own.
    #[test]
    fn rebuilding_ends_whatever_is_written() {
        let mut premises = Premises::default();
        let mut rebuilds = 0;
        for number in 0..10_000 {
            while premises.judge(name(number), Offset(u64::from(number)), CAUGHT_UP) == JudgedAbove::Doubt {
                rebuilds += 1;
                premises.begin(true);
            }
        }
        assert_eq!(rebuilds, VAIN_REBUILDS_MAX);
        assert!(premises.unfounded.len() <= UNFOUNDED_MAX);
    }

    /// What was missed and found is no rebuild in vain.
    #[test]
    fn rebuilding_goes_on_where_it_finds_what_was_missed() {
        let mut premises = Premises::default();
        for number in 0..10 * VAIN_REBUILDS_MAX {
            let offset = Offset(u64::from(number) * 2);
            assert_eq!(premises.judge(name(number), offset, CAUGHT_UP), JudgedAbove::Doubt, "{number}");
            // The new fold meets it at the next order, and goes on.
            premises.begin(true);
        }
    }
}
