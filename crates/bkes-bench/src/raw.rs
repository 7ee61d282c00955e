//! The references: librdkafka alone, as well as it can be used.

mod batch;

use crate::load::{Achieved, warm};
use anyhow::Context;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Settings of a producer that loses nothing and waits for nothing.
pub fn producer_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("acks", "all");
    config.set("linger.ms", "0").set("socket.nagle.disable", "true");
    config
}

/// The consumer's settings as bkes-kafka has them.
fn consumer_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "raw").set("socket.nagle.disable", "true");
    config.set("queued.max.messages.kbytes", "4096").set("fetch.queue.backoff.ms", "2");
    config.set("fetch.wait.max.ms", "500").set("fetch.error.backoff.ms", "100");
    config.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false").set("auto.offset.reset", "error");
    config.set("check.crcs", "true");
    config
}

struct Reporting(Sender<(usize, bool)>);

impl ClientContext for Reporting {}

impl ProducerContext for Reporting {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, caller: usize) {
        // The receiver is gone at the end of a loop.
        let _ = self.0.send((caller, result.is_ok()));
    }
}

/// A closed loop of callers on a bare producer: the records of all are in the hands of one thread.
pub struct RawLoop {
    producer: ThreadedProducer<Reporting>,
    reports: Receiver<(usize, bool)>,
    topic: String,
    partitions: u32,
}

impl RawLoop {
    /// A producer on a topic of so many partitions.
    pub fn new(brokers: &str, topic: &str, partitions: u32) -> anyhow::Result<RawLoop> {
        let (to, reports) = channel();
        let producer = producer_config(brokers).create_with_context(Reporting(to))?;
        Ok(RawLoop { producer, reports, topic: topic.into(), partitions })
    }

    /// Runs it for a span.
    pub fn run(&self, callers: usize, span: Duration, value_bytes: usize) -> anyhow::Result<Achieved> {
        let value = vec![b'x'; value_bytes];
        let mut sent = vec![Instant::now(); callers];
        let mut number = 0u64;
        let mut send = |caller: usize, sent: &mut [Instant]| -> anyhow::Result<()> {
            number += 1;
            let key = format!("raw-{}", number / 10);
            let partition = (number / 10 % u64::from(self.partitions)) as i32;
            sent[caller] = Instant::now();
            let record = BaseRecord::with_opaque_to(&self.topic, caller).key(&key).payload(&value);
            self.producer.send(record.partition(partition)).map_err(|(error, _)| error)?;
            Ok(())
        };
        (0..callers).try_for_each(|caller| send(caller, &mut sent))?;
        let from = Instant::now() + warm(span);
        let until = from + span;
        let (mut times, mut open) = (Vec::new(), callers);
        while open > 0 {
            let (caller, stored) = self.reports.recv_timeout(Duration::from_secs(30)).context("no report")?;
            anyhow::ensure!(stored, "a record was not stored");
            if sent[caller] >= from {
                times.push(sent[caller].elapsed().as_secs_f32());
            }
            if Instant::now() < until {
                send(caller, &mut sent)?;
            } else {
                open -= 1;
            }
        }
        Ok(Achieved::of(times, span))
    }
}

impl Drop for RawLoop {
    fn drop(&mut self) {
        // Everything was reported on; this only ends the handle in order.
        let _ = self.producer.flush(Duration::from_secs(5));
    }
}

/// A consumer of a whole topic that drops what it reads, on a thread of its own.
pub struct Tail {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<anyhow::Result<()>>>,
}

impl Tail {
    /// Follows a topic from its end.
    pub fn follow(brokers: &str, topic: &str, partitions: u32) -> anyhow::Result<Tail> {
        let consumer: BaseConsumer = consumer_config(brokers).create()?;
        assign(&consumer, topic, partitions, Offset::End)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                    std::hint::black_box(message?.payload_len());
                }
            }
            Ok(())
        });
        Ok(Tail { stop, thread: Some(thread) })
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn assign(consumer: &BaseConsumer, topic: &str, partitions: u32, from: Offset) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, from)?;
    }
    Ok(consumer.assign(&list)?)
}

/// Reads so many records of a topic from its beginning, in batches; how long it took with everything it takes to begin.
pub fn replay(brokers: &str, topic: &str, partitions: u32, records: u64) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let consumer: BaseConsumer = consumer_config(brokers).create()?;
    // As the product does: by its name the beginning would have to be asked for first, and librdkafka asks again after half a
    // second when it does not know the leader yet.
    assign(&consumer, topic, partitions, Offset::Offset(0))?;
    let found = batch::drain(&consumer, records).context("the topic ended early")?;
    let took = began.elapsed();
    anyhow::ensure!(found.bytes > 0, "records without bytes");
    Ok(took)
}

/// A producer whose deliveries are awaited, for the relay.
pub struct Awaited(ThreadedProducer<Awaiting>);

struct Awaiting;

impl ClientContext for Awaiting {}

type Place = Option<(i32, i64, i64)>;

impl ProducerContext for Awaiting {
    type DeliveryOpaque = Box<oneshot::Sender<Place>>;

    fn delivery(&self, result: &DeliveryResult<'_>, to: Self::DeliveryOpaque) {
        let place = result.as_ref().ok().map(|message| {
            (message.partition(), message.offset(), message.timestamp().to_millis().unwrap_or(-1))
        });
        // A caller that went away is not told.
        let _ = to.send(place);
    }
}

impl Awaited {
    /// A producer like the raw one's.
    pub fn new(brokers: &str) -> anyhow::Result<Awaited> {
        Ok(Awaited(producer_config(brokers).create_with_context(Awaiting)?))
    }

    /// Sends a record; where it was stored.
    pub async fn send(
        &self,
        topic: &str,
        partition: i32,
        key: &[u8],
        value: &[u8],
    ) -> anyhow::Result<(i32, i64, i64)> {
        let (to, place) = oneshot::channel();
        let record = BaseRecord::with_opaque_to(topic, Box::new(to)).key(key).payload(value);
        self.0.send(record.partition(partition)).map_err(|(error, _)| error)?;
        place.await?.context("not stored")
    }
}
