//! What must hold of every store, as tests that any implementation runs: see [`check`].
//!
//! Random operations run against a model that is as plain as can be: events in vectors. A failure names its seed.

use crate::contract::{
    Checkpoint, Counters, Durability, EventOutline, Fingerprint, Head, Heads, KeyPage, KeyRange, Loaded,
    NewEvent, OffsetPart, OutlinePart, ReadPart, Store, StoreBatch, StoreError, StoreIdentity, StoredEvent,
    Unread,
};
use bkes_core::{
    BatchPlace, Header, Incarnation, IncarnationState, Key, LeaderEpoch, Offset, OpenBatch, Order, Partition,
    Partitioner, Position, Record, Stamp, TimestampMs,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

mod outlines;

/// How a suite makes stores of one implementation. All methods speak of one and the same store's content.
pub trait Bench {
    /// The implementation.
    type Store: Store;

    /// A store without content.
    fn fresh(&mut self) -> Self::Store;

    /// The store after `close`, opened again.
    fn open_again(&mut self, closed: Self::Store) -> Self::Store;

    /// The store as a killed process leaves it, opened again.
    fn crash(&mut self, store: Self::Store) -> Self::Store;
}

/// Numbers that look random, all of one seed (SplitMix64): the suite is a part of the crate, which has no use for a library of them.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of the numbers below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn is_even(&mut self) -> bool {
        self.below(2) == 0
    }

    fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

/// Runs the whole suite. Panics with a readable message at the first thing that does not hold.
pub fn check<B: Bench>(bench: &mut B) {
    identity_is_kept(bench);
    aggregates_are_found_when_the_topic_has_grown(bench);
    everything_of_an_event_comes_back(bench);
    limits_of_a_read_hold(bench);
    limits_of_a_page_of_keys_hold(bench);
    outlines::an_outline_names_the_append_that_its_event_begins(bench);
    outlines::limits_of_outlines_hold(bench);
    outlines::outlines_from_an_offset_are_those_at_it_and_above(bench);
    outlines::outlines_from_an_offset_are_of_whole_appends(bench);
    undecided_batches_come_back_and_are_forgotten(bench);
    a_dropped_partition_is_gone_and_the_others_are_whole(bench);
    a_partition_is_dropped_again_before_it_was_swept(bench);
    a_closed_store_says_so(bench);
    for seed in 0..12 {
        random_operations(bench, seed);
    }
}

fn key(name: &[u8]) -> Key {
    Key::new(Bytes::copy_from_slice(name)).expect("not empty")
}

fn event(partition: u32, order: u64, value: Bytes) -> StoredEvent {
    StoredEvent {
        order: Order(order),
        partition: Partition(partition),
        offset: Offset(order * 3),
        timestamp: Some(TimestampMs(1_700_000_000_000)),
        value,
        tombstone: false,
        stamp: None,
        headers: Vec::new(),
    }
}

fn events(key: &Key, list: Vec<StoredEvent>) -> StoreBatch {
    let events = list.into_iter().map(|event| NewEvent { key: key.clone(), event }).collect();
    StoreBatch { events, ..StoreBatch::default() }
}

fn commit(store: &impl Store, batch: &StoreBatch) {
    store.commit(batch, Durability::Immediate).expect("the batch is committed");
}

fn read_all(store: &impl Store, key: &Key, partition: u32, from: u64) -> Vec<StoredEvent> {
    let (partition, from) = (Partition(partition), Order(from));
    let mut out = Vec::new();
    let part = ReadPart { key, partition, from, events_max: usize::MAX, bytes_max: usize::MAX };
    store.read(part, &mut out).expect("the part is read");
    out
}

/// All keys of a prefix, page by page.
fn list_all(store: &impl Store, prefix: &[u8], keys_max: usize, bytes_max: usize) -> Vec<Key> {
    let (mut all, mut after): (Vec<Key>, Option<Key>) = (Vec::new(), None);
    loop {
        let range = KeyRange { prefix, after: after.as_ref(), keys_max, bytes_max };
        let KeyPage { keys, more } = store.keys(range).expect("the keys are listed");
        all.extend(keys.into_iter().map(|(key, _)| key));
        if !more {
            return all;
        }
        assert_ne!(after.as_ref(), all.last(), "a page goes on from the one before it");
        after = all.last().cloned();
    }
}

