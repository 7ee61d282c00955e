//! What a user may set, what is set for safety and speed, and why some things are never passed through.

use crate::native::Kind;
use crate::properties::{self, shown_value};
use std::fmt;

/// How to reach a topic.
#[derive(Clone)]
pub struct KafkaOptions {
    /// The brokers to begin with: host:port, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// librdkafka properties, passed through those that are for a handle; [`crate::resolve`] makes and checks them.
    pub properties: Vec<(String, String)>,
    /// How long a record may take before its outcome is unknown, in milliseconds.
    pub message_timeout_ms: u32,
    /// Most records an appender may have open.
    pub queue_records_max: usize,
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.properties.iter().map(|(name, value)| (name, shown_value(name, value)));
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("properties", &shown.collect::<Vec<_>>())
            .field("message_timeout_ms", &self.message_timeout_ms)
            .field("queue_records_max", &self.queue_records_max)
            .finish()
    }
}

impl KafkaOptions {
    /// A topic with usual settings.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> KafkaOptions {
        KafkaOptions {
            brokers: brokers.into(),
            topic: topic.into(),
            properties: Vec::new(),
            message_timeout_ms: 15_000,
            queue_records_max: 100_000,
        }
    }
}

/// Bytes of records an appender may have open.
pub const QUEUE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a record of ours takes in Kafka's format beside what [`NewRecord::bytes`](bkes_log::NewRecord::bytes) counts, at most: 61 for the
/// batch; 5 for the record's length, 1 each for attributes, timestamp and offset, 5 for the length of the key and of the value, 1 for
/// the number of headers, and 3 for the lengths of name and value of each of the marker's two. Further headers have what they take
/// counted with them: 10 bytes each, of which names of at most 65,535 bytes leave at least two; from the 62nd on their number takes 2.
pub const RECORD_OVERHEAD_BYTES: u64 = 61 + 5 + 3 + 5 + 5 + 1 + 2 * 3;

/// Room in the send queue beside the largest record, for what is counted with it before its headers are known.
const QUEUE_SLACK_BYTES: u64 = 64 * 1024;

/// The largest record, as [`NewRecord::bytes`](bkes_log::NewRecord::bytes) counts, for a topic that takes batches of so many bytes: one
/// that the send queue has never room for is too large, whatever the topic takes.
pub fn record_bytes_max(topic_takes: u64) -> u64 {
    topic_takes.saturating_sub(RECORD_OVERHEAD_BYTES).min(QUEUE_BYTES_MAX - QUEUE_SLACK_BYTES)
}

/// librdkafka's own default of `batch.size`.
const BATCH_BYTES_DEFAULT: u64 = 1_000_000;

/// A batch of at most so many bytes has one record: librdkafka puts the first one into a batch whatever its size is.
pub const BATCH_BYTES_ALONE: u64 = 1;

/// What a user lets a batch have, by `batch.size`.
pub fn batch_bytes_wanted(options: &KafkaOptions) -> u64 {
    let set = options.properties.iter().rfind(|(name, _)| name == "batch.size");
    set.and_then(|(_, value)| value.parse().ok()).unwrap_or(BATCH_BYTES_DEFAULT)
}

/// The bound of a batch for a topic that takes so much: what librdkafka puts together, the broker refuses as a whole.
pub fn batch_bytes(wanted: u64, topic_takes: u64) -> u64 {
    wanted.min(topic_takes).max(BATCH_BYTES_ALONE)
}

/// librdkafka's own bound for one record: never the one that counts.
const MESSAGE_BYTES: u64 = QUEUE_BYTES_MAX + 1024 * 1024;

/// Fetched and not polled, in KiB of content, over all partitions of a reader: small, since librdkafka takes twice as much beside
/// that for records of 200 bytes. They are 10,000 then, and what a poll takes is 2,048.
const FETCH_QUEUE_KBYTES: &str = "2048";

