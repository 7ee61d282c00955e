//! What every call has: metadata and a deadline.

use crate::client::Client;
use crate::instances::Wire;
use crate::limits::{ANSWER_GRACE, TIMEOUT_MAX};
use bkes_api::{ErrorClass, Failure, Pacer, Reason};
use bkes_wire::status;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// Why a call has no answer.
pub(crate) struct Unanswered {
    pub failure: Failure,
    /// The client's own clock ended it. That says nothing of the instance.
    pub is_timed_out: bool,
}

impl Client {
    /// A message as the request of a call, whose time the server is told if it has an end.
    pub(crate) fn request<M>(&self, message: M, timeout: Option<Duration>) -> Request<M> {
        let mut request = Request::new(message);
        for (name, value) in self.metadata.iter() {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        if let Some(timeout) = timeout {
            request.set_timeout(timeout.min(TIMEOUT_MAX));
        }
        request
    }

    /// The answer to a call that is given the usual time.
    pub(crate) async fn in_time<M>(
        &self,
        call: impl Future<Output = Result<Response<M>, Status>>,
    ) -> Result<M, Unanswered> {
        self.within(self.options.read_timeout, call).await
    }

    /// The answer to a call that changes nothing: it is made again, at the next instance where there are several, while there is time.
    pub(crate) async fn safely<M, F>(
        &self,
        timeout: Duration,
        call: impl Fn(Wire, Duration) -> F,
    ) -> Result<M, Failure>
    where
        F: Future<Output = Result<Response<M>, Status>>,
    {
        let mut pacer = Pacer::new(&self.options.retry, &self.budget, timeout);
        loop {
            let left = pacer.left();
            let (at, wire) = self.instances.current();
            let unanswered = match self.within(left, call(wire, left)).await {
                Ok(answer) => {
                    pacer.succeeded();
                    return Ok(answer);
                }
                Err(unanswered) => unanswered,
            };
            self.turn(at, &unanswered);
            let failure = unanswered.failure;
            if failure.class() != ErrorClass::Unavailable || !pacer.again(failure.retry_after).await {
                return Err(failure);
            }
        }
    }

    /// Calls that come later go to the next instance, if this says something of the one that was called.
    pub(crate) fn turn(&self, at: usize, unanswered: &Unanswered) {
        if !unanswered.is_timed_out {
            self.instances.leave(at, unanswered.failure.reason);
        }
    }

    /// The answer to a call that is given so much time.
    async fn within<M>(
        &self,
        timeout: Duration,
        call: impl Future<Output = Result<Response<M>, Status>>,
    ) -> Result<M, Unanswered> {
        match tokio::time::timeout(timeout.saturating_add(ANSWER_GRACE), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(told)) => {
                Err(Unanswered { failure: status::failure(&told), is_timed_out: status::is_timed_out(&told) })
            }
            Err(_) => {
                let failure = Failure::new(Reason::Unreachable, format!("no answer came within {timeout:?}"));
                Err(Unanswered { failure, is_timed_out: true })
            }
        }
    }
}
