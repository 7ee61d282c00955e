//! What the admin port tells about: a server that may have no engine yet, and that may be about to stop.

use bkes_engine::EngineHandle;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Cheap to clone. Whoever holds one holds the engine's handle, and with it the log: it is dropped before the engine is closed.
#[derive(Clone)]
pub struct Instance(Arc<Inner>);

struct Inner {
    engine: OnceLock<EngineHandle>,
    is_standby: bool,
    is_stopping: AtomicBool,
}

impl Instance {
    /// An instance that is starting.
    pub fn starting() -> Instance {
        Instance::new(false)
    }

    /// A standby that is starting: it keeps its store current and serves no calls.
    pub fn starting_standby() -> Instance {
        Instance::new(true)
    }

    fn new(is_standby: bool) -> Instance {
        Instance(Arc::new(Inner { engine: OnceLock::new(), is_standby, is_stopping: AtomicBool::new(false) }))
    }

    /// Its engine is there. Only the first call counts.
    pub fn open(&self, engine: EngineHandle) {
        let _ = self.0.engine.set(engine);
    }

    /// The server was asked to stop: from now on it is not ready, whatever its engine says.
    pub fn stopping(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
    }

    /// The engine, once there is one.
    pub fn engine(&self) -> Option<&EngineHandle> {
        self.0.engine.get()
    }

    /// Whether it serves no calls and only keeps its store current.
    pub fn is_standby(&self) -> bool {
        self.0.is_standby
    }

    /// Whether the server was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Acquire)
    }
}
