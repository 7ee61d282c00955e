//! What is too large, and what is not: batches that are large when they are unpacked, and a topic that takes less than usual, or less
//! than it did; `cargo xtask integration` runs this.

mod support;

use bkes_foreign::{ForeignRecord, Right};
use bkes_grpc::api::Error;
use bkes_grpc::api::error::{Outcome, Reason};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::Server;
use support::kafka::{cluster, make_topic, on_kafka, refused, serve};
use tempfile::TempDir;

const EVENTS: usize = 50_218;
const KEYS: usize = 100;

/// A batch of 50 MB that takes some 7 MB when it is compressed: an eighth of each value is random.
fn write_one_batch(topic: &str) {
    let settings = [
        ("compression.type", "zstd"),
        ("linger.ms", "60000"),
        ("batch.num.messages", "1000000"),
        ("batch.size", "1000000000"),
        ("message.max.bytes", "1000000000"),
        ("partitioner", "murmur2_random"),
    ];
    let producer = cluster().producer(&settings).expect("a producer");
    let mut random = fastrand::Rng::with_seed(1);
    for n in 0..EVENTS {
        let mut value = vec![b'x'; 1_000];
        random.fill(&mut value[..125]);
        let key = format!("key-{}", n % KEYS);
        let record =
            ForeignRecord { key: Some(key.as_bytes()), value: Some(&value), ..ForeignRecord::default() };
        producer.send(topic, &record).expect("it is queued");
    }
    producer.flush().expect("it is delivered");
}

