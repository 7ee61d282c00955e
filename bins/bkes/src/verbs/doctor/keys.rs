//! What a topic's records say: which hash placed its keys, and when the newest of them was written.

use super::Findings;
use super::complaint::Complaint;
use super::place::Place;
use crate::limits::{DOCTOR_COUNTS_BYTES_MAX, DOCTOR_READ_MAX};
use bkes_api::Partition;
use bkes_consumer::{BlockingConsumer, ConsumerOptions, Decided, Item, Stop, Writer};
use bkes_core::Position;
use bkes_core::evidence::{Completeness, PlacedKey, Verdict, judge, keys_of_a_partition_max};
use bkes_log::{Log, ReadEvent, Watermarks, wake_pair};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// What is known of a partition's first keys.
#[derive(Default)]
struct Sampled {
    keys: Vec<PlacedKey>,
    /// It was read to its end, or has all the keys that count, or cannot be read further.
    is_done: bool,
}

/// Judges how the topic's keys are placed, as a server's `auto` does, by the first keys of each partition.
pub(super) fn placed(log: &dyn Log, count: NonZeroU32, place: &Place, findings: &mut Findings) {
    let mut partitions: HashMap<Partition, Sampled> =
        (0..count.get()).map(|number| (Partition(number), Sampled::default())).collect();
    let options = ConsumerOptions { partitions: None, counts_bytes_max: DOCTOR_COUNTS_BYTES_MAX };
    let mut consumer = match BlockingConsumer::open(log, &options) {
        Ok(consumer) => consumer,
        Err(error) => {
            let what = format!("the topic's keys could not be read: {error}");
            return findings.add(place.no_answer(what));
        }
    };
    let (until, keys_max) = (Instant::now() + DOCTOR_READ_MAX, keys_of_a_partition_max(count));
    let (mut items, mut trouble) = (Vec::new(), None);
    while partitions.values().any(|sampled| !sampled.is_done) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        consumer.next(left.min(Duration::from_secs(1)), &mut items);
        for item in items.drain(..) {
            if let Item::Unavailable { detail, .. } = &item {
                trouble = Some(detail.clone());
            }
            take(item, keys_max, &mut partitions, findings);
        }
    }
    let is_whole = partitions.values().all(|sampled| sampled.is_done);
    let keys: Vec<PlacedKey> = partitions.into_values().flat_map(|sampled| sampled.keys).collect();
    let trouble = trouble.filter(|_| !is_whole);
    if let Some(detail) = &trouble {
        let what = format!("not all of the topic's records could be read: {detail}");
        findings.add(place.no_answer(what));
        if keys.is_empty() {
            return;
        }
    }
    let part = match (is_whole, trouble) {
        (true, _) => "",
        (false, None) => " (there was no time for all of the first keys)",
        (false, Some(_)) => " (not all of the first keys could be read)",
    };
    let completeness = if is_whole { Completeness::Whole } else { Completeness::Part };
    told(&judge(&keys, count, completeness), part, findings);
}

fn take(item: Item, keys_max: usize, partitions: &mut HashMap<Partition, Sampled>, findings: &mut Findings) {
    match item {
        Item::Decided(Decided::Events(decision)) if decision.is_first => {
            let partition = decision.events.last().partition;
            let Some(sampled) = partitions.get_mut(&partition).filter(|sampled| !sampled.is_done) else {
                return;
            };
            let is_foreign = decision.writer != Writer::Bkes;
            sampled.keys.push(PlacedKey::new(decision.key.as_ref(), partition, is_foreign));
            sampled.is_done = sampled.keys.len() >= keys_max;
        }
        Item::CaughtUp { partition, .. } => done(partitions, partition),
        Item::Stopped { partition, why: Stop::TooManyKeys(_) } => done(partitions, partition),
        Item::Stopped { partition, why } => {
            done(partitions, partition);
            let what = format!("partition {partition} cannot be read on: {why}");
            findings.add(Complaint::problem("unreadable", what, cure_of(&why)));
        }
        Item::Decided(_) | Item::Split { .. } | Item::Unavailable { .. } => {}
    }
}

