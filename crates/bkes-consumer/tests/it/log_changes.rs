//! What a consumer is told when the log is not what it was.

use crate::topic::{Topic, marked};
use crate::what_is_told::drain;
use bkes_consumer::{ConsumeError, Consumer, ConsumerOptions, Decided, Item, Stop};
use bkes_core::checksum::PartsSum;
use bkes_core::{Incarnation, Marker, Order, Partition, Position, Record, Stamp};
use bkes_log::wake_pair;
use bytes::Bytes;

const ZERO: Partition = Partition(0);

fn open(topic: &Topic) -> Consumer {
    Consumer::open(&topic.log, wake_pair().0, &ConsumerOptions::default()).expect("the log is there")
}

fn foreign(topic: &Topic, key: &'static str) {
    topic.log.append_foreign(ZERO, Some(Bytes::from_static(key.as_bytes())), None, vec![]);
}

fn stops(items: &[Item]) -> Vec<Stop> {
    let why = |item: &Item| match item {
        Item::Stopped { why, .. } => Some(why.clone()),
        _ => None,
    };
    items.iter().filter_map(why).collect()
}

fn events(items: &[Item]) -> usize {
    items.iter().filter(|item| matches!(item, Item::Decided(Decided::Events(_)))).count()
}

#[test]
fn a_log_that_lost_its_end_stops_the_partition_and_it_can_be_begun_anew() {
    let topic = Topic::new(1, 1, 1);
    (0..5).for_each(|_| foreign(&topic, "k"));
    let mut consumer = open(&topic);
    drain(&mut consumer, 9);
    topic.log.truncate(ZERO, Position(2));
    (0..5).for_each(|_| foreign(&topic, "j"));
    let items = drain(&mut consumer, 9);
    assert_eq!(stops(&items), [Stop::LostEnd { end: Position(2) }]);
    assert_eq!(events(&items), 0);
    consumer.begin(&topic.log, ZERO).expect("the log is there");
    assert_eq!(events(&drain(&mut consumer, 9)), 7);
    assert_eq!(
        (consumer.next_order(ZERO, b"k"), consumer.next_order(ZERO, b"j")),
        (Some(Order(2)), Some(Order(5)))
    );
}

#[test]
fn a_checkpoint_of_a_log_that_lost_its_end_meanwhile_is_not_gone_on_from() {
    let topic = Topic::new(1, 1, 1);
    (0..5).for_each(|_| foreign(&topic, "k"));
    let mut consumer = open(&topic);
    drain(&mut consumer, 9);
    let checkpoint = consumer.checkpoint();
    let resume = || Consumer::resume(&topic.log, wake_pair().0, checkpoint.clone()).expect("the same log");
    assert_eq!(events(&drain(&mut resume(), 9)), 0);
    topic.log.truncate(ZERO, Position(2));
    (0..5).for_each(|_| foreign(&topic, "j"));
    let items = drain(&mut resume(), 9);
    assert!(matches!(&stops(&items)[..], [Stop::Diverged { found: Some(_), .. }]), "{items:?}");
    assert_eq!(events(&items), 0);
    topic.log.truncate(ZERO, Position(4));
    topic.log.skip_offsets(ZERO, 3);
    let items = drain(&mut resume(), 9);
    assert!(matches!(&stops(&items)[..], [Stop::Diverged { found: None, .. }]), "{items:?}");
    topic.log.truncate(ZERO, Position(1));
    assert!(matches!(&stops(&drain(&mut resume(), 9))[..], [Stop::OutOfRange { .. }]));
    topic.log.recreate();
    let error = Consumer::resume(&topic.log, wake_pair().0, checkpoint).err();
    assert!(matches!(error, Some(ConsumeError::AnotherLog { .. })), "{error:?}");
}

/// Control records lay above the last event. The log lost its end there and grew again, with events in their place. They lay below what was
/// read, and were passed over.
#[test]
fn events_where_a_lost_end_had_no_records_are_not_passed_over() {
    let topic = Topic::new(1, 1, 1);
    (0..5).for_each(|_| foreign(&topic, "k"));
    topic.log.skip_offsets(ZERO, 3);
    let mut consumer = open(&topic);
    drain(&mut consumer, 9);
    let checkpoint = consumer.checkpoint();
    assert_eq!(consumer.positions().next(), Some((ZERO, Position(8))));
    let resume = || Consumer::resume(&topic.log, wake_pair().0, checkpoint.clone()).expect("the same log");
    assert_eq!(stops(&drain(&mut resume(), 9)), []);
    topic.log.truncate(ZERO, Position(5));
    (0..3).for_each(|_| foreign(&topic, "j"));
    let items = drain(&mut resume(), 9);
    assert!(
        matches!(&stops(&items)[..], [Stop::Diverged { found: Some(found), .. }] if found.offset.0 == 5),
        "{items:?}"
    );
}

