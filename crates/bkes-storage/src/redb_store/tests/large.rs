//! Large values: what becomes of their file, and of the room of those that were dropped.

use super::faults::open_on;
use super::values::LARGE_BYTES;
use super::*;
use bkes_testkit::disk::{Operation, SimulatedDisk, Unsynced};
use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

const PARTITION: Partition = Partition(0);
const KEYS: u64 = 4;
const ORDERS: u64 = 12;

/// Of lengths around the bound, where a row with the value fits into a block and where it does not.
fn large(n: u64, order: u64) -> Bytes {
    let length = [LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 100_000][(order % 4) as usize];
    Bytes::from(vec![(n * ORDERS + order) as u8; length])
}

fn fill_large(store: &RedbStore, partition: Partition) {
    for order in 0..ORDERS {
        let events = (0..KEYS).map(|n| {
            let event = StoredEvent { partition, ..event(n, order, large(n, order)) };
            NewEvent { key: key(n + 100 * u64::from(partition.0)), event }
        });
        let batch = StoreBatch { events: events.collect(), ..StoreBatch::default() };
        store.commit(&batch, Durability::Eventual).expect("commits");
    }
    store.commit(&StoreBatch::default(), Durability::Immediate).expect("commits");
}

fn read_large(store: &RedbStore, partition: Partition, n: u64) -> Result<Vec<Bytes>, StoreError> {
    let (key, from, mut out) = (key(n + 100 * u64::from(partition.0)), Order(0), Vec::new());
    let part = ReadPart { key: &key, partition, from, events_max: usize::MAX, bytes_max: usize::MAX };
    store.read(part, &mut out)?;
    Ok(out.into_iter().map(|event| event.value).collect())
}

fn expected(n: u64) -> Vec<Bytes> {
    (0..ORDERS).map(|order| large(n, order)).collect()
}

/// A value of 100 KB took a page of 128 KiB, and was copied and summed several times on its way there.
#[test]
fn large_values_take_their_own_room_and_little_more() {
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    fill_large(&store, PARTITION);
    assert!((0..KEYS).all(|n| read_large(&store, PARTITION, n).expect("reads") == expected(n)));
    store.close().expect("closes");
    drop(store);
    let bytes = |file| fs::metadata(directory.path().join(file)).expect("it is there").len();
    let values = (0..KEYS).flat_map(expected).map(|value| value.len()).filter(|bytes| *bytes >= LARGE_BYTES);
    let (count, values) = values.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes as u64));
    assert!((values..values + count * 4_096).contains(&bytes(VALUES)), "{} of {values}", bytes(VALUES));
    let store = open(&directory);
    assert!((0..KEYS).all(|n| read_large(&store, PARTITION, n).expect("reads") == expected(n)));
}

