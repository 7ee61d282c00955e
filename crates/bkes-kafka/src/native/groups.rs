//! How far a consumer group has committed, asked of its coordinator without joining it.

use super::ends::Answered;
use super::{Client, Code, text};
use bkes_core::{Partition, Position};
use rdkafka_sys as sys;
use std::collections::BTreeMap;
use std::ffi::{CString, c_int};
use std::time::Duration;

impl Client {
    /// The positions that a group has committed in these partitions, `None` where it committed nothing. There must be a partition at
    /// least, and none twice.
    ///
    /// Whether offsets must be stable is left at no: the coordinator tells the last commit that is decided then. With it a group with
    /// an open transaction gets no answer, and what is decided already would be hidden.
    pub fn committed(
        &self,
        group: &str,
        partitions: &[Partition],
        timeout: Duration,
    ) -> Answered<BTreeMap<Partition, Option<Position>>> {
        let invalid =
            (Code::RD_KAFKA_RESP_ERR_INVALID_GROUP_ID, "a group's name has no zero byte".to_owned());
        let group = CString::new(group).map_err(|_| invalid)?;
        // SAFETY: list and question are ours, made and destroyed here; both calls copy what they are given. Results live as long as
        // their event, arrays have the lengths that are told, and what they point to is not null.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(partitions.len() as c_int);
            for partition in partitions {
                sys::rd_kafka_topic_partition_list_add(list, self.topic.as_ptr(), partition.0 as i32);
            }
            let mut asked = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list);
            sys::rd_kafka_topic_partition_list_destroy(list);
            let question = self.begin(
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
                timeout,
                |options, queue| {
                    sys::rd_kafka_ListConsumerGroupOffsets(self.handle, &mut asked, 1, options, queue);
                },
            );
            sys::rd_kafka_ListConsumerGroupOffsets_destroy(asked);
            let event = question.answer()?;
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.0);
            let mut count = 0;
            let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
            if count != 1 {
                let words = "the group was left out of the answer".to_owned();
                return Err((Code::RD_KAFKA_RESP_ERR__BAD_MSG, words));
            }
            let error = sys::rd_kafka_group_result_error(*groups);
            if !error.is_null() && sys::rd_kafka_error_code(error) != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err((sys::rd_kafka_error_code(error), text(sys::rd_kafka_error_string(error))));
            }
            self.offsets_of(sys::rd_kafka_group_result_partitions(*groups))
        }
    }

    /// What a list of committed offsets says.
    ///
    /// # Safety
    ///
    /// `list` is null or live.
    unsafe fn offsets_of(
        &self,
        list: *const sys::rd_kafka_topic_partition_list_t,
    ) -> Answered<BTreeMap<Partition, Option<Position>>> {
        if list.is_null() {
            return Ok(BTreeMap::new());
        }
        // SAFETY: promised by the caller; the array has the length that stands beside it.
        let entries = unsafe { (0..(*list).cnt as usize).map(|i| &*(*list).elems.add(i)) };
        let mut committed = BTreeMap::new();
        for entry in entries {
            if entry.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err((entry.err, self.words_without_answer(entry.err)));
            }
            // Below 0: nothing is committed there.
            let position = u64::try_from(entry.offset).ok().map(Position);
            committed.insert(Partition(entry.partition as u32), position);
        }
        Ok(committed)
    }
}
