//! `bkes doctor`: looks at a topic and at a server, and says what is wrong and what cures it.
//!
//! It writes nothing: not into the topic, not to the server, and it joins no consumer group.

mod complaint;
mod keys;
mod place;
mod server;
mod shown;
mod topic;

#[cfg(test)]
pub use self::place::Place;
pub use self::topic::TopicSide;

use self::complaint::{Complaint, Fact, Severity};
use crate::console::Console;
use crate::exit::{Code, Ended};
use crate::show::ShapeArgs;
use crate::topic_args::TopicArgs;
use bkes_api::EventStore;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  bkes doctor
  bkes doctor --brokers broker-1:9092
  bkes doctor -b broker-1:9092 -t orders --no-server
  bkes doctor -b broker-1:9092 -o json | jq -r '.findings[].cure // empty'

Without --brokers, KAFKA_BROKERS or a file with bootstrap.servers only the server is looked at. Nothing is written, and no consumer group is joined.

Ends with code 0 if nothing above a note was found, and with 1 otherwise.";

/// Look for what is wrong with a topic and a server, and say what cures it
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Which topic.
    #[command(flatten)]
    pub topic: TopicArgs,

    /// Look at the topic alone
    #[arg(long)]
    pub no_server: bool,

    /// How to show it.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// The server that is looked at.
pub struct ServerSide {
    /// Its address, as it was given.
    pub address: String,
    /// How to speak to it.
    pub store: Arc<dyn EventStore>,
}

/// What a look came to.
#[derive(Debug, Default)]
struct Findings {
    facts: Vec<Fact>,
    complaints: Vec<Complaint>,
}

impl Findings {
    fn fact(&mut self, name: &'static str, value: impl ToString) {
        self.facts.push(Fact { name, value: value.to_string() });
    }

    fn add(&mut self, complaint: Complaint) {
        self.complaints.push(complaint);
    }
}

/// Looks, and shows what came of it.
pub async fn run(
    args: &DoctorArgs,
    topic: Option<TopicSide>,
    server: Option<ServerSide>,
    console: &mut Console<'_>,
) -> Result<(), Ended> {
    let mut findings = Findings::default();
    findings.fact("bkes", env!("CARGO_PKG_VERSION"));
    findings.fact("librdkafka", bkes_kafka::librdkafka_version());
    findings.fact("SASL mechanisms of this build", bkes_kafka::sasl_mechanisms().join(", "));
    let place = topic.as_ref().map(TopicSide::place);
    let (topic, of_topic) = match topic {
        None => {
            let what = "the topic was not looked at: --brokers, or KAFKA_BROKERS, says where it is";
            findings.add(Complaint::note("no_brokers", what));
            (None, Findings::default())
        }
        Some(topic) => {
            let looking = tokio::task::spawn_blocking(move || topic::look(&topic));
            let (known, found) = looking.await.expect("looking at a topic does not panic");
            (known, found)
        }
    };
    let of_server = match &server {
        None => Findings::default(),
        Some(server) => server::look(server, topic.as_ref(), place.as_ref()).await,
    };
    for found in [of_topic, of_server] {
        findings.facts.extend(found.facts);
        findings.complaints.extend(found.complaints);
    }
    // The worst first.
    findings.complaints.sort_by_key(|complaint| std::cmp::Reverse(complaint.severity()));
    let shown = shown::show(&findings, args.shape.on(console), console);
    // What was found counts, whoever reads the rest.
    match shown.and_then(|()| console.flush()) {
        Ok(()) | Err(Ended::OutputClosed) => {}
        Err(error) => return Err(error),
    }
    let count = |severity| findings.complaints.iter().filter(|found| found.severity() == severity).count();
    match (count(Severity::Problem), count(Severity::Warning)) {
        (0, 0) => Ok(()),
        (problems, warnings) => {
            Err(Ended::new(Code::Rejected, format_args!("problems: {problems}, warnings: {warnings}")))
        }
    }
}
