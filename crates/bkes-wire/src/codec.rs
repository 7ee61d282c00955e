//! The codecs of both contracts: protobuf, with requests in memory of their own; and of the second one with a bound on what a message
//! becomes in memory.
//!
//! A message of 32 MiB is legal, and two of its bytes may be an empty header that takes 64 in memory. So before a message is decoded its
//! parts are counted where it lies: how many there are of each repeated field that a peer may fill, and what they take together. What
//! passes a bound is refused, and was never built.

mod events;
mod own_memory;

use crate::limits::{
    DECODED_PARTS_BYTES_MAX, PARTITIONS_MAX, QUESTION_BYTES_MAX, READ_MANY_KEYS_MAX,
    STREAM_MESSAGE_APPENDS_MAX,
};
use crate::{BadField, status, v1, v2};
use bkes_core::limits::{BATCH_EVENTS_MAX, EVENT_HEADERS_MAX};
use bytes::{Buf, BufMut, Bytes};
use prost::{DecodeError, Message};
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Which fields of a message repeat.
pub struct Shape(&'static [Repeated]);

/// A field that repeats, or a message that has such fields.
struct Repeated {
    name: &'static str,
    number: u64,
    /// So often at most within one message.
    most: usize,
    /// What each takes in memory, beside its bytes.
    bytes: usize,
    inner: &'static Shape,
}

const NOTHING: Shape = Shape(&[]);

const HEADERS: Repeated = Repeated {
    name: "headers",
    number: 2,
    most: EVENT_HEADERS_MAX,
    bytes: size_of::<v2::Header>(),
    inner: &NOTHING,
};

const NEW_EVENT: Shape = Shape(&[HEADERS]);

const APPEND: Shape = Shape(&[Repeated {
    name: "events",
    number: 6,
    most: BATCH_EVENTS_MAX as usize,
    bytes: size_of::<v2::NewEvent>(),
    inner: &NEW_EVENT,
}]);

const TAGGED_APPEND: Shape =
    Shape(&[Repeated { name: "append", number: 2, most: usize::MAX, bytes: 0, inner: &APPEND }]);

const APPEND_STREAM: Shape = Shape(&[Repeated {
    name: "appends",
    number: 1,
    most: STREAM_MESSAGE_APPENDS_MAX,
    bytes: size_of::<v2::TaggedAppend>(),
    inner: &TAGGED_APPEND,
}]);

const POSITIONS: Shape = Shape(&[Repeated {
    name: "positions",
    number: 2,
    most: PARTITIONS_MAX,
    bytes: size_of::<v2::Position>(),
    inner: &NOTHING,
}]);

const AT_LEAST: Shape =
    Shape(&[Repeated { name: "at_least", number: 1, most: usize::MAX, bytes: 0, inner: &POSITIONS }]);

/// A field `freshness` of this number.
const fn freshness(number: u64) -> Repeated {
    Repeated { name: "freshness", number, most: usize::MAX, bytes: 0, inner: &AT_LEAST }
}

const READ: Shape = Shape(&[freshness(8)]);

const READ_MANY: Shape = Shape(&[
    Repeated {
        name: "keys",
        number: 1,
        most: READ_MANY_KEYS_MAX,
        bytes: size_of::<Bytes>(),
        inner: &NOTHING,
    },
    freshness(3),
]);

const HEAD: Shape = Shape(&[freshness(2)]);

const LIST_KEYS: Shape = Shape(&[freshness(4)]);

// The numbers of partitions come packed into one field, so they are bounded by the message, and counted when they are turned.
const FOLLOW: Shape =
    Shape(&[Repeated { name: "positions", number: 5, most: usize::MAX, bytes: 0, inner: &POSITIONS }]);

const WAIT_FOR: Shape =
    Shape(&[Repeated { name: "positions", number: 1, most: usize::MAX, bytes: 0, inner: &POSITIONS }]);

/// A message of which it is known what repeats in it.
pub trait Shaped: Message {
    /// It. Answers are not counted: a client believes its server.
    const SHAPE: Shape = NOTHING;

    /// The most bytes that it may have, where the limit of all requests is too much for it.
    const BYTES_MAX: usize = usize::MAX;

    /// Whether it comes to a server, and gets memory of its own there.
    const IS_REQUEST: bool = false;

    /// Writes it where there is room for all of it.
    fn put(&self, buf: &mut impl BufMut)
    where
        Self: Sized,
    {
        self.encode(buf).expect("there is room for all of it");
    }

    /// What the call ends with where the message is none.
    fn undecodable(error: &DecodeError) -> Status {
        status::of(&BadField::new("message", error.to_string()).in_request())
    }
}

macro_rules! shapes {
    ($($message:ident $(= $shape:expr $(, at most $bytes_max:expr)?)? $(=> $put:path)?);* $(;)?) => {
        $(impl Shaped for v2::$message {
            $(fn put(&self, buf: &mut impl BufMut) {
                $put(self, buf);
            })?
            $(const SHAPE: Shape = $shape;
            const IS_REQUEST: bool = true;
            $(const BYTES_MAX: usize = $bytes_max;)?)?
        })*
    };
}

shapes! {
    AppendRequest = APPEND;
    AppendStreamRequest = APPEND_STREAM;
    ReadRequest = READ, at most QUESTION_BYTES_MAX;
    ReadManyRequest = READ_MANY, at most QUESTION_BYTES_MAX;
    HeadRequest = HEAD, at most QUESTION_BYTES_MAX;
    ListKeysRequest = LIST_KEYS, at most QUESTION_BYTES_MAX;
    FollowRequest = FOLLOW, at most QUESTION_BYTES_MAX;
    WaitForRequest = WAIT_FOR, at most QUESTION_BYTES_MAX;
    StatusRequest = NOTHING, at most QUESTION_BYTES_MAX;
    AppendReply;
    AppendStreamReply;
    ReadReply => events::put_page;
    ReadManyReply => events::put_page_of_many;
    HeadReply;
    ListKeysReply;
    FollowReply;
    WaitForReply;
    StatusReply;
}

macro_rules! messages_of_v1 {
    ($($message:ident $is_request:literal $(=> $put:path)?),* $(,)?) => {
        $(impl Shaped for v1::$message {
            $(fn put(&self, buf: &mut impl BufMut) {
                $put(self, buf);
            })?

            const IS_REQUEST: bool = $is_request;

            // As the library says it: the first contract has no statuses of ours.
            fn undecodable(error: &DecodeError) -> Status {
                Status::internal(error.to_string())
            }
        })*
    };
}

messages_of_v1! {
    StartRequest true, StartReply false,
    AddRequest true, AddReply false,
    RetrieveRequest true, RetrieveReply false => events::put_retrieved,
}

/// Counts the parts of an encoded message, and refuses what passes a bound or is no message at all.
fn check<M: Shaped>(encoded: &[u8]) -> Result<(), BadField> {
    let mut room = DECODED_PARTS_BYTES_MAX;
    let fields = M::SHAPE.0;
    if encoded.len() > M::BYTES_MAX {
        return Err(BadField::new("message", format!("is larger than {} bytes", M::BYTES_MAX)));
    }
    if fields.is_empty() { Ok(()) } else { count(encoded, fields, &mut room) }
}

fn count(mut encoded: &[u8], fields: &[Repeated], room: &mut usize) -> Result<(), BadField> {
    // At most two fields of a message are counted, so that no list is needed.
    let mut counts = [0usize; 2];
    while !encoded.is_empty() {
        let tag = varint(&mut encoded)?;
        let skipped = match tag & 7 {
            0 => {
                varint(&mut encoded)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut encoded)?).map_err(|_| broken())?,
            5 => 4,
            // Groups, which this syntax does not have, and what is nothing.
            _ => return Err(broken()),
        };
        let part = encoded.split_off(..skipped).ok_or_else(broken)?;
        let Some(index) = fields.iter().position(|field| tag == (field.number << 3 | 2)) else { continue };
        let Repeated { name, most, bytes, inner, .. } = &fields[index];
        counts[index] += 1;
        if counts[index] > *most {
            return Err(BadField::new(*name, format!("has more than {most} members")));
        }
        *room = room
            .checked_sub(*bytes)
            .ok_or_else(|| BadField::new(*name, "makes the message larger than one may be in memory"))?;
        if !inner.0.is_empty() {
            count(part, inner.0, room).map_err(|bad| bad.within(name))?;
        }
    }
    Ok(())
}

