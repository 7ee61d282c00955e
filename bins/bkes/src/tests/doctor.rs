//! `bkes doctor`, on a topic and a store in memory.

use super::memory::{Habits, MemoryStore};
use super::topics::{status, topic, write};
use super::{Ran, Run, is_harmless};
use crate::arguments::{Arguments, TopicVerb, Verb};
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::verbs::doctor::{Place, ServerSide, TopicSide, run};
use bkes_api::{Failure, PartitionState, Position, Reason, Status, TopicId};
use bkes_core::Partitioner;
use bkes_kafka::{Finding, Severity, TopicReport, TopicRights};
use bkes_log::MemoryLog;
use clap::Parser;
use serde_json::{Value, json};
use std::sync::Arc;

const RIGHTS: TopicRights = TopicRights { read: true, write: true, describe_configs: true };

fn report(findings: Vec<Finding>) -> TopicReport {
    TopicReport { findings, message_bytes_max: 1_048_588 }
}

fn side(log: &MemoryLog, settings: TopicReport, rights: TopicRights) -> TopicSide {
    let place = Place { brokers: "broker:9092".into(), topic: "events".into() };
    TopicSide::reached(place, Arc::new(log.clone()), settings, Ok(Some(rights)))
}

fn server(habits: Habits) -> ServerSide {
    ServerSide { address: "store:50030".into(), store: MemoryStore::with(habits) }
}

fn saying(status: Status) -> ServerSide {
    server(Habits { status: Some(status), ..Habits::default() })
}

impl Run<'_> {
    async fn looks_at(self, topic: Option<TopicSide>, server: Option<ServerSide>) -> Ran {
        let arguments = Arguments::parse_from(["bkes", "doctor"].iter().chain(self.words));
        let Verb::OnTopic(TopicVerb::Doctor(args)) = &arguments.verb else { panic!("it is doctor") };
        let (mut input, mut output, mut talk) = (self.input, Vec::new(), Vec::new());
        let mut console = Console::new(&mut input, &mut output, &mut talk, self.looks);
        let ended = run(args, topic, server, &mut console).await;
        let code = match &ended {
            Ok(()) => None,
            Err(Ended::OutputClosed) => panic!("this output does not close"),
            Err(ended @ Ended::With { code, .. }) => {
                console.say_end(ended);
                Some(*code)
            }
        };
        Ran { code, output, talk: String::from_utf8(talk).expect("it is text") }
    }
}

/// What was found, by its kind.
fn found(ran: &Ran) -> Vec<(String, String)> {
    let of = |found: &Value, name: &str| found[name].as_str().unwrap_or_default().to_owned();
    let all = ran.json()[0]["findings"].as_array().cloned().expect("a list");
    all.iter().map(|found| (of(found, "severity"), of(found, "kind"))).collect()
}

