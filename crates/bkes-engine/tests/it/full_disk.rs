//! The engine on a real redb store whose disk fills up, fails to read, or has readers wait.

use bkes_core::{Key, Order, Partition};
use bkes_engine::{
    AppendError, AppendRequest, Appended, Engine, EngineHandle, EngineOptions, Expected, ReadError,
    ReadRequest, Unready,
};
use bkes_storage::{RedbStore, Store};
use bkes_testkit::disk::{Operation, SimulatedDisk, Unsynced};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use bytes::Bytes;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// So little that reads go to the disk.
const CACHE_BYTES: usize = 64 * 1024;

fn start(log: &MemoryLog, disk: &SimulatedDisk) -> Engine {
    start_with(log, disk, CACHE_BYTES).0
}

fn start_with(log: &MemoryLog, disk: &SimulatedDisk, cache_bytes: usize) -> (Engine, Arc<RedbStore>) {
    let opened = RedbStore::open_on(Arc::new(disk.clone()), cache_bytes).expect("the store opens");
    let (log, store) = (Arc::new(log.clone()), Arc::new(opened.store));
    let on: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    (Engine::start(log, on, EngineOptions::default()).expect("it starts"), store)
}

async fn ready(engine: &Engine) -> EngineHandle {
    let handle = engine.handle();
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("it becomes ready");
    handle
}

async fn stop(engine: Engine) {
    let stopping = tokio::task::spawn_blocking(move || engine.stop(PATIENCE));
    stopping.await.expect("no panic").expect("it closes");
}

/// Adds so many events, the first ones.
async fn add_first(handle: &EngineHandle, count: u64) {
    for order in 0..count {
        add(handle, order).await.expect("accepted");
    }
}

async fn add(handle: &EngineHandle, order: u64) -> Result<Appended, AppendError> {
    let expected = if order == 0 { Expected::New } else { Expected::At(Order(order)) };
    let key = Key::new("key").expect("not empty");
    handle.append(AppendRequest::of_values(key, expected, vec![value(order)])).await
}

/// As large as it can be and still lie among the rows, of which the store keeps what was read in memory.
fn value(order: u64) -> Bytes {
    Bytes::from(format!("value {order} ").repeat(1_600))
}

async fn count(handle: &EngineHandle) -> u64 {
    let key = Key::new("key").expect("not empty");
    let read = handle.read(ReadRequest::all(key)).await.expect("reads go on");
    for (order, event) in read.events.iter().enumerate() {
        assert_eq!(event.value, value(order as u64), "order {order}");
    }
    read.events.len() as u64
}

/// The story: with a full disk the store was reopened every second, fell back to what was durable, and then could not begin
/// anew; reads were refused for as long as the disk was full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_appends_before_they_are_sent_and_reads_go_on_until_there_is_space_again() {
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let disk = SimulatedDisk::new();
    let engine = start(&log, &disk);
    let handle = ready(&engine).await;
    let mut acknowledged = 0;
    while acknowledged < 50 {
        add(&handle, acknowledged).await.expect("accepted");
        acknowledged += 1;
    }
    disk.set_space(Some(disk.used_bytes() + 256 * 1024));
    let refused = loop {
        match add(&handle, acknowledged).await {
            Ok(_) => acknowledged += 1,
            // More was applied than the writer could take before it knew.
            Err(AppendError::Unavailable(Unready::Overloaded { .. })) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "the disk is never full");
    };
    assert!(matches!(refused, AppendError::Unavailable(Unready::Store { .. })), "{refused:?}");
    let sent = log.records(Partition(0)).len() as u64;
    assert_eq!(sent, acknowledged, "nothing is sent that is refused");
    let until = tokio::time::Instant::now() + Duration::from_millis(3_500);
    while tokio::time::Instant::now() < until {
        assert_eq!(count(&handle).await, acknowledged, "reads show everything acknowledged");
        let refused = add(&handle, acknowledged).await;
        assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(log.records(Partition(0)).len() as u64, sent);
    disk.set_space(None);
    tokio::time::timeout(PATIENCE, async {
        while add(&handle, acknowledged).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("everything comes back by itself");
    acknowledged += 1;
    assert_eq!(count(&handle).await, acknowledged);
    assert_eq!(log.records(Partition(0)).len() as u64, acknowledged, "no event twice");
    drop(handle);
    stop(engine).await;
    let engine = start(&log, &disk);
    let handle = ready(&engine).await;
    assert_eq!(count(&handle).await, acknowledged, "the store has everything");
    let counters = handle.status().partitions[0].counters;
    assert_eq!((counters.events, counters.void), (acknowledged, 0));
    stop(engine).await;
}

/// The story: to redb one failed read is the end of the file, and nobody opened it anew when nothing was written; every read and
/// every append failed until a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_error_passes_by_itself_when_nothing_is_written() {
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let disk = SimulatedDisk::new();
    let engine = start(&log, &disk);
    let handle = ready(&engine).await;
    add_first(&handle, 50).await;
    stop(engine).await;
    drop(handle);
    let engine = start(&log, &disk);
    let handle = ready(&engine).await;
    disk.fail(Operation::Read, 0, ErrorKind::Other);
    let key = Key::new("key").expect("not empty");
    let read = handle.read(ReadRequest::all(key.clone())).await.map(|read| read.events.len());
    assert!(matches!(read, Err(ReadError::Store { .. })), "{read:?}");
    tokio::time::timeout(PATIENCE, async {
        while handle.read(ReadRequest::all(key.clone())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("reads come back by themselves");
    assert_eq!(count(&handle).await, 50);
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("it is ready again");
    add(&handle, 50).await.expect("accepted");
    assert_eq!(count(&handle).await, 51);
    stop(engine).await;
    drop(handle);
    disk.crash(Unsynced::Lost);
    let engine = start(&log, &disk);
    let handle = ready(&engine).await;
    assert_eq!(count(&handle).await, 51);
    stop(engine).await;
}

/// Reads everything; says whether the caller's thread had it at once.
async fn reads_at_once(handle: &EngineHandle) -> bool {
    let mut read = pin!(count(handle));
    let first = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await;
    let found = match first {
        Poll::Ready(found) => found,
        Poll::Pending => read.await,
    };
    assert_eq!(found, 50);
    first.is_ready()
}

/// A thread that serves many callers must not wait for a disk on behalf of one.
#[tokio::test]
async fn reads_leave_the_callers_thread_while_the_disk_has_them_wait_and_come_back_to_it() {
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let disk = SimulatedDisk::new();
    // So much that everything stays in memory once it was read.
    let cache_bytes = 16 * 1024 * 1024;
    let (engine, _) = start_with(&log, &disk, cache_bytes);
    let handle = ready(&engine).await;
    add_first(&handle, 50).await;
    stop(engine).await;
    drop(handle);
    disk.set_read_time(Duration::from_millis(1));
    let (engine, store) = start_with(&log, &disk, cache_bytes);
    let handle = ready(&engine).await;
    assert!(store.reads_may_block(), "opening it has shown how long its disk takes");
    assert!(!reads_at_once(&handle).await, "another thread waits for the disk");
    let mut warned = 0;
    while store.reads_may_block() {
        assert_eq!(count(&handle).await, 50);
        warned += 1;
    }
    assert!(warned > 10, "{warned} reads after a slow one");
    assert!(reads_at_once(&handle).await, "nothing was read from the disk for so long");
    stop(engine).await;
}
