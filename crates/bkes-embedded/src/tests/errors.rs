//! Errors of every call, at every call: no acknowledged record is lost, no answer is untrue, and the log goes on or says that
//! it is down.

use super::*;
use crate::group::HEADER_BYTES;
use bkes_testkit::directory::{Fault, Keeps, Operation};
use std::io::ErrorKind;
use std::ops::RangeInclusive;

/// What the log should hold, as far as anybody was told.
#[derive(Default)]
struct Told {
    stored: Vec<Vec<NewRecord>>,
    /// Of the last group, which may be there or not.
    unknown: Option<Vec<NewRecord>>,
}

impl Told {
    /// Compares with what a reader finds, which settles what was unknown.
    fn settle(&mut self, found: &[Vec<NewRecord>], context: &str) {
        if as_read(&self.stored) != found {
            let unknown = self.unknown.take();
            self.stored.extend(unknown);
            assert_eq!(as_read(&self.stored), found, "{context}");
        }
        self.unknown = None;
    }
}

/// Two lives of a log; whether it was up at their ends, and ever said that it was not.
fn lives(disk: &SimulatedDirectory, told: &mut Told, random: &mut Rng, context: &str) -> (bool, bool) {
    let (mut up, mut trouble) = (true, false);
    for _ in 0..2 {
        let Ok(mut rig) = Rig::open(disk) else {
            (up, trouble) = (false, true);
            continue;
        };
        if let Ok(found) = rig.read() {
            told.settle(&found, context);
        } else {
            trouble = true;
        }
        for _ in 0..3 {
            let group = some_group(random);
            match rig.append(&group) {
                Ok(Delivery::Stored { .. }) => {
                    assert!(told.unknown.is_none(), "{context}: nothing is stored after an unknown group");
                    told.stored.push(group);
                }
                Ok(Delivery::NotStored { .. }) => assert!(!rig.is_up(), "{context}: it says that it is down"),
                Ok(refused @ Delivery::Oversized { .. }) => panic!("{context}: {refused:?}"),
                Ok(Delivery::Unknown { .. }) => {
                    assert!(!rig.is_up(), "{context}: it says that it is down");
                    told.unknown = Some(group);
                }
                Err(SendError::Down { .. }) => {}
                Err(error) => panic!("{context}: {error}"),
            }
            if !rig.is_up() {
                trouble = true;
                rig.retry();
            }
        }
        if rig.is_up() {
            rig.writer.seal();
        }
        up = rig.is_up();
    }
    (up, trouble)
}

impl Rig {
    /// What the writer's thread does a second after a failed write.
    fn retry(&mut self) {
        if matches!(self.shared.queue().state, crate::queue::WriteState::Failing(_)) {
            self.writer.recover();
        }
    }
}

fn faults(operation: Operation) -> Vec<Fault> {
    let mut faults = vec![Fault::Error(ErrorKind::Other), Fault::Error(ErrorKind::StorageFull)];
    match operation {
        Operation::Write => {
            faults.extend([0, 1, 11, 40, 100].map(Fault::Short));
            faults.extend([Fault::ErrorAfter(ErrorKind::Other), Fault::Error(ErrorKind::Interrupted)]);
        }
        Operation::Read => {
            faults.extend([0, 1, 50].map(Fault::Short));
            faults.push(Fault::Error(ErrorKind::Interrupted));
        }
        Operation::Sync | Operation::SetLength | Operation::Rename => {
            faults.push(Fault::ErrorAfter(ErrorKind::Other));
        }
        _ => {}
    }
    faults
}

/// Whether a call that goes wrong like this is to be noticed by anybody.
fn is_harmless(fault: Fault) -> bool {
    matches!(fault, Fault::Short(1..) | Fault::Error(ErrorKind::Interrupted))
}

