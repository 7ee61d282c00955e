//! Nouns that requests and answers share.

use crate::bad_field::{EMPTY, NOT_TRUE, fit};
use crate::limits::PARTITIONS_MAX;
use crate::{BadField, v2};
use bkes_api::{Freshness, Header, Key, Layout, Offset, Partition, Position, Positions, TopicId};
use bytes::Bytes;

/// A key.
pub fn key(bytes: Bytes) -> Result<Key, BadField> {
    Key::new(bytes).ok_or_else(|| BadField::new("key", EMPTY))
}

/// The number of a partition.
pub fn partition(number: i32) -> Result<Partition, BadField> {
    fit("partition", number).map(Partition)
}

/// An offset.
pub fn offset(field: &str, offset: i64) -> Result<Offset, BadField> {
    fit(field, offset).map(Offset)
}

/// Positions, each partition once.
pub fn positions(message: v2::Positions) -> Result<Positions, BadField> {
    let v2::Positions { topic_id, positions } = message;
    if positions.len() > PARTITIONS_MAX {
        return Err(BadField::new("positions", format!("has more than {PARTITIONS_MAX} members")));
    }
    let topic = (!topic_id.is_empty()).then(|| TopicId::new(&topic_id));
    let position = |(index, position): (usize, v2::Position)| {
        let v2::Position { partition: number, offset } = position;
        let turned =
            partition(number).and_then(|partition| Ok((partition, Position(fit("offset", offset)?))));
        turned.map_err(|bad| bad.within(format_args!("positions[{index}]")))
    };
    let of: Vec<_> = positions.into_iter().enumerate().map(position).collect::<Result<_, _>>()?;
    let mut named: Vec<Partition> = of.iter().map(|(partition, _)| *partition).collect();
    named.sort_unstable();
    if named.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(BadField::new("positions", "names a partition twice"));
    }
    Ok(Positions { topic, of })
}

/// How fresh an answer has to be.
pub fn freshness(message: Option<v2::Freshness>) -> Result<Freshness, BadField> {
    use v2::freshness::Freshness as Wire;
    match message.and_then(|message| message.freshness) {
        None => Ok(Freshness::Local),
        Some(Wire::Latest(true)) => Ok(Freshness::Latest),
        Some(Wire::Latest(false)) => Err(BadField::new("freshness.latest", NOT_TRUE)),
        Some(Wire::AtLeast(at_least)) => {
            let turned = positions(at_least).map_err(|bad| bad.within("freshness.at_least"));
            turned.map(Freshness::AtLeast)
        }
    }
}

/// A header.
pub fn header(message: v2::Header) -> Header {
    let v2::Header { name, value } = message;
    Header { name, value }
}

/// How the events of an aggregate lie.
pub fn layout(split_over: Vec<i32>, by_order_headers: bool) -> Result<Layout, BadField> {
    let partitions = partitions("split_over", split_over)?;
    match (partitions.is_empty(), by_order_headers) {
        (true, false) => Ok(Layout::OnePartition),
        (true, true) => Err(BadField::new("by_order_headers", "is set of an aggregate that is not split")),
        (false, false) => Ok(Layout::PartByPart(partitions)),
        (false, true) => Ok(Layout::ByOrderHeaders(partitions)),
    }
}

/// Numbers of partitions.
pub fn partitions(field: &str, numbers: Vec<i32>) -> Result<Vec<Partition>, BadField> {
    if numbers.len() > PARTITIONS_MAX {
        return Err(BadField::new(field, format!("has more than {PARTITIONS_MAX} members")));
    }
    let turned = |(index, number): (usize, i32)| fit(&format!("{field}[{index}]"), number).map(Partition);
    numbers.into_iter().enumerate().map(turned).collect()
}
