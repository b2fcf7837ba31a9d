//! What the black-box suites share: they start the real binary and talk to it in bytes, over sockets and gRPC,
//! and know nothing of its inside.
//!
//! Reading order: [`node`] (the process), [`api`] (its management), [`fixture`] (entities for one test), [`client`] with [`packet`] and [`tls`] (raw
//! MQTT on [`wire`]), [`certificates`] (made by `openssl`), [`cluster`] (several nodes and faults between them), [`runtime`],
//! [`log`] and [`janitor`].
//!
//! Everything here panics with a message when an expectation fails: the callers are tests.

pub mod api;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod fixture;
pub mod janitor;
pub mod log;
pub mod node;
pub mod ops;
pub mod packet;
pub mod runtime;
pub mod tls;
pub mod wire;
