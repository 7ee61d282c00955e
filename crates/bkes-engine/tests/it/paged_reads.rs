//! Reads page by page: what they show, in which pages, and what becomes of them while the log goes on.

use crate::support::face::key;
use crate::support::flawed::FlawedLog;
use crate::support::{Bench, poll};
use bkes_api::{
    AsOf, Detail, Direction, Event, EventStore, Freshness, Layout, PageEnd, Read, ReadMany, Reason,
};
use bkes_core::{Header, Offset, Order, Partition, Position, TimestampMs};
use bkes_engine::{EngineOptions, Expected};
use bkes_storage::MemoryStore;
use bkes_testkit::log::SimulatedLog;
use std::num::NonZeroU32;
use std::sync::Arc;

const PAGE_BYTES: usize = 1024 * 1024;

fn one_partition() -> (SimulatedLog, Bench) {
    let log = SimulatedLog::new("topic", NonZeroU32::MIN);
    log.set_record_bytes_max(4 * 1024 * 1024);
    let bench = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    (log, bench)
}

/// Somebody who does not know BKES writes events of these sizes.
fn write(log: &SimulatedLog, name: &str, sizes: &[usize]) {
    for (number, size) in sizes.iter().enumerate() {
        let mut value = format!("{number} ").into_bytes();
        value.resize(*size, b'x');
        log.append_foreign(Partition(0), Some(name.to_owned().into()), Some(value.into()), Vec::new());
    }
}

fn all(name: &str) -> Read {
    Read::all(key(name))
}

fn backwards(name: &str) -> Read {
    Read { direction: Direction::Backwards, ..all(name) }
}

fn end(next: u64, is_complete: bool) -> PageEnd {
    let (first, next) = (Order(0), Order(next));
    PageEnd { first, next, exists: true, is_complete, layout: Layout::OnePartition }
}

#[test]
fn an_aggregate_that_does_not_exist_is_one_page_that_says_so() {
    let (log, mut bench) = one_partition();
    for read in [all("a"), backwards("a"), Read { as_of: Some(AsOf::Offset(Offset(9))), ..all("a") }] {
        let shown = bench.show(read).expect("that is an answer");
        assert_eq!(shown.pages.len(), 1);
        let nothing = PageEnd { exists: false, ..end(0, true) };
        assert_eq!((shown.orders(), shown.end()), (vec![], &nothing));
    }
    // That it does not exist is not said before the log was asked.
    let mut other = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    other.put("a", 0, "elsewhere").expect("accepted");
    let mut read = bench.begin(async |handle| EventStore::read(&handle, all("a")).await);
    assert!(poll(&mut read).is_none());
    log.go_down("away");
    bench.step_verifier();
    let refused = poll(&mut read).expect("answered").err().expect("it is not known");
    assert_eq!(refused.reason, Reason::Unverified);
    log.come_up();
    bench.run(2_000);
    assert_eq!(bench.show(all("a")).expect("it is there").values(), ["elsewhere"]);
}

/// A page has a megabyte at most, and one larger event alone; none is missing or there twice, either way.
#[test]
fn pages_are_bounded_in_bytes_either_way_and_a_larger_event_has_one_of_its_own() {
    let (log, mut bench) = one_partition();
    let kib = 1024;
    let mut sizes = vec![100; 50];
    sizes.extend([3_000 * kib, 10, 700 * kib, 700 * kib, 300 * kib, 24, PAGE_BYTES, 1, PAGE_BYTES + 1]);
    sizes.extend(vec![200 * kib; 12]);
    write(&log, "a", &sizes);
    for wait_ms in [1, 500] {
        bench.run(wait_ms);
        for read in [all("a"), backwards("a")] {
            let shown = bench.show(read.clone()).expect("it is there");
            let mut expected: Vec<u64> = (0..sizes.len() as u64).collect();
            if read.direction == Direction::Backwards {
                expected.reverse();
            }
            assert_eq!(shown.orders(), expected);
            assert_eq!(shown.end(), &end(sizes.len() as u64, true));
            for page in &shown.pages {
                let bytes: usize = page.events.iter().map(Event::content_bytes).sum();
                assert!(bytes <= PAGE_BYTES || page.events.len() == 1, "{bytes} in {}", page.events.len());
            }
            assert!(shown.pages.len() < 20, "{:?}: {} pages", read.direction, shown.pages.len());
            for (event, order) in shown.events().zip(&expected) {
                assert_eq!(event.value_bytes().len(), sizes[*order as usize], "order {order}");
            }
        }
    }
}

