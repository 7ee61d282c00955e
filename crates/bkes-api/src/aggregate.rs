//! Aggregates with types: a state that folds typed events, and a codec between those and bytes.

use crate::cache::StateCache;
use crate::decide::{BoxError, DecideError, DecideOptions, Known, Outcome, State, catch_up, decide};
use crate::event::Event;
use crate::positions::Freshness;
use crate::store::EventStore;
use bkes_core::append::EventContent;
use bkes_core::{Key, Order};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// The state of an aggregate: what its events come to.
///
/// ```
/// # use bkes_api::{Aggregate, BoxError, Codec, Event, EventContent};
/// #[derive(Clone, Default)]
/// struct Account { balance: i64 }
///
/// impl Aggregate for Account {
///     type Event = i64;
///     type Codec = Decimal;
///
///     fn apply(&mut self, event: &i64) {
///         self.balance += event;
///     }
/// }
///
/// /// An amount as decimal digits.
/// struct Decimal;
///
/// impl Codec<i64> for Decimal {
///     fn encode(event: &i64) -> Result<EventContent, BoxError> {
///         Ok(event.to_string().into())
///     }
///
///     fn decode(event: &Event) -> Result<i64, BoxError> {
///         Ok(std::str::from_utf8(event.value_bytes())?.parse()?)
///     }
/// }
/// ```
pub trait Aggregate: Clone + Default + Send + Sync + 'static {
    /// What happens to it.
    type Event: Send;
    /// How that is written.
    type Codec: Codec<Self::Event>;

    /// Takes an event in. It happened: there is no refusing it.
    fn apply(&mut self, event: &Self::Event);
}

impl<A: Aggregate> State for A {
    fn empty() -> A {
        A::default()
    }

    fn fold(&mut self, event: &Event) -> Result<(), BoxError> {
        self.apply(&A::Codec::decode(event)?);
        Ok(())
    }
}

/// Between typed events and what is stored.
pub trait Codec<T> {
    /// How an event is written.
    fn encode(event: &T) -> Result<EventContent, BoxError>;

    /// The event that was written so.
    fn decode(event: &Event) -> Result<T, BoxError>;
}

/// Events as JSON, with the header `content-type`.
#[cfg(feature = "json")]
pub struct Json;

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> for Json {
    fn encode(event: &T) -> Result<EventContent, BoxError> {
        let name = bytes::Bytes::from_static(b"content-type");
        let value = Some(bytes::Bytes::from_static(b"application/json"));
        let headers = vec![bkes_core::Header { name, value }];
        Ok(EventContent { value: Some(serde_json::to_vec(event)?.into()), headers })
    }

    fn decode(event: &Event) -> Result<T, BoxError> {
        Ok(serde_json::from_slice(event.value_bytes())?)
    }
}

/// All aggregates of a type in a store.
#[derive(Clone)]
pub struct Aggregates<A> {
    store: Arc<dyn EventStore>,
    options: DecideOptions,
    cache: Option<Arc<StateCache<A>>>,
}

/// What was decided on an aggregate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change<A> {
    /// It, with the decision's own events.
    pub state: A,
    /// The order that its next event takes, as far as is known.
    pub next: Order,
    /// What became of the decision.
    pub outcome: Outcome,
}

impl<A: Aggregate> Aggregates<A> {
    /// Those in this store.
    pub fn new(store: Arc<dyn EventStore>) -> Aggregates<A> {
        Aggregates { store, options: DecideOptions::default(), cache: None }
    }

    /// Decides so.
    #[must_use]
    pub fn with_options(self, options: DecideOptions) -> Aggregates<A> {
        Aggregates { options, ..self }
    }

    /// Keeps the states of so many aggregates, those used last. One that is kept costs a read of what is new, and is never shown without
    /// it.
    #[must_use]
    pub fn with_cache(self, states_max: NonZeroUsize) -> Aggregates<A> {
        Aggregates { cache: Some(Arc::new(StateCache::new(states_max))), ..self }
    }

    /// An aggregate as it is; the default state and order 0 if it has no events.
    pub async fn load(&self, key: &Key, freshness: Freshness) -> Result<Known<A>, DecideError<BoxError>> {
        let known = catch_up(&*self.store, key, self.known(key), freshness).await?;
        self.keep(key, &known);
        Ok(known)
    }

    /// Decides what happens to an aggregate, and appends it. `decide_on` is asked again when somebody else was faster, and before nothing is
    /// appended: it must not do anything but decide.
    pub async fn decide<E>(
        &self,
        key: &Key,
        mut decide_on: impl FnMut(&A) -> Result<Vec<A::Event>, E>,
    ) -> Result<Change<A>, DecideError<E>> {
        self.decide_as(key, &self.options, &mut decide_on).await
    }

    /// The same with options of its own, but for the budget, which all share: for a command with an id, say.
    pub async fn decide_as<E>(
        &self,
        key: &Key,
        options: &DecideOptions,
        mut decide_on: impl FnMut(&A) -> Result<Vec<A::Event>, E>,
    ) -> Result<Change<A>, DecideError<E>> {
        let mut decided: Vec<A::Event> = Vec::new();
        let encoded = |state: &A| {
            decided = decide_on(state).map_err(Ended::Refused)?;
            decided.iter().map(A::Codec::encode).collect::<Result<Vec<_>, _>>().map_err(Ended::Unwritten)
        };
        let budget = Arc::clone(&self.options.budget);
        let options = DecideOptions { budget, ..options.clone() };
        let outcome = decide(&*self.store, key, self.known(key), &options, encoded).await;
        let done = outcome.map_err(|error| of_caller(key, error))?;
        self.keep(key, &done.known);
        let mut next = done.known.next();
        let mut state = done.known.into_state();
        if let Outcome::Appended(appended) = &done.outcome {
            decided.iter().for_each(|event| state.apply(event));
            next = appended.next();
        }
        Ok(Change { state, next, outcome: done.outcome })
    }

    fn known(&self, key: &Key) -> Known<A> {
        let kept = self.cache.as_ref().and_then(|cache| cache.get(key));
        kept.unwrap_or_else(Known::nothing)
    }

    fn keep(&self, key: &Key, known: &Known<A>) {
        if let Some(cache) = &self.cache {
            cache.put(key, known.clone());
        }
    }
}

/// Why a decision gave no events.
enum Ended<E> {
    Refused(E),
    Unwritten(BoxError),
}

/// The error in the words of whoever decided.
fn of_caller<E>(key: &Key, error: DecideError<Ended<E>>) -> DecideError<E> {
    match error {
        DecideError::Refused(Ended::Refused(error)) => DecideError::Refused(error),
        DecideError::Refused(Ended::Unwritten(source)) => DecideError::Unwritten { key: key.clone(), source },
        DecideError::Unwritten { key, source } => DecideError::Unwritten { key, source },
        DecideError::Read(failure) => DecideError::Read(failure),
        DecideError::Event { key, order, source } => DecideError::Event { key, order, source },
        DecideError::Contended { rounds, last } => DecideError::Contended { rounds, last },
        DecideError::Append(failure) => DecideError::Append(failure),
    }
}
