//! What no well-meaning peer sends: refused by the field's name, and never a panic.

use crate::some;
use bkes_api::{
    Append, Detail, EventContent, Failure, Header, Key, Offset, Partition, Position, Read, Reason,
};
use bkes_testkit::input::{cases, spoil};
use bkes_wire::{BadField, from_wire, to_wire, v2};
use fastrand::Rng;
use prost::Message;
use std::time::Duration;

/// Cases of the test, unless `BKES_CASES` says otherwise; a failure names the seed of its case.
const CASES: u64 = 40_000;

/// The bytes of some answer, whole or spoiled.
fn some_answer(random: &mut Rng) -> Vec<u8> {
    let mut bytes = match random.u8(..6) {
        0 => to_wire::page(some::page(random)).expect("it fits").encode_to_vec(),
        1 => to_wire::conflict(some::conflict(random)).expect("it fits").encode_to_vec(),
        2 => to_wire::stored(&some::appended(random)).expect("it fits").encode_to_vec(),
        3 => to_wire::key_list(some::key_list(random)).expect("it fits").encode_to_vec(),
        4 => to_wire::follow_item(some::follow_item(random)).expect("it fits").encode_to_vec(),
        _ => to_wire::status(some::status(random)).expect("it fits").encode_to_vec(),
    };
    (0..random.usize(..4)).for_each(|_| spoil(random, &mut bytes));
    bytes
}

/// The bytes of some request, whole or spoiled.
fn some_request(random: &mut Rng) -> Vec<u8> {
    let mut bytes = match random.u8(..7) {
        0 => to_wire::append(some::append(random)).encode_to_vec(),
        1 => to_wire::tagged_append(some::tagged_append(random)).encode_to_vec(),
        2 => to_wire::read(some::read(random)).expect("it fits").encode_to_vec(),
        3 => to_wire::read_many(&some::read_many(random)).expect("it fits").encode_to_vec(),
        4 => to_wire::keys_request(&some::keys_request(random)).expect("it fits").encode_to_vec(),
        5 => to_wire::follow(&some::follow(random)).expect("it fits").encode_to_vec(),
        _ => (0..random.usize(..60)).map(|_| random.u8(..)).collect(),
    };
    (0..random.usize(..4)).for_each(|_| spoil(random, &mut bytes));
    bytes
}

/// Turns what is a message, and counts it as taken or refused.
fn turned<M: Message + Default, T>(
    bytes: &[u8],
    counts: &mut [u64; 2],
    turn: impl Fn(M) -> Result<T, BadField>,
) -> Option<T> {
    let turned = turn(M::decode(bytes).ok()?);
    counts[usize::from(turned.is_err())] += 1;
    if let Err(bad) = &turned {
        assert!(!bad.field.is_empty() && !bad.why.is_empty(), "{bad:?}");
    }
    turned.ok()
}

/// Whatever is taken of any bytes can be said again, and is the same then: nothing wrapped around on the way.
#[test]
fn any_bytes_are_a_request_or_refused_by_a_fields_name() {
    let mut counts = [0; 2];
    for seed in 0..cases(CASES) {
        let bytes = some_request(&mut Rng::with_seed(seed));
        if let Some(append) = turned(&bytes, &mut counts, |message| from_wire::append(message, None)) {
            let again = from_wire::append(to_wire::append(append.clone()), None);
            assert_eq!(again, Ok(append), "seed {seed}");
        }
        if let Some(read) = turned(&bytes, &mut counts, from_wire::read) {
            assert_eq!(
                from_wire::read(to_wire::read(read.clone()).expect("it fits")),
                Ok(read),
                "seed {seed}"
            );
        }
        if let Some(read) = turned(&bytes, &mut counts, from_wire::read_many) {
            let again = from_wire::read_many(to_wire::read_many(&read).expect("it fits"));
            assert_eq!(again, Ok(read), "seed {seed}");
        }
        if let Some(keys) = turned(&bytes, &mut counts, from_wire::keys_request) {
            let again = from_wire::keys_request(to_wire::keys_request(&keys).expect("it fits"));
            assert_eq!(again, Ok(keys), "seed {seed}");
        }
        if let Some(follow) = turned(&bytes, &mut counts, from_wire::follow) {
            let again = from_wire::follow(to_wire::follow(&follow).expect("it fits"));
            assert_eq!(again, Ok(follow), "seed {seed}");
        }
        let timeout = Duration::from_secs(1);
        if let Some(wait) = turned(&bytes, &mut counts, |message| from_wire::wait_for(message, timeout)) {
            let again = from_wire::wait_for(to_wire::wait_for(&wait).expect("it fits"), timeout);
            assert_eq!(again, Ok(wait), "seed {seed}");
        }
        if let Some((key, fresh)) = turned(&bytes, &mut counts, from_wire::head_request) {
            let again = from_wire::head_request(to_wire::head_request(&key, &fresh).expect("it fits"));
            assert_eq!(again, Ok((key, fresh)), "seed {seed}");
        }
    }
    let [taken, refused] = counts;
    println!("{taken} requests taken, {refused} refused");
    assert!(taken > cases(CASES) / 10 && refused > cases(CASES) / 10, "{taken} taken, {refused} refused");
}

