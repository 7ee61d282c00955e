//! librdkafka's C interface, made safe: the only unsafe code of the product.
//!
//! A [`Client`] owns one handle and its queues. Callbacks run either inside [`Client::poll`], on the caller's thread, or (log
//! lines, and the wake-ups of queues) on a thread of librdkafka; all they touch is a [`Sink`] that outlives the handle.
//!
//! A handle that nobody polls renews no token and tells no error. So every handle wakes somebody who polls it: an appender and a
//! question's handle have one queue for everything, a reader has one for records, which its owner polls when it wants records, and one
//! for callbacks.

#![allow(unsafe_code)]

mod admin;
mod callbacks;
mod conf;
mod draft;
mod ends;
mod features;
mod fetched;
mod groups;
mod headers;
mod kept;
#[cfg(test)]
pub mod mock;
mod reach;
mod sched_batch;
mod sink;
mod slices;

pub use conf::check_property;
#[cfg(test)]
pub use conf::{ListedProperty, listed_properties};
pub use draft::Draft;
pub use ends::Answered;
pub use features::sasl_mechanisms;
pub use sched_batch::with_batch_threads;
pub use sink::Sink;

use bkes_core::{Partition, Position};
use bkes_log::ReadEvent;
use bytes::Bytes;
use fetched::Slab;
use kept::UNCOPIED_BYTES;
use rdkafka_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use sys::rd_kafka_resp_err_t as Code;

/// What a handle is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A consumer that only asks.
    Questions,
    /// A consumer that reads.
    Reader,
    Producer,
}

/// Room for a batch's pointers; what stands in it between calls means nothing.
#[derive(Default)]
pub struct Scratch(Vec<*mut sys::rd_kafka_message_t>);

// SAFETY: no pointer in it is used after the call that wrote it.
unsafe impl Send for Scratch {}

/// Partitions and replicas of a topic.
pub struct Layout {
    /// How many partitions it has.
    pub count: u32,
    /// The smallest number of replicas of any of them.
    pub replicas: u32,
    /// Of each partition that has a leader, how many replicas are in sync with it.
    pub in_sync: Vec<(Partition, u32)>,
}

/// One handle of librdkafka.
pub struct Client {
    handle: *mut sys::rd_kafka_t,
    topic: CString,
    /// The topic as a producer names it; null in a consumer.
    produced: *mut sys::rd_kafka_topic_t,
    /// What the owner polls: a consumer's records, or a producer's reports.
    queue: *mut sys::rd_kafka_queue_t,
    /// Where a reader's callbacks wait; null where they wait in the queue above.
    callbacks: *mut sys::rd_kafka_queue_t,
    kind: Kind,
    /// What a batch may take of memory, as it was set.
    receive_bytes_max: String,
    sink: Arc<Sink>,
}

// SAFETY: librdkafka's handles and queues may be used from any thread; `Client` gives out no pointers.
unsafe impl Send for Client {}
// SAFETY: as above; every call takes librdkafka's own locks.
unsafe impl Sync for Client {}

