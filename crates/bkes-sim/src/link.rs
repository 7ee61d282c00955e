//! What lies between a process and the log: questions that fail or are answered late, reading that fails, a link that is cut, reports
//! that come late, records handed over in small portions.
//!
//! The log itself, and what happens to records in it and on their way to it, is the memory log of bkes-log.

use crate::faults::Fault;
use crate::lock::locked;
use crate::stage::Stage;
use bkes_core::checksum::record_sum;
use bkes_core::{Offset, Partition, Position, Record};
use bkes_log::{
    AppenderState, Log, LogAppender, LogError, LogIdentity, LogReader, NewRecord, QueueBound, ReadEvent,
    ReadFailure, Report, SendError, Token, Waker, Watermarks,
};
use bkes_testkit::log::SimulatedLog;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Of the records that are known, one in so many is told by its sum only.
const KNOWN_EVERY: u64 = 3;

/// So much may happen at most before an answer comes that is late.
const LATE_STEPS_MAX: usize = 20;

/// How likely each trouble is, in 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A question fails.
    pub question: u32,
    /// An answer comes late.
    pub old: u32,
    /// Reading says that the log does not answer.
    pub unavailable: u32,
    /// Reading ends before a record that is said to be damaged, or not to fit.
    pub damaged: u32,
    /// Reading ends before a record whose position is said to be out of range.
    pub out_of_range: u32,
    /// Nothing is handed over now, or little.
    pub slow: u32,
    /// Reports are held back.
    pub held: u32,
    /// A record of a batch is not taken.
    pub stops: u32,
    /// The broker waits for more before it answers a fetch.
    pub gathered: u32,
}

/// The link of one process.
pub struct Link {
    log: SimulatedLog,
    stage: Arc<Stage>,
    trouble: Mutex<Trouble>,
    cut: AtomicBool,
}

struct Trouble {
    random: Rng,
    rates: Rates,
}

impl Link {
    /// A link to `log`.
    pub fn new(log: SimulatedLog, stage: Arc<Stage>, random: Rng, rates: Rates) -> Arc<Link> {
        Arc::new(Link {
            log,
            stage,
            trouble: Mutex::new(Trouble { random, rates }),
            cut: AtomicBool::new(false),
        })
    }

    /// Cuts it, or joins it again.
    pub fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// No more trouble.
    pub fn heal(&self) {
        locked(&self.trouble).rates = Rates::default();
        self.set_cut(false);
    }

    fn is_away(&self) -> bool {
        self.cut.load(Ordering::Relaxed) || self.stage.dead.load(Ordering::Relaxed)
    }

    fn falls(&self, rate: impl Fn(&Rates) -> u32, fault: Fault) -> bool {
        let mut trouble = locked(&self.trouble);
        let rate = rate(&trouble.rates);
        let falls = rate > 0 && trouble.random.u32(..1_000) < rate;
        drop(trouble);
        if falls {
            self.stage.recorder.fault(fault);
        }
        falls
    }

    fn few(&self, most: usize) -> usize {
        locked(&self.trouble).random.usize(..=most)
    }

    /// While an answer is on its way, records reach the log and owners get on.
    fn answer_late(&self) {
        for _ in 0..self.few(LATE_STEPS_MAX) {
            self.log.step();
            self.stage.meanwhile(1);
        }
    }

    fn ask<T>(&self, question: impl FnOnce(&SimulatedLog) -> Result<T, LogError>) -> Result<T, LogError> {
        if self.is_away() {
            return Err(LogError::Unavailable { cause: "the link is cut".into() });
        }
        if self.falls(|rates| rates.question, Fault::QuestionFails) {
            return Err(LogError::Unavailable { cause: "no answer in time".into() });
        }
        question(&self.log)
    }
}

/// The log as one process sees it.
pub struct LinkedLog(pub Arc<Link>);

impl Log for LinkedLog {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        self.0.stage.interlude();
        self.0.ask(Log::identity)
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        self.0.ask(Log::partition_count)
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        self.0.stage.interlude();
        let marks = self.0.ask(|log| log.watermarks(partition));
        self.0.stage.interlude();
        if self.0.falls(|rates| rates.old, Fault::OldLook) {
            self.0.answer_late();
        }
        marks
    }

    fn record_bytes_max(&self) -> u64 {
        self.0.log.record_bytes_max()
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        let inner = self.0.log.reader(waker.clone())?;
        let (link, ended) = (Arc::clone(&self.0), BTreeSet::new());
        Ok(Box::new(LinkedReader { link, inner, waker, ended }))
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        let inner = self.0.ask(|log| log.appender(waker.clone()))?;
        Ok(Box::new(LinkedAppender { link: Arc::clone(&self.0), inner, waker, in_batch: false }))
    }
}

struct LinkedReader {
    link: Arc<Link>,
    inner: Box<dyn LogReader>,
    waker: Waker,
    /// Partitions that are not read further until they are assigned again.
    ended: BTreeSet<Partition>,
}

