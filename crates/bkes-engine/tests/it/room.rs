//! Room: what does not fit waits in the order of arrival, for a bounded time, in a bounded queue.

use crate::support::{Answer, Bench, poll};
use bkes_core::{Key, Partition};
use bkes_engine::assembly::Step;
use bkes_engine::{AppendError, AppendRequest, EngineOptions, Expected, Unit, Unready};
use bkes_storage::MemoryStore;
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// What the overlay may hold here: two events of 1,000 bytes fit while they are sent, and fill it with what they count for beside that.
const OVERLAY_BYTES: usize = 2_300;

struct Room {
    bench: Bench,
    log: MemoryLog,
}

impl Room {
    /// A bench that is ready, whose writer commits when it is told to.
    fn with(options: EngineOptions) -> Room {
        let log = MemoryLog::new("topic", NonZeroU32::MIN);
        let mut bench = Bench::with(log.clone(), Arc::new(MemoryStore::new()), options);
        bench.run_until("it is ready", |bench| bench.handle.is_ready());
        Room { bench, log }
    }

    fn new() -> Room {
        Room::with(EngineOptions { overlay_bytes_max: OVERLAY_BYTES, ..EngineOptions::default() })
    }

    /// One whose overlay is full of what was accepted.
    fn full(options: EngineOptions) -> Room {
        let mut room = Room::with(EngineOptions { overlay_bytes_max: OVERLAY_BYTES, ..options });
        for name in ["full-1", "full-2"] {
            let mut answer = room.append(name, 1_000);
            room.bench.step_owners();
            poll(&mut answer).expect("answered").expect("there is room");
        }
        room
    }

    fn append(&self, name: &str, bytes: usize) -> Answer {
        self.append_within(name, bytes, Duration::MAX)
    }

    fn append_within(&self, name: &str, bytes: usize, wait: Duration) -> Answer {
        let key = Key::new(name.to_owned()).expect("not empty");
        let values = vec![Bytes::from(vec![b'x'; bytes])];
        let handle = self.bench.handle.clone();
        let request = AppendRequest::of_values(key, Expected::New, values);
        let mut answer: Answer = Box::pin(async move { handle.append_within(request, wait).await });
        assert!(poll(&mut answer).is_none(), "nothing was stepped");
        answer
    }

    /// The keys of what is in the log, in its order.
    fn sent(&self) -> Vec<String> {
        let key = |key: Option<Bytes>| String::from_utf8_lossy(&key.unwrap_or_default()).into_owned();
        self.log.records(Partition(0)).into_iter().map(|record| key(record.key)).collect()
    }

    /// Owners and writer go on until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.bench.step_owners();
            self.bench.step_writer();
        }
    }
}

fn overloaded(limit: u64, unit: Unit) -> AppendError {
    AppendError::Unavailable(Unready::Overloaded { queue: "the append queue", limit, unit })
}

/// The story: 16 callers with 100 KB each had up to half of their appends refused, and asked again and again.
#[test]
fn what_does_not_fit_waits_and_is_sent_in_the_order_of_arrival() {
    let mut room = Room::new();
    let names: Vec<String> = (0..20).map(|number| format!("key-{number}")).collect();
    let mut answers: Vec<Answer> = names.iter().map(|name| room.append(name, 1_000)).collect();
    room.bench.step_owners();
    assert_eq!(room.sent(), names[..2], "as much as fits is sent");
    let step = room.bench.owners[0].lock().expect("no panic").step(room.bench.now());
    assert!(matches!(step, Step::Idle(Some(_))), "nobody spins while they wait: {step:?}");
    room.settle();
    assert_eq!(room.sent(), names);
    for answer in &mut answers {
        poll(answer).expect("answered").expect("accepted");
    }
}

#[test]
fn a_large_append_is_not_passed_by_small_ones_that_come_after_it() {
    let mut room = Room::with(EngineOptions { overlay_bytes_max: 10_000, ..EngineOptions::default() });
    room.log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let first = room.append("first", 5_000);
    room.bench.step_owners();
    let large = room.append("large", 6_000);
    let small: Vec<Answer> = (0..30).map(|number| room.append(&format!("small-{number}"), 1)).collect();
    room.bench.step_owners();
    assert_eq!(room.log.on_the_way(), 1, "a small one would fit, and waits for the large one");
    for _ in 0..10 {
        while room.log.step() {}
        room.settle();
    }
    assert_eq!(room.sent()[..3], ["first", "large", "small-0"]);
    for mut answer in [first, large].into_iter().chain(small) {
        poll(&mut answer).expect("answered").expect("accepted");
    }
}

#[test]
fn one_that_is_larger_than_all_the_room_there_is_goes_alone() {
    let mut room = Room::full(EngineOptions::default());
    let (mut huge, mut next) = (room.append("huge", 3 * OVERLAY_BYTES), room.append("next", 1));
    room.settle();
    assert_eq!(room.sent()[2..], ["huge", "next"]);
    poll(&mut huge).expect("answered").expect("accepted");
    poll(&mut next).expect("answered").expect("accepted");
}

