//! The engine's face.

use crate::api::{
    AppendError, AppendRequest, Appended, Events, ReadError, ReadRequest, Status, Unit, Unready,
};
use crate::limits::{
    MARKER_BYTES_MIN, PLACING_REST, READ_BYTES_ASSUMED, READ_EVENT_BYTES, READ_INLINE_EVENTS,
    READING_BYTES_MAX, ROOM_WAIT, SPLIT_READS_MAX, UNASKED_MAX,
};
use crate::owner::{
    Admitted, Command, Context, OwnerInbox, Pending, Place, Refusal, Unverified, Waiting, owner_of,
    refuse_command,
};
use crate::parts::{self, OwnerPart, Parts, Surroundings};
use crate::read::View;
use crate::shared::SharedOwner;
use crate::threads::{Spawn, Starter, Thread, run_monitor, run_owner, run_verifier, run_writer};
use crate::verifier::Scope;
use bkes_core::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use bkes_core::planted::{Bug, planted};
use bkes_core::sequence::NowMs;
use bkes_core::{Incarnation, Partition, Partitioner, Position};
use bkes_log::{Log, LogError};
use bkes_storage::{Store, StoreError};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

/// Settings of an engine. `Default` gives what most want.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Owner threads, each for a group of partitions.
    pub threads: usize,
    /// How new keys are placed; `None` decides from the topic (`auto`).
    pub partitioner: Option<Partitioner>,
    /// No new keys are started, however they would be placed; existing ones are served.
    pub existing_only: bool,
    /// Ready means lagging less than this.
    pub ready_lag: Duration,
    /// Most appends waiting or in flight, over all keys; more are refused as overloaded.
    pub appends_max: usize,
    /// Most bytes of their keys and values; what would pass it is refused as overloaded. One that is larger is let in alone.
    pub append_bytes_max: usize,
    /// How long an append may wait for room, unless its caller gives it less time: in the overlay, and in the log's send queue.
    pub room_wait: Duration,
    /// Most bytes of applied events that the store has not committed yet; above it tailing pauses, and appends wait for room.
    pub overlay_bytes_max: usize,
    /// Appends to cut partitions are allowed.
    pub allow_cut: bool,
    /// Aggregates that are split over partitions are read in the order that the `order` headers of their records give, where that is
    /// one order, and are an error where it is not. Without it they are read partition by partition.
    pub split_by_order_headers: bool,
    /// Reading gathers from so many appends of an owner in half a second on, while nobody else writes: it costs broker and
    /// instance far less, and the first event of another writer after that is seen up to 20 ms later.
    pub gather_from: u32,
    /// Partitions are caught up one after another: the next one is begun when less than so many records are left of those before.
    /// The default is what one transaction of the store holds.
    pub catch_up_records: u64,
    /// How long new partitions of the topic rest, once they were seen and read, before keys are placed in them. Every other instance must
    /// have seen them by then.
    pub placing_rest: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            threads: 1,
            partitioner: None,
            existing_only: false,
            ready_lag: Duration::from_secs(10),
            appends_max: 10_000,
            append_bytes_max: 128 * 1024 * 1024,
            room_wait: ROOM_WAIT,
            overlay_bytes_max: 32 * 1024 * 1024,
            allow_cut: false,
            split_by_order_headers: false,
            gather_from: 50,
            catch_up_records: 40_000,
            placing_rest: PLACING_REST,
        }
    }
}

