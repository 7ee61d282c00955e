//! What clients of the second contract did, and how often: what never happened was not tried.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A first try of an append with an id.
    TriedFirst,
    /// Another try, on the same instance.
    TriedAgain,
    /// Another try, on another instance.
    TriedElsewhere,
    /// An append that had ended was sent again.
    Redelivered,
    /// Something else was decided under an id that was used.
    DecidedAnew,
    /// A try found that an earlier one was stored.
    FoundEarlierTry,
    /// An append without an order.
    TookAnyOrder,
    /// A batch larger than the window was stored.
    LargeBatchStored,
    /// An append was left to the client to be tried until it is settled.
    LeftToClient,
    /// An append in a stream was stored.
    StoredInStream,
    /// An append in a stream was refused for the one before it.
    PredecessorFailed,
    /// A stream of appends broke off with some of them unknown.
    StreamBroken,
    /// A conflict brought events along.
    ConflictBrought,
    /// A read backwards was answered.
    ReadBackwards,
    /// A read as of an offset was answered.
    ReadAsOfOffset,
    /// A read as of a time was answered.
    ReadAsOfTime,
    /// A read at least as fresh as what another instance was told was answered.
    ReadAtLeast,
    /// A latest read was answered.
    ReadLatest,
    /// Positions were waited for, and a local read followed.
    WaitedFor,
    /// A follower left its stream and went on at its positions.
    FollowedOn,
    /// The same, at another instance.
    FollowedElsewhere,
    /// A stream was ended by its server.
    FollowEnded,
}

impl Deed {
    /// All of them.
    pub const ALL: [Deed; 22] = [
        Deed::TriedFirst,
        Deed::TriedAgain,
        Deed::TriedElsewhere,
        Deed::Redelivered,
        Deed::DecidedAnew,
        Deed::FoundEarlierTry,
        Deed::TookAnyOrder,
        Deed::LargeBatchStored,
        Deed::LeftToClient,
        Deed::StoredInStream,
        Deed::PredecessorFailed,
        Deed::StreamBroken,
        Deed::ConflictBrought,
        Deed::ReadBackwards,
        Deed::ReadAsOfOffset,
        Deed::ReadAsOfTime,
        Deed::ReadAtLeast,
        Deed::ReadLatest,
        Deed::WaitedFor,
        Deed::FollowedOn,
        Deed::FollowedElsewhere,
        Deed::FollowEnded,
    ];
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::faults::in_words(&format!("{self:?}"), f)
    }
}

/// How often each was done.
#[derive(Default)]
pub struct Coverage([AtomicU64; Deed::ALL.len()]);

impl Coverage {
    /// It was done once more.
    pub fn count(&self, deed: Deed) {
        self.0[deed as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was done.
    pub fn times(&self, deed: Deed) -> u64 {
        self.0[deed as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_deed_has_a_place_of_its_own() {
        let coverage = Coverage::default();
        for (place, deed) in Deed::ALL.into_iter().enumerate() {
            assert_eq!(deed as usize, place);
            (0..=place).for_each(|_| coverage.count(deed));
        }
        let times: Vec<u64> = Deed::ALL.iter().map(|deed| coverage.times(*deed)).collect();
        assert_eq!(times, (1..=22).collect::<Vec<u64>>());
        assert_eq!(Deed::ReadAsOfTime.to_string(), "read as of time");
    }
}
