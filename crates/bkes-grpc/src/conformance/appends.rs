//! Start and Add: what is stored, what is refused, and what two writers see.

use super::{Suite, says};
use crate::api::error::{Outcome, Reason, Type};
use bytes::Bytes;

pub async fn check(suite: &Suite) {
    an_aggregate_is_started_added_to_and_retrieved(suite).await;
    keys_and_values_are_opaque(suite).await;
    a_stale_or_future_order_is_a_conflict(suite).await;
    a_second_start_is_refused(suite).await;
    an_aggregate_without_events_is_unknown(suite).await;
    an_empty_key_is_refused(suite).await;
    a_value_above_the_limit_is_refused_and_leaves_the_key_usable(suite).await;
    of_two_writers_one_wins_each_order(suite).await;
    of_many_adds_at_one_order_one_succeeds(suite).await;
    many_callers_at_once_are_all_answered(suite).await;
}

async fn an_aggregate_is_started_added_to_and_retrieved(suite: &Suite) {
    let (mut client, key) = (suite.client(), suite.key("usual"));
    let first = client.start(&key, "zero").await.expect("a new aggregate starts");
    assert_eq!(first.order, Some(0));
    assert!(first.partition >= 0 && first.offset >= 0, "it lies in the log: {first:?}");
    assert!(first.timestamp > 0, "the log has a time: {first:?}");
    let second = client.add(&key, 1, "one").await.expect("its next order is taken");
    assert_eq!(second.order, Some(1));
    assert_eq!(second.partition, first.partition, "an aggregate stays in its partition");
    assert!(second.offset > first.offset, "offsets rise: {first:?} {second:?}");

    let found = client.all(&key).await.expect("it is there");
    assert_eq!(
        (found.more, found.next_order, found.continue_from, found.split),
        (false, Some(2), None, false)
    );
    for (order, (record, stored)) in found.records.iter().zip([first, second]).enumerate() {
        assert_eq!(
            (record.partition, record.offset, record.timestamp, record.order),
            (stored.partition, stored.offset, stored.timestamp, Some(order as u64)),
            "what is retrieved is what was acknowledged"
        );
        assert!(!record.pending && !record.tombstone, "{record:?}");
    }
    assert_eq!(client.values(&key).await, ["zero", "one"]);
}

async fn keys_and_values_are_opaque(suite: &Suite) {
    let mut client = suite.client();
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut key = suite.key("bytes").to_vec();
    key.extend(&every_byte);
    let key = Bytes::from(key);
    client.start(&key, every_byte.clone()).await.expect("any bytes are a value");
    client.add(&key, 1, "").await.expect("none are one too");
    let found = client.all(&key).await.expect("it is there").records;
    assert_eq!((&found[0].value[..], &found[1].value[..]), (&every_byte[..], &b""[..]));
    assert!(!found[1].tombstone, "an empty value is not a null one");

    let prefix = key.slice(..key.len() - 1);
    says(
        &client.all(&prefix).await.expect_err("a prefix is another key"),
        Type::User,
        Outcome::Rejected,
        Reason::NoSuchAggregate,
    );
}

async fn a_stale_or_future_order_is_a_conflict(suite: &Suite) {
    let (mut client, key) = (suite.client(), suite.key("conflict"));
    client.start(&key, "zero").await.expect("it starts");
    client.add(&key, 1, "one").await.expect("it is added");
    for order in [0, 1, 3, 7, u32::MAX] {
        let error = client.add(&key, order, "wrong").await.expect_err("the order is not the next one");
        says(&error, Type::Concurrency, Outcome::Rejected, Reason::Conflict);
        assert_eq!((error.expected_order, error.current_order), (Some(order.into()), Some(2)), "{error:?}");
    }
    client.add(&key, 2, "two").await.expect("refused appends leave the key usable");
    assert_eq!(client.values(&key).await, ["zero", "one", "two"]);
}

async fn a_second_start_is_refused(suite: &Suite) {
    let (mut client, key) = (suite.client(), suite.key("twice"));
    client.start(&key, "zero").await.expect("it starts");
    for value in ["zero", "other"] {
        let error = client.start(&key, value).await.expect_err("it exists");
        says(&error, Type::Concurrency, Outcome::Rejected, Reason::AlreadyExists);
        assert_eq!((error.expected_order, error.current_order), (Some(0), Some(1)), "{error:?}");
    }
    assert_eq!(client.values(&key).await, ["zero"]);

    let key = suite.key("twice-at-once");
    let (mut left, mut right) = (suite.client(), suite.client());
    let answers = tokio::join!(left.start(&key, "left"), right.start(&key, "right"));
    let (winner, error) = match answers {
        (Ok(_), Err(error)) => ("left", error),
        (Err(error), Ok(_)) => ("right", error),
        answers => panic!("of two starts one succeeds: {answers:?}"),
    };
    says(&error, Type::Concurrency, Outcome::Rejected, Reason::AlreadyExists);
    assert_eq!(client.values(&key).await, [winner]);
}

