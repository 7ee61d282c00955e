//! The partitions that are followed, and how far each is shown.

use super::failure;
use crate::board::PartitionBoard;
use crate::context::Context;
use bkes_api::Failure;
use bkes_core::machine::FoldId;
use bkes_core::{Partition, Position};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A partition that is followed.
pub struct Lane {
    pub board: Arc<PartitionBoard>,
    /// The fold whose decisions are shown; `None` of a new partition that was not read to its target yet.
    pub fold: Option<FoldId>,
    /// Everything that was decided below it is shown.
    pub position: Position,
    /// Whether what comes next of it is taken from its ring.
    pub is_live: bool,
}

impl Lane {
    /// One that begins at a position, in the fold that counts, if it is served.
    pub fn new(context: &Context, board: Arc<PartitionBoard>, position: Position) -> Result<Lane, Failure> {
        let mut lane = Lane { board, fold: None, position, is_live: false };
        lane.begin(context)?;
        Ok(lane)
    }

    /// One of a partition that is new, from its beginning.
    pub fn of_new(board: Arc<PartitionBoard>) -> Lane {
        let position = board.state().seen.marks.low;
        Lane { board, fold: None, position, is_live: false }
    }

    /// It is served by now.
    pub fn begin(&mut self, context: &Context) -> Result<(), Failure> {
        if let Some(unready) = context.board.unserved(&self.board) {
            return Err(failure::unready(&unready));
        }
        self.fold = self.board.state().current().map(|seen| seen.fold);
        match self.fold {
            Some(_) => Ok(()),
            None => Err(failure::begun_anew(self.board.partition)),
        }
    }

    /// Up to where its fold has decided; an error if that is not the one that counts any more, or it is not served.
    pub fn decided(&self, context: &Context) -> Result<Position, Failure> {
        let of_fold =
            self.board.state().current().filter(|seen| Some(seen.fold) == self.fold).map(|seen| seen.applied);
        let applied = of_fold.ok_or_else(|| failure::begun_anew(self.board.partition))?;
        match context.board.unserved(&self.board) {
            Some(unready) => Err(failure::unready(&unready)),
            None => Ok(applied),
        }
    }
}

/// All of them.
#[derive(Default)]
pub struct Lanes(BTreeMap<Partition, Lane>);

impl Lanes {
    pub fn add(&mut self, lane: Lane) {
        self.0.insert(lane.board.partition, lane);
    }

    pub fn get(&self, partition: Partition) -> Option<&Lane> {
        self.0.get(&partition)
    }

    /// Those that are served.
    pub fn begun(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.0.values_mut().filter(|lane| lane.fold.is_some())
    }

    /// The same, beginning with the one at this number of them and around.
    pub fn begun_from(&mut self, first: usize) -> impl Iterator<Item = &mut Lane> {
        let mut lanes: Vec<&mut Lane> = self.begun().collect();
        let count = lanes.len().max(1);
        lanes.rotate_left(first % count);
        lanes.into_iter()
    }

    /// Those of new partitions.
    pub fn not_begun(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.0.values_mut().filter(|lane| lane.fold.is_none())
    }

    /// Those whose past is read.
    pub fn past(&self) -> impl Iterator<Item = &Lane> + Clone {
        self.0.values().filter(|lane| lane.fold.is_some() && !lane.is_live)
    }

    /// An error if a partition does not go on as it was.
    pub fn check(&self, context: &Context, partition: Partition) -> Result<(), Failure> {
        self.0.get(&partition).map_or(Ok(()), |lane| lane.decided(context).map(drop))
    }

    /// Everything below is shown.
    pub fn come_to(&mut self, partition: Partition, position: Position) {
        if let Some(lane) = self.0.get_mut(&partition) {
            lane.position = lane.position.max(position);
        }
    }

    /// How far all are shown.
    pub fn positions(&self) -> Vec<(Partition, Position)> {
        let begun = self.0.iter().filter(|(_, lane)| lane.fold.is_some());
        begun.map(|(partition, lane)| (*partition, lane.position)).collect()
    }
}
