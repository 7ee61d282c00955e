//! Closed loops: callers that each wait for their answer before they ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a closed loop achieved.
#[derive(Clone, Debug, Default)]
pub struct Achieved {
    /// Answers.
    pub calls: u64,
    /// Answers a second.
    pub rate: f64,
    /// Half of the answers came within, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 answers came within, in milliseconds.
    pub p99_ms: f64,
}

impl Achieved {
    /// From the time each answer took, in seconds.
    pub fn of(mut times: Vec<f32>, span: Duration) -> Achieved {
        times.sort_by(f32::total_cmp);
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index).map_or(f64::NAN, |seconds| f64::from(*seconds) * 1e3)
        };
        let calls = times.len() as u64;
        Achieved { calls, rate: calls as f64 / span.as_secs_f64(), p50_ms: at(0.5), p99_ms: at(0.99) }
    }
}

/// A caller's next call: which key, at which order. Chains of ten for each key.
pub struct Chain {
    name: String,
    keys: Arc<AtomicU64>,
    key: String,
    order: u64,
}

/// Events of a key.
pub const CHAIN: u64 = 10;

impl Chain {
    /// Chains of keys that begin with this name; callers share the numbering.
    pub fn new(name: &str, keys: &Arc<AtomicU64>) -> Chain {
        Chain { name: name.into(), keys: Arc::clone(keys), key: String::new(), order: u64::MAX }
    }

    /// The next key and order, `step` events after the last.
    pub fn next(&mut self, step: u64) -> (String, u64) {
        if self.order >= CHAIN * step {
            self.key = format!("{}-{}", self.name, self.keys.fetch_add(1, Ordering::Relaxed));
            self.order = 0;
        }
        let order = self.order;
        self.order += step;
        (self.key.clone(), order)
    }
}

/// Runs callers for a span, behind a short run to warm up. `make` gives each caller its own call.
pub async fn closed_loop<C, F>(
    callers: usize,
    span: Duration,
    mut make: impl FnMut() -> C,
) -> anyhow::Result<Achieved>
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let warm = span.mul_f64(0.2);
    let began = Instant::now();
    let (from, until) = (began + warm, began + warm + span);
    let mut tasks = Vec::with_capacity(callers);
    for _ in 0..callers {
        let mut call = make();
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let start = Instant::now();
                if start >= until {
                    return anyhow::Ok(times);
                }
                call().await?;
                if start >= from {
                    times.push(start.elapsed().as_secs_f32());
                }
            }
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    Ok(Achieved::of(times, span))
}
