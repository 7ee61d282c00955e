//! redb itself on a disk that fails: full, unreadable, crashed at any moment, with torn writes.

use super::*;
use crate::contract::Checkpoint;
use bkes_core::Position;
use bkes_testkit::disk::{Operation, SimulatedDisk, Unsynced};
use std::io::ErrorKind;
use std::num::NonZeroU32;

pub(super) const CACHE_BYTES: usize = 1024 * 1024;
/// Of this, no row is kept that is not settled: each commit settles what those before it left.
const NO_CACHE_BYTES: usize = 0;
const PARTITION: Partition = Partition(0);

pub(super) fn open_on(disk: &SimulatedDisk) -> Opened {
    RedbStore::open_on(Arc::new(disk.clone()), CACHE_BYTES).expect("the store opens")
}

/// A disk that crashes as `bench.crash` asks.
struct OnSimulated {
    disk: SimulatedDisk,
    unsynced: fn(u64) -> Unsynced,
    crashes: u64,
}

impl Bench for OnSimulated {
    type Store = RedbStore;

    fn fresh(&mut self) -> RedbStore {
        self.disk = SimulatedDisk::new();
        open_on(&self.disk).store
    }

    fn open_again(&mut self, closed: RedbStore) -> RedbStore {
        drop(closed);
        open_on(&self.disk).store
    }

    /// The store is dropped after its machine crashed: nothing of that reaches the disk.
    fn crash(&mut self, store: RedbStore) -> RedbStore {
        self.crashes += 1;
        self.disk.crash((self.unsynced)(self.crashes));
        drop(store);
        let Opened { store, set_aside } = open_on(&self.disk);
        assert_eq!(set_aside, None, "a crash damages nothing");
        store
    }
}

#[test]
fn the_redb_store_conforms_on_a_disk_that_loses_or_keeps_or_tears_what_was_not_synced() {
    let kinds: [fn(u64) -> Unsynced; 3] =
        [|_| Unsynced::Lost, |_| Unsynced::Kept, |seed| Unsynced::Torn { seed }];
    for unsynced in kinds {
        let mut bench = OnSimulated { disk: SimulatedDisk::new(), unsynced, crashes: 0 };
        conformance::check(&mut bench);
        assert!(bench.crashes > 10, "{} crashes", bench.crashes);
    }
}

/// Batch `n` of a workload: one event for each of three keys, every third time one with a large value, and the checkpoint that covers them.
fn batch(n: u64) -> StoreBatch {
    let events = (0..3).map(|k| {
        let event = StoredEvent {
            order: Order(n),
            partition: PARTITION,
            offset: Offset(n * 3 + k),
            timestamp: None,
            value: value(k, n).repeat(1 + (n % 3) as usize * if k == 1 { 130 } else { 60 }).into(),
            tombstone: false,
            stamp: None,
            headers: Vec::new(),
        };
        NewEvent { key: key(k), event }
    });
    let checkpoint = Checkpoint { position: Position(n * 3 + 3), ..Checkpoint::default() };
    StoreBatch {
        events: events.collect(),
        checkpoints: vec![(PARTITION, checkpoint)],
        ..StoreBatch::default()
    }
}

/// How many batches the store holds; panics when it is not exactly the first so many.
fn batches_held(store: &RedbStore) -> u64 {
    let loaded = store.load().expect("loads");
    let held = loaded.checkpoints.first().map_or(0, |(_, checkpoint)| checkpoint.position.0 / 3);
    for k in 0..3 {
        let mut out = Vec::new();
        let (key, from) = (key(k), Order(0));
        let part =
            ReadPart { key: &key, partition: PARTITION, from, events_max: usize::MAX, bytes_max: usize::MAX };
        store.read(part, &mut out).expect("the part is read");
        let expected: Vec<StoredEvent> =
            (0..held).map(|n| batch(n).events[k as usize].event.clone()).collect();
        assert_eq!(out, expected, "key {k} of {held} batches");
    }
    held
}

fn commit(store: &RedbStore, n: u64, durability: Durability) -> Result<(), StoreError> {
    store.commit(&batch(n), durability)
}

