//! Why something is not served, as JSON: a code that programs go by, a message for people, and the values of both.

use bkes_engine::Unready;
use serde_json::{Value, json};

/// A reason that is the server's, not the engine's.
pub fn plain(code: &str, message: &str) -> Value {
    json!({ "code": code, "message": message })
}

/// A reason of the engine's.
pub fn of(unready: &Unready) -> Value {
    let mut reason = match unready {
        Unready::CatchingUp { applied, target } => {
            json!({ "code": "catching_up", "applied": applied, "target": target })
        }
        Unready::Lagging { partition, lag_ms } => {
            json!({ "code": "lagging", "partition": partition.0, "lag_ms": lag_ms })
        }
        Unready::LogDown { .. } => json!({ "code": "log_down" }),
        Unready::Stalled { partition, stable, high } => {
            json!({ "code": "stalled", "partition": partition.0, "stable": stable.0, "high": high.0 })
        }
        Unready::Degraded { partition, .. } => json!({ "code": "degraded", "partition": partition.0 }),
        Unready::Store { .. } => json!({ "code": "store_down" }),
        Unready::Unverified { .. } => json!({ "code": "unverified" }),
        Unready::Overloaded { .. } | Unready::NoRoom { .. } => json!({ "code": "overloaded" }),
        Unready::ShuttingDown => json!({ "code": "shutting_down" }),
    };
    reason["message"] = unready.to_string().into();
    reason
}
