//! `bkes export`: whole aggregates as JSON lines.
//!
//! Keys are asked for page by page and events arrive page by page, so that an export of any size needs the memory of a few of them. Each
//! aggregate is a beginning of what it is in the end: what is appended meanwhile is in it or not.

use crate::byte_argument::{ByteArgument, spelled};
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::freshness::FreshnessArgs;
use crate::json_event;
use crate::limits::EXPORT_KEYS_MAX;
use crate::progress::Progress;
use crate::verbs::keys::KeyPages;
use crate::verbs::read::cut_off;
use bkes_api::{Event, EventStore, Freshness, Key, ListedKey, Order, Read, ReadMany, Reason};
use bytes::Bytes;
use tokio_stream::StreamExt;

const EXAMPLES: &str = "Examples:
  bkes export account-7 > account-7.jsonl
  bkes export --prefix account- --latest > accounts.jsonl
  bkes export --all | zstd > store.jsonl.zst
  bkes export --all | bkes --server other:50030 import -

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
    aggregates: u64,
    events: u64,
    bytes: u64,
    /// Aggregates without an order: how many, and one of them.
    left_out: u64,
    first_left_out: Option<Key>,
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
        aggregates: 0,
        events: 0,
        bytes: 0,
        left_out: 0,
        first_left_out: None,
    };
    let ended = match key {
        Some(key) => export.one(key).await,
        None => export.all(prefix.unwrap_or_default()).await,
    };
    export.progress.end();
    let flushed = ended.and_then(|()| export.console.flush());
    let (aggregates, events) = (export.aggregates, export.events);
    flushed?;
    export.console.say(format_args!("bkes: {events} events of {aggregates} aggregates exported"));
    match export.first_left_out {
        None => Ok(()),
        Some(key) => Err(Ended::new(
            Code::Rejected,
            format_args!(
                "{} aggregates are split over partitions without an order and were left out, {} among them",
                export.left_out,
                spelled(key.bytes())
            ),
        )),
    }
}

impl Export<'_, '_> {
    async fn all(&mut self, prefix: Bytes) -> Result<(), Ended> {
        let mut pages = KeyPages::new(prefix, self.freshness.clone());
        while let Some(page) = pages.next(self.store).await? {
            // In the order of their keys: those between two split ones together, a split one alone.
            for run in page.chunk_by(|one, next| !is_split(one) && !is_split(next)) {
                match run {
                    [one] if is_split(one) => self.split(one.key.clone()).await?,
                    _ => {
                        for chunk in run.chunks(EXPORT_KEYS_MAX) {
                            self.many(chunk.iter().map(|listed| listed.key.clone()).collect()).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Aggregates in one call.
    async fn many(&mut self, keys: Vec<Key>) -> Result<(), Ended> {
        let expected = keys.len();
        let request = ReadMany {
            keys,
            from: Order::FIRST,
            limit: u64::MAX,
            freshness: self.freshness.clone(),
            with_headers: true,
        };
        let mut pages = self.store.read_many(request).await?;
        let mut ended = 0;
        while let Some(keyed) = pages.next().await {
            let keyed = keyed?;
            for event in &keyed.page.events {
                self.write(&keyed.key, event)?;
            }
            if keyed.page.end.is_some() {
                ended += 1;
                self.aggregate();
            }
        }
        if ended == expected { Ok(()) } else { Err(cut_off()) }
    }

    async fn split(&mut self, key: Key) -> Result<(), Ended> {
        let events = self.events;
        let pages = self.store.read(self.whole(&key)).await;
        let read = match pages {
            Err(failure) => Err(failure),
            Ok(mut pages) => loop {
                match pages.next().await {
                    None => return Err(cut_off()),
                    Some(Err(failure)) => break Err(failure),
                    Some(Ok(page)) => {
                        for event in &page.events {
                            self.write(&key, event)?;
                        }
                        if page.end.is_some() {
                            break Ok(());
                        }
                    }
                }
            },
        };
        match read {
            Ok(()) => self.aggregate(),
            // Refused as a whole, before any of it was written.
            Err(failure) if failure.reason == Reason::Split && self.events == events => {
                self.left_out += 1;
                self.first_left_out.get_or_insert(key);
            }
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    /// The one aggregate that is asked for.
    async fn one(&mut self, key: Key) -> Result<(), Ended> {
        let mut pages = self.store.read(self.whole(&key)).await?;
        while let Some(page) = pages.next().await {
            let page = page?;
            for event in &page.events {
                self.write(&key, event)?;
            }
            match page.end {
                None => {}
                Some(end) if end.exists => {
                    self.aggregate();
                    return Ok(());
                }
                Some(_) => {
                    let message = format_args!("there is no aggregate {}", spelled(key.bytes())).to_string();
                    return Err(Ended::new(Code::NotFound, message));
                }
            }
        }
        Err(cut_off())
    }

    fn whole(&self, key: &Key) -> Read {
        Read { freshness: self.freshness.clone(), ..Read::all(key.clone()) }
    }

    fn write(&mut self, key: &Key, event: &Event) -> Result<(), Ended> {
        self.line.clear();
        json_event::write(&mut self.line, key, event);
        self.line.push(b'\n');
        self.console.write(&self.line)?;
        self.events += 1;
        self.bytes += self.line.len() as u64;
        Ok(())
    }

    /// An aggregate is written.
    fn aggregate(&mut self) {
        self.aggregates += 1;
        let (aggregates, events) = (self.aggregates, self.events);
        self.progress.at(self.bytes, format_args!("{events} events of {aggregates} aggregates"));
    }
}

fn is_split(listed: &ListedKey) -> bool {
    listed.partitions.len() > 1
}