#[test]
fn an_append_whose_time_is_over_before_there_is_room_is_never_sent_and_is_told_so() {
    let mut room =
        Room::full(EngineOptions { room_wait: Duration::from_millis(300), ..EngineOptions::default() });
    let mut hurried = room.append_within("hurried", 1_000, Duration::from_millis(50));
    let mut patient = room.append("patient", 1_000);
    room.bench.step_owners();
    let told = |waited_ms| {
        let (queue, limit, unit) = ("the overlay of uncommitted events", OVERLAY_BYTES as u64, Unit::Bytes);
        Some(Err(AppendError::Unavailable(Unready::NoRoom { waited_ms, queue, limit, unit })))
    };
    let mut pass = |ms| {
        room.bench.jump(ms);
        room.bench.step_owners();
    };
    pass(49);
    assert_eq!(poll(&mut hurried), None);
    pass(1);
    assert_eq!(poll(&mut hurried), told(50));
    pass(249);
    assert_eq!(poll(&mut patient), None);
    pass(1);
    assert_eq!(poll(&mut patient), told(300));
    room.settle();
    assert_eq!(room.sent(), ["full-1", "full-2"], "what was told to be not sent is not sent later");
}

#[test]
fn a_caller_that_goes_away_gives_up_its_place_at_once() {
    let mut room = Room::full(EngineOptions { appends_max: 2, ..EngineOptions::default() });
    let (gone, mut stays) = (room.append("gone", 1_000), room.append("stays", 1_000));
    room.bench.step_owners();
    let refused = |room: &Room| {
        let key = Key::new("more").expect("not empty");
        let request = AppendRequest::of_values(key, Expected::New, vec![Bytes::from_static(b"x")]);
        let handle = room.bench.handle.clone();
        let mut answer: Answer = Box::pin(async move { handle.append(request).await });
        poll(&mut answer)
    };
    assert_eq!(refused(&room), Some(Err(overloaded(2, Unit::Appends))));
    drop(gone);
    room.bench.step_owners();
    assert_eq!(refused(&room), None, "its place is free while others still wait");
    room.settle();
    poll(&mut stays).expect("answered").expect("accepted");
    assert!(!room.sent().contains(&"gone".to_owned()), "{:?}", room.sent());
}

#[test]
fn what_waits_is_bounded_by_bytes_and_one_larger_than_the_bound_is_let_in_alone() {
    let options = EngineOptions { append_bytes_max: 2_500, ..EngineOptions::default() };
    let mut room = Room::full(options.clone());
    let waiting = ["a", "b"].map(|name| room.append(name, 1_000));
    let key = Key::new("c").expect("not empty");
    let request = AppendRequest::of_values(key, Expected::New, vec![Bytes::from(vec![b'x'; 1_000])]);
    let handle = room.bench.handle.clone();
    let mut third: Answer = Box::pin(async move { handle.append(request).await });
    assert_eq!(poll(&mut third), Some(Err(overloaded(2_500, Unit::Bytes))));
    room.settle();
    for mut answer in waiting {
        poll(&mut answer).expect("answered").expect("accepted");
    }
    let mut huge = room.append("huge", 3_000);
    room.settle();
    poll(&mut huge).expect("answered").expect("accepted");
}

#[test]
fn appends_that_waited_for_their_key_go_before_what_came_later_when_there_is_room_again() {
    let mut room = Room::new();
    room.log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let begin = room.append("a", 1_000);
    room.bench.step_owners();
    let key = || Key::new("a").expect("not empty");
    let mut turns: Vec<Answer> = (1..4)
        .map(|order| {
            let values = vec![Bytes::from(vec![b'x'; 1_000])];
            let expected = Expected::At(bkes_core::Order(order));
            let (handle, key) = (room.bench.handle.clone(), key());
            let mut answer: Answer =
                Box::pin(async move { handle.append(AppendRequest::of_values(key, expected, values)).await });
            assert!(poll(&mut answer).is_none(), "nothing was stepped");
            answer
        })
        .collect();
    room.bench.step_owners();
    let mut other = room.append("b", 1_500);
    for _ in 0..10 {
        while room.log.step() {}
        room.settle();
    }
    assert_eq!(room.sent(), ["a", "a", "a", "a", "b"]);
    for mut answer in std::iter::once(begin).chain(turns.drain(..)) {
        poll(&mut answer).expect("answered").expect("accepted");
    }
    poll(&mut other).expect("answered").expect("accepted");
}

#[test]
fn what_waits_for_room_is_answered_when_the_log_goes_down_and_when_the_engine_stops() {
    let mut room = Room::full(EngineOptions::default());
    let mut waits = room.append("waits", 1_000);
    room.bench.step_owners();
    room.log.go_down("gone");
    room.bench.run(5);
    let answer = poll(&mut waits).expect("it does not wait for a log that is away");
    assert!(matches!(answer, Err(AppendError::Unavailable(Unready::LogDown { .. }))), "{answer:?}");

    let mut room = Room::full(EngineOptions::default());
    let mut waits = room.append("waits", 1_000);
    room.bench.step_owners();
    bkes_engine::assembly::begin_stop(&room.bench.handle, room.bench.now() + 1_000);
    room.bench.step_owners();
    assert_eq!(poll(&mut waits), Some(Err(AppendError::Unavailable(Unready::ShuttingDown))));
    assert_eq!(room.sent(), ["full-1", "full-2"]);
}
