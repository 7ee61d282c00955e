//! Bugs planted on purpose, to see that the simulation finds them. They exist in builds with `--cfg bkes_planted` only; in
//! any other, [`planted`] is `false` at compile time and nothing of them is left.
//!
//! In such a build at most one is awake, on the thread that woke it. A bug lies where the right code is, as one short branch.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $seeds:literal;)*) => {
        /// A planted bug.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug {
            $($(#[doc = $doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Bug] = &[$(Bug::$name),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$name => $text),*
                }
            }

            /// Within how many seeds the simulation must find it.
            pub fn seeds_max(self) -> u64 {
                match self {
                    $(Bug::$name => $seeds),*
                }
            }
        }
    };
}

bugs! {
    /// A stored record is answered as success before it is applied.
    AcknowledgedOnDelivery = "acknowledged-on-delivery", 500;
    /// An unknown report is answered as not stored.
    UnknownIsNotStored = "unknown-is-not-stored", 500;
    /// At the end of a doubt the key is released and the append answered as not stored.
    ReleasedAtTimeout = "released-at-timeout", 2_000;
    /// An append that was not met up to the high watermark is answered as not stored.
    NotMetIsNotStored = "not-met-is-not-stored", 5_000;
    /// Whoever waits behind a failed append is told of a conflict.
    PredecessorsFailure = "predecessors-failure", 2_000;
    /// Whoever waits behind an append is checked against the count from before it.
    StaleSuccessor = "stale-successor", 2_000;
    /// Whoever waits behind an append takes whatever order is next.
    RenumberedSuccessor = "renumbered-successor", 500;
    /// When sending stops in a batch, the rest is sent later.
    RestIsSent = "rest-is-sent", 2_000;
    /// Sequence numbers are judged as often as they come.
    JudgedTwice = "judged-twice", 2_000;
    /// A batch is accepted member by member.
    AcceptedAtFirstMember = "accepted-at-first-member", 500;
    /// A marker is believed whatever record it lies on.
    ForwardedJudged = "forwarded-judged", 500;
    /// A member that skips a place joins its batch.
    SkippedPlaceJoins = "skipped-place-joins", 5_000;
    /// An order above the next one is accepted.
    AcceptsAbove = "accepts-above", 5_000;
    /// What is known of incarnations is forgotten at a restart.
    IncarnationsForgotten = "incarnations-forgotten", 2_000;
    /// Undecided batches are dropped at a restart.
    UndecidedDropped = "undecided-dropped", 2_000;
    /// Every process uses the same incarnation.
    IncarnationReused = "incarnation-reused", 500;
    /// Reads leave out what is applied and not committed.
    OverlayForgotten = "overlay-forgotten", 500;
    /// Reads look into the store first and copy the overlay second.
    StoreBeforeOverlay = "store-before-overlay", 5_000;
    /// The overlay drops events before their commit returned.
    OverlayDropsEarly = "overlay-drops-early", 2_000;
    /// Reads show what is sent and not decided.
    PendingShown = "pending-shown", 500;
    /// Checkpoints are committed before the events they cover.
    CheckpointFirst = "checkpoint-first", 2_000;
    /// Offsets of one partition are compared with those of another.
    OffsetsAcrossPartitions = "offsets-across-partitions", 500;
    /// A watermark that could not be read at start is taken for an empty log.
    FailedQueryIsEmpty = "failed-query-is-empty", 20_000;
    /// The fast path applies whatever offset was reported.
    FastPathAnyOffset = "fast-path-any-offset", 500;
    /// What the fast path applied is not compared when it is read.
    FastPathNotCompared = "fast-path-not-compared", 20_000;
    /// An answer about the end of the log counts for what was applied after it was given.
    OldLookBelieved = "old-look-believed", 2_000;
    /// A record that could not be read is passed over.
    ReadFailureSkips = "read-failure-skips", 500;
    /// When the store fell back, reads go on at once.
    FallBackUnnoticed = "fall-back-unnoticed", 5_000;
    /// What was applied in an older fold is committed in a newer one.
    OldEpochCommitted = "old-epoch-committed", 5_000;
    /// A read that a new beginning overtook shows what it found.
    OvertakenReadShown = "overtaken-read-shown", 50_000;
    /// New keys are placed before all partitions were read.
    PlacedEarly = "placed-early", 20_000;
    /// A split key is appended to.
    SplitIgnored = "split-ignored", 2_000;
    /// A record that was applied is applied again after a restart.
    AppliedAgain = "applied-again", 500;
    /// A new handle goes on with the incarnation of the one that failed, and its numbers begin anew.
    HandleKeepsIncarnation = "handle-keeps-incarnation", 10_000;
    /// Records that could not be applied because the store did not answer are not read again.
    RecordsSkippedOnError = "records-skipped-on-error", 2_000;
    /// What the reader still gives of an earlier fold is applied while a partition waits for its turn.
    TurnNotAwaited = "turn-not-awaited", 5_000;
    /// An aggregate is denied by what this instance has read, whatever others were told.
    RefusedFromOwnState = "refused-from-own-state", 500;
}

/// Whether this bug is awake: never, but in test builds.
#[cfg(not(bkes_planted))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(bkes_planted)]
thread_local! {
    static AWAKE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is awake on this thread.
#[cfg(bkes_planted)]
pub fn planted(bug: Bug) -> bool {
    AWAKE.get() == Some(bug)
}

/// Wakes a bug on this thread, or lets all sleep.
#[cfg(bkes_planted)]
pub fn wake(bug: Option<Bug>) {
    AWAKE.set(bug);
}
