//! An engine in its parts, for whoever drives them: owners, writer, monitor, verifier and askers as state machines, and the handle.
//!
//! [`assemble`] is the one place where they are wired together. [`Engine`](crate::Engine) gives each a thread; a simulator
//! steps them one after the other, in any order, and decides what time it is and what names producer handles get. Nothing in
//! a step waits, sleeps, or asks for the time or for randomness by itself.

use crate::context::Context;
use crate::group_asker::{AskerStep, GroupAsker};
use crate::handle::EngineHandle;
use crate::limits::GROUP_ASKERS;
use crate::monitor::Monitor;
use crate::options::{EngineOptions, StartError};
use crate::overlay::Overlay;
use crate::owner::{Owner, OwnerStep};
use crate::owner_inbox::{Command, OwnerInbox, Restart, owner_of};
use crate::start::{self, Checked};
use crate::verifier::{Verifier, VerifierStep};
use crate::verifier_inbox::VerifierInbox;
use crate::writer::{Announce, Writer, WriterStep};
use crate::writer_inbox::WriterInbox;
use bkes_api::TopicId;
use bkes_core::machine::FoldId;
use bkes_core::sequence::NowMs;
use bkes_core::{Incarnation, Partition};
use bkes_log::{Log, Waiter, Waker, wake_pair};
use bkes_storage::Store;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What an engine takes from its surroundings.
#[derive(Clone)]
pub struct Surroundings {
    /// Milliseconds on a clock that never runs backwards and never says 0.
    pub clock: Arc<dyn Fn() -> NowMs + Send + Sync>,
    /// Draws the name of a new producer handle, which nobody had before.
    pub draw: Arc<dyn Fn() -> Incarnation + Send + Sync>,
}

/// An engine that nobody drives yet.
pub struct Parts {
    /// The way in.
    pub handle: EngineHandle,
    /// Each applies and sends for its group of partitions.
    pub owners: Vec<OwnerPart>,
    /// Writes the store.
    pub writer: WriterPart,
    /// Looks at the log.
    pub monitor: MonitorPart,
    /// Asks the log before something is denied.
    pub verifier: VerifierPart,
    /// Each asks consumer groups what they have committed.
    pub askers: Vec<AskerPart>,
}

/// What a part wants after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There may be more to do at once.
    Busy,
    /// Nothing until it is woken, or until then.
    Idle(Option<NowMs>),
    /// It has ended.
    Stopped,
}

/// An owner and the place where it waits.
pub struct OwnerPart {
    owner: Owner,
    waiter: Waiter,
}

/// The writer and the place where it waits.
pub struct WriterPart {
    writer: Writer,
    inbox: WriterInbox,
}

/// The monitor and the place where it waits.
pub struct MonitorPart {
    monitor: Monitor,
    waiter: Waiter,
    clock: Arc<dyn Fn() -> NowMs + Send + Sync>,
}

/// The verifier and the place where it waits.
pub struct VerifierPart {
    verifier: Verifier,
    waiter: Waiter,
}

/// An asker and the place where it waits.
pub struct AskerPart {
    asker: GroupAsker,
    waiter: Waiter,
    clock: Arc<dyn Fn() -> NowMs + Send + Sync>,
}

struct ToOwners(Arc<Vec<OwnerInbox>>);

impl Announce for ToOwners {
    fn room(&self) {
        self.0.iter().for_each(OwnerInbox::wake);
    }

    fn restart(&self, restart: Restart) {
        for owner in self.0.iter() {
            // An owner that has ended has nothing to begin anew.
            let _ = owner.send(Command::Restart(restart.clone()));
        }
    }

    fn dropped(&self, partition: Partition, fold: FoldId) {
        let owner = &self.0[owner_of(partition, &self.0)];
        let _ = owner.send(Command::Dropped { partition, fold });
    }
}

