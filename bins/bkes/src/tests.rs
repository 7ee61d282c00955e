//! The verbs on a store in memory.
