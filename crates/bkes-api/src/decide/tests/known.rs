//! What is known is gone on from only where it is part of the aggregate that is there.

use super::*;

async fn load(accounts: &Aggregates<Account>, freshness: Freshness) -> (Vec<i64>, u64) {
    let known = accounts.load(&key(), freshness).await.expect("it is read");
    (known.state().values.clone(), known.next().0)
}

/// A state that was read at one instance was taken for another aggregate's at an instance that lagged behind it. All was read again
/// there, and the older state took the place of the newer one.
#[tokio::test]
async fn an_instance_that_lags_behind_what_is_known_is_waited_for() {
    let store =
        Scripted::new([shown(vec![event(0, 5), event(1, 6)]), shown(vec![event(1, 6), event(2, 7)])], []);
    let accounts = cached(&store);
    load(&accounts, Freshness::Local).await;
    assert_eq!(load(&accounts, Freshness::Local).await, (vec![5, 6, 7], 3));
    assert_eq!(store.asked(), [(None, Freshness::Local), (Some(1), at_least(101))]);
}

#[tokio::test]
async fn an_instance_that_does_not_catch_up_in_time_is_no_reason_to_forget() {
    let late = Err(failed(Reason::Lagging));
    let store = Scripted::new([shown(vec![event(0, 5), event(1, 6)]), late, shown(vec![event(1, 6)])], []);
    let accounts = cached(&store);
    load(&accounts, Freshness::Local).await;
    let failure = accounts.load(&key(), Freshness::Local).await.expect_err("it lags");
    assert!(matches!(failure, DecideError::Read(of) if of.reason == Reason::Lagging));
    assert_eq!(load(&accounts, Freshness::Local).await, (vec![5, 6], 2));
}

#[tokio::test]
async fn positions_that_are_asked_for_are_reached_beside_what_is_known() {
    let store = Scripted::new([shown(vec![event(0, 5)]), shown(vec![event(0, 5), event(1, 6)])], []);
    let accounts = cached(&store);
    load(&accounts, Freshness::Local).await;
    load(&accounts, at_least(101)).await;
    assert_eq!(store.asked()[1], (Some(0), at_least(101)));
}

#[tokio::test]
async fn only_a_log_that_ends_below_or_another_event_means_reading_from_the_beginning() {
    let another = shown(vec![other_event(1, 8)]);
    let ends_below = Err(failed(Reason::OutOfRange));
    let is_gone = page(vec![], 1);
    let lost_its_head = shown(vec![event(3, 9)]);
    for second in [another, ends_below, is_gone, lost_its_head] {
        let first = shown(vec![event(0, 5), event(1, 6)]);
        let store = Scripted::new([first, second, shown(vec![event(0, 5), other_event(1, 8)])], []);
        let accounts = cached(&store);
        load(&accounts, Freshness::Local).await;
        assert_eq!(load(&accounts, Freshness::Local).await, (vec![5, 8], 2));
        assert_eq!(store.asked()[2], (None, Freshness::Local));
        assert!(store.is_used_up());
    }
}

/// Two instances of a topic whose log loses its end while a conflict's events are folded onto what was read before. The next read began
/// at the last of the conflict's events, which was there: what the state began with never was compared again.
#[tokio::test]
async fn a_conflicts_events_on_a_lost_history_are_not_kept() {
    let read_before = shown(vec![event(0, 5), event(1, 6)]);
    let present = || vec![event(0, 5), other_event(1, 8), other_event(2, 9)];
    let stored = [Err(conflict(2, vec![other_event(2, 9)])), Ok(stored(3, 3))];
    let after = shown(present()[1..].to_vec());
    let store = Scripted::new([read_before, after, shown(present())], stored);
    let accounts = cached(&store);
    accounts.decide(&key(), |_| Ok::<_, NotEnough>(vec![1])).await.expect("it is stored");
    assert_eq!(load(&accounts, Freshness::Local).await, (vec![5, 8, 9], 3));
    assert_eq!(store.asked()[1].0, Some(1), "the last event that came by a read is compared");
}

/// As before, and it is the conflict's events whose history is lost: each conflict's last event is compared, not the last one alone.
#[tokio::test]
async fn the_events_of_each_conflict_are_compared() {
    let conflicts = [Err(conflict(1, vec![event(1, 6)])), Err(conflict(2, vec![other_event(2, 9)]))];
    let appends = conflicts.into_iter().chain([Ok(stored(3, 3))]);
    let present = || vec![event(0, 5), other_event(1, 8), other_event(2, 9), other_event(3, 1)];
    let store = Scripted::new([shown(vec![event(0, 5)]), shown(present()), shown(present())], appends);
    let accounts = cached(&store);
    accounts.decide(&key(), |_| Ok::<_, NotEnough>(vec![1])).await.expect("it is stored");
    assert_eq!(load(&accounts, Freshness::Local).await, (vec![5, 8, 9, 1], 4));
    assert!(store.is_used_up());
}

