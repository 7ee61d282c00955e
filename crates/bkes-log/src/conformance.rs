//! What must hold of every log, as tests that any implementation runs: see [`check`].
//!
//! The suite is written for the slowest and loosest implementation, a real broker: reports come when they come, offsets have
//! gaps, and a fresh topic may begin anywhere. It waits on the waker like an owner does, never by polling.

use crate::{
    AppenderState, Delivery, Log, LogAppender, LogError, LogReader, NewRecord, QueueBound, ReadEvent,
    ReadFailure, Report, SendError, Waiter, wake_pair,
};
use bkes_core::checksum::record_sum;
use bkes_core::limits::EVENT_HEADERS_MAX;
use bkes_core::{Header, LeaderEpoch, Offset, Partition, Position, Record};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How long the suite waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the whole suite; `fresh` makes an empty log with this many partitions each time it is called. Panics with a
/// readable message at the first thing that does not hold.
pub fn check<L: Log>(mut fresh: impl FnMut(NonZeroU32) -> L) {
    let one = NonZeroU32::MIN;
    let three = NonZeroU32::new(3).expect("three");
    a_fresh_log_is_empty_and_knows_itself(&fresh(three));
    what_is_stored_is_read_back_as_it_was(&fresh(one));
    every_send_has_one_report_and_partitions_keep_their_order(&fresh(three));
    reading_begins_anywhere_and_tells_the_end(&fresh(one));
    positions_outside_the_log_are_told(&fresh(one));
    a_record_beyond_the_limit_is_refused_with_both_sizes(&fresh(one));
    a_waiting_reader_is_woken_by_an_append(&fresh(one));
    stable_ends_lie_above_what_was_reported_before(&fresh(three));
}

/// Runs what must hold of a log that has consumer groups. `commit` has a group commit a position in a partition, as a consumer would;
/// it returns when the commit was acknowledged.
pub fn check_groups<L: Log>(
    mut fresh: impl FnMut(NonZeroU32) -> L,
    mut commit: impl FnMut(&L, &str, Partition, Position),
) {
    let log = fresh(NonZeroU32::new(3).expect("three"));
    let other_log = fresh(NonZeroU32::MIN);
    let all = [2, 0, 1].map(Partition);
    let topic = log.identity().expect("the log answers").topic;
    let (group, other) = (format!("{topic}-one"), format!("{topic}-two"));
    assert_eq!(log.committed(&group, &all), Ok(vec![None; 3]), "nobody has heard of it");
    assert_eq!(log.committed(&group, &[]), Ok(Vec::new()));
    let mut writing = Writing::new(&log);
    let ends: Vec<Position> = (0..3).map(|n| writing.append(record(n, "key", "value")).next()).collect();
    commit(&log, &group, Partition(2), ends[2]);
    assert_eq!(log.committed(&group, &all), Ok(vec![Some(ends[2]), None, None]), "in the order asked for");
    commit(&log, &group, Partition(0), ends[0]);
    commit(&log, &other, Partition(1), ends[1]);
    assert_eq!(log.committed(&group, &all), Ok(vec![Some(ends[2]), Some(ends[0]), None]));
    assert_eq!(log.committed(&other, &all), Ok(vec![None, None, Some(ends[1])]));
    commit(&log, &group, Partition(2), low(&log, 2));
    let back = log.committed(&group, &[Partition(2)]);
    assert_eq!(back, Ok(vec![Some(low(&log, 2))]), "a commit may go back");
    assert_eq!(other_log.committed(&group, &[Partition(0)]), Ok(vec![None]), "of another topic");
}

/// Runs what must hold of a log that has none.
pub fn check_no_groups<L: Log>(mut fresh: impl FnMut(NonZeroU32) -> L) {
    let answer = fresh(NonZeroU32::MIN).committed("group", &[Partition(0)]);
    assert!(matches!(answer, Err(LogError::Unsupported { .. })), "{answer:?}");
}

struct Writing {
    appender: Box<dyn LogAppender>,
    waiter: Waiter,
}

impl Writing {
    fn new(log: &impl Log) -> Writing {
        let (waker, waiter) = wake_pair();
        let appender = log.appender(waker).expect("the log gives an appender");
        assert_eq!(appender.state(), AppenderState::Up, "a new appender is up");
        Writing { appender, waiter }
    }

    /// Waits until this many reports are there.
    fn reports(&mut self, count: usize) -> Vec<Report> {
        self.appender.flush();
        let (mut reports, until) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            self.appender.poll(&mut reports);
            if reports.len() >= count {
                return reports;
            }
            assert!(Instant::now() < until, "{} of {count} reports came", reports.len());
            self.waiter.wait(Some(PATIENCE));
        }
    }

    fn append(&mut self, record: NewRecord) -> Offset {
        self.appender.send(record, 1).expect("the record is taken");
        match self.reports(1).remove(0).delivery {
            Delivery::Stored { offset: Some(offset), .. } => offset,
            delivery => panic!("a plain append was not stored: {delivery:?}"),
        }
    }
}

