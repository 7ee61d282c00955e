//! How new keys are placed: given, kept from an earlier run, or decided from the topic's keys once every partition was read.

use crate::board::{Board, Placing};
use crate::start::identity_of;
use crate::writer::WriterInbox;
use bkes_core::evidence::{Completeness, Evidence, PlacedKey, Verdict, judge};
use bkes_log::LogIdentity;
use hashbrown::HashSet;

/// The first keys of each partition, and what was made of them.
#[derive(Debug, Default)]
pub struct Sample {
    keys: HashSet<PlacedKey>,
    /// Of so many keys and partitions.
    judged: Option<(usize, u32, Verdict)>,
    /// How many keys there were when it was said that they tell nothing.
    told: Option<u32>,
}

impl Sample {
    /// A fold that begins anew brings keys again: they count once.
    pub fn add(&mut self, keys: impl IntoIterator<Item = PlacedKey>) {
        self.keys.extend(keys);
    }

    /// What they say; judged again only when there are more.
    fn judge(&mut self, placing: Placing, completeness: Completeness) -> Verdict {
        let (known, partitions) = (self.keys.len(), placing.partitions.get());
        match self.judged {
            Some((keys, of, verdict)) if (keys, of) == (known, partitions) => verdict,
            _ => {
                let keys: Vec<PlacedKey> = self.keys.iter().copied().collect();
                let verdict = judge(&keys, placing.partitions, completeness);
                self.judged = Some((known, partitions, verdict));
                verdict
            }
        }
    }

    /// Whether it is to be said that they tell nothing: the first time, and whenever they are twice as many.
    fn is_to_be_told(&mut self, evidence: Evidence) -> bool {
        let is_due = self.told.is_none_or(|told| evidence.keys >= told.max(1).saturating_mul(2));
        if is_due {
            self.told = Some(evidence.keys);
        }
        is_due
    }
}

/// Decides how new keys are placed, if that is still open and every partition was read to its target. What cannot be told is said
/// loudly, and given back.
pub fn decide(board: &Board, writer: &WriterInbox, topic: &LogIdentity) -> Option<Evidence> {
    if !board.wants_evidence() || board.catching_up().is_some() {
        return None;
    }
    let (verdict, is_to_be_told) = {
        let (placing, mut sample) = (board.placing(), board.sample());
        let verdict = sample.judge(placing, board.completeness());
        let is_open = verdict.partitioner.is_none();
        (verdict, is_open && sample.is_to_be_told(verdict.evidence))
    };
    let Verdict { partitioner, evidence } = verdict;
    if let Some(partitioner) = partitioner {
        let is_news = board.change_placing(|placing| {
            let is_news = placing.partitioner.is_none();
            placing.partitioner.get_or_insert(partitioner);
            writer.set_identity(identity_of(topic, *placing));
            is_news
        });
        if is_news {
            tracing::info!("new keys are placed with {partitioner}: {evidence}");
        }
        return None;
    }
    if is_to_be_told {
        let part = match board.completeness() {
            Completeness::Whole => "",
            Completeness::Part => " (keys that an earlier run had read are not among them)",
        };
        tracing::error!(
            "new keys are REFUSED: it cannot be told how the topic's writers place keys: {evidence}{part}. Start with --partitioner \
             murmur2, crc32 or fnv1a, as they do, or with existing-only. Existing keys are served"
        );
    }
    Some(evidence)
}
