//! Retrieve: everything or an error without the paging fields, and parts that fit together with them.

use super::{Client, SMALL_REPLY_BYTES, Suite, says};
use crate::api::error::{Outcome, Reason, Type};
use crate::api::{Record, RetrieveReply, RetrieveRequest, StoredRecords, retrieve_reply};
use bytes::Bytes;
use prost::Message;

/// Events of the aggregate that does not fit into a small reply, and bytes of each.
const EVENTS: u32 = 150;
const EVENT_BYTES: usize = 1_000;

pub async fn check(suite: &Suite) {
    let key = suite.key("paged");
    fill(&mut suite.client(), &key).await;
    without_paging_fields_the_reply_is_whole_or_an_error(suite, &key).await;
    parts_fit_together_and_into_the_limit(suite, &key).await;
    a_part_begins_and_ends_where_it_is_told(suite, &key).await;
    an_event_larger_than_a_reply_is_an_error_in_parts_too(suite).await;
    nothing_is_pending_behind_an_answer(suite).await;
}

fn value(order: u32) -> Bytes {
    let mut value = vec![order as u8; EVENT_BYTES];
    value[..4].copy_from_slice(&order.to_be_bytes());
    value.into()
}

async fn fill(client: &mut Client, key: &Bytes) {
    client.start(key, value(0)).await.expect("it starts");
    for order in 1..EVENTS {
        client.add(key, order, value(order)).await.expect("it is added");
    }
}

fn page(key: &Bytes, from_order: Option<u64>, limit: Option<u32>) -> RetrieveRequest {
    RetrieveRequest { key: key.clone(), from_order, limit, include_pending: false }
}

fn encoded_bytes(records: &StoredRecords) -> usize {
    RetrieveReply { reply: Some(retrieve_reply::Reply::Success(records.clone())) }.encoded_len()
}

fn orders(records: &[Record]) -> Vec<u64> {
    records.iter().filter_map(|record| record.order).collect()
}

/// The original's reads failed for ever once an aggregate did not fit into a message; a part would be worse: a client that
/// does not know of paging takes it for the whole and decides on it.
async fn without_paging_fields_the_reply_is_whole_or_an_error(suite: &Suite, key: &Bytes) {
    let whole = suite.client().all(key).await.expect("it fits into a usual reply");
    assert_eq!(whole.records.len(), EVENTS as usize);
    let error = suite.small_client().all(key).await.expect_err("it does not fit into a small one");
    says(&error, Type::User, Outcome::Rejected, Reason::ReplyTooLarge);
    assert_eq!(error.limit_bytes, Some(SMALL_REPLY_BYTES as u64));
    assert!(error.cause.contains("from_order"), "the error says how to page: {error:?}");
    let pending = RetrieveRequest { include_pending: true, ..page(key, None, None) };
    suite.small_client().retrieve(pending).await.expect_err("asking for pending events is no paging");
}

async fn parts_fit_together_and_into_the_limit(suite: &Suite, key: &Bytes) {
    let mut client = suite.small_client();
    for limit in [None, Some(1), Some(7), Some(EVENTS), Some(u32::MAX)] {
        let (mut from, mut seen, mut parts) = (0, Vec::new(), 0);
        loop {
            let part = client.retrieve(page(key, Some(from), limit)).await.expect("a part always fits");
            assert!(encoded_bytes(&part) <= SMALL_REPLY_BYTES, "a part stays under the limit");
            assert!(part.records.len() as u64 <= limit.unwrap_or(u32::MAX).into());
            assert!(!part.records.is_empty(), "a part goes on");
            parts += 1;
            seen.extend(part.records);
            assert_eq!(part.more, part.continue_from.is_some());
            assert_eq!(part.more, part.next_order.is_none(), "only the end says what comes next");
            match part.continue_from {
                Some(next) => from = next,
                None => break assert_eq!(part.next_order, Some(EVENTS.into())),
            }
        }
        assert!(parts > 1, "it does not fit into one");
        let values: Vec<Bytes> = seen.into_iter().map(|record| record.value).collect();
        assert_eq!(values, (0..EVENTS).map(value).collect::<Vec<_>>(), "in parts of {limit:?}");
    }
}

async fn a_part_begins_and_ends_where_it_is_told(suite: &Suite, key: &Bytes) {
    let mut client = suite.client();
    let end = u64::from(EVENTS);
    for (from, limit, expected) in [
        (None, Some(3), 0..3),
        (Some(10), Some(2), 10..12),
        (Some(end - 2), None, end - 2..end),
        (Some(end - 1), Some(1), end - 1..end),
        (Some(end), None, end..end),
        (Some(end + 1000), Some(5), end..end),
        (Some(u64::MAX), None, end..end),
    ] {
        let part = client.retrieve(page(key, from, limit)).await.expect("it is there");
        assert_eq!(orders(&part.records), expected.clone().collect::<Vec<_>>(), "{from:?} {limit:?}");
        assert_eq!(part.more, expected.end < end, "{from:?} {limit:?}");
        assert_eq!(part.next_order, (expected.end == end).then_some(end), "{from:?} {limit:?}");
    }
    let error = client.retrieve(page(key, None, Some(0))).await.expect_err("a part of nothing");
    says(&error, Type::User, Outcome::Rejected, Reason::InvalidRequest);
    let unknown = suite.key("paged-unknown");
    let error = client.retrieve(page(&unknown, Some(3), None)).await.expect_err("there is no such aggregate");
    says(&error, Type::User, Outcome::Rejected, Reason::NoSuchAggregate);
}

async fn an_event_larger_than_a_reply_is_an_error_in_parts_too(suite: &Suite) {
    let (mut client, key) = (suite.small_client(), suite.key("large-event"));
    client.start(&key, "small").await.expect("it starts");
    client.add(&key, 1, vec![1; SMALL_REPLY_BYTES]).await.expect("a reply's limit does not limit appends");
    let part = client.retrieve(page(&key, Some(0), None)).await.expect("the first event fits");
    assert_eq!((orders(&part.records), part.continue_from), (vec![0], Some(1)));
    for request in [page(&key, Some(1), None), page(&key, None, None)] {
        let error = client.retrieve(request).await.expect_err("the second does not");
        says(&error, Type::User, Outcome::Rejected, Reason::ReplyTooLarge);
        assert!(error.size_bytes > error.limit_bytes, "{error:?}");
    }
    assert_eq!(suite.client().values(&key).await.len(), 2);
}

async fn nothing_is_pending_behind_an_answer(suite: &Suite) {
    let (mut client, key) = (suite.client(), suite.key("pending"));
    client.start(&key, "zero").await.expect("it starts");
    for paging in [None, Some(0)] {
        let request = RetrieveRequest { include_pending: true, ..page(&key, paging, None) };
        let found = client.retrieve(request).await.expect("it is there");
        assert_eq!((orders(&found.records), found.next_order), (vec![0], Some(1)));
        assert!(!found.records[0].pending);
    }
}
