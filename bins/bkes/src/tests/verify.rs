//! `bkes verify`, on a topic and a store in memory.

use super::memory::{Habits, MemoryStore, key};
use super::topics::{served, topic, write, write_in_order};
use super::{Closing, Ran, Run, is_harmless};
use crate::arguments::{Arguments, TopicVerb, Verb};
use crate::console::Console;
use crate::exit::{Code, Ended};
use bkes_api::{Append, EventStore, Failure, Offset, Reason};
use bkes_core::Partitioner;
use bkes_engine::{Engine, EngineOptions};
use bkes_log::{Log, MemoryLog};
use clap::Parser;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

impl Run<'_> {
    async fn audits_to(
        self,
        log: &MemoryLog,
        store: Option<&Arc<MemoryStore>>,
        output: &mut dyn Write,
    ) -> (Option<Code>, String) {
        let words = ["bkes", "verify", "-b", "broker:9092"];
        let arguments = Arguments::parse_from(words.iter().chain(self.words));
        let Verb::OnTopic(TopicVerb::Verify(args)) = &arguments.verb else { panic!("it is verify") };
        let (mut input, mut talk) = (self.input, Vec::new());
        let mut console = Console::new(&mut input, output, &mut talk, self.looks);
        let log: Arc<dyn Log> = Arc::new(log.clone());
        let store = store.map(|store| Arc::<MemoryStore>::clone(store) as Arc<dyn EventStore>);
        let ended = crate::verbs::verify::run(args, log, store, &mut console).await;
        let code = match &ended {
            Ok(()) => None,
            Err(Ended::OutputClosed) => panic!("what was found counts"),
            Err(ended @ Ended::With { code, .. }) => {
                console.say_end(ended);
                Some(*code)
            }
        };
        (code, String::from_utf8(talk).expect("it is text"))
    }

    async fn audits(self, log: &MemoryLog, store: Option<&Arc<MemoryStore>>) -> Ran {
        let mut output = Vec::new();
        let (code, talk) = self.audits_to(log, store, &mut output).await;
        Ran { code, output, talk }
    }
}

