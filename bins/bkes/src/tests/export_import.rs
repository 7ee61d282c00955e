//! `bkes export` and `bkes import`: what goes out comes in, whatever happens in between.

use super::memory::{Fault, Habits, MemoryStore, header, key};
use super::{Closing, Ran, Run};
use crate::exit::{Code, Ended};
use crate::limits::{IMPORT_IN_FLIGHT_MAX, TRIES_MAX};
use bkes_api::{EventContent, Freshness, Header, Key, Order, Origin, Reason};
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;

fn empty() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::default())
}

/// Every kind of event there is.
fn full() -> Arc<MemoryStore> {
    let store = empty();
    let headers = vec![header("h", Some(b"1")), header("h", None), header(&b"\xff"[..], Some(b"\xfe"))];
    let with_headers =
        |value: &'static [u8]| EventContent { value: Some(value.into()), headers: headers.clone() };
    let binary = key(&b"\x00\xff"[..]);
    store.add(&binary, vec![with_headers(b"\xff\x00"), EventContent::default(), "c".into()], Some("first"));
    store.add(&binary, vec!["d".into()], None);
    store.add(&binary, vec!["e".into()], Some("second"));
    store.add(&key("plain"), vec!["a".into(), "b".into()], None);
    for _ in 0..5 {
        store.add(&key("plain"), vec![with_headers(b"")], None);
    }
    for index in 0..40 {
        store.add(&key(format!("many-{index:02}")), vec![EventContent::from(format!("v{index}"))], None);
    }
    store
}

/// Events of [`full`], and its aggregates.
const FULL: (usize, usize) = (52, 42);

async fn export(store: &Arc<MemoryStore>, words: &[&str]) -> Ran {
    Run::of(&[&["export"], words].concat()).on(store).await
}

async fn import(store: &Arc<MemoryStore>, lines: &[u8]) -> Ran {
    let ran = Run::of(&["import", "-"]).with_input(lines).on(store).await;
    assert_eq!(ran.output, b"", "an import has no data to show");
    ran
}

/// Of lines that are no whole export.
async fn import_part(store: &Arc<MemoryStore>, lines: &[u8]) -> Ran {
    Run::of(&["import", "--partial", "-"]).with_input(lines).on(store).await
}

/// The lines of an export without the last, which is its end.
fn events_of(lines: &[u8]) -> Vec<&[u8]> {
    let mut all: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    let end = all.pop().expect("it has an end");
    assert!(end.starts_with(b"{\"end\":"), "{}", String::from_utf8_lossy(end));
    all
}

/// Key, order, value, headers and append id of every event.
type Content = (Key, Order, Option<Bytes>, Vec<Header>, Option<Bytes>);

fn contents(store: &MemoryStore) -> Vec<Content> {
    let id = |origin| match origin {
        Origin::Bkes { append_id: Some(id), .. } => Some(id.bytes().clone()),
        _ => None,
    };
    let all = store.contents().into_iter();
    all.map(|(key, event)| (key, event.order, event.value, event.headers, id(event.origin))).collect()
}

#[tokio::test]
async fn what_is_exported_is_imported_as_it_was() {
    let from = full();
    let lines = export(&from, &["--all"]).await.done();
    let (events, aggregates) = FULL;
    assert_eq!(lines.talk, format!("bkes: {events} events of {aggregates} aggregates exported\n"));
    let to = empty();
    let ran = import(&to, &lines.output).await.done();
    assert_eq!(ran.talk, format!("bkes: {events} events imported, 0 were there already\n"));
    assert_eq!(contents(&to), contents(&from));
    let again = export(&to, &["--all"]).await.done();
    let third = empty();
    import(&third, &again.output).await.done();
    assert_eq!(contents(&third), contents(&from));
}

#[tokio::test]
async fn appends_stay_what_they_were_and_single_events_share_one() {
    let (from, to) = (full(), empty());
    let lines = export(&from, &["hex:00ff"]).await.done();
    import(&to, &lines.output).await.done();
    let appends = to.asked().appends;
    let appends: Vec<_> = appends
        .iter()
        .map(|append| (append.expected.order(), append.events.len(), append.append_id().is_some()))
        .collect();
    assert_eq!(appends, [(Some(Order(0)), 3, true), (Some(Order(3)), 1, false), (Some(Order(4)), 1, true)]);
    let to = empty();
    let lines = export(&from, &["plain"]).await.done();
    import(&to, &lines.output).await.done();
    let counts: Vec<_> = to.asked().appends.iter().map(|append| append.events.len()).collect();
    assert_eq!(counts, [2, 5]);
}

