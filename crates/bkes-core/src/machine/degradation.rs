//! Why a partition is not served, and what ends that.
//!
//! A partition has one reason at a time: the one that takes most to be mended, in the order of the variants. A fold that begins
//! anew ends only what it mends. Reading past its place ends what lay in a record.

use super::readback::Divergence;
use crate::sequence::Diverged;
use crate::{AboveNext, Fingerprint, NewerFormat, Offset, Position};

/// Why a partition is not served. Its words say what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Degradation {
    /// The log returns damaged bytes. Ends when reading has come past them.
    #[error(
        "the log returned a damaged record at or after {at}: {detail}; it is read again and again, and served as soon as it is \
         whole. If no replica has it whole, no event behind it can be served"
    )]
    DamagedRecord {
        /// Where reading stopped.
        at: Position,
        /// What the log said.
        detail: String,
    },
    /// What the log holds does not fit into what reading may take. Ends when reading has come past it.
    #[error(
        "what the log holds at or after {at} does not fit: {detail}. Nothing is known to be damaged; it is read again and again, \
         and no event behind it can be served before it fits"
    )]
    DoesNotFit {
        /// Where reading stopped.
        at: Position,
        /// What the log said.
        detail: String,
    },
    /// This version cannot judge a record. Ends when reading has come past it, which takes another record in its place.
    #[error("{0}")]
    NewerFormat(NewerFormat),
    /// Retention removed events that were not read. Ends with a fold that does not need them.
    #[error(
        "the log begins at {low}, above the applied position {applied}: retention removed events that were not read; stop, remove \
         the data directory and start again to serve what is left"
    )]
    Removed {
        /// Where the log begins now.
        low: Position,
        /// The next offset to apply.
        applied: Position,
    },
    /// The log lost its end. Ends when the partition is read anew.
    #[error("the log ended at {end}, below the applied position {applied}: it was truncated")]
    Truncated {
        /// Where the log ended.
        end: Position,
        /// The next offset to apply.
        applied: Position,
    },
    /// The log has another record than the one that was applied, or none. Ends when the partition is read anew.
    #[error("the log diverged: {divergence}, the log has {} there", found_words(found))]
    Diverged {
        /// What was applied there.
        divergence: Divergence,
        /// What is there now; `None` if nothing is.
        found: Option<Fingerprint>,
    },
    /// A record of ours was stored where reading had passed. Ends when the partition is read anew.
    #[error("{0}")]
    Passed(Diverged),
    /// Somebody rests on events that this fold does not know. Ends when the partition is read anew.
    #[error(
        "the record at offset {offset} rests on {} events of its aggregate, and {} were applied here: the log is read again from its \
         beginning", above.expected, above.next
    )]
    Missed {
        /// Where the record lies.
        offset: Offset,
        /// What it names.
        above: AboveNext,
    },
    /// The same, and the log no longer has what the rebuild would need. Ends with a fold that does not need it.
    #[error(
        "the record at offset {offset} rests on {} events of its aggregate, and {} were applied here: this store or the log is not \
         whole, and the log begins at {low} now, so that it cannot tell; stop, remove the data directory and start again to serve \
         what is left", above.expected, above.next
    )]
    MissedAndRemoved {
        /// Where the record lies.
        offset: Offset,
        /// What it names.
        above: AboveNext,
        /// Where the log begins now.
        low: Position,
    },
}

fn found_words(found: &Option<Fingerprint>) -> String {
    found.map_or_else(|| "nothing".into(), |found| found.to_string())
}

impl Degradation {
    const LOSS: u8 = 3;

    /// How much it takes to end it: a higher one is shown instead of a lower one.
    pub fn rank(&self) -> u8 {
        match self {
            Degradation::DamagedRecord { .. } | Degradation::DoesNotFit { .. } => 0,
            Degradation::NewerFormat(_) => 1,
            Degradation::Removed { .. } => 2,
            Degradation::Truncated { .. }
            | Degradation::Diverged { .. }
            | Degradation::Passed(_)
            | Degradation::Missed { .. }
            | Degradation::MissedAndRemoved { .. } => Degradation::LOSS,
        }
    }

    /// The record that reading has to come past.
    pub fn stopped_at(&self) -> Option<Position> {
        match self {
            Degradation::DamagedRecord { at, .. } | Degradation::DoesNotFit { at, .. } => Some(*at),
            Degradation::NewerFormat(NewerFormat { offset: Offset(at), .. }) => Some(Position(*at)),
            _ => None,
        }
    }

    /// Whether the log lost what was applied, or may have.
    pub fn is_loss(&self) -> bool {
        self.rank() == Degradation::LOSS
    }

    /// Whether it goes on when the fold begins anew at a position.
    pub fn outlasts(&self, shown: Shown, position: Position) -> bool {
        match self {
            // What lies in the log is still there, unless the log is another one: then the fold meets it or does not.
            Degradation::DamagedRecord { .. }
            | Degradation::DoesNotFit { .. }
            | Degradation::NewerFormat(_) => shown == Shown::MustReturn,
            Degradation::Removed { low, .. } => position < *low,
            // A fold that begins anew for another reason still goes by what the log no longer has.
            Degradation::Truncated { .. }
            | Degradation::Diverged { .. }
            | Degradation::Passed(_)
            | Degradation::Missed { .. }
            | Degradation::MissedAndRemoved { .. } => shown == Shown::MustReturn,
        }
    }
}

/// What a new beginning means for events that were shown already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// The log still has them: nothing is served before they are back.
    MustReturn,
    /// The log is another one: the next answer about it says what to reach.
    IsVoid,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, Order};

    /// One for each variant, lowest rank first.
    fn all() -> Vec<Degradation> {
        let divergence = Divergence::Changed(Fingerprint { offset: Offset(4), crc32c: 7, epoch: None });
        let (low, applied) = (Position(5), Position(4));
        let above = AboveNext { incarnation: Incarnation(1), expected: Order(2), next: Order(1) };
        vec![
            Degradation::DamagedRecord { at: Position(4), detail: "CRC32C".into() },
            Degradation::DoesNotFit { at: Position(4), detail: "too much at once".into() },
            Degradation::NewerFormat(NewerFormat { offset: Offset(4), format: 2 }),
            Degradation::Removed { low, applied },
            Degradation::Truncated { end: Position(3), applied },
            Degradation::Diverged { divergence, found: None },
            Degradation::Passed(Diverged { offset: Offset(3), position: applied }),
            Degradation::Missed { offset: Offset(4), above },
            Degradation::MissedAndRemoved { offset: Offset(4), above, low },
        ]
    }

    /// A new beginning of the folds, because the store had fallen back, must not clear what the log still lacks.
    #[test]
    fn a_new_beginning_ends_only_what_it_mends() {
        let after = |shown, position| -> Vec<bool> {
            all().iter().map(|reason| reason.outlasts(shown, Position(position))).collect()
        };
        let (t, f) = (true, false);
        assert_eq!(after(Shown::MustReturn, 4), [true; 9], "nothing of the log is mended");
        assert_eq!(
            after(Shown::MustReturn, 5),
            [t, t, t, f, t, t, t, t, t],
            "what was removed is not needed"
        );
        assert_eq!(after(Shown::IsVoid, 5), [f, f, f, f, f, f, f, f, f], "the log is read as it is now");
        assert!(all().is_sorted_by_key(Degradation::rank));
    }
}
