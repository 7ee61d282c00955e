//! A look at a topic: its settings, this user's rights, its marks, its keys and its clock. It blocks its thread.

use super::Findings;
use super::complaint::Complaint;
use super::keys::{newest, placed};
use super::place::Place;
use crate::byte_argument::quoted;
use crate::limits::{DOCTOR_CLOCK_AHEAD_MAX, DOCTOR_QUESTIONS, DOCTOR_TRANSACTION_WAIT};
use crate::topic_args::TopicToReach;
use bkes_api::Partition;
use bkes_kafka::{ConnectError, Finding, KafkaOptions, TopicReport, TopicRights};
use bkes_log::{Log, LogError, LogIdentity, Watermarks};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The group that librdkafka looks up the coordinator of.
const GROUP: &str = "bkes";

/// The topic that is looked at.
pub struct TopicSide {
    place: Place,
    group: String,
    found: Result<Reached, ConnectError>,
}

/// A topic that was connected to.
struct Reached {
    log: Arc<dyn Log>,
    settings: TopicReport,
    /// What this user may do with it; `None` where the broker does not tell.
    rights: Result<Option<TopicRights>, LogError>,
}

/// What is known of the topic beside what was complained of, to compare a server with.
pub struct Known {
    /// Which topic it is.
    pub identity: Option<LogIdentity>,
    /// The marks of each partition that told them.
    pub marks: Vec<(Partition, Watermarks)>,
}

impl TopicSide {
    /// Connects to it. That it cannot be used is a finding, and wrong properties are an error.
    pub async fn connect(to_reach: TopicToReach) -> Result<TopicSide, ConnectError> {
        let options = to_reach.options;
        let group = options.properties.iter().rfind(|(name, _)| name == "group.id");
        let group = group.map_or_else(|| GROUP.to_owned(), |(_, group)| group.clone());
        let KafkaOptions { brokers, topic, .. } = options.clone();
        let place = Place { brokers, topic };
        let found = match crate::topic_args::connect(options).await {
            Ok(log) => {
                let asking = tokio::task::spawn_blocking(move || {
                    let (rights, settings) = (log.rights(), log.report().clone());
                    Reached { log: Arc::new(log), settings, rights }
                });
                Ok(asking.await.expect("asking does not panic"))
            }
            Err(
                error @ (ConnectError::Property(_)
                | ConnectError::Client { .. }
                | ConnectError::TopicName { .. }),
            ) => return Err(error),
            Err(error) => Err(error),
        };
        Ok(TopicSide { place, group, found })
    }

    /// One that is connected to.
    #[cfg(test)]
    pub fn reached(
        place: Place,
        log: Arc<dyn Log>,
        settings: TopicReport,
        rights: Result<Option<TopicRights>, LogError>,
    ) -> TopicSide {
        TopicSide { place, group: GROUP.to_owned(), found: Ok(Reached { log, settings, rights }) }
    }

    /// How it is named in commands.
    pub fn place(&self) -> Place {
        self.place.clone()
    }
}

