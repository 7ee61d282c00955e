//! Dropping a partition on a disk that crashes at any moment, in steps as small as they can be.

use super::faults::{CACHE_BYTES, open_on};
use super::*;
use crate::contract::{Checkpoint, Durability};
use bkes_core::{Incarnation, IncarnationState, Position, Stamp};
use bkes_testkit::disk::{SimulatedDisk, Unsynced};

const KEPT: Partition = Partition(0);
const DROPPED: Partition = Partition(1);

/// A transaction sweeps next to nothing.
const STEPS: SweepLimits = SweepLimits { rows: 2, bytes: 20_000, marks: 1, values: 1 };

fn stamp_of(incarnation: Incarnation, number: u64) -> Option<Stamp> {
    Some(Stamp { incarnation, number, place: None })
}

/// How many batches a partition holds; of the one that is dropped, since it was dropped so many times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    kept: u64,
    dropped: Option<(u64, u64)>,
}

/// Batch `n` of a partition: one event for each of three keys, every third time one with a large value, the same in both, and the checkpoint that covers them.
fn batch(partition: Partition, round: u64, n: u64) -> StoreBatch {
    let events = (0..3).map(|k| {
        let value = format!("round {round} of {partition}, key {k}, {n}")
            .repeat(1 + (n % 3) as usize * if k == 1 { 400 } else { 200 });
        let event = StoredEvent {
            partition,
            offset: Offset(n * 3 + k),
            stamp: stamp_of(Incarnation(round), n),
            ..event(k, n, Bytes::from(value))
        };
        NewEvent { key: key(k), event }
    });
    let checkpoint = Checkpoint { position: Position(n * 3 + 3), ..Checkpoint::default() };
    let state = IncarnationState { top: n, last_offset: Offset(n * 3 + 2), open: None };
    StoreBatch {
        events: events.collect(),
        checkpoints: vec![(partition, checkpoint)],
        incarnations: vec![(partition, Incarnation(round), Some(state))],
    }
}

/// How many batches of which round a partition holds; panics when it is not exactly the first so many.
fn held_of(store: &RedbStore, partition: Partition, rounds: u64) -> Option<(u64, u64)> {
    let loaded = store.load().expect("loads");
    let checkpoint = loaded.checkpoints.iter().find(|(p, _)| *p == partition);
    let held = checkpoint.map_or(0, |(_, checkpoint)| checkpoint.position.0 / 3);
    let read = |k: u64| {
        let (key, from, mut out) = (key(k), Order(0), Vec::new());
        let part = ReadPart { key: &key, partition, from, events_max: usize::MAX, bytes_max: usize::MAX };
        store.read(part, &mut out).expect("the part is read");
        out
    };
    let of_round = |round: u64| {
        let expected =
            |k: u64| (0..held).map(move |n| batch(partition, round, n).events[k as usize].event.clone());
        (0..3).all(|k| read(k).into_iter().eq(expected(k)))
    };
    let round = (0..rounds).find(|round| of_round(*round));
    let round =
        round.unwrap_or_else(|| panic!("{held} batches of partition {partition} are not what was written"));
    let states = loaded.incarnations.iter().filter(|(p, _, _)| *p == partition);
    let states: Vec<u64> = states.map(|(_, incarnation, _)| incarnation.0).collect();
    assert_eq!(states, if held == 0 { vec![] } else { vec![round] }, "the incarnations of {partition}");
    (held > 0).then_some((round, held))
}

fn held(store: &RedbStore) -> Held {
    let kept = held_of(store, KEPT, 1).map_or(0, |(_, held)| held);
    Held { kept, dropped: held_of(store, DROPPED, 3) }
}

/// What is to be found after a crash: the last of these that was durable, or a later one.
struct History {
    states: Vec<Held>,
    durable: usize,
}

impl History {
    fn next(&self) -> Held {
        *self.states.last().expect("there is one")
    }

    fn commit(
        &mut self,
        store: &RedbStore,
        (partition, round, n): (Partition, u64, u64),
        durability: Durability,
    ) -> Result<(), String> {
        let mut next = self.next();
        if partition == KEPT {
            next.kept = n + 1;
        } else {
            next.dropped = Some((round, n + 1));
        }
        self.states.push(next);
        store.commit(&batch(partition, round, n), durability).map_err(|error| error.to_string())?;
        if durability == Durability::Immediate {
            self.durable = self.states.len() - 1;
        }
        Ok(())
    }

