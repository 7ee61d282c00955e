//! What writers put into events: values, none, and headers.

use crate::support::scene::Scene;
use crate::support::{Answer, Bench, poll};
use bkes_core::limits::{BATCH_BYTES_MAX, EVENT_HEADERS_MAX, HEADER_NAME_BYTES_MAX};
use bkes_core::{Key, Offset, Order, Partition};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_engine::{
    AppendError, AppendRequest, Appended, EngineOptions, ErrorClass, EventContent, Expected, Header, Unit,
    Unready,
};
use bkes_log::Log;
use bkes_storage::{RedbOptions, RedbStore, Store};
use bkes_testkit::log::{Faults, SimulatedLog};
use bkes_testkit::store::SimulatedStore;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;

fn header(name: &'static [u8], value: Option<&'static [u8]>) -> Header {
    Header { name: Bytes::from_static(name), value: value.map(Bytes::from_static) }
}

/// A value with headers of all kinds, a tombstone with and without them, an empty value.
fn contents() -> Vec<EventContent> {
    vec![
        EventContent {
            value: Some(Bytes::from_static(b"value")),
            headers: vec![
                header(b"content-type", Some(b"application/json")),
                header(b"twice", Some(b"1")),
                header(b"twice", None),
                header(b"\xff\xfe", Some(b"")),
                header(b"Order", Some(b"7")),
                header(b"", Some(b"a name without bytes")),
            ],
        },
        EventContent { value: None, headers: vec![header(b"why", Some(b"erased"))] },
        EventContent::default(),
        EventContent { value: Some(Bytes::new()), headers: Vec::new() },
    ]
}

fn append(bench: &mut Bench, expected: Expected, events: Vec<EventContent>) -> Result<Appended, AppendError> {
    let (handle, key) = (bench.handle.clone(), Key::new("a").expect("not empty"));
    let request = AppendRequest { key, expected, events, identity: None };
    let mut answer: Answer = Box::pin(async move { handle.append(request).await });
    match poll(&mut answer) {
        Some(answer) => answer,
        None => bench.answer(answer),
    }
}

/// What is read of the aggregate.
fn read(bench: &Bench) -> Vec<EventContent> {
    let events = bench.read("a").expect("it is there").events;
    let content = |event: bkes_engine::StoredEvent| EventContent {
        value: (!event.tombstone).then_some(event.value),
        headers: event.headers,
    };
    events.into_iter().map(content).collect()
}

/// They come back as they went in: from what was applied unread, from the store, and from the log by another engine.
fn contents_come_back(log: impl Log + Clone, store: Arc<dyn Store>) {
    let mut bench = Bench::ready(log.clone(), store);
    append(&mut bench, Expected::New, contents()).expect("accepted");
    assert_eq!(read(&bench), contents(), "applied");
    bench.run(1_000);
    assert_eq!(read(&bench), contents(), "committed, and confirmed by reading");
    for (order, content) in (4..).zip(contents()) {
        append(&mut bench, Expected::At(bkes_core::Order(order)), vec![content]).expect("accepted");
    }
    let twice = [contents(), contents()].concat();
    assert_eq!(read(&bench), twice, "one by one");
    assert_eq!(bench.handle.status().partitions[0].counters.foreign, 0);
    let other = Bench::ready(log, Arc::new(SimulatedStore::new()));
    assert_eq!(read(&other), twice, "read from the log");
    assert_eq!(other.handle.status().partitions[0].counters.void, 0);
}

#[test]
fn headers_and_tombstones_come_back_as_they_went_in() {
    let one = NonZeroU32::MIN;
    contents_come_back(SimulatedLog::new("topic", one), Arc::new(SimulatedStore::new()));
    let directory = tempfile::tempdir().expect("a directory");
    let options = RedbOptions { directory: directory.path().join("store"), cache_bytes: 1024 * 1024 };
    let store = Arc::new(RedbStore::open(&options).expect("it opens").store);
    contents_come_back(SimulatedLog::new("topic", one), store);
}

/// An engine on an embedded log, and the log's directory.
fn on_embedded_log() -> (Bench, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let log = EmbeddedLog::open(&EmbeddedOptions::new(directory.path())).expect("it opens");
    (Bench::ready(log, Arc::new(SimulatedStore::new())), directory)
}

/// An append to a log that has a thread of its own.
fn append_awaited(
    bench: &mut Bench,
    expected: Expected,
    events: Vec<EventContent>,
) -> Result<Appended, AppendError> {
    let (handle, key) = (bench.handle.clone(), Key::new("a").expect("not empty"));
    let request = AppendRequest { key, expected, events, identity: None };
    let mut answer: Answer = Box::pin(async move { handle.append(request).await });
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(answer) = poll(&mut answer) {
            return answer;
        }
        assert!(std::time::Instant::now() < until, "it is answered");
        bench.run(1);
        std::thread::yield_now();
    }
}

#[test]
fn the_embedded_log_keeps_them_too() {
    let (mut bench, _directory) = on_embedded_log();
    append_awaited(&mut bench, Expected::New, contents()).expect("accepted");
    assert_eq!(read(&bench), contents());
}