/// Looks at all of it; `None` where it cannot be reached.
pub(super) fn look(side: &TopicSide) -> (Option<Known>, Findings) {
    let mut findings = Findings::default();
    let place = &side.place;
    findings.fact("brokers", &place.brokers);
    findings.fact("topic", &place.topic);
    let reached = match &side.found {
        Ok(reached) => reached,
        Err(error) => {
            findings.add(of_connecting(error, place));
            return (None, findings);
        }
    };
    let Reached { log, settings, rights } = reached;
    settings.findings.iter().for_each(|finding| findings.add(of_setting(finding, place)));
    findings.fact("largest batch", format_args!("{} bytes", settings.message_bytes_max));
    look_at_rights(rights, place, &mut findings);
    let identity = log.identity();
    match &identity {
        Ok(LogIdentity { cluster, topic_id, .. }) => {
            findings.fact("cluster", cluster);
            // A broker that knows ids of topics is that new.
            let id =
                if topic_id.is_empty() { "none: the brokers are older than Kafka 2.8" } else { topic_id };
            findings.fact("topic id", id);
        }
        Err(error) => findings.add(no_answer("its id", error, place)),
    }
    let mut known = Known { identity: identity.ok(), marks: Vec::new() };
    let count = match log.partition_count() {
        Ok(count) => count,
        Err(error) => {
            findings.add(no_answer("the number of its partitions", &error, place));
            return (Some(known), findings);
        }
    };
    findings.fact("partitions", count);
    let partitions: Vec<Partition> = (0..count.get()).map(Partition).collect();
    look_at_round_trip(&**log, &partitions, &mut findings);
    known.marks = look_at_marks(&**log, &partitions, place, &mut findings);
    look_at_group(&**log, &partitions, side, &mut findings);
    let may_read = !matches!(rights, Ok(Some(TopicRights { read: false, .. })));
    if may_read {
        placed(&**log, count, place, &mut findings);
        let (newest, trouble) = newest(&**log, &known.marks);
        if let Some(detail) = trouble {
            let what = format!("not all of the newest records could be read, to compare clocks: {detail}");
            findings.add(place.no_answer(what));
        }
        look_at_clock(newest, SystemTime::now(), &mut findings);
    }
    (Some(known), findings)
}

fn of_connecting(error: &ConnectError, place: &Place) -> Complaint {
    let of = |kind, cure: String| Complaint::problem(kind, error.to_string(), cure);
    match error {
        ConnectError::NoSuchTopic { .. } => {
            let rest = format!(
                "--create --topic {} --partitions 12 --replication-factor 3 --config cleanup.policy=delete --config \
                 retention.ms=-1 --config retention.bytes=-1 --config min.insync.replicas=2",
                quoted(&place.topic)
            );
            let what = format!("topic {} does not exist", place.topic);
            Complaint::problem("no_topic", what, place.command("kafka-topics.sh", &rest))
        }
        ConnectError::Denied { .. } => {
            let resource = format!("--topic {}", quoted(&place.topic));
            of("no_right", place.allow("Describe --operation Read --operation Write", &resource))
        }
        ConnectError::Unreachable { .. } => {
            let cure = "check the address, the network, and `security.protocol`; the brokers answer to ";
            of("no_broker", format!("{cure}{}", place.command("kafka-broker-api-versions.sh", "")))
        }
        _ => of(
            "no_topic",
            place.command("kafka-topics.sh", &format!("--describe --topic {}", quoted(&place.topic))),
        ),
    }
}

fn of_setting(finding: &Finding, place: &Place) -> Complaint {
    let (kind, what) = ("topic_setting", &*finding.message);
    let cure = || {
        finding.cure.clone().unwrap_or_else(|| {
            // More replicas are a plan that names brokers: the tool makes it.
            let rest = "--generate --topics-to-move-json-file TOPICS.json --broker-list 1,2,3";
            let tool = place.command("kafka-reassign-partitions.sh", rest);
            format!("keep three replicas on three brokers, two of them in sync; begin with {tool}")
        })
    };
    match finding.severity {
        bkes_kafka::Severity::Note => Complaint::note(kind, what),
        bkes_kafka::Severity::Warning => Complaint::warning(kind, what, cure()),
        bkes_kafka::Severity::LosesEvents | bkes_kafka::Severity::Refused => {
            Complaint::problem(kind, what, cure())
        }
    }
}

