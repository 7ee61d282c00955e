//! The store fell back when it was opened anew after a failed write, and the writer has not announced that yet. What was shown before does
//! not disappear (P12), nothing is denied, and nothing is decided on what the store holds then.

use crate::support::face::{key, poll_stream};
use crate::support::follows::{Follows, all, at};
use crate::support::watched::Watched;
use crate::support::{Bench, poll, while_busy};
use bkes_api::{AsOf, EventStore, Failure, FollowFrom, Freshness, KeysRequest, Offset, Read, Reason};
use bkes_core::{Order, Partition};
use bkes_engine::{AppendError, EngineHandle, Expected, ReadError, ReadRequest, Unready};
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

/// Longer than the writer takes to make what it committed durable.
const DURABLE_MS: u64 = 11_000;

/// An engine whose store holds events of "a" and "b", of which it will lose what came last, and a write that failed.
struct Window {
    log: MemoryLog,
    store: Arc<Watched>,
    bench: Bench,
}

fn put(bench: &mut Bench, name: &str, orders: std::ops::Range<u64>) {
    for order in orders {
        bench.put(name, order, &order.to_string()).expect("accepted");
    }
}

/// Somebody who does not know BKES writes an event.
fn foreign(log: &MemoryLog, name: &'static str, value: &'static str) {
    let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    log.append_foreign(Partition(0), bytes(name), bytes(value), Vec::new());
}

impl Window {
    /// "a" has three durable events and three that are not, "b" has one that is not. All are committed.
    fn new() -> Window {
        let log = MemoryLog::new("topic", NonZeroU32::MIN);
        let store = Arc::new(Watched::default());
        let mut bench = Bench::ready(log.clone(), store.clone());
        put(&mut bench, "a", 0..3);
        bench.run(DURABLE_MS);
        put(&mut bench, "a", 3..6);
        put(&mut bench, "b", 0..1);
        bench.run(500);
        Window { log, store, bench }
    }

    /// Writing fails, and works again.
    fn fail(&mut self) {
        self.store.inner.fail_writes(Some("no space left"));
        foreign(&self.log, "c", "0");
        self.bench.run(1);
        assert!(!self.bench.handle.is_ready(), "writing has failed");
        self.store.inner.fail_writes(None);
    }

    /// Has the store opened anew, and something happen before anybody is told what it lost.
    fn meanwhile<T: Send + 'static>(&mut self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, is_done): (_, Receiver<T>) = channel();
        *self.store.after_reopen.lock().expect("no panic") =
            Some(Box::new(move || done.send(what()).expect("somebody waits for this")));
        self.bench.jump(2_000);
        self.bench.step_writer();
        is_done.recv().expect("it was opened anew")
    }

    /// Everything is there in the end, once.
    fn comes_back(&mut self) {
        self.bench.run_until("it is ready", |bench| bench.handle.is_ready());
        assert_eq!(self.bench.values("a"), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!((self.bench.values("b"), self.bench.values("c")), (vec!["0".into()], vec!["0".into()]));
    }
}

/// What a call is answered that waits for nobody.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    poll(&mut Box::pin(call)).expect("it waits for nobody")
}

fn store_is_down(unready: &Unready) -> bool {
    matches!(unready, Unready::Store { .. })
}

#[test]
fn a_read_shows_no_shorter_aggregate_while_the_store_is_opened_anew() {
    let mut window = Window::new();
    window.fail();
    let handle: EngineHandle = window.bench.handle.clone();
    let read = window.meanwhile(move || at_once(handle.read(ReadRequest::all(key("a")))));
    assert!(matches!(&read, Err(ReadError::Unavailable(unready)) if store_is_down(unready)), "{read:?}");
    window.comes_back();
}

#[test]
fn nothing_is_denied_while_the_store_is_opened_anew() {
    let mut window = Window::new();
    window.fail();
    let handle: EngineHandle = window.bench.handle.clone();
    let (read, head, list) = window.meanwhile(move || {
        let read = at_once(handle.read(ReadRequest::all(key("b"))));
        let head = at_once(EventStore::head(&handle, key("a"), Freshness::Local));
        (read, head, at_once(EventStore::keys(&handle, KeysRequest::default())))
    });
    assert!(matches!(&read, Err(ReadError::Unavailable(unready)) if store_is_down(unready)), "{read:?}");
    assert_eq!(head.map_err(|failure| failure.reason), Err(Reason::StoreUnavailable));
    assert_eq!(list.map_err(|failure| failure.reason), Err(Reason::StoreUnavailable));
    window.comes_back();
}

/// What the store held no more was taken for damage.
#[test]
fn pages_break_off_while_the_store_is_opened_anew_and_nothing_is_called_missing() {
    let mut window = Window::new();
    let large = "x".repeat(700 * 1024);
    for order in 0..4 {
        window.bench.put("large", order, &large).expect("accepted");
    }
    window.bench.run(500);
    let mut pages = window.bench.open(Read::all(key("large"))).expect("it begins");
    let mut back = window.bench.open(Read::last(key("large"), 4)).expect("it begins");
    for stream in [&mut pages, &mut back] {
        assert_eq!(window.bench.next(stream).expect("a page").expect("no failure").events.len(), 1);
    }
    window.fail();
    let (pages, back) = window.meanwhile(move || (poll_stream(&mut pages), poll_stream(&mut back)));
    for page in [pages, back] {
        let failure: Failure = page.expect("at once").expect("an item").expect_err("it breaks off");
        assert_eq!(failure.reason, Reason::StoreUnavailable, "{failure:?}");
        assert!(!failure.message.contains("missing"), "{failure:?}");
    }
    window.comes_back();
    assert_eq!(window.store.resets(), 0);
}

