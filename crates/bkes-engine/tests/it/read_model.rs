//! Reads against a plain list: every direction, bound and moment, on a log with batches, void records and gaps.

use crate::support::Bench;
use crate::support::face::key;
use bkes_api::{
    Append, AsOf, BatchPlace, Direction, Event, EventContent, EventStore, Header, Order, Origin, Read,
};
use bkes_core::{Offset, Partition, TimestampMs};
use bkes_storage::{MemoryStore, RedbOptions, RedbStore, Store};
use bkes_testkit::input::cases;
use bkes_testkit::log::{Faults, SimulatedLog};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;

/// An event as it was meant to be: with the place of its record, which nobody else has told.
#[derive(Clone, Debug)]
struct Meant {
    value: Bytes,
    headers: Vec<Header>,
    offset: Offset,
    timestamp: Option<TimestampMs>,
    /// Its place in its append, and how many that has.
    place: (usize, usize),
}

struct World {
    log: SimulatedLog,
    bench: Bench,
    random: fastrand::Rng,
    meant: Vec<Meant>,
    written: u64,
}

impl World {
    fn new(seed: u64, store: Arc<dyn Store>) -> World {
        let log = SimulatedLog::with_faults("topic", NonZeroU32::MIN, Faults::default(), seed);
        log.set_record_bytes_max(4 * 1024 * 1024);
        let bench = Bench::ready(log.clone(), store);
        World { log, bench, random: fastrand::Rng::with_seed(seed), meant: Vec::new(), written: 0 }
    }

    /// A value that no other event has.
    fn content(&mut self) -> EventContent {
        self.written += 1;
        let size = self.random.choice([10, 10, 10, 10, 1_000, 200_000, 700_000, 1_500_000]).expect("some");
        let mut value = format!("event {} ", self.written).into_bytes();
        value.resize(size.max(value.len()), b'x');
        let header = || Header { name: "h".into(), value: Some("v".into()) };
        let headers = (0..self.random.usize(..3)).map(|_| header()).collect();
        EventContent { value: Some(value.into()), headers }
    }

    /// What was written by one append or record is at the end of the aggregate. The first record with a value counts: later ones are
    /// copies.
    fn means(&mut self, contents: Vec<EventContent>) {
        let records = self.log.records(Partition(0));
        let count = contents.len();
        for (index, EventContent { value, headers }) in contents.into_iter().enumerate() {
            let value = value.expect("it has one");
            let is_it = |record: &&bkes_core::Record| record.value.as_ref() == Some(&value);
            let record = records.iter().find(is_it).expect("it is in the log");
            let (offset, timestamp) = (record.offset, record.timestamp);
            self.meant.push(Meant { value, headers, offset, timestamp, place: (index, count) });
        }
    }

    fn write(&mut self) {
        self.log.set_now(TimestampMs(self.random.i64(0..100)));
        match self.random.u8(..10) {
            0 => self.bench.run(200),
            1 => self.log.skip_offsets(Partition(0), self.random.u64(1..3)),
            2 => {
                let (key, value) = (Some("other".into()), Some("other".into()));
                self.log.append_foreign(Partition(0), key, value, Vec::new());
            }
            3 | 4 => {
                let content = self.content();
                let EventContent { value, headers } = content.clone();
                self.log.append_foreign(Partition(0), Some("a".into()), value, headers);
                self.bench.run(1);
                self.means(vec![content]);
            }
            _ => {
                let faults = [
                    Faults::default(),
                    Faults { repeated: 500, ..Faults::default() },
                    Faults { gap: 500, ..Faults::default() },
                ];
                self.log.set_faults(*self.random.choice(&faults).expect("some"));
                let contents: Vec<EventContent> =
                    (0..self.random.usize(1..6)).map(|_| self.content()).collect();
                let next = Order(self.meant.len() as u64);
                let append = Append::at(key("a"), next).events(contents.clone());
                let stored = self
                    .bench
                    .call(async |handle| EventStore::append(&handle, append).await)
                    .expect("accepted");
                assert_eq!(stored.first, next);
                // Copies that were on their way come by and are void.
                self.log.set_faults(Faults::default());
                while self.log.step() {}
                self.bench.run(1);
                self.means(contents);
            }
        }
    }

