//! The way to an owner: appends with their places among the admitted, and the commands that it takes in its next step.

use crate::board::PartitionBoard;
use crate::epoch::Epoch;
use crate::withdrawal::Withdrawal;
use bkes_core::append::{AppendError, AppendRequest, Appended, EventContent, Unready};
use bkes_core::machine::{Append, FoldId, Scope, Shown, WatermarksRead};
use bkes_core::sequence::NowMs;
use bkes_core::{EventOutline, Key, Order, Partition, Position};
use bkes_log::Waker;
use bkes_storage::Loaded;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The sending half of an answer.
pub type ReplySender = oneshot::Sender<Result<Appended, Refusal>>;

/// Why an append was not carried out.
pub enum Refusal {
    /// This is the answer.
    Final(AppendError),
    /// An append with its id is stored: it is an earlier try if the content is the same.
    Found(Box<Found>),
    /// It is the answer only if the log holds no more than is applied here. Nothing is stored.
    Unverified(Box<Unverified>),
}

/// An append given back, and where the one with its id begins.
pub struct Found {
    pub request: AppendRequest,
    pub place: Place,
    pub first: EventOutline,
}

/// An append given back, to be tried again when everything in `scope` is applied.
pub struct Unverified {
    pub request: AppendRequest,
    pub place: Place,
    pub scope: Scope,
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Refusal {
        Refusal::Final(error)
    }
}

/// An append from when it is taken in until it is answered: it waits for its turn, for room, or in flight.
pub type Waiting = Box<Append<Ticket>>;

/// What an append is answered by.
pub struct Ticket {
    pub to: ReplySender,
    pub place: Place,
    /// The partition that its key hashed to.
    pub guess: Partition,
    /// When it came.
    pub since: NowMs,
    /// Until when it may wait for room.
    pub until: NowMs,
    /// How its caller takes it back, if it may.
    pub withdrawal: Option<Arc<Withdrawal>>,
}

impl Ticket {
    /// Begins the append that this is of; false if its caller went away or took it back.
    pub fn begin(&self) -> bool {
        !self.to.is_closed() && self.withdrawal.as_ref().is_none_or(|withdrawal| withdrawal.begin())
    }
}

/// An append that was sent and is not decided.
pub struct Pending {
    pub partition: Partition,
    /// The order its first event takes if it is accepted.
    pub first: Order,
    pub events: Vec<EventContent>,
}

/// How far a partition is decided.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    pub partition: Partition,
    pub fold: FoldId,
    pub end: Position,
}

/// What an owner is told.
pub enum Command {
    Append(Waiting),
    /// The log was asked for the marks of a partition.
    Watermarks {
        partition: Partition,
        read: WatermarksRead,
    },
    /// A new partition.
    Add {
        board: Arc<PartitionBoard>,
    },
    /// Every fold begins anew.
    Restart(Restart),
    /// The fold of one partition begins anew, at the beginning of the log.
    Dropped {
        partition: Partition,
        fold: FoldId,
    },
    /// What is in flight for a key.
    Pending {
        key: Key,
        reply: oneshot::Sender<Vec<Pending>>,
    },
    /// How far its partitions are decided.
    Decided {
        reply: oneshot::Sender<Vec<Decided>>,
    },
    /// Stop; what is in flight is awaited until then.
    Stop {
        deadline: NowMs,
    },
}

/// How every fold begins anew.
#[derive(Clone)]
pub struct Restart {
    /// Where.
    pub loaded: Arc<Loaded>,
    /// The epoch of the overlay.
    pub epoch: Epoch,
    /// Of each partition.
    pub fold: FoldId,
    /// What that means for what was shown.
    pub shown: Shown,
}

/// Which owner has a partition.
pub fn owner_of(partition: Partition, owners: &[OwnerInbox]) -> usize {
    partition.0 as usize % owners.len()
}

/// How many appends are admitted, and the bytes that their keys, values and headers take in memory.
#[derive(Debug, Default)]
pub struct Admitted {
    pub appends: AtomicUsize,
    pub bytes: AtomicU64,
}

/// A place among the admitted appends, given back when dropped.
pub struct Place {
    admitted: Arc<Admitted>,
    bytes: u64,
}

impl Place {
    /// Takes a place, whatever there is already.
    pub fn take(admitted: &Arc<Admitted>, bytes: u64) -> (Place, Before) {
        let appends = admitted.appends.fetch_add(1, Ordering::AcqRel);
        let before = Before { appends, bytes: admitted.bytes.fetch_add(bytes, Ordering::AcqRel) };
        (Place { admitted: Arc::clone(admitted), bytes }, before)
    }

    /// Of its keys, values and headers in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admitted.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.admitted.appends.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What was admitted before.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    pub appends: usize,
    pub bytes: u64,
}

#[derive(Default)]
pub struct Commands {
    pub queue: Vec<Command>,
    closed: bool,
}

/// The way to an owner; cheap to clone.
#[derive(Clone)]
pub struct OwnerInbox {
    commands: Arc<Mutex<Commands>>,
    /// Whether callers went away that may have waited for room.
    withdrawn: Arc<AtomicBool>,
    waker: Waker,
}

impl OwnerInbox {
    pub fn new(waker: Waker) -> OwnerInbox {
        OwnerInbox { commands: Arc::default(), withdrawn: Arc::default(), waker }
    }

    /// Queues a command and wakes the owner; gives it back when the owner has ended. Appends are bounded by their admission, the
    /// rest by their nature.
    pub fn send(&self, command: Command) -> Result<(), Command> {
        let mut commands = self.lock();
        if commands.closed {
            return Err(command);
        }
        commands.queue.push(command);
        drop(commands);
        self.waker.wake();
        Ok(())
    }

    pub fn wake(&self) {
        self.waker.wake();
    }

    /// A caller went away: should its append wait, it gives up its place.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub fn take_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed) && self.withdrawn.swap(false, Ordering::AcqRel)
    }

    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Ends the inbox; what is in it is dropped.
    pub fn close(&self) {
        let mut commands = self.lock();
        commands.closed = true;
        let queue = std::mem::take(&mut commands.queue);
        drop(commands);
        for command in queue {
            refuse_command(command, Unready::ShuttingDown);
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Answers an append that no owner will ever take: nothing of it was sent.
pub fn refuse_command(command: Command, why: Unready) {
    if let Command::Append(waiting) = command {
        drop(waiting.ticket.to.send(Err(AppendError::Unavailable(why).into())));
    }
}
