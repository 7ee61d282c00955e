//! `bkes export`: whole aggregates as JSON lines.
//!
//! Keys are asked for page by page and events arrive page by page, so that an export of any size needs the memory of a few of them. Each
//! aggregate is a beginning of what it is in the end: what is appended meanwhile is in it or not. So a read that breaks off, as one does
//! that the output holds up for long, is gone on with after the last event that was written.

use crate::byte_argument::{ByteArgument, spelled};
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::freshness::FreshnessArgs;
use crate::json_event::{self, ExportEnd};
use crate::limits::{EXPORT_KEYS_MAX, TRIES_MAX};
use crate::pauses::pause;
use crate::progress::Progress;
use crate::verbs::keys::KeyPages;
use crate::verbs::read::cut_off;
use bkes_api::{
    ErrorClass, Event, EventStore, Failure, Freshness, Key, ListedKey, Order, PageEnd, Read, ReadMany, Reason,
};
use bytes::Bytes;
use tokio_stream::StreamExt;

const EXAMPLES: &str = "Examples:
  bkes export account-7 > account-7.jsonl
  bkes export --prefix account- --latest > accounts.jsonl
  bkes export --all | zstd > store.jsonl.zst
  bkes export --all | bkes --server other:50030 import -

The last line says how many aggregates and events were written: without it `bkes import` knows that lines are missing.

An aggregate that is split over partitions is written if its events have an order by their headers. One without is left \
out and named at the end, with code 1.";

/// Write whole aggregates as JSON lines, for import
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("whose").required(true))]
pub struct ExportArgs {
    /// The aggregate's key
    #[arg(group = "whose")]
    pub key: Option<ByteArgument>,

    /// All aggregates whose keys begin so
    #[arg(long, value_name = "PREFIX", group = "whose")]
    pub prefix: Option<ByteArgument>,

    /// All aggregates
    #[arg(long, group = "whose")]
    pub all: bool,

    /// How fresh.
    #[command(flatten)]
    pub freshness: FreshnessArgs,
}

/// What was written so far.
struct Export<'a, 'c> {
    store: &'a dyn EventStore,
    console: &'a mut Console<'c>,
    progress: Progress,
    freshness: Freshness,
    line: Vec<u8>,
    written: ExportEnd,
    bytes: u64,
    /// One of the aggregates without an order.
    first_left_out: Option<Key>,
}

/// Why a read has no end.
enum Broken {
    /// The store has refused it, or it broke off.
    Read(Failure),
    /// It came to an end without saying so.
    CutOff,
    /// What it showed cannot be written, or makes no sense.
    Output(Ended),
}

/// How far the aggregates of a call are written.
#[derive(Default)]
struct Reached {
    /// So many of them to their ends.
    whole: usize,
    /// The next one up to before this order.
    next: Order,
}

/// Writes them.
pub async fn run(args: &ExportArgs, store: &dyn EventStore, console: &mut Console<'_>) -> Result<(), Ended> {
    let key = args.key.as_ref().map(|key| console.key(key)).transpose()?;
    let prefix = args.prefix.as_ref().map(|prefix| console.bytes(prefix)).transpose()?;
    let progress = Progress::beside_data(console.looks);
    let freshness = args.freshness.freshness();
    let mut export = Export {
        store,
        console,
        progress,
        freshness,
        line: Vec::new(),
        written: ExportEnd::default(),
        bytes: 0,
        first_left_out: None,
    };
    let ended = match key {
        Some(key) => export.one(key).await,
        None => export.all(prefix.unwrap_or_default()).await,
    };
    export.progress.end();
    ended?;
    export.end()
}

impl Export<'_, '_> {
    /// Writes the last line, and sums up.
    fn end(self) -> Result<(), Ended> {
        let Export { console, mut line, written, first_left_out, .. } = self;
        line.clear();
        json_event::write_end(&mut line, &written);
        line.push(b'\n');
        console.write(&line)?;
        console.flush()?;
        let ExportEnd { aggregates, events, left_out } = written;
        console.say(format_args!("bkes: {events} events of {aggregates} aggregates exported"));
        let Some(key) = first_left_out else { return Ok(()) };
        let words = format!(
            "{left_out} aggregates are split over partitions without an order and were left out, {} among them",
            spelled(key.bytes())
        );
        Err(Ended::new(Code::Rejected, words))
    }

