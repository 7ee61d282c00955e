//! Why the events of a split aggregate may have no order.

use bkes_core::{Offset, Order, Partition};

/// Why the `order` headers of a split aggregate are not one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoOrder {
    /// More events than are put in order.
    #[error("it has {events} events, and at most {events_max} are put in order")]
    TooMany {
        /// How many it has.
        events: u64,
        /// How many it may have.
        events_max: u64,
    },
    /// A record without an order of its own: no header, none that is a number, or one that was forwarded from another record.
    #[error("the record at offset {offset} of partition {partition} has no order header of its own")]
    Missing {
        /// Where it lies.
        partition: Partition,
        /// Where it lies in it.
        offset: Offset,
    },
    /// Two records have one order.
    #[error("order {order} is there twice, the second time at offset {offset} of partition {partition}")]
    Twice {
        /// The order.
        order: Order,
        /// Where the second one lies.
        partition: Partition,
        /// Where it lies in it.
        offset: Offset,
    },
    /// An order as high as the number of events: a lower one is not there.
    #[error(
        "order {order} is there, at offset {offset} of partition {partition}, and of {events} events a lower one is missing"
    )]
    Gap {
        /// The order.
        order: Order,
        /// Where it lies.
        partition: Partition,
        /// Where it lies in it.
        offset: Offset,
        /// How many events there are.
        events: u64,
    },
}
