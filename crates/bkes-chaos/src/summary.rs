//! What came of a run, for people, and the verdict.

use crate::RunArgs;
use crate::coverage::{Coverage, Deed};
use crate::faults::Fault;
use crate::memory::Peak;
use crate::nemesis::Arena;
use bkes_check::{AppendOutcome, FollowedItem, History, Operation, ReadOutcome, Violation};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

/// From this long on, every kind of fault must have happened.
const EVERY_FAULT_SECONDS: u64 = 120;

/// Most findings shown; the file has all.
const SHOWN_MAX: usize = 20;

/// The end of a run.
pub struct Ended {
    /// What was recorded.
    pub history: History,
    /// What the checker says.
    pub violations: Vec<Violation>,
    /// How long the slowest instance took to show everything.
    pub ready_after: Duration,
    /// How long the checker took.
    pub checked_in: Duration,
    /// The most memory that each instance took.
    pub memory: Vec<Peak>,
    /// What clients of the second contract did.
    pub coverage: Arc<Coverage>,
}

/// Prints everything and says whether the run passed.
pub fn print(args: &RunArgs, arena: &Arc<Arena>, ended: Ended) -> anyhow::Result<bool> {
    let Ended { history, violations, ready_after, checked_in, memory, coverage } = ended;
    let mut findings = arena.diary.take_findings();
    println!("\nfaults");
    for fault in Fault::groups(args.nodes()).into_iter().flatten() {
        let times = arena.diary.times(*fault);
        println!("{times:>9}  {fault}");
        let skipped = *fault == Fault::DiskFull && arena.disk.is_err();
        if times == 0 && args.seconds >= EVERY_FAULT_SECONDS && !skipped {
            findings.push(format!("\"{fault}\" never happened"));
        }
    }
    if let Err(why) = &arena.disk {
        println!("           a full disk is skipped: no small file system can be mounted here ({why})");
    }
    let counts = counts(&history);
    println!("calls");
    for (outcome, count) in &counts {
        println!("{count:>9}  {outcome}");
    }
    println!("deeds of clients of the second contract");
    for deed in Deed::ALL {
        let times = coverage.times(deed);
        println!("{times:>9}  {deed}");
        if times == 0 && args.seconds >= EVERY_FAULT_SECONDS {
            findings.push(format!("\"{deed}\" never happened"));
        }
    }
    let shown =
        history.follows.iter().flat_map(|follower| &follower.streams).flat_map(|stream| &stream.items);
    let events = shown.filter_map(|item| match item {
        FollowedItem::Events(events) => Some(events.len()),
        _ => None,
    });
    println!("{:>9}  events shown to followers", events.sum::<usize>());
    println!("memory, the most of any life");
    for peak in &memory {
        println!("{peak}");
        findings.extend(peak.finding());
    }
    if counts.get("append acknowledged").is_none_or(|count| *count == 0) {
        findings.push("not one append was acknowledged".to_owned());
    }
    let events: usize = history.log.len();
    println!("the topic holds {events} records; the slowest instance was ready after {ready_after:.1?}");
    println!("checked in {checked_in:.1?}");
    findings.extend(violations.iter().map(Violation::to_string));
    for finding in findings.iter().take(SHOWN_MAX) {
        println!("FOUND {finding}");
    }
    if findings.is_empty() {
        println!("0 findings");
        return Ok(true);
    }
    let path = args.folder.join("history.txt");
    let mut file = BufWriter::new(File::create(&path)?);
    for finding in &findings {
        writeln!(file, "FOUND {finding}")?;
    }
    write!(file, "{history}")?;
    file.flush()?;
    println!(
        "{} findings; history: {}; what happened when: diary.txt beside it",
        findings.len(),
        path.display()
    );
    Ok(false)
}

fn counts(history: &History) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for call in &history.calls {
        let outcome = match &call.operation {
            Operation::Append(append) => match append.outcome {
                AppendOutcome::Acknowledged { .. } if append.values.len() > 1 => {
                    "append acknowledged, a batch"
                }
                AppendOutcome::Acknowledged { .. } => "append acknowledged",
                AppendOutcome::Rejected { .. }
                | AppendOutcome::IdReused { .. }
                | AppendOutcome::IdUsed { .. } => "append rejected",
                AppendOutcome::Unavailable => "append unavailable",
                AppendOutcome::Unknown | AppendOutcome::IdWindow => "append unknown",
                AppendOutcome::Unanswered => "append unanswered",
            },
            Operation::Read(read) => match read.outcome {
                ReadOutcome::Events { .. } => "read",
                ReadOutcome::NoSuchAggregate => "read: no such aggregate",
                ReadOutcome::OutOfRange => "read out of range",
                ReadOutcome::Unavailable => "read unavailable",
                ReadOutcome::Unanswered => "read unanswered",
            },
        };
        *counts.entry(outcome).or_default() += 1;
    }
    counts
}
