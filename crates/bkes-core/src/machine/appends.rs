//! Appends: judged by what is known, numbered, sent, and reported on.

use super::fingerprint::checksum;
use super::ids::NotSent;
use super::{Answer, Append, Known, Located, PartitionMachine, Send, Sent, Step};
use crate::append::{AppendError, AppendRequest, EventContent, Expected, Unready};
use crate::checksum::PayloadSum;
use crate::limits::ORDER_MAX;
use crate::machine::limits::MARKER_BYTES_MAX;
use crate::marker::{BatchPlace, Marker, Stamp};
use crate::sequence::{Claim, Moment};
use crate::{Delivery, Header, Incarnation, Order, Position, Token};
use std::collections::VecDeque;

impl<T> PartitionMachine<T> {
    /// An append waits for the one of its key that is in flight, or is sent.
    pub(super) fn on_append(&mut self, append: Box<Append<T>>, located: Located, step: Step<'_, T>) {
        let Some(append) = self.wait(append) else { return };
        if let Some(rest) = self.begin(append, located.known, VecDeque::new(), step) {
            debug_assert!(rest.is_empty(), "nobody waits behind a new one");
        }
    }

    /// An append waits for the one of its key that is in flight here, wherever its aggregate lives by now.
    pub(super) fn on_wait(&mut self, append: Box<Append<T>>) {
        if let Some(append) = self.wait(append) {
            self.work.rerouted.push((self.partition, append));
        }
    }

    /// Has an append wait for the one of its key that is in flight; gives it back if there is none.
    fn wait(&mut self, append: Box<Append<T>>) -> Option<Box<Append<T>>> {
        if !self.sequencer.is_busy(&append.request.key) {
            return Some(append);
        }
        let key = append.request.key.clone();
        self.sequencer.wait(&key, append);
        None
    }

    /// Numbers an append and has it sent if its order is the next one and none of its key is undecided anywhere. Gives back those after
    /// it if nothing was put in flight.
    pub(super) fn begin(
        &mut self,
        mut append: Box<Append<T>>,
        known: Known,
        rest: VecDeque<Box<Append<T>>>,
        step: Step<'_, T>,
    ) -> Option<VecDeque<Box<Append<T>>>> {
        if step.lookup.is_gone(&append.ticket) {
            return Some(rest);
        }
        let key = append.request.key.clone();
        if let Err(elsewhere) = step.lookup.claim(&key) {
            // Since the one before it was begun, the key's place has become another one.
            let all = std::iter::once(append).chain(rest);
            self.work.rerouted.extend(all.map(|append| (elsewhere, append)));
            return None;
        }
        let judged = self.judge(&mut append, known, step).and_then(|first| {
            self.oversized_member(&append, first, step).map_or(Ok(first), |error| Err(error.into()))
        });
        let not_sent = match judged {
            Ok(first) => {
                self.number(append, first, known, rest);
                return None;
            }
            Err(not_sent) => not_sent,
        };
        step.lookup.release(&key);
        match not_sent {
            NotSent::Refused(error) => self.refuse(append, error),
            NotSent::Found(first) => self.work.answers.push(Answer::Found { append, first }),
            NotSent::Unverified(scope) => self.work.answers.push(Answer::Unverified { append, scope }),
        }
        Some(rest)
    }

    /// Everything that is known before sending: whether an earlier try was stored, whether it can be decided at all, and whether its order
    /// is the next one.
    fn judge(&self, append: &mut Append<T>, known: Known, step: Step<'_, T>) -> Result<Order, NotSent> {
        // What was stored stays stored, whatever hinders others now.
        if !self.is_stopping && self.degradation.is_none() {
            self.look_for_id(append, known.head, step)?;
        }
        let (request, partition) = (&append.request, self.partition);
        self.serving(step).map_err(AppendError::Unavailable)?;
        if self.checkpoint.cut && !self.settings.allow_cut {
            return Err(AppendError::Cut { partition }.into());
        }
        let order = match (request.expected, known.head.map(|head| head.next)) {
            (Expected::New | Expected::Any, None) => Order::FIRST,
            (Expected::New, Some(current)) => return Err(AppendError::AlreadyExists { current }.into()),
            (Expected::At(_) | Expected::Exists, None) => return Err(request.no_such_aggregate().into()),
            (Expected::Exists | Expected::Any, Some(current)) => current,
            (Expected::At(expected), Some(current)) if expected == current => expected,
            (Expected::At(expected), Some(current)) => {
                return Err(AppendError::Conflict { expected, current }.into());
            }
        };
        // Only the base of a cut aggregate can be so high. A record of such an order would not be read as marked.
        if order.plus(request.events.len() as u64).is_none_or(|next| next.0 > ORDER_MAX) {
            return Err(AppendError::Cut { partition }.into());
        }
        let mut load = self.work.sending;
        load.add(append.load);
        step.lookup.has_room(load).map_err(AppendError::Unavailable)?;
        Ok(order)
    }