impl Client {
    /// A handle with these properties. What librdkafka does not like comes back in its own words.
    pub fn new(
        kind: Kind,
        topic: &str,
        properties: &[(&str, String)],
        sink: Arc<Sink>,
    ) -> Result<Client, String> {
        let topic = CString::new(topic).map_err(|_| "a topic's name has no zero byte".to_owned())?;
        if !headers::are_known() {
            return Err(format!("librdkafka {} keeps headers in another way than is known here", version()));
        }
        let handle = new_handle(kind, properties, &sink)?;
        let (queue, callbacks) = queues(handle, kind);
        let opaque = Arc::as_ptr(&sink).cast_mut().cast();
        // SAFETY: the opaque is the sink, which outlives the queues; the callbacks only wake.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(queue, Some(callbacks::on_event), opaque);
            if !callbacks.is_null() {
                sys::rd_kafka_queue_cb_event_enable(callbacks, Some(callbacks::on_callbacks), opaque);
            }
        }
        // What came before that has woken nobody.
        sink.wake();
        sink.wake_for_callbacks();
        let produced = match kind {
            Kind::Questions | Kind::Reader => ptr::null_mut(),
            // SAFETY: the handle is live, and the name ends with a zero byte.
            Kind::Producer => unsafe { sys::rd_kafka_topic_new(handle, topic.as_ptr(), ptr::null_mut()) },
        };
        let limit = properties.iter().rfind(|(name, _)| *name == "receive.message.max.bytes");
        let receive_bytes_max = limit.map_or_else(|| "100000000".to_owned(), |(_, value)| value.clone());
        let client = Client { handle, topic, produced, queue, callbacks, kind, receive_bytes_max, sink };
        if kind == Kind::Producer && produced.is_null() {
            return Err(format!("topic {:?} is refused", client.topic));
        }
        Ok(client)
    }

    pub fn sink(&self) -> &Arc<Sink> {
        &self.sink
    }

    /// Runs the callbacks that are due; of a reader, all but what comes with its records.
    pub fn poll(&self) {
        // SAFETY: the handle is live.
        unsafe { sys::rd_kafka_poll(self.handle, 0) };
    }

    /// Reads a partition from a position on; a partition that is read already goes there.
    pub fn assign(&self, partition: Partition, from: Position, again: bool) -> Result<(), String> {
        if again {
            self.unassign(partition);
        }
        // SAFETY: the list is ours, made and destroyed here; the call copies it.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(1);
            let entry = sys::rd_kafka_topic_partition_list_add(list, self.topic.as_ptr(), partition.0 as i32);
            (*entry).offset = from.0 as i64;
            let failed = error_text(sys::rd_kafka_incremental_assign(self.handle, list));
            sys::rd_kafka_topic_partition_list_destroy(list);
            failed.map_or(Ok(()), |(_, detail)| Err(detail))
        }
    }

    /// Stops reading a partition; what was fetched of it and not taken may still come.
    fn unassign(&self, partition: Partition) {
        // SAFETY: the list is ours, made and destroyed here; the call copies it.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(1);
            sys::rd_kafka_topic_partition_list_add(list, self.topic.as_ptr(), partition.0 as i32);
            // It fails only for a partition that is not assigned, which is what is wanted.
            drop(error_text(sys::rd_kafka_incremental_unassign(self.handle, list)));
            sys::rd_kafka_topic_partition_list_destroy(list);
        }
    }

    /// Moves what was fetched to `out`: contents are copied into one allocation for the batch, but for records below what is known.
    pub fn fetch(
        &self,
        messages_max: usize,
        scratch: &mut Scratch,
        known: &dyn Fn(Partition) -> Position,
        out: &mut Vec<ReadEvent>,
    ) {
        let scratch = &mut scratch.0;
        if scratch.len() < messages_max {
            scratch.resize(messages_max, ptr::null_mut());
        }
        // SAFETY: the array has room for `messages_max` pointers; what is returned is ours to destroy, which `copy` does.
        unsafe {
            let count = sys::rd_kafka_consume_batch_queue(self.queue, 0, scratch.as_mut_ptr(), messages_max);
            let messages = &scratch[..usize::try_from(count).unwrap_or(0)];
            fetched::copy(messages, &self.receive_bytes_max, known, out);
        }
    }

    /// Queues a record, as fast as that can be: what is queued before a thread of librdkafka looks goes into one request. Fails with
    /// librdkafka's words if it will never be sent.
    pub fn produce(&self, mut draft: Draft) -> Result<(), String> {
        use sys::rd_kafka_vtype_t as Type;
        use sys::rd_kafka_vu_s__bindgen_ty_1 as Item;
        let item = |vtype, u| sys::rd_kafka_vu_t { vtype, u };
        let bytes = |bytes: &Option<Bytes>| {
            let (ptr, size) = bytes.as_ref().map_or((ptr::null(), 0), |bytes| (filled(bytes), bytes.len()));
            Item { mem: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr.cast_mut(), size } }
        };
        let opaque = ptr::without_provenance_mut(draft.token as usize);
        let uncopied = draft.value.as_ref().filter(|value| value.len() >= UNCOPIED_BYTES).cloned();
        let flags = if uncopied.is_some() { 0 } else { sys::RD_KAFKA_MSG_F_COPY };
        if let Some(value) = uncopied {
            self.sink.kept.keep(draft.token, value);
        }
        let items = [
            item(Type::RD_KAFKA_VTYPE_RKT, Item { rkt: self.produced }),
            item(Type::RD_KAFKA_VTYPE_PARTITION, Item { i32_: draft.partition.0 as i32 }),
            item(Type::RD_KAFKA_VTYPE_KEY, bytes(&draft.key)),
            item(Type::RD_KAFKA_VTYPE_VALUE, bytes(&draft.value)),
            item(Type::RD_KAFKA_VTYPE_TIMESTAMP, Item { i64_: draft.timestamp.0 }),
            item(Type::RD_KAFKA_VTYPE_HEADERS, Item { headers: draft.headers }),
            item(Type::RD_KAFKA_VTYPE_MSGFLAGS, Item { i: flags }),
            item(Type::RD_KAFKA_VTYPE_OPAQUE, Item { ptr: opaque }),
        ];
        // SAFETY: the topic is that of this handle, a producer; all pointers live through the call, which copies the key, and the
        // value too (MSG_F_COPY) unless the sink keeps that until its report, which is the last time that librdkafka looks at it; the
        // sink outlives the handle. The call takes the headers over when it succeeds. The opaque is a number, never dereferenced.
        let failed = unsafe { error_text(sys::rd_kafka_produceva(self.handle, items.as_ptr(), items.len())) };
        if let Some((_, detail)) = failed {
            self.sink.kept.let_go(draft.token);
            return Err(detail);
        }
        draft.headers = ptr::null_mut();
        Ok(())
    }

    /// The topic's partitions and their replicas; `None` when there is no such topic.
    pub fn partitions(&self, timeout: Duration) -> Result<Option<Layout>, (Code, String)> {
        // SAFETY: the topic handle and the metadata are ours and given back; arrays have the lengths that stand beside them.
        unsafe {
            let topic = sys::rd_kafka_topic_new(self.handle, self.topic.as_ptr(), ptr::null_mut());
            let failed = |code| Err((code, self.words_without_answer(code)));
            if topic.is_null() {
                return failed(sys::rd_kafka_last_error());
            }
            let mut metadata = ptr::null();
            let code = sys::rd_kafka_metadata(self.handle, 0, topic, &mut metadata, millis(timeout));
            sys::rd_kafka_topic_destroy(topic);
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return failed(code);
            }
            let found = if (*metadata).topic_cnt == 1 {
                let topic = &*(*metadata).topics;
                match topic.err {
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
                        let partitions = (0..topic.partition_cnt as usize).map(|i| &*topic.partitions.add(i));
                        let replicas = partitions.clone().map(|found| found.replica_cnt as u32).min();
                        // Without a leader nobody knows who is in sync.
                        let led = partitions.filter(|found| found.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR);
                        let in_sync = led.map(|found| (Partition(found.id as u32), found.isr_cnt as u32));
                        let (count, replicas) = (topic.partition_cnt as u32, replicas.unwrap_or(0));
                        Ok(Some(Layout { count, replicas, in_sync: in_sync.collect() }))
                    }
                    Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Ok(None),
                    code => failed(code),
                }
            } else {
                Ok(None)
            };
            sys::rd_kafka_metadata_destroy(metadata);
            found.map(|found| found.filter(|found| found.count > 0))
        }
    }

    fn words_without_answer(&self, code: Code) -> String {
        let is_silence = matches!(
            code,
            Code::RD_KAFKA_RESP_ERR__TRANSPORT
                | Code::RD_KAFKA_RESP_ERR__TIMED_OUT
                | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        );
        if is_silence { self.sink.unanswered(words_of(code)) } else { words_of(code) }
    }

    /// The cluster's id.
    pub fn cluster(&self, timeout: Duration) -> Option<String> {
        // SAFETY: the string is ours to free with librdkafka's own function.
        unsafe {
            let id = sys::rd_kafka_clusterid(self.handle, millis(timeout));
            if id.is_null() {
                return None;
            }
            let copied = text(id);
            sys::rd_kafka_mem_free(self.handle, id.cast());
            Some(copied)
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the wake-ups are switched off before the queues go; the handle goes last, and with it every callback; the
        // sink is dropped after this.
        unsafe {
            for queue in [self.queue, self.callbacks].into_iter().filter(|queue| !queue.is_null()) {
                sys::rd_kafka_queue_cb_event_enable(queue, None, ptr::null_mut());
                sys::rd_kafka_queue_destroy(queue);
            }
            if !self.produced.is_null() {
                sys::rd_kafka_topic_destroy(self.produced);
            }
            let flags =
                if self.kind == Kind::Producer { 0 } else { sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE };
            sys::rd_kafka_destroy_flags(self.handle, flags);
        }
    }
}

