//! Deciding on top of a store.

use super::{Suite, within};
use crate::aggregate::{Aggregate, Aggregates, Codec};
use crate::append::{Append, draw_append_id};
use crate::decide::{BoxError, DecideError, DecideOptions, Outcome};
use crate::event::Event;
use crate::positions::Freshness;
use bkes_core::Order;
use bkes_core::append::EventContent;
use std::num::NonZeroUsize;
use std::sync::Arc;

pub async fn check(suite: &Suite) {
    many_who_decide_at_once_lose_nothing(suite).await;
    what_is_refused_appends_nothing(suite).await;
    a_command_is_carried_out_once(suite).await;
    a_cached_state_is_never_stale(suite).await;
}

/// What was paid in and out.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Account {
    balance: i64,
    events: u64,
}

impl Aggregate for Account {
    type Event = i64;
    type Codec = Decimal;

    fn apply(&mut self, event: &i64) {
        self.balance += event;
        self.events += 1;
    }
}

struct Decimal;

impl Codec<i64> for Decimal {
    fn encode(event: &i64) -> Result<EventContent, BoxError> {
        Ok(event.to_string().into())
    }

    fn decode(event: &Event) -> Result<i64, BoxError> {
        Ok(std::str::from_utf8(event.value_bytes())?.parse()?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not enough")]
struct NotEnough;

fn accounts(suite: &Suite) -> Aggregates<Account> {
    Aggregates::new(Arc::clone(&suite.subject.store))
}

fn withdraw(amount: i64) -> impl Fn(&Account) -> Result<Vec<i64>, NotEnough> {
    move |account| if account.balance >= amount { Ok(vec![-amount]) } else { Err(NotEnough) }
}

async fn many_who_decide_at_once_lose_nothing(suite: &Suite) {
    const DECIDERS: i64 = 16;
    let key = suite.key("decide");
    let options = DecideOptions { rounds_max: 1_000, ..DecideOptions::default() };
    let opened = within(accounts(suite).decide(&key, |_| Ok::<_, NotEnough>(vec![DECIDERS * 5]))).await;
    assert_eq!(opened.expect("it is opened").state.balance, DECIDERS * 5);
    let mut deciders = tokio::task::JoinSet::new();
    for decider in 0..DECIDERS {
        let mut accounts = accounts(suite).with_options(options.clone());
        if decider % 2 == 0 {
            accounts = accounts.with_cache(NonZeroUsize::MIN);
        }
        let key = key.clone();
        deciders.spawn(async move {
            let mut withdrawn = 0;
            for _ in 0..10 {
                match accounts.decide(&key, withdraw(1)).await {
                    Ok(_) => withdrawn += 1,
                    Err(DecideError::Refused(NotEnough)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            withdrawn
        });
    }
    let withdrawn: i64 = within(deciders.join_all()).await.into_iter().sum();
    assert_eq!(withdrawn, DECIDERS * 5, "all of it, and no more");
    let known = within(accounts(suite).load(&key, Freshness::Latest)).await.expect("it is read");
    assert_eq!((known.state().balance, known.next()), (0, Order(1 + DECIDERS as u64 * 5)));
}

async fn what_is_refused_appends_nothing(suite: &Suite) {
    let key = suite.key("decide-refused");
    let refused = within(accounts(suite).decide(&key, withdraw(1))).await;
    assert!(matches!(refused, Err(DecideError::Refused(NotEnough))));
    let nothing = within(accounts(suite).decide(&key, |_| Ok::<_, NotEnough>(Vec::new()))).await;
    assert_eq!(nothing.expect("it is decided").outcome, Outcome::Nothing);
    assert_eq!(within(suite.store().head(key, Freshness::Latest)).await, Ok(None));
}

/// It is delivered again at another instance, which may not have read what the first one did.
async fn a_command_is_carried_out_once(suite: &Suite) {
    let key = suite.key("decide-command");
    let accounts = accounts(suite);
    let elsewhere =
        Aggregates::<Account>::new(Arc::clone(suite.subject.other.as_ref().unwrap_or(&suite.subject.store)));
    within(accounts.decide(&key, |_| Ok::<_, NotEnough>(vec![5]))).await.expect("it is opened");
    let command = DecideOptions { command: Some(draw_append_id()), ..DecideOptions::default() };
    let first = within(accounts.decide_as(&key, &command, withdraw(3))).await.expect("it is decided");
    assert!(matches!(&first.outcome, Outcome::Appended(appended) if !appended.by_earlier_try), "{first:?}");
    // There are 2 left: the state refuses it, and yet it was carried out.
    let again = within(elsewhere.decide_as(&key, &command, withdraw(3))).await.expect("it is decided");
    assert_eq!((carried_out_at(&again.outcome), again.state.balance), (Some(Order(1)), 2));
    within(accounts.decide(&key, |_| Ok::<_, NotEnough>(vec![5]))).await.expect("it is decided");
    // There is enough again: the id says that it was carried out.
    for accounts in [&elsewhere, &accounts] {
        let again = within(accounts.decide_as(&key, &command, withdraw(3))).await.expect("it is decided");
        assert_eq!(carried_out_at(&again.outcome), Some(Order(1)), "{again:?}");
    }
    let known = within(elsewhere.load(&key, Freshness::Latest)).await.expect("it is read");
    assert_eq!((known.state().balance, known.next()), (7, Order(3)));
}

/// Where an earlier delivery of a command was stored. An instance that has not read it yet decides as the first one did, and has that
/// delivery's answer.
fn carried_out_at(outcome: &Outcome) -> Option<Order> {
    match outcome {
        Outcome::EarlierCommand { first } => Some(*first),
        Outcome::Appended(appended) => appended.by_earlier_try.then_some(appended.first),
        Outcome::Nothing => None,
    }
}

async fn a_cached_state_is_never_stale(suite: &Suite) {
    let key = suite.key("decide-cached");
    let cached = accounts(suite).with_cache(NonZeroUsize::new(8).expect("not 0"));
    for round in 0..20 {
        let known = within(cached.load(&key, Freshness::Local)).await.expect("it is read");
        assert_eq!((known.state().events, known.next()), (round, Order(round)));
        suite.stored(Append::at(key.clone(), Order(round)).event("1")).await;
    }
    let change = within(cached.decide(&key, withdraw(20))).await.expect("there is enough");
    assert_eq!((change.state.balance, change.next), (0, Order(21)));
}
