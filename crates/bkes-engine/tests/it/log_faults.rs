//! A log that fails in part, or says no: one partition without a leader, a damaged record, a topic that is gone or that we may
//! not touch, an end that is lost, a full queue, clocks that jump. The rest goes on, and everything comes back by itself.

use crate::support::flawed::FlawedLog;
use crate::support::{Bench, poll};
use bkes_core::{Offset, Order, Partition, Partitioner, Position, TimestampMs};
use bkes_engine::{
    AppendError, EngineOptions, ErrorClass, Expected, PartitionState, ReadError, Unit, Unready,
};
use bkes_storage::Store;
use bkes_testkit::log::{Faults, SimulatedLog as MemoryLog};
use bkes_testkit::store::SimulatedStore as MemoryStore;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;

fn memory_store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

fn one_partition() -> MemoryLog {
    MemoryLog::new("topic", NonZeroU32::MIN)
}

/// A key for each partition.
fn keys(partitions: u32) -> Vec<String> {
    let count = NonZeroU32::new(partitions).expect("not zero");
    let place = |name: &String| Partitioner::Murmur2.place(name.as_bytes(), count);
    let of = |partition| (0..).map(|n| format!("key-{n}")).find(|name| place(name) == Partition(partition));
    (0..partitions).map(|partition| of(partition).expect("there is one")).collect()
}

fn is_degraded(bench: &Bench, partition: u32) -> bool {
    let status = bench.handle.status();
    matches!(status.partitions[partition as usize].state, PartitionState::Degraded { .. })
}

/// The story: a large event took its neighbours with it: the broker refuses a batch as a whole, and they were answered "try again".
#[test]
fn what_was_not_taken_for_the_size_of_its_neighbours_is_sent_again_and_in_measure() {
    let log = FlawedLog::new(1);
    let mut bench = Bench::ready(log.clone(), memory_store());
    bench.put("key", 0, "zero").expect("accepted");
    log.flaws().oversized = 3;
    bench.put("key", 1, "one").expect("it is sent until it is taken");
    assert_eq!(log.flaws().oversized, 0, "it was not taken three times");
    assert_eq!(bench.values("key"), ["zero", "one"]);
    log.flaws().oversized = 1_000;
    let given_up = bench.put("key", 2, "two");
    assert!(matches!(given_up, Err(AppendError::NotStored { .. })), "{given_up:?}");
    assert_eq!(log.flaws().oversized, 1_000 - 9, "once, and eight times again");
    log.flaws().oversized = 0;
    bench.put("key", 2, "two").expect("its key is free");
    assert_eq!(bench.values("key"), ["zero", "one", "two"]);
}

/// A batch of which a part is sent and the rest refused would be void for ever.
#[test]
fn a_batch_with_a_member_that_is_too_large_is_refused_as_a_whole_and_to_the_byte() {
    let log = one_partition();
    let mut bench = Bench::ready(log.clone(), memory_store());
    log.set_record_bytes_max(1_000);
    let before = log.records(Partition(0)).len();
    // Two headers with an order of one digit, numbers of one, a base of one and a place: 41 bytes and `;2/2`.
    let room = 1_000 - "key".len() - 45;
    let [fits, large] = [room, room + 1].map(|bytes| "x".repeat(bytes));
    let answer = bench.append("key", Expected::New, &["small", &large]);
    let refused = bench.answer(answer);
    assert_eq!(refused, Err(AppendError::TooLarge { bytes: 1_001, bytes_max: 1_000 }));
    assert_eq!(log.records(Partition(0)).len(), before, "nothing of it was sent");
    let answer = bench.append("key", Expected::New, &["small", &fits]);
    bench.answer(answer).expect("it fits");
    let single = "x".repeat(1_000 - "key".len() - 41);
    bench.put("key", 2, &single).expect("it fits to the byte");
}