/// A handle of librdkafka with these properties and callbacks, or why there is none, in librdkafka's words.
fn new_handle(
    kind: Kind,
    properties: &[(&str, String)],
    sink: &Arc<Sink>,
) -> Result<*mut sys::rd_kafka_t, String> {
    let mut words: [c_char; 512] = [0; 512];
    // SAFETY: the configuration is owned here until `rd_kafka_new` takes it over; strings live through each call; the
    // sink's address stays valid because `Client` holds the Arc until after the handle is destroyed.
    unsafe {
        let conf = sys::rd_kafka_conf_new();
        for (name, value) in properties {
            let set = CString::new(*name).ok().zip(CString::new(value.as_str()).ok());
            let result = set.map(|(name, value)| {
                sys::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), words.as_mut_ptr(), words.len())
            });
            if result != Some(sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK) {
                sys::rd_kafka_conf_destroy(conf);
                // librdkafka's words may repeat the value.
                let detail = conf::check_property(name, value).err();
                return Err(format!("property {name}: {}", detail.unwrap_or_default()));
            }
        }
        sys::rd_kafka_conf_set_opaque(conf, Arc::as_ptr(sink).cast_mut().cast());
        sys::rd_kafka_conf_set_log_cb(conf, Some(callbacks::on_log));
        sys::rd_kafka_conf_set_error_cb(conf, Some(callbacks::on_error));
        sys::rd_kafka_conf_set_stats_cb(conf, Some(callbacks::on_statistics));
        let kind = match kind {
            Kind::Questions | Kind::Reader => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            Kind::Producer => {
                sys::rd_kafka_conf_set_dr_msg_cb(conf, Some(callbacks::on_delivery));
                sys::rd_kafka_type_t::RD_KAFKA_PRODUCER
            }
        };
        let handle = sys::rd_kafka_new(kind, conf, words.as_mut_ptr(), words.len());
        if handle.is_null() {
            sys::rd_kafka_conf_destroy(conf);
            return Err(callbacks::without_secrets(text(words.as_ptr())));
        }
        Ok(handle)
    }
}

