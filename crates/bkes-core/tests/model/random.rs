//! Random runs: a seed is a run.

use crate::verdict::broken_promise;
use crate::world::{Answer, Bug, Manner, Step, World};
use bkes_core::append_id::ID_WINDOW;
use fastrand::Rng;

/// What happened in many runs, to see that they try what they should.
#[derive(Default, Debug)]
pub struct Tally {
    pub runs: u64,
    pub steps: u64,
    pub records: u64,
    pub success: u64,
    pub success_batches: u64,
    pub conflicts: u64,
    pub not_stored: u64,
    pub unknown: u64,
    pub unknown_and_stored: u64,
    /// Runs in which the log lost its end, and rebuilds that came of it.
    pub losses: u64,
    pub rebuilds: u64,
    /// Tries that found an earlier one stored, another decision under their id, and neither, nor that there is none.
    pub found: u64,
    pub used: u64,
    pub not_found: u64,
}

/// Whether the log may lose its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keeping {
    Everything,
    NotItsEnd,
}

/// Runs a seed to its end; the broken promise, if any, is in the world.
pub fn run(seed: u64, bug: Option<Bug>) -> World {
    run_on(Keeping::Everything, seed, bug)
}

/// The same on a log of this kind.
pub fn run_on(keeping: Keeping, seed: u64, bug: Option<Bug>) -> World {
    let mut rng = Rng::with_seed(seed);
    let id_window = *rng.choice(&[2, ID_WINDOW]).expect("not empty");
    let mut world = World::with_window(id_window, rng.usize(1..=3), rng.usize(1..=3), bug);
    world.is_lossy = keeping == Keeping::NotItsEnd;
    for _ in 0..rng.usize(20..=140) {
        let lossy = if keeping == Keeping::NotItsEnd { draw_loss(&mut rng, &world) } else { None };
        let step = lossy.unwrap_or_else(|| draw(&mut rng, &world));
        world.take(step);
        if world.violation.is_some() {
            return world;
        }
    }
    world.finish();
    let cut = rng.usize(0..=world.log.records.len());
    if world.violation.is_none() {
        world.violation = broken_promise(&world, cut);
    }
    world
}

/// A loss now and then, and what the instances do about it.
fn draw_loss(rng: &mut Rng, world: &World) -> Option<Step> {
    let at = rng.usize(..world.instances.len());
    match rng.u32(..100) {
        0..2 => Some(Step::LoseEnd { records: rng.usize(1..=4) }),
        2..10 if !world.lost.is_empty() => Some(Step::Ask { at }),
        10..18 if world.has_asked(at) => Some(Step::Learn { at }),
        18..50 if world.must_rebuild(at) => Some(Step::Rebuild { at }),
        _ => None,
    }
}

fn draw(rng: &mut Rng, world: &World) -> Step {
    let (at, key) = (rng.usize(..world.instances.len()), rng.usize(..world.keys.len()));
    // Mostly in order, as an idempotent producer delivers; now and then not.
    let copy = if rng.u32(..100) < 80 { 0 } else { rng.usize(..world.wire.len().max(1)) };
    match rng.u32(..1000) {
        0..150 => Step::Read { at, key },
        150..190 => {
            let view = world.views.len().saturating_sub(rng.usize(1..=5));
            Step::Name { at, view, takes_any: rng.bool(), tells: rng.bool() }
        }
        190..240 => Step::Retry { at, append: rng.usize(..world.appends.len().max(1)) },
        240..260 => {
            let view = world.views.len().saturating_sub(rng.usize(1..=5));
            Step::Redeliver { at, append: rng.usize(..world.appends.len().max(1)), view }
        }
        260..370 => {
            // A client rests on something it read lately, and mostly stays with its instance.
            let view = world.views.len().saturating_sub(rng.usize(1..=5));
            let count = *rng.choice(&[1, 1, 1, 2, 2, 3]).expect("not empty");
            let taken = if rng.u32(..100) < 94 { count } else { rng.u32(..=count) };
            Step::Append { at, view, count, taken }
        }
        370..540 => Step::Deliver { copy, again: rng.u32(..100) < 12 },
        540..555 => Step::Drop { copy, known: rng.bool() },
        555..590 => Step::TimeOut { copy },
        590..680 => {
            let report = rng.usize(..world.instances[at].reports.len().max(1));
            let manner = match rng.u32(..100) {
                0..40 => Manner::Fast,
                40..75 => Manner::Plain,
                75..83 => Manner::WithoutOffset,
                83..96 => Manner::AsUnknown,
                _ => Manner::Lost,
            };
            Step::Report { at, report, manner }
        }
        680..860 => Step::Apply { at, records_max: *rng.choice(&[1, 1, 1, 2, 4]).expect("not empty") },
        860..880 => Step::Ask { at },
        880..900 => Step::Learn { at },
        900..925 => Step::Tick { at },
        925..935 => Step::Wait { ms: *rng.choice(&[100, 5_000, 15_000]).expect("not empty") },
        935..955 => Step::Store { at },
        955..957 => Step::FallBack { at },
        957..960 => Step::ReadAgain { at },
        960..968 => Step::Restart { at, orderly: rng.bool(), resumed: rng.u32(..3) > 0 },
        968..973 => Step::Renew { at },
        973..984 => Step::Foreign { key },
        984..990 => Step::Forward { record: rng.usize(..world.log.records.len().max(1)), key },
        // A hole of 100,000 expires a batch, one of 1,000,000 has an incarnation forgotten.
        _ => Step::Hole {
            offsets: match rng.u32(..12) {
                0..2 => 100_000,
                2 => 999_999,
                3 => 1_000_000,
                _ => rng.u64(1..4),
            },
        },
    }
}

impl Tally {
    pub fn count(&mut self, world: &World) {
        self.runs += 1;
        self.steps += world.steps.len() as u64;
        self.records += world.log.records.len() as u64;
        self.losses += u64::from(!world.lost.is_empty());
        self.rebuilds += world.rebuilds;
        self.found += world.found;
        self.used += world.used;
        self.not_found += world.not_found;
        for append in &world.appends {
            let batch = append.values.len() > 1;
            let events = |key| world.instances[0].histories.get(key);
            let stored = events(&append.key).is_some_and(|events| events.contains(&append.values[0]));
            match append.answer {
                Some(Answer::Success) => {
                    self.success += 1;
                    self.success_batches += u64::from(batch);
                }
                Some(Answer::Conflict { .. }) => self.conflicts += 1,
                Some(Answer::NotStored) => self.not_stored += 1,
                Some(Answer::Unknown) => {
                    self.unknown += 1;
                    self.unknown_and_stored += u64::from(stored);
                }
                None => {}
            }
        }
    }
}