#[test]
fn a_partition_in_which_there_was_no_record_is_read_from_its_beginning_again() {
    let topic = Topic::new(1, 1, 1);
    topic.log.skip_offsets(ZERO, 3);
    let mut consumer = open(&topic);
    drain(&mut consumer, 9);
    topic.log.truncate(ZERO, Position(0));
    (0..3).for_each(|_| foreign(&topic, "j"));
    let mut resumed =
        Consumer::resume(&topic.log, wake_pair().0, consumer.checkpoint()).expect("the same log");
    assert_eq!(events(&drain(&mut resumed, 9)), 3);
}

#[test]
fn a_checkpoint_whose_last_record_retention_removed_is_gone_on_from() {
    let topic = Topic::new(1, 1, 1);
    (0..5).for_each(|_| foreign(&topic, "k"));
    let mut consumer = open(&topic);
    drain(&mut consumer, 9);
    topic.log.cut_start(ZERO, Position(5));
    let mut consumer =
        Consumer::resume(&topic.log, wake_pair().0, consumer.checkpoint()).expect("the same log");
    foreign(&topic, "k");
    let items = drain(&mut consumer, 9);
    assert_eq!((events(&items), consumer.next_order(ZERO, b"k")), (1, Some(Order(6))));
}

#[test]
fn a_head_that_was_removed_is_told_at_the_record_that_shows_it() {
    let mut topic = Topic::new(1, 1, 1);
    foreign(&topic, "k");
    foreign(&topic, "k");
    topic.log.cut_start(ZERO, Position(2));
    let stamp = Stamp { incarnation: Incarnation(5), number: 1, place: None };
    let marker = Marker { stamp, order: Order(2), base: Position(2) };
    topic.log.append_foreign(ZERO, Some(Bytes::from_static(b"k")), None, marked(b"k", None, marker));
    let mut consumer = open(&topic);
    let items = drain(&mut consumer, 9);
    assert!(matches!(&items[0], Item::Decided(Decided::Cut { offset, .. }) if offset.0 == 2), "{items:?}");
    assert_eq!(consumer.next_order(ZERO, b"k"), Some(Order(3)));
    topic.write(0);
}

#[test]
fn a_record_of_a_newer_format_stops_the_partition_before_it() {
    let topic = Topic::new(1, 1, 1);
    foreign(&topic, "k");
    let (key, offset) = (Some(Bytes::from_static(b"k")), bkes_core::Offset(1));
    let record =
        Record { partition: ZERO, offset, timestamp: None, key: key.clone(), value: None, headers: vec![] };
    let mut sum = PartsSum::over_payload(&record);
    sum.part(None);
    sum.part(Some(b"2;anything;"));
    let newer = crate::topic::header(b"bkes", Some(format!("2;anything;{:08x}", sum.finish()).as_bytes()));
    topic.log.append_foreign(ZERO, key, None, vec![newer]);
    foreign(&topic, "k");
    let mut consumer = open(&topic);
    let items = drain(&mut consumer, 9);
    assert!(matches!(&stops(&items)[..], [Stop::NewerFormat(newer)] if newer.offset == offset), "{items:?}");
    assert_eq!((events(&items), consumer.positions().next()), (1, Some((ZERO, Position(1)))));
}

#[test]
fn partitions_that_were_added_are_read_from_when_they_are_looked_for() {
    let topic = Topic::new(1, 1, 1);
    foreign(&topic, "k");
    let mut consumer = open(&topic);
    topic.log.add_partitions(1);
    topic.log.append_foreign(Partition(1), Some(Bytes::from_static(b"new")), None, vec![]);
    assert_eq!(events(&drain(&mut consumer, 9)), 1);
    assert_eq!(consumer.read_new_partitions(&topic.log), Ok(vec![Partition(1)]));
    assert_eq!(consumer.read_new_partitions(&topic.log), Ok(vec![]));
    assert_eq!(events(&drain(&mut consumer, 9)), 1);
}

#[test]
fn what_is_not_stable_is_not_told() {
    let topic = Topic::new(1, 1, 1);
    let transaction = topic.log.begin();
    topic.log.append_in(transaction, ZERO, Bytes::from_static(b"k"), Bytes::from_static(b"open"));
    foreign(&topic, "k");
    let mut consumer = open(&topic);
    assert_eq!(events(&drain(&mut consumer, 9)), 0);
    topic.log.end(transaction, false);
    let items = drain(&mut consumer, 9);
    assert_eq!(events(&items), 1);
    assert!(matches!(&items[0], Item::Decided(Decided::Gap { from: Position(0), to: Position(1), .. })));
}
