//! What the node says about itself and its clients: logs, metrics, health.
//!
//! Invariant: this room knows no other; whoever has something to tell registers a source.

pub mod connection_log;
pub mod health;
pub mod histogram;
pub mod logging;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod traces;