fn look_at_rights(rights: &Result<Option<TopicRights>, LogError>, place: &Place, findings: &mut Findings) {
    let rights = match rights {
        Ok(Some(rights)) => rights,
        Ok(None) => {
            let what =
                "the brokers do not tell what this user may do with the topic: they are older than Kafka 2.3";
            return findings.add(Complaint::note("rights_unknown", what));
        }
        Err(error) => return findings.add(no_answer("what this user may do with it", error, place)),
    };
    let resource = format!("--topic {}", quoted(&place.topic));
    let mut check = |is_there: bool,
                     operation: &str,
                     so: &str,
                     complain: fn(&'static str, String, String) -> Complaint| {
        if !is_there {
            let what = format!("this user has no right to {operation} on the topic: {so}");
            findings.add(complain("no_right", what, place.allow(operation, &resource)));
        }
    };
    check(rights.read, "Read", "nothing can be read", Complaint::problem);
    check(rights.write, "Write", "every append is refused", Complaint::problem);
    let so = "the topic's settings are not verified";
    check(rights.describe_configs, "DescribeConfigs", so, Complaint::warning);
}

/// How long a question to the leaders takes: no append is faster.
fn look_at_round_trip(log: &dyn Log, partitions: &[Partition], findings: &mut Findings) {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..DOCTOR_QUESTIONS {
        let began = Instant::now();
        if log.stable_ends(partitions).iter().all(Result::is_ok) {
            times.push(began.elapsed());
        }
    }
    times.sort_unstable();
    if let Some(median) = times.get(times.len() / 2) {
        let ms = median.as_secs_f64() * 1_000.0;
        findings.fact("round trip to the leaders", format_args!("{ms:.1} ms, the median of {}", times.len()));
    }
}

fn look_at_marks(
    log: &dyn Log,
    partitions: &[Partition],
    place: &Place,
    findings: &mut Findings,
) -> Vec<(Partition, Watermarks)> {
    let mut marks = Vec::new();
    for (partition, told) in partitions.iter().zip(log.watermarks_of(partitions)) {
        match told {
            Ok(told) => marks.push((*partition, told)),
            Err(error) => {
                findings.add(no_answer(&format!("the ends of partition {partition}"), &error, place))
            }
        }
    }
    let end: u64 = marks.iter().map(|(_, marks)| marks.high.0 - marks.low.0).sum();
    findings.fact("offsets in the log", end);
    for (partition, Watermarks { low, .. }) in marks.iter().filter(|(_, marks)| marks.low.0 > 0) {
        let what = format!(
            "partition {partition} begins at offset {low}: what lay below was removed from the topic"
        );
        let cure = "set the topic's retention to -1 before more is removed; what a server's store still has of it can be read \
                    there, and kept with `bkes export --all`; aggregates that it has from their first event on can be imported into \
                    another topic";
        findings.add(Complaint::problem("head_removed", what, cure));
    }
    let is_held = |marks: &Watermarks| marks.stable < marks.high;
    let held: Vec<_> = marks.iter().filter(|(_, marks)| is_held(marks)).collect();
    if held.is_empty() {
        return marks;
    }
    std::thread::sleep(DOCTOR_TRANSACTION_WAIT);
    for (partition, before) in held {
        let Ok(now) = log.watermarks(*partition) else { continue };
        if is_held(&now) && now.stable == before.stable {
            let (stable, high) = (now.stable, now.high);
            let what = format!(
                "partition {partition} cannot be read from offset {stable} on, up to its end {high}: a transaction of another \
                 producer is open, and appends there are refused"
            );
            let rest = format!("find-hanging --topic {} --partition {partition}", quoted(&place.topic));
            let cure = place.command("kafka-transactions.sh", &rest);
            findings.add(Complaint::problem("open_transaction", what, cure));
        }
    }
    marks
}

fn look_at_group(log: &dyn Log, partitions: &[Partition], side: &TopicSide, findings: &mut Findings) {
    match log.committed(&side.group, partitions) {
        Ok(_) | Err(LogError::Unsupported { .. }) => {}
        Err(LogError::Denied { cause }) => {
            let what = format!("this user may not describe the group {}: {cause}", side.group);
            let resource = format!("--group {}", quoted(&side.group));
            let cure = side.place.allow("Describe", &resource);
            findings.add(Complaint::warning("no_right", what, cure));
        }
        Err(error) => findings.add(no_answer("its consumer group", &error, &side.place)),
    }
}

