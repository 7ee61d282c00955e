//! Power cuts and kills at every moment: all that was acknowledged is there, and nothing is half there.

use super::*;
use crate::frame::tests::CASES;
use bkes_testkit::directory::{Fault, Keeps, Operation, Platter};
use bkes_testkit::input::cases;
use std::io::ErrorKind;

/// A group on its way to the disk, and the moments between which it was.
struct Attempt {
    records: Vec<NewRecord>,
    begun: usize,
    ended: usize,
    stored: bool,
}

/// What a random run did, and what was on its disk before each change.
struct Run {
    attempts: Vec<Attempt>,
    moments: Vec<Platter>,
}

fn run(random: &mut Rng) -> Run {
    let disk = SimulatedDirectory::new();
    disk.remember();
    let mut rig = Rig::open(&disk).expect("a new log opens");
    let mut attempts = Vec::new();
    for _ in 0..random.usize(2..7) {
        match random.u8(..8) {
            0 => rig.writer.seal(),
            1 => {
                drop(rig);
                rig = Rig::open(&disk).expect("it opens again");
            }
            2 => {
                // A full disk: a part of the group, or all of it, is written before the error.
                let next = disk.calls(Operation::Write);
                if random.bool() {
                    disk.fail(Operation::Write, next..=next, Fault::Short(random.usize(1..200)));
                    disk.fail(Operation::Write, next + 1..=next + 1, Fault::Error(ErrorKind::StorageFull));
                } else {
                    disk.fail(Operation::Write, next..=next, Fault::ErrorAfter(ErrorKind::Other));
                }
                attempts.push(attempt(&mut rig, &disk, random));
                disk.heal();
                if !rig.is_up() {
                    rig.writer.recover();
                }
                assert!(rig.is_up());
            }
            _ => attempts.push(attempt(&mut rig, &disk, random)),
        }
    }
    drop(rig);
    Run { attempts, moments: disk.moments() }
}

fn attempt(rig: &mut Rig, disk: &SimulatedDirectory, random: &mut Rng) -> Attempt {
    let (records, begun) = (some_group(random), disk.remembered());
    let stored = match rig.append(&records) {
        Ok(Delivery::Stored { .. }) => true,
        Ok(Delivery::NotStored { .. }) => false,
        other => panic!("{other:?}"),
    };
    Attempt { records, begun, ended: disk.remembered(), stored }
}

impl Run {
    /// What a reader may find after a power cut at this moment: what was acknowledged, and with it or without what was on
    /// its way.
    fn allowed(&self, moment: usize) -> Vec<Vec<Vec<NewRecord>>> {
        let before = || self.attempts.iter().filter(|attempt| attempt.stored && attempt.ended <= moment);
        let on_its_way =
            self.attempts.iter().find(|attempt| attempt.begun <= moment && moment < attempt.ended);
        let known = before().map(|attempt| &attempt.records);
        let more = on_its_way.map(|attempt| as_read(known.clone().chain([&attempt.records])));
        [as_read(known)].into_iter().chain(more).collect()
    }

    /// Every way a power cut at this moment can go, or as many as are tried.
    fn cuts(&self, moment: usize, random: &mut Rng) -> Vec<SimulatedDirectory> {
        let platter = &self.moments[moment];
        let mut cuts = vec![platter.cut(Keeps::Nothing), platter.cut(Keeps::Everything)];
        let decisions = platter.decisions(64);
        if decisions <= 9 {
            cuts.extend((0..1 << decisions).map(|bits| platter.cut(Keeps::Bits { sector: 64, bits })));
        }
        for sector in [1, 7, 64, 512] {
            cuts.extend((0..3).map(|_| platter.cut(Keeps::Any { sector, random: &mut *random })));
        }
        cuts
    }
}

