//! The overlay's generations: what is seen when, and what a transaction is given.

use super::*;
use bkes_core::machine::Records;
use bkes_core::marker::ID_HEADER;
use bkes_core::{BatchPlace, Header, Offset, Order, Position, Record, Stamp, TimestampMs};
use bytes::Bytes;
use std::sync::atomic::AtomicBool;

pub fn event(partition: u32, order: u64) -> StoredEvent {
    StoredEvent {
        order: Order(order),
        partition: Partition(partition),
        offset: Offset(order),
        timestamp: None,
        value: Bytes::from_static(b"value"),
        tombstone: false,
        stamp: None,
        headers: Vec::new(),
    }
}

pub fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("not empty")
}

fn record(key: &Key, event: &StoredEvent) -> Record {
    let StoredEvent { partition, offset, timestamp, ref value, .. } = *event;
    let (key, value) = (Some(key.bytes().clone()), Some(value.clone()));
    Record { partition, offset, timestamp, key, value, headers: Vec::new() }
}

/// Adds an event as an owner does.
pub fn insert_event(overlay: &Overlay, owner: usize, key: &Key, event: StoredEvent) {
    let StoredEvent { order, partition, .. } = event;
    let records = Records::One(record(key, &event));
    let (hash, key, next) = (overlay.hash(key), key.clone(), Order(order.0 + 1));
    let head = Head { partition, base: Order(0), next };
    overlay.insert(owner, &mut vec![Accepted { hash, key, head, stamp: None, records }]);
}

fn insert(overlay: &Overlay, name: &str, partition: u32, orders: std::ops::Range<u64>) {
    let key = key(name);
    for order in orders {
        insert_event(overlay, 0, &key, event(partition, order));
    }
}

fn checkpoint(position: u64) -> (Partition, Checkpoint) {
    (Partition(0), Checkpoint { position: Position(position), ..Checkpoint::default() })
}

fn orders(overlay: &Overlay, name: &str) -> Vec<(u32, Vec<u64>)> {
    let parts = overlay.copy(&key(name)).into_iter();
    let mut parts: Vec<(u32, Vec<u64>)> = parts
        .map(|part| {
            let orders: Vec<u64> = part.events.iter().map(|event| event.order.0).collect();
            assert_eq!(part.head.next.0, orders.last().expect("a part has an event") + 1);
            (part.head.partition.0, orders)
        })
        .collect();
    parts.sort();
    parts
}

#[test]
fn many_events_or_few_of_many_bytes_are_worth_a_commit() {
    let overlay = Overlay::new(1);
    insert(&overlay, "a", 0, 0..COMMIT_GATHER_EVENTS as u64 - 1);
    assert!(!overlay.end_step(0, [checkpoint(1)], []));
    insert(&overlay, "b", 0, 0..1);
    assert!(overlay.end_step(0, [checkpoint(2)], []));
    assert!(overlay.seal(0, Epoch(0)).is_some());
    let large = StoredEvent { value: Bytes::from(vec![b'x'; COMMIT_GATHER_BYTES]), ..event(0, 0) };
    insert_event(&overlay, 0, &key("c"), large);
    assert!(overlay.end_step(0, [checkpoint(3)], []));
}

#[test]
fn events_are_seen_at_once_and_until_their_commit() {
    let overlay = Overlay::new(1);
    insert(&overlay, "a", 0, 3..6);
    insert(&overlay, "b", 0, 0..1);
    assert_eq!(orders(&overlay, "a"), [(0, vec![3, 4, 5])]);
    assert!(overlay.seal(0, Epoch(0)).is_none(), "a step that has not ended is not torn");
    assert!(!overlay.end_step(0, [checkpoint(7)], []), "four events can wait for more");
    let sealed = overlay.seal(0, Epoch(0)).expect("there is something");
    assert_eq!(sealed.batch().events.len(), 4);
    assert_eq!(sealed.batch().checkpoints, [checkpoint(7)]);
    insert(&overlay, "a", 0, 6..8);
    insert(&overlay, "a", 2, 0..1);
    assert_eq!(orders(&overlay, "a"), [(0, vec![3, 4, 5, 6, 7]), (2, vec![0])]);
    let mut heads = Vec::new();
    overlay.heads(overlay.hash(&key("a")), &key("a"), &mut heads);
    heads.sort_by_key(|head| head.partition);
    let next: Vec<(u32, u64)> = heads.iter().map(|head| (head.partition.0, head.next.0)).collect();
    assert_eq!(next, [(0, 8), (2, 1)]);
    overlay.clear(0);
    assert_eq!(orders(&overlay, "a"), [(0, vec![6, 7]), (2, vec![0])]);
    assert!(orders(&overlay, "b").is_empty());
    overlay.end_step(0, [checkpoint(9), checkpoint(10)], []);
    let sealed = overlay.seal(0, Epoch(0)).expect("there is something");
    assert_eq!(sealed.batch().checkpoints, [checkpoint(10)], "the last one counts");
    overlay.clear(0);
    assert_eq!((overlay.bytes(), overlay.copy(&key("a")).len()), (0, 0));
}

