//! The store writer: the only one that writes the store. It gathers what owners applied, commits, and only then lets the
//! events leave the overlay.
//!
//! Owners add to the overlay and say so; the writer seals what is there and never waits for them, and they never wait for the
//! disk: when too much is applied and not committed, the overlay's bound makes them pause tailing. What a fold that has begun
//! anew had applied is recognised by its epoch and dropped. After a failed write the store is reopened; if it fell back, every
//! fold begins again at what it still holds.
//!
//! Where the log is not what a partition's fold had read, the store drops that partition alone, and its fold begins anew; what it
//! leaves behind in the store is swept bit by bit. Until the partition's owner has taken over, nothing of that owner is sealed:
//! there may be events of the old fold among it.

use crate::board::{Board, Counting};
use crate::context::Context;
use crate::fault::Fault;
use crate::limits::{RETRY_MS, SWEEP_INTERVAL_MS, SYNC_INTERVAL_MS};
use crate::overlay::{Generation, Overlay};
use crate::owner_inbox::Restart;
use crate::writer_inbox::{Queue, WriterInbox};
use bkes_core::machine::{FoldId, Shown};
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Partition, Position};
use bkes_log::{Log, LogIdentity};
use bkes_storage::{Checkpoint, Durability, Loaded, Store, StoreBatch, StoreError, StoreIdentity};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Tells the owners what the writer did.
pub trait Announce: Send {
    /// There is room in the overlay again.
    fn room(&self);
    /// Every fold begins anew at what the store holds now.
    fn restart(&self, restart: Restart);
    /// The store has dropped a partition: this fold of it begins.
    fn dropped(&self, partition: Partition, fold: FoldId);
}

/// Where every fold begins anew.
enum Beginning {
    /// At nothing: the store is emptied.
    Empty,
    /// At what the store still holds.
    At(Loaded),
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
    /// What the store was last heard to hold of each partition. Checkpoints have no order: where the log lost what held no record, a fold
    /// goes back to a position below the one that is stored.
    committed: HashMap<Partition, Checkpoint>,
    /// What failed to be written: a generation, or nothing but the identity or a look-up.
    failed: Option<Work>,
    /// The store has to be emptied, and that failed so far.
    reset_due: bool,
    /// The lane that is looked at next.
    lane: usize,
    retry_at: NowMs,
    /// Partitions that are to be dropped, and why, once the log says that it is still the one we read.
    rebuild: BTreeMap<Partition, String>,
    rebuild_at: NowMs,
    /// Each dropped partition's new fold: what an older one said of it is settled.
    dropped_in: HashMap<Partition, FoldId>,
    /// Those of them whose owner has not taken over yet.
    taking_over: BTreeMap<Partition, FoldId>,
    /// Whether dropped partitions may have left something behind in the store, and when that was looked after last.
    sweeping: bool,
    swept_at: NowMs,
    unsynced: bool,
    synced_at: NowMs,
    /// Whether all folds begin anew, and that is not announced yet.
    is_beginning: bool,
}

/// A sealed generation and its lane; none for what is not about events.
type Work = Option<(usize, Arc<Generation>)>;

/// Whether the writer goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriterStep {
    /// There may be more to do.
    Busy,
    /// Nothing to do before something comes, or before then.
    Idle(Option<NowMs>),
    /// Everything pushed is committed and the writer was told to stop.
    Stopped,
}

impl Writer {
    pub fn new(context: &Context, announce: Box<dyn Announce>, identity: StoreIdentity) -> Writer {
        Writer {
            store: Arc::clone(&context.store),
            board: Arc::clone(&context.board),
            overlay: Arc::clone(&context.overlay),
            inbox: context.writer.clone(),
            announce,
            log: Arc::clone(&context.log),
            topic: context.topic.clone(),
            identity,
            identity_due: false,
            committed: HashMap::new(),
            failed: None,
            reset_due: false,
            lane: 0,
            retry_at: 0,
            rebuild: BTreeMap::new(),
            rebuild_at: 0,
            dropped_in: HashMap::new(),
            taking_over: BTreeMap::new(),
            sweeping: true,
            swept_at: 0,
            unsynced: false,
            synced_at: 0,
            is_beginning: false,
        }
    }

    /// The same, of a store that holds this already.
    pub fn resumed_at(self, checkpoints: &[(Partition, Checkpoint)]) -> Writer {
        Writer { committed: checkpoints.iter().copied().collect(), ..self }
    }

