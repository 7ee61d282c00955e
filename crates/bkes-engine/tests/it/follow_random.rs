//! Random logs and random ways of following them, by seed: whoever follows, is killed and goes on at the positions that were told has
//! exactly what the accept rule makes of the log (P25).

use crate::support::Bench;
use crate::support::follows::{Follows, Shown, at, marked, model, of};
use bkes_api::Followed;
use bkes_core::{Header, Key, Order, Partition, Partitioner};
use bkes_engine::{EngineOptions, Expected};
use bkes_storage::{RedbStore, Store};
use bkes_testkit::disk::SimulatedDisk;
use bkes_testkit::log::SimulatedLog as MemoryLog;
use bkes_testkit::store::SimulatedStore;
use bytes::Bytes;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A batch that is being written.
struct Open {
    partition: u32,
    key: String,
    writer: u64,
    number: u64,
    first: u64,
    done: u32,
    count: u32,
}

/// Writers of all kinds.
struct Writers {
    log: MemoryLog,
    random: Rng,
    numbers: BTreeMap<(u32, u64), u64>,
    open: Vec<Open>,
    written: u64,
    /// Whether batches may expect events that come only later. A running engine would read its log again for that, which is another story.
    may_expect_more: bool,
}

impl Writers {
    fn put(&mut self, partition: u32, key: &str, headers: impl FnOnce(&str) -> Vec<Header>) {
        self.written += 1;
        let value = format!("v{}", self.written);
        let headers = headers(&value);
        let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        self.log.append_foreign(Partition(partition), bytes(key), bytes(&value), headers);
    }

    /// The next order of a key in a partition, by the log alone.
    fn next_order(&self, partition: u32, key: &str) -> u64 {
        let events = model(partition, self.log.records(Partition(partition)));
        events.iter().flat_map(|(_, append)| append).filter(|shown| shown.2 == key).count() as u64
    }

    fn number(&mut self, partition: u32, writer: u64) -> u64 {
        let number = self.numbers.entry((partition, writer)).or_default();
        *number += 1;
        *number
    }

    fn step(&mut self) {
        let partition = self.random.u32(..self.log.partitions());
        // A key has events in one partition, as it should.
        let key = format!("k{}-{partition}", self.random.u32(..5));
        let next = self.next_order(partition, &key);
        let order = if self.random.u8(..4) == 0 { self.random.u64(..=next) } else { next };
        let writer = 1 + self.random.u64(..4);
        match self.random.u8(..12) {
            0..3 => self.put(partition, &key, |_| Vec::new()),
            3..6 => {
                let number = self.number(partition, writer);
                let of = key.clone();
                self.put(partition, &key, |value| marked(&of, value, (writer, number), (order, None)));
            }
            // One batch of each writer at a time; a next number breaks it.
            6 => {
                let count = self.random.u32(2..6);
                let number = self.number(partition, writer);
                let more = if self.may_expect_more { self.random.u64(..3) } else { 0 };
                self.open.push(Open { partition, key, writer, number, first: order + more, done: 0, count });
            }
            7..10 => self.next_member(),
            10 => {
                let records = self.log.records(Partition(partition));
                let Some(copied) = self.random.choice(records) else { return };
                // As it is, or its headers on another one's.
                let key = if self.random.bool() { copied.key } else { Some(key.into()) };
                self.log.append_foreign(Partition(partition), key, copied.value, copied.headers);
            }
            _ => match self.random.u8(..4) {
                0 => self.log.skip_offsets(Partition(partition), 1 + self.random.u64(..3)),
                1 => drop(self.log.append_foreign(Partition(partition), None, Some("x".into()), Vec::new())),
                aborted => {
                    let transaction = self.log.begin();
                    for _ in 0..2 {
                        let (key, value) = (Bytes::from(key.clone()), Bytes::from("in a transaction"));
                        self.log.append_in(transaction, Partition(partition), key, value);
                    }
                    self.log.end(transaction, aborted == 2);
                }
            },
        }
    }

