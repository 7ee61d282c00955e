//! Callers in great number, callers that go away, and a thread that panics.

use crate::support::{Answer, Bench, poll};
use bkes_core::{Key, Order, Partition, Position};
use bkes_engine::{
    AppendError, AppendRequest, Engine, EngineOptions, ErrorClass, Expected, PartitionState, ReadError,
    ReadRequest, Unit, Unready,
};
use bkes_storage::{
    Durability, EventOutline, Heads, KeyPage, KeyRange, Loaded, MemoryStore, OutlinePart, ReadPart, Store,
    StoreBatch, StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const CALLERS: u64 = 10_000;

const PATIENCE: Duration = Duration::from_secs(30);

fn log() -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::MIN)
}

/// A bench with an aggregate of one event, and a log that delivers when it is told to.
fn held() -> (MemoryLog, Bench) {
    let log = log();
    let mut bench = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    bench.put("a", 0, "0").expect("accepted");
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    (log, bench)
}

/// Appends by all callers at once, each at its own order, none of which is answered yet.
fn crowd(bench: &mut Bench, order: impl Fn(u64) -> u64) -> Vec<Answer> {
    let expected = |caller| Expected::At(Order(order(caller)));
    let answers =
        (0..CALLERS).map(|caller| bench.append("a", expected(caller), &[&caller.to_string()])).collect();
    bench.step_owners();
    answers
}

#[test]
fn of_ten_thousand_appends_at_one_order_one_is_accepted_and_one_more_is_overload() {
    let (log, mut bench) = held();
    let answers = crowd(&mut bench, |_| 1);
    let more = bench.handle.clone();
    let key = Key::new("b").expect("not empty");
    let request = AppendRequest::of_values(key, Expected::New, vec![Bytes::from_static(b"x")]);
    let mut more: Answer = Box::pin(async move { more.append(request).await });
    let refused = poll(&mut more).expect("it is answered at once");
    let full = Unready::Overloaded { queue: "the append queue", limit: CALLERS, unit: Unit::Appends };
    assert_eq!(refused, Err(AppendError::Unavailable(full)));
    while log.step() {
        bench.step_owners();
    }
    let mut accepted = 0;
    for (caller, mut answer) in answers.into_iter().enumerate() {
        match poll(&mut answer).unwrap_or_else(|| panic!("caller {caller} waits")) {
            Ok(_) => accepted += 1,
            Err(error) => {
                let (expected, current) = (Order(1), Order(2));
                assert_eq!(error, AppendError::Conflict { expected, current });
            }
        }
    }
    assert_eq!(accepted, 1);
    assert_eq!(log.records(Partition(0)).len(), 2, "those that lost sent nothing");
    log.set_faults(Faults::default());
    bench.put("b", 0, "x").expect("there is room again");
}

#[test]
fn ten_thousand_appends_that_wait_for_one_key_take_their_turns() {
    let (log, mut bench) = held();
    let answers = crowd(&mut bench, |caller| caller + 1);
    while log.step() {
        bench.step_owners();
    }
    for (caller, mut answer) in answers.into_iter().enumerate() {
        let stored = poll(&mut answer).unwrap_or_else(|| panic!("caller {caller} waits")).expect("accepted");
        assert_eq!(stored.last, Order(caller as u64 + 1));
    }
    assert_eq!(log.records(Partition(0)).len() as u64, CALLERS + 1);
}

#[test]
fn a_caller_that_goes_away_withdraws_what_was_not_sent_and_nothing_else() {
    let (log, mut bench) = held();
    let sent = bench.append("a", Expected::At(Order(1)), &["sent"]);
    let waiting = bench.append("a", Expected::At(Order(2)), &["waiting"]);
    let behind = bench.append("a", Expected::At(Order(2)), &["behind"]);
    bench.step_owners();
    drop((sent, waiting));
    while log.step() {
        bench.step_owners();
    }
    let stored = bench.answer(behind).expect("it took the place of the one that was withdrawn");
    assert_eq!(stored.last, Order(2));
    assert_eq!(bench.values("a"), ["0", "sent", "behind"]);
    assert_eq!(log.records(Partition(0)).len(), 3, "what was withdrawn was never sent");
}

/// A store that panics when it is told to.
struct Mined {
    store: MemoryStore,
    /// Whether the writer steps on it, or the owner.
    in_commit: bool,
    /// The next commit finds the store damaged.
    is_damaged: AtomicBool,
    resets: AtomicU64,
}

impl Mined {
    fn new(in_commit: bool) -> Mined {
        let (is_damaged, resets) = (AtomicBool::new(false), AtomicU64::new(0));
        Mined { store: MemoryStore::new(), in_commit, is_damaged, resets }
    }
}

const MINE: &[u8] = b"mine";

