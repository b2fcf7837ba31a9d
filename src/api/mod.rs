//! The management API: gRPC services over the catalog, the access check in front of them, and the one table from
//! domain errors to status codes.
//!
//! Invariants: this room knows no socket and no TLS; `net` hands it byte streams. Wire types stop here: below this
//! room only domain types are seen. Nothing is answered to a caller without a token, health excepted.

pub mod access;
pub mod connection;
pub mod convert;
pub mod credential;
pub mod error;
pub mod grpc;
pub mod operators;
pub mod publish;
pub mod server;
mod tracing;
pub mod update_mask;
pub mod validate;

pub use grpc::call::Backend;
pub use server::{ServerLimits, serve};