fn identity_is_kept<B: Bench>(bench: &mut B) {
    let store = bench.fresh();
    assert_eq!(store.load().expect("loads").identity, None, "a fresh store belongs to no log");
    let mut identity = StoreIdentity {
        cluster: "cluster".into(),
        topic: "topic".into(),
        topic_id: "id".into(),
        partitions: NonZeroU32::MIN,
        partitioner: None,
    };
    store.set_identity(&identity).expect("it is bound");
    identity.partitions = NonZeroU32::new(7).expect("seven");
    identity.partitioner = Some(Partitioner::Crc32);
    store.set_identity(&identity).expect("it is bound");
    let store = bench.crash(store);
    assert_eq!(store.load().expect("loads").identity, Some(identity), "an identity is durable at once");
    store.reset().expect("resets");
    assert_eq!(store.load().expect("loads").identity, None, "a reset store belongs to no log");
}

/// Of a topic whose keys a hash places, and of keys that lie where it does not place them.
fn aggregates_are_found_when_the_topic_has_grown<B: Bench>(bench: &mut B) {
    let partitions = |count| StoreIdentity {
        cluster: "cluster".into(),
        topic: "topic".into(),
        topic_id: String::new(),
        partitions: NonZeroU32::new(count).expect("not zero"),
        partitioner: Some(Partitioner::Crc32),
    };
    let mut store = bench.fresh();
    let keys: Vec<Key> = (0..40u8).map(|number| key(&[number])).collect();
    for (order, count) in [7, 7, 11].into_iter().enumerate() {
        store.set_identity(&partitions(count)).expect("it is bound");
        for (number, key) in keys.iter().enumerate() {
            let event = event(number as u32 % 3, order as u64, Bytes::from(vec![number as u8]));
            commit(&store, &events(key, vec![event]));
        }
        store = bench.crash(store);
        let mut heads = Vec::new();
        store.heads(&keys, &mut heads).expect("they are found");
        for (number, heads) in heads.iter().enumerate() {
            let (partition, next) = (Partition(number as u32 % 3), Order(order as u64 + 1));
            assert_eq!(*heads, Heads::One(Head { partition, base: Order(0), next }), "key {number}");
            assert_eq!(read_all(&store, &keys[number], partition.0, 0).len() as u64, next.0);
        }
        assert_eq!(list_all(&store, b"", 7, usize::MAX), keys, "in order, and each once");
    }
    assert_eq!(store.stats().keys, keys.len() as u64);
}

fn everything_of_an_event_comes_back<B: Bench>(bench: &mut B) {
    let store = bench.fresh();
    let header = |name: &'static [u8], value: Option<&'static [u8]>| Header {
        name: Bytes::from_static(name),
        value: value.map(Bytes::from_static),
    };
    let stamp = |number, place| Some(Stamp { incarnation: Incarnation(u64::MAX - 3), number, place });
    let variants = vec![
        event(0, 0, Bytes::new()),
        StoredEvent { tombstone: true, timestamp: None, ..event(0, 1, Bytes::new()) },
        StoredEvent { timestamp: Some(TimestampMs(-5)), ..event(0, 2, Bytes::from(vec![7; 1024 * 1024])) },
        StoredEvent {
            headers: vec![
                header(b"\xff\xfe", Some(b"\x00")),
                header(b"twice", None),
                header(b"twice", Some(b"")),
            ],
            ..event(0, 3, Bytes::from_static(b"headers"))
        },
        StoredEvent { stamp: stamp(u64::MAX, None), ..event(0, 4, Bytes::from_static(b"stamped")) },
        StoredEvent {
            stamp: stamp(3, Some(BatchPlace { i: 2, count: 1_000 })),
            ..event(0, 5, Bytes::from_static(b"batch"))
        },
        StoredEvent { offset: Offset(u64::MAX >> 1), ..event(0, 6, Bytes::from_static(b"far")) },
    ];
    let names: [&[u8]; 5] = [b"k", b"key", b"key\0", b"\0", &[0xff; 300]];
    for name in names {
        commit(&store, &events(&key(name), variants.clone()));
    }
    store.close().expect("closes");
    let store = bench.open_again(store);
    for name in names {
        assert_eq!(read_all(&store, &key(name), 0, 0), variants, "key {name:?}");
        assert_eq!(read_all(&store, &key(name), 1, 0), [], "another partition has nothing");
    }
    assert_eq!(store.stats().keys, names.len() as u64);
    let mut heads = Vec::new();
    store.heads(&[key(b"ke"), key(b"key")], &mut heads).expect("heads");
    let head = Head { partition: Partition(0), base: Order(0), next: Order(7) };
    assert_eq!(heads, [Heads::None, Heads::One(head)]);
}

