//! Closed loops: callers that each wait for their answer before they ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The shares of answers whose times are kept: the last four make the picture of a distribution.
pub const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// How long a loop runs before it is measured, at least. Connections, metadata and a cold broker are over by then; a loop of
/// a second began with a fifth of a second once, and half of what it measured was that.
const WARM_MIN: Duration = Duration::from_millis(400);

/// What a closed loop achieved.
#[derive(Clone, Debug, Default)]
pub struct Achieved {
    /// Answers a second.
    pub rate: f64,
    /// Within how many milliseconds the shares of [`SHARES`] were answered.
    pub within_ms: [f64; 4],
}

impl Achieved {
    /// From the time each answer took, in seconds.
    pub fn of(mut times: Vec<f32>, span: Duration) -> Achieved {
        times.sort_by(f32::total_cmp);
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index).map_or(f64::NAN, |seconds| f64::from(*seconds) * 1e3)
        };
        Achieved { rate: times.len() as f64 / span.as_secs_f64(), within_ms: SHARES.map(at) }
    }

    /// Half of the answers came within, in milliseconds.
    pub fn p50_ms(&self) -> f64 {
        self.within_ms[0]
    }

    /// 99 of 100 answers came within, in milliseconds.
    pub fn p99_ms(&self) -> f64 {
        self.within_ms[2]
    }
}

/// How long a loop of this span is to run before it is measured.
pub fn warm(span: Duration) -> Duration {
    span.mul_f64(0.2).max(WARM_MIN)
}

/// A caller's next call: which key, at which order. Chains of ten for each key.
pub struct Chain {
    name: String,
    keys: Arc<AtomicU64>,
    key: String,
    order: u64,
}

/// Appends to a key.
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

/// What a call was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It wrote.
    Append,
    /// It read.
    Read,
}

/// How a call ended well: what it was, and how often it was refused as overloaded before.
pub type Ended = (Kind, u64);

/// What a closed loop of both kinds achieved.
#[derive(Clone, Debug, Default)]
pub struct Mix {
    /// By appending.
    pub appends: Achieved,
    /// By reading.
    pub reads: Achieved,
    /// Answers of both kinds, those before the measured span too: what a server's processor time was spent on.
    pub answered: u64,
    /// How often a call was refused as overloaded and made again, in the same time.
    pub refused: u64,
}

impl Mix {
    /// Of 100 calls, how many were refused as overloaded.
    pub fn refused_percent(&self) -> f64 {
        self.refused as f64 * 100.0 / (self.answered + self.refused).max(1) as f64
    }
}

/// Runs callers for a span, after a run to warm up. `make` gives each caller its own call.
pub async fn closed_loop<C, F>(
    callers: usize,
    span: Duration,
    mut make: impl FnMut() -> C,
) -> anyhow::Result<Mix>
where
    C: FnMut() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<Ended>> + Send,
{
    let from = Instant::now() + warm(span);
    let until = from + span;
    let mut tasks = Vec::with_capacity(callers);
    for _ in 0..callers {
        let mut call = make();
        tasks.push(tokio::spawn(async move {
            let (mut appends, mut reads, mut answered, mut refused) = (Vec::new(), Vec::new(), 0, 0);
            loop {
                let start = Instant::now();
                if start >= until {
                    return anyhow::Ok((appends, reads, answered, refused));
                }
                let (kind, before) = call().await?;
                answered += 1;
                refused += before;
                if start >= from {
                    let times = if kind == Kind::Append { &mut appends } else { &mut reads };
                    times.push(start.elapsed().as_secs_f32());
                }
            }
        }));
    }
    let (mut appends, mut reads, mut answered, mut refused) = (Vec::new(), Vec::new(), 0, 0);
    for task in tasks {
        let found = task.await??;
        appends.extend(found.0);
        reads.extend(found.1);
        answered += found.2;
        refused += found.3;
    }
    Ok(Mix { appends: Achieved::of(appends, span), reads: Achieved::of(reads, span), answered, refused })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_found_in_any_order_of_times() {
        let times = (0..1_000).rev().map(|n| n as f32 / 1e3).collect();
        let achieved = Achieved::of(times, Duration::from_secs(2));
        assert_eq!(achieved.rate, 500.0);
        let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.01;
        assert!(near(achieved.p50_ms(), 500.0) && near(achieved.p99_ms(), 990.0), "{achieved:?}");
        assert!(Achieved::of(Vec::new(), Duration::from_secs(1)).p50_ms().is_nan());
    }

    #[test]
    fn a_chain_has_ten_appends_whatever_their_size() {
        let keys = Arc::default();
        let mut chain = Chain::new("c", &keys);
        let first: Vec<_> = (0..11).map(|_| chain.next(5)).collect();
        assert_eq!((first[0].clone(), first[9].clone()), (("c-0".into(), 0), ("c-0".into(), 45)));
        assert_eq!(first[10], ("c-1".into(), 0));
    }
}
