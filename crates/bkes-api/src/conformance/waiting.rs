//! Waiting for positions, and for consumer groups.

use super::{Suite, within, wrong_positions};
use crate::append::Append;
use crate::failure::Reason;
use crate::positions::Positions;
use crate::wait::WaitFor;
use bkes_core::Position;
use std::time::Duration;

pub async fn check(suite: &Suite) {
    what_is_applied_is_not_waited_for(suite).await;
    positions_that_are_not_there_are_refused(suite).await;
    groups_are_waited_for(suite).await;
}

fn wait(positions: Positions, group: Option<&str>, timeout: Duration) -> WaitFor {
    WaitFor { positions, group: group.map(Into::into), timeout }
}

async fn what_is_applied_is_not_waited_for(suite: &Suite) {
    let stored = suite.stored(Append::start(suite.key("wait")).event("v")).await;
    for store in [suite.store(), suite.other()] {
        let waited = within(store.wait_for(wait(stored.position(), None, Duration::from_secs(10)))).await;
        assert_eq!(waited, Ok(()));
    }
    let nothing = within(suite.store().wait_for(wait(Positions::default(), None, Duration::ZERO))).await;
    assert_eq!(nothing, Ok(()), "nothing is waited for");
}

async fn positions_that_are_not_there_are_refused(suite: &Suite) {
    let stored = suite.stored(Append::start(suite.key("wait-refused")).event("v")).await;
    for (name, positions, reason) in wrong_positions(&stored) {
        let waited = within(suite.store().wait_for(wait(positions, None, Duration::from_secs(10)))).await;
        assert_eq!(waited.map_err(|failure| failure.reason), Err(reason), "{name}");
    }
}

async fn groups_are_waited_for(suite: &Suite) {
    let Some(groups) = suite.subject.groups.clone() else { return };
    let stored = suite.stored(Append::start(suite.key("wait-group")).event("v")).await;
    let group = format!("group-{}", suite.run);
    let waited = |timeout| suite.store().wait_for(wait(stored.position(), Some(&group), timeout));
    let none = within(waited(Duration::from_secs(10))).await;
    assert_eq!(none.map_err(|failure| failure.reason), Err(Reason::NoSuchGroup));
    groups.commit(&group, stored.partition, Position(stored.last_offset.0)).await;
    let before = within(waited(Duration::from_millis(300))).await;
    assert_eq!(before.map_err(|failure| failure.reason), Err(Reason::DeadlineExceeded));
    let (waited, ()) = tokio::join!(within(waited(Duration::from_secs(30))), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        groups.commit(&group, stored.partition, stored.last_offset.next()).await;
    });
    assert_eq!(waited, Ok(()));
}
