//! What was measured, on the output.

use super::BenchArgs;
use super::caller::{Deed, Tally};
use super::latencies::Latencies;
use crate::console::Console;
use crate::exit::Ended;
use crate::json_writer::Object;
use crate::show::Shape;
use std::time::Duration;

/// Shows it.
pub fn show(tally: &Tally, time: Duration, args: &BenchArgs, console: &mut Console<'_>) -> Result<(), Ended> {
    match args.shape.on(console) {
        Shape::Table => table(tally, time, args, console),
        Shape::Json => {
            let mut line = json(tally, time, args);
            line.push(b'\n');
            console.write(&line)
        }
    }
}

/// What was called, with its times; what was not called is left out.
fn parts(tally: &Tally) -> impl Iterator<Item = (&'static str, &Latencies)> {
    [("appends", &tally.appends), ("reads", &tally.reads)].into_iter().filter(|(_, times)| times.count() > 0)
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn table(tally: &Tally, time: Duration, args: &BenchArgs, console: &mut Console<'_>) -> Result<(), Ended> {
    let (callers, keys, bytes, seconds) = (args.callers, args.keys, args.value_bytes, time.as_secs_f64());
    let each = match args.deed() {
        Deed::Stream { in_flight } => format!(" with {in_flight} in flight each"),
        _ => String::new(),
    };
    console.line(format_args!(
        "{callers} callers{each}, {keys} aggregates, values of {bytes} bytes, {seconds:.1} s"
    ))?;
    let (p50, p95, p99, max) = ("P50 MS", "P95 MS", "P99 MS", "MAX MS");
    console.line(format_args!(
        "{:<8} {:>12} {:>12} {p50:>10} {p95:>10} {p99:>10} {max:>10}",
        "", "CALLS", "CALLS/S"
    ))?;
    for (name, times) in parts(tally) {
        let count = times.count();
        let ms = |us: u64| us as f64 / 1_000.0;
        let [p50, p95, p99] = [50, 95, 99].map(|percent| ms(times.percentile_us(percent)));
        let (rate, max) = (per_second(count, time), ms(times.max_us()));
        console.line(format_args!(
            "{name:<8} {count:>12} {rate:>12.1} {p50:>10.3} {p95:>10.3} {p99:>10.3} {max:>10.3}"
        ))?;
    }
    for (reason, count) in &tally.errors {
        console.line(format_args!("{count} ended with {reason}"))?;
    }
    Ok(())
}

fn json(tally: &Tally, time: Duration, args: &BenchArgs) -> Vec<u8> {
    let mut line = Vec::new();
    let mut object = Object::begin(&mut line);
    object.plain("callers", args.callers);
    if let Deed::Stream { in_flight } = args.deed() {
        object.plain("in_flight", in_flight);
    }
    object.plain("keys", args.keys);
    object.plain("value_bytes", args.value_bytes);
    object.plain("seconds", format_args!("{:.3}", time.as_secs_f64()));
    for (name, times) in parts(tally) {
        let mut part = Object::begin(object.field(name));
        part.plain("calls", times.count());
        part.plain("per_second", format_args!("{:.1}", per_second(times.count(), time)));
        part.plain("p50_us", times.percentile_us(50));
        part.plain("p95_us", times.percentile_us(95));
        part.plain("p99_us", times.percentile_us(99));
        part.plain("max_us", times.max_us());
        part.end();
    }
    let mut errors = Object::begin(object.field("errors"));
    tally.errors.iter().for_each(|(reason, count)| errors.plain(reason, count));
    errors.end();
    object.end();
    line
}
