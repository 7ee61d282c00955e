//! Rows from a file that may hold anything: a value or `Garbled`, never a panic; and what was written comes back.
//!
//! `BKES_CASES` sets the number of cases; a failure names the seed of its case.

use super::cursor::seal;
use super::progress::incarnation_context;
use super::*;
use crate::contract::{Checkpoint, Counters, Fingerprint, StoreIdentity, StoredEvent, Unread};
use crate::redb_store::layout::{Large, Part, Place, Slot};
use crate::redb_store::varint::{Decoded, Garbled};
use bkes_core::marker::ID_HEADER;
use bkes_core::{
    BatchPlace, Incarnation, IncarnationState, Key, LeaderEpoch, Offset, OpenBatch, Order, Partition,
    Partitioner, Position, Record, Stamp, TimestampMs,
};
use bkes_testkit::input::{self, cases, edge, some_bytes, some_headers};
use bytes::Bytes;
use fastrand::Rng;
use std::num::NonZeroU32;

fn some_record(random: &mut Rng, partition: Partition) -> Record {
    Record {
        partition,
        offset: Offset(edge(random)),
        timestamp: random.bool().then(|| TimestampMs(edge(random) as i64)),
        key: random.bool().then(|| some_bytes(random)),
        value: random.bool().then(|| some_bytes(random)),
        headers: some_headers(random),
    }
}

fn some_event(random: &mut Rng, slot: Slot, partition: Partition) -> StoredEvent {
    let i = |random: &mut Rng| if random.bool() { 1 } else { random.u32(..) };
    let place = random.bool().then(|| BatchPlace { i: i(random), count: random.u32(..) });
    let mut headers = some_headers(random);
    if let Some(header) = headers.last_mut().filter(|_| random.bool()) {
        header.name = Bytes::from_static(ID_HEADER);
    }
    let stamp = Stamp { incarnation: Incarnation(random.u64(..)), number: edge(random), place };
    StoredEvent {
        order: slot.order,
        partition,
        offset: Offset(edge(random)),
        timestamp: random.bool().then(|| TimestampMs(edge(random) as i64)),
        value: some_bytes(random),
        tombstone: random.bool(),
        stamp: random.bool().then_some(stamp),
        headers,
    }
}

fn some_state(random: &mut Rng, partition: Partition) -> IncarnationState {
    let members: Vec<Record> = (0..random.usize(1..3)).map(|_| some_record(random, partition)).collect();
    let key = Key::new(some_bytes(random)).unwrap_or_else(|| Key::new("key").expect("not empty"));
    let (first, count) = (Order(edge(random)), members.len() as u32 + random.u32(..9));
    let open = OpenBatch { key, first, count, bytes: edge(random) as usize, members };
    let open = random.bool().then_some(open);
    IncarnationState { top: edge(random), last_offset: Offset(edge(random)), open }
}

/// What becomes of a row on its way: nothing, other bytes, or other bytes under a seal that is whole again, so that what lies
/// after the checksum is tried as well.
fn spoil(random: &mut Rng, context: &[u8], row: &mut Vec<u8>) -> bool {
    let before = row.clone();
    match random.u8(..5) {
        0 => {}
        1 => *row = (0..random.usize(..60)).map(|_| random.u8(..)).collect(),
        _ => {
            for _ in 0..random.usize(1..4) {
                input::spoil(random, row);
            }
        }
    }
    if random.bool() && row.len() >= 4 {
        seal(context, row);
    }
    *row != before
}

#[derive(Default, Debug)]
struct Seen {
    whole: u64,
    garbled: u64,
    /// Other bytes that were taken: under a seal of their own, which no disk makes.
    resealed: u64,
}

impl Seen {
    /// What a row gave, against what was written into it.
    fn note<T: PartialEq + std::fmt::Debug>(
        &mut self,
        seed: u64,
        spoiled: bool,
        written: &T,
        read: Decoded<T>,
    ) {
        match read {
            Ok(read) if !spoiled => {
                assert_eq!(&read, written, "seed {seed}");
                self.whole += 1;
            }
            Ok(_) => self.resealed += 1,
            Err(Garbled) => {
                assert!(spoiled, "seed {seed}: a good row was not read");
                self.garbled += 1;
            }
        }
    }

    fn check(&self, what: &str) {
        println!("{what}: {self:?}");
        assert!(self.whole > 0 && self.garbled > 0 && self.resealed > 0, "{what}: {self:?}");
    }
}

