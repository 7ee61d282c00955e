//! Following the log.

use crate::event::Event;
use crate::positions::Positions;
use bkes_core::{Key, Partition};
use bytes::Bytes;

/// Whose events are followed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Followed {
    /// Those of all aggregates.
    #[default]
    All,
    /// Those of aggregates whose keys begin so.
    Prefix(Bytes),
    /// Those in these partitions.
    Partitions(Vec<Partition>),
    /// Those of one aggregate.
    Key(Key),
}

/// Where following begins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FollowFrom {
    /// With what is decided after the call began.
    #[default]
    Now,
    /// With the first event that the log still has.
    Beginning,
    /// At these positions; partitions that they do not name from the beginning. Positions that were shown by a stream before go on where
    /// that one was.
    Positions(Positions),
}

/// What to follow, and from where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Follow {
    /// Whose events.
    pub followed: Followed,
    /// From where.
    pub from: FollowFrom,
    /// Whether events come with their headers.
    pub with_headers: bool,
}

impl Default for Follow {
    fn default() -> Follow {
        Follow { followed: Followed::All, from: FollowFrom::Now, with_headers: true }
    }
}

/// What comes of following. Events of one partition come in the order they were decided, which is that of the last offsets of their appends;
/// those of a batch together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowItem {
    /// Events.
    Events(Vec<FollowedEvent>),
    /// Everything that was there is shown: what comes now is new.
    CaughtUp,
    /// New events come faster than they are taken: what follows is read from the past again, until it is caught up.
    FellBehind,
    /// Everything below these positions that is followed was shown. It comes regularly, and before the stream ends.
    Positions(Positions),
}

/// An event that is followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowedEvent {
    /// Its aggregate.
    pub key: Key,
    /// The event.
    pub event: Event,
}
