//! The probes: whether the process lives, and what it is ready for, with every reason.
//!
//! Liveness and readiness differ in what helps. A server that catches up, whose brokers are away or whose disk is full is alive: a restart
//! would cost it what it has and cure nothing. One whose thread is gone is not.

use crate::instance::Instance;
use crate::limits::{BODY_BYTES_MAX, PARTITIONS_LISTED, PROBE_WAIT};
use crate::reasons;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bkes_engine::{PartitionState, PartitionStatus, Readiness};
use serde_json::{Value, json};

/// The routes of an instance.
pub fn router(instance: Instance) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/reads", get(reads))
        .route("/readyz/appends", get(appends))
        .layer(middleware::from_fn(in_time))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(instance)
}

/// Answers within [`PROBE_WAIT`], whatever happens: an orchestrator that is told nothing knows less than one that is told of it.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PROBE_WAIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}

async fn livez(State(instance): State<Instance>) -> Response {
    let dead = instance.engine().and_then(|engine| engine.needs_restart());
    let reasons: Vec<Value> = dead.iter().map(|words| reasons::plain("needs_restart", words)).collect();
    answer(dead.is_none(), json!({ "alive": dead.is_none(), "reasons": reasons }))
}

async fn readyz(State(instance): State<Instance>) -> Response {
    let ready = Ready::of(&instance);
    let is_ready = ready.whole.is_empty();
    let body = json!({
        "ready": is_ready,
        "reasons": ready.whole,
        "reads": body_of(&ready.reads),
        "appends": body_of(&ready.appends),
        "partitions": ready.partitions,
    });
    answer(is_ready, body)
}

async fn reads(State(instance): State<Instance>) -> Response {
    let Ready { reads, .. } = Ready::of(&instance);
    answer(reads.is_empty(), body_of(&reads))
}

async fn appends(State(instance): State<Instance>) -> Response {
    let Ready { appends, .. } = Ready::of(&instance);
    answer(appends.is_empty(), body_of(&appends))
}

fn body_of(reasons: &[Value]) -> Value {
    json!({ "ready": reasons.is_empty(), "reasons": reasons })
}

/// What hinders what.
struct Ready {
    whole: Vec<Value>,
    reads: Vec<Value>,
    appends: Vec<Value>,
    partitions: Value,
}

impl Ready {
    fn of(instance: &Instance) -> Ready {
        if instance.is_stopping() {
            return Ready::for_all("shutting_down", "the server was asked to stop");
        }
        let Some(engine) = instance.engine() else {
            return Ready::for_all(
                "starting",
                "the store is being opened, or the log is waited for: see the server's log",
            );
        };
        let Readiness { whole, reads, appends } = engine.readiness();
        let mut ready = Ready {
            whole: whole.iter().map(reasons::of).collect(),
            reads: reads.iter().map(reasons::of).collect(),
            appends: appends.iter().map(reasons::of).collect(),
            partitions: partitions(&engine.status().partitions),
        };
        if instance.is_standby() {
            // As the health service says it: a standby is well when its store is current, and its calls are not served.
            let standby =
                || reasons::plain("standby", "a standby keeps its store current and serves no calls");
            ready.reads.push(standby());
            ready.appends.push(standby());
        }
        ready
    }

    fn for_all(code: &str, message: &str) -> Ready {
        let reason = || vec![reasons::plain(code, message)];
        Ready { whole: reason(), reads: reason(), appends: reason(), partitions: partitions(&[]) }
    }
}

/// How many partitions there are, and those that are not as they should be.
fn partitions(all: &[PartitionStatus]) -> Value {
    let unwell = || all.iter().filter(|status| status.state != PartitionState::Ready);
    let listed: Vec<Value> = unwell().take(PARTITIONS_LISTED).map(partition).collect();
    json!({ "count": all.len(), "not_ready": unwell().count(), "first_not_ready": listed })
}

fn partition(status: &PartitionStatus) -> Value {
    let (state, message) = match &status.state {
        PartitionState::CatchingUp => ("catching_up", None),
        PartitionState::Ready => ("ready", None),
        PartitionState::Stalled => ("stalled", None),
        PartitionState::Cut => ("cut", None),
        PartitionState::Degraded { reason } => ("degraded", Some(reason)),
    };
    json!({
        "partition": status.partition.0,
        "state": state,
        "message": message,
        "applied": status.applied.0,
        "target": status.target.0,
        "lag_records": status.lag,
    })
}

fn answer(is_well: bool, body: Value) -> Response {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, format!("{body}\n")).into_response()
}
