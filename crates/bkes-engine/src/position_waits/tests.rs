//! Who is answered when, what is left of those who went away, and every bound.

use super::*;
use crate::limits::{GROUP_PAUSE_MS_MAX, GROUP_PAUSE_MS_MIN, GROUPS_WAITED_MAX, RETRY_MS};
use bkes_core::Watermarks;
use bkes_core::evidence::Completeness;
use bkes_core::topic::{Placing, TopicMachine};
use std::num::NonZeroU32;

struct Scene {
    board: Board,
    boards: Vec<Arc<PartitionBoard>>,
    waits: Arc<PositionWaits>,
}

impl Scene {
    /// Partitions that are caught up, with nothing in them.
    fn new(partitions: u32) -> Scene {
        let marks = Watermarks { low: Position(0), stable: Position(0), high: Position(0) };
        let new = |number| Arc::new(PartitionBoard::new(Partition(number), marks));
        let boards: Vec<_> = (0..partitions).map(new).collect();
        let placing = Placing { partitions: NonZeroU32::MIN, partitioner: None };
        let topic = TopicMachine::new(placing, false, Completeness::Whole, 0);
        let scene = Scene { board: Board::new(boards.clone(), topic), boards, waits: Arc::default() };
        (0..partitions).for_each(|partition| scene.apply(partition, 0));
        scene
    }

    fn apply(&self, partition: u32, applied: u64) {
        self.board.change(&self.boards[partition as usize], |state| {
            state.seen.applied = Position(applied);
            state.seen.is_caught_up = true;
        });
        self.waits.settle(&self.board, 1);
    }

    fn enter(&self, places: &[(u32, u64)], group: Option<&str>) -> Result<Waiting, Unready> {
        let place = |(partition, position): &(u32, u64)| {
            (Arc::clone(&self.boards[*partition as usize]), Position(*position))
        };
        let (places, group) = (places.iter().map(place).collect(), group.map(Arc::from));
        PositionWaits::enter(&self.waits, &self.board, Wanted { places, group, now: 1, deadline: 1_000 })
    }

    fn wait(&self, places: &[(u32, u64)], group: Option<&str>) -> Waiting {
        self.enter(places, group).expect("there is room")
    }

    fn is_empty(&self) -> bool {
        let state = lock(&self.waits.state);
        let is_empty = state.waits.is_empty() && state.missing.is_empty() && state.deadlines.is_empty();
        assert_eq!(is_empty, self.waits.count.load(Ordering::Relaxed) == 0);
        is_empty && state.places == 0 && self.waits.deadline().is_none()
    }
}

fn answer(waiting: &mut Waiting) -> Option<Waited> {
    waiting.answer.try_recv().ok()
}

fn commits(committed: &[Option<u64>]) -> Commits {
    (0..).map(Partition).zip(committed.iter().map(|position| position.map(Position))).collect()
}

#[test]
fn those_are_answered_who_have_all_they_wait_for() {
    let scene = Scene::new(3);
    let mut waits: Vec<Waiting> = (1..=3).map(|at| scene.wait(&[(1, at), (2, 1)], None)).collect();
    scene.apply(1, 2);
    assert!(waits.iter_mut().all(|wait| answer(wait).is_none()), "partition 2 is missing");
    scene.apply(2, 1);
    let answers: Vec<_> = waits.iter_mut().map(answer).collect();
    assert_eq!(answers, [Some(Ok(())), Some(Ok(())), None]);
    scene.apply(1, 3);
    assert_eq!(answer(&mut waits[2]), Some(Ok(())));
    assert!(scene.is_empty());
    assert_eq!(answer(&mut scene.wait(&[(1, 3)], None)), Some(Ok(())), "it is there already");
}

