//! What the user that this client is may do with the topic.

use rdkafka_sys::rd_kafka_AclOperation_t as Operation;

/// What a user may do with a topic. Who may not even describe it is not connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicRights {
    /// Read its records.
    pub read: bool,
    /// Write records to it.
    pub write: bool,
    /// Read its settings.
    pub describe_configs: bool,
}

impl TopicRights {
    pub(crate) fn of(operations: &[Operation]) -> TopicRights {
        let has = |operation| {
            operations.contains(&operation) || operations.contains(&Operation::RD_KAFKA_ACL_OPERATION_ALL)
        };
        TopicRights {
            read: has(Operation::RD_KAFKA_ACL_OPERATION_READ),
            write: has(Operation::RD_KAFKA_ACL_OPERATION_WRITE),
            describe_configs: has(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_right_is_its_own_and_all_of_them_are_one() {
        let all = TopicRights { read: true, write: true, describe_configs: true };
        let none = TopicRights { read: false, write: false, describe_configs: false };
        let table = [
            (Operation::RD_KAFKA_ACL_OPERATION_READ, TopicRights { read: true, ..none }),
            (Operation::RD_KAFKA_ACL_OPERATION_WRITE, TopicRights { write: true, ..none }),
            (
                Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
                TopicRights { describe_configs: true, ..none },
            ),
            (Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, none),
            (Operation::RD_KAFKA_ACL_OPERATION_ALL, all),
        ];
        for (operation, expected) in table {
            assert_eq!(TopicRights::of(&[operation]), expected, "{operation:?}");
        }
        assert_eq!(TopicRights::of(&[]), none);
    }
}
