//! The appending half: one idempotent producer.
//!
//! A broker refuses a whole batch for its size, small records with large ones, and librdkafka gives it up. So a batch is never larger than
//! the topic takes. When the topic takes less than what was known, everything waits until its settings were read again and what is on
//! its way was reported; then another producer handle, of smaller batches, goes on. Where the settings do not tell, that one's
//! batches have one record each, and a record that is refused alone is the measure.

use crate::clock::now;
use crate::native::{Client, Draft};
use crate::options::{BATCH_BYTES_ALONE, QUEUE_BYTES_MAX, batch_bytes, record_bytes_max};
use crate::polling::Polled;
use crate::shortage::Shortage;
use crate::topic_settings::TopicSettings;
use bkes_log::{AppenderState, Delivery, LogAppender, NewRecord, QueueBound, Report, SendError, Token};
use hashbrown::HashMap;
use std::sync::Arc;

/// librdkafka sends no further request of a partition while so many of its messages are under way (RD_KAFKA_IDEMP_MAX_INFLIGHT in
/// rdkafka_int.h, compared with messages, not requests, in rdkafka_broker.c).
const UNDER_WAY_MAX: usize = 5;

/// Makes a producer handle whose batches have at most so many bytes.
pub(crate) type Make = Box<dyn Fn(u64) -> Result<Client, String> + Send>;

/// What an appender shares with its log.
pub(crate) struct Shared {
    pub shortage: Arc<Shortage>,
    pub settings: Arc<TopicSettings>,
    pub polled: Polled,
    /// What a user lets a batch have.
    pub batch_bytes_wanted: u64,
    pub records_max: usize,
}

pub(crate) struct KafkaAppender {
    client: Client,
    /// The most that a batch of this handle has.
    batch_bytes: u64,
    make: Make,
    shared: Shared,
    sizes: Sizes,
    phase: Phase,
    /// Taken and not handed over.
    drafts: Vec<Draft>,
    /// Size of each record that was not reported yet.
    open: HashMap<Token, u64>,
    open_bytes: u64,
}

/// What is known of the topic's limit.
struct Sizes {
    /// The largest batch that the topic takes, as it was read.
    topic_takes: u64,
    /// The largest record, which a refusal may have shown to be less than that.
    record_bytes_max: u64,
    /// The reading of the settings that this rests on.
    reading: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// What is taken is handed over.
    HandsOver,
    /// A batch was refused for its size: nothing is handed over before the settings were read again, after this reading.
    Asks { after: u64 },
    /// Nothing is handed over before everything is reported; then a handle of such batches takes over.
    Drains { batch_bytes: u64 },
}

impl KafkaAppender {
    pub fn new(make: Make, shared: Shared) -> Result<KafkaAppender, String> {
        let (reading, topic_takes) = (shared.settings.readings(), shared.settings.batch_bytes_max());
        let batch_bytes = batch_bytes(shared.batch_bytes_wanted, topic_takes);
        Ok(KafkaAppender {
            client: make(batch_bytes)?,
            batch_bytes,
            make,
            shared,
            sizes: Sizes { topic_takes, record_bytes_max: record_bytes_max(topic_takes), reading },
            phase: Phase::HandsOver,
            drafts: Vec::new(),
            open: HashMap::new(),
            open_bytes: 0,
        })
    }

    /// Takes over what became known of sizes: by the settings, or by what the broker refused.
    fn measure(&mut self, out: &mut Vec<Report>, from: usize) {
        let mut is_refused = false;
        for report in out[from..].iter().filter(|r| matches!(r.delivery, Delivery::Oversized { .. })) {
            is_refused = true;
            if self.batch_bytes == BATCH_BYTES_ALONE {
                let bytes = self.open.get(&report.token).copied().unwrap_or(u64::MAX);
                self.sizes.record_bytes_max = self.sizes.record_bytes_max.min(bytes.saturating_sub(1));
            }
        }
        let readings = self.shared.settings.readings();
        if is_refused && self.phase == Phase::HandsOver && self.batch_bytes != BATCH_BYTES_ALONE {
            self.phase = Phase::Asks { after: readings };
            self.shared.settings.read_soon();
            return;
        }
        let is_told = matches!(self.phase, Phase::Asks { after } if readings > after);
        if readings == self.sizes.reading && !is_told {
            return;
        }
        self.sizes.reading = readings;
        let takes = self.shared.settings.batch_bytes_max();
        let wanted = batch_bytes(self.shared.batch_bytes_wanted, takes);
        if takes != self.sizes.topic_takes {
            self.sizes.topic_takes = takes;
            self.sizes.record_bytes_max = record_bytes_max(takes);
            self.phase = if wanted == self.batch_bytes {
                Phase::HandsOver
            } else {
                Phase::Drains { batch_bytes: wanted }
            };
            self.give_back_what_does_not_fit(out);
        } else if is_told {
            // It takes less than its settings say, or they are not told.
            tracing::warn!(
                "the broker refuses batches of {} bytes, and the topic's settings do not say why: from now on each event is sent alone",
                self.batch_bytes
            );
            self.phase = Phase::Drains { batch_bytes: BATCH_BYTES_ALONE };
        }
    }