/// The story: such a batch degraded its partition for ever, as damaged, with advice about replicas.
#[tokio::test]
async fn a_small_batch_that_is_large_when_unpacked_is_served_or_told_from_damage() {
    let topic = make_topic(1, &[("max.message.bytes", "10000000")]).await;
    write_one_batch(&topic);
    let data = TempDir::new().expect("a directory");
    let (server, mut client) = serve(data.path(), &topic).await;
    for n in [0, KEYS / 2, KEYS - 1] {
        let events = client.retrieve(&format!("key-{n}")).await.expect("there");
        assert_eq!(events.len(), (EVENTS - n).div_ceil(KEYS), "key-{n}");
    }
    println!("unpacked: {}", server.memory());
    server.kill();

    // With less room than it needs, the reason is its own, and says what helps.
    let narrow = TempDir::new().expect("a directory");
    let mut command = on_kafka(narrow.path(), &topic);
    command.args(["-X", "receive.message.max.bytes=11000000"]);
    let server = Server::start(command);
    let mut client = server.client().await;
    let until = Instant::now() + Duration::from_secs(60);
    let said = loop {
        let error = client.retrieve("key-0").await.expect_err("it cannot be read");
        if error.reason() == Reason::Degraded {
            break error.error;
        }
        assert!(Instant::now() < until, "it is not seen: {error:?}\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for words in ["does not fit", "receive.message.max.bytes=11000000", "-X receive.message.max.bytes=N"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("damaged record") && !said.contains("replica"), "{said}");
    server.kill();
    let (_server, mut client) = serve(narrow.path(), &topic).await;
    client.retrieve("key-0").await.expect("with the usual limit it is read");
}

#[tokio::test]
async fn a_limit_below_what_the_topic_takes_is_refused_at_start() {
    let topic = make_topic(1, &[("max.message.bytes", "10000000")]).await;
    let data = TempDir::new().expect("a directory");
    let mut command = on_kafka(data.path(), &topic);
    command.args(["-X", "receive.message.max.bytes=9000000"]);
    let (code, said) = refused(command);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("property receive.message.max.bytes is refused") && said.contains("max.message.bytes"),
        "{said}"
    );
}

/// Callers that append 8 kB to keys of their own all the time, each of which must be stored.
struct Callers {
    ends: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<u32>>,
}

impl Callers {
    async fn start(server: &Server, count: usize, appends_min: u32) -> Callers {
        let ends = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for caller in 0..count {
            let (mut client, ends) = (server.client().await, Arc::clone(&ends));
            tasks.push(tokio::spawn(async move {
                let (key, value) = (format!("caller-{caller}"), "x".repeat(8_000));
                client.start(&key, &value).await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
                let mut order = 1;
                while order < appends_min || !ends.load(Ordering::Acquire) {
                    let stored = client.add(&key, order, &value).await;
                    stored.unwrap_or_else(|error| panic!("{key} at {order}: {error:?}"));
                    order += 1;
                }
                order
            }));
        }
        Callers { ends, tasks }
    }

    /// Waits for their last answers; how much is stored.
    async fn end(self) -> u32 {
        self.ends.store(true, Ordering::Release);
        let mut stored = 0;
        for task in self.tasks {
            stored += task.await.expect("each of its appends was stored");
        }
        stored
    }
}

fn is_too_large(error: &Error, below: u64) {
    assert_eq!((error.reason(), error.outcome()), (Reason::TooLarge, Outcome::Rejected), "{error:?}");
    assert!(error.limit_bytes.is_some_and(|limit| limit < below && limit > below / 2), "{error:?}");
}

/// The story: librdkafka was told of a limit of 1,000,000 bytes at least. On a topic that takes 64 KiB, 63 of 64 first appends of 8 kB were
/// answered "not stored, try again", some of them 45 times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_that_fits_alone_is_stored_where_the_topic_takes_little() {
    let topic = make_topic(1, &[("max.message.bytes", "65536")]).await;
    let data = TempDir::new().expect("a directory");
    let (server, mut client) = serve(data.path(), &topic).await;
    let stored = Callers::start(&server, 64, 4).await.end().await;
    assert!(stored >= 256, "{stored}");
    // To some bytes: 61 are the batch's, and some 70 go with key and value.
    client.start("largest", &"x".repeat(65_536 - 150)).await.expect("it fits alone");
    is_too_large(&client.start("larger", &"x".repeat(65_536 - 60)).await.expect_err("it does not"), 65_536);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_lowered_costs_neighbours_nothing_and_one_that_is_raised_is_used() {
    let topic = make_topic(1, &[]).await;
    let data = TempDir::new().expect("a directory");
    let (server, mut client) = serve(data.path(), &topic).await;
    let callers = Callers::start(&server, 32, 1).await;
    client.start("large", &"x".repeat(100_000)).await.expect("it fits");
    let lowered = [("retention.ms", "-1"), ("max.message.bytes", "40000")];
    cluster().set_topic(&topic, &lowered).await.expect("it is set");
    let until = Instant::now() + Duration::from_secs(60);
    let mut order = 1;
    loop {
        // The broker obeys a moment later. There is no "try again" in between.
        match client.add("large", order, &"x".repeat(100_000)).await {
            Ok(_) => order += 1,
            Err(error) => break is_too_large(&error, 40_000),
        }
        assert!(Instant::now() < until, "it is never lowered: {}", server.log());
    }
    client.add("large", order, &"x".repeat(30_000)).await.expect("it fits");
    let raised = [("retention.ms", "-1"), ("max.message.bytes", "300000")];
    cluster().set_topic(&topic, &raised).await.expect("it is set");
    while let Err(error) = client.add("large", order + 1, &"x".repeat(250_000)).await {
        is_too_large(&error, 40_000);
        assert!(Instant::now() < until, "it is never raised: {}", server.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{} appends were stored meanwhile", callers.end().await);
    server.wait_for("the topic takes batches of up to 300000 bytes now, no longer 40000");
}

#[tokio::test]
async fn what_no_segment_holds_and_what_no_queue_holds_is_too_large() {
    let settings = [("max.message.bytes", "4000000"), ("segment.bytes", "1048576")];
    let topic = make_topic(1, &settings).await;
    let data = TempDir::new().expect("a directory");
    let (_server, mut client) = serve(data.path(), &topic).await;
    is_too_large(&client.start("key", &"x".repeat(2_000_000)).await.expect_err("it is"), 1_048_576);
    client.start("key", &"x".repeat(1_000_000)).await.expect("a segment holds it");

    let topic = make_topic(1, &[("max.message.bytes", "90000000")]).await;
    let data = TempDir::new().expect("a directory");
    let (server, mut client) = serve(data.path(), &topic).await;
    for bytes in [70_000_000, 80_000_000] {
        is_too_large(&client.start("key", &"x".repeat(bytes)).await.expect_err("it is"), 64 * 1024 * 1024);
    }
    let warned = server.wait_for("can be appended and not be read");
    assert!(warned.contains("max.message.bytes") && warned.contains("--reply-limit"), "{warned}");
}

/// The settings of a topic are not told to everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_limit_is_not_told_what_is_refused_shows_it() {
    let topic = make_topic(1, &[("max.message.bytes", "65536")]).await;
    cluster().take_right(&topic, Right::Settings).expect("it is taken away");
    // The broker obeys a moment later.
    let until = Instant::now() + Duration::from_secs(60);
    let (_data, server, mut client) = loop {
        let data = TempDir::new().expect("a directory");
        let (server, client) = serve(data.path(), &topic).await;
        if server.log().contains("were not verified") {
            break (data, server, client);
        }
        assert!(Instant::now() < until, "the right is never gone");
    };
    let callers = Callers::start(&server, 32, 4).await;
    is_too_large(&client.start("large", &"x".repeat(100_000)).await.expect_err("it is"), 101_000);
    client.start("fits", &"x".repeat(60_000)).await.expect("it fits");
    callers.end().await;
    cluster().give_rights_back(&topic).expect("it is given back");
}
