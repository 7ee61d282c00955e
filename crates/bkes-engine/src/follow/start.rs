//! Where following begins: the positions that were asked for, held against what the log has.

use super::failure;
use super::lane::{Lane, Lanes};
use crate::board::PartitionBoard;
use crate::context::Context;
use crate::owner_inbox::{Command, Decided};
use bkes_api::{Failure, Positions, Reason};
use bkes_core::{Partition, Watermarks};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Lanes from where these partitions are decided now: after the call, and after everything that anybody was answered before it.
pub async fn from_now(context: &Context, boards: &[Arc<PartitionBoard>]) -> Result<Lanes, Failure> {
    let mut decided = Vec::new();
    for owner in context.owners.iter() {
        let (reply, answer) = oneshot::channel();
        // An owner that has ended drops the question.
        let _ = owner.send(Command::Decided { reply });
        decided.extend(answer.await.map_err(|_| failure::unready(&context.board.why_ended()))?);
    }
    let mut lanes = Lanes::default();
    for board in boards {
        let of = |decided: &&Decided| decided.partition == board.partition;
        let Some(Decided { fold, end, .. }) = decided.iter().find(of) else {
            return Err(failure::unready(&context.board.still_catching_up()));
        };
        let lane = Lane::new(context, Arc::clone(board), *end)?;
        if lane.fold != Some(*fold) {
            return Err(failure::begun_anew(board.partition));
        }
        lanes.add(lane);
    }
    Ok(lanes)
}

/// Lanes from these positions, and from their beginning in partitions that are not named.
pub async fn from_positions(
    context: &Context,
    boards: &[Arc<PartitionBoard>],
    positions: &Positions,
) -> Result<Lanes, Failure> {
    check_positions(context, boards, positions).await?;
    let mut begun = Lanes::default();
    let unnamed = boards.iter().filter(|board| positions.get(board.partition).is_none());
    let unnamed: Vec<Partition> = unnamed.map(|board| board.partition).collect();
    let mut marks = asked(context, unnamed.clone()).await?.into_iter();
    for board in boards {
        let position = match positions.get(board.partition) {
            Some(position) => position,
            None => marks.next().expect("one answer for each").low,
        };
        begun.add(Lane::new(context, Arc::clone(board), position)?);
    }
    Ok(begun)
}

/// Whether positions are of this topic, and of what it holds. What was removed since the last look at the log its reader tells.
pub async fn check_positions(
    context: &Context,
    boards: &[Arc<PartitionBoard>],
    positions: &Positions,
) -> Result<(), Failure> {
    let here = context.topic.topic_id.as_str();
    if let Some(topic) = positions.topic.as_ref().filter(|topic| topic.as_str() != here) {
        let message = format!("the positions are of topic {topic}, and this one is {here}");
        return Err(Failure::new(Reason::ForeignPositions, message));
    }
    let count = context.board.partitions().len();
    if let Some((unknown, _)) = positions.of.iter().find(|(partition, _)| partition.0 as usize >= count) {
        return Err(not_there(context, *unknown).await);
    }
    let mut ahead = Vec::new();
    for board in boards {
        let Some(position) = positions.get(board.partition) else { continue };
        let (marks, applied) = {
            let state = board.state();
            (state.seen.marks, state.seen.applied)
        };
        if position < marks.low {
            return Err(failure::removed(board.partition, position, marks.low));
        }
        if position > marks.high.max(applied) {
            ahead.push((board.partition, position));
        }
    }
    // The last look at the log may have been a while ago.
    let marks = asked(context, ahead.iter().map(|(partition, _)| *partition).collect()).await?;
    for ((partition, position), Watermarks { high, .. }) in ahead.into_iter().zip(marks) {
        if position > high {
            return Err(failure::above(partition, position, high));
        }
    }
    Ok(())
}

/// Why a partition that is not known here is not followed. It may be new: another instance may have told of it that has met it before.
async fn not_there(context: &Context, partition: Partition) -> Failure {
    let log = Arc::clone(&context.log);
    match off(move || log.partition_count()).await {
        Err(failure) => failure,
        Ok(Err(error)) => failure::log_error(&error),
        Ok(Ok(count)) if partition.0 < count.get() => {
            context.look.wake();
            failure::new_partition(partition)
        }
        Ok(Ok(count)) => {
            let message = format!("there is no partition {partition}: the topic has {count}");
            Failure::new(Reason::OutOfRange, message)
        }
    }
}

/// The marks of these partitions now. The log may take its time to answer.
async fn asked(context: &Context, partitions: Vec<Partition>) -> Result<Vec<Watermarks>, Failure> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let log = Arc::clone(&context.log);
    let marks = off(move || log.watermarks_of(&partitions)).await?;
    marks.into_iter().map(|marks| marks.map_err(|error| failure::log_error(&error))).collect()
}

/// Does what may wait off the executor, if there is one.
pub async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    match Handle::try_current() {
        Ok(runtime) => {
            let failed = |error| Failure::new(Reason::Internal, format!("following failed: {error}"));
            runtime.spawn_blocking(work).await.map_err(failed)
        }
        Err(_) => Ok(work()),
    }
}
