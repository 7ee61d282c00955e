//! Lists of keys, and where an aggregate stands.

use crate::support::{Bench, poll};
use bkes_core::{Key, Offset, Order, Partition, Partitioner};
use bkes_engine::{EngineOptions, KEYS_MAX, KeyList, KeysRequest, ReadError, Unready};
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
fn all(bench: &Bench, prefix: &'static str, keys_max: usize) -> Vec<(String, u64)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let request = KeysRequest { prefix: Bytes::from_static(prefix.as_bytes()), after, keys_max };
        let KeyList { keys, more } = list(bench, request).expect("it is listed");
        assert!(keys.len() <= keys_max && (keys.len() == keys_max || !more), "only the last page is short");
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
        let keys_max = random.usize(1..9);
        assert_eq!(
            all(&bench, prefix, keys_max),
            wanted,
            "seed {seed}, step {step}, {prefix:?} by {keys_max}"
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
        let found =
            list(&bench, KeysRequest { keys_max: 10, ..KeysRequest::default() }).expect("it is listed");
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
    let refused = list(&bench, KeysRequest { keys_max: 10, ..KeysRequest::default() });
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
    let none = list(&bench, KeysRequest::default()).expect("listed");
    assert_eq!((none.keys.len(), none.more), (0, true), "no key was asked for, and there are some");
}

#[test]
fn the_head_names_the_next_order_and_the_place_of_the_last_event() {
    let options = EngineOptions { partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
    let mut bench = Bench::with(log(1), Arc::new(SimulatedStore::new()), options);
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    let head = |bench: &Bench| {
        let (handle, key) = (bench.handle.clone(), Key::new("a").expect("not empty"));
        let mut asking = Box::pin(async move { handle.head(key).await });
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
