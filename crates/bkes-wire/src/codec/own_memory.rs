//! Requests in memory of their own.
//!
//! The library decodes a message where it came in, and a key or a value that is kept keeps all of that: 8 KiB at least, or a message with
//! anything else in it. What an append brings is kept long after its call, and counted by its own size. So a request is decoded from a
//! copy of its size, unless it is large; and one that is mostly what nobody here knows is made anew without that.

use crate::limits::COPIED_BYTES_MAX;
use bytes::{Buf, Bytes};
use prost::{DecodeError, Message};

/// Of a message's bytes one part in so many may be what is not known here.
const UNKNOWN_PART: usize = 8;

/// Decodes a request that is all that `buf` has, in one piece.
pub fn decode<M: Message + Default>(buf: &mut impl Buf) -> Result<M, DecodeError> {
    let length = buf.remaining();
    let message = if length <= COPIED_BYTES_MAX {
        let copy = Bytes::copy_from_slice(buf.chunk());
        buf.advance(length);
        M::decode(copy)?
    } else {
        M::decode(&mut *buf)?
    };
    if message.encoded_len() >= length - length / UNKNOWN_PART {
        return Ok(message);
    }
    M::decode(Bytes::from(message.encode_to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{v1, v2};
    use bytes::{BufMut, BytesMut};

    fn received(message: &impl Message, capacity: usize) -> BytesMut {
        let mut buf = BytesMut::with_capacity(capacity);
        message.encode(&mut buf).expect("it grows");
        buf
    }

    /// How much memory is behind these bytes, of which nothing else is kept.
    fn behind(bytes: Bytes) -> usize {
        bytes.try_into_mut().expect("nobody else has it").capacity()
    }

    /// The story: the library's buffer has 8 KiB, and an event of 430 bytes that was kept for followers kept all of it.
    #[test]
    fn what_a_request_keeps_has_its_own_size_and_not_that_of_the_buffer() {
        let append = v2::AppendRequest { key: vec![7; 20].into(), ..v2::AppendRequest::default() };
        let mut buf = received(&append, 8_192);
        let decoded: v2::AppendRequest = decode(&mut buf).expect("it is one");
        drop(buf);
        assert_eq!(decoded, append);
        assert!(behind(decoded.key) < 100);
        let start = v1::StartRequest { key: vec![7; 20].into(), ..v1::StartRequest::default() };
        let mut buf = received(&start, 8_192);
        let decoded: v1::StartRequest = decode(&mut buf).expect("it is one");
        drop(buf);
        assert!(behind(decoded.key) < 100);
    }

    #[test]
    fn what_nobody_knows_of_a_request_is_not_kept_however_large_it_is() {
        let append = v2::AppendRequest { key: vec![7; 20].into(), ..v2::AppendRequest::default() };
        for unknown in [1_000, 2 * COPIED_BYTES_MAX] {
            let mut buf = received(&append, unknown + 100);
            prost::encoding::encode_key(500, prost::encoding::WireType::LengthDelimited, &mut buf);
            prost::encoding::encode_varint(unknown as u64, &mut buf);
            buf.put_bytes(0, unknown);
            let decoded: v2::AppendRequest = decode(&mut buf).expect("it is one");
            drop(buf);
            assert_eq!(decoded, append);
            assert!(behind(decoded.key) < 100, "{unknown}");
        }
    }

    #[test]
    fn a_large_request_is_not_copied() {
        let value = Some(vec![7; 2 * COPIED_BYTES_MAX].into());
        let append = v2::AppendRequest {
            events: vec![v2::NewEvent { value, headers: Vec::new() }],
            ..v2::AppendRequest::default()
        };
        let mut buf = received(&append, 0);
        let there = buf.as_ptr_range();
        let decoded: v2::AppendRequest = decode(&mut buf).expect("it is one");
        let value = decoded.events[0].value.as_ref().expect("it has one");
        assert!(there.contains(&value.as_ptr()));
        assert_eq!(decoded, append);
    }
}
