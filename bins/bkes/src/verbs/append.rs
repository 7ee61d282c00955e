//! `bkes append`: one append, all or nothing.

use crate::byte_argument::{ByteArgument, HeaderArgument, spelled};
use crate::console::Console;
use crate::exit::{Code, Ended, described};
use crate::json_lines::JsonLines;
use crate::json_writer::Object;
use crate::show::{Shape, ShapeArgs};
use crate::{duration, positions};
use bkes_api::{
    Append, AppendFailure, AppendId, Appended, EventContent, EventStore, Expected, Failure, Header, Identity,
    Key, Order, Reason,
};
use bkes_core::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  bkes append account-7 --new opened
  bkes append account-7 --at 1 'deposited 5' 'withdrew 2'
  bkes append account-7 --at 3 -H trace=4bf92f json:'{\"closed\":true}'
  bkes append account-7 --any --id command-81 seen
  bkes append photo-1 --exists @photo.jpg
  bkes append account-7 --at 4 --json-lines events.jsonl

All values are one append: they are stored together or not at all. The lines of --json-lines have the fields of \
`bkes read -o json`, of which value and headers count.

An append with --any or --exists has an id: that of --id, or one that is drawn. If its outcome is unknown, the id is shown; \
the same append with that id and --retry is stored once, whatever became of the first.";

/// Append events to an aggregate, all or nothing
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("expected").required(true))]
pub struct AppendArgs {
    /// The aggregate's key
    pub key: ByteArgument,

    /// The values, an event each
    #[arg(required_unless_present_any = ["tombstone", "json_lines"])]
    pub values: Vec<ByteArgument>,

    /// The aggregate does not exist yet
    #[arg(long, group = "expected")]
    pub new: bool,

    /// The aggregate's next order is this: the number of its events
    #[arg(long, value_name = "ORDER", group = "expected")]
    pub at: Option<u64>,

    /// The aggregate exists, wherever it stands
    #[arg(long, group = "expected")]
    pub exists: bool,

    /// The aggregate exists or not
    #[arg(long, group = "expected")]
    pub any: bool,

    /// A header of each event; without = its value is null; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<HeaderArgument>,

    /// Append a tombstone, an event with a null value, after the values
    #[arg(long)]
    pub tombstone: bool,

    /// Take the events from a file of JSON lines; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["values", "tombstone", "headers"])]
    pub json_lines: Option<String>,

    /// What a retry of this append is known by, 1 to 64 bytes
    #[arg(long)]
    pub id: Option<ByteArgument>,

    /// This is not the first try with this id
    #[arg(long, requires = "id")]
    pub retry: bool,

    /// An order that the aggregate had reached before the first try with this id
    #[arg(long, value_name = "ORDER", requires = "id")]
    pub seen: Option<u64>,

    /// Wait no longer than this, as in 500ms or 10s
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub timeout: Option<Duration>,

    /// How to show where it was stored.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// Appends, and shows where it was stored.
pub async fn run(args: &AppendArgs, store: &dyn EventStore, console: &mut Console<'_>) -> Result<(), Ended> {
    let key = console.key(&args.key)?;
    let append = append(args, key.clone(), console)?;
    let identity = append.identity.clone();
    // From here on a Ctrl-C leaves something to say: the append may be under way.
    let mut interrupt = console.interrupt.listen();
    let appended = tokio::select! {
        appended = store.append(append) => appended,
        () = interrupt.told() => Err(interrupted(identity.as_ref())),
    };
    match appended {
        Ok(appended) => show(args, &key, &appended, console),
        Err(failure) => Err(explained(failure, &key, identity.as_ref(), &console.program)),
    }
}

fn append(args: &AppendArgs, key: Key, console: &mut Console<'_>) -> Result<Append, Ended> {
    let expected = match (args.new, args.at, args.exists) {
        (true, ..) | (_, Some(0), _) => Expected::New,
        (_, Some(order), _) => Expected::At(Order(order)),
        (_, _, true) => Expected::Exists,
        _ => Expected::Any,
    };
    let events = match &args.json_lines {
        Some(path) => of_lines(path, console)?,
        None => of_arguments(args, console)?,
    };
    if events.is_empty() {
        return Err(Ended::usage("there is no event to append"));
    }
    let id = match &args.id {
        Some(id) => {
            let id = AppendId::new(console.bytes(id)?);
            Some(id.ok_or_else(|| Ended::usage("an id has 1 to 64 bytes"))?)
        }
        None if expected.order().is_none() => Some(drawn_id()?),
        None => None,
    };
    let identity = id.map(|id| Identity { id, is_first: !args.retry, seen: args.seen.map(Order) });
    Ok(Append { events, identity, timeout: args.timeout, ..Append::new(key, expected) })
}

fn of_arguments(args: &AppendArgs, console: &mut Console<'_>) -> Result<Vec<EventContent>, Ended> {
    let mut headers = Vec::new();
    for HeaderArgument { name, value } in &args.headers {
        let value = value.as_ref().map(|value| console.bytes(value)).transpose()?;
        headers.push(Header { name: name.clone(), value });
    }
    let mut events = Vec::new();
    for value in &args.values {
        events.push(EventContent { value: Some(console.bytes(value)?), headers: headers.clone() });
    }
    if args.tombstone {
        events.push(EventContent { value: None, headers });
    }
    Ok(events)
}

fn of_lines(path: &str, console: &mut Console<'_>) -> Result<Vec<EventContent>, Ended> {
    if path == "-" {
        return all(JsonLines::new(console.take_input()?, "standard input"));
    }
    let file = File::open(path).map_err(|error| Ended::file(Path::new(path), error))?;
    all(JsonLines::new(&mut BufReader::new(file), path))
}

fn all(mut lines: JsonLines<'_>) -> Result<Vec<EventContent>, Ended> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(event) = lines.next_event()? {
        if events.len() == BATCH_EVENTS_MAX as usize {
            let error =
                format!("one append has {BATCH_EVENTS_MAX} events at most; bkes import takes any number");
            return Err(lines.wrong(error));
        }
        bytes += event.content.bytes();
        if !events.is_empty() && bytes > BATCH_BYTES_MAX {
            return Err(lines.wrong(format!("one append has {BATCH_BYTES_MAX} bytes at most")));
        }
        events.push(event.content);
    }
    Ok(events)
}

