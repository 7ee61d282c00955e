//! The embedded log as others see it: the contract, and what a kill, a torn write or a flipped bit leave behind.

use bkes_core::{Offset, Partition, Position};
use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_log::{Delivery, Log, NewRecord, ReadEvent, conformance, wake_pair};
use bytes::Bytes;
use std::fs;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

fn options(directory: &Path) -> EmbeddedOptions {
    EmbeddedOptions::new(directory)
}

fn open(directory: &Path) -> EmbeddedLog {
    EmbeddedLog::open(&options(directory)).expect("the log opens")
}

fn refusal(directory: &Path) -> String {
    EmbeddedLog::open(&options(directory)).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn the_embedded_log_conforms() {
    let mut directories = Vec::new();
    conformance::check(|partitions| {
        let directory = TempDir::new().expect("a directory");
        let log =
            EmbeddedLog::open(&EmbeddedOptions { partitions, ..options(directory.path()) }).expect("opens");
        directories.push(directory);
        log
    });
}

/// Appends `count` values one after the other, each acknowledged.
fn append(log: &EmbeddedLog, first: u64, count: u64, mut acknowledged: impl FnMut(u64)) {
    let (waker, mut waiter) = wake_pair();
    let mut appender = log.appender(waker).expect("an appender");
    for n in first..first + count {
        let value = Some(Bytes::from(n.to_string()));
        let record =
            NewRecord { partition: Partition(0), key: Some("key".into()), value, headers: Vec::new() };
        appender.send(record, n).expect("it is taken");
        let mut reports = Vec::new();
        while reports.is_empty() {
            waiter.wait(Some(Duration::from_secs(30)));
            appender.poll(&mut reports);
        }
        assert!(matches!(reports[0].delivery, Delivery::Stored { .. }), "{:?}", reports[0]);
        acknowledged(n);
    }
}

fn read(log: &EmbeddedLog) -> Vec<u64> {
    let (waker, _waiter) = wake_pair();
    let mut reader = log.reader(waker).expect("a reader");
    reader.assign(Partition(0), Position::START);
    let (mut values, mut events) = (Vec::new(), Vec::new());
    loop {
        reader.poll(100, &mut events);
        for event in events.drain(..) {
            match event {
                ReadEvent::Record(record) => {
                    assert_eq!(record.offset, Offset(values.len() as u64));
                    let value = record.value.expect("a value");
                    values.push(String::from_utf8_lossy(&value).parse().expect("a number"));
                }
                ReadEvent::End { .. } => return values,
                ReadEvent::Failed { failure, .. } => panic!("{failure}"),
            }
        }
    }
}

#[test]
fn everything_is_there_after_closing_and_opening_and_the_identity_stays() {
    let directory = TempDir::new().expect("a directory");
    let log = open(directory.path());
    append(&log, 0, 50, |_| {});
    let identity = log.identity();
    drop(log);
    let log = open(directory.path());
    assert_eq!(log.identity(), identity);
    append(&log, 50, 1, |_| {});
    assert_eq!(read(&log), (0..51).collect::<Vec<_>>());
    let other = TempDir::new().expect("a directory");
    assert_ne!(open(other.path()).identity(), identity, "each log has an identity of its own");
}

#[test]
fn a_torn_tail_is_cut_wherever_it_was_torn() {
    let directory = TempDir::new().expect("a directory");
    let log = open(directory.path());
    append(&log, 0, 3, |_| {});
    drop(log);
    let file = directory.path().join("events.log");
    let whole = fs::read(&file).expect("it is read");
    append(&open(directory.path()), 3, 1, |_| {});
    let more = fs::read(&file).expect("it is read");
    for length in whole.len()..more.len() {
        for garbage in [&b""[..], &[0xee; 20]] {
            fs::write(&file, [&more[..length], garbage].concat()).expect("it is written");
            let log = open(directory.path());
            assert_eq!(read(&log), [0, 1, 2], "cut at {length}");
            append(&log, 3, 1, |_| {});
            assert_eq!(read(&log), [0, 1, 2, 3], "cut at {length}");
        }
    }
}

#[test]
fn damage_before_good_records_refuses_to_open_and_names_the_place() {
    let directory = TempDir::new().expect("a directory");
    let log = open(directory.path());
    append(&log, 0, 20, |_| {});
    drop(log);
    let file = directory.path().join("events.log");
    let good = fs::read(&file).expect("it is read");
    let record = (good.len() - 39) / 20;
    for at in 40..good.len() - 2 * record {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&file, &bad).expect("it is written");
        let refused = refusal(directory.path());
        assert!(refused.contains("is damaged at byte"), "byte {at}: {refused}");
        assert_eq!(fs::read(&file).expect("it is read"), bad, "a refused log is left as it is");
    }
    fs::write(&file, &good).expect("it is written");
    assert_eq!(read(&open(directory.path())).len(), 20);
}

#[test]
fn a_second_process_another_topic_and_a_foreign_file_are_refused() {
    let directory = TempDir::new().expect("a directory");
    let log = open(directory.path());
    assert!(refusal(directory.path()).starts_with("another process uses the log"));
    drop(log);
    let other = EmbeddedOptions { topic: "other".into(), ..options(directory.path()) };
    let refused = EmbeddedLog::open(&other).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("belongs to topic events, not to other"), "{refused}");
    fs::write(directory.path().join("events.log"), "something else").expect("it is written");
    assert!(refusal(directory.path()).contains("is not a log of this version"));
}

#[test]
fn an_existing_log_keeps_its_partitions() {
    let directory = TempDir::new().expect("a directory");
    let partitions = NonZeroU32::new(4).expect("four");
    drop(EmbeddedLog::open(&EmbeddedOptions { partitions, ..options(directory.path()) }).expect("opens"));
    assert_eq!(open(directory.path()).partition_count(), Ok(partitions));
}

const VICTIM: &str = "BKES_TEST_KILLED_LOG";

/// Not a test of its own: the process that the next one kills.
#[test]
fn victim_of_the_kill() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    let log = open(Path::new(&directory));
    let first = read(&log).len() as u64;
    append(&log, first, 1_000_000, |n| println!("acknowledged {n}"));
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let directory = TempDir::new().expect("a directory");
    let mut acknowledged = 0;
    for _ in 0..4 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "victim_of_the_kill", "--nocapture"])
            .env(VICTIM, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let said = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        let mut killed = false;
        for (count, n) in said.enumerate() {
            acknowledged = n + 1;
            if count >= 200 && !killed {
                child.kill().expect("it is killed");
                killed = true;
            }
        }
        assert!(killed, "it was killed in the middle of its work");
        child.wait().expect("it ended");
        let found = read(&open(directory.path()));
        assert!(found.len() as u64 >= acknowledged, "{} of {acknowledged} are there", found.len());
        assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
    }
}