/// What a batch may take of memory when it is read. A topic bounds a batch as it is stored (`max.message.bytes`), that is compressed;
/// nothing bounds what comes out of it but librdkafka's `receive.message.max.bytes`, which is taken for zstd alone: gzip, lz4 and
/// snappy take what they need. Events compress tenfold, many small equal ones a hundredfold; a thousand times the largest batch leaves
/// room, since where the batch does not say its size librdkafka triples its buffer until it is enough, so that only a third of the
/// limit is certain. For the default of 1 MiB that is 1 GB: batches of 350 MB are certainly read, where librdkafka's own 100 MB is
/// certain for 33 MB. It is a limit: what is not needed is not taken.
const BATCH_EXPANSION_MAX: u64 = 1_000;

/// librdkafka's own default, and its most.
const RECEIVE_BYTES: (u64, u64) = (100_000_000, i32::MAX as u64);

/// What an answer of a broker has beside a batch: the head of the answer, the topic's name.
const ANSWER_OVERHEAD_BYTES: u64 = 65_536;

/// `receive.message.max.bytes` for a topic that takes batches of so many bytes.
pub fn receive_bytes_max(message_bytes_max: u64) -> u64 {
    let (least, most) = RECEIVE_BYTES;
    message_bytes_max.saturating_mul(BATCH_EXPANSION_MAX).clamp(least, most)
}

/// Why a user's own limit is not enough for the topic: librdkafka would close each connection on which such a batch comes, and say
/// nothing to the one who reads.
pub fn too_small_for(message_bytes_max: u64, name: &str, value: &str) -> Option<String> {
    let least = message_bytes_max.saturating_add(ANSWER_OVERHEAD_BYTES).min(RECEIVE_BYTES.1);
    let is_less = name == "receive.message.max.bytes" && value.parse().is_ok_and(|bytes: u64| bytes < least);
    is_less.then(|| {
        format!("the topic takes batches of {message_bytes_max} bytes (max.message.bytes); at least {least}")
    })
}

/// A broker answers a fetch when there is this much, or after this long: 200 fetches a second at most while little comes, instead of
/// one for each record. A record of another writer is seen this much later (docs/decisions/0008).
const FETCH_BYTES_MIN: &str = "1000000";
const FETCH_WAIT_MS: &str = "5";

/// Properties of every handle.
fn common(options: &KafkaOptions) -> Vec<(&str, String)> {
    let mut all = vec![
        ("bootstrap.servers", options.brokers.clone()),
        ("client.id", "bkes".to_owned()),
        ("socket.keepalive.enable", "true".to_owned()),
        ("socket.nagle.disable", "true".to_owned()),
        ("reconnect.backoff.ms", "50".to_owned()),
        ("reconnect.backoff.max.ms", "1000".to_owned()),
        ("log.connection.close", "false".to_owned()),
        // By default a producer learns of new partitions after five minutes; sending to them is refused until then.
        ("topic.metadata.refresh.interval.ms", "5000".to_owned()),
    ];
    let is_tls = |(name, value): &(String, String)| {
        name == "security.protocol" && value.to_ascii_uppercase().ends_with("SSL")
    };
    let has_ca = options.properties.iter().any(|(name, _)| name.starts_with("ssl.ca."));
    if options.properties.iter().any(is_tls) && !has_ca {
        all.push(("ssl.ca.location", "probe".to_owned()));
    }
    all
}

/// Producer and consumer share the user's list; what only one of them knows is given to that one.
fn passed(options: &KafkaOptions, kind: Kind) -> impl Iterator<Item = (&str, String)> {
    let known = options.properties.iter().filter(move |(name, _)| properties::is_for(name, kind));
    known.map(|(name, value)| (name.as_str(), value.clone()))
}

/// The properties of a handle that is asked. A question for the ends of partitions says itself whether it is about what was committed.
pub fn questions(options: &KafkaOptions) -> Vec<(&str, String)> {
    let mut all = consumer(options);
    // A handle that connects only to whom it needs does so again at once, whatever its backoff, while an administrative question (also
    // that for the ends of partitions) waits for a broker that refuses: 11,000 times a second. One that keeps a connection to each
    // broker waits between two tries.
    all.push(("enable.sparse.connections", "false".to_owned()));
    all
}