    async fn all(&mut self, prefix: Bytes) -> Result<(), Ended> {
        let mut pages = KeyPages::new(prefix, self.freshness.clone());
        while let Some(page) = pages.next(self.store).await? {
            // In the order of their keys: those between two split ones together, a split one alone.
            for run in page.chunk_by(|one, next| !is_split(one) && !is_split(next)) {
                match run {
                    [one] if is_split(one) => self.split(one.key.clone()).await?,
                    _ => {
                        for chunk in run.chunks(EXPORT_KEYS_MAX) {
                            let keys: Vec<Key> = chunk.iter().map(|listed| listed.key.clone()).collect();
                            self.written_whole(&keys).await.map_err(ended)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn split(&mut self, key: Key) -> Result<(), Ended> {
        let events = self.written.events;
        match self.written_whole(std::slice::from_ref(&key)).await {
            // Refused as a whole, before any of it was written.
            Err(Broken::Read(failure))
                if failure.reason == Reason::Split && self.written.events == events =>
            {
                self.written.left_out += 1;
                self.first_left_out.get_or_insert(key);
                Ok(())
            }
            outcome => outcome.map_err(ended),
        }
    }

    /// The one aggregate that is asked for.
    async fn one(&mut self, key: Key) -> Result<(), Ended> {
        let aggregates = self.written.aggregates;
        self.written_whole(std::slice::from_ref(&key)).await.map_err(ended)?;
        if self.written.aggregates == aggregates {
            let message = format!("there is no aggregate {}", spelled(key.bytes()));
            return Err(Ended::new(Code::NotFound, message));
        }
        Ok(())
    }

    /// Writes these aggregates to their ends. A read that breaks off is gone on with, and one of which nothing came is tried a few times.
    async fn written_whole(&mut self, keys: &[Key]) -> Result<(), Broken> {
        let (mut reached, mut tries) = (Reached::default(), 0);
        while reached.whole < keys.len() {
            let before = (reached.whole, reached.next);
            let left = &keys[reached.whole..];
            let outcome = match left {
                // An aggregate that is begun goes on alone.
                [key] => self.alone(key, &mut reached).await,
                [key, ..] if reached.next > Order::FIRST => self.alone(key, &mut reached).await,
                _ => self.together(left, &mut reached).await,
            };
            let rest = match outcome {
                Ok(()) => continue,
                Err(Broken::Read(failure)) if failure.class() == ErrorClass::Rejected => {
                    return Err(Broken::Read(failure));
                }
                Err(Broken::Output(ended)) => return Err(Broken::Output(ended)),
                Err(broken) => {
                    tries = if (reached.whole, reached.next) == before { tries + 1 } else { 1 };
                    if tries >= TRIES_MAX {
                        return Err(broken);
                    }
                    match broken {
                        Broken::Read(failure) => failure.retry_after,
                        Broken::CutOff | Broken::Output(_) => None,
                    }
                }
            };
            tokio::time::sleep(pause(tries, rest)).await;
        }
        Ok(())
    }

    /// Aggregates in one call, each from its first event.
    async fn together(&mut self, keys: &[Key], reached: &mut Reached) -> Result<(), Broken> {
        let (from, limit, with_headers) = (Order::FIRST, u64::MAX, true);
        let (keys, freshness) = (keys.to_vec(), self.freshness.clone());
        let expected = reached.whole + keys.len();
        let request = ReadMany { keys, from, limit, freshness, with_headers };
        let mut pages = self.store.read_many(request).await.map_err(Broken::Read)?;
        while let Some(keyed) = pages.next().await {
            let keyed = keyed.map_err(Broken::Read)?;
            self.page(&keyed.key, &keyed.page.events, keyed.page.end.as_ref(), reached)?;
        }
        if reached.whole == expected { Ok(()) } else { Err(Broken::CutOff) }
    }

    /// One aggregate, from where it is written.
    async fn alone(&mut self, key: &Key, reached: &mut Reached) -> Result<(), Broken> {
        let whole = reached.whole;
        let read = Read { freshness: self.freshness.clone(), ..Read::after(key.clone(), reached.next) };
        let mut pages = self.store.read(read).await.map_err(Broken::Read)?;
        while let Some(page) = pages.next().await {
            let page = page.map_err(Broken::Read)?;
            self.page(key, &page.events, page.end.as_ref(), reached)?;
            if reached.whole > whole {
                return Ok(());
            }
        }
        Err(Broken::CutOff)
    }

    fn page(
        &mut self,
        key: &Key,
        events: &[Event],
        end: Option<&PageEnd>,
        reached: &mut Reached,
    ) -> Result<(), Broken> {
        for event in events {
            if reached.next > Order::FIRST && event.order != reached.next {
                let (name, expected) = (spelled(key.bytes()), reached.next);
                let words = format!(
                    "aggregate {name} goes on at order {}, where {expected} was to follow",
                    event.order
                );
                return Err(Broken::Output(Ended::new(Code::InputOutput, words)));
            }
            self.write(key, event).map_err(Broken::Output)?;
            reached.next = event.order.plus(1).unwrap_or(event.order);
        }
        if let Some(end) = end {
            *reached = Reached { whole: reached.whole + 1, next: Order::FIRST };
            self.aggregate(end);
        }
        Ok(())
    }

    fn write(&mut self, key: &Key, event: &Event) -> Result<(), Ended> {
        self.line.clear();
        json_event::write(&mut self.line, key, event);
        self.line.push(b'\n');
        self.console.write(&self.line)?;
        self.written.events += 1;
        self.bytes += self.line.len() as u64;
        Ok(())
    }

    /// An aggregate is written.
    fn aggregate(&mut self, end: &PageEnd) {
        self.written.aggregates += u64::from(end.exists);
        let ExportEnd { aggregates, events, .. } = self.written;
        self.progress.at(self.bytes, format_args!("{events} events of {aggregates} aggregates"));
    }
}

fn ended(broken: Broken) -> Ended {
    match broken {
        Broken::Read(failure) => failure.into(),
        Broken::CutOff => cut_off(),
        Broken::Output(ended) => ended,
    }
}

fn is_split(listed: &ListedKey) -> bool {
    listed.partitions.len() > 1
}
