//! Random runs: a seed is a run.

use crate::verdict::broken_promise;
use crate::world::{Answer, Bug, Manner, Step, World};
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
}

/// Runs a seed to its end; the broken promise, if any, is in the world.
pub fn run(seed: u64, bug: Option<Bug>) -> World {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(rng.usize(1..=3), rng.usize(1..=3), bug);
    for _ in 0..rng.usize(20..=140) {
        let step = draw(&mut rng, &world);
        world.take(step);
        if world.violation.is_some() {
            return world;
        }
    }
    world.finish();
    let cut = rng.usize(0..=world.log.len());
    if world.violation.is_none() {
        world.violation = broken_promise(&world, cut);
    }
    world
}

fn draw(rng: &mut Rng, world: &World) -> Step {
    let (at, key) = (rng.usize(..world.instances.len()), rng.usize(..world.keys.len()));
    // Mostly in order, as an idempotent producer delivers; now and then not.
    let copy = if rng.u32(..100) < 80 { 0 } else { rng.usize(..world.wire.len().max(1)) };
    match rng.u32(..1000) {
        0..150 => Step::Read { at, key },
        150..370 => {
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
        680..860 => Step::Apply { at },
        860..880 => Step::Ask { at },
        880..900 => Step::Learn { at },
        900..925 => Step::Tick { at },
        925..935 => Step::Wait { ms: *rng.choice(&[100, 5_000, 15_000]).expect("not empty") },
        935..955 => Step::Store { at },
        955..968 => Step::Restart { at, orderly: rng.bool(), resumed: rng.u32(..3) > 0 },
        968..973 => Step::Renew { at },
        973..984 => Step::Foreign { key },
        984..990 => Step::Forward { record: rng.usize(..world.log.len().max(1)), key },
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
        self.records += world.log.len() as u64;
        for append in &world.appends {
            let batch = append.values.len() > 1;
            let events = |key| world.instances[0].fold.histories.get(key);
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
