//! Nouns that requests and answers share.

use crate::bad_field::fit;
use crate::{BadField, v2};
use bkes_api::{Freshness, Header, Layout, Partition, Positions};

/// The number of a partition.
pub fn partition(partition: Partition) -> Result<i32, BadField> {
    fit("partition", partition.0)
}

/// Positions.
pub fn positions(positions: &Positions) -> Result<v2::Positions, BadField> {
    let topic_id = positions.topic.as_ref().map_or_else(String::new, |topic| topic.as_str().to_owned());
    let of = positions.of.iter().enumerate().map(|(index, (of, position))| {
        let turned = partition(*of)
            .and_then(|partition| Ok(v2::Position { partition, offset: fit("offset", position.0)? }));
        turned.map_err(|bad| bad.within(format_args!("positions[{index}]")))
    });
    Ok(v2::Positions { topic_id, positions: of.collect::<Result<_, _>>()? })
}

/// How fresh an answer has to be.
pub fn freshness(freshness: &Freshness) -> Result<Option<v2::Freshness>, BadField> {
    use v2::freshness::Freshness as Wire;
    let wire = match freshness {
        Freshness::Local => return Ok(None),
        Freshness::Latest => Wire::Latest(true),
        Freshness::AtLeast(at_least) => {
            Wire::AtLeast(positions(at_least).map_err(|bad| bad.within("freshness.at_least"))?)
        }
    };
    Ok(Some(v2::Freshness { freshness: Some(wire) }))
}

/// A header.
pub fn header(header: Header) -> v2::Header {
    let Header { name, value } = header;
    v2::Header { name, value }
}

/// How the events of an aggregate lie: the partitions of a split one, and whether they are in the order of their headers.
pub fn layout(layout: &Layout) -> Result<(Vec<i32>, bool), BadField> {
    match layout {
        Layout::OnePartition => Ok((Vec::new(), false)),
        Layout::PartByPart(over) => Ok((partitions(over)?, false)),
        Layout::ByOrderHeaders(over) => Ok((partitions(over)?, true)),
    }
}

/// Numbers of partitions.
pub fn partitions(partitions: &[Partition]) -> Result<Vec<i32>, BadField> {
    partitions.iter().map(|of| partition(*of)).collect()
}
