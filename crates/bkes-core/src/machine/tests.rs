//! For each input, what work follows in the states that matter: tables, given to one function.

use super::*;
use crate::append::{AppendError, AppendRequest, EventContent, Expected, Unready};
use crate::checksum::{PartsSum, PayloadSum};
use crate::sequence::{DOUBT_MS, TAIL_WAIT_MS};
use crate::{
    BatchPlace, Count, Delivery, EventOutline, Header, Offset, Order, ReadFailure, Record, Stamp, TimestampMs,
};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const HERE: Partition = Partition(0);
const OWN: Incarnation = Incarnation(1);
const OTHER: Incarnation = Incarnation(9);
const SETTINGS: Settings =
    Settings { allow_cut: false, ready_lag_ms: 1_000, evidence_max: 0, id_window: 128 };

/// A host that knows what it is told.
#[derive(Default)]
pub(super) struct Host {
    next: BTreeMap<Key, u64>,
    claimed: RefCell<BTreeSet<Key>>,
    record_bytes_max: Option<u64>,
    is_full: bool,
    pub(super) unsendable: Option<Unready>,
    gone: Option<u32>,
    /// Of the one key that ids are looked for in.
    pub(super) outlines: Vec<EventOutline>,
    pub(super) looked_at: Cell<usize>,
}

impl Host {
    fn head(&self, key: &Key) -> Option<Head> {
        let next = *self.next.get(key)?;
        Some(Head { partition: HERE, base: Order::FIRST, next: Order(next) })
    }

    fn counted(&self, key: &Key) -> Counted {
        Counted { hash: 0, key: key.clone(), count: Count { head: self.head(key), elsewhere: false } }
    }
}

impl Lookup<u32> for Host {
    fn hash(&self, _: &Key) -> u64 {
        0
    }

    fn count(&self, key: &Key, _: Known) -> Option<Counted> {
        Some(self.counted(key))
    }

    fn is_elsewhere(&self, _: &Counted) -> bool {
        false
    }

    fn outlines(&self, _: &Key, orders: std::ops::Range<Order>) -> Result<Vec<EventOutline>, Unready> {
        if let Some(unready) = &self.unsendable {
            return Err(unready.clone());
        }
        let asked = |event: &&EventOutline| orders.contains(&event.order);
        let found: Vec<EventOutline> = self.outlines.iter().filter(asked).cloned().collect();
        self.looked_at.set(self.looked_at.get() + found.len());
        assert_eq!(found.len() as u64, orders.end.0 - orders.start.0, "only what is there is asked for");
        Ok(found)
    }

    fn locate(&self, append: &Append<u32>, here: Option<Head>) -> Result<Located, AppendError> {
        let head = here.or(self.head(&append.request.key));
        Ok(Located { partition: HERE, known: Known { head, as_of: 0 } })
    }

    fn claim(&self, key: &Key) -> Result<(), Partition> {
        assert!(self.claimed.borrow_mut().insert(key.clone()), "claimed twice");
        Ok(())
    }

    fn release(&self, key: &Key) {
        assert!(self.claimed.borrow_mut().remove(key), "released, and not claimed");
    }

    fn is_gone(&self, ticket: &u32) -> bool {
        self.gone == Some(*ticket)
    }

    fn unsendable(&self) -> Option<Unready> {
        self.unsendable.clone()
    }

    fn fits(&self, _: &Append<u32>, _: Load) -> bool {
        !self.is_full
    }

    fn has_room(&self, _: Load) -> Result<(), Unready> {
        if self.is_full { Err(Unready::LogDown { cause: "full".into() }) } else { Ok(()) }
    }

    fn record_bytes_max(&self) -> Option<u64> {
        self.record_bytes_max
    }
}

/// A machine in its host's hands.
pub(super) struct Bench {
    machine: PartitionMachine<u32>,
    pub(super) host: Host,
    now: NowMs,
}

fn key(text: &str) -> Key {
    Key::new(Bytes::copy_from_slice(text.as_bytes())).expect("not empty")
}