#[test]
fn as_of_an_offset_nothing_is_said_of_what_the_store_lost() {
    let mut window = Window::new();
    window.fail();
    let handle: EngineHandle = window.bench.handle.clone();
    let last = window.log.records(Partition(0)).last().expect("some").offset;
    let read = move |offset: Offset| {
        let read = Read { as_of: Some(AsOf::Offset(offset)), ..Read::all(key("a")) };
        at_once(EventStore::read(&handle, read)).map(drop).map_err(|failure| failure.reason)
    };
    let found = window.meanwhile(move || [read(Offset(1)), read(last)]);
    assert_eq!(found, [Err(Reason::StoreUnavailable), Err(Reason::StoreUnavailable)]);
    window.comes_back();
}

/// A record of somebody else came by. It took the order after the last event that the store still had, and whoever followed was shown it
/// there.
#[test]
fn nothing_is_decided_on_what_the_store_lost() {
    let mut window = Window::new();
    let mut follows = Follows::on(&mut window.bench, all(FollowFrom::Now));
    follows.catch_up(&mut window.bench);
    window.fail();
    follows.drain();
    follows.shown.clear();
    foreign(&window.log, "a", "6");
    let (owner, now) = (Arc::clone(&window.bench.owners[0]), window.bench.now() + 2_000);
    let follows = Arc::new(Mutex::new(follows));
    let meanwhile = Arc::clone(&follows);
    window.meanwhile(move || {
        while_busy(&owner, now);
        meanwhile.lock().expect("no panic").drain();
    });
    let mut follows = Arc::into_inner(follows).expect("no other").into_inner().expect("no panic");
    assert_eq!(follows.shown, [], "it is not decided");
    window.bench.run_until("it is ready", |bench| bench.handle.is_ready());
    assert_eq!(window.bench.values("a"), ["0", "1", "2", "3", "4", "5", "6"]);
    let told = follows.drain().position(0);
    let mut again = Follows::on(&mut window.bench, all(at(&[(0, told)])));
    let shown: Vec<u64> = again.catch_up(&mut window.bench).shown.iter().map(|shown| shown.3).collect();
    assert_eq!(shown, [6]);
}

/// An append of ours was on its way. It was compared with the last event that the store still had, was void, and its writer was told of a
/// conflict that there was not.
#[test]
fn an_append_that_is_decided_meanwhile_is_no_conflict() {
    let mut window = Window::new();
    window.log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let mut answer = window.bench.append("a", Expected::At(Order(6)), &["6"]);
    window.bench.step_owners();
    window.log.set_faults(Faults::default());
    // What was known of "a" when it was sent counts no more: it is looked up again.
    foreign(&window.log, "d", "0");
    window.bench.run(500);
    window.fail();
    let (log, owner, now) =
        (window.log.clone(), Arc::clone(&window.bench.owners[0]), window.bench.now() + 2_000);
    window.meanwhile(move || {
        assert!(log.step(), "it arrives");
        while_busy(&owner, now);
    });
    let mut found = poll(&mut answer);
    if found.is_none() {
        window.bench.run_until("it is answered", |_| {
            found = poll(&mut answer);
            found.is_some()
        });
    }
    let found = found.expect("just found");
    assert!(matches!(found, Ok(_) | Err(AppendError::Unknown { .. })), "{found:?}");
    window.bench.run_until("it is ready", |bench| bench.handle.is_ready());
    assert_eq!(window.bench.values("a"), ["0", "1", "2", "3", "4", "5", "6"]);
}

/// Nothing was lost: the folds go on, and nobody who reads or follows is disturbed after that.
#[test]
fn a_store_that_lost_nothing_is_read_on_from() {
    let mut window = Window::new();
    window.bench.run(DURABLE_MS);
    let mut follows = Follows::on(&mut window.bench, all(FollowFrom::Beginning));
    follows.catch_up(&mut window.bench);
    window.fail();
    let handle: EngineHandle = window.bench.handle.clone();
    foreign(&window.log, "a", "6");
    let (owner, now) = (Arc::clone(&window.bench.owners[0]), window.bench.now() + 2_000);
    let read = window.meanwhile(move || {
        while_busy(&owner, now);
        at_once(handle.read(ReadRequest::all(key("a"))))
    });
    assert!(matches!(&read, Err(ReadError::Unavailable(unready)) if store_is_down(unready)), "{read:?}");
    assert_eq!(window.bench.values("a").len(), 6, "at once, without a new beginning");
    window.bench.run_until("what came meanwhile is applied", |bench| bench.values("a").len() == 7);
    follows.catch_up(&mut window.bench);
    assert_eq!(follows.shown.len(), 9);
}
