//! `bkes import`: JSON lines into a store, each event at its own order.
//!
//! Lines are read into chunks: events of one aggregate that follow each other, for one append. A chunk is appended at the order of its first
//! event, whatever the store has; only if the store refuses that is it compared with what is there. So a store that is empty is filled
//! without a read, one that has a part of it is filled up, and no event is ever stored at another order than its own. Chunks of different
//! aggregates are in flight at once, those of one aggregate one after the other; it is read ahead for that.

mod chunk;
mod settle;

use self::chunk::{Chunk, Chunks};
use self::settle::{Settled, settle};
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::json_lines::JsonLines;
use crate::limits::{IMPORT_IN_FLIGHT_BYTES_MAX, IMPORT_IN_FLIGHT_MAX, IMPORT_WAITING_BYTES_MAX};
use crate::progress::Progress;
use bkes_api::{EventStore, Key};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;

const EXAMPLES: &str = "Examples:
  bkes import store.jsonl
  bkes export --all | bkes --server other:50030 import -
  bkes read account-7 -o json | bkes --server other:50030 import --partial -

The lines are those of `bkes export`, whose last one says that it is whole. Where that is missing, or an aggregate was left out, \
all that is there is imported, and it ends with code 7; --partial is for other lines, as of `bkes read -o json`. Each event is \
stored at its own order or not at all, so an import that ended may be run again: what is there and equal is skipped, and a \
difference in value, headers, or the append that it was, ends it with code 3, naming aggregate and order.

Appends of several events stay what they were; single events that follow each other are stored together. Ids of appends \
are kept. Headers that are reserved (order, and names that begin with bkes), as other programs may have written, are left \
out and counted.";

/// Append JSON lines of export or read, each event at its own order; may be run again
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// The file; - is standard input
    pub file: String,

    /// The lines are no whole export: none of them needs to say that it is the last
    #[arg(long)]
    pub partial: bool,
}

/// What became of the events so far.
#[derive(Default)]
struct Tally {
    appended: u64,
    skipped: u64,
    dropped_headers: u64,
}

/// Imports, and sums up.
pub async fn run(
    args: &ImportArgs,
    store: &Arc<dyn EventStore>,
    console: &mut Console<'_>,
) -> Result<(), Ended> {
    let looks = console.looks;
    let mut tally = Tally::default();
    let ended = if args.file == "-" {
        let progress = Progress::new(looks, None);
        let lines = JsonLines::new(console.take_input()?, "standard input");
        import(Chunks::new(lines), args.partial, store, &mut tally, &progress).await
    } else {
        let failed = |error| Ended::file(Path::new(&args.file), error);
        let file = File::open(&args.file).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let progress = Progress::new(looks, Some(bytes));
        let mut file = BufReader::with_capacity(64 * 1024, file);
        let chunks = Chunks::new(JsonLines::new(&mut file, &*args.file));
        import(chunks, args.partial, store, &mut tally, &progress).await
    };
    let Tally { appended, skipped, dropped_headers } = tally;
    console.say(format_args!("bkes: {appended} events imported, {skipped} were there already"));
    if dropped_headers > 0 {
        console.say(format_args!("bkes: {dropped_headers} reserved headers left out"));
    }
    ended.map_err(|ended| match ended {
        // Nothing else changes by itself.
        Ended::With { code: Code::Unavailable | Code::Unknown, .. } => {
            ended.advise("The import may be run again: what is there already is skipped.")
        }
        ended => ended,
    })
}

async fn import(
    mut chunks: Chunks<'_>,
    is_partial: bool,
    store: &Arc<dyn EventStore>,
    tally: &mut Tally,
    progress: &Progress,
) -> Result<(), Ended> {
    let mut in_flight = InFlight::default();
    let read = read(&mut chunks, store, &mut in_flight, tally, progress).await;
    // What is in flight is not given up, and what it comes to is told, whatever came before; what waits is.
    let mut ended = read;
    loop {
        if ended.is_err() {
            in_flight.drop_waiting();
        }
        let Some(one) = in_flight.next(store, tally).await else { break };
        ended = ended.and(one);
    }
    tally.dropped_headers = chunks.dropped_headers();
    progress.end();
    ended.and_then(|()| if is_partial { Ok(()) } else { chunks.check_end() })
}

