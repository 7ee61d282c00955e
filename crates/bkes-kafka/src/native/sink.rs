//! What callbacks leave for the owner of a handle. They may run on any thread.

use super::Code;
use super::kept::Kept;
use super::reach::Reach;
use crate::lock::lock;
use crate::shortage::Shortage;
use bkes_core::Partition;
use bkes_log::{Delivery, Report, Token, Waker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What callbacks leave for the owner, and whether the brokers are there.
#[derive(Default)]
pub struct Sink {
    pub(super) reports: Mutex<Vec<Report>>,
    pub(super) reach: Mutex<Reach>,
    /// Whether a broker could not be reached lately; written under the lock of `reach`.
    pub(super) in_doubt: AtomicBool,
    pub(super) down: FaultFlag,
    pub(super) fatal: FaultFlag,
    /// Of whoever polls records or reports.
    pub(super) waker: Option<Waker>,
    /// Of whoever polls a reader's callbacks.
    pub(super) callbacks: Option<Waker>,
    pub(super) shortage: Arc<Shortage>,
    pub(super) kept: Kept,
}

/// What librdkafka said is wrong, if anything; looked at for each record, so without a lock while nothing is.
#[derive(Default)]
pub(super) struct FaultFlag {
    words: Mutex<Option<String>>,
    /// Written under the lock of the words.
    is_there: AtomicBool,
}

impl FaultFlag {
    pub(super) fn get(&self) -> Option<String> {
        if !self.is_there.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.words).clone()
    }

    pub(super) fn set(&self, words: Option<String>) -> Option<String> {
        let mut before = lock(&self.words);
        self.is_there.store(words.is_some(), Ordering::Release);
        std::mem::replace(&mut *before, words)
    }
}

impl Sink {
    /// Of a handle that is asked.
    pub fn asking(waker: Waker) -> Sink {
        Sink { waker: Some(waker), ..Sink::default() }
    }

    /// Of a reader: `waker` when there are records, `callbacks` when there is something else.
    pub fn reading(waker: Waker, callbacks: Waker) -> Sink {
        Sink { waker: Some(waker), callbacks: Some(callbacks), ..Sink::default() }
    }

    /// Of an appender.
    pub fn appending(waker: Waker, shortage: Arc<Shortage>) -> Sink {
        Sink { waker: Some(waker), shortage, ..Sink::default() }
    }

    pub fn down(&self) -> Option<String> {
        self.down.get()
    }

    pub fn fatal(&self) -> Option<String> {
        self.fatal.get()
    }

    /// A broker answered somebody: sending makes sense again.
    pub fn is_up(&self) {
        if !self.in_doubt.load(Ordering::Acquire) {
            return;
        }
        let mut reach = lock(&self.reach);
        reach.alive();
        self.in_doubt.store(false, Ordering::Release);
        if self.down.set(None).is_some() {
            self.wake();
        }
    }

    /// librdkafka reported an error that does not end the handle.
    pub(super) fn error(&self, code: Code, words: &str) {
        let mut reach = lock(&self.reach);
        let down = reach.error(code, words);
        self.in_doubt.store(reach.is_in_doubt(), Ordering::Release);
        if down.is_some() {
            self.down.set(down);
        }
    }

    /// Why no answer came, with the brokers that are not where they say that they are.
    pub fn unanswered(&self, detail: String) -> String {
        match lock(&self.reach).misplaced() {
            Some(misplaced) => format!("{detail}: {misplaced}"),
            None => detail,
        }
    }

    /// A record that will never be sent.
    pub fn refuse(&self, partition: Partition, token: Token, detail: String) {
        lock(&self.reports).push(Report { partition, token, delivery: Delivery::NotStored { detail } });
        self.wake();
    }

    pub fn take_reports(&self, out: &mut Vec<Report>) {
        out.append(&mut lock(&self.reports));
    }

    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    pub(super) fn wake_for_callbacks(&self) {
        if let Some(waker) = &self.callbacks {
            waker.wake();
        }
    }
}
