//! An owner: the one that applies records and sends appends of its group of partitions.
//!
//! `step` takes what arrived (appends, reports, records, looks at the log), runs the accept rule and the sequencers, answers,
//! and hands what was applied to the store writer. It waits in one place only, between steps; threads and the simulator
//! drive it alike. It reads counts from the store (a look-up that its cache nearly always answers) and never writes it.
//!
//! Invariants: every record of a partition goes through `apply` once per fold, in offset order; an answer goes out only after
//! the overlay has the event; nothing is sent for a partition that is not caught up, is degraded, or cannot be decided.

mod append;
mod beginning;
mod counting;
mod fingerprint;
mod gather;
mod inbox;
mod pacing;
mod premises;
mod readback;
mod room;
mod tail;
mod turns;

pub use self::beginning::Restart;
use self::counting::Strangers;
use self::gather::Gathered;
pub use self::inbox::{
    Admitted, OwnerInbox, Place, Refusal, ReplySender, Unverified, Waiting, refuse_command,
};
use self::pacing::Pacing;
use self::premises::Premises;
pub use self::readback::Divergence;
use self::readback::Readback;
use self::room::{Held, Load};
use self::turns::Turns;
use crate::api::{AppendError, Appended, Unready};
use crate::board::{Board, PartitionBoard};
use crate::degraded::Degradation;
use crate::in_flight::InFlight;
use crate::limits::{COMMIT_BYTES_MAX, PAUSE_ANSWERS, POLL_RECORDS_MAX, RETRY_MS};
use crate::overlay::Overlay;
use crate::verifier::VerifierInbox;
use crate::writer::{Shown, WriterInbox};
use bkes_core::evidence::{PlacedKey, keys_of_a_partition_max};
use bkes_core::planted::{Bug, planted};
use bkes_core::sequence::{NowMs, Said, Sequencer, Settled};
use bkes_core::{AcceptRule, Incarnation, Key, Marker, Order, Partition, Position};
use bkes_log::{AppenderState, Log, LogAppender, LogReader, ReadEvent, Report, Token, Waker, Watermarks};
use bkes_storage::{Checkpoint, Head, Loaded, Store};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// An append that was sent and is not decided.
pub struct Pending {
    pub partition: Partition,
    /// The order its first event takes if it is accepted.
    pub first: Order,
    pub values: Vec<Bytes>,
}

/// A look at a partition of the log.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub partition: Partition,
    pub marks: Watermarks,
    /// When the question was asked.
    pub asked: NowMs,
    /// What was applied when it was asked, and the epoch of the fold that applied it: the log cannot end below it.
    pub applied_before: Option<(u64, Position)>,
}

/// What an owner is told.
pub enum Command {
    Append(Waiting),
    /// The monitor looked.
    Marks(Look),
    /// A new partition.
    Add {
        board: Arc<PartitionBoard>,
    },
    /// Every fold begins anew.
    Restart(Restart),
    /// The fold of one partition begins anew, at the beginning of the log.
    Dropped {
        partition: Partition,
        /// In this epoch of the partition.
        epoch: u64,
        shown: Shown,
    },
    /// What is in flight for a key.
    Pending {
        key: Key,
        reply: oneshot::Sender<Vec<Pending>>,
    },
    /// Stop; what is in flight is awaited until then.
    Stop {
        deadline: NowMs,
    },
}

/// Which owner has a partition.
pub fn owner_of(partition: Partition, owners: &[OwnerInbox]) -> usize {
    partition.0 as usize % owners.len()
}

/// What all owners of an engine share.
#[derive(Clone)]
pub struct Context {
    pub log: Arc<dyn Log>,
    pub store: Arc<dyn Store>,
    pub board: Arc<Board>,
    pub overlay: Arc<Overlay>,
    pub in_flight: Arc<InFlight>,
    pub writer: WriterInbox,
    pub options: crate::EngineOptions,
    pub topic: bkes_log::LogIdentity,
    /// Every owner's inbox, as [`owner_of`] numbers them.
    pub owners: Arc<Vec<OwnerInbox>>,
    /// Draws the name of a new producer handle.
    pub draw: Arc<dyn Fn() -> Incarnation + Send + Sync>,
    /// Asks the monitor to look now.
    pub look: Waker,
    /// Has refusals verified.
    pub verifier: VerifierInbox,
}