/// The story: the first partition that did not answer ended the look at the log. Without a leader for partition 0 the whole log
/// passed for down, and nobody looked at the other partitions any more.
#[test]
fn a_partition_without_a_leader_refuses_its_own_appends_and_the_others_go_on() {
    for broken in 0..3u32 {
        let log = FlawedLog::new(3);
        let mut bench = Bench::ready(log.clone(), memory_store());
        let keys = keys(3);
        for key in &keys {
            bench.put(key, 0, "zero").expect("accepted");
        }
        log.flaws().leaderless.insert(Partition(broken));
        bench.run(30_000);
        assert!(bench.handle.is_ready(), "without {broken}: {:?}", bench.handle.status());
        for (partition, key) in keys.iter().enumerate() {
            assert_eq!(bench.values(key), ["zero"], "reads go on");
            if partition as u32 != broken {
                bench.put(key, 1, "one").expect("the others go on");
            }
        }
        // What others write is seen, and so is what they hold open.
        let other = (broken + 1) % 3;
        let transaction = log.log.begin();
        log.log.append_in(transaction, Partition(other), "x".into(), "y".into());
        bench.run_until("the stall of another partition is seen", |bench| {
            bench.handle.status().partitions[other as usize].state == PartitionState::Stalled
        });
        log.log.end(transaction, true);

        let mut waiting = bench.append(&keys[broken as usize], Expected::At(Order(1)), &["one"]);
        bench.run(1_000);
        assert!(poll(&mut waiting).is_none(), "the producer waits for a leader");
        log.flaws().expired = true;
        let refused = bench.answer(waiting).expect_err("nobody took it");
        assert_eq!(refused.class(), ErrorClass::Unavailable, "{refused:?}");
        log.flaws().expired = false;
        let waiting = bench.append(&keys[broken as usize], Expected::At(Order(1)), &["one"]);
        bench.run(100);
        log.flaws().leaderless.clear();
        bench.answer(waiting).expect("a new leader takes what waited");
        for key in &keys {
            assert_eq!(bench.values(key), ["zero", "one"]);
        }
    }
}

/// The story: a log that had stood for two seconds and went on between the question for its stable end and that for its end passed
/// for held by a transaction, and appends were refused for a second.
#[test]
fn a_log_that_goes_on_in_the_middle_of_a_look_is_not_stalled() {
    let log = FlawedLog::new(1);
    let mut bench = Bench::ready(log.clone(), memory_store());
    bench.put("key", 0, "zero").expect("accepted");
    bench.run(10_000);
    log.flaws().written_meanwhile = Some(Partition(0));
    bench.step_monitor();
    assert!(log.flaws().written_meanwhile.is_none(), "it was looked at");
    assert_eq!(bench.handle.status().partitions[0].state, PartitionState::Ready);
    bench.put("key", 1, "one").expect("nothing is held");
}

/// The story: a partition whose record had once failed its checksum was degraded until a restart, though the log was whole again
/// and read on; and the log said every second that a position was "out of range".
#[test]
fn a_damaged_record_stops_its_partition_until_the_log_is_whole_again() {
    let log = FlawedLog::new(2);
    let keys = keys(2);
    let write = |partition: u32, value: &'static str| {
        let key = keys[partition as usize].clone();
        log.log.append_foreign(Partition(partition), Some(key.into()), Some(value.into()), Vec::new())
    };
    write(0, "zero");
    write(1, "zero");
    let mut bench = Bench::ready(log.clone(), memory_store());
    log.flaws().damaged = Some((Partition(0), Offset(1)));
    write(0, "one");
    write(0, "two");
    bench.run_until("the damage is seen", |bench| is_degraded(bench, 0));
    for _ in 0..5 {
        let read = bench.read(&keys[0]).expect_err("what lies behind it is not known");
        assert!(
            matches!(&read, ReadError::Unavailable(Unready::Degraded { detail, .. })
            if detail.contains("damaged record at or after 1")),
            "{read:?}"
        );
        let refused = bench.put(&keys[0], 1, "x").expect_err("its order cannot be decided");
        assert_eq!(refused.class(), ErrorClass::Unavailable, "{refused:?}");
        assert_eq!(bench.values(&keys[1]), ["zero"], "the other partition is served");
        bench.run(3_000);
    }
    bench.put(&keys[1], 1, "one").expect("the other partition is served");
    assert_eq!(log.log.records(Partition(0)).len(), 3, "nothing was sent behind the damage");
    // A replica that has it whole became the leader.
    log.flaws().damaged = None;
    bench.run_until("it is served again", |bench| !is_degraded(bench, 0) && bench.handle.is_ready());
    assert_eq!(bench.values(&keys[0]), ["zero", "one", "two"]);
    bench.put(&keys[0], 3, "three").expect("it is served again");
}

