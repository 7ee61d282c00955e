//! The engine's answers in the wire's words. Numbers that do not fit are an error, never wrapped around.

use crate::api::{Record, StoreSuccess};
use crate::errors::Failure;
use bkes_core::{Order, TimestampMs};
use bkes_engine::{Appended, EventContent, StoredEvent};

/// The wire's word for "no partition", "no offset" and "no timestamp".
const NONE: i8 = -1;

/// Where an append was stored.
pub fn stored(appended: &Appended) -> Result<StoreSuccess, Failure> {
    Ok(StoreSuccess {
        partition: fits("partition", appended.partition.0)?,
        offset: fits("offset", appended.offset.0)?,
        timestamp: appended.timestamp_ms.unwrap_or(NONE.into()),
        order: Some(appended.last.0),
    })
}

/// An event.
pub fn record(event: StoredEvent) -> Result<Record, Failure> {
    Ok(Record {
        partition: fits("partition", event.partition.0)?,
        offset: fits("offset", event.offset.0)?,
        timestamp: event.timestamp.map_or(NONE.into(), |TimestampMs(ms)| ms),
        order: Some(event.order.0),
        tombstone: event.tombstone,
        pending: false,
        value: event.value,
    })
}

/// What is sent and not decided, and the order it will have if it is accepted.
pub fn pending(content: EventContent, order: Order) -> Record {
    Record {
        tombstone: content.value.is_none(),
        value: content.value.unwrap_or_default(),
        partition: NONE.into(),
        offset: NONE.into(),
        timestamp: NONE.into(),
        order: Some(order.0),
        pending: true,
    }
}

fn fits<From: Copy + Into<u64>, To: TryFrom<From>>(what: &'static str, number: From) -> Result<To, Failure> {
    To::try_from(number).map_err(|_| Failure::NotRepresentable { what, number: number.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_core::{Offset, Partition};
    use bytes::Bytes;

    fn appended(partition: u32, offset: u64) -> Appended {
        Appended {
            by_earlier_try: false,
            partition: Partition(partition),
            first_offset: Offset(offset),
            offset: Offset(offset),
            timestamp_ms: None,
            first: Order(3),
            last: Order(3),
        }
    }

    #[test]
    fn the_largest_numbers_fit_and_larger_ones_do_not_wrap() {
        let most = stored(&appended(i32::MAX as u32, i64::MAX as u64)).expect("they fit");
        let expected = StoreSuccess { partition: i32::MAX, offset: i64::MAX, timestamp: -1, order: Some(3) };
        assert_eq!(most, expected);
        for (partition, offset, named) in [(1 << 31, 0, "partition"), (0, 1 << 63, "offset")] {
            match stored(&appended(partition, offset)) {
                Err(Failure::NotRepresentable { what, .. }) => assert_eq!(what, named),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_tombstone_an_empty_value_and_a_pending_one_are_told_apart() {
        let event = |tombstone| StoredEvent {
            order: Order(0),
            partition: Partition(2),
            offset: Offset(9),
            timestamp: Some(TimestampMs(5)),
            value: Bytes::new(),
            tombstone,
            stamp: None,
            headers: Vec::new(),
        };
        let flags = |record: Record| (record.tombstone, record.pending, record.partition, record.offset);
        assert_eq!(flags(record(event(true)).expect("it fits")), (true, false, 2, 9));
        assert_eq!(flags(record(event(false)).expect("it fits")), (false, false, 2, 9));
        let empty = EventContent::from(Bytes::new());
        assert_eq!(flags(pending(empty, Order(1))), (false, true, -1, -1));
        assert_eq!(flags(pending(EventContent::default(), Order(1))), (true, true, -1, -1));
    }
}
