//! The embedded log as others see it: the contract, and what a torn write or a flipped bit leave behind.

mod support;

use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_log::{Log, conformance};
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use support::{append, open, read};
use tempfile::TempDir;

fn options(directory: &Path) -> EmbeddedOptions {
    EmbeddedOptions::new(directory)
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