fn marks(low: u64, stable: u64, high: u64) -> Watermarks {
    Watermarks { low: Position(low), stable: Position(stable), high: Position(high) }
}

fn beginning(checkpoint: Option<Checkpoint>) -> Beginning {
    Beginning { fold: FoldId(0), checkpoint, incarnations: Vec::new(), shown: Shown::MustReturn }
}

impl Bench {
    fn begun(marks: Watermarks, checkpoint: Option<Checkpoint>) -> Bench {
        let origin = Origin { partition: HERE, name: OWN, marks, beginning: beginning(checkpoint) };
        let machine = PartitionMachine::new(origin, SETTINGS);
        let mut bench = Bench { machine, host: Host::default(), now: 0 };
        bench.tell(vec![Input::BeginReading]);
        bench
    }

    /// It serves an empty log.
    pub(super) fn ready() -> Bench {
        Bench::begun(marks(0, 0, 0), None)
    }

    fn with(mut self, inputs: Vec<Input<u32>>) -> Bench {
        self.tell(inputs);
        self
    }

    /// Steps once; says what follows, a line each. What is accepted is shown.
    pub(super) fn tell(&mut self, mut inputs: Vec<Input<u32>>) -> Vec<String> {
        self.machine.step(&mut inputs, self.now, &self.host);
        let Some(work) = self.machine.take_work(&mut None) else { return Vec::new() };
        let mut lines = Vec::new();
        for event in &work.events {
            lines.push(format!("event {} {}..{}", event.key, event.first(), event.head.next));
            self.host.next.insert(event.key.clone(), event.head.next.0);
        }
        for answer in &work.answers {
            lines.push(match answer {
                Answer::Stored { ticket, appended } => format!("stored {ticket} at {}", appended.offset),
                Answer::Failed { ticket, error } => format!("failed {ticket}: {error}"),
                Answer::Found { append, first } => format!("found {} at {}", append.ticket, first.order),
                Answer::Unverified { append, scope } => format!("unverified {} in {scope:?}", append.ticket),
            });
        }
        let sent = |send: &Send| format!("send {} of {}", send.token, send.append.1);
        lines.extend(work.sends.iter().map(sent));
        lines.extend(work.rerouted.iter().map(|(to, append)| format!("rerouted {} to {to}", append.ticket)));
        lines.extend(work.held.iter().map(|append| format!("held {}", append.ticket)));
        lines.extend(work.read_from.map(|position| format!("read from {position}")));
        lines.extend(work.wants_watermarks.then(|| "wants watermarks".into()));
        lines.extend(work.rebuild.iter().map(|reason| format!("rebuild: {reason}")));
        let notice = |notice: &Notice| format!("{notice:?}").chars().take_while(|c| *c != ' ').collect();
        lines.extend(work.notices.iter().map(notice));
        lines
    }

    fn checkpoint(&mut self) -> Option<Checkpoint> {
        self.machine.take_checkpoint().map(|cover| cover.checkpoint)
    }

    /// A record as its reader gives it.
    fn record(&self, record: Record) -> Input<u32> {
        let counted = self.machine.wants(&record).map(|key| self.host.counted(&key));
        Input::Record(Fetched { record, epoch: None, counted })
    }
}

/// Each line is as expected, up to where that ends.
#[track_caller]
pub(super) fn check(what: &str, lines: &[String], expected: &[&str]) {
    let is_as_expected = lines.len() == expected.len()
        && lines.iter().zip(expected).all(|(line, expected)| line.starts_with(expected));
    assert!(is_as_expected, "{what}: {lines:#?} instead of {expected:#?}");
}

