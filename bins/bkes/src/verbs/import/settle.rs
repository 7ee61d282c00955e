//! One chunk of an import: appended, or found to be there already, or different.
//!
//! An append that names its order is stored once at most, however often it is tried. So one whose outcome is unknown is tried again: if it
//! was stored, the next try is a conflict, and what is stored is compared.

use super::chunk::Chunk;
use crate::byte_argument::spelled;
use crate::exit::{Code, Ended, described};
use crate::limits::TRIES_MAX;
use crate::pauses::pause;
use crate::verbs::read::cut_off;
use bkes_api::{
    Append, AppendFailure, ErrorClass, Event, EventContent, EventStore, Failure, Freshness, Identity, Order,
    Origin, Read,
};
use bkes_core::marker::is_reserved_name;
use std::time::Duration;
use tokio_stream::StreamExt;

/// What became of a chunk's events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// Stored now.
    pub appended: u64,
    /// Found there, and equal.
    pub skipped: u64,
}

/// Sees to it that the store has the events of a chunk at their orders.
pub async fn settle(store: &dyn EventStore, chunk: Chunk) -> Result<Settled, Ended> {
    let settled = Settled::default();
    let mut settling = Settling { store, chunk, there: 0, settled, is_retry: false, is_unknown: false };
    let mut tries = 0;
    loop {
        tries += 1;
        match settling.once().await {
            Ok(Step::Whole) => return Ok(settling.settled),
            Ok(Step::Part) => {}
            Err(Stop::ForNow { ended, .. }) if tries >= TRIES_MAX => return Err(ended),
            Err(Stop::ForNow { rest, .. }) => tokio::time::sleep(pause(tries, rest)).await,
            Err(Stop::ForGood(ended)) => return Err(ended),
        }
    }
}

struct Settling<'a> {
    store: &'a dyn EventStore,
    chunk: Chunk,
    /// So many of its events are known to be there.
    there: usize,
    settled: Settled,
    is_retry: bool,
    /// A try of ours may have stored what is found.
    is_unknown: bool,
}

enum Step {
    /// All events are there.
    Whole,
    /// Some of them are there that were not known to be.
    Part,
}

enum Stop {
    /// A later try may go better.
    ForNow { ended: Ended, rest: Option<Duration> },
    /// The import cannot go on.
    ForGood(Ended),
}

