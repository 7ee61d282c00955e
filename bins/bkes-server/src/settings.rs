//! The settings: flags over environment variables over defaults. The names of the original's variables keep working.
//!
//! A variable without content is not set: compose files write `NAME=` for one that the deployment leaves out.

use crate::admin::{AdminListen, DEFAULT as ADMIN_DEFAULT};
use bkes_kafka::{Properties, PropertySources, shown_value};
use clap::builder::{BoolishValueParser, NonEmptyStringValueParser, Resettable};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::ffi::OsString;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

/// What `--help` says after the options.
const EXIT_CODES: &str = "Exit codes:
  0  stopped as asked
  1  something unexpected
  2  wrong usage
  3  the topic or the log is refused or cannot be reached
  4  the data directory is refused or cannot be used
  5  the address cannot be bound
  6  not ready (only with --health)

Without KAFKA_BROKERS the server runs on a durable log in a local file.

Properties of Kafka's client come from --kafka-config, then KAFKA_PROPERTIES, then a variable each (sasl.password is
KAFKA_PROPERTY_SASL_PASSWORD, or KAFKA_PROPERTY_SASL_PASSWORD_FILE for a file that holds it), then -X; the later wins.
Flags are seen by every user of the machine: give secrets by files or variables.";

/// How new keys are placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Placement {
    /// Decided from the topic's records; an empty topic gets murmur2.
    Auto,
    /// As Java's clients do.
    Murmur2,
    /// As librdkafka does by default.
    Crc32,
    /// As Go's sarama does by default.
    Fnv1a,
    /// No new keys are started; existing ones are served.
    ExistingOnly,
}

/// The event store beside your Kafka: optimistic concurrency per aggregate, and all events of one aggregate at once.
#[derive(Clone, Parser)]
#[command(name = "bkes-server", disable_version_flag = true, after_help = EXIT_CODES)]
pub struct Settings {
    /// Folder for the store, and for the embedded log. Ours lie in a folder `bkes` within it
    #[arg(long, env = "DATA_PATH", default_value = "./data")]
    pub data_path: PathBuf,

    /// The Kafka brokers to begin with, host:port, separated by commas. Without it the embedded log is used
    #[arg(long, env = "KAFKA_BROKERS", value_parser = NonEmptyStringValueParser::new())]
    pub kafka_brokers: Option<String>,

    /// The topic
    #[arg(long, env = "KAFKA_TOPIC", default_value = "events")]
    pub kafka_topic: String,

    /// Most threads that apply records and send appends, each for a group of partitions
    #[arg(long, env = "MAX_CONSUMER_THREADS", default_value = "1")]
    pub max_consumer_threads: NonZeroUsize,

    /// The address to serve on. v1 has no authentication: 0.0.0.0 only where every caller is trusted
    #[arg(long, env = "BIND", default_value = "127.0.0.1")]
    pub bind: IpAddr,

    /// The port to serve on; 0 takes a free one and says which
    #[arg(long, env = "API_PORT", default_value_t = 50030)]
    pub api_port: u16,

    /// Memory for the store's pages and for rows that it has not written yet, in MiB
    #[arg(long, env = "CACHE_MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub cache_mib: u32,

    /// How long Kafka may take for a record before its outcome is unknown, in milliseconds
    #[arg(long, env = "MESSAGE_TIMEOUT_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1_000..=300_000))]
    pub message_timeout_ms: u32,

    /// Most appends on their way or waiting, over all keys
    #[arg(long, env = "MAX_IN_FLIGHT", default_value = "10000")]
    pub max_in_flight: NonZeroUsize,

    /// Most requests worked on at once, over all connections; more are answered as overloaded
    #[arg(long, env = "MAX_REQUESTS", default_value = "4096")]
    pub max_requests: NonZeroUsize,

