//! An error of librdkafka or of a broker, as the source of what went wrong above.

use rdkafka_sys::rd_kafka_resp_err_t as Code;

/// What librdkafka or a broker answered instead of what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{words}")]
pub struct ClientError {
    code: Code,
    words: String,
}

impl ClientError {
    pub(crate) fn new(code: Code, words: String) -> ClientError {
        ClientError { code, words }
    }

    /// Its number: Kafka's own error code from 0 up (<https://kafka.apache.org/protocol#protocol_error_codes>), librdkafka's
    /// below that.
    pub fn code(&self) -> i32 {
        self.code as i32
    }
}