async fn read(
    chunks: &mut Chunks<'_>,
    store: &Arc<dyn EventStore>,
    in_flight: &mut InFlight,
    tally: &mut Tally,
    progress: &Progress,
) -> Result<(), Ended> {
    while let Some(chunk) = chunks.next_chunk()? {
        while !in_flight.has_room(&chunk) {
            in_flight.next(store, tally).await.unwrap_or(Ok(()))?;
        }
        in_flight.add(store, chunk);
        let all = tally.appended + tally.skipped;
        progress.at(chunks.bytes(), format_args!("{all} events"));
    }
    Ok(())
}

/// Chunks that are being settled, each of another aggregate, and those that wait for them.
#[derive(Default)]
struct InFlight {
    tasks: JoinSet<(Key, usize, Result<Settled, Ended>)>,
    tasks_bytes: usize,
    /// The aggregates of those that are being settled, and what waits of each.
    waiting: HashMap<Key, VecDeque<Chunk>>,
    waiting_bytes: usize,
}

impl InFlight {
    /// Whether another chunk may come. If not, some are being settled.
    fn has_room(&self, chunk: &Chunk) -> bool {
        if self.waiting.contains_key(&chunk.key) {
            self.waiting_bytes == 0 || self.waiting_bytes + chunk.memory_bytes() <= IMPORT_WAITING_BYTES_MAX
        } else {
            let bytes = self.tasks_bytes + chunk.memory_bytes();
            self.tasks.len() < IMPORT_IN_FLIGHT_MAX
                && (self.tasks.is_empty() || bytes <= IMPORT_IN_FLIGHT_BYTES_MAX)
        }
    }

    fn add(&mut self, store: &Arc<dyn EventStore>, chunk: Chunk) {
        match self.waiting.get_mut(&chunk.key) {
            Some(waiting) => {
                self.waiting_bytes += chunk.memory_bytes();
                waiting.push_back(chunk);
            }
            None => {
                self.waiting.insert(chunk.key.clone(), VecDeque::new());
                self.begin(store, chunk);
            }
        }
    }

    fn begin(&mut self, store: &Arc<dyn EventStore>, chunk: Chunk) {
        let store = Arc::clone(store);
        let (key, bytes) = (chunk.key.clone(), chunk.memory_bytes());
        self.tasks_bytes += bytes;
        self.tasks.spawn(async move { (key, bytes, settle(&*store, chunk).await) });
    }

    /// What the next one that ends comes to; `None` if there is none. If it ended well, the one that waited for it is begun.
    async fn next(&mut self, store: &Arc<dyn EventStore>, tally: &mut Tally) -> Option<Result<(), Ended>> {
        let joined = self.tasks.join_next().await?;
        let (key, bytes, settled) = match joined {
            Ok(ended) => ended,
            // It was not aborted, so it panicked.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.tasks_bytes -= bytes;
        let Settled { appended, skipped } = match settled {
            Ok(settled) => settled,
            Err(ended) => {
                // What waits for it would go on after a gap.
                self.drop_waiting();
                return Some(Err(ended));
            }
        };
        tally.appended += appended;
        tally.skipped += skipped;
        match self.waiting.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(chunk) => {
                self.waiting_bytes -= chunk.memory_bytes();
                self.begin(store, chunk);
            }
            None => drop(self.waiting.remove(&key)),
        }
        Some(Ok(()))
    }

    /// Begins nothing more.
    fn drop_waiting(&mut self) {
        self.waiting.values_mut().for_each(VecDeque::clear);
        self.waiting_bytes = 0;
    }
}