fn cure_of(why: &Stop) -> &'static str {
    match why {
        Stop::NewerFormat(_) => "upgrade bkes, and every server of this topic",
        Stop::DoesNotFit { .. } => "-X receive.message.max.bytes=2147483647, here and at the server",
        Stop::Damaged { .. } => {
            "have a replica lead that has the record whole: kafka-leader-election.sh, or take the damaged broker away"
        }
        Stop::LostEnd { .. } | Stop::OutOfRange { .. } | Stop::Diverged { .. } | Stop::WentBack { .. } => {
            "run bkes doctor again: the topic changed while it was read. If that stays so, find out what shortens it: \
             unclean.leader.election.enable, retention, or the topic made anew"
        }
        _ => "run bkes doctor again, and look at the brokers' logs if that stays so",
    }
}

fn done(partitions: &mut HashMap<Partition, Sampled>, partition: Partition) {
    if let Some(sampled) = partitions.get_mut(&partition) {
        sampled.is_done = true;
    }
}

fn told(verdict: &Verdict, part: &str, findings: &mut Findings) {
    let Verdict { partitioner, evidence } = verdict;
    match partitioner {
        Some(partitioner) if evidence.keys == 0 => {
            findings.fact("partitioner", format_args!("{partitioner}: the topic has no keys yet"));
        }
        Some(partitioner) => findings.fact("partitioner", format_args!("{partitioner}: {evidence}{part}")),
        None => {
            let what = format!(
                "how the topic's writers place keys cannot be told: {evidence}{part}; a server that decides by them rejects new \
                 keys (PARTITIONER_UNKNOWN)"
            );
            let cure = "bkes-server --partitioner NAME, with the hash of the other writers: murmur2 (Java), crc32 (librdkafka) or \
                        fnv1a (sarama); existing-only if it is another one";
            findings.add(Complaint::warning("partitioner", what, cure));
        }
    }
}

/// The latest timestamp of the last records of all partitions, in milliseconds, as far as they tell; and why not all of them do.
pub(super) fn newest(log: &dyn Log, marks: &[(Partition, Watermarks)]) -> (Option<i64>, Option<String>) {
    let (waker, mut waiter) = wake_pair();
    let mut reader = match log.reader(waker) {
        Ok(reader) => reader,
        Err(error) => return (None, Some(error.to_string())),
    };
    let mut left: Vec<Partition> = Vec::new();
    for (partition, marks) in marks.iter().filter(|(_, marks)| marks.stable > marks.low) {
        reader.assign(*partition, Position(marks.stable.0 - 1));
        left.push(*partition);
    }
    let (mut events, mut newest, mut trouble) = (Vec::new(), None, None);
    let until = Instant::now() + DOCTOR_READ_MAX;
    while !left.is_empty() && Instant::now() < until {
        reader.poll(left.len(), &mut events);
        if events.is_empty() {
            waiter.wait(Some(Duration::from_millis(100)));
        }
        for event in events.drain(..) {
            match event {
                ReadEvent::Record { record, .. } => {
                    newest = newest.max(record.timestamp.map(|timestamp| timestamp.0));
                    left.retain(|partition| *partition != record.partition);
                }
                ReadEvent::End { partition, .. } => left.retain(|left| *left != partition),
                ReadEvent::Failed { partition, failure } => {
                    trouble = Some(failure.to_string());
                    left.retain(|left| partition.is_some_and(|failed| *left != failed));
                }
                ReadEvent::Known { .. } => {}
            }
        }
    }
    if !left.is_empty() {
        trouble.get_or_insert_with(|| {
            format!("{} partitions did not answer in {DOCTOR_READ_MAX:?}", left.len())
        });
    }
    (newest, trouble)
}
