//! The pure rooms under attack, compiled from their own sources.

#[path = "../../../src/mqtt/mod.rs"]
pub mod mqtt;

pub mod domain;