/// A reader saw the first events of a batch without the rest.
#[test]
fn a_reader_sees_all_events_of_a_batch_or_none() {
    const BATCHES: u64 = 20_000;
    let overlay = Overlay::new(1);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                let (mut heads, key) = (Vec::new(), key("a"));
                overlay.heads(overlay.hash(&key), &key, &mut heads);
                let next = heads.first().map_or(0, |head| head.next.0);
                assert_eq!(next % 3, 0, "a part of a batch is shown");
            }
        });
        for batch in 0..BATCHES {
            let records = (0..3).map(|index| record(&key("a"), &event(0, batch * 3 + index))).collect();
            let head = Head { partition: Partition(0), base: Order(0), next: Order(batch * 3 + 3) };
            let (hash, key, records) = (overlay.hash(&key("a")), key("a"), Records::Batch(records));
            overlay.insert(0, &mut vec![Accepted { hash, key, head, stamp: None, records }]);
        }
        is_done.store(true, Ordering::Release);
    });
    assert!(overlay.seal(0, Epoch(0)).is_none(), "no transaction has a part of a step");
    overlay.end_step(0, [checkpoint(6)], []);
    let sealed = overlay.seal(0, Epoch(0)).expect("there is something");
    assert_eq!(sealed.batch().events.len() as u64, 3 * BATCHES);
}

#[test]
fn what_a_fold_of_another_epoch_left_is_dropped() {
    let overlay = Overlay::new(2);
    insert(&overlay, "a", 0, 0..2);
    overlay.end_step(0, [checkpoint(2)], []);
    assert!(overlay.seal(0, Epoch(2)).is_none());
    assert!(orders(&overlay, "a").is_empty());
    insert(&overlay, "a", 0, 0..1);
    overlay.restart(0, Epoch(4));
    assert_eq!(overlay.bytes(), 0);
    insert(&overlay, "a", 0, 5..6);
    overlay.end_step(0, [checkpoint(6)], []);
    assert_eq!(overlay.seal(0, Epoch(4)).expect("this epoch's").batch().events.len(), 1);
}

/// The orders of the outlines of a key in partition 0.
fn outlined(overlay: &Overlay, name: &str, from: u64, events_max: usize) -> Vec<u64> {
    let part = OutlinePart { key: &key(name), partition: Partition(0), from: Order(from), events_max };
    overlay.outlines(part).iter().map(|outline| outline.order.0).collect()
}

#[test]
fn outlines_are_of_the_orders_asked_for() {
    let overlay = Overlay::new(2);
    insert(&overlay, "a", 0, 10..14);
    insert(&overlay, "a", 2, 0..3);
    insert(&overlay, "b", 0, 0..2);
    overlay.end_step(0, [checkpoint(14)], []);
    overlay.seal(0, Epoch(0)).expect("there is something");
    insert(&overlay, "a", 0, 14..17);
    assert_eq!(outlined(&overlay, "a", 12, 100), [12, 13, 14, 15, 16]);
    assert_eq!(outlined(&overlay, "a", 12, 3), [12, 13, 14], "of both generations");
    assert_eq!(outlined(&overlay, "a", 15, 1), [15]);
    assert_eq!(outlined(&overlay, "a", 8, 4), [10, 11], "the store has those before, and they count");
    assert_eq!(outlined(&overlay, "a", 0, usize::MAX), (10..17).collect::<Vec<_>>());
    for (name, from, events_max) in
        [("a", 0, 10), ("a", 12, 0), ("a", 17, 9), ("a", u64::MAX, 9), ("c", 0, 9)]
    {
        assert_eq!(outlined(&overlay, name, from, events_max), [0; 0], "{name} from {from}");
    }
    overlay.clear(0);
    assert_eq!(outlined(&overlay, "a", 12, 100), [14, 15, 16]);
}

/// An aggregate may begin in a partition at another order than 0.
#[test]
fn outlines_from_below_the_base_begin_at_it() {
    let (overlay, key, partition) = (Overlay::new(1), key("a"), Partition(0));
    for order in 40..45 {
        let records = Records::One(record(&key, &event(0, order)));
        let head = Head { partition, base: Order(40), next: Order(order + 1) };
        let (hash, key) = (overlay.hash(&key), key.clone());
        overlay.insert(0, &mut vec![Accepted { hash, key, head, stamp: None, records }]);
    }
    assert_eq!(outlined(&overlay, "a", 0, 2), [40, 41]);
}

