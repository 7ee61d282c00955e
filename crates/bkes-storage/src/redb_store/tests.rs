//! The store on disk: the suite that every store runs, and what damage and other processes do to it.

use super::*;
use crate::conformance::{self, Bench};
use crate::contract::{Head, NewEvent, StoredEvent};
use crate::disk::{FILE, VALUES};
use bkes_core::{Offset, Order, Partition, TimestampMs};
use bytes::Bytes;
use std::fs;
use tempfile::TempDir;

mod dropping;
mod faults;
mod large;
mod listing;
mod outlines;

// The testkit knows the other copy of this crate: the one that is no test.
bkes_testkit::impl_disk!(crate);

fn options(directory: &TempDir) -> RedbOptions {
    RedbOptions { directory: directory.path().to_owned(), cache_bytes: 16 * 1024 * 1024 }
}

fn open(directory: &TempDir) -> RedbStore {
    RedbStore::open(&options(directory)).expect("the store opens").store
}

struct OnDisk(TempDir);

impl Bench for OnDisk {
    type Store = RedbStore;

    fn fresh(&mut self) -> RedbStore {
        self.0 = TempDir::new().expect("a directory");
        open(&self.0)
    }

    fn open_again(&mut self, closed: RedbStore) -> RedbStore {
        drop(closed);
        open(&self.0)
    }

    /// A killed process leaves the files as they are: a copy of them, taken while the store is open.
    fn crash(&mut self, store: RedbStore) -> RedbStore {
        let copy = TempDir::new().expect("a directory");
        for file in [FILE, VALUES] {
            fs::copy(self.0.path().join(file), copy.path().join(file)).expect("the file is copied");
        }
        drop(store);
        self.0 = copy;
        open(&self.0)
    }
}

#[test]
fn the_redb_store_conforms() {
    conformance::check(&mut OnDisk(TempDir::new().expect("a directory")));
}

fn key(n: u64) -> Key {
    Key::new(format!("key-{n}")).expect("not empty")
}

fn value(n: u64, order: u64) -> Bytes {
    Bytes::from(format!("value {order} of key {n}").repeat(4))
}

fn event(n: u64, order: u64, value: Bytes) -> StoredEvent {
    StoredEvent {
        order: Order(order),
        partition: Partition(0),
        offset: Offset(order * 200 + n),
        timestamp: Some(TimestampMs(1)),
        value,
        tombstone: false,
        stamp: None,
        headers: Vec::new(),
    }
}

fn fill(store: &RedbStore) {
    for round in 0..4u64 {
        let events = (0..200u64).map(|n| NewEvent { key: key(n), event: event(n, round, value(n, round)) });
        let batch = StoreBatch { events: events.collect(), ..StoreBatch::default() };
        store.commit(&batch, Durability::Immediate).expect("commits");
    }
}

/// Reads everything: what comes back is right, or the answer is an error.
fn read_everything(store: &RedbStore) -> bool {
    let mut whole = true;
    for n in 0..200 {
        let mut out = Vec::new();
        let (key, partition) = (key(n), Partition(0));
        let part =
            ReadPart { key: &key, partition, from: Order(0), events_max: usize::MAX, bytes_max: usize::MAX };
        let read = store.read(part, &mut out);
        let mut outlines = Vec::new();
        let part = OutlinePart { key: &key, partition, from: Order(0), events_max: usize::MAX };
        let outlined = store.outlines(part, &mut outlines);
        assert_eq!(outlined.is_ok(), read.is_ok(), "key {n}: {outlined:?}, {read:?}");
        assert!(outlines.into_iter().eq(out.iter().map(StoredEvent::outline)), "key {n}");
        match read {
            Ok(()) => {
                let expected: Vec<Bytes> = (0..4).map(|order| value(n, order)).collect();
                let found: Vec<Bytes> = out.into_iter().map(|event| event.value).collect();
                if found.is_empty() {
                    whole = false;
                } else {
                    assert_eq!(found, expected, "key {n}");
                }
            }
            Err(StoreError::Damaged { .. } | StoreError::ReadFailed { .. }) => whole = false,
            Err(error) => panic!("{error}"),
        }
    }
    whole && list_everything(store)
}

