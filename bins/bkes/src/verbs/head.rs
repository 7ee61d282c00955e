//! `bkes head`: where an aggregate stands.

use crate::byte_argument::{ByteArgument, spelled};
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::freshness::FreshnessArgs;
use crate::json_writer::Object;
use crate::moment;
use crate::show::{Shape, ShapeArgs};
use bkes_api::{EventStore, Layout, Partition};

const EXAMPLES: &str = "Examples:
  bkes head account-7
  bkes head account-7 --latest -o json

The next order is what `bkes append --at` takes. That there is no such aggregate ends with code 4.";

/// Show where an aggregate stands, without its events
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct HeadArgs {
    /// The aggregate's key
    pub key: ByteArgument,

    /// How fresh.
    #[command(flatten)]
    pub freshness: FreshnessArgs,

    /// How to show it.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// Asks, and shows.
pub async fn run(args: &HeadArgs, store: &dyn EventStore, console: &mut Console<'_>) -> Result<(), Ended> {
    let key = console.key(&args.key)?;
    let head = store.head(key.clone(), args.freshness.freshness()).await?;
    let Some(head) = head else {
        return Err(Ended::new(
            Code::NotFound,
            format_args!("there is no aggregate {}", spelled(key.bytes())),
        ));
    };
    let (how, partitions): (_, &[Partition]) = match &head.layout {
        Layout::OnePartition => (None, &[]),
        Layout::PartByPart(partitions) => (Some("without an order of its events"), partitions),
        Layout::ByOrderHeaders(partitions) => (Some("in the order of their headers"), partitions),
    };
    if args.shape.on(console) == Shape::Table {
        console.line(format_args!("next order  {}", head.next))?;
        console.line(format_args!("last event  partition {}, offset {}", head.partition, head.offset))?;
        if let Some(timestamp) = head.timestamp {
            console.line(format_args!("            {}", moment::shown(timestamp)))?;
        }
        if let Some(how) = how {
            let list: Vec<_> = partitions.iter().map(ToString::to_string).collect();
            console.line(format_args!("split       over partitions {}, {how}", list.join(", ")))?;
        }
        return Ok(());
    }
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.bytes("key", Some(key.bytes()));
    object.plain("next_order", head.next);
    object.plain("partition", head.partition);
    object.plain("offset", head.offset);
    object.optional("timestamp_ms", head.timestamp);
    if head.layout.is_split() {
        object.list("split_over", partitions);
        object.plain("by_order_headers", matches!(head.layout, Layout::ByOrderHeaders(_)));
    }
    object.end();
    line.push(b'\n');
    console.write(&line)
}
