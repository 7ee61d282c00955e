//! Promises 8 and 10: an instance that was waited for has applied what lies below the positions, and shows it from then on.

use crate::history::{CallId, InstanceId, Operation, WaitCall, WaitOutcome};
use crate::index::Index;
use crate::reads::{may_lie_above, missing_below};
use crate::violation::Violation;
use bkes_core::{Offset, Partition, Position};
use std::collections::BTreeMap;

/// Walks over the answers of each instance, and over what was read there later.
pub fn check(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut reached: BTreeMap<InstanceId, Vec<(u64, usize)>> = BTreeMap::new();
    for (number, wait) in index.history.waits.iter().enumerate() {
        let WaitCall { instance, end, positions, outcome, .. } = wait;
        match (outcome, end) {
            (WaitOutcome::Reached, Some(end)) => reached.entry(*instance).or_default().push((*end, number)),
            (WaitOutcome::OutOfRange, _) if !may_lie_above(index, positions) => {
                found.push(Violation::WaitDenied { wait: number, positions: positions.clone() });
            }
            _ => {}
        }
    }
    for (instance, mut reached) in reached {
        reached.sort_unstable();
        check_instance(index, instance, &reached, found);
    }
}

/// Every read on an instance shows what was reached there before it began.
fn check_instance(
    index: &Index<'_>,
    instance: InstanceId,
    reached: &[(u64, usize)],
    found: &mut Vec<Violation>,
) {
    let here = index.calls().filter(|(_, call)| call.instance == instance);
    let mut reads: Vec<(u64, CallId)> = here.map(|(id, call)| (call.begin, id)).collect();
    reads.sort_unstable();
    let mut reached = reached.iter().peekable();
    // Of each partition the farthest position, and who waited for it.
    let mut farthest: BTreeMap<Partition, (Position, usize)> = BTreeMap::new();
    for (begin, id) in reads {
        while let Some((_, number)) = reached.next_if(|(end, _)| *end < begin) {
            let WaitCall { begin, positions, .. } = &index.history.waits[*number];
            // Where the log lost its end, a position above that is one of another log.
            let holds = |(partition, position): &&(Partition, Position)| {
                !index.is_excused(*partition, Offset(position.0.saturating_sub(1)), *begin)
            };
            for (partition, position) in positions.iter().filter(holds) {
                let before = farthest.entry(*partition).or_insert((*position, *number));
                *before = (*before).max((*position, *number));
            }
        }
        let call = &index.history.calls[id.0];
        let Operation::Read(read) = &call.operation else { continue };
        let positions = farthest.iter().map(|(partition, (position, _))| (*partition, *position));
        if let Some((position, event)) = missing_below(index, (call, read), positions) {
            let wait = farthest[&position.0].1;
            let (key, event) = (call.key.clone(), event.clone());
            found.push(Violation::WaitedNotShown { call: id, wait, key, position, event });
        }
    }
}
