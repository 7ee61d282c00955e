//! Instruction counts of the hot paths, by callgrind, against a budget that is committed: crates/bkes-instructions/budget.toml.
//!
//! `bkes-instructions` runs each path with two numbers of operations; the difference of the two totals, divided by the
//! difference of the numbers, is what one operation takes. What changes it is the code, the compiler and the C library; of
//! the paths that have threads, also how busy the machine is.

use super::{succeeds, target};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

const BUDGET: &str = "crates/bkes-instructions/budget.toml";

const HEAD: &str = "# Instructions of one operation on each hot path, as `cargo xtask bench --instructions --write-budget` counted them, and by
# how many percent a count may pass its budget before the check fails: `cargo xtask bench --instructions` counts anew.
# Threads meet in another order each time, so the paths through the engine have more room.
";

/// What a path may take.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    instructions: f64,
    tolerance_percent: f64,
}

impl Limit {
    fn most(&self) -> f64 {
        self.instructions * (1.0 + self.tolerance_percent / 100.0)
    }
}

/// Paths that are not in the budget yet, and what they may then vary by.
fn usual_tolerance(name: &str) -> f64 {
    if name.contains("engine") || name.contains("catch-up") { 15.0 } else { 5.0 }
}

/// Counts the paths named, or all; prints a table; fails when one takes more than it may.
pub fn run(root: &Path, names: &[String], write_budget: bool) -> anyhow::Result<()> {
    let version = Command::new("valgrind").arg("--version").output();
    version
        .context("valgrind is missing: instructions are counted with it (Debian's package is valgrind)")?;
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--locked", "-p", "bkes-instructions"]).current_dir(root);
    succeeds(build)?;
    let program = target(root).join("release/bkes-instructions");
    let path = root.join(BUDGET);
    let budget = std::fs::read_to_string(&path).unwrap_or_default();
    let mut budget = read_budget(&budget).with_context(|| BUDGET)?;
    let mut counted = Vec::new();
    println!("{:<40} {:>12} {:>12} {:>8}", "path", "instructions", "budget", "change");
    for (name, few, many) in paths(&program)? {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        let limit = budget.get(&name);
        let one = lowest(limit, || {
            let totals = (total(&program, &name, few)?, total(&program, &name, many)?);
            Ok((totals.1 as f64 - totals.0 as f64) / (many - few) as f64)
        })?;
        println!("{}", row(&name, one, limit));
        counted.push((name, one));
    }
    anyhow::ensure!(!counted.is_empty(), "there is no path with such a name");
    if write_budget {
        for (name, instructions) in counted {
            let tolerance_percent =
                budget.get(&name).map_or(usual_tolerance(&name), |limit| limit.tolerance_percent);
            budget.insert(name, Limit { instructions, tolerance_percent });
        }
        std::fs::write(&path, show_budget(&budget))?;
        println!("{BUDGET} is written");
        return Ok(());
    }
    let complaints = complaints(&counted, &budget, names.is_empty());
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if !complaints.is_empty() {
        bail!(
            "{} paths are not within their budget (--write-budget makes the counts the budget)",
            complaints.len()
        );
    }
    Ok(())
}

/// Counts once more, twice at most, while the limit is passed. Threads that are woken for little, which a busy machine makes
/// them, only ever add to a count: what the code itself needs is in each.
fn lowest(limit: Option<&Limit>, mut count: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let mut one = count()?;
    for _ in 0..2 {
        if limit.is_none_or(|limit| one <= limit.most()) {
            break;
        }
        one = one.min(count()?);
    }
    Ok(one)
}

/// The paths there are, with their two numbers of operations.
fn paths(program: &Path) -> anyhow::Result<Vec<(String, u64, u64)>> {
    let output = Command::new(program).arg("list").output().context("bkes-instructions cannot be run")?;
    let text = String::from_utf8(output.stdout)?;
    let line = |line: &str| -> anyhow::Result<(String, u64, u64)> {
        let [name, few, many] = line.split(' ').collect::<Vec<_>>()[..] else { bail!("not a path: {line}") };
        Ok((name.to_owned(), few.parse()?, many.parse()?))
    };
    text.lines().map(line).collect()
}

/// All instructions of a run.
fn total(program: &Path, name: &str, count: u64) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--fair-sched=try", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([name, &count.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name} failed: {said}");
    }
    collected(&said).with_context(|| format!("callgrind did not say what it collected: {said}"))
}

/// What callgrind says that it collected.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

fn row(name: &str, one: f64, limit: Option<&Limit>) -> String {
    let known = limit.map(|limit| {
        let change = (one / limit.instructions - 1.0) * 100.0;
        (format!("{:.0}", limit.instructions), format!("{change:+.1} %"))
    });
    let (budget, change) = known.unwrap_or_else(|| ("-".into(), "new".into()));
    format!("{name:<40} {one:>12.0} {budget:>12} {change:>8}")
}

