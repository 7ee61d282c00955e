//! Watching over a stream whose client takes no answers.
//!
//! Its appends hold room that others want until their answers are taken, and a connection that is not read asks for none. So somebody else
//! has to notice.

use super::attention::Attention;
use super::{Shared, State, StoreAnswers, wake};
use crate::limits::OVERLOADED_REST;
use crate::peers::Peer;
use bkes_api::{Failure, Reason};
use bkes_wire::status;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Looks so often in the time that a client is given.
const LOOKS: u32 = 4;

/// Gives the stream up when its client has taken nothing for so long, and its connection when it has not for as long again and holds room
/// that others want. Ends with the stream.
pub async fn watch(
    attention: Arc<Attention>,
    shared: Weak<Mutex<State>>,
    answers: Weak<Mutex<StoreAnswers>>,
    patience: Duration,
    peer: Peer,
) {
    while !attention.is_lost(patience) {
        tokio::time::sleep(patience / LOOKS).await;
    }
    let (Some(shared), Some(answers)) = (shared.upgrade(), answers.upgrade()) else { return };
    Shared(shared).give_up();
    // Outside of the lock: a store may have much to put away.
    let left = take(&answers);
    drop((left, answers));
    // What was taken before lies in the library, with its room, until the client takes it.
    tokio::time::sleep(patience).await;
    if attention.holds_room() {
        peer.cut_off();
    }
}

fn take(answers: &Arc<Mutex<StoreAnswers>>) -> StoreAnswers {
    answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

impl Shared {
    fn give_up(&self) {
        let (flying, made, waker) = {
            let mut state = self.lock();
            let failure = Failure::new(Reason::ReaderTooSlow, "answers were not taken for too long");
            let failure = failure.after(OVERLOADED_REST);
            state.end = Some(status::of(&failure));
            state.is_closed = true;
            (std::mem::take(&mut state.in_flight), std::mem::take(&mut state.made), state.intake.take())
        };
        drop((flying, made));
        wake(waker);
    }
}
