//! Appends in an owner's hands: admitted, checked against the count, numbered, sent, and answered when the log has decided.

use super::fingerprint::checksum;
use super::gather::Located;
use super::room::Load;
use super::{Command, Context, Ended, Owner, Refusal, Sent, Unverified, Waiting};
use crate::api::{AppendError, AppendRequest, Appended, Expected, Unit, Unready};
use crate::board::Placing;
use crate::degraded::Degradation;
use crate::limits::{MARKER_BYTES_MAX, RESENDS_MAX};
use crate::verifier::Scope;
use bkes_core::checksum::PayloadSum;
use bkes_core::limits::ORDER_MAX;
use bkes_core::marker::{BatchPlace, Marker, Stamp};
use bkes_core::planted::{Bug, planted};
use bkes_core::sequence::{NowMs, Outcome, Said};
use bkes_core::{Header, Incarnation, Key, Offset, Order, Partition, Position, TimestampMs};
use bkes_log::{AppenderState, Delivery, NewRecord, QueueBound, Report, SendError, Token};
use bkes_storage::{Head, Heads, StoreError};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Where the last record of an accepted append lies.
pub(super) type Place = (Partition, Offset, Option<TimestampMs>);

impl Owner {
    /// An append's aggregate is located: it goes to the owner of that partition, waits for its turn, or is sent.
    pub(super) fn admit(&mut self, waiting: Waiting, located: &Located, now: NowMs) {
        self.take_in(waiting, located, now);
        self.settle_cut_short(now);
    }

    /// The same, but for settling what ended with it.
    fn take_in(&mut self, waiting: Waiting, located: &Located, now: NowMs) {
        let partition = match self.partition_of(&waiting.request, &located.heads) {
            Ok(partition) => partition,
            Err(error) => return self.refuse_or_verify(None, waiting, error),
        };
        if !self.owns(partition) {
            let (overlay, in_flight) = (&self.context.overlay, &self.context.in_flight);
            let key = &waiting.request.key;
            let undecided = in_flight.partition_of(overlay.hash(key), key);
            return self.wait_behind(undecided.unwrap_or(partition), waiting);
        }
        let Some(owned) = self.partitions.get_mut(&partition) else {
            // A partition that has only just come.
            let unready = self.context.board.still_catching_up();
            return self.refuse(waiting, AppendError::Unavailable(unready));
        };
        if owned.sequencer.is_busy(&waiting.request.key) {
            let key = waiting.request.key.clone();
            return owned.sequencer.wait(&key, waiting);
        }
        self.begin(partition, located, waiting, VecDeque::new(), now);
    }

    /// An append waits for its turn behind the one of its key in a partition, or goes to that partition's owner.
    fn wait_behind(&mut self, partition: Partition, waiting: Waiting) {
        let owned = self.partitions.get_mut(&partition);
        if let Some(owned) = owned.filter(|owned| owned.sequencer.is_busy(&waiting.request.key)) {
            let key = waiting.request.key.clone();
            return owned.sequencer.wait(&key, waiting);
        }
        let owners = &self.context.owners;
        if let Err(command) = owners[super::owner_of(partition, owners)].send(Command::Append(waiting)) {
            super::refuse_command(command, self.context.board.ended());
        }
    }