fn limits_of_a_read_hold<B: Bench>(bench: &mut B) {
    let store = bench.fresh();
    let key = key(b"key");
    for order in 5..25 {
        commit(&store, &events(&key, vec![event(3, order, Bytes::from(vec![1; 10]))]));
    }
    let orders = |from: u64, events_max: usize, bytes_max: usize| {
        let mut out = Vec::new();
        let part = ReadPart { key: &key, partition: Partition(3), from: Order(from), events_max, bytes_max };
        store.read(part, &mut out).expect("the part is read");
        out.iter().map(|event| event.order.0).collect::<Vec<_>>()
    };
    assert_eq!(orders(0, 2, 1000), [5, 6], "a read from below the base begins at it");
    assert_eq!(orders(10, 3, 1000), [10, 11, 12]);
    assert_eq!(orders(10, 100, 25), [10, 11, 12], "it ends behind the event that reaches the bytes");
    assert_eq!(orders(10, 100, 1), [10], "one event at least");
    assert_eq!(orders(24, 100, 1000), [24]);
    assert_eq!(orders(25, 100, 1000), [0u64; 0]);
    assert_eq!(orders(u64::MAX, 100, 1000), [0u64; 0]);
    assert_eq!(orders(10, 0, 1000), [0u64; 0]);
}

/// Durable and not, in several groups.
fn limits_of_a_page_of_keys_hold<B: Bench>(bench: &mut B) {
    for durability in [Durability::Eventual, Durability::Immediate] {
        let store = bench.fresh();
        store
            .set_identity(&StoreIdentity {
                cluster: "cluster".into(),
                topic: "topic".into(),
                topic_id: String::new(),
                partitions: NonZeroU32::new(3).expect("three"),
                partitioner: Some(Partitioner::Crc32),
            })
            .expect("it is bound");
        let keys: Vec<Key> = (0..20u8).map(|number| key(&[number; 10])).collect();
        for key in keys.iter().rev() {
            let event = event(0, 0, Bytes::from_static(b"value"));
            store.commit(&events(key, vec![event]), durability).expect("commits");
        }
        let page = |after: Option<usize>, keys_max, bytes_max| {
            let after = after.map(|after| &keys[after]);
            let range = KeyRange { prefix: b"", after, keys_max, bytes_max };
            let KeyPage { keys, more } = store.keys(range).expect("the keys are listed");
            (keys.iter().map(|(key, _)| key.as_ref()[0]).collect::<Vec<u8>>(), more)
        };
        assert_eq!(page(None, 3, 1_000), (vec![0, 1, 2], true));
        assert_eq!(
            page(Some(2), 100, 25),
            (vec![3, 4, 5], true),
            "it ends after the key that reaches the bytes"
        );
        assert_eq!(page(Some(2), 100, 30), (vec![3, 4, 5], true));
        assert_eq!(page(Some(16), 3, 30), (vec![17, 18, 19], false), "both are reached by the last key");
        assert_eq!(page(Some(16), 4, 31), (vec![17, 18, 19], false));
        assert_eq!(page(Some(17), 100, 10), (vec![18], true));
        assert_eq!(page(Some(17), 100, 0), (vec![18], true), "one key at least");
        assert_eq!(page(Some(17), 0, 1_000), (vec![18], true), "one key at least");
        assert_eq!(page(Some(18), 0, 0), (vec![19], false));
        assert_eq!(page(Some(19), usize::MAX, usize::MAX), (Vec::new(), false));
        assert_eq!(page(Some(0), usize::MAX, usize::MAX), ((1..20).collect(), false));
        assert_eq!(list_all(&store, b"", usize::MAX, 15), keys);
    }
}

