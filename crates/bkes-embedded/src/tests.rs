//! The log on a simulated disk, without threads: each call of the writer is made by the test.

mod crash;
mod damage;
mod disk;
mod errors;
mod limits;
mod panics;

use crate::appender::EmbeddedAppender;
use crate::file::{self, OpenError};
use crate::frame::tests::some_record;
use crate::limits::RECORD_BYTES_MAX;
use crate::reader::EmbeddedReader;
use crate::shared::Shared;
use crate::writer::Writer;
use bkes_core::{Partition, Position, Record};
use bkes_log::{
    AppenderState, Delivery, LogAppender, LogReader, NewRecord, ReadEvent, ReadFailure, SendError, Waker,
    wake_pair,
};
use bkes_testkit::directory::SimulatedDirectory;
use fastrand::Rng;
use std::num::NonZeroU32;
use std::sync::Arc;

const PARTITIONS: NonZeroU32 = NonZeroU32::new(3).expect("three");

fn waker() -> Waker {
    wake_pair().0
}

/// An opened log, its writer and one appender.
struct Rig {
    shared: Arc<Shared>,
    writer: Writer,
    appender: EmbeddedAppender,
}

impl Rig {
    fn open(disk: &SimulatedDirectory) -> Result<Rig, OpenError> {
        let opened = file::open(disk, "topic", PARTITIONS)?;
        let sealed = opened.sealed;
        let shared = Arc::new(Shared::new(opened, RECORD_BYTES_MAX));
        let writer = Writer::new(Arc::clone(&shared), sealed);
        let appender = EmbeddedAppender::new(Arc::clone(&shared), waker());
        Ok(Rig { shared, writer, appender })
    }

    /// Appends these records as one group; what became of them.
    fn append(&mut self, records: &[NewRecord]) -> Result<Delivery, SendError> {
        for (token, record) in records.iter().enumerate() {
            self.appender.send(record.clone(), token as u64)?;
        }
        self.appender.flush();
        self.writer.write();
        let mut reports = Vec::new();
        self.appender.poll(&mut reports);
        assert_eq!(reports.len(), records.len(), "one report for each");
        for (report, (token, record)) in reports.iter().zip(records.iter().enumerate()) {
            assert_eq!((report.token, report.partition), (token as u64, record.partition));
            assert_eq!(
                std::mem::discriminant(&report.delivery),
                std::mem::discriminant(&reports[0].delivery),
                "a group is stored as a whole"
            );
        }
        Ok(reports.remove(0).delivery)
    }

    /// The same where nothing goes wrong.
    fn stored(&mut self, records: &[NewRecord]) {
        let delivery = self.append(records);
        assert!(matches!(delivery, Ok(Delivery::Stored { .. })), "{delivery:?}");
    }

    /// Everything in the log, partition by partition.
    fn read(&self) -> Result<Vec<Vec<NewRecord>>, ReadFailure> {
        read(&self.shared)
    }

    fn is_up(&self) -> bool {
        self.appender.state() == AppenderState::Up
    }
}

fn read(shared: &Arc<Shared>) -> Result<Vec<Vec<NewRecord>>, ReadFailure> {
    let mut reader = EmbeddedReader::new(Arc::clone(shared));
    (0..PARTITIONS.get()).for_each(|partition| reader.assign(Partition(partition), Position::START));
    let mut found = vec![Vec::new(); PARTITIONS.get() as usize];
    let (mut events, mut ends) = (Vec::new(), 0);
    while ends < found.len() {
        reader.poll(7, &mut events);
        assert!(!events.is_empty(), "a reader that has not come to the end has something to say");
        for event in events.drain(..) {
            match event {
                ReadEvent::Record { record, .. } => {
                    let Record { partition, offset, timestamp, key, value, headers } = record;
                    let found = &mut found[partition.0 as usize];
                    assert_eq!(offset.0, found.len() as u64, "offsets have no gaps");
                    assert!(timestamp.is_some());
                    found.push(NewRecord { partition, key, value, headers });
                }
                ReadEvent::Known { offset, .. } => panic!("nothing is known, and {offset} is told so"),
                ReadEvent::End { .. } => ends += 1,
                ReadEvent::Failed { failure, .. } => return Err(failure),
            }
        }
    }
    Ok(found)
}

fn some_group(random: &mut Rng) -> Vec<NewRecord> {
    (0..random.usize(1..5)).map(|_| some_record(random, PARTITIONS.get())).collect()
}

/// What these groups are to a reader.
fn as_read<'a>(groups: impl IntoIterator<Item = &'a Vec<NewRecord>>) -> Vec<Vec<NewRecord>> {
    let mut all = vec![Vec::new(); PARTITIONS.get() as usize];
    for record in groups.into_iter().flatten() {
        all[record.partition.0 as usize].push(record.clone());
    }
    all
}
