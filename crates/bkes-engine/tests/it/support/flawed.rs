//! A memory log of which single partitions, or single rights, fail: what the memory log itself does to all at once.

use bkes_core::{Offset, Partition, Position};
use bkes_log::{
    AppenderState, Delivery, Log, LogAppender, LogError, LogIdentity, LogReader, NewRecord, QueueBound,
    ReadEvent, ReadFailure, Report, SendError, Token, Waker, Watermarks,
};
use bkes_testkit::log::SimulatedLog as MemoryLog;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};

/// What fails now.
#[derive(Default)]
pub struct Flaws {
    /// Partitions without a leader: nobody answers for them; what is sent to them waits.
    pub leaderless: BTreeSet<Partition>,
    /// Partitions that answer, and whose records do not come.
    pub unread: BTreeSet<Partition>,
    /// Records at this offset of a partition, and above it, do not come.
    pub unread_from: Option<(Partition, Offset)>,
    /// The broker says that we may not.
    pub denied: bool,
    /// The topic is gone.
    pub deleted: bool,
    /// Others write to this partition in the middle of the next look at it, once.
    pub written_meanwhile: Option<Partition>,
    /// Others get on in the middle of the next look at a partition, after the log was asked and before it has answered.
    pub let_in: Option<Box<dyn FnOnce() + Send>>,
    /// The record at this offset fails its checksum.
    pub damaged: Option<(Partition, Offset)>,
    /// It does not, but is more than the reader takes.
    pub unfit: bool,
    /// It does not, but its position is said to be out of range.
    pub out_of_range: bool,
    /// The producer gives up what it could not send.
    pub expired: bool,
    /// Every second record finds the send queue full.
    pub every_second_full: bool,
    /// The broker does not take so many records, for the size of what they go with.
    pub oversized: u32,
    /// Which stable ends were asked for, question by question.
    pub asked: Vec<Vec<Partition>>,
    /// Which marks were asked for, question by question.
    pub asked_marks: Vec<Vec<Partition>>,
    /// Which groups were asked for, question by question.
    pub asked_groups: Vec<String>,
    /// Groups whose coordinator does not answer.
    pub silent_groups: BTreeSet<String>,
    /// Groups that we may not describe.
    pub denied_groups: BTreeSet<String>,
    /// Happens in the middle of the next question for stable ends, after its answer.
    pub in_question: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone)]
pub struct FlawedLog {
    pub log: MemoryLog,
    flaws: Arc<Mutex<Flaws>>,
}

impl FlawedLog {
    pub fn new(partitions: u32) -> FlawedLog {
        let partitions = NonZeroU32::new(partitions).expect("not zero");
        FlawedLog { log: MemoryLog::new("topic", partitions), flaws: Arc::default() }
    }

    pub fn flaws(&self) -> MutexGuard<'_, Flaws> {
        self.flaws.lock().expect("no panic")
    }

    fn question(&self) -> Result<(), LogError> {
        let flaws = self.flaws();
        if flaws.denied {
            return Err(LogError::Denied { cause: "topic authorization failed".into() });
        }
        if flaws.deleted {
            return Err(LogError::NoSuchTopic { topic: "topic".into() });
        }
        Ok(())
    }
}

impl Log for FlawedLog {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        self.question()?;
        self.log.identity()
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        self.question()?;
        self.log.partition_count()
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        self.question()?;
        if self.flaws().leaderless.contains(&partition) {
            return Err(LogError::Unavailable {
                cause: format!("partition {partition} has no leader").into(),
            });
        }
        let marks = self.log.watermarks(partition)?;
        let let_in = self.flaws().let_in.take();
        if let Some(let_in) = let_in {
            let_in();
        }
        if self.flaws().written_meanwhile.take_if(|written| *written == partition).is_none() {
            return Ok(marks);
        }
        for value in ["x", "y", "z"] {
            self.log.append_foreign(partition, Some("other".into()), Some(value.into()), Vec::new());
        }
        Ok(Watermarks { high: self.log.watermarks(partition)?.high, ..marks })
    }

    fn watermarks_of(&self, partitions: &[Partition]) -> Vec<Result<Watermarks, LogError>> {
        self.flaws().asked_marks.push(partitions.to_vec());
        partitions.iter().map(|partition| self.watermarks(*partition)).collect()
    }

    fn committed(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LogError> {
        self.flaws().asked_groups.push(group.to_owned());
        if self.flaws().silent_groups.contains(group) {
            return Err(LogError::Unavailable { cause: "no coordinator".into() });
        }
        if self.flaws().denied_groups.contains(group) {
            return Err(LogError::Denied { cause: "group authorization failed".into() });
        }
        self.log.committed(group, partitions)
    }

    fn stable_ends(&self, partitions: &[Partition]) -> Vec<Result<Position, LogError>> {
        self.flaws().asked.push(partitions.to_vec());
        let ends = partitions.iter().map(|partition| self.watermarks(*partition).map(|marks| marks.stable));
        let ends = ends.collect();
        let meanwhile = self.flaws().in_question.take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        ends
    }

    fn record_bytes_max(&self) -> u64 {
        self.log.record_bytes_max()
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        let inner = self.log.reader(waker)?;
        let (held, stopped) = (Vec::new(), BTreeMap::new());
        Ok(Box::new(FlawedReader { log: self.clone(), inner, held, stopped }))
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        let inner = self.log.appender(waker)?;
        let (held, reports) = (Vec::new(), Vec::new());
        Ok(Box::new(FlawedAppender { log: self.clone(), inner, held, reports, sent: 0 }))
    }
}

