//! A model of the promises: the partition machine, hosted as the engine hosts it, in a small simulated world of one partition.
//!
//! Writers, clients, the wire and the log of the world do what the real ones may do at worst: copies are late, doubled,
//! reordered and lost, reports too, instances crash and start again, and a log may lose its end. After each run the history is compared with what
//! clients were told. Broken variants of the host and of the rule must be caught, so that the comparison is known to bite.
//!
//! Small worlds are enumerated, larger ones drawn by seed. A failure names its seed. `BKES_MODEL_SEED=7 cargo test -p bkes-core --test model one_seed -- --nocapture` shows that run.

#[path = "model/exhaustive.rs"]
mod exhaustive;
#[path = "model/fold.rs"]
mod fold;
#[path = "model/host.rs"]
mod host;
#[path = "model/log.rs"]
mod log;
#[path = "model/random.rs"]
mod random;
#[path = "model/verdict.rs"]
mod verdict;
#[path = "model/world.rs"]
mod world;

use random::{Keeping, Tally, run, run_on};
use std::fmt::Write;
use std::time::Instant;
use world::{Bug, World};

fn story(world: &World) -> String {
    let mut text = String::new();
    for step in &world.steps {
        writeln!(text, "{step:?}").expect("writing to a string cannot fail");
    }
    for record in &world.log.records {
        writeln!(text, "{}", world::describe(record)).expect("writing to a string cannot fail");
    }
    text
}

#[test]
fn what_clients_are_told_is_true_in_random_runs() {
    let (mut tally, began) = (Tally::default(), Instant::now());
    for seed in 0..20_000 {
        let world = run(seed, None);
        if let Some(violation) = &world.violation {
            panic!("seed {seed}: {violation}\n{}", story(&world));
        }
        tally.count(&world);
    }
    println!("{tally:?} in {:?}", began.elapsed());
    let Tally { success, success_batches, conflicts, not_stored, unknown, unknown_and_stored, .. } = tally;
    let Tally { found, used, not_found, .. } = tally;
    let least = [
        success,
        success_batches,
        conflicts,
        not_stored,
        unknown,
        unknown_and_stored,
        found,
        used,
        not_found,
    ];
    assert!(least.into_iter().all(|count| count > 1_000), "the runs no longer try everything: {tally:?}");
}

/// What lay in the end of the log that was lost is excused, and what rested on it; nothing else is. In the end every instance
/// shows what the log holds then.
#[test]
fn what_clients_are_told_is_true_in_random_runs_on_a_log_that_loses_its_end() {
    let (mut tally, began) = (Tally::default(), Instant::now());
    for seed in 0..6_000 {
        let world = run_on(Keeping::NotItsEnd, seed, None);
        if let Some(violation) = &world.violation {
            panic!("seed {seed}: {violation}\n{}", story(&world));
        }
        tally.count(&world);
    }
    println!("{tally:?} in {:?}", began.elapsed());
    let Tally { success, success_batches, conflicts, unknown, losses, rebuilds, .. } = tally;
    let least = [success, success_batches, conflicts, unknown, losses, rebuilds];
    assert!(least.into_iter().all(|count| count > 500), "the runs no longer try everything: {tally:?}");
}

#[test]
fn one_seed_gives_one_run() {
    let seed = std::env::var("BKES_MODEL_SEED").map_or(7, |seed| seed.parse().expect("a seed is a number"));
    let (one, two) = (run(seed, None), run(seed, None));
    println!("{}{:?}", story(&one), one.violation);
    assert_eq!((story(&one), &one.violation), (story(&two), &two.violation));
}

/// The model must find a broken promise within so many seeds.
#[track_caller]
fn caught(bug: Bug, seeds: u64) {
    caught_on(Keeping::Everything, bug, seeds);
}

#[track_caller]
fn caught_on(keeping: Keeping, bug: Bug, seeds: u64) {
    let found = (0..seeds).find_map(|seed| Some((seed, run_on(keeping, seed, Some(bug)).violation?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{bug:?} was not caught in {seeds} seeds"));
    println!("{bug:?}: caught at seed {seed}: {violation}");
}

#[test]
fn answering_on_the_produce_acknowledgement_is_caught() {
    caught(Bug::AnswersOnAcknowledgement, 1_000);
}

#[test]
fn showing_pending_events_is_caught() {
    caught(Bug::ShowsPending, 1_000);
}

#[test]
fn judging_a_sequence_number_twice_is_caught() {
    caught(Bug::JudgesTwice, 1_000);
}

#[test]
fn taking_the_high_watermark_for_not_stored_is_caught() {
    caught(Bug::TakesHighForNotStored, 1_000);
}

#[test]
fn checking_a_successor_against_a_stale_count_is_caught() {
    caught(Bug::ChecksStaleCount, 5_000);
}

#[test]
fn accepting_a_batch_at_its_first_member_is_caught() {
    caught(Bug::AcceptsFirstMember, 1_000);
}

#[test]
fn forgetting_the_undecided_batch_on_restart_is_caught() {
    caught(Bug::ForgetsOpenBatch, 1_000);
}

/// A copy that came a million offsets later was judged anew, since its incarnation was forgotten, and took its order if that was
/// still free, although its append had been answered as not stored.
#[test]
fn ignoring_how_far_a_record_lies_above_its_base_is_caught() {
    caught(Bug::IgnoresBase, 20_000);
}

#[test]
fn believing_a_marker_on_another_record_is_caught() {
    caught(Bug::BelievesForwarded, 1_000);
}

/// Whoever was answered asked another connection for the event, and was not shown it.
#[test]
fn answering_before_the_events_are_shown_is_caught() {
    caught(Bug::AnswersBeforeShowing, 1_000);
}

#[test]
fn forgetting_what_the_step_itself_applied_is_caught() {
    caught(Bug::ForgetsTheStep, 5_000);
}

#[test]
fn handing_over_what_the_appender_did_not_take_is_caught() {
    caught(Bug::SendsTheRest, 1_000);
}

/// A retry was stored a second time, and a command that was carried out was decided anew.
#[test]
fn forgetting_the_ids_of_what_is_stored_is_caught() {
    caught(Bug::ForgetsIds, 1_000);
}

#[test]
fn not_comparing_what_was_applied_unread_is_caught() {
    caught_on(Keeping::NotItsEnd, Bug::DoesNotCompare, 1_000);
}
