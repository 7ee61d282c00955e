//! The engine's face.

use crate::api::{AppendError, AppendRequest, Appended, Events, ReadError, ReadRequest, Status, Unready};
use crate::limits::{
    COMMIT_GATHER, LOOK_INTERVAL, LOOK_REST_FACTOR, MARKER_BYTES_MAX, READ_INLINE_EVENTS, SYNC_INTERVAL_MS,
};
use crate::monitor::Monitor;
use crate::overlay::Overlay;
use crate::owner::{Command, Context, Owner, OwnerInbox, OwnerStep, Place, Waiting, refuse_command};
use crate::read::View;
use crate::start::{self, Checked};
use crate::writer::{Announce, Writer, WriterInbox, WriterStep};
use bkes_core::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use bkes_core::sequence::NowMs;
use bkes_core::{Incarnation, Partition, Partitioner, Position};
use bkes_log::{Log, LogError, Waiter, wake_pair};
use bkes_storage::{Loaded, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Settings of an engine. `Default` gives what most want.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Owner threads, each for a group of partitions.
    pub threads: usize,
    /// How new keys are placed; `None` decides from the topic (`auto`).
    pub partitioner: Option<Partitioner>,
    /// Ready means lagging less than this.
    pub ready_lag: Duration,
    /// Most appends waiting or in flight per owner; more are refused as overloaded.
    pub appends_max: usize,
    /// Most bytes of applied events that the store has not committed yet; tailing pauses above it.
    pub overlay_bytes_max: usize,
    /// Appends to cut partitions are allowed.
    pub allow_cut: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            threads: 1,
            partitioner: None,
            ready_lag: Duration::from_secs(10),
            appends_max: 10_000,
            overlay_bytes_max: 32 * 1024 * 1024,
            allow_cut: false,
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
    threads: Vec<JoinHandle<()>>,
    writer_thread: Option<JoinHandle<()>>,
}

/// The way into a running engine: cheap to clone, from any task.
#[derive(Clone)]
pub struct EngineHandle(Arc<Inner>);

struct Inner {
    context: Context,
    clock: Clock,
    admitted: Arc<AtomicUsize>,
    monitor_stop: AtomicBool,
}

/// Milliseconds since the engine started.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(&self) -> NowMs {
        // Begins at 1, so that 0 can mean "never" on the board.
        self.0.elapsed().as_millis() as NowMs + 1
    }
}

struct ToOwners(Arc<Vec<OwnerInbox>>);

impl Announce for ToOwners {
    fn committed(&self) {
        self.0.iter().for_each(OwnerInbox::wake);
    }

    fn restart(&self, loaded: Arc<Loaded>, epoch: u64) {
        for owner in self.0.iter() {
            // An owner that has ended has nothing to begin anew.
            let _ = owner.send(Command::Restart { loaded: Arc::clone(&loaded), epoch });
        }
    }
}

impl Engine {
    /// Starts on `log` and `store`: checks that they belong together, then catches up in the background.
    ///
    /// Blocks while the log answers (bounded by the log's own time limits) and the store is loaded.
    pub fn start(
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        options: EngineOptions,
    ) -> Result<Engine, StartError> {
        let Checked { board, loaded, topic, identity } = start::check(&*log, &*store, &options)?;
        let count = options.threads.clamp(1, board.partitions().len());
        let (owners, waiters): (Vec<OwnerInbox>, Vec<Waiter>) = (0..count)
            .map(|_| {
                let (waker, waiter) = wake_pair();
                (OwnerInbox::new(waker), waiter)
            })
            .unzip();
        let (look, look_waiter) = wake_pair();
        let context = Context {
            log,
            store,
            board: Arc::new(board),
            overlay: Arc::new(Overlay::new()),
            writer: WriterInbox::default(),
            options,
            topic: topic.clone(),
            owners: Arc::new(owners),
            draw: Arc::new(draw_incarnation),
            look,
        };
        let clock = Clock(Instant::now());
        let monitor_stop = AtomicBool::new(false);
        let inner = Inner { context: context.clone(), clock, admitted: Arc::default(), monitor_stop };
        let handle = EngineHandle(Arc::new(inner));
        let mut engine = Engine { handle, threads: Vec::new(), writer_thread: None };
        let announce = Box::new(ToOwners(Arc::clone(&context.owners)));
        let writer = Writer::new(
            Arc::clone(&context.store),
            Arc::clone(&context.board),
            Arc::clone(&context.overlay),
            context.writer.clone(),
            announce,
            (Arc::clone(&context.log), topic.clone()),
            identity,
        );
        for (index, waiter) in waiters.into_iter().enumerate() {
            let owner = Owner::new(context.clone(), index, &loaded)?;
            engine
                .threads
                .push(engine.spawn(&format!("bkes-owner-{index}"), move || run_owner(owner, waiter, clock))?);
        }
        let inbox = context.writer.clone();
        engine.writer_thread = Some(engine.spawn("bkes-writer", move || run_writer(writer, &inbox, clock))?);
        let monitor = Monitor::new(
            Arc::clone(&context.log),
            Arc::clone(&context.board),
            Arc::clone(&context.owners),
            context.writer.clone(),
            topic,
        );
        let handle = engine.handle.clone();
        engine
            .threads
            .push(engine.spawn("bkes-monitor", move || run_monitor(monitor, look_waiter, &handle))?);
        Ok(engine)
    }

