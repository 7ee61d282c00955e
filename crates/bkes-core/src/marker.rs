//! The record marker, format 1: the two headers by which a record says "I am append `number` of incarnation X, for order n".
//!
//! ```text
//! order: 3                                              decimal, no sign, no leading zero
//! bkes:  1;9f86d081884c7d65;12;1200;SUM                 format; incarnation (16 lower-case hex digits); number; base; sum
//! bkes:  1;9f86d081884c7d65;12;1200;1/2;SUM             the same as member 1 of a batch of 2
//! ```
//!
//! The sum binds the marker to its record: 8 lower-case hex digits of CRC-32C over key, value, `order` and the text before
//! the sum. Every format keeps it there. So headers that a processor carried from one record to another mark nothing:
//! what does not fit, breaks the grammar or is there twice is *forwarded*, an event like any foreign one. An `order` header
//! alone is foreign too (the original wrote one). Input is never trusted and never panics.

use crate::checksum::{PartsSum, PayloadSum};
use crate::limits::{BATCH_EVENTS_MAX, ORDER_MAX};
use crate::{Header, Incarnation, Order, Position, Record};
use bytes::Bytes;
use std::ops::Range;

/// The name of the header that carries the expected order.
pub const ORDER_HEADER: &[u8] = b"order";

/// The name of the header that carries incarnation, number, base, place in a batch, and the sum.
pub const BKES_HEADER: &[u8] = b"bkes";

/// The header of the id that a writer gave its append, in the append's first record. It means that in an accepted marked record only;
/// in any other it is a header like the rest.
pub const ID_HEADER: &[u8] = b"bkes-id";

/// The place of a member in its batch: `i` of `count`, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct BatchPlace {
    /// 1 for the first member, `count` for the last.
    pub i: u32,
    /// How many members the batch has: 2 to [`BATCH_EVENTS_MAX`].
    pub count: u32,
}

/// Who numbered a record, and as what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Stamp {
    /// The producer handle that wrote it.
    pub incarnation: Incarnation,
    /// The append's number within that incarnation and partition.
    pub number: u64,
    /// Its place, when the append is a batch.
    pub place: Option<BatchPlace>,
}

impl Stamp {
    /// 1-based place of this record in its append; 1 for a single event.
    pub fn i(&self) -> u32 {
        self.place.map_or(1, |place| place.i)
    }

    /// The stamp of another member of the same append.
    pub fn of_member(self, i: u32) -> Stamp {
        Stamp { place: self.place.map(|place| BatchPlace { i, ..place }), ..self }
    }

    /// The orders of the append of which the event at `order` has this stamp; of an event that BKES did not write it is alone.
    pub fn append_of(stamp: Option<Stamp>, order: Order) -> Range<Order> {
        let (i, count) = stamp.map_or((1, 1), |stamp| (stamp.i(), stamp.count()));
        let first = order.0.saturating_sub(u64::from(i.saturating_sub(1)));
        Order(first)..Order(first.saturating_add(u64::from(count.max(1))))
    }

    /// How many records its append has; 1 for a single event.
    pub fn count(&self) -> u32 {
        self.place.map_or(1, |place| place.count)
    }
}

/// A complete, well-formed marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Marker {
    /// Who numbered the record.
    pub stamp: Stamp,
    /// The order its writer expects it to take: at most [`ORDER_MAX`].
    pub order: Order,
    /// The position of the partition that its writer had applied when it numbered the append.
    pub base: Position,
}

/// What a record's headers say it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordClass {
    /// Not written by BKES: always an event.
    Foreign,
    /// Foreign too, with a `bkes` header that is not its own: somebody carried it over from another record.
    Forwarded,
    /// Written by BKES in format 1.
    Marked(Marker),
    /// Written by a newer BKES: this one cannot judge it.
    Newer {
        /// The format number it carries.
        format: u64,
    },
}

/// Reads the marker of a record.
pub fn classify(record: &Record) -> RecordClass {
    let (mut bkes, mut order, mut repeated) = (None, None, false);
    for header in &record.headers {
        match &header.name[..] {
            BKES_HEADER => repeated |= bkes.replace(header.value.as_deref()).is_some(),
            ORDER_HEADER => repeated |= order.replace(header.value.as_deref()).is_some(),
            _ => {}
        }
    }
    match bkes {
        None => RecordClass::Foreign,
        Some(None) => RecordClass::Forwarded,
        // BKES writes each once: whoever added another means something of their own by it.
        Some(Some(_)) if repeated => RecordClass::Forwarded,
        Some(Some(bkes)) => classify_marker(record, order.flatten(), bkes).unwrap_or(RecordClass::Forwarded),
    }
}

/// `None` if the two values are not a whole marker of this record.
fn classify_marker(record: &Record, order: Option<&[u8]>, bkes: &[u8]) -> Option<RecordClass> {
    let (text, sum) = bkes.split_at_checked(bkes.len().checked_sub(SUM_DIGITS)?)?;
    let sum = Text(sum).lower_hex(SUM_DIGITS)?;
    let mut rest = Text(text.strip_suffix(b";")?);
    let class = match rest.decimal()? {
        0 => return None,
        1 => {
            rest.skip(b';')?;
            let (stamp, base) = rest.stamp()?;
            let order = Text(order?).only_decimal().filter(|order| *order <= ORDER_MAX).map(Order)?;
            RecordClass::Marked(Marker { stamp, order, base })
        }
        format if matches!(rest.0, [] | [b';', ..]) => RecordClass::Newer { format },
        _ => return None,
    };
    let mut expected = PartsSum::over_payload(record);
    expected.part(order);
    expected.part(Some(text));
    let fits = u64::from(expected.finish()) == sum;
    fits.then_some(class)
}