    fn drop_partition(&mut self, store: &RedbStore) -> Result<(), String> {
        self.states.push(Held { dropped: None, ..self.next() });
        store.drop_partition(DROPPED).map_err(|error| error.to_string())?;
        self.durable = self.states.len() - 1;
        Ok(())
    }
}

fn in_steps(mut store: RedbStore, limits: SweepLimits) -> RedbStore {
    store.sweep_limits = limits;
    store
}

fn open_small(disk: &SimulatedDisk) -> Result<RedbStore, String> {
    let opened =
        RedbStore::open_on(Arc::new(disk.clone()), CACHE_BYTES).map_err(|error| error.to_string())?;
    Ok(in_steps(opened.store, STEPS))
}

/// Fills two partitions, drops one, and fills it again while it is swept; twice. Returns when the machine crashed.
fn workload(disk: &SimulatedDisk, history: &mut History) -> Result<(), String> {
    let store = open_small(disk)?;
    let durability = |n: u64| if n % 4 == 3 { Durability::Immediate } else { Durability::Eventual };
    let mut kept = 0;
    for round in 0..3 {
        for n in 0..8 {
            history.commit(&store, (DROPPED, round, n), durability(n))?;
            if n % 2 == 0 {
                history.commit(&store, (KEPT, 0, kept), Durability::Eventual)?;
                kept += 1;
            }
            if n % 3 == 0 {
                store.sweep().map_err(|error| error.to_string())?;
            }
        }
        if round < 2 {
            history.drop_partition(&store)?;
        }
    }
    while store.sweep().map_err(|error| error.to_string())? {}
    Ok(())
}

/// Crashes at every change in turn. Returns how many crashes there were.
fn crash_everywhere(unsynced: impl Fn(u64) -> Unsynced) -> u64 {
    let mut nth = 0;
    loop {
        let disk = SimulatedDisk::new();
        disk.crash_at(nth, unsynced(nth));
        let mut history = History { states: vec![Held { kept: 0, dropped: None }], durable: 0 };
        let ended = workload(&disk, &mut history);
        if disk.crashes() == 0 {
            ended.expect("without a crash everything works");
            return nth;
        }
        disk.heal();
        let Opened { store, set_aside } = open_on(&disk);
        if history.durable > 0 {
            assert_eq!(set_aside, None, "change {nth}: a crash damages nothing");
        }
        let found = held(&store);
        let allowed = &history.states[history.durable..];
        assert!(allowed.contains(&found), "change {nth}: {found:?} is none of {allowed:?}");
        // What was begun goes on.
        let store = in_steps(store, STEPS);
        let (round, n) = found.dropped.unwrap_or((2, 0));
        store.commit(&batch(DROPPED, round, n), Durability::Eventual).expect("commits");
        let expected = Held { dropped: Some((round, n + 1)), ..found };
        assert_eq!(held(&store), expected, "change {nth}");
        while store.sweep().expect("sweeps") {}
        assert_eq!(held(&store), expected, "change {nth}: swept");
        nth += 1;
    }
}

#[test]
fn a_crash_at_any_change_of_dropping_and_sweeping_leaves_a_partition_whole_or_gone() {
    let kinds: [fn(u64) -> Unsynced; 3] =
        [|_| Unsynced::Lost, |_| Unsynced::Kept, |seed| Unsynced::Torn { seed }];
    // Side by side: each takes a while.
    std::thread::scope(|scope| {
        for unsynced in kinds {
            scope.spawn(move || {
                let crashes = crash_everywhere(unsynced);
                assert!(crashes > 100, "{crashes} crashes");
            });
        }
    });
}

