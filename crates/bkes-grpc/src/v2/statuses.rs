//! Statuses that others made of a call of this contract: the library, and what watches over messages.
//!
//! Whoever gets a status without our details takes it for one of a proxy, and an append for unknown. These come from here, before anything
//! was handed to the store, so they say what they are. A panic's is unknown too, and says that.

use crate::limits::{OVERLOADED_REST, STARTING_REST};
use bkes_api::{Failure, Reason};
use bkes_wire::status;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Code, Status};

/// A response with a status of ours, if it ended with one.
pub fn with_its_status(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(told) if told.code() != Code::Ok && !status::is_ours(&told) => ours(&told).into_http(),
        _ => response,
    }
}

/// The status, as one of ours.
pub fn ours(told: &Status) -> Status {
    if status::is_ours(told) {
        return told.clone();
    }
    let reason = match told.code() {
        // The library's word for a message above the limit.
        Code::OutOfRange => Reason::TooLarge,
        Code::ResourceExhausted => Reason::Overloaded,
        Code::Unavailable => Reason::ShuttingDown,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::Unimplemented => Reason::Unsupported,
        _ => Reason::Internal,
    };
    let failure = Failure::new(reason, told.message());
    status::of(&match reason {
        Reason::Overloaded => failure.after(OVERLOADED_REST),
        Reason::ShuttingDown => failure.after(STARTING_REST),
        _ => failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_the_library_becomes_ours_and_ours_stays() {
        for (code, reason) in [
            (Code::OutOfRange, Reason::TooLarge),
            (Code::ResourceExhausted, Reason::Overloaded),
            (Code::Unavailable, Reason::ShuttingDown),
            (Code::Internal, Reason::Internal),
            (Code::Unimplemented, Reason::Unsupported),
        ] {
            let response = with_its_status(Status::new(code, "why").into_http());
            let told = Status::from_header_map(response.headers()).expect("it is a status");
            let failure = status::failure(&told);
            assert_eq!(failure.reason, reason);
            let passes = matches!(code, Code::ResourceExhausted | Code::Unavailable);
            assert_eq!(failure.retry_after.is_some(), passes, "{failure:?}");
        }
        let failure = Failure::new(Reason::OutOfRange, "ours");
        let response = with_its_status(status::of(&failure).into_http());
        let told = Status::from_header_map(response.headers()).expect("it is a status");
        assert_eq!(status::failure(&told), failure);
    }
}