fn undecided_batches_come_back_and_are_forgotten<B: Bench>(bench: &mut B) {
    let store = bench.fresh();
    let member = Record {
        partition: Partition(2),
        offset: Offset(9),
        timestamp: None,
        key: Some(Bytes::from_static(b"key")),
        value: None,
        headers: vec![Header { name: Bytes::from_static(b"bkes"), value: None }],
    };
    let open = OpenBatch { key: key(b"key"), first: Order(4), count: 3, bytes: 3, members: vec![member; 2] };
    let state = IncarnationState { top: 8, last_offset: Offset(10), open: Some(open) };
    let plain = IncarnationState { top: 1, last_offset: Offset(1), open: None };
    let epoch = Some(LeaderEpoch(u32::MAX));
    let checkpoint = Checkpoint {
        position: Position(11),
        fold_start: Position(2),
        fingerprint: Some(Fingerprint { offset: Offset(10), crc32c: u32::MAX, epoch }),
        unread: Some(Unread {
            behind: Some(Fingerprint { offset: Offset(9), crc32c: 1, epoch: None }),
            sum: u64::MAX,
        }),
        cut: true,
        counters: Counters { events: 1, void: 2, foreign: 3, forwarded: 2, split: 4, skipped: u64::MAX },
    };
    let (one, two) = (Incarnation(1), Incarnation(u64::MAX));
    let batch = StoreBatch {
        checkpoints: vec![(Partition(2), checkpoint)],
        incarnations: vec![(Partition(2), two, Some(state.clone())), (Partition(0), one, Some(plain))],
        ..StoreBatch::default()
    };
    commit(&store, &batch);
    let store = bench.crash(store);
    let forget = StoreBatch { incarnations: vec![(Partition(0), one, None)], ..StoreBatch::default() };
    commit(&store, &forget);
    store.close().expect("closes");
    let store = bench.open_again(store);
    let Loaded { checkpoints, incarnations, .. } = store.load().expect("loads");
    assert_eq!(checkpoints, [(Partition(2), checkpoint)]);
    assert_eq!(incarnations, [(Partition(2), two, state)]);
}

/// Some more than a walk from one mark to the next.
const LONG: u64 = 150;

/// Content in three partitions, of keys that live in one of them and of one that lives in all, with an open batch in each.
fn three_partitions(round: u64) -> StoreBatch {
    let mut batch = StoreBatch::default();
    for partition in 0..3u32 {
        let own = key(&[b'p', partition as u8]);
        let value = |order: u64| Bytes::from(vec![(order + round) as u8; (order % 40) as usize + 1]);
        for order in 0..LONG {
            let stamp = Stamp { incarnation: Incarnation(order % 5), number: order, place: None };
            let of_own = StoredEvent { stamp: Some(stamp), ..event(partition, order, value(order)) };
            batch.events.push(NewEvent { key: own.clone(), event: of_own });
            batch
                .events
                .push(NewEvent { key: key(b"all"), event: event(partition, order, value(order + 1)) });
        }
        let partition = Partition(partition);
        let open = OpenBatch {
            key: own,
            first: Order(LONG),
            count: 2,
            bytes: 3,
            members: vec![Record {
                partition,
                offset: Offset(LONG * 3),
                timestamp: None,
                key: Some(Bytes::from_static(b"key")),
                value: None,
                headers: Vec::new(),
            }],
        };
        let state = IncarnationState { top: LONG, last_offset: Offset(LONG * 3), open: Some(open) };
        batch.incarnations.push((partition, Incarnation(round), Some(state)));
        let position = Position(LONG * 3 + 1 + round);
        batch.checkpoints.push((partition, Checkpoint { position, ..Checkpoint::default() }));
    }
    batch
}