    /// The way in.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Stops gracefully: new and waiting appends are refused, sent ones awaited for at most `grace`, everything applied is
    /// committed, the store closed. Blocks. The log is let go when the last [`EngineHandle`] is dropped too.
    pub fn stop(mut self, grace: Duration) -> Result<(), StoreError> {
        self.halt(grace);
        self.handle.0.context.store.close()
    }

    fn halt(&mut self, grace: Duration) {
        let inner = &self.handle.0;
        inner.context.board.stopping.store(true, Ordering::Release);
        let deadline = inner.clock.now() + grace.as_millis() as NowMs;
        for owner in inner.context.owners.iter() {
            // One that has ended already stands still.
            let _ = owner.send(Command::Stop { deadline });
        }
        inner.monitor_stop.store(true, Ordering::Release);
        inner.context.look.wake();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        inner.context.writer.stop();
        if let Some(writer) = self.writer_thread.take() {
            drop(writer.join());
        }
    }

    /// Starts a thread whose panic is seen: every partition is degraded, nothing goes on in silence.
    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
        let board = Arc::clone(&self.handle.0.context.board);
        let thread_name = name.to_owned();
        let watched = move || {
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                let said = panic.downcast_ref::<&str>().map(ToString::to_string);
                let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                for partition in board.partitions().iter() {
                    partition.degrade(format!("thread {thread_name} panicked, restart the service: {said}"));
                }
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(watched).map_err(StartError::Thread)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.writer_thread.is_some() {
            self.halt(Duration::ZERO);
        }
    }
}

fn run_owner(mut owner: Owner, mut waiter: Waiter, clock: Clock) {
    loop {
        match owner.step(clock.now()) {
            OwnerStep::Busy => {}
            OwnerStep::Idle(until) => {
                let timeout =
                    until.map(|until| Duration::from_millis(until.saturating_sub(clock.now()).max(1)));
                waiter.wait(timeout);
            }
            OwnerStep::Stopped => return,
        }
    }
}

fn run_writer(mut writer: Writer, inbox: &WriterInbox, clock: Clock) {
    loop {
        match writer.step(clock.now()) {
            WriterStep::Busy => {}
            WriterStep::Idle => inbox.wait(Duration::from_millis(SYNC_INTERVAL_MS), COMMIT_GATHER),
            WriterStep::Stopped => return,
        }
    }
}

