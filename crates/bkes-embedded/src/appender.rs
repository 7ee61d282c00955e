//! The appending half: takes records into the queue and gives out what became of them.

use crate::frame;
use crate::queue::{Queued, Reports, Size, WriteState, report};
use crate::shared::Shared;
use bkes_log::{
    AppenderState, Delivery, LogAppender, NewRecord, QueueBound, Report, SendError, Token, Waker,
};
use std::sync::{Arc, Mutex, PoisonError};

pub struct EmbeddedAppender {
    shared: Arc<Shared>,
    reports: Reports,
    /// Taken and not handed over.
    drafts: Vec<Queued>,
}

impl EmbeddedAppender {
    pub fn new(shared: Arc<Shared>, waker: Waker) -> EmbeddedAppender {
        let reports = Arc::new((Mutex::default(), waker));
        shared.queue().add_appender(&reports);
        EmbeddedAppender { shared, reports, drafts: Vec::new() }
    }
}

impl LogAppender for EmbeddedAppender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        let (bytes, bytes_max) = (record.bytes(), self.shared.record_bytes_max);
        if bytes > bytes_max || !frame::fits(&record) {
            return Err(SendError::TooLarge { bytes, bytes_max });
        }
        let size = Size::of(&record);
        assert!(record.partition.0 < self.shared.header.partitions.get(), "the partition is known");
        let mut queue = self.shared.queue();
        if let Some(detail) = queue.state.trouble() {
            return Err(SendError::Down { cause: detail.clone().into() });
        }
        if queue.stop {
            return Err(SendError::Fatal { cause: "the log is closed".into() });
        }
        queue.fits(size).map_err(SendError::Full)?;
        queue.take(size);
        drop(queue);
        self.drafts.push(Queued { record, size, token, reports: Arc::clone(&self.reports) });
        Ok(())
    }

    fn flush(&mut self) {
        if self.drafts.is_empty() {
            return;
        }
        let mut queue = self.shared.queue();
        if queue.stop {
            queue.give_up(&self.drafts);
            drop(queue);
            return report(&mut self.drafts, |_| Delivery::NotStored { detail: "the log is closed".into() });
        }
        queue.push(&mut self.drafts);
        drop(queue);
        self.shared.queued.notify_one();
    }

    fn in_flight_max(&self) -> usize {
        // What comes while a group is synced is gathered here anyway, and is written as soon as that has ended.
        usize::MAX
    }

    fn has_room(&self, records: usize, bytes: u64) -> Result<(), QueueBound> {
        self.shared.queue().fits(Size { records, bytes })
    }

    fn record_bytes_max(&self) -> u64 {
        self.shared.record_bytes_max
    }

    fn poll(&mut self, out: &mut Vec<Report>) {
        out.append(&mut self.reports.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> AppenderState {
        match &self.shared.queue().state {
            WriteState::Works => AppenderState::Up,
            WriteState::Failing(detail) | WriteState::Broken(detail) => {
                AppenderState::Down { cause: detail.clone().into() }
            }
        }
    }
}

impl Drop for EmbeddedAppender {
    fn drop(&mut self) {
        self.shared.queue().give_up(&self.drafts);
    }
}
