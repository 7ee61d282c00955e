//! What becomes of the records that are sent, and how often.

/// How often each fate meets a record, in 1,000; the rest is delivered at once. The sum is at most 1,000.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Delivered and acknowledged by a later step.
    pub delayed: u32,
    /// Delivered, and reported as unknown.
    pub acknowledgement_lost: u32,
    /// Reported as unknown, and delivered by a later step.
    pub late: u32,
    /// Reported as unknown, and never delivered.
    pub lost: u32,
    /// Reported as not stored.
    pub not_stored: u32,
    /// Reported as too large for what it was sent with, and not stored.
    pub oversized: u32,
    /// Delivered and reported as unknown, and a copy is delivered by a later step.
    pub repeated: u32,
    /// Delivered, and reported without its offset.
    pub offset_unknown: u32,
    /// Delivered, with unused offsets before it.
    pub gap: u32,
}

/// What becomes of a record that is not delivered at once: see the fields of [`Faults`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields of Faults say it")]
pub enum Fate {
    Delayed,
    Late,
    Lost,
    NotStored,
    Oversized,
    AcknowledgementLost,
    Repeated,
    OffsetUnknown,
    Gap,
}

impl Faults {
    /// Each fate as often as any other.
    pub fn all(share: u32) -> Faults {
        let mut faults = Faults::default();
        faults.shares_mut().into_iter().for_each(|(_, of)| *of = share);
        faults
    }

    /// Each fate and how often it is met.
    pub fn shares(&self) -> impl Iterator<Item = (Fate, u32)> {
        let mut faults = *self;
        faults.shares_mut().map(|(fate, share)| (fate, *share)).into_iter()
    }

    /// The fate that a number below 1,000 stands for; `None` for a record that is delivered at once.
    pub(super) fn fate(&self, mut dice: u32) -> Option<Fate> {
        for (fate, share) in self.shares() {
            if dice < share {
                return Some(fate);
            }
            dice -= share;
        }
        None
    }

    /// Counts a record that met this fate.
    pub(super) fn count(&mut self, of: Fate) {
        self.shares_mut().into_iter().filter(|(fate, _)| *fate == of).for_each(|(_, count)| *count += 1);
    }

    fn shares_mut(&mut self) -> [(Fate, &mut u32); 9] {
        let Faults {
            delayed,
            acknowledgement_lost,
            late,
            lost,
            not_stored,
            oversized,
            repeated,
            offset_unknown,
            gap,
        } = self;
        [
            (Fate::Delayed, delayed),
            (Fate::Late, late),
            (Fate::Lost, lost),
            (Fate::NotStored, not_stored),
            (Fate::Oversized, oversized),
            (Fate::AcknowledgementLost, acknowledgement_lost),
            (Fate::Repeated, repeated),
            (Fate::OffsetUnknown, offset_unknown),
            (Fate::Gap, gap),
        ]
    }
}
