//! The server on a real broker: `cargo xtask integration` starts one and runs this.

mod support;

use bkes_grpc::api::error::Reason;
use std::time::{Duration, Instant};
use support::Server;
use support::kafka::{broker, make_topic, on_kafka, refused, topic};
use tempfile::TempDir;

#[tokio::test]
async fn a_killed_server_and_a_lost_store_come_back_with_the_same_content() {
    let (data, topic) = (TempDir::new().expect("a directory"), topic());
    let mut server = Server::start(on_kafka(data.path(), &topic));
    let mut client = server.client().await;
    for n in 0..30 {
        client.start_when_ready(&format!("key-{n}"), "0").await;
    }
    for round in 1..4u32 {
        for n in 0..30 {
            client.add(&format!("key-{n}"), round, &round.to_string()).await.expect("accepted");
        }
        server.kill();
        if round == 2 {
            std::fs::remove_dir_all(data.path().join("bkes")).expect("the store is removed");
        }
        server = Server::start(on_kafka(data.path(), &topic));
        client = server.client().await;
        client.ready().await;
        let expected: Vec<String> = (0..=round).map(|order| order.to_string()).collect();
        for n in 0..30 {
            assert_eq!(client.values(&format!("key-{n}")).await, expected, "key {n}, round {round}");
        }
    }
    let (status, _) = server.terminate().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn two_instances_accept_each_order_once_and_converge() {
    let (one, two, topic) =
        (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"), topic());
    let (left, right) =
        (Server::start(on_kafka(one.path(), &topic)), Server::start(on_kafka(two.path(), &topic)));
    let (mut first, mut second) = (left.client().await, right.client().await);
    first.start_when_ready("key", "0").await;
    second.ready().await;
    let mut accepted = 1u32;
    for order in 1..100 {
        while second.values("key").await.len() < accepted as usize
            || first.values("key").await.len() < accepted as usize
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (a, b) = tokio::join!(first.add("key", order, "left"), second.add("key", order, "right"));
        let wins = u32::from(a.is_ok()) + u32::from(b.is_ok());
        assert_eq!(wins, 1, "order {order}: {a:?} {b:?}");
        accepted += wins;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(first.values("key").await, second.values("key").await);
}

#[tokio::test]
async fn a_broker_killed_under_load_leaves_reads_and_usable_keys() {
    let (data, topic) = (TempDir::new().expect("a directory"), topic());
    let server = Server::start(on_kafka(data.path(), &topic));
    let mut client = server.client().await;
    client.start_when_ready("key", "0").await;
    client.add("key", 1, "1").await.expect("accepted");
    broker("kill");
    let until = Instant::now() + Duration::from_secs(60);
    let refused = loop {
        match client.add("key", 2, "2").await {
            Err(error) if error.reason() == Reason::LogDown => break error,
            Err(_) => assert!(Instant::now() < until, "it is never known to be down"),
            Ok(stored) => panic!("stored without a broker: {stored:?}"),
        }
    };
    assert!(refused.error.contains("down"), "{refused:?}");
    assert_eq!(client.values("key").await[..2], ["0", "1"]);
    broker("start");
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let order = client.values("key").await.len() as u32;
        match client.add("key", order, &order.to_string()).await {
            Ok(_) => break,
            Err(error) => assert!(Instant::now() < until, "the key does not come back: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let values = client.values("key").await;
    assert_eq!(values, (0..values.len()).map(|order| order.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_missing_topic_and_a_forbidden_property_are_refused() {
    let data = TempDir::new().expect("a directory");
    let mut missing = on_kafka(data.path(), &topic());
    missing.env_remove("CREATE_TOPIC");
    let (code, said) = refused(missing);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("kafka-topics.sh --bootstrap-server"), "{said}");
    let mut forbidden = on_kafka(data.path(), &topic());
    forbidden.args(["-X", "isolation.level=read_uncommitted"]);
    let (code, said) = refused(forbidden);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("property isolation.level is refused"), "{said}");
}

/// The properties that may be given, each with a value at an end of its range, as the table of `docs/operating.md` has them.
fn properties_at_their_ends() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
    let page = std::fs::read_to_string(page).expect("it is there");
    let (_, table) = page.split_once("| property | handles | librdkafka takes | BKES |").expect("its table");
    let mut all = Vec::new();
    for line in table.lines().take_while(|line| line.is_empty() || line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (name, range, does) = (cells[1].trim_matches('`'), cells[3], cells[4]);
        // How the broker is reached is not for a test to choose.
        if ["broker.address.family", "security.protocol"].contains(&name) {
            continue;
        }
        if !does.starts_with("passed on") && !does.starts_with("set to") {
            continue;
        }
        let narrow = does.split_once("taken from ").and_then(|(_, rest)| rest.split_once(':'));
        let ends: Vec<&str> = match narrow {
            Some((narrow, _)) => narrow.split(" to ").collect(),
            None if range.contains(" .. ") => range.split(" .. ").collect(),
            None if range.starts_with("text") => continue,
            None => range.split(", ").collect(),
        };
        all.extend(ends.into_iter().map(|value| format!("{name}={value}")));
    }
    all
}

/// Whatever is passed on, the instance does its work: it starts, appends and reads; or it ends at once with what is wrong. What only the
/// handles to come would refuse, such as a `fetch.max.bytes` above what may be received, ended it when the store had been built.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_property_that_is_passed_on_leaves_an_instance_that_works_or_is_refused() {
    let topic = make_topic(2, &[]).await;
    let mut rest = properties_at_their_ends();
    assert!(rest.len() > 100, "{rest:?}");
    let (mut refused, mut failed) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let some = rest.split_off(rest.len().saturating_sub(4));
        let tasks = some.into_iter().map(|property| {
            let topic = topic.clone();
            tokio::spawn(async move { (property.clone(), works_with(&property, &topic).await) })
        });
        let tasks: Vec<_> = tasks.collect();
        for task in tasks {
            match task.await.expect("no panic") {
                (property, Ok(true)) => println!("{property}: works"),
                (property, Ok(false)) => refused.push(property),
                (property, Err(error)) => failed.push(format!("{property}: {error}")),
            }
        }
    }
    println!("refused: {refused:?}");
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Whether an instance works with a property; `false` when it says that it does not take it.
async fn works_with(property: &str, topic: &str) -> Result<bool, String> {
    let data = TempDir::new().expect("a directory");
    let mut command = on_kafka(data.path(), topic);
    command.args(["-X", property]);
    let began = Instant::now();
    let mut server = Server::start_silent(command);
    let mut client = loop {
        if let Some(status) = server.ended() {
            return if status.code() == Some(2) {
                Ok(false)
            } else {
                Err(format!("{status}: {}", server.log()))
            };
        }
        let log = server.log();
        if let Some((_, rest)) = log.split_once("serving on ")
            && log.contains("ready:")
        {
            server.address = rest.split_whitespace().next().expect("an address").to_owned();
            break server.client().await;
        }
        if began.elapsed() > Duration::from_secs(20) {
            return Err(format!("not ready: {log}"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let began = Instant::now();
    let key = format!("key {property}");
    client.start(&key, "0").await.map_err(|error| format!("{error:?}"))?;
    for order in 1..5 {
        client.add(&key, order, "value").await.map_err(|error| format!("{order}: {error:?}"))?;
    }
    let took = began.elapsed();
    let read = client.values(&key).await.len();
    println!("{property}: {took:?}");
    if read == 5 && took < Duration::from_secs(30) {
        Ok(true)
    } else {
        Err(format!("{read} read; took {took:?}"))
    }
}
