//! What a partition machine is told: one closed list.

use crate::append::{AppendError, AppendRequest};
use crate::limits::{HEADER_FRAME_BYTES, HEADER_MEMORY_BYTES};
use crate::machine::{FoldId, LookedAt, Shown};
use crate::sequence::NowMs;
use crate::{
    Checkpoint, Count, Delivery, Fingerprint, Head, Incarnation, IncarnationState, Key, LeaderEpoch,
    Partition, Position, ReadFailure, Record, Token, Watermarks,
};

/// Something that happened, or is asked for.
#[derive(Clone, Debug)]
pub enum Input<T> {
    /// An append whose aggregate lives in this partition, or would begin here.
    Append {
        /// The append.
        append: Box<Append<T>>,
        /// Where its aggregate stands.
        located: Located,
    },
    /// An append of a key of which one is in flight here: it waits for that, wherever its aggregate lives by now.
    Wait(Box<Append<T>>),
    /// The log reported on a record that was sent.
    Report {
        /// The record's.
        token: Token,
        /// What became of it.
        delivery: Delivery,
    },
    /// The reader met the next record.
    Record(Fetched),
    /// The reader met a record below the applied position, and tells its sum only.
    Known(Fingerprint),
    /// The reader has come to the end of what is stable, gaps included.
    EndOfPartition(Position),
    /// Reading stopped.
    ReadFailed(ReadFailure),
    /// The log was asked for the partition's marks.
    Watermarks(WatermarksRead),
    /// A record was not taken by the send queue. Neither was any after it of the same append, and none will be handed over.
    SendFailed {
        /// The record's.
        token: Token,
        /// What the queue said.
        detail: String,
        /// What the append is told if nothing of it was sent.
        error: AppendError,
    },
    /// The producer handle is finished: nothing more will be reported on what it has sent.
    HandleFailed {
        /// What went wrong.
        detail: String,
    },
    /// Records are numbered under another name from here on; those under the one before may still arrive.
    Renamed {
        /// The new name.
        name: Incarnation,
        /// The name before, if it is given up because what was numbered under it may rest on what a new fold does not find.
        given_up: Option<Incarnation>,
    },
    /// The fold begins anew. What is in flight stays: the new fold meets it, or its time ends.
    BeginAnew(Box<Beginning>),
    /// The reader is free for this partition, or lost its place in it.
    BeginReading,
    /// Time has passed.
    Tick,
    /// The engine stops: what waits is refused, and so is what comes; what was sent is awaited.
    Stop,
    /// The time for that is over.
    GiveUp,
}

/// An append from when it is taken in until it is answered. `T` is what its host answers by.
#[derive(Clone, Debug)]
pub struct Append<T> {
    /// What is asked.
    pub request: AppendRequest,
    /// What it takes of a queue.
    pub load: Load,
    /// Everything is applied that its refusal could rest on.
    pub is_verified: bool,
    /// How often it was sent and not taken for the size of what it went with.
    pub resent: u8,
    /// How often it was sent, and another one took its order, and it could go on.
    pub overtaken: u8,
    /// What was looked at for its id.
    pub looked_at: Option<LookedAt>,
    /// Its caller.
    pub ticket: T,
}

/// What appends take of a bounded queue.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Load {
    /// Records.
    pub records: usize,
    /// Headers that their writers gave them.
    pub headers: usize,
    /// Bytes of keys, values, headers and markers.
    pub bytes: u64,
}

impl Load {
    /// Of an append that is to be sent: of its markers the most that they can take.
    pub fn of(request: &AppendRequest) -> Load {
        let records = request.events.len();
        let each = request.key.bytes().len() as u64 + super::limits::MARKER_BYTES_MAX;
        let mut load = Load { records, headers: 0, bytes: each * records as u64 };
        for event in &request.events {
            load.headers += event.headers.len();
            load.bytes += event.bytes() as u64;
        }
        load
    }

    /// What a log counts for it: see [`record_bytes`](crate::record_bytes).
    pub fn log_bytes(&self) -> u64 {
        self.bytes + HEADER_FRAME_BYTES * self.headers as u64
    }

    /// What it takes in memory beside what every record takes.
    pub fn memory_bytes(&self) -> u64 {
        self.bytes + HEADER_MEMORY_BYTES * self.headers as u64
    }

    /// With another one's.
    #[must_use]
    pub fn and(mut self, more: Load) -> Load {
        self.add(more);
        self
    }

    /// Adds another one's.
    pub fn add(&mut self, more: Load) {
        self.records += more.records;
        self.headers += more.headers;
        self.bytes += more.bytes;
    }

    /// Takes one away that was added.
    pub fn sub(&mut self, less: Load) {
        self.records -= less.records;
        self.headers -= less.headers;
        self.bytes -= less.bytes;
    }
}

/// Where the aggregate of an append lives, or would begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Located {
    /// In this partition.
    pub partition: Partition,
    /// What is known of it there.
    pub known: Known,
}

/// What was known of a key in a partition at some moment, and a number by which the host can tell whether it still must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its share; `None` while it had no events there.
    pub head: Option<Head>,
    /// The moment, as the host counts them.
    pub as_of: u64,
}

/// A record as the reader met it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The record.
    pub record: Record,
    /// The leader that took it, where that is told.
    pub epoch: Option<LeaderEpoch>,
    /// Where its key stood before any input of this step, if it has one and the machine [wanted](super::PartitionMachine::wants) it.
    pub counted: Option<Counted>,
}

/// A key, and where it stands in a partition.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Of the key, as the host hashes keys.
    pub hash: u64,
    /// The key.
    pub key: Key,
    /// Where it stands.
    pub count: Count,
}

/// An answer to a question for the partition's marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatermarksRead {
    /// The marks.
    pub marks: Watermarks,
    /// When the question was asked.
    pub asked: NowMs,
    /// When the answer came.
    pub answered: NowMs,
    /// What was known then: the log cannot end below it. `None` if the partition was about to begin anew.
    pub before: Option<BeforeQuestion>,
}

/// How far a partition was when a question was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeforeQuestion {
    /// Its fold.
    pub fold: FoldId,
    /// What that fold had applied.
    pub applied: Position,
    /// What it had to apply before it was served; `None` if that was not known.
    pub target: Option<Position>,
}

/// How a fold begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Which one it is.
    pub fold: FoldId,
    /// Where an earlier one stood, as the store has it; `None` to begin at the beginning of the log.
    pub checkpoint: Option<Checkpoint>,
    /// What the earlier one knew of its writers.
    pub incarnations: Vec<(Incarnation, IncarnationState)>,
    /// What becomes of events that were shown already.
    pub shown: Shown,
}
