//! Batches that are small in Kafka and large when they are unpacked; `cargo xtask integration` runs this.

mod support;

use bkes_foreign::ForeignRecord;
use bkes_grpc::api::error::Reason;
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
