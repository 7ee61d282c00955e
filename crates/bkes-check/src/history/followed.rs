//! What followers were shown: a part of a [`History`](crate::History).

use super::{ClientId, Event, InstanceId};
use bkes_core::{Key, Partition, Position};
use bytes::Bytes;

/// One who follows, over all the streams that it opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Follower {
    /// Who.
    pub client: ClientId,
    /// Whose events.
    pub followed: Followed,
    /// Its streams, one after the other. Each begins where the follower chose, at positions that one before it was told, say.
    pub streams: Vec<FollowStream>,
}

/// Whose events are followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Followed {
    /// Those of all aggregates.
    All,
    /// Those of aggregates whose keys begin so.
    Prefix(Bytes),
    /// Those in these partitions.
    Partitions(Vec<Partition>),
    /// Those of one aggregate.
    Key(Key),
}

/// One stream, up to where it ended or its follower left it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowStream {
    /// Who was asked.
    pub instance: InstanceId,
    /// When the call was made.
    pub begin: u64,
    /// When it was answered: from then on the stream was open. `None` when it never was.
    pub opened: Option<u64>,
    /// Where it was to begin.
    pub from: FollowedFrom,
    /// What was shown, in order.
    pub items: Vec<FollowedItem>,
    /// Whether it was refused because its positions lie outside of the log.
    pub is_out_of_range: bool,
}

/// Where a stream begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowedFrom {
    /// With what is decided after the call.
    Now,
    /// At these positions, and at the beginning of partitions that are not named. Each was told to a follower before, or
    /// lay in the log when the stream began.
    Positions(Vec<(Partition, Position)>),
}

/// What a stream shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowedItem {
    /// Events.
    Events(Vec<(Key, Event)>),
    /// Everything that was there is shown.
    CaughtUp,
    /// What follows is read from the past again.
    FellBehind,
    /// Everything below these positions is shown.
    Positions(Vec<(Partition, Position)>),
}

impl Followed {
    /// Whether events of this key in this partition are followed.
    pub(crate) fn has(&self, key: &Key, partition: Partition) -> bool {
        match self {
            Followed::All => true,
            Followed::Prefix(prefix) => key.bytes().starts_with(prefix),
            Followed::Partitions(partitions) => partitions.contains(&partition),
            Followed::Key(one) => one == key,
        }
    }
}
