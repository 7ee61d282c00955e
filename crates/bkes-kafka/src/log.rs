//! The topic: questions about it, and its halves.

use crate::appender::{KafkaAppender, Shared};
use crate::client_error::ClientError;
use crate::groups::GroupQuestions;
use crate::native::{Answered, Client, Kind, Layout, Sink, with_batch_threads};
use crate::options::{self, KafkaOptions};
use crate::polling::{Polled, PollingThread};
use crate::properties::{self, PropertyError};
use crate::reader::KafkaReader;
use crate::rights::TopicRights;
use crate::shortage::Shortage;
use crate::topic::{TopicReport, refused_name, report};
use crate::topic_settings::TopicSettings;
use bkes_core::{Cause, Partition, Position};
use bkes_log::{Log, LogAppender, LogError, LogIdentity, LogReader, Waker, Watermarks};
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the question about a consumer group may take: its coordinator is found first, and where a broker is gone, elected.
const GROUP_ANSWER: Duration = Duration::from_secs(9);

/// How long a question follows leaders that move. Electing one takes less; one that is missing longer must not hold up the answers of
/// others.
const MOVING: Duration = Duration::from_secs(1);

/// How long to wait before a new topic is looked for again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Why a topic cannot be used. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A property that safety rests on, or that librdkafka does not take.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// librdkafka did not like the settings.
    #[error("the Kafka client cannot be made: {cause}")]
    Client {
        /// In its own words.
        #[source]
        cause: Cause,
    },
    /// Kafka has no topic of such a name.
    #[error("topic {topic:?} cannot exist: {reason}")]
    TopicName {
        /// The name.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No broker answered in time.
    #[error("no broker at {brokers} answers: {cause}")]
    Unreachable {
        /// Who was asked.
        brokers: String,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The topic is not there.
    #[error(
        "topic {topic} does not exist; create it with: kafka-topics.sh --bootstrap-server {brokers} --create --topic {topic} \
         --partitions 6 --config retention.ms=-1 --config retention.bytes=-1, or start with --create-topic 6"
    )]
    NoSuchTopic {
        /// The topic.
        topic: String,
        /// The brokers asked.
        brokers: String,
    },
    /// The topic is not ours to use, or not there: who may not describe it is not told which.
    #[error(
        "access to topic {topic} is not permitted: {cause}; this user needs at least Describe, Read and Write on it (operating \
         guide: access rights in Kafka)"
    )]
    Denied {
        /// The topic.
        topic: String,
        /// In the words of the broker.
        #[source]
        cause: Cause,
    },
    /// The topic could not be made.
    #[error("topic {topic} could not be created: {cause}")]
    NotCreated {
        /// The topic.
        topic: String,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
}

/// One topic of a Kafka cluster.
pub struct KafkaLog {
    options: KafkaOptions,
    client: Arc<Client>,
    groups: GroupQuestions,
    polling: PollingThread,
    report: TopicReport,
    shortage: Arc<Shortage>,
    settings: Arc<TopicSettings>,
}

