//! `bkes bench`, on a store in memory.

use super::memory::{Fault, Habits, MemoryStore, key};
use super::{Run, is_harmless};
use crate::exit::Code;
use bkes_api::{Failure, Reason};
use std::collections::BTreeMap;
use std::sync::Arc;

const SHORT: [&str; 9] = ["bench", "--time", "100ms", "--callers", "3", "--keys", "7", "--value-bytes", "5"];

async fn run(store: &Arc<MemoryStore>, more: &[&str]) -> super::Ran {
    let words: Vec<&str> = SHORT.iter().chain(more).copied().collect();
    Run::of(&words).on(store).await
}

fn with_a_stranger() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    for name in ["bkes-bench-", "bkes-bench-0-0", "other"] {
        store.add(&key(name), vec!["theirs".into()], None);
    }
    store
}

/// How many events there are of each key that this run made; those of strangers are as they were.
fn made(store: &MemoryStore, prefix: &str) -> BTreeMap<String, usize> {
    let mut made = BTreeMap::new();
    for (key, event) in store.contents() {
        let name = String::from_utf8(key.bytes().to_vec()).expect("it is text");
        if event.value.as_deref() == Some(b"theirs") {
            assert_eq!(store.events(&key).len(), 1, "{name}");
            continue;
        }
        assert!(name.starts_with(prefix) && event.value.as_deref() == Some(b"xxxxx"), "{name}");
        *made.entry(name).or_default() += 1;
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_is_what_was_done_and_nobody_elses_keys_are_touched() {
    for (load, appends, reads, prepared) in [
        (&["--appends"][..], true, false, 0),
        (&[], true, false, 0),
        (&["--stream", "2"], true, false, 0),
        (&["--reads"], false, true, 70),
        (&["--mixed"], true, true, 70),
    ] {
        let store = with_a_stranger();
        let more: Vec<&str> = [&["--yes", "--prefix", "mine-"][..], load].concat();
        let ran = run(&store, &more).await.done();
        let told = &ran.json()[0];
        let of = |name: &str| told[name]["calls"].as_u64().unwrap_or_default();
        assert_eq!((of("appends") > 0, of("reads") > 0), (appends, reads), "{load:?}: {told}");
        let made = made(&store, "mine-");
        assert_eq!(made.values().sum::<usize>() as u64, of("appends") + prepared, "{load:?}: {told}");
        assert!(made.len() == 7 && told["errors"] == serde_json::json!({}), "{load:?}: {told}");
        let part = &told[if reads { "reads" } else { "appends" }];
        let time = |name: &str| part[name].as_u64().expect("a number");
        assert!(time("p50_us") <= time("p99_us") && time("p99_us") <= time("max_us"), "{part}");
        assert!(ran.talk.contains("this appends to topic events of cluster cluster-1, for good"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_their_reason_and_the_loop_goes_on() {
    for load in ["--appends", "--stream=2"] {
        let store = with_a_stranger();
        store.plan([
            Fault::Fails(Reason::Overloaded),
            Fault::StoredUnknown,
            Fault::LostUnknown,
            Fault::Overtaken("theirs".into()),
        ]);
        let ran = run(&store, &["--yes", load]).await.done();
        let told = &ran.json()[0];
        let of = |reason: &str| told["errors"][reason].as_u64().unwrap_or_default();
        assert_eq!((of("OVERLOADED"), of("OUTCOME_UNKNOWN")), (1, 2), "{load}: {told}");
        // Another one's event took the place of an aggregate's first one, or of a later one, as the callers' turns had it.
        assert_eq!(of("ALREADY_EXISTS") + of("CONFLICT"), 1, "{load}: {told}");
        assert!(told["appends"]["calls"].as_u64() > Some(10), "{load}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_appended_before_somebody_said_so() {
    let store = with_a_stranger();
    let before = store.contents();
    assert_eq!(run(&store, &[]).await.code, Some(Code::Usage));
    for (input, is_done) in [(&b"no\n"[..], false), (b"", false), (b"yes\n", true)] {
        let ran = Run::of(&SHORT).on_a_terminal().with_input(input).on(&store).await;
        assert_eq!(ran.code.is_none(), is_done, "{ran:?}");
        assert_eq!(store.contents() != before, is_done);
        assert!(is_harmless(&ran.output));
        if is_done {
            assert!(ran.text().contains("appends") && ran.text().contains("P99 MS"), "{}", ran.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_ends_it_and_too_few_keys_are_wrong_usage() {
    let fails = Some(Failure::new(Reason::Unreachable, "away"));
    let store = MemoryStore::with(Habits { fails, ..Habits::default() });
    assert_eq!(run(&store, &["--yes"]).await.code, Some(Code::Unavailable));
    let store = with_a_stranger();
    assert_eq!(run(&store, &["--yes", "--stream", "3"]).await.code, Some(Code::Usage));
    assert!(store.asked().appends.is_empty());
}