/// A damaged record lay after offsets that held nothing, and a failover lost both. Reading stood at the new end, below where it had
/// stopped, and waited for ever for what was no longer there. (Found by simulation.)
#[test]
fn a_damaged_record_that_the_log_lost_is_not_waited_for() {
    let log = FlawedLog::new(1);
    let write = |value: &'static str| {
        log.log.append_foreign(Partition(0), Some("a".into()), Some(value.into()), Vec::new());
    };
    write("zero");
    let mut bench = Bench::ready(log.clone(), memory_store());
    log.log.skip_offsets(Partition(0), 2);
    log.flaws().damaged = Some((Partition(0), Offset(3)));
    write("damaged");
    bench.run_until("the damage is seen", |bench| is_degraded(bench, 0));
    log.log.truncate(Partition(0), Position(1));
    log.flaws().damaged = None;
    bench.run_until("it is served again", |bench| !is_degraded(bench, 0) && bench.handle.is_ready());
    bench.put("a", 1, "one").expect("it is served again");
    assert_eq!(bench.values("a"), ["zero", "one"]);
}

/// The story: a log said of the last record that had been read, when that was read again, that its position was out of range, which a new
/// leader may say in passing. That was taken for the place where the log had lost its end: the store was thrown away. (Found by
/// simulation.)
#[test]
fn a_position_that_is_out_of_range_in_passing_is_no_loss() {
    let log = FlawedLog::new(1);
    let write = |value: &'static str| {
        log.log.append_foreign(Partition(0), Some("a".into()), Some(value.into()), Vec::new())
    };
    write("zero");
    write("one");
    let mut bench = Bench::ready(log.clone(), memory_store());
    // What makes it read again from the last record.
    log.flaws().damaged = Some((Partition(0), Offset(2)));
    write("two");
    bench.run_until("the damage is seen", |bench| is_degraded(bench, 0));
    log.flaws().damaged = Some((Partition(0), Offset(1)));
    log.flaws().out_of_range = true;
    let lost = |bench: &Bench| match &bench.handle.status().partitions[0].state {
        PartitionState::Degraded { reason } => reason.contains("truncated"),
        _ => false,
    };
    for _ in 0..5_000 {
        bench.jump(1);
        bench.step_owners();
        assert!(!lost(&bench), "{:?}", bench.handle.status());
        bench.step_writer();
        if bench.now().is_multiple_of(100) {
            bench.step_monitor();
        }
    }
    log.flaws().damaged = None;
    bench.run_until("it is served again", |bench| !is_degraded(bench, 0) && bench.handle.is_ready());
    assert_eq!(bench.values("a"), ["zero", "one", "two"]);
}

/// The story: on a real broker a rebuild that met such a record told its callers for ever that it was catching up.
#[test]
fn a_rebuild_that_stands_before_a_damaged_record_says_so_and_ends_when_it_is_whole() {
    let log = FlawedLog::new(1);
    for value in ["zero", "one", "two"] {
        log.log.append_foreign(Partition(0), Some("a".into()), Some(value.into()), Vec::new());
    }
    log.flaws().damaged = Some((Partition(0), Offset(1)));
    let mut bench = Bench::on(log.clone(), memory_store());
    bench.run(5_000);
    for name in ["a", "b"] {
        let read = bench.read(name).expect_err("it is not known what lies behind the damage");
        let refused = bench.put(name, 0, "x").expect_err("nor whether the key exists");
        assert_eq!(refused.class(), ErrorClass::Unavailable, "{refused:?}");
        if name == "b" {
            assert!(matches!(&read, ReadError::Unavailable(Unready::Degraded { .. })), "{read:?}");
            assert!(matches!(&refused, AppendError::Unavailable(Unready::Degraded { .. })), "{refused:?}");
        }
    }
    assert!(!bench.handle.is_ready());
    log.flaws().damaged = None;
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    assert_eq!(bench.values("a"), ["zero", "one", "two"]);
}