/// `order` and `bkes` say what a record is; the rest of the names are kept for what is to come.
#[test]
fn a_header_whose_name_is_reserved_is_refused_with_the_name() {
    let mut bench =
        Bench::ready(SimulatedLog::new("topic", NonZeroU32::MIN), Arc::new(SimulatedStore::new()));
    for name in ["order", "bkes", "bkes-id", "bkes_"] {
        let headers = vec![header(b"fine", None), header(name.as_bytes(), Some(b"0"))];
        let content = EventContent { value: Some(Bytes::from_static(b"value")), headers };
        let events = vec![EventContent::default(), content];
        let refused = append(&mut bench, Expected::New, events).expect_err("it is reserved");
        assert_eq!(refused, AppendError::ReservedHeader { name: name.to_owned() });
        assert_eq!(refused.class(), ErrorClass::Rejected);
    }
    assert_eq!(bench.values("a"), [""; 0], "nothing was stored");
}

#[test]
fn headers_count_in_the_size_of_an_event() {
    let log = SimulatedLog::new("topic", NonZeroU32::MIN);
    let bytes_max = log.record_bytes_max() as usize;
    let mut bench = Bench::ready(log, Arc::new(SimulatedStore::new()));
    for count in [1, 2] {
        let headers = vec![Header { name: "large".into(), value: Some(vec![b'x'; bytes_max].into()) }];
        let mut events = vec![EventContent { value: None, headers }];
        events.resize(count, EventContent::default());
        let refused = append(&mut bench, Expected::New, events).expect_err("it is too large");
        assert!(matches!(refused, AppendError::TooLarge { .. }), "{refused}");
    }
}

/// So many headers whose names have one byte, and whose values none.
fn small_headers(count: usize) -> Vec<Header> {
    vec![header(b"n", None); count]
}

/// An event with these headers, of so many bytes with its key, as a batch counts them.
fn sized(bytes: usize, headers: Vec<Header>) -> EventContent {
    let content = EventContent { value: None, headers };
    let value = Some(Bytes::from(vec![b'x'; bytes - "a".len() - content.bytes()]));
    EventContent { value, ..content }
}

/// The story: a record with more than 100,000 headers was stored, could not be read by librdkafka, and its partition was degraded for
/// good.
#[test]
fn more_headers_than_every_log_can_keep_are_refused_before_anything_is_sent() {
    let log = SimulatedLog::new("topic", NonZeroU32::MIN);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let long = |bytes: usize| vec![Header { name: vec![b'n'; bytes].into(), value: None }];
    let (count, count_max) = (EVENT_HEADERS_MAX + 1, EVENT_HEADERS_MAX);
    let (bytes, bytes_max) = (HEADER_NAME_BYTES_MAX + 1, HEADER_NAME_BYTES_MAX);
    let cases = [
        (small_headers(count), AppendError::TooManyHeaders { count, count_max }),
        (long(bytes), AppendError::LongHeaderName { bytes, bytes_max }),
    ];
    for (headers, error) in cases {
        let events = vec![EventContent::default(), EventContent { value: None, headers }];
        let refused = append(&mut bench, Expected::New, events).expect_err("no log need keep it");
        assert_eq!((refused.class(), refused), (ErrorClass::Rejected, error));
    }
    assert_eq!(log.records(Partition(0)).len(), 0, "nothing was sent");
    let most = [small_headers(count_max), long(bytes_max)];
    let most = most.map(|headers| EventContent { value: None, headers }).to_vec();
    append(&mut bench, Expected::New, most.clone()).expect("it is the most that is taken");
    assert_eq!(read(&bench), most);
}

/// A broker counts the lengths of names and values too. It refused a member of a batch after others were stored, which made them void.
#[test]
fn headers_are_measured_with_their_framing_in_a_record() {
    let log = SimulatedLog::new("topic", NonZeroU32::MIN);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    log.set_record_bytes_max(20_000);
    // The headers of a marker of small numbers take 41 bytes, and `;2/2` of a batch.
    for (count, marker) in [(2, 45), (1, 41)] {
        let room = 20_000 - marker - 10 * 1_000;
        let events = |bytes: usize| {
            let mut events = vec![EventContent::default(); count - 1];
            events.push(sized(bytes, small_headers(1_000)));
            events
        };
        let before = log.records(Partition(0)).len();
        let next = Expected::At(Order(before as u64));
        let expected = if before == 0 { Expected::New } else { next };
        let refused = append(&mut bench, expected, events(room + 1));
        assert_eq!(refused, Err(AppendError::TooLarge { bytes: 20_001, bytes_max: 20_000 }), "{count}");
        assert_eq!(log.records(Partition(0)).len(), before, "nothing of it was sent");
        append(&mut bench, expected, events(room)).expect("it fits to the byte");
    }
}