    /// A read of any kind, and what it shows by the list.
    fn check_one(&mut self, what: &str) {
        let count = self.meant.len() as u64;
        let random = &mut self.random;
        let order = |random: &mut fastrand::Rng| random.bool().then(|| Order(random.u64(..count + 3)));
        let end = self.log.records(Partition(0)).last().map_or(0, |record| record.offset.0);
        let as_of = match random.u8(..4) {
            0 => Some(AsOf::Offset(Offset(random.u64(..=end)))),
            1 => Some(AsOf::Time(TimestampMs(random.i64(-1..101)))),
            _ => None,
        };
        let read = Read {
            direction: if random.bool() { Direction::Forwards } else { Direction::Backwards },
            from: order(random),
            to: order(random),
            limit: if random.bool() { u64::MAX } else { random.u64(1..count + 3) },
            as_of,
            with_headers: random.bool(),
            ..Read::all(key("a"))
        };
        let what = format!("{what}: {read:?}");
        let there = self.there(read.as_of);
        let (picked, is_complete) = pick(&self.meant[..there], &read);
        let shown = self.bench.show(read.clone()).unwrap_or_else(|failure| panic!("{what}: {failure}"));
        let end = shown.end();
        assert_eq!((end.next, end.exists), (Order(there as u64), there > 0), "{what}");
        assert_eq!(end.is_complete, is_complete, "{what}");
        let found: Vec<&Event> = shown.events().collect();
        let orders: Vec<u64> = found.iter().map(|event| event.order.0).collect();
        assert_eq!(orders, picked, "{what}");
        for (event, order) in found.into_iter().zip(picked) {
            let meant = &self.meant[order as usize];
            assert!(event.value.as_ref() == Some(&meant.value), "{what}: the value of {order}");
            assert_eq!((event.offset, event.timestamp), (meant.offset, meant.timestamp), "{what}");
            let headers = if read.with_headers { &meant.headers[..] } else { &[] };
            assert_eq!(event.headers, headers, "{what}");
            if let Origin::Bkes { batch: Some(BatchPlace { i, count }), .. } = event.origin {
                assert_eq!((i as usize - 1, count as usize), meant.place, "{what}");
            } else {
                assert_eq!(meant.place, (0, 1), "{what}");
            }
        }
        for page in &shown.pages {
            let bytes: usize = page.events.iter().map(Event::content_bytes).sum();
            assert!(bytes <= 1024 * 1024 || page.events.len() == 1, "{what}");
        }
    }

    /// How many events there were at a moment.
    fn there(&self, as_of: Option<AsOf>) -> usize {
        let mut count = 0;
        while count < self.meant.len() {
            let append = &self.meant[count..count + self.meant[count].place.1];
            let is_in = match as_of {
                None => true,
                Some(AsOf::Offset(offset)) => append.iter().all(|event| event.offset <= offset),
                Some(AsOf::Time(time)) => {
                    append.iter().all(|event| event.timestamp.is_none_or(|at| at <= time))
                }
            };
            if !is_in {
                break;
            }
            count += append.len();
        }
        count
    }
}

/// The orders that a read shows, one by one, and whether none lies beyond them.
fn pick(there: &[Meant], read: &Read) -> (Vec<u64>, bool) {
    let mut orders: Vec<u64> = (0..there.len() as u64).collect();
    if read.direction == Direction::Backwards {
        orders.reverse();
    }
    let is_back = read.direction == Direction::Backwards;
    let reaches = |order: u64, from: Order| if is_back { order <= from.0 } else { order >= from.0 };
    let ends = |order: u64, to: Order| if is_back { order < to.0 } else { order > to.0 };
    let from: Vec<u64> =
        orders.into_iter().filter(|order| read.from.is_none_or(|from| reaches(*order, from))).collect();
    let picked: Vec<u64> = from
        .iter()
        .copied()
        .filter(|order| !read.to.is_some_and(|to| ends(*order, to)))
        .take(usize::try_from(read.limit).unwrap_or(usize::MAX))
        .collect();
    let is_complete = picked.len() == from.len();
    (picked, is_complete)
}

fn check(seed: u64, store: Arc<dyn Store>) {
    let mut world = World::new(seed, store);
    for step in 0..25 {
        world.write();
        world.bench.run(1);
        // Nothing is there before the first write.
        if !world.meant.is_empty() {
            (0..8).for_each(|_| world.check_one(&format!("seed {seed}, step {step}")));
        }
    }
}

/// Cases of each test, unless `BKES_CASES` says otherwise; a failure names the seed of its case.
const CASES: u64 = 12;

#[test]
fn any_read_shows_what_a_plain_list_shows() {
    (0..cases(CASES)).for_each(|seed| check(seed, Arc::new(MemoryStore::new())));
}

#[test]
fn any_read_of_a_file_shows_what_a_plain_list_shows() {
    for seed in 0..cases(CASES) / 3 {
        let directory = tempfile::tempdir().expect("a directory");
        let options = RedbOptions { directory: directory.path().join("store"), cache_bytes: 1024 * 1024 };
        check(seed, Arc::new(RedbStore::open(&options).expect("it opens").store));
    }
}

/// At each offset of the log: events, void records, gaps, records of others, and the middle of batches.
#[test]
fn as_of_each_offset_an_aggregate_is_what_it_was_then() {
    for seed in 0..cases(CASES) {
        let mut world = World::new(seed, Arc::new(MemoryStore::new()));
        (0..25).for_each(|_| world.write());
        world.bench.run(1);
        let end = world.log.records(Partition(0)).last().map_or(0, |record| record.offset.0);
        for offset in 0..end {
            let as_of = Some(AsOf::Offset(Offset(offset)));
            let there = world.there(as_of);
            let shown = world.bench.show(Read { as_of, ..Read::last(key("a"), 2) }).expect("it is decided");
            assert_eq!(shown.end().next, Order(there as u64), "seed {seed}, offset {offset}");
            let last: Vec<u64> = (0..there as u64).rev().take(2).collect();
            assert_eq!(shown.orders(), last, "seed {seed}, offset {offset}");
        }
    }
}
