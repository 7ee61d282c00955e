//! An owner: the host of the machines of its group of partitions.
//!
//! `step` collects what arrived (appends, reports, records, answers about the log), steps the machines, and carries their work out:
//! it shows events, answers, sends, and hands what was applied to the store writer. It waits in one place only, between steps; threads
//! and the simulator drive it alike. It reads counts from the store (a look-up that its cache nearly always answers) and never writes it.
//! What is decided about a partition its machine decides.
//!
//! Invariants: a machine's work is carried out before its next step; an answer goes out only after the overlay has the event.

mod bound;
mod commands;
mod feeding;
mod grouping;
mod lookup;
mod notices;
mod reading;
mod room;
mod sending;
mod work;

use self::grouping::Group;
use self::room::Held;
use crate::board::PartitionBoard;
use crate::context::Context;
use crate::epoch::Epoch;
use crate::feed::Period;
use crate::limits::PAUSE_ANSWERS;
use crate::owner_inbox::{Command, OwnerInbox, Refusal, ReplySender, Ticket, owner_of};
use bkes_core::append::Appended;
use bkes_core::evidence::{PlacedKey, keys_of_a_partition_max};
use bkes_core::machine::{Input, Load, PartitionMachine, Work};
use bkes_core::sequence::NowMs;
use bkes_core::topic::CatchUpOrder;
use bkes_core::{Incarnation, Partition};
use bkes_log::{LogAppender, LogReader, ReadEvent, Report};
use bkes_storage::Loaded;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A partition in its owner's hands.
struct Hosted {
    board: Arc<PartitionBoard>,
    machine: PartitionMachine<Ticket>,
    /// What its machine is told next.
    inputs: Vec<Input<Ticket>>,
    /// Whether the board does not have what its machine sees.
    is_news: bool,
}

/// One owner's state.
pub struct Owner {
    context: Context,
    index: usize,
    inbox: OwnerInbox,
    commands: Vec<Command>,
    partitions: BTreeMap<Partition, Hosted>,
    /// In which all folds began that did not begin by themselves.
    epoch: Epoch,

    // Reading.
    reader: Box<dyn LogReader>,
    order: CatchUpOrder,
    /// Reading rests until then, after the store could not be asked.
    read_retry_at: NowMs,

    // Sending.
    appender: Option<Box<dyn LogAppender>>,
    /// The name that records are numbered under.
    name: Incarnation,
    appender_retry_at: NowMs,
    /// What was sent and not reported on.
    sent: Load,
    /// Appends that wait for room.
    held: Held,
    /// Appends that are not sent yet, by the partition their key hashes to.
    groups: BTreeMap<Partition, Group>,
    /// What those take.
    grouped: Load,

    /// The period in which the rings of its partitions were begun.
    fed_in: Period,

    // Of the step that is being made.
    /// Whether something was added to the overlay.
    in_step: bool,
    /// Answers that are not given yet.
    answers: Vec<(ReplySender, Result<Appended, Refusal>)>,
    /// They were many: what is due is sent at the beginning of the next step.
    pauses: bool,
    /// Room, empty between uses.
    work: Option<Box<Work<Ticket>>>,
    evidence: Vec<PlacedKey>,
    events: Vec<ReadEvent>,
    touched: Vec<Partition>,
    reports: Vec<Report>,
    stopping: Option<NowMs>,
    /// Whether it was said that the log's start moves.
    start_moved: bool,
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

impl Owner {
    /// An owner of the partitions at `index` modulo the number of owners, resuming at what `loaded` holds.
    pub fn new(context: Context, index: usize, loaded: &Loaded) -> Result<Owner, bkes_log::LogError> {
        let inbox = context.owners[index].clone();
        let reader = context.log.reader(inbox.waker())?;
        let appender = context.log.appender(inbox.waker())?;
        let name = (context.draw)();
        let boards: Vec<Arc<PartitionBoard>> = context.board.partitions().clone();
        let mut owner = Owner {
            context,
            index,
            inbox,
            commands: Vec::new(),
            partitions: BTreeMap::new(),
            epoch: Epoch::default(),
            reader,
            order: CatchUpOrder::default(),
            read_retry_at: 0,
            appender: Some(appender),
            name,
            appender_retry_at: 0,
            sent: Load::default(),
            held: Held::default(),
            groups: BTreeMap::new(),
            grouped: Load::default(),
            fed_in: Period::NONE,
            in_step: false,
            answers: Vec::new(),
            pauses: false,
            work: None,
            evidence: Vec::new(),
            events: Vec::new(),
            touched: Vec::new(),
            reports: Vec::new(),
            stopping: None,
            start_moved: false,
        };
        for board in boards {
            if owner.owns(board.partition) {
                owner.adopt(board, loaded, 0);
            }
        }
        Ok(owner)
    }