    /// Most connections; one more is closed as soon as it is made
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "10000")]
    pub max_connections: NonZeroUsize,

    /// How new keys are placed
    #[arg(long, env = "PARTITIONER", value_enum, default_value_t = Placement::Auto)]
    pub partitioner: Placement,

    /// The largest reply, in bytes; clients must accept as much
    #[arg(long, env = "REPLY_LIMIT", default_value_t = 4 * 1024 * 1024, value_parser = clap::value_parser!(u32).range(64 * 1024..))]
    pub reply_limit: u32,

    /// Lagging behind the log for this long is not ready, in milliseconds
    #[arg(long, env = "READY_LAG_MS", default_value_t = 10_000)]
    pub ready_lag_ms: u64,

    /// How long a stop may take, in milliseconds, whatever brokers, disk and clients do
    #[arg(long, env = "SHUTDOWN_MS", default_value_t = 20_000)]
    pub shutdown_ms: u64,

    /// A librdkafka property, name=value; may be repeated. Secrets do not belong here: others see them
    #[arg(short = 'X', long = "property", value_name = "NAME=VALUE")]
    pub properties: Vec<String>,

    /// More librdkafka properties, name=value;name="a value; with semicolons"
    #[arg(long, env = "KAFKA_PROPERTIES", hide_env_values = true, default_value = "", value_name = "LIST")]
    pub kafka_properties: String,

    /// A file of properties in Java's format, such as Kafka's own tools take
    #[arg(long, env = "KAFKA_CONFIG", value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,

    /// What the properties come to, from wherever they were given.
    #[arg(skip)]
    pub kafka: Properties,

    /// Refuse a topic that removes events, instead of warning
    #[arg(long, env = "STRICT_TOPIC", value_parser = BoolishValueParser::new())]
    pub strict_topic: bool,

    /// Make a missing topic, with this many partitions (and of a new embedded log)
    #[arg(long, env = "CREATE_TOPIC", value_name = "PARTITIONS")]
    pub create_topic: Option<NonZeroU32>,

    /// End at once when no broker answers at start, instead of waiting for one
    #[arg(long, env = "FAIL_FAST", value_parser = BoolishValueParser::new())]
    pub fail_fast: bool,

    /// Allow appends to partitions whose head was removed after BKES had written to them
    #[arg(long, env = "ALLOW_CUT", value_parser = BoolishValueParser::new())]
    pub allow_cut: bool,

    /// Show aggregates that are split over partitions in the order of their records' `order` headers, where that is one order
    #[arg(long, env = "SPLIT_BY_ORDER_HEADERS", value_parser = BoolishValueParser::new())]
    pub split_by_order_headers: bool,

    /// Answer no calls but health, only keep the store current: a restore point to copy
    #[arg(long, env = "STANDBY", value_parser = BoolishValueParser::new())]
    pub standby: bool,

    /// The address and port of the admin port (probes), or `off`. The default, 127.0.0.1:9097, is left out where it is taken
    #[arg(long, env = "BKES_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<AdminListen>,

    /// Ask a running server on this address and port whether it is ready, and exit
    #[arg(long, action = ArgAction::SetTrue)]
    pub health: bool,

    /// Show the settings in force, secrets masked, and exit
    #[arg(long, action = ArgAction::SetTrue)]
    pub print_config: bool,

    /// Show the versions and exit
    #[arg(short = 'V', long, action = ArgAction::SetTrue)]
    pub version: bool,
}

/// The command, with the environment of this process.
fn command() -> Command {
    Settings::command().mut_args(ignore_empty_variable)
}

/// Takes the variable away from an argument for which it has no content. `--help` goes on naming it.
fn ignore_empty_variable(arg: Arg) -> Arg {
    let Some(name) = arg.get_env().map(ToOwned::to_owned) else { return arg };
    if std::env::var_os(&name).is_none_or(|value| !value.is_empty()) {
        return arg;
    }
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.env(Resettable::Reset).help(format!("{help} [env: {}=]", name.display()))
}

impl Settings {
    /// The settings of this process; ends it when they are wrong, or when help was asked for. What is wrong with properties is told
    /// instead, without any value.
    pub fn of_this_process() -> Result<Settings, String> {
        let matches = match command().try_get_matches() {
            Err(error) if error.kind() == ErrorKind::UnknownArgument && has_properties() => {
                return Err("an argument beside the properties is unknown. It is not shown, since it may be the rest of a value: \
                            a value with blanks stands in quotes"
                    .to_owned());
            }
            matches => matches.unwrap_or_else(|error| error.exit()),
        };
        let settings = Settings::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        // Who only asks needs no secrets.
        if settings.version || settings.health {
            return Ok(settings);
        }
        settings.resolved(std::env::vars_os().collect())
    }

    /// With the properties of all sources, the environment's among them.
    fn resolved(mut self, variables: Vec<(OsString, OsString)>) -> Result<Settings, String> {
        let sources = PropertySources {
            file: self.kafka_config.as_deref(),
            list: &self.kafka_properties,
            variables,
            flags: &self.properties,
        };
        self.kafka = sources.read()?;
        self.kafka_brokers = self.kafka_brokers.or_else(|| self.kafka.brokers.clone());
        // What they were made of holds secrets, and is not needed any more.
        self.kafka_properties.clear();
        self.properties.clear();
        Ok(self)
    }

    /// The folder that is ours.
    pub fn folder(&self) -> PathBuf {
        self.data_path.join("bkes")
    }

