//! What a partition machine asks its host while it steps.

use super::input::{Append, Counted, Known, Load, Located};
use crate::append::{AppendError, Unready};
use crate::{EventOutline, Head, Key, Order, Partition};
use std::ops::Range;

/// The host's answers. Each is *as of now*: it takes in all that was applied and shown before this step. What the step itself applies
/// the machine knows.
///
/// A machine may ask for several keys for one record; today it asks for one.
pub trait Lookup<T> {
    /// What the host hashes a key to.
    fn hash(&self, key: &Key) -> u64;

    /// Where a key stands in this machine's partition. `known` is what an earlier answer said, which may spare the host the question.
    /// `None` if it cannot be told now, or if another fold of the partition counts by now.
    fn count(&self, key: &Key, known: Known) -> Option<Counted>;

    /// The events of a key in this machine's partition at these orders, without their content: all of them, or why that cannot be told
    /// now. For an id that is looked for: some hundred as a rule, [`ID_LOOK_MAX`](crate::append_id::ID_LOOK_MAX) at most.
    fn outlines(&self, key: &Key, orders: Range<Order>) -> Result<Vec<EventOutline>, Unready>;

    /// Whether a key that has no events in this partition has some in another one.
    fn is_elsewhere(&self, counted: &Counted) -> bool;

    /// Where the aggregate of an append lives or would begin, and where it stands there; `here` is its share in this partition, if this
    /// step has changed it.
    fn locate(&self, append: &Append<T>, here: Option<Head>) -> Result<Located, AppendError>;

    /// Takes a key for this partition while an append of it is in flight, or says which partition has one in flight.
    fn claim(&self, key: &Key) -> Result<(), Partition>;

    /// Gives a claimed key free.
    fn release(&self, key: &Key);

    /// Whether whoever asked for an append went away.
    fn is_gone(&self, ticket: &T) -> bool;

    /// Why nothing can be sent at all: the log or the store is away, or another fold of the partition counts by now, so that what was looked up
    /// may be of neither.
    fn unsendable(&self) -> Option<Unready>;

    /// Whether an append need not wait for room, with what this step sends already.
    fn fits(&self, append: &Append<T>, sending: Load) -> bool;

    /// Whether the send queue takes all this, or why not.
    fn has_room(&self, load: Load) -> Result<(), Unready>;

    /// The largest record that can be sent, in bytes; `None` if that is not known.
    fn record_bytes_max(&self) -> Option<u64>;
}
