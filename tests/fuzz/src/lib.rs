//! The pure rooms under attack, compiled from their own sources.

#[path = "../../../src/actors/forward/wire.rs"]
pub mod chunk;
#[path = "../../../src/mqtt/mod.rs"]
pub mod mqtt;

pub mod domain;