impl KafkaLog {
    /// Connects to the topic; makes it first when it is missing and `create` says with how many partitions. Blocks for a
    /// bounded time.
    pub fn connect(options: KafkaOptions, create: Option<NonZeroU32>) -> Result<KafkaLog, ConnectError> {
        for (name, value) in &options.properties {
            properties::check(name, value)?;
            properties::check_mechanism(name, value)?;
        }
        let bad_name = |reason| ConnectError::TopicName { topic: options.topic.clone(), reason };
        if let Some(reason) = refused_name(&options.topic) {
            return Err(bad_name(reason.to_owned()));
        }
        let made = |words: String| ConnectError::Client { cause: words.into() };
        // Before the first question: a handle that waits for a token is answered nothing until it was polled.
        let polling = PollingThread::start().map_err(|error| made(format!("no thread: {error}")))?;
        let properties = options::questions(&options);
        let client = asking(&options, &properties, polling.polled()).map_err(made)?;
        let unreachable = |(code, detail): (Code, String)| match code {
            Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION => bad_name(detail),
            Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                ConnectError::Denied { topic: options.topic.clone(), cause: cause(code, detail) }
            }
            _ => ConnectError::Unreachable { brokers: options.brokers.clone(), cause: cause(code, detail) },
        };
        let mut found = client.partitions(2 * ANSWER).map_err(unreachable)?;
        if let (None, Some(count)) = (&found, create) {
            let settings =
                [(c"retention.ms", c"-1"), (c"retention.bytes", c"-1"), (c"cleanup.policy", c"delete")];
            let topic = options.topic.clone();
            let made = client.create_topic(count.get(), &settings, 2 * ANSWER);
            made.map_err(|words| ConnectError::NotCreated { topic, cause: words.into() })?;
            let until = Instant::now() + 2 * ANSWER;
            found = client.partitions(ANSWER).map_err(unreachable)?;
            while found.is_none() && Instant::now() < until {
                std::thread::sleep(BETWEEN_LOOKS);
                found = client.partitions(ANSWER).map_err(unreachable)?;
            }
            wait_for_leaders(&client, count, until).map_err(unreachable)?;
        }
        let Some(layout) = found else {
            let (topic, brokers) = (options.topic.clone(), options.brokers.clone());
            return Err(ConnectError::NoSuchTopic { topic, brokers });
        };
        let settings = client.topic_settings(ANSWER);
        let known = settings.as_deref().ok().map(<[_]>::to_vec);
        let report = report(&options, layout.replicas, settings);
        for (name, value) in &options.properties {
            if let Some(reason) = options::too_small_for(report.message_bytes_max, name, value) {
                return Err(PropertyError { name: "receive.message.max.bytes", reason }.into());
            }
        }
        try_handles(&options, report.message_bytes_max).map_err(made)?;
        let settings = TopicSettings::new(Arc::clone(&client), known.as_deref(), report.message_bytes_max);
        let (shortage, settings) = (Arc::default(), Arc::new(settings));
        let (of, polled) = (options.clone(), polling.polled().clone());
        let make = move || asking(&of, &options::questions(&of), &polled);
        let groups = GroupQuestions::new(Arc::clone(&client), Box::new(make));
        Ok(KafkaLog { options, client, groups, polling, report, shortage, settings })
    }

    /// What the topic's settings mean for an event store.
    pub fn report(&self) -> &TopicReport {
        &self.report
    }

    /// What this user may do with the topic, as of now; `None` where the broker does not tell, as those before Kafka 2.3. Blocks for a
    /// bounded time, and changes nothing.
    pub fn rights(&self) -> Result<Option<TopicRights>, LogError> {
        let operations = self.client.topic_operations(ANSWER).map_err(Self::unavailable)?;
        Ok(operations.map(|operations| TopicRights::of(&operations)))
    }

    /// Asks for all of these partitions together, and again for those of which the answer may be another one in a moment; where nobody
    /// could be asked, that is told of each.
    fn ask_all<T>(
        &self,
        partitions: &[Partition],
        ask: impl Fn(&[Partition], Duration) -> Answered<BTreeMap<Partition, Answered<T>>>,
    ) -> Vec<Result<T, LogError>> {
        if partitions.is_empty() {
            return Vec::new();
        }
        let ask = |partitions: &[Partition], timeout| {
            ask(partitions, timeout).unwrap_or_else(|(code, detail)| {
                let is_unled = code == Code::RD_KAFKA_RESP_ERR__NOENT;
                let code = if is_unled { code } else { Code::RD_KAFKA_RESP_ERR__TIMED_OUT };
                partitions.iter().map(|partition| (*partition, Err((code, detail.clone())))).collect()
            })
        };
        let until = Instant::now() + MOVING;
        let mut found = ask(partitions, ANSWER);
        // Asked when it matters, which also has the handle look for partitions that are new to it.
        let mut layout = None;
        loop {
            if found.values().any(is_unknown) {
                layout = Some(self.client.partitions(ANSWER));
            }
            let is_passing = |partition: &Partition, told: &Answered<T>| {
                has_moved(told)
                    || is_unknown(told) && layout.as_ref().is_some_and(|known| has(known, *partition))
            };
            let again: Vec<Partition> = found
                .iter()
                .filter(|(partition, told)| is_passing(partition, told))
                .map(|(partition, _)| *partition)
                .collect();
            let left = until.saturating_duration_since(Instant::now());
            if again.is_empty() || left <= BETWEEN_LOOKS {
                break;
            }
            std::thread::sleep(BETWEEN_LOOKS);
            found.extend(ask(&again, left));
        }
        if found.values().any(Result::is_ok) {
            self.settings.answered();
        }
        let told = |partition: &Partition| match (found.remove(partition), &layout) {
            (Some(told), Some(layout)) if is_unknown(&told) => told.map_err(|failed| match layout {
                Err(why) => no_answer(why.clone()),
                known if has(known, *partition) => no_answer(failed),
                _ => LogError::NoSuchPartition { partition: *partition },
            }),
            (Some(told), _) => told.map_err(no_answer),
            (None, _) => Err(Self::unavailable("it was left out of the answer")),
        };
        partitions.iter().map(told).collect()
    }

    fn unavailable(cause: impl Into<Cause>) -> LogError {
        LogError::Unavailable { cause: cause.into() }
    }
}

