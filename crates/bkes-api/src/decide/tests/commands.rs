//! Commands, and decisions that append nothing.

use super::*;

fn command() -> AppendId {
    AppendId::new("command").expect("it has bytes")
}

fn options() -> DecideOptions {
    DecideOptions { command: Some(command()), ..DecideOptions::default() }
}

/// The event, as the first one of the command's append.
fn of_command(event: Event) -> Event {
    Event { origin: Origin::Bkes { batch: None, append_id: Some(command()) }, ..event }
}

/// An account had 5. A command took 3 of them at one instance, and was delivered again at another one, which had read the first event only.
/// Or at one that had read neither: the account has nothing. It was refused though it was carried out.
#[tokio::test]
async fn a_command_that_was_carried_out_is_not_refused_by_an_instance_that_lags() {
    let taken = || of_command(event(1, -3));
    let present = shown(vec![event(0, 5), taken()]);
    let window = page(vec![taken(), event(0, 5)], 2);
    let store = Scripted::new([shown(vec![]), present, window], []);
    let change =
        accounts(&store).decide_as(&key(), &options(), withdraw(3)).await.expect("it was carried out");
    assert_eq!(change.outcome, Outcome::EarlierCommand { first: Order(1) });
    assert_eq!((change.state.balance, change.next), (2, Order(2)));
    let asked = [(None, Freshness::Local), (None, Freshness::Latest), (None, Freshness::Latest)];
    assert_eq!(store.asked(), asked);
}

#[tokio::test]
async fn a_decision_that_appends_nothing_rests_on_the_latest() {
    // Enough came in elsewhere.
    let store =
        Scripted::new([shown(vec![event(0, 1)]), shown(vec![event(0, 1), event(1, 5)])], [Ok(stored(2, 2))]);
    let change = accounts(&store).decide(&key(), withdraw(3)).await.expect("there is enough");
    assert_eq!((change.state.balance, change.next), (3, Order(3)));
    // What is so on the latest too is refused, and read no more.
    for freshness in [Freshness::Local, at_least(100)] {
        let options = DecideOptions { freshness, ..DecideOptions::default() };
        let store = Scripted::new([shown(vec![event(0, 1)]), shown(vec![event(0, 1)])], []);
        let refused = accounts(&store).decide_as(&key(), &options, withdraw(3)).await;
        assert!(matches!(refused, Err(DecideError::Refused(NotEnough))));
        assert_eq!(store.asked()[1], (Some(0), Freshness::Latest));
        assert!(store.is_used_up());
    }
    let store = Scripted::new([shown(vec![event(0, 1)])], []);
    let latest = DecideOptions { freshness: Freshness::Latest, ..DecideOptions::default() };
    let nothing = accounts(&store).decide_as(&key(), &latest, |_| Ok::<_, NotEnough>(vec![])).await;
    assert_eq!(nothing.expect("it is decided").outcome, Outcome::Nothing);
}

/// What a conflict brought may have been folded onto a history that the log has lost.
#[tokio::test]
async fn a_refusal_after_a_conflict_rests_on_a_read() {
    let options = DecideOptions { freshness: Freshness::Latest, ..DecideOptions::default() };
    let conflict = conflict(1, vec![event(1, -5)]);
    let store = Scripted::new(
        [
            shown(vec![event(0, 5)]),
            shown(vec![other_event(0, 8), other_event(1, 0)]),
            shown(vec![other_event(0, 8), event(1, -5)]),
        ],
        [Err(conflict), Ok(stored(2, 2))],
    );
    let change = accounts(&store).decide_as(&key(), &options, withdraw(3)).await.expect("there is enough");
    assert_eq!(change.state.values, [8, -5, -3]);
}

#[tokio::test]
async fn a_conflict_that_brings_nothing_is_read_as_fresh_as_was_asked_for() {
    let options = DecideOptions { freshness: Freshness::Latest, ..DecideOptions::default() };
    let (expected, missing) = (Expected::At(Order(1)), Vec::new());
    let conflict = Conflict { expected, current: Order(2), missing, more: true };
    let store = Scripted::new(
        [shown(vec![event(0, 5)]), shown(vec![event(0, 5), event(1, 5)])],
        [Err(AppendFailure::Conflict(Box::new(conflict))), Ok(stored(2, 2))],
    );
    accounts(&store).decide_as(&key(), &options, withdraw(3)).await.expect("there is enough");
    assert_eq!(store.asked()[1], (Some(0), Freshness::Latest));
}

/// Two deliveries of a command at once: the other one decided something else, and its append is stored at our order.
#[tokio::test]
async fn a_command_whose_other_delivery_decided_otherwise_was_carried_out() {
    let reused = AppendFailure::IdReused { id: command(), first: Order(1) };
    let used = AppendFailure::IdUsed {
        id: command(),
        first: Order(1),
        partition: Partition(0),
        offset: Offset(101),
    };
    for failure in [reused, used] {
        let present = shown(vec![event(0, 5), of_command(event(1, -2))]);
        let store = Scripted::new([shown(vec![event(0, 5)]), present], [Err(failure)]);
        let change = accounts(&store).decide_as(&key(), &options(), withdraw(3)).await.expect("carried out");
        assert_eq!(change.outcome, Outcome::EarlierCommand { first: Order(1) });
        assert_eq!(change.state.values, [5, -2], "its events are part of the state");
    }
}

#[tokio::test]
async fn a_command_of_more_events_than_the_window_has_is_found_by_its_last_ones() {
    const COUNT: u32 = 300;
    let member = |i: u32| {
        let append_id = (i == 1).then(command);
        let origin = Origin::Bkes { batch: Some(BatchPlace { i, count: COUNT }), append_id };
        Event { origin, ..event(u64::from(i), -1) }
    };
    let window: Vec<Event> = (0..128).map(|back| member(COUNT - back)).collect();
    let all = || vec![event(0, 5)].into_iter().chain((1..=COUNT).map(member)).collect::<Vec<_>>();
    let latest = DecideOptions { freshness: Freshness::Latest, ..options() };
    let store = Scripted::new([shown(all()), page(window, 301), page(vec![member(1)], 301)], []);
    let change = accounts(&store).decide_as(&key(), &latest, withdraw(3)).await.expect("it was carried out");
    assert_eq!(change.outcome, Outcome::EarlierCommand { first: Order(1) });
    assert_eq!(lock(&store.asked)[2].from, Some(Order(1)));
    // Another append's batch at the lower end of the window is not the command.
    let others = |i: u32| Event {
        origin: Origin::Bkes { batch: Some(BatchPlace { i, count: COUNT }), append_id: None },
        ..member(i)
    };
    let window: Vec<Event> = (0..128).map(|back| others(COUNT - back)).collect();
    let store = Scripted::new([shown(all()), page(window, 301), page(vec![others(1)], 301)], []);
    let refused = accounts(&store).decide_as(&key(), &latest, withdraw(3)).await;
    assert!(matches!(refused, Err(DecideError::Refused(NotEnough))));
}
