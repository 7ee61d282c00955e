//! Questions about consumer groups, and the handle that they are asked by.
//!
//! librdkafka (2.12) remembers which broker coordinates a group for as long as it is asked about that group, also when that broker says
//! that another one does by now: every later question of the handle would be refused. So such an answer ends the use of the
//! handle for groups, and a new one looks for the coordinator again.

use crate::lock::lock;
use crate::native::{Answered, Client};
use bkes_core::{Partition, Position};
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Makes another handle.
pub(crate) type Make = Box<dyn Fn() -> Result<Arc<Client>, String> + Send + Sync>;

/// What groups are asked by.
pub(crate) struct GroupQuestions {
    client: Mutex<Arc<Client>>,
    make: Make,
}

/// What a group has committed, or why it is not known.
type Committed = Answered<BTreeMap<Partition, Option<Position>>>;

impl GroupQuestions {
    /// Asks by this handle until a coordinator moves.
    pub fn new(client: Arc<Client>, make: Make) -> GroupQuestions {
        GroupQuestions { client: Mutex::new(client), make }
    }

    /// What a group has committed: see [`Client::committed`].
    pub fn committed(&self, group: &str, partitions: &[Partition], timeout: Duration) -> Committed {
        let until = Instant::now() + timeout;
        let client = Arc::clone(&lock(&self.client));
        let answer = client.committed(group, partitions, timeout);
        if !has_moved(&answer) {
            return answer;
        }
        let client = self.another_than(&client).map_err(|words| (Code::RD_KAFKA_RESP_ERR__FAIL, words))?;
        client.committed(group, partitions, until.saturating_duration_since(Instant::now()))
    }

    fn another_than(&self, refused: &Arc<Client>) -> Result<Arc<Client>, String> {
        let mut client = lock(&self.client);
        // Somebody else may have made one meanwhile.
        if Arc::ptr_eq(&client, refused) {
            *client = (self.make)()?;
        }
        Ok(Arc::clone(&client))
    }
}

fn has_moved(answer: &Committed) -> bool {
    let is_moved = |(code, _): &(Code, String)| *code == Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    answer.as_ref().is_err_and(is_moved)
}
