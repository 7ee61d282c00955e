//! The queue is bounded in what its records take in the file, over all appenders: so a group is.

use super::*;
use crate::limits::{GROUP_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_RECORDS_MAX};
use bkes_core::Header;
use bkes_core::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_HEADERS_MAX, HEADER_FRAME_BYTES};
use bkes_core::machine::MARKER_BYTES_MAX;
use bkes_log::QueueBound;
use bytes::Bytes;

fn empty() -> NewRecord {
    NewRecord { partition: Partition(0), key: None, value: None, headers: Vec::new() }
}

/// Sends until there is no room; how many were taken. They are never more than `most`.
fn fill(appender: &mut EmbeddedAppender, record: &NewRecord, most: usize) -> usize {
    let mut taken = 0;
    loop {
        match appender.send(record.clone(), taken as u64) {
            Ok(()) if taken < most => taken += 1,
            Ok(()) => panic!("more than {most} are taken"),
            Err(error) => {
                assert!(matches!(error, SendError::Full(_)), "{error}");
                return taken;
            }
        }
    }
}

/// A record with what counts least for what it takes in the file: two headers without a name and a value, as a marker has two.
fn dense(value_bytes: usize) -> NewRecord {
    let header = Header { name: Bytes::new(), value: None };
    NewRecord { value: Some(Bytes::from(vec![1; value_bytes])), headers: vec![header; 2], ..empty() }
}

#[test]
fn the_queue_is_bounded_over_all_appenders() {
    let disk = SimulatedDirectory::new();
    let mut rig = Rig::open(&disk).expect("a new log opens");
    let mut other = EmbeddedAppender::new(Arc::clone(&rig.shared), waker());
    // 100,000 of 335 bytes are 54,432 less than 32 MiB.
    let record = dense(335);
    assert_eq!(fill(&mut rig.appender, &record, QUEUE_RECORDS_MAX), QUEUE_RECORDS_MAX);
    let few = QueueBound::Records { records_max: QUEUE_RECORDS_MAX as u64 };
    assert_eq!(other.has_room(1, 0), Err(few), "what one took the other has not");
    drop(rig.appender);
    assert_eq!(
        other.has_room(QUEUE_RECORDS_MAX, 0),
        Ok(()),
        "what was never handed over is free with its appender"
    );
    let large = NewRecord { value: Some(Bytes::from(vec![1; 1 << 20])), ..empty() };
    assert_eq!(fill(&mut other, &large, 200) as u64, QUEUE_BYTES_MAX >> 20);
    assert_eq!(other.has_room(1, 1), Err(QueueBound::Bytes { bytes_max: QUEUE_BYTES_MAX }));
    assert_eq!(fill(&mut other, &empty(), QUEUE_RECORDS_MAX), QUEUE_RECORDS_MAX - 32);
    other.flush();
    rig.writer.write();
    let before = disk.bytes(file::FILE).expect("it is there").len() as u64;
    assert_eq!(
        fill(&mut other, &record, QUEUE_RECORDS_MAX),
        QUEUE_RECORDS_MAX,
        "what was written is free again"
    );
    other.flush();
    rig.writer.write();
    let written = disk.bytes(file::FILE).expect("it is there").len() as u64 - before;
    assert_eq!(written, 36 + QUEUE_RECORDS_MAX as u64 * (335 + 38 + 2 * 6));
    assert!(written > QUEUE_BYTES_MAX && written <= GROUP_BYTES_MAX, "{written}");
    let found = Rig::open(&disk.platter().restart()).expect("it opens").read().expect("it reads");
    assert_eq!(found[0].len(), 2 * QUEUE_RECORDS_MAX);
}

/// An append of several records is asked for before its first is sent, by what the contract counts: then all of them fit. Records with
/// many headers counted as several, which nobody who asked could know.
#[test]
fn what_has_room_is_taken() {
    for (count, records) in [(0, 100), (15, 100), (2 + EVENT_HEADERS_MAX, 10)] {
        let disk = SimulatedDirectory::new();
        let mut rig = Rig::open(&disk).expect("a new log opens");
        let headers = vec![Header { name: Bytes::new(), value: None }; count];
        let key = Some("key".into());
        let record = NewRecord { key, value: Some(Bytes::from(vec![1; 300])), headers, ..empty() };
        let mut batches = 0;
        while rig.appender.has_room(records, records as u64 * record.bytes()).is_ok() {
            for token in 0..records {
                rig.appender.send(record.clone(), token as u64).expect("there was room");
            }
            batches += 1;
        }
        let taken = batches * records as u64 * record.bytes();
        assert!(taken > QUEUE_BYTES_MAX * 9 / 10, "{count} headers: {taken}");
    }
}

/// The largest batch that is ever asked for: one that the queue never has room for would be told to come again for ever.
#[test]
fn the_largest_batch_with_the_most_headers_fits_into_an_empty_queue() {
    let rig = Rig::open(&SimulatedDirectory::new()).expect("a new log opens");
    let each = MARKER_BYTES_MAX + EVENT_HEADERS_MAX as u64 * HEADER_FRAME_BYTES;
    let bytes = BATCH_BYTES_MAX as u64 + u64::from(BATCH_EVENTS_MAX) * each;
    assert_eq!(rig.appender.has_room(BATCH_EVENTS_MAX as usize, bytes), Ok(()));
}

/// A record of the largest size that there is, in each way to have it, is written and read; one byte more is refused.
#[test]
fn the_largest_record_is_taken_to_the_byte_whatever_headers_it_has() {
    for count in [0, 2, 3, 2 + EVENT_HEADERS_MAX] {
        let disk = SimulatedDirectory::new();
        let mut rig = Rig::open(&disk).expect("a new log opens");
        let header = Header { name: Bytes::from_static(b"name"), value: Some(Bytes::from_static(b"value")) };
        let record = NewRecord { key: Some("key".into()), headers: vec![header; count], ..empty() };
        let room = RECORD_BYTES_MAX - record.bytes();
        assert_eq!(record.bytes(), 3 + 9 * count as u64 + 10 * count.saturating_sub(2) as u64);
        let with = |bytes: u64| NewRecord { value: Some(vec![1; bytes as usize].into()), ..record.clone() };
        let refused = rig.appender.send(with(room + 1), 0);
        let (bytes, bytes_max) = (RECORD_BYTES_MAX + 1, RECORD_BYTES_MAX);
        assert_eq!(refused, Err(SendError::TooLarge { bytes, bytes_max }), "{count} headers");
        rig.stored(&[with(room)]);
        assert_eq!(rig.read().expect("it reads")[0], [with(room)], "{count} headers");
    }
}
