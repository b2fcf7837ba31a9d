//! Rookery.
pub mod mqtt;