#[tokio::test]
async fn what_a_conflict_brought_is_not_folded_twice() {
    let appends = [Err(conflict(1, vec![event(1, 6), event(2, 7)])), Ok(stored(3, 3))];
    let store = Scripted::new(
        [shown(vec![event(0, 5)]), shown((0..4).map(|order| event(order, 5 + order as i64)).collect())],
        appends,
    );
    let accounts = cached(&store);
    accounts.decide(&key(), |_| Ok::<_, NotEnough>(vec![8])).await.expect("it is stored");
    assert_eq!(load(&accounts, Freshness::Local).await, (vec![5, 6, 7, 8], 4));
    assert_eq!(
        store.asked()[1],
        (Some(0), {
            // All that is known is waited for.
            at_least(102)
        })
    );
}

#[tokio::test]
async fn conflicts_are_folded_only_so_often_before_there_is_a_read() {
    const ROUNDS: u64 = 40;
    let conflicts = (0..ROUNDS).map(|order| Err(conflict(order, vec![event(order, 1)])));
    let all = |next: u64| (0..next).map(|order| event(order, 1)).collect::<Vec<_>>();
    let reads = [shown(vec![])].into_iter().chain([17, 33].map(|next| shown(all(next))));
    let store = Scripted::new(reads, conflicts.chain([Ok(stored(ROUNDS, ROUNDS))]));
    let options = DecideOptions { rounds_max: 100, ..DecideOptions::default() };
    let accounts = accounts(&store).with_options(options);
    let change = accounts.decide(&key(), |_| Ok::<_, NotEnough>(vec![1])).await.expect("it is stored");
    assert_eq!((change.state.balance, change.next), (ROUNDS as i64 + 1, Order(ROUNDS + 1)));
    assert!(store.is_used_up());
}

#[tokio::test]
async fn a_snapshot_is_gone_on_from_with_what_comes_after_it() {
    let snapshot = || Known::snapshot(Account { balance: 11, values: vec![5, 6] }, Order(2));
    let on = async |reads: Vec<Shown>| {
        let store = Scripted::new(reads, []);
        let known =
            catch_up::<_, NotEnough>(&*store, &key(), snapshot(), Freshness::Local).await.expect("read");
        assert!(store.is_used_up());
        assert_eq!(store.asked()[0], (Some(2), Freshness::Latest));
        (known.state().values.clone(), known.next().0)
    };
    assert_eq!(on(vec![shown(vec![event(2, 7)])]).await, (vec![5, 6, 7], 3));
    assert_eq!(on(vec![page(vec![], 2)]).await, (vec![5, 6], 2));
    // It is of more than there is, or what comes after it is lost.
    assert_eq!(on(vec![page(vec![], 1), shown(vec![event(0, 4)])]).await, (vec![4], 1));
    assert_eq!(on(vec![shown(vec![event(3, 8)]), shown(vec![event(3, 8)])]).await, (vec![8], 4));
}

#[tokio::test]
async fn what_remains_of_a_cut_aggregate_is_read_from_where_it_begins() {
    let store = Scripted::new([shown(vec![event(7, 1), event(8, 2)]), shown(vec![event(8, 2)])], []);
    let accounts = cached(&store);
    assert_eq!(load(&accounts, Freshness::Local).await, (vec![1, 2], 9));
    assert_eq!(load(&accounts, Freshness::Local).await, (vec![1, 2], 9));
}

#[tokio::test]
async fn events_that_do_not_follow_each_other_and_reads_without_an_end_are_faults() {
    let no_end = Ok(vec![Page { events: vec![event(0, 5)], end: None }]);
    for reads in [
        shown(vec![event(0, 5), event(2, 7)]),
        shown(vec![event(1, 5), event(1, 7)]),
        page(vec![event(u64::MAX, 5)], 0),
        no_end,
    ] {
        let failure = accounts(&Scripted::new([reads], [])).load(&key(), Freshness::Local).await;
        assert!(matches!(failure, Err(DecideError::Read(of)) if of.reason == Reason::Internal));
    }
    let jumps = conflict(1, vec![event(1, 6), event(3, 7)]);
    let store = Scripted::new([shown(vec![event(0, 5)])], [Err(jumps)]);
    let failure = accounts(&store).decide(&key(), withdraw(1)).await;
    assert!(matches!(failure, Err(DecideError::Read(of)) if of.reason == Reason::Internal));
}