#[test]
fn any_bytes_are_an_answer_or_refused_by_a_fields_name() {
    let keys = [Key::new("k").expect("it has bytes")];
    let mut counts = [0; 2];
    for seed in 0..cases(CASES) {
        let bytes = some_answer(&mut Rng::with_seed(seed));
        turned(&bytes, &mut counts, from_wire::appended);
        turned(&bytes, &mut counts, from_wire::conflict);
        turned(&bytes, &mut counts, from_wire::page);
        turned(&bytes, &mut counts, |message| from_wire::read_many_page(message, &keys));
        turned(&bytes, &mut counts, from_wire::head);
        turned(&bytes, &mut counts, from_wire::key_list);
        turned(&bytes, &mut counts, from_wire::follow_item);
        turned(&bytes, &mut counts, from_wire::status);
        if let Ok(message) = v2::TaggedAnswer::decode(&bytes[..]) {
            let _ = from_wire::tagged_answer(message, None);
        }
    }
    assert!(counts.iter().all(|count| *count > cases(CASES) / 40), "{counts:?}");
}

fn refused<T: std::fmt::Debug>(turned: Result<T, BadField>) -> (Reason, String) {
    let failure = turned.expect_err("it is refused").in_request();
    let Failure { reason, detail: Some(Detail::Field(field)), .. } = failure else {
        panic!("it has a field")
    };
    (reason, field)
}

#[test]
fn each_bad_field_of_an_append_is_named() {
    use v2::append_request::Expected;
    let good = || v2::AppendRequest {
        key: "k".into(),
        expected: Some(Expected::NoAggregate(true)),
        ..v2::AppendRequest::default()
    };
    let with_id = |bytes: usize| Some(v2::AppendId { id: vec![7; bytes].into(), first: true, seen: None });
    let table = [
        (v2::AppendRequest { key: "".into(), ..good() }, Reason::EmptyKey, "key"),
        (v2::AppendRequest { expected: None, ..good() }, Reason::InvalidRequest, "expected"),
        (
            v2::AppendRequest { expected: Some(Expected::NoAggregate(false)), ..good() },
            Reason::InvalidRequest,
            "no_aggregate",
        ),
        (v2::AppendRequest { expected: Some(Expected::Any(false)), ..good() }, Reason::InvalidRequest, "any"),
        (v2::AppendRequest { append_id: with_id(0), ..good() }, Reason::InvalidRequest, "append_id.id"),
        (v2::AppendRequest { append_id: with_id(65), ..good() }, Reason::InvalidRequest, "append_id.id"),
    ];
    for (message, reason, field) in table {
        assert_eq!(refused(from_wire::append(message, None)), (reason, field.into()));
    }
}

#[test]
fn what_every_store_refuses_of_an_append_is_refused_by_its_fields_name() {
    let key = || Key::new("k").expect("it has bytes");
    let header = |name: &'static str| Header { name: name.into(), value: None };
    let event = |headers: Vec<Header>| EventContent { value: None, headers };
    let good = Append::start(key()).event("one").event(event(vec![header("fine"); 1_000]));
    assert_eq!(from_wire::check_append(&good), Ok(()));
    let table = [
        (Append::start(key()), "events"),
        (Append::start(key()).events(vec!["x"; 1_001]), "events"),
        (Append::new(key(), bkes_api::Expected::Any).event("x"), "append_id"),
        (Append::start(key()).event("x").event(event(vec![header("order")])), "events[1].headers"),
        (Append::start(key()).event(event(vec![header("fine"); 1_001])), "events[0].headers"),
    ];
    for (append, field) in table {
        let refused = from_wire::check_append(&append);
        assert_eq!(refused.expect_err("it is refused").field, field);
    }
}

