//! `bkes append`.

use super::memory::{Fault, MemoryStore, header, key};
use super::{Closing, Ran, Run, is_harmless};
use crate::console::Console;
use crate::exit::{Code, Ended};
use bkes_api::{Append, AppendId, EventContent, Expected, Header, Identity, Order, Reason};
use bytes::Bytes;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// The append that a run asks an empty store for.
async fn asked(words: &[&str], input: &[u8]) -> Append {
    let store = Arc::new(MemoryStore::default());
    Run::of(&[&["append"], words].concat()).with_input(input).on(&store).await;
    store.asked().appends.pop().expect("it was asked for")
}

fn values(append: &Append) -> Vec<Option<&[u8]>> {
    append.events.iter().map(|event| event.value.as_deref()).collect()
}

#[tokio::test]
async fn arguments_are_one_append() {
    for (flags, expected) in [
        (&["--new"][..], Expected::New),
        (&["--at", "0"], Expected::New),
        (&["--at", "3"], Expected::At(Order(3))),
        (&["--exists"], Expected::Exists),
        (&["--any"], Expected::Any),
    ] {
        let append = asked(&[&["k", "a", "hex:00ff"], flags].concat(), b"").await;
        assert_eq!((append.key.bytes().as_ref(), append.expected), (&b"k"[..], expected));
        assert_eq!(values(&append), [Some(&b"a"[..]), Some(&b"\x00\xff"[..])]);
        assert_eq!((append.timeout, append.missing_max), (None, 0));
    }
    let words = ["hex:ff", "-", "--tombstone", "--new", "-H", "a=1", "-H", "a", "--timeout", "2s"];
    let append = asked(&words, b"in\n").await;
    let headers = vec![header("a", Some(b"1")), header("a", None)];
    let event = |value| EventContent { value, headers: headers.clone() };
    assert_eq!(append.events, [event(Some(Bytes::from("in\n"))), event(None)]);
    assert_eq!((append.key, append.timeout), (key(&b"\xff"[..]), Some(Duration::from_secs(2))));
}

