//! A machine in words, for tests that compare states by their text.

use super::PartitionMachine;
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};

/// The same state is the same text: what a map has is sorted. What is set for all partitions is left out, and what a step is empty of
/// before and after.
impl<T: Debug> Debug for PartitionMachine<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // All fields are named, so that a new one is not forgotten here.
        let PartitionMachine {
            partition,
            settings: _,
            fold,
            rule,
            checkpoint,
            readback,
            premises,
            strangers,
            evidence_left,
            is_dirty,
            is_condemned,
            awaits_turn,
            stopped,
            lost_end,
            marks,
            marks_before,
            target,
            is_caught_up,
            lagging_since,
            is_stalled,
            degradation,
            sequencer,
            sent,
            sent_load,
            next_token,
            is_stopping,
            work: _,
            opened: _,
            ended: _,
        } = self;
        let sent: BTreeMap<_, _> = sent.iter().collect();
        f.debug_struct("PartitionMachine")
            .field("of", partition)
            .field(
                "fold",
                &(
                    fold,
                    rule,
                    checkpoint,
                    readback,
                    premises,
                    strangers,
                    evidence_left,
                    is_dirty,
                    is_condemned,
                ),
            )
            .field("reading", &(awaits_turn, stopped, lost_end))
            .field("marks", &(marks, marks_before, target, is_caught_up, lagging_since, is_stalled))
            .field("degradation", degradation)
            .field("appends", &(sequencer, sent, sent_load, next_token, is_stopping))
            .finish()
    }
}
