//! Outlines: they need no large value, and notice damage of a row as a read does.

use super::values::LARGE_BYTES;
use super::*;
use bkes_core::marker::ID_HEADER;
use bkes_core::{Header, Incarnation, Stamp};
use redb::{ReadableDatabase, ReadableTable};

const PARTITION: Partition = Partition(0);
const ORDERS: u64 = 3;

/// Three events that each begin an append with an id, and have values of so many bytes.
fn fill(store: &RedbStore, value_bytes: usize) -> Vec<StoredEvent> {
    let named = |order: u64| {
        let id =
            Header { name: Bytes::from_static(ID_HEADER), value: Some(Bytes::from(format!("id-{order}"))) };
        let stamp = Stamp { incarnation: Incarnation(7), number: order, place: None };
        let value = Bytes::from(vec![order as u8; value_bytes]);
        StoredEvent { stamp: Some(stamp), headers: vec![id], ..event(1, order, value) }
    };
    let events: Vec<StoredEvent> = (0..ORDERS).map(named).collect();
    let new = events.iter().map(|event| NewEvent { key: key(1), event: event.clone() });
    let batch = StoreBatch { events: new.collect(), ..StoreBatch::default() };
    store.commit(&batch, Durability::Immediate).expect("commits");
    events
}

fn read(store: &RedbStore, from: u64, events_max: usize) -> Result<Vec<StoredEvent>, StoreError> {
    let (key, from, mut out) = (key(1), Order(from), Vec::new());
    let part = ReadPart { key: &key, partition: PARTITION, from, events_max, bytes_max: usize::MAX };
    store.read(part, &mut out).map(|()| out)
}

fn outlines(store: &RedbStore, from: u64, events_max: usize) -> Result<Vec<EventOutline>, StoreError> {
    let (key, from, mut out) = (key(1), Order(from), Vec::new());
    let part = OutlinePart { key: &key, partition: PARTITION, from, events_max };
    store.outlines(part, &mut out).map(|()| out)
}

#[test]
fn outlines_are_read_without_the_large_values() {
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    let events = fill(&store, LARGE_BYTES);
    store.close().expect("closes");
    drop(store);
    let file = directory.path().join(VALUES);
    let bytes = fs::metadata(&file).expect("it is there").len();
    fs::write(&file, vec![0xff; bytes as usize]).expect("the file is written");
    let store = open(&directory);
    let expected: Vec<EventOutline> = events.iter().map(StoredEvent::outline).collect();
    assert_eq!(outlines(&store, 0, usize::MAX).expect("no value is looked at"), expected);
    assert!(matches!(read(&store, 0, usize::MAX), Err(StoreError::Damaged { .. })));
}

/// Each byte of a block is changed in turn, those of the values too. The pages of redb are whole: only the rows' seals and their chain
/// can notice it.
#[test]
fn a_damaged_row_is_damage_for_outlines_as_for_a_read() {
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    let events = fill(&store, 20);
    let database = store.files().expect("it is open").database;
    let set_block = |number: u64, block: &[u8]| {
        let write = database.begin_write().expect("begins");
        write.open_table(tables::LOG).expect("a table").insert(number, block).expect("a row");
        write.commit().expect("commits");
        store.end_snapshot();
    };
    let (number, good) = {
        let read = database.begin_read().expect("begins");
        let log = read.open_table(tables::LOG).expect("a table");
        let (number, block) = log.first().expect("reads").expect("a block");
        (number.value(), block.value().to_vec())
    };
    let mut noticed = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        set_block(number, &bad);
        for (from, events_max) in [(0, usize::MAX), (1, 1)] {
            match (read(&store, from, events_max), outlines(&store, from, events_max)) {
                (Ok(read), Ok(outlines)) => {
                    let wanted = events.iter().skip(from as usize).take(events_max);
                    assert!(read.iter().eq(wanted.clone()), "byte {at}");
                    assert!(outlines.into_iter().eq(wanted.map(StoredEvent::outline)), "byte {at}");
                }
                (Err(StoreError::Damaged { .. }), Err(StoreError::Damaged { .. })) => {
                    noticed += usize::from(from == 0);
                }
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
    // After the rows come 10 bytes of runs, most of which nobody looks at here.
    assert!(noticed >= good.len() - 10, "{noticed} noticed of {} bytes", good.len());
}

/// Keys whose events come in turns, so that the events of each lie in as many blocks as it has events.
const INTERLEAVED: u64 = 700;

fn interleaved(number: u64, order: u64) -> NewEvent {
    let stamp = Stamp { incarnation: Incarnation(number % 3), number: order + 1, place: None };
    let value = Bytes::from(vec![number as u8; 200]);
    let offset = Offset(order * INTERLEAVED + number);
    let event = StoredEvent { offset, stamp: Some(stamp), ..event(number, order, value) };
    NewEvent { key: key(number), event }
}

/// The story: blocks are kept in mind from one aggregate to the next. Here they are more than are kept, and wanted in any order.
#[test]
fn outlines_of_many_aggregates_at_once_are_those_of_each() {
    const EACH: u64 = 10;
    let directory = TempDir::new().expect("a directory");
    let store = open(&directory);
    let all = (0..EACH).flat_map(|order| (0..INTERLEAVED).map(move |number| interleaved(number, order)));
    let batch = StoreBatch { events: all.collect(), ..StoreBatch::default() };
    store.commit(&batch, Durability::Immediate).expect("commits");
    let database = store.files().expect("it is open").database;
    let log = database.begin_read().expect("begins").open_table(tables::LOG).expect("a table");
    let (last, _) = log.last().expect("reads").expect("a block");
    assert!(last.value() > read::BLOCKS_KEPT_MAX as u64, "{} blocks", last.value());

    let random = &mut fastrand::Rng::with_seed(11);
    for from in [0, 1, 3 * INTERLEAVED + 77, 9 * INTERLEAVED, EACH * INTERLEAVED] {
        let mut numbers: Vec<u64> = (0..INTERLEAVED).collect();
        random.shuffle(&mut numbers);
        let keys: Vec<Key> = numbers.iter().map(|number| key(*number)).collect();
        let wanted: Vec<OffsetPart<'_>> = keys
            .iter()
            .map(|key| OffsetPart {
                key,
                partition: PARTITION,
                from: Offset(from),
                guess: random.bool().then(|| Order(random.u64(..EACH))),
                events_max: random.usize(1..4),
            })
            .collect();
        let mut found = Vec::new();
        store.outlines_from(&wanted, &mut found).expect("reads");
        assert_eq!(found.len(), wanted.len());
        for ((number, part), found) in numbers.iter().zip(&wanted).zip(found) {
            let events = (0..EACH).map(|order| interleaved(*number, order).event);
            let wanted = events.filter(|event| event.offset >= part.from).take(part.events_max);
            assert!(found.into_iter().eq(wanted.map(|event| event.outline())), "key {number} from {from}");
        }
    }
}
