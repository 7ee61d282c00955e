//! The audit: passes over the topic, after each of them the instance, and at last what differs.

use crate::compare::{Comparison, Suspect};
use crate::detail::DetailPass;
use crate::event_view::EventHasher;
use crate::instance::Judged;
use crate::limits::{EXTRAS_BYTES_MAX, WINDOW_BYTES};
use crate::options::{AuditError, Instance, Options, Progress};
use crate::report::{PartitionReport, Report};
use crate::tally_pass::{ByOrder, Part, Shared, TallyPass};
use crate::topic::{Span, Topic};
use bkes_consumer::{KeyHasher, KeyTable};
use bkes_log::Log;

/// Reads the topic through the accept rule, from where its log begins to the stable end as it is now, and says what it holds. With an
/// instance, compares every event that the instance shows of it. What is written meanwhile is not judged.
///
/// It shares the pure rule with the instance and nothing else. It blocks its thread, on the log and on the instance.
pub fn audit(
    log: &dyn Log,
    instance: Option<Instance<'_>>,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, AuditError> {
    let mut topic = Topic::open(log, options)?;
    let mut reports: Vec<PartitionReport> =
        topic.spans.iter().map(|span| PartitionReport::new(span.partition, span.begin, span.end)).collect();
    let mut by_order = vec![ByOrder::default(); reports.len()];
    let mut shared = Shared { keys: KeyHasher::default(), events: EventHasher::default(), progress };
    let (mut todo, mut passes) = (vec![Part::ALL], 0);
    let (mut aggregates, mut split) = (0, 0);
    let mut comparison = None;
    while let Some(part) = todo.pop() {
        passes += 1;
        let mut pass = TallyPass {
            shared: &mut shared,
            table: KeyTable::new(options.memory_bytes_max),
            part,
            todo: &mut todo,
            reports: &mut reports,
            by_order: &mut by_order,
            number: passes,
            memory_bytes_max: options.memory_bytes_max,
        };
        topic.read(&mut pass)?;
        let counted = pass.settle();
        (aggregates, split) = (aggregates + counted.0, split + counted.1);
        let TallyPass { mut table, part, .. } = pass;
        if let Some(instance) = instance {
            // The first pass tells where a newer format ends a partition.
            let new = || Comparison::new(Judged::new(instance, &topic, options), options);
            comparison.get_or_insert_with(new).compare(part, &mut table, &mut shared)?;
        }
    }
    for ((report, by_order), span) in reports.iter_mut().zip(by_order).zip(&topic.spans) {
        settle(report, by_order, span);
    }
    if let Some(comparison) = &mut comparison {
        detail(&mut topic, comparison, &mut shared, options)?;
    }
    topic.check_identity()?;
    let compared = comparison.map(|comparison| comparison.compared);
    Ok(Report { identity: topic.identity, partitions: reports, aggregates, split, passes, compared })
}

/// What follows from what was counted.
fn settle(report: &mut PartitionReport, by_order: ByOrder, span: &Span) {
    report.end = span.end;
    report.newer_format = span.newer_format;
    report.undecided = span.undecided.len() as u64;
    let accepted = report.events - report.foreign;
    report.void.order_taken = by_order.records - accepted;
    report.records = report.events + report.void.total() + report.skipped + report.undecided;
    assert_eq!(Some(report.records), span.records(), "every record is one of these");
}

/// Compares the aggregates that differ event by event, as many in a pass as their windows have room.
fn detail(
    topic: &mut Topic<'_>,
    comparison: &mut Comparison<'_>,
    shared: &mut Shared<'_>,
    options: &Options,
) -> Result<(), AuditError> {
    let together = (options.memory_bytes_max / (WINDOW_BYTES + EXTRAS_BYTES_MAX)).max(1);
    while !comparison.suspects.is_empty() {
        let now = comparison.suspects.len().min(together);
        let suspects: Vec<Suspect> = comparison.suspects.drain(..now).collect();
        let left = comparison.suspects.len();
        let Comparison { judged, compared, .. } = comparison;
        let mut pass = DetailPass::new(shared, judged, &mut compared.findings, suspects, left);
        topic.read(&mut pass)?;
        pass.finish()?;
    }
    Ok(())
}
