//! The store writer: the only one that writes the store. It gathers what owners applied, commits, and only then lets the
//! events leave the overlay.
//!
//! Owners push; the writer never waits for them and they never wait for the disk: when too much is pushed and not committed,
//! the overlay's bound makes them pause tailing. What was pushed by a fold that has begun anew is recognised by its epoch
//! and dropped. After a failed write the store is reopened; if it fell back, every fold begins again at what it still holds.

use crate::board::{Board, TARGET_UNKNOWN};
use crate::limits::{
    COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX, COMMIT_GATHER_EVENTS, RETRY_MS, SYNC_BYTES_MAX, SYNC_INTERVAL_MS,
};
use crate::overlay::Overlay;
use bkes_core::sequence::NowMs;
use bkes_core::{Incarnation, IncarnationState, Key, Order, Partition};
use bkes_log::{Log, LogIdentity};
use bkes_storage::{Checkpoint, Durability, Loaded, NewEvent, Store, StoreBatch, StoreError, StoreIdentity};
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// What an owner applied in one step.
#[derive(Debug, Default)]
pub struct Push {
    pub events: Vec<NewEvent>,
    pub checkpoints: Vec<(Partition, Checkpoint)>,
    pub incarnations: Vec<(Partition, Incarnation, Option<IncarnationState>)>,
    pub bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    pushes: VecDeque<(u64, Push)>,
    events: usize,
    rebuild: Option<String>,
    damaged: Option<(u64, String)>,
    unreadable: Option<String>,
    identity: Option<StoreIdentity>,
    stop: bool,
}

impl Queue {
    fn is_urgent(&self) -> bool {
        self.rebuild.is_some() || self.damaged.is_some() || self.unreadable.is_some() || self.stop
    }
}

/// The way to the writer; cheap to clone.
#[derive(Clone, Default)]
pub struct WriterInbox(Arc<(Mutex<Queue>, Condvar)>);

impl WriterInbox {
    /// Hands over what was applied in a fold of this epoch.
    pub fn push(&self, epoch: u64, push: Push) {
        let mut queue = self.lock();
        queue.events += push.events.len();
        queue.pushes.push_back((epoch, push));
        drop(queue);
        self.0.1.notify_one();
    }

    /// The log is not the one that was read: throw the store away and begin anew.
    pub fn rebuild(&self, reason: String) {
        self.lock().rebuild.get_or_insert(reason);
        self.0.1.notify_one();
    }

    /// Stored bytes, met by a fold of this epoch, are not what was written: throw the store away; the log has everything.
    pub fn damaged(&self, epoch: u64, detail: String) {
        self.lock().damaged.get_or_insert((epoch, detail));
        self.0.1.notify_one();
    }

    /// A fold or a read met a failure of the disk: the file is opened anew, or every later look-up fails as well.
    pub fn unreadable(&self, detail: String) {
        self.lock().unreadable.get_or_insert(detail);
        self.0.1.notify_one();
    }

    /// Keeps how keys are placed.
    pub fn set_identity(&self, identity: StoreIdentity) {
        self.lock().identity = Some(identity);
        self.0.1.notify_one();
    }

    /// Ends the writer once everything pushed is committed.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.0.1.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until there is work, gathers for `gather`, or returns after `timeout`.
    pub fn wait(&self, timeout: Duration, gather: Duration) {
        let idle =
            |queue: &mut Queue| queue.pushes.is_empty() && !queue.is_urgent() && queue.identity.is_none();
        let (queue, result) = self
            .0
            .1
            .wait_timeout_while(self.lock(), timeout, idle)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if result.timed_out() {
            return;
        }
        let few = |queue: &mut Queue| queue.events < COMMIT_GATHER_EVENTS && !queue.is_urgent();
        drop(self.0.1.wait_timeout_while(queue, gather, few));
    }
}

