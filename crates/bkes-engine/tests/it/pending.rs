//! Pending events are shown after the events of the same answer, at orders that none of them has.

use crate::support::scene::Scene;
use crate::support::{Answer, poll};
use bkes_core::{Key, Order, Partition, Partitioner};
use bkes_engine::{
    AppendRequest, EngineOptions, EventContent, Events, Expected, Header, ReadError, ReadRequest,
};
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;

type Reading = Pin<Box<dyn Future<Output = Result<Events, ReadError>>>>;

/// An engine with two owners on a log that delivers when it is stepped, a key of the second owner's that has one event, and its
/// name.
fn scene() -> (Scene, String) {
    let two = NonZeroU32::new(2).expect("two");
    let placed = |name: &String| Partitioner::Murmur2.place(name.as_bytes(), two) == Partition(1);
    let name = (0..).map(|n| format!("key-{n}")).find(placed).expect("there is one");
    let log = MemoryLog::new("topic", two);
    let options =
        EngineOptions { threads: 2, partitioner: Some(Partitioner::Murmur2), ..EngineOptions::default() };
    let mut scene = Scene::with(log, Arc::default(), options);
    scene.foreign(1, &name, "first");
    scene.run(1_000);
    scene.log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    (scene, name)
}

/// Asks with pending events; the first owner is asked, and has not answered yet.
fn ask(scene: &Scene, name: &str) -> Reading {
    let key = Key::new(name.to_owned()).expect("not empty");
    let (handle, all) = (scene.handle.clone(), ReadRequest::all(key));
    let mut reading: Reading =
        Box::pin(async move { handle.read(ReadRequest { include_pending: true, ..all }).await });
    assert!(poll(&mut reading).is_none());
    reading
}

fn shown<'a>(events: &'a Events) -> (usize, Order, Vec<&'a [u8]>) {
    let value = |content: &'a EventContent| content.value.as_deref().expect("it has a value");
    (events.events.len(), events.next, events.pending.iter().map(value).collect())
}

/// The aggregate was located, then another writer's event took order 1 and an append was sent for order 2, then the owner was asked:
/// the answer had one event and the append after it, as if that were to take order 1.
#[test]
fn a_pending_event_is_shown_at_its_own_order() {
    let (scene, name) = scene();
    let mut reading = ask(&scene, &name);
    scene.foreign(1, &name, "other");
    scene.step_owner(1);
    let mut sent = scene.append(&name, Expected::At(Order(2)), &["late"]);
    scene.step_owner(1);
    assert!(poll(&mut sent).is_none());
    scene.step_owner(0);
    assert!(poll(&mut reading).is_none());
    scene.step_owner(1);
    let events = poll(&mut reading).expect("both answered").expect("it is there");
    assert_eq!(shown(&events), (2, Order(2), vec![&b"late"[..]]));
}

/// The same with an append that was pending when its owner was asked, and whose order was taken by the time its events were read.
#[test]
fn an_append_whose_order_was_taken_is_not_shown_as_pending() {
    let (scene, name) = scene();
    let mut sent = scene.append(&name, Expected::At(Order(1)), &["late"]);
    scene.step_owner(1);
    let mut reading = ask(&scene, &name);
    scene.step_owner(0);
    assert!(poll(&mut reading).is_none());
    scene.step_owner(1);
    scene.foreign(1, &name, "other");
    scene.step_owner(1);
    assert!(poll(&mut sent).is_none(), "the log has not said anything of it");
    let events = poll(&mut reading).expect("both answered").expect("it is there");
    assert_eq!(shown(&events), (2, Order(2), vec![]));
}

/// A pending tombstone was shown as an empty value, and events without their headers.
#[test]
fn a_pending_event_is_shown_as_it_was_given() {
    let (scene, name) = scene();
    let headers = vec![Header { name: "why".into(), value: Some("erased".into()) }];
    let events = vec![EventContent { value: None, headers }, EventContent::from(bytes::Bytes::new())];
    let key = Key::new(name.clone()).expect("not empty");
    let request =
        AppendRequest { key, expected: Expected::At(Order(1)), events: events.clone(), identity: None };
    let handle = scene.handle.clone();
    let mut sent: Answer = Box::pin(async move { handle.append(request).await });
    assert!(poll(&mut sent).is_none());
    scene.step_owner(1);
    let mut reading = ask(&scene, &name);
    scene.step_owner(0);
    assert!(poll(&mut reading).is_none());
    scene.step_owner(1);
    let found = poll(&mut reading).expect("both answered").expect("it is there");
    assert_eq!((found.next, found.pending), (Order(1), events));
}
