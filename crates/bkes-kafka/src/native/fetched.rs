//! What a consumer was given: records, and what a message that carries an error means.

use super::{Code, headers, sys, text, words_of};
use bkes_core::checksum::PartsSum;
use bkes_core::{Header, LeaderEpoch, Offset, Partition, Position, Record, TimestampMs};
use bkes_log::{ReadEvent, ReadFailure};
use bytes::Bytes;
use std::ffi::{c_char, c_void};

/// Copies messages to events and destroys them. The contents of all lie in one allocation; of a record below what is `known` of its
/// partition there is only a sum. `receive_bytes_max` is what the handle lets a batch take of memory.
///
/// # Safety
///
/// Every pointer is a message that belongs to the caller, and [`headers::are_known`].
pub unsafe fn copy(
    messages: &[*mut sys::rd_kafka_message_t],
    receive_bytes_max: &str,
    known: &dyn Fn(Partition) -> Position,
    out: &mut Vec<ReadEvent>,
) {
    if messages.is_empty() {
        return;
    }
    // SAFETY: lengths are those of librdkafka; a null pointer is a null key, value or header value.
    unsafe {
        let is_known = |found: &sys::rd_kafka_message_t| {
            let is_record = found.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR;
            is_record && (found.offset as u64) < known(Partition(found.partition as u32)).0
        };
        let copied = messages.iter().map(|message| &**message).filter(|found| !is_known(found));
        let total: usize = copied.map(|found| found.len + found.key_len).sum();
        let mut slab =
            Slab { bytes: Vec::with_capacity(total), lengths: Vec::with_capacity(messages.len() * 2) };
        let mut drafts = Vec::with_capacity(messages.len());
        for message in messages.iter().copied() {
            let found = &*message;
            drafts.push(if is_known(found) {
                let (partition, offset) = (Partition(found.partition as u32), Offset(found.offset as u64));
                let epoch = epoch_of(message);
                match sum(message) {
                    Ok(crc32c) => Draft::Event(Some(ReadEvent::Known { partition, offset, crc32c, epoch })),
                    Err(code) => Draft::Event(Some(headers_unreadable(partition, offset, code))),
                }
            } else if found.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                slab.add(found.key, found.key_len);
                slab.add(found.payload, found.len);
                let (partition, offset) = (Partition(found.partition as u32), Offset(found.offset as u64));
                let (timestamp, epoch) = (timestamp_of(message), epoch_of(message));
                match headers::add(message, &mut slab) {
                    Ok(headers) => Draft::Record { partition, offset, timestamp, epoch, headers },
                    Err(code) => Draft::Unreadable { partition, offset, code },
                }
            } else {
                Draft::Event(failure(found, receive_bytes_max))
            });
            sys::rd_kafka_message_destroy(message);
        }
        let mut parts = slab.parts();
        out.extend(drafts.into_iter().filter_map(|draft| match draft {
            Draft::Event(event) => event,
            Draft::Record { partition, offset, timestamp, epoch, headers } => {
                let (key, value) = (parts.next(), parts.next());
                let header = |_| Header { name: parts.next().unwrap_or_default(), value: parts.next() };
                let headers = (0..headers).map(header).collect();
                let record = Record { partition, offset, timestamp, key, value, headers };
                Some(ReadEvent::Record { record, epoch })
            }
            Draft::Unreadable { partition, offset, code } => {
                let _key_and_value = (parts.next(), parts.next());
                Some(headers_unreadable(partition, offset, code))
            }
        }));
    }
}

/// The sum over a record, which is [`record_sum`](bkes_core::checksum::record_sum) of what it would be as a copy.
///
/// # Safety
///
/// `message` is a live record, and [`headers::are_known`].
unsafe fn sum(message: *const sys::rd_kafka_message_t) -> Result<u32, Code> {
    let mut sum = PartsSum::new();
    // SAFETY: key, value and headers live as long as the message and have the sizes that stand beside them; null is null.
    unsafe {
        let found = &*message;
        let mut part = |data: *const c_void, size| {
            sum.part((!data.is_null()).then(|| std::slice::from_raw_parts(data.cast::<u8>(), size)));
        };
        part(found.key, found.key_len);
        part(found.payload, found.len);
        headers::each(message, part)?;
    }
    Ok(sum.finish())
}