/// Paths that pass their budget or have none, and budgets without a path.
fn complaints(counted: &[(String, f64)], budget: &BTreeMap<String, Limit>, all: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, one) in counted {
        match budget.get(name) {
            None => complaints.push(format!("{name} has no budget")),
            Some(limit) if *one > limit.most() => {
                let most = limit.most();
                complaints.push(format!("{name} takes {one:.0} instructions, {most:.0} are the most"));
            }
            Some(_) => {}
        }
    }
    if all {
        let is_gone = |name: &&String| counted.iter().all(|(known, _)| known != *name);
        let gone = budget.keys().filter(is_gone).map(|name| format!("{name} has a budget and is no path"));
        complaints.extend(gone);
    }
    complaints
}

/// The budget: lines of the form `name = { instructions = N, tolerance_percent = N }`.
fn read_budget(text: &str) -> anyhow::Result<BTreeMap<String, Limit>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let line = |line: &str| {
        let parts = || {
            let (name, rest) = line.split_once(" = { instructions = ")?;
            let (instructions, rest) = rest.split_once(", tolerance_percent = ")?;
            let tolerance_percent = rest.strip_suffix(" }")?.parse().ok()?;
            Some((name.to_owned(), Limit { instructions: instructions.parse().ok()?, tolerance_percent }))
        };
        parts().with_context(|| format!("not a budget: {line}"))
    };
    lines.map(line).collect()
}

fn show_budget(budget: &BTreeMap<String, Limit>) -> String {
    let mut out = String::from(HEAD);
    for (name, Limit { instructions, tolerance_percent }) in budget {
        writeln!(
            out,
            "{name} = {{ instructions = {instructions:.0}, tolerance_percent = {tolerance_percent} }}"
        )
        .expect("writing to a string cannot fail");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(entries: &[(&str, f64)]) -> BTreeMap<String, Limit> {
        let entry = |(name, instructions): &(&str, f64)| {
            ((*name).to_owned(), Limit { instructions: *instructions, tolerance_percent: 5.0 })
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn a_path_may_pass_its_budget_by_its_tolerance_only() {
        let budget = budget(&[("a", 100.0), ("b", 100.0)]);
        let counted = |a: f64, b: f64| [("a".to_owned(), a), ("b".to_owned(), b)];
        assert_eq!(complaints(&counted(104.0, 10.0), &budget, true), Vec::<String>::new());
        assert_eq!(
            complaints(&counted(106.0, 100.0), &budget, true),
            ["a takes 106 instructions, 105 are the most"]
        );
    }

    #[test]
    fn a_path_is_counted_again_only_while_it_passes_its_budget() {
        let limit = Limit { instructions: 100.0, tolerance_percent: 5.0 };
        let count = |limit: Option<&Limit>, counts: [f64; 4]| {
            let mut counts = counts.into_iter();
            let one =
                lowest(limit, || Ok(counts.next().expect("counted thrice at most"))).expect("it counts");
            (one, counts.len())
        };
        assert_eq!(count(Some(&limit), [105.0, 1.0, 1.0, 1.0]), (105.0, 3));
        assert_eq!(count(Some(&limit), [120.0, 104.0, 1.0, 1.0]), (104.0, 2));
        assert_eq!(count(Some(&limit), [120.0, 110.0, 130.0, 1.0]), (110.0, 1), "it still passes it");
        assert_eq!(count(None, [120.0, 1.0, 1.0, 1.0]), (120.0, 3));
    }

    #[test]
    fn paths_and_budgets_belong_together() {
        let counted = [("new".to_owned(), 1.0)];
        let budget = budget(&[("old", 1.0)]);
        assert_eq!(
            complaints(&counted, &budget, true),
            ["new has no budget", "old has a budget and is no path"]
        );
        assert_eq!(complaints(&counted, &budget, false), ["new has no budget"]);
    }

    #[test]
    fn the_budget_is_read_back_and_the_committed_one_is_one() {
        let budget = budget(&[("a-b", 1234.0), ("c", 5.0)]);
        assert_eq!(read_budget(&show_budget(&budget)).expect("just written"), budget);
        read_budget("a = 5").expect_err("no limit");
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(BUDGET);
        let committed = std::fs::read_to_string(committed).expect("it is committed");
        assert!(!read_budget(&committed).expect("it is a budget").is_empty());
    }

    #[test]
    fn what_callgrind_collected_is_found() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 112233\n"), Some(112_233));
        assert_eq!(collected("==7== nothing\n"), None);
    }
}
