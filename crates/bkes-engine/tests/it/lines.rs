//! What the log says of records that are not plain events of ours: the first of each kind, once.

use crate::support::scene::Scene;
use bkes_core::checksum::PayloadSum;
use bkes_core::{Header, Incarnation, Marker, Order, Partition, Position, Stamp};
use bkes_engine::{EngineOptions, PartitionState};
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bytes::Bytes;
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps every line that is logged on its thread, with its level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().expect("no panic").push(format!("{} {}", event.metadata().level(), message.0));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Lines {
    /// Lines of this level that have this text.
    fn of(&self, level: &str, text: &str) -> usize {
        let lines = self.0.lock().expect("no panic");
        lines.iter().filter(|line| line.starts_with(level) && line.contains(text)).count()
    }
}

fn marked(log: &MemoryLog, key: &str, writer: u64, number: u64, order: u64) -> Vec<Header> {
    let stamp = Stamp { incarnation: Incarnation(writer), number, place: None };
    let marker = Marker { stamp, order: Order(order), base: Position(0) };
    let value = Bytes::from(format!("{key} {writer} {number}"));
    let headers: Vec<Header> = marker.headers(PayloadSum::of(Some(key.as_bytes()), Some(&value))).into();
    log.append_foreign(Partition(0), Some(key.to_owned().into()), Some(value), headers.clone());
    headers
}

fn unmarked(log: &MemoryLog, key: Option<&str>, headers: Vec<Header>) {
    let key = key.map(|key| Bytes::from(key.to_owned()));
    log.append_foreign(Partition(0), key, Some("value".into()), headers);
}

/// Applies a log by hand on this thread; the lines that were logged, and the engine.
fn applied(log: &MemoryLog) -> (Lines, Scene) {
    let lines = Lines::default();
    let scene = tracing::subscriber::with_default(lines.clone(), || {
        let mut bench = Scene::with(log.clone(), Arc::default(), EngineOptions::default());
        bench.run(1_000);
        bench
    });
    (lines, scene)
}

/// Of 20 events that a processor wrote with the headers of ours all were void, and nothing was logged.
#[test]
fn the_first_record_of_each_kind_leaves_a_line_and_all_are_counted() {
    let log = MemoryLog::with_faults("topic", NonZeroU32::MIN, Faults::default(), 1);
    let headers = marked(&log, "a", 1, 1, 0);
    for _ in 0..3 {
        unmarked(&log, Some("b"), headers.clone());
        unmarked(&log, Some("b"), Vec::new());
        unmarked(&log, None, Vec::new());
        marked(&log, "a", 1, 1, 0);
    }
    let (lines, scene) = applied(&log);
    let counters = scene.handle.status().partitions[0].counters;
    assert_eq!((counters.events, counters.foreign, counters.forwarded), (7, 6, 3));
    assert_eq!((counters.skipped, counters.void), (3, 3));
    assert_eq!(lines.of("WARN", "have it drop the headers `bkes` and `order`"), 1);
    assert_eq!(lines.of("INFO", "the first event that BKES did not write, at offset 1"), 1);
    assert_eq!(lines.of("WARN", "the first record without a key, at offset 3"), 1);
    assert_eq!(lines.of("INFO", "the first void record, at offset 4: a copy"), 1);
    assert_eq!(lines.of("ERROR", ""), 0);
}

/// Records that were copied as they are into another topic were void there without a word.
#[test]
fn copies_from_another_topic_are_told_of() {
    let log = MemoryLog::with_faults("topic", NonZeroU32::MIN, Faults::default(), 1);
    for number in 1..=5 {
        marked(&log, "a", 7, number, 40 + number);
    }
    let (lines, scene) = applied(&log);
    assert_eq!(scene.handle.status().partitions[0].counters.void, 5);
    assert_eq!(lines.of("ERROR", "they look like copies from another topic"), 1);
}

/// Aggregates whose head retention had removed before BKES first read the topic were served cut off, as if whole.
#[test]
fn a_topic_of_the_originals_that_has_lost_its_head_is_cut() {
    let log = MemoryLog::with_faults("topic", NonZeroU32::MIN, Faults::default(), 1);
    for order in 0..6 {
        let order = Header { name: "order".into(), value: Some(order.to_string().into()) };
        unmarked(&log, Some("a"), vec![order]);
    }
    let (lines, scene) = applied(&log);
    assert!(matches!(scene.handle.status().partitions[0].state, PartitionState::Ready));
    assert_eq!(lines.of("ERROR", ""), 0);
    log.cut_start(Partition(0), Position(2));
    let (lines, scene) = applied(&log);
    assert!(matches!(scene.handle.status().partitions[0].state, PartitionState::Cut));
    assert_eq!(lines.of("ERROR", "the head of the log was removed after events had been numbered there"), 1);
    assert_eq!(scene.count("a").expect("reads go on"), 4);
}

#[test]
fn a_first_build_on_a_partition_that_has_lost_its_head_says_so() {
    let log = MemoryLog::with_faults("topic", NonZeroU32::MIN, Faults::default(), 1);
    (0..4).for_each(|_| unmarked(&log, Some("a"), Vec::new()));
    let (lines, _scene) = applied(&log);
    assert_eq!(lines.of("WARN", "the partition begins at offset"), 0);
    log.cut_start(Partition(0), Position(2));
    let (lines, _scene) = applied(&log);
    assert_eq!(lines.of("WARN", "the partition begins at offset 2: what came before was removed"), 1);
}
