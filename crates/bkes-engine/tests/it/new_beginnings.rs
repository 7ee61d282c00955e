//! A store that fails while its writer puts it right: every fold begins anew in the end, and nothing is lost or written twice.

use crate::support::flawed::FlawedLog;
use crate::support::{Bench, while_busy};
use bkes_core::{Key, Partition, Position};
use bkes_engine::{AppendError, Expected, PartitionState, ReadError, Unready};
use bkes_storage::{
    Durability, EventOutline, Heads, KeyPage, KeyRange, Loaded, OutlinePart, ReadPart, Store, StoreBatch,
    StoreError, StoreIdentity, StoreStats, StoredEvent,
};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use bkes_testkit::store::SimulatedStore;
use std::num::NonZeroU32;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

/// What goes wrong, once, at the next call that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wound {
    /// Nothing of the commit is there.
    CommitFails,
    /// All of the commit is there, and it is said to have failed.
    CommitFailsBehind,
    /// What was opened anew has lost everything.
    ReopenLoses,
    /// What was opened anew has lost what was not durable.
    ReopenFallsBack,
    IdentityIsDamaged,
    ResetFails,
    /// Nothing was dropped.
    DropFails,
    /// It was, and is said to have failed.
    DropFailsBehind,
    ReadIsDamaged,
}

/// A memory store with wounds.
#[derive(Default)]
struct Wounded {
    inner: SimulatedStore,
    wounds: Mutex<Vec<Wound>>,
    /// Happens in the middle of the next reset.
    in_reset: Mutex<Option<Meanwhile>>,
    /// Happens before the next look-up.
    before_heads: Mutex<Option<Meanwhile>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

/// Has it happen, once.
fn happen(meanwhile: &Mutex<Option<Meanwhile>>) {
    let meanwhile = meanwhile.lock().expect("no panic").take();
    if let Some(meanwhile) = meanwhile {
        meanwhile();
    }
}

impl Wounded {
    fn wound(&self, wounds: &[Wound]) {
        self.wounds.lock().expect("no panic").extend(wounds);
    }

    fn takes(&self, wound: Wound) -> bool {
        let mut wounds = self.wounds.lock().expect("no panic");
        wounds.iter().position(|known| *known == wound).map(|at| wounds.remove(at)).is_some()
    }

    fn is_whole(&self) -> bool {
        self.wounds.lock().expect("no panic").is_empty()
    }
}

fn damaged() -> StoreError {
    StoreError::Damaged { detail: "a wound".into() }
}

fn failed() -> StoreError {
    StoreError::WriteFailed { source: std::io::Error::other("a wound") }
}

impl Store for Wounded {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn set_identity(&self, identity: &StoreIdentity) -> Result<(), StoreError> {
        if self.takes(Wound::IdentityIsDamaged) {
            return Err(damaged());
        }
        self.inner.set_identity(identity)
    }

    fn heads(&self, keys: &[Key], out: &mut Vec<Heads>) -> Result<(), StoreError> {
        if self.takes(Wound::ReadIsDamaged) {
            return Err(damaged());
        }
        happen(&self.before_heads);
        self.inner.heads(keys, out)
    }

    fn keys(&self, range: KeyRange<'_>) -> Result<KeyPage, StoreError> {
        self.inner.keys(range)
    }

    fn read(&self, part: ReadPart<'_>, out: &mut Vec<StoredEvent>) -> Result<(), StoreError> {
        self.inner.read(part, out)
    }

    fn outlines(&self, part: OutlinePart<'_>, out: &mut Vec<EventOutline>) -> Result<(), StoreError> {
        self.inner.outlines(part, out)
    }

    fn commit(&self, batch: &StoreBatch, durability: Durability) -> Result<(), StoreError> {
        if self.takes(Wound::CommitFails) {
            return Err(failed());
        }
        self.inner.commit(batch, durability)?;
        if self.takes(Wound::CommitFailsBehind) { Err(failed()) } else { Ok(()) }
    }

    fn reopen(&self) -> Result<Loaded, StoreError> {
        if self.takes(Wound::ReopenLoses) {
            self.inner.reset()?;
        }
        if self.takes(Wound::ReopenFallsBack) {
            self.inner.crash();
        }
        self.inner.reopen()
    }

    fn drop_partition(&self, partition: Partition) -> Result<(), StoreError> {
        if self.takes(Wound::DropFails) {
            return Err(failed());
        }
        self.inner.drop_partition(partition)?;
        if self.takes(Wound::DropFailsBehind) { Err(failed()) } else { Ok(()) }
    }

    fn sweep(&self) -> Result<bool, StoreError> {
        self.inner.sweep()
    }

