//! The engine as a Rust service sees it, on the memory log and the memory store, with faults.

use bkes_core::{Key, Order, Partition, Position};
use bkes_engine::{
    AppendError, AppendRequest, Appended, Engine, EngineHandle, EngineOptions, ErrorClass, Events, Expected,
    Layout, PartitionState, ReadError, ReadRequest, StartError, Unready,
};
use bkes_log::Log;
use bkes_storage::Store;
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bkes_testkit::store::SimulatedStore as MemoryStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(5);

fn log(partitions: u32) -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::new(partitions).expect("not zero"))
}

fn start(log: &MemoryLog, store: &Arc<MemoryStore>) -> Engine {
    try_start(log, store).expect("the engine starts")
}

fn try_start(log: &MemoryLog, store: &Arc<MemoryStore>) -> Result<Engine, StartError> {
    Engine::start(Arc::new(log.clone()), Arc::clone(store) as Arc<dyn Store>, EngineOptions::default())
}

async fn ready(log: &MemoryLog, store: &Arc<MemoryStore>) -> (Engine, EngineHandle) {
    let engine = start(log, store);
    let handle = engine.handle();
    tokio::time::timeout(Duration::from_secs(20), handle.ready()).await.expect("the engine becomes ready");
    (engine, handle)
}

fn stop(engine: Engine) {
    engine.stop(GRACE).expect("the store closes");
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

fn batch(name: &str, expected: Expected, values: &[&str]) -> AppendRequest {
    let values = values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes()));
    AppendRequest::of_values(key(name), expected, values)
}

async fn begin(handle: &EngineHandle, name: &str, value: &str) -> Result<Appended, AppendError> {
    handle.append(batch(name, Expected::New, &[value])).await
}

async fn add(handle: &EngineHandle, name: &str, order: u64, value: &str) -> Result<Appended, AppendError> {
    handle.append(batch(name, Expected::At(Order(order)), &[value])).await
}

async fn values(handle: &EngineHandle, name: &str) -> Vec<String> {
    match handle.read(ReadRequest::all(key(name))).await {
        Ok(Events { events, .. }) => {
            events.iter().map(|event| String::from_utf8_lossy(&event.value).into_owned()).collect()
        }
        Err(ReadError::NoSuchAggregate { .. }) => Vec::new(),
        Err(error) => panic!("{name} cannot be read: {error}"),
    }
}

fn foreign(log: &MemoryLog, partition: u32, name: &str, value: &str) {
    log.append_foreign(
        Partition(partition),
        Some(name.to_owned().into()),
        Some(value.to_owned().into()),
        Vec::new(),
    );
}

#[tokio::test]
async fn events_are_appended_in_order_and_read_back_at_once_and_after_a_restart() {
    let (log, store) = (log(3), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    let first = begin(&handle, "a", "one").await.expect("accepted");
    assert_eq!((first.first, first.last), (Order(0), Order(0)));
    assert_eq!(add(&handle, "a", 1, "two").await.expect("accepted").last, Order(1));
    let third =
        handle.append(batch("a", Expected::At(Order(2)), &["three", "four"])).await.expect("accepted");
    assert_eq!((third.first, third.last), (Order(2), Order(3)));
    assert_eq!(values(&handle, "a").await, ["one", "two", "three", "four"]);
    stop(engine);
    store.crash();
    let (engine, handle) = ready(&log, &store).await;
    assert_eq!(values(&handle, "a").await, ["one", "two", "three", "four"]);
    assert_eq!(add(&handle, "a", 4, "five").await.expect("accepted").last, Order(4));
    stop(engine);
    let (engine, handle) = ready(&log, &Arc::new(MemoryStore::new())).await;
    assert_eq!(values(&handle, "a").await, ["one", "two", "three", "four", "five"]);
    stop(engine);
}

#[tokio::test]
async fn an_append_at_another_order_than_the_next_is_refused_with_both_orders() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    let (expected, current) = (Order(5), Order(1));
    assert_eq!(add(&handle, "a", 5, "x").await, Err(AppendError::Conflict { expected, current }));
    assert_eq!(add(&handle, "a", 0, "x").await, Err(AppendError::Conflict { expected: Order(0), current }));
    assert_eq!(begin(&handle, "a", "x").await, Err(AppendError::AlreadyExists { current }));
    let unknown = add(&handle, "b", 1, "x").await;
    assert_eq!(unknown, Err(AppendError::NoSuchAggregate { key: key("b"), expected: Some(Order(1)) }));
    let none = handle.append(batch("a", Expected::New, &[])).await;
    assert!(matches!(none, Err(AppendError::BadCount { count: 0, .. })), "{none:?}");
    let large = begin(&handle, "c", &"x".repeat(1024 * 1024)).await;
    assert!(matches!(large, Err(AppendError::TooLarge { bytes_max: 1_048_576, .. })), "{large:?}");
    assert_eq!(log.records(Partition(0)).len(), 1, "nothing that was refused is in the log");
    stop(engine);
}