#[tokio::test]
async fn lines_are_the_events_of_one_append() {
    let lines = b"{\"key\":\"other\",\"order\":7,\"value\":\"a\"}\n
        {\"value\":null,\"headers\":[{\"name\":\"h\",\"value\":null}]}\n";
    let append = asked(&["k", "--new", "--json-lines", "-"], lines).await;
    assert_eq!((values(&append), append.key.clone()), (vec![Some(&b"a"[..]), None], key("k")));
    assert_eq!(append.events[1].headers, [Header { name: "h".into(), value: None }]);

    let store = Arc::new(MemoryStore::default());
    let words = ["append", "k", "--new", "--json-lines", "-"];
    let large = format!("{{\"value\":\"{}\"}}\n", "x".repeat(1024 * 1024)).into_bytes();
    for (input, code) in [
        (&large.repeat(17)[..], Code::InputOutput),
        (&b""[..], Code::Usage),
        (b"{\"value\":1}\n", Code::InputOutput),
        (&b"{\"value\":\"a\"}\n".repeat(1_001), Code::InputOutput),
    ] {
        let ran = Run::of(&words).with_input(input).on(&store).await;
        assert_eq!(ran.code, Some(code), "{}", ran.talk);
    }
    assert_eq!(store.asked().appends, [], "nothing of it was appended");
    Run::of(&words).with_input(&b"{\"value\":\"a\"}\n".repeat(1_000)).on(&store).await.done();
}

#[tokio::test]
async fn an_append_without_an_order_has_an_id_and_each_drawn_one_is_new() {
    let mut drawn = Vec::new();
    for flag in ["--any", "--exists", "--any"] {
        let identity = asked(&["k", "v", flag], b"").await.identity;
        let Some(Identity { id, is_first, seen }) = identity else { panic!("{flag} needs an id") };
        assert!(is_first && seen.is_none() && id.bytes().len() == 32);
        drawn.push(id);
    }
    assert!(drawn[0] != drawn[1] && drawn[0] != drawn[2] && drawn[1] != drawn[2]);
    assert_eq!(asked(&["k", "v", "--at", "3"], b"").await.identity, None);

    let id = AppendId::new("cmd").expect("it has bytes");
    let append = asked(&["k", "v", "--at", "3", "--id", "cmd"], b"").await;
    assert_eq!(append.identity, Some(Identity { id: id.clone(), is_first: true, seen: None }));
    let append = asked(&["k", "v", "--any", "--id", "cmd", "--retry", "--seen", "9"], b"").await;
    assert_eq!(append.identity, Some(Identity { id, is_first: false, seen: Some(Order(9)) }));
}

#[tokio::test]
async fn where_it_is_stored_is_shown_with_the_position_to_wait_for() {
    let store = Arc::new(MemoryStore::default());
    Run::of(&["append", "k", "--new", "a"]).on(&store).await.done();
    let ran = Run::of(&["append", "k", "--at", "1", "b", "c"]).on(&store).await.done();
    let expected = "{\"key\":\"k\",\"first_order\":1,\"last_order\":2,\"next_order\":3,\"partition\":1,\"first_offset\":1,\
                    \"last_offset\":2,\"timestamp_ms\":1002,\"by_earlier_try\":false,\"position\":\"topic-1@1:3\"}\n";
    assert_eq!((ran.text(), ran.talk.as_str()), (expected, ""));
    let ran = Run::of(&["append", "k", "--at", "3", "d"]).on_a_terminal().on(&store).await.done();
    assert_eq!(ran.text(), "stored at order 3, in partition 1 at offset 3; the next order is 4\n");
    let ran = Run::of(&["append", "k", "--any", "--id", "i", "e"]).on_a_terminal().on(&store).await.done();
    assert!(!ran.text().contains("earlier"), "{}", ran.text());
    let retry = ["append", "k", "--any", "--id", "i", "--retry", "e"];
    let ran = Run::of(&retry).on_a_terminal().on(&store).await.done();
    assert!(ran.text().contains("order 4, in partition 1 at offset 4, by an earlier try"), "{}", ran.text());
    assert_eq!(store.events(&key("k")).len(), 5);
}

async fn conflict(words: &[&str], count: usize) -> Ran {
    let store = Arc::new(MemoryStore::default());
    if count > 0 {
        store.add(&key(&b"it's \xff"[..]), vec!["v".into(); count], None);
    }
    let ran = Run::of(words).on(&store).await;
    assert_eq!((ran.code, ran.output.len()), (Some(Code::Conflict), 0), "{}", ran.talk);
    ran
}

#[tokio::test]
async fn a_conflict_names_both_orders_and_what_to_do() {
    let ran = conflict(&["append", "hex:6974277320ff", "--at", "3", "v"], 5).await;
    assert!(ran.talk.contains("expected order 3, current order 5"), "{}", ran.talk);
    assert!(ran.talk.contains("bkes read hex:6974277320ff --from 3"), "{}", ran.talk);
    assert!(ran.talk.contains("--at 5"), "{}", ran.talk);
    let ran = conflict(&["append", "hex:6974277320ff", "--new", "v"], 2).await;
    assert!(ran.talk.contains("expected order 0, current order 2"), "{}", ran.talk);
    let ran = conflict(&["append", "k", "--at", "4", "v"], 0).await;
    assert!(ran.talk.contains("expected order 4, current order 0"), "{}", ran.talk);
    assert!(ran.talk.contains("fewer events") && ran.talk.contains("bkes head k --latest"), "{}", ran.talk);
}

#[tokio::test]
async fn an_unknown_outcome_says_how_to_repeat_it() {
    let store = Arc::new(MemoryStore::default());
    store.plan([Fault::StoredUnknown, Fault::StoredUnknown, Fault::LostUnknown]);
    let ran = Run::of(&["append", "k", "--any", "v"]).on(&store).await;
    assert_eq!(ran.code, Some(Code::Unknown));
    let id = store.asked().appends[0].append_id().expect("it was drawn").bytes().to_vec();
    let id = String::from_utf8(id).expect("it is text");
    assert!(ran.talk.contains(&format!("--id {id} --retry")), "{} lacks {id}", ran.talk);
    let ran = Run::of(&["append", "k", "--any", "v", "--id", "x'\u{1b}", "--seen", "0"]).on(&store).await;
    assert!(ran.talk.contains("--id hex:78271b --retry"), "{}", ran.talk);
    let ran = Run::of(&["append", "k", "--at", "2", "v"]).on(&store).await;
    assert!(ran.code == Some(Code::Unknown) && ran.talk.contains("bkes read k --latest"), "{}", ran.talk);
    // What the first was told, done.
    Run::of(&["append", "k", "--any", "v", "--id", &id, "--retry"]).on(&store).await.done();
    assert_eq!(store.events(&key("k")).len(), 2, "each was stored once");
}

#[tokio::test]
async fn every_failure_has_the_code_of_its_cause() {
    for (fault, code) in [
        (Fault::Fails(Reason::LogDown), Code::Unavailable),
        (Fault::Fails(Reason::Unreachable), Code::Unavailable),
        (Fault::Fails(Reason::NoSuchAggregate), Code::NotFound),
        (Fault::Fails(Reason::TooLarge), Code::Rejected),
        (Fault::Fails(Reason::Split), Code::Rejected),
        (Fault::IdUsed, Code::Rejected),
        (Fault::LostUnknown, Code::Unknown),
    ] {
        let store = Arc::new(MemoryStore::default());
        store.plan([fault.clone()]);
        let ran = Run::of(&["append", "k", "--any", "v"]).on(&store).await;
        assert_eq!((ran.code, ran.output.len()), (Some(code), 0), "{fault:?}");
        assert!(is_harmless(ran.talk.as_bytes()) && ran.talk.starts_with("bkes: "), "{}", ran.talk);
        if let Fault::Fails(reason) = fault {
            assert!(ran.talk.contains(reason.name()), "{}", ran.talk);
        }
    }
}

#[tokio::test]
async fn an_interrupted_append_is_unknown_and_names_its_id() {
    let store = Arc::new(MemoryStore::default());
    store.plan([Fault::Hangs]);
    let mut output = Vec::new();
    let run = Run::of(&["append", "k", "--any", "--id", "cmd-1", "v"]);
    let tell = |console: &Console<'_>| {
        let interrupt = console.interrupt.clone();
        // It has its turn when the append waits.
        tokio::spawn(async move { assert!(interrupt.tell(), "it listens") });
    };
    let (ended, talk) = run.to(&store, &mut output, tell).await;
    assert!(matches!(ended, Err(Ended::With { code: Code::Unknown, .. })), "{ended:?}");
    assert!(talk.contains("--id cmd-1 --retry"), "{talk}");
}

