//! The stable ends of many partitions by one question (ListOffsets, read committed): a request to each leader.

use super::{Client, Code, words_of};
use bkes_core::{Partition, Position};
use rdkafka_sys as sys;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::time::Duration;

/// A position, or why a broker, or librdkafka, does not tell it.
pub type Mark = Result<Position, (Code, String)>;

impl Client {
    /// The stable ends of these partitions, by one request to each of their leaders. What the brokers said of a partition, or that
    /// nobody answered for it; the whole fails when no broker could be asked.
    pub fn stable_ends(
        &self,
        partitions: &[Partition],
        timeout: Duration,
    ) -> Result<BTreeMap<Partition, Mark>, String> {
        // SAFETY: as in `topic_id`; the list is copied by the call, and results live as long as their event.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(partitions.len() as c_int);
            for partition in partitions {
                let entry =
                    sys::rd_kafka_topic_partition_list_add(list, self.topic.as_ptr(), partition.0 as i32);
                (*entry).offset = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
            }
            let answer = self.ask(
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
                timeout,
                |options, queue| {
                    let committed = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
                    let refused =
                        sys::rd_kafka_AdminOptions_set_isolation_level(options.cast_mut(), committed);
                    debug_assert!(refused.is_null(), "the level is one of ListOffsets");
                    sys::rd_kafka_ListOffsets(self.handle, list, options, queue);
                },
            );
            sys::rd_kafka_topic_partition_list_destroy(list);
            let event = answer?;
            let mut count = 0;
            let result = sys::rd_kafka_event_ListOffsets_result(event.0);
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
            let end = |i: usize| {
                let found = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(i));
                let end = match (found.err, u64::try_from(found.offset)) {
                    (Code::RD_KAFKA_RESP_ERR_NO_ERROR, Ok(offset)) => Ok(Position(offset)),
                    // Its leader did not answer.
                    (Code::RD_KAFKA_RESP_ERR_NO_ERROR, Err(_)) => {
                        Err((Code::RD_KAFKA_RESP_ERR__TIMED_OUT, "its leader did not answer".to_owned()))
                    }
                    (code, _) => Err((code, words_of(code))),
                };
                (Partition(found.partition as u32), end)
            };
            Ok((0..count).map(end).collect())
        }
    }
}
