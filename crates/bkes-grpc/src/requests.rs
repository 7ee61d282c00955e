//! Requests of the wire in the engine's words: the one place where they are turned and checked.

use crate::api::{AddRequest, RetrieveRequest, StartRequest};
use crate::errors::Failure;
use bkes_core::{Key, Order};
use bkes_engine::{AppendRequest, Expected};
use bytes::Bytes;
use std::time::Duration;
use tonic::metadata::MetadataMap;

/// What a retrieve asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retrieval {
    /// The aggregate.
    pub key: Key,
    /// The part wanted; `None` asks for everything or an error.
    pub page: Option<Page>,
    /// Whether pending events are to be shown.
    pub include_pending: bool,
}

/// A part of an aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// The first event wanted.
    pub from: Order,
    /// The most events wanted.
    pub events_max: usize,
}

/// The append a start asks for.
pub fn start(request: StartRequest) -> Result<AppendRequest, Failure> {
    let StartRequest { key, value } = request;
    Ok(AppendRequest::of_values(self::key(key)?, Expected::New, vec![value]))
}

/// The append an add asks for.
pub fn add(request: AddRequest) -> Result<AppendRequest, Failure> {
    let AddRequest { key, value, order } = request;
    let expected = Expected::At(Order(u64::from(order)));
    Ok(AppendRequest::of_values(self::key(key)?, expected, vec![value]))
}

/// How long an append may wait for room, by the deadline that its caller has set.
pub fn room_wait(metadata: &MetadataMap) -> Duration {
    caller_timeout(metadata).map_or(Duration::MAX, bkes_engine::room_wait)
}

/// How long the caller waits for its answer, if it has said so.
pub fn caller_timeout(metadata: &MetadataMap) -> Option<Duration> {
    metadata.get("grpc-timeout").and_then(|text| timeout(text.as_bytes()))
}

/// A timeout as gRPC writes it: one to eight digits and a unit.
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The read a retrieve asks for.
pub fn retrieve(request: RetrieveRequest) -> Result<Retrieval, Failure> {
    let RetrieveRequest { key, from_order, limit, include_pending } = request;
    let key = self::key(key)?;
    if limit == Some(0) {
        return Err(Failure::Invalid { field: "limit", why: "must be at least 1" });
    }
    let page = (from_order.is_some() || limit.is_some()).then(|| Page {
        from: Order(from_order.unwrap_or(0)),
        events_max: limit.map_or(usize::MAX, |limit| limit as usize),
    });
    Ok(Retrieval { key, page, include_pending })
}