/// A partition in its owner's hands.
struct Owned {
    board: Arc<PartitionBoard>,
    /// Of this fold, as the partition's board counts them.
    epoch: u64,
    rule: AcceptRule,
    sequencer: Sequencer<Waiting, Waiting>,
    checkpoint: Checkpoint,
    /// What was applied and not read.
    readback: Readback,
    /// What records above the next order say of this fold.
    premises: Premises,
    /// Records that were sent and not reported on.
    unreported: usize,
    /// Reading ended for good until a look says otherwise that was asked for after this.
    lost: Option<Lost>,
    /// Where the log ended at some moment, if that is before a record that reading had met.
    lost_end: Option<Position>,
    /// Its turn to be read has not come yet; what the reader may still give of it is from an earlier fold.
    waits: bool,
    /// The record that reading has to come past before the partition is served, as the board says it.
    stopped_at: Option<Position>,
    strangers: Strangers,
    dirty: bool,
    /// How many of its keys may still be taken as evidence.
    evidence_left: usize,
}

/// Where reading ended, and when.
#[derive(Clone, Copy, Debug)]
struct Lost {
    position: Position,
    since: NowMs,
}

impl Owned {
    /// Whether another fold counts by now: what the store says of the partition is not about this one any more.
    fn is_overtaken(&self) -> bool {
        self.board.epoch() != self.epoch
    }

    /// Whether this fold was applied up to its target.
    fn is_caught_up(&self) -> bool {
        self.board.is_caught_up_in(self.epoch)
    }

    /// Lets the partition be served if this fold is applied up to its target, of a log that is the one it began with.
    fn note_caught_up(&self) {
        if self.readback.is_compared() {
            self.board.note_caught_up(self.epoch);
        }
    }

    /// Where reading begins, so that everything that was applied and not read is met.
    ///
    /// The position goes back to the last record that was applied. What followed it held nothing, unless the log lost its end
    /// since and grew again: then there are records now, and they are the next ones.
    fn reading_start(&mut self) -> Position {
        let low = Position(self.board.low.load(Ordering::Acquire));
        let checkpoint = &mut self.checkpoint;
        let start = last_applied(checkpoint, low);
        self.dirty |= start != checkpoint.position;
        checkpoint.position = start;
        self.readback.begin(checkpoint.fold_start, checkpoint.position, low)
    }
}

/// Behind the last record that was applied, as far as the log still holds it.
fn last_applied(checkpoint: &Checkpoint, low: Position) -> Position {
    checkpoint.behind_last().max(low).min(checkpoint.position)
}

/// A record on its way to the log, kept to be applied when its place is known.
struct Sent {
    partition: Partition,
    marker: Marker,
    key: Key,
    value: Bytes,
    /// Of the record as it was sent, with its headers.
    crc32c: u32,
    /// Where its aggregate stood when it was sent, and how often the overlay had dropped something before that was looked up.
    head: Option<Head>,
    cleared: u64,
}

/// One owner's state.
pub struct Owner {
    context: Context,
    index: usize,
    inbox: OwnerInbox,
    commands: Vec<Command>,
    reader: Box<dyn LogReader>,
    appender: Option<Box<dyn LogAppender>>,
    incarnation: Incarnation,
    appender_retry_at: NowMs,
    partitions: BTreeMap<Partition, Owned>,
    sent: HashMap<Token, Sent>,
    /// Bytes of what was sent and not reported on, keys and values.
    sent_bytes: u64,
    /// Appends that wait for room.
    held: Held,
    /// What is gathered.
    gathered_load: Load,
    /// Appends that are not sent yet, by the partition their key hashes to.
    gathered: BTreeMap<Partition, Gathered>,
    next_token: Token,
    turns: Turns,
    pacing: Pacing,
    /// The keys of this step that may tell how the topic's writers place them.
    evidence: Vec<PlacedKey>,
    /// Reading rests until then, after the store could not be asked.
    read_retry_at: NowMs,
    /// In which all folds began that did not begin by themselves.
    epoch: u64,
    /// Whether something was added to the overlay in this step.
    in_step: bool,
    /// Room for what ends; empty between uses.
    ended: Ended,
    /// Appends of which sending stopped half-way, to be settled; empty between uses.
    cut_short: Ended,
    /// Answers to appends that were sent and decided, not given yet.
    answers: Vec<(ReplySender, Result<Appended, Refusal>)>,
    /// They were many: what is due is sent at the beginning of the next step.
    pauses: bool,
    events: Vec<ReadEvent>,
    reports: Vec<Report>,
    stopping: Option<NowMs>,
}