/// A handle that questions are asked by.
fn asking(
    options: &KafkaOptions,
    properties: &[(&str, String)],
    polled: &Polled,
) -> Result<Arc<Client>, String> {
    let sink = Arc::new(Sink::asking(polled.waker()));
    let client = Arc::new(Client::new(Kind::Questions, &options.topic, properties, sink)?);
    polled.add(&client);
    Ok(client)
}

/// Makes each handle that is to come, without brokers. What librdkafka takes one by one it may refuse together, and that of some handles
/// only: it has to show before the store is built.
fn try_handles(options: &KafkaOptions, message_bytes_max: u64) -> Result<(), String> {
    if options.properties.is_empty() {
        return Ok(());
    }
    let batch_bytes = options::batch_bytes(options::batch_bytes_wanted(options), message_bytes_max);
    for (kind, properties) in [
        (Kind::Reader, options::reader(options, message_bytes_max)),
        (Kind::Producer, options::producer(options, batch_bytes)),
    ] {
        let is_loud = |name: &str| ["bootstrap.servers", "debug", "log_level"].contains(&name);
        let mut quiet: Vec<_> = properties.into_iter().filter(|(name, _)| !is_loud(name)).collect();
        quiet.push(("log_level", "0".to_owned()));
        Client::new(kind, &options.topic, &quiet, Arc::default())?;
    }
    Ok(())
}

