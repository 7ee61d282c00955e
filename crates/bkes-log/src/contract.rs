//! The three traits of a log, in the words of bkes-core.

use crate::Waker;
use bkes_core::{Cause, Header, LeaderEpoch, Offset, Partition, Position, Record, record_bytes};
use bytes::Bytes;
use std::num::NonZeroU32;

// What a log says of its partitions is said in these words of bkes-core.
pub use bkes_core::{Delivery, ReadFailure, Token, Watermarks};

/// What tells one log from another, even under the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    /// The cluster the topic lives in.
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's own id, new whenever it is created again; empty where the log cannot tell (old brokers).
    pub topic_id: String,
}

/// Why a question about the log has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The log cannot be reached now; asking again later makes sense.
    #[error("the log is unavailable: {cause}")]
    Unavailable {
        /// What went wrong, as the layer below told it.
        #[source]
        cause: Cause,
    },
    /// The topic is not there.
    #[error("topic {topic} does not exist")]
    NoSuchTopic {
        /// The topic asked for.
        topic: String,
    },
    /// The partition is not there.
    #[error("partition {partition} does not exist")]
    NoSuchPartition {
        /// The partition asked for.
        partition: Partition,
    },
    /// We may not do this.
    #[error("not permitted: {cause}")]
    Denied {
        /// What was refused, as the layer below told it.
        #[source]
        cause: Cause,
    },
    /// The log has no such thing, and never will.
    #[error("this log has no {what}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// The log cannot be used any more; retrying will not help.
    #[error("the log failed: {cause}")]
    Failed {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
}

/// A partitioned log: a topic.
///
/// Its questions may block, for a bounded time (10 s), and are asked by the engine's monitor, verifier and group threads and at start,
/// never by an owner thread. A failure is an error, never an empty answer.
pub trait Log: Send + Sync + 'static {
    /// Which log this is, as of now: a topic that was created again answers with another `topic_id`.
    fn identity(&self) -> Result<LogIdentity, LogError>;

    /// How many partitions it has now. It never shrinks.
    fn partition_count(&self) -> Result<NonZeroU32, LogError>;

    /// The marks of one partition now.
    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError>;

    /// The marks of these partitions now, one answer for each, in their order; one that fails says nothing of the others. A log that can
    /// be asked for many partitions at once does that here.
    fn watermarks_of(&self, partitions: &[Partition]) -> Vec<Result<Watermarks, LogError>> {
        partitions.iter().map(|partition| self.watermarks(*partition)).collect()
    }

    /// The stable ends of these partitions, one answer for each, in their order; one that fails says nothing of the others.
    ///
    /// The question begins after the call: whatever anybody had been told is stored, or had read, before the call lies below
    /// the answer. A log that can be asked for many partitions at once does that here.
    fn stable_ends(&self, partitions: &[Partition]) -> Vec<Result<Position, LogError>> {
        partitions.iter().map(|partition| self.watermarks(*partition).map(|marks| marks.stable)).collect()
    }

    /// How far a consumer group has committed in these partitions, one answer for each, in their order: `None` where it committed
    /// nothing. The group is not joined, and one that nobody has heard of has committed nothing.
    ///
    /// A commit names the next record that the group will read: it is a position. Commits of a transaction that is open do not count
    /// yet. The question begins after the call. One partition that cannot be answered fails the whole: half an answer would look like
    /// a group that committed nothing there.
    ///
    /// A log without consumer groups leaves this as it is.
    fn committed(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LogError> {
        let _ = (group, partitions);
        Err(LogError::Unsupported { what: "consumer groups" })
    }

    /// The largest record that the log takes, as far as is known now, in bytes as [`NewRecord::bytes`] counts them.
    fn record_bytes_max(&self) -> u64;

    /// What it would take if its client, or we, had no bound of our own: an event of so many bytes is told the limit, not "try again".
    fn topic_bytes_max(&self) -> u64 {
        self.record_bytes_max()
    }

    /// A new reader that reads nothing until partitions are assigned to it.
    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError>;

    /// A new appender: a fresh producer handle, so the caller draws a new incarnation for it.
    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError>;
}

/// Something a reader met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadEvent {
    /// The next record of its partition. Records of aborted transactions and control records never show up.
    Record {
        /// The record.
        record: Record,
        /// The leader that took it; `None` if the log has none, or does not keep it.
        epoch: Option<LeaderEpoch>,
    },
    /// The next record of its partition, of which only the sum is told, since more is known already: see
    /// [`poll_known`](LogReader::poll_known).
    Known {
        /// The partition.
        partition: Partition,
        /// Where it lies.
        offset: Offset,
        /// Over the whole record: [`record_sum`](bkes_core::checksum::record_sum).
        crc32c: u32,
        /// As of a whole record.
        epoch: Option<LeaderEpoch>,
    },
    /// Everything below `position` has been read: the reader stands at the end of what is stable, gaps included.
    End {
        /// The partition whose end was reached.
        partition: Partition,
        /// The next position to read.
        position: Position,
    },
    /// Reading a partition met an error. Reading goes on by itself unless the failure says otherwise.
    Failed {
        /// The partition, or all of them.
        partition: Option<Partition>,
        /// What happened.
        failure: ReadFailure,
    },
}