impl LinkedReader {
    fn poll_inner(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        let mut events = Vec::new();
        self.inner.poll(records_max, &mut events);
        for event in events {
            let (partition, failure) = match &event {
                ReadEvent::Failed { .. } => {
                    out.push(event);
                    continue;
                }
                ReadEvent::End { partition, .. } => (*partition, None),
                ReadEvent::Record { record: Record { partition, offset, .. }, .. }
                | ReadEvent::Known { partition, offset, .. } => {
                    let is_read = !self.ended.contains(partition);
                    (*partition, is_read.then(|| self.failure(Position(offset.0))).flatten())
                }
            };
            match failure {
                Some(failure) => {
                    self.ended.insert(partition);
                    out.push(ReadEvent::Failed { partition: Some(partition), failure });
                }
                None if self.ended.contains(&partition) => {}
                None => out.push(event),
            }
        }
    }

    /// What reading meets instead of the record at `position`.
    fn failure(&self, position: Position) -> Option<ReadFailure> {
        if self.link.falls(|rates| rates.damaged, Fault::ReadDamaged) {
            let detail = "the bytes on their way".into();
            return Some(match self.link.few(1) {
                0 => ReadFailure::Damaged { position, detail },
                _ => ReadFailure::DoesNotFit { position, detail },
            });
        }
        let is_out = self.link.falls(|rates| rates.out_of_range, Fault::ReadOutOfRange);
        is_out.then_some(ReadFailure::OutOfRange { position })
    }
}

impl LogReader for LinkedReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        self.ended.remove(&partition);
        self.inner.assign(partition, from);
    }

    /// Of some records that are known only the sum is told. Which ones is not drawn, so that nothing else of a seed changes.
    fn poll_known(
        &mut self,
        records_max: usize,
        known: &dyn Fn(Partition) -> Position,
        out: &mut Vec<ReadEvent>,
    ) {
        self.poll(records_max, out);
        for event in out {
            let ReadEvent::Record { record, epoch } = event else { continue };
            let (partition, offset) = (record.partition, record.offset);
            if offset < known(partition).offset() && offset.0.is_multiple_of(KNOWN_EVERY) {
                let (crc32c, epoch) = (record_sum(record), *epoch);
                *event = ReadEvent::Known { partition, offset, crc32c, epoch };
            }
        }
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        if self.link.is_away() {
            return;
        }
        if self.link.falls(|rates| rates.gathered, Fault::ReadGathered) {
            return self.waker.wake();
        }
        if self.link.falls(|rates| rates.unavailable, Fault::ReadUnavailable) {
            let failure = ReadFailure::Unavailable { detail: "the leader is away".into() };
            out.push(ReadEvent::Failed { partition: None, failure });
            return self.waker.wake();
        }
        if !self.link.falls(|rates| rates.slow, Fault::ReadSlow) {
            return self.poll_inner(records_max, out);
        }
        let few = self.link.few(3);
        if few > 0 {
            self.poll_inner(records_max.min(few), out);
        }
        self.waker.wake();
    }
}

struct LinkedAppender {
    link: Arc<Link>,
    inner: Box<dyn LogAppender>,
    waker: Waker,
    /// The last record that was taken was not the last of its batch.
    in_batch: bool,
}

impl LogAppender for LinkedAppender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        if self.link.is_away() {
            return Err(SendError::Down { cause: "the link is cut".into() });
        }
        if self.in_batch && self.link.falls(|rates| rates.stops, Fault::SendStops) {
            self.in_batch = false;
            return Err(SendError::Full(QueueBound::Records { records_max: 1 }));
        }
        self.in_batch = is_followed(&record);
        self.inner.send(record, token)
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn in_flight_max(&self) -> usize {
        self.inner.in_flight_max()
    }

    fn has_room(&self, records: usize, bytes: u64) -> Result<(), QueueBound> {
        self.inner.has_room(records, bytes)
    }

    fn record_bytes_max(&self) -> u64 {
        self.inner.record_bytes_max()
    }

    fn poll(&mut self, out: &mut Vec<Report>) {
        if self.link.is_away() || self.link.falls(|rates| rates.held, Fault::ReportHeld) {
            self.waker.wake();
            return;
        }
        self.inner.poll(out);
    }

    fn state(&self) -> AppenderState {
        match self.inner.state() {
            AppenderState::Up if self.link.is_away() => {
                AppenderState::Down { cause: "the link is cut".into() }
            }
            state => state,
        }
    }
}

/// Whether a record is a member of a batch and not its last.
fn is_followed(record: &NewRecord) -> bool {
    let NewRecord { partition, key, value, headers } = record.clone();
    let record = Record { partition, offset: Offset(0), timestamp: None, key, value, headers };
    match bkes_core::marker::classify(&record) {
        bkes_core::marker::RecordClass::Marked(marker) => marker.stamp.i() < marker.stamp.count(),
        _ => false,
    }
}
