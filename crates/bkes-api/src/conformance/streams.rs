//! Appends on a stream.

use super::{Suite, within};
use crate::append::{Append, AppendFailure, Appended, TaggedAnswer, TaggedAppend};
use crate::failure::Reason;
use crate::read::Read;
use bkes_core::Order;
use std::collections::BTreeMap;
use tokio_stream::StreamExt;

pub async fn check(suite: &Suite) {
    each_append_is_answered_by_its_tag(suite).await;
    appends_of_a_key_rest_on_those_before_them(suite).await;
    a_stream_without_appends_ends(suite).await;
}

type Answers = BTreeMap<u64, Result<Appended, AppendFailure>>;

async fn run(suite: &Suite, appends: Vec<TaggedAppend>) -> Answers {
    let count = appends.len();
    let appends = Box::pin(tokio_stream::iter(appends));
    let mut answers = within(suite.store().append_stream(appends)).await.expect("it begins");
    let mut by_tag = Answers::new();
    while let Some(TaggedAnswer { tag, answer }) = within(answers.next()).await {
        assert!(by_tag.insert(tag, answer).is_none(), "tag {tag} is answered once");
    }
    assert_eq!(by_tag.len(), count, "each is answered");
    by_tag
}

fn tagged(tag: u64, append: Append) -> TaggedAppend {
    TaggedAppend { tag, append, stands_alone: false }
}

async fn each_append_is_answered_by_its_tag(suite: &Suite) {
    let key = |index: u64| suite.key(&format!("stream-{}", index % 50));
    let appends = (0..2_000).map(|tag| {
        let append = Append::at(key(tag), Order(tag / 50)).event(tag.to_string());
        tagged(tag, append)
    });
    let answers = run(suite, appends.collect()).await;
    for (tag, answer) in answers {
        let stored = answer.unwrap_or_else(|failure| panic!("append {tag}: {failure:?}"));
        assert_eq!(stored.first, Order(tag / 50), "append {tag}");
    }
    let expected: Vec<String> = (0..40).map(|round| (round * 50 + 7).to_string()).collect();
    assert_eq!(suite.values(Read::all(key(7))).await, expected);
}

async fn appends_of_a_key_rest_on_those_before_them(suite: &Suite) {
    let (key, free) = (suite.aggregate("chain", 2).await, suite.key("free"));
    let at = |order: u64| Append::at(key.clone(), Order(order)).event(format!("at {order}"));
    let appends = vec![
        tagged(1, at(2)),
        // This one is a conflict, and takes those with it that rest on it.
        tagged(2, at(2)),
        tagged(3, at(3)),
        tagged(4, at(4)),
        TaggedAppend { stands_alone: true, ..tagged(5, at(3)) },
        tagged(6, at(4)),
        tagged(7, Append::start(free).event("of another key")),
    ];
    let answers = run(suite, appends).await;
    let told: Vec<_> = answers
        .into_iter()
        .map(|(tag, answer)| match answer {
            Ok(stored) => (tag, Ok(stored.first.0)),
            Err(failure) => (tag, Err(failure.reason())),
        })
        .collect();
    let expected = [
        (1, Ok(2)),
        (2, Err(Reason::Conflict)),
        (3, Err(Reason::PredecessorFailed)),
        (4, Err(Reason::PredecessorFailed)),
        (5, Ok(3)),
        (6, Ok(4)),
        (7, Ok(0)),
    ];
    assert_eq!(told, expected);
    assert_eq!(suite.values(Read::all(key)).await, ["0", "1", "at 2", "at 3", "at 4"]);
}

async fn a_stream_without_appends_ends(suite: &Suite) {
    assert!(run(suite, Vec::new()).await.is_empty());
}