impl Settling<'_> {
    /// The order at which the rest begins.
    fn at(&self) -> Order {
        // A log has fewer than 2^63 events.
        Order(self.chunk.first.0.saturating_add(self.there as u64))
    }

    async fn once(&mut self) -> Result<Step, Stop> {
        let rest = &self.chunk.events[self.there..];
        let count = rest.len() as u64;
        let mut append = Append::at(self.chunk.key.clone(), self.at()).events(rest.iter().cloned());
        // Of an append that is there in part only the rest is another append.
        let id = self.chunk.id.clone().filter(|_| self.there == 0);
        append.identity = id.map(|id| Identity { id, is_first: !self.is_retry, seen: None });
        let failure = match self.store.append(append).await {
            Ok(appended) => {
                self.count(count, appended.by_earlier_try);
                return Ok(Step::Whole);
            }
            Err(failure) => failure,
        };
        self.is_retry = true;
        match failure.class() {
            ErrorClass::Unknown => {
                self.is_unknown = true;
                Err(self.for_now(&failure))
            }
            ErrorClass::Unavailable => Err(self.for_now(&failure)),
            ErrorClass::Rejected => match &failure {
                AppendFailure::Conflict(_)
                | AppendFailure::IdUsed { .. }
                | AppendFailure::IdReused { .. } => self.compare(&failure).await,
                _ => Err(Stop::ForGood(self.refused(&failure))),
            },
        }
    }

    /// Compares the rest with what is stored, after the store has refused it.
    async fn compare(&mut self, failure: &AppendFailure) -> Result<Step, Stop> {
        let found = self.look().await?;
        if found == 0 {
            // Nothing is stored there. So the order was not the next one a moment ago and is now, or the id is in the way.
            let is_of_order = matches!(failure, AppendFailure::Conflict(_));
            return Err(if is_of_order {
                self.for_now(failure)
            } else {
                Stop::ForGood(self.refused(failure))
            });
        }
        self.there += found;
        self.count(found as u64, true);
        let is_all = self.there == self.chunk.events.len();
        Ok(if is_all { Step::Whole } else { Step::Part })
    }

    /// How many events of the rest are stored; each of them is equal.
    async fn look(&self) -> Result<usize, Stop> {
        let at = self.at();
        let rest = &self.chunk.events[self.there..];
        let all = Read::after(self.chunk.key.clone(), at);
        let read = Read { limit: rest.len() as u64, freshness: Freshness::Latest, ..all };
        let mut pages = self.store.read(read).await.map_err(stop)?;
        let mut expected = rest.iter().enumerate();
        while let Some(page) = pages.next().await {
            let page = page.map_err(stop)?;
            for event in &page.events {
                // More than were asked for are not compared.
                let Some((index, content)) = expected.next() else { break };
                let other_append = || self.other_append(self.there + index, event);
                if let Some(what) = difference(content, event).or_else(other_append) {
                    return Err(Stop::ForGood(self.different(event.order, what)));
                }
            }
            match page.end {
                Some(end) if end.next < at => return Err(Stop::ForGood(self.missing(end.next))),
                Some(_) => return Ok(rest.len() - expected.len()),
                None => {}
            }
        }
        Err(Stop::ForNow { ended: cut_off(), rest: None })
    }

    /// What of the append that an event was is another than of the one that is stored there, where the lines tell.
    fn other_append(&self, index: usize, stored: &Event) -> Option<&'static str> {
        let (batch, append_id) = match &stored.origin {
            Origin::Foreign => (None, None),
            Origin::Bkes { batch, append_id } => (*batch, append_id.as_ref()),
        };
        let expected = self.chunk.place(index);
        if self.chunk.id.is_some() && self.chunk.id.as_ref().filter(|_| index == 0) != append_id {
            Some("append id")
        } else if expected.is_some() && expected != batch {
            Some("append")
        } else {
            None
        }
    }

    fn count(&mut self, events: u64, was_there: bool) {
        let is_ours = !was_there || self.is_unknown;
        *(if is_ours { &mut self.settled.appended } else { &mut self.settled.skipped }) += events;
    }

    fn for_now(&self, failure: &AppendFailure) -> Stop {
        Stop::ForNow { ended: self.refused(failure), rest: failure.retry_after() }
    }

    fn refused(&self, failure: &AppendFailure) -> Ended {
        let (ended, message) = match failure {
            AppendFailure::NotStored(failure) | AppendFailure::Unknown { failure, .. } => {
                (Ended::of_append(failure), described(failure))
            }
            _ => (Ended::new(Code::Conflict, ""), failure.to_string()),
        };
        let message = format!("aggregate {}, order {}: {message}", self.name(), self.at());
        match ended {
            Ended::With { code, advice, .. } => Ended::With { code, message, advice },
            Ended::OutputClosed => Ended::OutputClosed,
        }
    }

    fn different(&self, order: Order, what: &str) -> Ended {
        Ended::new(
            Code::Conflict,
            format_args!(
                "aggregate {} differs at order {order}: the store has another {what} there",
                self.name()
            ),
        )
    }

    fn missing(&self, next: Order) -> Ended {
        let ended = Ended::new(
            Code::Conflict,
            format_args!(
                "aggregate {} goes on at order {}, and the store has only {next} events of it",
                self.name(),
                self.at()
            ),
        );
        ended.advise(
            "Each event is stored at its own order, so one that begins above 0, as one whose oldest events were removed from its topic, \
             goes only into a store that has what came before.",
        )
    }

    fn name(&self) -> String {
        spelled(self.chunk.key.bytes())
    }
}

fn stop(failure: Failure) -> Stop {
    let (class, rest) = (failure.class(), failure.retry_after);
    match class {
        ErrorClass::Rejected => Stop::ForGood(failure.into()),
        ErrorClass::Unavailable | ErrorClass::Unknown => Stop::ForNow { ended: failure.into(), rest },
    }
}

/// What of an event is another than what is stored; reserved headers, which an import leaves out, aside.
fn difference(expected: &EventContent, stored: &Event) -> Option<&'static str> {
    let headers = stored.headers.iter().filter(|header| !is_reserved_name(&header.name));
    if expected.value != stored.value {
        Some("value")
    } else if !expected.headers.iter().eq(headers) {
        Some("list of headers")
    } else {
        None
    }
}
