//! What must not be dropped while a panic unwinds: redb's tables and transactions.
//!
//! A garbage page makes redb panic with its locks held. Dropping a table or a transaction takes the same locks, finds them
//! poisoned, and panics again: a second panic while the first one unwinds ends the process. So what a panic would drop is left
//! where it is. That loses some memory, once, with a file that is damaged and set aside.

use std::ops::{Deref, DerefMut};

/// A value that is dropped unless a panic drops it.
pub struct LeakOnPanic<T>(Option<T>);

impl<T> LeakOnPanic<T> {
    pub fn new(value: T) -> LeakOnPanic<T> {
        LeakOnPanic(Some(value))
    }

    /// Takes it out, to be consumed.
    pub fn into_inner(mut self) -> T {
        self.0.take().expect("it is taken out once")
    }
}

impl<T> Deref for LeakOnPanic<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is consumed")
    }
}

impl<T> DerefMut for LeakOnPanic<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is consumed")
    }
}

impl<T> Drop for LeakOnPanic<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.0.take());
        }
    }
}
