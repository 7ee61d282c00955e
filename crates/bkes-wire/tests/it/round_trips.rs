//! Whatever is said comes out at the other end, through the bytes of the wire.

use crate::some;
use bkes_api::{Append, AppendFailure, ErrorClass, Expected, Failure, Reason, TaggedAnswer, WaitFor};
use bkes_testkit::input::cases;
use bkes_wire::{from_wire, status, to_wire, v2};
use fastrand::Rng;
use prost::Message;
use std::time::Duration;
use tonic::Status;

/// Cases of each test, unless `BKES_CASES` says otherwise; a failure names the seed of its case.
const CASES: u64 = 5_000;

/// Through the bytes of the wire.
fn sent<M: Message + Default>(message: M) -> M {
    M::decode(&message.encode_to_vec()[..]).expect("what was encoded is a message")
}

/// Through the headers of HTTP/2.
fn trailed(status: &Status) -> Status {
    let mut headers = tonic::codegen::http::HeaderMap::new();
    status.add_header(&mut headers).expect("it can be written");
    Status::from_header_map(&headers).expect("it is a status")
}

/// Runs a case for each seed.
fn each(mut case: impl FnMut(u64, &mut Rng)) {
    (0..cases(CASES)).for_each(|seed| case(seed, &mut Rng::with_seed(seed)));
}

#[test]
fn every_request_comes_out_as_it_was_put_in() {
    each(|seed, random| {
        let append = some::append(random);
        let timeout = Some(Duration::from_millis(5));
        let come = from_wire::append(sent(to_wire::append(append.clone())), timeout);
        assert_eq!(come, Ok(Append { timeout, ..append }), "seed {seed}");

        let tagged = some::tagged_append(random);
        let v2::TaggedAppend { tag, append, timeout_ms, stands_alone } =
            sent(to_wire::tagged_append(tagged.clone()));
        let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into()));
        let append = from_wire::append(append.expect("it is set"), timeout).expect("it is one");
        assert_eq!(
            (tag, &append, stands_alone),
            (tagged.tag, &tagged.append, tagged.stands_alone),
            "seed {seed}"
        );

        let read = some::read(random);
        let wire = sent(to_wire::read(read.clone()).expect("it fits"));
        assert_eq!(from_wire::read(wire), Ok(read), "seed {seed}");

        let read_many = some::read_many(random);
        let wire = sent(to_wire::read_many(&read_many).expect("it fits"));
        assert_eq!(from_wire::read_many(wire), Ok(read_many), "seed {seed}");

        let (key, freshness) = (some::key(random), some::freshness(random));
        let wire = sent(to_wire::head_request(&key, &freshness).expect("it fits"));
        assert_eq!(from_wire::head_request(wire), Ok((key, freshness)), "seed {seed}");

        let keys = some::keys_request(random);
        let wire = sent(to_wire::keys_request(&keys).expect("it fits"));
        assert_eq!(from_wire::keys_request(wire), Ok(keys), "seed {seed}");

        let follow = some::follow(random);
        let wire = sent(to_wire::follow(&follow).expect("it fits"));
        assert_eq!(from_wire::follow(wire), Ok(follow), "seed {seed}");

        let (positions, timeout) = (some::positions(random), Duration::from_secs(7));
        let wait = WaitFor { positions, group: random.bool().then(|| "group".into()), timeout };
        let wire = sent(to_wire::wait_for(&wait).expect("it fits"));
        assert_eq!(from_wire::wait_for(wire, timeout), Ok(wait), "seed {seed}");
    });
}

