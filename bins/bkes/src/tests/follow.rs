//! `bkes follow`.

use super::memory::{Habits, MemoryStore, TOPIC, key};
use super::{Closing, Ran, Run};
use crate::console::Console;
use crate::exit::{Code, Ended};
use bkes_api::{
    BatchPlace, Event, Failure, Follow, FollowFrom, FollowItem, Followed, FollowedEvent, Offset, Order,
    Origin, Partition, Position, Positions, Reason, TopicId,
};
use std::sync::Arc;

type Item = Result<FollowItem, Failure>;

fn events(all: &[(&'static str, u32, u64)]) -> Item {
    let event = |(name, partition, offset): &(&'static str, u32, u64)| FollowedEvent {
        key: key(*name),
        event: Event {
            order: Order(*offset),
            partition: Partition(*partition),
            offset: Offset(*offset),
            timestamp: None,
            value: Some("v".into()),
            headers: Vec::new(),
            origin: Origin::Foreign,
        },
    };
    Ok(FollowItem::Events(all.iter().map(event).collect()))
}

fn positions(of: &[(u32, u64)]) -> Item {
    let of = of.iter().map(|(partition, position)| (Partition(*partition), Position(*position))).collect();
    Ok(FollowItem::Positions(Positions { topic: Some(TopicId::new(TOPIC)), of }))
}

async fn follow(words: &[&str], items: Vec<Item>) -> (Ran, Follow) {
    let store = Arc::new(MemoryStore::default());
    store.script(items);
    let ran = Run::of(&[&["follow"], words].concat()).on(&store).await;
    (ran, store.asked().follows.pop().expect("it was followed"))
}

/// Events of two partitions, after a position of each.
fn some() -> Vec<Item> {
    vec![positions(&[(0, 3), (1, 9)]), events(&[("a", 0, 4), ("b", 1, 9)]), events(&[("a", 0, 6)])]
}

#[tokio::test]
async fn flags_are_what_the_store_is_asked() {
    let at = crate::positions::parse("0:5,1:7").expect("it is right");
    let of = |followed| Follow { followed, ..Follow::default() };
    let from = |from| Follow { from, ..Follow::default() };
    let table = [
        (&[][..], Follow::default()),
        (&["--prefix", "hex:ff"], of(Followed::Prefix((&b"\xff"[..]).into()))),
        (&["--key", "k"], of(Followed::Key(key("k")))),
        (&["--partitions", "0,3"], of(Followed::Partitions(vec![Partition(0), Partition(3)]))),
        (&["--from-beginning"], from(FollowFrom::Beginning)),
        (&["--from", "0:5,1:7"], from(FollowFrom::Positions(at))),
        (&["--no-headers"], Follow { with_headers: false, ..Follow::default() }),
    ];
    for (words, expected) in table {
        let (_, asked) = follow(words, vec![]).await;
        assert_eq!(asked, expected, "{words:?}");
    }
}

#[tokio::test]
async fn events_are_shown_and_an_end_of_the_stream_says_how_to_go_on() {
    let (ran, _) = follow(&["-f", "%k%o ", "--prefix", "it's"], some()).await;
    assert_eq!((ran.code, ran.text()), (Some(Code::Unavailable), "a4 b9 a6 "));
    let go_on = r"bkes follow --prefix 'it'\''s' --format '%k%o ' --from topic-1@0:7,1:10";
    assert!(ran.talk.contains(go_on), "{} lacks {go_on}", ran.talk);

    let failure = Failure::new(Reason::ShuttingDown, "the server stops");
    let (ran, _) = follow(&["-f", "%k"], some().into_iter().chain([Err(failure)]).collect()).await;
    assert_eq!((ran.code, ran.text()), (Some(Code::Unavailable), "aba"));
    assert!(
        ran.talk.contains("--from topic-1@0:7,1:10") && ran.talk.contains("SHUTTING_DOWN"),
        "{}",
        ran.talk
    );
}

#[tokio::test]
async fn it_ends_where_it_is_told_to() {
    let items = vec![
        events(&[("a", 0, 4)]),
        positions(&[(0, 8)]),
        Ok(FollowItem::FellBehind),
        Ok(FollowItem::CaughtUp),
        events(&[("a", 0, 9)]),
    ];
    let (ran, _) = follow(&["-f", "%k", "--until-caught-up", "--key", "a"], items).await;
    assert_eq!((ran.code, ran.text()), (None, "a"));
    assert!(ran.talk.contains("bkes follow --key a --format %k --from topic-1@0:8"), "{}", ran.talk);
    let (ran, _) = follow(&["-f", "%k", "--limit", "2", "--partitions", "0,1"], some()).await;
    assert_eq!((ran.code, ran.text()), (None, "ab"));
    assert!(ran.talk.contains("--partitions 0,1 --format %k --from topic-1@0:5,1:10"), "{}", ran.talk);
}

#[tokio::test]
async fn an_append_in_the_middle_of_which_it_ends_is_shown_again() {
    let Ok(FollowItem::Events(mut batch)) = events(&[("a", 0, 4), ("a", 0, 5), ("a", 0, 7)]) else {
        panic!("they are events")
    };
    for (i, event) in (1..).zip(&mut batch[1..]) {
        event.event.origin = Origin::Bkes { batch: Some(BatchPlace { i, count: 2 }), append_id: None };
    }
    for (limit, position) in [("1", 5), ("2", 5), ("3", 8)] {
        let items = vec![positions(&[(0, 3)]), Ok(FollowItem::Events(batch.clone()))];
        let (ran, _) = follow(&["--limit", limit], items).await;
        assert!(ran.talk.contains(&format!("--from topic-1@0:{position}\n")), "{limit}: {}", ran.talk);
    }
}

#[tokio::test]
async fn where_to_go_on_is_said_only_where_it_is_known() {
    let (ran, _) = follow(&[], vec![events(&[("a", 0, 4)])]).await;
    assert!(!ran.talk.contains("--from"), "partition 1 would be shown from its beginning: {}", ran.talk);
    let fails = Some(Failure::new(Reason::CatchingUp, "catching up"));
    let store = MemoryStore::with(Habits { fails, ..Habits::default() });
    let ran = Run::of(&["follow", "--from-beginning"]).on(&store).await;
    assert_eq!(
        (ran.code, ran.talk.lines().count()),
        (Some(Code::Unavailable), 1),
        "nothing began: {}",
        ran.talk
    );
    let (ran, _) = follow(&["--from-beginning"], vec![events(&[("a", 0, 4)])]).await;
    assert!(ran.talk.contains("bkes follow --from 0:5"), "{}", ran.talk);
    let (ran, _) = follow(&["--from-beginning"], vec![]).await;
    assert!(ran.talk.contains("bkes follow --from-beginning"), "{}", ran.talk);
    let (ran, _) = follow(&["--from", "0:9,1:2"], vec![events(&[("a", 1, 4)])]).await;
    assert!(ran.talk.contains("bkes follow --from 0:9,1:5"), "{}", ran.talk);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_it_with_the_command_to_go_on() {
    let store = MemoryStore::with(Habits { stays_open: true, ..Habits::default() });
    store.script([positions(&[(0, 3)]), events(&[("a", 0, 4)])]);
    let mut output = Vec::new();
    let tell = |console: &Console<'_>| {
        let interrupt = console.interrupt.clone();
        tokio::spawn(async move {
            // Time passes when nothing else is to be done: when all that is there was shown.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            assert!(interrupt.tell(), "it listens");
        });
    };
    let (ended, talk) = Run::of(&["follow", "-f", "%k%o\\n"]).to(&store, &mut output, tell).await;
    assert_eq!((ended, &*output), (Ok(()), &b"a4\n"[..]));
    assert!(talk.contains(r"go on with: bkes follow --format '%k%o\n' --from topic-1@0:5"), "{talk}");
}

#[tokio::test]
async fn who_reads_no_further_ends_it_quietly() {
    let store = MemoryStore::with(Habits { stays_open: true, ..Habits::default() });
    store.script([positions(&[(0, 3)]), events(&[("a", 0, 4), ("a", 0, 5)])]);
    let (ended, talk) = Run::of(&["follow", "-f", "%k%o\\n"]).to(&store, &mut Closing(3), |_| {}).await;
    assert_eq!((ended, talk.as_str()), (Err(Ended::OutputClosed), ""));
}
