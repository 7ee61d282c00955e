//! What writers put into events: values, none, and headers.

use crate::support::{Answer, Bench, poll};
use bkes_core::Key;
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_engine::{AppendError, AppendRequest, Appended, ErrorClass, EventContent, Expected, Header};
use bkes_log::Log;
use bkes_storage::{RedbOptions, RedbStore, Store};
use bkes_testkit::log::SimulatedLog;
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
    let request = AppendRequest { key, expected, events };
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

#[test]
fn the_embedded_log_keeps_them_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = EmbeddedLog::open(&EmbeddedOptions::new(directory.path())).expect("it opens");
    let mut bench = Bench::ready(log, Arc::new(SimulatedStore::new()));
    let (handle, key) = (bench.handle.clone(), Key::new("a").expect("not empty"));
    let request = AppendRequest { key, expected: Expected::New, events: contents() };
    let mut answer: Answer = Box::pin(async move { handle.append(request).await });
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let answer = loop {
        if let Some(answer) = poll(&mut answer) {
            break answer;
        }
        assert!(std::time::Instant::now() < until, "it is answered");
        bench.run(1);
        std::thread::yield_now();
    };
    answer.expect("accepted");
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
