//! What the board says while folds begin anew, and of whom.

use super::*;
use bkes_core::evidence::Completeness;
use bkes_core::topic::Placing;
use std::num::NonZeroU32;

/// A board of partitions that are to be applied up to these positions.
fn board<const N: usize>(targets: [u64; N]) -> (Board, Vec<Arc<PartitionBoard>>) {
    let new = |(number, target): (u32, u64)| {
        let (low, stable, high) = (Position(0), Position(target), Position(target));
        Arc::new(PartitionBoard::new(Partition(number), Watermarks { low, stable, high }))
    };
    let boards: Vec<Arc<PartitionBoard>> = (0..).zip(targets).map(new).collect();
    let placing = Placing { partitions: NonZeroU32::MIN, partitioner: None };
    let topic = TopicMachine::new(placing, false, Completeness::Whole, 0);
    (Board::new(boards.clone(), topic), boards)
}

/// A fold publishes how far it has come.
fn publish(board: &Board, partition: &PartitionBoard, fold: FoldId, applied: u64) {
    board.change(partition, |state| {
        let target = state.seen.target;
        state.seen.fold = fold;
        state.seen.applied = Position(applied);
        state.seen.is_caught_up = target.is_some_and(|target| Position(applied) >= target);
    });
}

fn current(partition: &PartitionBoard) -> FoldId {
    match partition.state().counting {
        Counting::Fold(fold) => fold,
        Counting::Beginning => panic!("it has begun"),
    }
}

/// While the folds begin anew, and where a partition caught up in the middle of a look, it said "0 of 0 offsets applied".
#[test]
fn catching_up_is_told_in_true_numbers_or_said_to_be_unknown() {
    let (board, boards) = board([10, 20]);
    let unready = |applied, target| Unready::CatchingUp { applied, target };
    assert_eq!(board.still_catching_up(), unready(0, Some(30)));
    publish(&board, &boards[0], FoldId(0), 3);
    publish(&board, &boards[1], FoldId(0), 4);
    assert_eq!(board.catching_up(), Some(unready(7, Some(30))));
    assert_eq!(board.unserved(&boards[1]), Some(unready(4, Some(20))), "of its own");
    publish(&board, &boards[0], FoldId(0), 10);
    publish(&board, &boards[1], FoldId(0), 20);
    assert_eq!((board.catching_up(), board.unserved(&boards[0])), (None, None));
    assert_eq!(board.still_catching_up(), unready(30, Some(30)), "it was not a moment ago");
    board.begin(&boards);
    assert_eq!(board.still_catching_up(), unready(0, None), "what the folds apply anew is not known");
}

#[test]
fn of_one_partition_that_begins_anew_the_others_know_nothing() {
    let (board, boards) = board([0, 0]);
    boards.iter().for_each(|partition| publish(&board, partition, FoldId(0), 0));
    assert!(board.all_read());
    let before = board.version();
    board.begin(&boards[1..]);
    assert_eq!(board.unserved(&boards[0]), None);
    let unknown = Unready::CatchingUp { applied: 0, target: None };
    assert_eq!((board.unserved(&boards[1]), board.all_read()), (Some(unknown), false));
    let is_as_before = |partition| board.is_as_in(before, [Partition(partition)].into_iter());
    assert!(is_as_before(0) && !is_as_before(1));
    let fold = board.announce(&boards[1..]);
    assert!(is_as_before(0) && !is_as_before(1) && !boards[1].state().is_caught_up());
    // What an owner says that has not heard of it yet.
    publish(&board, &boards[1], FoldId(0), 0);
    assert!(!boards[1].state().is_caught_up() && !board.all_read());
    publish(&board, &boards[1], fold, 0);
    assert!(boards[1].state().is_caught_up() && board.all_read());
    assert!(board.is_as_in(board.version(), [Partition(1)].into_iter()));
}

/// An instance of which one partition is read anew said that it does not serve, and was taken away whole by whoever goes by that.
#[test]
fn an_instance_is_ready_while_one_partition_is_read_anew_and_not_while_all_are() {
    let (board, boards) = board([9, 9]);
    let come_to =
        |partition: &PartitionBoard, applied| publish(&board, partition, current(partition), applied);
    come_to(&boards[0], 9);
    come_to(&boards[1], 3);
    assert!(board.unready(1_000, 1).is_some(), "one is read for the first time");
    come_to(&boards[1], 9);
    assert_eq!(board.unready(1_000, 1), None);
    for (count, is_ready) in [(1, true), (2, false)] {
        let anew = &boards[..count];
        board.begin(anew);
        anew.iter().for_each(|partition| board.change(partition, |state| state.is_read_anew = true));
        board.announce(anew);
        board.change(&boards[0], |state| state.seen.lagging_since = Some(1));
        assert_eq!(board.unready(1_000, 60_000).is_none(), is_ready, "{count} are read anew");
    }
    boards.iter().for_each(|partition| {
        come_to(partition, 9);
        board.change(partition, |state| state.seen.lagging_since = None);
    });
    assert_eq!(board.unready(1_000, 60_000), None);
    assert!(boards.iter().all(|partition| !partition.state().is_away()));
}

/// A panic was forgotten in a partition that came later, and by a new beginning of the folds.
#[test]
fn what_is_wrong_with_all_partitions_is_wrong_with_a_new_one_and_lasts() {
    let (board, boards) = board([0]);
    publish(&board, &boards[0], FoldId(0), 0);
    let panicked = Fault::Panicked { thread: "bkes-writer".into(), message: "on purpose".into() };
    board.set_fault(panicked.clone());
    let topic =
        |id: &str| bkes_log::LogIdentity { cluster: "c".into(), topic: "t".into(), topic_id: id.into() };
    board.set_fault(Fault::AnotherTopic { known: topic("1"), found: topic("2") });
    let (low, stable, high) = (Position(0), Position(0), Position(0));
    let new = Arc::new(PartitionBoard::new(Partition(1), Watermarks { low, stable, high }));
    assert!(board.add_partition(Arc::clone(&new)) && !board.add_partition(Arc::clone(&new)));
    board.begin(&boards);
    board.announce(&boards);
    for partition in board.partitions().iter() {
        let unready = Unready::Degraded { partition: partition.partition, detail: panicked.to_string() };
        assert_eq!(board.unserved(partition), Some(unready));
    }
    assert!(board.status(1_000, 1).iter().all(|status| matches!(status.state, State::Degraded { .. })));
    assert!(matches!(board.unready(1_000, 1), Some(Unready::Degraded { .. })));
}