/// The original confirmed a stale add of an order that was still in flight: two successes for one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_appends_at_one_order_exactly_one_succeeds() {
    let (log, store) = (log(2), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "0").await.expect("accepted");
    for order in 1..20 {
        let tasks: Vec<_> = (0..16)
            .map(|writer| {
                let handle = handle.clone();
                tokio::spawn(async move { add(&handle, "a", order, &format!("{order}/{writer}")).await })
            })
            .collect();
        let mut accepted = 0;
        for task in tasks {
            match task.await.expect("no panic") {
                Ok(appended) => {
                    accepted += 1;
                    assert_eq!(appended.last, Order(order));
                }
                Err(error) => assert!(matches!(error, AppendError::Conflict { .. }), "{error}"),
            }
        }
        assert_eq!(accepted, 1, "order {order}");
    }
    assert_eq!(values(&handle, "a").await.len(), 20);
    stop(engine);
}

#[tokio::test]
async fn foreign_records_are_events_and_keys_without_bytes_are_skipped() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    foreign(&log, 0, "a", "one");
    log.append_foreign(Partition(0), None, Some("x".into()), Vec::new());
    log.append_foreign(Partition(0), Some(Bytes::new()), Some("x".into()), Vec::new());
    log.append_foreign(Partition(0), Some("a".into()), None, Vec::new());
    log.skip_offsets(Partition(0), 2);
    let (engine, handle) = ready(&log, &store).await;
    let events = handle.read(ReadRequest::all(key("a"))).await.expect("it exists").events;
    assert_eq!(events.iter().map(|event| event.tombstone).collect::<Vec<_>>(), [false, true]);
    assert_eq!(add(&handle, "a", 2, "three").await.expect("accepted").offset.0, 6);
    foreign(&log, 0, "a", "four");
    while values(&handle, "a").await.len() < 4 {
        tokio::task::yield_now().await;
    }
    // The counters follow at the end of the owner's step.
    while handle.status().partitions[0].counters.events < 4 {
        tokio::task::yield_now().await;
    }
    let counters = handle.status().partitions[0].counters;
    assert_eq!((counters.events, counters.foreign, counters.skipped, counters.void), (4, 3, 2, 0));
    stop(engine);
}

