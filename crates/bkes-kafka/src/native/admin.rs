//! Questions to the cluster's administration: each is answered within a time.

use super::{Client, Code, millis, text};
use rdkafka_sys as sys;
use std::ffi::{CStr, c_char, c_int};
use std::time::Duration;

impl Client {
    /// The topic's own id, which is another one after it was created again; empty where the brokers know none.
    pub fn topic_id(&self, timeout: Duration) -> Result<String, String> {
        self.describe_topic(timeout, false, |topic| {
            // SAFETY: the description lives as long as this call.
            unsafe { uuid(sys::rd_kafka_TopicDescription_topic_id(topic)) }
        })
    }

    /// What this user may do with the topic; `None` where the broker does not tell.
    pub fn topic_operations(
        &self,
        timeout: Duration,
    ) -> Result<Option<Vec<sys::rd_kafka_AclOperation_t>>, String> {
        self.describe_topic(timeout, true, |topic| {
            let mut count = 0;
            // SAFETY: the description, and the list in it, live as long as this call.
            unsafe {
                let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
                let all = (0..count).map(|i| *operations.add(i)).collect();
                (!operations.is_null()).then_some(all)
            }
        })
    }

    /// Has the topic described, with what this user may do with it if that is wanted.
    fn describe_topic<T>(
        &self,
        timeout: Duration,
        with_operations: bool,
        take: impl FnOnce(*const sys::rd_kafka_TopicDescription_t) -> T,
    ) -> Result<T, String> {
        // SAFETY: what is made here is destroyed here; results live as long as their event.
        unsafe {
            let mut name = self.topic.as_ptr();
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(&mut name, 1);
            let answer = self.ask(
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                timeout,
                |options, queue| {
                    if with_operations {
                        let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(
                            options.cast_mut(),
                            1,
                        );
                        assert!(refused.is_null(), "a question about topics has this option");
                    }
                    sys::rd_kafka_DescribeTopics(self.handle, topics, options, queue);
                },
            );
            sys::rd_kafka_TopicCollection_destroy(topics);
            let event = answer?;
            let mut count = 0;
            let described = sys::rd_kafka_event_DescribeTopics_result(event.0);
            let topics = sys::rd_kafka_DescribeTopics_result_topics(described, &mut count);
            if count != 1 {
                return Err("the topic was not described".to_owned());
            }
            let error = sys::rd_kafka_TopicDescription_error(*topics);
            if !error.is_null() && sys::rd_kafka_error_code(error) != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(text(sys::rd_kafka_error_string(error)));
            }
            Ok(take(*topics))
        }
    }

    /// The topic's settings, by name.
    pub fn topic_settings(&self, timeout: Duration) -> Result<Vec<(String, String)>, String> {
        // SAFETY: as in `topic_id`.
        unsafe {
            let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let mut resource = sys::rd_kafka_ConfigResource_new(kind, self.topic.as_ptr());
            let answer = self.ask(
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
                timeout,
                |options, queue| {
                    sys::rd_kafka_DescribeConfigs(self.handle, &mut resource, 1, options, queue);
                },
            );
            sys::rd_kafka_ConfigResource_destroy(resource);
            let event = answer?;
            let described = sys::rd_kafka_event_DescribeConfigs_result(event.0);
            let mut count = 0;
            let resources = sys::rd_kafka_DescribeConfigs_result_resources(described, &mut count);
            if count != 1 {
                return Err("the settings were not described".to_owned());
            }
            if sys::rd_kafka_ConfigResource_error(*resources) != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(text(sys::rd_kafka_ConfigResource_error_string(*resources)));
            }
            let entries = sys::rd_kafka_ConfigResource_configs(*resources, &mut count);
            let entry = |i: usize| {
                let entry = *entries.add(i);
                (text(sys::rd_kafka_ConfigEntry_name(entry)), text(sys::rd_kafka_ConfigEntry_value(entry)))
            };
            Ok((0..count).map(entry).collect())
        }
    }

    /// Makes the topic.
    pub fn create_topic(
        &self,
        partitions: u32,
        settings: &[(&CStr, &CStr)],
        timeout: Duration,
    ) -> Result<(), String> {
        let mut words: [c_char; 512] = [0; 512];
        // SAFETY: as in `topic_id`; -1 asks for the broker's default replication.
        unsafe {
            let mut topic = sys::rd_kafka_NewTopic_new(
                self.topic.as_ptr(),
                partitions as c_int,
                -1,
                words.as_mut_ptr(),
                words.len(),
            );
            if topic.is_null() {
                return Err(text(words.as_ptr()));
            }
            for (name, value) in settings {
                sys::rd_kafka_NewTopic_set_config(topic, name.as_ptr(), value.as_ptr());
            }
            let answer = self.ask(
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS,
                timeout,
                |options, queue| {
                    sys::rd_kafka_CreateTopics(self.handle, &mut topic, 1, options, queue);
                },
            );
            sys::rd_kafka_NewTopic_destroy(topic);
            let event = answer?;
            let mut count = 0;
            let result = sys::rd_kafka_event_CreateTopics_result(event.0);
            let topics = sys::rd_kafka_CreateTopics_result_topics(result, &mut count);
            for i in 0..count {
                let created = *topics.add(i);
                let code = sys::rd_kafka_topic_result_error(created);
                if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR
                    && code != Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS
                {
                    return Err(text(sys::rd_kafka_topic_result_error_string(created)));
                }
            }
            Ok(())
        }
    }

    /// Asks an admin question and waits for the answer, for a bounded time.
    ///
    /// # Safety
    ///
    /// As [`begin`](Self::begin).
    unsafe fn ask(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        request: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Event, String> {
        // SAFETY: promised by the caller.
        unsafe { self.begin(operation, timeout, request) }.answer().map_err(|(_, words)| words)
    }

    /// Asks an admin question that is answered within a time.
    ///
    /// # Safety
    ///
    /// `request` hands options and queue to one admin call on this handle and keeps neither.
    pub(super) unsafe fn begin(
        &self,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
        request: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Question<'_> {
        // SAFETY: options are ours and destroyed here, the queue by `Question`.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.handle, operation);
            let mut words: [c_char; 256] = [0; 256];
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis(timeout),
                words.as_mut_ptr(),
                words.len(),
            );
            let queue = sys::rd_kafka_queue_new(self.handle);
            request(options, queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            Question { queue, timeout, client: self }
        }
    }
}

