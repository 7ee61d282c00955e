//! Lists of keys, and where an aggregate stands.

use crate::support::{Bench, poll};
use bkes_core::{Key, Offset, Order, Partition, Partitioner};
use bkes_engine::{
    EngineOptions, Freshness, KEYS_BYTES_MAX, KEYS_MAX, KeyList, KeysRequest, ReadError, Unready,
};
use bkes_storage::{RedbOptions, RedbStore, Store};
use bkes_testkit::log::SimulatedLog;
use bkes_testkit::store::SimulatedStore;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

fn log(partitions: u32) -> SimulatedLog {
    SimulatedLog::new("topic", NonZeroU32::new(partitions).expect("not zero"))
}

fn list(bench: &Bench, request: KeysRequest) -> Result<KeyList, ReadError> {
    let handle = bench.handle.clone();
    let mut listing = Box::pin(async move { handle.keys(request).await });
    poll(&mut listing).expect("a list waits for nobody")
}

/// Every key of a prefix with its next order, page by page.
fn all(bench: &Bench, prefix: &'static str, keys_max: usize, bytes_max: usize) -> Vec<(String, u64)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let request = KeysRequest {
            prefix: Bytes::from_static(prefix.as_bytes()),
            after,
            keys_max,
            bytes_max,
            freshness: Freshness::Local,
        };
        let KeyList { keys, more } = list(bench, request).expect("it is listed");
        let bytes: usize = keys.iter().map(|listed| listed.key.as_ref().len()).sum();
        let last_bytes = keys.last().map_or(0, |last| last.key.as_ref().len());
        let is_full = keys.len() == keys_max.max(1) || bytes >= bytes_max;
        assert!(keys.len() <= keys_max.max(1) && (is_full || !more), "only the last page is short");
        assert!(
            keys.len() <= 1 || bytes - last_bytes < bytes_max,
            "it ends with the key that reaches the bytes"
        );
        after = keys.last().map(|last| last.key.clone());
        let name = |key: &Key| String::from_utf8(key.as_ref().to_vec()).expect("a name");
        found.extend(keys.iter().map(|listed| (name(&listed.key), listed.next.0)));
        if !more {
            return found;
        }
    }
}

/// Appends at random, lists at random, while the writer commits now and then: whatever is committed, settled or neither is there, in
/// order and once.
fn lists_hold(store: Arc<dyn Store>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bench = Bench::ready(log(5), store);
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for step in 0..120 {
        let name = format!("{}-{}", ["order", "orders", "user"][random.usize(..3)], random.u32(..25));
        let next = expected.entry(name.clone()).or_default();
        bench.put(&name, *next, "value").expect("accepted");
        *next += 1;
        if random.u8(..4) == 0 {
            bench.run(random.u64(..300));
        }
        let prefix = ["", "order", "orders-1", "user-", "nobody"][random.usize(..5)];
        let wanted: Vec<(String, u64)> = expected
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, next)| (name.clone(), *next))
            .collect();
        let (keys_max, bytes_max) = (random.usize(..9), [0, 1, 20, 60, usize::MAX][random.usize(..5)]);
        assert_eq!(
            all(&bench, prefix, keys_max, bytes_max),
            wanted,
            "seed {seed}, step {step}, {prefix:?} by {keys_max} or {bytes_max} bytes"
        );
    }
}

