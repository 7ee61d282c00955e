//! The append sequencer.
