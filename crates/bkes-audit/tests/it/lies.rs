//! An instance that lies in one way: each is found, and called what it is.

use crate::shelf::{EndLie, Held, ListLie, Shelf, is_split};
use crate::topic::Topic;
use bkes_api::{Event, Failure, Origin, Reason};
use bkes_audit::{AuditError, Compared, Field, Finding, Instance, Options, Place, audit};
use bkes_core::marker::classify;
use bkes_core::{BatchPlace, Header, Key, Offset, Order, Partition, Record, RecordClass, TimestampMs};
use bkes_testkit::input::cases;
use bytes::Bytes;
use fastrand::Rng;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("threads"))
}

fn options() -> Options {
    let (wait_max, pause) = (Duration::from_millis(500), Duration::from_millis(1));
    Options { wait_max, pause, tries_max: 3, ..Options::default() }
}

fn compared(topic: &Topic, shelf: &Arc<Shelf>) -> Result<Compared, AuditError> {
    let instance = Instance { store: &**shelf, runtime: runtime().handle() };
    let report = audit(&topic.log, Some(instance), &options(), &mut |_| {})?;
    Ok(report.compared.expect("there is an instance"))
}

fn findings(topic: &Topic, held: &Held) -> Vec<Finding> {
    let compared = compared(topic, &Shelf::fixed(held.clone())).expect("both can be read");
    assert_eq!((compared.findings.more, compared.findings.more_aggregates), (0, 0));
    compared.findings.kept
}

/// A topic and what is in it, and an aggregate of several events that is not split.
struct Case {
    topic: Topic,
    held: Held,
    key: Key,
    random: Rng,
}

fn case(seed: u64) -> Case {
    let mut topic = Topic::new(2, 6, seed);
    topic.write(150);
    let held = Held::of(&topic.log);
    let mut random = Rng::with_seed(seed);
    let whole: Vec<&Key> =
        held.events.iter().filter(|(_, e)| e.len() > 3 && !is_split(e)).map(|(key, _)| key).collect();
    let key = whole[random.usize(..whole.len())].clone();
    Case { topic, held, key, random }
}

impl Case {
    fn events(&mut self) -> &mut Vec<Event> {
        self.held.events.get_mut(&self.key).expect("it is there")
    }

    fn any_event(&mut self) -> usize {
        let count = self.events().len();
        self.random.usize(..count)
    }

    /// Orders and list as if the events were right.
    fn renumber(&mut self) {
        let first = Order(0);
        for (event, order) in self.events().iter_mut().zip(first.0..) {
            event.order = Order(order);
        }
        self.held.list_all();
    }

    fn findings(&self) -> Vec<Finding> {
        findings(&self.topic, &self.held)
    }
}

/// Lies about one event, and what is found.
fn check_event(name: &str, fields: &[Field], lie: impl Fn(&mut Event)) {
    for seed in 0..cases(6) {
        let mut case = case(seed);
        let index = case.any_event();
        let before = case.events()[index].clone();
        lie(&mut case.events()[index]);
        if case.events()[index] == before {
            continue;
        }
        let found = case.findings();
        let [Finding::Differs { key, event, fields: told }] = &found[..] else {
            panic!("{name}, seed {seed}: {found:?}")
        };
        assert_eq!((key, event.order, event.offset), (&case.key, before.order, before.offset), "{name}");
        assert_eq!(told, fields, "{name}");
    }
}

#[test]
fn an_instance_that_shows_what_the_topic_has_is_right() {
    for seed in 0..cases(40) {
        let mut case = case(seed);
        assert_eq!(case.findings(), [], "seed {seed}");
        case.held.by_order_headers = true;
        assert_eq!(case.findings(), [], "seed {seed}, split ones in another order");
    }
}

