//! Rings by hand, and who follows.

use super::*;
use bkes_core::{Head, Key, Order, Partition, Record};
use bkes_log::wake_pair;
use bytes::Bytes;

const ALL: TakeLimits = TakeLimits { appends_max: usize::MAX, bytes_max: usize::MAX };

/// An append whose records lie at these offsets.
fn accepted(offsets: &[u64]) -> Accepted {
    let key = Key::new("key").expect("not empty");
    let record = |offset: &u64| Record {
        partition: Partition(0),
        offset: Offset(*offset),
        timestamp: None,
        key: Some(key.bytes().clone()),
        value: Some(Bytes::from_static(&[0; 100])),
        headers: Vec::new(),
    };
    let records = match offsets {
        [one] => Records::One(record(one)),
        many => Records::Batch(many.iter().map(record).collect()),
    };
    let head = Head { partition: Partition(0), base: Order(0), next: Order(offsets.len() as u64) };
    Accepted { hash: 1, key, head, stamp: None, records }
}

/// Where the last records of what is taken lie, and up to where that goes; `None` if it has to be read from the log.
fn take(ring: &Ring, of: (Period, FoldId), position: u64) -> Option<(Vec<u64>, u64)> {
    match ring.take(of, Position(position), ALL) {
        Taken::Appends { appends, to, .. } => Some((appends.iter().map(|fed| fed.last.0).collect(), to.0)),
        Taken::NotBegun | Taken::Passed => None,
    }
}

const OF: (Period, FoldId) = (Period(7), FoldId(3));

/// A ring that was begun at 10.
fn ring() -> Ring {
    let ring = Ring::default();
    ring.publish(OF, Position(10));
    ring
}

#[test]
fn what_is_added_is_seen_when_the_step_has_ended_from_any_position() {
    let ring = ring();
    ring.add(OF, &[accepted(&[10]), accepted(&[11, 14]), accepted(&[16])], usize::MAX);
    assert_eq!(take(&ring, OF, 10), Some((vec![], 10)), "the step goes on");
    ring.publish(OF, Position(16));
    assert_eq!(take(&ring, OF, 10), Some((vec![10, 14], 16)), "what lies above is of the next step");
    ring.publish(OF, Position(20));
    assert_eq!(take(&ring, OF, 9), None, "what lies below was never added");
    assert_eq!(take(&ring, OF, 11), Some((vec![14, 16], 20)));
    assert_eq!(take(&ring, OF, 14), Some((vec![14, 16], 20)), "a batch lies where its last member lies");
    assert_eq!(take(&ring, OF, 15), Some((vec![16], 20)));
    assert_eq!(take(&ring, OF, 20), Some((vec![], 20)));
    assert_eq!(take(&ring, OF, 25), Some((vec![], 25)), "a position above the end stays where it is");
}

#[test]
fn limits_of_taking_hold_and_the_next_take_goes_on() {
    let ring = ring();
    let appends: Vec<Accepted> = (10..20).map(|offset| accepted(&[offset])).collect();
    ring.add(OF, &appends, usize::MAX);
    ring.publish(OF, Position(30));
    for limits in [TakeLimits { appends_max: 3, ..ALL }, TakeLimits { bytes_max: 700, ..ALL }] {
        let (mut position, mut taken) = (Position(10), Vec::new());
        loop {
            let Taken::Appends { appends, to, is_all } = ring.take(OF, position, limits) else {
                panic!("it is all there");
            };
            assert!(appends.len() <= 3, "{limits:?}");
            taken.extend(appends.iter().map(|fed| fed.last.0));
            position = to;
            if is_all {
                break;
            }
        }
        assert_eq!((taken, position), ((10..20).collect(), Position(30)), "{limits:?}");
    }
}

#[test]
fn above_its_bytes_the_oldest_is_pushed_out_and_has_to_be_read_from_the_log() {
    let ring = ring();
    let one = bytes_of(&accepted(&[0]));
    ring.add(OF, &[accepted(&[10]), accepted(&[12]), accepted(&[13]), accepted(&[15])], 2 * one);
    ring.publish(OF, Position(16));
    assert_eq!(take(&ring, OF, 12), None);
    assert_eq!(take(&ring, OF, 13), Some((vec![13, 15], 16)));
    // One that is larger than the ring leaves nothing, not even a hole.
    ring.add(OF, &[accepted(&[16, 17, 18])], 2 * one);
    ring.publish(OF, Position(19));
    assert_eq!(take(&ring, OF, 13), None);
    assert_eq!(take(&ring, OF, 18), None);
    assert_eq!(take(&ring, OF, 19), Some((vec![], 19)));
}

/// In between nobody added to it.
#[test]
fn a_ring_of_another_period_or_fold_counts_for_nothing() {
    let ring = ring();
    for other in [(Period(8), OF.1), (OF.0, FoldId(4))] {
        assert_eq!(take(&ring, other, 10), None);
        ring.add(other, &[accepted(&[10])], usize::MAX);
        ring.publish(other, Position(12));
        assert_eq!(take(&ring, OF, 12), None);
        assert_eq!(take(&ring, other, 11), None, "it begins behind what was decided before");
        assert_eq!(take(&ring, other, 12), Some((vec![], 12)));
        ring.publish(OF, Position(10));
    }
    ring.publish((Period::NONE, OF.1), Position(10));
    assert_eq!(take(&ring, OF, 10), None);
}

#[test]
fn a_period_is_as_long_as_anybody_follows_and_its_number_comes_once() {
    let feed = Arc::new(Feed::default());
    let enter = || feed.enter(wake_pair().0, 2);
    assert_eq!(feed.period(), Period::NONE);
    let one = enter().expect("there is room");
    let first = one.period;
    let two = enter().expect("there is room");
    assert!(enter().is_none(), "as many as may be");
    assert_eq!((two.period, feed.period(), feed.followers()), (first, first, 2));
    drop(one);
    let three = enter().expect("a place was given back");
    assert_eq!(three.period, first);
    drop((two, three));
    assert_eq!((feed.period(), feed.followers()), (Period::NONE, 0));
    let later = enter().expect("there is room");
    assert!(later.period != first && later.period != Period::NONE);
}

#[test]
fn all_who_follow_are_woken() {
    let feed = Arc::new(Feed::default());
    let ((one, mut first), (two, mut second)) = (wake_pair(), wake_pair());
    let _places = (feed.enter(one, 2), feed.enter(two, 2));
    feed.wake();
    assert!(first.take() && second.take());
}