/// The timestamp of a record; none where the message format has none, or the record says that it has none, which is -1. Others may
/// be negative: they lie before 1970.
///
/// # Safety
///
/// `message` is live.
pub unsafe fn timestamp_of(message: *const sys::rd_kafka_message_t) -> Option<TimestampMs> {
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: promised by the caller.
    let timestamp = unsafe { sys::rd_kafka_message_timestamp(message, &mut kind) };
    let is_told = kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    (is_told && timestamp != NO_TIMESTAMP).then_some(TimestampMs(timestamp))
}

/// The leader that took a record; none where the message format has none, or the record was not fetched, which is -1.
///
/// # Safety
///
/// `message` is live.
unsafe fn epoch_of(message: *const sys::rd_kafka_message_t) -> Option<LeaderEpoch> {
    // SAFETY: promised by the caller.
    u32::try_from(unsafe { sys::rd_kafka_message_leader_epoch(message) }).ok().map(LeaderEpoch)
}

/// Kafka's own word for a record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

/// Keys, values, names and values of headers of a fetch, one after the other; a null has no length.
pub struct Slab {
    bytes: Vec<u8>,
    lengths: Vec<Option<usize>>,
}

impl Slab {
    /// # Safety
    ///
    /// `data` is null, or has `size` bytes.
    pub unsafe fn add(&mut self, data: *const c_void, size: usize) {
        if !data.is_null() {
            // SAFETY: promised by the caller.
            self.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast(), size) });
        }
        self.lengths.push((!data.is_null()).then_some(size));
    }

    /// What was added, in its order.
    fn parts(self) -> Parts {
        Parts { bytes: Bytes::from(self.bytes), lengths: self.lengths.into_iter(), at: 0 }
    }
}

struct Parts {
    bytes: Bytes,
    lengths: std::vec::IntoIter<Option<usize>>,
    at: usize,
}

impl Parts {
    fn next(&mut self) -> Option<Bytes> {
        let length = self.lengths.next().expect("what is taken was added")?;
        self.at += length;
        Some(self.bytes.slice(self.at - length..self.at))
    }
}

enum Draft {
    Record {
        partition: Partition,
        offset: Offset,
        timestamp: Option<TimestampMs>,
        epoch: Option<LeaderEpoch>,
        headers: usize,
    },
    /// A record whose headers are not told.
    Unreadable {
        partition: Partition,
        offset: Offset,
        code: Code,
    },
    Event(Option<ReadEvent>),
}

/// A record is not shown without its headers, and not left out.
fn headers_unreadable(partition: Partition, offset: Offset, code: Code) -> ReadEvent {
    let detail = format!(
        "the headers of the record at offset {offset} cannot be read ({}): librdkafka takes 100,000 headers of a record at most",
        words_of(code)
    );
    let failure = ReadFailure::DoesNotFit { position: Position(offset.0), detail };
    ReadEvent::Failed { partition: Some(partition), failure }
}

/// What a message that carries an error means.
fn failure(message: &sys::rd_kafka_message_t, receive_bytes_max: &str) -> Option<ReadEvent> {
    let partition = u32::try_from(message.partition).ok().map(Partition);
    let position = Position(u64::try_from(message.offset).unwrap_or(0));
    // SAFETY: the payload of an error message is its text, or null.
    let detail = unsafe {
        if message.payload.is_null() {
            words_of(message.err)
        } else {
            text(message.payload.cast::<c_char>().cast_const())
        }
    };
    match (message.err, partition) {
        (Code::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some(partition)) => {
            Some(ReadEvent::End { partition, position })
        }
        (
            Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
            partition,
        ) => {
            // A lost end that was found by the leader's epoch is told in words only.
            let lost_end = lost_end(&detail).filter(|_| message.offset < 0);
            let out_of_range = ReadFailure::OutOfRange { position };
            let failure = lost_end.map_or(out_of_range, |end| ReadFailure::LostEnd { end });
            Some(ReadEvent::Failed { partition, failure })
        }
        (code, partition) if let Some(detail) = does_not_fit(code, &detail, receive_bytes_max) => {
            Some(ReadEvent::Failed { partition, failure: ReadFailure::DoesNotFit { position, detail } })
        }
        (Code::RD_KAFKA_RESP_ERR__BAD_MSG | Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION, partition) => {
            Some(ReadEvent::Failed { partition, failure: ReadFailure::Damaged { position, detail } })
        }
        (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, partition) => {
            // librdkafka says it once for each partition, and again only after reading went well in between. Nobody else says it:
            // watermarks are told to whoever may describe the topic.
            let number = partition.map_or(-1, |partition| i64::from(partition.0));
            tracing::warn!(
                partition = number,
                "not permitted to read: {detail}; reading goes on with the right"
            );
            Some(ReadEvent::Failed { partition, failure: ReadFailure::Unavailable { detail } })
        }
        (_, partition) => Some(ReadEvent::Failed { partition, failure: ReadFailure::Unavailable { detail } }),
    }
}