#[test]
fn an_events_row_is_what_was_written_or_garbled() {
    let (mut seen, mut with_id) = (Seen::default(), 0);
    for seed in 0..cases(20_000) {
        let random = &mut Rng::with_seed(seed);
        let slot = Slot { stream: edge(random), order: Order(edge(random)) };
        let partition = Partition(random.u32(..));
        let (mut event, back, name) = (some_event(random, slot, partition), edge(random), edge(random));
        let large = Large { block: edge(random), bytes: edge(random), sum: random.u32(..) };
        let large = random.bool().then_some(large);
        let links = Links { back, name: event.stamp.map(|_| name), large };
        let mut row = put_event(&mut Vec::new(), slot, &event, links).to_vec();
        assert!(row.len() <= event_bytes_max(&event, links), "seed {seed}");
        assert_eq!((get_back(&row), get_large(&row)), (Ok(back), Ok(large)), "seed {seed}");
        if large.is_some() {
            event.value = Bytes::new();
        }
        let spoiled = spoil(random, &slot.context(), &mut row);
        let _ = (get_back(&row), get_large(&row));
        let incarnation = event.stamp.map(|stamp| stamp.incarnation);
        let named = |asked: u64| incarnation.filter(|_| asked == name);
        let contents = &mut Contents::of(random.u64(..3));
        let read = get_event(&row, slot, Copying { partition, content: Content::Whole, contents }, named);
        let outline =
            get_event(&row, slot, Copying { partition, content: Content::Outline, contents }, named);
        let outlined =
            |(event, back, large): &(StoredEvent, u64, Option<Large>)| (event.outline(), *back, *large);
        assert_eq!(outline.as_ref().map(outlined), read.as_ref().map(outlined), "seed {seed}");
        let has_no_content = |event: &StoredEvent| event.value.is_empty() && event.headers.len() <= 1;
        assert!(outline.as_ref().is_ok_and(|(event, ..)| has_no_content(event)) || outline.is_err());
        with_id += u64::from(outline.is_ok_and(|(event, ..)| event.append_id().is_some()));
        seen.note(seed, spoiled, &(event, back, large), read);
    }
    seen.check("events");
    assert!(with_id > 0, "no event begins an append with an id");
}

#[test]
fn an_aggregates_row_is_what_was_written_or_garbled() {
    let mut seen = Seen::default();
    for seed in 0..cases(20_000) {
        let random = &mut Rng::with_seed(seed);
        let part = |random: &mut Rng| {
            let (base, count) = (edge(random) >> 1, (edge(random) >> 1).max(1));
            Part {
                partition: Partition(random.u32(..)),
                stream: edge(random),
                base: Order(base),
                next: Order(base + count),
                last: Place(edge(random)),
                unmarked: random.u64(..=count),
                unmarked_bytes: edge(random),
            }
        };
        let parts: Vec<Part> = (0..random.usize(1..4)).map(|_| part(random)).collect();
        let (key, mut unsealed, mut row) = (some_bytes(random), Vec::new(), Vec::new());
        put_parts(&mut unsealed, &parts);
        let mut read = Vec::new();
        assert_eq!(get_parts(&unsealed, &mut read).map(|()| &read), Ok(&parts), "seed {seed}");
        seal_parts(&mut row, &key, &unsealed);
        let spoiled = spoil(random, &key, &mut row);
        let mut read = Vec::new();
        let read = unseal_parts(&row, &key, &mut read).map(|()| read);
        seen.note(seed, spoiled, &parts, read);
    }
    seen.check("aggregates");
}

#[test]
fn a_checkpoints_row_is_what_was_written_or_garbled() {
    let mut seen = Seen::default();
    for seed in 0..cases(20_000) {
        let random = &mut Rng::with_seed(seed);
        let partition = Partition(random.u32(..));
        let mut fingerprint = || Fingerprint {
            offset: Offset(edge(random)),
            crc32c: random.u32(..),
            epoch: random.bool().then(|| LeaderEpoch(edge(random) as u32)),
        };
        let (fingerprint, behind) = (fingerprint(), fingerprint());
        let unread = Unread { behind: random.bool().then_some(behind), sum: edge(random) };
        let checkpoint = Checkpoint {
            position: Position(edge(random)),
            fold_start: Position(edge(random)),
            fingerprint: random.bool().then_some(fingerprint),
            unread: random.bool().then_some(unread),
            cut: random.bool(),
            counters: Counters {
                events: edge(random),
                void: edge(random),
                foreign: edge(random),
                forwarded: edge(random),
                split: edge(random),
                skipped: edge(random),
            },
        };
        let mut row = put_checkpoint(partition, &checkpoint);
        let spoiled = spoil(random, &partition.0.to_le_bytes(), &mut row);
        seen.note(seed, spoiled, &checkpoint, get_checkpoint(partition, &row));
    }
    seen.check("checkpoints");
}

#[test]
fn an_incarnations_row_is_what_was_written_or_garbled() {
    let mut seen = Seen::default();
    for seed in 0..cases(20_000) {
        let random = &mut Rng::with_seed(seed);
        let (partition, incarnation) = (Partition(random.u32(..)), Incarnation(random.u64(..)));
        let state = some_state(random, partition);
        let mut row = put_incarnation(partition, incarnation, &state);
        let spoiled = spoil(random, &incarnation_context(partition, incarnation), &mut row);
        seen.note(seed, spoiled, &state, get_incarnation(partition, incarnation, &row));
    }
    seen.check("incarnations");
}

#[test]
fn an_identitys_row_is_what_was_written_or_garbled() {
    let mut seen = Seen::default();
    for seed in 0..cases(20_000) {
        let random = &mut Rng::with_seed(seed);
        let text = |random: &mut Rng| (0..random.usize(..9)).map(|_| random.char(..)).collect::<String>();
        let partitioners =
            [None, Some(Partitioner::Murmur2), Some(Partitioner::Crc32), Some(Partitioner::Fnv1a)];
        let identity = StoreIdentity {
            cluster: text(random),
            topic: text(random),
            topic_id: text(random),
            partitions: NonZeroU32::new(random.u32(1..)).expect("not zero"),
            partitioner: partitioners[random.usize(..4)],
        };
        let mut row = put_identity(&identity);
        let spoiled = spoil(random, b"identity", &mut row);
        seen.note(seed, spoiled, &identity, get_identity(&row));
    }
    seen.check("identities");
}