/// The properties of a consumer.
fn consumer(options: &KafkaOptions) -> Vec<(&str, String)> {
    let mut all = common(options);
    all.extend([
        ("group.id", "bkes".to_owned()),
        ("queued.max.messages.kbytes", FETCH_QUEUE_KBYTES.to_owned()),
        ("fetch.queue.backoff.ms", "2".to_owned()),
        ("fetch.wait.max.ms", FETCH_WAIT_MS.to_owned()),
        ("fetch.min.bytes", FETCH_BYTES_MIN.to_owned()),
        ("fetch.error.backoff.ms", "100".to_owned()),
    ]);
    all.extend(passed(options, Kind::Reader));
    all.extend([
        ("isolation.level", "read_committed".to_owned()),
        ("enable.auto.commit", "false".to_owned()),
        ("enable.auto.offset.store", "false".to_owned()),
        ("enable.partition.eof", "true".to_owned()),
        ("auto.offset.reset", "error".to_owned()),
        ("check.crcs", "true".to_owned()),
        // By Kafka's default whoever asks for a topic makes it, with a week's retention: one that was deleted would be back.
        ("allow.auto.create.topics", "false".to_owned()),
    ]);
    all
}

/// The properties of a consumer that reads what was committed, from a topic that takes batches of so many bytes.
pub fn reader(options: &KafkaOptions, message_bytes_max: u64) -> Vec<(&str, String)> {
    let mut all = vec![("receive.message.max.bytes", receive_bytes_max(message_bytes_max).to_string())];
    all.extend(consumer(options));
    all
}