/// What is polled of a handle: records or reports, and where callbacks wait if they wait elsewhere.
fn queues(
    handle: *mut sys::rd_kafka_t,
    kind: Kind,
) -> (*mut sys::rd_kafka_queue_t, *mut sys::rd_kafka_queue_t) {
    // SAFETY: the handle is live; the queues' references are ours and are given back before the handle is destroyed.
    unsafe {
        match kind {
            Kind::Questions => {
                sys::rd_kafka_poll_set_consumer(handle);
                (sys::rd_kafka_queue_get_consumer(handle), ptr::null_mut())
            }
            Kind::Reader => (sys::rd_kafka_queue_get_consumer(handle), sys::rd_kafka_queue_get_main(handle)),
            Kind::Producer => (sys::rd_kafka_queue_get_main(handle), ptr::null_mut()),
        }
    }
}

/// librdkafka's version.
pub fn version() -> String {
    // SAFETY: a static string.
    unsafe { text(sys::rd_kafka_version_str()) }
}

/// A pointer that is not null even for no bytes: null means something else.
fn filled(bytes: &[u8]) -> *const c_void {
    if bytes.is_empty() { c"".as_ptr().cast() } else { bytes.as_ptr().cast() }
}

fn millis(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

fn words_of(code: Code) -> String {
    // SAFETY: a static string.
    unsafe { text(sys::rd_kafka_err2str(code)) }
}

/// # Safety
///
/// `words` is null or ends with a zero byte.
unsafe fn text(words: *const c_char) -> String {
    if words.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
}

/// Takes an error over: its code and words; `None` for success.
///
/// # Safety
///
/// `error` is null, or belongs to the caller.
unsafe fn error_text(error: *mut sys::rd_kafka_error_t) -> Option<(Code, String)> {
    if error.is_null() {
        return None;
    }
    // SAFETY: promised by the caller; it is destroyed once.
    unsafe {
        let found = (sys::rd_kafka_error_code(error), text(sys::rd_kafka_error_string(error)));
        sys::rd_kafka_error_destroy(error);
        Some(found)
    }
}