#[test]
fn outlines_from_an_offset_are_those_of_the_appends_that_lie_there() {
    let (overlay, key, partition) = (Overlay::new(1), key("a"), Partition(0));
    let insert = |first: u64, offsets: &[u64]| {
        let of = |(order, offset): (u64, &u64)| Record {
            offset: Offset(*offset),
            ..record(&key, &event(0, order))
        };
        let records: Vec<Record> = (first..).zip(offsets).map(of).collect();
        let (hash, key, count) = (overlay.hash(&key), key.clone(), records.len() as u32);
        let head = Head { partition, base: Order(0), next: Order(first + u64::from(count)) };
        let place = (count > 1).then_some(BatchPlace { i: 1, count });
        let stamp = Some(Stamp { incarnation: Incarnation(3), number: 8, place });
        let records = match count {
            1 => Records::One(records.into_iter().next().expect("one")),
            _ => Records::Batch(records),
        };
        overlay.insert(0, &mut vec![Accepted { hash, key, head, stamp, records }]);
    };
    insert(0, &[10]);
    // Its first members lie below the event before it.
    insert(1, &[5, 6, 20]);
    overlay.end_step(0, [checkpoint(21)], []);
    overlay.seal(0, Epoch(0)).expect("there is something");
    insert(4, &[15, 22]);
    insert(6, &[30]);
    let from = |offset| -> Vec<u64> {
        let outlines = overlay.outlines_from((&key, partition), Offset(offset));
        outlines.iter().map(|outline| outline.order.0).collect()
    };
    for (offsets, first) in [(0..11, 0), (11..21, 1), (21..23, 4), (23..31, 6), (31..33, 7)] {
        for offset in offsets {
            assert_eq!(from(offset), (first..7).collect::<Vec<_>>(), "from {offset}");
        }
    }
}

#[test]
fn an_outline_is_that_of_the_event() {
    let (overlay, key, partition) = (Overlay::new(1), key("a"), Partition(0));
    let id = Header { name: Bytes::from_static(ID_HEADER), value: Some(Bytes::from_static(b"id")) };
    let records = (0..2).map(|order| {
        let (headers, timestamp) = (vec![id.clone()], Some(TimestampMs(5)));
        Record { headers, timestamp, ..record(&key, &event(0, order)) }
    });
    let records = Records::Batch(records.collect());
    let place = Some(BatchPlace { i: 1, count: 2 });
    let stamp = Some(Stamp { incarnation: Incarnation(3), number: 8, place });
    let head = Head { partition, base: Order(0), next: Order(2) };
    let hash = overlay.hash(&key);
    overlay.insert(0, &mut vec![Accepted { hash, key: key.clone(), head, stamp, records }]);
    let part = OutlinePart { key: &key, partition, from: Order(0), events_max: 9 };
    let outlines = overlay.outlines(part);
    let events = &overlay.copy(&key)[0].events;
    assert!(outlines.iter().eq(&events.iter().map(StoredEvent::outline).collect::<Vec<_>>()));
    let ids: Vec<Option<&[u8]>> = outlines.iter().map(|outline| outline.append_id.as_deref()).collect();
    assert_eq!(ids, [Some(&b"id"[..]), None], "the first member has it");
}

#[test]
fn keys_of_many_events_are_found_whatever_their_hash() {
    let overlay = Overlay::new(1);
    for order in 0..20 {
        for n in 0..300 {
            insert(&overlay, &format!("key-{n}"), n % 3, order..order + 1);
        }
    }
    for n in 0..300 {
        assert_eq!(orders(&overlay, &format!("key-{n}")), [(n % 3, (0..20).collect())]);
    }
}

/// The story: every key of a range was collected under the lock, however small the page.
#[test]
fn a_list_has_the_lowest_keys_of_all_generations_once() {
    let overlay = Overlay::new(2);
    let range = |keys_max| KeyRange { prefix: b"key-", after: None, keys_max, bytes_max: usize::MAX };
    for n in (100..200).rev() {
        insert(&overlay, &format!("key-{n}"), 0, 0..2);
    }
    insert(&overlay, "another", 0, 0..1);
    overlay.end_step(0, [checkpoint(1)], []);
    overlay.seal(0, Epoch(0)).expect("there is something");
    insert(&overlay, "key-101", 0, 2..5);
    insert(&overlay, "key-0", 0, 0..1);
    insert_event(&overlay, 1, &key("key-101"), event(1, 0));
    let KeyPage { keys, more } = overlay.list(range(3));
    let head = |partition, next| Head { partition: Partition(partition), base: Order(0), next: Order(next) };
    let expected = [
        (key("key-0"), vec![head(0, 1)]),
        (key("key-100"), vec![head(0, 2)]),
        (key("key-101"), vec![head(0, 5), head(1, 1)]),
    ];
    assert_eq!((&keys[..], more), (&expected[..], true));
    let all = overlay.list(range(101));
    assert_eq!((all.keys.len(), all.more), (101, false));
}
