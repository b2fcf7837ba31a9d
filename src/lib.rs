//! Rookery.

pub mod net;