/// The rule knows no framing: what it takes as a batch is not refused for it, and what is taken is never void.
#[test]
fn headers_are_measured_without_their_framing_in_a_batch() {
    let log = SimulatedLog::new("topic", NonZeroU32::MIN);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    let events = |last: usize| {
        let mut events = vec![sized(1_000_000, small_headers(1_000)); 16];
        events.push(sized(last, small_headers(1_000)));
        events
    };
    let last = BATCH_BYTES_MAX - 16 * 1_000_000;
    let refused = append(&mut bench, Expected::New, events(last + 1));
    let bytes_max = BATCH_BYTES_MAX as u64;
    assert_eq!(refused, Err(AppendError::TooLarge { bytes: bytes_max + 1, bytes_max }));
    assert_eq!(log.records(Partition(0)).len(), 0, "nothing of it was sent");
    append(&mut bench, Expected::New, events(last)).expect("it is the largest batch there is");
    let other = Bench::ready(log, Arc::new(SimulatedStore::new()));
    assert_eq!(other.count("a"), Ok(17), "read from the log");
    assert_eq!(other.handle.status().partitions[0].counters.void, 0);
}

/// The embedded log found out when a member was sent that it did not fit, and the members before it were void.
#[test]
fn a_batch_with_a_member_that_the_embedded_log_does_not_take_is_refused_as_a_whole() {
    let (mut bench, _directory) = on_embedded_log();
    let bytes_max = bench.handle.record_bytes_max();
    let room = bytes_max as usize - 45 - 10 * 1_000;
    let events = |bytes: usize| vec![EventContent::default(), sized(bytes, small_headers(1_000))];
    let refused = append_awaited(&mut bench, Expected::New, events(room + 1));
    assert_eq!(refused, Err(AppendError::TooLarge { bytes: bytes_max + 1, bytes_max }));
    let stored = append_awaited(&mut bench, Expected::New, events(room)).expect("it fits to the byte");
    assert_eq!(stored.offset, Offset(1), "nothing was sent of the one before");
    assert_eq!(read(&bench), events(room));
}

/// An event of one byte and of so many headers that take nothing but memory.
fn wide(scene: &Scene, name: &str, headers: usize) -> Answer {
    let header = Header { name: Bytes::new(), value: None };
    let content = EventContent { value: Some("v".into()), headers: vec![header; headers] };
    let key = Key::new(name.to_owned()).expect("not empty");
    let request = AppendRequest { key, expected: Expected::New, events: vec![content], identity: None };
    let handle = scene.handle.clone();
    Box::pin(async move { handle.append(request).await })
}

/// An engine on a log that delivers nothing by itself.
fn on_slow_log(options: EngineOptions) -> Scene {
    let mut scene = Scene::with(SimulatedLog::new("topic", NonZeroU32::MIN), Arc::default(), options);
    scene.run_until("it is ready", |bench| bench.handle.is_ready());
    scene.log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    scene
}

/// 1,000 events of 1,000 headers without content took 64 MB and counted nothing.
#[test]
fn what_headers_take_in_memory_counts_among_the_appends_that_are_admitted() {
    let scene = on_slow_log(EngineOptions { append_bytes_max: 2 * 1_000 * 64, ..EngineOptions::default() });
    let mut admitted = wide(&scene, "a", 1_000);
    assert_eq!(poll(&mut admitted), None);
    let overloaded = Unready::Overloaded { queue: "the append queue", limit: 128_000, unit: Unit::Bytes };
    assert_eq!(poll(&mut wide(&scene, "b", 1_000)), Some(Err(AppendError::Unavailable(overloaded))));
    assert_eq!(poll(&mut wide(&scene, "b", 999)), None, "it has room beside the first");
}

#[test]
fn what_headers_take_in_memory_counts_while_they_are_on_their_way() {
    let mut scene = on_slow_log(EngineOptions { overlay_bytes_max: 100_000, ..EngineOptions::default() });
    let mut answers = ["a", "b"].map(|name| wide(&scene, name, 1_000));
    assert!(answers.iter_mut().all(|answer| poll(answer).is_none()));
    scene.step_owners();
    assert_eq!(scene.log.on_the_way(), 1, "the second waits for room");
    let mut small = wide(&scene, "c", 0);
    assert_eq!(poll(&mut small), None);
    scene.step_owners();
    assert_eq!(scene.log.on_the_way(), 1, "and what comes later waits after it");
}

/// What lies between the records of a batch is of others, or nothing.
#[test]
fn an_append_says_where_its_first_and_its_last_event_lie() {
    let log = SimulatedLog::new("topic", NonZeroU32::MIN);
    let mut bench = Bench::ready(log.clone(), Arc::new(SimulatedStore::new()));
    log.set_faults(Faults { gap: 1_000, ..Faults::default() });
    for (expected, values) in [(Expected::New, &["0"][..]), (Expected::At(Order(1)), &["1", "2", "3"])] {
        let answer = bench.append("a", expected, values);
        let stored = bench.answer(answer).expect("accepted");
        let records = log.records(Partition(0));
        let own = &records[records.len() - values.len()..];
        let offsets = (own[0].offset, own[values.len() - 1].offset);
        assert!(values.len() == 1 || offsets.1.0 - offsets.0.0 >= values.len() as u64, "{offsets:?}");
        assert_eq!((stored.first_offset, stored.offset), offsets);
    }
}