#[test]
fn a_power_cut_at_any_change_loses_nothing_acknowledged_and_leaves_nothing_by_halves() {
    let (mut cuts, mut kept, mut dropped) = (0u64, 0u64, 0u64);
    for seed in 0..cases(CASES) / 1_000 {
        let random = &mut Rng::with_seed(seed);
        let run = run(random);
        for moment in 0..run.moments.len() {
            let allowed = run.allowed(moment);
            for disk in run.cuts(moment, random) {
                disk.remember();
                let rig = Rig::open(&disk);
                let mut rig = rig.unwrap_or_else(|error| panic!("seed {seed}, moment {moment}: {error}"));
                let mut found = rig.read().expect("it reads");
                let at = allowed.iter().position(|allowed| *allowed == found);
                let at = at.unwrap_or_else(|| panic!("seed {seed}, moment {moment}: {found:?}"));
                cuts += 1;
                kept += u64::from(at == 1);
                dropped += u64::from(at == 0 && allowed.len() == 2);
                // What was shown once survives the next cut, and so does what comes after it.
                let again = disk.platter().cut(Keeps::Any { sector: 64, random: &mut *random });
                assert_eq!(Rig::open(&again).expect("it opens").read(), Ok(found.clone()), "seed {seed}");
                // The next cut may also come while the log is opened.
                let while_opened = random.choice(disk.moments()).expect("there is one");
                let again = while_opened.cut(Keeps::Any { sector: 64, random: &mut *random });
                let again = Rig::open(&again).expect("it opens").read().expect("it reads");
                assert!(allowed.contains(&again), "seed {seed}, moment {moment}: {again:?}");
                let more = some_group(random);
                rig.stored(&more);
                more.into_iter().for_each(|record| found[record.partition.0 as usize].push(record));
                let again = disk.platter().cut(Keeps::Nothing);
                assert_eq!(Rig::open(&again).expect("it opens").read(), Ok(found), "seed {seed}");
            }
        }
    }
    println!("{cuts} power cuts; the group under way: {kept} kept, {dropped} dropped");
    assert!(kept > cuts / 50 && dropped > cuts / 50, "{kept} kept, {dropped} dropped of {cuts}");
}

/// A process that is killed leaves what it wrote in the system's cache, and the next one reads it there. It must not show what
/// the power may still take away: opening syncs first.
#[test]
fn what_is_shown_after_a_kill_survives_a_power_cut_after_it() {
    let mut shown = 0u64;
    for seed in 0..cases(CASES) / 200 {
        let random = &mut Rng::with_seed(seed);
        let run = run(random);
        for moment in 0..run.moments.len() {
            let disk = run.moments[moment].restart();
            let rig = Rig::open(&disk).expect("it opens");
            let found = rig.read().expect("it reads");
            let allowed = run.allowed(moment);
            assert!(allowed.contains(&found), "seed {seed}, moment {moment}: {found:?}");
            shown += u64::from(found != allowed[0]);
            let again = Rig::open(&disk.platter().cut(Keeps::Nothing)).expect("it opens");
            assert_eq!(again.read(), Ok(found), "seed {seed}, moment {moment}");
        }
    }
    assert!(shown > 0, "no kill came between a write and its sync");
}

/// After a sync that failed the system shows bytes that it will never write, and the next sync succeeds. They must not be
/// shown before they were written again.
#[test]
fn what_is_shown_after_a_failed_sync_survives_a_power_cut() {
    let (mut shown, mut gone) = (0u64, 0u64);
    for seed in 0..cases(CASES) / 50 {
        let random = &mut Rng::with_seed(seed);
        let disk = SimulatedDirectory::new();
        let mut rig = Rig::open(&disk).expect("a new log opens");
        let (first, second) = (some_group(random), some_group(random));
        rig.stored(&first);
        // Each disk forgets other parts.
        (0..seed % 7).for_each(|_| rig.writer.seal());
        disk.forget_with(seed);
        let next = disk.calls(Operation::Sync);
        disk.fail(Operation::Sync, next..=next, Fault::Error(ErrorKind::Other));
        let delivery = rig.append(&second);
        assert!(matches!(delivery, Ok(Delivery::Unknown { .. })), "{delivery:?}");
        assert!(matches!(rig.append(&second), Err(SendError::Down { .. })), "it takes nothing more");
        assert_eq!(rig.read(), Ok(as_read([&first])), "what is not known to be synced is not read");
        let before = disk.platter();
        drop(rig);
        let found = Rig::open(&disk).expect("it opens").read().expect("it reads");
        assert!(found == as_read([&first, &second]) || found == as_read([&first]), "seed {seed}");
        shown += u64::from(found != as_read([&first]));
        let again = Rig::open(&disk.platter().cut(Keeps::Nothing)).expect("it opens");
        assert_eq!(again.read(), Ok(found), "seed {seed}");
        // And a power cut at once leaves all of the group or nothing.
        let found = Rig::open(&before.cut(Keeps::Nothing)).expect("it opens").read().expect("it reads");
        assert!(found == as_read([&first, &second]) || found == as_read([&first]), "seed {seed}");
        gone += u64::from(found == as_read([&first]));
    }
    assert!(shown > 0 && gone > 0, "{shown} shown, {gone} gone");
}
