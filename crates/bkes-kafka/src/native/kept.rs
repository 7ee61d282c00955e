//! Values that librdkafka was given without a copy.
//!
//! A producer that copies a value reads and writes it once more, into memory that is new each time. So a large one stays where it is
//! until librdkafka has reported on its record: it looks at it no more then, or the handle is gone.

use crate::lock::lock;
use bkes_log::Token;
use bytes::Bytes;
use hashbrown::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// By the token of their record.
#[derive(Default)]
pub struct Kept {
    values: Mutex<HashMap<Token, Bytes>>,
    /// Looked at for each report, so without a lock while there are none; written under the lock.
    count: AtomicUsize,
}

impl Kept {
    pub fn keep(&self, token: Token, value: Bytes) {
        let mut values = lock(&self.values);
        values.insert(token, value);
        self.count.store(values.len(), Ordering::Release);
    }

    pub fn let_go(&self, token: Token) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut values = lock(&self.values);
        let value = values.remove(&token);
        self.count.store(values.len(), Ordering::Release);
        drop(values);
        drop(value);
    }
}

/// A value of so many bytes is not copied: below that, a copy costs less than keeping it.
pub const UNCOPIED_BYTES: usize = 16 * 1024;