/// What an owner wants after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnerStep {
    /// There may be more to do at once.
    Busy,
    /// The same, but better in a moment: many were answered and may ask again, and go to the log together then.
    Pause,
    /// Nothing until woken, or until then.
    Idle(Option<NowMs>),
    /// It stopped: nothing is in flight.
    Stopped,
}

/// What is left after appends were taken on a caller's thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// Nothing until then.
    All(Option<NowMs>),
    /// Something for the owner's own step.
    Left,
}

type Ended = Vec<(Settled<Waiting>, VecDeque<Waiting>)>;

impl Owner {
    /// An owner of the partitions at `index` modulo the number of owners, resuming at what `loaded` holds.
    pub fn new(context: Context, index: usize, loaded: &Loaded) -> Result<Owner, bkes_log::LogError> {
        let inbox = context.owners[index].clone();
        let reader = context.log.reader(inbox.waker().lazy())?;
        let appender = context.log.appender(inbox.waker())?;
        let reused = Incarnation(index as u64);
        let incarnation = if planted(Bug::IncarnationReused) { reused } else { (context.draw)() };
        let gather_from = context.options.gather_from;
        let boards: Vec<Arc<PartitionBoard>> = context.board.partitions().clone();
        let mut owner = Owner {
            context,
            index,
            inbox,
            commands: Vec::new(),
            reader,
            appender: Some(appender),
            incarnation,
            appender_retry_at: 0,
            partitions: BTreeMap::new(),
            sent: HashMap::new(),
            sent_bytes: 0,
            held: Held::default(),
            gathered_load: Load::default(),
            gathered: BTreeMap::new(),
            next_token: 0,
            turns: Turns::default(),
            pacing: Pacing::new(gather_from),
            evidence: Vec::new(),
            read_retry_at: 0,
            epoch: 0,
            in_step: false,
            ended: Ended::new(),
            cut_short: Ended::new(),
            answers: Vec::new(),
            pauses: false,
            events: Vec::new(),
            reports: Vec::new(),
            stopping: None,
        };
        for board in boards {
            if owner.owns(board.partition) {
                let (partition, stable) = (board.partition, Position(board.stable.load(Ordering::Acquire)));
                let epoch = board.epoch();
                owner.adopt(board, loaded, epoch);
                owner.check_stable(partition, stable);
            }
        }
        Ok(owner)
    }

    /// Does everything there is to do at `now`, a bounded amount.
    pub fn step(&mut self, now: NowMs) -> OwnerStep {
        let mut busy = self.take_commands(now);
        if std::mem::take(&mut self.pauses) {
            // Before more is answered, which would put this off again and again.
            self.launch(now);
            self.hand_over();
        }
        busy |= self.take_reports(now);
        if self.answers.len() < PAUSE_ANSWERS {
            self.answer();
        }
        self.take_turns(now);
        busy |= self.take_records(now);
        self.pauses = self.answers.len() >= PAUSE_ANSWERS && self.stopping.is_none();
        if !self.pauses {
            self.launch(now);
        }
        self.keep_appender(now);
        self.tick(now);
        self.hand_over();
        self.flush();
        self.keep_pace(now);
        let step = self.after_step(now, busy);
        // Many answers come last: whom they wake would get into the way of the rest.
        self.answer();
        if self.pauses && step == OwnerStep::Busy { OwnerStep::Pause } else { step }
    }

    fn answer(&mut self) {
        for (to, answer) in self.answers.drain(..) {
            // Whoever went away is not told.
            let _ = to.send(answer);
        }
    }

    /// Takes the appends that came in and sends those that are due, and does nothing else: a part of a step, for the thread of
    /// a caller.
    pub fn accept(&mut self, now: NowMs) -> Accepted {
        {
            let mut commands = self.inbox.lock();
            let is_append = |command: &Command| matches!(command, Command::Append(_));
            if self.stopping.is_some() || !commands.queue.iter().all(is_append) {
                return Accepted::Left;
            }
            std::mem::swap(&mut commands.queue, &mut self.commands);
        }
        self.carry_out(now);
        self.launch(now);
        self.hand_over();
        self.answer();
        Accepted::All(self.deadline(now))
    }

