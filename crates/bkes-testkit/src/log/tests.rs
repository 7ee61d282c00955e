//! The log's transactions, its faults by seed, and the suite that every log runs.

use super::*;
use bkes_log::{NewRecord, ReadEvent, ReadFailure, Token, conformance, wake_pair};

fn log() -> SimulatedLog {
    SimulatedLog::new("topic", NonZeroU32::MIN)
}

fn foreign(log: &SimulatedLog, key: &'static str) -> Offset {
    log.append_foreign(Partition(0), Some(Bytes::from_static(key.as_bytes())), Some(Bytes::new()), Vec::new())
}

fn read_all(log: &SimulatedLog, from: u64) -> Vec<String> {
    let (waker, _waiter) = wake_pair();
    let mut reader = log.reader(waker).expect("the log is up");
    reader.assign(Partition(0), Position(from));
    let mut events = Vec::new();
    reader.poll(100, &mut events);
    let show = |event: ReadEvent| match event {
        ReadEvent::Record { record, .. } => format!("{}", record.offset),
        ReadEvent::Known { offset, .. } => format!("known {offset}"),
        ReadEvent::End { position, .. } => format!("end {position}"),
        ReadEvent::Failed { failure, .. } => failure.to_string(),
    };
    events.into_iter().map(show).collect()
}

#[test]
fn an_open_transaction_holds_readers_and_an_aborted_one_leaves_gaps() {
    let log = log();
    foreign(&log, "a");
    let transaction = log.begin();
    log.append_in(transaction, Partition(0), "b".into(), "".into());
    foreign(&log, "c");
    assert_eq!(read_all(&log, 0), ["0", "end 1"]);
    assert_eq!(log.stable_ends(&[Partition(0)]), [Ok(Position(1))]);
    log.end(transaction, false);
    assert_eq!(read_all(&log, 0), ["0", "2", "end 4"]);
    assert_eq!(log.stable_ends(&[Partition(0)]), [Ok(Position(4))]);
}

#[test]
fn a_log_cut_at_either_end_tells_positions_out_of_range() {
    let log = log();
    for _ in 0..6 {
        foreign(&log, "a");
    }
    log.cut_start(Partition(0), Position(2));
    assert_eq!(read_all(&log, 1), ["position 1 is out of range"]);
    log.truncate(Partition(0), Position(4));
    assert_eq!(read_all(&log, 5), ["position 5 is out of range"]);
    assert_eq!(read_all(&log, 2), ["2", "3", "end 4"]);
}

#[test]
fn one_seed_gives_one_history_and_every_send_one_report() {
    let run = |seed: u64| {
        let log = SimulatedLog::with_faults("topic", NonZeroU32::MIN, Faults::all(100), seed);
        let (waker, _waiter) = wake_pair();
        let mut appender = log.appender(waker).expect("the log is up");
        for token in 0..500 {
            let value = Some(Bytes::from(format!("{token}")));
            let record =
                NewRecord { partition: Partition(0), key: Some("k".into()), value, headers: Vec::new() };
            appender.send(record, token).expect("there is room");
        }
        while log.step() {}
        let mut reports = Vec::new();
        appender.poll(&mut reports);
        let mut tokens: Vec<Token> = reports.iter().map(|report| report.token).collect();
        tokens.sort_unstable();
        assert_eq!(tokens, (0..500).collect::<Vec<_>>(), "seed {seed}");
        (log.records(Partition(0)), reports)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn the_simulated_log_conforms() {
    conformance::check(|partitions| SimulatedLog::new("topic", partitions));
    conformance::check_groups(
        |partitions| SimulatedLog::new("topic", partitions),
        |log, group, partition, position| log.commit(group, partition, position),
    );
}

/// A consumer that had read what a failover lost is told, even when the log has grown past it again.
#[test]
fn a_reader_beyond_a_truncation_is_out_of_range_though_the_log_grew_again() {
    let (waker, _waiter) = wake_pair();
    let log = log();
    let write = |count: u32| {
        for _ in 0..count {
            foreign(&log, "key");
        }
    };
    write(4);
    let mut reader = log.reader(waker).expect("a reader");
    reader.assign(Partition(0), Position(0));
    let mut events = Vec::new();
    reader.poll(100, &mut events);
    log.truncate(Partition(0), Position(2));
    write(5);
    events.clear();
    reader.poll(100, &mut events);
    let failure = ReadFailure::LostEnd { end: Position(2) };
    assert_eq!(events, [ReadEvent::Failed { partition: Some(Partition(0)), failure }]);
    events.clear();
    reader.assign(Partition(0), Position(2));
    reader.poll(100, &mut events);
    assert_eq!(events.len(), 6, "five records and the end");
}
