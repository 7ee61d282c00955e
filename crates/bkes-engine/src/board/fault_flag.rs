//! What is wrong, as all threads know it.

use crate::lock::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is wrong, if anything; looked at for each append, so without a lock while nothing is.
#[derive(Debug)]
pub struct FaultFlag<T> {
    value: Mutex<Option<T>>,
    /// Written under the lock of the value.
    is_set: AtomicBool,
}

impl<T> Default for FaultFlag<T> {
    fn default() -> FaultFlag<T> {
        FaultFlag { value: Mutex::new(None), is_set: AtomicBool::new(false) }
    }
}

impl<T: Clone> FaultFlag<T> {
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    pub fn get(&self) -> Option<T> {
        if !self.is_set() {
            return None;
        }
        lock(&self.value).clone()
    }

    pub fn set(&self, value: Option<T>) {
        let mut before = lock(&self.value);
        self.is_set.store(value.is_some(), Ordering::Release);
        *before = value;
    }

    /// Sets it if that is wanted, by what it was; says whether it did.
    pub fn set_if(&self, is_wanted: impl FnOnce(Option<&T>) -> bool, value: T) -> bool {
        let mut before = lock(&self.value);
        let sets = is_wanted(before.as_ref());
        if sets {
            self.is_set.store(true, Ordering::Release);
            *before = Some(value);
        }
        sets
    }
}