    fn next_member(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.random.usize(..self.open.len());
        let open = &mut self.open[at];
        open.done += 1;
        let (place, of) = (Some((open.done, open.count)), (open.writer, open.number));
        let (partition, key, order) =
            (open.partition, open.key.clone(), open.first + u64::from(open.done) - 1);
        if open.done == open.count {
            self.open.remove(at);
        }
        let name = key.clone();
        self.put(partition, &key, |value| marked(&name, value, of, (order, place)));
    }
}

/// Where a session began, and what it showed.
type Session = (Vec<(u32, u64)>, Vec<Shown>);

/// One who follows, is killed, and goes on.
struct Client {
    followed: Followed,
    follows: Follows,
    /// Those that have ended.
    sessions: Vec<Session>,
    began: Vec<(u32, u64)>,
}

impl Client {
    fn new(bench: &mut Bench, followed: Followed, began: Vec<(u32, u64)>) -> Client {
        let follows = Follows::on(bench, of(followed.clone(), at(&began)));
        Client { followed, follows, sessions: Vec::new(), began }
    }

    fn go_on(&mut self, bench: &mut Bench) {
        let told = self.follows.positions.of.iter().map(|(partition, position)| (partition.0, position.0));
        let told: Vec<(u32, u64)> = told.collect();
        let next = if told.is_empty() { self.began.clone() } else { told };
        let shown = std::mem::take(&mut self.follows.shown);
        self.sessions.push((std::mem::replace(&mut self.began, next), shown));
        self.follows = Follows::on(bench, of(self.followed.clone(), at(&self.began)));
    }

    /// Whom it followed, and all that it was shown.
    fn end(mut self) -> (Followed, Vec<Session>) {
        self.sessions.push((self.began, self.follows.shown));
        (self.followed, self.sessions)
    }
}

fn position_in(positions: &[(u32, u64)], partition: u32) -> u64 {
    positions.iter().find(|(of, _)| *of == partition).map_or(0, |(_, position)| *position)
}

fn store(random: &mut Rng) -> Arc<dyn Store> {
    if random.bool() {
        return Arc::new(SimulatedStore::new());
    }
    let disk = Arc::new(SimulatedDisk::new());
    Arc::new(RedbStore::open_on(disk, 1024 * 1024).expect("the store opens").store)
}

