//! One who follows, polled by hand, and records as any writer may leave them in a log.

use super::{Bench, poll};
use bkes_api::{BoxStream, Event, Failure, Follow, FollowFrom, FollowItem, Followed, Origin, Positions};
use bkes_core::checksum::PayloadSum;
use bkes_core::{
    AcceptRule, BatchPlace, Decision, Header, Incarnation, Marker, Offset, Order, Partition, Position,
    Record, Stamp,
};
use bkes_engine::EngineHandle;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use tokio_stream::Stream;

/// An event as the tests compare it: partition, offset, key, order, value.
pub type Shown = (u32, u64, String, u64, String);

/// One who follows, and what was shown.
pub struct Follows {
    stream: BoxStream<Result<FollowItem, Failure>>,
    woken: Arc<Woken>,
    pub shown: Vec<Shown>,
    /// Everything else that came: `caught up`, `fell behind`, `positions`.
    pub told: Vec<&'static str>,
    /// How many events each message had.
    pub groups: Vec<usize>,
    pub events: Vec<Event>,
    pub positions: Positions,
    pub failure: Option<Failure>,
    pub has_ended: bool,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub fn all(from: FollowFrom) -> Follow {
    Follow { from, ..Follow::default() }
}

pub fn of(followed: Followed, from: FollowFrom) -> Follow {
    Follow { followed, from, ..Follow::default() }
}

pub fn at(positions: &[(u32, u64)]) -> FollowFrom {
    let of = positions.iter().map(|(partition, position)| (Partition(*partition), Position(*position)));
    FollowFrom::Positions(Positions { topic: None, of: of.collect() })
}

impl Follows {
    /// Follows; what that waits for of the verifier and of owners is done.
    pub fn try_on(bench: &mut Bench, follow: Follow) -> Result<Follows, Failure> {
        let handle: EngineHandle = bench.handle.clone();
        let mut beginning = Box::pin(async move { handle.follow(follow).await });
        for _ in 0..10 {
            if let Some(stream) = poll(&mut beginning) {
                bench.step_owners();
                return stream.map(Follows::of);
            }
            bench.step_verifier();
            bench.step_owners();
        }
        panic!("following is not begun")
    }

    pub fn on(bench: &mut Bench, follow: Follow) -> Follows {
        Follows::try_on(bench, follow).expect("following is begun")
    }

    fn of(stream: BoxStream<Result<FollowItem, Failure>>) -> Follows {
        Follows {
            stream,
            woken: Arc::default(),
            shown: Vec::new(),
            told: Vec::new(),
            groups: Vec::new(),
            events: Vec::new(),
            positions: Positions::default(),
            failure: None,
            has_ended: false,
        }
    }

    /// Takes one item that is there.
    pub fn next(&mut self) -> bool {
        let waker = Arc::clone(&self.woken).into();
        loop {
            self.woken.0.store(false, Ordering::SeqCst);
            match Pin::new(&mut self.stream).poll_next(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(item)) => {
                    self.take(item);
                    return true;
                }
                Poll::Ready(None) => {
                    self.has_ended = true;
                    return false;
                }
                Poll::Pending if self.woken.0.load(Ordering::SeqCst) => {}
                Poll::Pending => return false,
            }
        }
    }

    /// Whether something may be new since the last item.
    pub fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// Takes all that is there.
    pub fn drain(&mut self) -> &mut Follows {
        while self.next() {}
        self
    }

    /// Takes all that comes until it has caught up.
    pub fn catch_up(&mut self, bench: &mut Bench) -> &mut Follows {
        bench.run_until("it has caught up", |_| {
            self.drain();
            self.told.contains(&"caught up") || self.failure.is_some()
        });
        assert_eq!(self.failure, None);
        self
    }

    fn take(&mut self, item: Result<FollowItem, Failure>) {
        assert_eq!(self.failure, None, "nothing comes after it has failed");
        match item {
            Ok(FollowItem::Events(events)) => {
                assert!(!events.is_empty());
                self.groups.push(events.len());
                for followed in events {
                    let event = followed.event;
                    let key = String::from_utf8_lossy(followed.key.as_ref()).into_owned();
                    let value = String::from_utf8_lossy(event.value_bytes()).into_owned();
                    self.shown.push((event.partition.0, event.offset.0, key, event.order.0, value));
                    self.events.push(event);
                }
            }
            Ok(FollowItem::CaughtUp) => self.told.push("caught up"),
            Ok(FollowItem::FellBehind) => self.told.push("fell behind"),
            Ok(FollowItem::Positions(positions)) => {
                for (partition, position) in &positions.of {
                    let before = self.positions.get(*partition).unwrap_or_default();
                    assert!(before <= *position, "positions rise");
                    // Everything below it was shown: what is shown later lies at it or above.
                }
                self.told.push("positions");
                self.positions = positions;
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// What was shown of a partition.
    pub fn of_partition(&self, partition: u32) -> Vec<Shown> {
        self.shown.iter().filter(|shown| shown.0 == partition).cloned().collect()
    }

    pub fn position(&self, partition: u32) -> u64 {
        self.positions.get(Partition(partition)).expect("it was told").0
    }
}

/// Where the last record of an event's append lies, if it can be told by itself.
pub fn is_last_of_append(event: &Event) -> bool {
    match &event.origin {
        Origin::Bkes { batch: Some(place), .. } => place.i == place.count,
        _ => true,
    }
}

/// Names from here on no engine of the tests has.
const NAMES: u64 = 1 << 40;

/// The headers of a record that a writer numbered.
pub fn marked(
    key: &str,
    value: &str,
    (writer, number): (u64, u64),
    (order, place): (u64, Option<(u32, u32)>),
) -> Vec<Header> {
    let place = place.map(|(i, count)| BatchPlace { i, count });
    let stamp = Stamp { incarnation: Incarnation(NAMES + writer), number, place };
    let marker = Marker { stamp, order: Order(order), base: Position(0) };
    marker.headers(PayloadSum::of(Some(key.as_bytes()), Some(value.as_bytes()))).into()
}

/// The accept rule, applied to the records of a partition as they lie: what must be shown, append by append, each with where its last
/// record lies.
pub fn model(partition: u32, records: Vec<Record>) -> Vec<(u64, Vec<Shown>)> {
    let mut rule = AcceptRule::new(Position::START);
    let mut next: BTreeMap<Bytes, u64> = BTreeMap::new();
    let mut appends = Vec::new();
    for record in records {
        let (Offset(last), key) = (record.offset, record.key.clone().unwrap_or_default());
        let applied = rule.apply(record, next.get(&key).copied().map(Order)).expect("a known format");
        let (first, records) = match applied.decision {
            Decision::Accepted { order, record } => (order, vec![record]),
            Decision::AcceptedBatch { first, records } => (first, records),
            Decision::Skipped | Decision::Undecided | Decision::Void(_) => continue,
        };
        let shown = |(order, record): (u64, &Record)| -> Shown {
            let text = |bytes: &Option<Bytes>| {
                String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned()
            };
            (partition, record.offset.0, text(&record.key), order, text(&record.value))
        };
        let append: Vec<Shown> = (first.0..).zip(&records).map(shown).collect();
        next.insert(key, first.0 + append.len() as u64);
        appends.push((last, append));
    }
    appends
}
