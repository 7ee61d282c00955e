//! What librdkafka calls: nothing unwinds into it. A panic there would end the process, whatever else it is doing.

use super::{Code, Sink, fetched, sys, text, words_of};
use crate::lock::lock;
use bkes_core::{Offset, Partition};
use bkes_log::{Delivery, Report, Token};
use std::any::Any;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub unsafe extern "C" fn on_event(_: *mut sys::rd_kafka_t, sink: *mut c_void) {
    // SAFETY: the opaque is the sink, alive as long as the queue.
    let sink = unsafe { &*sink.cast::<Sink>() };
    sink.guarded(|| sink.wake());
}

pub unsafe extern "C" fn on_callbacks(_: *mut sys::rd_kafka_t, sink: *mut c_void) {
    // SAFETY: the opaque is the sink, alive as long as the queue.
    let sink = unsafe { &*sink.cast::<Sink>() };
    sink.guarded(|| sink.wake_for_callbacks());
}

/// For `-X statistics.interval.ms`. Nothing keeps the text: librdkafka frees it.
pub unsafe extern "C" fn on_statistics(
    _: *mut sys::rd_kafka_t,
    json: *mut c_char,
    _: usize,
    _: *mut c_void,
) -> c_int {
    // SAFETY: a string of librdkafka that lives through the call.
    let json = unsafe { text(json) };
    // As of lines of the log.
    drop(guarded(|| tracing::debug!(target: "librdkafka", "statistics: {json}")));
    0
}

/// librdkafka's words without what it repeats of `sasl.oauthbearer.config`, the one secret that it writes into a message.
pub fn without_secrets(mut words: String) -> String {
    for from in ["sasl.oauthbearer.config", "SASL/OAUTHBEARER extension"] {
        if let Some(at) = words.find(from) {
            words.truncate(at + from.len());
            words.push_str(" (the rest may hold a part of it)");
        }
    }
    words
}

pub unsafe extern "C" fn on_log(
    _: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    words: *const c_char,
) {
    // SAFETY: strings of librdkafka that live through the call.
    let (facility, words) = unsafe { (text(facility), without_secrets(text(words))) };
    // Who cannot log loses the line, and nothing can be said of it.
    drop(guarded(|| match level {
        0..=3 => tracing::warn!(target: "librdkafka", "{facility}: {words}"),
        4..=5 => tracing::info!(target: "librdkafka", "{facility}: {words}"),
        _ => tracing::debug!(target: "librdkafka", "{facility}: {words}"),
    }));
}

pub unsafe extern "C" fn on_error(
    handle: *mut sys::rd_kafka_t,
    code: c_int,
    words: *const c_char,
    sink: *mut c_void,
) {
    // SAFETY: the opaque is the sink; strings live through the call; the handle is the one that calls.
    let (sink, words, fatal) = unsafe {
        let mut fatal: [c_char; 512] = [0; 512];
        let found = sys::rd_kafka_fatal_error(handle, fatal.as_mut_ptr(), fatal.len());
        let is_fatal = found != Code::RD_KAFKA_RESP_ERR_NO_ERROR;
        (&*sink.cast::<Sink>(), without_secrets(text(words)), is_fatal.then(|| text(fatal.as_ptr())))
    };
    sink.guarded(|| {
        if let Some(fatal) = fatal {
            sink.fatal.set(Some(fatal));
        } else if let Some(code) = code_of(code) {
            sink.error(code, &words);
        }
        sink.wake();
    });
}

/// Why a record was not delivered: what librdkafka says, and the cause where it is known. The broker's own words are not among it:
/// librdkafka 2.12 frees them before it reports (`rd_kafka_message_produce_errstr` gives what lies there afterwards).
fn not_delivered(code: Code, shortage: Option<&str>) -> String {
    let words = words_of(code);
    match (code, shortage) {
        (Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, _) => format!(
            "{words}: records carry the time of this machine's clock, which says {} ms since 1970, and the broker takes what is near \
             its own clock by message.timestamp.after.max.ms and message.timestamp.before.max.ms. Set the clock that is wrong; until \
             then a retry fails too",
            crate::clock::now().0
        ),
        (_, Some(shortage)) => format!("{words}: {shortage}"),
        (_, None) => words,
    }
}

