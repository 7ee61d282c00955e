//! What a topic's settings mean for an event store.

use crate::options::KafkaOptions;

/// Kafka's own default of `max.message.bytes`.
const MESSAGE_BYTES_DEFAULT: u64 = 1_048_588;

/// Kafka's own bound for the name of a topic, which names files.
const NAME_BYTES_MAX: usize = 249;

/// What Kafka has against the name of a topic, whichever broker is asked. Whoever asks for a topic of such a name is told that there is
/// none, or nothing at all.
pub(crate) fn refused_name(name: &str) -> Option<&'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match name {
        "" => Some("a name is not empty"),
        "." | ".." => Some("a name is not . or .."),
        _ if name.len() > NAME_BYTES_MAX => Some("a name has at most 249 characters"),
        _ if !name.bytes().all(is_allowed) => {
            Some("a name has only letters and digits of ASCII, dots, underscores and hyphens")
        }
        _ => None,
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// A risk: safety in depth is missing.
    Warning,
    /// Events will be removed: refused in strict mode.
    LosesEvents,
    /// It destroys an event store: refused.
    Refused,
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found, with its value.
    pub message: String,
    /// The command that cures it, where there is one.
    pub cure: Option<String>,
}

/// What was found of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicReport {
    /// All findings.
    pub findings: Vec<Finding>,
    /// The largest batch the topic takes, in bytes.
    pub message_bytes_max: u64,
}

/// The largest batch that a topic of these settings takes: no batch is larger than a segment either.
pub(crate) fn batch_bytes_max(settings: &[(String, String)]) -> u64 {
    let value = |name: &str| settings.iter().find(|(found, _)| found == name)?.1.parse::<u64>().ok();
    let segment = value("segment.bytes").unwrap_or(u64::MAX);
    value("max.message.bytes").unwrap_or(MESSAGE_BYTES_DEFAULT).min(segment)
}

/// Judges the settings of a topic with at least so many replicas.
pub(crate) fn report(
    options: &KafkaOptions,
    replicas: u32,
    settings: Result<Vec<(String, String)>, String>,
) -> TopicReport {
    let mut findings = Vec::new();
    let mut add =
        |severity, message: String, cure: Option<String>| findings.push(Finding { severity, message, cure });
    let settings = settings.unwrap_or_else(|detail| {
        add(Severity::Note, format!("the topic's settings were not verified: {detail}"), None);
        Vec::new()
    });
    let value =
        |name: &str| settings.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let alter = |settings: &str| {
        let KafkaOptions { brokers, topic, .. } = options;
        Some(format!(
            "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {topic} --add-config {settings}"
        ))
    };
    if let Some(policy) = value("cleanup.policy").filter(|policy| policy.contains("compact")) {
        let message =
            format!("cleanup.policy={policy}: compaction removes events of a key that has newer ones");
        add(Severity::Refused, message, alter("cleanup.policy=delete"));
    }
    for name in ["retention.ms", "retention.bytes"] {
        if let Some(limit) = value(name).filter(|limit| *limit != "-1") {
            let message =
                format!("{name}={limit}: Kafka will remove events, and a rebuild will not see them again");
            add(Severity::LosesEvents, message, alter("retention.ms=-1,retention.bytes=-1"));
        }
    }
    if replicas < 2 {
        add(
            Severity::Warning,
            format!("replication factor {replicas}: one lost disk loses acknowledged events"),
            None,
        );
    }
    if let Some(least) = value("min.insync.replicas").filter(|least| *least == "1") {
        let message =
            format!("min.insync.replicas={least}: one broker alone may acknowledge an event, and then fail");
        add(Severity::Warning, message, (replicas > 2).then(|| alter("min.insync.replicas=2")).flatten());
    }
    if value("unclean.leader.election.enable") == Some("true") {
        let message = "unclean.leader.election.enable=true: acknowledged events may be lost".to_owned();
        add(Severity::Warning, message, alter("unclean.leader.election.enable=false"));
    }
    let message_bytes_max = batch_bytes_max(&settings);
    TopicReport { findings, message_bytes_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severities(replicas: u32, settings: &[(&str, &str)]) -> Vec<Severity> {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let report = report(&KafkaOptions::new("broker:9092", "events"), replicas, Ok(settings));
        report.findings.iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn a_name_that_kafka_refuses_is_known_before_it_is_asked() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        for name in ["events", "a.b_c-D9", "...", "-", &longest] {
            assert_eq!(refused_name(name), None, "{name}");
        }
        let long = format!("{longest}x");
        for name in ["", " ", "a b", "a/b", ".", "..", "a\u{e9}", "a\n", "a:b", "a\0", &long] {
            assert!(refused_name(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn settings_that_cost_events_are_found() {
        assert_eq!(severities(3, &[("cleanup.policy", "delete"), ("retention.ms", "-1")]), []);
        assert_eq!(severities(3, &[("cleanup.policy", "compact,delete")]), [Severity::Refused]);
        assert_eq!(severities(3, &[("retention.ms", "604800000")]), [Severity::LosesEvents]);
        assert_eq!(severities(1, &[("min.insync.replicas", "1")]), [Severity::Warning, Severity::Warning]);
    }

    #[test]
    fn a_batch_is_no_larger_than_a_segment() {
        let of = |settings: &[(&str, &str)]| {
            let owned = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            batch_bytes_max(&owned.collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), MESSAGE_BYTES_DEFAULT);
        assert_eq!(of(&[("max.message.bytes", "65536"), ("segment.bytes", "1073741824")]), 65_536);
        assert_eq!(of(&[("max.message.bytes", "9000000"), ("segment.bytes", "1048576")]), 1_048_576);
    }

    #[test]
    fn the_cure_is_a_command_to_copy_and_what_is_not_known_is_said() {
        let settings = vec![
            ("retention.ms".to_owned(), "1".to_owned()),
            ("max.message.bytes".to_owned(), "77".to_owned()),
        ];
        let found = report(&KafkaOptions::new("broker:9092", "events"), 3, Ok(settings));
        assert_eq!(found.message_bytes_max, 77);
        let cure = found.findings[0].cure.as_deref().unwrap_or_default();
        assert!(cure.starts_with("kafka-configs.sh --bootstrap-server broker:9092 --alter"), "{cure}");
        let denied = report(&KafkaOptions::new("broker:9092", "events"), 3, Err("denied".into()));
        assert_eq!(
            (denied.findings[0].severity, denied.message_bytes_max),
            (Severity::Note, MESSAGE_BYTES_DEFAULT)
        );
    }
}