    /// What was taken when the limit was another one.
    fn give_back_what_does_not_fit(&mut self, out: &mut Vec<Report>) {
        let bytes_max = self.sizes.record_bytes_max;
        let open = &self.open;
        let is_larger = |draft: &Draft| open.get(&draft.token).is_some_and(|bytes| *bytes > bytes_max);
        let (large, drafts) = std::mem::take(&mut self.drafts).into_iter().partition(is_larger);
        self.drafts = drafts;
        let large: Vec<Draft> = large;
        out.extend(large.into_iter().map(|Draft { partition, token, .. }| {
            let detail = "the topic takes less by now".to_owned();
            Report { partition, token, delivery: Delivery::Oversized { detail } }
        }));
    }

    /// Goes on with another handle, once nothing of this one is open.
    fn change_handle(&mut self) {
        let Phase::Drains { batch_bytes } = self.phase else { return };
        if self.open.len() > self.drafts.len() {
            return;
        }
        self.phase = Phase::HandsOver;
        match (self.make)(batch_bytes) {
            Ok(client) => {
                tracing::info!("events go to the topic in batches of at most {batch_bytes} bytes now");
                let before = std::mem::replace(&mut self.client, client);
                self.batch_bytes = batch_bytes;
                self.shared.polled.retire(before);
            }
            // The old one goes on. What it sends too large is refused, and leads here again.
            Err(detail) => tracing::error!("no producer handle for smaller batches: {detail}"),
        }
    }
}

impl LogAppender for KafkaAppender {
    fn send(&mut self, record: NewRecord, token: Token) -> Result<(), SendError> {
        let (bytes, bytes_max) = (record.bytes(), self.sizes.record_bytes_max);
        if bytes > bytes_max {
            return Err(SendError::TooLarge { bytes, bytes_max });
        }
        if let Some(detail) = self.client.sink().fatal() {
            return Err(SendError::Fatal { cause: detail.into() });
        }
        let down = self.client.sink().down().or_else(|| self.shared.shortage.of(record.partition));
        if let Some(detail) = down {
            return Err(SendError::Down { cause: detail.into() });
        }
        self.has_room(1, bytes).map_err(SendError::Full)?;
        self.drafts.push(Draft::new(record, token, now()));
        self.open.insert(token, bytes);
        self.open_bytes += bytes;
        Ok(())
    }

    /// librdkafka sends what it finds when it looks, and holds back what comes after until that was answered: with idempotence it
    /// has one request of a partition under way, and meanwhile its thread asks again and again whether it may go on. So nothing is
    /// done here between one record and the next.
    fn flush(&mut self) {
        if self.phase != Phase::HandsOver {
            return;
        }
        let mut failed = None;
        for draft in self.drafts.drain(..) {
            let (partition, token) = (draft.partition, draft.token);
            // Nothing is sent after what was not.
            failed = failed.or_else(|| self.client.produce(draft).err());
            if let Some(detail) = &failed {
                self.client.sink().refuse(partition, token, detail.clone());
            }
        }
    }

    fn in_flight_max(&self) -> usize {
        UNDER_WAY_MAX
    }

    fn has_room(&self, records: usize, bytes: u64) -> Result<(), QueueBound> {
        if self.open.len() + records > self.shared.records_max {
            return Err(QueueBound::Records { records_max: self.shared.records_max as u64 });
        }
        if self.open_bytes + bytes > QUEUE_BYTES_MAX {
            return Err(QueueBound::Bytes { bytes_max: QUEUE_BYTES_MAX });
        }
        Ok(())
    }

    fn record_bytes_max(&self) -> u64 {
        self.sizes.record_bytes_max
    }

    fn poll(&mut self, out: &mut Vec<Report>) {
        self.client.poll();
        let before = out.len();
        self.client.sink().take_reports(out);
        self.measure(out, before);
        for report in &out[before..] {
            self.open_bytes -= self.open.remove(&report.token).unwrap_or(0);
        }
        self.change_handle();
    }

    fn state(&self) -> AppenderState {
        if let Some(detail) = self.client.sink().fatal() {
            return AppenderState::Fatal { cause: detail.into() };
        }
        self.client
            .sink()
            .down()
            .map_or(AppenderState::Up, |detail| AppenderState::Down { cause: detail.into() })
    }
}
