//! Sending: the producer handle, its reports, and its replacement.

use super::Owner;
use super::bound::Bound;
use crate::limits::RETRY_MS;
use bkes_core::append::{AppendError, Unready};
use bkes_core::machine::Input;
use bkes_core::sequence::NowMs;
use bkes_log::{AppenderState, Report, SendError};

impl Owner {
    pub(super) fn take_reports(&mut self, now: NowMs) -> bool {
        let Some(appender) = &mut self.appender else { return false };
        let mut reports = std::mem::take(&mut self.reports);
        appender.poll(&mut reports);
        let busy = !reports.is_empty();
        let mut touched = std::mem::take(&mut self.touched);
        for Report { partition, token, delivery } in reports.drain(..) {
            let Some(hosted) = self.partitions.get_mut(&partition) else { continue };
            if hosted.inputs.is_empty() {
                touched.push(partition);
            }
            hosted.inputs.push(Input::Report { token, delivery });
        }
        self.reports = reports;
        for partition in touched.drain(..) {
            self.drive(partition, now);
        }
        self.touched = touched;
        busy
    }

    /// The log gets what was sent.
    pub(super) fn hand_over(&mut self) {
        if let Some(appender) = &mut self.appender {
            appender.flush();
        }
    }

    /// Replaces a handle that failed for good. What it had open is in doubt.
    pub(super) fn keep_appender(&mut self, now: NowMs) {
        match self.appender.as_ref().map(|appender| appender.state()) {
            Some(AppenderState::Up | AppenderState::Down { .. }) => return,
            Some(AppenderState::Fatal { cause }) => {
                tracing::error!("the producer handle failed and is replaced: {cause}");
                self.take_reports(now);
                self.appender = None;
                self.tell_all(now, || Input::HandleFailed { detail: cause.to_string() });
            }
            None => {}
        }
        if now < self.appender_retry_at {
            return;
        }
        self.appender_retry_at = now + RETRY_MS;
        match self.context.log.appender(self.inbox.waker()) {
            Ok(appender) => {
                self.appender = Some(appender);
                let name = (self.context.draw)();
                self.name = name;
                self.tell_all(now, || Input::Renamed { name, given_up: None });
            }
            Err(error) => tracing::error!("no new producer handle: {error}"),
        }
    }
}

/// What an append is told of which nothing was sent.
pub fn send_error(error: SendError) -> AppendError {
    match error {
        SendError::Full(bound) => AppendError::Unavailable(Bound::of_queue(bound).overloaded()),
        SendError::TooLarge { bytes, bytes_max } => AppendError::TooLarge { bytes, bytes_max },
        SendError::Down { cause } | SendError::Fatal { cause } => {
            AppendError::Unavailable(Unready::LogDown { cause })
        }
    }
}