    /// Whether an append could be decided now, or why not.
    pub(super) fn serving(&self, step: Step<'_, T>) -> Result<(), Unready> {
        let partition = self.partition;
        if self.is_stopping {
            return Err(Unready::ShuttingDown);
        }
        if let Some(reason) = &self.degradation {
            return Err(Unready::Degraded { partition, detail: reason.to_string() });
        }
        if !self.is_caught_up {
            let applied = self.checkpoint.position;
            let target = self.target.map(|target| target.max(applied).0);
            return Err(Unready::CatchingUp { applied: applied.0, target });
        }
        if let Some(unready) = step.lookup.unsendable() {
            return Err(unready);
        }
        if self.is_stalled {
            return Err(Unready::Stalled { partition, stable: self.marks.stable, high: self.marks.high });
        }
        let lag_ms = self.lagging_since.map_or(0, |since| step.now.saturating_sub(since));
        if lag_ms >= self.settings.ready_lag_ms {
            return Err(Unready::Lagging { partition, lag_ms });
        }
        Ok(())
    }

    /// Whether appends are taken now.
    pub fn is_serving(&self, now: crate::sequence::NowMs, lookup: &dyn super::Lookup<T>) -> bool {
        self.serving(Step { now, lookup }).is_ok()
    }

    /// The first member of a batch that is larger than the log takes. A batch is looked at as a whole before anything of it is sent:
    /// what was sent of one that cannot become whole would be void for ever. A single event is looked at when it is sent.
    fn oversized_member(&self, append: &Append<T>, first: Order, step: Step<'_, T>) -> Option<AppendError> {
        let request = &append.request;
        if request.events.len() == 1 {
            return None;
        }
        let bytes_max = step.lookup.record_bytes_max()?;
        let content = |event: &EventContent| request.key.bytes().len() as u64 + event.framed_bytes();
        let is_near = |(_, event): &(usize, &EventContent)| content(event) + MARKER_BYTES_MAX > bytes_max;
        let numbering = Numbering {
            append: self.sequencer.next_append(),
            first,
            count: request.events.len() as u32,
            base: self.checkpoint.position,
        };
        let sized = request.events.iter().enumerate().filter(is_near).map(|(index, event)| {
            let payload = PayloadSum::of(Some(request.key.as_ref()), event.value.as_deref());
            let marker = numbering.marker(index).headers(payload);
            content(event) + marker.iter().map(Header::bytes).sum::<usize>() as u64
        });
        let bytes = sized.max().filter(|bytes| *bytes > bytes_max)?;
        Some(AppendError::TooLarge { bytes, bytes_max })
    }

    /// Puts an append in flight.
    fn number(&mut self, append: Box<Append<T>>, first: Order, known: Known, rest: VecDeque<Box<Append<T>>>) {
        let AppendRequest { key, events, .. } = &append.request;
        let (count, base, number) =
            (events.len() as u32, self.checkpoint.position, self.sequencer.next_append());
        let numbering = Numbering { append: number, first, count, base };
        for (index, content) in events.iter().enumerate() {
            let marker = numbering.marker(index);
            let payload = PayloadSum::of(Some(key.as_ref()), content.value.as_deref());
            let mut headers = Vec::with_capacity(2 + content.headers.len());
            headers.extend(marker.headers(payload));
            headers.extend(content.headers.iter().cloned());
            let crc32c = checksum(payload, &headers);
            let token = self.next_token;
            self.next_token += 1;
            let sent = Sent { marker, key: key.clone(), content: content.clone(), crc32c, known };
            self.sent_load.add(sent.load());
            self.sent.insert(token, sent);
            let (key, value) = (key.bytes().clone(), content.value.clone());
            self.work.sends.push(Send { token, append: number, key, value, headers });
        }
        self.work.sending.add(append.load);
        let claim = Claim { key: append.request.key.clone(), first, count };
        let begun = self.sequencer.begin(claim, append, rest);
        debug_assert_eq!(begun, number, "numbers are given in turn");
    }

