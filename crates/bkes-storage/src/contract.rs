//! The store's contract, in the words of bkes-core.

use crate::by_offset::{first_at, left_after};
use bkes_core::{Incarnation, IncarnationState, Key, Offset, Order, Partition, Partitioner};
use std::io;
use std::num::NonZeroU32;

// What a store keeps is said in these words of bkes-core.
pub use bkes_core::{Checkpoint, Counters, EventOutline, Fingerprint, Head, Heads, StoredEvent, Unread};

/// The log a store belongs to, and how new keys are placed in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreIdentity {
    /// The cluster the topic lives in.
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's own id; empty where the log cannot tell.
    pub topic_id: String,
    /// The partition count that placing used last.
    pub partitions: NonZeroU32,
    /// The partitioner that placing uses; `None` until it is decided.
    pub partitioner: Option<Partitioner>,
}

/// An event to be stored under its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewEvent {
    /// The aggregate.
    pub key: Key,
    /// The event. Its order is the next one of the key in its partition, or the base of a new one.
    pub event: StoredEvent,
}

/// How a read is bounded: events of one key in one partition, from an order on.
#[derive(Clone, Copy, Debug)]
pub struct ReadPart<'a> {
    /// The aggregate.
    pub key: &'a Key,
    /// The partition.
    pub partition: Partition,
    /// The first order wanted.
    pub from: Order,
    /// Most events to return.
    pub events_max: usize,
    /// Stop after the event whose value and headers reach this many bytes in all; at least one event is returned.
    pub bytes_max: usize,
}

/// Which outlines to read: of events of one key in one partition, from an order on.
#[derive(Clone, Copy, Debug)]
pub struct OutlinePart<'a> {
    /// The aggregate.
    pub key: &'a Key,
    /// The partition.
    pub partition: Partition,
    /// The first order wanted.
    pub from: Order,
    /// Most outlines to return.
    pub events_max: usize,
}

/// Which outlines to read: of events of one key in one partition, from a place in the log on. An append lies where its last event does;
/// that place rises with the order, which offsets alone do not.
#[derive(Clone, Copy, Debug)]
pub struct OffsetPart<'a> {
    /// The aggregate.
    pub key: &'a Key,
    /// The partition.
    pub partition: Partition,
    /// The appends wanted are those that lie here or above; none need lie here.
    pub from: Offset,
    /// The order of an event of the first of them, if that can be guessed. A wrong guess costs time only.
    pub guess: Option<Order>,
    /// Most outlines to return, but for the rest of the append that reaches them: appends are whole.
    pub events_max: usize,
}

/// Which keys to list.
#[derive(Clone, Copy, Debug)]
pub struct KeyRange<'a> {
    /// Those that begin with this.
    pub prefix: &'a [u8],
    /// Those above this one; `None` for all.
    pub after: Option<&'a Key>,
    /// Most keys to return; one is returned where this is 0.
    pub keys_max: usize,
    /// Stop after the key with which the keys reach this many bytes in all; at least one key is returned.
    pub bytes_max: usize,
}

impl KeyRange<'_> {
    /// Whether a key is in the range, whatever its bounds.
    pub fn contains(&self, key: &[u8]) -> bool {
        key.starts_with(self.prefix) && self.after.is_none_or(|after| key > after.as_ref())
    }
}

/// Keys in the order of their bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyPage<T = Heads> {
    /// Each once, with where it stands.
    pub keys: Vec<(Key, T)>,
    /// Whether the range has keys after these.
    pub more: bool,
}

/// Everything that one transaction writes.
#[derive(Clone, Debug, Default)]
pub struct StoreBatch {
    /// New events; those of one (key, partition) in rising order without gaps.
    pub events: Vec<NewEvent>,
    /// The checkpoints that cover them.
    pub checkpoints: Vec<(Partition, Checkpoint)>,
    /// Incarnation states that changed, unfinished batches included; `None` forgets one.
    pub incarnations: Vec<(Partition, Incarnation, Option<IncarnationState>)>,
}

impl StoreBatch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.checkpoints.is_empty() && self.incarnations.is_empty()
    }
}

/// How durable a commit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Visible at once; lost by a crash before the next durable one.
    Eventual,
    /// On disk when the call returns, with everything before it.
    Immediate,
}

/// Everything the engine needs from a store when it starts.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The log it belongs to; `None` for a store without content.
    pub identity: Option<StoreIdentity>,
    /// The checkpoint of every partition that has one, ascending.
    pub checkpoints: Vec<(Partition, Checkpoint)>,
    /// Every incarnation that is not forgotten.
    pub incarnations: Vec<(Partition, Incarnation, IncarnationState)>,
}