#[test]
fn each_field_of_an_event_that_is_falsified_is_named() {
    let name = |name: &'static str| Header { name: name.into(), value: None };
    check_event("value", &[Field::Value], |event| event.value = Some(Bytes::from_static(b"false")));
    check_event("tombstone", &[Field::Value], |event| {
        event.value = event.value.is_none().then(Bytes::new);
    });
    check_event("timestamp", &[Field::Timestamp], |event| {
        event.timestamp = Some(TimestampMs(event.timestamp.map_or(0, |t| t.0 + 1)));
    });
    check_event("no timestamp", &[Field::Timestamp], |event| event.timestamp = None);
    check_event("a header more", &[Field::Headers], |event| event.headers.push(name("more")));
    check_event("a header less", &[Field::Headers], |event| drop(event.headers.pop()));
    check_event("headers turned around", &[Field::Headers], |event| event.headers.reverse());
    check_event("a header's value", &[Field::Headers], |event| {
        event.headers.iter_mut().for_each(|header| header.value = Some(Bytes::from_static(b"y")));
    });
    check_event("id", &[Field::AppendId], |event| {
        if let Origin::Bkes { append_id, .. } = &mut event.origin {
            *append_id = None;
        }
    });
    check_event("place", &[Field::Batch], |event| {
        if let Origin::Bkes { batch, .. } = &mut event.origin {
            *batch = Some(BatchPlace { i: 7, count: 9 });
        }
    });
    check_event("writer", &[Field::Writer], |event| {
        if event.origin == Origin::Foreign {
            event.origin = Origin::Bkes { batch: None, append_id: None };
        }
    });
    check_event("offset", &[Field::Offset], |event| event.offset = Offset(event.offset.0.saturating_sub(1)));
}

#[test]
fn an_event_in_another_partition_is_found() {
    for seed in 0..cases(6) {
        let mut case = case(seed);
        let partition = case.events()[0].partition;
        case.events().iter_mut().for_each(|event| event.partition = Partition(1 - partition.0));
        case.held.list_all();
        let found = case.findings();
        assert!(found.iter().any(|finding| matches!(finding, Finding::WronglyListed { .. })), "{found:?}");
        let differs = |finding: &&Finding| matches!(finding, Finding::Differs { fields, .. } if fields.contains(&Field::Partition));
        assert!(found.iter().filter(differs).count() >= 1, "{found:?}");
    }
}

#[test]
fn an_event_that_is_left_out_is_found_whatever_the_orders_say() {
    for seed in 0..cases(10) {
        for renumbered in [true, false] {
            let mut case = case(seed);
            let index = case.any_event();
            let gone = case.events().remove(index);
            if renumbered {
                case.renumber();
            }
            let found = case.findings();
            let missing = |finding: &Finding| matches!(finding, Finding::Missing { event, .. } if event.offset == gone.offset);
            assert!(found.iter().any(missing), "seed {seed}: {found:?}");
        }
    }
}

#[test]
fn an_event_that_is_made_up_is_found() {
    for seed in 0..cases(10) {
        let mut case = case(seed);
        let index = case.any_event();
        let mut made_up = case.events()[index].clone();
        made_up.value = Some(Bytes::from_static(b"made up"));
        made_up.offset = Offset(made_up.offset.0 - u64::from(made_up.offset.0 > 0));
        let place = made_up.offset;
        case.events().insert(index, made_up);
        case.renumber();
        let found = case.findings();
        let told = |finding: &Finding| match finding {
            Finding::Extra { event, .. } | Finding::VoidShown { event, .. } => event.offset == place,
            Finding::Differs { event, .. } => event.offset == place,
            _ => false,
        };
        assert!(found.iter().any(told), "seed {seed}: {found:?}");
    }
}