/// The story: 50,218 small events in one batch, which took more memory than the reader allowed, passed for damage, and the advice was
/// to look for a replica that has them whole. All had.
#[test]
fn what_does_not_fit_is_not_called_damaged_and_is_served_once_it_fits() {
    let log = FlawedLog::new(1);
    for value in ["zero", "one", "two"] {
        log.log.append_foreign(Partition(0), Some("a".into()), Some(value.into()), Vec::new());
    }
    (log.flaws().damaged, log.flaws().unfit) = (Some((Partition(0), Offset(1))), true);
    let mut bench = Bench::on(log.clone(), memory_store());
    bench.run_until("it is seen", |bench| is_degraded(bench, 0));
    let read = bench.read("a").expect_err("it is not known what lies behind it");
    let ReadError::Unavailable(Unready::Degraded { detail, .. }) = &read else { panic!("{read:?}") };
    for words in ["at or after 1", "does not fit", "raise the limit"] {
        assert!(detail.contains(words), "{detail}");
    }
    assert!(!detail.contains("damaged record") && !detail.contains("replica"), "{detail}");
    log.flaws().damaged = None;
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    assert_eq!(bench.values("a"), ["zero", "one", "two"]);
}

#[test]
fn a_right_that_is_taken_away_and_given_back_costs_time_only() {
    let log = FlawedLog::new(2);
    let mut bench = Bench::ready(log.clone(), memory_store());
    bench.put("a", 0, "zero").expect("accepted");
    log.flaws().denied = true;
    let refused = bench.put("a", 1, "one").expect_err("the broker refuses it");
    assert_eq!(refused.class(), ErrorClass::Unavailable, "{refused:?}");
    bench.run(3_000);
    let unready = bench.handle.status().unready;
    assert!(
        matches!(&unready, Some(Unready::LogDown { cause }) if cause.to_string().contains("not permitted")),
        "{unready:?}"
    );
    assert_eq!(bench.values("a"), ["zero"], "reads go on");
    log.log.append_foreign(Partition(0), Some("b".into()), Some("meanwhile".into()), Vec::new());
    bench.run(1_000);
    log.flaws().denied = false;
    bench.run_until("it is ready again", |bench| bench.handle.is_ready());
    bench.run_until("what came meanwhile is read", |bench| bench.values("b") == ["meanwhile"]);
    bench.put("a", 1, "one").expect("accepted");
    assert_eq!(bench.values("a"), ["zero", "one"], "nothing of the refused one is there");
}

#[test]
fn a_topic_that_is_deleted_while_running_is_named_and_its_events_stay_readable() {
    let log = FlawedLog::new(1);
    let mut bench = Bench::ready(log.clone(), memory_store());
    bench.put("a", 0, "zero").expect("accepted");
    log.flaws().deleted = true;
    let refused = bench.put("a", 1, "one").expect_err("there is no topic");
    assert_eq!(refused.class(), ErrorClass::Unavailable, "{refused:?}");
    bench.run(3_000);
    let unready = bench.handle.status().unready;
    assert!(
        matches!(&unready, Some(Unready::LogDown { cause }) if cause.to_string().contains("topic topic does not exist")),
        "{unready:?}"
    );
    assert_eq!(bench.values("a"), ["zero"], "the store still has what the topic had");
    // Nothing is handed to a producer that would wait for the topic until its time is over.
    let refused = bench.put("a", 1, "one").expect_err("there is no topic");
    assert!(
        matches!(&refused, AppendError::Unavailable(Unready::LogDown { cause }) if cause.to_string().contains("does not exist")),
        "{refused:?}"
    );
    log.flaws().deleted = false;
    bench.step_monitor();
    bench.put("a", 1, "one").expect("one answer is enough");
}

#[test]
fn an_end_that_is_lost_while_running_is_seen_and_the_store_follows_the_log() {
    let log = one_partition();
    let mut bench = Bench::ready(log.clone(), memory_store());
    for order in 0..4 {
        bench.put("a", order, &order.to_string()).expect("accepted");
    }
    bench.run(2_000);
    log.truncate(Partition(0), Position(2));
    bench.run_until("what is gone is no longer shown", |bench| {
        bench.read("a").is_ok_and(|read| read.events.len() == 2)
    });
    bench.run_until("it is ready again", |bench| bench.handle.is_ready());
    assert_eq!(bench.values("a"), ["0", "1"]);
    bench.put("a", 2, "another").expect("accepted");
    assert_eq!(bench.values("a"), ["0", "1", "another"]);
}