/// What a store must hold: the parts of one round or none of each partition.
fn expect_rounds(store: &impl Store, rounds: [Option<u64>; 3], when: &str) {
    let Loaded { checkpoints, incarnations, .. } = store.load().expect("loads");
    let mut heads = Vec::new();
    let keys = [key(b"all"), key(b"p\0"), key(b"p\x01"), key(b"p\x02")];
    store.heads(&keys, &mut heads).expect("they are looked up");
    let mut in_all = Vec::new();
    for (partition, round) in (0..3u32).zip(rounds) {
        let at = format!("{when}, partition {partition}");
        let batch = round.map(three_partitions).unwrap_or_default();
        let of_this = |key: &Key| -> Vec<StoredEvent> {
            let events = batch.events.iter().filter(|new| new.key == *key);
            let events = events.map(|new| new.event.clone());
            events.filter(|event| event.partition == Partition(partition)).collect()
        };
        for key in [&keys[0], &keys[partition as usize + 1]] {
            assert_eq!(read_all(store, key, partition, 0), of_this(key), "{at}, key {key}");
        }
        assert_eq!(read_all(store, &keys[partition as usize + 1], (partition + 1) % 3, 0), [], "{at}");
        let head = Head { partition: Partition(partition), base: Order(0), next: Order(LONG) };
        in_all.extend(round.map(|_| head));
        let own = round.map_or(Heads::None, |_| Heads::One(head));
        assert_eq!(heads[partition as usize + 1], own, "{at}");
        let checkpoint = checkpoints.iter().filter(|(p, _)| *p == Partition(partition));
        let expected = batch.checkpoints.iter().filter(|(p, _)| *p == Partition(partition));
        assert!(checkpoint.eq(expected), "{at}: {checkpoints:?}");
        let states = incarnations.iter().filter(|(p, _, _)| *p == Partition(partition));
        let states: Vec<_> =
            states.map(|(_, incarnation, state)| (*incarnation, Some(state.clone()))).collect();
        let expected = batch.incarnations.iter().filter(|(p, _, _)| *p == Partition(partition));
        let expected: Vec<_> =
            expected.map(|(_, incarnation, state)| (*incarnation, state.clone())).collect();
        assert_eq!(states, expected, "{at}");
    }
    let all = match in_all[..] {
        [] => Heads::None,
        [head] => Heads::One(head),
        _ => Heads::Split(in_all),
    };
    assert_eq!(heads[0], all, "{when}");
}

fn only(partition: u32, batch: StoreBatch) -> StoreBatch {
    let partition = Partition(partition);
    let StoreBatch { mut events, mut checkpoints, mut incarnations } = batch;
    events.retain(|new| new.event.partition == partition);
    checkpoints.retain(|(p, _)| *p == partition);
    incarnations.retain(|(p, _, _)| *p == partition);
    StoreBatch { events, checkpoints, incarnations }
}

fn sweep_all(store: &impl Store) {
    while store.sweep().expect("it is swept") {}
}

fn a_dropped_partition_is_gone_and_the_others_are_whole<B: Bench>(bench: &mut B) {
    for durability in [Durability::Eventual, Durability::Immediate] {
        let mut store = bench.fresh();
        store.commit(&three_partitions(1), durability).expect("commits");
        store.drop_partition(Partition(1)).expect("it is dropped");
        expect_rounds(&store, [Some(1), None, Some(1)], "dropped");
        store = bench.crash(store);
        expect_rounds(&store, [Some(1), None, Some(1)], "dropped, after a crash");
        sweep_all(&store);
        expect_rounds(&store, [Some(1), None, Some(1)], "swept");
        assert_eq!(store.stats().keys, 3, "the key of the dropped partition is gone");
        commit(&store, &only(1, three_partitions(2)));
        expect_rounds(&store, [Some(1), Some(2), Some(1)], "written again");
        assert_eq!(store.stats().keys, 4);
        for partition in 0..3 {
            store.drop_partition(Partition(partition)).expect("it is dropped");
        }
        expect_rounds(&store, [None; 3], "all dropped");
        sweep_all(&store);
        assert_eq!(store.stats().keys, 0);
        store.close().expect("closes");
        let store = bench.open_again(store);
        expect_rounds(&store, [None; 3], "opened again");
        assert!(!store.sweep().expect("it is asked"), "there is nothing left");
        assert!(store.load().expect("loads").checkpoints.is_empty());
    }
}