/// The story: the first of the two was told to be no event, and the second one to be missing, while both are shown.
#[test]
fn events_that_change_places_are_found() {
    for seed in 0..cases(10) {
        let mut case = case(seed);
        let pairs = case.events().len() - 1;
        let index = case.random.usize(..pairs);
        let place =
            |event: &Event| Place { order: event.order, partition: event.partition, offset: event.offset };
        let [one, other] = [index, index + 1].map(|index| place(&case.events()[index]));
        let key = case.key.clone();
        case.held.swapped = Some((key.clone(), index, index + 1));
        let found = case.findings();
        let wrong = |event, shown| Finding::WrongOrder { key: key.clone(), event, shown };
        assert_eq!(found, [wrong(one, other.order), wrong(other, one.order)], "seed {seed}");

        case.held.swapped = None;
        if index + 1 < pairs {
            case.events().swap(index, index + 1);
            let found = case.findings();
            assert!(matches!(&found[..], [Finding::Disorder { key: told, .. }] if *told == key), "{found:?}");
        }
    }
}

#[test]
fn events_at_other_orders_are_found() {
    for seed in 0..cases(6) {
        let mut case = case(seed);
        case.events().iter_mut().for_each(|event| event.order.0 += 1);
        case.held.list_all();
        let found = case.findings();
        let count = case.events().len();
        let told = found.iter().filter(|finding| matches!(finding, Finding::WrongOrder { .. })).count();
        assert_eq!(told, count, "seed {seed}: {found:?}");
    }
}

/// A record that is void, and the event that it would be.
fn void_record(case: &Case) -> Option<(Key, Event)> {
    let shown = |record: &Record| {
        let events = case.held.events.values().flatten();
        events.into_iter().any(|event| (event.partition, event.offset) == (record.partition, record.offset))
    };
    let records = (0..2).flat_map(|partition| case.topic.records(partition));
    let mut void = records.filter(|record| !shown(record)).filter_map(|record| {
        let RecordClass::Marked(marker) = classify(&record) else { return None };
        let key = record.aggregate()?;
        let is_split = case.held.events.get(&key).is_some_and(|events| is_split(events));
        let event = bkes_core::StoredEvent::of(record, marker.order, Some(marker.stamp));
        (!is_split).then(|| (key, Event::from(event)))
    });
    void.next()
}

#[test]
fn a_void_record_that_is_shown_is_found() {
    let mut shown = 0;
    for seed in 0..cases(30) {
        let mut case = case(seed);
        let Some((key, event)) = void_record(&case) else { continue };
        let place = (event.partition, event.offset);
        let events = case.held.events.entry(key.clone()).or_default();
        if events.first().is_some_and(|first| first.partition != event.partition) {
            continue;
        }
        shown += 1;
        let after = events.iter().filter(|other| other.offset < event.offset).count();
        events.insert(after, event);
        case.key = key;
        case.renumber();
        let found = case.findings();
        let told = |finding: &Finding| matches!(finding, Finding::VoidShown { event, .. } if (event.partition, event.offset) == place);
        assert!(found.iter().any(told), "seed {seed}: {found:?}");
    }
    assert!(shown > 10);
}

#[test]
fn an_aggregate_that_is_not_shown_or_not_listed_is_found() {
    for seed in 0..cases(6) {
        let mut hidden = case(seed);
        let events = hidden.held.events.remove(&hidden.key).expect("it is there").len() as u64;
        let key = hidden.key.clone();
        let missing = Finding::MissingAggregate { key: key.clone(), events };
        let found = hidden.findings();
        assert!(found.contains(&missing), "listed and not shown, seed {seed}: {found:?}");
        hidden.held.list_all();
        assert_eq!(hidden.findings(), [missing], "neither, seed {seed}");
        let mut unlisted = case(seed);
        unlisted.held.listed.remove(&key);
        assert_eq!(unlisted.findings(), [Finding::NotListed { key }], "shown and not listed, seed {seed}");
    }
}