/// The properties of a producer whose batches have at most so many bytes.
pub fn producer(options: &KafkaOptions, batch_bytes: u64) -> Vec<(&str, String)> {
    let mut all = common(options);
    all.extend([
        ("linger.ms", "0".to_owned()),
        ("queue.buffering.max.messages", options.queue_records_max.to_string()),
        ("queue.buffering.max.kbytes", (QUEUE_BYTES_MAX / 1024 * 2).to_string()),
    ]);
    all.extend(passed(options, Kind::Producer));
    all.extend([
        ("enable.idempotence", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("message.timeout.ms", options.message_timeout_ms.to_string()),
        ("allow.auto.create.topics", "false".to_owned()),
        ("message.max.bytes", MESSAGE_BYTES.to_string()),
        ("batch.size", batch_bytes.to_string()),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_core::Header;
    use bkes_core::limits::{HEADER_FRAME_BYTES, HEADER_NAME_BYTES_MAX};
    use bkes_log::NewRecord;
    use bytes::Bytes;

    /// The original's producer was not idempotent, its timeouts were endless, and its settings could say anything.
    #[test]
    fn defect_7_no_property_weakens_the_producer() {
        let mut options = KafkaOptions::new("broker:9092", "events");
        options.properties = vec![("enable.idempotence".into(), "false".into()), ("acks".into(), "1".into())];
        let properties = producer(&options, 1_000_000);
        let in_force =
            |name: &str| properties.iter().rfind(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        assert_eq!(in_force("enable.idempotence"), Some("true"));
        assert_eq!(in_force("acks"), Some("all"));
        assert_eq!(in_force("message.timeout.ms"), Some("15000"));
    }

    #[test]
    fn a_batch_and_a_record_are_no_larger_than_the_topic_takes() {
        let mut options = KafkaOptions::new("broker:9092", "events");
        let sizes = |options: &KafkaOptions, takes| {
            let batch = batch_bytes(batch_bytes_wanted(options), takes);
            let all = producer(options, batch);
            let in_force =
                all.iter().rfind(|(name, _)| *name == "batch.size").map(|(_, value)| value.clone());
            assert_eq!(in_force, Some(batch.to_string()));
            (batch, record_bytes_max(takes))
        };
        assert_eq!(sizes(&options, 65_536), (65_536, 65_450));
        assert_eq!(sizes(&options, 1_048_588), (1_000_000, 1_048_502));
        assert_eq!(sizes(&options, 0), (BATCH_BYTES_ALONE, 0));
        let largest = sizes(&options, 100_000_000).1;
        assert!(largest < QUEUE_BYTES_MAX && largest > QUEUE_BYTES_MAX * 99 / 100, "{largest}");
        options.properties = vec![("batch.size".into(), "30000".into())];
        assert_eq!(sizes(&options, 65_536).0, 30_000);
        assert_eq!(sizes(&options, 20_000).0, 20_000);
    }

    /// The bytes of a length in Kafka's format.
    fn varint(number: i64) -> u64 {
        let zigzag = ((number << 1) ^ (number >> 63)) as u64;
        u64::from((64 - (zigzag | 1).leading_zeros()).div_ceil(7))
    }

    /// A batch of one record, as a broker measures it.
    fn batch_of_one(record: &NewRecord) -> u64 {
        let length = |bytes: Option<&Bytes>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        let part = |bytes: Option<&Bytes>| varint(length(bytes)) + length(bytes).max(0) as u64;
        let header = |header: &Header| part(Some(&header.name)) + part(header.value.as_ref());
        let headers = varint(record.headers.len() as i64) + record.headers.iter().map(header).sum::<u64>();
        // Attributes, and no distance in time and offset from the first.
        let body = 3 + part(record.key.as_ref()) + part(record.value.as_ref()) + headers;
        61 + varint(body as i64) + body
    }

    /// The lengths of a writer's headers were not counted, so that a broker refused what this said would fit.
    #[test]
    fn what_counts_as_fitting_fits_into_a_batch_of_the_topics_whatever_headers_it_has() {
        let filled = |bytes: usize| Bytes::from(vec![b'x'; bytes]);
        let marker = [("order", 19), ("bkes", 79)];
        let marker = marker.map(|(name, bytes)| Header { name: name.into(), value: Some(filled(bytes)) });
        let topic_takes = 1_048_588;
        let sizes =
            [(0, None), (1, Some(0)), (63, Some(64)), (100, Some(900)), (64, Some(8_192)), (900, Some(63))];
        for (name, value) in sizes {
            for count in [0, 1, 61, 62, 63, 100, 1_000] {
                let header = Header { name: filled(name), value: value.map(filled) };
                let headers = [&marker[..], &vec![header; count]].concat();
                let (partition, key) = (bkes_core::Partition(0), Some(filled(100)));
                let record = NewRecord { partition, key, value: None, headers };
                let Some(room) = record_bytes_max(topic_takes).checked_sub(record.bytes()) else { continue };
                let largest = NewRecord { value: Some(filled(room as usize)), ..record };
                let wire = batch_of_one(&largest);
                assert!(wire <= topic_takes, "{wire}: {count} headers of {name} and {value:?} bytes");
            }
        }
        let long = Header { name: filled(HEADER_NAME_BYTES_MAX), value: Some(filled(64 * 1024 * 1024)) };
        let framing = batch_of_one(&NewRecord {
            partition: bkes_core::Partition(0),
            key: None,
            value: None,
            headers: vec![long.clone()],
        });
        assert!(framing - long.bytes() as u64 <= RECORD_OVERHEAD_BYTES + HEADER_FRAME_BYTES, "{framing}");
    }

    #[test]
    fn a_reader_takes_what_the_topic_may_hold_and_a_user_may_say_otherwise_within_reason() {
        let mut options = KafkaOptions::new("broker:9092", "events");
        let in_force = |options: &KafkaOptions, topic_takes| {
            let all = reader(options, topic_takes);
            let found = all.iter().rfind(|(name, _)| *name == "receive.message.max.bytes");
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(in_force(&options, 1_048_588).as_deref(), Some("1048588000"));
        assert_eq!(in_force(&options, 20_000).as_deref(), Some("100000000"));
        assert_eq!(in_force(&options, 10_000_000).as_deref(), Some("2147483647"));
        options.properties = vec![("receive.message.max.bytes".into(), "200000000".into())];
        assert_eq!(in_force(&options, 1_048_588).as_deref(), Some("200000000"));
        assert_eq!(too_small_for(1_048_588, "receive.message.max.bytes", "2000000"), None);
        let refused = too_small_for(10_000_000, "receive.message.max.bytes", "10000000").expect("it is");
        assert!(refused.contains("10065536"), "{refused}");
        assert_eq!(too_small_for(10_000_000, "fetch.max.bytes", "1"), None);
    }
}
