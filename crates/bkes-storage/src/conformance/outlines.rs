//! Outlines: events without their content, by an order and a count.

use super::*;
use bkes_core::marker::ID_HEADER;

pub fn id_header(id: &'static [u8]) -> Header {
    Header { name: Bytes::from_static(ID_HEADER), value: Some(Bytes::from_static(id)) }
}

pub fn read(store: &impl Store, part: OutlinePart<'_>) -> Vec<EventOutline> {
    let mut out = Vec::new();
    store.outlines(part, &mut out).expect("the outlines are read");
    out
}

/// Stamp and headers of an event, and the id that its outline must have.
type Case = (Option<Stamp>, Vec<Header>, Option<&'static [u8]>);

pub fn an_outline_names_the_append_that_its_event_begins<B: Bench>(bench: &mut B) {
    let stamp = |place| Some(Stamp { incarnation: Incarnation(u64::MAX - 7), number: 9, place });
    let alone = stamp(None);
    let member = |i| stamp(Some(BatchPlace { i, count: 2 }));
    let other = || Header { name: Bytes::from_static(b"other"), value: Some(Bytes::from_static(b"id")) };
    let null = || Header { value: None, ..id_header(b"") };
    let cases: [Case; 8] = [
        (alone, vec![id_header(b"one")], Some(b"one")),
        (member(1), vec![other(), id_header(b"two"), id_header(b"three")], Some(b"two")),
        // A later member, and a record without a marker.
        (member(2), vec![id_header(b"two")], None),
        (None, vec![id_header(b"four")], None),
        (alone, vec![], None),
        (alone, vec![other()], None),
        // An empty id is none, and the first header counts.
        (alone, vec![id_header(b"")], None),
        (alone, vec![null(), id_header(b"five")], None),
    ];
    let mut list = Vec::new();
    let mut expected = Vec::new();
    for (order, (stamp, headers, id)) in (0..).zip(&cases) {
        // With no value, a small one and a large one.
        for (third, bytes) in (0..).zip([0, 100, 100_000]) {
            let value = Bytes::from(vec![b'v'; bytes]);
            let event = StoredEvent {
                tombstone: bytes == 0,
                timestamp: (third == 1).then_some(TimestampMs(-1)),
                stamp: *stamp,
                headers: headers.clone(),
                ..event(0, order * 3 + third, value)
            };
            let StoredEvent { order, partition, offset, timestamp, stamp, .. } = event;
            let append_id = id.map(Bytes::copy_from_slice);
            expected.push(EventOutline { order, partition, offset, timestamp, stamp, append_id });
            list.push(event);
        }
    }
    let mut store = bench.fresh();
    let key = key(b"key");
    commit(&store, &events(&key, list));
    let part = OutlinePart { key: &key, partition: Partition(0), from: Order(0), events_max: usize::MAX };
    assert_eq!(read(&store, part), expected);
    store.close().expect("closes");
    assert!(matches!(store.outlines(part, &mut Vec::new()), Err(StoreError::Closed)));
    store = bench.open_again(store);
    assert_eq!(read(&store, part), expected);
}

pub fn limits_of_outlines_hold<B: Bench>(bench: &mut B) {
    let store = bench.fresh();
    let (known, unknown) = (key(b"key"), key(b"nobody's"));
    for orders in [5..6, 6..95, 95..5 + LONG] {
        let list = orders.map(|order| event(3, order, Bytes::from(vec![1; 10])));
        commit(&store, &events(&known, list.collect()));
    }
    let orders = |from: u64, events_max: usize| {
        let part = OutlinePart { key: &known, partition: Partition(3), from: Order(from), events_max };
        read(&store, part).iter().map(|outline| outline.order.0).collect::<Vec<_>>()
    };
    let all: Vec<u64> = (5..5 + LONG).collect();
    assert_eq!(orders(0, usize::MAX), all);
    assert_eq!(orders(0, 2), [5, 6], "outlines from below the base begin at it");
    assert_eq!(orders(50, 90), (50..140).collect::<Vec<_>>());
    assert_eq!(orders(4 + LONG, 100), [4 + LONG]);
    assert_eq!(orders(5 + LONG, 100), [0u64; 0]);
    assert_eq!(orders(u64::MAX, usize::MAX), [0u64; 0]);
    assert_eq!(orders(10, 0), [0u64; 0]);
    let part = OutlinePart { key: &known, partition: Partition(3), from: Order(7), events_max: 1 };
    assert_eq!(read(&store, OutlinePart { partition: Partition(2), ..part }), []);
    assert_eq!(read(&store, OutlinePart { key: &unknown, ..part }), []);
    let mut out = read(&store, part);
    store.outlines(OutlinePart { from: Order(9), ..part }, &mut out).expect("the outlines are read");
    assert_eq!(out.iter().map(|outline| outline.order.0).collect::<Vec<_>>(), [7, 9], "they are appended");
}
