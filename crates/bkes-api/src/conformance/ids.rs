//! Append ids: a retry is safe.

use super::{Suite, failed};
use crate::append::{Append, AppendFailure, draw_append_id};
use crate::event::Origin;
use crate::failure::Reason;
use crate::read::Read;
use bkes_core::append_id::{AppendId, Identity};
use bkes_core::{Key, Order};

pub async fn check(suite: &Suite) {
    a_retry_has_the_answer_of_the_try_that_was_stored(suite).await;
    another_append_under_the_same_id_is_refused(suite).await;
    an_id_is_used_once(suite).await;
    appends_anywhere_are_stored_once(suite).await;
    below_the_window_nothing_is_known(suite).await;
    readers_see_the_id(suite).await;
}

async fn a_retry_has_the_answer_of_the_try_that_was_stored(suite: &Suite) {
    let key = suite.key("retry");
    for (order, events) in [(0, 1), (1, 1), (2, 200), (202, 1)] {
        let append = Append::at(key.clone(), Order(order))
            .events((0..events).map(|event| format!("{order}-{event}")))
            .id(draw_append_id());
        let first = suite.stored(append.clone()).await;
        for retry in [append.clone(), append.again()] {
            let second = suite.stored(retry).await;
            assert_eq!(second, crate::Appended { by_earlier_try: true, ..first.clone() });
        }
    }
    assert_eq!(suite.read(Read::all(key)).await.1.next, Order(203));
}

async fn another_append_under_the_same_id_is_refused(suite: &Suite) {
    let (key, id) = (suite.key("reused"), draw_append_id());
    suite.stored(Append::start(key.clone()).event("a").header("h", "1").id(id.clone())).await;
    let others = [
        Append::start(key.clone()).event("b").header("h", "1"),
        Append::start(key.clone()).event("a").header("h", "2"),
        Append::start(key.clone()).events(["a", "b"]),
    ];
    for other in others {
        let reused = failed(suite.append(other.id(id.clone())).await, Reason::AppendIdReused);
        assert_eq!(reused, AppendFailure::IdReused { id: id.clone(), first: Order(0) });
    }
}

async fn an_id_is_used_once(suite: &Suite) {
    let (key, id) = (suite.key("used"), draw_append_id());
    let first = suite.stored(Append::start(key.clone()).event("a").id(id.clone())).await;
    suite.stored(Append::at(key.clone(), Order(1)).event("b")).await;
    let anew = Append::at(key.clone(), Order(2)).event("a").id(id.clone()).again();
    let used = failed(suite.append(anew).await, Reason::AppendIdUsed);
    let (partition, offset) = (first.partition, first.first_offset);
    assert_eq!(used, AppendFailure::IdUsed { id, first: Order(0), partition, offset });
    assert_eq!(suite.read(Read::all(key)).await.1.next, Order(2));
}

async fn appends_anywhere_are_stored_once(suite: &Suite) {
    let key = suite.key("anywhere");
    let begun = Append::any(key.clone(), draw_append_id()).event("a");
    let first = suite.stored(begun.clone()).await;
    assert_eq!(first.first, Order(0));
    let noted = Append::existing(key.clone(), draw_append_id()).events(["b", "c"]);
    assert_eq!(suite.stored(noted.clone()).await.first, Order(1));
    for retry in [begun.again(), noted.again()] {
        assert!(suite.stored(retry).await.by_earlier_try);
    }
    assert_eq!(suite.values(Read::all(key)).await, ["a", "b", "c"]);
}

/// So many other events, in one append.
async fn grow(suite: &Suite, key: &Key, events: usize) {
    let append = Append::any(key.clone(), draw_append_id()).events(vec!["other"; events]);
    suite.stored(append).await;
}

async fn below_the_window_nothing_is_known(suite: &Suite) {
    let key = suite.aggregate("window", 3).await;
    let id = draw_append_id();
    let append = Append::any(key.clone(), id.clone()).event("a");
    suite.stored(append.clone()).await;
    grow(suite, &key, 300).await;
    let unknown = failed(suite.append(append.clone().again()).await, Reason::AppendIdWindow);
    assert!(matches!(unknown, AppendFailure::Unknown { id: Some(of), .. } if of == id));
    assert_eq!(suite.read(Read::all(key.clone())).await.1.next, Order(304), "nothing is stored");
    let identity = Identity { id, is_first: false, seen: Some(Order(3)) };
    let seen = suite.stored(Append { identity: Some(identity), ..append }).await;
    assert_eq!((seen.first, seen.by_earlier_try), (Order(3), true));
}

async fn readers_see_the_id(suite: &Suite) {
    let (key, id) = (suite.key("seen-id"), AppendId::new(&b"\x00\xffid"[..]).expect("it has bytes"));
    suite.stored(Append::start(key.clone()).events(["a", "b"]).id(id.clone())).await;
    let (events, _) = suite.read(Read::all(key)).await;
    let ids: Vec<_> = events
        .iter()
        .map(|event| match &event.origin {
            Origin::Bkes { batch: Some(place), append_id } => (place.i, place.count, append_id.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [(1, 2, Some(id)), (2, 2, None)]);
    assert!(events.iter().all(|event| event.headers.is_empty()), "an id is no header of its writer");
}