/// Tells the owners what the writer did.
pub trait Announce: Send {
    /// There is room again.
    fn committed(&self);
    /// Every fold begins anew, in this epoch, at what the store holds now.
    fn restart(&self, loaded: Arc<Loaded>, epoch: u64);
}

/// What a new beginning means for events that were shown already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The log still has them: nothing is served before they are back.
    MustReturn,
    /// The log is another one: the next look at it says what to reach.
    IsVoid,
}

/// The writer's state; a thread, or a simulator, steps it.
pub struct Writer {
    store: Arc<dyn Store>,
    board: Arc<Board>,
    overlay: Arc<Overlay>,
    inbox: WriterInbox,
    announce: Box<dyn Announce>,
    log: Arc<dyn Log>,
    topic: LogIdentity,
    identity: StoreIdentity,
    /// Whether the store does not have it yet.
    identity_due: bool,
    /// A batch that failed to be written.
    failed: Option<StoreBatch>,
    retry_at: NowMs,
    /// Why the store is to be thrown away, once the log says that it is still the one we read.
    rebuild: Option<String>,
    rebuild_at: NowMs,
    unsynced_bytes: usize,
    unsynced: bool,
    synced_at: NowMs,
}

/// What is said of partitions whose topic is another one now.
pub fn another_topic(known: &LogIdentity, found: &LogIdentity) -> String {
    format!(
        "topic {} is another one now (id {} became {}): stop, and start with another data directory",
        known.topic, known.topic_id, found.topic_id
    )
}

/// Whether the writer goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriterStep {
    /// There may be more to do.
    Busy,
    /// Nothing to do now.
    Idle,
    /// Everything pushed is committed and the writer was told to stop.
    Stopped,
}

impl Writer {
    pub fn new(
        store: Arc<dyn Store>,
        board: Arc<Board>,
        overlay: Arc<Overlay>,
        inbox: WriterInbox,
        announce: Box<dyn Announce>,
        (log, topic): (Arc<dyn Log>, LogIdentity),
        identity: StoreIdentity,
    ) -> Writer {
        Writer {
            store,
            board,
            overlay,
            inbox,
            announce,
            log,
            topic,
            identity,
            identity_due: false,
            failed: None,
            retry_at: 0,
            rebuild: None,
            rebuild_at: 0,
            unsynced_bytes: 0,
            unsynced: false,
            synced_at: 0,
        }
    }

    /// Does what is due at `now`.
    pub fn step(&mut self, now: NowMs) -> WriterStep {
        let (rebuild, damaged, unreadable, identity, stop) = {
            let mut queue = self.inbox.lock();
            let Queue { rebuild, damaged, unreadable, identity, stop, .. } = &mut *queue;
            (rebuild.take(), damaged.take(), unreadable.take(), identity.take(), *stop)
        };
        self.rebuild = self.rebuild.take().or(rebuild);
        if let Some(reason) = self.rebuild.take_if(|_| now >= self.rebuild_at) {
            if !self.is_same_topic(&reason, now) {
                return WriterStep::Busy;
            }
            tracing::error!("the store is rebuilt from the log: {reason}");
            self.begin_anew(now, Shown::IsVoid, |store| store.reset().and_then(|()| store.load()));
            return WriterStep::Busy;
        }
        if let Some((_, detail)) =
            damaged.filter(|(epoch, _)| *epoch == self.board.epoch.load(Ordering::Acquire))
        {
            self.failed(StoreError::Damaged { detail }, StoreBatch::default(), now);
            return WriterStep::Busy;
        }
        if let Some(detail) = unreadable
            && self.failed.is_none()
        {
            self.failed(StoreError::ReadFailed { detail }, StoreBatch::default(), now);
        }
        if let Some(identity) = identity {
            self.identity = identity;
            self.identity_due = true;
        }
        if self.failed.is_some() {
            if stop {
                return WriterStep::Stopped;
            }
            if now < self.retry_at {
                return WriterStep::Idle;
            }
            self.retry(now);
            return WriterStep::Busy;
        }
        if self.identity_due {
            match self.store.set_identity(&self.identity) {
                Ok(()) => self.identity_due = false,
                Err(error) => {
                    self.failed(error, StoreBatch::default(), now);
                    return WriterStep::Busy;
                }
            }
        }
        let (batch, bytes) = self.take();
        if batch.is_empty() {
            if self.unsynced && (stop || now >= self.synced_at + SYNC_INTERVAL_MS) {
                self.commit(batch, 0, Durability::Immediate, now);
                return WriterStep::Busy;
            }
            return if stop { WriterStep::Stopped } else { WriterStep::Idle };
        }
        let due = now >= self.synced_at + SYNC_INTERVAL_MS || self.unsynced_bytes + bytes >= SYNC_BYTES_MAX;
        let durability = if due { Durability::Immediate } else { Durability::Eventual };
        self.commit(batch, bytes, durability, now);
        WriterStep::Busy
    }

