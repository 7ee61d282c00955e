//! The nouns: numbers that cannot be mixed up, keys, and the record as it lies in the log.

use bytes::Bytes;
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// The 0-based place of an event in its aggregate.
    Order(u64)
}
number! {
    /// The number of a partition of the topic.
    Partition(u32)
}
number! {
    /// Where a record lies in its partition. Offsets rise from record to record and have gaps; with the orders of a key only those of the
    /// last records of its appends do.
    Offset(u64)
}
number! {
    /// The next offset to read or apply in a partition: everything below it is done.
    Position(u64)
}
number! {
    /// Milliseconds since the Unix epoch, as the log keeps them.
    TimestampMs(i64)
}

impl Order {
    /// The order of an aggregate's first event.
    pub const FIRST: Order = Order(0);

    /// The order `count` places further on; `None` past the end of the numbers.
    pub fn plus(self, count: u64) -> Option<Order> {
        self.0.checked_add(count).map(Order)
    }
}

impl Offset {
    /// The position just behind this record.
    pub fn next(self) -> Position {
        Position(self.0.saturating_add(1))
    }
}

impl Position {
    /// The position at the very beginning of a partition.
    pub const START: Position = Position(0);

    /// The offset that a record written exactly here has.
    pub fn offset(self) -> Offset {
        Offset(self.0)
    }
}

/// One producer handle's random name: drawn anew whenever a handle is made, so that its numbers mean one thing only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// The opaque, non-empty name of an aggregate; it is also the Kafka record key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// A key of these bytes; `None` when there are none.
    pub fn new(bytes: impl Into<Bytes>) -> Option<Key> {
        let bytes = bytes.into();
        (!bytes.is_empty()).then_some(Key(bytes))
    }

    /// The key's bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// Text as it is when printable, escaped otherwise, cut after 64 bytes: for messages and logs.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(64)];
        write!(f, "{}", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// One header of a record. Names are bytes: Kafka does not promise UTF-8, and they may repeat.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Header {
    /// The header's name.
    pub name: Bytes,
    /// The header's value; Kafka knows a null one.
    pub value: Option<Bytes>,
}

impl Header {
    /// Name and value together.
    pub fn bytes(&self) -> usize {
        self.name.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Which of its partition's leaders took a record; each has a higher number than the one before. Of one leader there is one record at an
/// offset, and one log below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct LeaderEpoch(pub u32);

/// What lies in the log at one offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The partition it lies in.
    pub partition: Partition,
    /// Its place there.
    pub offset: Offset,
    /// The log's timestamp; old message formats have none.
    pub timestamp: Option<TimestampMs>,
    /// The record key, null included.
    pub key: Option<Bytes>,
    /// The record value, null included.
    pub value: Option<Bytes>,
    /// All headers in the order they were written.
    pub headers: Vec<Header>,
}

impl Record {
    /// The aggregate this record speaks of; `None` when its key is null or empty, and it is skipped.
    pub fn aggregate(&self) -> Option<Key> {
        self.key.clone().and_then(Key::new)
    }

    /// Bytes of key and value together, as batch limits count them.
    pub fn payload_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Borrow;

    #[test]
    fn a_key_is_its_bytes_and_is_shown_as_text() {
        assert_eq!(Key::new(""), None);
        let key = Key::new("book\n").expect("not empty");
        let borrowed: &[u8] = key.borrow();
        assert_eq!(
            (key.bytes(), key.as_ref(), borrowed),
            (&Bytes::from("book\n"), &b"book\n"[..], &b"book\n"[..])
        );
        assert_eq!((key.to_string(), format!("{key:?}")), ("book\\n".into(), "Key(book\\n)".into()));
        let at_most = Key::new(vec![b'x'; 64]).expect("not empty");
        assert_eq!(at_most.to_string(), "x".repeat(64));
        let longer = Key::new(vec![b'x'; 65]).expect("not empty");
        assert_eq!(longer.to_string(), format!("{}... (65 bytes)", "x".repeat(64)));
    }

    #[test]
    fn places_follow_each_other_and_incarnations_have_16_digits() {
        assert_eq!((Offset(41).next(), Position(42).offset()), (Position(42), Offset(42)));
        assert_eq!((Order(1).plus(2), Order(u64::MAX).plus(1)), (Some(Order(3)), None));
        assert_eq!(format!("{} {0:?}", Incarnation(255)), "00000000000000ff Incarnation(00000000000000ff)");
    }
}
