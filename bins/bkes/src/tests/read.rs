//! `bkes read`, and events as each shape shows them.

use super::memory::{Habits, MemoryStore, header, key};
use super::{Closing, Run, is_harmless};
use crate::exit::{Code, Ended};
use bkes_api::{AsOf, Direction, EventContent, Failure, Freshness, Offset, Order, Read, Reason, TimestampMs};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

fn with(count: usize) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    for index in 0..count {
        store.add(&key("k"), vec![EventContent::from(format!("v{index}"))], None);
    }
    store
}

#[tokio::test]
async fn flags_are_what_the_store_is_asked() {
    let all = Read::all(key("k"));
    let positions = crate::positions::parse("id@0:5").expect("it is right");
    let table = [
        (&[][..], all.clone()),
        (&["--from", "3", "--to", "5"], Read { from: Some(Order(3)), to: Some(Order(5)), ..all.clone() }),
        (&["--backwards", "--limit", "1"], Read { direction: Direction::Backwards, limit: 1, ..all.clone() }),
        (&["--as-of-offset", "7"], Read { as_of: Some(AsOf::Offset(Offset(7))), ..all.clone() }),
        (
            &["--as-of-time", "-000000000001"],
            Read { as_of: Some(AsOf::Time(TimestampMs(-1))), ..all.clone() },
        ),
        (&["--latest"], Read { freshness: Freshness::Latest, ..all.clone() }),
        (&["--at-least", "id@0:5"], Read { freshness: Freshness::AtLeast(positions), ..all.clone() }),
        (&["--no-headers"], Read { with_headers: false, ..all.clone() }),
        (&["--part-by-part"], Read { part_by_part: true, ..all }),
    ];
    for (flags, expected) in table {
        let store = with(1);
        Run::of(&[&["read", "k"], flags].concat()).on(&store).await.done();
        assert_eq!(store.asked().reads, [expected], "{flags:?}");
    }
}

#[tokio::test]
async fn every_page_is_shown_in_its_order() {
    let store = with(5);
    let ran = Run::of(&["read", "k", "-f", "%n=%s,"]).on(&store).await.done();
    assert_eq!(ran.text(), "0=v0,1=v1,2=v2,3=v3,4=v4,");
    let ran = Run::of(&["read", "k", "--backwards", "--from", "3", "-o", "raw"]).on(&store).await.done();
    assert_eq!(ran.text(), "v3v2v1v0");
    let ran = Run::of(&["read", "k", "--from", "9"]).on(&store).await.done();
    assert_eq!((ran.text(), ran.talk.as_str()), ("", ""), "beyond the end is nothing, and no error");
}

#[tokio::test]
async fn what_is_not_there_and_what_breaks_off_is_told() {
    let ran = Run::of(&["read", "none"]).on(&with(1)).await;
    assert!(ran.code == Some(Code::NotFound) && ran.talk.contains("no aggregate none"), "{}", ran.talk);
    let ran = Run::of(&["read", "none", "--as-of-time", "1970-01-01T00:00:00Z"]).on(&with(1)).await;
    assert!(ran.code == Some(Code::NotFound) && ran.talk.contains("at that moment"), "{}", ran.talk);

    let store = MemoryStore::with(Habits { pages_max: Some(1), ..Habits::default() });
    store.add(&key("k"), vec!["a".into(), "b".into(), "c".into()], None);
    let ran = Run::of(&["read", "k", "-o", "raw"]).on(&store).await;
    assert_eq!((ran.code, ran.text()), (Some(Code::Unavailable), "ab"));
    assert!(ran.talk.contains("The same with --from 2 shows the rest"), "{}", ran.talk);

    let retry_after = Some(Duration::from_secs(2));
    let failure = Failure { retry_after, ..Failure::new(Reason::CatchingUp, "catching up\x1b[2J") };
    let store = MemoryStore::with(Habits { fails: Some(failure), ..Habits::default() });
    let ran = Run::of(&["read", "k"]).on(&store).await;
    let said = "bkes: catching up\\u{1b}[2J (CATCHING_UP)\n  It may go better in 2000 ms.\n";
    assert_eq!((ran.code, ran.talk.as_str()), (Some(Code::Unavailable), said));
}

#[tokio::test]
async fn who_reads_no_further_ends_it_quietly_and_soon() {
    let store = with(1_000);
    let (ended, talk) = Run::of(&["read", "k"]).to(&store, &mut Closing(100), |_| {}).await;
    assert_eq!((ended, talk.as_str()), (Err(Ended::OutputClosed), ""));
    assert!(store.pages_taken() < 5, "{}", store.pages_taken());
}

