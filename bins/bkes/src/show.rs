//! Events on the output: as a table, as JSON lines, as raw values or in a format of the caller's.

use crate::byte_argument::quoted;
use crate::console::Console;
use crate::escape::{self, Escape};
use crate::exit::Ended;
use crate::format::{self, Format};
use crate::json_event;
use crate::limits::{TABLE_HEADERS_MAX, TABLE_KEY_MAX};
use crate::moment;
use bkes_api::{Event, Key};
use clap::ValueEnum;
use std::fmt::Write;

/// How lists and numbers are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Shape {
    /// For people
    Table,
    /// A JSON object on each line
    Json,
}

/// How events are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum EventShape {
    /// For people
    Table,
    /// A JSON object on each line
    Json,
    /// The values, byte for byte, with nothing between them
    Raw,
}

/// Flags for lists and numbers.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ShapeArgs {
    /// How to show it; a table on a terminal and JSON elsewhere
    #[arg(short, long, value_enum, value_name = "SHAPE")]
    pub output: Option<Shape>,
}

impl ShapeArgs {
    /// The shape, where the output is not told which.
    pub fn on(self, console: &Console<'_>) -> Shape {
        let usual = if console.looks.output_is_terminal { Shape::Table } else { Shape::Json };
        self.output.unwrap_or(usual)
    }
}

/// Flags for events.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EventShapeArgs {
    /// How to show events; a table on a terminal and JSON elsewhere
    #[arg(short, long, value_enum, value_name = "SHAPE")]
    pub output: Option<EventShape>,

    /// Show events in this format, as kcat does: %k key, %s value, %n order, ... \n
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "output")]
    pub format: Option<Format>,
}

impl EventShapeArgs {
    /// The same as flags, with a blank before each.
    pub fn flags(&self) -> String {
        let output = self
            .output
            .and_then(|shape| Some(format!(" --output {}", shape.to_possible_value()?.get_name())));
        let format = self.format.as_ref().map(|format| format!(" --format {}", quoted(format.text())));
        [output, format].into_iter().flatten().collect()
    }
}

/// What shows events.
pub struct EventPrinter {
    how: How,
    /// Raw bytes and formats go to a terminal.
    is_escaped: bool,
    line: Vec<u8>,
}

enum How {
    Table(Table),
    Json,
    Raw,
    Format(Format),
}

struct Table {
    with_key: bool,
    with_headers: bool,
    width: Option<usize>,
    has_colors: bool,
    has_begun: bool,
}

impl EventPrinter {
    /// One for this console. A table shows keys where events are of several aggregates.
    pub fn new(
        args: &EventShapeArgs,
        console: &Console<'_>,
        with_key: bool,
        with_headers: bool,
    ) -> EventPrinter {
        let looks = console.looks;
        let usual = if looks.output_is_terminal { EventShape::Table } else { EventShape::Json };
        let how = match (&args.format, args.output.unwrap_or(usual)) {
            (Some(format), _) => How::Format(format.clone()),
            (None, EventShape::Json) => How::Json,
            (None, EventShape::Raw) => How::Raw,
            (None, EventShape::Table) => How::Table(Table {
                with_key,
                with_headers,
                width: looks.width,
                has_colors: looks.has_colors,
                has_begun: false,
            }),
        };
        EventPrinter { how, is_escaped: looks.output_is_terminal, line: Vec::new() }
    }

    /// Shows an event.
    pub fn show(&mut self, console: &mut Console<'_>, key: &Key, event: &Event) -> Result<(), Ended> {
        self.line.clear();
        let escape = self.is_escaped.then_some(Escape::AllButLines);
        match &mut self.how {
            How::Table(table) => self.line.extend(table.row(key, event).into_bytes()),
            How::Json => {
                json_event::write(&mut self.line, key, event);
                self.line.push(b'\n');
            }
            How::Raw => match escape {
                Some(escape) => self.line.extend(escape::bytes(event.value_bytes(), escape).into_bytes()),
                None => return console.write(event.value_bytes()),
            },
            How::Format(format) => format.write(&mut self.line, key, event, escape),
        }
        console.write(&self.line)
    }
}

impl Table {
    /// The row of an event, after the head of the table if it is the first.
    fn row(&mut self, key: &Key, event: &Event) -> String {
        let mut out = String::new();
        if !self.has_begun {
            self.has_begun = true;
            let key = if self.with_key { format!("{:<TABLE_KEY_MAX$} ", "KEY") } else { String::new() };
            let headers = if self.with_headers { "[HEADERS] " } else { "" };
            let head =
                format!("{key}{:>8} {:>4} {:>10}  {:<24}  {headers}VALUE", "ORDER", "PART", "OFFSET", "TIME");
            let (bold, plain) = if self.has_colors { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
            push(&mut out, format_args!("{bold}{}{plain}\n", cut(&head, self.width)));
        }
        let mut row = String::new();
        if self.with_key {
            let key = escape::bytes(key.bytes(), Escape::All);
            let key = cut(&key, self.width.map(|_| TABLE_KEY_MAX));
            push(&mut row, format_args!("{key:<TABLE_KEY_MAX$} "));
        }
        let time = event.timestamp.map_or(String::new(), moment::shown);
        let (order, partition, offset) = (event.order, event.partition, event.offset);
        // The number types hand the width on.
        push(&mut row, format_args!("{order:>8} {partition:>4} {offset:>10}  {time:<24}  "));
        if self.with_headers && !event.headers.is_empty() {
            let headers = escape::bytes(&format::headers(&event.headers), Escape::All);
            let room = self.width.map(|_| TABLE_HEADERS_MAX);
            push(&mut row, format_args!("[{}] ", cut(&headers, room)));
        }
        match &event.value {
            Some(value) => {
                // No more is escaped than a row could show.
                let shown = self.width.map_or(value.len(), |width| value.len().min(width * 4));
                row.push_str(&escape::bytes(&value[..shown], Escape::All));
            }
            None => row.push_str("(tombstone)"),
        }
        push(&mut out, format_args!("{}\n", cut(&row, self.width)));
        out
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}

/// Text of at most so many characters.
fn cut(text: &str, width: Option<usize>) -> String {
    match width.filter(|width| text.chars().nth(*width).is_some()) {
        Some(width) => text.chars().take(width.saturating_sub(1)).chain(['\u{2026}']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_cut_says_so() {
        assert_eq!(cut("abc", Some(3)), "abc");
        assert_eq!(cut("abcd", Some(3)), "ab\u{2026}");
        assert_eq!(cut("\u{e9}\u{e9}\u{e9}\u{e9}", Some(3)), "\u{e9}\u{e9}\u{2026}");
        assert_eq!(cut("abcd", None), "abcd");
    }
}
