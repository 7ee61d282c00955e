//! The appending half: one idempotent producer.

use crate::native::{Client, Draft};
use crate::options::QUEUE_BYTES_MAX;
use crate::shortage::Shortage;
use bkes_core::TimestampMs;
use bkes_log::{AppenderState, LogAppender, NewRecord, QueueBound, Report, SendError, Token};
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// librdkafka sends no further request of a partition while so many of its messages are under way (RD_KAFKA_IDEMP_MAX_INFLIGHT in
/// rdkafka_int.h, compared with messages, not requests, in rdkafka_broker.c).
const UNDER_WAY_MAX: usize = 5;

pub(crate) struct KafkaAppender {
    client: Client,
    shortage: Arc<Shortage>,
    record_bytes_max: u64,
    records_max: usize,
    /// Taken and not handed over.
    drafts: Vec<Draft>,
    /// Size of each record that was not reported yet.
    open: HashMap<Token, u64>,
    open_bytes: u64,
}

impl KafkaAppender {
    pub fn new(
        client: Client,
        shortage: Arc<Shortage>,
        record_bytes_max: u64,
        records_max: usize,
    ) -> KafkaAppender {
        KafkaAppender {
            client,
            shortage,
            record_bytes_max,
            records_max,
            drafts: Vec::new(),
            open: HashMap::new(),
            open_bytes: 0,
        }
    }
}

impl LogAppender for KafkaAppender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        let (bytes, bytes_max) = (record.bytes(), self.record_bytes_max);
        if bytes > bytes_max {
            return Err(SendError::TooLarge { bytes, bytes_max });
        }
        if let Some(detail) = self.client.sink().fatal() {
            return Err(SendError::Fatal { detail });
        }
        let down = self.client.sink().down().or_else(|| self.shortage.of(record.partition));
        if let Some(detail) = down {
            return Err(SendError::Down { detail });
        }
        self.has_room(1, bytes).map_err(SendError::Full)?;
        self.drafts.push(Draft::new(record, token, now()));
        self.open.insert(token, bytes);
        self.open_bytes += bytes;
        Ok(())
    }

    /// librdkafka sends what it finds when it looks, and holds back what comes behind until that was answered: with idempotence it
    /// has one request of a partition under way, and meanwhile its thread asks again and again whether it may go on. So nothing is
    /// done here between one record and the next.
    fn flush(&mut self) {
        let mut failed = None;
        for draft in self.drafts.drain(..) {
            let (partition, token) = (draft.partition, draft.token);
            // Nothing is sent behind what was not.
            failed = failed.or_else(|| self.client.produce(draft).err());
            if let Some(detail) = &failed {
                self.client.sink().refuse(partition, token, detail.clone());
            }
        }
    }

    fn under_way_max(&self) -> usize {
        UNDER_WAY_MAX
    }

    fn has_room(&self, records: usize, bytes: u64) -> Result<(), QueueBound> {
        if self.open.len() + records > self.records_max {
            return Err(QueueBound::Records { records_max: self.records_max as u64 });
        }
        if self.open_bytes + bytes > QUEUE_BYTES_MAX {
            return Err(QueueBound::Bytes { bytes_max: QUEUE_BYTES_MAX });
        }
        Ok(())
    }

    fn poll(&mut self, out: &mut Vec<Report>) {
        self.client.poll();
        let before = out.len();
        self.client.sink().take_reports(out);
        for report in &out[before..] {
            self.open_bytes -= self.open.remove(&report.token).unwrap_or(0);
        }
    }

    fn state(&self) -> AppenderState {
        if let Some(detail) = self.client.sink().fatal() {
            return AppenderState::Fatal { detail };
        }
        self.client.sink().down().map_or(AppenderState::Up, |detail| AppenderState::Down { detail })
    }
}

/// The record's time of creation by the machine's clock, which may stand before 1970; the topic may replace it by its own.
pub(crate) fn now() -> TimestampMs {
    let ms = |since: Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    TimestampMs(since.map_or_else(|before| -ms(before.duration()), ms))
}
