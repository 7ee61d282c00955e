//! The append sequencer: what a writer may be told, and when. One for each partition and owner.
//!
//! It keeps at most one undecided append per key *in flight*; later ones wait their turn in a bounded queue. An append ends
//! by what the log shows, never by a produce acknowledgement alone:
//!
//! | what happened | outcome |
//! |---|---|
//! | its record (or last member) was applied and accepted | accepted |
//! | it was applied, and its order was taken | conflict |
//! | its batch cannot become whole; it lies too far above its base; a higher number of the incarnation was applied first; the log says "not stored" | not stored |
//! | the report is unknown, and tailing passed the high watermark read after it, or the time is over | unknown |
//!
//! "Not met up to the high watermark" proves nothing, so it ends in *unknown*, never in *not stored*. Freeing the key then is
//! safe: should a copy land later, the accept rule decides it for everyone alike.
//!
//! Pure: time is an argument, sending and looking counts up are the host's work. `T` is whatever the host answers with.

use crate::accept::{Decision, VoidReason};
use crate::{Delivery, Incarnation, Key, Offset, Order, Position, Stamp};
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Debug, Formatter};

/// Milliseconds on any clock that does not run backwards.
pub type NowMs = u64;

/// How long an append is held after a report of unknown outcome before it is answered so.
pub const DOUBT_MS: u64 = 5_000;

/// How long an append that is stored may wait for tailing to reach it. Tailing may have to find a new leader first.
pub const TAIL_WAIT_MS: u64 = 15_000;

const NUMBER_TAKEN: &str = "its number was judged before: another writer has the same name";

const TOO_LATE: &str = "it reached the log too late: a million others were written since it was numbered";

const BATCH_INCOMPLETE: &str = "its batch is incomplete in the log";

/// How an append ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Its events are part of the history.
    Accepted,
    /// Its order was taken; it is not stored as an event and never will be.
    Conflict {
        /// The aggregate's next order when it was decided.
        next: Order,
    },
    /// Not stored, for ever: a retry is safe.
    NotStored(String),
    /// The same, for its size or that of others that it went with.
    Oversized(String),
    /// It may or may not be stored, at most once.
    Unknown(String),
}

/// An append that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled<T> {
    /// Its aggregate, which is free now.
    pub key: Key,
    /// The order of its first event.
    pub first: Order,
    /// How many events it has.
    pub count: u32,
    /// What the host gave.
    pub ticket: T,
    /// How it ended.
    pub outcome: Outcome,
}

/// A record reported as stored at an offset that tailing had passed without meeting it: this is not the log we read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a record was stored at offset {offset}, below position {position}, and was not met there: the log diverged"
)]
pub struct Diverged {
    /// Where the log said it is.
    pub offset: Offset,
    /// The next offset to apply.
    pub position: Position,
}

/// What an append in flight asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its aggregate.
    pub key: Key,
    /// The order of its first event.
    pub first: Order,
    /// How many events it has.
    pub count: u32,
}

/// A moment of a fold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The next offset to apply.
    pub position: Position,
    /// The time.
    pub now: NowMs,
}

/// Names a flight: numbers of one incarnation rise, and incarnations never come back.
type FlightId = (Incarnation, u64);

#[derive(Clone, Debug)]
struct Flight<T> {
    key: Key,
    first: Order,
    count: u32,
    ticket: T,
    /// Members that were applied.
    met: u32,
    doubt: Option<Doubt>,
}

#[derive(Clone, Debug)]
struct Doubt {
    detail: String,
    since: NowMs,
    until: NowMs,
    high: High,
}

/// Whether the high watermark read after the report matters for a doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum High {
    /// The offset is known: tailing will come to it.
    NotWanted,
    Wanted,
    Known(Position),
}

#[derive(Clone, Debug)]
struct Turn<W> {
    flight: FlightId,
    waiting: VecDeque<W>,
}

/// The sequencer of one partition. `W` is an append that waits, `T` the ticket of one in flight.
#[derive(Clone)]
pub struct Sequencer<W, T> {
    incarnation: Incarnation,
    next_number: u64,
    flights: BTreeMap<FlightId, Flight<T>>,
    turns: HashMap<Key, Turn<W>>,
    waiting: usize,
    doubts: usize,
}

impl<W, T> Sequencer<W, T> {
    /// A sequencer that numbers for `incarnation`, which no one ever used before.
    pub fn new(incarnation: Incarnation) -> Self {
        Sequencer {
            incarnation,
            next_number: 1,
            flights: BTreeMap::new(),
            turns: HashMap::new(),
            waiting: 0,
            doubts: 0,
        }
    }

    /// The handle was replaced: numbering begins anew under another name. What is in flight goes on to be resolved.
    pub fn renew(&mut self, incarnation: Incarnation) {
        assert_ne!(incarnation, self.incarnation, "an incarnation is drawn anew for each handle");
        self.incarnation = incarnation;
        self.next_number = 1;
    }