/// Whether what was fetched is too large for this reader, or of a kind that it does not know, and what helps. librdkafka takes a checksum
/// before it unpacks a batch, so a batch that cannot be unpacked is as it was written. zstd alone has a limit
/// (rd_kafka_zstd_decompress in rdkafka_zstd.c), and it reports that like a broken batch; codec 4 is zstd.
fn does_not_fit(code: Code, detail: &str, receive_bytes_max: &str) -> Option<String> {
    let more = |cause: &str| {
        format!(
            "{detail}; {cause} than receive.message.max.bytes={receive_bytes_max} allows: start with \
             -X receive.message.max.bytes=N and a larger N, up to 2147483647"
        )
    };
    match code {
        Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION if detail.contains("codec 0x4)") => {
            let most = receive_bytes_max == "2147483647";
            let broken = "; its checksum is right and the limit is the largest there is: it is broken as it was written, or larger";
            Some(if most {
                format!("{detail}{broken}")
            } else {
                more("its checksum is right, and it takes more memory when it is unpacked")
            })
        }
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE => Some(more("a batch is larger")),
        Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE => {
            Some(format!("{detail}; give this process more memory"))
        }
        // It would be passed over: neither damaged nor read.
        Code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED => {
            Some(format!("{detail}; this build cannot read it: zstd is a build feature"))
        }
        _ => None,
    }
}

/// Where the log ended when a consumer found by the leader's epoch that what it had read was lost (rd_kafka_offset_validate in
/// librdkafka's rdkafka_offset.c); none if the words are others.
fn lost_end(detail: &str) -> Option<Position> {
    let told = detail.split_once("broker end offset is ").map(|(_, end)| end);
    let digits = told.and_then(|end| end.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).map(Position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_or_unknown_is_told_from_what_is_damaged() {
        let zstd = "Decompression (codec 0x4) of message at 7 of 6900000 bytes failed: Local: Invalid compressed data";
        let bad = Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION;
        let said = does_not_fit(bad, zstd, "100000000").expect("it is too large");
        assert!(said.contains(zstd) && said.contains("receive.message.max.bytes=100000000"), "{said}");
        let most = does_not_fit(bad, zstd, "2147483647").expect("no larger limit helps");
        assert!(most.contains("broken as it was written") && !most.contains("-X"), "{most}");
        // The others have no limit of their own.
        assert_eq!(does_not_fit(bad, &zstd.replace("0x4", "0x3"), "100000000"), None);
        assert_eq!(does_not_fit(Code::RD_KAFKA_RESP_ERR__BAD_MSG, "failed CRC32C check", "1"), None);
        for code in [
            Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
            Code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED,
        ] {
            assert!(does_not_fit(code, "words", "1").is_some_and(|said| said.contains("words")), "{code:?}");
        }
    }

    #[test]
    fn where_the_log_ended_is_found_in_what_librdkafka_says() {
        let said = "Partition log truncation detected at offset 9 (leader epoch 3): broker end offset is 4 (offset leader epoch 2). \
                    Reset to INVALID.: Local: Partition log truncation";
        assert_eq!(lost_end(said), Some(Position(4)));
        assert_eq!(lost_end("no end is named"), None);
    }
}
