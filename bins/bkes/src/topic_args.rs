//! The flags that name a topic, and the one place that knows how it is reached.

use crate::exit::{Code, Ended};
use bkes_kafka::{ConnectError, KafkaLog, KafkaOptions, PropertySources};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// What `--help` says of properties.
pub const PROPERTIES: &str = "Properties of Kafka's client come from --kafka-config, then KAFKA_PROPERTIES, then a variable each \
(sasl.password is KAFKA_PROPERTY_SASL_PASSWORD, or KAFKA_PROPERTY_SASL_PASSWORD_FILE for a file that holds it), then -X; the \
later wins. Flags are seen by every user of the machine: give secrets by files or variables.";

/// The topic where none is named: bkes-server's default.
const TOPIC: &str = "events";

/// Which topic.
#[derive(Clone, Default, clap::Args)]
pub struct TopicArgs {
    /// The Kafka brokers to begin with, HOST:PORT, with commas between them; or else those of KAFKA_BROKERS
    #[arg(short, long, value_name = "BROKERS")]
    pub brokers: Option<String>,

    /// The topic; or else that of KAFKA_TOPIC, or else events
    #[arg(short, long, value_name = "TOPIC")]
    pub topic: Option<String>,

    /// A librdkafka property, NAME=VALUE; may be repeated
    #[arg(short = 'X', long = "property", value_name = "NAME=VALUE")]
    pub properties: Vec<String>,

    /// A file of properties in Java's format, such as Kafka's own tools take
    #[arg(long, value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,
}

/// Properties may be secrets.
impl fmt::Debug for TopicArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicArgs")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// A topic to connect to, and what its user should know before.
pub struct TopicToReach {
    /// How to reach it.
    pub options: KafkaOptions,
    /// Remarks about its properties. No value is in them.
    pub remarks: Vec<String>,
}

impl TopicArgs {
    /// The topic, with the properties of all sources, these variables among them; `None` where no brokers are named.
    pub fn to_reach(&self, variables: Vec<(OsString, OsString)>) -> Result<Option<TopicToReach>, Ended> {
        let variable = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
        };
        // The server has its brokers and its topic from the same.
        let (brokers, topic) = (variable("KAFKA_BROKERS"), variable("KAFKA_TOPIC"));
        let list = variable("KAFKA_PROPERTIES").unwrap_or_default();
        let sources = PropertySources {
            file: self.kafka_config.as_deref(),
            list: &list,
            variables,
            flags: &self.properties,
        };
        let found = sources.read().map_err(Ended::usage)?;
        let Some(brokers) = self.brokers.clone().or(brokers).or(found.brokers) else { return Ok(None) };
        let topic = self.topic.clone().or(topic).unwrap_or_else(|| TOPIC.to_owned());
        let options = KafkaOptions { properties: found.list, ..KafkaOptions::new(brokers, topic) };
        Ok(Some(TopicToReach { options, remarks: found.remarks }))
    }
}

/// Connects to a topic and reads its settings. The topic is not made where it is missing.
pub async fn connect(options: KafkaOptions) -> Result<KafkaLog, ConnectError> {
    let connecting = tokio::task::spawn_blocking(move || KafkaLog::connect(options, None));
    connecting.await.expect("connecting does not panic")
}

impl From<ConnectError> for Ended {
    fn from(error: ConnectError) -> Ended {
        let code = match error {
            ConnectError::Property(_) | ConnectError::Client { .. } | ConnectError::TopicName { .. } => {
                Code::Usage
            }
            ConnectError::Unreachable { .. } => Code::Unavailable,
            ConnectError::NoSuchTopic { .. } => Code::NotFound,
            _ => Code::Rejected,
        };
        Ended::new(code, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(flags: &[&str]) -> TopicArgs {
        let properties = flags.iter().map(|flag| (*flag).to_owned()).collect();
        TopicArgs { properties, ..TopicArgs::default() }
    }

    #[test]
    fn brokers_and_secrets_come_from_where_the_servers_come_from() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "bootstrap.servers=one:9092\nclient.id=me\n").expect("it is ours");
        let of_file = TopicArgs { kafka_config: Some(file.path().into()), ..args(&[]) };
        let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let variables = vec![
            variable("KAFKA_PROPERTIES", "sasl.username=u;log_level=3"),
            variable("KAFKA_PROPERTY_SASL_PASSWORD", "hush"),
        ];
        let found = of_file.to_reach(variables).expect("it is right").expect("brokers are named");
        assert_eq!((&*found.options.brokers, &*found.options.topic), ("one:9092", "events"));
        let has = |name: &str, value: &str| found.options.properties.contains(&(name.into(), value.into()));
        assert!(has("client.id", "me") && has("sasl.password", "hush") && has("log_level", "3"));
        let flagged = TopicArgs { brokers: Some("two:9092".into()), ..of_file };
        let found = flagged.to_reach(Vec::new()).expect("it is right").expect("brokers are named");
        assert_eq!(found.options.brokers, "two:9092");
        assert!(args(&[]).to_reach(Vec::new()).expect("it is right").is_none());
    }

    #[test]
    fn a_flag_wins_over_a_variable_of_the_servers_and_that_over_a_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "bootstrap.servers=file:9092\n").expect("it is ours");
        let variables = || {
            vec![("KAFKA_BROKERS".into(), "variable:9092".into()), ("KAFKA_TOPIC".into(), "orders".into())]
        };
        let found = |args: TopicArgs, variables| {
            let options = args.to_reach(variables).expect("it is right").expect("brokers are named").options;
            (options.brokers, options.topic)
        };
        let of = |brokers: &str, topic: &str| (brokers.to_owned(), topic.to_owned());
        let of_file = TopicArgs { kafka_config: Some(file.path().into()), ..args(&[]) };
        assert_eq!(found(of_file.clone(), variables()), of("variable:9092", "orders"));
        assert_eq!(found(of_file.clone(), Vec::new()), of("file:9092", "events"));
        let (brokers, topic) = (Some("flag:9092".into()), Some("mine".into()));
        assert_eq!(
            found(TopicArgs { brokers, topic, ..of_file.clone() }, variables()),
            of("flag:9092", "mine")
        );
        let empty = vec![("KAFKA_BROKERS".into(), "".into()), ("KAFKA_TOPIC".into(), "".into())];
        assert_eq!(found(of_file, empty), of("file:9092", "events"));
    }

    #[test]
    fn a_property_that_is_refused_is_wrong_usage_and_its_value_is_not_told() {
        for flag in ["enable.idempotence=hush", "sasl.pasword=hush", "bootstrap.servers=hush", "hush"] {
            let ended = args(&[flag]).to_reach(Vec::new()).err().expect("it is refused");
            let Ended::With { code, message, .. } = ended else { panic!("{flag}") };
            assert!(code == Code::Usage && !message.contains("hush"), "{flag}: {message}");
        }
        let shown = format!("{:?}", args(&["sasl.password=hush"]));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
