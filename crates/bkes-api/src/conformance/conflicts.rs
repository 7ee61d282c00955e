//! Conflicts, and the events that come with them.

use super::{Suite, failed, texts};
use crate::append::{Append, AppendFailure, Conflict};
use crate::failure::Reason;
use bkes_core::Order;
use bkes_core::append::Expected;

pub async fn check(suite: &Suite) {
    a_conflict_names_both_orders(suite).await;
    a_conflict_brings_what_its_writer_had_not_seen(suite).await;
    what_a_conflict_brings_is_bounded(suite).await;
    an_order_above_the_next_one_is_a_conflict_of_an_absent_aggregate_too(suite).await;
}

async fn conflict(suite: &Suite, append: Append, reason: Reason) -> Conflict {
    match failed(suite.append(append).await, reason) {
        AppendFailure::Conflict(conflict) => *conflict,
        other => panic!("no conflict: {other:?}"),
    }
}

async fn a_conflict_names_both_orders(suite: &Suite) {
    let key = suite.aggregate("conflict", 3).await;
    let taken = conflict(suite, Append::at(key.clone(), Order(1)).event("x"), Reason::Conflict).await;
    assert_eq!((taken.expected, taken.current), (Expected::At(Order(1)), Order(3)));
    assert!(taken.missing.is_empty(), "nothing was asked for");
    let exists = conflict(suite, Append::start(key.clone()).event("x"), Reason::AlreadyExists).await;
    assert_eq!((exists.expected, exists.current), (Expected::New, Order(3)));
}

async fn a_conflict_brings_what_its_writer_had_not_seen(suite: &Suite) {
    let key = suite.aggregate("missing", 5).await;
    let append = Append::at(key.clone(), Order(2)).event("x").with_missing();
    let taken = conflict(suite, append, Reason::Conflict).await;
    assert_eq!((texts(&taken.missing), taken.more), (vec!["2".into(), "3".into(), "4".into()], false));
    assert_eq!(taken.current, Order(5));
    let orders: Vec<Order> = taken.missing.iter().map(|event| event.order).collect();
    assert_eq!(orders, [Order(2), Order(3), Order(4)]);
    let start = Append::start(key.clone()).event("x").with_missing();
    let exists = conflict(suite, start, Reason::AlreadyExists).await;
    assert_eq!((exists.missing.len(), exists.more), (5, false));
    let ahead = Append::at(key, Order(9)).event("x").with_missing();
    let ahead = conflict(suite, ahead, Reason::Conflict).await;
    assert_eq!((ahead.current, ahead.missing.len(), ahead.more), (Order(5), 0, false));
}

async fn what_a_conflict_brings_is_bounded(suite: &Suite) {
    let key = suite.aggregate("many-missing", 1_205).await;
    let all = Append::at(key.clone(), Order(5)).event("x").with_missing();
    let all = conflict(suite, all, Reason::Conflict).await;
    assert_eq!((all.missing.len(), all.more, all.current), (1_000, true, Order(1_205)));
    let few = Append { missing_max: 3, ..Append::at(key, Order(5)).event("x") };
    let few = conflict(suite, few, Reason::Conflict).await;
    assert_eq!((texts(&few.missing), few.more), (vec!["5".into(), "6".into(), "7".into()], true));
    let large = suite.key("large-missing");
    for order in 0..4 {
        suite.stored(Append::at(large.clone(), Order(order)).event(vec![b'v'; 500_000])).await;
    }
    let bounded =
        conflict(suite, Append::start(large).event("x").with_missing(), Reason::AlreadyExists).await;
    assert_eq!((bounded.missing.len(), bounded.more), (2, true), "a third would be more than 1 MiB");
}

async fn an_order_above_the_next_one_is_a_conflict_of_an_absent_aggregate_too(suite: &Suite) {
    let absent = Append::at(suite.key("absent"), Order(4)).event("x").with_missing();
    let conflict = conflict(suite, absent, Reason::Conflict).await;
    assert_eq!((conflict.expected, conflict.current), (Expected::At(Order(4)), Order(0)));
    assert_eq!((conflict.missing.len(), conflict.more), (0, false));
    let id = crate::draw_append_id();
    let existing = suite.append(Append::existing(suite.key("absent"), id).event("x")).await;
    failed(existing, Reason::NoSuchAggregate);
}
