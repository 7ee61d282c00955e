//! The report of an audit on the output.

use super::found::Found;
use crate::console::Console;
use crate::escape;
use crate::exit::Ended;
use crate::json_writer::Object;
use crate::show::Shape;
use bkes_audit::{PartitionReport, Report};
use bkes_log::LogIdentity;

/// Shows a report and what was found in it.
pub fn show(report: &Report, all: &[Found], shape: Shape, console: &mut Console<'_>) -> Result<(), Ended> {
    match shape {
        Shape::Table => table(report, all, console),
        Shape::Json => {
            let mut line = json(report, all);
            line.push(b'\n');
            console.write(&line)
        }
    }
}

const COLUMNS: [&str; 12] = [
    "PART",
    "BEGIN",
    "END",
    "RECORDS",
    "EVENTS",
    "FOREIGN",
    "FORWARDED",
    "VOID",
    "NO KEY",
    "WAITING",
    "GAPS",
    "SPLIT",
];

fn row(report: &PartitionReport) -> [u64; 12] {
    let PartitionReport { partition, begin, end, records, events, foreign, forwarded, .. } = report;
    let PartitionReport { void, skipped, undecided, gaps, split, .. } = report;
    let (partition, void) = (u64::from(partition.0), void.total());
    [
        partition, begin.0, end.0, *records, *events, *foreign, *forwarded, void, *skipped, *undecided,
        *gaps, *split,
    ]
}

fn table(report: &Report, all: &[Found], console: &mut Console<'_>) -> Result<(), Ended> {
    let LogIdentity { cluster, topic, topic_id } = &report.identity;
    let (topic, id, cluster) = (escape::text(topic), escape::text(topic_id), escape::text(cluster));
    console.line(format_args!("topic {topic} ({id}) of cluster {cluster}"))?;
    let (aggregates, split, passes) = (report.aggregates, report.split, report.passes);
    console.line(format_args!("{aggregates} aggregates, {split} of them split; read {passes} times"))?;
    console.line("")?;
    let rows: Vec<[String; 12]> =
        report.partitions.iter().map(|one| row(one).map(|n| n.to_string())).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].len()).fold(COLUMNS[column].len(), usize::max);
    let widths: [usize; 12] = std::array::from_fn(width);
    let line = |cells: &[String; 12]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
        padded.collect::<Vec<_>>().join("  ")
    };
    console.line(line(&COLUMNS.map(str::to_owned)))?;
    for row in &rows {
        console.line(line(row))?;
    }
    console.line("")?;
    match &report.compared {
        None => console.line("no server was compared")?,
        Some(compared) => {
            let (aggregates, events, newer) = (compared.aggregates, compared.events, compared.newer);
            let heads = compared.heads;
            console.line(format_args!(
                "compared with the server: {aggregates} aggregates, {heads} heads, {events} events; {newer} newer ones were not \
                 judged"
            ))?;
        }
    }
    if all.is_empty() {
        return console.line("nothing found");
    }
    for found in all {
        console.line(format_args!("{}: {}", found.place(), found.words))?;
    }
    let findings = report.compared.as_ref().map(|compared| &compared.findings);
    let (more, more_aggregates) =
        findings.map_or((0, 0), |findings| (findings.more, findings.more_aggregates));
    if more > 0 {
        console.line(format_args!("and {more} more findings"))?;
    }
    if more_aggregates > 0 {
        console.line(format_args!("and {more_aggregates} more aggregates that differ"))?;
    }
    Ok(())
}

fn json(report: &Report, all: &[Found]) -> Vec<u8> {
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    let LogIdentity { cluster, topic, topic_id } = &report.identity;
    object.text("topic", topic);
    object.text("topic_id", topic_id);
    object.text("cluster", cluster);
    object.plain("aggregates", report.aggregates);
    object.plain("split", report.split);
    object.plain("passes", report.passes);
    object.list_of("partitions", &report.partitions, json_of_partition);
    if let Some(compared) = &report.compared {
        let mut part = Object::begin(object.field("compared"));
        part.plain("aggregates", compared.aggregates);
        part.plain("events", compared.events);
        part.plain("newer_events", compared.newer);
        part.plain("heads", compared.heads);
        part.end();
    }
    object.list_of("findings", all, |object, found| {
        object.text("kind", found.kind);
        if let Some(key) = &found.key {
            object.bytes("key", Some(key.bytes()));
        }
        object.optional("order", found.order);
        object.optional("partition", found.partition);
        object.optional("offset", found.offset);
        object.text("what", &found.words);
    });
    let findings = report.compared.as_ref().map(|compared| &compared.findings);
    object.plain("more_findings", findings.map_or(0, |findings| findings.more));
    object.plain("more_aggregates", findings.map_or(0, |findings| findings.more_aggregates));
    object.end();
    line
}

fn json_of_partition(object: &mut Object<'_>, report: &PartitionReport) {
    let void = report.void;
    object.plain("partition", report.partition);
    object.plain("begin", report.begin);
    object.plain("end", report.end);
    object.plain("records", report.records);
    object.plain("events", report.events);
    object.plain("foreign", report.foreign);
    object.plain("forwarded", report.forwarded);
    object.plain("split", report.split);
    let mut part = Object::begin(object.field("void"));
    part.plain("order_taken", void.order_taken);
    part.plain("judged_before", void.judged_before);
    part.plain("batch_broken", void.batch_broken);
    part.plain("base_too_old", void.base_too_old);
    part.end();
    object.plain("skipped", report.skipped);
    object.plain("undecided", report.undecided);
    object.plain("gaps", report.gaps);
    object.plain("gap_offsets", report.gap_offsets);
    object.optional("cut", report.cut);
    object.optional("above_next", report.above_next);
    object.optional("newer_format", report.newer_format.map(|newer| newer.offset));
}
