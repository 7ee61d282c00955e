//! One caller: it calls, waits for the answer, and calls again, until its time is over.

use super::latencies::Latencies;
use bkes_api::{
    Append, AppendFailure, Appended, EventStore, Failure, Freshness, Key, Order, Read, Reason, TaggedAppend,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::StreamExt;

/// Events of an aggregate that is read.
const READ_EVENTS: usize = 10;

/// The pause after a call that failed, unless the server asks for a longer one: a server that refuses is not asked a million times.
const PAUSE: Duration = Duration::from_millis(10);

/// How long answers are waited for after the end.
const LATE: Duration = Duration::from_secs(30);

/// What a caller does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// It appends.
    Appends,
    /// It reads.
    Reads,
    /// It does both in turn.
    Mixed,
    /// It appends over a stream.
    Stream {
        /// So many at once.
        in_flight: usize,
    },
}

/// What every caller does, and with what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it does.
    pub deed: Deed,
    /// The value of each event.
    pub value: Bytes,
}

/// What calls came to.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// The times of appends that were stored.
    pub appends: Latencies,
    /// The times of reads that were whole.
    pub reads: Latencies,
    /// Calls that ended otherwise, by their reason.
    pub errors: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Calls that were answered as they should be.
    pub fn answered(&self) -> u64 {
        self.appends.count() + self.reads.count()
    }

    /// Takes in another one.
    pub fn add(&mut self, other: Tally) {
        self.appends.add(&other.appends);
        self.reads.add(&other.reads);
        for (reason, count) in other.errors {
            *self.errors.entry(reason).or_default() += count;
        }
    }

    fn failed(&mut self, reason: Reason) {
        *self.errors.entry(reason.name()).or_default() += 1;
    }
}

/// An aggregate of a caller.
struct Owned {
    key: Key,
    /// Its next order; `None` if an append of it ended unknown, or failed in a way that may have changed it.
    next: Option<Order>,
}

/// One caller.
pub struct Caller {
    store: Arc<dyn EventStore>,
    plan: Plan,
    owned: Vec<Owned>,
    tally: Tally,
}

impl Caller {
    /// One without keys yet.
    pub fn new(store: Arc<dyn EventStore>, plan: Plan) -> Caller {
        Caller { store, plan, owned: Vec::new(), tally: Tally::default() }
    }

    /// With a key that nobody has.
    pub fn own(&mut self, key: Key) {
        self.owned.push(Owned { key, next: Some(Order::FIRST) });
    }

    /// Appends what is to be read.
    pub async fn prepare(&mut self) -> Result<(), AppendFailure> {
        if !matches!(self.plan.deed, Deed::Reads | Deed::Mixed) {
            return Ok(());
        }
        for owned in &mut self.owned {
            let mut append = Append::start(owned.key.clone());
            append.events = vec![self.plan.value.clone().into(); READ_EVENTS];
            let stored = self.store.append(append).await?;
            owned.next = stored.last.plus(1);
        }
        Ok(())
    }

    /// Calls until then.
    pub async fn run(mut self, until: Instant) -> Tally {
        match self.plan.deed {
            Deed::Stream { in_flight } => self.stream(in_flight, until).await,
            deed => {
                let mut turn = 0;
                while Instant::now() < until {
                    let place = turn % self.owned.len();
                    // Each aggregate is appended to and read in turn.
                    let is_read = deed == Deed::Reads
                        || deed == Deed::Mixed && (turn / self.owned.len() + place) % 2 == 1;
                    match is_read {
                        true => self.read(place).await,
                        false => self.append(place).await,
                    }
                    turn += 1;
                }
            }
        }
        self.tally
    }

    async fn append(&mut self, place: usize) {
        let Some(next) = self.next_of(place).await else { return };
        let append = Append::at(self.owned[place].key.clone(), next).event(self.plan.value.clone());
        let began = Instant::now();
        let answer = self.store.append(append).await;
        self.answered(place, answer, began);
        if self.owned[place].next.is_none() {
            sleep(PAUSE).await;
        }
    }