/// Waits until every partition of a new topic answers: the topic is named before its leaders know of it.
fn wait_for_leaders(client: &Client, partitions: NonZeroU32, until: Instant) -> Answered<()> {
    let all: Vec<Partition> = (0..partitions.get()).map(Partition).collect();
    loop {
        let ends = client.stable_ends(&all, ANSWER);
        let Err(failed) = ends.and_then(|ends| ends.into_values().try_for_each(|end| end.map(drop))) else {
            return Ok(());
        };
        if Instant::now() >= until {
            return Err(failed);
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

fn cause(code: Code, words: String) -> Cause {
    Cause::of(ClientError::new(code, words))
}

/// A question that was refused, or that nobody answered.
fn no_answer((code, detail): (Code, String)) -> LogError {
    match code {
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => {
            LogError::Denied { cause: cause(code, detail) }
        }
        _ => LogError::Unavailable { cause: cause(code, detail) },
    }
}

/// Whether a broker that is not, or not yet, the leader was asked: asking again in a moment makes sense.
fn has_moved<T>(told: &Answered<T>) -> bool {
    let moved = [
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    ];
    told.as_ref().is_err_and(|(code, _)| moved.contains(code))
}

/// Whether who was asked does not know of the partition, or nobody is known who could be asked. That a partition is missing is no more
/// than a guess then: a broker that comes back says it of partitions that it has, and a handle of those that are new. The topic's
/// layout decides.
fn is_unknown<T>(told: &Answered<T>) -> bool {
    let unknown = [
        Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        Code::RD_KAFKA_RESP_ERR__NOENT,
    ];
    told.as_ref().is_err_and(|(code, _)| unknown.contains(code))
}

fn has(layout: &Answered<Option<Layout>>, partition: Partition) -> bool {
    matches!(layout, Ok(Some(layout)) if partition.0 < layout.count)
}

impl Log for KafkaLog {
    fn identity(&self) -> Result<LogIdentity, LogError> {
        let cluster = self
            .client
            .cluster(ANSWER)
            .ok_or_else(|| "the cluster's id was not told".to_owned())
            .map_err(|detail| Self::unavailable(self.client.sink().unanswered(detail)))?;
        let topic_id = self.client.topic_id(ANSWER).map_err(Self::unavailable)?;
        Ok(LogIdentity { cluster, topic: self.options.topic.clone(), topic_id })
    }

    fn partition_count(&self) -> Result<NonZeroU32, LogError> {
        let found = self.client.partitions(ANSWER).map_err(no_answer)?;
        if let Some(layout) = &found {
            self.shortage.note(&layout.in_sync, self.settings.needed());
        }
        let count = found.and_then(|layout| NonZeroU32::new(layout.count));
        count.ok_or_else(|| LogError::NoSuchTopic { topic: self.options.topic.clone() })
    }

    fn watermarks(&self, partition: Partition) -> Result<Watermarks, LogError> {
        self.watermarks_of(&[partition]).pop().expect("an answer for each")
    }

    fn watermarks_of(&self, partitions: &[Partition]) -> Vec<Result<Watermarks, LogError>> {
        self.ask_all(partitions, |partitions, timeout| self.client.marks(partitions, timeout))
    }

    fn stable_ends(&self, partitions: &[Partition]) -> Vec<Result<Position, LogError>> {
        self.ask_all(partitions, |partitions, timeout| self.client.stable_ends(partitions, timeout))
    }

    fn committed(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LogError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let asked: BTreeSet<Partition> = partitions.iter().copied().collect();
        let asked: Vec<Partition> = asked.into_iter().collect();
        match self.groups.committed(group, &asked, GROUP_ANSWER) {
            Ok(found) => {
                let left_out = || Self::unavailable("it was left out of the answer");
                let told = |partition: &Partition| found.get(partition).copied().ok_or_else(left_out);
                partitions.iter().map(told).collect()
            }
            // Some brokers say so of a group that nobody has heard of.
            Err((Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND, _)) => Ok(vec![None; partitions.len()]),
            Err(failed) => Err(no_answer(failed)),
        }
    }

    fn record_bytes_max(&self) -> u64 {
        options::record_bytes_max(self.settings.batch_bytes_max())
    }

    fn topic_bytes_max(&self) -> u64 {
        self.settings.batch_bytes_max()
    }

    fn reader(&self, waker: Waker) -> Result<Box<dyn LogReader>, LogError> {
        let properties = options::reader(&self.options, self.settings.batch_bytes_max());
        let sink = Arc::new(Sink::reading(waker, self.polling.polled().waker()));
        let client = Client::new(Kind::Reader, &self.options.topic, &properties, sink);
        let client = Arc::new(client.map_err(|words| LogError::Failed { cause: words.into() })?);
        self.polling.polled().add(&client);
        Ok(Box::new(KafkaReader::new(client)))
    }

    fn appender(&self, waker: Waker) -> Result<Box<dyn LogAppender>, LogError> {
        let sink = Arc::new(Sink::appending(waker, Arc::clone(&self.shortage)));
        self.settings.tell(&sink);
        let options = self.options.clone();
        let make = move |batch_bytes| {
            let properties = options::producer(&options, batch_bytes);
            let make = || Client::new(Kind::Producer, &options.topic, &properties, Arc::clone(&sink));
            with_batch_threads(make)
        };
        let shared = Shared {
            shortage: Arc::clone(&self.shortage),
            settings: Arc::clone(&self.settings),
            polled: self.polling.polled().clone(),
            batch_bytes_wanted: options::batch_bytes_wanted(&self.options),
            records_max: self.options.queue_records_max,
        };
        let appender = KafkaAppender::new(Box::new(make), shared);
        Ok(Box::new(appender.map_err(|words| LogError::Failed { cause: words.into() })?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::mock::MockBroker;

    fn connected(broker: &MockBroker) -> KafkaLog {
        let options = KafkaOptions::new(broker.address(), "topic".to_owned());
        KafkaLog::connect(options, None).expect("the broker answers")
    }

    /// A handle of librdkafka goes on asking the broker that was the coordinator: another handle has to.
    #[test]
    fn a_groups_coordinator_that_moved_is_looked_for_again() {
        let broker = MockBroker::new("topic", 2);
        let log = connected(&broker);
        let all = [0, 1].map(Partition);
        assert_eq!(log.committed("group", &all), Ok(vec![None; 2]));
        broker.refuse_commits(1, Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR);
        assert_eq!(log.committed("group", &all), Ok(vec![None; 2]), "another handle is told");
        broker.refuse_commits(2, Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR);
        let moving = log.committed("group", &all);
        assert!(matches!(moving, Err(LogError::Unavailable { .. })), "not for ever: {moving:?}");
        assert_eq!(log.committed("group", &all), Ok(vec![None; 2]));
    }

    #[test]
    fn what_is_refused_of_a_group_is_told_apart_from_what_it_has_not_committed() {
        let broker = MockBroker::new("topic", 2);
        let log = connected(&broker);
        let all = [0, 1].map(Partition);
        broker.refuse_commits(1, Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
        let refused = log.committed("group", &all);
        assert!(matches!(refused, Err(LogError::Denied { .. })), "{refused:?}");
        let unnamed = log.committed("a\0b", &all);
        assert!(matches!(unnamed, Err(LogError::Unavailable { .. })), "{unnamed:?}");
        let missing = log.committed("group", &[Partition(0), Partition(2)]);
        assert!(matches!(missing, Err(LogError::Unavailable { .. })), "half an answer is none: {missing:?}");
        assert_eq!(log.committed("group", &[]), Ok(Vec::new()));
    }

    /// The story: a broker that had stood still said of partitions that it did not know them, right after it had told how many there
    /// are; the server that was started then took it at its word and ended.
    #[test]
    fn a_partition_that_the_topic_has_is_not_missing_because_a_broker_says_so() {
        let broker = MockBroker::new("topic", 3);
        let log = connected(&broker);
        let ends = Watermarks { low: Position(0), stable: Position(0), high: Position(0) };
        let all: Vec<Partition> = (0..4).map(Partition).collect();
        // Once for each of the three questions that the marks are asked by: it is asked again.
        broker.refuse_ends(3, Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        assert_eq!(log.watermarks(Partition(0)), Ok(ends));
        // For longer than anybody should wait: it is not known, and that is what is said.
        broker.refuse_ends(1000, Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        let told = log.watermarks_of(&all[..3]);
        assert!(told.iter().all(|told| matches!(told, Err(LogError::Unavailable { .. }))), "{told:?}");
        let told = log.stable_ends(&all);
        assert!(told[..3].iter().all(|told| matches!(told, Err(LogError::Unavailable { .. }))), "{told:?}");
        assert_eq!(told[3], Err(LogError::NoSuchPartition { partition: Partition(3) }));
    }
}