#[test]
fn pages_begin_small_grow_and_are_bounded_in_events() {
    let (log, mut bench) = one_partition();
    write(&log, "a", &vec![5; 10_000]);
    bench.run(2);
    for read in [all("a"), backwards("a")] {
        let shown = bench.show(read).expect("it is there");
        assert_eq!(shown.orders().len(), 10_000);
        let sizes: Vec<usize> = shown.pages.iter().map(|page| page.events.len()).collect();
        assert_eq!(sizes, [256, 256, 256, 256, 512, 1_024, 2_048, 2_048, 2_048, 1_296]);
    }
}

/// The story: a page had at most a megabyte of content and 4,096 events. A header with nothing in it has no content and takes 64 bytes, and
/// with a thousand of them an event the page was 262 MB.
#[test]
fn what_headers_take_in_memory_counts_in_a_page_either_way() {
    let (log, mut bench) = one_partition();
    let headers = vec![Header { name: "".into(), value: None }; 1_000];
    for _ in 0..400 {
        log.append_foreign(Partition(0), Some("a".into()), None, headers.clone());
    }
    // Applied and not committed yet, and committed.
    for wait_ms in [1, 500] {
        bench.run(wait_ms);
        for read in [all("a"), backwards("a")] {
            let shown = bench.show(read).expect("it is there");
            assert_eq!(shown.orders().len(), 400);
            for page in &shown.pages {
                let headers: usize = page.events.iter().map(|event| event.headers.len()).sum();
                assert!(headers * 64 <= PAGE_BYTES, "{headers} headers");
            }
        }
    }
}

#[test]
fn headers_are_left_out_where_they_are_not_wanted() {
    let (log, mut bench) = one_partition();
    let header = Header { name: "name".into(), value: Some("value".into()) };
    log.append_foreign(Partition(0), Some("a".into()), Some("v".into()), vec![header.clone()]);
    bench.run(2);
    let headers = |read| -> Vec<Header> {
        let shown = bench.show(read).expect("it is there");
        shown.events().flat_map(|event| event.headers.clone()).collect()
    };
    let [with, without] = [true, false].map(|with_headers| Read { with_headers, ..all("a") }).map(headers);
    assert_eq!((with, without), (vec![header], vec![]));
}

#[test]
fn what_is_appended_after_a_read_began_is_not_shown() {
    for direction in [Direction::Forwards, Direction::Backwards] {
        let (log, mut bench) = one_partition();
        write(&log, "a", &[PAGE_BYTES / 2; 6]);
        bench.run(2);
        let mut stream = bench.open(Read { direction, ..all("a") }).expect("it is there");
        let mut count = 0;
        let mut ends = Vec::new();
        while let Some(page) = bench.next(&mut stream) {
            let page = page.expect("nothing breaks it off");
            count += page.events.len();
            ends.extend(page.end);
            write(&log, "a", &[10]);
            bench.run(300);
        }
        assert_eq!((count, ends), (6, vec![end(6, true)]));
        assert!(bench.show(all("a")).expect("it is there").end().next > Order(6));
    }
}

/// Two histories are not spliced: what comes after a new beginning may not be what would have come.
#[test]
fn a_read_that_meets_a_new_beginning_breaks_off() {
    for direction in [Direction::Forwards, Direction::Backwards] {
        let (log, mut bench) = one_partition();
        write(&log, "a", &[PAGE_BYTES; 6]);
        bench.run(500);
        let mut stream = bench.open(Read { direction, ..all("a") }).expect("it is there");
        for _ in 0..2 {
            let page = bench.next(&mut stream).expect("it goes on").expect("nothing happened yet");
            assert_eq!(page.events.len(), 1);
        }
        log.truncate(Partition(0), Position(2));
        write(&log, "a", &[PAGE_BYTES - 1; 8]);
        bench.run_until("it is read anew", |bench| {
            bench.show(all("a")).is_ok_and(|shown| shown.failure.is_none() && shown.end().next == Order(10))
        });
        let next = bench.next(&mut stream).expect("it says so").map(|page| page.events.len());
        let failure = next.expect_err("it is another history");
        assert_eq!(failure.reason, Reason::CatchingUp, "{failure}");
        assert!(bench.next(&mut stream).is_none(), "and has ended");
    }
}