    /// A topic that was created again is no reason to throw away what is left of the old one: that is for people to decide.
    /// While the log does not answer, the question is kept for later.
    fn is_same_topic(&mut self, reason: &str, now: NowMs) -> bool {
        match self.log.identity() {
            Ok(found) if found == self.topic => true,
            Ok(found) => {
                for board in self.board.partitions().iter() {
                    board.degrade(another_topic(&self.topic, &found));
                }
                false
            }
            Err(error) => {
                tracing::warn!("{reason}: the store will be rebuilt once the log answers ({error})");
                self.rebuild = Some(reason.to_owned());
                self.rebuild_at = now + RETRY_MS;
                false
            }
        }
    }

    /// Gathers pushes of this epoch up to the limits of one transaction; a later state of the same thing replaces an earlier.
    fn take(&mut self) -> (StoreBatch, usize) {
        let epoch = self.board.epoch.load(Ordering::Acquire);
        let (mut batch, mut bytes) = (StoreBatch::default(), 0);
        let mut checkpoints = BTreeMap::new();
        let mut incarnations = BTreeMap::new();
        let mut queue = self.inbox.lock();
        while let Some((pushed, push)) = queue.pushes.pop_front() {
            queue.events -= push.events.len();
            if pushed != epoch {
                continue;
            }
            bytes += push.bytes;
            checkpoints.extend(push.checkpoints);
            incarnations.extend(push.incarnations.into_iter().map(|(p, i, state)| ((p, i), state)));
            if batch.events.is_empty() {
                batch.events = push.events;
            } else {
                batch.events.extend(push.events);
            }
            if batch.events.len() >= COMMIT_EVENTS_MAX || bytes >= COMMIT_BYTES_MAX {
                break;
            }
        }
        batch.checkpoints = checkpoints.into_iter().collect();
        batch.incarnations = incarnations.into_iter().map(|((p, i), state)| (p, i, state)).collect();
        (batch, bytes)
    }

    fn commit(&mut self, batch: StoreBatch, bytes: usize, durability: Durability, now: NowMs) {
        match self.store.commit(&batch, durability) {
            Ok(()) => {
                self.unsynced = durability == Durability::Eventual;
                self.unsynced_bytes = if self.unsynced { self.unsynced_bytes + bytes } else { 0 };
                if !self.unsynced {
                    self.synced_at = now;
                }
                self.committed(&batch);
            }
            Err(error) => self.failed(error, batch, now),
        }
    }

    fn committed(&self, batch: &StoreBatch) {
        let mut last: HashMap<(&Key, Partition), Order> = HashMap::with_capacity(batch.events.len());
        for NewEvent { key, event } in &batch.events {
            last.insert((key, event.partition), event.order);
        }
        for ((key, partition), order) in last {
            self.overlay.committed(key, partition, order);
        }
        for (partition, checkpoint) in &batch.checkpoints {
            if let Some(board) = self.board.partition(*partition) {
                board.stored.store(checkpoint.position.0, Ordering::Release);
            }
        }
        self.announce.committed();
    }

