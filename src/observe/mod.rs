//! What the node says about itself: logs, metrics, health.
//!
//! Invariant: this room knows no other; whoever has something to tell registers a source.

pub mod health;
pub mod logging;
pub mod metrics;
