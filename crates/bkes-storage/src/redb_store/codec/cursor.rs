//! What all rows are made of: numbers, bytes, headers, and the checksum in front.

use crate::redb_store::varint::{Decoded, Garbled, number, put_number};
use bkes_core::Header;
use bytes::Bytes;

pub fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, zigzag(number));
}

pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Null is 0, otherwise the length plus one.
pub fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_number(out, bytes.map_or(0, |bytes| bytes.len() as u64 + 1));
    out.extend_from_slice(bytes.unwrap_or_default());
}

pub fn put_headers(out: &mut Vec<u8>, headers: &[Header]) {
    put_number(out, headers.len() as u64);
    for header in headers {
        put_bytes(out, &header.name);
        put_optional(out, header.value.as_deref());
    }
}

/// Reads a row from the front.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub fn new(row: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: row }
    }

    pub fn number(&mut self) -> Decoded<u64> {
        number(&mut self.rest)
    }

    pub fn small(&mut self) -> Decoded<u32> {
        u32::try_from(self.number()?).map_err(|_| Garbled)
    }

    pub fn signed(&mut self) -> Decoded<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub fn byte(&mut self) -> Decoded<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(Garbled)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    fn slice(&mut self, length: u64) -> Decoded<&'a [u8]> {
        let length = usize::try_from(length).map_err(|_| Garbled)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Garbled)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub fn take(&mut self, length: u64) -> Decoded<Bytes> {
        self.slice(length).map(Bytes::copy_from_slice)
    }

    pub fn bytes(&mut self) -> Decoded<Bytes> {
        let length = self.number()?;
        self.take(length)
    }

    pub fn optional(&mut self) -> Decoded<Option<Bytes>> {
        match self.number()? {
            0 => Ok(None),
            length => self.take(length - 1).map(Some),
        }
    }

    pub fn headers(&mut self) -> Decoded<Vec<Header>> {
        self.headers_by(Bytes::copy_from_slice)
    }

    /// All headers, their bytes copied this way.
    pub fn headers_by(&mut self, mut copy: impl FnMut(&[u8]) -> Bytes) -> Decoded<Vec<Header>> {
        let count = self.headers_count()?;
        let header = |_| {
            let (name, value) = self.header()?;
            Ok(Header { name: copy(name), value: value.map(&mut copy) })
        };
        (0..count).map(header).collect()
    }

    fn header(&mut self) -> Decoded<(&'a [u8], Option<&'a [u8]>)> {
        let length = self.number()?;
        let name = self.slice(length)?;
        let value = match self.number()? {
            0 => None,
            length => Some(self.slice(length - 1)?),
        };
        Ok((name, value))
    }

    /// Reads past all headers, and copies those with this name. Apart from the way of reads, which are more.
    #[cold]
    #[inline(never)]
    pub fn headers_named(&mut self, wanted: &[u8]) -> Decoded<Vec<Header>> {
        let mut found = Vec::new();
        for _ in 0..self.headers_count()? {
            let (name, value) = self.header()?;
            if name == wanted {
                let (name, value) = (Bytes::copy_from_slice(name), value.map(Bytes::copy_from_slice));
                found.push(Header { name, value });
            }
        }
        Ok(found)
    }

    fn headers_count(&mut self) -> Decoded<u64> {
        let count = self.number()?;
        if count > self.rest.len() as u64 { Err(Garbled) } else { Ok(count) }
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub fn end(&self) -> Decoded<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Garbled) }
    }
}

/// The checksum in front of a row.
pub const SEAL_BYTES: usize = 4;

/// Puts a CRC-32C, of `context` and the row, in front of a row.
pub fn seal(context: &[u8], row: &mut [u8]) {
    let (head, rest) = row.split_at_mut(SEAL_BYTES);
    let crc = crc32c::crc32c_append(crc32c::crc32c(context), rest);
    head.copy_from_slice(&crc.to_le_bytes());
}

/// What a seal covers, if it is whole.
pub fn unseal<'a>(context: &[u8], row: &'a [u8]) -> Decoded<&'a [u8]> {
    let (head, rest) = row.split_at_checked(SEAL_BYTES).ok_or(Garbled)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(context), rest);
    if head == crc.to_le_bytes() { Ok(rest) } else { Err(Garbled) }
}
