//! The embedded log as others see it: the contract, and what a torn write or a flipped bit leave behind.

mod support;

use bkes_embedded::{EmbeddedLog, EmbeddedOptions};
use bkes_log::{Log, conformance};
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};
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
    let mut fresh = |partitions| {
        let directory = TempDir::new().expect("a directory");
        let log =
            EmbeddedLog::open(&EmbeddedOptions { partitions, ..options(directory.path()) }).expect("opens");
        directories.push(directory);
        log
    };
    conformance::check(&mut fresh);
    conformance::check_no_groups(&mut fresh);
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

/// Bytes of the header of a group, and so of a seal, which is what a log that was closed ends with.
const SEAL_BYTES: usize = 36;

/// What the records of these tests take, of one digit each: the frame, the key, the digit.
const RECORD_BYTES: usize = 38 + 3 + 1;

/// The header of the file: the topic's name, `events`, has six bytes.
const HEADER_BYTES: usize = 8 + 4 + 16 + 8 + 2 + 6 + 4;

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
    for length in whole.len()..more.len() - SEAL_BYTES {
        let end = more.len() - SEAL_BYTES;
        let hole: Vec<u8> = more[length..end].iter().take(20).map(|byte| !byte).collect();
        let behind = &more[length + hole.len()..end];
        for torn in [[&more[..length], b""].concat(), [&more[..length], &hole, behind].concat()] {
            fs::write(&file, torn).expect("it is written");
            let log = open(directory.path());
            assert_eq!(read(&log), [0, 1, 2], "torn at {length}");
            append(&log, 3, 1, |_| {});
            assert_eq!(read(&log), [0, 1, 2, 3], "torn at {length}");
        }
    }
}

#[test]
fn damage_before_later_groups_refuses_to_open_and_names_the_place() {
    let directory = TempDir::new().expect("a directory");
    let log = open(directory.path());
    append(&log, 0, 20, |_| {});
    drop(log);
    let file = directory.path().join("events.log");
    let good = fs::read(&file).expect("it is read");
    // The last group too: it was sealed when the log was closed.
    for at in HEADER_BYTES..good.len() - SEAL_BYTES {
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
fn a_log_that_nothing_is_appended_to_is_sealed_once() {
    let directory = TempDir::new().expect("a directory");
    let log = open(directory.path());
    let length = || fs::metadata(directory.path().join("events.log")).expect("it is there").len() as usize;
    append(&log, 0, 1, |_| {});
    let group = SEAL_BYTES + RECORD_BYTES;
    let until = Instant::now() + Duration::from_secs(60);
    while length() < HEADER_BYTES + group + SEAL_BYTES {
        assert!(Instant::now() < until, "it is not sealed");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(length(), HEADER_BYTES + group + SEAL_BYTES);
    append(&log, 1, 1, |_| {});
    drop(log);
    assert_eq!(length(), HEADER_BYTES + 2 * (group + SEAL_BYTES));
    drop(open(directory.path()));
    assert_eq!(length(), HEADER_BYTES + 2 * (group + SEAL_BYTES), "opening and closing adds nothing");
    assert_eq!(read(&open(directory.path())), [0, 1]);
}

/// A log in directories that are made with it, and whose names must be made durable with it.
#[test]
fn a_log_is_made_in_directories_that_are_not_there() {
    let directory = TempDir::new().expect("a directory");
    let deep = directory.path().join("one/two/three");
    append(&open(&deep), 0, 2, |_| {});
    assert_eq!(read(&open(&deep)), [0, 1]);
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