#[test]
fn each_bad_field_of_the_other_requests_is_named() {
    use v2::freshness::Freshness;
    let positions = |of: &[(i32, i64)]| {
        let positions =
            of.iter().map(|(partition, offset)| v2::Position { partition: *partition, offset: *offset });
        v2::Positions { topic_id: String::new(), positions: positions.collect() }
    };
    let fresh = |freshness| Some(v2::Freshness { freshness: Some(freshness) });
    let read = || v2::ReadRequest { key: "k".into(), ..v2::ReadRequest::default() };
    let offset = |at| Some(v2::read_request::AsOf::AsOfOffset(at));
    let reads = [
        (v2::ReadRequest { limit: Some(0), ..read() }, "limit"),
        (v2::ReadRequest { as_of: offset(-1), ..read() }, "as_of_offset"),
        (v2::ReadRequest { part_by_part: true, backwards: true, ..read() }, "part_by_part"),
        (v2::ReadRequest { part_by_part: true, as_of: offset(1), ..read() }, "part_by_part"),
        (v2::ReadRequest { freshness: fresh(Freshness::Latest(false)), ..read() }, "freshness.latest"),
        (
            v2::ReadRequest { freshness: fresh(Freshness::AtLeast(positions(&[(0, 1), (1, -5)]))), ..read() },
            "freshness.at_least.positions[1].offset",
        ),
        (
            v2::ReadRequest { freshness: fresh(Freshness::AtLeast(positions(&[(-1, 5)]))), ..read() },
            "freshness.at_least.positions[0].partition",
        ),
        (
            v2::ReadRequest { freshness: fresh(Freshness::AtLeast(positions(&[(1, 5), (1, 5)]))), ..read() },
            "freshness.at_least.positions",
        ),
    ];
    for (message, field) in reads {
        assert_eq!(refused(from_wire::read(message)), (Reason::InvalidRequest, field.into()));
    }
    let keys = |keys: Vec<&'static str>| v2::ReadManyRequest {
        keys: keys.into_iter().map(Into::into).collect(),
        ..v2::ReadManyRequest::default()
    };
    for (message, field) in
        [(keys(vec![]), "keys"), (keys(vec!["k"; 1_001]), "keys"), (keys(vec!["k", ""]), "keys[1]")]
    {
        assert_eq!(refused(from_wire::read_many(message)), (Reason::InvalidRequest, field.into()));
    }
    let partitions = v2::PartitionSet { partitions: vec![3, -3] };
    let followed = Some(v2::follow_request::Followed::Partitions(partitions));
    let follow = v2::FollowRequest { followed, ..v2::FollowRequest::default() };
    assert_eq!(refused(from_wire::follow(follow)).1, "partitions.partitions[1]");
}

#[test]
fn a_number_that_the_wire_has_no_room_for_is_refused_and_does_not_wrap() {
    let key = || Key::new("k").expect("it has bytes");
    let read = Read { as_of: Some(bkes_api::AsOf::Offset(Offset(1 << 63))), ..Read::all(key()) };
    assert_eq!(to_wire::read(read).expect_err("it does not fit").field, "as_of_offset");
    let positions = bkes_api::Positions { topic: None, of: vec![(Partition(1 << 31), Position(0))] };
    let wait = bkes_api::WaitFor { positions, group: None, timeout: Duration::ZERO };
    assert_eq!(
        to_wire::wait_for(&wait).expect_err("it does not fit").field,
        "positions.positions[0].partition"
    );
    let appended =
        bkes_api::Appended { last_offset: Offset(u64::MAX), ..some::appended(&mut Rng::with_seed(3)) };
    assert_eq!(to_wire::stored(&appended).expect_err("it does not fit").field, "last_offset");
    // It is stored, so it must not be answered as if it were not.
    let answer = bkes_api::TaggedAnswer { tag: 1, answer: Ok(appended) };
    let come = from_wire::tagged_answer(to_wire::tagged_answer(answer, false), None);
    assert_eq!(come.answer.expect_err("it has no answer").class(), bkes_api::ErrorClass::Unknown);
}

#[test]
fn a_state_and_an_item_of_a_newer_server_are_taken() {
    let partition = v2::PartitionStatus { state: 77, ..v2::PartitionStatus::default() };
    let message = v2::StatusReply { partitions: vec![partition], ..v2::StatusReply::default() };
    let status = from_wire::status(message).expect("it is taken");
    assert!(
        matches!(&status.partitions[0].state, bkes_api::PartitionState::Degraded { reason } if reason.contains("77"))
    );
    assert!(status.unready.is_some(), "it did not say that it is ready");
    assert_eq!(from_wire::follow_item(v2::FollowReply { item: None }), Ok(None));
    let stored = v2::Stored { first_order: 5, last_order: 4, ..v2::Stored::default() };
    assert_eq!(from_wire::appended(stored).expect_err("it makes no sense").field, "last_order");
}