/// What it would show may be right, and a read that begins now would be refused.
#[test]
fn a_read_of_a_partition_that_is_not_served_any_more_breaks_off() {
    let log = FlawedLog::new(1);
    let mut bench = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    write(&log.log, "a", &[PAGE_BYTES - 10; 4]);
    bench.run(500);
    let mut stream = bench.open(all("a")).expect("it is there");
    log.flaws().damaged = Some((Partition(0), Offset(4)));
    write(&log.log, "a", &[1]);
    bench.run(2);
    let first = bench.next(&mut stream).expect("it was made when the read began");
    assert_eq!(first.expect("it was made when the read began").events.len(), 1);
    let next = bench.next(&mut stream).expect("it says so").map(|page| page.events.len());
    assert_eq!(next.expect_err("it is not served").reason, Reason::Degraded);
}

#[test]
fn as_of_a_time_an_aggregate_is_what_it_was_before_its_first_later_event() {
    let (log, mut bench) = one_partition();
    let times = [10, 30, 20, 40, 15, 60];
    for (order, time) in (0..).zip(times) {
        log.set_now(TimestampMs(time));
        bench.put("a", order, &format!("at {time}")).expect("accepted");
    }
    for (time, count) in [(9, 0), (10, 1), (29, 1), (30, 3), (39, 3), (40, 5), (59, 5), (60, 6), (99, 6)] {
        let as_of = Some(AsOf::Time(TimestampMs(time)));
        let shown = bench.show(Read { as_of, ..all("a") }).expect("it is an answer");
        assert_eq!(shown.orders().len() as u64, count, "as of {time}");
        assert_eq!(shown.end(), &PageEnd { exists: count > 0, ..end(count, true) });
        let last = bench.show(Read { as_of, ..Read::last(key("a"), 1) }).expect("it is an answer");
        assert_eq!(last.orders(), (count > 0).then(|| count - 1).into_iter().collect::<Vec<_>>());
    }
}

/// Where the timestamps of many events are looked at, and none is held.
#[test]
fn the_first_later_event_is_found_among_many() {
    let (log, mut bench) = one_partition();
    write(&log, "a", &vec![1; 9_000]);
    log.set_now(TimestampMs(5_000));
    write(&log, "a", &[1]);
    log.set_now(TimestampMs(1));
    write(&log, "a", &vec![1; 1_000]);
    bench.run(2);
    let as_of = |time| Some(AsOf::Time(TimestampMs(time)));
    for (time, count) in [(4_999, 9_000), (5_000, 10_001), (999, 0)] {
        let read = Read { as_of: as_of(time), ..Read::last(key("a"), 1) };
        assert_eq!(bench.show(read).expect("an answer").end().next, Order(count), "{time}");
    }
}

#[test]
fn an_offset_that_is_not_decided_is_waited_for_or_refused_and_never_taken_for_one_that_is() {
    let (_log, mut bench) = one_partition();
    bench.put("a", 0, "zero").expect("accepted");
    let at = |offset| Read { as_of: Some(AsOf::Offset(Offset(offset))), ..all("a") };
    assert_eq!(bench.show(at(0)).expect("it is decided").orders(), [0]);
    for offset in [1, u64::MAX] {
        assert!(bench.open(at(offset)).is_err(), "offset {offset} is not in the log");
    }
}

#[test]
fn a_moment_of_which_the_events_were_removed_is_out_of_range() {
    let log = SimulatedLog::new("topic", NonZeroU32::MIN);
    let mut writer = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    for order in 0..4 {
        log.set_now(TimestampMs(10 * (order as i64 + 1)));
        writer.put("a", order, "value").expect("accepted");
    }
    log.cut_start(Partition(0), Position(2));
    let mut bench = Bench::ready(log, Arc::new(MemoryStore::new()));
    let shown = bench.show(all("a")).expect("what is left");
    // It says that there were others.
    let cut = PageEnd { first: Order(2), ..end(4, true) };
    assert_eq!((shown.orders(), shown.end()), (vec![2, 3], &cut));
    let back = bench.show(Read { from: Some(Order(1)), ..backwards("a") }).expect("what is left");
    assert_eq!((back.orders(), back.end()), (vec![], &cut));
    let head = bench.call(async |handle| EventStore::head(&handle, key("a"), Freshness::Local).await);
    assert_eq!(head.map(|head| head.map(|head| (head.first, head.next))), Ok(Some((Order(2), Order(4)))));
    for as_of in [AsOf::Time(TimestampMs(15)), AsOf::Offset(Offset(1))] {
        let refused = bench.open(Read { as_of: Some(as_of), ..all("a") }).err().expect("it is not known");
        assert_eq!(refused.reason, Reason::OutOfRange, "{as_of:?}");
    }
    let shown = bench.show(Read { as_of: Some(AsOf::Offset(Offset(2))), ..all("a") });
    assert_eq!(shown.expect("it is there").orders(), [2]);
}

