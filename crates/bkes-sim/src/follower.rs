//! A follower: it follows one instance after the other, is slow or killed, and goes on at the positions that it was told last.
//!
//! It has random numbers of its own, so that the other events of a run do not depend on how many it draws. What it was shown goes to the
//! checker, stream by stream.

mod start;

use self::start::Start;
use crate::lock::locked;
use crate::recorder::{Recorder, headers_of, id_of};
use bkes_api::{BoxStream, Failure, Follow, FollowItem, Origin, Positions, Reason};
use bkes_check::{ClientId, Event, FollowStream, Followed, FollowedItem, InstanceId};
use bkes_core::{Partition, Position};
use bkes_engine::EngineHandle;
use bkes_testkit::log::SimulatedLog;
use fastrand::Rng;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::task::{Context, Poll, Waker};

/// What followers meet, counted.
pub const FOLLOWING: &[&str] = &[
    "from the beginning",
    "from now on",
    "from positions",
    "from within a batch",
    "on the same instance again",
    "on another instance",
    "events",
    "caught up",
    "fell behind",
    "follower killed",
    "follower lost its instance",
    "ended by a stop",
    "ended for now",
    "refused",
];

/// Items that are taken at once at most, by one that is not slow.
const ITEMS_MAX: usize = 64;

/// A follower.
pub struct Follower {
    id: ClientId,
    random: Rng,
    followed: Followed,
    /// What it was told; nothing before its first stream has told it any, and when it has to begin anew.
    told: Option<Positions>,
    last: Option<InstanceId>,
    /// It opens no stream before that.
    rests_until: u64,
    /// It takes an item now and then.
    is_slow: bool,
    open: Option<Open>,
    streams: Vec<FollowStream>,
}

/// The stream that is open, or being opened.
struct Open {
    record: FollowStream,
    items: Items,
}

enum Items {
    Asked(Pin<Box<dyn Future<Output = Result<Coming, Failure>> + Send>>),
    Coming(Coming),
}

type Coming = BoxStream<Result<FollowItem, Failure>>;

/// What a follower sees of the world.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Where everything is written down.
    pub recorder: &'a Recorder,
    /// The topic.
    pub log: &'a SimulatedLog,
    /// Milliseconds of the world.
    pub now: u64,
}

/// An instance that can be asked.
pub struct Served {
    /// Which one.
    pub instance: InstanceId,
    /// The way in.
    pub handle: EngineHandle,
}

/// The followers of a run. Each may be in the middle of a step when another part gets the processor.
pub struct Followers(Vec<Mutex<Follower>>);

impl Followers {
    /// Those of a run, drawn from a seed of their own.
    pub fn new(count: u32, keys: &[bkes_core::Key], mut random: Rng) -> Followers {
        let one = |number| {
            let random = random.fork();
            Mutex::new(Follower::new(ClientId(700 + number), keys, random))
        };
        Followers((0..count).map(one).collect())
    }

