//! `bkes read`: the events of an aggregate.

use crate::byte_argument::{ByteArgument, spelled};
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::freshness::FreshnessArgs;
use crate::moment;
use crate::show::{EventPrinter, EventShapeArgs};
use bkes_api::{AsOf, Direction, EventStore, Layout, Offset, Order, PageEnd, Read, TimestampMs};
use tokio_stream::StreamExt;

const EXAMPLES: &str = "Examples:
  bkes read account-7
  bkes read account-7 --from 3 --limit 10
  bkes read account-7 --backwards --limit 1 -o raw
  bkes read account-7 --as-of-time 2026-11-30T12:00:00Z
  bkes read account-7 --at-least 0:120
  bkes read account-7 -f '%n %s\\n'

From beyond the last event nothing is read, which is no error. That there is no such aggregate ends with code 4.";

/// Read the events of an aggregate
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ReadArgs {
    /// The aggregate's key
    pub key: ByteArgument,

    /// The first event wanted, by its order
    #[arg(long, value_name = "ORDER")]
    pub from: Option<u64>,

    /// The last event wanted, in the direction of the read
    #[arg(long, value_name = "ORDER")]
    pub to: Option<u64>,

    /// Most events wanted
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// From the last event to the first
    #[arg(long)]
    pub backwards: bool,

    /// As it was with the record at this offset of its partition: whole appends that lie at it or below
    #[arg(long, value_name = "OFFSET")]
    pub as_of_offset: Option<u64>,

    /// As it was at this moment, as in 2026-11-30T12:00:00Z: up to before its first event that is later
    #[arg(long, value_name = "TIME", value_parser = moment::parse, conflicts_with = "as_of_offset", allow_hyphen_values = true)]
    pub as_of_time: Option<TimestampMs>,

    /// How fresh.
    #[command(flatten)]
    pub freshness: FreshnessArgs,

    /// Leave the headers out
    #[arg(long)]
    pub no_headers: bool,

    /// Read a split aggregate partition by partition instead of refusing it: that is no order
    #[arg(long, conflicts_with_all = ["backwards", "as_of_offset", "as_of_time"])]
    pub part_by_part: bool,

    /// How to show them.
    #[command(flatten)]
    pub shape: EventShapeArgs,
}

/// Reads, and shows.
pub async fn run(args: &ReadArgs, store: &dyn EventStore, console: &mut Console<'_>) -> Result<(), Ended> {
    let key = console.key(&args.key)?;
    let as_of_offset = args.as_of_offset.map(|offset| AsOf::Offset(Offset(offset)));
    let read = Read {
        key: key.clone(),
        direction: if args.backwards { Direction::Backwards } else { Direction::Forwards },
        from: args.from.map(Order),
        to: args.to.map(Order),
        limit: args.limit.unwrap_or(u64::MAX),
        as_of: as_of_offset.or(args.as_of_time.map(AsOf::Time)),
        freshness: args.freshness.freshness(),
        with_headers: !args.no_headers,
        part_by_part: args.part_by_part,
    };
    let mut printer = EventPrinter::new(&args.shape, console, false, !args.no_headers);
    let mut pages = store.read(read).await?;
    let mut last = None;
    while let Some(page) = pages.next().await {
        let page = page.map_err(|failure| go_on_after(last, args, failure.into()))?;
        for event in &page.events {
            printer.show(console, &key, event)?;
            last = Some(event.order);
        }
        if let Some(end) = page.end {
            return ended(args, &end, &spelled(key.bytes()), console);
        }
    }
    Err(go_on_after(last, args, cut_off()))
}

/// Where the rest of a read that broke off begins. It is another read, which may show what came meanwhile: one read shows one moment.
fn go_on_after(last: Option<Order>, args: &ReadArgs, ended: Ended) -> Ended {
    let Some(last) = last else { return ended };
    let next = if args.backwards { last.0.checked_sub(1).map(Order) } else { last.plus(1) };
    match next {
        Some(next) => ended.advise(format_args!(
            "Shown is what there is up to order {last}. The same with --from {next} shows the rest, as it is by then."
        )),
        None => ended,
    }
}

/// A stream of pages without an end.
pub fn cut_off() -> Ended {
    Ended::new(Code::Unavailable, "the read broke off: what was shown is not all there is")
}

fn ended(args: &ReadArgs, end: &PageEnd, key: &str, console: &mut Console<'_>) -> Result<(), Ended> {
    if !end.exists {
        let is_as_of = args.as_of_offset.is_some() || args.as_of_time.is_some();
        let then = if is_as_of { " at that moment" } else { "" };
        return Err(Ended::new(Code::NotFound, format_args!("there is no aggregate {key}{then}")));
    }
    if let Layout::PartByPart(partitions) = &end.layout {
        console.say(format_args!(
            "bkes: {key} is split over {} partitions: events of different ones have no order, and it takes no appends",
            partitions.len()
        ));
    }
    Ok(())
}
