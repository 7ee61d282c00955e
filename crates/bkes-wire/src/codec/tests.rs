//! What is counted is what would be decoded.

use super::*;
use crate::to_wire;
use bkes_api::{Append, EventContent, Header, Key, TaggedAppend};
use bkes_testkit::input::{cases, spoil};
use fastrand::Rng;

fn append(events: usize, headers: usize) -> Append {
    let header = Header { name: Bytes::new(), value: None };
    let event = EventContent { value: None, headers: vec![header; headers] };
    Append::start(Key::new("k").expect("it has bytes")).events(vec![event; events])
}

fn refusal<M: Shaped>(message: &impl Message) -> Option<String> {
    check::<M>(&message.encode_to_vec()).err().map(|bad| bad.field)
}

#[test]
fn the_largest_append_passes_and_one_part_more_of_anything_does_not() {
    let request = |events, headers| to_wire::append(append(events, headers));
    assert_eq!(refusal::<v2::AppendRequest>(&request(1_000, 1_000)), None);
    assert_eq!(refusal::<v2::AppendRequest>(&request(1_001, 0)), Some("events".into()));
    assert_eq!(refusal::<v2::AppendRequest>(&request(3, 1_001)), Some("events.headers".into()));
}

#[test]
fn a_message_of_a_stream_has_as_many_appends_as_may_be_in_flight_and_no_more_parts_than_one_append() {
    let tagged = |append: Append| TaggedAppend { tag: 1, append, stands_alone: false };
    let stream = |count, append: Append| v2::AppendStreamRequest {
        appends: vec![to_wire::tagged_append(tagged(append)); count],
    };
    assert_eq!(refusal::<v2::AppendStreamRequest>(&stream(1_024, append(1, 1))), None);
    assert_eq!(refusal::<v2::AppendStreamRequest>(&stream(1_025, append(1, 1))), Some("appends".into()));
    assert_eq!(refusal::<v2::AppendStreamRequest>(&stream(1, append(1_000, 1_000))), None);
    let many = stream(3, append(1_000, 600));
    assert_eq!(refusal::<v2::AppendStreamRequest>(&many), Some("appends.append.events.headers".into()));
}

#[test]
fn the_other_lists_are_bounded_too() {
    let keys =
        |count| v2::ReadManyRequest { keys: vec![Bytes::new(); count], ..v2::ReadManyRequest::default() };
    assert_eq!(refusal::<v2::ReadManyRequest>(&keys(1_000)), None);
    assert_eq!(refusal::<v2::ReadManyRequest>(&keys(1_001)), Some("keys".into()));
    let positions =
        |count| v2::Positions { topic_id: String::new(), positions: vec![v2::Position::default(); count] };
    let wait = |count| v2::WaitForRequest {
        positions: Some(positions(count)),
        group: String::new(),
        timeout_ms: None,
    };
    assert_eq!(refusal::<v2::WaitForRequest>(&wait(PARTITIONS_MAX)), None);
    assert_eq!(refusal::<v2::WaitForRequest>(&wait(PARTITIONS_MAX + 1)), Some("positions.positions".into()));
    let latest = v2::freshness::Freshness::AtLeast(positions(PARTITIONS_MAX + 1));
    let freshness = Some(v2::Freshness { freshness: Some(latest) });
    let head = v2::HeadRequest { key: "k".into(), freshness };
    assert_eq!(refusal::<v2::HeadRequest>(&head), Some("freshness.at_least.positions".into()));
    let follow = v2::FollowRequest {
        followed: Some(v2::follow_request::Followed::Prefix(vec![0; QUESTION_BYTES_MAX].into())),
        ..v2::FollowRequest::default()
    };
    assert_eq!(refusal::<v2::FollowRequest>(&follow), Some("message".into()));
}

/// The story: a request that is no append could have 33 MiB as an append may, and be kept for as long as its answer was not taken.
#[test]
fn a_request_that_is_no_append_is_small() {
    let key: Bytes = vec![7; QUESTION_BYTES_MAX].into();
    let head = v2::HeadRequest { key: key.clone(), freshness: None };
    let list = v2::ListKeysRequest { prefix: key.clone(), ..v2::ListKeysRequest::default() };
    let many = v2::ReadManyRequest { keys: vec![key.clone()], ..v2::ReadManyRequest::default() };
    let read = v2::ReadRequest { key: key.clone(), ..v2::ReadRequest::default() };
    let too_large = Some("message".to_owned());
    assert_eq!(refusal::<v2::HeadRequest>(&head), too_large);
    assert_eq!(refusal::<v2::ListKeysRequest>(&list), too_large);
    assert_eq!(refusal::<v2::ReadManyRequest>(&many), too_large);
    assert_eq!(refusal::<v2::ReadRequest>(&read), too_large);
    // Whatever it is to a call that has no such field.
    assert_eq!(refusal::<v2::WaitForRequest>(&read), too_large);
    assert_eq!(refusal::<v2::StatusRequest>(&read), too_large);
    let keys = vec![vec![7; 4_000].into(); READ_MANY_KEYS_MAX];
    let largest = v2::ReadManyRequest { keys, ..v2::ReadManyRequest::default() };
    assert_eq!(refusal::<v2::ReadManyRequest>(&largest), None);
}

/// Whatever passes is a message or refused by the library; what the library takes and the count does not is a group or passes a bound.
#[test]
fn the_count_agrees_with_the_library_on_any_bytes() {
    let (mut passed, mut refused) = (0u64, 0u64);
    for seed in 0..cases(50_000) {
        let random = &mut Rng::with_seed(seed);
        let mut encoded = to_wire::append(append(random.usize(..4), random.usize(..4))).encode_to_vec();
        (0..random.usize(..4)).for_each(|_| spoil(random, &mut encoded));
        let decoded = v2::AppendRequest::decode(&encoded[..]);
        match (check::<v2::AppendRequest>(&encoded), decoded) {
            (Ok(()), _) => passed += 1,
            (Err(_), Err(_)) => refused += 1,
            (Err(_), Ok(_)) => {
                // Groups, which are the library's to skip, and not ours.
                let is_group = |tag: u8| matches!(tag & 7, 3 | 4);
                assert!(encoded.iter().any(|byte| is_group(*byte)), "seed {seed}");
                refused += 1;
            }
        }
    }
    assert!(
        passed > cases(50_000) / 4 && refused > cases(50_000) / 100,
        "{passed} passed, {refused} refused"
    );
}