/// Keys of a topic of five partitions, as these hashes place them in turn.
fn placed_by(hashes: &[Partitioner]) -> MemoryLog {
    let (log, count) = (topic(5), 5.try_into().expect("not zero"));
    let keys: Vec<String> = (0..300).map(|number| format!("key-{number}")).collect();
    let places = keys.iter().zip(hashes.iter().cycle());
    let records: Vec<_> =
        places.map(|(key, hash)| (key.as_str(), hash.place(key.as_bytes(), count).0, "v")).collect();
    write(&log, &records);
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_and_a_server_that_are_well_have_nothing_to_cure() {
    let log = placed_by(&[Partitioner::Crc32]);
    let topic = || side(&log, report(Vec::new()), RIGHTS);
    let ran = Run::of(&[]).looks_at(Some(topic()), Some(saying(status(&log)))).await.done();
    assert_eq!(ran.json()[0]["findings"], json!([]));
    let facts = ran.json()[0]["facts"].to_string();
    for expected in
        ["crc32: of 300 distinct keys", "round trip to the leaders", "round trip to the server", "librdkafka"]
    {
        assert!(facts.contains(expected), "{expected}: {facts}");
    }
    let ran = Run::of(&[]).on_a_terminal().looks_at(Some(topic()), None).await.done();
    assert!(ran.text().ends_with("\nnothing found\n") && !ran.text().contains("server"), "{}", ran.text());
    let ran = Run::of(&[]).looks_at(None, Some(saying(status(&log)))).await.done();
    assert!(!ran.text().contains("partitioner"), "{}", ran.text());
    assert_eq!(
        found(&ran),
        [("note".to_owned(), "no_brokers".to_owned())],
        "that it was not looked at is said"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_two_hashes_placed_are_told_with_the_flag_to_give() {
    let log = placed_by(&[Partitioner::Crc32, Partitioner::Murmur2]);
    let ran = Run::of(&[]).looks_at(Some(side(&log, report(Vec::new()), RIGHTS)), None).await;
    assert_eq!(ran.code, Some(Code::Rejected));
    assert_eq!(found(&ran), [("warning".to_owned(), "partitioner".to_owned())]);
    assert!(ran.json()[0]["findings"][0]["cure"].to_string().contains("--partitioner"), "{}", ran.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_told_the_worst_first_and_each_with_a_cure() {
    let finding = |severity, message: &str, cure: Option<&str>| Finding {
        severity,
        message: message.into(),
        cure: cure.map(Into::into),
    };
    let settings = report(vec![
        finding(Severity::Note, "not verified\x1b[2J", None),
        finding(Severity::Warning, "replication factor 1", None),
        finding(Severity::Refused, "cleanup.policy=compact", Some("kafka-configs.sh --alter")),
    ]);
    let log = topic(1);
    let ran = Run::of(&[]).looks_at(Some(side(&log, settings.clone(), RIGHTS)), None).await;
    assert_eq!(ran.code, Some(Code::Rejected));
    let severities: Vec<_> = found(&ran).into_iter().map(|(severity, _)| severity).collect();
    assert_eq!(severities, ["problem", "warning", "note"]);
    let all = &ran.json()[0]["findings"];
    assert_eq!(all[0]["cure"], "kafka-configs.sh --alter");
    assert!(all[1]["cure"].to_string().contains("three replicas"), "{all}");
    assert!(ran.talk.contains("problems: 1, warnings: 1"), "{}", ran.talk);
    let ran = Run::of(&[]).on_a_terminal().looks_at(Some(side(&log, settings, RIGHTS)), None).await;
    assert!(is_harmless(&ran.output), "{}", ran.text());
    assert!(ran.text().contains("problem: cleanup.policy=compact\n  cure: kafka-configs.sh --alter\n"));

    let noted = report(vec![finding(Severity::Note, "not verified", None)]);
    let ran = Run::of(&[]).looks_at(Some(side(&log, noted, RIGHTS)), None).await.done();
    assert_eq!(found(&ran).len(), 1, "a note is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_read_no_keys_are_read() {
    let log = placed_by(&[Partitioner::Crc32, Partitioner::Murmur2]);
    let rights = TopicRights { read: false, ..RIGHTS };
    let ran = Run::of(&[]).looks_at(Some(side(&log, report(Vec::new()), rights)), None).await;
    assert_eq!(found(&ran), [("problem".to_owned(), "no_right".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_of_a_server_is_found() {
    let log = placed_by(&[Partitioner::Murmur2]);
    let state = |state: PartitionState| move |status: &mut Status| status.partitions[1].state = state.clone();
    type Change = Box<dyn Fn(&mut Status)>;
    let table: Vec<(&str, &str, Change)> = vec![
        ("problem", "stalled", Box::new(state(PartitionState::Stalled))),
        ("problem", "cut", Box::new(state(PartitionState::Cut))),
        ("problem", "degraded", Box::new(state(PartitionState::Degraded { reason: "torn".into() }))),
        ("warning", "catching_up", Box::new(state(PartitionState::CatchingUp))),
        ("note", "lag", Box::new(|status| status.partitions[0].lag = 3)),
        ("warning", "split", Box::new(|status| status.partitions[0].counters.split = 1)),
        ("warning", "forwarded", Box::new(|status| status.partitions[0].counters.forwarded = 1)),
        ("note", "void", Box::new(|status| status.partitions[0].counters.void = 1)),
        ("warning", "void", Box::new(|status| status.partitions[0].counters.void = 1_000)),
        ("note", "skipped", Box::new(|status| status.partitions[0].counters.skipped = 1)),
        ("note", "version", Box::new(|status| status.build.version = "0.0.1".into())),
        ("note", "unknown_appends", Box::new(|status| status.unknown = 1)),
        ("problem", "another_topic", Box::new(|status| status.topic_id = TopicId::new("other"))),
        ("problem", "lost_end", Box::new(|status| status.partitions[0].applied = Position(1_000))),
        ("warning", "unknown_partition", Box::new(|status| drop(status.partitions.pop()))),
        (
            "problem",
            "not_ready",
            Box::new(|status| status.unready = Some(Failure::new(Reason::LogDown, "no broker"))),
        ),
        (
            "note",
            "not_ready",
            Box::new(|status| status.unready = Some(Failure::new(Reason::Standby, "a standby"))),
        ),
    ];
    for (severity, kind, change) in table {
        let mut status = status(&log);
        change(&mut status);
        let topic = side(&log, report(Vec::new()), RIGHTS);
        let ran = Run::of(&[]).looks_at(Some(topic), Some(saying(status))).await;
        assert_eq!(found(&ran), [(severity.to_owned(), kind.to_owned())], "{}", ran.text());
        let cure = ran.json()[0]["findings"][0]["cure"].clone();
        assert!(severity == "note" || cure.is_string(), "{kind} has no cure");
        let is_fine = severity == "note";
        assert_eq!(ran.code, (!is_fine).then_some(Code::Rejected), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_a_problem_and_the_topic_is_looked_at_all_the_same() {
    let fails = Some(Failure::new(Reason::Unreachable, "refused\x07"));
    let log = topic(1);
    let topic = side(&log, report(Vec::new()), RIGHTS);
    let away = server(Habits { fails, ..Habits::default() });
    let ran = Run::of(&[]).on_a_terminal().looks_at(Some(topic), Some(away)).await;
    assert_eq!(ran.code, Some(Code::Rejected));
    assert!(is_harmless(&ran.output));
    assert!(
        ran.text().contains("partitioner") && ran.text().contains("(store:50030 was asked)"),
        "{}",
        ran.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_words_of_a_server_are_shown_and_not_obeyed() {
    let ran = Run::of(&[]).on_a_terminal().looks_at(None, Some(server(Habits::default()))).await;
    assert!(is_harmless(&ran.output), "{}", ran.text());
    assert_eq!(ran.code, Some(Code::Rejected), "one of its partitions is degraded");
}
