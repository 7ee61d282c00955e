//! Steps a machine and carries its work out.

use super::lookup::HostLookup;
use super::sending::send_error;
use super::{Hosted, Owner};
use crate::owner_inbox::{Command, Found, Refusal, Ticket, Unverified, Waiting, owner_of, refuse_command};
use bkes_core::Partition;
use bkes_core::append::{AppendError, Unready};
use bkes_core::machine::{Answer, Append, Input, Load, Located, Send, Work, refused};
use bkes_core::sequence::NowMs;
use bkes_log::{NewRecord, SendError};
use std::sync::atomic::Ordering;

impl Owner {
    /// Has the machine of a partition take an input, if it is here, and does what follows.
    pub(super) fn tell(&mut self, partition: Partition, input: Input<Ticket>, now: NowMs) {
        if let Some(hosted) = self.partitions.get_mut(&partition) {
            hosted.inputs.push(input);
            self.drive(partition, now);
        }
    }

    /// Steps the machine of a partition on its inputs and does what follows, until nothing does.
    pub(super) fn drive(&mut self, partition: Partition, now: NowMs) {
        while let Some(hosted) = self.partitions.get_mut(&partition)
            && !hosted.inputs.is_empty()
        {
            let Hosted { board, machine, inputs, is_news, .. } = hosted;
            let before = machine.sent_load();
            let lookup = HostLookup {
                context: &self.context,
                index: self.index,
                epoch: self.epoch,
                board,
                fold: machine.fold(),
                appender: self.appender.as_deref(),
                under_way: Load { records: self.sent.records, ..self.sent.and(self.grouped) },
                grouped: self.grouped,
            };
            machine.step(inputs, now, &lookup);
            *is_news = true;
            self.sent.sub(before);
            self.sent.add(machine.sent_load());
            self.carry_out(partition, now);
        }
    }

    /// Carries out the work of a partition's machine.
    pub(super) fn carry_out(&mut self, partition: Partition, now: NowMs) {
        let hosted = self.partitions.get_mut(&partition).expect("its machine has worked");
        let Some(mut work) = hosted.machine.take_work(&mut self.work) else { return };
        let fold = hosted.machine.fold();
        if !work.events.is_empty() {
            self.feed(partition, &work.events);
            self.context.overlay.insert(self.index, &mut work.events);
            self.in_step = true;
        }
        if !work.answers.is_empty() {
            work.answers.drain(..).for_each(|answer| self.give(answer));
        }
        if !work.sends.is_empty() {
            self.send(partition, &mut work.sends);
        }
        work.sending = Load::default();
        self.carry_on(&mut work, now);
        if let Some(position) = work.read_from.take() {
            self.reader.assign(partition, position);
        }
        if std::mem::take(&mut work.wants_watermarks) {
            self.context.look.wake();
        }
        if let Some(reason) = work.rebuild.take() {
            self.context.writer.rebuild(partition, fold, reason.to_string());
        }
        self.evidence.append(&mut work.evidence);
        if !work.notices.is_empty() {
            work.notices.drain(..).for_each(|notice| self.notice(partition, notice));
        }
        self.work = Some(work);
    }

    /// Appends that go elsewhere, or wait for room.
    fn carry_on(&mut self, work: &mut Work<Ticket>, now: NowMs) {
        if !work.rerouted.is_empty() {
            for (partition, append) in work.rerouted.drain(..) {
                self.wait_behind(partition, append, now);
            }
        }
        if !work.held.is_empty() {
            self.held.again(work.held.drain(..));
        }
    }

    /// Answers whoever asked for an append, when the answers of this step are given.
    pub(super) fn give(&mut self, answer: Answer<Ticket>) {
        let ended = &self.context.board.ended;
        let answer = match answer {
            Answer::Stored { ticket, appended } => {
                ended.appended.fetch_add(1, Ordering::Relaxed);
                (ticket.to, Ok(appended))
            }
            Answer::Failed { ticket, error } => {
                match &error {
                    AppendError::Conflict { .. } | AppendError::AlreadyExists { .. } => {
                        ended.conflicts.fetch_add(1, Ordering::Relaxed);
                    }
                    AppendError::Unknown { .. } => drop(ended.unknown.fetch_add(1, Ordering::Relaxed)),
                    _ => {}
                }
                (ticket.to, Err(error.into()))
            }
            Answer::Found { append, first } => {
                let Append { request, ticket, .. } = *append;
                (ticket.to, Err(Refusal::Found(Box::new(Found { request, place: ticket.place, first }))))
            }
            Answer::Unverified { append, scope } => {
                let Append { request, ticket, .. } = *append;
                let unverified = Unverified { request, place: ticket.place, scope };
                (ticket.to, Err(Refusal::Unverified(Box::new(unverified))))
            }
        };
        self.answers.push(answer);
    }

    /// Refuses an append that no machine has taken.
    pub(super) fn refuse(&mut self, append: Waiting, error: AppendError) {
        self.give(refused(append, error, None));
    }

    /// Hands records to the log. Where one is not taken, its machine is told, and what follows in the same append is left out.
    fn send(&mut self, partition: Partition, sends: &mut Vec<Send>) {
        let mut stopped = None;
        for Send { token, append, key, value, headers } in sends.drain(..) {
            if stopped == Some(append) {
                continue;
            }
            let record = NewRecord { partition, key: Some(key), value, headers };
            let sent = match &mut self.appender {
                Some(appender) => appender.send(record, token),
                None => Err(SendError::Down { cause: "no producer handle".into() }),
            };
            if let Err(error) = sent {
                stopped = Some(append);
                let hosted = self.partitions.get_mut(&partition).expect("its machine has worked");
                let (detail, error) = (error.to_string(), send_error(error));
                hosted.inputs.push(Input::SendFailed { token, detail, error });
            }
        }
    }

    /// An append's aggregate is located: it goes to the owner of that partition, or to its machine.
    pub(super) fn admit(&mut self, append: Waiting, located: Located, now: NowMs) {
        let partition = located.partition;
        if !self.owns(partition) {
            let (overlay, in_flight) = (&self.context.overlay, &self.context.in_flight);
            let key = &append.request.key;
            let undecided = in_flight.partition_of(overlay.hash(key), key);
            return self.wait_behind(undecided.unwrap_or(partition), append, now);
        }
        if !self.partitions.contains_key(&partition) {
            // A partition that has only just come.
            let unready = self.context.board.still_catching_up();
            return self.refuse(append, AppendError::Unavailable(unready));
        }
        self.tell(partition, Input::Append { append, located }, now);
    }

    /// An append waits for its turn after the one of its key in a partition, or goes to that partition's owner.
    fn wait_behind(&mut self, partition: Partition, append: Waiting, now: NowMs) {
        let is_busy = |hosted: &Hosted| hosted.machine.is_busy(&append.request.key);
        if self.partitions.get(&partition).is_some_and(is_busy) {
            return self.tell(partition, Input::Wait(append), now);
        }
        let owners = &self.context.owners;
        if let Err(command) = owners[owner_of(partition, owners)].send(Command::Append(append)) {
            refuse_command(command, self.context.board.why_ended());
        }
    }

    /// The owner stops: nobody waits on.
    pub(super) fn refuse_held(&mut self) {
        for append in self.held.take_all() {
            // At once: an owner that ends gives no more answers.
            drop(append.ticket.to.send(Err(AppendError::Unavailable(Unready::ShuttingDown).into())));
        }
    }
}