    fn reset(&self) -> Result<(), StoreError> {
        if self.takes(Wound::ResetFails) {
            return Err(failed());
        }
        self.inner.reset()?;
        happen(&self.in_reset);
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }
}

/// An engine on a store that holds three events of key "a".
fn filled(log: &MemoryLog, store: &Arc<Wounded>) -> Bench {
    let mut bench = Bench::ready(log.clone(), store.clone());
    for order in 0..3 {
        bench.put("a", order, &order.to_string()).expect("accepted");
    }
    bench.run(50);
    bench
}

/// Writes three events, wounds the store, writes or reads once more, and expects all of it to be there in the end, once.
fn comes_back_from(wounds: &[Wound]) {
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let store = Arc::new(Wounded::default());
    let mut bench = filled(&log, &store);
    store.wound(wounds);
    if wounds.contains(&Wound::ReadIsDamaged) {
        let found = bench.read("a");
        assert!(matches!(found, Err(ReadError::Damaged { .. })), "{found:?}");
    } else {
        bench.put("a", 3, "3").expect("an answer does not wait for the store");
    }
    bench.run_until("it came by every wound, and is ready", |bench| {
        store.is_whole() && bench.handle.is_ready()
    });
    let events = log.records(Partition(0)).len() as u64;
    let next = bench.put("a", events, &events.to_string()).expect("appends are accepted again");
    assert_eq!(next.first.0, events);
    bench.run(50);
    let expected: Vec<String> = (0..=events).map(|order| order.to_string()).collect();
    assert_eq!(bench.values("a"), expected, "{wounds:?}");
    drop(bench);
    let again = Bench::ready(log, store);
    assert_eq!(again.values("a"), expected, "{wounds:?}: after a restart");
}

/// The batch was written once more, after itself; the store took that for damage and was emptied.
#[test]
fn a_write_that_came_through_though_it_failed_is_not_repeated() {
    comes_back_from(&[Wound::CommitFailsBehind]);
}

#[test]
fn a_write_that_failed_is_repeated() {
    comes_back_from(&[Wound::CommitFails]);
}

/// The log had lost offsets that held no record, and the fold stood below the position that the store still had. So the next write,
/// which failed, was taken for one that had come through: an acknowledged event was shown no more, and its order given away again.
/// (Found by simulation.)
#[test]
fn a_write_that_failed_behind_a_lost_end_that_held_nothing_is_repeated() {
    for wound in [Wound::CommitFails, Wound::CommitFailsBehind] {
        let log = MemoryLog::new("topic", NonZeroU32::MIN);
        let store = Arc::new(Wounded::default());
        let mut bench = filled(&log, &store);
        log.skip_offsets(Partition(0), 3);
        bench.run(20_000);
        let stored = |store: &Wounded| store.load().expect("it answers").checkpoints[0].1.position;
        assert_eq!(stored(&store), Position(6));
        drop(bench);
        log.truncate(Partition(0), Position(3));
        let mut bench = Bench::ready(log, store.clone());
        assert_eq!(stored(&store), Position(6), "it is not written before there is something to write");
        store.wound(&[wound]);
        bench.put("a", 3, "3").expect("an answer does not wait for the store");
        bench.run_until("it is written", |bench| store.is_whole() && bench.handle.is_ready());
        bench.run(50);
        assert_eq!(bench.values("a"), ["0", "1", "2", "3"], "{wound:?}");
        bench.put("a", 4, "4").expect("it is the next order");
    }
}

/// The store could be read and not written: it was opened anew every second, for ever. (Found by simulation: a flipped bit in the
/// name of one of redb's own tables.)
#[test]
fn a_store_that_is_damaged_for_writing_is_emptied() {
    comes_back_from(&[Wound::CommitFails, Wound::ReopenLoses, Wound::IdentityIsDamaged]);
}

/// The store could not be emptied at once. When it could be opened again that was forgotten: nothing was served any more.
#[test]
fn a_new_beginning_that_failed_is_begun_again() {
    comes_back_from(&[Wound::ReadIsDamaged, Wound::ResetFails]);
    comes_back_from(&[Wound::ReadIsDamaged, Wound::ResetFails, Wound::ResetFails]);
    comes_back_from(&[Wound::ReadIsDamaged, Wound::IdentityIsDamaged]);
}

/// The same at start, where the store was to keep how keys are placed: the server ended with "the store is damaged" each
/// time it was started. (Found by simulation: a flipped bit in a page that only writing needs.)
#[test]
fn a_store_that_is_damaged_for_writing_when_the_engine_starts_is_emptied() {
    let log = MemoryLog::new("topic", NonZeroU32::MIN);
    let store = Arc::new(Wounded::default());
    drop(filled(&log, &store));
    let identity = store.load().expect("loads").identity.expect("it is bound");
    store.set_identity(&StoreIdentity { partitioner: None, ..identity }).expect("written");
    store.wound(&[Wound::IdentityIsDamaged]);
    let bench = Bench::ready(log, store.clone());
    assert!(store.is_whole(), "the store was written");
    assert_eq!(bench.values("a"), ["0", "1", "2"]);
}

/// What the store says of dropping a partition may be wrong both ways. It is dropped again, and no other partition begins anew for it.
#[test]
fn a_drop_that_failed_is_tried_again_and_takes_no_other_partition_along() {
    for wound in [Wound::DropFails, Wound::DropFailsBehind] {
        let log = MemoryLog::new("topic", NonZeroU32::new(2).expect("two"));
        let foreign = |partition, value: &'static str| {
            log.append_foreign(Partition(partition), Some("a".into()), Some(value.into()), Vec::new());
        };
        let store = Arc::new(Wounded::default());
        let mut bench = Bench::ready(log.clone(), store.clone());
        (0..4).for_each(|_| foreign(1, "old"));
        log.append_foreign(Partition(0), Some("b".into()), Some("kept".into()), Vec::new());
        // Until it is durable: a store that is opened anew falls back to that.
        bench.run(10_100);
        log.truncate(Partition(1), Position(1));
        store.wound(&[wound]);
        bench.run_until("it came by the wound", |_| store.is_whole());
        assert_eq!(bench.values("b"), ["kept"], "{wound:?}");
        bench.run_until("it is read anew", |bench| {
            let stored = store.load().expect("loads").checkpoints;
            assert!(stored.iter().any(|(partition, _)| *partition == Partition(0)), "{wound:?}: {stored:?}");
            bench.count("a") == Ok(1)
        });
        assert_eq!(bench.values("b"), ["kept"]);
        assert!(bench.handle.is_ready());
    }
}