    /// What the next append will be numbered as.
    pub fn next_append(&self) -> (Incarnation, u64) {
        (self.incarnation, self.next_number)
    }

    /// Appends in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Appends waiting for their turn.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether an append of this key is in flight.
    pub fn is_busy(&self, key: &Key) -> bool {
        self.turns.contains_key(key)
    }

    /// What is in flight for a key, and the order of its first event.
    pub fn flight(&self, key: &Key) -> Option<(Order, &T)> {
        let turn = self.turns.get(key)?;
        let flight = self.flights.get(&turn.flight).expect("a turn names a flight");
        Some((flight.first, &flight.ticket))
    }

    /// Queues an append after the one in flight of its key. The host bounds how many wait.
    pub fn wait(&mut self, key: &Key, waiting: W) {
        self.turns.get_mut(key).expect("only a busy key has a queue").waiting.push_back(waiting);
        self.waiting += 1;
    }

    /// Numbers an append whose order was found to be the next one, and puts it in flight; `waiting` are those after it.
    /// Its records are to be sent now, before anything else of this partition.
    pub fn begin(&mut self, claim: Claim, ticket: T, waiting: VecDeque<W>) -> (Incarnation, u64) {
        let Claim { key, first, count } = claim;
        let flight = (self.incarnation, self.next_number);
        self.next_number += 1;
        self.waiting += waiting.len();
        let before = self.turns.insert(key.clone(), Turn { flight, waiting });
        assert!(before.is_none(), "one append per key is in flight");
        self.flights.insert(flight, Flight { key, first, count, ticket, met: 0, doubt: None });
        flight
    }

    /// Takes back an append of which nothing was sent.
    pub fn withdraw(&mut self, flight: (Incarnation, u64)) -> (T, VecDeque<W>) {
        let flight = self.flights.remove(&flight).expect("a withdrawn append is in flight");
        assert!(flight.doubt.is_none() && flight.met == 0, "nothing of a withdrawn append was sent");
        let waiting = self.free(&flight.key);
        (flight.ticket, waiting)
    }

    /// A record was applied. `stamp` is the record's, `decision` what the rule said.
    pub fn applied(&mut self, stamp: Stamp, decision: &Decision, out: &mut Vec<(Settled<T>, VecDeque<W>)>) {
        let id = (stamp.incarnation, stamp.number);
        let outcome = match decision {
            Decision::Void(VoidReason::JudgedBefore) => {
                // A copy of what was met says nothing. A member that was not met came when its batch had expired; an append of
                // which nothing was met has the number of another one, by a handle that drew the same name.
                let met = self.flights.get(&id).map_or(0, |flight| flight.met);
                if met < stamp.i() {
                    let detail = if met > 0 { BATCH_INCOMPLETE } else { NUMBER_TAKEN };
                    out.extend(self.settle(id, Outcome::NotStored(detail.into())));
                }
                return;
            }
            Decision::Skipped => return,
            Decision::Undecided => None,
            Decision::Accepted { .. } | Decision::AcceptedBatch { .. } => Some(Outcome::Accepted),
            Decision::Void(VoidReason::OrderTaken { next, .. }) => Some(Outcome::Conflict { next: *next }),
            Decision::Void(VoidReason::BatchBroken) => Some(Outcome::NotStored(BATCH_INCOMPLETE.into())),
            Decision::Void(VoidReason::BaseTooOld { .. }) => Some(Outcome::NotStored(TOO_LATE.into())),
        };
        while let Some((lower, _)) = self.flights.range((stamp.incarnation, 0)..id).next() {
            let lower = *lower;
            let detail = "a later append of the same writer is in the log without it".into();
            out.extend(self.settle(lower, Outcome::NotStored(detail)));
        }
        match outcome {
            Some(outcome) => out.extend(self.settle(id, outcome)),
            None => {
                if let Some(flight) = self.flights.get_mut(&id) {
                    flight.met = flight.met.max(stamp.i());
                }
            }
        }
    }