struct FlawedReader {
    log: FlawedLog,
    inner: Box<dyn LogReader>,
    /// Not fetched, to whom it looks.
    held: Vec<ReadEvent>,
    /// Partitions that are not read further.
    stopped: BTreeMap<Partition, Position>,
}

fn partition_of(event: &ReadEvent) -> Option<Partition> {
    match event {
        ReadEvent::Record { record, .. } => Some(record.partition),
        ReadEvent::Known { partition, .. } | ReadEvent::End { partition, .. } => Some(*partition),
        ReadEvent::Failed { partition, .. } => *partition,
    }
}

impl LogReader for FlawedReader {
    fn assign(&mut self, partition: Partition, from: Position) {
        self.stopped.remove(&partition);
        self.held.retain(|event| partition_of(event) != Some(partition));
        self.inner.assign(partition, from);
    }

    fn poll(&mut self, records_max: usize, out: &mut Vec<ReadEvent>) {
        let mut events = std::mem::take(&mut self.held);
        self.inner.poll(records_max, &mut events);
        let flaws = self.log.flaws();
        let silent = flaws.denied || flaws.deleted;
        for event in events {
            let partition = partition_of(&event);
            let is_held =
                |partition| flaws.leaderless.contains(&partition) || flaws.unread.contains(&partition);
            let is_beyond = match (&event, flaws.unread_from) {
                (ReadEvent::Record { record, .. }, Some(from)) => (record.partition, record.offset) >= from,
                (ReadEvent::End { partition, position }, Some((of, from))) => {
                    *partition == of && *position > Position(from.0)
                }
                _ => false,
            };
            if silent || is_beyond || partition.is_some_and(is_held) {
                self.held.push(event);
                continue;
            }
            if partition.is_some_and(|partition| self.stopped.contains_key(&partition)) {
                continue;
            }
            match event {
                ReadEvent::Record { record, .. }
                    if flaws.damaged == Some((record.partition, record.offset)) =>
                {
                    let (partition, position) = (record.partition, Position(record.offset.0));
                    self.stopped.insert(partition, position);
                    let failure = match flaws.unfit {
                        _ if flaws.out_of_range => ReadFailure::OutOfRange { position },
                        false => ReadFailure::Damaged { position, detail: "CRC32C check failed".into() },
                        true => ReadFailure::DoesNotFit { position, detail: "raise the limit".into() },
                    };
                    out.push(ReadEvent::Failed { partition: Some(partition), failure });
                }
                event => out.push(event),
            }
        }
    }
}

struct FlawedAppender {
    log: FlawedLog,
    inner: Box<dyn LogAppender>,
    /// What waits for a leader.
    held: Vec<(NewRecord, Token)>,
    reports: Vec<Report>,
    /// How many records it was given.
    sent: u64,
}

impl LogAppender for FlawedAppender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        self.sent += 1;
        let flaws = self.log.flaws();
        if flaws.every_second_full && self.sent.is_multiple_of(2) {
            return Err(SendError::Full(QueueBound::Records { records_max: 1 }));
        }
        if flaws.denied || flaws.deleted {
            let delivery = Delivery::NotStored { detail: "the broker refused it".into() };
            self.reports.push(Report { partition: record.partition, token, delivery });
            return Ok(());
        }
        if flaws.oversized > 0 {
            drop(flaws);
            self.log.flaws().oversized -= 1;
            let delivery = Delivery::Oversized { detail: "what it went with is too large".into() };
            self.reports.push(Report { partition: record.partition, token, delivery });
            return Ok(());
        }
        if flaws.leaderless.contains(&record.partition) {
            self.held.push((record, token));
            return Ok(());
        }
        drop(flaws);
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
        out.append(&mut self.reports);
        if self.log.flaws().expired {
            for (record, token) in self.held.drain(..) {
                let delivery = Delivery::NotStored { detail: "it never left the queue".into() };
                out.push(Report { partition: record.partition, token, delivery });
            }
        }
        let flaws = self.log.flaws();
        let (held, sent) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(record, _)| flaws.leaderless.contains(&record.partition));
        self.held = held;
        drop(flaws);
        let sent: Vec<(NewRecord, Token)> = sent;
        for (record, token) in sent {
            self.inner.send(record, token).expect("there is room");
        }
        self.inner.poll(out);
    }

    fn state(&self) -> AppenderState {
        self.inner.state()
    }
}