#[test]
fn what_the_send_queue_has_no_room_for_waits_and_nothing_of_a_batch_is_sent_before_all_of_it_can_be() {
    let log = one_partition();
    let mut bench = Bench::ready(log.clone(), memory_store());
    log.set_queue_max(3);
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let first = bench.append("a", Expected::New, &["one", "two"]);
    let batch = bench.append("b", Expected::New, &["one", "two"]);
    let single = bench.append("c", Expected::New, &["one"]);
    bench.step_owners();
    assert_eq!(log.on_the_way(), 2, "there is room for one, and the batch was there before the single one");
    bench.jump(10_000);
    bench.step_owners();
    let (queue, limit, unit) = ("the send queue", 3, Unit::Records);
    let no_room = Unready::NoRoom { waited_ms: 10_000, queue, limit, unit };
    assert_eq!(bench.answer(batch), Err(AppendError::Unavailable(no_room)));
    let single = bench.answer(single);
    assert!(matches!(single, Err(AppendError::Unavailable(Unready::NoRoom { .. }))), "{single:?}");
    while log.step() {}
    bench.answer(first).expect("accepted");
    assert_eq!(log.records(Partition(0)).len(), 2, "nothing of what was not sent is in the log");
    let again = bench.append("b", Expected::New, &["one", "two"]);
    let next = bench.append("d", Expected::New, &["one", "two"]);
    bench.step_owners();
    assert_eq!(log.on_the_way(), 2);
    while log.step() {}
    bench.step_owners();
    while log.step() {}
    bench.answer(again).expect("there is room again");
    bench.answer(next).expect("there is room again");
}

/// It would wait in vain.
#[test]
fn a_batch_that_an_empty_send_queue_does_not_take_is_answered_as_overloaded() {
    let log = one_partition();
    let mut bench = Bench::ready(log.clone(), memory_store());
    log.set_queue_max(3);
    let batch = bench.append("a", Expected::New, &["one", "two", "three", "four"]);
    // The limit was the size of what was asked for.
    let full = Unready::Overloaded { queue: "the send queue", limit: 3, unit: Unit::Records };
    assert_eq!(bench.answer(batch), Err(AppendError::Unavailable(full)));
    assert_eq!(log.records(Partition(0)).len(), 0, "nothing of a refused append is in the log");
}

/// A process that was stopped, a machine that was suspended: the engine's clock jumps, and nobody did anything meanwhile.
#[test]
fn a_clock_that_jumps_ahead_costs_time_and_no_event() {
    let log = one_partition();
    let mut bench = Bench::ready(log.clone(), memory_store());
    bench.put("a", 0, "zero").expect("accepted");
    // On its way when the clock jumps: its report still counts.
    log.set_faults(Faults { delayed: 1_000, ..Faults::default() });
    let sent = bench.append("a", Expected::At(Order(1)), &["one"]);
    bench.step_owners();
    bench.jump(HOUR_MS);
    bench.step_owners();
    assert!(log.step());
    bench.answer(sent).expect("it was stored all the time");
    // In doubt when the clock jumps: its time is over, and what arrives later is an event at most once.
    log.set_faults(Faults { late: 1_000, ..Faults::default() });
    let doubtful = bench.append("a", Expected::At(Order(2)), &["two"]);
    bench.step_owners();
    bench.jump(HOUR_MS);
    let answer = bench.answer(doubtful).expect_err("nobody knows");
    assert_eq!(answer.class(), ErrorClass::Unknown, "{answer:?}");
    log.set_faults(Faults::default());
    while log.step() {}
    bench.run_until("it arrived", |bench| bench.values("a") == ["zero", "one", "two"]);
    // Something unread when the clock jumps: not ready only until it is read.
    log.append_foreign(Partition(0), Some("b".into()), Some("zero".into()), Vec::new());
    bench.step_monitor();
    bench.jump(HOUR_MS);
    bench.step_monitor();
    bench.run_until("it is ready again", |bench| bench.handle.is_ready());
    bench.put("a", 3, "three").expect("accepted");
    assert_eq!(bench.values("a"), ["zero", "one", "two", "three"]);
}

#[test]
fn a_wall_clock_that_goes_back_changes_timestamps_and_no_order() {
    let log = one_partition();
    let mut bench = Bench::ready(log.clone(), memory_store());
    for (order, now) in [1_000_000, 5, 999_999_999, -1].into_iter().enumerate() {
        log.set_now(TimestampMs(now));
        let stored = bench.put("a", order as u64, &order.to_string()).expect("accepted");
        assert_eq!(stored.timestamp_ms, Some(now), "the log's time is told as it is");
    }
    assert_eq!(bench.values("a"), ["0", "1", "2", "3"]);
}