/// Why an engine does not start: each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log did not answer.
    #[error("the log does not answer: {0}")]
    Log(#[from] LogError),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The store belongs to another topic or cluster.
    #[error(
        "the data directory belongs to topic {stored}, not to {found}: use another directory, or remove it to rebuild"
    )]
    ForeignStore {
        /// The topic the store was built from.
        stored: String,
        /// The topic given.
        found: String,
    },
    /// The topic was deleted and created again.
    #[error(
        "topic {topic} was created again (topic id {stored} became {found}): remove the data directory to start from the new one"
    )]
    TopicRecreated {
        /// The topic.
        topic: String,
        /// The id in the store.
        stored: String,
        /// The id now.
        found: String,
    },
    /// The topic has fewer partitions than the store has seen.
    #[error(
        "the topic has {found} partitions, the store was built from {stored}: this is not the topic it belongs to"
    )]
    PartitionsGone {
        /// Partitions in the store.
        stored: u32,
        /// Partitions now.
        found: u32,
    },
    /// The log ends below what is applied: it was truncated or re-created.
    #[error(
        "partition {partition} ends at {high}, below the applied position {applied}: it was truncated or created again; \
         remove the data directory to rebuild from what the topic holds now"
    )]
    Truncated {
        /// The partition.
        partition: Partition,
        /// The next offset to apply.
        applied: Position,
        /// The high watermark.
        high: Position,
    },
    /// The log begins above what is applied: unread events were removed.
    #[error(
        "partition {partition} begins at {low}, above the applied position {applied}: retention removed events that were never \
         read; remove the data directory to rebuild from what is left, and set retention.ms=-1"
    )]
    Removed {
        /// The partition.
        partition: Partition,
        /// The next offset to apply.
        applied: Position,
        /// The low watermark.
        low: Position,
    },
    /// A flag contradicts what the store was built with.
    #[error(
        "this store places keys with {stored}, not with {asked}: new events of a key would go to another partition"
    )]
    PartitionerChanged {
        /// The one in use.
        stored: Partitioner,
        /// The one asked for.
        asked: Partitioner,
    },
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// A running engine; dropping it stops it without grace. [`EngineHandle`]s are what callers use.
pub struct Engine {
    handle: EngineHandle,
    owners: Vec<Thread>,
    /// The verifier and the monitor: they wait for answers of the log.
    asking: Vec<Thread>,
    writer: Option<Thread>,
}

/// The way into a running engine: cheap to clone, from any task.
#[derive(Clone)]
pub struct EngineHandle(Arc<Inner>);

struct Inner {
    context: Context,
    /// The owners, once threads step them.
    owners: OnceLock<Vec<Arc<SharedOwner>>>,
    clock: Clock,
    admitted: Arc<Admitted>,
    /// One permit for each long read of a split aggregate that may be put in order now.
    split_reads: Semaphore,
    /// Room for reads off the executor while they are made, in [`READING_UNIT_BYTES`].
    reading: Arc<Semaphore>,
}

type Clock = Arc<dyn Fn() -> NowMs + Send + Sync>;

impl Engine {
    /// Starts on `log` and `store`: checks that they belong together, then catches up in the background.
    ///
    /// Blocks while the log answers (bounded by the log's own time limits) and the store is loaded.
    pub fn start(
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        options: EngineOptions,
    ) -> Result<Engine, StartError> {
        let began = Instant::now();
        // Begins at 1, so that 0 can mean "never" on the board.
        let clock: Clock = Arc::new(move || began.elapsed().as_millis() as NowMs + 1);
        let surroundings = Surroundings { clock: Arc::clone(&clock), draw: Arc::new(draw_incarnation) };
        let parts = parts::assemble(log, store, options, surroundings)?;
        Engine::run(parts, clock, std::thread::Builder::spawn)
    }

    /// Gives each part a thread, which `spawn` starts. If one cannot be started, those before it end.
    fn run(parts: Parts, clock: Clock, spawn: impl Spawn) -> Result<Engine, StartError> {
        let Parts { handle, owners, writer, monitor, verifier } = parts;
        let mut threads = Starter { board: Arc::clone(&handle.0.context.board), spawn };
        let mut engine = Engine { handle, owners: Vec::new(), asking: Vec::new(), writer: None };
        let mut shared = Vec::with_capacity(owners.len());
        for (index, (owner, waiter)) in owners.into_iter().map(OwnerPart::share).enumerate() {
            let (owner, clock) = (Arc::new(owner), Arc::clone(&clock));
            shared.push(Arc::clone(&owner));
            let run = move || run_owner(&owner, waiter, &*clock);
            engine.owners.push(threads.start(format!("bkes-owner-{index}"), run)?);
        }
        let _ = engine.handle.0.owners.set(shared);
        let verifier_clock = Arc::clone(&clock);
        engine.writer = Some(threads.start("bkes-writer".into(), move || run_writer(writer, &*clock))?);
        let run = move || run_verifier(verifier, &*verifier_clock);
        engine.asking.push(threads.start("bkes-verifier".into(), run)?);
        engine.asking.push(threads.start("bkes-monitor".into(), move || run_monitor(monitor))?);
        Ok(engine)
    }

