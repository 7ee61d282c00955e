//! Reads that are at least as fresh as given positions, and what every call that waits for positions does first.
//!
//! Positions are checked before they are waited for. Those of another topic are refused. Those above the end of the log are refused
//! too, since nothing may ever come there; what the board says of the end may be old, so the log is asked again before that is said, by
//! a question that the verifier asks for all together. Meanwhile it is waited for: another instance may have told of what our reader meets
//! a moment later, and nobody needs the answer then.

use crate::api::ReadError;
use crate::board::PartitionBoard;
use crate::handle::EngineHandle;
use crate::limits::AT_LEAST_MS_MAX;
use crate::position_waits::{Late, Place, PositionWaits, WaitEnd, Waited, Wanted, missing_of};
use crate::positions_error::PositionsError;
use crate::verifier_inbox::Marks;
use bkes_api::{Positions, TopicId};
use bkes_core::append::Unready;
use bkes_core::sequence::NowMs;
use bkes_core::{Cause, Partition, Position};
use bkes_log::LogError;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::sync::oneshot;

/// Why a call that waits for positions has nothing to show for it.
pub(crate) enum Missed {
    /// They are refused.
    Positions(PositionsError),
    /// It cannot be waited for them now.
    Unready(Unready),
    /// The time is over; where the log did not say whether it holds as much, why not.
    Late { late: Late, unanswered: Option<Cause> },
    /// The group has committed nothing in this topic.
    NoCommits { group: Arc<str> },
    /// The group is not told about.
    Group(LogError),
}

impl EngineHandle {
    /// Returns when everything below these positions is applied here and may be read, for [`AT_LEAST_MS_MAX`] at most.
    pub(crate) async fn at_least(&self, positions: &Positions) -> Result<(), ReadError> {
        let until = self.now().saturating_add(AT_LEAST_MS_MAX);
        self.reach(positions, None, until).await.map_err(|missed| match missed {
            Missed::Positions(error) => ReadError::Positions(error),
            Missed::Unready(unready) => ReadError::Unavailable(unready),
            Missed::Late { unanswered: Some(cause), .. } => {
                ReadError::Unavailable(Unready::Unverified { cause })
            }
            Missed::Late { late: Late::Applying { unready, .. }, .. } => ReadError::Unavailable(unready),
            Missed::Late { late: Late::Committing { .. }, .. }
            | Missed::NoCommits { .. }
            | Missed::Group(_) => unreachable!("no group is waited for"),
        })
    }

    /// Returns when these positions are reached here, and by the group if one is named.
    pub(crate) async fn reach(
        &self,
        positions: &Positions,
        group: Option<Arc<str>>,
        deadline: NowMs,
    ) -> Result<(), Missed> {
        let context = self.context();
        let own = &context.topic.topic_id;
        if let Some(given) = &positions.topic
            && given.as_str() != own
        {
            let (given, own) = (given.clone(), TopicId::new(own));
            return Err(Missed::Positions(PositionsError::Foreign { given, own }));
        }
        if context.board.stopping.load(Ordering::Acquire) {
            return Err(Missed::Unready(Unready::ShuttingDown));
        }
        let places = self.places(&each_once(positions)).await?;
        if group.is_none() && missing_of(&context.board, &places).map_err(Missed::Unready)?.is_none() {
            return Ok(());
        }
        let mut told = self.ask_for_ends(&places)?;
        let wanted = Wanted { places, group, now: self.now(), deadline };
        let mut waiting =
            PositionWaits::enter(&context.positions, &context.board, wanted).map_err(Missed::Unready)?;
        if waiting.is_next {
            context.owners[0].wake();
        }
        if waiting.wakes_askers {
            context.askers.iter().for_each(bkes_log::Waker::wake);
        }
        poll_fn(|task| {
            let refused = told.poll(task);
            match (Pin::new(&mut waiting.answer).poll(task), refused) {
                (Poll::Ready(Ok(Ok(()))), _) => Poll::Ready(Ok(())),
                (_, Some(error)) => Poll::Ready(Err(Missed::Positions(error))),
                (Poll::Ready(answer), None) => {
                    // Without an answer the engine stops.
                    let ended = |_| Err(WaitEnd::Unready(context.board.why_ended()));
                    Poll::Ready(told.missed(answer.unwrap_or_else(ended)))
                }
                (Poll::Pending, None) => Poll::Pending,
            }
        })
        .await
    }

