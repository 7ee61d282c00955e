//! `bkes follow`: events as they are decided.
//!
//! However it ends, but by a closed output, it says by which command to go on: nothing is left out then, and nothing shown twice but an
//! append in the middle of which it ended.

use crate::byte_argument::{ByteArgument, quoted, spelled};
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::positions;
use crate::show::{EventPrinter, EventShapeArgs};
use bkes_api::{
    BatchPlace, BoxStream, EventStore, Failure, Follow, FollowFrom, FollowItem, Followed, FollowedEvent,
    Origin, Partition, Position, Positions, TopicId,
};
use std::collections::BTreeMap;
use tokio_stream::StreamExt;

const EXAMPLES: &str = "Examples:
  bkes follow
  bkes follow --prefix account- --from-beginning
  bkes follow --key account-7 -o json
  bkes follow --partitions 0,1 --from 0:120,1:80
  bkes follow --from-beginning --until-caught-up -f '%k %n %s\\n'

Ctrl-C ends it, with code 0; the error stream then has the command to go on with.";

/// Show events of many aggregates as they are decided
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct FollowArgs {
    /// Only aggregates whose keys begin so
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["key", "partitions"])]
    pub prefix: Option<ByteArgument>,

    /// Only this aggregate
    #[arg(long, conflicts_with = "partitions")]
    pub key: Option<ByteArgument>,

    /// Only these partitions
    #[arg(long, value_name = "PARTITION,...", value_delimiter = ',')]
    pub partitions: Vec<u32>,

    /// Begin with the first event that the topic still has, instead of with the next one
    #[arg(long)]
    pub from_beginning: bool,

    /// Begin at these positions, PARTITION:OFFSET,...; partitions that are not named from their beginning
    #[arg(long, value_name = "POSITIONS", value_parser = positions::parse, conflicts_with = "from_beginning")]
    pub from: Option<Positions>,

    /// End after so many events
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// End when everything that is there was shown
    #[arg(long)]
    pub until_caught_up: bool,

    /// Leave the headers out
    #[arg(long)]
    pub no_headers: bool,

    /// How to show them.
    #[command(flatten)]
    pub shape: EventShapeArgs,
}

/// How far events were shown.
struct Shown {
    topic: Option<TopicId>,
    of: BTreeMap<Partition, Position>,
    /// Whether partitions that are not named begin at their beginning: else nothing can be said before the store has named them.
    is_known: bool,
}

impl Shown {
    fn from(from: &FollowFrom) -> Shown {
        match from {
            FollowFrom::Now => Shown { topic: None, of: BTreeMap::new(), is_known: false },
            FollowFrom::Beginning => Shown { topic: None, of: BTreeMap::new(), is_known: true },
            FollowFrom::Positions(positions) => Shown {
                topic: positions.topic.clone(),
                of: positions.of.iter().copied().collect(),
                is_known: true,
            },
        }
    }

    /// An event was shown. An append of several lies where the last of them does: below that the others are not shown yet.
    fn event(&mut self, FollowedEvent { event, .. }: &FollowedEvent) {
        match event.origin {
            Origin::Bkes { batch: Some(BatchPlace { i, count }), .. } if i < count => {}
            _ => self.advance(event.partition, event.offset.next()),
        }
    }

    fn positions(&mut self, positions: &Positions) {
        self.topic = positions.topic.clone().or_else(|| self.topic.take());
        for (partition, position) in &positions.of {
            self.advance(*partition, *position);
        }
        self.is_known = true;
    }

    fn advance(&mut self, partition: Partition, position: Position) {
        let known = self.of.entry(partition).or_insert(position);
        *known = position.max(*known);
    }

    /// Where to go on: nothing can be named before the first position of one that began with what is new.
    fn flag(&self) -> Option<String> {
        if !self.is_known {
            return None;
        }
        if self.of.is_empty() {
            return Some("--from-beginning".to_owned());
        }
        let of = self.of.iter().map(|(partition, position)| (*partition, *position)).collect();
        Some(format!("--from {}", quoted(&positions::shown(&Positions { topic: self.topic.clone(), of }))))
    }
}

