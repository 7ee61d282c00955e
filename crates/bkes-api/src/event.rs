//! An event as readers see it.

use bkes_core::append_id::AppendId;
use bkes_core::marker::ID_HEADER;
use bkes_core::{BatchPlace, Header, Offset, Order, Partition, StoredEvent, TimestampMs, content_bytes};
use bytes::Bytes;

/// An event: an accepted record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its place in its aggregate.
    pub order: Order,
    /// Where its record lies.
    pub partition: Partition,
    /// Where its record lies in the partition. From one append to the next the offset of the *last* event rises with the order, and so do
    /// the offsets within an append; there are gaps. The first events of a batch may lie below an event of a lower order.
    pub offset: Offset,
    /// The log's timestamp; old message formats have none.
    pub timestamp: Option<TimestampMs>,
    /// Its value; `None` of a tombstone, which is an event like any other. Values that were read together may share a piece of memory of
    /// 64 KiB, or a message: one that is kept for long is better copied.
    pub value: Option<Bytes>,
    /// The headers that its writer gave it, in their order.
    pub headers: Vec<Header>,
    /// Who wrote it.
    pub origin: Origin,
}

/// Who wrote an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A producer that knows nothing of BKES.
    Foreign,
    /// BKES.
    Bkes {
        /// Its place in the append, if that has several events.
        batch: Option<BatchPlace>,
        /// The id of the append, on its first event, if it has one.
        append_id: Option<AppendId>,
    },
}

impl Event {
    /// The value's bytes; none for a tombstone.
    pub fn value_bytes(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }

    /// A stored event as it is shown: with its headers, or without them.
    pub fn shown(event: StoredEvent, with_headers: bool) -> Event {
        let mut event = Event::from(event);
        if !with_headers {
            event.headers = Vec::new();
        }
        event
    }

    /// Value and headers together, as the limits of reads count them: each header with what it takes in memory beside its bytes.
    pub fn content_bytes(&self) -> usize {
        content_bytes(self.value_bytes().len(), &self.headers)
    }
}

impl From<StoredEvent> for Event {
    fn from(event: StoredEvent) -> Event {
        let append_id = event.append_id().cloned().and_then(AppendId::new);
        let StoredEvent { order, partition, offset, timestamp, value, tombstone, stamp, mut headers } = event;
        if append_id.is_some() {
            // Of an event that BKES wrote this one is the append's, and not its writer's.
            let of_id = headers.iter().position(|header| header.name == ID_HEADER);
            of_id.map(|index| headers.remove(index));
        }
        let origin = match stamp {
            None => Origin::Foreign,
            Some(stamp) => Origin::Bkes { batch: stamp.place, append_id },
        };
        let value = (!tombstone).then_some(value);
        Event { order, partition, offset, timestamp, value, headers, origin }
    }
}