#[tokio::test]
async fn two_instances_accept_each_order_once_and_converge() {
    let (log, stores) = (log(1), [Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())]);
    let (one, first) = ready(&log, &stores[0]).await;
    let (two, second) = ready(&log, &stores[1]).await;
    begin(&first, "a", "0").await.expect("accepted");
    let mut accepted = 1;
    for order in 1..200 {
        let (left, right) = tokio::join!(add(&first, "a", order, "left"), add(&second, "a", order, "right"));
        let wins = usize::from(left.is_ok()) + usize::from(right.is_ok());
        assert!(wins <= 1, "order {order}: {left:?} {right:?}");
        accepted += wins;
        while values(&first, "a").await.len() < accepted || values(&second, "a").await.len() < accepted {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(accepted, 200);
    assert_eq!(values(&first, "a").await, values(&second, "a").await);
    stop(one);
    stop(two);
}

/// Whatever the log does to acknowledgements, the answers are true and no key stays blocked.
#[tokio::test]
async fn answers_hold_under_every_fault_of_delivery() {
    let share = 60;
    let faults = Faults {
        delayed: share,
        acknowledgement_lost: share,
        late: share,
        lost: share,
        not_stored: share,
        oversized: share,
        repeated: share,
        offset_unknown: share,
        gap: share,
    };
    let log = MemoryLog::with_faults("topic", NonZeroU32::new(2).expect("two"), faults, 11);
    let store = Arc::new(MemoryStore::new());
    let (engine, handle) = ready(&log, &store).await;
    let stepping = log.clone();
    let steps = tokio::spawn(async move {
        loop {
            stepping.step();
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    });
    let mut tasks = Vec::new();
    for writer in 0..24 {
        let handle = handle.clone();
        tasks.push(tokio::spawn(async move {
            let name = format!("key-{}", writer % 6);
            let mut answers = Vec::new();
            for attempt in 0..20 {
                let seen = values(&handle, &name).await.len() as u64;
                let value = format!("{writer}/{attempt}");
                let answer = match seen {
                    0 => begin(&handle, &name, &value).await,
                    order => add(&handle, &name, order, &value).await,
                };
                answers.push((value, answer));
            }
            (name, answers)
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("no panic"));
    }
    log.set_faults(Faults::default());
    while log.step() {}
    steps.abort();
    stop(engine);
    let (engine, handle) = ready(&log, &Arc::new(MemoryStore::new())).await;
    for (name, answers) in all {
        let history = values(&handle, &name).await;
        for (value, answer) in answers {
            let at: Vec<usize> = (0..history.len()).filter(|i| history[*i] == value).collect();
            match answer.map_err(|error| error.class()) {
                Ok(appended) => assert_eq!(at, [appended.last.0 as usize], "{name} {value}"),
                Err(ErrorClass::Unknown) => assert!(at.len() <= 1, "{name} {value}"),
                Err(ErrorClass::Rejected | ErrorClass::Unavailable) => {
                    assert!(at.is_empty(), "{name} {value}")
                }
            }
        }
    }
    stop(engine);
}

#[tokio::test]
async fn with_the_log_away_reads_go_on_and_appends_are_unavailable_until_it_is_back() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    log.go_down("the broker is gone");
    let refused = add(&handle, "a", 1, "two").await;
    assert!(matches!(refused, Err(AppendError::Unavailable(Unready::LogDown { .. }))), "{refused:?}");
    assert_eq!(values(&handle, "a").await, ["one"]);
    log.come_up();
    // The monitor may have looked while the log was away; it says so until it looks again.
    let accepted = async {
        loop {
            match add(&handle, "a", 1, "two").await {
                Ok(appended) => return appended,
                Err(AppendError::Unavailable(Unready::LogDown { .. })) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let accepted = tokio::time::timeout(Duration::from_secs(20), accepted).await.expect("the log is back");
    assert_eq!(accepted.last, Order(1));
    stop(engine);
}

#[tokio::test]
async fn a_failed_producer_handle_is_replaced_and_the_keys_stay_usable() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    log.fail_appenders("fenced");
    let mut order = 1;
    while order < 3 {
        match add(&handle, "a", order, "more").await {
            Ok(_) => order += 1,
            Err(error) => assert_eq!(error.class(), ErrorClass::Unavailable, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(values(&handle, "a").await, ["one", "more", "more"]);
    stop(engine);
}

#[tokio::test]
async fn a_store_that_cannot_write_refuses_appends_and_recovers_without_losing_an_event() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    store.fail_writes(Some("no space left"));
    let mut order = 1;
    loop {
        match add(&handle, "a", order, "more").await {
            Ok(_) => order += 1,
            Err(AppendError::Unavailable(Unready::Store { .. })) => break,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(values(&handle, "a").await.len() as u64, order);
    store.fail_writes(None);
    tokio::time::timeout(Duration::from_secs(20), async {
        while !handle.is_ready() || add(&handle, "a", order, "last").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it recovers");
    assert_eq!(values(&handle, "a").await.len() as u64, order + 1);
    stop(engine);
}

#[tokio::test]
async fn a_damaged_store_is_rebuilt_from_the_log() {
    let (log, store) = (log(2), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    for name in ["a", "b", "c"] {
        begin(&handle, name, name).await.expect("accepted");
    }
    while handle.status().partitions.iter().any(|partition| partition.stored < partition.applied) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.damage("checksum mismatch");
    let read = handle.read(ReadRequest::all(key("a"))).await;
    assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    handle.ready().await;
    for name in ["a", "b", "c"] {
        assert_eq!(values(&handle, name).await, [name]);
    }
    stop(engine);
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_noticed_and_the_store_rebuilt() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    add(&handle, "a", 1, "two").await.expect("accepted");
    stop(engine);
    store.crash();
    log.truncate(Partition(0), Position(1));
    let refused = try_start(&log, &store).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("ends at 1, below the applied position 2"), "{refused}");
    foreign(&log, 0, "a", "another");
    let engine = start(&log, &store);
    let handle = engine.handle();
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let read = handle.read(ReadRequest::all(key("a"))).await;
            match read.map(|read| read.events.iter().map(|event| event.value.clone()).collect::<Vec<_>>()) {
                Ok(events) if events == ["one", "another"] => break,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
    .expect("the store is rebuilt from what the log holds");
    stop(engine);
}

#[tokio::test]
async fn a_store_of_another_topic_and_a_topic_created_again_are_refused_with_both_names() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    stop(engine);
    store.crash();
    let other = MemoryLog::new("other", NonZeroU32::MIN);
    let refused = try_start(&other, &store).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("topic topic of") && refused.contains("other of"), "{refused}");
    log.recreate();
    let refused = try_start(&log, &store).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("topic-1 became topic-2"), "{refused}");
}

#[tokio::test]
async fn retention_below_what_is_applied_is_fine_and_above_it_refuses_to_start() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    stop(engine);
    store.crash();
    log.cut_start(Partition(0), Position(1));
    let (engine, handle) = ready(&log, &store).await;
    assert_eq!(values(&handle, "a").await, ["one"]);
    stop(engine);
    store.crash();
    foreign(&log, 0, "a", "two");
    foreign(&log, 0, "a", "three");
    log.cut_start(Partition(0), Position(2));
    let refused = try_start(&log, &store).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("begins at 2, above the applied position 1"), "{refused}");
}

#[tokio::test]
async fn a_rebuild_of_a_cut_log_takes_a_base_and_refuses_appends() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "zero").await.expect("accepted");
    add(&handle, "a", 1, "one").await.expect("accepted");
    stop(engine);
    log.cut_start(Partition(0), Position(1));
    let (engine, handle) = ready(&log, &Arc::new(MemoryStore::new())).await;
    let read = handle.read(ReadRequest::all(key("a"))).await.expect("it is readable");
    assert_eq!((read.events[0].order, read.next), (Order(1), Order(2)));
    assert_eq!(add(&handle, "a", 2, "two").await, Err(AppendError::Cut { partition: Partition(0) }));
    assert_eq!(handle.status().partitions[0].state, PartitionState::Cut);
    stop(engine);
}

#[tokio::test]
async fn a_key_in_two_partitions_is_read_whole_and_not_appended_to() {
    let (log, store) = (log(2), Arc::new(MemoryStore::new()));
    for (partition, value) in [(1, "b"), (0, "a"), (1, "c")] {
        foreign(&log, partition, "key", value);
    }
    let (engine, handle) = ready(&log, &store).await;
    assert_eq!(values(&handle, "key").await, ["a", "b", "c"]);
    let partitions = vec![Partition(0), Partition(1)];
    assert_eq!(add(&handle, "key", 3, "x").await, Err(AppendError::Split { partitions }));
    let request = ReadRequest { from: Order(1), events_max: 1, ..ReadRequest::all(key("key")) };
    let read = handle.read(request).await.expect("it is readable");
    assert_eq!((&read.events[0].value[..], read.more), (&b"b"[..], true));
    assert_eq!(read.layout, Layout::PartByPart(vec![Partition(0), Partition(1)]));
    stop(engine);
}

#[tokio::test]
async fn new_partitions_are_read_before_keys_are_placed_in_them() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    log.add_partitions(2);
    foreign(&log, 2, "b", "one");
    tokio::time::timeout(Duration::from_secs(20), async {
        while values_or_none(&handle, "b").await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the new partition is read");
    assert_eq!(add(&handle, "b", 1, "two").await.expect("accepted").partition, Partition(2));
    stop(engine);
}

async fn values_or_none(handle: &EngineHandle, name: &str) -> Option<usize> {
    handle.read(ReadRequest::all(key(name))).await.ok().map(|read| read.events.len())
}

#[tokio::test]
async fn an_open_foreign_transaction_stalls_appends_and_not_reads() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    let transaction = log.begin();
    log.append_in(transaction, Partition(0), "x".into(), "y".into());
    tokio::time::timeout(Duration::from_secs(20), async {
        while handle.status().partitions[0].state != PartitionState::Stalled {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the stall is seen");
    let refused = add(&handle, "a", 1, "two").await;
    assert!(matches!(refused, Err(AppendError::Unavailable(Unready::Stalled { .. }))), "{refused:?}");
    assert_eq!(values(&handle, "a").await, ["one"]);
    log.end(transaction, true);
    tokio::time::timeout(Duration::from_secs(20), async {
        while add(&handle, "a", 1, "two").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it goes on");
    stop(engine);
}

#[tokio::test]
async fn a_topic_created_again_while_running_degrades_and_nothing_is_thrown_away() {
    let (log, store) = (log(1), Arc::new(MemoryStore::new()));
    let (engine, handle) = ready(&log, &store).await;
    begin(&handle, "a", "one").await.expect("accepted");
    log.recreate();
    tokio::time::timeout(Duration::from_secs(20), async {
        while !matches!(handle.status().partitions[0].state, PartitionState::Degraded { .. }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it is seen");
    let refused = add(&handle, "a", 1, "two").await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    stop(engine);
    store.crash();
    assert_eq!(store.load().expect("it loads").checkpoints.len(), 1);
    assert!(log.identity().is_ok());
}

#[tokio::test]
async fn stopping_answers_everyone_and_leaves_a_point_to_resume_from() {
    let faults = Faults { delayed: 1_000, ..Faults::default() };
    let log = MemoryLog::with_faults("topic", NonZeroU32::MIN, faults, 3);
    let store = Arc::new(MemoryStore::new());
    let (engine, handle) = ready(&log, &store).await;
    let sent = tokio::spawn({
        let handle = handle.clone();
        async move { begin(&handle, "a", "one").await }
    });
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            begin(&handle, "a", "two").await
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_millis(300)));
    let waiting = waiting.await.expect("no panic");
    assert_eq!(waiting, Err(AppendError::Unavailable(Unready::ShuttingDown)));
    let sent = sent.await.expect("no panic").expect_err("nothing was delivered");
    assert_eq!(sent.class(), ErrorClass::Unknown);
    stopping.await.expect("no panic").expect("the store closes");
    let after = begin(&handle, "b", "late").await;
    assert_eq!(after, Err(AppendError::Unavailable(Unready::ShuttingDown)));
}

/// Callers send for an owner at rest; whoever finds it busy leaves that to its thread. Nobody is forgotten in between, the owner
/// ends with its thread, and no append comes after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_at_once_share_their_owners_and_none_is_forgotten() {
    let (log, store) = (log(3), Arc::new(MemoryStore::default()));
    let options = EngineOptions { threads: 2, ..EngineOptions::default() };
    let engine = Engine::start(Arc::new(log.clone()), Arc::clone(&store) as Arc<dyn Store>, options);
    let engine = engine.expect("the engine starts");
    let handle = engine.handle();
    handle.ready().await;
    let callers = (0..32).map(|caller| {
        let handle = handle.clone();
        tokio::spawn(async move {
            let name = format!("caller-{caller}");
            begin(&handle, &name, "0").await.expect("accepted");
            for order in 1..200 {
                add(&handle, &name, order, &order.to_string()).await.expect("accepted");
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        let ended = tokio::time::timeout(Duration::from_secs(60), caller).await;
        ended.expect("no append is forgotten").expect("no caller panics");
    }
    for caller in 0..32 {
        assert_eq!(values(&handle, &format!("caller-{caller}")).await.len(), 200);
    }
    stop(engine);
    let refused = begin(&handle, "late", "0").await.expect_err("the engine has stopped");
    assert_eq!(refused, AppendError::Unavailable(Unready::ShuttingDown));
}