    fn failed(&mut self, error: StoreError, batch: StoreBatch, now: NowMs) {
        if let StoreError::Damaged { detail } = &error {
            tracing::error!("the store is damaged and is rebuilt from the log: {detail}");
            self.begin_anew(now, Shown::MustReturn, |store| store.reset().and_then(|()| store.load()));
            return;
        }
        tracing::error!("{error}; appends are refused until the store can be written again");
        self.board.set_store_down(Some(error.to_string()));
        self.failed = Some(batch);
        self.retry_at = now + RETRY_MS;
    }

    /// Opens the store anew. If nothing was lost the failed batch is written again; otherwise every fold goes back to what
    /// the store still holds.
    fn retry(&mut self, now: NowMs) {
        let stored = |partition: Partition| {
            let board = self.board.partition(partition);
            board.map_or(0, |board| board.stored.load(Ordering::Acquire))
        };
        let loaded = match self.store.reopen() {
            Ok(loaded) => loaded,
            Err(StoreError::Damaged { detail }) => {
                tracing::error!("the store is damaged and is rebuilt from the log: {detail}");
                self.begin_anew(now, Shown::MustReturn, |store| store.reset().and_then(|()| store.load()));
                return;
            }
            Err(error) => {
                self.board.set_store_down(Some(error.to_string()));
                self.retry_at = now + RETRY_MS;
                return;
            }
        };
        let held: HashMap<Partition, u64> =
            loaded.checkpoints.iter().map(|(p, c)| (*p, c.position.0)).collect();
        let whole = self.board.partitions().iter().all(|p| {
            let expected = stored(p.partition);
            held.get(&p.partition).map_or(expected == 0, |at| *at >= expected)
        }) && loaded.identity.is_some();
        if !whole {
            self.begin_anew(now, Shown::MustReturn, move |_| Ok(loaded));
            return;
        }
        let batch = self.failed.take().unwrap_or_default();
        self.board.set_store_down(None);
        self.commit(batch, 0, Durability::Immediate, now);
        if self.failed.is_none() {
            tracing::info!("the store can be written again");
        }
    }

    /// Begins every fold anew at what `prepare` leaves in the store. Reads are refused from here until the owners took over.
    fn begin_anew(
        &mut self,
        now: NowMs,
        shown: Shown,
        prepare: impl FnOnce(&dyn Store) -> Result<Loaded, StoreError>,
    ) {
        if self.board.epoch.load(Ordering::Acquire).is_multiple_of(2) {
            self.board.epoch.fetch_add(1, Ordering::AcqRel);
        }
        let prepared = prepare(&*self.store).and_then(|loaded| {
            self.store.set_identity(&self.identity)?;
            Ok(loaded)
        });
        match prepared {
            Ok(loaded) => {
                self.failed = None;
                self.identity_due = false;
                self.unsynced = false;
                self.unsynced_bytes = 0;
                let held: HashMap<Partition, u64> =
                    loaded.checkpoints.iter().map(|(p, c)| (*p, c.position.0)).collect();
                for board in self.board.partitions().iter() {
                    match shown {
                        Shown::MustReturn => {
                            let applied = board.applied.load(Ordering::Acquire);
                            board.target.fetch_max(applied, Ordering::AcqRel);
                        }
                        Shown::IsVoid => board.target.store(TARGET_UNKNOWN, Ordering::Release),
                    }
                    board.stored.store(held.get(&board.partition).copied().unwrap_or(0), Ordering::Release);
                }
                self.board.set_store_down(None);
                let epoch = self.board.epoch.fetch_add(1, Ordering::AcqRel) + 1;
                self.announce.restart(Arc::new(loaded), epoch);
            }
            Err(error) => {
                tracing::error!("the store cannot begin anew: {error}");
                self.board.set_store_down(Some(error.to_string()));
                self.failed = Some(StoreBatch::default());
                self.retry_at = now + RETRY_MS;
            }
        }
    }
}
