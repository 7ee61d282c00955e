//! A record on its way into librdkafka's queue.

use super::{filled, sys};
use bkes_core::{Header, Partition, TimestampMs};
use bkes_log::{NewRecord, Token};
use bytes::Bytes;
use std::ptr;

/// A record that is ready to be queued.
pub struct Draft {
    pub partition: Partition,
    pub token: Token,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) timestamp: TimestampMs,
    /// Null once librdkafka has them.
    pub(super) headers: *mut sys::rd_kafka_headers_t,
}

// SAFETY: the headers are the draft's alone.
unsafe impl Send for Draft {}

impl Draft {
    pub fn new(record: NewRecord, token: Token, timestamp: TimestampMs) -> Draft {
        let NewRecord { partition, key, value, headers: listed } = record;
        // SAFETY: the list is ours; adding copies name and value.
        let headers = unsafe {
            let headers = sys::rd_kafka_headers_new(listed.len());
            for Header { name, value } in &listed {
                let (data, size) =
                    value.as_ref().map_or((ptr::null(), 0), |value| (filled(value), value.len()));
                let (name, length) = (name.as_ptr().cast(), name.len() as isize);
                sys::rd_kafka_header_add(headers, name, length, data, size as isize);
            }
            headers
        };
        Draft { partition, token, key, value, timestamp, headers }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.headers.is_null() {
            // SAFETY: nobody has taken them over.
            unsafe { sys::rd_kafka_headers_destroy(self.headers) };
        }
    }
}