    /// The partitions' places on the board. One that is not known may be new: then the topic is asked how many there are.
    async fn places(&self, wanted: &BTreeMap<Partition, Position>) -> Result<Vec<Place>, Missed> {
        let board = &self.context().board;
        let find = || wanted.iter().map(|(of, at)| Ok((board.partition(*of).ok_or(*of)?, *at))).collect();
        let partition = match find() {
            Ok(places) => return Ok(places),
            Err(partition) => partition,
        };
        let unverified = |cause| Missed::Unready(Unready::Unverified { cause });
        if let Some(cause) = board.log_down() {
            return Err(unverified(cause));
        }
        let answer = self.context().verifier.ask_marks([partition]).map_err(Missed::Unready)?;
        let marks = answer.await.map_err(|_| Missed::Unready(board.why_ended()))?;
        find().map_err(|partition| match &marks.growth {
            Ok(()) => Missed::Positions(PositionsError::NoSuchPartition { partition }),
            Err(cause) => unverified(cause.clone()),
        })
    }

    /// Asks where those partitions end that are not known to go as far, if there are such.
    fn ask_for_ends(&self, places: &[Place]) -> Result<Told, Missed> {
        let mut told = Told { marks: None, unanswered: None, places: places.to_vec() };
        let is_above = |(board, position): &&Place| known_end(board) < *position;
        let mut above = places.iter().filter(is_above).map(|(board, _)| board.partition).peekable();
        if above.peek().is_some() {
            let context = self.context();
            match context.board.log_down() {
                Some(cause) => told.unanswered = Some(cause),
                None => told.marks = Some(context.verifier.ask_marks(above).map_err(Missed::Unready)?),
            }
        }
        Ok(told)
    }
}

/// What the log was known to hold at the last look, or is known to hold since it was applied.
fn known_end(board: &PartitionBoard) -> Position {
    let state = board.state();
    state.seen.marks.high.max(state.seen.applied)
}

/// Of a partition that is there twice the farther position counts. At the start of the log there is nothing to wait for.
fn each_once(positions: &Positions) -> BTreeMap<Partition, Position> {
    let mut each = BTreeMap::new();
    for (partition, position) in &positions.of {
        let farthest = each.entry(*partition).or_insert(*position);
        *farthest = (*position).max(*farthest);
    }
    each
}

/// What the log is to tell of the ends of partitions, while it is waited for them.
struct Told {
    marks: Option<oneshot::Receiver<Arc<Marks>>>,
    unanswered: Option<Cause>,
    places: Vec<Place>,
}

impl Told {
    /// Whether the log says that it ends below what is waited for.
    fn poll(&mut self, task: &mut std::task::Context<'_>) -> Option<PositionsError> {
        let Poll::Ready(marks) = Pin::new(self.marks.as_mut()?).poll(task) else { return None };
        self.marks = None;
        // Without an answer the verifier has ended, and so does the waiting.
        let marks = marks.ok()?;
        for (board, position) in &self.places {
            let (partition, position) = (board.partition, *position);
            match marks.highs.get(&partition) {
                Some(Ok(high)) if *high < position => {
                    return Some(PositionsError::AboveEnd { partition, position, high: *high });
                }
                Some(Err(cause)) if known_end(board) < position => self.unanswered = Some(cause.clone()),
                _ => {}
            }
        }
        None
    }

    fn missed(&mut self, answer: Waited) -> Result<(), Missed> {
        answer.map_err(|end| match end {
            WaitEnd::Unready(unready) => Missed::Unready(unready),
            WaitEnd::Late(late) => Missed::Late { late, unanswered: self.unanswered.take() },
            WaitEnd::NoCommits { group } => Missed::NoCommits { group },
            WaitEnd::Refused(error) => Missed::Group(error),
        })
    }
}