#[test]
fn every_answer_comes_out_as_it_was_put_in() {
    each(|seed, random| {
        let conflict = some::conflict(random);
        let wire = sent(to_wire::conflict(conflict.clone()).expect("it fits"));
        assert_eq!(from_wire::conflict(wire), Ok(conflict), "seed {seed}");

        let page = some::page(random);
        let wire = sent(to_wire::page(page.clone()).expect("it fits"));
        assert_eq!(from_wire::page(wire), Ok(page), "seed {seed}");

        let keys = some::keys(random);
        let (index, keyed) = some::keyed_page(random, &keys);
        let v2::ReadReply { events, end } = to_wire::page(keyed.page.clone()).expect("it fits");
        let wire = sent(v2::ReadManyReply { index, events, end });
        assert_eq!(from_wire::read_many_page(wire, &keys), Ok(keyed), "seed {seed}");

        let head = some::head(random);
        let wire = sent(to_wire::head(head.clone()).expect("it fits"));
        assert_eq!(from_wire::head(wire), Ok(head), "seed {seed}");

        let list = some::key_list(random);
        let wire = sent(to_wire::key_list(list.clone()).expect("it fits"));
        assert_eq!(from_wire::key_list(wire), Ok(list), "seed {seed}");

        let item = some::follow_item(random);
        let wire = sent(to_wire::follow_item(item.clone()).expect("it fits"));
        assert_eq!(from_wire::follow_item(wire), Ok(Some(item)), "seed {seed}");

        let said = some::status(random);
        let wire = sent(to_wire::status(said.clone()).expect("it fits"));
        assert_eq!(from_wire::status(wire), Ok(said), "seed {seed}");
    });
}

#[test]
fn every_answer_of_a_stream_comes_out_as_it_was_put_in() {
    each(|seed, random| {
        let id = random.bool().then(|| some::append_id(random));
        let missing_asked = random.bool();
        let answer = match random.u8(..3) {
            0 => Ok(some::appended(random)),
            1 if missing_asked => Err(AppendFailure::Conflict(Box::new(some::conflict(random)))),
            _ => Err(some::append_failure(random, id.clone())),
        };
        let tagged = TaggedAnswer { tag: random.u64(..), answer };
        let wire = sent(to_wire::tagged_answer(tagged.clone(), missing_asked));
        assert_eq!(from_wire::tagged_answer(wire, id), tagged, "seed {seed}");
    });
}

#[test]
fn every_failure_comes_out_of_a_status_as_it_was_put_in() {
    each(|seed, random| {
        let failure = some::failure(random);
        let come = status::failure(&trailed(&status::of(&failure)));
        assert_eq!(come, failure, "seed {seed}");

        let id = random.bool().then(|| some::append_id(random));
        let failure = some::append_failure(random, id.clone());
        let come = status::append_failure(&trailed(&status::of_append(&failure)), id);
        assert_eq!(come, failure, "seed {seed}");
    });
}

/// A store may itself be a client that tried several times: its last try may have ended with a cause that says nothing was stored.
#[test]
fn an_unknown_outcome_stays_unknown_whatever_its_last_cause_and_a_known_one_is_not_made_better() {
    for reason in Reason::ALL {
        let failure = Failure::new(*reason, "the last try");
        let unknown = AppendFailure::Unknown { id: None, failure: failure.clone() };
        let come = status::append_failure(&trailed(&status::of_append(&unknown)), None);
        assert_eq!(come.class(), ErrorClass::Unknown, "{reason}");
        let come = status::append_from_message(sent(status::append_to_message(&unknown)), None);
        assert_eq!(come.class(), ErrorClass::Unknown, "{reason}");

        let not_stored = AppendFailure::NotStored(failure);
        let come = status::append_failure(&trailed(&status::of_append(&not_stored)), None);
        assert_eq!(come.class(), not_stored.class(), "{reason}");
    }
}

#[test]
fn a_conflict_is_a_status_for_who_did_not_ask_for_what_is_missing() {
    let conflict = some::conflict(&mut Rng::with_seed(1));
    let failure = AppendFailure::Conflict(Box::new(conflict));
    assert_eq!(to_wire::failed(failure.clone(), false), Err(failure.clone()));
    assert!(to_wire::failed(failure, true).is_ok());
}

#[test]
fn an_append_at_order_0_is_one_of_an_aggregate_that_does_not_exist() {
    let key = some::key(&mut Rng::with_seed(1));
    let message = v2::AppendRequest {
        key: key.bytes().clone(),
        expected: Some(v2::append_request::Expected::NextOrder(0)),
        ..v2::AppendRequest::default()
    };
    assert_eq!(from_wire::append(message, None).expect("it is one").expected, Expected::New);
}
