//! The checks at start: whether the store belongs to the log, and whether the log still has what the store continues from.

use crate::board::{Board, PartitionBoard};
use crate::options::{EngineOptions, StartError};
use bkes_core::Partition;
use bkes_core::evidence::Completeness;
use bkes_core::sequence::NowMs;
use bkes_core::topic::{Placing, TopicMachine};
use bkes_log::{Log, LogIdentity, Watermarks};
use bkes_storage::{Loaded, Store, StoreError, StoreIdentity};
use std::sync::Arc;

/// What the checks found.
pub struct Checked {
    pub board: Board,
    pub loaded: Loaded,
    pub topic: LogIdentity,
    pub identity: StoreIdentity,
}

/// The store's identity for a log and a way of placing.
pub fn identity_of(topic: &LogIdentity, placing: Placing) -> StoreIdentity {
    StoreIdentity {
        cluster: topic.cluster.clone(),
        topic: topic.topic.clone(),
        topic_id: topic.topic_id.clone(),
        partitions: placing.partitions,
        partitioner: placing.partitioner,
    }
}

/// Checks that `log` and `store` belong together, and binds a new store to the log. A damaged store is begun anew, whether it
/// is reading or writing that meets the damage.
pub fn check(log: &dyn Log, store: &dyn Store, options: &EngineOptions) -> Result<Checked, StartError> {
    match check_once(log, store, options) {
        Err(StartError::Store(StoreError::Damaged { detail })) => {
            tracing::error!("the store is damaged and is rebuilt from the log: {detail}");
            store.reset()?;
            check_once(log, store, options)
        }
        checked => checked,
    }
}

fn check_once(log: &dyn Log, store: &dyn Store, options: &EngineOptions) -> Result<Checked, StartError> {
    let topic = log.identity()?;
    let count = log.partition_count()?;
    let loaded = store.load()?;
    let mut placing = Placing { partitions: count, partitioner: options.partitioner };
    if let Some(stored) = &loaded.identity {
        check_identity(stored, &topic)?;
        if stored.partitions > count {
            return Err(StartError::PartitionsGone { stored: stored.partitions.get(), found: count.get() });
        }
        if stored.partitions < count {
            tracing::warn!(
                "the topic grew from {} to {count} partitions: see the operating guide on split keys",
                stored.partitions
            );
            // They are placed in when every instance had the time to see them.
            placing.partitions = stored.partitions;
        }
        placing.partitioner = match (stored.partitioner, options.partitioner) {
            (Some(stored), Some(asked)) if stored != asked => {
                return Err(StartError::PartitionerChanged { stored, asked });
            }
            (stored, asked) => stored.or(asked),
        };
    }
    let partitions: Vec<Partition> = (0..count.get()).map(Partition).collect();
    let marks = log.watermarks_of(&partitions).into_iter().zip(&partitions);
    let boards = marks.map(|(marks, partition)| board(&loaded, *partition, marks?).map(Arc::new));
    let boards = boards.collect::<Result<Vec<_>, StartError>>()?;
    announce(&loaded, &boards);
    if placing.partitioner.is_none() && count.get() == 1 && !options.existing_only {
        placing.partitioner = Some(bkes_core::Partitioner::Murmur2);
    }
    let identity = identity_of(&topic, placing);
    if loaded.identity.as_ref() != Some(&identity) {
        store.set_identity(&identity)?;
    }
    let is_whole = loaded.checkpoints.iter().all(|(_, checkpoint)| checkpoint.counters.events == 0);
    let completeness = if is_whole { Completeness::Whole } else { Completeness::Part };
    let rest_ms = options.placing_rest.as_millis() as NowMs;
    let topic_machine = TopicMachine::new(placing, options.existing_only, completeness, rest_ms);
    let board = Board::new(boards, topic_machine);
    if options.existing_only {
        tracing::warn!("no new keys are started (--partitioner existing-only); existing ones are served");
    } else if let Some(partitioner) = placing.partitioner {
        let why = if options.partitioner.is_some() { "as asked" } else { "as was decided before" };
        tracing::info!("new keys are placed with {partitioner}, {why}");
    }
    Ok(Checked { board, loaded, topic, identity })
}

/// Says how much there is to read.
fn announce(loaded: &Loaded, boards: &[Arc<PartitionBoard>]) {
    let (mut left, mut all) = (0, 0);
    for board in boards {
        let marks = board.state().seen.marks;
        let (low, target) = (marks.low.0, marks.stable.0);
        let held = loaded.checkpoints.iter().find(|(partition, _)| *partition == board.partition);
        let applied = held.map_or(low, |(_, checkpoint)| checkpoint.position.0);
        left += target.saturating_sub(applied);
        all += target.saturating_sub(low);
    }
    let how = if loaded.checkpoints.is_empty() { "building the store" } else { "resuming" };
    tracing::info!("{how}: {left} of {all} offsets to read");
}

fn check_identity(stored: &StoreIdentity, found: &LogIdentity) -> Result<(), StartError> {
    if (&stored.cluster, &stored.topic) != (&found.cluster, &found.topic) {
        return Err(StartError::ForeignStore {
            stored: format!("{} of cluster {}", stored.topic, stored.cluster),
            found: format!("{} of cluster {}", found.topic, found.cluster),
        });
    }
    if stored.topic_id != found.topic_id {
        return Err(StartError::TopicRecreated {
            topic: stored.topic.clone(),
            stored: stored.topic_id.clone(),
            found: found.topic_id.clone(),
        });
    }
    Ok(())
}

/// A partition at its checkpoint, which must lie within what the log has, on the way to the last stable offset.
fn board(loaded: &Loaded, partition: Partition, marks: Watermarks) -> Result<PartitionBoard, StartError> {
    let held = loaded.checkpoints.iter().find(|(p, _)| *p == partition);
    if let Some((_, checkpoint)) = held {
        // A lost end that held nothing is no loss.
        let (behind_last, applied) = (checkpoint.behind_last(), checkpoint.position);
        if behind_last > marks.high {
            return Err(StartError::Truncated { partition, applied: behind_last, high: marks.high });
        }
        if applied < marks.low {
            return Err(StartError::Removed { partition, applied, low: marks.low });
        }
    }
    Ok(PartitionBoard::new(partition, marks))
}
