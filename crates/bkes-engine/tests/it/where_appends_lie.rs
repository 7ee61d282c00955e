//! Logs on which offsets do not rise with the order: first members of batches lie below events that are before them, since their writers
//! expected what came only later. What rises is where appends lie, at their last records; by that a moment is found, and what is followed.

use crate::support::Bench;
use crate::support::face::key;
use crate::support::follows::{Follows, Shown, all, at, marked, model, of};
use bkes_api::{AsOf, FollowFrom, Followed, Key, Offset, Read};
use bkes_core::{Header, Partition};
use bkes_storage::{RedbStore, Store};
use bkes_testkit::disk::SimulatedDisk;
use bkes_testkit::input::cases;
use bkes_testkit::log::SimulatedLog as MemoryLog;
use bkes_testkit::store::SimulatedStore;
use bytes::Bytes;
use fastrand::Rng;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A batch that is being written.
struct Open {
    writer: u64,
    key: &'static str,
    first: u64,
    done: u32,
    count: u32,
}

struct Writers {
    log: MemoryLog,
    random: Rng,
    open: Vec<Open>,
    written: u64,
}

const KEYS: [&str; 2] = ["k", "j"];

impl Writers {
    fn put(&mut self, key: &'static str, headers: impl FnOnce(&str) -> Vec<Header>) {
        self.written += 1;
        let value = format!("v{}", self.written);
        let headers = headers(&value);
        let key = Some(Bytes::from_static(key.as_bytes()));
        self.log.append_foreign(Partition(0), key, Some(value.into()), headers);
    }

    fn next_order(&self, key: &str) -> u64 {
        let events = model(0, self.log.records(Partition(0)));
        events.iter().flat_map(|(_, append)| append).filter(|shown| shown.2 == key).count() as u64
    }

    fn step(&mut self) {
        let key = *self.random.choice(&KEYS).expect("some");
        match self.random.u8(..6) {
            0 => self.put(key, |_| Vec::new()),
            // Its writer expects up to three events that nobody has written yet.
            1 => {
                let first = self.next_order(key) + self.random.u64(..4);
                let (writer, count) = (self.written + 1, self.random.u32(2..7));
                self.open.push(Open { writer, key, first, done: 0, count });
                self.member(self.open.len() - 1);
            }
            _ if self.open.is_empty() => {}
            _ => {
                let at = self.random.usize(..self.open.len());
                self.member(at);
            }
        }
    }

    /// The next member of a batch. Before the last one what it expects comes, if there is not more already.
    fn member(&mut self, at: usize) {
        let open = &mut self.open[at];
        open.done += 1;
        let Open { writer, key, first, done, count } = *open;
        if done == count {
            self.open.remove(at);
            while self.next_order(key) < first {
                self.put(key, |_| Vec::new());
            }
        }
        let order = first + u64::from(done) - 1;
        self.put(key, |value| marked(key, value, (writer, 1), (order, Some((done, count)))));
    }
}

/// A log, and what is in it append by append, each with where it lies.
fn log(seed: u64, steps: usize) -> (MemoryLog, Vec<(u64, Vec<Shown>)>) {
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let random = Rng::with_seed(seed);
    let mut writers = Writers { log: log.clone(), random, open: Vec::new(), written: 0 };
    (0..steps).for_each(|_| writers.step());
    let appends = model(0, log.records(Partition(0)));
    (log, appends)
}

fn of_key(appends: &[(u64, Vec<Shown>)], key: &str) -> Vec<Shown> {
    appends.iter().flat_map(|(_, append)| append).filter(|shown| shown.2 == key).cloned().collect()
}

/// Where what was applied lies when it is looked at.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kept {
    Overlay,
    Memory,
    File,
}

const KEPT: [Kept; 3] = [Kept::Overlay, Kept::Memory, Kept::File];

fn bench(log: &MemoryLog, kept: Kept) -> Bench {
    let store: Arc<dyn Store> = match kept {
        Kept::File => {
            Arc::new(RedbStore::open_on(Arc::new(SimulatedDisk::new()), 1024 * 1024).expect("it opens").store)
        }
        _ => Arc::new(SimulatedStore::new()),
    };
    let mut bench = Bench::on(log.clone(), store);
    if kept != Kept::Overlay {
        bench.run_until("it is ready", |bench| bench.handle.is_ready());
        bench.run(500);
        return bench;
    }
    // The writer does nothing.
    for _ in 0..1_000 {
        bench.jump(1);
        bench.step_owners();
    }
    assert!(bench.handle.is_ready());
    bench
}