#[test]
fn positions_that_a_read_is_to_take_in_are_never_passed_over() {
    let (_log, mut bench) = one_partition();
    bench.put("a", 0, "zero").expect("accepted");
    let of = vec![(Partition(0), Position(100))];
    let freshness = Freshness::AtLeast(bkes_api::Positions { topic: None, of });
    let read = bench.open(Read { freshness: freshness.clone(), ..all("a") });
    assert!(read.is_err());
    let many = ReadMany { keys: vec![key("a")], from: Order(0), limit: 9, freshness, with_headers: true };
    assert!(bench.call(async |handle| EventStore::read_many(&handle, many).await.map(drop)).is_err());
}

/// A key in two partitions: three events in the first, two in the second.
fn split(options: EngineOptions, header: impl Fn(u32, u64) -> Option<String>) -> Bench {
    let log = SimulatedLog::new("topic", NonZeroU32::new(2).expect("two"));
    for (partition, count) in [(0, 3), (1, 2)] {
        for number in 0..count {
            let value = Some(format!("{partition}/{number}").into());
            let order = header(partition, number)
                .map(|order| Header { name: "order".into(), value: Some(order.into()) });
            log.append_foreign(Partition(partition), Some("a".into()), value, order.into_iter().collect());
        }
    }
    let mut bench = Bench::with(log, Arc::new(MemoryStore::new()), options);
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    bench
}

#[test]
fn a_split_aggregate_is_refused_unless_its_parts_are_asked_for() {
    let mut bench = split(EngineOptions::default(), |_, _| None);
    for read in [all("a"), backwards("a"), Read { as_of: Some(AsOf::Time(TimestampMs(1))), ..all("a") }] {
        let refused = bench.open(read).err().expect("it has no order");
        assert_eq!(refused.reason, Reason::Split);
    }
    let parts = Read { part_by_part: true, ..all("a") };
    let shown = bench.show(parts.clone()).expect("part by part");
    assert_eq!(shown.values(), ["0/0", "0/1", "0/2", "1/0", "1/1"]);
    assert_eq!(shown.orders(), [0, 1, 2, 3, 4], "indexes over all of them");
    let layout = Layout::PartByPart(vec![Partition(0), Partition(1)]);
    assert_eq!(shown.end(), &PageEnd { layout: layout.clone(), ..end(5, true) });
    let (from, to) = (Some(Order(2)), Some(Order(3)));
    let middle = bench.show(Read { from, to, ..parts.clone() }).expect("part by part");
    assert_eq!((middle.values(), middle.orders()), (vec!["0/2".into(), "1/0".into()], vec![2, 3]));
    assert_eq!(middle.end(), &PageEnd { layout, ..end(5, false) });
    let as_of = Some(AsOf::Time(TimestampMs(1)));
    for other in [Read { direction: Direction::Backwards, ..parts.clone() }, Read { as_of, ..parts }] {
        let refused = bench.open(other).err().expect("there are no such parts");
        assert_eq!(refused.reason, Reason::InvalidRequest);
        assert_eq!(refused.detail, Some(Detail::Field("part_by_part".into())));
    }
}

#[test]
fn a_split_aggregate_whose_headers_give_an_order_is_shown_in_it_either_way() {
    let options = || EngineOptions { split_by_order_headers: true, ..EngineOptions::default() };
    let one_after_the_other =
        |partition: u32, number: u64| Some((2 * number + u64::from(partition)).to_string());
    let mut bench = split(options(), one_after_the_other);
    let layout = Layout::ByOrderHeaders(vec![Partition(0), Partition(1)]);
    let expected = ["0/0", "1/0", "0/1", "1/1", "0/2"];
    let shown = bench.show(all("a")).expect("in order");
    assert_eq!((&shown.values()[..], shown.orders()), (&expected.map(String::from)[..], vec![0, 1, 2, 3, 4]));
    assert_eq!(shown.end(), &PageEnd { layout: layout.clone(), ..end(5, true) });
    let back = bench.show(Read { limit: 3, ..backwards("a") }).expect("in order");
    assert_eq!(
        (back.values(), back.orders()),
        (["0/2", "1/1", "0/1"].map(String::from).into(), vec![4, 3, 2])
    );
    assert_eq!(back.end(), &PageEnd { layout, ..end(5, false) });
    let parts = bench.show(Read { part_by_part: true, ..all("a") }).expect("in order");
    assert_eq!(parts.orders(), [0, 1, 2, 3, 4], "never another order than without");
    let mut bench = split(options(), |_, number| Some(number.to_string()));
    assert_eq!(bench.open(all("a")).err().expect("there is none").reason, Reason::Split);
}