#[tokio::test]
async fn whose_events_are_exported_is_said_by_key_or_prefix() {
    let from = full();
    let lines = export(&from, &["--prefix", "many-1", "--latest"]).await.done();
    assert_eq!(events_of(&lines.output).len(), 10);
    assert!(from.asked().lists.iter().all(|list| list.freshness == Freshness::Latest));
    let ran = export(&from, &["none"]).await;
    assert_eq!((ran.code, ran.output.len()), (Some(Code::NotFound), 0));
    export(&from, &["--prefix", "none"]).await.done();
    let read = Run::of(&["read", "plain", "-o", "json"]).on(&from).await.done();
    let exported = export(&from, &["plain"]).await.done().output;
    assert_eq!(read.output, events_of(&exported).concat(), "read writes the same lines");
}

/// The story: a server ends a stream whose reader does not take it for half a minute, and an export into a slow program was over then.
#[tokio::test(start_paused = true)]
async fn an_export_goes_on_where_a_read_broke_off() {
    let from = full();
    let whole = export(&from, &["--all"]).await.done().output;
    for pages_max in 1..5 {
        let store = MemoryStore::with(Habits { pages_max: Some(pages_max), ..Habits::default() });
        from.contents().into_iter().for_each(|(key, event)| store.put(&key, event));
        assert!(export(&store, &["--all"]).await.done().output == whole, "{pages_max} pages");
        let one = export(&store, &["plain"]).await.done().output;
        assert_eq!(one, export(&from, &["plain"]).await.done().output, "{pages_max} pages");
    }
}

#[tokio::test(start_paused = true)]
async fn an_export_from_which_nothing_comes_or_that_is_not_wanted_ends() {
    let store = MemoryStore::with(Habits { pages_max: Some(0), ..Habits::default() });
    store.add(&key("a"), vec!["v".into(), "v".into(), "v".into()], None);
    for words in [&["--all"][..], &["a"]] {
        let ran = export(&store, words).await;
        assert_eq!((ran.code, ran.output.len()), (Some(Code::Unavailable), 0), "{words:?}");
        assert!(!ran.talk.contains("exported"), "{}", ran.talk);
    }
    assert_eq!(store.asked().reads.len(), 2 * TRIES_MAX as usize);
    let store = full();
    let (ended, talk) = Run::of(&["export", "--all"]).to(&store, &mut Closing(100), |_| {}).await;
    assert_eq!((ended, talk.as_str()), (Err(Ended::OutputClosed), ""));
    assert!(store.pages_taken() < 5, "{}", store.pages_taken());
}

#[tokio::test]
async fn a_split_aggregate_is_left_out_by_name_and_the_others_are_not() {
    let store = full();
    store.split(&key("many-07"));
    store.split(&key("plain"));
    let ran = export(&store, &["--all"]).await;
    assert_eq!(ran.code, Some(Code::Rejected));
    assert!(ran.talk.contains("44 events of 40 aggregates") && ran.talk.contains("many-07"), "{}", ran.talk);
    assert_eq!(events_of(&ran.output).len(), 44);
    assert_eq!(ran.json()[44], json!({"end": {"aggregates": 40, "events": 44, "left_out": 2}}));
    let ran = import(&empty(), &ran.output).await;
    assert!(ran.talk.contains("2 aggregates that are split"), "{}", ran.talk);
    assert!(ran.talk.contains("44 events imported") && ran.code == Some(Code::InputOutput), "{}", ran.talk);
}

/// The story: of `bkes export --all | bkes import -` the import ended well after an export that was cut.
#[tokio::test]
async fn an_import_of_an_export_that_is_not_whole_says_so_after_what_is_there() {
    let from = full();
    let whole = export(&from, &["--all"]).await.done().output;
    let lines = events_of(&whole);
    let end = &whole[lines.concat().len()..];
    let (events, _) = FULL;
    let missing_one = [&lines[..events - 1].concat(), end].concat();
    let twice = [&whole[..], &lines.concat()].concat();
    let table: [(&[u8], usize, &str); 4] = [
        (&lines.concat(), events, "its last line, which names its end, is missing"),
        (&missing_one, events - 1, "it has 52 events, and 51 lines of it are there"),
        (&twice, events, "its last line, which names its end, is missing"),
        (b"", 0, "its last line, which names its end, is missing"),
    ];
    for (lines, there, expected) in table {
        let to = empty();
        let ran = import(&to, lines).await;
        assert_eq!((ran.code, to.contents().len()), (Some(Code::InputOutput), there), "{}", ran.talk);
        assert!(ran.talk.contains(expected), "{}", ran.talk);
    }
    let to = empty();
    import_part(&to, &lines.concat()).await.done();
    assert_eq!(contents(&to), contents(&from));
    // Several exports, one after the other.
    let to = empty();
    import(&to, &[&whole[..], &whole].concat()).await.done();
    assert_eq!(contents(&to), contents(&from));
}

