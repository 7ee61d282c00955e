//! The pure part: what every append and every record goes through in bkes-core.

use bkes_core::accept::{AcceptRule, Decision};
use bkes_core::checksum::PayloadSum;
use bkes_core::marker::{BatchPlace, Marker, Stamp, classify};
use bkes_core::sequence::{Claim, Moment, Sequencer};
use bkes_core::{
    Delivery, Incarnation, Key, Offset, Order, Partition, Partitioner, Position, Record, TimestampMs,
};
use bytes::Bytes;
use std::collections::VecDeque;
use std::hint::black_box;
use std::num::NonZeroU32;

/// Bytes of a usual value.
pub const VALUE_BYTES: usize = 200;

/// Appends to a key.
pub const CHAIN: u64 = 10;

const WRITER: Incarnation = Incarnation(0x0123_4567_89ab_cdef);

/// The key of the `number`th event: chains of ten.
pub fn key(number: u64) -> Key {
    Key::new(format!("key-{:09}", number / CHAIN)).expect("it is not empty")
}

fn marker(number: u64, place: Option<BatchPlace>, order: u64) -> Marker {
    let stamp = Stamp { incarnation: WRITER, number, place };
    Marker { stamp, order: Order(order), base: Position(1_000_000) }
}

/// The record of an event at an offset.
pub fn record(key: &Key, offset: u64, marker: Option<Marker>) -> Record {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let payload = || PayloadSum::of(Some(key.as_ref()), Some(&value));
    let headers = marker.map(|marker| marker.headers(payload()).into()).unwrap_or_default();
    Record {
        partition: Partition(0),
        offset: Offset(offset),
        timestamp: Some(TimestampMs(1_700_000_000_000)),
        key: Some(key.bytes().clone()),
        value: Some(value),
        headers,
    }
}

/// An append is put in flight, reported as stored, met, and settled.
pub fn decide(count: u64, most: u64) -> anyhow::Result<()> {
    let mut sequencer: Sequencer<(), u64> = Sequencer::new(WRITER);
    let keys: Vec<Key> = (0..most).map(key).collect();
    let accepted = Decision::Accepted { order: Order(0), record: record(&key(0), 0, None) };
    let mut settled = Vec::new();
    for number in 0..count {
        let key = keys[number as usize].clone();
        let claim = Claim { key, first: Order(number % CHAIN), count: 1 };
        let flight = sequencer.begin(claim, number, VecDeque::new());
        let stamp = Stamp { incarnation: flight.0, number: flight.1, place: None };
        let delivery = Delivery::Stored { offset: Some(Offset(number)), timestamp: None };
        let at = Moment { position: Position(number), now: number };
        sequencer.reported(stamp, delivery, at, &mut settled)?;
        sequencer.applied(stamp, &accepted, &mut settled);
        anyhow::ensure!(settled.pop().is_some(), "it was met and is not settled");
    }
    Ok(())
}

/// Marked records, each an append of its own.
pub fn apply_single(count: u64, most: u64) -> anyhow::Result<()> {
    let of = |number: u64| record(&key(number), number, Some(marker(number + 1, None, number % CHAIN)));
    apply((0..most).map(of).collect(), count, |number| number % CHAIN)
}

/// Marked records that are members of batches of ten.
pub fn apply_member(count: u64, most: u64) -> anyhow::Result<()> {
    let of = |number: u64| {
        let place = BatchPlace { i: (number % CHAIN) as u32 + 1, count: CHAIN as u32 };
        record(&key(number), number, Some(marker(number / CHAIN + 1, Some(place), number % CHAIN)))
    };
    apply((0..most).map(of).collect(), count, |_| 0)
}

fn apply(records: Vec<Record>, count: u64, next: impl Fn(u64) -> u64) -> anyhow::Result<()> {
    let mut rule = AcceptRule::new(Position::START);
    for (number, record) in records.iter().take(count as usize).enumerate() {
        let applied = rule.apply(record.clone(), Some(Order(next(number as u64))))?;
        anyhow::ensure!(!matches!(applied.decision, Decision::Void(_)), "{:?}", applied.decision);
    }
    black_box(rule.take_changes());
    Ok(())
}

/// The two headers of a record, and the sum over its key and value.
pub fn encode(count: u64, _: u64) -> anyhow::Result<()> {
    let (key, value) = (key(0), vec![b'x'; VALUE_BYTES]);
    for number in 0..count {
        let payload = PayloadSum::of(Some(black_box(&key).as_ref()), Some(black_box(&value)));
        black_box(marker(1_000_000 + number, None, number).headers(payload));
    }
    Ok(())
}

/// The two headers read back.
pub fn classify_records(count: u64, most: u64) -> anyhow::Result<()> {
    let of = |number: u64| record(&key(number), number, Some(marker(1_000_000 + number, None, number)));
    let records: Vec<_> = (0..most).map(of).collect();
    for record in records.iter().take(count as usize) {
        black_box(classify(record));
    }
    Ok(())
}

/// A key's partition.
pub fn place(count: u64, most: u64) -> anyhow::Result<()> {
    let keys: Vec<Key> = (0..most).map(|number| key(number * CHAIN)).collect();
    for key in keys.iter().take(count as usize) {
        black_box(Partitioner::Murmur2.place(key.as_ref(), NonZeroU32::MIN.saturating_add(99)));
    }
    Ok(())
}