#[test]
fn an_error_of_any_call_loses_nothing_acknowledged_and_is_answered_truly() {
    let plain = SimulatedDirectory::new();
    lives(&plain, &mut Told::default(), &mut Rng::with_seed(7), "plain");
    let (mut runs, mut noticed) = (0u64, 0u64);
    for operation in Operation::ALL {
        // Where writes fail there are more calls than in a plain run.
        for nth in 0..plain.calls(operation) + 3 {
            for fault in faults(operation) {
                for more in [0, 1, 3, 1_000] {
                    let context = format!("{operation:?} {nth} and {more} more: {fault:?}");
                    noticed += u64::from(one_fault(operation, nth..=nth + more, fault, &context));
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} runs, {noticed} with trouble that was said");
    assert!(noticed > runs / 4, "{noticed} of {runs}");
}

/// Whether there was trouble.
fn one_fault(operation: Operation, calls: RangeInclusive<u64>, fault: Fault, context: &str) -> bool {
    let (nth, more) = (*calls.start(), calls.end() - calls.start());
    let disk = SimulatedDirectory::new();
    // A seed of the run's own for what a failed sync forgets.
    disk.forget_with(nth * 31 + more);
    disk.fail(operation, calls, fault);
    let (mut told, random) = (Told::default(), &mut Rng::with_seed(7));
    let (_, trouble) = lives(&disk, &mut told, random, context);
    if is_harmless(fault) && more < 1_000 {
        assert!(!trouble, "{context}: nobody need notice");
    }
    disk.heal();
    // Without the power being cut, and with it: at once, and after the log was opened again.
    let platter = disk.platter();
    for cut in [false, true] {
        let disk =
            if cut { platter.cut(Keeps::Any { sector: 16, random: &mut *random }) } else { disk.clone() };
        let mut told = Told { stored: told.stored.clone(), unknown: told.unknown.clone() };
        let mut rig = Rig::open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
        told.settle(&rig.read().expect("it reads"), context);
        let group = some_group(random);
        rig.stored(&group);
        told.stored.push(group);
        let found = Rig::open(&disk.platter().cut(Keeps::Nothing)).expect("it opens").read();
        told.settle(&found.expect("it reads"), context);
    }
    trouble
}

/// What failed is tried again until it works, without a restart; only a sync that failed, or a write that cannot be undone,
/// needs one.
#[test]
fn a_full_disk_is_over_when_there_is_room_again_and_a_failed_sync_is_not() {
    let random = &mut Rng::with_seed(1);
    for (operation, comes_back) in
        [(Operation::Write, true), (Operation::SetLength, false), (Operation::Sync, false)]
    {
        let disk = SimulatedDirectory::new();
        let mut rig = Rig::open(&disk).expect("it opens");
        let (first, second) = (some_group(random), some_group(random));
        rig.stored(&first);
        let write = disk.calls(Operation::Write);
        disk.fail(Operation::Write, write..=write + 4, Fault::Error(ErrorKind::StorageFull));
        let next = disk.calls(operation);
        disk.fail(operation, next..=next + 4, Fault::Error(ErrorKind::StorageFull));
        let delivery = rig.append(&second).expect("it is taken");
        let is_known = matches!(delivery, Delivery::NotStored { .. });
        assert_eq!(is_known, comes_back, "{operation:?}: {delivery:?}");
        assert!(!rig.is_up());
        for _ in 0..3 {
            rig.retry();
            assert!(!rig.is_up(), "{operation:?}: the disk is still full");
            assert_eq!(rig.read(), Ok(as_read([&first])), "what was acknowledged is read");
        }
        disk.heal();
        rig.retry();
        assert_eq!(rig.is_up(), comes_back, "{operation:?}");
        if comes_back {
            rig.stored(&second);
            assert_eq!(rig.read(), Ok(as_read([&first, &second])));
        } else {
            assert!(matches!(rig.append(&second), Err(SendError::Down { .. })));
        }
    }
}

/// A read that failed once is read again from the disk when the partition is assigned again, and not from what was kept of the
/// first attempt.
#[test]
fn a_reader_asks_the_disk_again_after_damage() {
    let random = &mut Rng::with_seed(3);
    let disk = SimulatedDirectory::new();
    let mut rig = Rig::open(&disk).expect("it opens");
    let group: Vec<NewRecord> = (0..4).map(|_| some_record(random, 1)).collect();
    group.chunks(2).for_each(|group| rig.stored(group));
    let good = disk.bytes(file::FILE).expect("it is there");
    // The reader begins at the first record, which the index knows.
    for at in rig.shared.start as usize + HEADER_BYTES..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        disk.overwrite(file::FILE, &bad);
        let mut reader = EmbeddedReader::new(Arc::clone(&rig.shared));
        reader.assign(Partition(0), Position::START);
        let mut events = Vec::new();
        reader.poll(100, &mut events);
        let failed = events
            .iter()
            .any(|event| matches!(event, ReadEvent::Failed { failure: ReadFailure::Damaged { .. }, .. }));
        let before = events.iter().filter(|event| matches!(event, ReadEvent::Record { .. })).count();
        assert!(failed && before < group.len(), "byte {at}: {events:?}");
        disk.overwrite(file::FILE, &good);
        reader.assign(Partition(0), Position(before as u64));
        events.clear();
        reader.poll(100, &mut events);
        let read = events.iter().filter(|event| matches!(event, ReadEvent::Record { .. })).count();
        assert_eq!(read, group.len() - before, "byte {at}: {events:?}");
    }
}
