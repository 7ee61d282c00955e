//! What people are shown: a failing run at its smallest, and what happened how often.

use bkes_sim::{ANSWERS, Coverage, FOLLOWING, Fault, Plan, StoreKind, TRIES, WAITING, run, shrink};

/// Seeds in which everything must have happened.
pub const SEEDS_FOR_ALL: u64 = 2_000;

/// The most lines of a history that are shown.
const LINES_MAX: usize = 400;

/// Shows a failing run: what is wrong, its history, and the command that replays it, all of the smallest that fails.
pub fn failure(plan: &Plan, is_plain: bool) {
    let smallest = shrink(plan);
    let run = run(&smallest, true);
    println!("== seed {} fails ({}, topic {:?}, store {:?})", plan.seed, plan.mode, plan.topic, plan.store);
    let skipped = run.tape.len().saturating_sub(LINES_MAX);
    if skipped > 0 {
        println!("   .. {skipped} lines before");
    }
    for line in &run.tape[skipped..] {
        println!("{line}");
    }
    for finding in run.findings.iter().take(10) {
        println!("!! {finding}");
    }
    if run.findings.len() > 10 {
        println!("!! and {} more", run.findings.len() - 10);
    }
    if is_plain {
        println!("== the whole run:    cargo xtask sim --seeds 1 --seed {}", plan.seed);
    }
    println!("== the smallest run: cargo xtask sim {}", command(&smallest));
}

/// Shows a run in which nothing may be wrong.
pub fn tape(plan: &Plan) {
    for line in run(plan, true).tape {
        println!("{line}");
    }
}

fn command(plan: &Plan) -> String {
    let Plan { seed, mode, instances, clients, keys, partitions, owners, calls, followers, waits, .. } = plan;
    let mut command = format!(
        "--seeds 1 --seed {seed} --mode {mode} --instances {instances} --clients {clients} --keys {keys} \
         --partitions {partitions} --owners {owners} --calls {calls} --followers {followers} --waits {waits}"
    );
    let before = Plan::of(*seed);
    if before.store != plan.store && plan.store == StoreKind::Memory {
        command.push_str(" --memory");
    }
    let off: Vec<&str> = before.faults.iter().filter(|fault| !plan.may(*fault)).map(Fault::name).collect();
    if !off.is_empty() {
        command.push_str(" --without ");
        command.push_str(&off.join(","));
    }
    command
}

/// Shows how often everything happened.
pub fn coverage(coverage: &Coverage) {
    println!("faults, how often each happened:");
    columns(Fault::ALL.iter().map(|fault| (fault.name(), coverage.faults.get(fault).copied().unwrap_or(0))));
    println!("answers, how often each was given:");
    columns(ANSWERS.iter().map(|answer| (*answer, coverage.answers.get(answer).copied().unwrap_or(0))));
    println!("tries of appends with ids, how often each was made:");
    columns(TRIES.iter().map(|how| (*how, coverage.tries.get(how).copied().unwrap_or(0))));
    println!("followers, how often they met each:");
    columns(FOLLOWING.iter().map(|what| (*what, coverage.follows.get(what).copied().unwrap_or(0))));
    println!("waits for positions, how often they ended so:");
    columns(WAITING.iter().map(|how| (*how, coverage.waits.get(how).copied().unwrap_or(0))));
}

fn columns(rows: impl Iterator<Item = (&'static str, u64)>) {
    let cells: Vec<String> = rows.map(|(name, count)| format!("{count:>9} {name:<24}")).collect();
    for line in cells.chunks(3) {
        println!("{}", line.concat().trim_end());
    }
}

/// Everything that never happened.
pub fn missing(coverage: &Coverage) -> Vec<&'static str> {
    let faults =
        Fault::ALL.iter().filter(|fault| !coverage.faults.contains_key(fault)).map(|fault| fault.name());
    let answers = ANSWERS.iter().filter(|answer| !coverage.answers.contains_key(*answer)).copied();
    let tries = TRIES.iter().filter(|how| !coverage.tries.contains_key(*how)).copied();
    let follows = FOLLOWING.iter().filter(|what| !coverage.follows.contains_key(*what)).copied();
    let waits = WAITING.iter().filter(|how| !coverage.waits.contains_key(*how)).copied();
    faults.chain(answers).chain(tries).chain(follows).chain(waits).collect()
}