#[test]
fn an_aggregate_that_is_made_up_is_found() {
    for seed in 0..cases(6) {
        let mut case = case(seed);
        let made_up = Key::new("made up").expect("not empty");
        let event = case.events()[0].clone();
        case.held.events.insert(made_up.clone(), vec![Event { order: Order(0), ..event }]);
        case.held.list_all();
        let found = case.findings();
        assert!(
            found.contains(&Finding::ExtraAggregate { key: made_up.clone(), shown: 1 }),
            "seed {seed}: {found:?}"
        );
        case.held.events.remove(&made_up);
        let found = case.findings();
        assert!(
            found
                .iter()
                .any(|finding| matches!(finding, Finding::WronglyListed { key, .. } if *key == made_up)),
            "listed only, seed {seed}: {found:?}"
        );
    }
}

#[test]
fn a_list_that_says_other_things_than_the_reads_is_found() {
    let listed = |lie: &dyn Fn(&mut bkes_api::ListedKey)| {
        let mut case = case(4);
        lie(case.held.listed.get_mut(&case.key).expect("it is listed"));
        let found = case.findings();
        assert!(matches!(&found[..], [Finding::WronglyListed { key, .. }] if *key == case.key), "{found:?}");
    };
    listed(&|listed| listed.next.0 -= 1);
    listed(&|listed| listed.next.0 += 1);
    listed(&|listed| listed.partitions = vec![]);
    listed(&|listed| listed.partitions = vec![Partition(0), Partition(1)]);
    for lie in [ListLie::Backwards, ListLie::Endless] {
        let mut case = case(4);
        case.held.list = lie;
        let found = case.findings();
        assert!(found.iter().any(|f| matches!(f, Finding::ListDisorder { .. })), "{found:?}");
    }
}

#[test]
fn a_read_whose_end_is_false_is_found() {
    for lie in [EndLie::Next, EndLie::Exists, EndLie::Incomplete] {
        let mut case = case(4);
        case.held.end = lie(case.key.clone());
        let found = case.findings();
        assert!(
            found.iter().any(|finding| matches!(finding, Finding::WrongEnd { key, .. } if *key == case.key)),
            "{found:?}"
        );
    }
}

#[test]
fn a_split_aggregate_that_is_falsified_is_found() {
    let mut split = 0;
    for seed in 0..cases(20) {
        for by_order_headers in [false, true] {
            let mut case = case(seed);
            case.held.by_order_headers = by_order_headers;
            let Some((key, events)) = case.held.events.iter_mut().find(|(_, events)| is_split(events)) else {
                continue;
            };
            split += 1;
            let last = events.last_mut().expect("it has events");
            last.value = Some(Bytes::from_static(b"false"));
            let key = key.clone();
            let found = case.findings();
            assert!(
                matches!(&found[..], [Finding::SplitDiffers { key: told, .. }] if *told == key),
                "seed {seed}: {found:?}"
            );
            case.held.events.remove(&key);
            case.held.list_all();
            let found = case.findings();
            assert!(
                matches!(&found[..], [Finding::MissingAggregate { key: told, .. }] if *told == key),
                "seed {seed}: {found:?}"
            );
        }
    }
    assert!(split > 5);
}

/// The story: the audit took the orders of a split aggregate for those in its partitions. They count over all of them, so a right server
/// was said to differ in every split aggregate with events in a second partition.
#[test]
fn the_parts_of_a_split_aggregate_are_shown_in_their_order_or_found() {
    let mut moved = 0;
    for seed in 0..cases(20) {
        let mut case = case(seed);
        assert_eq!(case.findings(), [], "seed {seed}");
        let Some((key, events)) = case.held.events.iter_mut().find(|(_, events)| is_split(events)) else {
            continue;
        };
        let key = key.clone();
        // The store of the test counts orders over what it holds: only places change.
        let two = events.windows(2).position(|two| two[0].partition == two[1].partition);
        let two = two.unwrap_or_else(|| events.len() - 2);
        events.swap(two, two + 1);
        moved += 1;
        let found = case.findings();
        let is_told = |found: &Finding| match found {
            Finding::Disorder { key: told, .. } | Finding::SplitDiffers { key: told, .. } => *told == key,
            _ => false,
        };
        assert!(found.iter().any(is_told), "seed {seed}: {found:?}");
    }
    assert!(moved > 5, "{moved}");
}

