//! Append ids: a retry of an append is known for one.
//!
//! A writer may give its append an id of its own choice. It travels in a header of the append's first record
//! ([`ID_HEADER`](crate::marker::ID_HEADER)) and is kept with that event, so it holds after restarts and rebuilds and on every
//! instance, without a table or a time window. It counts only in an accepted record that BKES wrote.

use crate::Order;
use bytes::Bytes;
use std::fmt;

/// The longest id, in bytes.
pub const APPEND_ID_BYTES_MAX: usize = 64;

/// So many of an aggregate's last events are looked at for an id before an append is sent: its *window*. An append is in it if any of
/// its events is.
pub const ID_WINDOW: u64 = 128;

/// So many events are looked at for one append at most, however far back its writer's aggregate was before the first try: some
/// milliseconds of an owner's time, which it has for all its partitions.
pub const ID_LOOK_MAX: u64 = 2_000;

/// What a caller chose to know its append again by: 1 to 64 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(Bytes);

impl AppendId {
    /// An id of these bytes; `None` when there are none or too many.
    pub fn new(bytes: impl Into<Bytes>) -> Option<AppendId> {
        let bytes = bytes.into();
        (1..=APPEND_ID_BYTES_MAX).contains(&bytes.len()).then_some(AppendId(bytes))
    }

    /// Its bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Display for AppendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for AppendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppendId({self})")
    }
}

/// What a writer says of its append so that a retry is known for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The append's id: the same in each try, and in no other append.
    pub id: AppendId,
    /// Whether this is the first try. Of an append that names its order, only a refusal has it looked for then. Of one that does not,
    /// it is looked for in the window all the same, since a retry may overtake a try that is held up on its way; but without `seen`
    /// it is sent though the window does not reach back to where the aggregate was.
    pub is_first: bool,
    /// An order that the aggregate had reached before the first try, if that is known: the append cannot lie below it.
    pub seen: Option<Order>,
}

impl Identity {
    /// Of a try that may not be the first.
    pub fn of(id: AppendId) -> Identity {
        Identity { id, is_first: false, seen: None }
    }
}