/// The story: when the placing of keys changed while the store could not be written, the new placing was never kept, and it took
/// the place of the batch that was to be written again.
#[test]
fn a_batch_that_failed_is_not_forgotten_when_partitions_are_added_meanwhile() {
    let (log, store) = (one_partition(), memory_store());
    let options = EngineOptions { placing_rest: Duration::ZERO, ..EngineOptions::default() };
    let mut bench = Bench::with(log.clone(), store.clone(), options);
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    let foreign = |key: &'static str, value: &'static str| {
        log.append_foreign(Partition(0), Some(key.into()), Some(value.into()), Vec::new())
    };
    store.fail_writes(Some("disk full"));
    foreign("a", "one");
    bench.run_until("the failure is seen", |bench| {
        matches!(bench.handle.status().unready, Some(Unready::Store { .. }))
    });
    log.add_partitions(1);
    bench.run(3_000);
    assert_eq!(bench.handle.status().partitions.len(), 2, "the new partition is seen");
    store.fail_writes(None);
    bench.run_until("it is ready again", |bench| bench.handle.is_ready());
    foreign("b", "two");
    bench.run(3_000);
    drop(bench);
    store.crash();
    let identity = store.load().expect("loads").identity.expect("it is bound");
    assert_eq!(identity.partitions.get(), 2, "the new placing is kept");
    let bench = Bench::ready(log.clone(), store);
    assert_eq!((bench.values("a"), bench.values("b")), (vec!["one".into()], vec!["two".into()]));
}

#[test]
fn partitions_with_much_to_read_take_turns_and_one_that_gives_nothing_holds_nobody_up_for_long() {
    let log = FlawedLog::new(3);
    for partition in 0..3 {
        for number in 0..20 {
            let key = format!("{partition}-{number}");
            log.log.append_foreign(Partition(partition), Some(key.into()), Some("value".into()), Vec::new());
        }
    }
    let options = EngineOptions { catch_up_records: 5, ..EngineOptions::default() };
    let mut bench = Bench::with(log.clone(), memory_store(), options);
    log.flaws().leaderless.insert(Partition(0));
    let applied =
        |bench: &Bench| bench.handle.status().partitions.iter().map(|p| p.applied.0).collect::<Vec<_>>();
    bench.run(400);
    assert_eq!(applied(&bench), [0, 0, 0], "it is the turn of the first");
    bench.run(200);
    assert_eq!(applied(&bench), [0, 20, 0], "the second had waited for half a second");
    assert_eq!(bench.values("1-7"), ["value"], "what is caught up is served");
    bench.run(600);
    assert_eq!(applied(&bench), [0, 20, 20]);
    log.flaws().leaderless.clear();
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    assert_eq!(bench.values("0-19"), ["value"]);
}

/// A writer that takes long over a commit is no reason to read more at once, which would make the next one take longer.
#[test]
fn a_turn_does_not_end_because_the_writer_is_behind() {
    let log = FlawedLog::new(2);
    for partition in 0..2 {
        for number in 0..3_000 {
            let key = format!("{partition}-{number}");
            log.log.append_foreign(Partition(partition), Some(key.into()), Some("value".into()), Vec::new());
        }
    }
    let options = EngineOptions { catch_up_records: 5, overlay_bytes_max: 1_000, ..EngineOptions::default() };
    let mut bench = Bench::with(log, memory_store(), options);
    let applied =
        |bench: &Bench| bench.handle.status().partitions.iter().map(|p| p.applied.0).collect::<Vec<_>>();
    bench.step_monitor();
    for _ in 0..20 {
        bench.jump(100);
        bench.step_owners();
    }
    assert_eq!(applied(&bench), [2_048, 0], "what one poll gives, and no more until it is committed");
    bench.step_writer();
    bench.step_owners();
    assert_eq!(applied(&bench), [3_000, 0], "it is still the turn of the first");
    bench.run_until("it is ready", |bench| bench.handle.is_ready());
    assert_eq!(applied(&bench), [3_000, 3_000]);
}
