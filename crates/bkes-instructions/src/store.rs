//! The store on disk: what a commit costs for each event, and what reading costs when the pages are in memory.

use crate::rules::{CHAIN, VALUE_BYTES, key};
use anyhow::Context;
use bkes_api::{Event, Page};
use bkes_core::marker::Stamp;
use bkes_core::{Incarnation, Key, Offset, Order, Partition, Position, TimestampMs};
use bkes_storage::{
    Checkpoint, Durability, Heads, NewEvent, ReadPart, RedbOptions, RedbStore, Store, StoreBatch, StoredEvent,
};
use bkes_wire::to_wire;
use bytes::Bytes;
use prost::Message;
use std::hint::black_box;

/// Events of a commit while catching up are up to 50,000; a fifth of that keeps this short.
const COMMIT_EVENTS: usize = 10_000;

/// Keys in the store that is read.
const KEYS: u64 = 2_000;

fn open() -> anyhow::Result<(RedbStore, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let options = RedbOptions { directory: folder.path().join("store"), cache_bytes: 64 << 20 };
    Ok((RedbStore::open(&options)?.store, folder))
}

/// Events whose keys come round again after `keys` others, as they do in a topic.
fn events(count: u64, keys: u64) -> Vec<NewEvent> {
    let of = |number: u64| {
        let stamp = Stamp { incarnation: Incarnation(7), number: number + 1, place: None };
        let event = StoredEvent {
            order: Order(number / keys),
            partition: Partition(0),
            offset: Offset(number),
            timestamp: Some(TimestampMs(1_700_000_000_000 + number as i64)),
            value: Bytes::from(vec![b'x'; VALUE_BYTES]),
            tombstone: false,
            stamp: Some(stamp),
            headers: Vec::new(),
        };
        NewEvent { key: key((number % keys) * CHAIN), event }
    };
    (0..count).map(of).collect()
}

fn commit_all(store: &RedbStore, events: &[NewEvent]) -> anyhow::Result<()> {
    for events in events.chunks(COMMIT_EVENTS) {
        let position = events.last().map_or(Position::START, |last| last.event.offset.next());
        let checkpoint = Checkpoint { position, ..Checkpoint::default() };
        let checkpoints = vec![(Partition(0), checkpoint)];
        let batch = StoreBatch { events: events.to_vec(), checkpoints, ..StoreBatch::default() };
        store.commit(&batch, Durability::Eventual)?;
    }
    // What is unsettled is paid for too.
    Ok(store.commit(&StoreBatch::default(), Durability::Immediate)?)
}

/// Events committed in the batches of a catch-up.
pub fn commit(count: u64, most: u64) -> anyhow::Result<()> {
    let (store, _folder) = open()?;
    let events = events(most, most / CHAIN);
    commit_all(&store, &events[..count as usize])
}

fn filled() -> anyhow::Result<(RedbStore, tempfile::TempDir, Vec<Key>)> {
    let (store, folder) = open()?;
    commit_all(&store, &events(KEYS * CHAIN, KEYS))?;
    Ok((store, folder, (0..KEYS).map(|number| key(number * CHAIN)).collect()))
}

/// Counts of keys, a hundred from each snapshot.
pub fn heads(count: u64, _: u64) -> anyhow::Result<()> {
    let (store, _folder, keys) = filled()?;
    let mut found = Vec::new();
    for turn in 0..count / 100 {
        let from = (turn as usize * 100) % keys.len();
        found.clear();
        store.heads(&keys[from..from + 100], &mut found)?;
        anyhow::ensure!(found.iter().all(|heads| matches!(heads, Heads::One(_))), "a key is missing");
    }
    Ok(())
}

/// All ten events of a key.
pub fn read(count: u64, _: u64) -> anyhow::Result<()> {
    let (store, _folder, keys) = filled()?;
    let mut found = Vec::new();
    for number in 0..count {
        let key = &keys[number as usize % keys.len()];
        let partition = Partition(0);
        found.clear();
        let part = ReadPart { key, partition, from: Order::FIRST, events_max: 100, bytes_max: 1 << 20 };
        store.read(part, &mut found)?;
        anyhow::ensure!(black_box(&found).len() == CHAIN as usize, "{} events", found.len());
    }
    Ok(())
}

/// A page of a thousand events of one key, as the engine and the second contract make it of what the store has.
pub fn page(count: u64, _: u64) -> anyhow::Result<()> {
    const EVENTS: u64 = 1_000;
    let (store, _folder) = open()?;
    commit_all(&store, &events(10 * EVENTS, 10))?;
    for number in 0..count {
        let (key, partition, mut found) = (&key((number % 10) * CHAIN), Partition(0), Vec::new());
        let part = ReadPart { key, partition, from: Order::FIRST, events_max: 2_000, bytes_max: 1 << 20 };
        store.read(part, &mut found)?;
        anyhow::ensure!(found.len() == EVENTS as usize, "{} events", found.len());
        let page =
            Page { events: found.into_iter().map(|event| Event::shown(event, true)).collect(), end: None };
        let reply = to_wire::page(page).context("a number that does not fit")?;
        black_box(reply.encode_to_vec());
    }
    Ok(())
}