async fn an_aggregate_without_events_is_unknown(suite: &Suite) {
    let (mut client, key) = (suite.client(), suite.key("unknown"));
    for order in [0, 1] {
        let error = client.add(&key, order, "value").await.expect_err("there is nothing to add to");
        says(&error, Type::User, Outcome::Rejected, Reason::NoSuchAggregate);
        assert_eq!((error.expected_order, error.current_order), (Some(order.into()), None), "{error:?}");
    }
    let error = client.all(&key).await.expect_err("there is nothing to retrieve");
    says(&error, Type::User, Outcome::Rejected, Reason::NoSuchAggregate);
    client.start(&key, "value").await.expect("it can still be started");
}

async fn an_empty_key_is_refused(suite: &Suite) {
    let (mut client, key) = (suite.client(), Bytes::new());
    let errors = [
        client.start(&key, "value").await.expect_err("no key"),
        client.add(&key, 1, "value").await.expect_err("no key"),
        client.all(&key).await.expect_err("no key"),
    ];
    for error in errors {
        says(&error, Type::User, Outcome::Rejected, Reason::EmptyKey);
    }
}

async fn a_value_above_the_limit_is_refused_and_leaves_the_key_usable(suite: &Suite) {
    let (mut client, key) = (suite.client(), suite.key("large"));
    let huge = Bytes::from(vec![7; 15 * 1024 * 1024]);
    let error = client.start(&key, huge.clone()).await.expect_err("no log takes that");
    says(&error, Type::User, Outcome::Rejected, Reason::TooLarge);
    let limit = error.limit_bytes.expect("the limit is named") as usize;
    assert!(error.size_bytes > error.limit_bytes, "{error:?}");
    assert!((100_000..huge.len()).contains(&limit), "{error:?}");
    client.all(&key).await.expect_err("a refused start starts nothing");

    // The limit counts the key, and the headers that BKES adds.
    let fits = huge.slice(..limit - key.len() - 200);
    client.start(&key, fits.clone()).await.expect("below the limit it is stored");
    client.add(&key, 1, huge).await.expect_err("above it is not");
    client.add(&key, 1, "small").await.expect("the key is usable");
    assert_eq!(client.values(&key).await, [fits, "small".into()]);
}

async fn of_two_writers_one_wins_each_order(suite: &Suite) {
    const ROUNDS: u32 = 50;
    let (mut reader, key) = (suite.client(), suite.key("writers"));
    let (mut left, mut right) = (suite.client(), suite.small_client());
    reader.start(&key, "start").await.expect("it starts");
    let mut expected = vec![Bytes::from("start")];
    for order in 1..=ROUNDS {
        let values = [format!("left-{order}"), format!("right-{order}")].map(Bytes::from);
        let answers =
            tokio::join!(left.add(&key, order, values[0].clone()), right.add(&key, order, values[1].clone()));
        let (won, error) = match answers {
            (Ok(_), Err(error)) => (0, error),
            (Err(error), Ok(_)) => (1, error),
            answers => panic!("one writer wins order {order}: {answers:?}"),
        };
        says(&error, Type::Concurrency, Outcome::Rejected, Reason::Conflict);
        assert_eq!(error.current_order, Some(u64::from(order) + 1));
        expected.push(values[won].clone());
        // What was acknowledged is shown at once, to everyone.
        assert_eq!(reader.values(&key).await, expected);
    }
}

/// Two successes for one order were what the original could be brought to, with a single instance.
async fn of_many_adds_at_one_order_one_succeeds(suite: &Suite) {
    const CALLERS: usize = 64;
    let (mut reader, key) = (suite.client(), suite.key("race"));
    reader.start(&key, "start").await.expect("it starts");
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let mut client = if caller % 2 == 0 { suite.client() } else { suite.small_client() };
            let key = key.clone();
            tokio::spawn(async move { client.add(&key, 1, caller.to_string()).await })
        })
        .collect();
    let mut winners = Vec::new();
    for (caller, answer) in callers.into_iter().enumerate() {
        match answer.await.expect("every caller is answered") {
            Ok(_) => winners.push(caller.to_string()),
            Err(error) => {
                says(&error, Type::Concurrency, Outcome::Rejected, Reason::Conflict);
                assert_eq!((error.expected_order, error.current_order), (Some(1), Some(2)), "{error:?}");
            }
        }
    }
    let [winner] = &winners[..] else { panic!("exactly one of them succeeds: {winners:?}") };
    assert_eq!(reader.values(&key).await, ["start", winner]);
}

async fn many_callers_at_once_are_all_answered(suite: &Suite) {
    const CALLERS: u32 = 64;
    const EVENTS: u32 = 10;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (mut client, key) = (suite.client(), suite.key(&format!("caller-{caller}")));
            tokio::spawn(async move {
                client.start(&key, "0").await.expect("it starts");
                for order in 1..EVENTS {
                    client.add(&key, order, order.to_string()).await.expect("nobody else writes here");
                    let found = client.all(&key).await.expect("it is there");
                    assert_eq!(
                        found.next_order,
                        Some(u64::from(order) + 1),
                        "reads show what was acknowledged"
                    );
                }
                let expected: Vec<String> = (0..EVENTS).map(|order| order.to_string()).collect();
                assert_eq!(client.values(&key).await, expected);
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("every caller finds what it wrote");
    }
}