pub(super) fn append_of(ticket: u32, expected: Expected, values: &[&'static str]) -> Box<Append<u32>> {
    let values: Vec<Bytes> = values.iter().map(|value| Bytes::from_static(value.as_bytes())).collect();
    let request = AppendRequest::of_values(key("a"), expected, values);
    let load = Load::of(&request);
    Box::new(Append { request, load, is_verified: false, resent: 0, overtaken: 0, looked_at: None, ticket })
}

/// An append to `a`, of which the host knows nothing.
fn append(ticket: u32, expected: Expected, values: &[&'static str]) -> Input<u32> {
    let known = Known { head: None, as_of: 0 };
    Input::Append { append: append_of(ticket, expected, values), located: Located { partition: HERE, known } }
}

/// A batch of a tombstone and of an event with so many headers, whose names have one byte.
fn with_headers(count: usize) -> Input<u32> {
    let header = Header { name: Bytes::from_static(b"n"), value: None };
    let content = EventContent { value: Some(Bytes::from_static(b"v")), headers: vec![header; count] };
    let events = vec![EventContent::default(), content];
    let request = AppendRequest { key: key("a"), expected: Expected::New, events, identity: None };
    let load = Load::of(&request);
    let append = Box::new(Append {
        request,
        load,
        is_verified: false,
        resent: 0,
        overtaken: 0,
        looked_at: None,
        ticket: 1,
    });
    let known = Known { head: None, as_of: 0 };
    Input::Append { append, located: Located { partition: HERE, known } }
}

fn new(ticket: u32) -> Input<u32> {
    append(ticket, Expected::New, &["v"])
}

fn plain(offset: u64, of: &str) -> Record {
    let (key, value) = (Some(key(of).bytes().clone()), Some(Bytes::from_static(b"v")));
    Record { partition: HERE, offset: Offset(offset), timestamp: None, key, value, headers: Vec::new() }
}

/// A record of somebody else's, numbered at the beginning.
fn marked(offset: u64, order: u64, stamp: Stamp) -> Record {
    let record = plain(offset, "a");
    let payload = PayloadSum::of(record.key.as_deref(), record.value.as_deref());
    let marker = Marker { stamp, order: Order(order), base: Position::START };
    Record { headers: marker.headers(payload).into(), ..record }
}

fn single(number: u64) -> Stamp {
    Stamp { incarnation: OTHER, number, place: None }
}

fn report(token: Token, offset: Option<u64>, time: Option<i64>) -> Input<u32> {
    let (offset, timestamp) = (offset.map(Offset), time.map(TimestampMs));
    Input::Report { token, delivery: Delivery::Stored { offset, timestamp } }
}

fn told(token: Token, delivery: fn(String) -> Delivery) -> Input<u32> {
    Input::Report { token, delivery: delivery("why".into()) }
}

fn watermarks(marks: Watermarks, asked: NowMs, before: Option<BeforeQuestion>) -> Input<u32> {
    Input::Watermarks(WatermarksRead { marks, asked, answered: asked, before })
}

fn before(fold: u64, applied: u64) -> Option<BeforeQuestion> {
    Some(BeforeQuestion { fold: FoldId(fold), applied: Position(applied), target: Some(Position::START) })
}

/// A checkpoint after one event at offset 0 that was read.
fn stored() -> Checkpoint {
    let fingerprint = Some(fingerprint::fingerprint(&plain(0, "a"), None));
    Checkpoint { position: Position(1), fingerprint, ..Checkpoint::default() }
}

/// It is resumed after one event of `a`, has read that again, and serves.
fn resumed(low: u64) -> Bench {
    let mut bench = Bench::begun(marks(low, 1, 1), Some(stored()));
    bench.host.next.insert(key("a"), 1);
    let again = (low == 0).then(|| bench.record(plain(0, "a")));
    bench.tell(again.into_iter().chain([Input::EndOfPartition(Position(1))]).collect());
    assert!(bench.machine.snapshot().unserved().is_none());
    bench
}

#[test]
fn an_append_is_sent_or_refused_by_what_the_partition_is() {
    type State = fn(Bench) -> Bench;
    let damaged = || ReadFailure::Damaged { position: Position(0), detail: "CRC32C".into() };
    let cases: [(&str, State, &str); 8] = [
        ("ready", |bench| bench, "send 0 of 1"),
        ("stopping", |bench| bench.with(vec![Input::Stop]), "failed 1: unavailable: shutting down"),
        (
            "not caught up",
            |_| Bench::begun(marks(0, 3, 3), None),
            "failed 1: unavailable: catching up: 0 of 3",
        ),
        (
            "stalled",
            |bench| {
                let held = |asked| watermarks(marks(0, 0, 5), asked, None);
                bench.with(vec![held(1), held(2)])
            },
            "failed 1: unavailable: partition 0 is stalled at 0 below 5",
        ),
        (
            "lagging",
            |bench| {
                let ahead = |asked| watermarks(marks(0, 5, 5), asked, None);
                let bench = bench.with(vec![ahead(1), ahead(2)]);
                Bench { now: 1_001, ..bench }
            },
            "failed 1: unavailable: partition 0 lags 1000 ms",
        ),
        (
            "nothing can be sent",
            |bench| {
                let unsendable = Some(Unready::LogDown { cause: "away".into() });
                Bench { host: Host { unsendable, ..Host::default() }, ..bench }
            },
            "failed 1: unavailable: the log is down: away",
        ),
        (
            "no room",
            |bench| Bench { host: Host { is_full: true, ..Host::default() }, ..bench },
            "failed 1: unavailable: the log is down: full",
        ),
        (
            "cut",
            |_| {
                let mut bench = Bench::begun(marks(5, 6, 6), None);
                let above = bench.record(marked(5, 3, single(1)));
                bench.tell(vec![above]);
                bench.checkpoint();
                bench
            },
            "failed 1: partition 0 is cut",
        ),
    ];
    for (what, state, expected) in cases {
        let mut bench = state(Bench::ready());
        let lines = bench.tell(vec![new(1)]);
        check(what, &lines, &[expected]);
        assert_eq!(bench.host.claimed.borrow().len(), bench.machine.in_flight(), "{what}");
    }
    let mut degraded = Bench::ready().with(vec![Input::ReadFailed(damaged())]);
    check("degraded", &degraded.tell(vec![new(1)]), &["failed 1: unavailable: partition 0 is degraded"]);
    check("mended", &degraded.tell(vec![Input::BeginReading]), &["read from 0"]);
    // Whoever asks for it again has no answer from before.
    let mut gone = Bench::ready();
    gone.host.gone = Some(1);
    check("nobody waits", &gone.tell(vec![new(1)]), &[]);
}

#[test]
fn an_append_is_refused_by_what_its_aggregate_is_and_verified_where_the_log_may_know_more() {
    let at = |order| Expected::At(Order(order));
    let cases = [
        (None, at(2), "unverified 1 in All"),
        (Some(3), Expected::New, "failed 1: the aggregate exists already"),
        (Some(3), at(2), "failed 1: order 2 was expected"),
        (Some(3), at(4), "unverified 1 in One"),
        (Some(3), at(3), "send 0 of 1"),
    ];
    for (next, expected, line) in cases {
        let head = next.map(|next| Head { partition: HERE, base: Order::FIRST, next: Order(next) });
        let located = Located { partition: HERE, known: Known { head, as_of: 0 } };
        let input = Input::Append { append: append_of(1, expected, &["v"]), located };
        check(line, &Bench::ready().tell(vec![input]), &[line]);
    }
}

#[test]
fn a_batch_with_a_member_that_is_too_large_is_not_begun() {
    let mut bench = Bench::ready();
    bench.host.record_bytes_max = Some(80);
    let large = "0123456789012345678901234567890123456789";
    let lines = bench.tell(vec![append(1, Expected::New, &["v", large]), append(2, Expected::New, &["v"])]);
    check("nothing of it is sent", &lines, &["failed 1: ", "send 0 of 1"]);
    assert!(lines[0].ends_with("bytes exceed the limit of 80"), "{lines:?}");
}

/// Kafka and the embedded log keep two lengths of each header. They were not counted, so a member that did not fit was found after
/// others of its batch were sent.
#[test]
fn a_member_is_measured_with_what_its_headers_take_beside_their_content() {
    // The key, the value, two headers of the marker, and three of a name of one byte.
    let bytes = 1 + 1 + 45 + 3 * (1 + 10);
    let refused: &[&str] = &["failed 1: 80 bytes exceed the limit of 79"];
    for (bytes_max, expected) in [(bytes, &["send 0 of 1", "send 1 of 1"][..]), (bytes - 1, refused)] {
        let mut bench = Bench::ready();
        bench.host.record_bytes_max = Some(bytes_max);
        check(&format!("{bytes_max}"), &bench.tell(vec![with_headers(3)]), expected);
    }
}

#[test]
fn headers_count_while_they_are_sent_and_no_longer() {
    let mut bench = Bench::ready();
    bench.tell(vec![with_headers(3)]);
    let load = bench.machine.sent_load();
    assert_eq!(load, Load { records: 2, headers: 3, bytes: 2 + 1 + 3 });
    assert_eq!((load.log_bytes(), load.memory_bytes()), (6 + 3 * 10, 6 + 3 * 64));
    bench.tell((0..2).map(|token| report(token, Some(token), Some(0))).collect());
    assert_eq!(bench.machine.sent_load(), Load::default());
}

#[test]
fn sending_that_stops_ends_the_append_and_goes_on_with_the_next() {
    let failed = |token| Input::SendFailed {
        token,
        detail: "full".into(),
        error: AppendError::Unavailable(Unready::LogDown { cause: "full".into() }),
    };
    let sent = || Bench::ready().with(vec![append(1, Expected::New, &["v", "w", "x"]), new(2)]);
    let cases = [
        (0, "failed 1: unavailable: the log is down: full", 1),
        (1, "failed 1: not stored: sending stopped at event 2 of 3: full", 2),
        (2, "failed 1: not stored: sending stopped at event 3 of 3: full", 3),
    ];
    for (token, line, left) in cases {
        let mut bench = sent();
        check(line, &bench.tell(vec![failed(token)]), &[line, "send 3 of 2"]);
        assert_eq!((bench.machine.sent(), bench.machine.in_flight()), (left, 1), "{line}");
        let late = bench.tell((0..3).map(|token| report(token, Some(token), Some(0))).collect());
        assert!(!late.iter().any(|line| line.starts_with("stored")), "{late:?}");
    }
}

#[test]
fn each_kind_of_report_ends_an_append_or_puts_it_in_doubt() {
    let cases: [(&str, Input<u32>, &[&str]); 7] = [
        ("at its place", report(0, Some(0), Some(0)), &["event a 0..1", "stored 1 at 0"]),
        ("without the time", report(0, Some(0), None), &[]),
        ("behind others", report(0, Some(3), Some(0)), &[]),
        ("nobody knows where", report(0, None, None), &[]),
        ("not stored", told(0, |detail| Delivery::NotStored { detail }), &["failed 1: not stored: why"]),
        ("too large with others", told(0, |detail| Delivery::Oversized { detail }), &["send 1 of 2"]),
        ("unknown", told(0, |detail| Delivery::Unknown { detail }), &[]),
    ];
    for (what, input, expected) in cases {
        let mut bench = Bench::ready().with(vec![new(1)]);
        check(what, &bench.tell(vec![input]), expected);
        // Whatever is left ends when the time is over.
        bench.now = DOUBT_MS.max(TAIL_WAIT_MS);
        let is_in_doubt = bench.machine.is_in_doubt();
        let lines = bench.tell(vec![Input::Tick]);
        assert_eq!(
            is_in_doubt,
            lines.iter().any(|line| line.starts_with("failed 1: outcome unknown")),
            "{what}: {lines:?}"
        );
    }
    let mut passed = Bench::ready().with(vec![new(1), Input::EndOfPartition(Position(3))]);
    let expected = ["failed 1: outcome unknown", "rebuild: a record was stored at offset 1", "Degraded"];
    check("where reading has passed", &passed.tell(vec![report(0, Some(1), Some(0))]), &expected);
}

#[test]
fn an_append_that_waits_is_judged_by_what_the_step_applied() {
    let mut bench = Bench::ready().with(vec![new(1)]);
    check("it waits", &bench.tell(vec![append(2, Expected::At(Order(1)), &["w"])]), &[]);
    let lines = bench.tell(vec![report(0, Some(0), Some(0))]);
    check("and rests on the one before", &lines, &["event a 0..1", "stored 1 at 0", "send 1 of 2"]);

    let mut bench = Bench::ready().with(vec![new(1), append(2, Expected::At(Order(1)), &["w"]), new(3)]);
    bench.host.is_full = true;
    let lines = bench.tell(vec![report(0, Some(0), Some(0))]);
    check(
        "without room they wait in their order",
        &lines,
        &["event a 0..1", "stored 1 at 0", "held 2", "held 3"],
    );
    check(
        "of a free key",
        &bench.tell(vec![Input::Wait(append_of(4, Expected::New, &["v"]))]),
        &["rerouted 4 to 0"],
    );
}

#[test]
fn nothing_is_decided_on_a_record_above_the_next_order_but_by_a_fold_from_the_beginning() {
    let above = || marked(1, 3, single(1));
    let missed = ["rebuild: the record at offset 1 rests on 3 events", "Degraded"];
    let mut bench = resumed(0);
    let input = bench.record(above());
    check("a resumed fold", &bench.tell(vec![input]), &missed);
    assert_eq!((bench.machine.position(), bench.machine.is_read()), (Position(1), false));

    let mut whole = Bench::begun(marks(0, 2, 2), None);
    let inputs = vec![whole.record(plain(0, "a")), whole.record(above())];
    check(
        "a fold that began with the log",
        &whole.tell(inputs),
        &["event a 0..1", "FirstForeign", "FirstVoid"],
    );
    let next = whole.record(marked(2, 7, single(2)));
    whole.checkpoint();
    check("and its writer rests on nothing", &whole.tell(vec![next]), &[]);
    let other = Stamp { incarnation: Incarnation(8), number: 1, place: None };
    let next = whole.record(marked(3, 7, other));
    check(
        "another one's",
        &whole.tell(vec![next]),
        &["rebuild: the record at offset 3 rests on 7", "Degraded"],
    );

    let mut removed = resumed(1);
    let input = removed.record(above());
    check("what a rebuild would need is gone", &removed.tell(vec![input]), &["Degraded"]);
    assert!(matches!(removed.machine.snapshot().degradation, Some(Degradation::MissedAndRemoved { .. })));
}

/// While nobody answered, an end that held nothing was lost and others wrote there; reading began anew in the same time and forgot that
/// it had been farther. What lay where there had been nothing was taken for known. (Found by simulation.)
#[test]
fn records_where_there_was_nothing_are_applied_though_reading_began_anew_meanwhile() {
    let mut bench = resumed(0);
    bench.tell(vec![Input::EndOfPartition(Position(3))]);
    check("reading begins anew", &bench.tell(vec![Input::BeginReading]), &["read from 0"]);
    let inputs = vec![bench.record(plain(0, "a")), bench.record(plain(2, "b"))];
    check("others wrote where nothing was", &bench.tell(inputs), &["event b 0..1", "FirstForeign"]);
}

/// A checkpoint that names an older record than the last that was applied takes the position back to it, and what was applied
/// since is applied twice.
#[test]
fn a_checkpoint_names_the_last_record_that_was_applied() {
    let batch = |i, number| Stamp { incarnation: OTHER, number, place: Some(BatchPlace { i, count: 2 }) };
    let cases: [(&str, Record, Record, u64); 5] = [
        ("one above the next order", plain(1, "b"), marked(2, 3, single(1)), 1),
        ("a member of a batch above it", plain(1, "b"), marked(2, 3, batch(1, 1)), 1),
        ("one at the next order", plain(1, "a"), marked(2, 2, single(1)), 2),
        ("one of another key's", marked(1, 1, single(1)), plain(2, "b"), 2),
        ("a newer format", plain(1, "a"), newer(2), 1),
    ];
    for (what, first, second, last) in cases {
        let mut bench = resumed(0);
        let inputs = vec![bench.record(first.clone()), bench.record(second.clone())];
        bench.tell(inputs);
        let checkpoint = bench.checkpoint().expect("something was applied");
        let applied = if last == 1 { &first } else { &second };
        assert_eq!(checkpoint.position, Position(last + 1), "{what}");
        assert_eq!(checkpoint.fingerprint, Some(fingerprint::fingerprint(applied, None)), "{what}");
        assert_eq!(checkpoint.behind_last(), checkpoint.position, "{what}");
    }
}

/// Of a marker format that this version does not know.
fn newer(offset: u64) -> Record {
    let mut record = marked(offset, 1, single(1));
    let text = b"2;anything;";
    let mut sum = PartsSum::over_payload(&record);
    sum.part(record.headers[0].value.as_deref());
    sum.part(Some(text));
    let sum = format!("{:08x}", sum.finish());
    record.headers[1].value = Some([text.as_slice(), sum.as_bytes()].concat().into());
    record
}

#[test]
fn a_lag_ends_when_the_marks_are_reached() {
    let ahead = |asked| watermarks(marks(0, 2, 2), asked, None);
    let mut bench = Bench::ready().with(vec![ahead(1), ahead(2)]);
    assert_eq!(bench.machine.snapshot().lag_ms(5_001), 5_000);
    for (offset, lag_ms) in [(0, 5_000), (1, 0)] {
        let record = bench.record(plain(offset, "a"));
        bench.tell(vec![record]);
        assert_eq!(bench.machine.snapshot().lag_ms(5_001), lag_ms, "{offset}");
    }
    let mut bench = Bench::ready().with(vec![ahead(1), ahead(2)]);
    bench.tell(vec![Input::EndOfPartition(Position(2))]);
    assert_eq!(bench.machine.snapshot().lag_ms(5_001), 0, "there was nothing to apply");
}

#[test]
fn what_was_known_of_another_fold_proves_no_loss() {
    let cases: [(&str, Watermarks, Option<BeforeQuestion>, &[&str]); 5] = [
        ("the end is where it was", marks(0, 1, 1), before(0, 1), &[]),
        (
            "an end below what was applied",
            marks(0, 0, 0),
            before(0, 1),
            &["rebuild: the log ended at 0", "Degraded"],
        ),
        (
            "what is stable below it",
            marks(0, 0, 4),
            before(0, 1),
            &["rebuild: the log ended at 0", "Degraded"],
        ),
        ("it was asked of an earlier fold", marks(0, 0, 0), before(7, 1), &[]),
        ("it was asked before that was applied", marks(0, 0, 0), before(0, 0), &[]),
    ];
    for (what, marks, before, expected) in cases {
        let lines = resumed(0).tell(vec![watermarks(marks, 1, before)]);
        check(what, &lines, expected);
    }
}

#[test]
fn a_stopped_reader_goes_on_or_the_partition_begins_anew_by_what_the_log_says() {
    let stops = |failure: ReadFailure| {
        let mut bench = resumed(0);
        check("it asks", &bench.tell(vec![Input::ReadFailed(failure)]), &["wants watermarks"]);
        bench
    };
    let out_of_range = || ReadFailure::OutOfRange { position: Position(1) };
    let lost = || ReadFailure::LostEnd { end: Position(0) };
    let cases: [(&str, ReadFailure, Watermarks, NowMs, &[&str]); 5] = [
        ("it was said in passing", out_of_range(), marks(0, 1, 1), 1, &["read from 0", "ReadAgain"]),
        ("asked before it stopped", out_of_range(), marks(0, 1, 1), 0, &["wants watermarks"]),
        (
            "the log is shorter",
            out_of_range(),
            marks(0, 0, 0),
            1,
            &["rebuild: the log ended at 0", "Degraded"],
        ),
        ("retention removed it", out_of_range(), marks(3, 4, 4), 1, &["Degraded"]),
        (
            "it was lost, and has grown",
            lost(),
            marks(0, 4, 4),
            1,
            &["rebuild: the log ended at 0", "Degraded"],
        ),
    ];
    for (what, failure, marks, asked, expected) in cases {
        let lines = stops(failure).tell(vec![watermarks(marks, asked, before(0, 0))]);
        check(what, &lines, expected);
    }
}

#[test]
fn a_fold_that_begins_anew_serves_when_what_was_shown_is_back() {
    let anew = |shown, checkpoint| {
        let beginning = Beginning { fold: FoldId(1), shown, ..beginning(checkpoint) };
        vec![Input::BeginAnew(Box::new(beginning)), Input::BeginReading]
    };
    let mut bench = resumed(0).with(anew(Shown::MustReturn, None));
    assert_eq!(bench.machine.snapshot().target, Some(Position(1)));
    assert!(bench.machine.snapshot().unserved().is_some());
    bench.host.next.clear();
    let record = bench.record(plain(0, "a"));
    check("it is back", &bench.tell(vec![record]), &["event a 0..1", "FirstForeign"]);
    bench.checkpoint();
    assert!(bench.machine.snapshot().unserved().is_none());

    let mut bench = resumed(0);
    check(
        "the log says how far",
        &bench.tell(anew(Shown::IsVoid, None)),
        &["read from 0", "wants watermarks"],
    );
    assert_eq!(bench.machine.snapshot().target, None);
    let known = BeforeQuestion { fold: FoldId(1), applied: Position::START, target: None };
    bench.tell(vec![watermarks(marks(0, 0, 0), 1, Some(known))]);
    assert!(bench.machine.snapshot().unserved().is_none(), "nothing is left of it");
}

#[test]
fn a_record_that_was_applied_unread_is_compared_when_it_is_read() {
    let sent = || Bench::ready().with(vec![new(1), report(0, Some(0), Some(0))]);
    let end = || Input::EndOfPartition(Position(1));
    let diverged = ["rebuild: the log diverged: applied offset 0", "Degraded"];
    let mut changed = sent();
    let other = changed.record(plain(0, "a"));
    check("another one", &changed.tell(vec![other]), &diverged);
    check("none", &sent().tell(vec![end()]), &diverged);
    let mut added = resumed(0).with(vec![Input::EndOfPartition(Position(3))]);
    let between = added.record(plain(1, "a"));
    check(
        "one where none was",
        &added.tell(vec![between]),
        &["rebuild: the log diverged: met nothing at offset 1", "Degraded"],
    );
}

/// The log lost its end and had grown again: the old fold read on after what it had lost, and a crash before the partition was dropped
/// resumed at a checkpoint that named a record of the log as it was now.
#[test]
fn a_fold_that_is_to_be_rebuilt_takes_nothing_more() {
    let mut bench = resumed(0);
    let lines = bench.tell(vec![watermarks(marks(0, 0, 0), 1, before(0, 1))]);
    check("it was truncated", &lines, &["rebuild: the log ended at 0", "Degraded"]);
    bench.checkpoint();
    let inputs = [
        bench.record(plain(1, "b")),
        bench.record(plain(2, "b")),
        Input::EndOfPartition(Position(3)),
        Input::ReadFailed(ReadFailure::OutOfRange { position: Position(1) }),
    ];
    for input in inputs {
        check("nothing follows", &bench.tell(vec![input]), &[]);
    }
    assert_eq!(bench.checkpoint(), None);
    let again = bench.tell(vec![watermarks(marks(0, 3, 3), 2, before(0, 1))]);
    check("it is asked for again", &again, &["rebuild: the log ended at 0"]);
}

#[test]
fn one_state_is_one_text() {
    let run = |tokens: [Token; 3]| {
        let mut bench = Bench::ready().with(vec![append(1, Expected::New, &["v", "w", "x"])]);
        for token in tokens {
            bench.tell(vec![told(token, |detail| Delivery::Unknown { detail })]);
        }
        let copy = bench.machine.clone();
        assert_eq!(format!("{copy:?}"), format!("{:?}", bench.machine));
        format!("{:?}", bench.machine)
    };
    assert_eq!(run([0, 1, 2]), run([2, 1, 0]));
}
