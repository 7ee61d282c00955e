//! The marks of many partitions by one question each (ListOffsets): a request to each leader.

use super::admin::Question;
use super::{Client, Code};
use bkes_core::{Partition, Position};
use bkes_log::Watermarks;
use rdkafka_sys as sys;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::time::Duration;

/// What is told of a partition, or why a broker, or librdkafka, does not tell it.
pub type Answered<T> = Result<T, (Code, String)>;

/// A position.
pub type Mark = Answered<Position>;

use sys::rd_kafka_IsolationLevel_t::{
    RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED as COMMITTED,
    RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED as UNCOMMITTED,
};
use sys::rd_kafka_OffsetSpec_t::{
    RD_KAFKA_OFFSET_SPEC_EARLIEST as EARLIEST, RD_KAFKA_OFFSET_SPEC_LATEST as LATEST,
};

impl Client {
    /// The stable ends of these partitions, by one request to each of their leaders. What the brokers said of a partition, or that
    /// nobody answered for it; the whole fails when no broker could be asked.
    pub fn stable_ends(
        &self,
        partitions: &[Partition],
        timeout: Duration,
    ) -> Answered<BTreeMap<Partition, Mark>> {
        self.ask_offsets(partitions, LATEST, COMMITTED, timeout).offsets()
    }

    /// The marks of these partitions, by three requests to each of their leaders, which are on their way together.
    pub fn marks(
        &self,
        partitions: &[Partition],
        timeout: Duration,
    ) -> Answered<BTreeMap<Partition, Answered<Watermarks>>> {
        let low = self.ask_offsets(partitions, EARLIEST, UNCOMMITTED, timeout);
        let stable = self.ask_offsets(partitions, LATEST, COMMITTED, timeout);
        let high = self.ask_offsets(partitions, LATEST, UNCOMMITTED, timeout);
        let (low, mut stable, mut high) = (low.offsets()?, stable.offsets()?, high.offsets()?);
        let missing =
            || Err((Code::RD_KAFKA_RESP_ERR__TIMED_OUT, "it was left out of the answer".to_owned()));
        let marks = low.into_iter().map(|(partition, low)| {
            let of = |marks: &mut BTreeMap<Partition, Mark>| marks.remove(&partition).unwrap_or_else(missing);
            let (stable, high) = (of(&mut stable), of(&mut high));
            let marks = low.and_then(|low| {
                let (stable, high) = (stable?, high?);
                // They were asked together, and answered one after the other.
                Ok(Watermarks { low: low.min(stable), stable, high: high.max(stable) })
            });
            (partition, marks)
        });
        Ok(marks.collect())
    }

    /// Asks where partitions begin or end, as a reader of this isolation level sees it.
    fn ask_offsets(
        &self,
        partitions: &[Partition],
        place: sys::rd_kafka_OffsetSpec_t,
        level: sys::rd_kafka_IsolationLevel_t,
        timeout: Duration,
    ) -> Question<'_> {
        // SAFETY: the list is ours, made and destroyed here; the call copies it.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(partitions.len() as c_int);
            for partition in partitions {
                let entry =
                    sys::rd_kafka_topic_partition_list_add(list, self.topic.as_ptr(), partition.0 as i32);
                (*entry).offset = place as i64;
            }
            let question = self.begin(
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
                timeout,
                |options, queue| {
                    let refused = sys::rd_kafka_AdminOptions_set_isolation_level(options.cast_mut(), level);
                    debug_assert!(refused.is_null(), "the level is one of ListOffsets");
                    sys::rd_kafka_ListOffsets(self.handle, list, options, queue);
                },
            );
            sys::rd_kafka_topic_partition_list_destroy(list);
            question
        }
    }
}

impl Question<'_> {
    /// The answer to [`Client::ask_offsets`].
    fn offsets(self) -> Answered<BTreeMap<Partition, Mark>> {
        let client = self.client;
        let event = self.answer()?;
        // SAFETY: results live as long as their event.
        unsafe {
            let mut count = 0;
            let result = sys::rd_kafka_event_ListOffsets_result(event.0);
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
            let end = |i: usize| {
                let found = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(i));
                let end = match (found.err, u64::try_from(found.offset)) {
                    (Code::RD_KAFKA_RESP_ERR_NO_ERROR, Ok(offset)) => Ok(Position(offset)),
                    // Its leader did not answer.
                    (Code::RD_KAFKA_RESP_ERR_NO_ERROR, Err(_)) => {
                        let detail = client.sink.unanswered("its leader did not answer".to_owned());
                        Err((Code::RD_KAFKA_RESP_ERR__TIMED_OUT, detail))
                    }
                    (code, _) => Err((code, client.words_without_answer(code))),
                };
                (Partition(found.partition as u32), end)
            };
            Ok((0..count).map(end).collect())
        }
    }
}