/// Checks that `log` and `store` belong together and wires an engine. Blocks while the log answers and the store is loaded.
pub fn assemble(
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    options: EngineOptions,
    surroundings: Surroundings,
) -> Result<Parts, StartError> {
    let Checked { board, loaded, topic, identity } = start::check(&*log, &*store, &options)?;
    let count = options.threads.clamp(1, board.partitions().len());
    let (owners, waiters): (Vec<OwnerInbox>, Vec<Waiter>) = (0..count)
        .map(|_| {
            let (waker, waiter) = wake_pair();
            (OwnerInbox::new(waker), waiter)
        })
        .unzip();
    let (look, look_waiter) = wake_pair();
    let (verify, verify_waiter) = wake_pair();
    let (askers, asker_waiters): (Vec<Waker>, Vec<Waiter>) = (0..GROUP_ASKERS).map(|_| wake_pair()).unzip();
    let Surroundings { clock, draw } = surroundings;
    let context = Context {
        log,
        store,
        board: Arc::new(board),
        overlay: Arc::new(Overlay::new(count)),
        in_flight: Arc::default(),
        awaited: Arc::default(),
        positions: Arc::default(),
        askers: Arc::new(askers),
        feed: Arc::default(),
        writer: WriterInbox::default(),
        options,
        topic_id: TopicId::new(&topic.topic_id),
        topic,
        owners: Arc::new(owners),
        draw,
        look,
        verifier: VerifierInbox::new(verify),
    };
    let announce = Box::new(ToOwners(Arc::clone(&context.owners)));
    let writer = Writer::new(&context, announce, identity).resumed_at(&loaded.checkpoints);
    let mut owners = Vec::with_capacity(count);
    for (index, waiter) in waiters.into_iter().enumerate() {
        owners.push(OwnerPart { owner: Owner::new(context.clone(), index, &loaded)?, waiter });
    }
    let (monitor, verifier) = (Monitor::new(&context), Verifier::new(&context));
    let asker = |waiter| AskerPart { asker: GroupAsker::new(&context), waiter, clock: Arc::clone(&clock) };
    let askers = asker_waiters.into_iter().map(asker).collect();
    Ok(Parts {
        owners,
        writer: WriterPart { writer, inbox: context.writer.clone() },
        monitor: MonitorPart { monitor, waiter: look_waiter, clock: Arc::clone(&clock) },
        verifier: VerifierPart { verifier, waiter: verify_waiter },
        askers,
        handle: EngineHandle::new(context, clock),
    })
}

/// Begins a graceful stop: what is new or waits is refused, what was sent is awaited until `deadline`. The owners are
/// stepped until they have stopped; [`end_writer`] comes after that.
pub fn begin_stop(handle: &EngineHandle, deadline: NowMs) {
    let context = handle.context();
    context.board.stopping.store(true, Ordering::Release);
    for owner in context.owners.iter() {
        // One that has ended already stands still.
        let _ = owner.send(Command::Stop { deadline });
    }
    context.verifier.wake();
    context.positions.close();
    context.askers.iter().for_each(Waker::wake);
    context.feed.wake();
}

/// Lets the writer end once everything pushed is committed. The store is closed after that.
pub fn end_writer(handle: &EngineHandle) {
    handle.context().writer.stop();
}

impl OwnerPart {
    /// Does everything there is to do at `now`, a bounded amount.
    pub fn step(&mut self, now: NowMs) -> Step {
        match self.owner.step(now) {
            OwnerStep::Busy | OwnerStep::Pause => Step::Busy,
            OwnerStep::Idle(until) => Step::Idle(until),
            OwnerStep::Stopped => Step::Stopped,
        }
    }

    /// Whether it was woken since the last look.
    pub fn take_wake(&mut self) -> bool {
        self.waiter.take()
    }

    /// The owner, and the place where its thread waits.
    pub(crate) fn split(self) -> (Owner, Waiter) {
        (self.owner, self.waiter)
    }
}

impl WriterPart {
    /// Does what is due at `now`.
    pub fn step(&mut self, now: NowMs) -> Step {
        match self.writer.step(now) {
            WriterStep::Busy => Step::Busy,
            WriterStep::Idle(until) => Step::Idle(until),
            WriterStep::Stopped => Step::Stopped,
        }
    }

    /// Sleeps until there is work, or for `timeout`; says whether there is.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        self.inbox.wait(timeout)
    }

    /// Sleeps for `time`, or until what there is is worth a commit.
    pub(crate) fn gather(&self, time: Duration) {
        self.inbox.gather(time);
    }
}

impl VerifierPart {
    /// Asks what is to be asked, and answers those whose time is over at `now`.
    pub fn step(&mut self, now: NowMs) -> Step {
        match self.verifier.step(now) {
            VerifierStep::Busy => Step::Busy,
            VerifierStep::Idle(until) => Step::Idle(until),
            VerifierStep::Stopped => Step::Stopped,
        }
    }

    /// Whether it was woken since the last look.
    pub fn take_wake(&mut self) -> bool {
        self.waiter.take()
    }

    /// Sleeps until woken, or at most `timeout`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) {
        self.waiter.wait(timeout);
    }
}

impl AskerPart {
    /// Asks a group, if one is due.
    pub fn step(&mut self) -> Step {
        match self.asker.step(&*self.clock) {
            AskerStep::Busy => Step::Busy,
            AskerStep::Idle(until) => Step::Idle(until),
            AskerStep::Stopped => Step::Stopped,
        }
    }

    /// Sleeps until woken, or at most until then.
    pub(crate) fn wait(&mut self, until: Option<NowMs>) {
        let rest_ms = |until: NowMs| until.saturating_sub((self.clock)()).max(1);
        let timeout = until.map(|until| Duration::from_millis(rest_ms(until)));
        self.waiter.wait(timeout);
    }
}

impl MonitorPart {
    /// Looks at the log once.
    pub fn step(&mut self) {
        self.monitor.step(&*self.clock);
    }

    /// Whether the engine stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.monitor.is_stopping()
    }

    /// Whether somebody asked for a look since the last look.
    pub fn take_wake(&mut self) -> bool {
        self.waiter.take()
    }

    /// Sleeps until woken, or at most `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) {
        self.waiter.wait(Some(timeout));
    }
}
