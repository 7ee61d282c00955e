//! Why something failed, as the layer below told it.

use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};
use std::ops::Deref;
use std::sync::Arc;

/// The source of an error: what the layer below gave (an I/O error, an error of a client library). It is what
/// [`Error::source`] of the error that carries it returns, to be downcast; that error's own message has its words too. One failure is
/// told to many callers, so a clone is cheap, and causes are equal if they read the same.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// Keeps an error as a source.
    pub fn of(error: impl Error + Send + Sync + 'static) -> Cause {
        Cause(Arc::new(error))
    }
}

impl Deref for Cause {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl Debug for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Cause) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

impl From<String> for Cause {
    fn from(words: String) -> Cause {
        Cause(Arc::from(Box::<dyn Error + Send + Sync>::from(words)))
    }
}

impl From<&str> for Cause {
    fn from(words: &str) -> Cause {
        Cause::from(words.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::Unready;
    use std::io;

    #[test]
    fn a_cause_reads_as_the_error_it_keeps_and_gives_it_back() {
        let full = || Cause::of(io::Error::from(io::ErrorKind::StorageFull));
        let cause = full();
        assert_eq!(cause.to_string(), io::Error::from(io::ErrorKind::StorageFull).to_string());
        let carrier = Unready::Store { cause: cause.clone() };
        let kept = carrier.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(kept.map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        assert_eq!(cause, full());
        assert_ne!(cause, Cause::from("something else"));
    }
}
