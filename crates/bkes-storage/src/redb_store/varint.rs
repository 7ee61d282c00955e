//! Numbers of variable length: seven bits a byte, the lowest first, and the highest bit of each byte but the last is set.

/// Stored bytes that no writer of this format wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Garbled;

/// A stored value, if there is one.
pub type Decoded<T> = Result<T, Garbled>;

/// Adds a number.
#[inline]
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes a number takes.
#[inline]
pub fn number_bytes(number: u64) -> usize {
    (u64::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Takes a number from the front of `rest`.
#[inline]
pub fn number(rest: &mut &[u8]) -> Decoded<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().ok_or(Garbled)?;
        *rest = behind;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Garbled);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Garbled)
}
