//! `bkes head`, `keys`, `wait` and `status`.

use super::Run;
use super::memory::{Habits, MemoryStore, key};
use crate::exit::Code;
use bkes_api::{Failure, Freshness, KeyList, ListedKey, Order, Partition, Reason, WaitFor};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn with(names: &[&'static str]) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    for name in names {
        store.add(&key(*name), vec!["a".into(), "b".into()], None);
    }
    store
}

#[tokio::test]
async fn a_head_is_shown_and_a_missing_one_is_not_found() {
    let store = with(&["a", "c"]);
    let ran = Run::of(&["head", "c"]).on(&store).await.done();
    assert_eq!(
        ran.text(),
        "{\"key\":\"c\",\"next_order\":2,\"partition\":1,\"offset\":3,\"timestamp_ms\":1003}\n"
    );
    let ran = Run::of(&["head", "c"]).on_a_terminal().on(&store).await.done();
    let expected = "next order  2\nlast event  partition 1, offset 3\n            1970-01-01T00:00:01.003Z\n";
    assert_eq!(ran.text(), expected);
    store.split(&key("c"));
    let ran = Run::of(&["head", "c"]).on(&store).await.done();
    assert_eq!(ran.json()[0]["split_over"], json!([0, 1]));
    let ran = Run::of(&["head", "c"]).on_a_terminal().on(&store).await.done();
    assert!(ran.text().contains("split       over partitions 0, 1"), "{}", ran.text());
    let ran = Run::of(&["head", "none"]).on(&store).await;
    assert_eq!((ran.code, ran.output.len()), (Some(Code::NotFound), 0));
}

#[tokio::test]
async fn keys_are_listed_over_all_pages_up_to_the_limit() {
    let store = with(&["a1", "a2", "a3", "a4", "a5", "b"]);
    let ran = Run::of(&["keys", "a", "-o", "raw"]).on(&store).await.done();
    assert_eq!(ran.text(), "a1\na2\na3\na4\na5\n");
    assert_eq!(store.asked().lists.len(), 3, "two keys are a page");
    let ran = Run::of(&["keys", "--after", "a2", "--limit", "3", "--latest"]).on(&store).await.done();
    let names: Vec<_> = ran.json().iter().map(|line| line["key"].clone()).collect();
    assert_eq!(names, ["a3", "a4", "a5"]);
    assert_eq!(ran.json()[0], json!({"key": "a3", "next_order": 2, "partitions": [1]}));
    let last = store.asked().lists.pop().expect("it was listed");
    assert_eq!(
        (last.keys_max, last.freshness),
        (1, Freshness::Latest),
        "no more is asked for than is wanted"
    );
    let ran = Run::of(&["keys", "c", "-o", "json"]).on(&store).await.done();
    assert_eq!(ran.text(), "");
    let ran = Run::of(&["keys", "b"]).on_a_terminal().on(&store).await.done();
    assert_eq!(ran.text(), "NEXT ORDER  PARTITIONS   KEY\n         2  0            b\n");
}

#[tokio::test]
async fn what_is_waited_for_is_what_was_said() {
    let store = with(&[]);
    let ran =
        Run::of(&["wait", "topic-1@0:5,1:6", "--group", "g", "--timeout", "1m"]).on(&store).await.done();
    assert_eq!((ran.text(), ran.talk.as_str()), ("", ""));
    let positions = crate::positions::parse("topic-1@0:5,1:6").expect("it is right");
    let (group, timeout) = (Some("g".to_owned()), Duration::from_secs(60));
    assert_eq!(store.asked().waits, [WaitFor { positions, group, timeout }]);

    for (reason, code) in [
        (Reason::DeadlineExceeded, Code::Unavailable),
        (Reason::NoSuchGroup, Code::NotFound),
        (Reason::OutOfRange, Code::Rejected),
        (Reason::Internal, Code::Unavailable),
    ] {
        let fails = Some(Failure::new(reason, "no"));
        let store = MemoryStore::with(Habits { fails, ..Habits::default() });
        assert_eq!(Run::of(&["wait", "0:5"]).on(&store).await.code, Some(code), "{reason}");
    }
}

#[tokio::test]
async fn the_code_of_status_says_whether_it_is_ready() {
    let store = with(&["a"]);
    let ran = Run::of(&["status"]).on(&store).await.done();
    let status = &ran.json()[0];
    assert_eq!((&status["ready"], &status["keys"], &status["unknown"]), (&json!(true), &json!(1), &json!(1)));
    let partitions = status["partitions"].as_array().expect("it is a list");
    assert_eq!(partitions[0]["state"], "catching_up");
    assert_eq!((&partitions[0]["lag"], &partitions[0]["events"]), (&json!(2), &json!(7)));
    let (state, reason) = (&partitions[1]["state"], &partitions[1]["reason"]);
    assert_eq!((state, reason), (&json!("degraded"), &json!("damaged\x1b[2J")));

    let unready = Some(Failure::new(Reason::CatchingUp, "10 of 12 offsets applied"));
    let store = MemoryStore::with(Habits { unready, ..Habits::default() });
    let ran = Run::of(&["status"]).on(&store).await;
    assert_eq!((ran.code, &ran.json()[0]["reason"]), (Some(Code::Unavailable), &json!("CATCHING_UP")));
    let ran = Run::of(&["status"]).on_a_terminal().on(&store).await;
    assert!(ran.code == Some(Code::Unavailable) && ran.text().contains("not ready"), "{}", ran.text());
    assert!(ran.talk.contains("10 of 12 offsets applied (CATCHING_UP)"), "{}", ran.talk);
}

/// The story: a list that says that there is more and shows the same page again was listed, and exported, without an end.
#[tokio::test]
async fn a_list_that_does_not_go_on_ends_with_an_error() {
    let listed =
        |name: &'static str| ListedKey { key: key(name), next: Order(1), partitions: vec![Partition(0)] };
    for names in [&["a", "b"][..], &["b", "a"], &["a", "a"], &[]] {
        let list = KeyList { keys: names.iter().map(|name| listed(name)).collect(), more: true };
        for words in [&["keys"][..], &["export", "--all"]] {
            let store = MemoryStore::with(Habits { list: Some(list.clone()), ..Habits::default() });
            let ran = Run::of(words).on(&store).await;
            assert_eq!(ran.code, Some(Code::InputOutput), "{names:?} {words:?}: {}", ran.talk);
            assert!(ran.talk.contains("does not go on in order"), "{}", ran.talk);
        }
    }
}
