//! The Kafka log on a real broker: `cargo xtask integration` starts one and runs this.

use bkes_core::{Header, Partition, Position};
use bkes_kafka::{ConnectError, KafkaLog, KafkaOptions};
use bkes_log::{Log, NewRecord, ReadEvent, conformance, wake_pair};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

fn brokers() -> String {
    std::env::var("BKES_KAFKA_BROKERS")
        .expect("BKES_KAFKA_BROKERS names a broker: run `cargo xtask integration`")
}

fn fresh(partitions: NonZeroU32) -> KafkaLog {
    let topic = format!("log-{:016x}", fastrand::u64(..));
    KafkaLog::connect(KafkaOptions::new(brokers(), topic), Some(partitions)).expect("the topic is made")
}

#[test]
fn the_kafka_log_conforms() {
    conformance::check(fresh);
}

#[test]
fn a_missing_topic_is_named_with_the_command_that_makes_it() {
    let refused = KafkaLog::connect(KafkaOptions::new(brokers(), "nowhere"), None).err();
    assert!(matches!(refused, Some(ConnectError::NoSuchTopic { .. })), "{refused:?}");
}

#[test]
fn a_topic_made_by_us_keeps_its_events() {
    let log = fresh(NonZeroU32::MIN);
    let findings = &log.report().findings;
    assert!(findings.iter().all(|finding| !finding.message.contains("retention")), "{findings:?}");
}

/// The story: librdkafka gives names as C strings, so `bkes\0tail` was read as `bkes`, and a foreign record as one of ours.
#[test]
fn names_of_headers_are_bytes_and_keep_their_zeros() {
    let log = fresh(NonZeroU32::MIN);
    let names: [&[u8]; 8] =
        [b"bkes\0tail", b"bkes", b"\0", b"", b"order\0", b"\xff\0\xfe", b"bkes\0tail", b"plain"];
    let values = [Some(&b"1;x"[..]), None, Some(b""), Some(b"a\0b"), None, Some(b"\0"), None, Some(b"7")];
    let header = |(name, value): (&[u8], Option<&'static [u8]>)| Header {
        name: name.to_vec().into(),
        value: value.map(Into::into),
    };
    let headers: Vec<Header> = names.into_iter().zip(values).map(header).collect();
    let (waker, mut waiter) = wake_pair();
    let mut appender = log.appender(waker.clone()).expect("an appender");
    let record = NewRecord { partition: Partition(0), key: None, value: None, headers: headers.clone() };
    appender.send(record, 1).expect("it is queued");
    appender.flush();
    let mut reader = log.reader(waker).expect("a reader");
    reader.assign(Partition(0), Position(0));
    let (mut events, mut reports, until) = (Vec::new(), Vec::new(), Instant::now() + Duration::from_secs(30));
    let found = loop {
        appender.poll(&mut reports);
        reader.poll(10, &mut events);
        let record = events.iter().find_map(|event| match event {
            ReadEvent::Record { record, .. } => Some(record.clone()),
            _ => None,
        });
        if let Some(record) = record {
            break record;
        }
        assert!(Instant::now() < until, "{events:?} {reports:?}");
        waiter.wait(Some(Duration::from_millis(50)));
    };
    assert_eq!(found.headers, headers);
}