/// The story: when the disk was full, each attempt to reopen took the file from the readers, who had it until then.
#[test]
fn a_full_disk_stops_writing_and_not_reading_and_nothing_is_lost_when_there_is_space_again() {
    let disk = SimulatedDisk::new();
    let store = open_on(&disk).store;
    let mut next = 0;
    while next < 20 {
        commit(&store, next, Durability::Immediate).expect("commits");
        next += 1;
    }
    disk.set_space(Some(disk.used_bytes() + 64 * 1024));
    let refused = loop {
        match commit(&store, next, Durability::Immediate) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
        assert!(next < 1_000, "the disk is never full");
    };
    assert!(matches!(refused, StoreError::WriteFailed { .. }), "{refused}");
    let shown = batches_held(&store);
    assert!(
        shown == next || shown == next + 1,
        "reads go on, and show all or nothing of the batch that failed"
    );
    assert!(matches!(commit(&store, next, Durability::Immediate), Err(StoreError::WriteFailed { .. })));
    let refused = store.reopen().map(|_| ());
    assert!(matches!(refused, Err(StoreError::WriteFailed { .. })), "{refused:?}");
    assert_eq!(batches_held(&store), shown, "reads go on after an attempt to reopen");
    disk.set_space(None);
    store.reopen().expect("there is space again");
    assert_eq!(batches_held(&store), next, "nothing is lost");
    commit(&store, next, Durability::Immediate).expect("the batch is written again");
    assert_eq!(batches_held(&store), next + 1);
    disk.crash(Unsynced::Lost);
    drop(store);
    assert_eq!(batches_held(&open_on(&disk).store), next + 1);
}

#[test]
fn after_an_error_of_any_operation_the_store_reopens_with_every_lasting_batch() {
    let mut failed = [0; 3];
    let operations = [Operation::Write, Operation::SetLength, Operation::Sync];
    for (operation, failed) in operations.into_iter().zip(&mut failed) {
        for nth in 0..60 {
            let disk = SimulatedDisk::new();
            let store = open_on(&disk).store;
            commit(&store, 0, Durability::Immediate).expect("commits");
            disk.fail(operation, nth, ErrorKind::Other);
            let mut durable = 1;
            let mut next = 1;
            let error = loop {
                let durability = if next % 3 == 0 { Durability::Immediate } else { Durability::Eventual };
                match commit(&store, next, durability) {
                    Ok(()) => next += 1,
                    Err(error) => break Some(error),
                }
                if durability == Durability::Immediate {
                    durable = next;
                }
                if next == 60 {
                    break None;
                }
            };
            let Some(error) = error else { continue };
            *failed += 1;
            assert!(matches!(error, StoreError::WriteFailed { .. }), "{operation:?} {nth}: {error}");
            store.reopen().expect("the disk works again");
            let held = batches_held(&store);
            assert!((durable..=next + 1).contains(&held), "{operation:?} {nth}: {held}, {durable}, {next}");
            commit(&store, held, Durability::Immediate).expect("commits");
            assert_eq!(batches_held(&store), held + 1, "{operation:?} {nth}");
        }
    }
    let [writes, lengths, syncs] = failed;
    assert!(writes > 30 && lengths > 1 && syncs > 10, "{failed:?}");
}

#[test]
fn a_read_error_is_an_error_and_goes_away_when_the_store_is_reopened() {
    let disk = SimulatedDisk::new();
    let store = open_on(&disk).store;
    for n in 0..50 {
        commit(&store, n, Durability::Immediate).expect("commits");
    }
    store.close().expect("closes");
    drop(store);
    let store = open_on(&disk).store;
    disk.fail(Operation::Read, 0, ErrorKind::Other);
    let part = ReadPart {
        key: &key(1),
        partition: PARTITION,
        from: Order(0),
        events_max: usize::MAX,
        bytes_max: usize::MAX,
    };
    let mut out = Vec::new();
    let mut read = store.read(part, &mut out);
    while read.is_ok() && disk.operations().reads < 10_000 {
        out.clear();
        read = store.read(part, &mut out);
    }
    assert!(matches!(read, Err(StoreError::ReadFailed { .. })), "{read:?}");
    assert_eq!(out, [], "no part of a failed read is shown");
    store.reopen().expect("the disk works again");
    assert_eq!(batches_held(&store), 50);
}