fn run_monitor(mut monitor: Monitor, mut waiter: Waiter, handle: &EngineHandle) {
    let inner = &handle.0;
    while !inner.monitor_stop.load(Ordering::Acquire) {
        let began = Instant::now();
        monitor.step(&|| inner.clock.now());
        let rest = (began.elapsed() * LOOK_REST_FACTOR).max(LOOK_INTERVAL);
        waiter.wait(Some(rest));
        // Doubts need a look that begins after them, not a storm of looks.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A name that no other producer handle has: from the system's random source.
fn draw_incarnation() -> Incarnation {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    Incarnation(u64::from_le_bytes(bytes))
}

impl EngineHandle {
    /// Appends and waits until the log has decided. Dropping the future before the append was sent withdraws it; a sent one
    /// runs to its end.
    pub async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.check_size(&request)?;
        let Inner { context, admitted, .. } = &*self.0;
        if context.board.stopping.load(Ordering::Acquire) {
            return Err(AppendError::Unavailable(Unready::ShuttingDown));
        }
        let limit = context.options.appends_max;
        let place = Place(Arc::clone(admitted));
        if admitted.fetch_add(1, Ordering::AcqRel) >= limit {
            let unready = Unready::Overloaded { queue: "the append queue", limit: limit as u64 };
            return Err(AppendError::Unavailable(unready));
        }
        let placing = context.board.placing();
        let hashed =
            placing.partitioner.map_or(Partition(0), |p| p.place(request.key.as_ref(), placing.partitions));
        let owner = &context.owners[hashed.0 as usize % context.owners.len()];
        let (to, answer) = oneshot::channel();
        if let Err(command) = owner.send(Command::Append(Waiting { request, to, place })) {
            refuse_command(command);
        }
        answer.await.unwrap_or_else(|_| {
            let detail = "the engine stopped before the append was decided".into();
            Err(AppendError::Unknown { detail })
        })
    }

    /// Reads events. Short reads run on the spot, long ones off the executor.
    pub async fn read(&self, request: ReadRequest) -> Result<Events, ReadError> {
        let context = &self.0.context;
        let located = self.watch(self.view().locate(&request.key))?;
        let pending = if request.include_pending { self.pending(&request).await } else { Vec::new() };
        let wanted = located.events().saturating_sub(request.from.0).min(request.events_max as u64);
        let events = if wanted <= READ_INLINE_EVENTS {
            self.watch(self.view().read(&request, located))
        } else {
            let context = context.clone();
            let reading = tokio::task::spawn_blocking(move || {
                let view = View { board: &context.board, overlay: &context.overlay, store: &*context.store };
                view.read(&request, located)
            });
            let failed = |error: tokio::task::JoinError| ReadError::Store { detail: error.to_string() };
            self.watch(reading.await.map_err(failed).and_then(|read| read))
        }?;
        let pending = if events.more { Vec::new() } else { pending };
        Ok(Events { pending, ..events })
    }

    /// The status as of now; cheap enough to ask every second.
    pub fn status(&self) -> Status {
        let Inner { context, clock, .. } = &*self.0;
        let board = &context.board;
        let ready_lag_ms = context.options.ready_lag.as_millis() as u64;
        let now = clock.now();
        let epoch = board.epoch.load(Ordering::Acquire);
        let partitions = board.partitions().iter().map(|p| p.status(epoch, ready_lag_ms, now)).collect();
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
        context.board.unready(context.options.ready_lag.as_millis() as u64, clock.now()).is_none()
    }

    /// Waits until [`is_ready`](Self::is_ready).
    pub async fn ready(&self) {
        while !self.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn view(&self) -> View<'_> {
        let context = &self.0.context;
        View { board: &context.board, overlay: &context.overlay, store: &*context.store }
    }

    async fn pending(&self, request: &ReadRequest) -> Vec<bytes::Bytes> {
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

    fn check_size(&self, request: &AppendRequest) -> Result<(), AppendError> {
        let count = request.values.len();
        let count_max = BATCH_EVENTS_MAX as usize;
        if count == 0 || count > count_max {
            return Err(AppendError::BadCount { count, count_max });
        }
        let bytes_max = self.0.context.log.record_bytes_max();
        let of = |value: &bytes::Bytes| (value.len() + request.key.bytes().len()) as u64;
        let largest = request.values.iter().map(of).max().unwrap_or(0) + MARKER_BYTES_MAX;
        if largest > bytes_max {
            return Err(AppendError::TooLarge { bytes: largest, bytes_max });
        }
        let whole: u64 = request.values.iter().map(of).sum();
        if count > 1 && whole > BATCH_BYTES_MAX as u64 {
            return Err(AppendError::TooLarge { bytes: whole, bytes_max: BATCH_BYTES_MAX as u64 });
        }
        Ok(())
    }
}