#[test]
fn every_aggregate_is_listed_once_and_in_order_committed_or_not() {
    for seed in 0..4 {
        lists_hold(Arc::new(SimulatedStore::new()), seed);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let options = RedbOptions { directory: directory.path().to_owned(), cache_bytes: 4 * 1024 * 1024 };
    lists_hold(Arc::new(RedbStore::open(&options).expect("it opens").store), 4);
}

#[test]
fn a_split_aggregate_is_listed_once_with_all_its_partitions() {
    let log = log(2);
    for partition in [0, 1, 1] {
        log.append_foreign(Partition(partition), Some("a".into()), Some("value".into()), Vec::new());
    }
    let mut bench = Bench::ready(log, Arc::new(SimulatedStore::new()));
    for committed in [false, true] {
        let found = list(&bench, KeysRequest::default()).expect("it is listed");
        let [a] = &found.keys[..] else { panic!("{found:?}") };
        assert_eq!((a.next, &a.partitions[..]), (Order(3), &[Partition(0), Partition(1)][..]), "{committed}");
        bench.run(500);
    }
}

/// A list that leaves out what is not read yet would say that there is no more.
#[test]
fn nothing_is_listed_before_every_partition_was_read() {
    let log = log(3);
    for partition in 0..3 {
        let key = format!("key-{partition}");
        log.append_foreign(Partition(partition), Some(key.into()), Some("value".into()), Vec::new());
    }
    let bench = Bench::on(log, Arc::new(SimulatedStore::new()));
    let refused = list(&bench, KeysRequest::default());
    assert!(matches!(refused, Err(ReadError::Unavailable(Unready::CatchingUp { .. }))), "{refused:?}");
}

#[test]
fn a_page_is_bounded_whatever_is_asked_for() {
    let log = log(1);
    for number in 0..=KEYS_MAX {
        let key = format!("key-{number:06}");
        log.append_foreign(Partition(0), Some(key.into()), Some("value".into()), Vec::new());
    }
    let bench = Bench::ready(log, Arc::new(SimulatedStore::new()));
    let found = list(&bench, KeysRequest { keys_max: usize::MAX, ..KeysRequest::default() }).expect("listed");
    assert_eq!((found.keys.len(), found.more), (KEYS_MAX, true));
}

/// The story: a page of 10,000 keys was one of 10,000 keys however long they were.
#[test]
fn a_page_of_long_keys_is_bounded_in_bytes() {
    const KEY_BYTES: usize = 99_000;
    let log = log(2);
    let key = |number: usize| format!("{number:03}").repeat(KEY_BYTES / 3);
    for number in 0..30 {
        log.append_foreign(
            Partition(number as u32 % 2),
            Some(key(number).into()),
            Some("value".into()),
            Vec::new(),
        );
    }
    let mut bench = Bench::ready(log, Arc::new(SimulatedStore::new()));
    for committed in [false, true] {
        let everything =
            KeysRequest { keys_max: usize::MAX, bytes_max: usize::MAX, ..KeysRequest::default() };
        let KeyList { keys, more } = list(&bench, everything.clone()).expect("listed");
        assert_eq!((keys.len(), more), (KEYS_BYTES_MAX.div_ceil(KEY_BYTES), true), "{committed}");
        let after = keys.last().map(|last| last.key.clone());
        let rest = list(&bench, KeysRequest { after, bytes_max: 0, ..everything }).expect("listed");
        let next = Key::new(key(keys.len()));
        assert_eq!((rest.keys.len(), rest.more), (1, true), "{committed}");
        assert_eq!(rest.keys.first().map(|first| first.key.clone()), next, "{committed}");
        bench.run(500);
    }
}

/// The story: a page without room for a key said that there were more, and named none to go on after.
#[test]
fn a_page_has_a_key_whatever_is_asked_for() {
    let mut bench = Bench::ready(log(1), Arc::new(SimulatedStore::new()));
    let none = KeysRequest { keys_max: 0, bytes_max: 0, ..KeysRequest::default() };
    assert_eq!(list(&bench, none.clone()).expect("listed"), KeyList::default(), "there are none");
    for name in ["b", "a"] {
        bench.put(name, 0, "value").expect("accepted");
    }
    let found = list(&bench, none.clone()).expect("listed");
    assert_eq!((found.keys.len(), found.more), (1, true));
    let after = found.keys.last().map(|last| last.key.clone());
    let found = list(&bench, KeysRequest { after, ..none }).expect("listed");
    assert_eq!((found.keys.len(), found.more), (1, false));
}

#[test]
fn the_head_names_the_next_order_and_the_place_of_the_last_event() {
    let options = EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
    let mut bench = Bench::with(log(1), Arc::new(SimulatedStore::new()), options);
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    let head = |bench: &Bench| {
        let (handle, key) = (bench.handle.clone(), Key::new("a").expect("not empty"));
        let mut asking = Box::pin(async move { handle.head(key, Freshness::Local).await });
        let answer = poll(&mut asking);
        bench.step_verifier();
        answer.or_else(|| poll(&mut asking)).expect("everything it waits for is done")
    };
    assert!(matches!(head(&bench), Err(ReadError::NoSuchAggregate { .. })));
    for order in 0..3 {
        bench.put("b", order, "between").expect("accepted");
        bench.put("a", order, "value").expect("accepted");
        let found = head(&bench).expect("it is there");
        assert_eq!((found.next, found.last.offset), (Order(order + 1), Offset(2 * order + 1)));
        assert!(found.last.timestamp.is_some() && !found.layout.is_split());
    }
    bench.run(500);
    assert_eq!(head(&bench).expect("it is there").next, Order(3), "committed");
}