    /// Sends an append if its order is the next one, and none of its key is undecided anywhere; gives the queue back when nothing
    /// was put in flight. One of which sending stopped half-way is left in `cut_short`: its caller settles it.
    fn begin(
        &mut self,
        partition: Partition,
        located: &Located,
        waiting: Waiting,
        rest: VecDeque<Waiting>,
        now: NowMs,
    ) -> Option<VecDeque<Waiting>> {
        if waiting.to.is_closed() {
            return Some(rest);
        }
        let key = waiting.request.key.clone();
        let hash = self.context.overlay.hash(&key);
        if let Err(elsewhere) = self.context.in_flight.claim(hash, &key, partition) {
            // Since the one before it was begun, the key's place has become another one.
            for waiting in std::iter::once(waiting).chain(rest) {
                self.wait_behind(elsewhere, waiting);
            }
            return None;
        }
        let first = match self.check(partition, &located.heads, &waiting, now) {
            Ok(first) => first,
            Err(error) => {
                self.context.in_flight.release(hash, &key);
                self.refuse_or_verify(Some(partition), waiting, error);
                return Some(rest);
            }
        };
        let request = &waiting.request;
        let count = request.values.len() as u32;
        let (value, others) = (request.values[0].clone(), request.values[1..].to_vec());
        let kept = if planted(Bug::RestIsSent) { request.values.clone() } else { Vec::new() };
        let owned = self.partitions.get_mut(&partition).expect("the caller found it");
        let base = owned.checkpoint.position;
        let flight = owned.sequencer.begin(key.clone(), first, count, waiting, rest);
        let mut refused = self.oversized_member(&key, &value, &others, first, flight, base);
        for (index, value) in std::iter::once(value).chain(others).enumerate() {
            let i = index as u32 + 1;
            let place = (count > 1).then_some(BatchPlace { i, count });
            let stamp = Stamp { incarnation: flight.0, number: flight.1, place };
            let marker = Marker { stamp, order: Order(first.0 + index as u64), base };
            let sent = match refused.take() {
                Some(error) => Err(error),
                None => self.send(partition, &key, value, marker, located),
            };
            let Err(error) = sent else { continue };
            if i == 1 {
                let owned = self.partitions.get_mut(&partition).expect("the caller found it");
                let (waiting, rest) = owned.sequencer.withdraw(flight);
                self.context.in_flight.release(hash, &key);
                drop(waiting.to.send(Err(send_error(error).into())));
                return Some(rest);
            }
            for (later, value) in kept.into_iter().enumerate().skip(index) {
                let place = Some(BatchPlace { i: later as u32 + 1, count });
                let (stamp, order) = (Stamp { place, ..stamp }, Order(first.0 + later as u64));
                let _ = self.send(partition, &key, value, Marker { stamp, order, base }, located);
            }
            // The rest is never sent later, so the batch can never become whole.
            let owned = self.partitions.get_mut(&partition).expect("the caller found it");
            let position = owned.checkpoint.position;
            let said = Said::NotStored(format!("sending stopped at event {i} of {count}: {error}"));
            let told = owned.sequencer.reported(stamp, said, position, now, &mut self.cut_short);
            debug_assert!(told.is_ok(), "only a stored record can diverge");
            return None;
        }
        None
    }

