//! How a topic is named in the commands of cures.

use super::complaint::Complaint;
use crate::byte_argument::quoted;

/// A topic by its brokers and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The brokers to begin with.
    pub brokers: String,
    /// Its name.
    pub topic: String,
}

impl Place {
    /// A command of Kafka's for this topic: `--bootstrap-server` is set.
    pub fn command(&self, script: &str, rest: &str) -> String {
        format!("{script} --bootstrap-server {} {rest}", quoted(&self.brokers))
    }

    /// The command that gives this user a right.
    pub fn allow(&self, operation: &str, resource: &str) -> String {
        let rest = format!("--add --allow-principal User:NAME --operation {operation} {resource}");
        self.command("kafka-acls.sh", &rest)
    }

    /// That brokers did not tell something.
    pub fn no_answer(&self, what: String) -> Complaint {
        let see = self.command("kafka-topics.sh", &format!("--describe --topic {}", quoted(&self.topic)));
        let cure = format!("try again; if it stays so, see which brokers lead, and read their logs: {see}");
        Complaint::warning("no_answer", what, cure)
    }
}
