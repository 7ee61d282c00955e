//! Who tries again, and how often.

use super::*;
use std::time::Duration;

fn unavailable() -> Result<Appended, AppendFailure> {
    Err(AppendFailure::NotStored(failed(Reason::Overloaded)))
}

async fn deposit(accounts: &Aggregates<Account>, options: &DecideOptions) -> bool {
    accounts.decide_as(&key(), options, |_| Ok::<_, NotEnough>(vec![1])).await.is_ok()
}

/// Each decision had a budget of its own, which it could not use up.
#[tokio::test(start_paused = true)]
async fn decisions_share_a_budget_of_retries() {
    const DECISIONS: usize = 300;
    let reads = (0..DECISIONS).map(|_| shown(vec![]));
    let store = Scripted::new(reads, (0..10_000).map(|_| unavailable()));
    let accounts = accounts(&store);
    for _ in 0..DECISIONS {
        // Each with options of its own, as a command has.
        assert!(!deposit(&accounts, &options()).await);
    }
    let retries = lock(&store.sent).len() - DECISIONS;
    assert_eq!(retries, 100, "a full budget");
}

fn options() -> DecideOptions {
    DecideOptions { command: Some(draw_append_id()), ..DecideOptions::default() }
}

/// Over a client eight tries of each layer made 64, and the client's own time for appends did not count.
#[tokio::test]
async fn a_store_that_tries_again_by_itself_is_asked_once_and_takes_its_own_time() {
    let scripted = |tries_again| Scripted {
        reads: Mutex::new(VecDeque::from([shown(vec![])])),
        appends: Mutex::new(VecDeque::from([unavailable(), Ok(stored(0, 0))])),
        tries_again,
        ..Scripted::default()
    };
    for (tries_again, is_stored, timeout) in
        [(true, false, None), (false, true, Some(Duration::from_secs(30)))]
    {
        let store = Arc::new(scripted(tries_again));
        assert_eq!(deposit(&accounts(&store), &options()).await, is_stored);
        assert_eq!(lock(&store.sent)[0].timeout, timeout);
    }
}