    fn owns(&self, partition: Partition) -> bool {
        owner_of(partition, &self.context.owners) == self.index
    }

    /// Takes a partition over at its checkpoint, or at the beginning of what the log holds.
    fn adopt(&mut self, board: Arc<PartitionBoard>, loaded: &Loaded, epoch: u64) {
        let partition = board.partition;
        let low = Position(board.low.load(Ordering::Acquire));
        let held =
            loaded.checkpoints.iter().find(|(p, _)| *p == partition).map(|(_, checkpoint)| *checkpoint);
        let fresh = Checkpoint { position: low, fold_start: low, ..Checkpoint::default() };
        if held.is_none() && low > Position::START {
            tracing::warn!(
                partition = partition.0,
                "the partition begins at offset {low}: what came before was removed. Aggregates that began there are cut off; \
                 where that shows, appends are refused"
            );
        }
        let mut checkpoint = held.unwrap_or(fresh);
        // Before anything is served or sent: what follows the last record may be another log's by now.
        checkpoint.position = last_applied(&checkpoint, low);
        let states = loaded.incarnations.iter().filter(|(p, _, _)| *p == partition);
        let states = states.map(|(_, incarnation, state)| (*incarnation, state.clone()));
        let states =
            states.filter(|_| !planted(Bug::IncarnationsForgotten)).map(|(incarnation, mut state)| {
                state.open = state.open.filter(|_| !planted(Bug::UndecidedDropped));
                (incarnation, state)
            });
        let rule = AcceptRule::resume(checkpoint.fold_start, checkpoint.position, states);
        board.begin_fold(epoch, checkpoint.position);
        board.stored.store(held.map_or(0, |checkpoint| checkpoint.position.0), Ordering::Release);
        board.cut.store(checkpoint.cut, Ordering::Release);
        board.set_counters(checkpoint.counters);
        let (sequencer, unreported, mut premises) = match self.partitions.remove(&partition) {
            Some(owned) => (owned.sequencer, owned.unreported, owned.premises),
            None => (Sequencer::new(self.incarnation), 0, Premises::default()),
        };
        premises.begin(held.is_none());
        let stopped_at = board.stopped_at();
        let owned = Owned {
            board,
            epoch,
            rule,
            sequencer,
            checkpoint,
            readback: Readback::resume(&checkpoint),
            premises,
            unreported,
            lost: None,
            lost_end: None,
            waits: true,
            stopped_at,
            strangers: Strangers::default(),
            dirty: false,
            evidence_left: keys_of_a_partition_max(self.context.board.placing().partitions),
        };
        self.turns.begin();
        self.partitions.insert(partition, owned);
        self.partitions[&partition].note_caught_up();
    }

    /// What was applied was stable once, for good. Where it is not any more, the log lost its end and has grown again, under a
    /// transaction that is still open: what stands there now cannot be read to be compared, and nothing rests on it.
    fn check_stable(&mut self, partition: Partition, stable: Position) {
        let applied = self.partitions[&partition].checkpoint.behind_last();
        if stable < applied {
            self.rebuild(partition, Degradation::Truncated { end: stable, applied });
        }
    }

    /// What was folded of a partition is not what the log holds: it is not served before the log was read anew. The other partitions
    /// go on.
    fn rebuild(&self, partition: Partition, reason: Degradation) {
        let owned = &self.partitions[&partition];
        let words = reason.to_string();
        owned.board.degrade(reason);
        self.context.writer.rebuild(partition, owned.epoch, words);
    }

    fn take_commands(&mut self, now: NowMs) -> bool {
        std::mem::swap(&mut self.inbox.lock().queue, &mut self.commands);
        let busy = !self.commands.is_empty();
        self.carry_out(now);
        busy
    }

