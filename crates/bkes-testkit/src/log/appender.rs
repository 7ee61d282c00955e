//! The appending half of the simulated log.

use super::faults::Fate;
use super::state::{OnTheWay, State, Visibility, locked};
use bkes_core::{Offset, Record};
use bkes_log::{AppenderState, Delivery, LogAppender, NewRecord, QueueBound, Report, SendError, Token};
use std::sync::{Arc, Mutex};

pub(super) struct Appender {
    pub(super) log: Arc<Mutex<State>>,
    pub(super) slot: usize,
}

impl Drop for Appender {
    fn drop(&mut self) {
        locked(&self.log).appenders[self.slot].dropped = true;
    }
}

impl LogAppender for Appender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        let mut state = locked(&self.log);
        state.check(self.slot, &record)?;
        state.appenders[self.slot].open += 1;
        let NewRecord { partition, key, value, headers } = record;
        let timestamp = Some(state.now);
        let record = Record { partition, offset: Offset(0), timestamp, key, value, headers };
        let dice = state.random.u32(..1_000);
        let fate = state.faults.fate(dice);
        let mut sent = OnTheWay { appender: self.slot, token, record, acknowledged: true };
        // Records of one handle and partition keep their order: one that is on its way is not overtaken.
        let fate = if state.is_behind(&sent) { Some(Fate::Delayed) } else { fate };
        if let Some(fate) = fate {
            state.fates.count(fate);
        }
        let unknown = Delivery::Unknown { detail: "no acknowledgement came in time".into() };
        let delivery = match fate {
            Some(Fate::Delayed) => {
                state.on_the_way.push_back(sent);
                return Ok(());
            }
            Some(Fate::Late) => {
                sent.acknowledged = false;
                state.on_the_way.push_back(sent);
                unknown
            }
            Some(Fate::Lost) => unknown,
            Some(Fate::NotStored) => Delivery::NotStored { detail: "it never left the queue".into() },
            Some(Fate::Oversized) => {
                Delivery::Oversized { detail: "what it was sent with is too large".into() }
            }
            Some(Fate::AcknowledgementLost) => {
                state.store(sent.record, Visibility::Visible);
                unknown
            }
            Some(Fate::Repeated) => {
                state.store(sent.record.clone(), Visibility::Visible);
                sent.acknowledged = false;
                state.on_the_way.push_back(sent);
                unknown
            }
            Some(Fate::OffsetUnknown) => {
                state.store(sent.record, Visibility::Visible);
                Delivery::Stored { offset: None, timestamp: None }
            }
            Some(Fate::Gap) | None => {
                if fate.is_some() {
                    let skip = 1 + state.random.u64(..3);
                    state.partitions[partition.0 as usize].high += skip;
                }
                let offset = state.store(sent.record, Visibility::Visible);
                Delivery::Stored { offset: Some(offset), timestamp }
            }
        };
        state.report(self.slot, Report { partition, token, delivery });
        state.wake_all();
        Ok(())
    }

    fn flush(&mut self) {}

    fn in_flight_max(&self) -> usize {
        2
    }

    fn has_room(&self, records: usize, _bytes: u64) -> Result<(), QueueBound> {
        let state = locked(&self.log);
        let fits = state.appenders[self.slot].open + records <= state.queue_max;
        if fits { Ok(()) } else { Err(QueueBound::Records { records_max: state.queue_max as u64 }) }
    }

    fn record_bytes_max(&self) -> u64 {
        locked(&self.log).record_bytes_max
    }

    fn poll(&mut self, out: &mut Vec<Report>) {
        out.extend(locked(&self.log).appenders[self.slot].reports.drain(..));
    }

    fn state(&self) -> AppenderState {
        let state = locked(&self.log);
        if let Some(detail) = state.appenders[self.slot].fatal.clone() {
            return AppenderState::Fatal { cause: detail.into() };
        }
        state.down.clone().map_or(AppenderState::Up, |detail| AppenderState::Down { cause: detail.into() })
    }
}
