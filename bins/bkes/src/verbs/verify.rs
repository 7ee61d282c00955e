//! `bkes verify`: reads the topic itself, and compares a server with it.
//!
//! The audit is bkes-audit's. Here are its arguments, its progress, and what its report looks like.

mod found;
mod shown;

use self::found::{Found, of_instance, of_topic};
use crate::console::Console;
use crate::escape;
use crate::exit::{Code, Ended, described};
use crate::progress::Progress;
use crate::show::ShapeArgs;
use crate::topic_args::TopicArgs;
use bkes_api::EventStore;
use bkes_audit::{AuditError, Instance, Options, Report};
use bkes_log::{Log, LogError, LogIdentity, ReadFailure};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;

const EXAMPLES: &str = "Examples:
  bkes verify --brokers broker-1:9092
  bkes verify -b broker-1:9092 -t orders --server store-2:50030
  bkes verify -b broker-1:9092 --no-server -o json | jq .partitions
  bkes verify --kafka-config client.properties --memory-mib 512

The topic is read from its beginning to its stable end as of now, and every event that the server shows is compared with it, in \
its order, and with it the list of aggregates, and where each of the first thousand stands; of the others one in 32. What is \
written meanwhile is not judged, but that it is there. Not compared are reads backwards and as of a moment, and what followers are \
shown. Nothing is written.

Ends with code 0 if nothing was found, and with 1 if the server shows something else than the topic holds, or if the topic \
itself is not whole: its head was removed, a record rests on events that are not there, or a newer BKES wrote it. Void, foreign, \
forwarded and skipped records and split aggregates are counted, and are no findings.";

/// Audit the topic itself, and compare a server's answers with it
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Which topic.
    #[command(flatten)]
    pub topic: TopicArgs,

    /// Audit the topic alone
    #[arg(long)]
    pub no_server: bool,

    /// Memory for what is kept of the topic's aggregates. 64 MiB are enough for 480,000; with more of them the topic is read
    /// in several passes
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub memory_mib: u32,

    /// How to show it.
    #[command(flatten)]
    pub shape: ShapeArgs,
}

/// Audits, and shows what came of it.
pub async fn run(
    args: &VerifyArgs,
    log: Arc<dyn Log>,
    store: Option<Arc<dyn EventStore>>,
    console: &mut Console<'_>,
) -> Result<(), Ended> {
    if let Some(store) = &store {
        assert_same_topic(&log, &**store).await?;
    }
    let options = Options {
        memory_bytes_max: (args.memory_mib as usize).saturating_mul(1024 * 1024),
        ..Options::default()
    };
    let report = audited(options, log, store, console).await?;
    let mut all: Vec<Found> = report.partitions.iter().flat_map(of_topic).collect();
    let findings = report.compared.as_ref().map(|compared| &compared.findings);
    all.extend(findings.iter().flat_map(|findings| &findings.kept).map(of_instance));
    let shown = shown::show(&report, &all, args.shape.on(console), console);
    // What was found counts, whoever reads the rest.
    match shown.and_then(|()| console.flush()) {
        Ok(()) | Err(Ended::OutputClosed) => {}
        Err(error) => return Err(error),
    }
    let more = findings.map_or(0, |findings| findings.more + findings.more_aggregates);
    match all.len() as u64 + more {
        0 => Ok(()),
        1 => Err(Ended::new(Code::Rejected, "1 finding")),
        count => Err(Ended::new(Code::Rejected, format_args!("{count} findings"))),
    }
}

/// That the server serves this topic: otherwise every event would differ.
async fn assert_same_topic(log: &Arc<dyn Log>, store: &dyn EventStore) -> Result<(), Ended> {
    let of_log = Arc::clone(log);
    let asking = tokio::task::spawn_blocking(move || of_log.identity());
    let LogIdentity { cluster, topic, topic_id } =
        asking.await.expect("asking does not panic").map_err(AuditError::Log).map_err(ended)?;
    let status = store.status().await?;
    let is_id_known = !topic_id.is_empty() && !status.topic_id.as_str().is_empty();
    let is_same = match is_id_known {
        true => status.topic_id.as_str() == topic_id,
        false => status.topic == topic && status.cluster == cluster,
    };
    if is_same {
        return Ok(());
    }
    let words = format_args!(
        "the server serves another topic: {} ({}) of cluster {}; this one is {topic} ({topic_id}) of cluster {cluster}",
        status.topic, status.topic_id, status.cluster
    )
    .to_string();
    Err(Ended::new(Code::Rejected, words)
        .advise("--no-server audits the topic alone; --server names another server."))
}

async fn audited(
    options: Options,
    log: Arc<dyn Log>,
    store: Option<Arc<dyn EventStore>>,
    console: &Console<'_>,
) -> Result<Report, Ended> {
    let (tell, mut told) = watch::channel(None);
    let runtime = Handle::current();
    let auditing = tokio::task::spawn_blocking(move || {
        let instance = store.as_deref().map(|store| Instance { store, runtime: &runtime });
        bkes_audit::audit(&*log, instance, &options, &mut |progress| {
            tell.send_replace(Some(progress));
        })
    });
    let bar = Progress::of_steps(console.looks);
    while told.changed().await.is_ok() {
        let progress = *told.borrow_and_update();
        progress.into_iter().for_each(|progress| show_progress(&bar, progress));
    }
    bar.end();
    auditing.await.expect("an audit does not panic").map_err(ended)
}

fn show_progress(bar: &Progress, progress: bkes_audit::Progress) {
    match progress {
        bkes_audit::Progress::Reading { pass, left, records, offsets_left } => {
            let passes = u64::from(pass) + left as u64;
            let words = format_args!("pass {pass} of {passes} or more: {records} records").to_string();
            bar.at_step(records, records.saturating_add(offsets_left), words);
        }
        bkes_audit::Progress::Comparing { aggregates } => {
            bar.at_step(0, 0, format_args!("{aggregates} aggregates of the server compared"));
        }
        bkes_audit::Progress::Detailing { left } => {
            bar.at_step(
                0,
                0,
                format_args!("aggregates that differ, event by event; {left} left after these"),
            );
        }
    }
}

/// Why there is no report.
fn ended(error: AuditError) -> Ended {
    let code = match &error {
        AuditError::Instance(failure) => {
            let (message, mut ended) = (described(failure), Ended::from(failure.clone()));
            if let Ended::With { message: shown, .. } = &mut ended {
                *shown = format!("the server has no answer: {message}");
            }
            return ended;
        }
        AuditError::Log(LogError::NoSuchTopic { .. } | LogError::NoSuchPartition { .. }) => Code::NotFound,
        AuditError::Log(LogError::Denied { .. }) => Code::Rejected,
        AuditError::Log(_) | AuditError::Silent { .. } => Code::Unavailable,
        AuditError::Read { failure: ReadFailure::Unavailable { .. }, .. } => Code::Unavailable,
        AuditError::Read { .. } | AuditError::LogChanged { .. } | AuditError::AnotherLog { .. } => {
            Code::InputOutput
        }
        AuditError::TooLittleMemory { .. } => Code::Usage,
    };
    Ended::new(code, escape::text(&error.to_string()))
}
