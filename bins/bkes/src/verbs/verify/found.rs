//! A finding of an audit in words: where it is, and what differs.

use crate::byte_argument::spelled;
use bkes_api::{Key, Offset, Order, Partition};
use bkes_audit::{Field, Finding, PartitionReport, Place};
use bkes_core::NewerFormat;

/// Something that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// What kind of thing, for programs.
    pub kind: &'static str,
    /// The aggregate it is about.
    pub key: Option<Key>,
    /// The order it is about.
    pub order: Option<Order>,
    /// The partition it lies in.
    pub partition: Option<Partition>,
    /// The offset it lies at.
    pub offset: Option<Offset>,
    /// What is wrong, for people. Nothing in it is as an event or a server wrote it.
    pub words: String,
}

impl Found {
    fn new(kind: &'static str, words: impl Into<String>) -> Found {
        let (key, order, partition, offset) = (None, None, None, None);
        Found { kind, key, order, partition, offset, words: words.into() }
    }

    fn of(self, key: &Key) -> Found {
        Found { key: Some(key.clone()), ..self }
    }

    fn at(self, place: &Place) -> Found {
        let Place { order, partition, offset } = *place;
        Found { order: Some(order), partition: Some(partition), offset: Some(offset), ..self }
    }

    fn of_order(self, order: Order) -> Found {
        Found { order: Some(order), ..self }
    }

    fn in_log(self, partition: Partition, offset: Option<Offset>) -> Found {
        Found { partition: Some(partition), offset, ..self }
    }

    /// Where it is, in words.
    pub fn place(&self) -> String {
        let parts = [
            self.key.as_ref().map(|key| format!("key {}", spelled(key.bytes()))),
            self.order.map(|order| format!("order {order}")),
            self.partition.map(|partition| format!("partition {partition}")),
            self.offset.map(|offset| format!("offset {offset}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What is not whole in a partition.
pub fn of_topic(report: &PartitionReport) -> Vec<Found> {
    let PartitionReport { partition, begin, cut, above_next, newer_format, .. } = report;
    let mut all = Vec::new();
    if begin.0 > 0 {
        let words = format!("the records below offset {begin} were removed from the topic");
        all.push(Found::new("head_removed", words).in_log(*partition, None));
    }
    if let Some(offset) = cut {
        let words = "this record shows that events were removed which BKES had numbered";
        all.push(Found::new("cut", words).in_log(*partition, Some(*offset)));
    }
    if let Some(offset) = above_next {
        let words = "this record rests on events that are not in the topic: they were lost or removed, or the record is a \
                     copy from another topic";
        all.push(Found::new("above_next", words).in_log(*partition, Some(*offset)));
    }
    if let Some(NewerFormat { offset, format }) = newer_format {
        let words =
            format!("a newer BKES wrote this record (format {format}): nothing from here on was audited");
        all.push(Found::new("newer_format", words).in_log(*partition, Some(*offset)));
    }
    all
}

/// What an instance shows otherwise than the topic holds it.
pub fn of_instance(finding: &Finding) -> Found {
    match finding {
        Finding::MissingAggregate { key, events } => {
            Found::new("missing_aggregate", format!("not shown; the topic has {events} events of it")).of(key)
        }
        Finding::ExtraAggregate { key, shown } => {
            Found::new("extra_aggregate", format!("{shown} events are shown; the topic has none of it"))
                .of(key)
        }
        Finding::NotListed { key } => {
            Found::new("not_listed", "it can be read, and is not in the list of all").of(key)
        }
        Finding::WronglyListed { key, next, partitions, more_partitions } => {
            let listed = listed(partitions, *more_partitions);
            let words = format!("the list says next order {next} in {listed}, which is not so");
            Found::new("wrongly_listed", words).of(key)
        }
        Finding::ListDisorder { after } => {
            let found = Found::new("list_disorder", "the list of all does not go on in order after this key");
            Found { key: after.clone(), ..found }
        }
        Finding::Missing { key, event } => Found::new("missing", "the event is not shown").of(key).at(event),
        Finding::Extra { key, event } => {
            Found::new("extra", "an event is shown that the topic does not have").of(key).at(event)
        }
        Finding::VoidShown { key, event, reason } => {
            Found::new("void_shown", format!("a void record is shown as an event: {reason}"))
                .of(key)
                .at(event)
        }
        Finding::Differs { key, event, fields } => {
            let fields: Vec<_> = fields.iter().map(|field| field_name(*field)).collect();
            Found::new("differs", format!("shown with another {}", fields.join(", "))).of(key).at(event)
        }
        Finding::WrongOrder { key, event, shown } => {
            Found::new("wrong_order", format!("shown at order {shown}")).of(key).at(event)
        }
        Finding::Disorder { key, after, shown } => {
            Found::new("disorder", format!("order {shown} is shown right after it")).of(key).of_order(*after)
        }
        Finding::WrongEnd { key, next } => {
            let words = format!("a read ends with next order {next}, which is not what it showed");
            Found::new("wrong_end", words).of(key)
        }
        Finding::WrongLayout { key, is_split } => Found::new("wrong_layout", layout(*is_split)).of(key),
        Finding::WrongHead { key, next } => Found::new("wrong_head", head(*next)).of(key),
        Finding::TooManyNewer { key, shown } => {
            let words = format!("{shown} events are shown above the end: more than there are offsets");
            Found::new("too_many_newer", words).of(key)
        }
        Finding::SplitDiffers { key, partitions } => {
            Found::new("split_differs", format!("split: {}", parts(partitions))).of(key)
        }
        Finding::Unsteady { key } => {
            Found::new("unsteady", "it differed when it was read first, and not when it was read again")
                .of(key)
        }
        Finding::Unreadable { key, failure } => {
            let words = format!("it cannot be read: {}", crate::exit::described(failure));
            Found::new("unreadable", crate::escape::text(&words)).of(key)
        }
    }
}

fn listed(partitions: &[Partition], more: usize) -> String {
    let numbers: Vec<_> = partitions.iter().map(ToString::to_string).collect();
    match (&numbers[..], more) {
        ([], _) => "no partition".to_owned(),
        ([one], 0) => format!("partition {one}"),
        (_, 0) => format!("partitions {}", numbers.join(", ")),
        (_, more) => format!("partitions {} and {more} more", numbers.join(", ")),
    }
}

fn layout(is_split: bool) -> &'static str {
    match is_split {
        true => "it is not said to lie in the partitions that its events are in",
        false => "it is said to lie in several partitions, and all its events are in one",
    }
}

fn head(next: Option<Order>) -> String {
    match next {
        Some(next) => {
            format!("its head says next order {next}, and where its last event lies, otherwise than a read")
        }
        None => "its head says that there is no such aggregate".to_owned(),
    }
}

fn parts(partitions: &[(Partition, u64, u64)]) -> String {
    let part = |(partition, topic, shown): &(Partition, u64, u64)| {
        format!("partition {partition} has {topic} events and {shown} are shown")
    };
    partitions.iter().map(part).collect::<Vec<_>>().join("; ")
}

fn field_name(field: Field) -> &'static str {
    match field {
        Field::Partition => "partition",
        Field::Offset => "offset",
        Field::Timestamp => "timestamp",
        Field::Value => "value",
        Field::Headers => "headers",
        Field::Writer => "writer",
        Field::Batch => "place in its append",
        Field::AppendId => "append id",
    }
}