    /// The way in.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Stops gracefully: new and waiting appends are refused, sent ones awaited for at most `grace`, everything applied is
    /// committed, the store closed. Blocks. The log is let go when the last [`EngineHandle`] is dropped too, and the questions that it
    /// had not answered when `grace` was over have ended: nobody waits for those.
    pub fn stop(mut self, grace: Duration) -> Result<(), StoreError> {
        self.halt(grace);
        self.handle.0.context.store.close()
    }

    fn halt(&mut self, grace: Duration) {
        let inner = &self.handle.0;
        let until = Instant::now() + grace.max(UNASKED_MAX);
        parts::begin_stop(&self.handle, (inner.clock)() + grace.as_millis() as NowMs);
        inner.context.look.wake();
        self.owners.drain(..).for_each(Thread::join);
        for thread in self.asking.drain(..) {
            // What it may still do, when it has its answer, changes nothing: nobody listens.
            thread.join_until(until);
        }
        parts::end_writer(&self.handle);
        self.writer.take().into_iter().for_each(Thread::join);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.owners.is_empty() || self.writer.is_some() {
            self.halt(Duration::ZERO);
        }
    }
}

/// What room for reads is counted in.
const READING_UNIT_BYTES: usize = 1024;

/// What a read of so many events may hold at most, by what is known before it is made.
fn read_weight(events: u64, bytes_max: usize) -> usize {
    let bytes = if bytes_max == usize::MAX { READ_BYTES_ASSUMED } else { bytes_max };
    usize::try_from(events).unwrap_or(usize::MAX).saturating_mul(READ_EVENT_BYTES).saturating_add(bytes)
}

/// A name that no other producer handle has: from the system's random source.
fn draw_incarnation() -> Incarnation {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    Incarnation(u64::from_le_bytes(bytes))
}

impl EngineHandle {
    pub(crate) fn new(context: Context, clock: Clock) -> EngineHandle {
        let owners = OnceLock::new();
        EngineHandle(Arc::new(Inner {
            context,
            owners,
            clock,
            admitted: Arc::default(),
            reading: Arc::new(Semaphore::new(READING_BYTES_MAX / READING_UNIT_BYTES)),
            split_reads: Semaphore::new(SPLIT_READS_MAX),
        }))
    }

    pub(crate) fn context(&self) -> &Context {
        &self.0.context
    }