/// Sizes, for the status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Aggregates kept.
    pub keys: u64,
    /// Bytes on disk; 0 in memory.
    pub file_bytes: u64,
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Stored bytes are not what was written. The store must be reset and rebuilt from the log.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// Where, and what was found.
        detail: String,
    },
    /// Writing failed (disk full, I/O error); nothing of the batch is there. Reads go on; writing needs [`Store::reopen`].
    #[error("the store cannot write: {source}")]
    WriteFailed {
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed with an I/O error.
    #[error("the store cannot read: {source}")]
    ReadFailed {
        /// What the system said.
        source: io::Error,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// The derived store. Every method may block on the disk; all can be called from any thread, writes come from one.
///
/// A method that meets damage returns [`StoreError::Damaged`]; none panics on what the disk holds.
pub trait Store: Send + Sync + 'static {
    /// Identity, checkpoints and incarnations as committed.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// Binds the store to a log, or changes partition count and partitioner; durable when it returns.
    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError>;

    /// Where each of `keys` stands, one answer for each at the end of `out`, as of the commits that had returned, or later ones.
    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError>;

    /// Appends the events asked for to `out`, in order; fewer only at the end or at a limit. Verifies each checksum. Small contents may
    /// share a piece of memory of 64 KiB at most, which is held as long as one of them is.
    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError>;

    /// Appends the outlines of the events asked for to `out`, in order; fewer only at the end. Verifies what [`read`](Store::read)
    /// verifies, but for the values that a store keeps apart from their events: those it does not look at.
    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError>;

    /// For each part one list at the end of `out`: the outlines of the events asked for, in order, as [`outlines`](Store::outlines)
    /// would give them. All of it as of the commits that had returned when the call began, or later ones, and in one go, since whoever
    /// reads the log asks for thousands.
    fn outlines_from(
        &self,
        parts: &[OffsetPart<'_>],
        out: &mut Vec<Vec<EventOutline>>,
    ) -> Result<(), StoreError> {
        outlines_from(self, parts, out)
    }

    /// The keys asked for that have events; fewer only at the end or at a limit. As of the commits that had returned when the call
    /// began, or later ones: a key that exists throughout the call is there, once.
    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError>;

    /// Whether a read may block for long, since the last ones waited for the disk: a hint for those who must not be held up. Cheap.
    fn reads_may_block(&self) -> bool {
        false
    }

    /// Writes a batch in one transaction: all of it or nothing. After an error every write fails until the store is reopened,
    /// and reads go on; until then they may show all of the batch that failed.
    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError>;

    /// Opens the file anew after a failed write. What was not durable may be gone: the answer says what is there. After an error the
    /// store shows what it showed before, or is closed until this succeeds: what it lost is seen by nobody who was not told.
    fn reopen(&self) -> Result<Loaded, StoreError>;

    /// Drops all content. A damaged file is set aside under a name that says so, and a new one begun.
    fn reset(&self) -> Result<(), StoreError>;

    /// Drops one partition: its events, its checkpoint, its incarnations and their open batches, all or nothing, durable when it
    /// returns, with everything committed before it. Events of other partitions stay, those of the same keys too. It takes no longer
    /// for a large partition than for a small one; what it leaves behind is removed by [`sweep`](Store::sweep).
    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError>;

    /// Removes a bounded part of what dropped partitions have left behind, and says whether there is more. Nothing of that can be read,
    /// but [`stats`](Store::stats) counts it. It may be asked for in any state, after a crash too: it goes on where it was.
    fn sweep(&self) -> Result<bool, StoreError>;

    /// Makes everything durable and closes; any later call fails with [`StoreError::Closed`].
    fn close(&self) -> Result<(), StoreError>;

    /// Sizes; cheap.
    fn stats(&self) -> StoreStats;
}

/// [`Store::outlines_from`] by what else a store can be asked.
fn outlines_from<S: Store + ?Sized>(
    store: &S,
    parts: &[OffsetPart<'_>],
    out: &mut Vec<Vec<EventOutline>>,
) -> Result<(), StoreError> {
    let keys: Vec<Key> = parts.iter().map(|part| part.key.clone()).collect();
    let mut heads = Vec::with_capacity(keys.len());
    store.heads(&keys, &mut heads)?;
    let mut found = Vec::with_capacity(parts.len());
    for (part, heads) in parts.iter().zip(heads) {
        let OffsetPart { key, partition, from, guess, events_max } = *part;
        let mut outlines = Vec::new();
        if let Some(Head { base, next, .. }) = head_in(&heads, *part) {
            let one = |order| -> Result<EventOutline, Option<StoreError>> {
                let mut outlines = Vec::with_capacity(1);
                let part = OutlinePart { key, partition, from: order, events_max: 1 };
                store.outlines(part, &mut outlines)?;
                outlines.pop().ok_or(None)
            };
            match first_at(base..next, guess, from, one) {
                Ok(from) => {
                    store.outlines(OutlinePart { key, partition, from, events_max }, &mut outlines)?;
                    let left = left_after(&outlines, events_max);
                    let from = Order(from.0 + outlines.len() as u64);
                    store.outlines(OutlinePart { key, partition, from, events_max: left }, &mut outlines)?;
                }
                // It was dropped since the heads were read.
                Err(None) => {}
                Err(Some(error)) => return Err(error),
            }
        }
        found.push(outlines);
    }
    out.append(&mut found);
    Ok(())
}

fn head_in(heads: &Heads, part: OffsetPart<'_>) -> Option<Head> {
    let of = |head: &&Head| head.partition == part.partition;
    match heads {
        Heads::None => None,
        Heads::One(head) => Some(head).filter(of).copied(),
        Heads::Split(heads) => heads.iter().find(of).copied(),
    }
}