/// What a partition leaves behind is given back, and each transaction is small, however large the partition was.
#[test]
fn what_a_dropped_partition_leaves_behind_is_swept_in_small_steps_and_its_room_used_again() {
    let disk = SimulatedDisk::new();
    let store = in_steps(open_on(&disk).store, SweepLimits { rows: 50, bytes: 40_000, marks: 5, values: 10 });
    let value = |round: u64| Bytes::from(vec![round as u8; 700]);
    let fill = |partition: Partition, round: u64| {
        for order in 0..70 {
            let events = (0..40).map(|k| {
                let event = StoredEvent { partition, ..event(k, order, value(round)) };
                NewEvent { key: key(k + 1_000 * u64::from(partition.0)), event }
            });
            let batch = StoreBatch { events: events.collect(), ..StoreBatch::default() };
            store.commit(&batch, Durability::Eventual).expect("commits");
        }
        store.commit(&StoreBatch::default(), Durability::Immediate).expect("commits");
    };
    fill(KEPT, 0);
    fill(DROPPED, 0);
    let blocks = || {
        let read = tables::begin_read(&store.files().expect("it is open").database).expect("reads");
        tables::counts(&read).expect("reads")
    };
    let (full, file_bytes) = (blocks(), disk.file_bytes());
    let mut written_max = 0;
    for round in 1..5 {
        let before = disk.operations().writes;
        store.drop_partition(DROPPED).expect("it is dropped");
        assert!(disk.operations().writes - before < 40, "dropping writes as little as a commit");
        let mut steps = 0;
        loop {
            let before = disk.operations().writes;
            let is_left = store.sweep().expect("sweeps");
            written_max = written_max.max(disk.operations().writes - before);
            if !is_left {
                break;
            }
            steps += 1;
        }
        assert!(steps > 40, "{steps} steps");
        let left = blocks();
        assert!(left.blocks <= full.blocks / 2 + 2 && left.marks <= full.marks / 2, "{left:?} of {full:?}");
        assert_eq!(store.stats().keys, 40);
        fill(DROPPED, round);
    }
    assert!(written_max < 60, "{written_max} writes in one step");
    assert!(blocks().blocks <= full.blocks + 8, "{:?} after {full:?}", blocks());
    assert!(disk.file_bytes() <= file_bytes * 2, "{} after {file_bytes}", disk.file_bytes());
}

/// Names were never forgotten in memory, and all that ever were came back with the file.
#[test]
fn the_names_of_incarnations_are_forgotten_with_them_and_their_events_keep_theirs() {
    let disk = SimulatedDisk::new();
    let mut store = open_on(&disk).store;
    for n in 0..300 {
        let mut batch = batch(KEPT, 0, n);
        let incarnation = Incarnation(n);
        batch.events.iter_mut().for_each(|new| new.event.stamp = stamp_of(incarnation, n));
        let state = IncarnationState { top: n, last_offset: Offset(n * 3), open: None };
        batch.incarnations = vec![(KEPT, incarnation, Some(state))];
        if let Some(forgotten) = n.checked_sub(10) {
            batch.incarnations.push((KEPT, Incarnation(forgotten), None));
        }
        store.commit(&batch, Durability::Eventual).expect("commits");
        assert!(store.numbers().names_held() <= 11, "{} names", store.numbers().names_held());
        if n % 100 == 50 {
            store.close().expect("closes");
            drop(store);
            store = open_on(&disk).store;
            assert_eq!(store.numbers().names_held(), 0);
        }
    }
    let (key, mut out) = (key(1), Vec::new());
    let part =
        ReadPart { key: &key, partition: KEPT, from: Order(0), events_max: 1_000, bytes_max: usize::MAX };
    store.read(part, &mut out).expect("reads");
    assert!(out.iter().map(|event| event.stamp).eq((0..300).map(|n| stamp_of(Incarnation(n), n))));
}

/// A block that is still filled when its partition is dropped is not filled any further: its number says that it is dead.
#[test]
fn what_is_written_after_a_drop_and_a_restart_is_not_taken_for_dead() {
    let disk = SimulatedDisk::new();
    let mut store = open_on(&disk).store;
    for round in 0..3 {
        store.commit(&batch(DROPPED, round, 0), Durability::Immediate).expect("commits");
        store.drop_partition(DROPPED).expect("it is dropped");
        store.close().expect("closes");
        drop(store);
        store = open_on(&disk).store;
    }
    store.commit(&batch(DROPPED, 1, 0), Durability::Immediate).expect("commits");
    while store.sweep().expect("sweeps") {}
    assert_eq!(held(&store).dropped, Some((1, 1)));
}