    /// Appends and waits until the log has decided. Dropping the future before the append was sent withdraws it; a sent one
    /// runs to its end.
    ///
    /// What does not fit now waits for room, in the order of arrival, for [`EngineOptions::room_wait`] at most; an append whose time is over before it
    /// was sent is never sent.
    ///
    /// That there is no such aggregate, or that the order asked for is above the next one, is said only of what the log holds: what
    /// another instance may have been told meanwhile is read first. An append that is refused for what was read before that is tried
    /// once more.
    pub async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.append_within(request, Duration::MAX).await
    }

    /// The same, for a caller that gives its append no more than this to wait for room.
    pub async fn append_within(
        &self,
        request: AppendRequest,
        wait: Duration,
    ) -> Result<Appended, AppendError> {
        let bytes = self.check_size(&request)?;
        let place = self.admit(bytes)?;
        let since = (self.0.clock)();
        let wait_ms = wait.min(self.0.context.options.room_wait).as_millis();
        let until = since.saturating_add(NowMs::try_from(wait_ms).unwrap_or(NowMs::MAX));
        let asking = Asking { request, place, since, until, is_verified: false };
        let (request, place, scope) = match self.push(asking).await {
            Ok(appended) => return Ok(appended),
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Unverified(unverified)) => {
                let Unverified { request, place, scope } = *unverified;
                (request, place, scope)
            }
        };
        self.verify(scope).await.map_err(AppendError::Unavailable)?;
        match self.push(Asking { request, place, since, until, is_verified: true }).await {
            Ok(appended) => Ok(appended),
            Err(Refusal::Final(error)) => Err(error),
            Err(Refusal::Unverified(_)) => unreachable!("what is verified is not asked again"),
        }
    }

    /// A place among the appends for one of so many bytes, kept to the end of it. One that is larger than all is let in alone.
    fn admit(&self, bytes: u64) -> Result<Place, AppendError> {
        let Inner { context, admitted, .. } = &*self.0;
        if context.board.stopping.load(Ordering::Acquire) {
            return Err(AppendError::Unavailable(Unready::ShuttingDown));
        }
        let (appends_max, bytes_max) = (context.options.appends_max, context.options.append_bytes_max as u64);
        let (place, before) = Place::take(admitted, bytes);
        let (limit, unit) = if before.appends >= appends_max {
            (appends_max as u64, Unit::Appends)
        } else if before.bytes > 0 && before.bytes + bytes > bytes_max {
            (bytes_max, Unit::Bytes)
        } else {
            return Ok(place);
        };
        Err(AppendError::Unavailable(Unready::Overloaded { queue: "the append queue", limit, unit }))
    }

    /// Gives an append to its owner and waits for the answer.
    async fn push(&self, asking: Asking) -> Result<Appended, Refusal> {
        let context = &self.0.context;
        let Asking { request, place, since, until, is_verified } = asking;
        let owner = owner_of(context.board.placing().guess(&request.key), &context.owners);
        let (to, answer) = oneshot::channel();
        let waiting = Waiting { request, to, place, is_verified, resent: 0, since, until };
        match context.owners[owner].push(Command::Append(waiting)) {
            Ok(()) => self.serve(owner),
            Err(command) => refuse_command(command, context.board.ended()),
        }
        let mut awaited = Awaited { answer, owners: &context.owners, is_over: false };
        let answer = (&mut awaited.answer).await;
        awaited.is_over = true;
        answer.unwrap_or_else(|_| {
            let detail = "the engine stopped before the append was decided".into();
            Err(Refusal::Final(AppendError::Unknown { detail }))
        })
    }

    /// Has everything in `scope` applied that the log holds now: after that, what is not there was not there when this began.
    async fn verify(&self, scope: Scope) -> Result<(), Unready> {
        let Inner { context, clock, .. } = &*self.0;
        if let Some(detail) = context.board.log_down() {
            return Err(Unready::Unverified { detail });
        }
        let answer = context.verifier.ask(scope, clock())?;
        answer.await.unwrap_or_else(|_| Err(context.board.ended()))
    }

    /// Has an owner take what was pushed: here, or by its thread.
    ///
    /// An append looks up its key in the store. Where the disk has readers wait, that is not for the threads of callers, which
    /// may be those of an executor.
    fn serve(&self, owner: usize) {
        let Inner { context, owners, clock, .. } = &*self.0;
        let is_quick = || !context.store.reads_may_wait();
        if !owners.get().is_some_and(|owners| is_quick() && owners[owner].try_accept(clock())) {
            context.owners[owner].wake();
        }
    }

    /// Reads events. That there is no such aggregate is said only after a look at the log that began after the call: another instance
    /// may have begun it. Short reads run on the spot; long ones, and all while the store's disk has readers wait, off the executor.
    pub async fn read(&self, request: ReadRequest) -> Result<Events, ReadError> {
        let at_once = !self.0.context.store.reads_may_wait();
        let key = request.key.clone();
        // Before the aggregate is located: whatever took the place of one of these is among its events then.
        let pending = if request.include_pending || planted(Bug::PendingShown) {
            self.pending(&request).await
        } else {
            Vec::new()
        };
        let located = match self.look(at_once, 0, move |view| view.locate(&key)).await {
            Err(ReadError::NoSuchAggregate { key }) if !planted(Bug::RefusedFromOwnState) => {
                self.verify(Scope::All).await.map_err(ReadError::Unavailable)?;
                self.look(at_once, 0, move |view| view.locate(&key)).await?
            }
            located => located?,
        };
        let pending = located.pending(pending);
        let (partition, next) = (Partition(0), located.events());
        let in_order = located.is_split() && self.0.context.options.split_by_order_headers;
        let there = located.events_from(request.from);
        // Of a split one the answer says more than that there are more.
        if request.whole && !located.is_split() && there > request.events_max as u64 {
            return Ok(located.more());
        }
        // To put a split aggregate in order all of it is looked at.
        let wanted = there.min(request.events_max as u64);
        let wanted = if in_order { located.events() } else { wanted };
        let turn = (in_order && wanted > READ_INLINE_EVENTS).then(|| self.0.split_reads.acquire());
        let _turn = match turn {
            // It is never closed.
            Some(turn) => turn.await.ok(),
            None => None,
        };
        let at_once = at_once && wanted <= READ_INLINE_EVENTS;
        let weight = read_weight(wanted, request.bytes_max);
        let events = self.look(at_once, weight, move |view| view.read(&request, located)).await?;
        let pending = if events.more { Vec::new() } else { pending };
        if planted(Bug::PendingShown) {
            return Ok(crate::read::with_pending(events, pending, partition, next));
        }
        Ok(Events { pending, ..events })
    }

    /// Looks into the store at once, or on a thread that may wait, if the caller has a runtime that keeps such threads. There it
    /// begins when there is room for what it may hold.
    async fn look<T: Send + 'static>(
        &self,
        at_once: bool,
        weight: usize,
        look: impl FnOnce(View<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let runtime = if at_once { None } else { Handle::try_current().ok() };
        let Some(runtime) = runtime else {
            return self.watch(look(self.view()));
        };
        let handle = self.clone();
        let units = (weight.min(READING_BYTES_MAX) / READING_UNIT_BYTES) as u32;
        let room = Arc::clone(&self.0.reading).acquire_many_owned(units).await;
        let looking = runtime.spawn_blocking(move || {
            // Kept here, since a caller that goes away does not end the read.
            let _room = room.expect("it is never closed");
            look(handle.view())
        });
        let failed = |error: tokio::task::JoinError| ReadError::Store { detail: error.to_string() };
        self.watch(looking.await.map_err(failed).and_then(|found| found))
    }

    /// The status as of now; cheap enough to ask every second.
    pub fn status(&self) -> Status {
        let Inner { context, clock, .. } = &*self.0;
        let board = &context.board;
        let ready_lag_ms = context.options.ready_lag.as_millis() as u64;
        let now = clock();
        let partitions = board.partitions().iter().map(|p| p.status(ready_lag_ms, now)).collect();
        let stats = context.store.stats();
        Status {
            unready: board.unready(ready_lag_ms, now),
            partitions,
            unknown: board.unknown.load(Ordering::Relaxed),
            conflicts: board.conflicts.load(Ordering::Relaxed),
            appended: board.appended.load(Ordering::Relaxed),
            keys: stats.keys,
            store_bytes: stats.file_bytes,
        }
    }

    /// Whether appends and reads are served: caught up once, and lagging less than [`EngineOptions::ready_lag`] now.
    pub fn is_ready(&self) -> bool {
        let Inner { context, clock, .. } = &*self.0;
        context.board.unready(context.options.ready_lag.as_millis() as u64, clock()).is_none()
    }

    /// Waits until [`is_ready`](Self::is_ready).
    pub async fn ready(&self) {
        while !self.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The largest record the log takes, in bytes: key, value and what is added to them. As far as is known now: where the log's limit is
    /// changed, it is another one some seconds later.
    pub fn record_bytes_max(&self) -> u64 {
        self.0.context.log.record_bytes_max()
    }

    /// The largest event, in bytes, that is worth being taken in: a larger one has no answer but that it is too large.
    pub fn topic_bytes_max(&self) -> u64 {
        self.0.context.log.topic_bytes_max()
    }

    fn view(&self) -> View<'_> {
        let context = &self.0.context;
        View {
            board: &context.board,
            overlay: &context.overlay,
            store: &*context.store,
            split_by_order_headers: context.options.split_by_order_headers,
        }
    }

    async fn pending(&self, request: &ReadRequest) -> Vec<Pending> {
        let mut pending = Vec::new();
        for owner in self.0.context.owners.iter() {
            let (reply, answer) = oneshot::channel();
            // An ended owner drops the question, which is an answer.
            let _ = owner.send(Command::Pending { key: request.key.clone(), reply });
            pending.extend(answer.await.unwrap_or_default());
        }
        pending
    }

    /// Damage that a read met has the store rebuilt, and a failure has it opened anew.
    fn watch<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        match &read {
            Err(ReadError::Damaged { detail, epoch }) => {
                self.0.context.writer.damaged(*epoch, detail.clone());
            }
            Err(ReadError::Store { detail }) => self.0.context.writer.unreadable(detail.clone()),
            _ => {}
        }
        read
    }

    /// The bytes of keys and values, if they may be.
    fn check_size(&self, request: &AppendRequest) -> Result<u64, AppendError> {
        let count = request.values.len();
        let count_max = BATCH_EVENTS_MAX as usize;
        if count == 0 || count > count_max {
            return Err(AppendError::BadCount { count, count_max });
        }
        let bytes_max = self.0.context.log.record_bytes_max();
        let of = |value: &bytes::Bytes| (value.len() + request.key.bytes().len()) as u64;
        // To the byte it is known when it is numbered.
        let largest = request.values.iter().map(of).max().unwrap_or(0) + MARKER_BYTES_MIN;
        if largest > bytes_max {
            return Err(AppendError::TooLarge { bytes: largest, bytes_max });
        }
        let whole: u64 = request.values.iter().map(of).sum();
        if count > 1 && whole > BATCH_BYTES_MAX as u64 {
            return Err(AppendError::TooLarge { bytes: whole, bytes_max: BATCH_BYTES_MAX as u64 });
        }
        Ok(whole)
    }
}