/// A key that would do something to a terminal.
const HOSTILE_KEY: &[u8] = b"\x1b[1mkey\n\xfe";

/// The same, as an argument.
const HOSTILE_WORD: &str = "hex:1b5b316d6b65790afe";

/// A store with an aggregate whose every byte would.
fn hostile() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    let evil = &b"\x1b]0;gone\x07\x1b[2J\r\nfake \xc2\x9b31m \xe2\x80\xae \xff"[..];
    let headers = vec![header(&b"\x1b[31m"[..], Some(b"\x1b[0m\n")), header(&b"\xff"[..], None)];
    let event = EventContent { value: Some(Bytes::from_static(evil)), headers };
    store.add(&key(HOSTILE_KEY), vec![event, EventContent::default()], Some("\x1b[5mid"));
    store
}

#[tokio::test]
async fn nothing_that_an_event_has_reaches_a_terminal() {
    let store = hostile();
    let shapes: [&[&str]; 5] =
        [&[], &["-o", "table"], &["-o", "json"], &["-o", "raw"], &["-f", "%k %s %h %n %p %o %T %K %S\\n"]];
    for shape in shapes {
        let read = [&["read", HOSTILE_WORD], shape].concat();
        let ran = Run::of(&read).on_a_terminal().on(&store).await.done();
        assert!(is_harmless(&ran.output) && !ran.output.is_empty(), "{shape:?}: {:?}", ran.text());
    }
    for words in [
        &["keys"][..],
        &["keys", "-o", "json"],
        &["keys", "-o", "raw"],
        &["head", HOSTILE_WORD, "-o", "json"],
    ] {
        let ran = Run::of(words).on_a_terminal().on(&store).await.done();
        assert!(is_harmless(&ran.output) && !ran.output.is_empty(), "{words:?}: {:?}", ran.text());
    }
    let ran = Run::of(&["status"]).on_a_terminal().on(&store).await.done();
    assert!(is_harmless(&ran.output) && ran.text().contains("damaged\\u{1b}[2J"), "{}", ran.text());
}

#[tokio::test]
async fn tables_are_escaped_in_files_too_and_raw_bytes_are_untouched() {
    let store = hostile();
    let ran = Run::of(&["read", HOSTILE_WORD, "-o", "table"]).on(&store).await.done();
    assert!(is_harmless(&ran.output), "{:?}", ran.text());
    assert_eq!(ran.text().lines().count(), 3, "each event is one line");
    let value = store.events(&key(HOSTILE_KEY))[0].value.clone().expect("it has one");
    let ran = Run::of(&["read", HOSTILE_WORD, "-o", "raw"]).on(&store).await.done();
    assert_eq!(ran.output, value, "the tombstone has no bytes");
    let ran = Run::of(&["read", HOSTILE_WORD, "--limit", "1", "-f", "%k|%h"]).on(&store).await.done();
    assert_eq!(ran.output, [HOSTILE_KEY, b"|\x1b[31m=\x1b[0m\n,\xff"].concat());
    let ran = Run::of(&["keys", "-o", "raw"]).on(&store).await.done();
    assert_eq!(ran.output, [HOSTILE_KEY, b"\n"].concat());
    let ran = Run::of(&["read", HOSTILE_WORD]).on(&store).await.done();
    assert!(is_harmless(&ran.output) && ran.json().len() == 2, "a pipe gets JSON");
}

#[tokio::test]
async fn a_table_has_a_row_for_each_event_as_wide_as_the_terminal() {
    let store = Arc::new(MemoryStore::default());
    let event = |value: String| EventContent { value: Some(value.into()), headers: Vec::new() };
    let headers = vec![header("trace", Some(b"abc"))];
    let short = EventContent { headers, ..event("short".to_owned()) };
    store.add(&key("k"), vec![short, EventContent::default()], None);
    store.add(&key("k"), vec![event("\u{e9}".repeat(1_000))], None);
    let ran = Run::of(&["read", "k"]).on_a_terminal().on(&store).await.done();
    let expected = format!(
        "   ORDER PART     OFFSET  TIME                      [HEADERS] VALUE
       0    1          0  1970-01-01T00:00:01.000Z  [trace=abc] short
       1    1          1  1970-01-01T00:00:01.001Z  (tombstone)
       2    1          2  1970-01-01T00:00:01.002Z  {}\u{2026}
",
        "\u{e9}".repeat(47)
    );
    assert_eq!(ran.text(), expected);
    let ran = Run::of(&["read", "k", "-o", "table"]).on(&store).await.done();
    assert!(ran.text().contains(&"\u{e9}".repeat(1_000)), "in a file nothing is cut");
}