/// Lists everything: each key that is listed is one, in its place and once, or the answer is an error.
fn list_everything(store: &RedbStore) -> bool {
    let range = KeyRange { prefix: b"", after: None, keys_max: usize::MAX, bytes_max: usize::MAX };
    match store.keys(range) {
        Ok(KeyPage { keys, more }) => {
            assert!(!more && keys.is_sorted_by(|(a, _), (b, _)| a < b));
            let head = Head { partition: Partition(0), base: Order(0), next: Order(4) };
            let expected: Vec<Key> = (0..200).map(key).collect();
            assert!(keys.iter().all(|(key, heads)| expected.contains(key) && *heads == Heads::One(head)));
            keys.len() == expected.len()
        }
        Err(StoreError::Damaged { .. } | StoreError::ReadFailed { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_damaged_file_gives_right_bytes_or_an_error_or_is_set_aside() {
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    fill(&store);
    store.close().expect("closes");
    drop(store);
    let file = directory.path().join(FILE);
    let good = fs::read(&file).expect("the file is read");
    let mut random = fastrand::Rng::with_seed(5);
    let (mut noticed, mut harmless) = (0, 0);
    for round in 0..150 {
        let mut bad = good.clone();
        match round % 3 {
            0 => {
                let at = random.usize(..bad.len());
                bad[at] ^= 1 << random.u8(..8);
            }
            1 => {
                let page = random.usize(..bad.len() / 4096) * 4096;
                bad[page..page + 4096].iter_mut().for_each(|byte| *byte = random.u8(..));
            }
            _ => bad.truncate(random.usize(..bad.len())),
        }
        let copy = TempDir::new().expect("a directory");
        fs::write(copy.path().join(FILE), bad).expect("the file is written");
        let Opened { store, set_aside } =
            RedbStore::open(&options(&copy)).expect("a damaged file is set aside");
        let whole = read_everything(&store);
        if set_aside.is_some() || !whole {
            noticed += 1;
            store.reset().expect("a store can always begin anew");
            fill(&store);
            assert!(read_everything(&store), "round {round}");
        } else {
            harmless += 1;
        }
    }
    assert!(noticed > 50, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    let refused =
        RedbStore::open(&options(&directory)).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.starts_with("another process uses"), "{refused}");
    drop(store);
    open(&directory);
}

#[test]
fn a_file_of_an_older_or_newer_format_is_refused_and_left_as_it_is() {
    for format in [tables::BARE_FORMAT, tables::FORMAT + 1] {
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join(FILE);
        let database = if format == tables::BARE_FORMAT {
            Database::create(&file).expect("a file")
        } else {
            let disk = Directory(directory.path().into());
            let (backend, _) = backend::Backend::open(&disk, &FileUse::default()).expect("a file");
            redb::Builder::new().create_with_backend(backend).expect("a database")
        };
        let transaction = database.begin_write().expect("a transaction");
        let meta: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
        let row = format.to_le_bytes();
        transaction.open_table(meta).expect("a table").insert("format", &row[..]).expect("a row");
        transaction.commit().expect("commits");
        drop(database);
        let refused =
            RedbStore::open(&options(&directory)).err().map(|error| error.to_string()).unwrap_or_default();
        let expected = format!("has format {format}, this version reads format {}", tables::FORMAT);
        assert!(refused.contains(&expected), "{refused}");
        assert!(file.exists() && !directory.path().join(format!("{FILE}.damaged-1")).exists());
    }
}

/// The page of formats named two numbers for one format.
#[test]
fn the_page_of_formats_names_the_format_that_is_written() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md"));
    let page = page.expect("the page is there");
    let format = tables::FORMAT;
    for sentence in [
        format!("the store format {format}."),
        format!("## Store file, format {format}\n"),
        format!("* `format`: u64, little-endian: {format}."),
    ] {
        assert!(page.contains(&sentence), "{sentence:?} is missing");
    }
}

/// Events of many keys in turn: each key's lie far apart, so that every row is reached along the chain and from a mark.
#[test]
fn every_page_of_a_long_scattered_aggregate_is_right() {
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    let value = |n: u64, order: u64| {
        Bytes::from(vec![n as u8; (order * 37 % 900) as usize + usize::from(order == 70) * 90_000])
    };
    for order in 0..400u64 {
        let events = (0..3u64).map(|n| NewEvent { key: key(n), event: event(n, order, value(n, order)) });
        let batch = StoreBatch { events: events.collect(), ..StoreBatch::default() };
        store.commit(&batch, Durability::Eventual).expect("commits");
    }
    let key = key(1);
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..500 {
        let (from, events_max) = (random.u64(..420), random.usize(..200));
        let bytes_max = random.usize(1..100_000);
        let mut out = Vec::new();
        let part = ReadPart { key: &key, partition: Partition(0), from: Order(from), events_max, bytes_max };
        store.read(part, &mut out).expect("reads");
        let mut bytes = 0;
        let expected: Vec<(u64, Bytes)> = (from..400)
            .take(events_max)
            .map(|order| (order, value(1, order)))
            .take_while(|(_, value)| {
                let more = bytes < bytes_max;
                bytes += value.len();
                more
            })
            .collect();
        let found: Vec<(u64, Bytes)> = out.into_iter().map(|event| (event.order.0, event.value)).collect();
        assert!(found == expected, "from {from}, {events_max} events, {bytes_max} bytes");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "x").expect("a file");
    let options = RedbOptions { directory: file.join("below"), cache_bytes: 0 };
    let refused = RedbStore::open(&options).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.starts_with("cannot use"), "{refused}");
}

#[test]
fn at_most_two_damaged_files_are_kept() {
    let directory = TempDir::new().expect("a directory");
    for _ in 0..4 {
        fs::write(directory.path().join(FILE), "garbage").expect("the file is written");
        assert!(RedbStore::open(&options(&directory)).expect("opens").set_aside.is_some());
    }
    let names = fs::read_dir(directory.path())
        .expect("listed")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    let damaged = [FILE, VALUES].map(|file| [1, 2].map(|number| format!("{file}.damaged-{number}")));
    let [[redb_1, redb_2], [values_1, values_2]] = &damaged;
    assert_eq!(names, ["lock", FILE, redb_1, redb_2, VALUES, values_1, values_2]);
}