/// An append on its way to its owner.
struct Asking {
    request: AppendRequest,
    place: Place,
    since: NowMs,
    until: NowMs,
    is_verified: bool,
}

/// An answer that is waited for. Whoever goes away before it is there withdraws what was not sent.
struct Awaited<'a> {
    answer: oneshot::Receiver<Result<Appended, Refusal>>,
    owners: &'a [OwnerInbox],
    is_over: bool,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.answer.close();
            // It may have been handed on to another owner.
            self.owners.iter().for_each(OwnerInbox::withdraw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_log::memory::MemoryLog;
    use bkes_storage::MemoryStore;
    use std::num::NonZeroU32;
    use std::thread::Builder;

    /// The threads that had been started before went on for ever, with the log and the store in their hands.
    #[test]
    fn where_a_thread_cannot_be_started_those_before_it_end() {
        let began = Instant::now();
        let clock: Clock = Arc::new(move || began.elapsed().as_millis() as NowMs + 1);
        let options = EngineOptions { threads: 2, ..EngineOptions::default() };
        let mut started_most = 0;
        for failing in 0..=5 {
            let log: Arc<dyn Log> = Arc::new(MemoryLog::new("topic", NonZeroU32::new(2).expect("not zero")));
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let surroundings = Surroundings { clock: Arc::clone(&clock), draw: Arc::new(draw_incarnation) };
            let parts = parts::assemble(Arc::clone(&log), Arc::clone(&store), options.clone(), surroundings)
                .expect("they belong together");
            let mut started = 0;
            let spawn = |builder: Builder, run: Box<dyn FnOnce() + Send>| {
                if started == failing {
                    return Err(std::io::ErrorKind::WouldBlock.into());
                }
                started += 1;
                builder.spawn(run)
            };
            let engine = Engine::run(parts, Arc::clone(&clock), spawn);
            assert_eq!(engine.is_err(), failing < 5, "there are five threads");
            if let Ok(engine) = engine {
                engine.stop(Duration::ZERO).expect("it closes");
            }
            started_most = started_most.max(started);
            assert_eq!((Arc::strong_count(&log), Arc::strong_count(&store)), (1, 1), "thread {failing}");
        }
        assert_eq!(started_most, 5);
    }
}
