//! The topic as the audit reads it: every partition from its beginning to an end that was fixed when the audit began, as often as needed.

use crate::limits::POLL_EVENTS;
use crate::options::{AuditError, Options};
use bkes_consumer::{Decided, Fold};
use bkes_core::{NewerFormat, Order, Partition, Position, ReadFailure, Record};
use bkes_log::{Log, LogIdentity, LogReader, ReadEvent, Waiter, wake_pair};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What is read of a partition.
#[derive(Clone, Debug)]
pub struct Span {
    pub partition: Partition,
    pub begin: Position,
    /// It falls once, to a record of a newer format.
    pub end: Position,
    pub newer_format: Option<NewerFormat>,
    /// Offsets of members that wait for the rest of their batch at the end.
    pub undecided: BTreeSet<u64>,
    /// Records met in a pass; the same in each.
    records: Option<u64>,
}

impl Span {
    /// How many records there are, once it was read.
    pub fn records(&self) -> Option<u64> {
        self.records
    }
}

/// What a pass makes of the records.
pub trait Pass {
    /// The next order of the record's key, or what stands for it where it does not matter.
    fn next(&mut self, record: &Record) -> Result<Option<Order>, AuditError>;

    /// Something was decided in a partition.
    fn decided(&mut self, partition: Partition, decided: Decided) -> Result<(), AuditError>;

    /// So many records were read in this pass, and so many offsets are left.
    fn progress(&mut self, records: u64, offsets_left: u64);
}

/// The topic.
pub struct Topic<'a> {
    log: &'a dyn Log,
    pub identity: LogIdentity,
    pub spans: Vec<Span>,
    reader: Box<dyn LogReader>,
    waiter: Waiter,
    wait_max: Duration,
}

/// One partition in a pass.
struct Run {
    fold: Fold,
    records: u64,
    is_done: bool,
}

impl<'a> Topic<'a> {
    /// Fixes the ends.
    pub fn open(log: &'a dyn Log, options: &Options) -> Result<Topic<'a>, AuditError> {
        let identity = log.identity()?;
        let partitions: Vec<Partition> = (0..log.partition_count()?.get()).map(Partition).collect();
        let (marks, ends) = (log.watermarks_of(&partitions), log.stable_ends(&partitions));
        let mut spans = Vec::with_capacity(partitions.len());
        for ((partition, marks), end) in partitions.into_iter().zip(marks).zip(ends) {
            let (begin, end) = (marks?.low, end?);
            let (newer_format, undecided, records) = (None, BTreeSet::new(), None);
            spans.push(Span { partition, begin, end: end.max(begin), newer_format, undecided, records });
        }
        let (waker, waiter) = wake_pair();
        let reader = log.reader(waker)?;
        Ok(Topic { log, identity, spans, reader, waiter, wait_max: options.wait_max })
    }

    /// The log that it is read from.
    pub fn log(&self) -> &'a dyn Log {
        self.log
    }

    /// It is the same topic still.
    pub fn check_identity(&self) -> Result<(), AuditError> {
        let (before, after) = (Box::new(self.identity.clone()), Box::new(self.log.identity()?));
        if before == after { Ok(()) } else { Err(AuditError::AnotherLog { before, after }) }
    }

    /// Reads it once.
    pub fn read(&mut self, pass: &mut dyn Pass) -> Result<(), AuditError> {
        let mut runs: Vec<Run> = Vec::with_capacity(self.spans.len());
        for Span { partition, begin, end, .. } in &self.spans {
            let fold = Fold::new(*partition, *begin).without_order_headers();
            runs.push(Run { fold, records: 0, is_done: begin == end });
            if begin < end {
                self.reader.assign(*partition, *begin);
            }
        }
        let mut reading = Reading { spans: &mut self.spans, runs, pass, decided: Vec::new() };
        let (mut fetched, mut since) = (Vec::new(), Instant::now());
        let mut trouble = String::from("it is silent");
        while reading.runs.iter().any(|run| !run.is_done) {
            self.reader.poll(POLL_EVENTS, &mut fetched);
            if fetched.is_empty() {
                if since.elapsed() >= self.wait_max {
                    return Err(AuditError::Silent { waited_s: self.wait_max.as_secs(), detail: trouble });
                }
                self.waiter.wait(Some(self.wait_max.min(Duration::from_secs(1))));
                continue;
            }
            for event in fetched.drain(..) {
                match event {
                    ReadEvent::Failed { failure: ReadFailure::Unavailable { detail }, .. } => {
                        trouble = detail;
                        continue;
                    }
                    ReadEvent::Failed { partition, failure } => reading.check_failure(partition, failure)?,
                    ReadEvent::Record { record, .. } => reading.on_record(record)?,
                    ReadEvent::End { partition, position } => reading.come_to(partition, position)?,
                    // Only who asks for less gets it.
                    ReadEvent::Known { .. } => {}
                }
                since = Instant::now();
            }
            reading.tell_progress();
        }
        let runs = reading.runs;
        self.check_pass(&runs)
    }