fn filled() -> MemoryLog {
    let log = topic(2);
    write(&log, &[("a", 0, "1"), ("b\x1b[2J", 1, "x"), ("a", 0, "2"), ("c", 0, "y"), ("a", 0, "3")]);
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shows_what_the_topic_holds_is_right() {
    let log = filled();
    let ran = Run::of(&[]).audits(&log, Some(&served(&log))).await.done();
    let report = &ran.json()[0];
    assert_eq!((&report["aggregates"], &report["findings"]), (&json!(3), &json!([])));
    assert_eq!(report["compared"], json!({"aggregates": 3, "events": 5, "newer_events": 0, "heads": 3}));
    assert_eq!(report["partitions"][0]["foreign"], json!(4));
    let ran = Run::of(&[]).on_a_terminal().audits(&log, Some(&served(&log))).await.done();
    assert!(
        ran.text()
            .ends_with("3 aggregates, 3 heads, 5 events; 0 newer ones were not judged\nnothing found\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_falsifies_is_named_with_its_place() {
    let log = filled();
    let store = served(&log);
    store.falsify(&key("a"), 1, |event| event.value = Some("forged".into()));
    store.falsify(&key("b\x1b[2J"), 0, |event| event.offset = Offset(7));
    let ran = Run::of(&[]).audits(&log, Some(&store)).await;
    assert_eq!(ran.code, Some(Code::Rejected));
    let findings = ran.json()[0]["findings"].clone();
    let of_value = json!({
        "kind": "differs", "key": "a", "order": 1, "partition": 0, "offset": 1, "what": "shown with another value"
    });
    let all = findings.as_array().expect("a list");
    assert!(all.contains(&of_value), "{findings}");
    assert!(all.iter().any(|found| found["key"] == "b\x1b[2J"), "{findings}");
    assert!(ran.talk.contains("findings"), "{}", ran.talk);

    let ran = Run::of(&[]).on_a_terminal().audits(&log, Some(&store)).await;
    assert_eq!(ran.code, Some(Code::Rejected));
    assert!(is_harmless(&ran.output));
    let expected = "key a, order 1, partition 0, offset 1: shown with another value\n";
    assert!(ran.text().contains(expected), "{}", ran.text());
    let expected = "key hex:621b5b324a, order 0, partition 1, offset 0: shown with another offset\n";
    assert!(ran.text().contains(expected), "{}", ran.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_counts_where_nobody_reads_it() {
    let log = filled();
    let store = served(&log);
    store.falsify(&key("c"), 0, |event| event.value = None);
    let (code, _) = Run::of(&[]).audits_to(&log, Some(&store), &mut Closing(3)).await;
    assert_eq!(code, Some(Code::Rejected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_topic_is_told_and_not_compared() {
    let (log, other) = (filled(), filled());
    let ran = Run::of(&[]).audits(&log, Some(&served(&other))).await;
    assert_eq!((ran.code, ran.output.len()), (Some(Code::Rejected), 0));
    assert!(ran.talk.contains("the server serves another topic: events (events-"), "{}", ran.talk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_audited_alone_and_in_many_passes_with_little_memory() {
    let log = topic(3);
    let keys: Vec<String> = (0..30_000).map(|number| format!("key-{number}")).collect();
    let records: Vec<_> = keys.iter().map(|key| (key.as_str(), 1, "v")).collect();
    write(&log, &records);
    let ran = Run::of(&["--no-server", "--memory-mib", "1"]).audits(&log, None).await.done();
    let report = &ran.json()[0];
    assert_eq!((&report["aggregates"], &report["compared"]), (&json!(30_000), &json!(null)));
    assert!(report["passes"].as_u64() > Some(1), "{report}");
    let ran = Run::of(&[]).on_a_terminal().audits(&log, None).await.done();
    assert!(ran.text().contains("no server was compared"), "{}", ran.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_no_finding() {
    let log = filled();
    for (reason, code) in
        [(Reason::Unreachable, Code::Unavailable), (Reason::PermissionDenied, Code::Rejected)]
    {
        let fails = Some(Failure::new(reason, "no"));
        let store = MemoryStore::with(Habits { fails, ..Habits::default() });
        let ran = Run::of(&[]).audits(&log, Some(&store)).await;
        assert_eq!((ran.code, ran.output.len()), (Some(code), 0), "{}", ran.talk);
    }
}

/// The audit of the engine that servers run: what it compares is what that shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_engine_is_right_however_it_shows_split_aggregates() {
    for split_by_order_headers in [false, true] {
        let log = topic(2);
        write_in_order(&log, &[("split", 0, "0"), ("split", 1, "2"), ("split", 0, "1"), ("split", 1, "3")]);
        write(&log, &[("foreign", 0, "a"), ("foreign", 0, "b")]);
        let options = EngineOptions {
            split_by_order_headers,
            partitioner: Some(Partitioner::Murmur2),
            ..EngineOptions::default()
        };
        let (of_engine, store) = (Arc::new(log.clone()), Arc::new(bkes_storage::MemoryStore::new()));
        let engine = Engine::start(of_engine, store, options).expect("it starts");
        let handle = engine.handle();
        tokio::time::timeout(Duration::from_secs(60), handle.ready()).await.expect("it becomes ready");
        for name in ["one", "two", "three"] {
            let append = Append::start(key(name)).event("a").event("b");
            EventStore::append(&handle, append).await.expect("it is new");
        }
        let (audited, runtime) = (log.clone(), tokio::runtime::Handle::current());
        let report = tokio::task::spawn_blocking(move || {
            let instance = bkes_audit::Instance { store: &handle, runtime: &runtime };
            bkes_audit::audit(&audited, Some(instance), &bkes_audit::Options::default(), &mut |_| {})
        });
        let report = report.await.expect("no panic").expect("both can be read");
        let compared = report.compared.expect("it was compared");
        assert_eq!((compared.findings.kept, report.split), (Vec::new(), 1), "{split_by_order_headers}");
        assert_eq!((compared.aggregates, compared.events, compared.heads), (5, 12, 5));
        let stopping = tokio::task::spawn_blocking(move || engine.stop(Duration::from_secs(10)));
        stopping.await.expect("no panic").expect("the store closes");
    }
}