#[tokio::test]
async fn an_import_goes_on_wherever_an_earlier_one_ended() {
    let from = full();
    let lines = export(&from, &["--all"]).await.done().output;
    let all = events_of(&lines);
    let mut cuts = 0;
    for end in 0..=all.len() {
        let to = empty();
        let ran = import_part(&to, &all[..end].concat()).await;
        let there = to.contents().len();
        // What is cut in the middle of an append is left out with it.
        let is_cut = ran.code == Some(Code::InputOutput) && ran.talk.contains("lines of it are there");
        assert_eq!((ran.code.is_some(), there < end), (is_cut, is_cut), "{end}: {}", ran.talk);
        cuts += usize::from(is_cut);
        let ran = import(&to, &lines).await.done();
        let expected = format!("bkes: {} events imported, {there} were there already\n", all.len() - there);
        assert_eq!((ran.talk, contents(&to)), (expected, contents(&from)), "{end}");
    }
    assert_eq!(cuts, 3, "an append of three events and one of two can be cut in three places");
}

#[tokio::test]
async fn a_line_that_was_cut_ends_an_import_after_what_came_before() {
    let from = full();
    let lines = export(&from, &["plain"]).await.done().output;
    let mut lines = events_of(&lines).concat();
    lines.truncate(lines.len() - 5);
    let to = empty();
    let ran = import(&to, &lines).await;
    assert_eq!(ran.code, Some(Code::InputOutput));
    assert!(ran.talk.contains("standard input, line 7: not JSON"), "{}", ran.talk);
    assert!(!ran.talk.contains("may be run again"), "the line stays cut: {}", ran.talk);
    let whole = export(&from, &["plain"]).await.done().output;
    import(&to, &whole).await.done();
    assert_eq!(to.events(&key("plain")).len(), 7);
}

#[tokio::test]
async fn a_store_that_differs_ends_an_import_with_aggregate_and_order() {
    let from = empty();
    for value in ["a", "b", "c"] {
        from.add(&key("k"), vec![value.into()], None);
    }
    let lines = export(&from, &["k"]).await.done().output;
    let other_header = EventContent { value: Some("b".into()), headers: vec![header("h", None)] };
    for (there, what) in
        [("x".into(), "value"), (EventContent::default(), "value"), (other_header, "headers")]
    {
        let to = empty();
        to.add(&key("k"), vec!["a".into(), there], None);
        let ran = import(&to, &lines).await;
        assert_eq!(ran.code, Some(Code::Conflict));
        let expected = "aggregate k differs at order 1: the store has another";
        assert!(ran.talk.contains(expected) && ran.talk.contains(what), "{}", ran.talk);
        assert_eq!(to.events(&key("k")).len(), 2, "nothing was added");
    }
    // More than the lines have is no difference; less than they begin with is.
    let to = empty();
    to.add(&key("k"), vec!["a".into(), "b".into(), "c".into(), "d".into()], None);
    import(&to, &lines).await.done();
    let ran = import(&empty(), &events_of(&lines)[1..].concat()).await;
    assert_eq!(ran.code, Some(Code::Conflict));
    assert!(ran.talk.contains("k goes on at order 1, and the store has only 0 events"), "{}", ran.talk);
    assert!(
        ran.talk.contains("oldest events were removed") && !ran.talk.contains("run again"),
        "{}",
        ran.talk
    );
}

