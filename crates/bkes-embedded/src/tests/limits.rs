//! The queue is bounded in what its records take in the file, over all appenders: so a group is.

use super::*;
use crate::limits::{GROUP_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_RECORDS_MAX};
use bkes_core::Header;
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

#[test]
fn the_queue_is_bounded_over_all_appenders() {
    let disk = SimulatedDirectory::new();
    let mut rig = Rig::open(&disk).expect("a new log opens");
    let mut other = EmbeddedAppender::new(Arc::clone(&rig.shared), waker());
    // Headers without a name and a value count nothing by the contract, and six bytes each in the file.
    let header = Header { name: Bytes::new(), value: None };
    let wide = NewRecord { headers: vec![header; usize::from(u16::MAX)], ..empty() };
    let large = NewRecord { value: Some(Bytes::from(vec![1; 1 << 20])), ..empty() };
    let of_mine = fill(&mut rig.appender, &wide, 200);
    assert_eq!(of_mine, QUEUE_RECORDS_MAX / 3_073);
    let few = QueueBound::Records { records_max: QUEUE_RECORDS_MAX as u64 };
    assert_eq!(other.has_room(3_073, 0), Err(few), "what one took the other has not");
    drop(rig.appender);
    assert_eq!(other.has_room(3_073, 0), Ok(()), "what was never handed over is free with its appender");
    assert_eq!(fill(&mut other, &large, 200) as u64, QUEUE_BYTES_MAX >> 20);
    assert_eq!(other.has_room(1, 1), Err(QueueBound::Bytes { bytes_max: QUEUE_BYTES_MAX }));
    assert_eq!(fill(&mut other, &wide, 200), (QUEUE_RECORDS_MAX - 32) / 3_073);
    other.flush();
    rig.writer.write();
    let written = disk.bytes(file::FILE).expect("it is there").len() as u64 - rig.shared.start;
    assert!(written <= GROUP_BYTES_MAX && written > GROUP_BYTES_MAX - (1 << 20), "{written}");
    assert_eq!(
        fill(&mut other, &empty(), QUEUE_RECORDS_MAX),
        QUEUE_RECORDS_MAX,
        "what was written is free again"
    );
    other.flush();
    rig.writer.write();
    let found = Rig::open(&disk.platter().restart()).expect("it opens").read().expect("it reads");
    assert_eq!(found[0].len(), 32 + of_mine + QUEUE_RECORDS_MAX);
}

/// An append of several records is asked for before its first is sent, by what the contract counts: then all of them fit.
#[test]
fn what_has_room_is_taken() {
    let disk = SimulatedDirectory::new();
    let mut rig = Rig::open(&disk).expect("a new log opens");
    let headers = vec![Header { name: "order".into(), value: Some("17".into()) }; 15];
    let record =
        NewRecord { key: Some("key".into()), value: Some(Bytes::from(vec![1; 300])), headers, ..empty() };
    let mut batches = 0;
    while rig.appender.has_room(100, 100 * record.bytes()).is_ok() {
        for token in 0..100 {
            rig.appender.send(record.clone(), token).expect("there was room");
        }
        batches += 1;
    }
    assert!(batches * 100 * record.bytes() as usize > QUEUE_BYTES_MAX as usize / 2, "{batches}");
}
