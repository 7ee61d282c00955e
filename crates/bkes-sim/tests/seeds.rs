//! A small number of seeds, and what makes the large number worth something: the same seed is the same run, and what fails is
//! seen. `cargo xtask sim` runs thousands with optimisations.

use bkes_sim::{Fault, Mode, Plan, StoreKind, run};

fn seeds() -> u64 {
    std::env::var("BKES_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(150)
}

#[test]
fn no_promise_is_broken_in_the_first_seeds() {
    for seed in 0..seeds() {
        let ran = run(&Plan::of(seed), false);
        let found: Vec<String> = ran.findings.iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "cargo xtask sim --seeds 1 --seed {seed}: {}", found.join("\n"));
    }
}

#[test]
fn a_seed_gives_the_same_run_byte_for_byte() {
    let of_redb = (0..).filter(|seed| Plan::of(*seed).store == StoreKind::Redb).take(5);
    for seed in (0..40).chain(of_redb) {
        let (one, other) = (run(&Plan::of(seed), true), run(&Plan::of(seed), true));
        assert!(!one.tape.is_empty());
        assert_eq!(one.tape, other.tape, "seed {seed}");
        assert_eq!(one.history, other.history, "seed {seed}");
        assert_eq!(one.coverage, other.coverage, "seed {seed}");
    }
}

#[test]
fn a_tape_changes_nothing() {
    for seed in 0..10 {
        let (one, other) = (run(&Plan::of(seed), true), run(&Plan::of(seed), false));
        assert_eq!(one.history, other.history, "seed {seed}");
        assert!(other.tape.is_empty());
    }
}

#[test]
fn both_modes_both_stores_and_every_fault_are_drawn() {
    let plans: Vec<Plan> = (0..300).map(Plan::of).collect();
    for mode in [Mode::Safety, Mode::Liveness] {
        assert!(plans.iter().any(|plan| plan.mode == mode), "{mode}");
    }
    for store in [StoreKind::Memory, StoreKind::Redb] {
        assert!(plans.iter().any(|plan| plan.store == store), "{store:?}");
    }
    for fault in Fault::ALL {
        assert!(plans.iter().any(|plan| plan.may(*fault)), "{fault}");
        assert!(plans.iter().any(|plan| !plan.may(*fault)), "{fault}");
    }
    assert!(plans.iter().any(|plan| plan.instances == 4) && plans.iter().any(|plan| plan.instances == 1));
}

#[test]
fn followers_and_those_who_wait_are_met_in_a_third_of_the_runs_each() {
    let plans: Vec<Plan> = (0..300).map(Plan::of).collect();
    let follow = |plan: &&Plan| plan.followers > 0;
    assert_eq!(plans.iter().filter(follow).count(), 100);
    assert_eq!(plans.iter().filter(|plan| plan.waits).count(), 100);
    for plan in plans.iter().filter(follow).take(10) {
        let (ran, alone) = (run(plan, false), run(&Plan { followers: 0, ..plan.clone() }, false));
        assert_eq!(ran.history.follows.len(), plan.followers as usize, "seed {}", plan.seed);
        assert!(ran.history.follows.iter().any(|follower| !follower.streams.is_empty()));
        assert!(ran.coverage.follows.contains_key("events"), "seed {}", plan.seed);
        assert!(alone.history.follows.is_empty() && alone.coverage.follows.is_empty());
    }
}

/// In this seed a fold began anew between the look at the log and the place from which on was followed, so what had been told before was
/// shown as new.
#[test]
fn a_fold_that_begins_anew_is_not_followed_from_where_it_is_now() {
    let plan = Plan::of(721_675);
    assert!(plan.followers > 0);
    assert_eq!(run(&plan, false).findings, []);
}

/// In this seed a follower missed an event: reading failed in one partition, and in another one the end counted though what lay before it
/// had been left out.
#[test]
fn a_reader_that_fails_in_one_partition_hides_nothing_of_another() {
    let plan = Plan::of(4_234);
    assert!(plan.followers > 0);
    assert_eq!(run(&plan, false).findings, []);
}

#[test]
fn a_fault_that_is_switched_off_does_not_happen() {
    for seed in 0..40 {
        let mut plan = Plan::of(seed);
        plan.faults = plan.faults.without(Fault::Kill).without(Fault::Interleaved).without(Fault::Delayed);
        let coverage = run(&plan, false).coverage;
        assert!(!coverage.faults.contains_key(&Fault::Kill), "seed {seed}");
        assert!(!coverage.faults.contains_key(&Fault::Interleaved), "seed {seed}");
    }
}