/// Whether the broker refused a batch for its size.
fn is_size(code: Code) -> bool {
    matches!(code, Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE | Code::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE)
}

/// The codes that say something about the way to the brokers.
fn code_of(number: c_int) -> Option<Code> {
    let codes = [
        Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT,
        Code::RD_KAFKA_RESP_ERR__RESOLVE,
        Code::RD_KAFKA_RESP_ERR__TIMED_OUT,
        Code::RD_KAFKA_RESP_ERR__SSL,
        Code::RD_KAFKA_RESP_ERR__AUTHENTICATION,
    ];
    codes.into_iter().find(|code| *code as c_int == number)
}

pub unsafe extern "C" fn on_delivery(
    _: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    sink: *mut c_void,
) {
    // SAFETY: the opaque is the sink; the message lives through the call.
    let (sink, found, status, timestamp) = unsafe {
        let (found, timestamp) = (&*message, fetched::timestamp_of(message));
        (&*sink.cast::<Sink>(), found, sys::rd_kafka_message_status(message), timestamp)
    };
    sink.guarded(|| {
        let delivery = if found.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            sink.is_up();
            Delivery::Stored { offset: u64::try_from(found.offset).ok().map(Offset), timestamp }
        } else {
            let shortage = sink.shortage.of(Partition(found.partition as u32));
            let detail = not_delivered(found.err, shortage.as_deref());
            match status {
                sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => {
                    if is_size(found.err) {
                        Delivery::Oversized { detail }
                    } else {
                        Delivery::NotStored { detail }
                    }
                }
                _ => Delivery::Unknown { detail },
            }
        };
        let token = found._private.addr() as Token;
        sink.kept.let_go(token);
        lock(&sink.reports).push(Report { partition: Partition(found.partition as u32), token, delivery });
    });
}

impl Sink {
    /// Runs a call from librdkafka. After a panic this handle is finished: a report may be missing, and whoever waits for it reads what
    /// became of its record.
    fn guarded(&self, call: impl FnOnce()) {
        if let Err(words) = guarded(call) {
            self.fatal.set(Some(format!("a callback of librdkafka panicked: {words}")));
        }
    }
}

/// Runs what librdkafka called; what it panicked with, if it did. What that left half done is a report or a line of the log.
fn guarded(call: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let words = panic_words(&*panic);
        // Dropping what somebody panicked with may panic too.
        std::mem::forget(panic);
        words
    })
}

fn panic_words(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(ToString::to_string);
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bkes_log::wake_pair;
    use std::ptr;
    use tracing::span::{Attributes, Id};
    use tracing::{Event, Metadata, Subscriber};

    /// A log that cannot be written, as it is to a library whose writer panics.
    struct Panicking;

    impl Subscriber for Panicking {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            panic!("on purpose: failed printing to stderr");
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    /// The reader of the log had gone, and a line of librdkafka aborted the process: "panic in a function that cannot unwind".
    #[test]
    fn a_log_that_panics_ends_no_callback() {
        tracing::subscriber::with_default(Panicking, || {
            for level in 0..=7 {
                // SAFETY: strings that end with a zero byte; the handle is not looked at.
                unsafe { on_log(ptr::null(), level, c"FAIL".as_ptr(), c"connection refused".as_ptr()) };
            }
        });
    }

    #[test]
    fn a_handle_whose_callback_panicked_is_finished() {
        let (waker, _waiter) = wake_pair();
        let sink = Sink::asking(waker);
        sink.guarded(|| ());
        assert_eq!(sink.fatal(), None);
        sink.guarded(|| panic!("on purpose"));
        let fatal = sink.fatal().expect("it is told");
        assert!(fatal.contains("panicked") && fatal.contains("on purpose"), "{fatal}");
    }

    #[test]
    fn what_librdkafka_repeats_of_a_secret_is_cut_off() {
        let words = "Unrecognized sasl.oauthbearer.config beginning at: hush=hush";
        let cut = without_secrets(words.to_owned());
        assert!(cut.starts_with("Unrecognized sasl.oauthbearer.config") && !cut.contains("hush"), "{cut}");
        assert_eq!(without_secrets("1/1 brokers are down".to_owned()), "1/1 brokers are down");
    }
}