struct Reading {
    reader: Box<dyn LogReader>,
    waiter: Waiter,
}

impl Reading {
    fn new(log: &impl Log, places: &[(u32, Position)]) -> Reading {
        let (waker, waiter) = wake_pair();
        let mut reader = log.reader(waker).expect("the log gives a reader");
        places.iter().for_each(|(partition, from)| reader.assign(Partition(*partition), *from));
        Reading { reader, waiter }
    }

    /// Reads until `done` is true of what was read.
    fn until(&mut self, done: impl Fn(&[ReadEvent]) -> bool) -> Vec<ReadEvent> {
        let (mut events, until) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            let before = events.len();
            self.reader.poll(1_000, &mut events);
            if done(&events) {
                return events;
            }
            assert!(Instant::now() < until, "waited in vain after {:?}", events.last());
            if events.len() == before {
                self.waiter.wait(Some(PATIENCE));
            }
        }
    }

    fn records(&mut self, count: usize) -> Vec<Record> {
        self.taken_records(count).into_iter().map(|(record, _)| record).collect()
    }

    /// So many records, and the leaders that took them.
    fn taken_records(&mut self, count: usize) -> Vec<(Record, Option<LeaderEpoch>)> {
        let events = self.until(|events| {
            events.iter().filter(|event| matches!(event, ReadEvent::Record { .. })).count() >= count
        });
        let taken = |event| match event {
            ReadEvent::Record { record, epoch } => Some((record, epoch)),
            _ => None,
        };
        events.into_iter().filter_map(taken).collect()
    }

    /// Where so many records lie, their sums, and who took them, read by one who knows them all.
    fn sums(&mut self, count: usize) -> Vec<(Offset, u32, Option<LeaderEpoch>)> {
        let (mut events, mut sums, until) = (Vec::new(), Vec::new(), Instant::now() + PATIENCE);
        let sum = |event| match event {
            ReadEvent::Record { record, epoch } => Some((record.offset, record_sum(&record), epoch)),
            ReadEvent::Known { offset, crc32c, epoch, .. } => Some((offset, crc32c, epoch)),
            ReadEvent::End { .. } | ReadEvent::Failed { .. } => None,
        };
        loop {
            self.reader.poll_known(1_000, &|_| Position(u64::MAX), &mut events);
            sums.extend(events.drain(..).filter_map(sum));
            if sums.len() >= count {
                return sums;
            }
            assert!(Instant::now() < until, "waited in vain after {:?}", sums.last());
            self.waiter.wait(Some(PATIENCE));
        }
    }

    /// Reads to where an end at or after `position` is told; its position.
    fn end(&mut self, position: Position) -> Position {
        let ends = |events: &[ReadEvent]| {
            events.iter().rev().find_map(|event| match event {
                ReadEvent::End { position: end, .. } if *end >= position => Some(*end),
                _ => None,
            })
        };
        ends(&self.until(|events| ends(events).is_some())).expect("just found")
    }
}

fn record(partition: u32, key: &str, value: &str) -> NewRecord {
    NewRecord {
        partition: Partition(partition),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    }
}

fn low(log: &impl Log, partition: u32) -> Position {
    log.watermarks(Partition(partition)).expect("the log answers").low
}

fn a_fresh_log_is_empty_and_knows_itself(log: &impl Log) {
    assert_eq!(log.partition_count(), Ok(NonZeroU32::new(3).expect("three")));
    assert_eq!(log.identity(), log.identity(), "an identity does not change by asking");
    assert!(!log.identity().expect("the log answers").topic.is_empty());
    for partition in 0..3 {
        let marks = log.watermarks(Partition(partition)).expect("the log answers");
        assert!(marks.low == marks.stable && marks.stable == marks.high, "partition {partition}: {marks:?}");
    }
    let missing = log.watermarks(Partition(3));
    assert_eq!(missing, Err(LogError::NoSuchPartition { partition: Partition(3) }));
}

