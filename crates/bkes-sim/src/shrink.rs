//! The smallest run that still fails in the same way: whatever can be taken away is.

use crate::faults::Fault;
use crate::plan::{Plan, StoreKind};
use crate::{Finding, Run, run};
use std::mem::discriminant;

/// Runs that a search for the smallest plan may take.
const RUNS_MAX: u32 = 600;

/// Takes away what the failure does not need. The plan must fail.
pub fn shrink(plan: &Plan) -> Plan {
    let first = run(plan, false);
    let Some(wanted) = first.findings.first().map(kind) else { return plan.clone() };
    let (mut smallest, mut runs) = (plan.clone(), 0);
    loop {
        let better = smaller(&smallest).into_iter().find(|candidate| {
            runs += 1;
            runs < RUNS_MAX && fails(&run(candidate, false), wanted)
        });
        match better {
            Some(better) => smallest = better,
            None => return smallest,
        }
    }
}

type Kind = (std::mem::Discriminant<Finding>, Option<bkes_check::Promise>);

fn kind(finding: &Finding) -> Kind {
    let promise = match finding {
        Finding::Broken(violation) => Some(violation.promise()),
        _ => None,
    };
    (discriminant(finding), promise)
}

fn fails(run: &Run, wanted: Kind) -> bool {
    run.findings.iter().any(|finding| kind(finding) == wanted)
}

/// Everything that is one step smaller, the largest steps first.
fn smaller(plan: &Plan) -> Vec<Plan> {
    let mut candidates = Vec::new();
    let mut offer = |candidate: Plan| {
        if candidate != *plan {
            candidates.push(candidate);
        }
    };
    for calls in [plan.calls / 2, plan.calls * 3 / 4, plan.calls.saturating_sub(1)] {
        offer(Plan { calls: calls.max(1), ..plan.clone() });
    }
    offer(Plan { instances: (plan.instances - 1).max(1), ..plan.clone() });
    offer(Plan { clients: (plan.clients - 1).max(1), ..plan.clone() });
    offer(Plan { keys: (plan.keys - 1).max(1), ..plan.clone() });
    offer(Plan { partitions: (plan.partitions - 1).max(1), ..plan.clone() });
    offer(Plan { waits: false, ..plan.clone() });
    offer(Plan { followers: plan.followers.saturating_sub(1), ..plan.clone() });
    offer(Plan { owners: (plan.owners - 1).max(1), ..plan.clone() });
    offer(Plan { store: StoreKind::Memory, ..plan.clone() });
    for fault in Fault::ALL {
        offer(Plan { faults: plan.faults.without(*fault), ..plan.clone() });
    }
    candidates
}