/// An id that no other append has: 32 hexadecimal digits.
fn drawn_id() -> Result<AppendId, Ended> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        Ended::new(Code::InputOutput, format_args!("no id can be drawn: {error}")).advise("Give one by --id.")
    })?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(AppendId::new(digits).expect("32 bytes are an id"))
}

fn show(args: &AppendArgs, key: &Key, appended: &Appended, console: &mut Console<'_>) -> Result<(), Ended> {
    let position = positions::shown(&appended.position());
    let shown = match args.shape.on(console) {
        Shape::Table => console.line(format_args!("{}", words(appended))),
        Shape::Json => {
            let mut line = Vec::new();
            let mut object = Object::begin(&mut line);
            object.bytes("key", Some(key.bytes()));
            object.plain("first_order", appended.first);
            object.plain("last_order", appended.last);
            object.plain("next_order", appended.next());
            object.plain("partition", appended.partition);
            object.plain("first_offset", appended.first_offset);
            object.plain("last_offset", appended.last_offset);
            object.optional("timestamp_ms", appended.timestamp);
            object.plain("by_earlier_try", appended.by_earlier_try);
            object.text("position", &position);
            object.end();
            line.push(b'\n');
            console.write(&line)
        }
    };
    match shown.and_then(|()| console.flush()) {
        // The append is done, whoever reads of it.
        Err(Ended::OutputClosed) | Ok(()) => Ok(()),
        Err(error) => Err(error.advise(format_args!("It is done all the same: {}.", words(appended)))),
    }
}

fn words(appended: &Appended) -> String {
    let Appended { first, last, partition, first_offset, last_offset, .. } = appended;
    let orders = if first == last { format!("order {first}") } else { format!("orders {first} to {last}") };
    let offsets = if first_offset == last_offset {
        format!("offset {first_offset}")
    } else {
        format!("offsets {first_offset} to {last_offset}")
    };
    let by = if appended.by_earlier_try { ", by an earlier try" } else { "" };
    format!(
        "stored at {orders}, in partition {partition} at {offsets}{by}; the next order is {}",
        appended.next()
    )
}

fn interrupted(identity: Option<&Identity>) -> AppendFailure {
    let failure = Failure::new(Reason::AnswerLost, "interrupted before there was an answer");
    AppendFailure::Unknown { id: identity.map(|identity| identity.id.clone()), failure }
}

/// The end that a failure makes, with what to do.
fn explained(failure: AppendFailure, key: &Key, identity: Option<&Identity>, program: &str) -> Ended {
    let key = spelled(key.bytes());
    match failure {
        AppendFailure::Conflict(conflict) => {
            let (expected, current) = (conflict.expected.order().unwrap_or(Order::FIRST), conflict.current);
            let ended = Ended::new(
                Code::Conflict,
                format_args!("conflict: {conflict} (expected order {expected}, current order {current})"),
            );
            if expected > current {
                return ended
                    .advise("It has fewer events than were expected: perhaps this is another store, or another key.")
                    .advise(format_args!("See where it stands: {program} head {key} --latest"));
            }
            ended
                .advise(format_args!(
                    "Read what came since, and decide again: {program} read {key} --from {expected}"
                ))
                .advise(format_args!("What still holds is appended with --at {current}."))
        }
        AppendFailure::Unknown { id, failure } => {
            let ended = Ended::new(
                Code::Unknown,
                format_args!("outcome unknown: it is stored once or not at all: {}", described(&failure)),
            );
            match id.or_else(|| identity.map(|identity| identity.id.clone())) {
                Some(id) => ended.advise(format_args!(
                    "Repeat the same append with --id {} --retry: it is stored once, whatever became of this try.",
                    spelled(id.bytes())
                )),
                None => ended.advise(format_args!(
                    "Read whether it is there before another try: {program} read {key} --latest"
                )),
            }
        }
        AppendFailure::IdUsed { first, .. } => Ended::new(Code::Rejected, &failure)
            .advise(format_args!("The append of that id is stored: {program} read {key} --from {first}")),
        AppendFailure::IdReused { .. } => {
            Ended::new(Code::Rejected, &failure).advise("Another append needs another id.")
        }
        AppendFailure::NotStored(failure) => Ended::of_append(&failure),
    }
}
