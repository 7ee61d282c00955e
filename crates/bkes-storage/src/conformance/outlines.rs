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

/// What is asked for of a key that has these orders in a partition, and the orders that must come of it.
fn wanted(
    (key, partition, orders): (&Key, u32, std::ops::Range<u64>),
    from: u64,
    guess: Option<Order>,
    events_max: usize,
) -> (OffsetPart<'_>, Vec<u64>) {
    let part = OffsetPart { key, partition: Partition(partition), from: Offset(from), guess, events_max };
    (part, orders.filter(|order| order * 3 >= from).take(events_max).collect())
}

pub fn outlines_from_an_offset_are_those_at_it_and_above<B: Bench>(bench: &mut B) {
    let store = bench.fresh();
    let (long, short, nobody) = (key(b"long"), key(b"short"), key(b"nobody's"));
    // Offsets are three times the order. The long one is in two partitions, and partly committed last.
    let list = |partition, orders: std::ops::Range<u64>| {
        orders.map(|order| event(partition, order, Bytes::from(vec![1; 10]))).collect::<Vec<_>>()
    };
    for (key, list) in [
        (&long, list(3, 5..6)),
        (&short, list(3, 0..7)),
        (&long, list(3, 6..95)),
        (&long, list(2, 0..3)),
        (&long, list(3, 95..5 + LONG)),
    ] {
        commit(&store, &events(key, list));
    }
    let mut parts = Vec::new();
    for from in (0..40).chain(270..300).chain((LONG * 3 - 5)..(LONG * 3 + 30)).chain([u64::MAX]) {
        for guess in [None, Some(0), Some(5), Some(from / 3), Some(from / 3 + 1), Some(90), Some(u64::MAX)] {
            let guess = guess.map(Order);
            parts.push(wanted((&long, 3, 5..5 + LONG), from, guess, 3));
            parts.push(wanted((&short, 3, 0..7), from, guess, 2));
            parts.push(wanted((&long, 2, 0..3), from, guess, usize::MAX));
            parts.push(wanted((&nobody, 3, 0..0), from, guess, 9));
            parts.push(wanted((&short, 2, 0..0), from, guess, 9));
        }
    }
    parts.push(wanted((&long, 3, 5..5 + LONG), 300, Some(Order(100)), usize::MAX));
    let (asked, expected): (Vec<OffsetPart<'_>>, Vec<Vec<u64>>) = parts.into_iter().unzip();
    let mut out = vec![Vec::new()];
    store.outlines_from(&asked, &mut out).expect("the outlines are read");
    assert_eq!(out.len(), 1 + asked.len(), "one list for each, behind what was there");
    for ((asked, expected), found) in asked.iter().zip(expected).zip(&out[1..]) {
        let OffsetPart { key, partition, .. } = *asked;
        let found_orders: Vec<u64> = found.iter().map(|outline| outline.order.0).collect();
        assert_eq!(found_orders, expected, "{asked:?}");
        if let Some(first) = found.first() {
            let part = OutlinePart { key, partition, from: first.order, events_max: found.len() };
            assert_eq!(*found, read(&store, part), "they are what outlines by order are");
        }
    }
    store.close().expect("closes");
    let mut out = Vec::new();
    assert!(matches!(store.outlines_from(&asked, &mut out), Err(StoreError::Closed)));
    assert!(out.is_empty(), "nothing comes of a question that failed");
}

/// Batches whose first members lie below the event before them, whatever an aggregate is long: an append lies where its last event does.
pub fn outlines_from_an_offset_are_of_whole_appends<B: Bench>(bench: &mut B) {
    let mut store = bench.fresh();
    let (long, short) = (key(b"long"), key(b"short"));
    let mut appends = Vec::new();
    let mut next = 7;
    for count in (0..LONG).map(|index| [1, 3, 1, 2, 5][index as usize % 5]) {
        appends.push(next..next + count);
        next += count;
    }
    let members = |orders: &std::ops::Range<u64>| -> Vec<StoredEvent> {
        let (count, lies_at, first) = ((orders.end - orders.start) as u32, orders.end * 10, orders.start);
        let member = |order: u64| {
            let i = (order - first) as u32 + 1;
            let place = (count > 1).then_some(BatchPlace { i, count });
            let offset = Offset(if i == count { lies_at } else { first * 10 - 6 + u64::from(i) });
            let stamp = Some(Stamp { incarnation: Incarnation(5), number: first, place });
            StoredEvent { offset, stamp, ..event(1, order, Bytes::from_static(b"value")) }
        };
        orders.clone().map(member).collect()
    };
    commit(&store, &events(&short, appends[..6].iter().flat_map(members).collect()));
    for some in appends.chunks(40) {
        commit(&store, &events(&long, some.iter().flat_map(members).collect()));
    }
    for _ in 0..2 {
        for (key, appends) in [(&long, &appends[..]), (&short, &appends[..6])] {
            let end = appends.last().expect("some").end;
            for from in (60..400).chain((end * 10 - 60)..(end * 10 + 3)) {
                let first = appends.iter().find(|append| append.end * 10 >= from);
                let first = first.map_or(end, |append| append.start);
                for (guess, events_max) in [(None, 1), (Some(first), 4), (Some(first + 1), 9), (Some(30), 2)]
                {
                    let (partition, from, guess) = (Partition(1), Offset(from), guess.map(Order));
                    let part = OffsetPart { key, partition, from, guess, events_max };
                    let reached = appends.iter().find(|append| append.end >= first + events_max as u64);
                    let expected: Vec<u64> = (first..reached.map_or(end, |append| append.end)).collect();
                    let mut out = Vec::new();
                    store.outlines_from(&[part], &mut out).expect("the outlines are read");
                    let found: Vec<u64> = out[0].iter().map(|outline| outline.order.0).collect();
                    assert_eq!(found, expected, "{part:?}");
                }
            }
        }
        store.close().expect("closes");
        store = bench.open_again(store);
    }
}