/// The clock of whoever wrote last, where that is told, may be behind by any time, but not ahead.
fn look_at_clock(newest: Option<i64>, now: SystemTime, findings: &mut Findings) {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let Some(newest) = newest else { return };
    findings.fact("newest record", crate::moment::shown(bkes_api::TimestampMs(newest)));
    let ahead_ms = newest.saturating_sub(now_ms);
    if ahead_ms > i64::try_from(DOCTOR_CLOCK_AHEAD_MAX.as_millis()).unwrap_or(i64::MAX) {
        let what = format!(
            "the newest record is {} s ahead of this machine's clock: that clock or a writer's is wrong, and reads as of a time \
             show something else than they should",
            ahead_ms / 1_000
        );
        let cure = "timedatectl status, here and where the writers run";
        findings.add(Complaint::warning("clock", what, cure));
    }
}

fn no_answer(about: &str, error: &LogError, place: &Place) -> Complaint {
    place.no_answer(format!("the brokers do not tell {about}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::complaint::Severity;
    use super::*;

    fn at(newest: Option<i64>, now_ms: u64) -> Findings {
        let mut findings = Findings::default();
        look_at_clock(newest, SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms), &mut findings);
        findings
    }

    #[test]
    fn only_a_clock_that_is_ahead_is_wrong_for_sure() {
        assert!(at(None, 0).facts.is_empty());
        assert!(at(Some(0), 1_000_000_000).complaints.is_empty(), "nothing was written for long");
        assert!(at(Some(1_010_000), 1_000_000).complaints.is_empty(), "clocks differ a little");
        let found = at(Some(4_600_000), 1_000_000).complaints;
        assert!(
            found[0].what().contains("3600 s ahead") && found[0].severity() == Severity::Warning,
            "{found:?}"
        );
    }

    #[test]
    fn a_topic_that_cannot_be_used_is_told_with_the_command_that_helps() {
        let place = Place { brokers: "b:9092".into(), topic: "events".into() };
        let cause = || bkes_core::Cause::from("no".to_owned());
        let table = [
            (
                ConnectError::NoSuchTopic { topic: "events".into(), brokers: "b:9092".into() },
                "kafka-topics.sh --bootstrap-server b:9092 --create --topic events",
            ),
            (
                ConnectError::Denied { topic: "events".into(), cause: cause() },
                "kafka-acls.sh --bootstrap-server b:9092 --add",
            ),
            (
                ConnectError::Unreachable { brokers: "b:9092".into(), cause: cause() },
                "kafka-broker-api-versions.sh --bootstrap-server b:9092",
            ),
        ];
        for (error, expected) in table {
            let complaint = of_connecting(&error, &place);
            let cure = complaint.cure().unwrap_or_default();
            assert!(complaint.severity() == Severity::Problem && cure.contains(expected), "{error}: {cure}");
        }
    }

    #[test]
    fn each_right_that_is_missing_is_named_with_its_command() {
        let place = Place { brokers: "b:9092".into(), topic: "a b".into() };
        let mut findings = Findings::default();
        let rights = TopicRights { read: false, write: false, describe_configs: false };
        look_at_rights(&Ok(Some(rights)), &place, &mut findings);
        let cures: Vec<_> = findings.complaints.iter().filter_map(Complaint::cure).collect();
        assert_eq!(cures.len(), 3);
        for (cure, operation) in cures.iter().zip(["Read", "Write", "DescribeConfigs"]) {
            assert!(cure.contains(&format!("--operation {operation} --topic ")), "{cure}");
        }
        let mut findings = Findings::default();
        let rights = TopicRights { read: true, write: true, describe_configs: true };
        look_at_rights(&Ok(Some(rights)), &place, &mut findings);
        assert!(findings.complaints.is_empty());
    }
}
