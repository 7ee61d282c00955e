//! `bkes doctor` on a real broker: what is wrong with a topic is named, and its cure takes the finding away; `cargo xtask integration` runs
//! this.

mod support;

use bkes_foreign::Right;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::{Ran, Server, bkes, brokers, cluster, make_topic, write};

async fn look_at(topic: &str) -> Ran {
    bkes(&["doctor", "-b", &brokers(), "-t", topic, "--no-server", "-o", "json"]).await
}

/// What is found of a topic's settings that a command cures: what it is, and the settings that the command sets.
fn curable(ran: &Ran) -> Vec<(String, Vec<(String, String)>)> {
    let json = ran.json();
    let all = json["findings"].as_array().expect("a list").clone();
    let cure = |found: &serde_json::Value| {
        let cure = found["cure"].as_str()?;
        let words: Vec<&str> = cure.split(' ').collect();
        let is_command = words.first() == Some(&"kafka-configs.sh");
        let at = words.iter().position(|word| *word == "--add-config").filter(|_| is_command)?;
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = words[at + 1].split(',').filter_map(pair).collect();
        Some((found["what"].as_str()?.to_owned(), settings))
    };
    all.iter().filter_map(cure).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_settings_are_named_and_each_cure_takes_its_finding_away() {
    let bad = [
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1000000000"),
        ("unclean.leader.election.enable", "true"),
    ];
    let topic = make_topic(1, &bad).await;
    let mut settings: BTreeMap<String, String> =
        bad.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let ran = look_at(&topic).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let named: Vec<String> = curable(&ran).into_iter().map(|(what, _)| what).collect();
    for (name, value) in bad {
        assert!(named.iter().any(|what| what.starts_with(&format!("{name}={value}: "))), "{name}: {named:?}");
    }
    // As kafka-configs.sh does: the other settings stay as they are.
    while let Some((what, cure)) = curable(&look_at(&topic).await).into_iter().next() {
        settings.extend(cure);
        let given: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        cluster().set_topic(&topic, &given).await.expect("it is changed");
        let until = Instant::now() + Duration::from_secs(30);
        while curable(&look_at(&topic).await).iter().any(|(found, _)| *found == what) {
            assert!(Instant::now() < until, "its cure does not cure: {what}");
        }
    }
    // One broker keeps one replica: that stays.
    let ran = look_at(&topic).await;
    let severities: Vec<_> = ran.json()["findings"].as_array().expect("a list").clone();
    assert!(severities.iter().all(|found| found["severity"] == "warning"), "{ran:?}");
    assert!(ran.output.contains("replication factor 1"), "{ran:?}");
}

/// Looks until something is found, or is not found any more: brokers obey a moment later.
async fn until_found(topic: &str, kind: &str, is_wanted: bool) -> Ran {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let ran = look_at(topic).await;
        if ran.kinds().iter().any(|found| found == kind) == is_wanted {
            return ran;
        }
        assert!(Instant::now() < until, "{kind} {is_wanted}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named_and_nothing_is_written_to_find_out() {
    let topic = make_topic(1, &[("retention.ms", "-1")]).await;
    for (right, operation) in
        [(Right::Write, "Write"), (Right::Read, "Read"), (Right::Settings, "DescribeConfigs")]
    {
        let name = topic.clone();
        let taking = tokio::task::spawn_blocking(move || cluster().take_right(&name, right));
        taking.await.expect("no panic").expect("it is taken away");
        let ran = until_found(&topic, "no_right", true).await;
        assert_eq!(ran.code, 1);
        assert!(ran.output.contains(&format!("--operation {operation} --topic {topic}")), "{ran:?}");
        let name = topic.clone();
        let giving = tokio::task::spawn_blocking(move || cluster().give_rights_back(&name));
        giving.await.expect("no panic").expect("they are given back");
        until_found(&topic, "no_right", false).await;
    }
    let ran = look_at(&topic).await;
    assert!(ran.output.contains("{\"name\":\"offsets in the log\",\"value\":\"0\"}"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_stays_open_is_named_until_it_ends() {
    let topic = make_topic(1, &[("retention.ms", "-1")]).await;
    let producer = cluster().transactional(&format!("{topic}-writer")).expect("a producer");
    producer.begin().expect("it begins");
    write(&producer, &topic, Some("key"), "open", Some(0));
    producer.flush().expect("it is delivered");
    let ran = until_found(&topic, "open_transaction", true).await;
    assert!(ran.output.contains(&format!("find-hanging --topic {topic} --partition 0")), "{ran:?}");
    producer.commit().expect("it ends");
    until_found(&topic, "open_transaction", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_or_a_broker_that_is_not_there_is_a_finding() {
    let ran = look_at("cli-not-there").await;
    assert_eq!((ran.code, ran.kinds()), (1, vec!["no_topic".to_owned()]), "{ran:?}");
    assert!(ran.output.contains("kafka-topics.sh"), "{ran:?}");
    let ran = bkes(&["doctor", "-b", "127.0.0.1:1", "--no-server", "-o", "json"]).await;
    assert_eq!((ran.code, ran.kinds()), (1, vec!["no_broker".to_owned()]), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_looked_at_beside_its_topic() {
    let (topic, other) = (make_topic(1, &[("retention.ms", "-1")]).await, make_topic(1, &[]).await);
    let server = Server::of(&topic).await;
    server.append("key", 0, &["0", "1"]).await;
    let of = async |topic: &str| {
        bkes(&["doctor", "-b", &brokers(), "-t", topic, "--server", &server.address, "-o", "json"]).await
    };
    let ran = of(&topic).await;
    // Beside what one broker cannot have.
    assert!(ran.kinds().iter().all(|kind| kind == "topic_setting"), "{ran:?}");
    assert!(ran.output.contains("2 events, 0 of them foreign"), "{ran:?}");
    assert!(of(&other).await.kinds().iter().any(|kind| kind == "another_topic"));
    cluster().delete_records(&topic, 0, 1).await.expect("it is removed");
    let kinds = of(&topic).await.kinds();
    for expected in ["head_removed", "short_retention"] {
        assert!(kinds.iter().any(|kind| kind == expected), "{expected}: {kinds:?}");
    }
    let alone = bkes(&["doctor", "--server", &server.address, "-o", "json"]).await;
    assert_eq!((alone.code, alone.kinds()), (0, vec!["no_brokers".to_owned()]), "{alone:?}");
    assert!(!alone.output.contains("\"brokers\""), "{alone:?}");
}