fn a_partition_is_dropped_again_before_it_was_swept<B: Bench>(bench: &mut B) {
    let mut store = bench.fresh();
    commit(&store, &three_partitions(1));
    for round in 2..6 {
        store.drop_partition(Partition(2)).expect("it is dropped");
        if round % 2 == 0 {
            store.sweep().expect("it is swept");
        }
        commit(&store, &only(2, three_partitions(round)));
        expect_rounds(&store, [Some(1), Some(1), Some(round)], "written again");
        store = bench.crash(store);
        expect_rounds(&store, [Some(1), Some(1), Some(round)], "after a crash");
    }
    sweep_all(&store);
    expect_rounds(&store, [Some(1), Some(1), Some(5)], "swept");
    assert_eq!(store.stats().keys, 4);
}

fn a_closed_store_says_so<B: Bench>(bench: &mut B) {
    let store = bench.fresh();
    store.close().expect("closes");
    assert!(matches!(store.load(), Err(StoreError::Closed)));
    assert!(matches!(store.commit(&StoreBatch::default(), Durability::Immediate), Err(StoreError::Closed)));
    assert!(matches!(store.heads(&[key(b"k")], &mut Vec::new()), Err(StoreError::Closed)));
}

/// The plainest store there is.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model {
    events: BTreeMap<(Key, Partition), Vec<StoredEvent>>,
    checkpoints: BTreeMap<Partition, Checkpoint>,
}

impl Model {
    fn drop_partition(&mut self, dropped: Partition) {
        self.events.retain(|(_, partition), _| *partition != dropped);
        self.checkpoints.remove(&dropped);
    }

    fn heads(&self, key: &Key) -> Heads {
        let heads: Vec<Head> = self
            .events
            .iter()
            .filter(|((k, _), _)| k == key)
            .map(|((_, partition), events)| Head {
                partition: *partition,
                base: events[0].order,
                next: Order(events[events.len() - 1].order.0 + 1),
            })
            .collect();
        match heads[..] {
            [] => Heads::None,
            [head] => Heads::One(head),
            _ => Heads::Split(heads),
        }
    }

    fn list(&self, range: KeyRange<'_>) -> KeyPage {
        let keys: std::collections::BTreeSet<&Key> = self.events.keys().map(|(key, _)| key).collect();
        let (mut page, mut bytes) = (KeyPage::default(), 0);
        for key in keys {
            if !key.as_ref().starts_with(range.prefix) || range.after.is_some_and(|after| key <= after) {
                continue;
            }
            if page.keys.len() >= range.keys_max.max(1) || (bytes >= range.bytes_max && bytes > 0) {
                page.more = true;
                break;
            }
            bytes += key.as_ref().len();
            page.keys.push((key.clone(), self.heads(key)));
        }
        page
    }

    /// Some look-ups, a page of keys and a read are what they should be.
    fn check(&self, store: &impl Store, random: &mut Random, keys: &[Key], at: &str) {
        let key = random.one_of(keys);
        let mut heads = Vec::new();
        store.heads(std::slice::from_ref(key), &mut heads).expect("heads");
        assert_eq!(heads, [self.heads(key)], "{at}, key {key}");
        let prefixes: [&[u8]; 4] = [b"", &[1], &[2, b'k'], b"nobody's"];
        let after = random.is_even().then(|| random.one_of(keys));
        let keys_max = random.below(7) as usize;
        let prefix: &[u8] = prefixes[random.below(4) as usize];
        let bytes_max = if random.is_even() { usize::MAX } else { random.below(12) as usize };
        let range = KeyRange { prefix, after, keys_max, bytes_max };
        assert_eq!(store.keys(range).expect("the keys are listed"), self.list(range), "{at}, {range:?}");
        let partition = random.below(3) as u32;
        let all = self.events.get(&(key.clone(), Partition(partition))).cloned().unwrap_or_default();
        let from = random.below(30);
        let expected: Vec<StoredEvent> = all.into_iter().filter(|event| event.order.0 >= from).collect();
        assert_eq!(read_all(store, key, partition, from), expected, "{at}, key {key} from {from}");
        let (from, events_max) = (random.below(120), random.below(20) as usize);
        let all = self.events.get(&(key.clone(), Partition(partition))).into_iter().flatten();
        let wanted = all.filter(|event| event.order.0 >= from).take(events_max);
        let expected: Vec<EventOutline> = wanted.map(StoredEvent::outline).collect();
        let part = OutlinePart { key, partition: Partition(partition), from: Order(from), events_max };
        assert_eq!(outlines::read(store, part), expected, "{at}, {part:?}");
    }