#[test]
fn a_damaged_large_value_is_an_error_and_never_shown() {
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    fill_large(&store, PARTITION);
    store.close().expect("closes");
    drop(store);
    let good = fs::read(directory.path().join(VALUES)).expect("the file is read");
    let mut random = fastrand::Rng::with_seed(3);
    let mut noticed = 0;
    for _ in 0..40 {
        let mut bad = good.clone();
        bad[random.usize(..good.len())] ^= 1 << random.u8(..8);
        fs::write(directory.path().join(VALUES), bad).expect("the file is written");
        let Opened { store, set_aside } = RedbStore::open(&options(&directory)).expect("it opens");
        assert_eq!(set_aside, None);
        for n in 0..KEYS {
            match read_large(&store, PARTITION, n) {
                Ok(found) => assert_eq!(found, expected(n)),
                Err(StoreError::Damaged { .. }) => noticed += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(noticed > 30, "{noticed} noticed");
}

/// A file of values that is missing, or shorter than what the tables name, is found when the store is opened, not by a reader.
#[test]
fn a_store_without_its_large_values_is_set_aside() {
    for left in [None, Some(5_000)] {
        let directory = TempDir::new().expect("a directory");
        let store = open(&directory);
        fill_large(&store, PARTITION);
        store.close().expect("closes");
        drop(store);
        let file = directory.path().join(VALUES);
        match left {
            None => fs::remove_file(&file).expect("it is there"),
            Some(bytes) => {
                let file = fs::File::options().write(true).open(&file).expect("it is there");
                file.set_len(bytes).expect("it is cut");
            }
        }
        let Opened { store, set_aside } = RedbStore::open(&options(&directory)).expect("it opens");
        assert!(set_aside.is_some());
        fill_large(&store, PARTITION);
        assert_eq!(read_large(&store, PARTITION, 1).expect("reads"), expected(1));
    }
}

/// After a sync that failed the system may have dropped what it could not write: a later one would succeed without it.
#[test]
fn after_a_failed_sync_of_large_values_nothing_is_written_before_the_store_is_reopened() {
    let disk = SimulatedDisk::new();
    let store = open_on(&disk).store;
    fill_large(&store, PARTITION);
    let more = |order| {
        let new = NewEvent { key: key(7), event: event(7, order, large(7, 3)) };
        StoreBatch { events: vec![new], ..StoreBatch::default() }
    };
    // The first sync of a durable commit is that of the values.
    disk.fail(Operation::Sync, 0, ErrorKind::Other);
    for _ in 0..3 {
        let failed = store.commit(&more(0), Durability::Immediate);
        assert!(matches!(failed, Err(StoreError::WriteFailed { .. })), "{failed:?}");
    }
    store.reopen().expect("the disk works again");
    store.commit(&more(0), Durability::Immediate).expect("commits");
    disk.crash(Unsynced::Lost);
    drop(store);
    let store = open_on(&disk).store;
    assert_eq!(read_large(&store, PARTITION, 7).expect("reads"), [large(7, 3)]);
    assert_eq!(read_large(&store, PARTITION, 2).expect("reads"), expected(2));
}

/// A commit of much writes it in several parts, past the system's cache.
#[test]
fn a_commit_of_much_that_failed_between_its_parts_is_made_as_a_whole_later() {
    let many = 40;
    let value = |order: u64| Bytes::from(vec![order as u8; 100_000]);
    let events = (0..many).map(|order| NewEvent { key: key(7), event: event(7, order, value(order)) });
    let batch = StoreBatch { events: events.collect(), ..StoreBatch::default() };
    for part in 0..4 {
        let disk = SimulatedDisk::new();
        let store = open_on(&disk).store;
        fill_large(&store, PARTITION);
        disk.fail(Operation::Write, part, ErrorKind::StorageFull);
        let failed = store.commit(&batch, Durability::Immediate);
        assert!(matches!(failed, Err(StoreError::WriteFailed { .. })), "{failed:?}");
        assert_eq!(read_large(&store, PARTITION, 2).expect("reads"), expected(2));
        store.reopen().expect("the disk works again");
        assert_eq!(read_large(&store, PARTITION, 7).expect("reads"), Vec::<Bytes>::new());
        store.commit(&batch, Durability::Immediate).expect("commits");
        disk.crash(Unsynced::Lost);
        drop(store);
        let store = open_on(&disk).store;
        let found = read_large(&store, PARTITION, 7).expect("reads");
        assert!(found == (0..many).map(value).collect::<Vec<_>>(), "{} events", found.len());
        assert_eq!(read_large(&store, PARTITION, 2).expect("reads"), expected(2));
    }
}

#[test]
fn the_room_of_large_values_is_given_back_when_their_partition_is_swept() {
    let disk = SimulatedDisk::new();
    let store = open_on(&disk).store;
    let dropped = Partition(1);
    fill_large(&store, PARTITION);
    let without = disk.used_bytes();
    for _ in 0..3 {
        fill_large(&store, dropped);
        store.drop_partition(dropped).expect("it is dropped");
        while store.sweep().expect("sweeps") {}
        assert_eq!(read_large(&store, dropped, 1).expect("reads"), Vec::<Bytes>::new());
        assert!((0..KEYS).all(|n| read_large(&store, PARTITION, n).expect("reads") == expected(n)));
        let left = disk.used_bytes() - without;
        assert!(left < 600_000, "{left} bytes are left of {}", KEYS * ORDERS * 100_000 / 4);
    }
}

/// The room of values is given back while a reader may still look at a snapshot that names them: what it finds there is no damage.
#[test]
fn a_read_that_overlaps_with_sweeping_finds_all_or_nothing_and_no_damage() {
    let disk = SimulatedDisk::new();
    let store = Arc::new(open_on(&disk).store);
    for _ in 0..5 {
        fill_large(&store, PARTITION);
        let before = disk.operations().reads;
        disk.set_read_time(Duration::from_millis(3));
        let reader = {
            let store = Arc::clone(&store);
            thread::spawn(move || read_large(&store, PARTITION, 1))
        };
        while disk.operations().reads < before + 3 {
            thread::yield_now();
        }
        disk.set_read_time(Duration::ZERO);
        store.drop_partition(PARTITION).expect("it is dropped");
        while store.sweep().expect("sweeps") {}
        let found = reader.join().expect("it does not panic").expect("no damage");
        assert!(found.is_empty() || found == expected(1), "{} events", found.len());
    }
    assert!(!store.damaged.load(Ordering::Acquire));
}