/// A number of one to ten bytes, as protobuf writes them.
fn varint(encoded: &mut &[u8]) -> Result<u64, BadField> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *encoded.split_off_first().ok_or_else(broken)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(broken())
}

fn broken() -> BadField {
    BadField::new("message", "is not one of this call")
}

/// The codec that the generated clients and servers of both contracts use.
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> BoundedCodec<T, U> {
        BoundedCodec(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Shaped + Send + 'static,
    U: Shaped + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = SizedEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> SizedEncoder<T> {
        SizedEncoder(PhantomData)
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder(PhantomData)
    }
}

/// Encodes a message into room that was made for all of it: by doubling, a page would be copied once more on its way.
pub struct SizedEncoder<T>(PhantomData<T>);

impl<T: Shaped> Encoder for SizedEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(message.encoded_len());
        message.put(buf);
        Ok(())
    }
}

/// Decodes messages that pass no bound, requests into memory of their own.
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Shaped + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // The library hands over a whole message in one piece.
        assert_eq!(buf.chunk().len(), buf.remaining(), "a message lies in one piece");
        check::<U>(buf.chunk()).map_err(|bad| status::of(&bad.in_request()))?;
        let decoded = if U::IS_REQUEST { own_memory::decode(buf) } else { U::decode(buf) };
        decoded.map(Some).map_err(|error| U::undecodable(&error))
    }
}

#[cfg(test)]
mod tests;