#[test]
fn an_instance_that_lies_once_and_then_no_more_is_found() {
    let case = case(2);
    let (held, mut false_one) = (Arc::new(case.held.clone()), case.held.clone());
    let events = false_one.events.get_mut(&case.key).expect("it is there");
    events[0].value = Some(Bytes::from_static(b"false"));
    let (false_one, asked) = (Arc::new(false_one), AtomicU32::new(0));
    // The first pages of the list, and the first read of all.
    let lists = case.held.listed.len().div_ceil(5) as u32;
    let shelf = Shelf::of(move || {
        let is_first = asked.fetch_add(1, Ordering::Relaxed) <= lists;
        Arc::clone(if is_first { &false_one } else { &held })
    });
    let found = compared(&case.topic, &shelf).expect("both can be read").findings.kept;
    assert_eq!(found, [Finding::Unsteady { key: case.key.clone() }]);
}

#[test]
fn an_instance_that_is_away_for_a_moment_is_waited_for_and_one_that_stays_away_ends_the_audit() {
    let case = case(1);
    let failing = |every: u32| {
        let shelf = Shelf::fixed(case.held.clone());
        let mut asked = 0;
        let away = move || {
            asked += 1;
            (asked % every == 0).then(|| Failure::new(Reason::CatchingUp, "a moment"))
        };
        *shelf.failing.lock().expect("nobody panics") = Box::new(away);
        compared(&case.topic, &shelf)
    };
    assert_eq!(failing(2).expect("it answers in the end").findings.kept, []);
    let error = failing(1).expect_err("it never answers");
    assert!(
        matches!(&error, AuditError::Instance(failure) if failure.reason == Reason::CatchingUp),
        "{error}"
    );
}

#[test]
fn an_aggregate_that_an_instance_refuses_to_show_is_found_and_the_others_are_compared() {
    let mut case = case(1);
    case.held.refused = Some(case.key.clone());
    let others = case.held.listed.keys().find(|key| **key != case.key).expect("there are more").clone();
    let events = case.held.events.get_mut(&others).expect("it is there");
    events[0].timestamp = None;
    let found = case.findings();
    assert!(
        found.iter().any(|f| matches!(f, Finding::Unreadable { key, .. } if *key == case.key)),
        "{found:?}"
    );
    assert!(
        found.iter().any(|f| matches!(f, Finding::Differs { key, .. } | Finding::SplitDiffers { key, .. } if *key == others)),
        "{found:?}"
    );
}

/// The events of a batch are shown one by one, and the last one is not.
#[test]
fn a_batch_that_is_torn_is_found() {
    let mut torn = 0;
    for seed in 0..cases(20) {
        let mut case = case(seed);
        let is_last_of_batch = |event: &Event| matches!(event.origin, Origin::Bkes { batch: Some(BatchPlace { i, count }), .. } if i == count);
        let whole = case.held.events.iter_mut().filter(|(_, events)| !is_split(events));
        let Some((key, events)) =
            whole.into_iter().find(|(_, events)| events.last().is_some_and(is_last_of_batch))
        else {
            continue;
        };
        torn += 1;
        let gone = events.pop().expect("it has events").offset;
        case.key = key.clone();
        case.renumber();
        let found = case.findings();
        assert!(
            matches!(&found[..], [.., Finding::Missing { event, .. }] if event.offset == gone),
            "seed {seed}: {found:?}"
        );
    }
    assert!(torn > 3);
}

#[test]
fn a_store_that_shows_nothing_at_all_is_found() {
    let case = case(1);
    let found = findings(&case.topic, &Held::default());
    assert_eq!(found.len(), case.held.events.len());
    assert!(found.iter().all(|finding| matches!(finding, Finding::MissingAggregate { .. })), "{found:?}");
}