/// What the crash tests do: durable commits and others, and a clean close in the middle. Returns when the machine crashed;
/// `durable` and `begun` tell how far it came.
fn workload(
    disk: &SimulatedDisk,
    cache_bytes: usize,
    durable: &mut u64,
    begun: &mut u64,
) -> Result<(), String> {
    let open = || RedbStore::open_on(Arc::new(disk.clone()), cache_bytes).map_err(|error| error.to_string());
    let mut store = open()?.store;
    for n in 0..12 {
        *begun = n + 1;
        let durability = if n % 3 == 2 { Durability::Immediate } else { Durability::Eventual };
        commit(&store, n, durability).map_err(|error| error.to_string())?;
        if durability == Durability::Immediate {
            *durable = n + 1;
        }
        if n == 7 {
            store.close().map_err(|error| error.to_string())?;
            *durable = n + 1;
            drop(store);
            store = open()?.store;
        }
    }
    store.close().map_err(|error| error.to_string())?;
    *durable = *begun;
    Ok(())
}

/// Crashes at every change in turn. Returns how many crashes there were.
fn crash_everywhere(cache_bytes: usize, unsynced: impl Fn(u64) -> Unsynced) -> u64 {
    let mut nth = 0;
    loop {
        let disk = SimulatedDisk::new();
        disk.crash_at(nth, unsynced(nth));
        let (mut durable, mut begun) = (0, 0);
        let ended = workload(&disk, cache_bytes, &mut durable, &mut begun);
        if disk.crashes() == 0 {
            ended.expect("without a crash everything works");
            return nth;
        }
        // The machine may crash again while the store comes back.
        disk.crash_at(nth % 7, unsynced(nth + 1));
        drop(RedbStore::open_on(Arc::new(disk.clone()), CACHE_BYTES));
        disk.heal();
        let Opened { store, set_aside } = open_on(&disk);
        if durable > 0 {
            assert_eq!(set_aside, None, "change {nth}: a crash damages nothing");
        }
        let held = batches_held(&store);
        assert!((durable..=begun).contains(&held), "change {nth}: {held} of {durable}..={begun}");
        for n in held..held + 3 {
            commit(&store, n, Durability::Immediate).expect("commits");
        }
        assert_eq!(batches_held(&store), held + 3, "change {nth}");
        nth += 1;
    }
}

/// Binding the store to a topic makes the file last as it is, with events that no row knows.
#[test]
fn events_that_were_not_settled_when_the_process_died_are_gone_and_leave_no_trace() {
    let disk = SimulatedDisk::new();
    let blocks = |store: &RedbStore| {
        let read = tables::begin_read(&store.files().expect("it is open").database).expect("reads");
        (0..).take_while(|number| tables::has_blocks_from(&read, *number).expect("reads")).count()
    };
    let store = open_on(&disk).store;
    commit(&store, 0, Durability::Immediate).expect("commits");
    let settled = blocks(&store);
    (1..20).for_each(|n| commit(&store, n, Durability::Eventual).expect("commits"));
    assert_eq!(batches_held(&store), 20);
    assert!(blocks(&store) > settled);
    let identity = StoreIdentity {
        cluster: "cluster".into(),
        topic: "topic".into(),
        topic_id: String::new(),
        partitions: NonZeroU32::MIN,
        partitioner: None,
    };
    store.set_identity(&identity).expect("it is bound");
    disk.crash(Unsynced::Lost);
    drop(store);
    let Opened { store, set_aside } = open_on(&disk);
    assert_eq!((set_aside, batches_held(&store), blocks(&store)), (None, 1, settled));
    (1..30).for_each(|n| commit(&store, n, Durability::Eventual).expect("commits"));
    store.close().expect("closes");
    drop(store);
    assert_eq!(batches_held(&open_on(&disk).store), 30);
}

#[test]
fn a_crash_at_any_change_that_loses_what_was_not_synced_leaves_a_committed_state() {
    for cache_bytes in [CACHE_BYTES, NO_CACHE_BYTES] {
        let crashes = crash_everywhere(cache_bytes, |_| Unsynced::Lost);
        assert!(crashes > 60, "{crashes} crashes");
    }
}

#[test]
fn a_killed_process_at_any_change_leaves_a_committed_state() {
    for cache_bytes in [CACHE_BYTES, NO_CACHE_BYTES] {
        let crashes = crash_everywhere(cache_bytes, |_| Unsynced::Kept);
        assert!(crashes > 60, "{crashes} crashes");
    }
}

