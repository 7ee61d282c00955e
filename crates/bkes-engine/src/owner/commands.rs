//! What an owner is told, and new beginnings of its folds.

use super::{Hosted, Owner};
use crate::board::{Counting, PartitionBoard};
use crate::owner_inbox::{Command, Decided, Pending, Restart};
use bkes_core::append_id::ID_WINDOW;
use bkes_core::machine::{Beginning, FoldId, Input, Origin, PartitionMachine, Settings, Shown};
use bkes_core::sequence::NowMs;
use bkes_core::{Incarnation, Key, Partition, Position};
use bkes_storage::Loaded;
use std::sync::Arc;

impl Owner {
    pub(super) fn take_commands(&mut self, now: NowMs) -> bool {
        let mut commands = std::mem::take(&mut self.commands);
        std::mem::swap(&mut self.inbox.lock().queue, &mut commands);
        let busy = !commands.is_empty();
        for command in commands.drain(..) {
            match command {
                Command::Append(append) => self.arrive(append, now),
                Command::Watermarks { partition, read } => self.tell(partition, Input::Watermarks(read), now),
                Command::Add { board } => self.adopt(board, &Loaded::default(), now),
                Command::Restart(restart) => self.restart(&restart, now),
                Command::Dropped { partition, fold } => self.dropped(partition, fold, now),
                Command::Pending { key, reply } => drop(reply.send(self.pending(&key))),
                Command::Decided { reply } => drop(reply.send(self.decided())),
                Command::Stop { deadline } => {
                    self.stopping = Some(deadline);
                    self.refuse_held();
                    self.tell_all(now, || Input::Stop);
                }
            }
        }
        self.commands = commands;
        busy
    }

    /// Takes a partition over at its checkpoint, or at the beginning of what the log holds.
    pub(super) fn adopt(&mut self, board: Arc<PartitionBoard>, loaded: &Loaded, now: NowMs) {
        let partition = board.partition;
        let (marks, fold) = {
            let state = board.state();
            let fold = match state.counting {
                Counting::Fold(fold) => fold,
                // The new beginning will be announced, and this fold is none that counts.
                Counting::Beginning => state.seen.fold,
            };
            (state.seen.marks, fold)
        };
        let beginning = beginning_of(partition, loaded, fold, Shown::MustReturn);
        let stored = beginning.checkpoint.map_or(Position::START, |checkpoint| checkpoint.position);
        let settings = Settings {
            allow_cut: self.context.options.allow_cut,
            ready_lag_ms: self.context.options.ready_lag.as_millis() as NowMs,
            evidence_max: self.evidence_max(),
            id_window: ID_WINDOW,
        };
        let machine =
            PartitionMachine::new(Origin { partition, name: self.name, marks, beginning }, settings);
        self.context.board.change(&board, |state| {
            state.stored = stored;
            machine.update(&mut state.seen);
        });
        let hosted = Hosted { board, machine, inputs: Vec::new(), is_news: true };
        self.partitions.insert(partition, hosted);
        self.order.begin();
        self.carry_out(partition, now);
        if self.stopping.is_some() {
            self.tell(partition, Input::Stop, now);
        }
    }

    /// Every fold begins anew.
    fn restart(&mut self, restart: &Restart, now: NowMs) {
        let Restart { loaded, epoch, fold, shown } = restart;
        self.epoch = *epoch;
        self.in_step = false;
        self.read_retry_at = 0;
        self.context.overlay.restart(self.index, *epoch);
        let given_up = self.take_new_name();
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.rename(partition, Some(given_up), now);
            self.begin_anew(partition, beginning_of(partition, loaded, *fold, *shown), now);
        }
    }

    /// The fold of one partition begins anew, and the others go on.
    fn dropped(&mut self, partition: Partition, fold: FoldId, now: NowMs) {
        if !self.partitions.contains_key(&partition) {
            return;
        }
        self.context.overlay.forget(self.index, partition);
        let given_up = self.take_new_name();
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        for other in partitions {
            self.rename(other, Some(given_up).filter(|_| other == partition), now);
        }
        self.begin_anew(partition, beginning_of(partition, &Loaded::default(), fold, Shown::IsVoid), now);
        // The writer waited for this with what the other partitions have in the overlay.
        self.context.writer.applied(self.is_overlay_full());
    }

    /// What was numbered so far may rest on what a new fold does not find: others tell it by its name. Gives the name back.
    fn take_new_name(&mut self) -> Incarnation {
        std::mem::replace(&mut self.name, (self.context.draw)())
    }

    pub(super) fn rename(&mut self, partition: Partition, given_up: Option<Incarnation>, now: NowMs) {
        self.tell(partition, Input::Renamed { name: self.name, given_up }, now);
    }

    fn begin_anew(&mut self, partition: Partition, beginning: Beginning, now: NowMs) {
        self.order.begin();
        self.tell(partition, Input::BeginAnew(Box::new(beginning)), now);
        // The writer goes on once it sees that the owner has taken over.
        let Hosted { board, machine, .. } = &self.partitions[&partition];
        self.context.board.change(board, |state| machine.update(&mut state.seen));
    }

    fn decided(&self) -> Vec<Decided> {
        let of = |(partition, hosted): (&Partition, &Hosted)| {
            let (fold, end) = (hosted.machine.fold(), hosted.machine.position());
            Decided { partition: *partition, fold, end }
        };
        self.partitions.iter().map(of).collect()
    }

    fn pending(&self, key: &Key) -> Vec<Pending> {
        let of = |(partition, hosted): (&Partition, &Hosted)| {
            let (first, append) = hosted.machine.flight(key)?;
            Some(Pending { partition: *partition, first, events: append.request.events.clone() })
        };
        self.partitions.iter().filter_map(of).collect()
    }
}

/// How the fold of a partition begins by what the store holds of it.
fn beginning_of(partition: Partition, loaded: &Loaded, fold: FoldId, shown: Shown) -> Beginning {
    let held = loaded.checkpoints.iter().find(|(held, _)| *held == partition);
    let incarnations = loaded.incarnations.iter().filter(|(of, _, _)| *of == partition);
    Beginning {
        fold,
        checkpoint: held.map(|(_, checkpoint)| *checkpoint),
        incarnations: incarnations.map(|(_, incarnation, state)| (*incarnation, state.clone())).collect(),
        shown,
    }
}