fn what_is_stored_is_read_back_as_it_was(log: &impl Log) {
    let header = |name: &'static [u8], value: Option<&'static [u8]>| Header {
        name: Bytes::from_static(name),
        value: value.map(Bytes::from_static),
    };
    let headers = vec![header(b"twice", Some(b"1")), header(b"\xff\xfe", None), header(b"twice", Some(b""))];
    let variants = [
        record(0, "key", "value"),
        NewRecord { headers, ..record(0, "headers", "value") },
        NewRecord { value: None, ..record(0, "null value", "") },
        NewRecord { value: Some(Bytes::new()), ..record(0, "empty value", "") },
        NewRecord { key: None, ..record(0, "", "null key") },
        NewRecord { key: Some(Bytes::new()), ..record(0, "", "empty key") },
        NewRecord { value: Some(Bytes::from(vec![0xa5; 100_000])), ..record(0, "large", "") },
    ];
    let mut writing = Writing::new(log);
    let offsets: Vec<Offset> = variants.iter().map(|record| writing.append(record.clone())).collect();
    let found = Reading::new(log, &[(0, low(log, 0))]).taken_records(variants.len());
    for (((found, _), offset), sent) in found.iter().zip(offsets).zip(variants) {
        let back = NewRecord {
            partition: found.partition,
            key: found.key.clone(),
            value: found.value.clone(),
            headers: found.headers.clone(),
        };
        assert_eq!((back, found.offset), (sent, offset));
        assert!(found.timestamp.is_some_and(|timestamp| timestamp.0 > 0), "{:?}", found.timestamp);
    }
    // Whoever knows them is told the same by their sums.
    let expected: Vec<_> =
        found.iter().map(|(record, epoch)| (record.offset, record_sum(record), *epoch)).collect();
    assert_eq!(Reading::new(log, &[(0, low(log, 0))]).sums(found.len()), expected);
    let marks = log.watermarks(Partition(0)).expect("the log answers");
    assert!(marks.stable == marks.high && marks.high > found[found.len() - 1].0.offset.next().min(marks.low));
}

fn every_send_has_one_report_and_partitions_keep_their_order(log: &impl Log) {
    const COUNT: u64 = 10_000;
    let mut writing = Writing::new(log);
    let mut reports = Vec::new();
    for token in 0..COUNT {
        let record = record((token % 3) as u32, &format!("key-{}", token % 17), &token.to_string());
        while let Err(error) = writing.appender.send(record.clone(), token) {
            assert!(matches!(error, SendError::Full(_)), "the only reason to wait: {error}");
            reports.extend(writing.reports(1));
        }
    }
    reports.extend(writing.reports(COUNT as usize - reports.len()));
    let tokens: BTreeSet<u64> = reports.iter().map(|report| report.token).collect();
    assert_eq!((tokens.len(), reports.len()), (COUNT as usize, COUNT as usize), "each token comes back once");
    let stored: BTreeSet<(Partition, Offset, u64)> = reports
        .iter()
        .filter_map(|report| match report.delivery {
            Delivery::Stored { offset: Some(offset), .. } => Some((report.partition, offset, report.token)),
            _ => None,
        })
        .collect();
    assert_eq!(stored.len(), COUNT as usize, "every record is stored at a known place");
    let places: Vec<(u32, Position)> = (0..3).map(|partition| (partition, low(log, partition))).collect();
    let found = Reading::new(log, &places).records(COUNT as usize);
    let mut last = [None; 3];
    for record in found {
        let token: u64 =
            String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).parse().expect("a number");
        assert!(
            stored.contains(&(record.partition, record.offset, token)),
            "{token} lies where it was reported"
        );
        let last = &mut last[record.partition.0 as usize];
        assert!(*last < Some((record.offset, token)), "offsets and sends rise together");
        *last = Some((record.offset, token));
    }
}

fn reading_begins_anywhere_and_tells_the_end(log: &impl Log) {
    let start = low(log, 0);
    let mut reading = Reading::new(log, &[(0, start)]);
    assert_eq!(reading.end(start), start, "the end of an empty log is told");
    let mut writing = Writing::new(log);
    let offsets: Vec<Offset> = (0..20).map(|n| writing.append(record(0, "key", &n.to_string()))).collect();
    let end = offsets[19].next();
    assert!(reading.end(end) >= end, "the new end is told");
    let found = Reading::new(log, &[(0, Position(offsets[7].0))]).records(13);
    assert_eq!(found.iter().map(|record| record.offset).collect::<Vec<_>>(), offsets[7..]);
    reading.reader.assign(Partition(0), Position(offsets[15].0));
    let again = reading.records(5);
    assert_eq!(
        again.iter().map(|record| record.offset).collect::<Vec<_>>(),
        offsets[15..],
        "assigning again seeks"
    );
    let mut at_end = Reading::new(log, &[(0, end)]);
    assert!(at_end.end(end) >= end);
    let next = writing.append(record(0, "key", "next"));
    assert_eq!(at_end.records(1)[0].offset, next);
}