#[test]
fn a_crash_at_any_change_with_torn_writes_leaves_a_committed_state() {
    for round in 0..6 {
        let cache_bytes = if round == 0 { NO_CACHE_BYTES } else { CACHE_BYTES };
        let crashes = crash_everywhere(cache_bytes, |nth| Unsynced::Torn { seed: nth * 8 + round });
        assert!(crashes > 60, "{crashes} crashes");
    }
}

#[test]
fn a_flipped_bit_gives_right_bytes_or_an_error_or_the_file_is_set_aside() {
    let mut noticed = 0;
    for seed in 0..60 {
        let disk = SimulatedDisk::new();
        let store = open_on(&disk).store;
        fill(&store);
        store.close().expect("closes");
        drop(store);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..1 + seed % 40 {
            disk.flip_bit(random.u64(..disk.file_bytes() * 8));
        }
        let Opened { store, set_aside } = open_on(&disk);
        let whole = read_everything(&store);
        if set_aside.is_some() || !whole {
            noticed += 1;
            assert_eq!(disk.set_aside_files().len(), usize::from(set_aside.is_some()), "seed {seed}");
            store.reset().expect("a store can always begin anew");
            fill(&store);
            assert!(read_everything(&store), "seed {seed}");
        }
    }
    assert!(noticed > 10, "{noticed} noticed");
}

#[test]
fn a_disk_belongs_to_one_store() {
    let disk = SimulatedDisk::new();
    let store = open_on(&disk).store;
    let second = RedbStore::open_on(Arc::new(disk.clone()), CACHE_BYTES).map(|_| ());
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    drop(store);
    open_on(&disk);
}

/// The story: a reader at work while the store was reopened made redb say that the file is open already, which was taken for
/// damage, so that a whole store was set aside and rebuilt.
#[test]
fn a_read_at_work_while_the_store_is_reopened_is_no_damage() {
    let directory = TempDir::new().expect("a directory");
    let on_disk = open(&directory);
    let simulated = open_on(&SimulatedDisk::new()).store;
    for store in [on_disk, simulated] {
        commit(&store, 0, Durability::Immediate).expect("commits");
        let reader = store.files().expect("open");
        let reopened = store.reopen().map(|_| ());
        assert!(matches!(reopened, Err(StoreError::WriteFailed { .. })), "{reopened:?}");
        drop(reader);
        store.reopen().expect("nobody reads any more");
        assert_eq!(batches_held(&store), 1);
        let reader = store.files().expect("open");
        store.reset().expect("a new file needs nobody to stop");
        drop(reader);
        assert_eq!(batches_held(&store), 0);
        commit(&store, 0, Durability::Immediate).expect("commits");
        assert_eq!(batches_held(&store), 1);
    }
}

/// redb writes once more when it lets a file go, and a panic on a garbage page left its locks poisoned: it panicked again, where
/// nobody caught it, and the thread died that was to rebuild the store. (Found by simulation: a flipped bit.)
#[test]
fn a_file_that_is_damaged_while_it_is_open_is_let_go_and_begun_anew() {
    let mut random = fastrand::Rng::with_seed(12);
    let mut noticed = 0;
    for round in 0..60 {
        let disk = SimulatedDisk::new();
        let Opened { store, .. } = RedbStore::open_on(Arc::new(disk.clone()), 64 * 1024).expect("it opens");
        (0..20).for_each(|n| store.commit(&batch(n), Durability::Immediate).expect("commits"));
        for _ in 0..2_000 {
            disk.flip_bit(random.u64(..disk.used_bytes() * 8));
        }
        let mut next = 20;
        while next < 30 && store.commit(&batch(next), Durability::Immediate).is_ok() {
            next += 1;
        }
        noticed += u32::from(next < 30);
        // What was written last before the file goes is lost with it.
        disk.crash(Unsynced::Lost);
        store.reset().expect("a store can always begin anew");
        (0..5).for_each(|n| store.commit(&batch(n), Durability::Immediate).expect("commits"));
        let mut heads = Vec::new();
        store.heads(&[key(0)], &mut heads).expect("looks");
        assert!(matches!(heads[..], [Heads::One(head)] if head.next == Order(5)), "round {round}: {heads:?}");
    }
    assert!(noticed > 20, "{noticed} noticed");
}
