//! A history as text, a line for each call, record and event: for people who look for the cause of a finding.

use crate::history::{AppendCall, AppendOutcome, Call, CallId, Content, Expecting, History, LogRecord};
use crate::history::{FollowStream, FollowedFrom, FollowedItem};
use crate::history::{Fresh, Operation, ReadCall, ReadOutcome, TryOf, View, WaitCall};
use crate::violation::All;
use bkes_core::{Partition, Position};
use std::fmt;

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, call) in self.calls.iter().enumerate() {
            writeln!(f, "{}: {call}", CallId(number))?;
        }
        for follower in &self.follows {
            for (number, stream) in follower.streams.iter().enumerate() {
                write!(
                    f,
                    "follower {} of {:?}, stream {number}: {stream}",
                    follower.client.0, follower.followed
                )?;
            }
        }
        for (number, wait) in self.waits.iter().enumerate() {
            writeln!(f, "wait {number}: {wait}")?;
        }
        for record in &self.log {
            writeln!(f, "log {record}")?;
        }
        for content in &self.contents {
            content.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { client, instance, key, begin, end, operation } = self;
        write!(f, "{begin}..")?;
        if let Some(end) = end {
            write!(f, "{end}")?;
        }
        write!(f, " client {} {instance} {key}: ", client.0)?;
        match operation {
            Operation::Append(append) => append.fmt(f),
            Operation::Read(read) => read.fmt(f),
        }
    }
}

impl fmt::Display for WaitCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WaitCall { client, instance, begin, end, positions, outcome } = self;
        write!(f, "{begin}..")?;
        if let Some(end) = end {
            write!(f, "{end}")?;
        }
        write!(f, " client {} {instance}: wait for{} -> {outcome:?}", client.0, All(positions))
    }
}

impl fmt::Display for AppendCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expected {
            Expecting::New => f.write_str("append to new")?,
            Expecting::At(order) => write!(f, "append at {order}")?,
            Expecting::Exists => f.write_str("append to existing")?,
            Expecting::Any => f.write_str("append to any")?,
        }
        if let Some(TryOf { id, is_first, seen }) = &self.identity {
            write!(f, " id \"{}\"", id.escape_ascii())?;
            f.write_str(if *is_first { " first try" } else { "" })?;
            seen.map_or(Ok(()), |seen| write!(f, " from {seen} on"))?;
        }
        for value in &self.values {
            write!(f, " \"{}\"", value[..value.len().min(32)].escape_ascii())?;
        }
        write!(f, ", {} events seen: ", self.premise.count)?;
        match self.outcome {
            AppendOutcome::Acknowledged { partition, offset, first } => {
                write!(f, "acknowledged at {first}, {partition}/{offset}")
            }
            AppendOutcome::Rejected { current: Some(current) } => write!(f, "rejected, next is {current}"),
            AppendOutcome::Rejected { current: None } => f.write_str("rejected"),
            AppendOutcome::IdReused { first } => write!(f, "rejected, its id is another append's at {first}"),
            AppendOutcome::IdUsed { first, partition, offset } => {
                write!(f, "rejected, its id was used at {first}, {partition}/{offset}")
            }
            AppendOutcome::Unavailable => f.write_str("unavailable"),
            AppendOutcome::IdWindow => f.write_str("unknown, and not sent"),
            AppendOutcome::Unknown => f.write_str("unknown"),
            AppendOutcome::Unanswered => f.write_str("no answer"),
        }
    }
}

impl fmt::Display for ReadCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read from {}", self.from)?;
        if let Some(limit) = self.limit {
            write!(f, " at most {limit}")?;
        }
        match self.view {
            View::Now => {}
            View::Backwards => f.write_str(" backwards")?,
            View::AsOfOffset(partition, offset) => write!(f, " as of {partition}/{offset}")?,
            View::AsOfTime(ms) => write!(f, " as of {ms} ms")?,
        }
        match &self.fresh {
            Fresh::Local => {}
            Fresh::AtLeast(positions) => {
                f.write_str(" at least")?;
                for (partition, position) in positions {
                    write!(f, " {partition}/{position}")?;
                }
            }
            Fresh::Latest => f.write_str(" latest")?,
        }
        match &self.outcome {
            ReadOutcome::Events { events, more } => {
                write!(f, ": {} events", events.len())?;
                if let (Some(first), Some(last)) = (events.first(), events.last()) {
                    write!(f, ", {first} to {last}")?;
                }
                f.write_str(if *more { ", more" } else { "" })
            }
            ReadOutcome::NoSuchAggregate => f.write_str(": no such aggregate"),
            ReadOutcome::OutOfRange => f.write_str(": positions out of range"),
            ReadOutcome::Unavailable => f.write_str(": unavailable"),
            ReadOutcome::Unanswered => f.write_str(": no answer"),
        }
    }
}

/// A line for the stream, and one for each item.
impl fmt::Display for FollowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FollowStream { instance, begin, opened, from, items, is_out_of_range } = self;
        write!(f, "{begin}..")?;
        if let Some(opened) = opened {
            write!(f, "{opened}")?;
        }
        write!(f, " {instance} from")?;
        match from {
            FollowedFrom::Now => f.write_str(" now")?,
            FollowedFrom::Positions(positions) if positions.is_empty() => f.write_str(" the beginning")?,
            FollowedFrom::Positions(positions) => places(f, positions)?,
        }
        writeln!(f, "{}", if *is_out_of_range { ": positions out of range" } else { "" })?;
        for item in items {
            match item {
                FollowedItem::Events(events) => {
                    for (key, event) in events {
                        writeln!(f, "  {key}: {event}")?;
                    }
                }
                FollowedItem::CaughtUp => writeln!(f, "  caught up")?,
                FollowedItem::FellBehind => writeln!(f, "  fell behind")?,
                FollowedItem::Positions(positions) => {
                    f.write_str("  everything below")?;
                    places(f, positions)?;
                    writeln!(f)?;
                }
            }
        }
        Ok(())
    }
}

fn places(f: &mut fmt::Formatter<'_>, positions: &[(Partition, Position)]) -> fmt::Result {
    positions.iter().try_for_each(|(partition, position)| write!(f, " {partition}/{position}"))
}

impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)?;
        match &self.key {
            Some(key) => write!(f, " {key}")?,
            None => f.write_str(" no key")?,
        }
        match &self.value {
            Some(value) => write!(f, " \"{}\"", value[..value.len().min(64)].escape_ascii())?,
            None => f.write_str(" null")?,
        }
        f.write_str(if self.foreign { " foreign" } else { "" })
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, events) in &self.keys {
            for event in events {
                writeln!(f, "{} {key}: {event}", self.of)?;
            }
        }
        Ok(())
    }
}
