//! A process that appends is killed: what it was told to be stored is there. In a program of its own, because a child that is
//! being started holds the open files, and so the locks, of its parent for a moment.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{append, open, read};
use tempfile::TempDir;

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