    /// Does everything there is to do at `now`, a bounded amount.
    pub fn step(&mut self, now: NowMs) -> OwnerStep {
        let mut busy = self.take_commands(now);
        if std::mem::take(&mut self.pauses) {
            // Before more is answered, which would put this off again and again.
            self.send_groups(now);
            self.hand_over();
        }
        busy |= self.take_reports(now);
        if self.answers.len() < PAUSE_ANSWERS {
            self.answer();
        }
        self.begin_reading(now);
        busy |= self.take_records(now);
        self.pauses = self.answers.len() >= PAUSE_ANSWERS && self.stopping.is_none();
        if !self.pauses {
            self.send_groups(now);
        }
        self.keep_appender(now);
        self.tick(now);
        self.hand_over();
        self.end_step(now);
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

    fn owns(&self, partition: Partition) -> bool {
        owner_of(partition, &self.context.owners) == self.index
    }

    /// Keys of a partition that may be taken as evidence of how the topic's writers place keys.
    fn evidence_max(&self) -> usize {
        let topic = self.context.board.topic();
        if topic.wants_evidence() { keys_of_a_partition_max(topic.placing().partitions) } else { 0 }
    }

    /// Has every machine take an input.
    fn tell_all(&mut self, now: NowMs, input: impl Fn() -> Input<Ticket>) {
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.tell(partition, input(), now);
        }
    }

    fn tick(&mut self, now: NowMs) {
        let in_doubt = |(_, hosted): &(&Partition, &Hosted)| hosted.machine.is_in_doubt();
        let doubting: Vec<Partition> =
            self.partitions.iter().filter(in_doubt).map(|(partition, _)| *partition).collect();
        for partition in doubting {
            self.tell(partition, Input::Tick, now);
        }
    }

    /// Ends the step: what was applied is the writer's to take, with the checkpoints that cover it, and the others see it.
    fn end_step(&mut self, now: NowMs) {
        let is_fed = self.publish_rings();
        let (mut checkpoints, mut incarnations) = (Vec::new(), Vec::new());
        for (partition, hosted) in self.partitions.iter_mut().filter(|(_, hosted)| hosted.is_news) {
            hosted.is_news = false;
            if let Some(cover) = hosted.machine.take_checkpoint() {
                checkpoints.push((*partition, cover.checkpoint));
                incarnations
                    .extend(cover.incarnations.into_iter().map(|(name, state)| (*partition, name, state)));
            }
            let Hosted { board, machine, .. } = hosted;
            self.context.board.change(board, |state| machine.update(&mut state.seen));
        }
        if !self.evidence.is_empty() {
            self.context.board.topic().add_evidence(self.evidence.drain(..));
        }
        if self.in_step || !checkpoints.is_empty() {
            self.in_step = false;
            let commit_now = self.context.overlay.end_step(self.index, checkpoints, incarnations);
            self.context.writer.applied(commit_now || self.is_overlay_full() || !self.held.is_empty());
        }
        self.context.awaited.settle();
        self.context.positions.settle(&self.context.board, now);
        if is_fed {
            self.context.feed.wake();
        }
    }

    fn after_step(&mut self, now: NowMs, busy: bool) -> OwnerStep {
        let in_flight: usize = self.partitions.values().map(|hosted| hosted.machine.in_flight()).sum();
        if let Some(deadline) = self.stopping {
            if in_flight > 0 && now >= deadline {
                self.tell_all(now, || Input::GiveUp);
                return OwnerStep::Busy;
            }
            if in_flight == 0 {
                return OwnerStep::Stopped;
            }
        }
        if busy { OwnerStep::Busy } else { OwnerStep::Idle(self.deadline(now)) }
    }

    /// When there is something to do for the time alone.
    fn deadline(&self, now: NowMs) -> Option<NowMs> {
        let doubts = self.partitions.values().filter_map(|hosted| hosted.machine.deadline());
        let retry = self.appender.is_none().then_some(self.appender_retry_at);
        // One owner is enough to tell those who wait that their time is over.
        let waits = if self.index == 0 { self.context.positions.deadline() } else { None };
        let read = (self.read_retry_at > now).then_some(self.read_retry_at);
        doubts
            .chain(self.stopping)
            .chain(retry)
            .chain(read)
            .chain(waits)
            .chain(self.groups_deadline())
            .chain(self.held.next_end())
            .chain(self.order.deadline())
            .min()
    }
}

impl Drop for Owner {
    /// However an owner ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.inbox.close();
        self.refuse_held();
    }
}
