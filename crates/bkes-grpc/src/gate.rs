//! The gate between the interface and what is behind it: closed until there is something, so that the port can be open before.

use crate::limits::REQUEST_ROOM_BYTES;
use bkes_api::EventStore;
use bkes_engine::EngineHandle;
use std::sync::{Arc, OnceLock};

/// Cheap to clone; opened once. The first contract is served from an engine, the second from any event store.
#[derive(Clone, Default)]
pub struct Gate(Arc<Behind>);

#[derive(Default)]
struct Behind {
    engine: OnceLock<EngineHandle>,
    store: OnceLock<Arc<dyn EventStore>>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Opens it to an engine, for both contracts. Only the first call counts.
    pub fn open(&self, engine: EngineHandle) {
        self.open_store(Arc::new(engine.clone()));
        let _ = self.0.engine.set(engine);
    }

    /// Opens it to an event store that is no engine, for the second contract alone. Only the first call counts.
    pub fn open_store(&self, store: Arc<dyn EventStore>) {
        let _ = self.0.store.set(store);
    }

    /// The engine, once there is one.
    pub fn engine(&self) -> Option<&EngineHandle> {
        self.0.engine.get()
    }

    /// The event store, once there is one.
    pub fn store(&self) -> Option<&Arc<dyn EventStore>> {
        self.0.store.get()
    }

    /// The largest request that is read now, which is at least so large: the largest record that the log takes fits into it.
    pub fn request_bytes_max(&self, least: usize) -> usize {
        let Some(engine) = self.engine() else { return least };
        let record = usize::try_from(engine.topic_bytes_max()).unwrap_or(usize::MAX);
        least.max(record.saturating_add(REQUEST_ROOM_BYTES))
    }

    /// Whether the first contract can be served: an engine is there and ready.
    pub fn is_ready(&self) -> bool {
        self.engine().is_some_and(EngineHandle::is_ready)
    }

    /// Whether the second contract can be served: a store is there, and its engine, if we know one, is ready.
    pub fn is_store_ready(&self) -> bool {
        self.store().is_some() && self.engine().is_none_or(EngineHandle::is_ready)
    }
}