/// Each with the seed of its log: short ones, and some longer than what a store looks through as a whole.
fn logs() -> impl Iterator<Item = (u64, MemoryLog, Vec<(u64, Vec<Shown>)>)> {
    (0..cases(8)).map(|seed| {
        let (log, appends) = log(seed, if seed % 4 == 0 { 250 } else { 40 });
        (seed, log, appends)
    })
}

#[test]
fn offsets_go_back_on_these_logs_and_the_places_of_appends_do_not() {
    let mut went_back = 0;
    for (seed, _, appends) in logs() {
        assert!(appends.is_sorted_by(|one, other| one.0 < other.0), "seed {seed}");
        for key in KEYS {
            let events = of_key(&appends, key);
            went_back += events.windows(2).filter(|two| two[0].1 > two[1].1).count();
        }
    }
    assert!(went_back > 40, "{went_back} times");
}

#[test]
fn as_of_each_offset_the_appends_that_lie_there_or_below_are_shown() {
    for (seed, log, appends) in logs() {
        let end = log.records(Partition(0)).last().expect("some").offset.0;
        for kept in KEPT {
            let mut bench = bench(&log, kept);
            for (name, offset) in (0..=end).flat_map(|offset| KEYS.map(|name| (name, offset))) {
                let there: Vec<(u64, Vec<Shown>)> =
                    appends.iter().filter(|(lies_at, _)| *lies_at <= offset).cloned().collect();
                let expected = of_key(&there, name);
                let read = Read { as_of: Some(AsOf::Offset(Offset(offset))), ..Read::all(key(name)) };
                let shown = bench.show(read).expect("it is decided");
                let what = format!("seed {seed}, {kept:?}, {name} as of {offset}");
                assert_eq!(shown.end().next.0, expected.len() as u64, "{what}");
                let found: Vec<(u64, u64)> =
                    shown.events().map(|event| (event.offset.0, event.order.0)).collect();
                let expected: Vec<(u64, u64)> = expected.iter().map(|shown| (shown.1, shown.3)).collect();
                assert_eq!(found, expected, "{what}");
            }
        }
    }
}

/// From each position on: all of the past, one key, and the keys of a prefix.
#[test]
fn from_each_position_the_appends_that_lie_there_or_above_are_followed() {
    for (seed, log, appends) in logs() {
        let end = log.records(Partition(0)).last().expect("some").offset.0 + 1;
        for kept in KEPT {
            let mut bench = bench(&log, kept);
            let step = if end > 150 { 7 } else { 1 };
            for position in (0..=end).step_by(step) {
                let there: Vec<(u64, Vec<Shown>)> =
                    appends.iter().filter(|(lies_at, _)| *lies_at >= position).cloned().collect();
                let from: FollowFrom = at(&[(0, position)]);
                let what = format!("seed {seed}, {kept:?}, from {position}");
                let mut follows = Follows::on(&mut bench, all(from.clone()));
                let everything: Vec<Shown> = there.iter().flat_map(|(_, append)| append).cloned().collect();
                assert_eq!(drained(&mut follows, &mut bench, kept), everything, "{what}");
                let one = Followed::Key(Key::new("k").expect("not empty"));
                let mut follows = Follows::on(&mut bench, of(one, from.clone()));
                assert_eq!(drained(&mut follows, &mut bench, kept), of_key(&there, "k"), "{what}, a key");
                let mut follows = Follows::on(&mut bench, of(Followed::Prefix("j".into()), from));
                assert_eq!(drained(&mut follows, &mut bench, kept), of_key(&there, "j"), "{what}, a prefix");
            }
        }
    }
}

fn drained(follows: &mut Follows, bench: &mut Bench, kept: Kept) -> Vec<Shown> {
    if kept == Kept::Overlay {
        // The writer does nothing.
        while follows.next() {}
        assert!(follows.told.contains(&"caught up"), "{:?}", follows.failure);
    } else {
        follows.catch_up(bench);
    }
    std::mem::take(&mut follows.shown)
}