/// Follows, until it is told to end.
pub async fn run(args: &FollowArgs, store: &dyn EventStore, console: &mut Console<'_>) -> Result<(), Ended> {
    let follow = follow(args, console)?;
    let flags = flags(&follow.followed, args);
    let mut shown = Shown::from(&follow.from);
    let with_key = !matches!(follow.followed, Followed::Key(_));
    let printer = EventPrinter::new(&args.shape, console, with_key, !args.no_headers);
    let items = store.follow(follow).await?;
    let ended = show(args, items, printer, &mut shown, console).await;
    if ended != Err(Ended::OutputClosed) {
        // What was shown is out before it is said that it was.
        console.flush()?;
        match shown.flag() {
            Some(flag) => {
                let program = console.program.clone();
                console.say(format_args!("bkes: go on with: {program} follow{flags} {flag}"));
            }
            None => console.say("bkes: it ended before the server had told a position to go on from"),
        }
    }
    ended
}

async fn show(
    args: &FollowArgs,
    mut items: BoxStream<Result<FollowItem, Failure>>,
    mut printer: EventPrinter,
    shown: &mut Shown,
    console: &mut Console<'_>,
) -> Result<(), Ended> {
    let mut interrupt = console.interrupt.listen();
    let mut left = args.limit.unwrap_or(u64::MAX);
    loop {
        let item = tokio::select! {
            biased;
            () = interrupt.told() => return Ok(()),
            item = items.next() => item,
        };
        let item = item.ok_or_else(|| Ended::new(Code::Unavailable, "the server has ended the stream"))?;
        match item? {
            FollowItem::Events(events) => {
                for event in &events {
                    printer.show(console, &event.key, &event.event)?;
                    shown.event(event);
                    left -= 1;
                    if left == 0 {
                        return Ok(());
                    }
                }
                console.flush()?;
            }
            FollowItem::Positions(positions) => shown.positions(&positions),
            FollowItem::CaughtUp if args.until_caught_up => return Ok(()),
            FollowItem::CaughtUp => note(console, "caught up: what comes now is new"),
            FollowItem::FellBehind => note(console, "fell behind: what comes now is read from the past"),
        }
    }
}

/// For who sits there; a file of errors would only fill with it.
fn note(console: &mut Console<'_>, words: &str) {
    if console.looks.talk_is_terminal {
        console.say(format_args!("bkes: {words}"));
    }
}

fn follow(args: &FollowArgs, console: &mut Console<'_>) -> Result<Follow, Ended> {
    let followed = if let Some(key) = &args.key {
        Followed::Key(console.key(key)?)
    } else if let Some(prefix) = &args.prefix {
        Followed::Prefix(console.bytes(prefix)?)
    } else if args.partitions.is_empty() {
        Followed::All
    } else {
        Followed::Partitions(args.partitions.iter().copied().map(Partition).collect())
    };
    let from = match &args.from {
        Some(positions) => FollowFrom::Positions(positions.clone()),
        None if args.from_beginning => FollowFrom::Beginning,
        None => FollowFrom::Now,
    };
    Ok(Follow { followed, from, with_headers: !args.no_headers })
}

/// The flags that say whose events are followed, and how they are shown.
fn flags(followed: &Followed, args: &FollowArgs) -> String {
    let whose = match followed {
        Followed::All => String::new(),
        Followed::Prefix(prefix) => format!(" --prefix {}", spelled(prefix)),
        Followed::Key(key) => format!(" --key {}", spelled(key.bytes())),
        Followed::Partitions(partitions) => {
            let list: Vec<_> = partitions.iter().map(ToString::to_string).collect();
            format!(" --partitions {}", list.join(","))
        }
    };
    whose + if args.no_headers { " --no-headers" } else { "" } + &args.shape.flags()
}