/// An output on a full disk.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_append_is_done_whoever_reads_of_it_and_a_full_disk_does_not_hide_that() {
    let store = Arc::new(MemoryStore::default());
    let (ended, talk) = Run::of(&["append", "k", "--new", "v"]).to(&store, &mut Closing(3), |_| {}).await;
    assert_eq!((ended, talk.as_str(), store.events(&key("k")).len()), (Ok(()), "", 1));
    let (ended, talk) = Run::of(&["append", "k", "--at", "1", "v"]).to(&store, &mut Full, |_| {}).await;
    assert!(matches!(ended, Err(Ended::With { code: Code::InputOutput, .. })), "{ended:?}");
    assert!(talk.contains("It is done all the same: stored at order 1"), "{talk}");
}

#[tokio::test]
async fn what_cannot_be_given_is_wrong_usage() {
    let store = Arc::new(MemoryStore::default());
    for words in [
        &["append", "", "--new", "v"][..],
        &["append", "-", "--new", "-"],
        &["append", "k", "--any", "--id", "", "v"],
        &["append", "k", "--any", "--id", &"x".repeat(65), "v"],
    ] {
        let ran = Run::of(words).with_input(b"k").on(&store).await;
        assert_eq!(ran.code, Some(Code::Usage), "{words:?}");
    }
    assert_eq!(store.asked().appends, []);
}