/// A log, an engine on it, and those who follow.
struct Run {
    random: Rng,
    log: MemoryLog,
    partitions: u32,
    writers: Writers,
    bench: Bench,
    clients: Vec<Client>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = Rng::with_seed(seed);
        let partitions = random.u32(1..4);
        let log = MemoryLog::new("topic", NonZeroU32::new(partitions).expect("not zero"));
        let writer_random = Rng::with_seed(random.u64(..));
        let (numbers, open) = (BTreeMap::new(), Vec::new());
        let mut writers = Writers {
            log: log.clone(),
            random: writer_random,
            numbers,
            open,
            written: 0,
            may_expect_more: true,
        };
        (0..random.u32(..120)).for_each(|_| writers.step());
        writers.may_expect_more = false;
        // They are never whole: what they expected may still be missing.
        writers.open.clear();
        let options = EngineOptions {
            threads: random.usize(1..3),
            partitioner: Some(Partitioner::Murmur2),
            // From one append, or none, to all of them.
            feed_bytes_max: *random.choice(&[300, 2_000, 10_000, 1_000_000]).expect("some"),
            ..EngineOptions::default()
        };
        let mut bench = Bench::with(log.clone(), store(&mut random), options);
        bench.run_until("it is ready", |bench| bench.handle.is_ready());
        Run { random, log, partitions, writers, bench, clients: Vec::new() }
    }

    fn step(&mut self) {
        match self.random.u8(..14) {
            0..5 => self.writers.step(),
            5 => self.append(),
            6 if self.clients.len() < 6 => self.begin(),
            7 | 8 => self.bench.run(self.random.u64(..40)),
            9 => self.bench.run(if self.random.u8(..10) == 0 { 1_100 } else { 1 }),
            chosen => {
                let takes_max = self.random.u8(..3);
                let Some(client) = self.random.choice(&mut self.clients) else { return };
                match chosen {
                    10 | 11 => while client.follows.next() {},
                    12 => assert!((0..takes_max).take_while(|_| client.follows.next()).count() < 3),
                    _ => client.go_on(&mut self.bench),
                }
            }
        }
    }

    /// BKES appends on its own.
    fn append(&mut self) {
        let (key, values) = (format!("own-{}", self.random.u32(..3)), ["1", "2", "3"]);
        let order = self.bench.values(&key).len() as u64;
        let expected = if order == 0 { Expected::New } else { Expected::At(Order(order)) };
        let answer = self.bench.append(&key, expected, &values[..self.random.usize(1..=3)]);
        self.bench.answer(answer).expect("it is the next order");
    }

    /// Somebody begins to follow something, somewhere.
    fn begin(&mut self) {
        let Run { random, bench, partitions, .. } = self;
        let applied = |partition: u32| bench.handle.status().partitions[partition as usize].applied.0;
        let began = (0..*partitions).map(|partition| (partition, random.u64(..=applied(partition))));
        let began: Vec<(u32, u64)> = began.collect();
        let partition = random.u32(..*partitions);
        let followed = match random.u8(..4) {
            0 => Followed::Prefix("k1".into()),
            1 => {
                let key = Key::new(format!("k{}-{partition}", random.u32(..5)));
                Followed::Key(key.expect("not empty"))
            }
            2 => Followed::Partitions(vec![Partition(partition)]),
            _ => Followed::All,
        };
        self.clients.push(Client::new(bench, followed, began));
    }

    /// Everybody catches up, and one more who begins at the beginning.
    fn end(mut self, seed: u64) {
        self.bench.run(50);
        self.clients.push(Client::new(&mut self.bench, Followed::All, Vec::new()));
        for client in &mut self.clients {
            client.follows.catch_up(&mut self.bench);
        }
        let appends: Vec<Appends> =
            (0..self.partitions).map(|number| model(number, self.log.records(Partition(number)))).collect();
        for client in self.clients {
            let of = format!("seed {seed}, {:?}", client.followed);
            let (followed, sessions) = client.end();
            for (partition, appends) in (0..).zip(&appends) {
                let expected = expected(appends, &followed, position_in(&sessions[0].0, partition));
                assert_eq!(has(&sessions, partition, appends), expected, "{of}");
            }
        }
    }
}

/// What a partition holds, append by append, each with where it lies.
type Appends = Vec<(u64, Vec<Shown>)>;

/// What must be shown from a position on.
fn expected(appends: &Appends, followed: &Followed, from: u64) -> Vec<Shown> {
    let is_followed = |shown: &&Shown| match followed {
        Followed::All => true,
        Followed::Prefix(prefix) => shown.2.as_bytes().starts_with(prefix),
        Followed::Partitions(partitions) => partitions.contains(&Partition(shown.0)),
        Followed::Key(key) => shown.2.as_bytes() == key.as_ref(),
    };
    let those = appends.iter().filter(|(last, _)| *last >= from).flat_map(|(_, append)| append);
    those.filter(is_followed).cloned().collect()
}

/// What was shown of a partition: of each session what lies below where the next one began.
fn has(sessions: &[Session], partition: u32, appends: &Appends) -> Vec<Shown> {
    let lasts = appends.iter().flat_map(|(last, append)| append.iter().map(|shown| (shown.1, *last)));
    let lasts: BTreeMap<u64, u64> = lasts.collect();
    let begins: Vec<u64> = sessions.iter().map(|(began, _)| position_in(began, partition)).collect();
    let mut has = Vec::new();
    for (index, (_, shown)) in sessions.iter().enumerate() {
        let end = begins.get(index + 1).copied().unwrap_or(u64::MAX);
        for shown in shown.iter().filter(|shown| shown.0 == partition) {
            let last = lasts.get(&shown.1).unwrap_or_else(|| panic!("{shown:?} is no event"));
            assert!(*last >= begins[index], "{shown:?} lies below where it began");
            if *last < end {
                has.push(shown.clone());
            }
        }
    }
    has
}

#[test]
fn whoever_follows_and_goes_on_has_what_the_rule_makes_of_the_log() {
    for seed in 0..60 {
        let mut run = Run::new(seed);
        (0..150).for_each(|_| run.step());
        run.end(seed);
    }
}
