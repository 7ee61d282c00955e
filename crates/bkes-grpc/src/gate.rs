//! The gate between the interface and the engine: closed until there is an engine, so that the port can be open before.

use bkes_engine::EngineHandle;
use std::sync::{Arc, OnceLock};

/// Cheap to clone; opened once.
#[derive(Clone, Default)]
pub struct Gate(Arc<OnceLock<EngineHandle>>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Opens it to an engine. Only the first call counts.
    pub fn open(&self, engine: EngineHandle) {
        let _ = self.0.set(engine);
    }

    /// The engine, once there is one.
    pub fn engine(&self) -> Option<&EngineHandle> {
        self.0.get()
    }

    /// Whether an engine is there and ready.
    pub fn is_ready(&self) -> bool {
        self.engine().is_some_and(EngineHandle::is_ready)
    }
}
