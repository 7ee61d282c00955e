//! A broker of librdkafka's own, for tests: it answers a question with the error that a test wants.

use super::{Code, new_handle, text};
use rdkafka_sys as sys;
use std::ffi::CString;
use std::sync::Arc;

/// Kafka's number of the question for the ends of partitions.
const LIST_OFFSETS: i16 = 2;

/// Kafka's number of the question for what a group has committed.
const OFFSET_FETCH: i16 = 9;

/// One broker that listens on loopback.
pub struct MockBroker {
    handle: *mut sys::rd_kafka_t,
    cluster: *mut sys::rd_kafka_mock_cluster_t,
}

// SAFETY: librdkafka's mock cluster takes its own lock in each call.
unsafe impl Send for MockBroker {}

impl MockBroker {
    /// A broker with a topic.
    pub fn new(topic: &str, partitions: i32) -> MockBroker {
        let topic = CString::new(topic).expect("no zero byte");
        let handle = new_handle(super::Kind::Producer, &[], &Arc::default()).expect("a handle");
        // SAFETY: the handle is live, the name ends with a zero byte.
        unsafe {
            let cluster = sys::rd_kafka_mock_cluster_new(handle, 1);
            let made = sys::rd_kafka_mock_topic_create(cluster, topic.as_ptr(), partitions, 1);
            assert_eq!(made, Code::RD_KAFKA_RESP_ERR_NO_ERROR);
            MockBroker { handle, cluster }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        // SAFETY: the cluster is live, and the words are its own.
        unsafe { text(sys::rd_kafka_mock_cluster_bootstraps(self.cluster)) }
    }

    /// Answers the next questions for ends with an error.
    pub fn refuse_ends(&self, times: usize, code: Code) {
        self.refuse(LIST_OFFSETS, times, code);
    }

    /// Answers the next questions for what a group has committed with an error.
    pub fn refuse_commits(&self, times: usize, code: Code) {
        self.refuse(OFFSET_FETCH, times, code);
    }

    fn refuse(&self, question: i16, times: usize, code: Code) {
        let codes = vec![code; times];
        // SAFETY: the cluster is live, and copies the codes.
        unsafe {
            sys::rd_kafka_mock_push_request_errors_array(self.cluster, question, times, codes.as_ptr());
        }
    }
}

impl Drop for MockBroker {
    fn drop(&mut self) {
        // SAFETY: both are ours and destroyed once, the cluster first.
        unsafe {
            sys::rd_kafka_mock_cluster_destroy(self.cluster);
            sys::rd_kafka_destroy(self.handle);
        }
    }
}
