//! Raw replay: `rd_kafka_consume_batch_queue`, the fastest way out of librdkafka. The only unsafe code of this crate.

#![allow(unsafe_code)]

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::ptr;
use std::time::{Duration, Instant};

/// How long a batch may gather, in milliseconds: librdkafka waits for a whole batch, also after the last message there is.
const GATHER_MS: i32 = 2;

/// How long the topic may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages taken at once, as many as the product takes.
const BATCH_MAX: usize = 4_096;

/// What a batch held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: usize,
}

/// Takes batches from a consumer and drops them, until there were so many records. `None` when nothing came for 30 seconds.
pub fn drain(consumer: &BaseConsumer, records: u64) -> Option<Found> {
    let mut batch = vec![ptr::null_mut(); BATCH_MAX];
    let mut found = Found::default();
    let mut last = Instant::now();
    // SAFETY: the consumer lives through the call, and so does its handle; the queue is ours to give back.
    let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    while found.records < records {
        // SAFETY: the array has room for `BATCH_MAX` pointers.
        let count =
            unsafe { sys::rd_kafka_consume_batch_queue(queue, GATHER_MS, batch.as_mut_ptr(), BATCH_MAX) };
        let count = usize::try_from(count).unwrap_or(0);
        if count > 0 {
            last = Instant::now();
        } else if last.elapsed() > PATIENCE {
            // SAFETY: taken above, given back once.
            unsafe { sys::rd_kafka_queue_destroy(queue) };
            return None;
        }
        for message in &batch[..count] {
            // SAFETY: the first `count` pointers are messages and ours to destroy, each once. An error (the end of a
            // partition) is a message without a record.
            unsafe {
                let held = &**message;
                if held.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    found.records += 1;
                    found.bytes += held.len + held.key_len;
                }
                sys::rd_kafka_message_destroy(*message);
            }
        }
    }
    // SAFETY: taken above, given back once.
    unsafe { sys::rd_kafka_queue_destroy(queue) };
    Some(found)
}