    /// Carries out what was taken from the inbox.
    fn carry_out(&mut self, now: NowMs) {
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            match command {
                Command::Append(waiting) => self.arrive(waiting, now),
                Command::Marks(look) => self.looked(look),
                Command::Add { board } => {
                    let epoch = board.epoch();
                    self.adopt(board, &Loaded::default(), epoch);
                }
                Command::Restart(restart) => self.restart(&restart),
                Command::Dropped { partition, epoch, shown } => self.dropped(partition, epoch, shown),
                Command::Pending { key, reply } => drop(reply.send(self.pending(&key))),
                Command::Stop { deadline } => self.begin_stop(deadline),
            }
        }
        self.commands = commands;
    }

    fn take_reports(&mut self, now: NowMs) -> bool {
        let Some(appender) = &mut self.appender else { return false };
        let mut reports = std::mem::take(&mut self.reports);
        appender.poll(&mut reports);
        let busy = !reports.is_empty();
        for report in reports.drain(..) {
            self.reported(report, now);
        }
        self.reports = reports;
        busy
    }

    /// The log gets what was sent.
    fn hand_over(&mut self) {
        if let Some(appender) = &mut self.appender {
            appender.flush();
        }
    }

    fn take_records(&mut self, now: NowMs) -> bool {
        if self.is_reading_paused(now) {
            return false;
        }
        let mut events = std::mem::take(&mut self.events);
        let Owner { reader, partitions, .. } = self;
        let applied = |partition| {
            let owned: Option<&Owned> = partitions.get(&partition);
            owned.map_or(Position::START, |owned| owned.checkpoint.position)
        };
        reader.poll_known(POLL_RECORDS_MAX, &applied, &mut events);
        let busy = !events.is_empty();
        self.read(&mut events, now);
        events.clear();
        self.events = events;
        busy
    }

    /// Whether what is fetched can wait: everything was read once, nobody waits for reading, and what comes next is, as far as is
    /// known, what was applied already.
    pub fn is_patient(&self) -> bool {
        self.partitions.values().any(|owned| owned.readback.is_behind()) && !self.is_reading_urgent()
    }

    /// Whether something waits for reading.
    fn is_reading_urgent(&self) -> bool {
        let waits = |owned: &Owned| {
            !owned.is_caught_up()
                || owned.sequencer.in_doubt()
                || owned.lost.is_some()
                || owned.checkpoint.position.0 < owned.board.awaited_end.load(Ordering::Relaxed)
        };
        self.partitions.values().any(waits)
    }

    /// Has the reader gather, or be prompt. One that begins anew does so before what was not read back.
    fn keep_pace(&mut self, now: NowMs) {
        let pace = self.pacing.next(now, self.is_reading_urgent());
        if self.reader.set_pace(pace) {
            for (partition, owned) in self.partitions.iter_mut().filter(|(_, owned)| owned.is_read()) {
                self.reader.assign(*partition, owned.reading_start());
            }
        }
    }

    /// Whether the reader is not asked: for the store's sake.
    fn is_reading_paused(&self, now: NowMs) -> bool {
        now < self.read_retry_at || self.is_overlay_full()
    }

    /// Whether reading has to wait for the writer: all of what is not committed is bounded, and so is one transaction.
    fn is_overlay_full(&self) -> bool {
        let overlay = &self.context.overlay;
        overlay.bytes() > self.context.options.overlay_bytes_max
            || overlay.open_bytes(self.index) > COMMIT_BYTES_MAX
    }

    /// Replaces a handle that failed for good. What it had open is in doubt.
    fn keep_appender(&mut self, now: NowMs) {
        let fatal = match self.appender.as_ref().map(|appender| appender.state()) {
            Some(AppenderState::Fatal { detail }) => Some(detail),
            Some(AppenderState::Up | AppenderState::Down { .. }) => None,
            None => Some(String::new()),
        };
        let Some(detail) = fatal else { return };
        if self.appender.is_some() {
            tracing::error!("the producer handle failed and is replaced: {detail}");
            self.take_reports(now);
            self.appender = None;
            let mut open: Vec<Token> = self.sent.keys().copied().collect();
            // In the order of sending: the map's own order is random, and no answer may depend on it.
            open.sort_unstable();
            for token in open {
                self.said(token, Said::Unknown(format!("the producer handle failed: {detail}")), now);
            }
        }
        if now < self.appender_retry_at {
            return;
        }
        self.appender_retry_at = now + RETRY_MS;
        match self.context.log.appender(self.inbox.waker()) {
            Ok(appender) => {
                self.appender = Some(appender);
                self.incarnation = (self.context.draw)();
                self.partitions.values_mut().for_each(|owned| owned.sequencer.renew(self.incarnation));
            }
            Err(error) => tracing::error!("no new producer handle: {error}"),
        }
    }

    fn tick(&mut self, now: NowMs) {
        let mut ended = std::mem::take(&mut self.ended);
        let mut probe = false;
        for owned in self.partitions.values_mut() {
            owned.sequencer.tick(now, owned.checkpoint.position, &mut ended);
            probe |= owned.sequencer.wants_probe();
        }
        if probe {
            self.context.look.wake();
        }
        self.settle(ended, None, now);
    }

    /// Ends the step: what was applied is the writer's to take, with the checkpoints that cover it.
    fn flush(&mut self) {
        let (mut checkpoints, mut incarnations) = (Vec::new(), Vec::new());
        for (partition, owned) in self.partitions.iter_mut().filter(|(_, owned)| owned.dirty) {
            owned.dirty = false;
            owned.readback.note_in(&mut owned.checkpoint);
            checkpoints.push((*partition, owned.checkpoint));
            let changes = owned.rule.take_changes().into_iter();
            incarnations.extend(changes.map(|(incarnation, state)| (*partition, incarnation, state)));
            owned.board.set_counters(owned.checkpoint.counters);
            owned.board.applied.store(owned.checkpoint.position.0, Ordering::Release);
            owned.note_caught_up();
        }
        if !self.evidence.is_empty() {
            self.context.board.add_evidence(self.evidence.drain(..));
        }
        if self.in_step || !checkpoints.is_empty() {
            self.in_step = false;
            let is_much = self.context.overlay.end_step(self.index, checkpoints, incarnations);
            self.context.writer.applied(is_much || self.is_overlay_full() || self.held() > 0);
        }
        self.context.board.awaited.settle();
    }

    fn after_step(&mut self, now: NowMs, busy: bool) -> OwnerStep {
        let in_flight: usize = self.partitions.values().map(|owned| owned.sequencer.in_flight()).sum();
        if let Some(deadline) = self.stopping {
            if in_flight > 0 && now >= deadline {
                let mut ended = Ended::new();
                for owned in self.partitions.values_mut() {
                    owned.sequencer.give_up("the server stopped before the log answered", &mut ended);
                }
                self.settle(ended, None, now);
                return OwnerStep::Busy;
            }
            if in_flight == 0 {
                return OwnerStep::Stopped;
            }
        }
        if busy {
            return OwnerStep::Busy;
        }
        OwnerStep::Idle(self.deadline(now))
    }

    /// Whether anything is on its way to the log.
    pub fn is_sending(&self) -> bool {
        !self.sent.is_empty()
    }

    /// When there is something to do for the time alone.
    fn deadline(&self, now: NowMs) -> Option<NowMs> {
        let doubts = self.partitions.values().filter_map(|owned| owned.sequencer.deadline());
        let retry = self.appender.is_none().then_some(self.appender_retry_at);
        let read = (self.read_retry_at > now).then_some(self.read_retry_at);
        doubts
            .chain(self.stopping)
            .chain(retry)
            .chain(read)
            .chain(self.launch_deadline())
            .chain(self.held.next_end())
            .chain(self.turn_deadline())
            .chain(self.pacing.deadline())
            .min()
    }

    fn begin_stop(&mut self, deadline: NowMs) {
        self.stopping = Some(deadline);
        self.refuse_held();
        for owned in self.partitions.values_mut() {
            for waiting in owned.sequencer.take_waiting() {
                drop(waiting.to.send(Err(AppendError::Unavailable(Unready::ShuttingDown).into())));
            }
        }
    }

    fn pending(&self, key: &Key) -> Vec<Pending> {
        let of = |(partition, owned): (&Partition, &Owned)| {
            let (first, in_flight) = owned.sequencer.flight(key)?;
            Some(Pending { partition: *partition, first, values: in_flight.request.values.clone() })
        };
        self.partitions.iter().filter_map(of).collect()
    }
}

impl Drop for Owner {
    /// However an owner ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.inbox.close();
        self.refuse_held();
    }
}