    /// The log reported on a record.
    pub(super) fn on_report(&mut self, token: Token, delivery: Delivery, step: Step<'_, T>) {
        if let Delivery::Stored { offset: Some(offset), timestamp: Some(timestamp) } = delivery
            && self.apply_unread(token, offset, timestamp, step)
        {
            return;
        }
        self.delivered(token, delivery, step);
    }

    fn moment(&self, step: Step<'_, T>) -> Moment {
        Moment { position: self.checkpoint.position, now: step.now }
    }

    /// A record is no longer on its way, and was not applied by its report.
    fn delivered(&mut self, token: Token, delivery: Delivery, step: Step<'_, T>) {
        let Some(Sent { marker: Marker { stamp, .. }, .. }) = self.arrived(token) else { return };
        let at = self.moment(step);
        if let Err(diverged) = self.sequencer.reported(stamp, delivery, at, &mut self.ended) {
            self.rebuild(super::Degradation::Passed(diverged));
        }
        self.settle(None, step);
    }

    /// A record is no longer on its way.
    pub(super) fn arrived(&mut self, token: Token) -> Option<Sent> {
        let sent = self.sent.remove(&token)?;
        self.sent_load.sub(sent.load());
        Some(sent)
    }

    /// The send queue did not take a record, nor any after it of the same append.
    pub(super) fn on_send_failed(
        &mut self,
        token: Token,
        detail: &str,
        error: AppendError,
        step: Step<'_, T>,
    ) {
        let Some(Sent { marker: Marker { stamp, .. }, key, .. }) = self.arrived(token) else { return };
        let (i, count) = (stamp.i(), stamp.count());
        for later in 1..=u64::from(count - i) {
            drop(self.arrived(token + later));
        }
        if i == 1 {
            let (append, rest) = self.sequencer.withdraw((stamp.incarnation, stamp.number));
            step.lookup.release(&key);
            self.work.answers.push(Answer::Failed { ticket: append.ticket, error });
            return self.go_on(&key, rest, step);
        }
        // The rest is never sent later, so the batch can never become whole.
        let detail = format!("sending stopped at event {i} of {count}: {detail}");
        let (at, not_stored) = (self.moment(step), Delivery::NotStored { detail });
        let told = self.sequencer.reported(stamp, not_stored, at, &mut self.ended);
        debug_assert!(told.is_ok(), "only a stored record can diverge");
        self.settle(None, step);
    }

    /// Nothing more will be reported on what was sent.
    pub(super) fn on_handle_failed(&mut self, detail: &str, step: Step<'_, T>) {
        let mut open: Vec<Token> = self.sent.keys().copied().collect();
        // In the order of sending: the map's own order is random, and no answer may depend on it.
        open.sort_unstable();
        for token in open {
            let detail = format!("the producer handle failed: {detail}");
            self.delivered(token, Delivery::Unknown { detail }, step);
        }
    }

    /// What waits is refused, and what comes.
    pub(super) fn on_stop(&mut self) {
        self.is_stopping = true;
        for append in self.sequencer.take_waiting() {
            self.refuse(append, AppendError::Unavailable(Unready::ShuttingDown));
        }
    }

    /// The time for what was sent is over.
    pub(super) fn on_give_up(&mut self, step: Step<'_, T>) {
        self.sequencer.give_up("the server stopped before the log answered", &mut self.ended);
        self.settle(None, step);
    }

    /// Doubts that are over end as unknown.
    pub(super) fn on_tick(&mut self, step: Step<'_, T>) {
        self.sequencer.tick(self.moment(step), &mut self.ended);
        self.work.wants_watermarks |= self.sequencer.wants_probe();
        self.settle(None, step);
    }
}

/// How the records of an append are numbered.
struct Numbering {
    append: (Incarnation, u64),
    first: Order,
    count: u32,
    base: Position,
}

impl Numbering {
    /// The marker of the record at an index.
    fn marker(&self, index: usize) -> Marker {
        let Numbering { append: (incarnation, number), first, count, base } = *self;
        let place = (count > 1).then_some(BatchPlace { i: index as u32 + 1, count });
        Marker { stamp: Stamp { incarnation, number, place }, order: Order(first.0 + index as u64), base }
    }
}
