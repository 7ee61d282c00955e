//! What the records of a partition were: counted, and the first of each kind told, so that none is an event or no event in silence.
//!
//! A counter that leaves 0 is the first of its kind; counters are kept with the checkpoint, so each is told once in the life of a store.
//! And a copy of another topic's records, markers and all, is told from races that were lost: nobody who writes here is refused
//! again and again without ever being accepted.

use super::Owned;
use bkes_core::{Applied, Decision, Incarnation, Key, Offset, Partition, RecordClass, VoidReason};

/// Void records of an incarnation without an accepted event that are no longer taken for races it lost.
const STRANGE_RECORDS: u32 = 3;

/// Incarnations that are remembered, each kind: some more than handles write to a partition at a time.
const INCARNATIONS_MAX: usize = 64;

/// Whose marked records of a partition were accepted, and whose only void.
#[derive(Default)]
pub struct Strangers {
    /// The latest last.
    accepted: Vec<Incarnation>,
    void: Vec<(Incarnation, u32)>,
    told: bool,
}

impl Strangers {
    fn accepted(&mut self, incarnation: Incarnation) {
        if self.accepted.last() == Some(&incarnation) {
            return;
        }
        self.accepted.retain(|known| *known != incarnation);
        self.void.retain(|(known, _)| *known != incarnation);
        if self.accepted.len() == INCARNATIONS_MAX {
            self.accepted.remove(0);
        }
        self.accepted.push(incarnation);
    }

    /// Whether this void record is the one to be told of.
    fn void(&mut self, incarnation: Incarnation) -> bool {
        if self.told || self.accepted.contains(&incarnation) {
            return false;
        }
        let at = self.void.iter().position(|(known, _)| *known == incarnation).unwrap_or_else(|| {
            if self.void.len() == INCARNATIONS_MAX {
                self.void.remove(0);
            }
            self.void.push((incarnation, 0));
            self.void.len() - 1
        });
        self.void[at].1 += 1;
        self.told = self.void[at].1 >= STRANGE_RECORDS;
        self.told
    }
}

/// A record that was applied.
pub(super) struct Counting<'a> {
    pub partition: Partition,
    pub offset: Offset,
    pub class: RecordClass,
    pub applied: &'a Applied,
    /// Its key, if it is the first event here of one that has events in another partition.
    pub split: Option<&'a Key>,
}

impl Owned {
    /// Counts what a record was; says how many events it made.
    pub(super) fn count(&mut self, counting: &Counting<'_>) -> u64 {
        let Counting { partition, offset, class, applied, split } = *counting;
        let (counters, number) = (&mut self.checkpoint.counters, partition.0);
        if add(&mut counters.void, applied.void_records) {
            tracing::info!(
                partition = number,
                "the first void record, at offset {offset}: {}",
                reason(applied)
            );
        }
        let events = match &applied.decision {
            Decision::Accepted { .. } => 1,
            Decision::AcceptedBatch { records, .. } => records.len() as u64,
            Decision::Skipped => {
                if add(&mut counters.skipped, 1) {
                    tracing::warn!(
                        partition = number,
                        "the first record without a key, at offset {offset}: skipped"
                    );
                }
                0
            }
            Decision::Undecided => 0,
            Decision::Void(reason) => {
                self.note_void(counting, *reason);
                return 0;
            }
        };
        if events == 0 {
            return 0;
        }
        counters.events += events;
        if let Some(stamp) = applied.stamp {
            self.strangers.accepted(stamp.incarnation);
        } else {
            if add(&mut counters.foreign, events) {
                tracing::info!(
                    partition = number,
                    "the first event that BKES did not write, at offset {offset}"
                );
            }
            if class == RecordClass::Forwarded && add(&mut counters.forwarded, events) {
                tracing::warn!(
                    partition = number,
                    "the record at offset {offset} carries a `bkes` header that was written for another record: it is taken as an \
                     event of somebody else. Whoever wrote it forwards headers: have it drop the headers `bkes` and `order`"
                );
            }
        }
        if let Some(key) = split
            && add(&mut counters.split, 1)
        {
            tracing::warn!(
                partition = number,
                "the first key with events in another partition too, at offset {offset}: {key} is split, and takes no appends"
            );
        }
        events
    }

    fn note_void(&mut self, counting: &Counting<'_>, reason: VoidReason) {
        let Counting { partition, offset, applied, .. } = *counting;
        let (Some(stamp), VoidReason::OrderTaken { .. } | VoidReason::BaseTooOld { .. }) =
            (applied.stamp, reason)
        else {
            return;
        };
        if self.strangers.void(stamp.incarnation) {
            tracing::error!(
                partition = partition.0,
                "records of the writer {} are void again and again, and none was accepted (the last at offset {offset}): they look \
                 like copies from another topic on which BKES runs. Their markers fit and their orders do not, so they are no \
                 events here: whoever copies them has to drop the headers `bkes` and `order`",
                stamp.incarnation
            );
        }
    }
}

/// Whether it is the first.
fn add(counter: &mut u64, more: u64) -> bool {
    let before = *counter;
    *counter += more;
    before == 0 && more > 0
}

fn reason(applied: &Applied) -> String {
    match applied.decision {
        Decision::Void(VoidReason::OrderTaken { expected, next }) => {
            format!("it names order {expected}, and the next one is {next}")
        }
        Decision::Void(VoidReason::JudgedBefore) => "a copy of one that was judged before".into(),
        Decision::Void(VoidReason::BatchBroken) => "its batch is not whole".into(),
        Decision::Void(VoidReason::BaseTooOld { base }) => {
            format!("it was numbered at {base}, too far below it")
        }
        _ => "a batch before it was never finished".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_is_never_accepted_is_told_of_once() {
        let (copied, other) = (Incarnation(1), Incarnation(2));
        let mut strangers = Strangers::default();
        assert!(!strangers.void(copied) && !strangers.void(other) && !strangers.void(copied));
        assert!(strangers.void(copied), "the third");
        assert!(!strangers.void(copied) && !strangers.void(other) && !strangers.void(other));
    }

    #[test]
    fn a_writer_that_lost_races_and_won_one_is_none() {
        let mut strangers = Strangers::default();
        assert!(!strangers.void(Incarnation(1)) && !strangers.void(Incarnation(1)));
        strangers.accepted(Incarnation(1));
        strangers.accepted(Incarnation(2));
        assert!((0..9).all(|_| !strangers.void(Incarnation(1))));
    }

    #[test]
    fn what_is_remembered_of_writers_is_bounded() {
        let mut strangers = Strangers::default();
        for name in 0..1_000 {
            strangers.accepted(Incarnation(name));
            strangers.void(Incarnation(10_000 + name));
        }
        assert_eq!((strangers.accepted.len(), strangers.void.len()), (INCARNATIONS_MAX, INCARNATIONS_MAX));
    }
}
