//! A bank account: never below zero, however many take money at once, and on whichever instance.
//!
//! ```text
//! cargo run --release --bin bkes-server
//! cargo run --example bank -- open ada 1000
//! cargo run --example bank -- withdraw ada 30
//! cargo run --example bank -- balance ada
//! cargo run --example bank -- drain ada          # a coin at a time, until there is none
//! ```
//!
//! `drain` says how much it took. Run it by many processes at once, against several instances, and kill some of these: what all of them
//! took is what was in the account. A withdrawal carries an id, so that one whose answer was lost is not made twice.
//!
//! `BKES_SERVER` names other servers than `http://127.0.0.1:50030`: one, or several instances of a topic with commas between them.

use anyhow::{Context, bail};
use bkes_api::{
    Aggregate, Aggregates, BoxError, Codec, DecideError, DecideOptions, Event, EventContent, Freshness, Key,
    RetryPolicy,
};
use bkes_client::{Client, ClientOptions};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// An account: events are amounts, paid in or out.
#[derive(Clone, Default)]
struct Account {
    balance: i64,
    is_open: bool,
}

impl Aggregate for Account {
    type Event = i64;
    type Codec = Decimal;

    fn apply(&mut self, amount: &i64) {
        self.is_open = true;
        self.balance += amount;
    }
}

/// An amount as decimal digits, so that any Kafka consumer can read it.
struct Decimal;

impl Codec<i64> for Decimal {
    fn encode(amount: &i64) -> Result<EventContent, BoxError> {
        Ok(amount.to_string().into())
    }

    fn decode(event: &Event) -> Result<i64, BoxError> {
        Ok(std::str::from_utf8(event.value_bytes())?.parse()?)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("there is no such account")]
    NoAccount,
    #[error("the account is open already")]
    IsOpen,
    #[error("there are only {balance} in it")]
    NotEnough { balance: i64 },
}

fn open(amount: i64) -> impl Fn(&Account) -> Result<Vec<i64>, Refusal> {
    move |account| if account.is_open { Err(Refusal::IsOpen) } else { Ok(vec![amount]) }
}

fn withdraw(amount: i64) -> impl Fn(&Account) -> Result<Vec<i64>, Refusal> {
    move |account| match account {
        Account { is_open: false, .. } => Err(Refusal::NoAccount),
        Account { balance, .. } if *balance < amount => Err(Refusal::NotEnough { balance: *balance }),
        _ => Ok(vec![-amount]),
    }
}

type Accounts = Aggregates<Account>;

fn accounts() -> anyhow::Result<Accounts> {
    let servers = std::env::var("BKES_SERVER").unwrap_or_else(|_| "http://127.0.0.1:50030".into());
    let servers: Vec<&str> = servers.split(',').collect();
    // An instance that died is left at once for the next one; with one server it may take a minute to be back.
    let retry = RetryPolicy { tries_max: 120, ..RetryPolicy::default() };
    let options = ClientOptions {
        append_timeout: Duration::from_secs(60),
        read_timeout: Duration::from_secs(60),
        retry,
        ..ClientOptions::default()
    };
    let store = Client::connect_to(&servers, options)?;
    // Many take from one account: they decide again as often as it takes.
    let options = DecideOptions { rounds_max: 100_000, ..DecideOptions::default() };
    Ok(Accounts::new(Arc::new(store)).with_options(options).with_cache(NonZeroUsize::MIN))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let accounts = accounts()?;
    let key = |name: &str| Key::new(format!("account-{name}")).context("an account has a name");
    let amount = |text: &str| text.parse::<i64>().with_context(|| format!("{text:?} is no amount"));
    match arguments[..] {
        ["open", name, text] => {
            let change = accounts.decide(&key(name)?, open(amount(text)?)).await?;
            println!("{} in account {name}", change.state.balance);
        }
        ["withdraw", name, text] => {
            let change = accounts.decide(&key(name)?, withdraw(amount(text)?)).await?;
            println!("{} left in account {name}", change.state.balance);
        }
        ["balance", name] => {
            let known = accounts.load(&key(name)?, Freshness::Latest).await?;
            println!("{}", known.state().balance);
        }
        ["drain", name] => println!("{}", drain(&accounts, &key(name)?).await?),
        _ => bail!("usage: bank open NAME AMOUNT | withdraw NAME AMOUNT | balance NAME | drain NAME"),
    }
    Ok(())
}

/// Takes a coin at a time until there is none, and says how many it took.
async fn drain(accounts: &Accounts, key: &Key) -> anyhow::Result<u64> {
    let mut taken = 0;
    loop {
        match accounts.decide(key, withdraw(1)).await {
            Ok(_) => taken += 1,
            Err(DecideError::Refused(Refusal::NotEnough { .. })) => return Ok(taken),
            Err(error) => return Err(error).context(format!("after {taken} were taken")),
        }
    }
}