    /// Each pass meets the same records.
    fn check_pass(&mut self, runs: &[Run]) -> Result<(), AuditError> {
        for (span, run) in self.spans.iter_mut().zip(runs) {
            if *span.records.get_or_insert(run.records) != run.records {
                return Err(AuditError::LogChanged { partition: span.partition, below: span.end });
            }
        }
        Ok(())
    }
}

/// A pass that is under way.
struct Reading<'r> {
    spans: &'r mut [Span],
    runs: Vec<Run>,
    pass: &'r mut dyn Pass,
    decided: Vec<Decided>,
}

impl Reading<'_> {
    fn tell_progress(&mut self) {
        let left = |(run, span): (&Run, &Span)| span.end.0.saturating_sub(run.fold.position().0);
        let left = self.runs.iter().zip(self.spans.iter()).map(left).sum();
        let records = self.runs.iter().map(|run| run.records).sum();
        self.pass.progress(records, left);
    }

    fn on_record(&mut self, record: Record) -> Result<(), AuditError> {
        let partition = record.partition;
        let Some((span, run, _)) = self.parts(partition) else { return Ok(()) };
        if record.offset < run.fold.position().offset() {
            return Err(AuditError::LogChanged { partition, below: span.end });
        }
        if record.offset >= span.end.offset() {
            return self.come_to(partition, Position(record.offset.0));
        }
        let (offset, next) = (record.offset, self.pass.next(&record)?);
        let Some((span, run, decided)) = self.parts(partition) else { return Ok(()) };
        let position = match run.fold.apply(record, next, decided) {
            Ok(()) => {
                run.records += 1;
                run.fold.position()
            }
            Err(newer) => {
                // No instance goes past it either.
                span.newer_format = Some(newer);
                span.end = Position(offset.0);
                span.end
            }
        };
        self.come_to(partition, position)
    }

    /// Everything below `position` was met. At the end the partition is done.
    fn come_to(&mut self, partition: Partition, position: Position) -> Result<(), AuditError> {
        let Some((span, run, decided)) = self.parts(partition) else { return Ok(()) };
        run.fold.come_to(position.min(span.end), decided);
        if run.fold.position() >= span.end {
            run.is_done = true;
            span.undecided = run.fold.undecided().map(|member| member.offset.0).collect();
        }
        for decided in self.decided.drain(..) {
            self.pass.decided(partition, decided)?;
        }
        Ok(())
    }

    /// A partition that is not read to its end yet.
    fn parts(&mut self, partition: Partition) -> Option<(&mut Span, &mut Run, &mut Vec<Decided>)> {
        let span = self.spans.get_mut(partition.0 as usize)?;
        let run = self.runs.get_mut(partition.0 as usize).filter(|run| !run.is_done)?;
        Some((span, run, &mut self.decided))
    }

    /// What stopped a partition that was read to its end does not matter.
    fn check_failure(&self, partition: Option<Partition>, failure: ReadFailure) -> Result<(), AuditError> {
        let is_done =
            |partition: Partition| self.runs.get(partition.0 as usize).is_none_or(|run| run.is_done);
        let lost = match (&failure, partition) {
            (ReadFailure::LostEnd { end }, Some(partition)) => {
                self.spans.get(partition.0 as usize).is_some_and(|span| *end < span.end)
            }
            _ => false,
        };
        match partition {
            Some(partition) if lost => {
                let below = self.spans[partition.0 as usize].end;
                Err(AuditError::LogChanged { partition, below })
            }
            Some(partition) if is_done(partition) => Ok(()),
            partition => Err(AuditError::Read { partition: partition.unwrap_or_default(), failure }),
        }
    }
}
