//! `bkes-sim`: runs seeds.

#![forbid(unsafe_code)]

fn main() {
    if std::env::args().len() < 4 {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (from, count) = (args[0], args[1]);
    let began = std::time::Instant::now();
    let mut coverage = bkes_sim::Coverage::default();
    let mut failed = 0;
    for seed in from..from + count {
        let plan = bkes_sim::Plan::of(seed);
        let run = bkes_sim::run(&plan, count == 1);
        coverage.add(&run.coverage);
        if count == 1 {
            for line in &run.tape {
                println!("{line}");
            }
            println!("{plan:?}");
        }
        if !run.findings.is_empty() {
            failed += 1;
            println!(
                "seed {seed} {:?} {:?} {:?}: {} findings",
                plan.mode,
                plan.topic,
                plan.store,
                run.findings.len()
            );
            for finding in run.findings.iter().take(2) {
                println!("   {finding}");
            }
        }
    }
    println!("{failed} of {count} failed; {:.1} seeds/s", count as f64 / began.elapsed().as_secs_f64());
    println!("{coverage:?}");
}
