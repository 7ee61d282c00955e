//! The record marker, format 1: the two headers by which a record says "I am append `number` of incarnation X, for order n".
//!
//! ```text
//! order: 17                              decimal u64, no sign, no leading zero
//! bkes:  1;00ff00ff00ff00ff;42           format; incarnation (16 lower-case hex digits); number
//! bkes:  1;00ff00ff00ff00ff;42;2/3       the same as member 2 of a batch of 3
//! ```
//!
//! The *last* header of a name counts. A `bkes` that begins with `1;` marks the record; if the rest then breaks the grammar
//! the record is void, never foreign. A higher format number stops the partition. Everything else is foreign, an `order`
//! header alone included (the original wrote one). Input is never trusted and never panics.

use crate::limits::BATCH_EVENTS_MAX;
use crate::{Header, Incarnation, Order};
use bytes::Bytes;

/// The name of the header that carries the expected order.
pub const ORDER_HEADER: &[u8] = b"order";

/// The name of the header that carries incarnation, number and place in a batch.
pub const BKES_HEADER: &[u8] = b"bkes";

/// The place of a member in its batch: `i` of `count`, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct BatchPlace {
    /// 1 for the first member, `count` for the last.
    pub i: u32,
    /// How many members the batch has: 2 to [`BATCH_EVENTS_MAX`].
    pub count: u32,
}

/// Who numbered a record, and as what: enough to judge its sequence number even when the rest is broken.
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
    /// The order its writer expects it to take.
    pub order: Order,
}

/// What a record's headers say it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordClass {
    /// Not written by BKES: always an event.
    Foreign,
    /// Written by BKES in format 1.
    Marked(Marker),
    /// It claims format 1 and breaks the grammar: void. With a readable stamp it still uses up its sequence number.
    Broken(Option<Stamp>),
    /// Written by a newer BKES: this one cannot judge it.
    Newer {
        /// The format number it carries.
        format: u64,
    },
}

/// Reads the marker of a record.
pub fn classify(headers: &[Header]) -> RecordClass {
    let Some(bkes) = last_value(headers, BKES_HEADER) else { return RecordClass::Foreign };
    let Some(semicolon) = bkes.iter().position(|byte| *byte == b';') else { return RecordClass::Foreign };
    match decimal(&bkes[..semicolon]) {
        Some(1) => {}
        Some(format) if format > 1 => return RecordClass::Newer { format },
        _ => return RecordClass::Foreign,
    }
    let Some(stamp) = parse_stamp(&bkes[semicolon + 1..]) else { return RecordClass::Broken(None) };
    let order = last_value(headers, ORDER_HEADER).and_then(decimal).map(Order);
    match order {
        Some(order) if order.plus(1).is_some() => RecordClass::Marked(Marker { stamp, order }),
        _ => RecordClass::Broken(Some(stamp)),
    }
}

/// Whether a header is one of the two that a marked record reserves: they are kept as a marker, not as headers.
pub fn is_reserved(header: &Header) -> bool {
    matches!(&header.name[..], BKES_HEADER | ORDER_HEADER)
}

impl Marker {
    /// The two headers that carry this marker.
    pub fn headers(&self) -> [Header; 2] {
        let Stamp { incarnation, number, place } = self.stamp;
        // Both values lie in one allocation.
        let mut text = Vec::with_capacity(MARKER_TEXT_BYTES_MAX);
        put_decimal(&mut text, self.order.0);
        let bkes = text.len();
        text.extend_from_slice(b"1;");
        put_lower_hex_16(&mut text, incarnation.0);
        text.push(b';');
        put_decimal(&mut text, number);
        if let Some(BatchPlace { i, count }) = place {
            text.push(b';');
            put_decimal(&mut text, u64::from(i));
            text.push(b'/');
            put_decimal(&mut text, u64::from(count));
        }
        let text = Bytes::from(text);
        let header = |name, value| Header { name: Bytes::from_static(name), value: Some(value) };
        [header(ORDER_HEADER, text.slice(..bkes)), header(BKES_HEADER, text.slice(bkes..))]
    }
}

/// The values of both headers at their longest: 20 digits; `1;`, 16 digits, `;`, 20 digits, `;1000/1000`.
const MARKER_TEXT_BYTES_MAX: usize = 20 + 2 + 16 + 1 + 20 + 10;

fn put_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn put_lower_hex_16(out: &mut Vec<u8>, number: u64) {
    for shift in (0..64).step_by(4).rev() {
        out.push(b"0123456789abcdef"[(number >> shift & 15) as usize]);
    }
}

fn last_value<'a>(headers: &'a [Header], name: &[u8]) -> Option<&'a [u8]> {
    headers.iter().rev().find(|header| header.name == name)?.value.as_deref()
}

fn parse_stamp(text: &[u8]) -> Option<Stamp> {
    let mut parts = text.split(|byte| *byte == b';');
    let incarnation = Incarnation(lower_hex_16(parts.next()?)?);
    let number = decimal(parts.next()?)?;
    let place = match parts.next() {
        None => None,
        Some(place) => Some(parse_place(place)?),
    };
    parts.next().is_none().then_some(Stamp { incarnation, number, place })
}

fn parse_place(text: &[u8]) -> Option<BatchPlace> {
    let slash = text.iter().position(|byte| *byte == b'/')?;
    let i = u32::try_from(decimal(&text[..slash])?).ok()?;
    let count = u32::try_from(decimal(&text[slash + 1..])?).ok()?;
    ((2..=BATCH_EVENTS_MAX).contains(&count) && (1..=count).contains(&i)).then_some(BatchPlace { i, count })
}

/// A u64 in decimal without sign, blank or leading zero.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text[0] == b'0') {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn lower_hex_16(text: &[u8]) -> Option<u64> {
    if text.len() != 16 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests;
