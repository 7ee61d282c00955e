//! A look at a server: its status, beside what is known of the topic.

use super::complaint::Complaint;
use super::place::Place;
use super::topic::Known;
use super::{Findings, ServerSide};
use crate::byte_argument::quoted;
use crate::exit::described;
use crate::limits::{DOCTOR_QUESTIONS, DOCTOR_VOID_SHARE};
use bkes_api::{Counters, ErrorClass, Failure, PartitionState, PartitionStatus, Reason, Status};
use bkes_log::LogIdentity;
use std::time::{Duration, Instant};

/// Looks at all of it.
pub(super) async fn look(server: &ServerSide, topic: Option<&Known>, place: Option<&Place>) -> Findings {
    let mut findings = Findings::default();
    findings.fact("server", &server.address);
    let status = match server.store.status().await {
        Ok(status) => status,
        Err(failure) => {
            findings.add(no_answer(&failure, server));
            return findings;
        }
    };
    if let Some(median) = round_trip(server).await {
        let ms = median.as_secs_f64() * 1_000.0;
        findings
            .fact("round trip to the server", format_args!("{ms:.1} ms, the median of {DOCTOR_QUESTIONS}"));
    }
    judge(&status, server, topic, place, &mut findings);
    findings
}

async fn round_trip(server: &ServerSide) -> Option<Duration> {
    let mut times = Vec::new();
    for _ in 0..DOCTOR_QUESTIONS {
        let began = Instant::now();
        server.store.status().await.ok()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn no_answer(failure: &Failure, server: &ServerSide) -> Complaint {
    let what = format!("the server does not answer: {}", described(failure));
    let address = &server.address;
    let cure = match failure.class() {
        ErrorClass::Rejected => format!(
            "give the program what the server asks for, or name another: bkes doctor --server HOST:PORT ({address} was asked)"
        ),
        _ => format!(
            "start it, or name another: bkes doctor --server HOST:PORT ({address} was asked); --no-server looks at the topic alone"
        ),
    };
    Complaint::problem("no_server", what, cure)
}

fn judge(
    status: &Status,
    server: &ServerSide,
    topic: Option<&Known>,
    place: Option<&Place>,
    findings: &mut Findings,
) {
    findings.fact("server version", format_args!("{} {}", status.build.name, status.build.version));
    findings.fact(
        "server's topic",
        format_args!("{} ({}) of cluster {}", status.topic, status.topic_id, status.cluster),
    );
    findings.fact("aggregates", status.keys);
    findings.fact("store", format_args!("{} bytes", status.store_bytes));
    findings.fact(
        "appends since its start",
        format_args!(
            "{} stored, {} conflicts, {} unknown",
            status.appended, status.conflicts, status.unknown
        ),
    );
    if status.build.version != env!("CARGO_PKG_VERSION") {
        let (its, ours) = (&status.build.version, env!("CARGO_PKG_VERSION"));
        let what = format!("the server is of version {its}, and this program of {ours}");
        findings.add(Complaint::note("version", what));
    }
    if let Some(failure) = &status.unready {
        findings.add(of_unready(failure, server));
    }
    let states = status.partitions.iter();
    states.for_each(|partition| findings.complaints.extend(of_state(partition, server, place)));
    of_counters(&status.partitions, findings);
    if status.unknown > 0 {
        let what = format!("{} appends had an unknown outcome since the server's start", status.unknown);
        findings.add(Complaint::note("unknown_appends", what));
    }
    if let Some(topic) = topic {
        compare(status, topic, place, findings);
    }
}

fn of_unready(failure: &Failure, server: &ServerSide) -> Complaint {
    let watch = watch(server);
    let (kind, what) = ("not_ready", format!("not ready: {}", described(failure)));
    let cure = match failure.reason {
        Reason::Standby => return Complaint::note(kind, what),
        Reason::CatchingUp | Reason::Lagging => format!("wait; watch it with: {watch}"),
        Reason::LogDown => "bkes doctor --brokers BROKERS --no-server, on the server's machine".to_owned(),
        Reason::StoreUnavailable => {
            "df -h, on the server's machine: the store is reopened once there is room".to_owned()
        }
        _ => format!("read the server's log, and {watch}"),
    };
    Complaint::problem(kind, what, cure)
}

fn watch(server: &ServerSide) -> String {
    format!("bkes --server {} status", quoted(&server.address))
}

fn of_state(status: &PartitionStatus, server: &ServerSide, place: Option<&Place>) -> Option<Complaint> {
    let PartitionStatus { partition, state, lag, applied, target, .. } = status;
    Some(match state {
        PartitionState::Ready if *lag > 0 => {
            let what =
                format!("partition {partition} lags by {lag} offsets: {applied} of {target} are applied");
            Complaint::note("lag", what)
        }
        PartitionState::Ready => return None,
        PartitionState::CatchingUp => {
            let what = format!("partition {partition} is catching up: {applied} of {target} are applied");
            Complaint::warning("catching_up", what, "wait until bkes status says that it is ready")
        }
        PartitionState::Stalled => {
            let unnamed = Place { brokers: "BROKERS".into(), topic: "TOPIC".into() };
            let place = place.unwrap_or(&unnamed);
            let rest = format!("find-hanging --topic {} --partition {partition}", quoted(&place.topic));
            let what = format!(
                "partition {partition} is stalled at {applied}: a transaction of another producer is open, and appends are refused"
            );
            Complaint::problem("stalled", what, place.command("kafka-transactions.sh", &rest))
        }
        PartitionState::Cut => {
            let what = format!(
                "partition {partition} is cut: its oldest events were removed from the topic, and it is served for reads only"
            );
            let cure = "set the topic's retention to -1, and start the server with --allow-cut to append on what is left. \
                        `bkes export --all` keeps a copy of that; an aggregate whose first events are gone cannot be imported \
                        elsewhere";
            Complaint::problem("cut", what, cure)
        }
        PartitionState::Degraded { reason } => {
            let what = format!("partition {partition} is not served: {reason}");
            let watch = watch(server);
            let cure = format!(
                "do what the reason says, or what the server's log says of this partition; it is served by itself once that is \
                 over, which {watch} tells"
            );
            Complaint::problem("degraded", what, cure)
        }
    })
}

/// What the records of all partitions say about who else writes.
fn of_counters(partitions: &[PartitionStatus], findings: &mut Findings) {
    let sum =
        |of: fn(&Counters) -> u64| partitions.iter().map(|partition| of(&partition.counters)).sum::<u64>();
    let (events, void) = (sum(|counters| counters.events), sum(|counters| counters.void));
    let (foreign, forwarded) = (sum(|counters| counters.foreign), sum(|counters| counters.forwarded));
    let (split, skipped) = (sum(|counters| counters.split), sum(|counters| counters.skipped));
    findings.fact(
        "records",
        format_args!("{events} events, {foreign} of them foreign; {void} void, {skipped} without a key"),
    );
    if split > 0 {
        let what = format!("{split} aggregates are split over partitions: they can no longer be appended to");
        let cure = "have all writers place keys by one hash over one number of partitions (docs/operating.md, growing a topic); \
                    bkes-server --split-by-order-headers shows them in order where their headers give one";
        findings.add(Complaint::warning("split", what, cure));
    }
    if forwarded > 0 {
        let what = format!(
            "{forwarded} events carry the marker of another record: a job forwards BKES's headers with its own events"
        );
        let cure = "have the job drop the headers `order` and `bkes` (docs/operating.md, forwarding jobs)";
        findings.add(Complaint::warning("forwarded", what, cure));
    }
    if void > 0 {
        let records = events.saturating_add(void);
        let is_much = void.saturating_mul(DOCTOR_VOID_SHARE) > records;
        let what =
            format!("{void} of {records} records are void: they lost a race for their order, or are copies");
        let cure = "send the appends of an aggregate to one instance";
        findings.add(match is_much {
            true => Complaint::warning("void", what, cure),
            false => Complaint::note("void", what),
        });
    }
    if skipped > 0 {
        let what = format!("{skipped} records have no key, and are no events of anything");
        findings.add(Complaint::note("skipped", what));
    }
}

/// What only shows when both are looked at.
fn compare(status: &Status, topic: &Known, place: Option<&Place>, findings: &mut Findings) {
    if let Some(LogIdentity { cluster, topic: name, topic_id }) = &topic.identity {
        let is_same = match topic_id.is_empty() || status.topic_id.as_str().is_empty() {
            true => status.topic == *name && status.cluster == *cluster,
            false => status.topic_id.as_str() == topic_id,
        };
        if !is_same {
            let what = format!(
                "the server serves another topic: {} ({}), and this one is {name} ({topic_id})",
                status.topic, status.topic_id
            );
            let brokers = place.map_or("BROKERS", |place| &place.brokers);
            let cure = format!("bkes doctor --brokers {} --topic {}", quoted(brokers), quoted(&status.topic));
            return findings.add(Complaint::problem("another_topic", what, cure));
        }
    }
    for (partition, marks) in &topic.marks {
        let Some(of_server) = status.partitions.iter().find(|status| status.partition == *partition) else {
            let what = format!("the server does not know partition {partition} yet");
            let cure = "wait a minute: a server looks for new partitions by itself. If it stays so, read its log: it may not reach the \
                        brokers";
            findings.add(Complaint::warning("unknown_partition", what, cure));
            continue;
        };
        if marks.low.0 > 0 && of_server.applied >= marks.low {
            let what = format!(
                "the topic's retention is shorter than the store: of partition {partition} the server may have events below offset \
                 {}, where the topic begins; a store that is built anew will not have them",
                marks.low
            );
            let cure =
                "keep a copy of the stopped server's data directory (docs/operating.md, restore points)";
            findings.add(Complaint::warning("short_retention", what, cure));
        }
        if of_server.applied < marks.low {
            let what = format!(
                "the server has applied partition {partition} up to {} only, and the topic begins at {} by now: what lay between \
                 was never read",
                of_server.applied, marks.low
            );
            let cure = "remove the server's data directory and start it again, to serve what is left";
            findings.add(Complaint::problem("missed", what, cure));
        }
        if of_server.applied > marks.high {
            let what = format!(
                "the server has applied partition {partition} up to {}, and the topic ends at {}: the topic lost its end",
                of_server.applied, marks.high
            );
            let cure = "wait until the server has read the partition anew, which it does by itself; then find out why it was lost: \
                        unclean.leader.election.enable, replication (docs/operating.md)";
            findings.add(Complaint::problem("lost_end", what, cure));
        }
    }
}