    /// The log reported on member `i` of an append.
    pub fn reported(
        &mut self,
        stamp: Stamp,
        delivery: Delivery,
        at: Moment,
        out: &mut Vec<(Settled<T>, VecDeque<W>)>,
    ) -> Result<(), Diverged> {
        let Moment { position, now } = at;
        let id = (stamp.incarnation, stamp.number);
        let Some(flight) = self.flights.get_mut(&id) else { return Ok(()) };
        match delivery {
            Delivery::Stored { offset: Some(offset), .. }
                if offset < position.offset() && flight.met < stamp.i() =>
            {
                let diverged = Diverged { offset, position };
                out.extend(self.settle(id, Outcome::Unknown(diverged.to_string())));
                return Err(diverged);
            }
            Delivery::NotStored { detail } => out.extend(self.settle(id, Outcome::NotStored(detail))),
            Delivery::Oversized { detail } => out.extend(self.settle(id, Outcome::Oversized(detail))),
            Delivery::Stored { .. } if stamp.i() < flight.count => {}
            Delivery::Stored { offset, .. } => {
                let detail = "stored, but reading the log has not reached it".into();
                let high = if offset.is_some() { High::NotWanted } else { High::Wanted };
                self.doubts += usize::from(flight.doubt.is_none());
                flight.doubt.get_or_insert(Doubt { detail, since: now, until: now + TAIL_WAIT_MS, high });
            }
            Delivery::Unknown { detail } => {
                self.doubts += usize::from(flight.doubt.is_none());
                flight.doubt = Some(Doubt { detail, since: now, until: now + DOUBT_MS, high: High::Wanted });
            }
        }
        Ok(())
    }

    /// Whether an append waits for reading to come to it.
    pub fn in_doubt(&self) -> bool {
        self.doubts > 0
    }

    /// Whether an append is in doubt, so that the high watermark should be read for [`probed`](Self::probed).
    pub fn wants_probe(&self) -> bool {
        let wants =
            |flight: &Flight<T>| flight.doubt.as_ref().is_some_and(|doubt| doubt.high == High::Wanted);
        self.doubts > 0 && self.flights.values().any(wants)
    }

    /// The high watermark was read by a query that began at `asked`: it counts for the doubts that were older than that.
    pub fn probed(&mut self, high: Position, asked: NowMs) {
        for doubt in self.flights.values_mut().filter_map(|flight| flight.doubt.as_mut()) {
            if doubt.high == High::Wanted && doubt.since < asked {
                doubt.high = High::Known(high);
            }
        }
    }

    /// Doubts that are over end as unknown.
    pub fn tick(&mut self, at: Moment, out: &mut Vec<(Settled<T>, VecDeque<W>)>) {
        let Moment { position, now } = at;
        if self.doubts == 0 {
            return;
        }
        let passed = |high: High| matches!(high, High::Known(high) if high <= position);
        let over = |doubt: &Doubt| doubt.until <= now || passed(doubt.high);
        let ended: Vec<FlightId> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.doubt.as_ref().is_some_and(over))
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            let flight = self.flights.get(&id).expect("just found");
            let detail = flight.doubt.as_ref().map(|doubt| doubt.detail.clone()).unwrap_or_default();
            out.extend(self.settle(id, Outcome::Unknown(detail)));
        }
    }

    /// When [`tick`](Self::tick) is due next for the time alone.
    pub fn deadline(&self) -> Option<NowMs> {
        if self.doubts == 0 {
            return None;
        }
        self.flights.values().filter_map(|flight| flight.doubt.as_ref()).map(|doubt| doubt.until).min()
    }

    /// Ends everything in flight as unknown: at the end of a shutdown, or when the log is another one.
    pub fn give_up(&mut self, detail: &str, out: &mut Vec<(Settled<T>, VecDeque<W>)>) {
        while let Some((id, _)) = self.flights.first_key_value() {
            let id = *id;
            out.extend(self.settle(id, Outcome::Unknown(detail.into())));
        }
    }

    /// Takes every append that waits; what is in flight stays.
    pub fn take_waiting(&mut self) -> Vec<W> {
        self.waiting = 0;
        let turns = &mut self.turns;
        // By flight: a map's own order is random, and what happens must follow from what came in alone.
        let queues = self
            .flights
            .values()
            .filter_map(|flight| turns.get_mut(&flight.key).map(|turn| std::mem::take(&mut turn.waiting)));
        queues.flatten().collect()
    }

    fn settle(&mut self, id: FlightId, outcome: Outcome) -> Option<(Settled<T>, VecDeque<W>)> {
        let Flight { key, first, count, ticket, doubt, .. } = self.flights.remove(&id)?;
        self.doubts -= usize::from(doubt.is_some());
        let waiting = self.free(&key);
        Some((Settled { key, first, count, ticket, outcome }, waiting))
    }

    fn free(&mut self, key: &Key) -> VecDeque<W> {
        let turn = self.turns.remove(key).expect("a flight has a turn");
        self.waiting -= turn.waiting.len();
        turn.waiting
    }
}

/// The same state is the same text, so that runs can be compared by it.
impl<W: Debug, T: Debug> Debug for Sequencer<W, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Sequencer { incarnation, next_number, flights, turns, waiting, doubts } = self;
        let turns: BTreeMap<_, _> = turns.iter().collect();
        f.debug_struct("Sequencer")
            .field("incarnation", incarnation)
            .field("next_number", next_number)
            .field("flights", flights)
            .field("turns", &turns)
            .field("waiting", waiting)
            .field("doubts", doubts)
            .finish()
    }
}

#[cfg(test)]
mod tests;