#[test]
fn several_aggregates_come_one_after_the_other() {
    let (log, mut bench) = one_partition();
    write(&log, "large", &[PAGE_BYTES; 3]);
    write(&log, "small", &[1, 2, 3]);
    bench.run(2);
    let names = ["small", "absent", "large", "small"];
    let keys: Vec<_> = names.map(key).into();
    let freshness = Freshness::Local;
    let many = ReadMany { keys, from: Order(1), limit: 2, freshness, with_headers: true };
    let read = many.clone();
    let mut stream =
        bench.call(async |handle| EventStore::read_many(&handle, read).await).expect("they can be read");
    let mut shown = Vec::new();
    while let Some(page) = bench.next(&mut stream) {
        let page = page.expect("nothing breaks it off");
        let orders: Vec<u64> = page.page.events.iter().map(|event| event.order.0).collect();
        let end = page.page.end.map(|end| (end.exists, end.next.0, end.is_complete));
        shown.push((String::from_utf8_lossy(page.key.as_ref()).into_owned(), orders, end));
    }
    let page = |name: &str, orders: &[u64], end| (name.to_owned(), orders.to_vec(), end);
    let expected = [
        page("small", &[1, 2], Some((true, 3, true))),
        page("absent", &[], Some((false, 0, true))),
        page("large", &[1], None),
        page("large", &[2], Some((true, 3, true))),
        page("small", &[1, 2], Some((true, 3, true))),
    ];
    assert_eq!(shown, expected);
    let none = ReadMany { keys: Vec::new(), ..many.clone() };
    let mut none = bench.call(async |handle| EventStore::read_many(&handle, none).await).expect("none");
    assert!(bench.next(&mut none).is_none());
    let too_many = ReadMany { keys: vec![key("small"); 1_001], ..many };
    let refused = bench.call(async |handle| EventStore::read_many(&handle, too_many).await.map(drop));
    let refused = refused.expect_err("too many");
    assert_eq!(
        (refused.reason, refused.detail),
        (Reason::InvalidRequest, Some(Detail::Field("keys".into())))
    );
}

/// One look at the log is enough for all of a call.
#[test]
fn of_several_aggregates_that_do_not_exist_the_log_is_asked_once() {
    let log = FlawedLog::new(2);
    let mut bench = Bench::ready(log.clone(), Arc::new(MemoryStore::new()));
    log.flaws().asked.clear();
    let keys = (0..50).map(|number| key(&format!("absent-{number}"))).collect();
    let freshness = Freshness::Local;
    let many = ReadMany { keys, from: Order(0), limit: 2, freshness, with_headers: true };
    let mut stream = bench.call(async |handle| EventStore::read_many(&handle, many).await).expect("none");
    let mut count = 0;
    while let Some(page) = bench.next(&mut stream) {
        count += usize::from(page.is_ok_and(|page| page.page.end.is_some_and(|end| !end.exists)));
    }
    assert_eq!((count, log.flaws().asked.len()), (50, 1));
}

#[test]
fn a_head_says_where_the_last_event_is_and_none_that_there_is_none() {
    let (log, mut bench) = one_partition();
    log.set_now(TimestampMs(77));
    let two = bench.append("a", Expected::New, &["0", "1"]);
    bench.answer(two).expect("accepted");
    let head = |bench: &mut Bench, name: &str| {
        let key = key(name);
        bench.call(async |handle| EventStore::head(&handle, key, Freshness::Local).await)
    };
    let head_of_a = head(&mut bench, "a").expect("it can be read").expect("it is there");
    let timestamp = Some(TimestampMs(77));
    assert_eq!((head_of_a.next, head_of_a.offset, head_of_a.timestamp), (Order(2), Offset(1), timestamp));
    assert_eq!(head(&mut bench, "b").expect("it can be read"), None);
    log.go_down("away");
    bench.run(2_000);
    assert_eq!(head(&mut bench, "b").expect_err("it is not known").reason, Reason::Unverified);
    let status = bench.call(async |handle| EventStore::status(&handle).await).expect("always");
    assert_eq!(
        (&status.cluster[..], &status.topic[..], status.topic_id.as_str()),
        ("memory", "topic", "topic-1")
    );
    assert_eq!(status.unready.expect("the log is away").reason, Reason::LogDown);
    assert_eq!((status.appended, &status.build.name[..]), (1, "bkes-engine"));
}