    fn answered(&mut self, place: usize, answer: Result<Appended, AppendFailure>, began: Instant) {
        match answer {
            Ok(stored) => {
                self.tally.appends.record(began.elapsed());
                self.owned[place].next = stored.last.plus(1);
            }
            Err(failure) => {
                self.tally.failed(failure.reason());
                self.owned[place].next = None;
            }
        }
    }

    /// The order that an aggregate's next event takes. It is asked for where an append may have changed it.
    async fn next_of(&mut self, place: usize) -> Option<Order> {
        let owned = &mut self.owned[place];
        if owned.next.is_none() {
            match self.store.head(owned.key.clone(), Freshness::Latest).await {
                Ok(head) => owned.next = Some(head.map_or(Order::FIRST, |head| head.next)),
                Err(failure) => self.refused(failure).await,
            }
        }
        self.owned[place].next
    }

    async fn read(&mut self, place: usize) {
        let began = Instant::now();
        match self.read_whole(place).await {
            Ok(()) => self.tally.reads.record(began.elapsed()),
            Err(failure) => self.refused(failure).await,
        }
    }

    async fn read_whole(&self, place: usize) -> Result<(), Failure> {
        let mut pages =
            self.store.read(Read::last(self.owned[place].key.clone(), READ_EVENTS as u64)).await?;
        while let Some(page) = pages.next().await {
            if page?.end.is_some() {
                return Ok(());
            }
        }
        Err(Failure::new(Reason::AnswerLost, "a read ended without its end"))
    }

    async fn refused(&mut self, failure: Failure) {
        self.tally.failed(failure.reason);
        sleep(failure.retry_after.unwrap_or_default().max(PAUSE)).await;
    }

    /// Keeps so many appends in flight on one stream, each of another aggregate. A stream that ends is begun again.
    async fn stream(&mut self, in_flight: usize, until: Instant) {
        while Instant::now() < until {
            let (to, appends) = mpsc::channel(in_flight);
            let appends = tokio_stream::wrappers::ReceiverStream::new(appends);
            let mut answers = match self.store.append_stream(Box::pin(appends)).await {
                Ok(answers) => answers,
                Err(failure) => {
                    self.refused(failure).await;
                    continue;
                }
            };
            let mut flying: BTreeMap<u64, (usize, Instant)> = BTreeMap::new();
            let mut turn = 0;
            loop {
                while flying.len() < in_flight && Instant::now() < until {
                    let place = self.free_after(&mut turn, &flying);
                    let Some(next) = self.next_of(place).await else { break };
                    let append =
                        Append::at(self.owned[place].key.clone(), next).event(self.plan.value.clone());
                    let tagged = TaggedAppend { tag: turn, append, stands_alone: false };
                    if to.send(tagged).await.is_err() {
                        break;
                    }
                    flying.insert(turn, (place, Instant::now()));
                }
                if flying.is_empty() {
                    break;
                }
                let Ok(Some(answer)) = timeout_at(until + LATE, answers.next()).await else { break };
                if let Some((place, began)) = flying.remove(&answer.tag) {
                    self.answered(place, answer.answer, began);
                }
            }
            // What was not answered is unknown.
            for (place, _) in flying.into_values() {
                self.tally.failed(Reason::AnswerLost);
                self.owned[place].next = None;
            }
        }
    }

    /// The next aggregate in turn that has no append in flight: there are more aggregates than that.
    fn free_after(&self, turn: &mut u64, flying: &BTreeMap<u64, (usize, Instant)>) -> usize {
        loop {
            *turn += 1;
            let place = (*turn % self.owned.len() as u64) as usize;
            if flying.values().all(|(other, _)| *other != place) {
                return place;
            }
        }
    }
}
