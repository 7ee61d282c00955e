//! The faults by name, and how often each happened.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// A kind of fault. Each can be switched off.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Fault {
            $($(#[doc = $doc])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Fault] = &[$(Fault::$name),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Fault::$name => $text),*
                }
            }
        }
    };
}

faults! {
    /// A record is delivered and acknowledged later.
    Delayed = "delayed",
    /// A record is delivered and reported as unknown.
    AcknowledgementLost = "acknowledgement-lost",
    /// A record is reported as unknown and delivered later.
    Late = "late",
    /// A record is reported as unknown and never delivered.
    Lost = "lost",
    /// A record is reported as not stored.
    NotStored = "not-stored",
    /// A record is reported as too large for what it was sent with, and not stored.
    Oversized = "oversized",
    /// A record is delivered, reported as unknown, and delivered again later.
    Repeated = "repeated",
    /// A record is delivered and its offset is not told.
    OffsetUnknown = "offset-unknown",
    /// Offsets are left out before a record.
    Gap = "gap",
    /// The producer gives up what is on its way; it may arrive later.
    GivenUp = "given-up",
    /// A report comes long after the record.
    ReportHeld = "report-held",
    /// Every producer handle fails for good.
    HandleFails = "handle-fails",
    /// The queue takes the first records of a batch and not the rest.
    SendStops = "send-stops",
    /// An instance is killed and restarted; what was not durable is gone.
    Kill = "kill",
    /// An instance is killed in the middle of writing its store.
    KillInWrite = "kill-in-write",
    /// An instance is stopped with grace and started again.
    Stop = "stop",
    /// An instance stands still for long while the others go on.
    Pause = "pause",
    /// The clock of an instance jumps forward.
    ClockJump = "clock-jump",
    /// The log goes away for everyone.
    LogDown = "log-down",
    /// The log goes away for one instance.
    LinkCut = "link-cut",
    /// A question to the log fails.
    QuestionFails = "question-fails",
    /// The answer to a question comes late: what it says was true before others appended.
    OldLook = "old-look",
    /// Reading says that the log does not answer, and goes on.
    ReadUnavailable = "read-unavailable",
    /// Reading meets a record that is damaged, or does not fit, and is whole when it is read again.
    ReadDamaged = "read-damaged",
    /// Reading says that its position is out of range, and nothing is lost.
    ReadOutOfRange = "read-out-of-range",
    /// Records are handed over in small portions, or not now.
    ReadSlow = "read-slow",
    /// The broker waits for more before it answers a fetch.
    ReadGathered = "read-gathered",
    /// Somebody else gets the processor in the middle of a step.
    Interleaved = "interleaved",
    /// Somebody who does not know BKES writes an event.
    Foreign = "foreign",
    /// Somebody who does not know BKES writes to a partition of their own choice.
    Misplaced = "misplaced",
    /// A foreign transaction is committed.
    Committed = "committed",
    /// A foreign transaction is aborted.
    Aborted = "aborted",
    /// A foreign transaction stays open for long.
    Stalled = "stalled",
    /// Somebody copies a record as it is.
    Copied = "copied",
    /// Somebody answers a record with an event and forwards its headers.
    Forwarded = "forwarded",
    /// A million offsets that hold nothing: what is known of incarnations is forgotten.
    Silence = "silence",
    /// A record with a marker that breaks the grammar.
    BadMarker = "bad-marker",
    /// A record without a key, or without a value.
    Empty = "empty",
    /// Offsets that hold nothing, as of control records.
    Control = "control",
    /// The topic gets more partitions.
    Grown = "grown",
    /// A failover loses the end of a partition.
    Truncated = "truncated",
    /// Retention removes the head of a partition.
    Cut = "cut",
    /// The topic is deleted and made again.
    Recreated = "recreated",
    /// The store cannot be written for a while.
    WriteFails = "write-fails",
    /// The disk is full for a while.
    DiskFull = "disk-full",
    /// A look-up in the store fails.
    ReadFails = "read-fails",
    /// A reader cannot get events from the store.
    ShowFails = "show-fails",
    /// Stored bytes are not what was written.
    Damaged = "damaged",
    /// The store's file is torn when it is opened.
    Torn = "torn",
    /// What was committed and not made durable is lost, and it was something.
    Unsynced = "unsynced",
    /// The data directory is removed while the instance is down.
    Wiped = "wiped",
    /// Few appends are admitted, or few records queued.
    QueueFull = "queue-full",
    /// The overlay is full.
    OverlayFull = "overlay-full",
    /// A caller goes away.
    CallerGone = "caller-gone",
    /// An append with an id stays on its way while its caller waits no longer, and tries again.
    HeldUp = "held-up",
    /// An append that is larger than the log takes, or empty.
    BadRequest = "bad-request",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faults(u64);

impl Faults {
    /// None of them.
    pub const NONE: Faults = Faults(0);

    /// Whether it is among them.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u64) != 0
    }

    /// With one more.
    pub fn with(self, fault: Fault) -> Faults {
        Faults(self.0 | (1 << fault as u64))
    }

    /// Without one.
    pub fn without(self, fault: Fault) -> Faults {
        Faults(self.0 & !(1 << fault as u64))
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.iter().copied().filter(move |fault| self.has(*fault))
    }
}

/// What happened in runs, counted.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Coverage {
    /// How often each fault happened.
    pub faults: BTreeMap<Fault, u64>,
    /// How often each answer was given.
    pub answers: BTreeMap<&'static str, u64>,
    /// How often appends with ids were tried, and how.
    pub tries: BTreeMap<&'static str, u64>,
    /// What followers met, and how often.
    pub follows: BTreeMap<&'static str, u64>,
    /// How waits for positions ended, and how often.
    pub waits: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// One more.
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// One more.
    pub fn answer(&mut self, answer: &'static str) {
        *self.answers.entry(answer).or_default() += 1;
    }

    /// One more.
    pub fn tried(&mut self, how: &'static str) {
        *self.tries.entry(how).or_default() += 1;
    }

    /// One more.
    pub fn followed(&mut self, what: &'static str) {
        *self.follows.entry(what).or_default() += 1;
    }

    /// One more.
    pub fn waited(&mut self, how: &'static str) {
        *self.waits.entry(how).or_default() += 1;
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Coverage) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (answer, count) in &other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
        for (how, count) in &other.tries {
            *self.tries.entry(how).or_default() += count;
        }
        for (what, count) in &other.follows {
            *self.follows.entry(what).or_default() += count;
        }
        for (how, count) in &other.waits {
            *self.waits.entry(how).or_default() += count;
        }
    }
}