fn key(bytes: Bytes) -> Result<Key, Failure> {
    Key::new(bytes).ok_or(Failure::EmptyKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_testkit::input::{cases, some_bytes, spoil};
    use prost::Message;

    fn asking(from_order: Option<u64>, limit: Option<u32>) -> RetrieveRequest {
        RetrieveRequest { key: Bytes::from_static(b"k"), from_order, limit, include_pending: false }
    }

    #[test]
    fn a_request_without_paging_fields_asks_for_everything() {
        let page = |from_order, limit| retrieve(asking(from_order, limit)).expect("it is valid").page;
        assert_eq!(page(None, None), None);
        assert_eq!(page(Some(0), None), Some(Page { from: Order(0), events_max: usize::MAX }));
        assert_eq!(page(None, Some(7)), Some(Page { from: Order(0), events_max: 7 }));
        assert_eq!(page(Some(u64::MAX), Some(1)), Some(Page { from: Order(u64::MAX), events_max: 1 }));
        assert!(matches!(retrieve(asking(None, Some(0))), Err(Failure::Invalid { field: "limit", .. })));
    }

    /// Cases of the test, unless `BKES_CASES` says otherwise; a failure names the seed of its case.
    const CASES: u64 = 50_000;

    /// A message of the wire, whole or spoiled.
    fn some_message(random: &mut fastrand::Rng) -> Vec<u8> {
        let bytes = some_bytes(random);
        let (key, value, order) = (bytes.clone(), bytes, random.u32(..) >> random.u32(..32));
        let mut message = match random.u8(..4) {
            0 => StartRequest { key, value }.encode_to_vec(),
            1 => AddRequest { key, value, order }.encode_to_vec(),
            2 => {
                let from_order = random.bool().then(|| random.u64(..));
                let limit = random.bool().then(|| random.u32(..) >> random.u32(..32));
                RetrieveRequest { key, from_order, limit, include_pending: random.bool() }.encode_to_vec()
            }
            _ => (0..random.usize(..60)).map(|_| random.u8(..)).collect(),
        };
        for _ in 0..random.usize(..4) {
            spoil(random, &mut message);
        }
        message
    }

    #[test]
    fn any_bytes_are_a_request_or_refused_and_a_request_says_what_its_message_says() {
        let (mut taken, mut refused) = (0u64, 0u64);
        for seed in 0..cases(CASES) {
            let message = some_message(&mut fastrand::Rng::with_seed(seed));
            let mut count = |is_taken: bool| if is_taken { taken += 1 } else { refused += 1 };
            let decoded = StartRequest::decode(&message[..]);
            let started = decoded.clone().ok().map(start);
            count(matches!(&started, Some(Ok(_))));
            if let (Ok(asked), Some(started)) = (decoded, started) {
                match started {
                    Ok(AppendRequest { key, expected: Expected::New, events, identity: None }) => {
                        assert_eq!(
                            (key.bytes(), events),
                            (&asked.key, vec![asked.value.into()]),
                            "seed {seed}"
                        );
                    }
                    Ok(other) => panic!("seed {seed}: {other:?}"),
                    Err(failure) => assert!(asked.key.is_empty(), "seed {seed}: {failure:?}"),
                }
            }
            let decoded = AddRequest::decode(&message[..]);
            let added = decoded.clone().ok().map(add);
            count(matches!(&added, Some(Ok(_))));
            if let (Ok(asked), Some(Ok(added))) = (decoded, added) {
                let expected = Expected::At(Order(u64::from(asked.order)));
                assert_eq!((added.key.bytes(), added.expected), (&asked.key, expected), "seed {seed}");
                assert_eq!(added.events, [asked.value.into()], "seed {seed}");
            }
            let decoded = RetrieveRequest::decode(&message[..]);
            let wanted = decoded.clone().ok().map(retrieve);
            count(matches!(&wanted, Some(Ok(_))));
            if let (Ok(asked), Some(wanted)) = (decoded, wanted) {
                match wanted {
                    Ok(Retrieval { key, page, include_pending }) => {
                        assert_eq!((key.bytes(), include_pending), (&asked.key, asked.include_pending));
                        assert_eq!(page.is_some(), asked.from_order.is_some() || asked.limit.is_some());
                        let from = page.map_or(0, |page| page.from.0);
                        assert_eq!(from, asked.from_order.unwrap_or(0), "seed {seed}");
                        assert!(page.is_none_or(|page| page.events_max > 0), "seed {seed}");
                    }
                    Err(failure) => {
                        assert!(asked.key.is_empty() || asked.limit == Some(0), "seed {seed}: {failure:?}");
                    }
                }
            }
        }
        println!("{taken} requests taken, {refused} refused");
        assert!(taken > cases(CASES) / 2 && refused > cases(CASES) / 2, "{taken} taken, {refused} refused");
    }

    #[test]
    fn a_callers_deadline_leaves_time_to_store_what_waited_for_room() {
        let wait = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("ASCII"));
            room_wait(&metadata)
        };
        assert_eq!(room_wait(&MetadataMap::new()), Duration::MAX);
        for (text, timeout_ms) in
            [("8H", 28_800_000), ("8M", 480_000), ("8S", 8_000), ("80m", 80), ("80000u", 80)]
        {
            assert_eq!(wait(text), Duration::from_millis(timeout_ms) / 8 * 7, "{text}");
        }
        assert_eq!(
            wait("99999999n"),
            Duration::from_nanos(99_999_999) - Duration::from_nanos(99_999_999) / 8
        );
        for no_timeout in ["", "S", "8", "8x", "123456789S", "+8S", "-1S"] {
            assert_eq!(wait(no_timeout), Duration::MAX, "{no_timeout}");
        }
    }

    #[test]
    fn no_call_takes_an_empty_key() {
        assert!(matches!(start(StartRequest::default()), Err(Failure::EmptyKey)));
        assert!(matches!(add(AddRequest::default()), Err(Failure::EmptyKey)));
        assert!(matches!(retrieve(RetrieveRequest::default()), Err(Failure::EmptyKey)));
    }

    #[test]
    fn an_add_names_its_order_and_a_start_none() {
        let key = Bytes::from_static(b"k");
        let added =
            add(AddRequest { key: key.clone(), value: Bytes::new(), order: u32::MAX }).expect("valid");
        assert_eq!(added.expected, Expected::At(Order(4_294_967_295)));
        let started = start(StartRequest { key, value: Bytes::new() }).expect("valid");
        assert_eq!((started.expected, started.events), (Expected::New, vec![Bytes::new().into()]));
    }
}
