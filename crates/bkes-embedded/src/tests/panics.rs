//! A writer that panics: whoever waits for it is answered, and nobody is told that the log is up.

use super::*;
use crate::disk::DiskFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// A file in which every write is a mine.
#[derive(Debug)]
struct Mined(Box<dyn DiskFile>);

impl FileExt for Mined {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        panic!("on purpose");
    }
}

impl DiskFile for Mined {
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// The thread ended in silence: the log passed for up, and every append waited until its caller gave up.
#[test]
fn a_writer_that_panics_answers_those_who_wait_and_refuses_the_rest() {
    let disk = SimulatedDirectory::default();
    let mut opened = file::open(&disk, "topic", PARTITIONS).expect("it opens");
    opened.file = Box::new(Mined(opened.file));
    let sealed = opened.sealed;
    let shared = Arc::new(Shared::new(opened, RECORD_BYTES_MAX));
    let writer = Writer::new(Arc::clone(&shared), sealed);
    let thread = std::thread::spawn(move || writer.run());
    let mut appender = EmbeddedAppender::new(Arc::clone(&shared), waker());
    let record = some_record(&mut Rng::with_seed(7), PARTITIONS.get());
    appender.send(record.clone(), 1).expect("it is taken");
    appender.flush();
    let (mut reports, until) = (Vec::new(), Instant::now() + Duration::from_secs(20));
    while reports.is_empty() {
        assert!(Instant::now() < until, "nobody answers");
        std::thread::sleep(Duration::from_millis(1));
        appender.poll(&mut reports);
    }
    assert!(matches!(&reports[0].delivery, Delivery::Unknown { detail } if detail.contains("on purpose")));
    assert!(matches!(appender.state(), AppenderState::Down { .. }));
    assert!(matches!(appender.send(record, 2), Err(SendError::Down { .. })));
    shared.queue().stop = true;
    shared.queued.notify_all();
    thread.join().expect("it ends when it is told to");
}