    /// The first member of a batch that is larger than the log takes. A batch is looked at as a whole before anything of it is sent:
    /// what was sent of one that cannot become whole would be void for ever. A single event is looked at when it is sent.
    fn oversized_member(
        &self,
        key: &Key,
        value: &Bytes,
        others: &[Bytes],
        first: Order,
        (incarnation, number): (Incarnation, u64),
        base: Position,
    ) -> Option<SendError> {
        if others.is_empty() {
            return None;
        }
        let bytes_max = self.appender.as_ref()?.record_bytes_max();
        let content = |value: &Bytes| (key.bytes().len() + value.len()) as u64;
        let is_near = |value: &Bytes| content(value) + MARKER_BYTES_MAX > bytes_max;
        let count = others.len() as u32 + 1;
        let near = std::iter::once(value).chain(others).enumerate().filter(|(_, value)| is_near(value));
        let sized = near.map(|(index, value)| {
            let place = Some(BatchPlace { i: index as u32 + 1, count });
            let stamp = Stamp { incarnation, number, place };
            let marker = Marker { stamp, order: Order(first.0 + index as u64), base };
            let headers = Vec::from(marker.headers(PayloadSum::of(Some(key.as_ref()), Some(value))));
            let of = |header: &Header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len);
            content(value) + headers.iter().map(of).sum::<usize>() as u64
        });
        let bytes = sized.max().filter(|bytes| *bytes > bytes_max)?;
        Some(SendError::TooLarge { bytes, bytes_max })
    }

    fn send(
        &mut self,
        partition: Partition,
        key: &Key,
        value: Bytes,
        marker: Marker,
        located: &Located,
    ) -> Result<(), SendError> {
        let payload = PayloadSum::of(Some(key.as_ref()), Some(&value));
        let headers = Vec::from(marker.headers(payload));
        let crc32c = checksum(payload, &headers);
        let new =
            NewRecord { partition, key: Some(key.bytes().clone()), value: Some(value.clone()), headers };
        let token = self.next_token;
        let down = || SendError::Down { detail: "no producer handle".into() };
        self.appender.as_mut().ok_or_else(down)?.send(new, token)?;
        self.next_token += 1;
        let head = match &located.heads {
            Heads::One(head) => Some(*head),
            Heads::None | Heads::Split(_) => None,
        };
        let (key, cleared) = (key.clone(), located.cleared);
        self.sent_bytes += (key.bytes().len() + value.len()) as u64;
        self.sent.insert(token, Sent { partition, marker, key, value, crc32c, head, cleared });
        self.partitions.get_mut(&partition).expect("the caller found it").unreported += 1;
        Ok(())
    }

    /// Everything that is known before sending: whether it can be decided at all, and whether its order is the next one.
    fn check(
        &self,
        partition: Partition,
        heads: &Heads,
        waiting: &Waiting,
        now: NowMs,
    ) -> Result<Order, AppendError> {
        let request = &waiting.request;
        self.serving(partition, now).map_err(AppendError::Unavailable)?;
        let head = match heads {
            Heads::Split(parts) if planted(Bug::SplitIgnored) => parts.first().map(|head| head.next),
            Heads::Split(parts) => {
                return Err(AppendError::Split {
                    partitions: parts.iter().map(|head| head.partition).collect(),
                });
            }
            Heads::One(head) => Some(head.next),
            Heads::None => None,
        };
        let owned = self.partitions.get(&partition).expect("the caller found it");
        if owned.checkpoint.cut && !self.context.options.allow_cut {
            return Err(AppendError::Cut { partition });
        }
        let order = match (request.expected, head) {
            (Expected::New, None) => Order::FIRST,
            (Expected::New, Some(current)) => return Err(AppendError::AlreadyExists { current }),
            (Expected::At(expected), None) => {
                return Err(AppendError::NoSuchAggregate { key: request.key.clone(), expected });
            }
            (Expected::At(expected), Some(current)) if expected == current => expected,
            (Expected::At(expected), Some(current)) => {
                return Err(AppendError::Conflict { expected, current });
            }
        };
        // Only the base of a cut aggregate can be so high. A record of such an order would not be read as marked.
        if order.plus(request.values.len() as u64).is_none_or(|next| next.0 > ORDER_MAX) {
            return Err(AppendError::Cut { partition });
        }
        let Load { records, bytes } = Load::of(waiting);
        match &self.appender {
            Some(appender) => match appender.has_room(records, bytes) {
                Ok(()) => Ok(order),
                Err(bound) => Err(AppendError::Unavailable(queue_full(bound))),
            },
            None => Err(AppendError::Unavailable(Unready::LogDown { detail: "no producer handle".into() })),
        }
    }

    /// Whether an append to this partition could be decided now.
    pub(super) fn serving(&self, partition: Partition, now: NowMs) -> Result<(), Unready> {
        let board = &self.context.board;
        let owned = self.partitions.get(&partition).expect("the caller found it");
        if self.stopping.is_some() {
            return Err(Unready::ShuttingDown);
        }
        if let Some(unready) = owned.board.unserved() {
            return Err(unready);
        }
        if let Some(AppenderState::Down { detail } | AppenderState::Fatal { detail }) =
            self.appender.as_ref().map(|appender| appender.state())
        {
            return Err(Unready::LogDown { detail });
        }
        if let Some(detail) = board.log_down() {
            return Err(Unready::LogDown { detail });
        }
        if let Some(detail) = board.store_down() {
            return Err(Unready::Store { detail });
        }
        if owned.board.stalled.load(Ordering::Acquire) {
            let stable = Position(owned.board.stable.load(Ordering::Acquire));
            let high = Position(owned.board.high.load(Ordering::Acquire));
            return Err(Unready::Stalled { partition, stable, high });
        }
        let lag_ms = owned.board.lag_ms(now);
        if lag_ms >= self.context.options.ready_lag.as_millis() as u64 {
            return Err(Unready::Lagging { partition, lag_ms });
        }
        Ok(())
    }

    /// A key that is not known may live in a partition that was not read yet.
    pub(super) fn all_read(&self) -> Result<(), Unready> {
        self.context.board.catching_up().filter(|_| !planted(Bug::PlacedEarly)).map_or(Ok(()), Err)
    }

    /// The partition that holds the aggregate, or would hold a new one.
    fn partition_of(&mut self, request: &AppendRequest, heads: &Heads) -> Result<Partition, AppendError> {
        match heads {
            Heads::One(head) => Ok(head.partition),
            Heads::Split(parts) if planted(Bug::SplitIgnored) => Ok(parts[0].partition),
            // What an earlier fold had of a partition that is read anew may not be there any more.
            Heads::Split(parts) if !self.are_read(parts) => {
                Err(AppendError::Unavailable(self.context.board.still_catching_up()))
            }
            Heads::Split(parts) => {
                Err(AppendError::Split { partitions: parts.iter().map(|head| head.partition).collect() })
            }
            Heads::None => self.place_of_new(request),
        }
    }

    fn are_read(&self, parts: &[Head]) -> bool {
        let board = |head: &Head| self.context.board.partition(head.partition);
        parts.iter().filter_map(board).all(|board| board.is_caught_up())
    }

    /// Where a key without events is placed, or why it is not.
    fn place_of_new(&self, request: &AppendRequest) -> Result<Partition, AppendError> {
        let Context { board, writer, topic, options, .. } = &self.context;
        let undecided = crate::placing::decide(board, writer, topic);
        let Placing { partitions, partitioner } = board.placing();
        match (request.expected, partitioner) {
            (Expected::New, _) if options.existing_only => Err(AppendError::ExistingOnly),
            (_, Some(partitioner)) => Ok(partitioner.place(request.key.as_ref(), partitions)),
            (Expected::At(expected), None) => {
                Err(AppendError::NoSuchAggregate { key: request.key.clone(), expected })
            }
            (Expected::New, None) => match undecided {
                Some(evidence) => Err(AppendError::PartitionerUnknown { evidence }),
                None => Err(AppendError::Unavailable(board.still_catching_up())),
            },
        }
    }

    /// A record was reported on: it is no longer on its way.
    pub(super) fn arrived(&mut self, token: Token) -> Option<Sent> {
        let sent = self.sent.remove(&token)?;
        self.sent_bytes -= (sent.key.bytes().len() + sent.value.len()) as u64;
        if let Some(owned) = self.partitions.get_mut(&sent.partition) {
            owned.unreported -= 1;
        }
        Some(sent)
    }

    /// The log reported on a record.
    pub(super) fn reported(&mut self, report: Report, now: NowMs) {
        match report.delivery {
            Delivery::Stored { offset: Some(offset), timestamp: Some(timestamp) } => {
                if self.apply_fast(report.token, offset, timestamp, now) {
                    return;
                }
                self.said(report.token, Said::Stored(Some(offset)), now);
            }
            Delivery::Stored { offset, timestamp: _ } => self.said(report.token, Said::Stored(offset), now),
            Delivery::NotStored { detail } => self.said(report.token, Said::NotStored(detail), now),
            Delivery::Oversized { detail } => self.said(report.token, Said::Oversized(detail), now),
            Delivery::Unknown { detail } => self.said(report.token, Said::Unknown(detail), now),
        }
    }

    pub(super) fn said(&mut self, token: Token, said: Said, now: NowMs) {
        let Some(Sent { partition, marker: Marker { stamp, .. }, .. }) = self.arrived(token) else { return };
        let Some(owned) = self.partitions.get_mut(&partition) else { return };
        let mut ended = Ended::new();
        let position = owned.checkpoint.position;
        let place = match said {
            Said::Stored(Some(offset)) if planted(Bug::AcknowledgedOnDelivery) => {
                Some((partition, offset, None))
            }
            _ => None,
        };
        if let Err(diverged) = owned.sequencer.reported(stamp, said, position, now, &mut ended) {
            self.rebuild(partition, Degradation::Passed(diverged));
        }
        self.settle(ended, place, now);
    }

    /// Answers what ended and gives the freed keys to those that waited for them, and so on, as long as what is begun ends at once.
    pub(super) fn settle(&mut self, mut ended: Ended, place: Option<Place>, now: NowMs) {
        self.settle_these(&mut ended, place, now);
        self.settle_cut_short(now);
        self.ended = ended;
    }

    /// Settles appends of which sending stopped half-way. Those behind them may fare alike, thousands of them: in a loop, so that
    /// they need no room on the stack.
    fn settle_cut_short(&mut self, now: NowMs) {
        while !self.cut_short.is_empty() {
            let mut ended = std::mem::take(&mut self.cut_short);
            self.settle_these(&mut ended, None, now);
        }
    }

    fn settle_these(&mut self, ended: &mut Ended, place: Option<Place>, now: NowMs) {
        for (settled, _) in ended.iter() {
            self.context.in_flight.release(self.context.overlay.hash(&settled.key), &settled.key);
        }
        for (settled, mut queue) in ended.drain(..) {
            let waiting = settled.ticket;
            let last = Order(settled.first.0 + u64::from(settled.count) - 1);
            let failed = matches!(settled.outcome, Outcome::NotStored(_) | Outcome::Unknown(_));
            // It is not stored and never will be, so it is an append like a new one: checked again, against what the log takes by now.
            let is_resent = matches!(settled.outcome, Outcome::Oversized(_)) && waiting.resent < RESENDS_MAX;
            if is_resent {
                queue.push_front(Waiting { resent: waiting.resent + 1, ..waiting });
            } else {
                let answer = self.answer_to(&waiting.request, settled.outcome, settled.first, last, place);
                self.answers.push((waiting.to, answer.map_err(Refusal::Final)));
            }
            while let Some(mut waiting) = queue.pop_front() {
                if planted(Bug::PredecessorsFailure) && failed {
                    let error = AppendError::Conflict { expected: settled.first, current: Order(last.0 + 1) };
                    self.refuse(waiting, error);
                    continue;
                }
                if !self.is_let_in(&waiting, now) {
                    self.hold_again(std::iter::once(waiting).chain(queue));
                    break;
                }
                let located = self.locate_one(&settled.key).and_then(|mut located| {
                    self.misjudge(&mut waiting, &mut located, settled.first);
                    let partition = self.partition_of(&waiting.request, &located.heads)?;
                    Ok((partition, located))
                });
                match located {
                    Err(error) => self.refuse_or_verify(None, waiting, error),
                    Ok((partition, located)) if self.partitions.contains_key(&partition) => {
                        match self.begin(partition, &located, waiting, queue, now) {
                            Some(rest) => queue = rest,
                            None => break,
                        }
                    }
                    Ok((_, located)) => self.take_in(waiting, &located, now),
                }
            }
        }
    }

    /// What the caller of an append that ended is told.
    fn answer_to(
        &self,
        request: &AppendRequest,
        outcome: Outcome,
        first: Order,
        last: Order,
        place: Option<Place>,
    ) -> Result<Appended, AppendError> {
        let board = &self.context.board;
        match outcome {
            Outcome::Accepted => {
                board.appended.fetch_add(1, Ordering::Relaxed);
                let (partition, offset, timestamp) = place.expect("only an applied record is accepted");
                let timestamp_ms = timestamp.map(|timestamp| timestamp.0);
                Ok(Appended { partition, offset, timestamp_ms, first, last })
            }
            Outcome::Conflict { next } => {
                board.conflicts.fetch_add(1, Ordering::Relaxed);
                Err(match request.expected {
                    Expected::New => AppendError::AlreadyExists { current: next },
                    Expected::At(expected) => AppendError::Conflict { expected, current: next },
                })
            }
            Outcome::NotStored(detail) | Outcome::Oversized(detail) => Err(AppendError::NotStored { detail }),
            Outcome::Unknown(detail) => {
                board.unknown.fetch_add(1, Ordering::Relaxed);
                Err(AppendError::Unknown { detail })
            }
        }
    }

    /// What two planted bugs make of an append that waited.
    fn misjudge(&self, waiting: &mut Waiting, located: &mut Located, before: Order) {
        if let (Heads::One(head), true) = (&located.heads, planted(Bug::RenumberedSuccessor)) {
            waiting.request.expected = Expected::At(head.next);
        }
        if let (Heads::One(head), true) = (&mut located.heads, planted(Bug::StaleSuccessor)) {
            head.next = before.max(Order(1));
        }
    }

    /// Refuses an append that was not sent. What the log may hold beyond what is applied here decides some refusals: those are verified
    /// first. That an aggregate exists, or is further than asked for, stays true whatever the log holds.
    fn refuse_or_verify(&self, partition: Option<Partition>, waiting: Waiting, error: AppendError) {
        let scope = match &error {
            AppendError::NoSuchAggregate { .. }
            | AppendError::ExistingOnly
            | AppendError::PartitionerUnknown { .. } => Some(Scope::All),
            AppendError::Conflict { expected, current } if expected > current => partition.map(Scope::One),
            _ => None,
        };
        match scope.filter(|_| !waiting.is_verified && !planted(Bug::RefusedFromOwnState)) {
            Some(scope) => {
                let Waiting { request, to, place, .. } = waiting;
                let unverified = Unverified { request, place, scope };
                drop(to.send(Err(Refusal::Unverified(Box::new(unverified)))));
            }
            None => self.refuse(waiting, error),
        }
    }

    pub(super) fn refuse(&self, waiting: Waiting, error: AppendError) {
        if matches!(error, AppendError::Conflict { .. } | AppendError::AlreadyExists { .. }) {
            self.context.board.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        drop(waiting.to.send(Err(error.into())));
    }

    /// A store that cannot be asked: nothing was sent, so the append is unavailable.
    pub(super) fn store_trouble(&self, error: &StoreError) -> AppendError {
        match error {
            StoreError::Damaged { detail } => self.context.writer.damaged(self.epoch, detail.clone()),
            StoreError::ReadFailed { detail } => self.context.writer.unreadable(detail.clone()),
            _ => {}
        }
        AppendError::Unavailable(Unready::Store { detail: error.to_string() })
    }
}

fn queue_full(bound: QueueBound) -> Unready {
    let (limit, unit) = match bound {
        QueueBound::Records { records_max } => (records_max, Unit::Records),
        QueueBound::Bytes { bytes_max } => (bytes_max, Unit::Bytes),
    };
    Unready::Overloaded { queue: "the send queue", limit, unit }
}

/// Nothing was sent.
fn send_error(error: SendError) -> AppendError {
    match error {
        SendError::Full(bound) => AppendError::Unavailable(queue_full(bound)),
        SendError::TooLarge { bytes, bytes_max } => AppendError::TooLarge { bytes, bytes_max },
        SendError::Down { detail } | SendError::Fatal { detail } => {
            AppendError::Unavailable(Unready::LogDown { detail })
        }
    }
}