    /// The address to serve on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.api_port)
    }

    /// The settings in force, a line each, as environment variables would set them.
    pub fn print(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            writeln!(out, "{name}={value}").expect("writing to a string cannot fail");
        };
        line("DATA_PATH", &self.data_path.display());
        line("KAFKA_BROKERS", &self.kafka_brokers.as_deref().unwrap_or(""));
        line("KAFKA_TOPIC", &self.kafka_topic);
        line("MAX_CONSUMER_THREADS", &self.max_consumer_threads);
        line("BIND", &self.bind);
        line("API_PORT", &self.api_port);
        line("CACHE_MIB", &self.cache_mib);
        line("MESSAGE_TIMEOUT_MS", &self.message_timeout_ms);
        line("MAX_IN_FLIGHT", &self.max_in_flight);
        line("MAX_REQUESTS", &self.max_requests);
        line("MAX_CONNECTIONS", &self.max_connections);
        let partitioner = self.partitioner.to_possible_value();
        line("PARTITIONER", &partitioner.as_ref().map_or("", |value| value.get_name()));
        line("REPLY_LIMIT", &self.reply_limit);
        line("READY_LAG_MS", &self.ready_lag_ms);
        line("SHUTDOWN_MS", &self.shutdown_ms);
        line("STRICT_TOPIC", &self.strict_topic);
        line("CREATE_TOPIC", &self.create_topic.map(|count| count.to_string()).unwrap_or_default());
        line("FAIL_FAST", &self.fail_fast);
        line("ALLOW_CUT", &self.allow_cut);
        line("SPLIT_BY_ORDER_HEADERS", &self.split_by_order_headers);
        line("STANDBY", &self.standby);
        line("KAFKA_CONFIG", &self.kafka_config.as_deref().unwrap_or(Path::new("")).display());
        line("BKES_ADMIN_LISTEN", &self.admin_listen.unwrap_or(AdminListen::At(ADMIN_DEFAULT)));
        for (name, value) in &self.kafka.list {
            line(&format!("property {name}"), &shown_value(name, value).escape_debug());
        }
        out
    }
}

/// Whether properties are among the arguments: what stands beside them may belong to one.
fn has_properties() -> bool {
    let begins = |argument: OsString| {
        let argument = argument.to_string_lossy().into_owned();
        ["-X", "--property", "--kafka-properties"].iter().any(|flag| argument.starts_with(flag))
    };
    std::env::args_os().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Settings {
        let program = std::iter::once(&"bkes-server");
        Settings::try_parse_from(program.chain(arguments)).expect("the arguments are right")
    }

    #[test]
    fn limits_of_the_interface_are_settings() {
        let defaults = bkes_grpc::ServeOptions::default();
        let settings = parse(&[]);
        assert_eq!(settings.max_requests.get(), defaults.requests_max);
        assert_eq!(settings.max_connections.get(), defaults.connections_max);
        let shown = parse(&["--max-requests", "7", "--max-connections", "9"]).print();
        assert!(shown.contains("MAX_REQUESTS=7\nMAX_CONNECTIONS=9\n"), "{shown}");
        for flag in ["--max-requests", "--max-connections"] {
            assert!(Settings::try_parse_from(["bkes-server", flag, "0"]).is_err(), "{flag}");
        }
    }

    #[test]
    fn the_brokers_of_a_file_are_taken_where_no_others_are_given() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "bootstrap.servers=one:9092\nclient.id=me\n").expect("it is ours");
        let path = file.path().to_str().expect("a path");
        let resolved = |arguments: &[&str]| parse(arguments).resolved(Vec::new());
        let taken = resolved(&["--kafka-config", path]).expect("it is right");
        assert_eq!(taken.kafka_brokers.as_deref(), Some("one:9092"));
        assert!(taken.print().contains("KAFKA_BROKERS=one:9092\n"), "{}", taken.print());
        let other = resolved(&["--kafka-config", path, "--kafka-brokers", "two:9092"]).expect("it is right");
        assert_eq!(other.kafka_brokers.as_deref(), Some("two:9092"));
        assert!(resolved(&["-X", "bootstrap.servers=one:9092"]).is_err(), "elsewhere KAFKA_BROKERS says it");
    }

    #[test]
    fn secrets_are_masked() {
        let arguments = ["-X", "sasl.password=hush", "-X", "sasl.username=hush", "-X", "client.id=me\n"];
        let settings = parse(&arguments).resolved(Vec::new()).unwrap_or_else(|error| panic!("{error}"));
        let shown = settings.print();
        assert!(!shown.contains("hush") && shown.contains("property client.id=me\\n\n"), "{shown}");
        assert!(shown.contains("property sasl.password=********\n"), "{shown}");
        assert!(
            settings.kafka_properties.is_empty() && settings.properties.is_empty(),
            "nothing else holds them"
        );
    }
}