impl Store for Mined {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.store.load()
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        self.store.set_identity(identity)
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        assert!(self.in_commit || keys.iter().all(|key| key.as_ref() != MINE), "on purpose");
        self.store.heads(keys, out)
    }

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        self.store.keys(range)
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        self.store.read(part, out)
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        self.store.outlines(part, out)
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        let has_mine = batch.events.iter().any(|of_key| of_key.key.as_ref() == MINE);
        assert!(!(self.in_commit && has_mine), "on purpose");
        if self.is_damaged.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Damaged { detail: "on purpose".into() });
        }
        self.store.commit(batch, durability)
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        self.store.reopen()
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        self.store.drop_partition(partition)
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        self.store.sweep()
    }

    fn reset(&self) -> Result<(), StoreError> {
        self.resets.fetch_add(1, Ordering::SeqCst);
        self.store.reset()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.store.close()
    }

    fn stats(&self) -> StoreStats {
        self.store.stats()
    }
}

/// The story: when a thread had panicked every partition was degraded and nothing was served, but the engine passed for ready,
/// and appends were answered as if it was being shut down. With real threads: what is tested is what becomes of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_panics_degrades_every_partition_and_the_stop_still_ends() {
    for in_commit in [false, true] {
        let (log, store) = (log(), Mined::new(in_commit));
        let engine =
            Engine::start(Arc::new(log), Arc::new(store), EngineOptions::default()).expect("it starts");
        let handle = engine.handle();
        tokio::time::timeout(PATIENCE, handle.ready()).await.expect("it becomes ready");
        let append = async |name: &'static str| {
            let key = Key::new(name).expect("not empty");
            let values = vec![Bytes::from_static(b"value")];
            let request = AppendRequest::of_values(key, Expected::New, values);
            tokio::time::timeout(PATIENCE, handle.append(request)).await.expect("nobody waits in vain")
        };
        append("a").await.expect("accepted");
        match append("mine").await {
            Ok(_) => assert!(in_commit, "the owner answered before the writer panicked"),
            Err(error) => assert_eq!(error.class(), ErrorClass::Unknown, "{error:?}"),
        }
        tokio::time::timeout(PATIENCE, async {
            while !matches!(handle.status().partitions[0].state, PartitionState::Degraded { .. }) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the panic is seen");
        let refused = append("b").await.expect_err("nobody serves");
        let is_told = |error: &AppendError| matches!(error, AppendError::Unavailable(Unready::Degraded { detail, .. }) if detail.contains("panicked"));
        assert!(is_told(&refused), "{refused:?}");
        let read = handle.read(ReadRequest::all(Key::new("a").expect("not empty"))).await;
        let is_told = |error: &ReadError| matches!(error, ReadError::Unavailable(Unready::Degraded { detail, .. }) if detail.contains("panicked"));
        assert!(read.as_ref().is_err_and(is_told), "{read:?}");
        assert!(!handle.is_ready(), "in_commit {in_commit}: health must not say serving");
        let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_millis(100)));
        let stopped = tokio::time::timeout(PATIENCE, stopping).await.expect("the stop ends");
        stopped.expect("no panic").expect("it closes");
    }
}

/// The store was damaged after a thread had panicked, every fold began anew, and with that "restart the service" was forgotten: the
/// partitions of the owners that were left were served as if nothing had happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_not_forgotten_when_the_folds_begin_anew() {
    let log = MemoryLog::new("topic", NonZeroU32::new(2).expect("two"));
    let store = Arc::new(Mined::new(false));
    let options = EngineOptions { threads: 2, ..EngineOptions::default() };
    let on: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let engine = Engine::start(Arc::new(log.clone()), on, options).expect("it starts");
    let handle = engine.handle();
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("it becomes ready");
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
    };
    let panicked = |partition: usize| match &handle.status().partitions[partition].state {
        PartitionState::Degraded { reason } => reason.contains("panicked, restart the service"),
        _ => false,
    };
    // The owner of partition 0 looks this key up.
    log.append_foreign(Partition(0), Some(Bytes::from_static(MINE)), Some("value".into()), Vec::new());
    until("the panic is seen", &|| panicked(0) && panicked(1)).await;
    store.is_damaged.store(true, Ordering::SeqCst);
    log.append_foreign(Partition(1), Some("a".into()), Some("value".into()), Vec::new());
    until("the store is emptied", &|| store.resets.load(Ordering::SeqCst) == 1).await;
    until("it is built anew", &|| handle.status().partitions[1].stored == Position(1)).await;
    assert!(panicked(0) && panicked(1) && !handle.is_ready(), "{:?}", handle.status());
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_millis(100)));
    tokio::time::timeout(PATIENCE, stopping)
        .await
        .expect("the stop ends")
        .expect("no panic")
        .expect("it closes");
}