/// What was reached while another partition was waited for is lost again when its fold begins anew.
#[test]
fn a_partition_that_falls_back_is_waited_for_again() {
    let scene = Scene::new(2);
    let mut wait = scene.wait(&[(0, 2), (1, 2)], None);
    scene.apply(0, 2);
    scene.board.begin(&scene.boards[..1]);
    scene.apply(1, 2);
    assert_eq!(answer(&mut wait), None, "of a fold that does not count nothing is read");
    let fold = scene.board.announce(&scene.boards[..1]);
    scene.board.change(&scene.boards[0], |state| (state.seen.fold, state.seen.is_caught_up) = (fold, false));
    scene.waits.settle(&scene.board, 1);
    assert_eq!(answer(&mut wait), None, "it is not caught up");
    scene.apply(0, 2);
    assert_eq!(answer(&mut wait), Some(Ok(())));
}

#[test]
fn whoever_goes_away_leaves_nothing_behind() {
    let scene = Scene::new(2);
    let waits: Vec<Waiting> = (0..100).map(|n| scene.wait(&[(0, n + 1), (1, 1)], Some("group"))).collect();
    drop(waits);
    assert!(scene.is_empty());
    assert_eq!((scene.waits.take_group(1_000), scene.waits.group_due()), (None, None));
    // Also while its group is asked.
    let wait = scene.wait(&[(0, 1)], Some("group"));
    let group = scene.waits.take_group(1).expect("it is due");
    drop(wait);
    scene.waits.group_answered(&group, 1, Ok(commits(&[Some(1)])));
    assert!(scene.is_empty() && scene.waits.group_due().is_none());
}

#[test]
fn every_queue_has_its_bound() {
    let scene = Scene::new(2);
    let waits: Vec<_> = (0..POSITION_WAITS_MAX).map(|_| scene.wait(&[(0, 1)], None)).collect();
    let refused = scene.enter(&[(0, 1)], None).err();
    assert!(matches!(refused, Some(Unready::Overloaded { limit: 10_000, .. })), "{refused:?}");
    drop(waits);
    let mut groups: Vec<_> =
        (0..GROUPS_WAITED_MAX).map(|n| scene.wait(&[], Some(&format!("group-{n}")))).collect();
    let refused = scene.enter(&[], Some("another")).err();
    assert!(matches!(refused, Some(Unready::Overloaded { limit: 100, .. })), "{refused:?}");
    groups.push(scene.wait(&[], Some("group-7")));
    drop(groups);
    let many = vec![(0, 1); WAITED_PLACES_MAX];
    let large = scene.wait(&many, None);
    assert!(scene.enter(&[(0, 1)], None).is_err(), "it takes all there is");
    drop(large);
    assert!(scene.enter(&[(0, 1)], None).is_ok());
    assert!(scene.is_empty());
}

#[test]
fn the_time_of_each_ends_by_itself() {
    let scene = Scene::new(1);
    let mut wait = scene.wait(&[(0, 5)], None);
    let mut group = scene.wait(&[], Some("group"));
    assert_eq!(scene.waits.deadline(), Some(1_000));
    scene.waits.settle(&scene.board, 999);
    assert!(answer(&mut wait).is_none());
    scene.waits.settle(&scene.board, 1_000);
    let late = answer(&mut wait);
    let Some(Err(WaitEnd::Late(Late::Applying { applied, position, unready, .. }))) = late else {
        panic!("{late:?}")
    };
    let lagging = Unready::Lagging { partition: Partition(0), lag_ms: 999 };
    assert_eq!((applied, position, unready), (Position(0), Position(5), lagging));
    let late = answer(&mut group);
    assert!(matches!(late, Some(Err(WaitEnd::Late(Late::Committing { silence: None, .. })))), "{late:?}");
    assert!(scene.is_empty());
}