/// The story: what another append had stored counted as there already, if only values and headers were the same.
#[tokio::test(start_paused = true)]
async fn an_event_of_another_append_is_a_difference() {
    let values = || vec![EventContent::from("a"), EventContent::from("b")];
    let lines_of = async |id| {
        let from = empty();
        from.add(&key("k"), values(), id);
        export(&from, &["k"]).await.done().output
    };
    let (with_id, without) = (lines_of(Some("id")).await, lines_of(None).await);
    let single = |id| {
        let to = empty();
        to.add(&key("k"), vec!["a".into()], id);
        to.add(&key("k"), vec!["b".into()], None);
        to
    };
    let together = |id| {
        let to = empty();
        to.add(&key("k"), values(), id);
        to
    };
    let table = [
        (&with_id, together(Some("id")), None),
        (&with_id, together(Some("other")), Some("append id")),
        (&with_id, together(None), Some("append id")),
        (&with_id, single(Some("id")), Some("append")),
        (&without, together(None), None),
        // The lines do not say that it has none.
        (&without, together(Some("other")), None),
        (&without, single(None), Some("append")),
    ];
    for (lines, to, expected) in table {
        let ran = import(&to, lines).await;
        match expected {
            None => assert_eq!(ran.code, None, "{}", ran.talk),
            Some(what) => {
                assert_eq!(ran.code, Some(Code::Conflict), "{}", ran.talk);
                assert!(ran.talk.contains(&format!("has another {what} there")), "{}", ran.talk);
            }
        }
    }
    // Single events share an append when they are imported, which is no difference.
    let from = empty();
    values().into_iter().for_each(|value| from.add(&key("k"), vec![value], None));
    let lines = export(&from, &["k"]).await.done().output;
    import(&together(None), &lines).await.done();
}

#[tokio::test]
async fn reserved_headers_are_left_out_and_counted() {
    let from = empty();
    let headers = ["order", "bkes", "bkes-x", "orders", "h"].map(|name| header(name, Some(b"1"))).to_vec();
    from.add_foreign(&key("k"), EventContent { value: Some("v".into()), headers });
    let lines = export(&from, &["k"]).await.done();
    assert_eq!(lines.json()[0]["foreign"], true);
    let to = empty();
    let ran = import(&to, &lines.output).await.done();
    assert!(ran.talk.contains("3 reserved headers left out"), "{}", ran.talk);
    let kept: Vec<_> = to.events(&key("k"))[0].headers.iter().map(|header| header.name.clone()).collect();
    assert_eq!(kept, ["orders", "h"]);
    // The store that they came from has them, and is equal all the same.
    for store in [&to, &from] {
        let ran = import(store, &lines.output).await.done();
        assert!(ran.talk.contains("0 events imported, 1 were there already"), "{}", ran.talk);
    }
}

