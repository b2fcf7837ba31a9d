//! The rules of the product, as pure values: ids, principals, topics, permissions, credentials, the catalog.
//!
//! Invariants: this room knows no `async`, no actor, no socket, no disk, no wire format and no log. Time, ids and
//! randomness come in as arguments, so that every node of a cluster computes the same result from the same input.

pub mod id;
pub mod principal;
pub mod timestamp;

pub mod address;
pub mod admission;
pub mod alias;
#[cfg(test)]
mod delivery_tests;
#[cfg(test)]
mod fixture;
pub mod index;
pub mod interest;
pub mod kind;
pub mod monitoring;
mod narrow;
pub mod permission;
pub mod resolve;
pub mod session;

pub mod credential;
pub mod labels;
pub mod log_options;
pub mod name;
pub mod quota;
pub mod rate;
pub mod token;

pub mod catalog;

pub mod window;
