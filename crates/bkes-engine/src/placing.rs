//! How new keys are placed: asks the topic machine, tells the operator, and has the store keep it.

use crate::board::Board;
use crate::start::identity_of;
use crate::writer_inbox::WriterInbox;
use bkes_core::evidence::{Completeness, Evidence};
use bkes_core::sequence::NowMs;
use bkes_core::topic::Choice;
use bkes_log::LogIdentity;

/// Decides how new keys are placed, if that is still open and every partition was read to its target. What cannot be told is said
/// loudly.
pub fn choose(board: &Board, writer: &WriterInbox, topic: &LogIdentity) {
    if !board.all_read() {
        return;
    }
    let mut machine = board.topic();
    match machine.choose() {
        Choice::Unchanged => {}
        Choice::Made(partitioner, evidence) => {
            // Under the machine's lock, so that no older choice comes after it.
            writer.set_identity(identity_of(topic, machine.placing()));
            tracing::info!("new keys are placed with {partitioner}: {evidence}");
        }
        Choice::Open { evidence, is_news } => {
            if is_news {
                tell_open(machine.completeness(), evidence);
            }
        }
    }
}

fn tell_open(completeness: Completeness, evidence: Evidence) {
    let part = match completeness {
        Completeness::Whole => "",
        Completeness::Part => " (keys that an earlier run had read are not among them)",
    };
    tracing::error!(
        "new keys are REFUSED: it cannot be told how the topic's writers place keys: {evidence}{part}. Start with --partitioner \
         murmur2, crc32 or fnv1a, as they do, or with existing-only. Existing keys are served"
    );
}

/// Places keys over new partitions once they were read, and others had the time to see and read them too.
pub fn place_over_new_partitions(board: &Board, writer: &WriterInbox, topic: &LogIdentity, now: NowMs) {
    let (count, all_read) = (board.partitions().len() as u32, board.all_read());
    let mut machine = board.topic();
    if let Some(partitions) = machine.place_over(count, all_read, now) {
        writer.set_identity(identity_of(topic, machine.placing()));
        tracing::info!("keys are placed over {partitions} partitions now");
    }
}