/// The order that a record without a marker names itself, in one header, as the original's do. One that carries a `bkes` header was
/// forwarded from another record, and so was its order.
pub fn unmarked_order(headers: &[Header]) -> Option<Order> {
    let mut order = None;
    for header in headers {
        match &header.name[..] {
            BKES_HEADER => return None,
            ORDER_HEADER if order.replace(header.value.as_deref()).is_some() => return None,
            _ => {}
        }
    }
    order.flatten().and_then(|order| Text(order).only_decimal()).map(Order)
}

/// Whether writers may not give a header this name: it begins with `bkes`, or is `order`. Every other name is theirs.
pub fn is_reserved_name(name: &[u8]) -> bool {
    name.starts_with(BKES_HEADER) || name == ORDER_HEADER
}

/// Whether a header is one of the two that a marked record reserves: they are kept as a marker, not as headers.
pub fn is_reserved(header: &Header) -> bool {
    matches!(&header.name[..], BKES_HEADER | ORDER_HEADER)
}

impl Marker {
    /// The two headers that carry this marker on the record with this key and value.
    pub fn headers(&self, payload: PayloadSum) -> [Header; 2] {
        let Marker { stamp: Stamp { incarnation, number, place }, order, base } = *self;
        assert!(order.0 <= ORDER_MAX, "a record of order {order} would not be read as marked");
        let mut text = MarkerText { bytes: [0; MARKER_TEXT_BYTES_MAX], length: 0 };
        text.decimal(order.0);
        let bkes = text.length;
        text.put(b"1;");
        text.lower_hex(&incarnation.0.to_be_bytes());
        text.put(b";");
        text.decimal(number);
        text.put(b";");
        text.decimal(base.0);
        if let Some(BatchPlace { i, count }) = place {
            text.put(b";");
            text.decimal(u64::from(i));
            text.put(b"/");
            text.decimal(u64::from(count));
        }
        text.put(b";");
        let mut sum = PartsSum::after(payload);
        sum.part(Some(&text.written()[..bkes]));
        sum.part(Some(&text.written()[bkes..]));
        text.lower_hex(&sum.finish().to_be_bytes());
        // Both values lie in one allocation.
        let text = Bytes::copy_from_slice(text.written());
        let header = |name, value| Header { name: Bytes::from_static(name), value: Some(value) };
        [header(ORDER_HEADER, text.slice(..bkes)), header(BKES_HEADER, text.slice(bkes..))]
    }
}

/// The digits of the sum, which ends the value of `bkes`.
const SUM_DIGITS: usize = 8;

/// The values of both headers at their longest: 19 digits; `1;`, 16 digits, `;`, 20 digits, `;`, 20 digits, `;1000/1000`, `;`,
/// 8 digits.
pub const MARKER_TEXT_BYTES_MAX: usize = 19 + 2 + 16 + 1 + 20 + 1 + 20 + 10 + 1 + SUM_DIGITS;

/// The values of both headers while they are written.
struct MarkerText {
    bytes: [u8; MARKER_TEXT_BYTES_MAX],
    length: usize,
}

impl MarkerText {
    fn written(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn decimal(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    fn lower_hex<const N: usize>(&mut self, bytes: &[u8; N]) {
        let out = &mut self.bytes[self.length..self.length + 2 * N];
        for (digits, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *digits = [HEX_DIGITS[usize::from(byte >> 4)], HEX_DIGITS[usize::from(byte & 15)]];
        }
        self.length += 2 * N;
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// What each byte is worth as a lower-case hex digit; [`NO_DIGIT`] for all others.
const HEX_VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < HEX_DIGITS.len() {
        values[HEX_DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

const NO_DIGIT: u8 = 16;

/// What is left to be read of a value.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    /// Incarnation, number, base and, for a member of a batch, its place: to the end.
    fn stamp(&mut self) -> Option<(Stamp, Position)> {
        let incarnation = Incarnation(self.lower_hex(16)?);
        self.skip(b';')?;
        let number = self.decimal()?;
        self.skip(b';')?;
        let base = Position(self.decimal()?);
        let place = if self.0.is_empty() { None } else { Some(self.place()?) };
        Some((Stamp { incarnation, number, place }, base))
    }

    fn place(&mut self) -> Option<BatchPlace> {
        self.skip(b';')?;
        let i = u32::try_from(self.decimal()?).ok()?;
        self.skip(b'/')?;
        let count = u32::try_from(self.only_decimal()?).ok()?;
        ((2..=BATCH_EVENTS_MAX).contains(&count) && (1..=count).contains(&i))
            .then_some(BatchPlace { i, count })
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// The digits that come next: a u64 without a leading zero.
    fn decimal(&mut self) -> Option<u64> {
        let (mut value, mut digits) = (0u64, 0);
        while let Some(digit) =
            self.0.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            // Nineteen digits always fit.
            value = match digits {
                0..19 => value * 10 + u64::from(digit),
                _ => value.checked_mul(10)?.checked_add(u64::from(digit))?,
            };
            digits += 1;
        }
        let leading_zero = digits > 1 && self.0[0] == b'0';
        self.0 = &self.0[digits..];
        (digits > 0 && !leading_zero).then_some(value)
    }

    /// The same, and nothing else is left.
    fn only_decimal(&mut self) -> Option<u64> {
        self.decimal().filter(|_| self.0.is_empty())
    }

    /// So many digits, 16 at most.
    fn lower_hex(&mut self, digits: usize) -> Option<u64> {
        let (text, rest) = self.0.split_at_checked(digits)?;
        let (mut value, mut all) = (0, 0);
        for byte in text {
            let digit = HEX_VALUES[usize::from(*byte)];
            value = value << 4 | u64::from(digit);
            all |= digit;
        }
        if all >= NO_DIGIT {
            return None;
        }
        self.0 = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests;