    /// All of them. None is in the middle of a step.
    pub fn iter(&self) -> impl Iterator<Item = MutexGuard<'_, Follower>> {
        self.0.iter().map(locked)
    }

    /// One of them by a number that was drawn, unless there is none, or it is in the middle of a step.
    pub fn one(&self, drawn: usize) -> Option<MutexGuard<'_, Follower>> {
        match self.0.get(drawn % self.0.len().max(1))?.try_lock() {
            Ok(follower) => Some(follower),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Follower {
    fn new(id: ClientId, keys: &[bkes_core::Key], mut random: Rng) -> Follower {
        let (followed, is_slow) = (start::followed(keys, &mut random), random.u32(..3) == 0);
        let (told, last, open, streams) = (None, None, None, Vec::new());
        Follower { id, random, followed, told, last, rests_until: 0, is_slow, open, streams }
    }

    /// The instance whose stream it has, and when that began.
    pub fn at(&self) -> Option<(InstanceId, u64)> {
        self.open.as_ref().map(|open| (open.record.instance, open.record.begin))
    }

    /// Goes on: opens a stream on one of these instances, or takes from the one that it has. Now and then it is killed.
    pub fn go_on(&mut self, around: Around<'_>, served: &[Served]) {
        if self.open.is_none() {
            return self.open(around, served);
        }
        if self.random.u32(..60) == 0 {
            around.recorder.followed("follower killed");
            return self.leave(around);
        }
        let most = match self.is_slow {
            true => self.random.usize(..2),
            false => self.random.usize(1..ITEMS_MAX),
        };
        self.take(around.recorder, most);
    }

    /// Opens a stream unless it has one, and takes all there is.
    pub fn catch_up(&mut self, around: Around<'_>, served: &[Served]) {
        self.open(around, served);
        self.take(around.recorder, usize::MAX);
    }

    /// Lets its stream go; it opens another one after a while.
    pub fn leave(&mut self, around: Around<'_>) {
        self.close();
        self.rests_until = around.now + self.random.u64(..1_500);
    }

    /// Its instance is gone.
    pub fn lose(&mut self, around: Around<'_>) {
        around.recorder.followed("follower lost its instance");
        self.leave(around);
    }

    /// It forgets what it was told, in half of the cases, and begins elsewhere.
    pub fn may_begin_anew(&mut self) {
        if self.random.bool() {
            self.close();
            self.told = None;
            self.rests_until = 0;
        }
    }

    /// Whether it was told of everything up to these ends.
    pub fn is_at(&self, ends: &[(Partition, Position)]) -> bool {
        let is_followed = |partition: &Partition| match &self.followed {
            Followed::Partitions(some) => some.contains(partition),
            Followed::All | Followed::Prefix(_) | Followed::Key(_) => true,
        };
        let told = |partition| self.told.as_ref().and_then(|told| told.get(partition));
        let mut ends = ends.iter().filter(|(partition, _)| is_followed(partition));
        ends.all(|(partition, end)| told(*partition).is_some_and(|position| position >= *end))
    }

    /// Who it is and how far it has come, to be read.
    pub fn describe(&self) -> String {
        let told = self.told.as_ref().map(|told| &told.of);
        format!("follower {} of {:?}, at {:?}, has come to {told:?}", self.id.0, self.followed, self.at())
    }

    /// Its end: what it was shown.
    pub fn end(&mut self) -> bkes_check::Follower {
        self.close();
        let (followed, streams) = (self.followed.clone(), std::mem::take(&mut self.streams));
        bkes_check::Follower { client: self.id, followed, streams }
    }

    fn close(&mut self) {
        self.streams.extend(self.open.take().map(|open| open.record));
    }

    fn open(&mut self, around: Around<'_>, served: &[Served]) {
        if self.open.is_some() || served.is_empty() || self.rests_until > around.now {
            return;
        }
        let Served { instance, handle } = &served[self.random.usize(..served.len())];
        let start = match &self.told {
            Some(told) => {
                let is_same = self.last == Some(*instance);
                let how = if is_same { "on the same instance again" } else { "on another instance" };
                around.recorder.followed(how);
                Start::at(told.clone())
            }
            None => start::draw(around, &mut self.random),
        };
        self.last = Some(*instance);
        let Start { from, begins } = start;
        let follow =
            Follow { followed: start::asked(&self.followed), from, with_headers: self.random.bool() };
        around.recorder.say(|| format!("   f{} i{}: follow {begins:?}", self.id.0, instance.0));
        let (begin, opened, items) = (around.recorder.tick(), None, Vec::new());
        let record =
            FollowStream { instance: *instance, begin, opened, from: begins, items, is_out_of_range: false };
        let handle = handle.clone();
        let asked = Box::pin(async move { handle.follow(follow).await });
        self.open = Some(Open { record, items: Items::Asked(asked) });
    }

    /// Takes so many items at most, if they are there.
    pub fn take(&mut self, recorder: &Recorder, most: usize) {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..most {
            let Some(Open { record, items }) = &mut self.open else { return };
            let polled = match items {
                Items::Asked(asked) => match asked.as_mut().poll(&mut context) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(coming)) => {
                        record.opened = Some(recorder.tick());
                        *items = Items::Coming(coming);
                        continue;
                    }
                    Poll::Ready(Err(failure)) => return self.failed(recorder, &failure),
                },
                Items::Coming(coming) => coming.as_mut().poll_next(&mut context),
            };
            match polled {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(item))) => self.shown(recorder, item),
                Poll::Ready(Some(Err(failure))) => return self.failed(recorder, &failure),
                Poll::Ready(None) => return self.close(),
            }
        }
    }

    fn shown(&mut self, recorder: &Recorder, item: FollowItem) {
        let Some(Open { record, .. }) = &mut self.open else { return };
        let item = match item {
            FollowItem::Events(events) => {
                recorder.followed("events");
                FollowedItem::Events(events.iter().map(|of| (of.key.clone(), event(&of.event))).collect())
            }
            FollowItem::CaughtUp => {
                recorder.followed("caught up");
                FollowedItem::CaughtUp
            }
            FollowItem::FellBehind => {
                recorder.followed("fell behind");
                FollowedItem::FellBehind
            }
            FollowItem::Positions(positions) => {
                self.told.get_or_insert_default().advance(&positions);
                FollowedItem::Positions(positions.of)
            }
        };
        recorder.say(|| format!("   f{} i{}: {}", self.id.0, record.instance.0, text(&item)));
        record.items.push(item);
    }

    /// A stream that is not opened, or ends. Positions that are refused are given up: the log does not hold what lies there.
    fn failed(&mut self, recorder: &Recorder, failure: &Failure) {
        let Some(Open { record, .. }) = &mut self.open else { return };
        recorder.say(|| format!("   f{} i{}: {failure}", self.id.0, record.instance.0));
        record.is_out_of_range = failure.reason == Reason::OutOfRange;
        let is_refused = matches!(failure.reason, Reason::OutOfRange | Reason::ForeignPositions);
        recorder.followed(match failure.reason {
            _ if is_refused => "refused",
            Reason::ShuttingDown => "ended by a stop",
            _ => "ended for now",
        });
        if is_refused {
            self.told = None;
        }
        self.close();
    }
}

/// An event in the checker's words. What BKES wrote comes with its headers, or without any, and with its id.
fn event(shown: &bkes_api::Event) -> Event {
    let value = shown.value.clone().unwrap_or_default();
    if let Origin::Bkes { append_id, .. } = &shown.origin {
        let headers = headers_of(&value);
        let is_right = shown.headers.is_empty() || shown.headers == headers;
        assert!(is_right, "an event comes with its headers: {shown:?}");
        let id = append_id.as_ref().map(|id| id.bytes().clone());
        let expected = id_of(&value).and_then(|header| header.value);
        assert_eq!(id, expected, "an event comes with its id: {shown:?}");
    }
    Event {
        order: shown.order,
        partition: shown.partition,
        offset: shown.offset,
        timestamp_ms: shown.timestamp.map(|timestamp| timestamp.0),
        value,
        tombstone: shown.value.is_none(),
    }
}

fn text(item: &FollowedItem) -> String {
    match item {
        FollowedItem::Events(events) => {
            let of = |(key, event): &(bkes_core::Key, Event)| format!("{key} {event}");
            events.iter().map(of).collect::<Vec<_>>().join(", ")
        }
        other => format!("{other:?}"),
    }
}
