//! Connecting to the topic, and saying what its settings mean.

use crate::exit::{Ended, Reason};
use crate::settings::Settings;
use bkes_kafka::{ConnectError, KafkaLog, KafkaOptions, Severity};
use bkes_log::Log;
use std::sync::Arc;
use std::time::Duration;

/// How long the server waits between attempts to reach a broker at start.
pub const RETRY: Duration = Duration::from_secs(1);

/// The Kafka client of this build: its version, and the SASL mechanisms it has.
pub fn client() -> String {
    let mechanisms = bkes_kafka::sasl_mechanisms().join(", ");
    let tls = if cfg!(feature = "tls") { "with" } else { "without" };
    format!("librdkafka {} {tls} TLS, SASL {mechanisms}", bkes_kafka::librdkafka_version())
}

/// Connects to the topic of the settings and checks it. While no broker answers it says so and tries again: brokers and
/// servers are often started together.
pub fn connect(settings: &Settings, brokers: &str) -> Result<Arc<dyn Log>, Ended> {
    let options = KafkaOptions {
        properties: settings.kafka.list.clone(),
        message_timeout_ms: settings.message_timeout_ms,
        queue_records_max: settings.max_in_flight.get().max(1_000),
        ..KafkaOptions::new(brokers, settings.kafka_topic.clone())
    };
    tracing::info!("topic {} at {brokers}, by {}", settings.kafka_topic, client());
    let log = loop {
        match KafkaLog::connect(options.clone(), settings.create_topic) {
            Ok(log) => break log,
            Err(error @ ConnectError::Unreachable { .. }) if !settings.fail_fast => {
                tracing::warn!("{error}; trying again");
                std::thread::sleep(RETRY);
            }
            Err(error @ (ConnectError::Property { .. } | ConnectError::Client { .. })) => {
                return Err(Ended::new(Reason::Usage, error));
            }
            Err(error) => return Err(Ended::new(Reason::Log, error)),
        }
    };
    judge(settings, &log)?;
    Ok(Arc::new(log))
}

fn judge(settings: &Settings, log: &KafkaLog) -> Result<(), Ended> {
    for finding in &log.report().findings {
        let cure = finding.cure.as_ref().map(|cure| format!("; cure it with: {cure}")).unwrap_or_default();
        let message = format!("topic {}: {}{cure}", settings.kafka_topic, finding.message);
        match finding.severity {
            Severity::Refused => return Err(Ended::new(Reason::Log, message)),
            Severity::LosesEvents if settings.strict_topic => return Err(Ended::new(Reason::Log, message)),
            Severity::LosesEvents | Severity::Warning => tracing::warn!("{message}"),
            Severity::Note => tracing::info!("{message}"),
        }
    }
    Ok(())
}