#[tokio::test(start_paused = true)]
async fn faults_on_the_way_store_nothing_twice_and_leave_nothing_out() {
    let from = full();
    let lines = export(&from, &["--all"]).await.done().output;
    let to = empty();
    let fault = |index: usize| match index % 5 {
        0 => Fault::StoredUnknown,
        1 => Fault::LostUnknown,
        2 => Fault::Fails(Reason::Overloaded),
        _ => Fault::Nothing,
    };
    to.plan((0..300).map(fault));
    let ran = import(&to, &lines).await.done();
    assert_eq!(ran.talk, "bkes: 52 events imported, 0 were there already\n");
    assert_eq!(contents(&to), contents(&from));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_ends_an_import() {
    let from = empty();
    from.add(&key("k"), vec!["a".into()], None);
    let lines = export(&from, &["k"]).await.done().output;
    let tries = TRIES_MAX as usize;
    for (fault, code, expected) in [
        (Fault::Fails(Reason::LogDown), Code::Unavailable, tries),
        (Fault::LostUnknown, Code::Unknown, tries),
        (Fault::Fails(Reason::TooLarge), Code::Rejected, 1),
        (Fault::Fails(Reason::Split), Code::Rejected, 1),
    ] {
        let to = empty();
        to.plan(vec![fault.clone(); 100]);
        let ran = import(&to, &lines).await;
        assert_eq!((ran.code, to.asked().appends.len()), (Some(code), expected), "{fault:?}");
        assert!(ran.talk.contains("aggregate k, order 0:"), "{}", ran.talk);
        let helps = matches!(code, Code::Unavailable | Code::Unknown);
        assert_eq!(ran.talk.contains("may be run again"), helps, "{}", ran.talk);
    }
}

#[tokio::test(start_paused = true)]
async fn another_writer_in_between_is_a_difference_unless_it_wrote_the_same() {
    let from = empty();
    from.add(&key("k"), vec!["a".into()], None);
    from.add(&key("k"), vec!["b".into()], None);
    let lines = export(&from, &["k"]).await.done().output;
    let to = empty();
    to.plan([Fault::Overtaken("x".into())]);
    let ran = import(&to, &lines).await;
    assert!(ran.code == Some(Code::Conflict) && ran.talk.contains("k differs at order 0"), "{}", ran.talk);
    let to = empty();
    to.plan([Fault::Overtaken("a".into())]);
    let ran = import(&to, &lines).await.done();
    assert!(ran.talk.contains("1 events imported, 1 were there already"), "{}", ran.talk);
    let asked = to.asked();
    assert!(
        asked.reads.iter().all(|read| read.freshness == Freshness::Latest),
        "the other may have used another instance"
    );
    let last = asked.appends.last().expect("it was asked for").clone();
    assert_eq!((last.expected.order(), last.identity), (Some(Order(1)), None), "the rest is another append");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_another_append_has_ends_an_import_at_once() {
    let from = empty();
    from.add(&key("k"), vec!["a".into()], Some("id"));
    let lines = export(&from, &["k"]).await.done().output;
    let to = empty();
    to.plan([Fault::IdUsed]);
    let ran = import(&to, &lines).await;
    assert_eq!((ran.code, to.asked().appends.len()), (Some(Code::Conflict), 1));
    assert!(ran.talk.contains("append id \"id\" was used before"), "{}", ran.talk);
}

#[tokio::test]
async fn many_aggregates_are_in_flight_and_each_goes_on_in_its_order() {
    let from = empty();
    for round in ["0", "1", "2"] {
        for index in 0..200 {
            from.add(&key(format!("k{index:03}")), vec![round.into()], Some(round));
        }
    }
    // As one who follows writes them: event after event of all aggregates.
    let lines = export(&from, &["--all"]).await.done();
    let mut sorted: Vec<_> = lines.text().split_inclusive('\n').collect();
    let end = sorted.pop().expect("it has an end");
    sorted.sort_by_key(|line| line.split(",\"order\":").nth(1).map(|rest| rest[..1].to_owned()));
    sorted.push(end);
    for lines in [lines.output.clone(), sorted.concat().into_bytes()] {
        let to = empty();
        import(&to, &lines).await.done();
        assert_eq!(contents(&to), contents(&from));
        assert_eq!(to.in_flight_most(), IMPORT_IN_FLIGHT_MAX, "as many as may be, and no more");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_appended_behind_what_was_not() {
    let from = empty();
    for id in ["0", "1", "2", "3"] {
        from.add(&key("k"), vec![id.into()], Some(id));
    }
    let lines = export(&from, &["k"]).await.done().output;
    let to = empty();
    to.plan([Fault::Nothing, Fault::Fails(Reason::TooLarge)]);
    let ran = import(&to, &lines).await;
    assert_eq!((ran.code, to.asked().appends.len()), (Some(Code::Rejected), 2), "{}", ran.talk);
    assert!(ran.talk.starts_with("bkes: 1 events imported"), "{}", ran.talk);
}

#[tokio::test]
async fn lines_without_key_or_order_or_with_gaps_are_refused() {
    let line = |order: u8| format!("{{\"value\":\"v\",\"key\":\"k\",\"order\":{order}}}\n");
    for (lines, expected) in [
        ("{\"value\":\"v\",\"order\":0}\n", "line 1: key is missing"),
        ("{\"value\":\"v\",\"key\":\"k\"}\n", "line 1: order is missing"),
        (&(line(0) + &line(2)), "line 2: aggregate k goes on at order 2, where 1 was to follow"),
        (&(line(1) + &line(0)), "line 2: aggregate k goes on at order 0, where 2 was to follow"),
    ] {
        let ran = import(&empty(), lines.as_bytes()).await;
        assert_eq!(ran.code, Some(Code::InputOutput));
        assert!(ran.talk.contains(expected), "{}", ran.talk);
    }
}

#[tokio::test]
async fn a_file_is_imported_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lines.jsonl");
    std::fs::write(&path, export(&full(), &["--all"]).await.done().output).expect("it is ours");
    let to = empty();
    Run::of(&["import", path.to_str().expect("it is text")]).on(&to).await.done();
    assert_eq!(contents(&to), contents(&full()));
    let missing = folder.path().join("none");
    let ran = Run::of(&["import", missing.to_str().expect("it is text")]).on(&to).await;
    assert!(ran.code == Some(Code::InputOutput) && ran.talk.contains("none"), "{}", ran.talk);
}
