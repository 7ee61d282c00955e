//! `bkes keys`: which aggregates there are.

use crate::byte_argument::{ByteArgument, spelled};
use crate::console::Console;
use crate::escape::{self, Escape};
use crate::exit::{Code, Ended};
use crate::freshness::FreshnessArgs;
use crate::json_writer::Object;
use crate::show::EventShape;
use bkes_api::{EventStore, Freshness, KEYS_MAX, Key, KeysRequest, ListedKey};
use bytes::Bytes;

const EXAMPLES: &str = "Examples:
  bkes keys
  bkes keys account- --limit 20
  bkes keys account- --after account-7
  bkes keys -o json | jq -r .key

Keys come in the order of their bytes.";

/// List aggregates by their keys
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct KeysArgs {
    /// Only keys that begin so
    pub prefix: Option<ByteArgument>,

    /// Only keys above this one
    #[arg(long, value_name = "KEY")]
    pub after: Option<ByteArgument>,

    /// Most keys wanted
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// How fresh.
    #[command(flatten)]
    pub freshness: FreshnessArgs,

    /// How to show them: table, json, or raw (each key as it is, and a line feed); a table on a terminal and JSON elsewhere
    #[arg(short, long, value_enum, value_name = "SHAPE", hide_possible_values = true)]
    pub output: Option<EventShape>,
}

/// Lists, page after page.
pub async fn run(args: &KeysArgs, store: &dyn EventStore, console: &mut Console<'_>) -> Result<(), Ended> {
    let prefix = args.prefix.as_ref().map(|prefix| console.bytes(prefix)).transpose()?.unwrap_or_default();
    let after = args.after.as_ref().map(|after| console.key(after)).transpose()?;
    let mut pages = KeyPages::new(prefix, args.freshness.freshness());
    pages.request.after = after;
    let usual = if console.looks.output_is_terminal { EventShape::Table } else { EventShape::Json };
    let shape = args.output.unwrap_or(usual);
    let mut left = args.limit.unwrap_or(u64::MAX);
    if shape == EventShape::Table {
        console.line(format_args!("{:>10}  {:<12} KEY", "NEXT ORDER", "PARTITIONS"))?;
    }
    while left > 0 {
        pages.request.keys_max = usize::try_from(left).unwrap_or(KEYS_MAX).min(KEYS_MAX);
        let Some(page) = pages.next(store).await? else { break };
        left = left.saturating_sub(page.len() as u64);
        for key in &page {
            show(shape, key, console)?;
        }
    }
    Ok(())
}

fn show(shape: EventShape, listed: &ListedKey, console: &mut Console<'_>) -> Result<(), Ended> {
    let ListedKey { key, next, partitions } = listed;
    match shape {
        EventShape::Table => {
            let partitions: Vec<_> = partitions.iter().map(ToString::to_string).collect();
            let key = escape::bytes(key.bytes(), Escape::All);
            console.line(format_args!("{next:>10}  {:<12} {key}", partitions.join(",")))
        }
        EventShape::Json => {
            let mut line = Vec::new();
            let mut object = Object::begin(&mut line);
            object.bytes("key", Some(key.bytes()));
            object.plain("next_order", next);
            object.list("partitions", partitions);
            object.end();
            line.push(b'\n');
            console.write(&line)
        }
        EventShape::Raw if console.looks.output_is_terminal => {
            console.line(escape::bytes(key.bytes(), Escape::All))
        }
        EventShape::Raw => console.write(&[key.bytes(), &b"\n"[..]].concat()),
    }
}

/// All pages of a list, one after the other.
pub struct KeyPages {
    /// What the next page is asked for by.
    pub request: KeysRequest,
    is_over: bool,
}

impl KeyPages {
    /// Those of the keys that begin so.
    pub fn new(prefix: Bytes, freshness: Freshness) -> KeyPages {
        KeyPages { request: KeysRequest { prefix, freshness, ..KeysRequest::default() }, is_over: false }
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self, store: &dyn EventStore) -> Result<Option<Vec<ListedKey>>, Ended> {
        if self.is_over {
            return Ok(None);
        }
        let list = store.keys(self.request.clone()).await?;
        let mut after = self.request.after.as_ref();
        for listed in &list.keys {
            if after.is_some_and(|after| listed.key <= *after) {
                return Err(does_not_go_on(after));
            }
            after = Some(&listed.key);
        }
        if list.more && list.keys.is_empty() {
            return Err(does_not_go_on(after));
        }
        self.is_over = !list.more;
        if let Some(last) = list.keys.last() {
            self.request.after = Some(last.key.clone());
        }
        Ok(Some(list.keys))
    }
}

/// Who went on from there would never come to an end, or leave keys out.
fn does_not_go_on(after: Option<&Key>) -> Ended {
    let place =
        after.map_or("from its beginning".to_owned(), |key| format!("after key {}", spelled(key.bytes())));
    Ended::new(
        Code::InputOutput,
        format_args!("the server's list of aggregates does not go on in order {place}"),
    )
}
