//! Lists of keys while the writer works, and of a damaged file.

use super::*;

const ALL: KeyRange<'static> =
    KeyRange { prefix: b"", after: None, keys_max: usize::MAX, bytes_max: usize::MAX };

fn batch(keys: impl IntoIterator<Item = u64>, order: u64, partition: u32) -> StoreBatch {
    let event = |n| StoredEvent { partition: Partition(partition), ..event(n, order, value(n, order)) };
    let events = keys.into_iter().map(|n| NewEvent { key: key(n), event: event(n) });
    StoreBatch { events: events.collect(), ..StoreBatch::default() }
}

/// What a list is when the writer does something after the rows that are not settled were looked at, and before the snapshot is.
fn list_while(store: &RedbStore, range: KeyRange<'_>, work: impl FnOnce()) -> (Vec<Key>, bool) {
    let tables = || {
        work();
        store.tables()
    };
    let KeyPage { keys, more } = keys::keys(&store.unsettled, tables, range).expect("listed");
    (keys.into_iter().map(|(key, _)| key).collect(), more)
}

/// Keys 1 to 3 lie in partition 0 and are not settled, 4 to 6 in partition 1.
fn two_partitions() -> (TempDir, RedbStore) {
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    store.commit(&batch(4..7, 0, 1), Durability::Immediate).expect("commits");
    store.commit(&batch(1..4, 0, 0), Durability::Eventual).expect("commits");
    (directory, store)
}

#[test]
fn a_partition_that_is_dropped_in_the_middle_of_a_list_leaves_the_page_full() {
    let (_directory, store) = two_partitions();
    let drop_one = || store.drop_partition(Partition(0)).expect("it is dropped");
    let found = list_while(&store, KeyRange { keys_max: 2, ..ALL }, drop_one);
    assert_eq!(found, (vec![key(4), key(5)], true));
}

#[test]
fn what_is_settled_in_the_middle_of_a_list_is_listed_once() {
    let (_directory, store) = two_partitions();
    let settle = || store.commit(&batch([0, 2], 1, 0), Durability::Immediate).expect("commits");
    store.commit(&batch([0], 0, 0), Durability::Eventual).expect("commits");
    assert_eq!(list_while(&store, ALL, settle), ((0..7).map(key).collect(), false));
}

/// The writer adds to aggregates of which each list must have every one, and settles now and then.
#[test]
fn lists_beside_the_writer_have_every_key_once() {
    const KEYS: u64 = 6_000;
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    store.commit(&batch(0..KEYS, 0, 0), Durability::Eventual).expect("commits");
    let mut expected: Vec<Key> = (0..KEYS).map(key).collect();
    expected.sort();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut orders = vec![1; KEYS as usize];
            let mut random = fastrand::Rng::with_seed(1);
            while !is_over.load(Ordering::Acquire) {
                let mut keys: Vec<u64> = (0..50).map(|_| random.u64(..KEYS)).collect();
                keys.sort_unstable();
                keys.dedup();
                let mut all = StoreBatch::default();
                for n in keys {
                    all.events.extend(batch([n], orders[n as usize], 0).events);
                    orders[n as usize] += 1;
                }
                let durable = random.u8(..8) == 0;
                let durability = if durable { Durability::Immediate } else { Durability::Eventual };
                store.commit(&all, durability).expect("commits");
            }
        });
        let lists: Vec<bool> = (0..20)
            .map(|_| {
                let (mut found, mut after): (Vec<Key>, Option<Key>) = (Vec::new(), None);
                loop {
                    let range = KeyRange { after: after.as_ref(), keys_max: 1_700, ..ALL };
                    let Ok(KeyPage { keys, more }) = store.keys(range) else { return false };
                    found.extend(keys.into_iter().map(|(key, _)| key));
                    after = found.last().cloned();
                    if !more {
                        return found == expected;
                    }
                }
            })
            .collect();
        is_over.store(true, Ordering::Release);
        assert!(lists.iter().all(|is_right| *is_right), "{lists:?}");
    });
}

/// The story: an assertion made a panic of it, after which the file is not even closed.
#[test]
fn a_row_without_a_key_is_damage_and_no_panic() {
    let (_directory, store) = two_partitions();
    let files = store.files().expect("it is open");
    let transaction = begin_write(&files.database, Durability::Immediate).expect("a transaction");
    let row_key = [0; row_grouping::GROUP_BYTES];
    transaction
        .open_table(tables::STREAMS)
        .expect("a table")
        .insert(&row_key[..], &b"row"[..])
        .expect("a row");
    transaction.commit().expect("commits");
    store.end_snapshot();
    drop(files);
    let refused = store.keys(ALL);
    assert!(
        matches!(&refused, Err(StoreError::Damaged { detail }) if detail.contains("without a key")),
        "{refused:?}"
    );
    assert!(!store.panicked.load(Ordering::Acquire) && store.damaged.load(Ordering::Acquire));
    store.reset().expect("it begins anew");
    assert_eq!(store.keys(ALL).expect("listed"), KeyPage::default());
}
