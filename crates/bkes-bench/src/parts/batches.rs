//! Events in batches against single appends.

use crate::report::{Section, Table, rounds};
use crate::settings::Settings;
use crate::sides::{Embedded, Keeps, PARTITIONS, Work, engine_loop, topic};
use crate::targets::Verdict;

/// Batches of ten and of a hundred, at one and at sixteen callers.
pub async fn measure(settings: &Settings) -> anyhow::Result<Section> {
    let columns =
        ["callers", "single", "batches of 10", "10 against single", "batches of 100", "100 against single"];
    let mut table = Table::new("Events/s in batches against single appends, embedded engine", &columns);
    let mut section = Section::default();
    let embedded = Embedded::start(settings, &topic(settings, PARTITIONS).await?, Keeps::Disk).await?;
    for (callers, target) in [(1, "batch-1"), (16, "batch-16")] {
        let all = rounds(settings, async |span| {
            let mut rates = [0.0; 3];
            for (rate, events) in rates.iter_mut().zip([1, 10, 100]) {
                let work = Work { events, ..Work::appends(callers, span) };
                *rate = engine_loop(&embedded.handle(), work).await?.appends.rate * events as f64;
            }
            Ok(rates)
        });
        let [single, ten, hundred] = all.await?;
        let (tens, hundreds) = (ten.ratio(&single), hundred.ratio(&single));
        section.verdicts.push(Verdict::new(target, "", hundreds.median()));
        let row = [single.show(0), ten.show(0), tens.show(1), hundred.show(0), hundreds.show(1)];
        table.rows.push(std::iter::once(callers.to_string()).chain(row).collect());
    }
    embedded.stop().await?;
    section.tables.push(table);
    Ok(section)
}