#[test]
fn a_group_is_asked_by_one_with_pauses_that_grow() {
    let scene = Scene::new(1);
    let _waits: Vec<_> = (0..100).map(|_| scene.wait(&[(0, 5)], Some("group"))).collect();
    let (mut now, mut pauses) = (1, Vec::new());
    for _ in 0..6 {
        let group = scene.waits.take_group(now).expect("it is due");
        assert!(scene.waits.take_group(now + 10_000).is_none(), "it is being asked");
        scene.waits.group_answered(&group, now, Ok(commits(&[Some(4)])));
        assert!(scene.waits.take_group(now).is_none(), "it rests");
        let due = scene.waits.group_due().expect("somebody waits");
        pauses.push(due - now);
        now = due;
    }
    assert_eq!(pauses, [GROUP_PAUSE_MS_MIN, 100, 200, 400, GROUP_PAUSE_MS_MAX, GROUP_PAUSE_MS_MAX]);
    // Whoever comes now does not wait for the rest of a long pause, nor makes a storm of questions.
    let group = scene.waits.take_group(now).expect("it is due");
    scene.waits.group_answered(&group, now, Ok(commits(&[Some(4)])));
    let wanted =
        Wanted { places: Vec::new(), group: Some("group".into()), now: now + 10, deadline: now + 10_000 };
    let _wait = PositionWaits::enter(&scene.waits, &scene.board, wanted).expect("there is room");
    assert_eq!(scene.waits.group_due(), Some(now + GROUP_PAUSE_MS_MIN));
}

/// What a question says that began before a call may be over: the group may have committed for the first time in between.
#[test]
fn a_question_that_began_before_a_call_refuses_it_nothing() {
    let scene = Scene::new(1);
    let mut early = scene.wait(&[(0, 0)], Some("group"));
    let group = scene.waits.take_group(1).expect("it is due");
    let mut late = scene.wait(&[(0, 0)], Some("group"));
    scene.waits.group_answered(&group, 1, Ok(commits(&[None])));
    assert!(matches!(answer(&mut early), Some(Err(WaitEnd::NoCommits { .. }))));
    assert_eq!(answer(&mut late), None);
    let group = scene.waits.take_group(10_000).expect("it is due");
    scene.waits.group_answered(&group, 1, Ok(commits(&[Some(0)])));
    assert_eq!(answer(&mut late), Some(Ok(())));
}

#[test]
fn silent_groups_leave_an_asker_to_the_others() {
    let scene = Scene::new(1);
    let mut waits: Vec<_> =
        ["dead", "dying", "well"].iter().map(|name| scene.wait(&[(0, 0)], Some(name))).collect();
    for name in ["dead", "dying"] {
        let group: Arc<str> = name.into();
        assert_eq!(scene.waits.take_group(1), Some(group));
    }
    for name in ["dead", "dying"] {
        let silence = LogError::Unavailable { cause: "no coordinator".into() };
        scene.waits.group_answered(&name.into(), 1, Err(silence));
    }
    let now = 1 + RETRY_MS;
    let well: Arc<str> = "well".into();
    assert_eq!(scene.waits.take_group(now), Some(Arc::clone(&well)), "those that answer come first");
    scene.waits.group_answered(&well, now, Ok(commits(&[Some(0)])));
    assert_eq!(answer(&mut waits[2]), Some(Ok(())));
    assert!(scene.waits.take_group(now).is_some());
    assert_eq!(scene.waits.take_group(now), None, "one of them at a time");
    let late = answer(&mut waits[0]);
    assert_eq!(late, None, "it may answer yet");
    scene.waits.settle(&scene.board, 1_000);
    let late = answer(&mut waits[0]);
    assert!(matches!(late, Some(Err(WaitEnd::Late(Late::Committing { silence: Some(_), .. })))), "{late:?}");
}

/// Threads that apply, and threads that wait for what they apply: none is overlooked.
#[test]
fn nobody_is_overlooked_by_owners_that_apply_meanwhile() {
    let scene = Scene::new(2);
    const COUNT: u64 = 3_000;
    std::thread::scope(|scope| {
        for partition in 0..2 {
            let scene = &scene;
            scope.spawn(move || (1..=COUNT).for_each(|applied| scene.apply(partition, applied)));
        }
        for position in 1..=COUNT {
            let waiting = scene.wait(&[(0, position), (1, COUNT + 1 - position)], None);
            let mut waiting = waiting;
            let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while waiting.answer.try_recv().is_err() {
                assert!(std::time::Instant::now() < until, "position {position}: overlooked");
                std::thread::yield_now();
            }
        }
    });
    assert!(scene.is_empty());
}