    fn random_batch(&mut self, random: &mut Random, keys: &[Key]) -> StoreBatch {
        let mut batch = StoreBatch::default();
        for _ in 0..random.below(20) {
            let key = random.one_of(keys);
            let partition =
                Partition(if random.below(10) == 0 { random.below(3) as u32 } else { key.bytes()[0].into() });
            let at = self.checkpoints.entry(partition).or_default();
            let list = self.events.entry((key.clone(), partition)).or_default();
            let base = if random.below(4) == 0 { random.below(100) } else { 0 };
            let order = list.last().map_or(base, |last| last.order.0 + 1);
            let bytes = random.below(300) + if random.below(50) == 0 { 20_000 } else { 0 };
            let value: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
            let place = BatchPlace { i: 1 + random.below(2) as u32, count: 2 };
            let place = random.is_even().then_some(place);
            let headers = if random.is_even() { vec![outlines::id_header(b"id")] } else { Vec::new() };
            let stamp = Stamp { incarnation: Incarnation(random.below(3)), number: order, place };
            let offset = at.position.offset();
            let stamp = random.is_even().then_some(stamp);
            let event = StoredEvent { offset, stamp, headers, ..event(partition.0, order, value.into()) };
            at.position = Position(offset.0 + 1 + random.below(2));
            at.counters.events += 1;
            list.push(event.clone());
            batch.events.push(NewEvent { key: key.clone(), event });
        }
        batch.checkpoints =
            self.checkpoints.iter().map(|(partition, checkpoint)| (*partition, *checkpoint)).collect();
        batch
    }
}

fn random_operations<B: Bench>(bench: &mut B, seed: u64) {
    let mut random = Random(seed);
    let keys: Vec<Key> =
        (0..1 + random.below(11) as u8).map(|n| key(&[n % 3, b'k', n][..1 + usize::from(n % 3)])).collect();
    let mut store = bench.fresh();
    let mut model = Model::default();
    // What may be there after a crash: everything since the last durable commit, at any commit.
    let mut since_lasting = vec![model.clone()];
    for step in 0..60 {
        match random.below(20) {
            0 => {
                store.close().expect("closes");
                store = bench.open_again(store);
                since_lasting = vec![model.clone()];
            }
            1 => {
                store = bench.crash(store);
                let found = content(&store, &keys);
                let survived = since_lasting.iter().rev().find(|model| **model == found);
                model = survived
                    .unwrap_or_else(|| panic!("seed {seed}, step {step}: {found:?} was never committed"))
                    .clone();
                since_lasting = vec![model.clone()];
            }
            2 => {
                store.reset().expect("resets");
                model = Model::default();
                since_lasting = vec![model.clone()];
            }
            3 => {
                let partition = Partition(random.below(3) as u32);
                store.drop_partition(partition).expect("it is dropped");
                model.drop_partition(partition);
                since_lasting = vec![model.clone()];
            }
            4 => {
                store.sweep().expect("it is swept");
            }
            _ => {
                let batch = model.random_batch(&mut random, &keys);
                let durable = random.below(3) == 0;
                let durability = if durable { Durability::Immediate } else { Durability::Eventual };
                store.commit(&batch, durability).expect("commits");
                if durable {
                    since_lasting.clear();
                }
                since_lasting.push(model.clone());
            }
        }
        model.check(&store, &mut random, &keys, &format!("seed {seed}, step {step}"));
    }
    assert_eq!(content(&store, &keys), model, "seed {seed}");
    sweep_all(&store);
    assert_eq!(content(&store, &keys), model, "seed {seed}: swept");
    let held: std::collections::BTreeSet<&Key> = model.events.keys().map(|(key, _)| key).collect();
    assert_eq!(store.stats().keys, held.len() as u64, "seed {seed}");
}

fn content(store: &impl Store, keys: &[Key]) -> Model {
    let mut model = Model::default();
    for key in keys {
        for partition in 0..256 {
            let events = read_all(store, key, partition, 0);
            if !events.is_empty() {
                model.events.insert((key.clone(), Partition(partition)), events);
            }
        }
    }
    model.checkpoints = store.load().expect("loads").checkpoints.into_iter().collect();
    model
}