/// A question that was asked; it is answered, or given up, before its handle goes.
pub(super) struct Question<'c> {
    /// Where the answer comes.
    queue: *mut sys::rd_kafka_queue_t,
    timeout: Duration,
    pub(super) client: &'c Client,
}

impl Question<'_> {
    /// Waits for the answer. librdkafka gives up by itself when the time is over; a second more is for the defects of others.
    pub(super) fn answer(self) -> Result<Event, (Code, String)> {
        // SAFETY: the queue is ours; the event is freed by `Event`.
        let event =
            unsafe { sys::rd_kafka_queue_poll(self.queue, millis(self.timeout + Duration::from_secs(1))) };
        if event.is_null() {
            let detail = self.client.sink.unanswered("no answer in time".to_owned());
            return Err((Code::RD_KAFKA_RESP_ERR__TIMED_OUT, detail));
        }
        let event = Event(event);
        // SAFETY: the event is there.
        let (code, words) =
            unsafe { (sys::rd_kafka_event_error(event.0), text(sys::rd_kafka_event_error_string(event.0))) };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err((code, self.client.sink.unanswered(words)));
        }
        self.client.sink.is_up();
        Ok(event)
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and destroyed once.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

/// An answer.
pub(super) struct Event(pub(super) *mut sys::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours and freed once.
        unsafe { sys::rd_kafka_event_destroy(self.0) };
    }
}

/// An id in Base64. Brokers without ids answer with the one that has no bit set, which is none: every topic would have the same.
///
/// # Safety
///
/// `id` is null, or lives as long as this call.
unsafe fn uuid(id: *const sys::rd_kafka_Uuid_t) -> String {
    if id.is_null() {
        return String::new();
    }
    // SAFETY: it is not null, and the rest is promised by the caller.
    unsafe {
        let halves =
            (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id));
        if halves == (0, 0) { String::new() } else { text(sys::rd_kafka_Uuid_base64str(id)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: brokers before Kafka 2.8 know no ids, and the zeros that librdkafka gives then were taken for one, so that any other topic
    /// counted as the same.
    #[test]
    fn an_id_without_a_bit_set_is_none() {
        let shown = |most, least| {
            // SAFETY: what is made here is destroyed here.
            unsafe {
                let id = sys::rd_kafka_Uuid_new(most, least);
                let shown = uuid(id);
                sys::rd_kafka_Uuid_destroy(id);
                shown
            }
        };
        assert_eq!(shown(0, 0), "");
        assert_eq!((shown(0, 1).len(), shown(1, 0).len()), (22, 22));
        assert_ne!(shown(0, 1), shown(1, 0));
        // SAFETY: it may be null.
        assert_eq!(unsafe { uuid(std::ptr::null()) }, "");
    }
}