    /// Does what is due at `now`.
    pub fn step(&mut self, now: NowMs) -> WriterStep {
        let (rebuild, damaged, unreadable, identity, stop) = {
            let mut queue = self.inbox.lock();
            let Queue { rebuild, damaged, unreadable, identity, stop, .. } = &mut *queue;
            (std::mem::take(rebuild), damaged.take(), unreadable.take(), identity.take(), *stop)
        };
        for (partition, (fold, reason)) in rebuild {
            if self.dropped_in.get(&partition).is_none_or(|dropped_in| fold >= *dropped_in) {
                self.rebuild.entry(partition).or_insert(reason);
            }
        }
        if let Some((_, detail)) = damaged.filter(|(epoch, _)| *epoch == self.board.epoch()) {
            self.failed(StoreError::Damaged { detail }, None, now);
            return WriterStep::Busy;
        }
        if let Some(cause) = unreadable
            && self.failed.is_none()
        {
            self.failed(StoreError::ReadFailed { source: io::Error::other(cause.to_string()) }, None, now);
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
                // It would keep the writer from resting.
                self.inbox.lock().commit_now = false;
                return WriterStep::Idle(Some(self.retry_at));
            }
            self.retry(now);
            return WriterStep::Busy;
        }
        if !self.rebuild.is_empty() && now >= self.rebuild_at {
            self.rebuild_partitions(now);
            return WriterStep::Busy;
        }
        if self.identity_due {
            match self.store.set_identity(&self.identity) {
                Ok(()) => self.identity_due = false,
                Err(error) => {
                    self.failed(error, None, now);
                    return WriterStep::Busy;
                }
            }
        }
        if self.sweeping && now >= self.swept_at + SWEEP_INTERVAL_MS && self.sweep(now) {
            return WriterStep::Busy;
        }
        let Some(work) = self.seal() else {
            if self.sweeping && !stop && self.sweep(now) {
                return WriterStep::Busy;
            }
            if self.unsynced && (stop || now >= self.synced_at + SYNC_INTERVAL_MS) {
                self.commit(None, Durability::Immediate, now);
                return WriterStep::Busy;
            }
            return if stop { WriterStep::Stopped } else { WriterStep::Idle(self.due()) };
        };
        let due = now >= self.synced_at + SYNC_INTERVAL_MS;
        let durability = if due { Durability::Immediate } else { Durability::Eventual };
        self.commit(Some(work), durability, now);
        WriterStep::Busy
    }

    /// When something is to be done although nothing comes.
    fn due(&self) -> Option<NowMs> {
        let rebuild = (!self.rebuild.is_empty()).then_some(self.rebuild_at);
        let sync = self.unsynced.then_some(self.synced_at + SYNC_INTERVAL_MS);
        rebuild.into_iter().chain(sync).min()
    }

    /// Drops the partitions of which the log is not what was read, and has their folds begin anew.
    fn rebuild_partitions(&mut self, now: NowMs) {
        if !self.is_same_topic(now) {
            return;
        }
        for (partition, reason) in self.rebuild.clone() {
            tracing::error!("partition {partition} is read anew from the log: {reason}");
            if let Err(error) = self.drop_partition(partition, now) {
                return self.failed(error, None, now);
            }
        }
    }

    /// Nothing is read from the partition from here until its owner took over. One whose drop failed is dropped again, though it may have
    /// come through.
    fn drop_partition(&mut self, partition: Partition, now: NowMs) -> Result<(), StoreError> {
        let Some(board) = self.board.partition(partition) else {
            self.rebuild.remove(&partition);
            return Ok(());
        };
        self.board.begin(std::slice::from_ref(&board));
        self.board.change(&board, |state| state.is_read_anew = true);
        self.store.drop_partition(partition)?;
        (self.unsynced, self.synced_at) = (false, now);
        self.board.change(&board, |state| state.stored = Position::START);
        self.committed.remove(&partition);
        let fold = self.board.announce(std::slice::from_ref(&board));
        self.rebuild.remove(&partition);
        self.dropped_in.insert(partition, fold);
        self.taking_over.insert(partition, fold);
        self.sweeping = true;
        self.announce.dropped(partition, fold);
        Ok(())
    }

    /// Removes a part of what dropped partitions left behind; says whether that was anything.
    fn sweep(&mut self, now: NowMs) -> bool {
        self.swept_at = now;
        match self.store.sweep() {
            Ok(more) => {
                self.sweeping = more;
                more
            }
            Err(error) => {
                self.failed(error, None, now);
                true
            }
        }
    }

    /// A topic that was created again is no reason to throw away what is left of the old one: that is for people to decide.
    /// While the log does not answer, the question is kept for later.
    fn is_same_topic(&mut self, now: NowMs) -> bool {
        match self.log.identity() {
            Ok(found) if found == self.topic => true,
            Ok(found) => {
                self.rebuild.clear();
                self.board.set_fault(Fault::AnotherTopic { known: self.topic.clone(), found });
                false
            }
            Err(error) => {
                for (partition, reason) in &self.rebuild {
                    tracing::warn!(
                        "partition {partition}: {reason}: it will be read anew once the log answers ({error})"
                    );
                }
                self.rebuild_at = now + RETRY_MS;
                false
            }
        }
    }

    /// Seals what an owner has applied, the owners in turn. Owners that wait for room have it then.
    fn seal(&mut self) -> Option<(usize, Arc<Generation>)> {
        let commit_now = {
            let mut queue = self.inbox.lock();
            queue.applied = false;
            std::mem::take(&mut queue.commit_now)
        };
        let epoch = self.board.epoch();
        let lanes = self.overlay.lanes();
        self.taking_over.retain(|partition, fold| {
            self.board.partition(*partition).is_none_or(|board| board.state().seen.fold < *fold)
        });
        let (lane, generation) = (0..lanes).find_map(|step| {
            let lane = (self.lane + step) % lanes;
            if self.taking_over.keys().any(|partition| partition.0 as usize % lanes == lane) {
                return None;
            }
            Some((lane, self.overlay.seal(lane, epoch)?))
        })?;
        self.lane = (lane + 1) % lanes;
        // What other owners applied is looked at again after this one's.
        if lanes > 1 {
            let mut queue = self.inbox.lock();
            queue.applied = true;
            queue.commit_now |= commit_now;
        }
        self.announce.room();
        Some((lane, generation))
    }

    fn commit(&mut self, work: Work, durability: Durability, now: NowMs) {
        let nothing = StoreBatch::default();
        let batch = work.as_ref().map_or(&nothing, |(_, generation)| generation.batch());
        match self.store.commit(batch, durability) {
            Ok(()) => {
                self.unsynced = durability == Durability::Eventual;
                if !self.unsynced {
                    self.synced_at = now;
                }
                self.committed(work);
            }
            Err(error) => self.failed(error, work, now),
        }
    }

    fn committed(&mut self, work: Work) {
        let Some((lane, generation)) = work else { return };
        self.committed.extend(generation.batch().checkpoints.iter().copied());
        for (partition, checkpoint) in &generation.batch().checkpoints {
            if let Some(board) = self.board.partition(*partition) {
                self.board.change(&board, |state| state.stored = checkpoint.position);
            }
        }
        drop(generation);
        self.overlay.clear(lane);
        self.announce.room();
    }

    fn failed(&mut self, error: StoreError, work: Work, now: NowMs) {
        if let StoreError::Damaged { detail } = &error {
            tracing::error!("the store is damaged and is rebuilt from the log: {detail}");
            self.begin_anew(now, Beginning::Empty);
            return;
        }
        tracing::error!("{error}; appends are refused until the store can be written again");
        self.board.set_store_down(Some(Cause::of(error)));
        self.failed = Some(work);
        self.retry_at = now + RETRY_MS;
    }

    /// Opens the store anew. If nothing was lost the failed batch is written again; otherwise every fold goes back to what
    /// the store still holds.
    fn retry(&mut self, now: NowMs) {
        if self.reset_due {
            return self.begin_anew(now, Beginning::Empty);
        }
        let board = Arc::clone(&self.board);
        let _reopening = board.store_view.reopening();
        let loaded = match self.store.reopen() {
            Ok(loaded) => loaded,
            Err(StoreError::Damaged { detail }) => {
                tracing::error!("the store is damaged and is rebuilt from the log: {detail}");
                self.begin_anew(now, Beginning::Empty);
                return;
            }
            Err(error) => {
                self.board.set_store_down(Some(Cause::of(error)));
                self.retry_at = now + RETRY_MS;
                return;
            }
        };
        let held: HashMap<Partition, Checkpoint> = loaded.checkpoints.iter().copied().collect();
        let tried = self.failed.as_ref().and_then(Option::as_ref).map(|(_, generation)| generation.batch());
        let tried = tried.map_or(&[][..], |batch| &batch.checkpoints);
        let is_held =
            |(partition, checkpoint): &(Partition, Checkpoint)| held.get(partition) == Some(checkpoint);
        // The write that was said to have failed had come through.
        let came_through = !tried.is_empty() && tried.iter().all(is_held);
        let whole = self.board.partitions().iter().all(|board| {
            came_through && tried.iter().any(|(partition, _)| *partition == board.partition)
                || held.get(&board.partition) == self.committed.get(&board.partition)
                // One that is being dropped is gone, or will be.
                || board.state().counting == Counting::Beginning
        }) && loaded.identity.is_some();
        if !whole || self.is_beginning {
            self.begin_anew(now, Beginning::At(loaded));
            return;
        }
        let work = self.failed.take().flatten();
        self.board.set_store_down(None);
        if came_through {
            self.unsynced = true;
            self.committed(work);
        } else {
            self.commit(work, Durability::Immediate, now);
        }
        if self.failed.is_none() {
            tracing::info!("the store can be written again");
        }
    }

    /// Begins every fold anew. Reads are refused from here until the owners took over.
    fn begin_anew(&mut self, now: NowMs, beginning: Beginning) {
        if !std::mem::replace(&mut self.is_beginning, true) {
            self.board.next_epoch();
        }
        self.board.begin(&self.board.partitions());
        let loaded = match beginning {
            Beginning::Empty => {
                self.reset_due = true;
                self.store.reset().and_then(|()| self.store.load())
            }
            Beginning::At(loaded) => Ok(loaded),
        };
        let prepared = loaded.and_then(|loaded| {
            self.store.set_identity(&self.identity)?;
            Ok(loaded)
        });
        match prepared {
            Ok(loaded) => self.begun_anew(loaded),
            Err(error) => {
                tracing::error!("the store cannot begin anew: {error}");
                // What can be read and not written would be opened again for ever.
                self.reset_due |= matches!(error, StoreError::Damaged { .. });
                self.board.set_store_down(Some(Cause::of(error)));
                self.failed = Some(None);
                self.retry_at = now + RETRY_MS;
            }
        }
    }

    /// The store is as the folds begin with it.
    fn begun_anew(&mut self, loaded: Loaded) {
        self.failed = None;
        self.reset_due = false;
        (0..self.overlay.lanes()).for_each(|lane| self.overlay.clear(lane));
        self.identity_due = false;
        self.unsynced = false;
        self.taking_over.clear();
        self.committed = loaded.checkpoints.iter().copied().collect();
        // A partition that is added from here on begins by itself, after what is announced.
        let partitions = self.board.partitions();
        for board in partitions.iter() {
            let stored = self.committed.get(&board.partition).map_or(Position::START, |held| held.position);
            self.board.change(board, |state| (state.stored, state.is_read_anew) = (stored, false));
        }
        self.board.set_store_down(None);
        self.is_beginning = false;
        let epoch = self.board.next_epoch();
        let fold = self.board.announce(&partitions);
        let (loaded, shown) = (Arc::new(loaded), Shown::MustReturn);
        self.announce.restart(Restart { loaded, epoch, fold, shown });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::COMMIT_GATHER_EVENTS;
    use crate::options::EngineOptions;
    use crate::overlay::tests::{event, insert_event, key};
    use crate::start::{self, Checked};
    use crate::verifier_inbox::VerifierInbox;
    use bkes_api::TopicId;
    use bkes_core::Incarnation;
    use bkes_log::wake_pair;
    use bkes_testkit::log::SimulatedLog as MemoryLog;
    use bkes_testkit::store::SimulatedStore as MemoryStore;
    use std::num::NonZeroU32;

    struct NoOwners;

    impl Announce for NoOwners {
        fn room(&self) {}

        fn restart(&self, _: Restart) {}

        fn dropped(&self, _: Partition, _: FoldId) {}
    }

    /// A writer for two owners, and what they share with it.
    fn writer() -> (Writer, Arc<Overlay>) {
        writer_on(Arc::new(MemoryLog::new("topic", NonZeroU32::new(2).expect("two"))), Arc::default())
    }

    fn writer_on(log: Arc<MemoryLog>, store: Arc<MemoryStore>) -> (Writer, Arc<Overlay>) {
        let Checked { board, topic, identity, .. } =
            start::check(&*log, &*store, &EngineOptions::default()).expect("they belong together");
        let (overlay, (look, _), (verify, _)) = (Arc::new(Overlay::new(2)), wake_pair(), wake_pair());
        let context = Context {
            log,
            store,
            board: Arc::new(board),
            overlay: Arc::clone(&overlay),
            in_flight: Arc::default(),
            awaited: Arc::default(),
            positions: Arc::default(),
            askers: Arc::default(),
            feed: Arc::default(),
            writer: WriterInbox::default(),
            options: EngineOptions::default(),
            topic_id: TopicId::new(&topic.topic_id),
            topic,
            owners: Arc::default(),
            draw: Arc::new(|| Incarnation(1)),
            look,
            verifier: VerifierInbox::new(verify),
        };
        (Writer::new(&context, Box::new(NoOwners), identity), overlay)
    }

    /// An owner's step that applied so many events.
    fn apply(writer: &Writer, overlay: &Overlay, owner: usize, events: usize) {
        let (partition, key) = (Partition(owner as u32), key(&format!("key-{owner}")));
        for order in 0..events as u64 {
            insert_event(overlay, owner, &key, event(partition.0, order));
        }
        let checkpoint = Checkpoint { position: Position(events as u64), ..Checkpoint::default() };
        let commit_now = overlay.end_step(owner, [(partition, checkpoint)], []);
        writer.inbox.applied(commit_now);
    }

    fn stored(writer: &Writer, owner: u32) -> u64 {
        let board = writer.board.partition(Partition(owner)).expect("there are two");
        board.state().stored.0
    }

    #[test]
    fn what_one_owner_has_much_of_is_committed_without_a_rest_behind_what_others_have() {
        let (mut writer, overlay) = writer();
        apply(&writer, &overlay, 0, 1);
        apply(&writer, &overlay, 1, COMMIT_GATHER_EVENTS);
        assert_eq!(writer.step(1), WriterStep::Busy);
        assert_eq!((stored(&writer, 0), stored(&writer, 1)), (1, 0), "one owner at a time");
        assert!(writer.inbox.lock().commit_now, "it would rest until others have much too");
        assert_eq!(writer.step(2), WriterStep::Busy);
        assert_eq!(stored(&writer, 1), COMMIT_GATHER_EVENTS as u64);
        assert!(matches!(writer.step(3), WriterStep::Idle(_)));
        assert!(!writer.inbox.lock().commit_now, "it would never rest again");
    }

    #[test]
    fn what_several_owners_have_little_of_is_gathered() {
        let (mut writer, overlay) = writer();
        apply(&writer, &overlay, 0, 1);
        apply(&writer, &overlay, 1, 1);
        assert_eq!(writer.step(1), WriterStep::Busy);
        assert!(!writer.inbox.lock().commit_now);
    }

    /// On an instance to which nothing came the writer rested for ten seconds after a failed write, as if there were nothing to
    /// do, and the store was reopened only then: appends were refused nine seconds longer than they had to be.
    #[test]
    fn after_a_failed_write_the_writer_rests_until_the_next_try_and_no_longer() {
        let log = Arc::new(MemoryLog::new("topic", NonZeroU32::new(2).expect("two")));
        let store = Arc::new(MemoryStore::new());
        let (mut writer, overlay) = writer_on(log, Arc::clone(&store));
        apply(&writer, &overlay, 0, 1);
        store.fail_writes(Some("no space left"));
        assert_eq!(writer.step(5), WriterStep::Busy);
        assert_eq!(writer.step(6), WriterStep::Idle(Some(5 + RETRY_MS)));
        assert_eq!(writer.step(5 + RETRY_MS), WriterStep::Busy, "it is tried again");
        assert_eq!(writer.step(6 + RETRY_MS), WriterStep::Idle(Some(5 + 2 * RETRY_MS)));
        store.fail_writes(None);
        assert_eq!(writer.step(5 + 2 * RETRY_MS), WriterStep::Busy);
        assert_eq!(stored(&writer, 0), 1);
        assert_eq!(writer.board.store_down(), None);
        assert_eq!(writer.step(6 + 2 * RETRY_MS), WriterStep::Idle(None), "all is done and synced");
    }

    /// The same held for a store that is to be rebuilt while the log does not answer, and for what was not yet synced.
    #[test]
    fn the_writer_rests_until_what_it_has_to_do_by_itself() {
        let log = Arc::new(MemoryLog::new("topic", NonZeroU32::new(2).expect("two")));
        let (mut writer, overlay) = writer_on(Arc::clone(&log), Arc::default());
        apply(&writer, &overlay, 0, 1);
        assert_eq!(writer.step(7), WriterStep::Busy);
        assert_eq!(writer.step(8), WriterStep::Idle(Some(SYNC_INTERVAL_MS)));
        log.go_down("away");
        writer.inbox.rebuild(Partition(0), FoldId(0), "it diverged".into());
        assert_eq!(writer.step(9), WriterStep::Busy);
        assert_eq!(writer.step(10), WriterStep::Idle(Some(9 + RETRY_MS)));
        log.come_up();
        assert_eq!(writer.step(9 + RETRY_MS), WriterStep::Busy);
        let counts = |number| {
            let board = writer.board.partition(Partition(number)).expect("there are two");
            board.counts(FoldId(0))
        };
        assert_eq!([0, 1].map(counts), [false, true], "it alone began anew");
    }
}