/// The reading half. It reads committed records only, each partition in offset order.
pub trait LogReader: Send {
    /// Reads `partition` from `from` on; on a partition that is assigned already it seeks. Does not block; what goes wrong
    /// comes out of [`poll`](Self::poll).
    fn assign(&mut self, partition: Partition, from: Position);

    /// Moves up to `records_max` events that are there to the end of `out`, without blocking. The waker is called whenever
    /// there may be more. What is fetched and not polled is bounded.
    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>);

    /// The same, for one who knows what lies below a position of each partition, and only compares it: such a record may come as
    /// [`ReadEvent::Known`], which spares copies of its content.
    fn poll_known(
        &mut self,
        records_max: usize,
        known: &dyn Fn(Partition) -> Position,
        out: &mut Vec<ReadEvent>,
    ) {
        let _ = known;
        self.poll(records_max, out);
    }
}

/// A record to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    /// The partition it goes to.
    pub partition: Partition,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; an empty one is written as empty, not as null.
    pub value: Option<Bytes>,
    /// Its headers, kept in order.
    pub headers: Vec<Header>,
}

impl NewRecord {
    /// Its size, as limits count it: see [`record_bytes`].
    pub fn bytes(&self) -> u64 {
        record_bytes(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }
}

/// The bound of a send queue that records do not fit under now: what the queue may hold, whatever was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueueBound {
    /// How many records it may hold.
    #[error("it may hold {records_max} records")]
    Records {
        /// The most.
        records_max: u64,
    },
    /// How many bytes they may have.
    #[error("it may hold {bytes_max} bytes")]
    Bytes {
        /// The most.
        bytes_max: u64,
    },
}

/// Why a record was not taken for sending. It is not stored and never will be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The bounded queue has no room for it.
    #[error("the send queue is full: {0}")]
    Full(QueueBound),
    /// The record is larger than the log takes.
    #[error("record of {bytes} bytes exceeds the limit of {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The most the log takes.
        bytes_max: u64,
    },
    /// The log is known to be down.
    #[error("the log is down: {cause}")]
    Down {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The handle is finished; make a new appender.
    #[error("the producer handle failed: {cause}")]
    Fatal {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
}

/// The report of one send: exactly one comes for each, unless the handle is dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The partition it was sent to.
    pub partition: Partition,
    /// The owner's token.
    pub token: Token,
    /// What became of it.
    pub delivery: Delivery,
}

/// Whether sending makes sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppenderState {
    /// The log is there, or nothing is known to the contrary.
    Up,
    /// The log is known to be away; the handle comes back by itself.
    Down {
        /// What went wrong.
        cause: Cause,
    },
    /// The handle is finished: its open sends are reported, and a new one is needed.
    Fatal {
        /// What went wrong.
        cause: Cause,
    },
}

/// The appending half: one producer handle, used by one thread.
pub trait LogAppender: Send {
    /// Queues a record. Records of one partition are sent in the order of these calls, each stored at most once by this
    /// handle's own retries (a late or repeated copy after an unknown outcome is possible and the accept rule's business).
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError>;

    /// Hands over what [`send`](Self::send) took since the last time, all at once, so that the log can store it as few batches.
    /// Nothing need be on its way before.
    fn flush(&mut self);

    /// How many records of a partition may be in flight before more only wait in the handle's queue. Then they are better handed over
    /// later, together.
    fn in_flight_max(&self) -> usize;

    /// Whether so many more records, of `bytes` bytes in all (as [`NewRecord::bytes`] counts them), fit into the queue now, or the bound
    /// that they would pass: a batch asks before its first member is sent.
    fn has_room(&self, records: usize, bytes: u64) -> Result<(), QueueBound>;

    /// The largest record that [`send`](Self::send) takes, in bytes as [`NewRecord::bytes`] counts them; it changes only while reports
    /// are taken.
    fn record_bytes_max(&self) -> u64;

    /// Moves the reports that are there to the end of `out`, without blocking. The waker is called whenever there may be more.
    fn poll(&mut self, out: &mut Vec<Report>);

    /// Whether sending makes sense now. Cheap. The waker is called when it changes.
    fn state(&self) -> AppenderState;
}