fn positions_outside_the_log_are_told(log: &impl Log) {
    let mut writing = Writing::new(log);
    writing.append(record(0, "key", "value"));
    let high = log.watermarks(Partition(0)).expect("the log answers").high;
    let position = Position(high.0 + 1_000);
    let failed = |event: &ReadEvent| {
        matches!(
            event,
            ReadEvent::Failed { partition: Some(Partition(0)), failure: ReadFailure::OutOfRange { .. } }
        )
    };
    Reading::new(log, &[(0, position)]).until(|events| events.iter().any(failed));
}

fn a_record_beyond_the_limit_is_refused_with_both_sizes(log: &impl Log) {
    let limit = log.record_bytes_max();
    let mut writing = Writing::new(log);
    let value = Some(Bytes::from(vec![0; limit as usize + 1]));
    let refused = writing.appender.send(NewRecord { value, ..record(0, "key", "") }, 1);
    let Err(SendError::TooLarge { bytes, bytes_max }) = refused else { panic!("{refused:?}") };
    assert!(bytes > bytes_max && bytes_max == limit, "{bytes} of {bytes_max}, the limit is {limit}");
    let value = Some(Bytes::from(vec![0; limit as usize - "key".len()]));
    writing.append(NewRecord { value, ..record(0, "key", "") });
    the_limit_holds_for_a_record_with_the_most_headers(log, &mut writing);
    assert_eq!(writing.appender.has_room(1, 1_000), Ok(()));
    a_full_queue_names_its_own_bound(&*writing.appender);
}

/// Two headers as a marker has, and the most that a writer may give; what they take beside their content counts.
fn the_limit_holds_for_a_record_with_the_most_headers(log: &impl Log, writing: &mut Writing) {
    let header = Header { name: Bytes::from_static(b"name"), value: Some(Bytes::from_static(b"value")) };
    let headers = vec![header; 2 + EVENT_HEADERS_MAX];
    let wide = NewRecord { headers, ..record(0, "key", "") };
    let limit = log.record_bytes_max();
    let room = (limit - wide.bytes()) as usize;
    let with = |bytes: usize| NewRecord { value: Some(Bytes::from(vec![0; bytes])), ..wide.clone() };
    let refused = writing.appender.send(with(room + 1), 1);
    assert_eq!(refused, Err(SendError::TooLarge { bytes: limit + 1, bytes_max: limit }));
    let offset = writing.append(with(room));
    let found = Reading::new(log, &[(0, Position(offset.0))]).records(1).remove(0);
    assert_eq!((found.value, found.headers), (with(room).value, wide.headers));
}

/// An error told the size of what was asked for as the limit of the queue, or 0.
fn a_full_queue_names_its_own_bound(appender: &dyn LogAppender) {
    let bound = |records, bytes| match appender.has_room(records, bytes) {
        Ok(()) => None,
        Err(QueueBound::Records { records_max: max } | QueueBound::Bytes { bytes_max: max }) => Some(max),
    };
    let asked = usize::MAX / 2;
    let records = bound(asked, 0).expect("every queue has a bound");
    assert_eq!(bound(asked - 1, 0), Some(records), "whatever is asked for");
    assert!(records > 0 && records < asked as u64 - 1, "{records}");
    assert_eq!(bound(records as usize, 0), None, "what it may hold fits into an empty one");
    if let Some(bytes) = bound(1, asked as u64) {
        assert_eq!((bound(1, asked as u64 - 1), bound(1, bytes)), (Some(bytes), None));
    }
}

fn a_waiting_reader_is_woken_by_an_append(log: &impl Log) {
    let start = low(log, 0);
    let mut reading = Reading::new(log, &[(0, start)]);
    reading.end(start);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| reading.records(1));
        let offset = Writing::new(log).append(record(0, "key", "value"));
        assert_eq!(waiting.join().expect("the reader does not panic")[0].offset, offset);
    });
}

fn stable_ends_lie_above_what_was_reported_before(log: &impl Log) {
    let all = [2, 0, 1].map(Partition);
    let mut writing = Writing::new(log);
    for round in 0..20 {
        let offset = writing.append(record(round % 3, "key", &round.to_string()));
        let ends = log.stable_ends(&all);
        let marks = all.map(|partition| log.watermarks(partition).map(|marks| marks.stable));
        assert_eq!(ends, marks, "nobody else writes");
        let place = all.iter().position(|partition| partition.0 == round % 3).expect("it is one of them");
        assert!(ends[place].as_ref().is_ok_and(|end| *end >= offset.next()), "{ends:?} after {offset}");
    }
    let ends = log.stable_ends(&[Partition(1), Partition(3), Partition(0)]);
    assert_eq!(ends[1], Err(LogError::NoSuchPartition { partition: Partition(3) }));
    assert!(
        ends.len() == 3 && ends[0].is_ok() && ends[2].is_ok(),
        "one that is missing hides no other: {ends:?}"
    );
    assert_eq!(log.stable_ends(&[]), []);
}