/// A fold that was overtaken by a new beginning left out the records that it read, and when it came to the end of the log took that for a
/// loss: the partition was degraded and read anew once more. (Found by simulation.)
#[test]
fn a_fold_that_is_overtaken_does_not_take_what_it_left_out_for_lost() {
    let (log, store) = (FlawedLog::new(1), Arc::new(Wounded::default()));
    let mut bench = Bench::ready(log.clone(), store.clone());
    log.flaws().unread.insert(Partition(0));
    bench.put("a", 0, "applied and not read").expect("it is accepted as it was sent");
    store.wound(&[Wound::ReadIsDamaged]);
    let (owner, now, meanwhile) = (Arc::clone(&bench.owners[0]), bench.now(), log.clone());
    *store.in_reset.lock().expect("no panic") = Some(Box::new(move || {
        meanwhile.flaws().unread.clear();
        while_busy(&owner, now);
    }));
    let found = bench.read("a");
    assert!(matches!(found, Err(ReadError::Damaged { .. })), "{found:?}");
    for _ in 0..1_000 {
        bench.run(1);
        let state = &bench.handle.status().partitions[0].state;
        assert!(!matches!(state, PartitionState::Degraded { .. }), "{state:?}");
    }
    assert!(store.in_reset.lock().expect("no panic").is_none(), "it did not come to that");
    assert_eq!(bench.values("a"), ["applied and not read"]);
}

/// The store fell back while an owner was in the middle of a step: it judged an append by what the store held by then, and told of a next
/// order below one that had been shown. (Found by simulation.)
#[test]
fn an_append_is_not_judged_by_a_store_that_fell_back_under_its_owner() {
    let (log, store) = (MemoryLog::new("topic", NonZeroU32::MIN), Arc::new(Wounded::default()));
    let mut bench = filled(&log, &store);
    bench.put("b", 0, "durable").expect("accepted");
    bench.run(11_000);
    bench.put("b", 1, "shown").expect("accepted");
    bench.run(50);
    assert_eq!(bench.values("b"), ["durable", "shown"]);
    store.wound(&[Wound::CommitFails, Wound::ReopenFallsBack]);
    bench.put("a", 3, "3").expect("an answer does not wait for the store");
    bench.step_writer();
    bench.jump(1_500);
    let late = bench.append("b", Expected::New, &["late"]);
    let ((looks_up, is_looking), (goes_on, may_go_on)) = (channel(), channel());
    *store.before_heads.lock().expect("no panic") = Some(Box::new(move || {
        looks_up.send(()).expect("somebody waits for this");
        may_go_on.recv().expect("the writer has stepped");
    }));
    let (owner, now) = (Arc::clone(&bench.owners[0]), bench.now());
    let stepping = thread::spawn(move || while_busy(&owner, now));
    is_looking.recv().expect("the owner looks the key up");
    bench.step_writer();
    assert!(store.is_whole(), "it has fallen back");
    goes_on.send(()).expect("the owner waits for this");
    stepping.join().expect("no panic");
    let answer = bench.answer(late);
    let is_true = matches!(&answer, Err(AppendError::Unavailable(Unready::CatchingUp { .. })));
    assert!(is_true, "{answer:?}");
    bench.run_until("it has caught up", |bench| bench.handle.is_ready());
    assert_eq!(bench.values("b"), ["durable", "shown"]);
}
